//! `foundry cluster …`: the life of the Kubernetes cluster. Clap types, and what its commands have in common.

use std::sync::Arc;

use clap::{Args, Subcommand};

use super::Global;
use super::build::{BuildOptions, build};
use super::cluster_etcd::{self, EtcdCommand};
use super::cluster_node::{self, NodeCommand};
use super::cluster_show;
use super::exit::{CliError, CliResult, Ending};
use super::print::Output;
use super::prompt::{ask, confirm, someone_there};
use super::session::Session;
use super::wire::Wired;
use crate::config::HostId;
use crate::graph::Target;
use crate::ops::cluster::{Member, look};
use crate::run::journal::{Deed, Entering, Journals};
use crate::run::{Writer, Writers};
use crate::target::cluster::{Access, Cluster, Sessions};

/// Component that makes the cluster.
pub(super) const COMPONENT: &str = "k3s";

/// Role of its servers.
pub(super) const SERVER: &str = "control-plane";

/// Begins the Kubernetes cluster, adds and removes its nodes, shows how it is
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  foundry cluster init                          make the cluster as the config says
  foundry cluster status                        servers, etcd's votes, nodes; exit code 2 if something is wrong
  foundry cluster node add node4 --role worker  into the config, and that host only is made a node
  foundry cluster node remove node4             emptied, taken out of the cluster, cleaned, out of the config
  foundry cluster kubeconfig --merge            into ~/.kube/config, other contexts kept
  foundry cluster etcd snapshot                 a snapshot of etcd, now

