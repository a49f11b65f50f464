//! A person at a desk with a cluster: runs `foundry` on a stack, and looks at what there is. Knows nothing of what is tested.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};

use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::support::kubernetes::Kubernetes;
use super::user::User;

/// A stack whose only component that has anything to do with volumes is the cluster.
pub struct Desk {
    home: tempfile::TempDir,
    kubeconfig: std::path::PathBuf,
}

impl Desk {
    pub fn new(kubernetes: &Kubernetes) -> Self {
        let home = tempfile::tempdir().unwrap();
        let stack = "cluster: { name: lab }\nhosts: [{ hostname: node-1, address: 127.0.0.1, role: control-plane }]\n\
                     components: { k3s: {}, storage: { smoke: false } }\n";
        let path = home.path().join("stack.yaml");
        std::fs::write(&path, stack).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self {
            home,
            kubeconfig: kubernetes.kubeconfig(),
        }
    }

    pub fn start(&self, args: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_foundry"))
            .args(args)
            .env("FOUNDRY_HOME", self.home.path())
            .env("HOME", self.home.path())
            .env("FOUNDRY_KUBECONFIG", &self.kubeconfig)
            .env("NO_COLOR", "1")
            .env_remove("FOUNDRY_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub async fn foundry(&self, args: &[&str], status: i32) -> String {
        let child = self.start(args);
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
            .await
            .unwrap();
        told(args, &output, status)
    }
}

/// Returns what a command said; it must have ended with `status`.
pub fn told(args: &[&str], output: &Output, status: i32) -> String {
    let told = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    eprintln!("$ foundry {}\n{told}", args.join(" "));
    assert_eq!(output.status.code(), Some(status), "{told}");
    told
}

/// Lists objects; none where the API would not tell.
pub async fn list(
    user: &User,
    api_version: &str,
    kind: &str,
    namespace: Option<&str>,
) -> Vec<Value> {
    let api = user.api(api_version, kind, namespace);
    let listed = api.list(&ListParams::default()).await;
    let items = listed.map(|listed| listed.items).unwrap_or_default();
    items
        .into_iter()
        .map(|one| serde_json::to_value(one).unwrap())
        .collect()
}

/// Reads a text, empty where there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Ends the pods of a namespace that the kubelet has started, in this way.
pub async fn end_pods(user: &User, namespace: &str, phase: &str) {
    for pod in list(user, "v1", "Pod", Some(namespace)).await {
        if text(&pod, "/status/phase") == "Running" {
            let change = json!({ "status": { "phase": phase } });
            let pods = user.api("v1", "Pod", Some(namespace));
            let name = text(&pod, "/metadata/name");
            // It may have gone in this moment.
            let _ = pods
                .patch_status(name, &PatchParams::default(), &Patch::Merge(change))
                .await;
        }
    }
}
