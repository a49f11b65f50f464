//! A node emptied: no new pods (with Foundry's own mark, so that it undoes only what it did), and those that are there
//! evicted, with budgets honoured, within a time-out. Does not know why.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::time::{Instant, sleep};

/// Annotation: who made the node take no new pods.
pub const CORDONED_BY: &str = "foundry.dev/cordoned-by";

/// How long to wait before pods are looked at again.
const PAUSE: Duration = Duration::from_secs(1);

/// What a drain did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drained {
    /// Whether the mark is Foundry's; `false`: somebody else had cordoned the node before.
    pub cordoned: bool,
    /// How many pods were evicted.
    pub evicted: usize,
}

/// Why a node was not emptied. It takes new pods again, unless somebody else wanted that it does not.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// There is no node of that name.
    #[error("the cluster has no node `{0}`")]
    NoNode(String),
    /// Time is up.
    #[error("pods are left on {node} after {seconds} seconds: {}", left.join("; "))]
    TookTooLong {
        /// The node.
        node: String,
        /// How long it was tried.
        seconds: u64,
        /// Pods by `namespace/name`, with why each stays.
        left: Vec<String>,
    },
    /// The API's own words.
    #[error("the Kubernetes API: {0}")]
    Api(#[from] kube::Error),
    /// It failed, and so did making the node take pods again.
    #[error("{0}; and {1} still takes no new pods: `kubectl uncordon {1}` ({2})")]
    LeftCordoned(Box<DrainError>, String, kube::Error),
}

/// Empties a node. On any failure the cordon is undone, if it is Foundry's.
///
/// # Errors
/// Why pods are left.
pub async fn drain(
    client: &Client,
    node: &str,
    by: &str,
    timeout: Duration,
    say: &(dyn Fn(&str) + Sync),
) -> Result<Drained, DrainError> {
    let ours = cordon(client, node, by).await?;
    match evict_all(client, node, timeout, say).await {
        Ok(evicted) => Ok(Drained {
            cordoned: ours,
            evicted,
        }),
        Err(error) => match uncordon(client, node).await {
            Ok(_) => Err(error),
            Err(again) => Err(DrainError::LeftCordoned(
                Box::new(error),
                node.to_owned(),
                again,
            )),
        },
    }
}

/// Makes the node take no new pods. Returns whether that is Foundry's doing.
async fn cordon(client: &Client, name: &str, by: &str) -> Result<bool, DrainError> {
    let api: Api<Node> = Api::all(client.clone());
    let node = api
        .get_opt(name)
        .await?
        .ok_or_else(|| DrainError::NoNode(name.to_owned()))?;
    let cordoned = node
        .spec
        .as_ref()
        .and_then(|spec| spec.unschedulable)
        .unwrap_or(false);
    if cordoned {
        return Ok(node.annotations().contains_key(CORDONED_BY));
    }
    // One request: never one without the other. The version makes it fail if somebody cordons at the same moment.
    let patch = Patch::Merge(json!({
        "metadata": { "annotations": { CORDONED_BY: by }, "resourceVersion": node.resource_version() },
        "spec": { "unschedulable": true },
    }));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            Box::pin(cordon(client, name, by)).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Lets the node take pods again if it was Foundry that said it should not. Returns whether it was.
///
/// # Errors
/// When the API refuses.
pub async fn uncordon(client: &Client, name: &str) -> Result<bool, kube::Error> {
    let api: Api<Node> = Api::all(client.clone());
    let Some(node) = api.get_opt(name).await? else {
        return Ok(false);
    };
    if !node.annotations().contains_key(CORDONED_BY) {
        return Ok(false);
    }
    let patch = Patch::Merge(json!({
        "metadata": { "annotations": { CORDONED_BY: null } },
        "spec": { "unschedulable": null },
    }));
    api.patch(name, &PatchParams::default(), &patch).await?;
    Ok(true)
}

/// Evicts all pods that can run elsewhere and waits until they are gone.
async fn evict_all(
    client: &Client,
    node: &str,
    timeout: Duration,
    say: &(dyn Fn(&str) + Sync),
) -> Result<usize, DrainError> {
    let all: Api<Pod> = Api::all(client.clone());
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let end = Instant::now() + timeout;
    let mut evicted = std::collections::BTreeSet::new();
    let mut told = std::collections::BTreeSet::new();
    loop {
        let pods = all.list(&on_node).await?.items;
        let mut left = Vec::new();
        for pod in pods.iter().filter(|pod| goes(pod)) {
            let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
            let title = format!("{namespace}/{name}");
            if pod.metadata.deletion_timestamp.is_some() {
                left.push(format!("{title} is still ending"));
                continue;
            }
            let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
            match api.evict(&name, &EvictParams::default()).await {
                Ok(_) => {
                    if evicted.insert(title.clone()) {
                        say(&format!("evicted {title}"));
                    }
                    left.push(format!("{title} is still ending"));
                }
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                // A budget says not now.
                Err(kube::Error::Api(status)) if status.code == 429 => {
                    if told.insert(title.clone()) {
                        say(&format!("{title} has to wait: {}", status.message));
                    }
                    left.push(format!("{title}: {}", status.message));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if left.is_empty() {
            return Ok(evicted.len());
        }
        if Instant::now() >= end {
            return Err(DrainError::TookTooLong {
                node: node.to_owned(),
                seconds: timeout.as_secs(),
                left,
            });
        }
        sleep(PAUSE).await;
    }
}

/// Returns whether a pod has to go: not what a DaemonSet or the kubelet itself put there, nor what has ended.
fn goes(pod: &Pod) -> bool {
    let of_daemon_set = pod
        .owner_references()
        .iter()
        .any(|owner| owner.kind == "DaemonSet" && owner.controller == Some(true));
    let mirror = pod
        .annotations()
        .contains_key("kubernetes.io/config.mirror");
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    !of_daemon_set && !mirror && !ended
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn pod(metadata: &Value, phase: &str) -> Pod {
        serde_json::from_value(json!({ "metadata": metadata, "status": { "phase": phase } }))
            .unwrap()
    }

    #[test]
    fn who_has_to_go() {
        let owned = |kind: &str| {
            json!({ "name": "x", "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "u", "controller": true }] })
        };
        let mirror = json!({ "name": "x", "annotations": { "kubernetes.io/config.mirror": "h" } });
        for (pod, want) in [
            (pod(&json!({ "name": "alone" }), "Running"), true),
            (pod(&owned("ReplicaSet"), "Pending"), true),
            (pod(&owned("DaemonSet"), "Running"), false),
            (pod(&mirror, "Running"), false),
            (pod(&owned("Job"), "Succeeded"), false),
        ] {
            assert_eq!(goes(&pod), want, "{pod:?}");
        }
    }
}
