//! `foundry cluster status` and `kubeconfig`: what is, and the way in. Changes nothing but the user's own kubeconfig.

use std::path::PathBuf;

use serde::Serialize;

use super::Global;
use super::cluster::Reach;
use super::exit::{CliError, CliResult, Ending};
use super::print::{Output, print, print_data, print_json, table};
use crate::ops::cluster::{self, Member, Node};
use crate::secret::private;
use crate::target::kubeconfig::Credentials;
use crate::terminal::{Page, line};

#[derive(Debug, Serialize)]
struct Status {
    version: Option<String>,
    healthy: bool,
    wrong: Vec<String>,
    servers: Vec<Member>,
    nodes: Vec<Node>,
}

/// Shows how the cluster is.
pub async fn status(output: Output, global: &Global) -> CliResult {
    let reach = Reach::open(global)?;
    let servers = reach.members().await;
    let mut wrong = Vec::new();
    for server in servers.iter().filter(|server| !server.healthy()) {
        wrong.push(format!("etcd on {}: {}", server.name, server.state));
    }
    let mut version = None;
    let mut nodes = Vec::new();
    match reach.api(&reach.servers()).await {
        Ok(api) => {
            match api.client.apiserver_version().await {
                Ok(info) => version = Some(info.git_version),
                Err(error) => wrong.push(format!("the API: {error}")),
            }
            match cluster::list(&api.client).await {
                Ok(list) => nodes = list,
                Err(error) => wrong.push(format!("the API: {error}")),
            }
        }
        Err(error) => wrong.push(error.message.unwrap_or_default()),
    }
    for node in &nodes {
        if !node.ready {
            let why = node
                .why
                .as_deref()
                .unwrap_or("it has not said anything yet");
            wrong.push(format!("{} is not Ready: {why}", node.name));
        }
        if let Some(by) = &node.cordoned_by {
            wrong.push(format!("{} takes no new pods, for {by}", node.name));
        }
    }
    reach.close();
    let status = Status {
        version,
        healthy: wrong.is_empty(),
        wrong,
        servers,
        nodes,
    };
    match output {
        Output::Json => print_json(&status)?,
        Output::Text => print(&told(&reach.session.stack.name, &status))?,
    }
    if status.healthy {
        Ok(())
    } else {
        Err(CliError::quiet(Ending::Pending))
    }
}

fn told(stack: &str, status: &Status) -> Page {
    let voters = status
        .servers
        .iter()
        .filter(|server| server.healthy())
        .count();
    let ready = status.nodes.iter().filter(|node| node.ready).count();
    let mut text = line(format_args!(
        "Cluster {stack}: Kubernetes {}, {voters} of {} servers vote in etcd, {ready} of {} nodes are Ready",
        status.version.as_deref().unwrap_or("does not answer"),
        status.servers.len(),
        status.nodes.len(),
    ));
    if !status.nodes.is_empty() {
        text.gap();
        text.page(&nodes_table(&status.nodes));
    }
    if !status.wrong.is_empty() {
        text.gap();
    }
    for wrong in &status.wrong {
        text.message(format_args!("✗ {wrong}"));
    }
    text
}

/// Draws nodes as a table.
pub(super) fn nodes_table(nodes: &[Node]) -> Page {
    let rows: Vec<Vec<String>> = nodes
        .iter()
        .map(|node| {
            let mut state = if node.ready { "Ready" } else { "NotReady" }.to_owned();
            if node.cordoned {
                state.push_str(", cordoned");
            }
            vec![
                node.name.clone(),
                state,
                node.roles.join(","),
                node.version.clone(),
                node.address.clone().unwrap_or_default(),
            ]
        })
        .collect();
    table(&["NODE", "STATE", "ROLES", "VERSION", "ADDRESS"], &rows)
}

/// Prints or merges the administrator's kubeconfig.
pub async fn kubeconfig(merge: bool, context: Option<String>, global: &Global) -> CliResult {
    let reach = Reach::open(global)?;
    let stack = &reach.session.stack;
    let mut found = None;
    let mut why = Vec::new();
    for host in reach.servers() {
        let text = match reach.writer(host).await {
            Ok(writer) => cluster::kubeconfig(&*writer)
                .await
                .map_err(|error| error.to_string()),
            Err(words) => Err(words),
        };
        match text.and_then(|text| Credentials::read(text.expose())) {
            Ok(credentials) => {
                found = Some((host, credentials));
                break;
            }
            Err(words) => why.push(format!("{}: {words}", reach.name(host))),
        }
    }
    reach.close();
    let Some((host, credentials)) = found else {
        return Err(CliError::failed(format!(
            "no server has a kubeconfig to give: {}",
            why.join("; ")
        ))
        .hint("`foundry cluster init` makes the cluster"));
    };
    let address = address(&reach, host);
    let name = context.unwrap_or_else(|| stack.name.clone());
    let text = credentials
        .kubeconfig(&name, &address)
        .map_err(CliError::failed)?;
    if !merge {
        return print_data(text.expose());
    }
    let path = user_kubeconfig()?;
    let old = match std::fs::read_to_string(&path) {
        Ok(old) => old,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(CliError::failed(format!("{}: {error}", path.display()))),
    };
    let merged = cluster::merge(&old, text.expose(), &name, global.yes).map_err(|error| {
        CliError::failed(format!("{} is left as it is: {error}", path.display()))
            .hint("`--context NAME` gives it another name; `--yes` replaces what is there")
    })?;
    // Where a link points to, not the link.
    let path = std::fs::canonicalize(&path).unwrap_or(path);
    private::write(&path, merged.as_bytes())?;
    print(&line(format_args!(
        "context {name} ({address}, port 6443) is in {} and current",
        path.display()
    )))
}

/// Returns where the API is reached from outside: the virtual address, or the server that gave the kubeconfig.
fn address(reach: &Reach, host: crate::config::HostId) -> String {
    let stack = &reach.session.stack;
    let own =
        stack
            .components
            .get(super::cluster::COMPONENT)
            .and_then(|component| match &component.settings.value {
                crate::config::Setting::Map(settings) => match &settings.get("vip")?.1.value {
                    crate::config::Setting::Text(vip) if !vip.is_empty() => Some(vip.clone()),
                    _ => None,
                },
                _ => None,
            });
    own.or_else(|| stack.vip.map(|vip| vip.to_string()))
        .unwrap_or_else(|| stack.host(host).address.clone())
}

/// Returns the file that kubectl writes to.
fn user_kubeconfig() -> Result<PathBuf, CliError> {
    let named = std::env::var_os("KUBECONFIG")
        .and_then(|list| std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty()));
    named
        .or_else(|| Some(std::env::home_dir()?.join(".kube/config")))
        .ok_or_else(|| CliError::usage("there is no home directory; set KUBECONFIG"))
}
