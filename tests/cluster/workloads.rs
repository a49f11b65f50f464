//! Waiting: rollouts, Jobs, claims, nodes; and what is quoted when they don't get there.

use foundry::catalog::Value;

use super::rig::{Rig, text, texts};
use super::support::kubernetes::{Kubernetes, With, programs};
use super::user::User;

fn manifest(objects: &str, wait: &[&str], timeout: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("objects", text(objects)),
        ("namespace", text("shop")),
        ("wait", texts(wait)),
        ("timeout", text(timeout)),
    ]
}

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      nodeSelector: NODES
      containers: [{ name: web, image: registry.example/web:1 }]
";

/// A Job whose pods are more than the only node can take.
const JOB: &str = "
apiVersion: batch/v1
kind: Job
metadata: { name: work }
spec:
  activeDeadlineSeconds: 2
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: work
          image: registry.example/work:1
          resources: { requests: { cpu: \"4000\" } }
";

const CLAIM: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: data }
spec:
  storageClassName: nobody-has-it
  accessModes: [ReadWriteOnce]
  resources: { requests: { storage: 1Gi } }
";

#[tokio::test(flavor = "multi_thread")]
async fn rollouts_are_waited_for_and_failures_are_quoted() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::Everything);
    let user = User::of(&kubernetes).await;
    let rig = Rig::new(kubernetes.kubeconfig(), "demo", false);
    user.namespace("shop").await;

    let nodes = [("nodes", texts(&["node-1"]))];
    rig.apply("cluster-nodes", &nodes).await.unwrap();
    let more = [
        ("nodes", texts(&["node-1", "node-2"])),
        ("timeout", text("1s")),
    ];
    assert_eq!(
        rig.wrong("cluster-nodes", &more).await,
        ["fact `Node/node-2` is absent, wanted ready"]
    );
    let error = rig.apply("cluster-nodes", &more).await.unwrap_err();
    assert_eq!(
        error.message,
        "Node/node-2 is not ready after 1 s: it is not there"
    );

    // A rollout that works.
    let web = WEB.replace("NODES", "{}");
    let given = manifest(&web, &["deployment/web"], "3m");
    rig.apply("manifest", &given).await.unwrap();
    let live = user.get("apps/v1", "Deployment", "shop", "web").await;
    assert_eq!(live["status"]["availableReplicas"], 2);
    let ready = [
        ("namespace", text("shop")),
        ("workloads", texts(&["deployment/web"])),
        (
            "conditions",
            texts(&[
                "deployment.apps/web Available",
                "deploy/web status.replicas=2",
            ]),
        ),
    ];
    assert_eq!(rig.wrong("workloads-ready", &ready).await, [""; 0]);

    // One that no node is there for: conditions, and why the pods wait.
    let lost = WEB
        .replace("NODES", "{ disk: fast }")
        .replace("web", "lost");
    let given = manifest(&lost, &["deployment/lost"], "8s");
    let error = rig.apply("manifest", &given).await.unwrap_err();
    eprintln!("{error:?}");
    assert_eq!(
        error.message,
        "deployment/lost is not ready after 8 s: 0 of 2 replicas are available"
    );
    for quoted in [
        "condition: Available is False (MinimumReplicasUnavailable",
        "event: Pod/lost-",
        "FailedScheduling: 0/1 nodes are available",
        "is Pending",
        "not scheduled: 0/1 nodes are available",
    ] {
        assert!(error.output.contains(quoted), "{quoted}\n{}", error.output);
    }

    // A Job that fails is not waited for to the end of time.
    let given = manifest(JOB, &["job/work"], "3m");
    let error = rig.apply("manifest", &given).await.unwrap_err();
    eprintln!("{error:?}");
    assert!(
        error
            .message
            .starts_with("job/work has failed: Failed is True (DeadlineExceeded"),
        "{error:?}"
    );

    // A claim that nobody serves.
    let given = manifest(CLAIM, &["pvc/data"], "5s");
    let error = rig.apply("manifest", &given).await.unwrap_err();
    eprintln!("{error:?}");
    assert_eq!(
        error.message,
        "pvc/data is not ready after 5 s: it is Pending"
    );
    assert!(
        error.output.contains(
            "ProvisioningFailed: storageclass.storage.k8s.io \"nobody-has-it\" not found"
        ),
        "{error:?}"
    );

    // A namespace goes with all that is in it, and the step returns when it is gone.
    let gone = [("name", text("gone"))];
    rig.apply("namespace", &gone).await.unwrap();
    rig.remove("namespace", &gone).await.unwrap();
    assert!(rig.is_missing("namespace", &gone).await);
}
