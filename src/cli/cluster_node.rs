//! `foundry cluster node …`: nodes into the config and the cluster, and out of both.

use std::sync::Arc;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::Global;
use super::build::{BuildOptions, build};
use super::cluster::{COMPONENT, Reach, SERVER, sure};
use super::cluster_show::nodes_table;
use super::exit::{CliError, CliResult};
use super::host_add::ConfigFile;
use super::print::{Output, print, print_json, warn};
use crate::catalog::Values;
use crate::config::{self, HostId};
use crate::graph::{Input, StepId, Target};
use crate::ops::cluster::{self, Node, Vote, may_leave};
use crate::target::cluster::Cluster;
use crate::terminal::line;

/// How long etcd may take to let a member go.
const LEAVE: Duration = Duration::from_secs(60);

/// How long K3s' controllers are given before what they would do is done for them.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long controllers may take to let the node's object go.
const GONE: Duration = Duration::from_secs(150);

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Role {
    /// A server: it votes in etcd and runs the control plane
    ControlPlane,
    /// Runs pods
    Worker,
}

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Adds a node: to the config, and then that host only is made one
    #[command(after_help = "\
A host that the config does not know yet is entered under `cluster.nodes`; if it takes more to reach it than its name, \
`foundry host add` first. Servers join one at a time.

Examples:
  foundry cluster node add node4
  foundry cluster node add node4 --role control-plane --address 192.0.2.14")]
    Add {
        /// Host
        hostname: String,
        /// What it is to be
        #[arg(long, value_enum, default_value = "worker")]
        role: Role,
        /// Address to reach it by, if that is not its name
        #[arg(long, value_name = "ADDRESS")]
        address: Option<String>,
        #[command(flatten)]
        options: Box<BuildOptions>,
    },
    /// Removes a node: emptied, out of the cluster, cleaned, out of the config
    #[command(after_help = "\
Pods are evicted with their budgets honoured; if that does not end in time, the node takes pods again and stays. A server \
is removed only if those that stay keep a quorum. A host that is down is removed with --force: then nothing is done on it, \
and its pods are given up.

Examples:
  foundry cluster node remove node4
  foundry cluster node remove node4 --timeout 20m
  foundry cluster node remove node4 --force        the host is lost")]
    Remove {
        /// Host
        hostname: String,
        /// How long pods may take to leave
        #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
        timeout: Duration,
        /// Give up pods that don't leave, and do without the host if it does not answer
        #[arg(long)]
        force: bool,
    },
    /// Lists nodes: those of the cluster, and those that the config names
    List {
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Sets labels of a node, or takes them away
    #[command(after_help = "\
Examples:
  foundry cluster node label node4 disk=ssd
  foundry cluster node label node4 disk-           takes it away")]
    Label {
        /// Node
        hostname: String,
        /// `KEY=VALUE` to set, `KEY-` to take away
        #[arg(required = true, value_name = "LABEL")]
        labels: Vec<String>,
    },
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::catalog::parse_duration(text)
}

/// Runs a `foundry cluster node` command.
pub async fn node(command: NodeCommand, global: &Global) -> CliResult {
    match command {
        NodeCommand::Add {
            hostname,
            role,
            address,
            options,
        } => add(&hostname, role, address.as_deref(), &options, global).await,
        NodeCommand::Remove {
            hostname,
            timeout,
            force,
        } => {
            let reach = Reach::open(global)?;
            let done = remove(&reach, &hostname, timeout, force, global).await;
            reach.close();
            done
        }
        NodeCommand::List { output } => list(output, global).await,
        NodeCommand::Label { hostname, labels } => label(&hostname, &labels, global).await,
    }
}

async fn add(
    name: &str,
    role: Role,
    address: Option<&str>,
    options: &BuildOptions,
    global: &Global,
) -> CliResult {
    let role = match role {
        Role::ControlPlane => SERVER,
        Role::Worker => "worker",
    };
    let mut file = ConfigFile::open(global)?;
    let edited = config::add_node(&file.stack.source, name, role, address)?;
    if edited != file.stack.source.text {
        file.write(&edited)?;
        warn(&format!(
            "{name} is in {} as {role}",
            file.stack.source.name
        ));
    }
    let target = format!("{COMPONENT} & @{name}");
    build(
        &[target, format!("{COMPONENT}:ready")],
        false,
        options,
        global,
    )
    .await
}

#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    node: Node,
    in_config: bool,
}

