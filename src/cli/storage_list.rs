//! `foundry storage list`: backends with their pools, classes, volumes, claims that wait. Changes nothing.

use crate::terminal::{Page, line};
use serde::Serialize;

use super::Global;
use super::exit::{CliError, CliResult, Ending};
use super::print::{Output, print, print_json, table};
use super::storage::{Backend, Reach};
use crate::ops::storage::{View, view};
use crate::target::truenas::{self, Pool, TrueNasError};

#[derive(Debug, Serialize)]
struct Listed {
    backends: Vec<Told>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<View>,
    /// What did not answer, in words.
    wrong: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Told {
    kind: &'static str,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    pools: Vec<Pool>,
}

/// Lists it all.
pub(super) async fn list(backend_only: bool, output: Output, global: &Global) -> CliResult {
    let reach = Reach::open(global)?;
    let mut listed = Listed {
        backends: Vec::new(),
        cluster: None,
        wrong: Vec::new(),
    };
    for backend in reach.truenas().await? {
        let mut told = Told {
            kind: "truenas",
            url: backend.url.clone(),
            version: None,
            pools: Vec::new(),
        };
        match ask(&reach, &backend).await {
            Ok((version, pools)) => {
                told.version = Some(version);
                told.pools = pools;
            }
            Err(words) => listed.wrong.push(format!("{}: {words}", backend.url)),
        }
        listed.backends.push(told);
    }
    if !backend_only {
        match reach.cluster().await {
            Ok(cluster) => match view(&cluster.client).await {
                Ok(view) => listed.cluster = Some(view),
                Err(error) => listed.wrong.push(format!("the cluster: {error}")),
            },
            Err(error) => {
                let words = error.message.unwrap_or_default();
                listed.wrong.push(format!("the cluster: {words}"));
            }
        }
    }
    reach.close();
    match output {
        Output::Json => print_json(&listed)?,
        Output::Text => print(&told(&listed))?,
    }
    if listed.wrong.is_empty() {
        Ok(())
    } else {
        Err(CliError::quiet(Ending::Pending))
    }
}

async fn ask(reach: &Reach, backend: &Backend) -> Result<(String, Vec<Pool>), String> {
    let words = |error: TrueNasError| match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    };
    let client = reach
        .backends
        .open(backend.connection.as_ref()?)
        .await
        .map_err(words)?;
    let (version, pools) =
        tokio::try_join!(truenas::version(&client), truenas::pools(&client)).map_err(words)?;
    Ok((version, pools))
}

fn told(listed: &Listed) -> Page {
    let mut parts = Vec::new();
    for backend in &listed.backends {
        let version = backend.version.as_deref().unwrap_or("does not answer");
        let mut part = line(format_args!("TrueNAS {} ({version})", backend.url));
        if !backend.pools.is_empty() {
            let rows: Vec<Vec<String>> = backend.pools.iter().map(pool).collect();
            part.page(&table(&["POOL", "STATUS", "FREE", "SIZE", ""], &rows));
        }
        parts.push(part);
    }
    if let Some(cluster) = &listed.cluster {
        parts.extend(cluster_told(cluster));
    }
    let mut wrong = Page::new();
    for words in &listed.wrong {
        wrong.message(format_args!("✗ {words}"));
    }
    if !wrong.is_empty() {
        parts.push(wrong);
    }
    if parts.is_empty() {
        return line("the stack has no storage backend; `foundry storage configure` sets one up");
    }
    let mut page = Page::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            page.gap();
        }
        page.page(part);
    }
    page
}

fn cluster_told(view: &View) -> Vec<Page> {
    let mut parts = Vec::new();
    let classes: Vec<Vec<String>> = view
        .classes
        .iter()
        .map(|class| {
            let default = if class.default { " (default)" } else { "" };
            vec![
                format!("{}{default}", class.name),
                class.provisioner.clone(),
                class.reclaim.clone(),
                class.binding.clone(),
                if class.expandable { "yes" } else { "no" }.to_owned(),
            ]
        })
        .collect();
    parts.push(table(
        &["CLASS", "PROVISIONER", "RECLAIM", "BINDING", "GROWS"],
        &classes,
    ));
    if !view.volumes.is_empty() {
        let volumes: Vec<Vec<String>> = view
            .volumes
            .iter()
            .map(|volume| {
                vec![
                    volume.name.clone(),
                    volume.class.clone(),
                    volume.size.clone(),
                    volume.phase.clone(),
                    volume.claim.clone().unwrap_or_default(),
                ]
            })
            .collect();
        parts.push(table(
            &["VOLUME", "CLASS", "SIZE", "PHASE", "CLAIM"],
            &volumes,
        ));
    }
    if !view.unbound.is_empty() {
        let claims: Vec<Vec<String>> = view
            .unbound
            .iter()
            .map(|claim| {
                vec![
                    format!("{}/{}", claim.namespace, claim.name),
                    claim.class.clone(),
                    claim.phase.clone(),
                ]
            })
            .collect();
        parts.push(table(&["CLAIM WITHOUT VOLUME", "CLASS", "PHASE"], &claims));
    }
    parts
}

fn pool(pool: &Pool) -> Vec<String> {
    let size = |bytes: Option<u64>| bytes.map(bytes_told).unwrap_or_default();
    let ill = (!pool.healthy).then(|| pool.status_detail.clone().unwrap_or_default());
    vec![
        pool.name.clone(),
        pool.status.clone(),
        size(pool.free),
        size(pool.size),
        ill.unwrap_or_default(),
    ]
}

/// Words bytes in the largest binary unit of which there is at least one.
pub(super) fn bytes_told(bytes: u64) -> String {
    let units = [("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    for (name, shift) in units {
        if bytes >> shift > 0 {
            // Tenths, in whole numbers.
            let tenths = (u128::from(bytes) * 10) >> shift;
            return match (tenths / 10, tenths % 10) {
                (whole, 0) => format!("{whole} {name}B"),
                (whole, tenth) => format!("{whole}.{tenth} {name}B"),
            };
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, told) in [
            (0, "0 B"),
            (1 << 10, "1 KiB"),
            (3 << 39, "1.5 TiB"),
            (98_304, "96 KiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(bytes_told(bytes), told);
        }
    }
}
