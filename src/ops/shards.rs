//! The Job whose pods are the shards of a fleet: put into the cluster, followed to its end, also across servers that restart.
//! Does not know what the shards do, and prints nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Client, ResourceExt as _};
use tokio::time::Instant;

use crate::config::HostId;
use crate::target::cluster::{ClusterError, KEY, Sessions, quote};

/// Pause between looks.
const POLL: Duration = Duration::from_secs(1);

/// Longest that no server answers while a Job is followed: a build may well restart them all, one after the other.
const SILENCE: Duration = Duration::from_secs(600);

/// How often a Job is put in place of one that is on its way out.
const TRIES: usize = 30;

/// Why it did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The pods would wait for it without end.
    #[error("there is no Secret {name} in the namespace {namespace}, which the pods mount")]
    NoSecret {
        /// Where it should be.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Another one is at work under this name.
    #[error("another Job {0} is at work")]
    Busy(String),
    /// The server drops what it does not know of a Job, and each of its pods would take itself for the whole fleet.
    #[error(
        "this Kubernetes has no indexed Jobs, or no chances for each index: those came with 1.29"
    )]
    TooOld,
    /// Shards failed for good.
    #[error("{summary}{}{told}", if told.is_empty() { "" } else { "\n" })]
    Failed {
        /// How many of them are done.
        summary: String,
        /// Conditions, events and logs that tell of it.
        told: String,
    },
    /// The API refuses, or is not there.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl From<kube::Error> for JobError {
    fn from(error: kube::Error) -> Self {
        Self::Cluster(error.into())
    }
}

/// What submitting came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It is new.
    New,
    /// The very same is at work already.
    AtWork,
}

