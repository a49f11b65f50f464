//! Definitions that come up in the same run, servers that go away, credentials that are no good, input that makes no sense.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use foundry::target::cluster::Access;
use kube::api::DeleteParams;
use sha2::{Digest as _, Sha256};

use super::rig::{Hosts, Rig, text, texts};
use super::support::kubernetes::{Kubernetes, With, programs};
use super::user::User;

const DEFINITION: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: greetings.demo.example }
spec:
  group: demo.example
  scope: Namespaced
  names: { kind: Greeting, plural: greetings, singular: greeting }
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              properties:
                words: { type: string }
                loud: { type: boolean, default: false }
";

fn greeting(words: &str) -> String {
    format!(
        "apiVersion: demo.example/v1\nkind: Greeting\nmetadata: {{ name: hello }}\nspec: {{ words: {words} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_defined_in_a_run_can_be_used_in_it() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::ApiAlone);
    let rig = Rig::new(kubernetes.kubeconfig(), "demo", false);
    let hello = [("objects", text(greeting("hello")))];

    // A kind that nobody defined is something missing, not a fault.
    assert!(rig.is_missing("manifest", &hello).await);
    let error = rig.apply("manifest", &hello).await.unwrap_err();
    assert!(
        error.message.contains(
            "Greeting/hello: it serves no Greeting of demo.example/v1; the definition (CRD) of that kind must be installed first"
        ),
        "{error:?}"
    );

    // From a file that is held to its digest.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("definition.yaml");
    std::fs::write(&path, DEFINITION).unwrap();
    let url = |sha256: &str| {
        [
            ("url", text(format!("file://{}", path.display()))),
            ("sha256", text(sha256)),
            ("wait", texts(&["crd/greetings.demo.example"])),
        ]
    };
    let fault = rig.observe("manifest-url", &url("00")).await.unwrap_err();
    assert!(fault.message.contains("wanted 00"), "{fault}");
    let sha256 = hex::encode(Sha256::digest(DEFINITION));
    rig.apply("manifest-url", &url(&sha256)).await.unwrap();
    rig.apply("manifest", &hello).await.unwrap();
    assert_eq!(
        rig.wrong("manifest", &[("objects", text(greeting("bye")))])
            .await,
        ["fact `Greeting/hello spec.words` is hello, wanted bye"]
    );

    // Both in one manifest, the definition last: it is applied first.
    let other = format!("{}---\n{DEFINITION}", greeting("all")).replace("reeting", "rowl");
    rig.apply("manifest", &[("objects", text(other))])
        .await
        .unwrap();

    for (objects, why) in [
        ("", "the manifest holds no objects"),
        ("a: [", "document 1 of the manifest is no YAML"),
        ("kind: x", "document 1 of the manifest has no `apiVersion`"),
    ] {
        let fault = rig.observe("manifest", &[("objects", text(objects))]).await;
        let message = fault.unwrap_err().message;
        assert!(message.contains(why), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_is_waited_for_and_a_wrong_credential_is_not() {
    let Some(programs) = programs() else { return };
    let mut kubernetes = Kubernetes::start(programs, With::ApiAlone);
    let rig = Rig::new(kubernetes.kubeconfig(), "demo", false);
    let words = |word: &str| {
        let objects = format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: words}}, data: {{a: {word}}}}}"
        );
        [("objects", text(objects))]
    };
    rig.apply("manifest", &words("one")).await.unwrap();

    // Away: told, and worth asking again. An apply meanwhile goes through once it is back.
    kubernetes.stop_api();
    let fault = rig.observe("manifest", &words("two")).await.unwrap_err();
    assert!(fault.not_yet, "{fault}");
    assert!(
        fault
            .message
            .starts_with("the Kubernetes API does not answer: "),
        "{fault}"
    );
    let two = words("two");
    let (applied, ()) = tokio::join!(rig.apply("manifest", &two), async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        tokio::task::block_in_place(|| kubernetes.start_api());
    });
    applied.unwrap();
    assert_eq!(rig.wrong("manifest", &words("two")).await, [""; 0]);

    // A kubeconfig of an earlier cluster, one that is not there, one that is none.
    let stale = Rig::new(kubernetes.stale_kubeconfig(), "demo", false);
    let fault = stale.observe("manifest", &words("two")).await.unwrap_err();
    assert!(
        fault
            .message
            .starts_with("the Kubernetes API's certificate is not to be trusted: "),
        "{fault}"
    );
    assert!(!fault.not_yet);
    let folder = tempfile::tempdir().unwrap();
    let nowhere = Rig::new(folder.path().join("none"), "demo", false);
    let fault = nowhere
        .observe("manifest", &words("two"))
        .await
        .unwrap_err();
    assert!(fault.message.contains("No such file"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_does_not_answer_yet_is_waited_for() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::ApiAlone);
    let rig = Rig::new(kubernetes.kubeconfig(), "demo", false);
    let user = User::of(&kubernetes).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let webhook = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {{ name: slow }}\nwebhooks:\n  \
         - name: slow.demo.example\n    admissionReviewVersions: [v1]\n    sideEffects: None\n    failurePolicy: Fail\n    \
         timeoutSeconds: 1\n    clientConfig: {{ url: 'https://127.0.0.1:{port}/' }}\n    rules:\n      \
         - {{ apiGroups: [''], apiVersions: [v1], resources: [configmaps], operations: [CREATE, UPDATE], scope: '*' }}\n"
    );
    let webhook = [("objects", text(webhook))];
    let config = [(
        "objects",
        text(
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: default}, data: {a: b}}",
        ),
    )];
    rig.apply("manifest", &webhook).await.unwrap();
    let applied = async { rig.apply("manifest", &config).await };
    // It is asked twice and says nothing either time; then somebody takes it away.
    let removed = async {
        let first = silent.accept().await.unwrap();
        let second = silent.accept().await.unwrap();
        let webhooks = user.api(
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
            None,
        );
        webhooks
            .delete("slow", &DeleteParams::default())
            .await
            .unwrap();
        drop((first, second));
    };
    let (applied, ()) = tokio::join!(applied, removed);
    applied.unwrap();
    assert!(!rig.is_missing("manifest", &config).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_reached_through_the_first_host_that_answers() {
    let Some(programs) = programs() else { return };
    let mut kubernetes = Kubernetes::start(programs, With::ApiAlone);
    let access = |kubeconfig: &std::path::Path| Access::Hosts {
        kubeconfig: kubeconfig.to_str().unwrap().to_owned(),
        port: kubernetes.port(),
    };
    let hosts = |up: &[bool]| {
        Arc::new(Hosts {
            up: up.to_vec(),
            ..Hosts::default()
        })
    };
    let shop = [("name", text("shop"))];

    // Not up yet, in three ways: worth asking again once other steps have run.
    let absent = std::path::Path::new("/nonexistent/k3s.yaml");
    for (up, access, why) in [
        (
            &[true][..],
            access(absent),
            "the cluster is not up yet: /nonexistent/k3s.yaml is not there",
        ),
        (&[false], access(absent), "no route to host"),
        (
            &[],
            access(absent),
            "the cluster is not up yet: no host provides it",
        ),
    ] {
        let rig = Rig::through(hosts(up), access, "demo", false);
        let fault = rig.observe("namespace", &shop).await.unwrap_err();
        assert!(fault.not_yet && fault.message.contains(why), "{fault}");
    }

    let three = hosts(&[false, true, true]);
    let through = access(&kubernetes.kubeconfig());
    let rig = Rig::through(three.clone(), through, "demo", false);
    rig.apply("namespace", &shop).await.unwrap();
    rig.apply("namespace", &shop).await.unwrap();
    assert_eq!(
        three.tunnels.load(Ordering::SeqCst),
        1,
        "one connection for all steps"
    );

    // The server behind it went away and came back.
    kubernetes.stop_api();
    let fault = rig.observe("namespace", &shop).await.unwrap_err();
    assert!(fault.not_yet, "{fault}");
    kubernetes.start_api();
    assert_eq!(rig.wrong("namespace", &shop).await, [""; 0]);
}