Nodes are the hosts with the role `control-plane` (servers, one or three or five) or `worker`.")]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Makes the cluster, and what it needs, as the config says (as `foundry build k3s`)
    Init {
        /// Make sure that it is a cluster of one: refuse if the config has more nodes
        #[arg(long)]
        single_node: bool,
        /// Only show what would run, and why
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        options: Box<BuildOptions>,
    },
    /// Adds, removes, lists and labels nodes
    Node {
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Shows servers, etcd's votes and nodes; exit code 2 if something is not as it should be
    Status {
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Prints the administrator's kubeconfig, or merges it into your own
    #[command(after_help = "\
It leads to the cluster's `vip`, or to the first server. It is all-powerful: keep it to yourself.

Examples:
  foundry cluster kubeconfig > admin.yaml
  foundry cluster kubeconfig --merge
  foundry cluster kubeconfig --merge --context lab")]
    Kubeconfig {
        /// Merge it into the first file of KUBECONFIG, or ~/.kube/config, and make it the current context
        #[arg(long)]
        merge: bool,
        /// Name of cluster, user and context; the stack's unless given
        #[arg(long, value_name = "NAME")]
        context: Option<String>,
    },
    /// Takes, lists and restores snapshots of etcd
    Etcd {
        #[command(subcommand)]
        command: EtcdCommand,
    },
}

/// Runs a `foundry cluster` command.
pub async fn cluster(args: ClusterArgs, global: &Global) -> CliResult {
    match args.command {
        ClusterCommand::Init {
            single_node,
            dry_run,
            options,
        } => {
            let reach = Reach::open(global)?;
            if single_node && reach.nodes.len() != 1 {
                return Err(CliError::usage(format!(
                    "the config gives the cluster {} nodes",
                    reach.nodes.len()
                ))
                .hint("leave `--single-node` out, or have one host with the role `control-plane` and none with `worker`"));
            }
            reach.close();
            build(&[COMPONENT.to_owned()], dry_run, &options, global).await
        }
        ClusterCommand::Node { command } => cluster_node::node(command, global).await,
        ClusterCommand::Status { output } => cluster_show::status(output, global).await,
        ClusterCommand::Kubeconfig { merge, context } => {
            cluster_show::kubeconfig(merge, context, global).await
        }
        ClusterCommand::Etcd { command } => cluster_etcd::etcd(command, global).await,
    }
}

/// The stack's cluster, and the way to it.
pub(super) struct Reach {
    pub session: Session,
    pub wired: Wired,
    /// Hosts of the component.
    pub nodes: Vec<HostId>,
    sessions: Sessions,
    journals: Arc<Journals>,
}

impl Reach {
    /// Reads the config. Connects to nothing yet.
    pub fn open(global: &Global) -> Result<Self, CliError> {
        let session = Session::open(global)?;
        if !session.stack.components.contains_key(COMPONENT) {
            return Err(CliError::usage(format!(
                "stack {} has no component `{COMPONENT}`",
                session.stack.name
            ))
            .hint(format!("add it under `components:`: `{COMPONENT}: {{}}`")));
        }
        let mut nodes: Vec<HostId> = session
            .graph
            .steps
            .iter()
            .filter(|step| &*step.label.component == COMPONENT)
            .filter_map(|step| match step.target {
                Target::Host(host) => Some(host),
                _ => None,
            })
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        let wired = Wired::new(&session, global, None, None)?;
        let writers: Arc<dyn Writers> = wired.fleet.clone();
        let sessions = Sessions::new(writers, Access::default());
        let journals = wired.journals(&session.stack);
        Ok(Self {
            session,
            wired,
            nodes,
            sessions,
            journals,
        })
    }

    /// Returns the hosts that are servers.
    pub fn servers(&self) -> Vec<HostId> {
        let server = |host: &HostId| self.is_server(*host);
        self.nodes.iter().copied().filter(server).collect()
    }

    /// Returns whether a host is a server.
    pub fn is_server(&self, host: HostId) -> bool {
        let host = self.session.stack.host(host);
        host.roles.iter().any(|role| role == SERVER)
    }

    /// Returns a host's name.
    pub fn name(&self, host: HostId) -> &str {
        &self.session.stack.host(host).name
    }

    /// Finds a node's host by name.
    pub fn find(&self, name: &str) -> Option<HostId> {
        self.nodes
            .iter()
            .copied()
            .find(|host| self.name(*host) == name)
    }

    /// Connects to the API through one of the servers.
    pub async fn api(&self, servers: &[HostId]) -> Result<Arc<Cluster>, CliError> {
        self.sessions.open(servers).await.map_err(|error| {
            CliError::failed(error).hint("`foundry cluster status` shows which servers are up")
        })
    }

    /// Connects to a host.
    pub async fn writer(&self, host: HostId) -> Result<Arc<dyn Writer>, String> {
        let writer = self.wired.fleet.writer(host).await;
        writer.map_err(|error| error.to_string())
    }

    /// Connects to a host to change it, which is entered there as `deed`.
    pub async fn changer(&self, host: HostId, deed: &str) -> Result<Arc<dyn Writer>, String> {
        let fleet: Arc<dyn Writers> = self.wired.fleet.clone();
        let entering = Entering::new(fleet, Arc::clone(&self.journals), Deed::command(deed));
        let writer = entering.writer(host).await;
        writer.map_err(|error| error.to_string())
    }

    /// Asks all servers for their part in etcd, at once.
    pub async fn members(&self) -> Vec<Member> {
        let asked = self.servers().into_iter().map(|host| async move {
            match self.writer(host).await {
                Ok(writer) => look(self.name(host), Ok(&*writer)).await,
                Err(words) => look(self.name(host), Err(words)).await,
            }
        });
        futures::future::join_all(asked).await
    }

    /// Ends all connections.
    pub fn close(&self) {
        self.wired.fleet.close();
    }
}

/// Asks whether to go on, unless `--yes` has said so.
pub(super) async fn sure(question: String, global: &Global) -> CliResult {
    if global.yes {
        return Ok(());
    }
    if !someone_there(global.yes) {
        return Err(CliError::usage(question).hint("with `--yes` nothing is asked"));
    }
    let answer = ask(None, move || Some(confirm(&question)));
    match answer.await {
        Some(true) => Ok(()),
        _ => Err(CliError::quiet(Ending::Interrupted)),
    }
}