/// Puts `job` into the cluster, in place of one of its name that has ended. `secret` must be there.
///
/// # Errors
/// When the Secret is not there, another Job of that name is at work, or the API refuses.
pub async fn submit(client: &Client, mut job: Job, secret: &str) -> Result<Submitted, JobError> {
    let namespace = job.namespace().unwrap_or_default();
    let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
    // Whether it is there is all that anybody here wants to know of a Secret.
    if secrets.get_metadata_opt(secret).await?.is_none() {
        return Err(JobError::NoSecret {
            namespace,
            name: secret.to_owned(),
        });
    }
    let written = serde_json::to_vec(&job)
        .map_err(|error| JobError::Cluster(ClusterError::Access(error.to_string())))?;
    // It tells a Job that is the same from another of its name.
    let key = blake3::hash(&written).to_hex().to_string();
    job.annotations_mut().insert(KEY.to_owned(), key.clone());
    let jobs = Api::<Job>::namespaced(client.clone(), &namespace);
    let name = job.name_any();
    let mut tries = 0;
    loop {
        if let Some(there) = jobs.get_opt(&name).await? {
            if ending(&there).is_none() && there.metadata.deletion_timestamp.is_none() {
                return match there.annotations().get(KEY) {
                    Some(theirs) if *theirs == key => Ok(Submitted::AtWork),
                    _ => Err(JobError::Busy(format!("{namespace}/{name}"))),
                };
            }
            let only_this = Preconditions {
                uid: there.uid(),
                resource_version: None,
            };
            match jobs
                .delete(&name, &DeleteParams::background().preconditions(only_this))
                .await
            {
                Ok(_) => {}
                // Gone, or replaced by somebody else, in this moment.
                Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match jobs.create(&PostParams::default(), &job).await {
            Ok(created) if lacks(&created, &job) => {
                jobs.delete(&name, &DeleteParams::background()).await?;
                return Err(JobError::TooOld);
            }
            Ok(_) => return Ok(Submitted::New),
            Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(POLL).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns whether what makes pods shards got lost on the way.
fn lacks(created: &Job, asked: &Job) -> bool {
    let of = |job: &Job| {
        let spec = job.spec.as_ref()?;
        Some((spec.completion_mode.clone(), spec.backoff_limit_per_index))
    };
    // What was not asked for has the server's default.
    let asked_for = asked
        .spec
        .as_ref()
        .is_some_and(|spec| spec.completion_mode.is_some());
    asked_for && of(created) != of(asked)
}

/// Follows a Job until all its shards have ended; `say` hears what changes.
///
/// # Errors
/// When a shard failed for good, or the API is not to be had.
pub async fn follow(
    sessions: &Sessions,
    hosts: &[HostId],
    namespace: &str,
    name: &str,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), JobError> {
    let mut said = BTreeSet::new();
    let mut last = String::new();
    let mut heard = Instant::now();
    loop {
        match look(sessions, hosts, namespace, name).await {
            Ok(Looked::Ended(ended)) => return ended,
            Ok(Looked::AtWork { summary, troubles }) => {
                heard = Instant::now();
                if summary != last {
                    say(&summary);
                    last = summary;
                }
                for trouble in troubles {
                    if said.insert(trouble.clone()) {
                        say(&trouble);
                    }
                }
            }
            Err(JobError::Cluster(error)) if error.is_transient() && heard.elapsed() < SILENCE => {
                let words = format!("the cluster does not answer: {error}");
                if words != last {
                    say(&words);
                    last = words;
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(POLL).await;
    }
}

enum Looked {
    AtWork {
        summary: String,
        /// Why pods do not begin.
        troubles: Vec<String>,
    },
    Ended(Result<(), JobError>),
}

async fn look(
    sessions: &Sessions,
    hosts: &[HostId],
    namespace: &str,
    name: &str,
) -> Result<Looked, JobError> {
    let cluster = sessions.open(hosts).await?;
    let job = Api::<Job>::namespaced(cluster.client.clone(), namespace)
        .get(name)
        .await?;
    let summary = summary(&job);
    match ending(&job) {
        Some(true) => Ok(Looked::Ended(Ok(()))),
        Some(false) => {
            let mut object = serde_json::to_value(&job).unwrap_or_default();
            object["kind"] = "Job".into();
            Ok(Looked::Ended(Err(JobError::Failed {
                summary,
                told: quote(&cluster, &object).await,
            })))
        }
        None => {
            let of_it =
                ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
            let pods = Api::<Pod>::namespaced(cluster.client.clone(), namespace)
                .list(&of_it)
                .await?;
            Ok(Looked::AtWork {
                summary,
                troubles: pods.iter().filter_map(trouble).collect(),
            })
        }
    }
}

/// Returns whether all is done, once it has ended.
fn ending(job: &Job) -> Option<bool> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .filter(|condition| condition.status == "True")
        .find_map(|condition| match condition.type_.as_str() {
            "Complete" => Some(true),
            "Failed" => Some(false),
            _ => None,
        })
}

/// Says how far a Job is, in shards as people count them.
fn summary(job: &Job) -> String {
    let all = job
        .spec
        .as_ref()
        .and_then(|spec| spec.completions)
        .unwrap_or(1);
    let status = job.status.clone().unwrap_or_default();
    let mut words = format!("{} of {all} shards done", status.succeeded.unwrap_or(0));
    if let Some(active @ 1..) = status.active {
        words.push_str(&format!(", {active} at work"));
    }
    let failed: Vec<String> = status
        .failed_indexes
        .iter()
        .flat_map(|indexes| numbers(indexes))
        .map(|shard| format!("{shard}/{all}"))
        .collect();
    if !failed.is_empty() {
        words.push_str(&format!(", failed for good: {}", failed.join(", ")));
    }
    words
}

/// Reads a Job's list of indexes (`0,3-5`) as numbers of shards.
fn numbers(indexes: &str) -> Vec<u32> {
    let index = |text: &str| text.parse::<u32>().ok();
    indexes
        .split(',')
        .filter_map(|part| match part.split_once('-') {
            Some((from, to)) => Some(index(from)?..=index(to)?),
            None => index(part).map(|one| one..=one),
        })
        .flatten()
        .map(|index| index.saturating_add(1))
        .collect()
}

/// Says why a pod does not begin, if it is for more than a moment.
fn trouble(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let waits = status
        .container_statuses
        .iter()
        .flatten()
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .find(|waiting| {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            !["", "ContainerCreating", "PodInitializing"].contains(&reason)
        })
        .map(|waiting| (waiting.reason.clone(), waiting.message.clone()));
    let unplaced = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .map(|condition| (condition.reason.clone(), condition.message.clone()));
    let (reason, message) = waits.or(unplaced)?;
    Some(format!(
        "pod {} waits: {}: {}",
        pod.name_any(),
        reason.unwrap_or_default(),
        message.unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(status: &serde_json::Value) -> Job {
        let job = serde_json::json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "a" },
            "spec": { "completions": 6, "template": {} },
            "status": status,
        });
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn a_job_says_how_far_its_shards_are() {
        let begun = job(&serde_json::json!({ "active": 6 }));
        assert_eq!(summary(&begun), "0 of 6 shards done, 6 at work");
        assert_eq!(ending(&begun), None);
        let nearly = job(&serde_json::json!({
            "succeeded": 2, "failed": 7, "failedIndexes": "0,2-3",
            "conditions": [{ "type": "FailureTarget", "status": "True" }],
        }));
        assert_eq!(
            summary(&nearly),
            "2 of 6 shards done, failed for good: 1/6, 3/6, 4/6"
        );
        assert_eq!(ending(&nearly), None, "its pods have yet to end");
        for (condition, end) in [("Complete", true), ("Failed", false)] {
            let ended = job(&serde_json::json!({
                "conditions": [{ "type": condition, "status": "True" }],
            }));
            assert_eq!(ending(&ended), Some(end));
        }
    }

    #[test]
    fn pods_that_wait_for_a_moment_are_no_trouble() {
        let pod = |reason: &str| -> Pod {
            let pod = serde_json::json!({
                "metadata": { "name": "a-0-x" },
                "status": { "containerStatuses": [{
                    "name": "foundry", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "waiting": { "reason": reason, "message": "not found" } },
                }] },
            });
            serde_json::from_value(pod).unwrap()
        };
        assert_eq!(trouble(&pod("ContainerCreating")), None);
        assert_eq!(
            trouble(&pod("ErrImagePull")).unwrap(),
            "pod a-0-x waits: ErrImagePull: not found"
        );
    }
}
