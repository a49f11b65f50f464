//! `foundry ci job`: a Job whose pods are the shards, printed or put into the cluster and followed.

use clap::Args;
use serde_json::{Value as Json, json};

use super::Global;
use super::ci::Size;
use super::exit::{CliError, CliResult, Ending};
use super::print::{print_data, say};
use super::session::Session;
use super::wire::Wired;
use crate::ops::shards::{self, JobError, Submitted};

/// What is to be known before the first Job.
pub(super) const HELP: &str = "\
The pods mount one Secret as FOUNDRY_HOME, which you make once:
  kubectl create namespace foundry
  kubectl create secret generic foundry -n foundry --from-file=stack.yaml --from-file=known_hosts --from-file=id_fleet --from-file=.foundryvars

`--submit` takes the way to the cluster that builds take, or the kubeconfig in FOUNDRY_KUBECONFIG. It follows the Job to its \
end and fails if a shard failed for good. The same command again follows a Job that is at work, and puts a new one in place of \
one that has ended. Ctrl-C ends the following, not the Job.

Examples:
  foundry ci job --shards 4 --image registry.example.com/foundry:1.0 --submit
  foundry ci job --shards 4 --image registry.example.com/foundry:1.0 | kubectl apply -f -";

/// What the Job is to be.
#[derive(Debug, Args)]
pub(super) struct JobArgs {
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
    /// Processor time that each pod asks for
    #[arg(long, value_name = "CPU", default_value = "500m")]
    cpu: String,
    /// Memory that each pod asks for
    #[arg(long, value_name = "SIZE", default_value = "256Mi")]
    memory: String,
    /// Put it into the stack's cluster and follow it to its end, in place of printing it
    #[arg(long)]
    submit: bool,
    /// Do not follow what was submitted
    #[arg(long, requires = "submit")]
    detach: bool,
    /// What to build
    #[arg(default_value = "stack", value_name = "TARGET")]
    targets: Vec<String>,
}

/// Prints or submits it.
///
/// # Errors
/// When the config is wrong, or the Job does not come to a good end.
pub(super) async fn job(args: &JobArgs, global: &Global) -> CliResult {
    let session = Session::open(global)?;
    let job = manifest(args, &session.stack.name, args.size.of(&session));
    if !args.submit {
        let text = serde_yaml::to_string(&job).map_err(CliError::failed)?;
        return print_data(&text);
    }
    let wired = Wired::new(&session, global, None, None)?;
    let done = submit(args, job, &session, &wired).await;
    wired.fleet.close();
    done
}

async fn submit(args: &JobArgs, job: Json, session: &Session, wired: &Wired) -> CliResult {
    let job = serde_json::from_value(job).map_err(CliError::failed)?;
    let (sessions, hosts) = wired.cluster(session);
    let told = |error| told(&error, args);
    let cluster = sessions
        .open(&hosts)
        .await
        .map_err(|error| told(error.into()))?;
    let submitted = shards::submit(&cluster.client, job, &args.secret)
        .await
        .map_err(told)?;
    let name = format!("Job {}/{}", args.namespace, args.name);
    match submitted {
        Submitted::New => say(&format!("{name}: submitted")),
        Submitted::AtWork => say(&format!("{name}: the same is at work already")),
    }
    if args.detach {
        return Ok(());
    }
    let heard = |words: &str| say(&format!("{name}: {words}"));
    tokio::select! {
        ended = shards::follow(&sessions, &hosts, &args.namespace, &args.name, &heard) => {
            ended.map_err(told)?;
            say(&format!("{name}: all shards are done"));
            Ok(())
        }
        _ = tokio::signal::ctrl_c() => {
            say(&format!("{name} goes on without anybody following it; the same command follows it again"));
            Err(CliError::quiet(Ending::Interrupted))
        }
    }
}

fn told(error: &JobError, args: &JobArgs) -> CliError {
    let failed = CliError::failed(error);
    let JobArgs {
        namespace,
        name,
        secret,
        ..
    } = args;
    match error {
        JobError::NoSecret { .. } => failed.hint(format!(
            "make it: `kubectl create secret generic {secret} -n {namespace} --from-file=stack.yaml …` (`foundry ci job --help` shows it)"
        )),
        JobError::Busy(_) => failed.hint(format!(
            "wait for its end, give this one another `--name`, or end it: `kubectl delete job {name} -n {namespace}`"
        )),
        JobError::TooOld => failed.hint("newer ones do: `foundry build k3s` brings this cluster up to the stack's version"),
        JobError::Failed { .. } => failed.hint("the same command runs all shards again: what is as wanted is left alone"),
        JobError::Cluster(error) => match error.hint() {
            Some(hint) => failed.hint(hint),
            None => failed,
        },
    }
}

/// Returns the manifest of a Job whose pods are the shards.
fn manifest(args: &JobArgs, stack: &str, count: u32) -> Json {
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
            "podFailurePolicy": { "rules": [
                // A pod that had to leave its node, drained by another shard perhaps, has failed at nothing.
                { "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] },
                // A config that is wrong does not get better.
                { "action": "FailIndex", "onExitCodes": { "containerName": "foundry", "operator": "In", "values": [Ending::Usage.code()] } },
            ] },
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
                        "resources": { "requests": { "cpu": args.cpu, "memory": args.memory } },
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
    use crate::cli::ci::HOSTS;
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
            cpu: "1".to_owned(),
            memory: "1Gi".to_owned(),
            submit: false,
            detach: false,
            targets: vec!["stack".to_owned()],
        };
        let written = manifest(&args, "lab", 3);
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
