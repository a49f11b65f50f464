//! The Job of a fleet's shards with a real Kubernetes: the Job is the API server's, its pods are the job controller's, and a
//! kubelet starts them. PLAYED is only their end: the kubelet's pretended runtime runs nothing. That Kubernetes is older than
//! indexed Jobs, so the command line is refused, and what follows a Job is tested with one whose pods have no index.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use foundry::ops::shards::{JobError, Submitted, follow, submit};
use foundry::target::cluster::{Access, Sessions};
use k8s_openapi::api::batch::v1::Job;
use serde_json::{Value, json};

use super::desk::{Desk, end_pods};
use super::rig::Hosts;
use super::support::kubernetes::{Kubernetes, With, programs};
use super::user::User;

fn job(image: &str) -> Job {
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "nightly", "namespace": "ops" },
        "spec": {
            "completions": 2, "parallelism": 2, "backoffLimit": 0,
            "template": { "spec": {
                "restartPolicy": "Never",
                "containers": [{ "name": "foundry", "image": image, "resources": { "requests": { "cpu": "10m" } } }],
            } },
        },
    });
    serde_json::from_value(job).unwrap()
}

/// Ends pods that run, all of them in this way, for as long as it is held.
struct Ending(tokio::task::JoinHandle<()>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Ending {
    fn start(user: &User, phase: &'static str) -> Self {
        let user = user.clone();
        Self(tokio::spawn(async move {
            loop {
                end_pods(&user, "ops", phase).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }))
    }
}

async fn uid(user: &User) -> Value {
    user.get("batch/v1", "Job", "ops", "nightly").await["metadata"]["uid"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_shards_is_submitted_followed_and_run_again() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::Everything);
    let user = User::of(&kubernetes).await;
    let sessions = Sessions::new(
        Arc::new(Hosts::default()),
        Access::Kubeconfig(kubernetes.kubeconfig()),
    );
    let client = sessions.open(&[]).await.unwrap().client.clone();
    user.namespace("ops").await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "fleet" } });
    user.create(Some("ops"), secret).await;
    let heard = Mutex::new(Vec::new());
    let say = |words: &str| heard.lock().unwrap().push(words.to_owned());
    let follow = || {
        let whole = follow(&sessions, &[], "ops", "nightly", &say);
        async {
            tokio::time::timeout(Duration::from_secs(90), whole)
                .await
                .unwrap()
        }
    };

    let one = job("registry.example/foundry:1");
    let submitted = submit(&client, one.clone(), "fleet").await.unwrap();
    assert_eq!(submitted, Submitted::New);
    let first = uid(&user).await;
    // The same again is the same; another one under its name is not taken for it.
    let submitted = submit(&client, one.clone(), "fleet").await.unwrap();
    assert_eq!(
        (submitted, uid(&user).await),
        (Submitted::AtWork, first.clone())
    );
    let other = job("registry.example/foundry:2");
    let busy = submit(&client, other, "fleet").await.unwrap_err();
    assert_eq!(busy.to_string(), "another Job ops/nightly is at work");
    let ending = Ending::start(&user, "Succeeded");
    follow().await.unwrap();
    assert!(
        heard
            .lock()
            .unwrap()
            .iter()
            .any(|words| words.ends_with("at work")),
        "{heard:?}"
    );

    // One that has ended makes room.
    drop(ending);
    let submitted = submit(&client, one, "fleet").await.unwrap();
    assert_eq!(submitted, Submitted::New);
    assert_ne!(uid(&user).await, first);
    let _ending = Ending::start(&user, "Failed");
    match follow().await {
        Err(JobError::Failed { summary, told }) => {
            assert!(summary.starts_with("0 of 2 shards done"), "{summary}");
            assert!(told.contains("condition: Failed"), "{told}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_come_to_an_end_is_refused() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::ApiAlone);
    let user = User::of(&kubernetes).await;
    let desk = Desk::new(&kubernetes);
    let submit = [
        "ci",
        "job",
        "--shards",
        "3",
        "--image",
        "registry.example/foundry:1",
        "--submit",
    ];
    // Its pods would wait without end for what they mount.
    let said = desk.foundry(&submit, 1).await;
    assert!(
        said.contains("there is no Secret foundry in the namespace foundry"),
        "{said}"
    );
    assert!(
        said.contains("kubectl create secret generic foundry -n foundry"),
        "{said}"
    );
    user.namespace("foundry").await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "foundry" } });
    user.create(Some("foundry"), secret).await;
    // Each pod of a Job without indexes would take itself for the whole fleet.
    let said = desk.foundry(&submit, 1).await;
    assert!(
        said.contains("this Kubernetes has no indexed Jobs"),
        "{said}"
    );
    let left = user.get("batch/v1", "Job", "foundry", "foundry").await;
    assert!(left.is_null(), "{left}");
}
