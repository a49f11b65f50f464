//! The cluster as a person meets it: `foundry plan` and `foundry build` with a component of their own, whose only host is this
//! machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::desk::told;
use super::support::kubernetes::{Kubernetes, With, programs};
use super::user::User;

const RECIPE: &str = r#"
summary  = "A shop"
provides = ["cluster"]
health   = ["web"]

[settings]
password = { type = "string", secret = true, required = true, doc = "Of its database" }

[steps.space]
uses = "namespace"
on   = "service:cluster"
with = { name = "shop" }

[steps.web]
uses  = "manifest"
on    = "service:cluster"
needs = ["space"]
with  = { objects = "{{ file('web.yaml') }}", namespace = "shop" }
"#;

const OBJECTS: &str = "\
apiVersion: v1
kind: Secret
metadata: { name: database }
stringData: { password: {{ settings.password | yaml }} }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers: [{ name: web, image: \"registry.example/web:1\" }]
";

/// Takes what the lock left on this machine away.
struct State(String);

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new("/var/lib/foundry").join(&self.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_plans_builds_meets_a_conflict_and_takes_over() {
    let Some(programs) = programs() else { return };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: the stack's only host is this machine, where Foundry works as root");
        return;
    }
    let kubernetes = Kubernetes::start(programs, With::ApiAlone);
    let user = User::of(&kubernetes).await;
    let home = tempfile::tempdir().unwrap();
    let stack = format!("cluster-test-{}", std::process::id());
    let _state = State(stack.clone());
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("recipes/shop/recipe.toml", RECIPE);
    write("recipes/shop/web.yaml", OBJECTS);
    write(".foundryvars", "foundry/shop:password=hunter2-hunter2\n");
    write(
        "stack.yaml",
        &format!(
            "cluster: {{ name: {stack} }}\nhosts: [{{ hostname: here, local: true }}]\n\
             components:\n  shop: {{ hosts: [here], password: \"${{secret:foundry/shop:password}}\" }}\n"
        ),
    );
    let foundry = |args: &[&str], status: i32| {
        let output = Command::new(env!("CARGO_BIN_EXE_foundry"))
            .args(args)
            .env("FOUNDRY_HOME", home.path())
            .env("HOME", home.path())
            .env("FOUNDRY_KUBECONFIG", kubernetes.kubeconfig())
            .env("NO_COLOR", "1")
            .env_remove("FOUNDRY_CONFIG")
            .output()
            .unwrap();
        let told = told(args, &output, status);
        for leaked in ["hunter2", "aHVudGVyMi"] {
            assert!(!told.contains(leaked), "{told}");
        }
        told
    };

    let told = foundry(&["plan", "shop"], 0);
    assert!(told.contains("2 missing"), "{told}");
    foundry(&["build", "shop"], 0);
    let live = user.get("v1", "Secret", "shop", "database").await;
    assert_eq!(live["data"]["password"], "aHVudGVyMi1odW50ZXIy");
    let key = &live["metadata"]["annotations"]["foundry.dev/key"];
    assert!(key.as_str().is_some_and(|key| key.len() >= 32), "{key}");
    assert_eq!(
        live["metadata"]["annotations"]["foundry.dev/step"],
        "shop:web"
    );
    let told = foundry(&["plan", "shop", "--detailed-exitcode"], 0);
    assert!(told.contains("2 satisfied"), "{told}");

    let change = json!({ "spec": { "replicas": 1 } });
    user.edit("apps/v1", "Deployment", ("shop", "web"), change)
        .await;
    let change = json!({ "data": { "password": "b3RoZXI=" } });
    user.edit("v1", "Secret", ("shop", "database"), change)
        .await;
    let told = foundry(&["plan", "shop"], 0);
    for line in [
        "drifted",
        "fact `Deployment/web spec.replicas` is 1, wanted 2",
        "fact `Secret/database data.password` is another secret than wanted",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    let told = foundry(&["build", "shop"], 1);
    for line in [
        "Deployment/web in shop: .spec.replicas is managed by \"kubectl-edit\" using apps/v1",
        "Secret/database in shop: .data.password is managed by \"kubectl-edit\" using v1",
        "--force-conflicts",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    // Whatever is in conflict is told before anything is changed.
    let live = user.get("v1", "Secret", "shop", "database").await;
    assert_eq!(live["data"]["password"], "b3RoZXI=");
    foundry(&["build", "shop", "--force-conflicts"], 0);
    foundry(&["plan", "shop", "--detailed-exitcode"], 0);

    // Nor is the secret in what a run leaves behind.
    for entry in walk(&home.path().join("runs")) {
        let text = String::from_utf8_lossy(&std::fs::read(&entry).unwrap()).into_owned();
        assert!(!text.contains("hunter2"), "{}", entry.display());
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
