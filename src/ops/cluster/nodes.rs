//! The nodes of a cluster as its API tells of them. Does not know the config.

use k8s_openapi::api::core::v1::{Node as ApiNode, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::drain::CORDONED_BY;

/// A node.
#[derive(Debug, Clone, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Whether the control plane hears of it and it can run pods.
    pub ready: bool,
    /// Why not, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// `control-plane`, `etcd`, …
    pub roles: Vec<String>,
    /// Version of its kubelet.
    pub version: String,
    /// Address within the cluster.
    pub address: Option<String>,
    /// Whether it takes no new pods.
    pub cordoned: bool,
    /// Who says so, if that was Foundry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cordoned_by: Option<String>,
    /// Whether it is a voter of etcd; `None` where the release does not tell (before 1.22) or it is no server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voter: Option<bool>,
}

/// Lists all nodes, by name.
///
/// # Errors
/// When the API refuses.
pub async fn list(client: &Client) -> Result<Vec<Node>, kube::Error> {
    let api: Api<ApiNode> = Api::all(client.clone());
    let mut nodes: Vec<Node> = api
        .list(&ListParams::default())
        .await?
        .items
        .iter()
        .map(read)
        .collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

/// Deletes a node; one that is not there is deleted already.
///
/// # Errors
/// When the API refuses.
pub async fn delete(client: &Client, name: &str) -> Result<(), kube::Error> {
    let api: Api<ApiNode> = Api::all(client.clone());
    match api.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

/// Returns whether there is a node of that name, on its way out or not.
///
/// # Errors
/// When the API refuses.
pub async fn is_there(client: &Client, name: &str) -> Result<bool, kube::Error> {
    let api: Api<ApiNode> = Api::all(client.clone());
    Ok(api.get_opt(name).await?.is_some())
}

/// Lets a node go whose K3s is stopped and whose controllers don't see to it (seen with 1.21 when a server left): does what they
/// would do, which is to forget the node's password, and takes their finalizers away. Those of others stay.
///
/// # Errors
/// When the API refuses.
pub async fn let_go(client: &Client, name: &str) -> Result<(), kube::Error> {
    let api: Api<ApiNode> = Api::all(client.clone());
    let Some(node) = api.get_opt(name).await? else {
        return Ok(());
    };
    if node.metadata.deletion_timestamp.is_none() {
        return Ok(());
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kube-system");
    let password = format!("{name}.node-password.k3s");
    match secrets.delete(&password, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => drop(other?),
    }
    let others: Vec<&String> = node
        .finalizers()
        .iter()
        .filter(|finalizer| !finalizer.starts_with("wrangler.cattle.io/"))
        .collect();
    let patch = Patch::Merge(json!({
        "metadata": { "finalizers": others, "resourceVersion": node.resource_version() },
    }));
    match api.patch(name, &PatchParams::default(), &patch).await {
        // Gone, or somebody else is at it: the next look says which.
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(()),
        other => other.map(drop),
    }
}

/// Sets labels of a node; `None` takes one away.
///
/// # Errors
/// When the API refuses.
pub async fn label(
    client: &Client,
    name: &str,
    labels: &[(String, Option<String>)],
) -> Result<(), kube::Error> {
    let api: Api<ApiNode> = Api::all(client.clone());
    let labels: Map<String, Value> = labels
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
    api.patch(name, &PatchParams::default(), &patch)
        .await
        .map(drop)
}

fn read(node: &ApiNode) -> Node {
    let status = node.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let ready = condition("Ready");
    let is_ready = ready.is_some_and(|condition| condition.status == "True");
    let mut roles: Vec<String> = node
        .labels()
        .keys()
        .filter_map(|key| key.strip_prefix("node-role.kubernetes.io/"))
        .map(str::to_owned)
        .collect();
    roles.sort();
    Node {
        name: node.name_any(),
        ready: is_ready,
        why: ready
            .filter(|_| !is_ready)
            .and_then(|condition| condition.message.clone()),
        roles,
        version: status
            .and_then(|status| status.node_info.as_ref())
            .map(|info| info.kubelet_version.clone())
            .unwrap_or_default(),
        address: status
            .and_then(|status| status.addresses.as_ref())
            .and_then(|addresses| {
                addresses
                    .iter()
                    .find(|address| address.type_ == "InternalIP")
            })
            .map(|address| address.address.clone()),
        cordoned: node
            .spec
            .as_ref()
            .and_then(|spec| spec.unschedulable)
            .unwrap_or(false),
        cordoned_by: node.annotations().get(CORDONED_BY).cloned(),
        voter: condition("EtcdIsVoter").map(|condition| condition.status == "True"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_says_of_a_node() {
        let node: ApiNode = serde_json::from_value(json!({
            "metadata": {
                "name": "n1",
                "labels": { "node-role.kubernetes.io/etcd": "true", "node-role.kubernetes.io/control-plane": "true" },
                "annotations": { CORDONED_BY: "me" },
            },
            "spec": { "unschedulable": true },
            "status": {
                "addresses": [{ "type": "Hostname", "address": "n1" }, { "type": "InternalIP", "address": "192.0.2.1" }],
                "conditions": [
                    { "type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status." },
                    { "type": "EtcdIsVoter", "status": "True" },
                ],
                "nodeInfo": {
                    "architecture": "", "bootID": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
                    "kubeletVersion": "v1.36.3+k3s1", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "",
                },
            },
        }))
        .unwrap();
        insta::assert_json_snapshot!(read(&node), @r#"
    {
      "name": "n1",
      "ready": false,
      "why": "Kubelet stopped posting node status.",
      "roles": [
        "control-plane",
        "etcd"
      ],
      "version": "v1.36.3+k3s1",
      "address": "192.0.2.1",
      "cordoned": true,
      "cordoned_by": "me",
      "voter": true
    }
    "#);
    }
}
