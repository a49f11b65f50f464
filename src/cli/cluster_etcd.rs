//! `foundry cluster etcd …`: snapshots of etcd, taken, listed and restored.

use crate::terminal::line;
use clap::Subcommand;
use serde::Serialize;

use super::Global;
use super::build::{BuildOptions, build};
use super::cluster::{COMPONENT, Reach, sure};
use super::exit::{CliError, CliResult};
use super::print::{Output, print, print_json, table, warn};
use crate::config::HostId;
use crate::ops::cluster;

#[derive(Debug, Subcommand)]
pub(super) enum EtcdCommand {
    /// Takes a snapshot on the first server that answers
    Snapshot {
        /// What its name begins with
        #[arg(long, default_value = "foundry")]
        name: String,
    },
    /// Lists the snapshots on all servers
    List {
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Puts the cluster back to a snapshot: everything since then is lost
    #[command(after_help = "\
All servers are stopped. The server that has the snapshot becomes a cluster of one with what it holds, then the others join \
it anew, one by one. Their data of before stays beside as `etcd.before-restore`. Without the cluster's token a snapshot is \
of no use on other machines: keep `foundry/k3s` of OpenBAO, or /etc/foundry/k3s/token.

Examples:
  foundry cluster etcd list
  foundry cluster etcd restore foundry-node-1-1764000000")]
    Restore {
        /// Its name, as `foundry cluster etcd list` shows it
        snapshot: String,
        #[command(flatten)]
        options: Box<BuildOptions>,
    },
}

#[derive(Debug, Serialize)]
struct Snapshot {
    server: String,
    name: String,
    bytes: u64,
    taken: String,
}

/// Runs a `foundry cluster etcd` command.
pub async fn etcd(command: EtcdCommand, global: &Global) -> CliResult {
    let reach = Reach::open(global)?;
    match command {
        EtcdCommand::Snapshot { name } => {
            let done = snapshot(&reach, &name).await;
            reach.close();
            done
        }
        EtcdCommand::List { output } => {
            let (found, silent) = snapshots(&reach).await;
            reach.close();
            for words in silent {
                warn(&words);
            }
            if output == Output::Json {
                return print_json(&found);
            }
            let rows: Vec<Vec<String>> = found
                .into_iter()
                .map(|one| vec![one.name, one.server, one.bytes.to_string(), one.taken])
                .collect();
            print(&table(&["SNAPSHOT", "SERVER", "BYTES", "TAKEN"], &rows))
        }
        EtcdCommand::Restore { snapshot, options } => {
            let done = restore(&reach, &snapshot, global).await;
            reach.close();
            let first = done?;
            warn(&format!("{first} has it; the other servers join anew"));
            build(&[COMPONENT.to_owned()], false, &options, global).await
        }
    }
}

async fn snapshot(reach: &Reach, name: &str) -> CliResult {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with(['-', '.']) || !name.chars().all(good) {
        return Err(CliError::usage(format!("`{name}` can't name a snapshot"))
            .hint("letters, digits, `-`, `_` and `.`"));
    }
    let mut why = Vec::new();
    for host in reach.servers() {
        let taken = match reach.changer(host, "cluster etcd snapshot").await {
            Ok(writer) => cluster::command(&*writer, "save", name)
                .await
                .map_err(CliError::failed),
            Err(words) => {
                why.push(format!("{}: {words}", reach.name(host)));
                continue;
            }
        };
        taken?;
        return print(&line(format_args!("a snapshot is on {}", reach.name(host))));
    }
    Err(CliError::failed(format!(
        "no server answers: {}",
        why.join("; ")
    )))
}

async fn snapshots(reach: &Reach) -> (Vec<Snapshot>, Vec<String>) {
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    for host in reach.servers() {
        let server = reach.name(host);
        let listed = match reach.writer(host).await {
            Ok(writer) => cluster::command(&*writer, "list", "")
                .await
                .map_err(|error| error.to_string()),
            Err(words) => Err(words),
        };
        match listed {
            Ok(text) => found.extend(text.expose().lines().filter_map(|line| {
                let mut words = line.split(' ');
                Some(Snapshot {
                    server: server.to_owned(),
                    name: words.next()?.to_owned(),
                    bytes: words.next()?.parse().ok()?,
                    taken: words.next()?.to_owned(),
                })
            })),
            Err(words) => silent.push(format!("{server}: {words}")),
        }
    }
    (found, silent)
}

/// Restores on the server that has the snapshot and prepares the others; returns that server's name.
async fn restore(reach: &Reach, snapshot: &str, global: &Global) -> Result<String, CliError> {
    let (found, silent) = snapshots(reach).await;
    if !silent.is_empty() {
        return Err(CliError::failed(format!(
            "all servers must be reached, or one that is left out would go on with the old data: {}",
            silent.join("; ")
        )));
    }
    let Some(there) = found.iter().find(|one| one.name == snapshot) else {
        return Err(
            CliError::usage(format!("no server has a snapshot `{snapshot}`"))
                .hint("`foundry cluster etcd list` shows those there are"),
        );
    };
    let servers = reach.servers();
    let Some(first) = servers
        .iter()
        .copied()
        .find(|host| reach.name(*host) == there.server)
    else {
        return Err(CliError::failed("that server is gone"));
    };
    sure(
        format!(
            "Put cluster {} back to {snapshot} ({})? What has changed since then is lost, and the API is away for minutes",
            reach.session.stack.name, there.taken
        ),
        global,
    )
    .await?;
    for host in &servers {
        step(reach, *host, Step::Stop).await?;
    }
    step(reach, first, Step::Restore(snapshot)).await?;
    for host in servers.iter().filter(|host| **host != first) {
        step(reach, *host, Step::Aside).await?;
    }
    Ok(there.server.clone())
}

enum Step<'a> {
    Stop,
    Restore(&'a str),
    Aside,
}

async fn step(reach: &Reach, host: HostId, step: Step<'_>) -> CliResult {
    let name = reach.name(host);
    let writer = reach
        .changer(host, "cluster etcd restore")
        .await
        .map_err(|words| CliError::failed(format!("{name}: {words}")))?;
    let (words, done) = match step {
        Step::Stop => ("stopping K3s", cluster::stop(&*writer).await),
        Step::Restore(snapshot) => (
            "restoring",
            cluster::restore_first(&*writer, snapshot).await,
        ),
        Step::Aside => (
            "putting etcd's data aside",
            cluster::restore_other(&*writer).await,
        ),
    };
    done.map_err(|error| {
        CliError::failed(format!("{words} on {name}: {error}"))
            .hint("servers that were stopped start again with `foundry cluster init`")
    })
}
