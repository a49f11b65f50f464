//! `foundry storage …`: backends and volumes listed, tried, configured.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;

use super::exit::CliResult;
use super::print::Output;
use super::session::Session;
use super::wire::Wired;
use super::{Global, exit::CliError};
use super::{storage_configure, storage_list, storage_test};
use crate::catalog::parse_duration;
use crate::config::HostId;
use crate::graph::{Hole, StepId, Target};
use crate::probe::Known;
use crate::target::cluster::{Cluster, Sessions};
use crate::target::truenas::{self, Connection};

/// Configures, lists and tests where volumes come from
#[derive(Debug, clap::Args)]
pub struct StorageArgs {
    #[command(subcommand)]
    command: StorageCommand,
}

#[derive(Debug, Subcommand)]
enum StorageCommand {
    /// Sets up a backend: asks, checks that it answers, and writes it into the config
    #[command(after_help = "\
The API key never goes into the config, only a reference to it. It is asked for without echo, or read from standard input, and \
kept in OpenBAO; before there is one, in ~/.foundryvars (`--keep vars`). A key that the reference leads to already is taken. \
Everything else in the config stays as it is, comments too.

Examples:
  foundry storage configure
  foundry storage configure --api-url https://truenas.example.com --pool tank --protocol nfs --keep vars < key
  foundry storage configure --backend nfs --server nas.example.com --path /srv/volumes --default
  foundry storage configure --backend longhorn --replicas 3")]
    Configure(Box<storage_configure::ConfigureArgs>),
    /// Lists backends with their pools, storage classes, volumes, and claims without one; exit code 2 if one does not answer
    List {
        /// Only backends: ask nothing of the cluster
        #[arg(long)]
        backend_only: bool,
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Tries it: the backend's API, then a volume of each class, written, read back and taken away
    #[command(after_help = "\
Makes the namespace foundry-storage-test for as long as it takes, and takes away all that is in it: at its end, after Ctrl-C, \
and, should it be killed, in the next test.

Examples:
  foundry storage test
  foundry storage test --class truenas --timeout 10m
  foundry storage test --backend-only             before there is a cluster")]
    Test(storage_test::TestArgs),
}

/// Runs a `foundry storage` command.
pub async fn storage(args: StorageArgs, global: &Global) -> CliResult {
    match args.command {
        StorageCommand::Configure(args) => storage_configure::configure(*args, global).await,
        StorageCommand::List {
            backend_only,
            output,
        } => storage_list::list(backend_only, output, global).await,
        StorageCommand::Test(args) => storage_test::test(args, global).await,
    }
}

/// Reads a time that a person gave.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
}

/// Reads a file that a person named.
pub(super) fn file(path: &PathBuf) -> Result<String, CliError> {
    std::fs::read_to_string(path)
        .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))
}

/// The stack's storage, and the ways to it.
pub(super) struct Reach {
    pub session: Session,
    pub wired: Wired,
    /// Connections to backends, shared.
    pub backends: truenas::Sessions,
    sessions: Sessions,
    hosts: Vec<HostId>,
}

/// A TrueNAS that steps of the stack are on.
pub(super) struct Backend {
    /// How it is reached; in words why that isn't known.
    pub connection: Result<Connection, String>,
    /// Its address, as the config has it.
    pub url: String,
    /// Pools that steps want there.
    pub pools: Vec<String>,
    /// Those steps.
    pub steps: Vec<StepId>,
}

impl Reach {
    /// Reads the config. Connects to nothing yet.
    pub fn open(global: &Global) -> Result<Self, CliError> {
        let session = Session::open(global)?;
        let wired = Wired::new(&session, global, None, None)?;
        let (sessions, hosts) = wired.cluster(&session);
        Ok(Self {
            session,
            wired,
            backends: truenas::Sessions::default(),
            sessions,
            hosts,
        })
    }

    /// Connects to the cluster.
    pub async fn cluster(&self) -> Result<Arc<Cluster>, CliError> {
        self.sessions.open(&self.hosts).await.map_err(|error| {
            CliError::failed(error).hint("`--backend-only` asks nothing of the cluster")
        })
    }

    /// Finds the backends that steps of the stack are on, each once, by the inputs of those steps.
    pub async fn truenas(&self) -> Result<Vec<Backend>, CliError> {
        let graph = &*self.session.graph;
        let steps: Vec<StepId> = graph
            .ids()
            .filter(|id| match &graph.step(*id).target {
                Target::Service(name, _) => &**name == super::wire::TRUENAS,
                _ => false,
            })
            .collect();
        let secrets = super::look::resolve(graph, &steps, &self.wired).await?;
        let known = Known::new(graph, secrets);
        let mut backends: Vec<Backend> = Vec::new();
        for id in steps {
            let step = graph.step(id);
            let filled = known.fill(&step.inputs);
            let text = |name: &str| match filled.values.get(name) {
                Some(crate::catalog::Value::Text(text)) => Some(text.clone()),
                _ => None,
            };
            let connection = match filled.open.get("api_key").and_then(|holes| holes.first()) {
                Some(hole) => Err(match &graph.holes[hole.0 as usize] {
                    Hole::Secret(reference) => {
                        format!(
                            "its key, {}, is in OpenBAO, which does not answer",
                            reference.name()
                        )
                    }
                    Hole::Output(..) => "its key comes from a step that has yet to run".to_owned(),
                }),
                None => Connection::of(&filled.values),
            };
            let pool = step
                .task
                .as_ref()
                .filter(|task| task.probe.action.as_deref() == Some("truenas.pool"))
                .and_then(|_| text("name"));
            match backends
                .iter_mut()
                .find(|known| known.connection == connection)
            {
                Some(backend) => {
                    backend.steps.push(id);
                    backend.pools.extend(pool);
                }
                None => backends.push(Backend {
                    url: text("url").unwrap_or_default(),
                    connection,
                    pools: pool.into_iter().collect(),
                    steps: vec![id],
                }),
            }
        }
        Ok(backends)
    }

    /// Ends all connections.
    pub fn close(&self) {
        self.wired.fleet.close();
    }
}
