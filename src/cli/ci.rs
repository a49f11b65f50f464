//! `foundry ci`: what CI systems need to run a fleet by shards. Prints; submits nothing and asks no host.

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};

use super::Global;
use super::exit::{CliError, CliResult};
use super::print::print;
use super::session::Session;
use crate::graph::{Shard, Target};

/// Hosts that one shard is meant for, unless said: what a two-core runner does in good time.
const HOSTS: u32 = 500;

/// Prints what CI systems need to run a fleet by shards
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  foundry ci matrix                          shards for a GitHub matrix, by the number of hosts
  foundry ci matrix --shards 4
  foundry ci job --shards 4 --image registry.example.com/foundry:1.0 | kubectl apply -f -")]
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
    /// Prints an indexed Kubernetes Job, a pod for each shard
    Job(Box<JobArgs>),
}

#[derive(Debug, Args)]
struct Size {
    /// How many shards [default: by the number of hosts]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), conflicts_with = "hosts_per_shard")]
    shards: Option<u32>,
    /// Most hosts that a shard should have
    #[arg(long, value_name = "N", default_value_t = HOSTS, value_parser = clap::value_parser!(u32).range(1..))]
    hosts_per_shard: u32,
}

#[derive(Debug, Args)]
struct JobArgs {
    #[command(flatten)]
    size: Size,
    /// Image that has `foundry`
    #[arg(long)]
    image: String,
    /// Name of the Job
    #[arg(long, default_value = "foundry")]
    name: String,
    /// Its namespace
    #[arg(long, default_value = "foundry")]
    namespace: String,
    /// Secret with the config, keys and `.foundryvars` as files: mounted read-only, as FOUNDRY_HOME
    #[arg(long, value_name = "SECRET", default_value = "foundry")]
    secret: String,
    /// What to build
    #[arg(default_value = "stack", value_name = "TARGET")]
    targets: Vec<String>,
}

/// Runs `foundry ci …`.
///
/// # Errors
/// When the config is wrong.
pub fn ci(args: &CiArgs, global: &Global) -> CliResult {
    match &args.command {
        CiCommand::Matrix { size } => {
            let session = Session::open(global)?;
            let text = serde_json::to_string(&matrix(&session, size.of(&session)))
                .map_err(CliError::failed)?;
            print(&(text + "\n"))
        }
        CiCommand::Job(args) => {
            let session = Session::open(global)?;
            let job = job(args, &session.stack.name, args.size.of(&session));
            let text = serde_yaml::to_string(&job).map_err(CliError::failed)?;
            print(&text)
        }
    }
}

impl Size {
    fn of(&self, session: &Session) -> u32 {
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

/// Returns the manifest of a Job whose pods are the shards.
fn job(args: &JobArgs, stack: &str, count: u32) -> Json {
    let mut command = vec!["foundry", "build", "--yes"];
    command.extend(args.targets.iter().map(String::as_str));
    // Every pod of the Job has this label, and another Job has another.
    let generation = "metadata.labels['batch.kubernetes.io/controller-uid']";
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": args.name, "namespace": args.namespace,
            "labels": { "app.kubernetes.io/name": "foundry", "app.kubernetes.io/instance": stack },
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": count,
            // Running a shard again is always right; each has its own chances.
            "backoffLimitPerIndex": 2,
            "template": {
                "metadata": { "labels": { "app.kubernetes.io/name": "foundry" } },
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "foundry",
                        "image": args.image,
                        "command": command,
                        "env": [
                            { "name": "FOUNDRY_HOME", "value": "/etc/foundry" },
                            { "name": "FOUNDRY_VARS", "value": "/etc/foundry/.foundryvars" },
                            { "name": "XDG_CACHE_HOME", "value": "/cache" },
                            { "name": "FOUNDRY_SHARDS", "value": count.to_string() },
                            { "name": "FOUNDRY_GENERATION", "valueFrom": { "fieldRef": { "fieldPath": generation } } },
                        ],
                        "resources": { "requests": { "cpu": "500m", "memory": "256Mi" } },
                        "securityContext": { "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] } },
                        "volumeMounts": [
                            { "name": "home", "mountPath": "/etc/foundry", "readOnly": true },
                            { "name": "cache", "mountPath": "/cache" },
                            { "name": "tmp", "mountPath": "/tmp" },
                        ],
                    }],
                    "volumes": [
                        // Private keys must not be readable by others.
                        { "name": "home", "secret": { "secretName": args.secret, "defaultMode": 0o400 } },
                        { "name": "cache", "emptyDir": {} },
                        { "name": "tmp", "emptyDir": {} },
                    ],
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::batch::v1::Job;

    #[test]
    fn the_job_is_one_and_its_pods_know_their_shard() {
        let args = JobArgs {
            size: Size {
                shards: Some(3),
                hosts_per_shard: HOSTS,
            },
            image: "registry.example.com/foundry:1.0".to_owned(),
            name: "nightly".to_owned(),
            namespace: "ops".to_owned(),
            secret: "fleet".to_owned(),
            targets: vec!["stack".to_owned()],
        };
        let written = job(&args, "lab", 3);
        let yaml = serde_yaml::to_string(&written).unwrap();
        let job: Job = serde_yaml::from_str(&yaml).unwrap();
        // What the API does not know it would drop: nothing is lost on the way through its own types.
        assert_eq!(serde_json::to_value(&job).unwrap(), written);
        let spec = job.spec.unwrap();
        assert_eq!(
            (spec.completions, spec.completion_mode.as_deref()),
            (Some(3), Some("Indexed"))
        );
        let pod = spec.template.spec.unwrap();
        let env: Vec<&str> = pod.containers[0]
            .env
            .iter()
            .flatten()
            .map(|var| var.name.as_str())
            .collect();
        assert!(env.contains(&"FOUNDRY_SHARDS") && env.contains(&"FOUNDRY_GENERATION"));
    }
}
