//! `foundry storage list|test` with a real Kubernetes: claims, volumes and pods are the API server's and its controllers'. PLAYED
//! are a driver, which makes and deletes the volumes, and the end of pods: the kubelet's pretended runtime runs nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::api::DeleteParams;
use serde_json::{Value, json};

use super::desk::{Desk, end_pods, list, text, told};
use super::support::kubernetes::{Kubernetes, With, programs};
use super::user::User;

/// Longest that anything here may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

const NAMESPACE: &str = "foundry-storage-test";

/// Plays a driver and the end of pods for as long as it is held.
struct Driver {
    task: tokio::task::JoinHandle<()>,
    /// Volumes that it deleted, by class.
    deleted: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Driver {
    fn start(user: &User) -> Self {
        let deleted = Arc::new(Mutex::new(BTreeMap::new()));
        let (user, counted) = (user.clone(), deleted.clone());
        let task = tokio::spawn(async move {
            loop {
                provision(&user).await;
                end_pods(&user, NAMESPACE, "Succeeded").await;
                delete(&user, &counted).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Self { task, deleted }
    }
}

/// Makes a volume for every claim of the classes `fast` and `kept`, as an external provisioner does.
async fn provision(user: &User) {
    for claim in list(user, "v1", "PersistentVolumeClaim", Some(NAMESPACE)).await {
        let class = text(&claim, "/spec/storageClassName");
        let reclaim = match class {
            "fast" => "Delete",
            "kept" => "Retain",
            _ => continue,
        };
        if !text(&claim, "/spec/volumeName").is_empty() {
            continue;
        }
        let name = format!("pvc-{}", text(&claim, "/metadata/uid"));
        let volume = json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": { "name": name, "annotations": { "pv.kubernetes.io/provisioned-by": "played.example.com" } },
            "spec": {
                "storageClassName": class,
                "capacity": claim["spec"]["resources"]["requests"],
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": reclaim,
                "claimRef": {
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": NAMESPACE,
                    "name": claim["metadata"]["name"], "uid": claim["metadata"]["uid"],
                },
                "hostPath": { "path": "/tmp" },
            },
        });
        let volume = serde_json::from_value(volume).unwrap();
        // Made in the round before, where it is there already.
        let _ = user
            .api("v1", "PersistentVolume", None)
            .create(&Default::default(), &volume)
            .await;
    }
}

/// Deletes volumes that are released, where their class says so.
async fn delete(user: &User, deleted: &Mutex<BTreeMap<String, usize>>) {
    for volume in list(user, "v1", "PersistentVolume", None).await {
        let phase = text(&volume, "/status/phase");
        if text(&volume, "/spec/persistentVolumeReclaimPolicy") == "Delete"
            && ["Released", "Failed"].contains(&phase)
        {
            let name = text(&volume, "/metadata/name");
            let volumes = user.api("v1", "PersistentVolume", None);
            if volumes.delete(name, &DeleteParams::default()).await.is_ok() {
                let class = text(&volume, "/spec/storageClassName").to_owned();
                *deleted.lock().unwrap().entry(class).or_default() += 1;
            }
        }
    }
}

async fn class(user: &User, name: &str, default: bool) {
    let object = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": { "name": name, "annotations": { "storageclass.kubernetes.io/is-default-class": default.to_string() } },
        "provisioner": "played.example.com",
        "reclaimPolicy": if name == "kept" { "Retain" } else { "Delete" },
    });
    user.create(None, object).await;
}

/// Waits until there is such an object, or none.
async fn until(user: &User, kind: &str, name: &str, there: bool) {
    let namespace = if kind == "Namespace" { "" } else { NAMESPACE };
    let end = Instant::now() + PATIENCE;
    while user.get("v1", kind, namespace, name).await.is_null() == there {
        assert!(Instant::now() < end, "{kind} {name} is there: {}", !there);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn nothing_is_left(user: &User) {
    assert!(user.get("v1", "Namespace", "", NAMESPACE).await.is_null());
    let volumes = list(user, "v1", "PersistentVolume", None).await;
    let ours = |volume: &&Value| text(volume, "/spec/claimRef/namespace") == NAMESPACE;
    assert_eq!(volumes.iter().filter(ours).count(), 0, "{volumes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_are_tried_and_nothing_is_left_of_it() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::Everything);
    let user = User::of(&kubernetes).await;
    let driver = Driver::start(&user);
    let desk = Desk::new(&kubernetes);

    let said = desk.foundry(&["storage", "test"], 1).await;
    assert!(said.contains("the cluster has no storage class"), "{said}");
    class(&user, "fast", true).await;
    class(&user, "kept", false).await;

    let said = desk
        .foundry(&["storage", "test", "--class", "slow"], 3)
        .await;
    assert!(
        said.contains("no storage class `slow`") && said.contains("it has fast, kept"),
        "{said}"
    );

    let said = desk.foundry(&["storage", "test"], 0).await;
    for class in ["fast", "kept"] {
        assert!(
            said.contains(&format!("✓ class {class}: volume pvc-")),
            "{said}"
        );
    }
    nothing_is_left(&user).await;
    // The class that keeps volumes keeps none of a test's.
    let deleted = driver.deleted.lock().unwrap().clone();
    assert_eq!(
        deleted,
        BTreeMap::from([("fast".to_owned(), 1), ("kept".to_owned(), 1)])
    );

    // A class that nobody serves: named, bounded, with what the controllers say; the others are told all the same.
    class(&user, "dead", false).await;
    let said = desk
        .foundry(&["storage", "test", "--timeout", "30s"], 1)
        .await;
    for line in [
        "✓ class fast: ",
        "✗ class dead: no volume for claim try-dead within 30 seconds: it is Pending",
        "event: PersistentVolumeClaim/try-dead: ExternalProvisioning: ",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    nothing_is_left(&user).await;

    let list = desk.foundry(&["storage", "list"], 0).await;
    assert!(
        list.contains("fast (default)  played.example.com  Delete"),
        "{list}"
    );
    let list = desk
        .foundry(&["storage", "list", "--output", "json"], 0)
        .await;
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["cluster"]["classes"].as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_that_is_stopped_or_killed_leaves_nothing_for_long() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::Everything);
    let user = User::of(&kubernetes).await;
    let _driver = Driver::start(&user);
    let desk = Desk::new(&kubernetes);
    class(&user, "dead", false).await;
    class(&user, "fast", false).await;
    let dead = ["storage", "test", "--class", "dead"];

    // Ctrl-C.
    let child = desk.start(&dead);
    until(&user, "PersistentVolumeClaim", "try-dead", true).await;
    let said = desk.foundry(&dead, 1).await;
    assert!(
        said.contains("another test is under way: ") && said.contains("`--take-over` ends it"),
        "{said}"
    );
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap())
        .await
        .unwrap();
    told(&dead, &output, 130);
    nothing_is_left(&user).await;

    // Killed: the next one takes away what it left, and goes on.
    let mut child = desk.start(&dead);
    until(&user, "Pod", "write-dead", true).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!user.get("v1", "Namespace", "", NAMESPACE).await.is_null());
    let said = desk
        .foundry(&["storage", "test", "--class", "fast"], 0)
        .await;
    assert!(said.contains("✓ class fast"), "{said}");
    nothing_is_left(&user).await;
}