async fn list(output: Output, global: &Global) -> CliResult {
    let reach = Reach::open(global)?;
    let api = reach.api(&reach.servers()).await?;
    let nodes = cluster::list(&api.client).await.map_err(api_error)?;
    reach.close();
    let missing: Vec<&str> = reach
        .nodes
        .iter()
        .map(|host| reach.name(*host))
        .filter(|name| !nodes.iter().any(|node| node.name == *name))
        .collect();
    if output == Output::Json {
        let listed: Vec<Listed> = nodes
            .into_iter()
            .map(|node| Listed {
                in_config: reach.find(&node.name).is_some(),
                node,
            })
            .collect();
        return print_json(&listed);
    }
    print(&nodes_table(&nodes))?;
    for node in nodes.iter().filter(|node| reach.find(&node.name).is_none()) {
        warn(&format!(
            "{} is in the cluster and not in the config",
            node.name
        ));
    }
    if !missing.is_empty() {
        warn(&format!(
            "in the config and no nodes of the cluster: {} (`foundry cluster init` makes them)",
            missing.join(", ")
        ));
    }
    Ok(())
}

async fn label(name: &str, labels: &[String], global: &Global) -> CliResult {
    let labels = labels
        .iter()
        .map(
            |text| match (text.split_once('='), text.strip_suffix('-')) {
                (Some((key, value)), _) if !key.is_empty() => {
                    Ok((key.to_owned(), Some(value.to_owned())))
                }
                (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
                _ => Err(CliError::usage(format!("`{text}` is no label"))
                    .hint("`key=value` sets one, `key-` takes it away")),
            },
        )
        .collect::<Result<Vec<_>, _>>()?;
    let reach = Reach::open(global)?;
    let api = reach.api(&reach.servers()).await?;
    let done = cluster::label(&api.client, name, &labels)
        .await
        .map_err(api_error);
    reach.close();
    done
}

fn api_error(error: kube::Error) -> CliError {
    CliError::failed(match error {
        kube::Error::Api(status) => format!("the Kubernetes API: {}", status.message),
        error => format!("the Kubernetes API: {error}"),
    })
}

async fn remove(
    reach: &Reach,
    name: &str,
    timeout: Duration,
    force: bool,
    global: &Global,
) -> CliResult {
    let Some(host) = reach.find(name) else {
        return Err(CliError::usage(format!("the config has no node `{name}`"))
            .hint("`foundry cluster node list` shows those there are"));
    };
    // Before anything is touched: what could not be written afterwards.
    let mut file = ConfigFile::open(global)?;
    let edited = config::remove_node(&file.stack.source, name)?;
    let others: Vec<HostId> = reach
        .servers()
        .into_iter()
        .filter(|other| *other != host)
        .collect();
    if reach.is_server(host) {
        let votes: Vec<Vote> = reach
            .members()
            .await
            .iter()
            .map(|member| Vote {
                name: member.name.clone(),
                healthy: member.healthy(),
            })
            .collect();
        may_leave(&votes, name)
            .map_err(|words| CliError::failed(format!("{name} stays: {words}")))?;
    }
    let writer = match reach.changer(host, "cluster node remove").await {
        Ok(writer) => Some(writer),
        Err(words) if force => {
            warn(&format!(
                "{name} does not answer ({words}): nothing is done on it"
            ));
            None
        }
        Err(words) => {
            return Err(
                CliError::failed(format!("{name} can't be reached: {words}"))
                    .hint("if the host is lost, `--force` removes the node without it"),
            );
        }
    };
    let api = reach.api(&others).await?;
    sure(
        format!(
            "Remove {name} from cluster {}? Its pods move, and what K3s keeps on the host is deleted",
            reach.session.stack.name
        ),
        global,
    )
    .await?;
    empty(&api, name, timeout, force).await?;
    let left = take_out(reach, &api, host, &others, writer.as_deref()).await;
    if let Err(error) = left {
        // Still a node: then it takes pods again.
        if let Err(again) = cluster::uncordon(&api.client, name).await {
            warn(&format!("{name} still takes no new pods: {again}"));
        }
        return Err(error);
    }
    if let Some(writer) = writer {
        clean(reach, host, &*writer).await;
    }
    file.write(&edited)?;
    print(&line(format_args!(
        "{name} is no node any more, and not in {}",
        file.stack.source.name
    )))
}

/// Empties the node, if it is one.
async fn empty(api: &Arc<Cluster>, name: &str, timeout: Duration, force: bool) -> CliResult {
    let by = format!("foundry ({})", std::process::id());
    let say = |words: &str| warn(words);
    match cluster::drain(&api.client, name, &by, timeout, &say).await {
        Ok(_) | Err(cluster::DrainError::NoNode(_)) => Ok(()),
        Err(error @ cluster::DrainError::TookTooLong { .. }) if force => {
            warn(&format!("{error}; given up"));
            Ok(())
        }
        Err(error) => Err(CliError::failed(error).hint(format!(
            "{name} stays as it was; `--timeout` gives pods longer, `--force` gives them up"
        ))),
    }
}

/// Takes the node's object, and with it etcd's member, out of the cluster.
async fn take_out(
    reach: &Reach,
    api: &Arc<Cluster>,
    host: HostId,
    others: &[HostId],
    writer: Option<&dyn crate::run::Writer>,
) -> CliResult {
    let name = reach.name(host);
    if let Some(writer) = writer {
        // An agent that goes on would register its node anew; a server that etcd dismissed would join anew.
        if reach.is_server(host) {
            cluster::hold_restarts(writer)
                .await
                .map_err(CliError::failed)?;
        } else {
            cluster::stop(writer).await.map_err(CliError::failed)?;
        }
    }
    cluster::delete(&api.client, name)
        .await
        .map_err(api_error)?;
    if reach.is_server(host) {
        let end = tokio::time::Instant::now() + LEAVE;
        let want = u32::try_from(others.len().saturating_sub(1)).unwrap_or(0);
        loop {
            let members = reach.members().await;
            let stay: Vec<_> = members
                .iter()
                .filter(|member| member.name != name)
                .collect();
            if stay
                .iter()
                .all(|member| !member.healthy() || member.peers == want)
                && stay.iter().any(|member| member.healthy())
            {
                break;
            }
            if tokio::time::Instant::now() >= end {
                return Err(CliError::failed(format!(
                    "etcd has not let {name} go after {} seconds",
                    LEAVE.as_secs()
                ))
                .hint("K3s takes the member away with its node: see `journalctl -u k3s` on a server, and run again"));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
    if let Some(writer) = writer {
        cluster::stop(writer).await.map_err(CliError::failed)?;
    }
    gone(reach, others, name).await
}

/// Waits until the node's object is gone: K3s' controllers have their own to do first, and when the server that leaves was the
/// one that ran them, another takes over after its lease.
async fn gone(reach: &Reach, others: &[HostId], name: &str) -> CliResult {
    let end = tokio::time::Instant::now() + GONE;
    loop {
        // The server behind the connection may have been the one that left.
        let api = reach.api(others).await?;
        let there = cluster::is_there(&api.client, name).await;
        if matches!(there, Ok(false)) {
            return Ok(());
        }
        // Their leader has 45 seconds to answer for; by then it is not the change of leader that holds them up.
        if matches!(there, Ok(true)) && tokio::time::Instant::now() + GONE >= end + PATIENCE {
            cluster::let_go(&api.client, name)
                .await
                .map_err(api_error)?;
        }
        if tokio::time::Instant::now() >= end {
            return Err(match there {
                Err(error) => api_error(error),
                Ok(_) => CliError::failed(format!(
                    "{name} is stopped, and its node is still there after {} seconds",
                    GONE.as_secs()
                ))
                .hint("a controller has not let it go: `kubectl get node -o yaml` shows its finalizers; run again"),
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Runs what the steps of the host say of removing them. What fails is told, and the rest goes on.
async fn clean(reach: &Reach, host: HostId, writer: &dyn crate::run::Writer) {
    let graph = &reach.session.graph;
    // What runs goes first, then what lies in folders before the folders.
    let mut ids: Vec<StepId> = graph.ids().collect();
    ids.reverse();
    ids.sort_by_key(|id| &*graph.step(*id).label.step != "traces");
    for id in ids {
        let step = graph.step(id);
        let here = step.target == Target::Host(host) && &*step.label.component == COMPONENT;
        let (true, Some(task)) = (here, &step.task) else {
            continue;
        };
        let inputs: Values = step
            .inputs
            .iter()
            .filter_map(|(name, input)| match input {
                Input::Known(value) => Some((name.clone(), value.clone())),
                _ => None,
            })
            .collect();
        if let Err(error) = cluster::clean(writer, task, &inputs).await {
            warn(&format!("{}: {}", step.label, cluster::words(&error)));
        }
    }
}
