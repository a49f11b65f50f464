//! `foundry ci`: what CI systems need to run a fleet by shards. Asks no host.

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::Global;
use super::ci_job::{self, JobArgs};
use super::exit::{CliError, CliResult};
use super::print::print_data;
use super::session::Session;
use crate::graph::{Shard, Target};

/// Hosts that one shard is meant for, unless said: what a two-core runner does in good time.
pub(super) const HOSTS: u32 = 500;

/// Prints what CI systems need to run a fleet by shards
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  foundry ci matrix                          shards for a GitHub matrix, by the number of hosts
  foundry ci matrix --shards 4
  foundry ci job --shards 4 --image registry.example.com/foundry:1.0 --submit
  foundry ci job --shards 4 --image registry.example.com/foundry:1.0 > job.yaml")]
pub struct CiArgs {
    #[command(subcommand)]
    command: CiCommand,
}

#[derive(Debug, Subcommand)]
enum CiCommand {
    /// Prints the shards as JSON for `strategy.matrix` of a GitHub workflow
    Matrix {
        #[command(flatten)]
        size: Size,
    },
    /// Prints an indexed Kubernetes Job, a pod for each shard; `--submit` runs it in the stack's cluster
    #[command(after_help = ci_job::HELP)]
    Job(Box<JobArgs>),
}

#[derive(Debug, Args)]
pub(super) struct Size {
    /// How many shards [default: by the number of hosts]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with = "hosts_per_shard")]
    pub shards: Option<u32>,
    /// Most hosts that a shard should have
    #[arg(long, value_name = "N", default_value_t = HOSTS, value_parser = clap::value_parser!(u32).range(1..))]
    pub hosts_per_shard: u32,
}

/// Runs `foundry ci …`.
///
/// # Errors
/// When the config is wrong, or a Job that is submitted does not come to a good end.
pub async fn ci(args: &CiArgs, global: &Global) -> CliResult {
    match &args.command {
        CiCommand::Matrix { size } => {
            let session = Session::open(global)?;
            let text = serde_json::to_string(&matrix(&session, size.of(&session)))
                .map_err(CliError::failed)?;
            print_data(&(text + "\n"))
        }
        CiCommand::Job(args) => ci_job::job(args, global).await,
    }
}

impl Size {
    /// Returns how many shards that is.
    pub fn of(&self, session: &Session) -> u32 {
        let hosts = u32::try_from(session.stack.hosts.len()).unwrap_or(u32::MAX);
        self.shards
            .unwrap_or_else(|| hosts.div_ceil(self.hosts_per_shard).max(1))
    }
}

/// Returns a matrix of one job a shard, with the number of its hosts for people.
fn matrix(session: &Session, count: u32) -> Json {
    let used: Vec<bool> = {
        let mut used = vec![false; session.stack.hosts.len()];
        for step in &session.graph.steps {
            if let Target::Host(host) = &step.target {
                used[host.0 as usize] = true;
            }
        }
        used
    };
    let include: Vec<Json> = (1..=count)
        .filter_map(|number| Shard::new(number, count))
        .map(|shard| {
            let hosts = session
                .stack
                .hosts
                .iter()
                .zip(&used)
                .filter(|(host, used)| **used && shard.owns(&host.name))
                .count();
            json!({ "shard": shard.to_string(), "hosts": hosts })
        })
        .collect();
    json!({ "include": include })
}
