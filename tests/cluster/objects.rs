//! Objects: applied, found drifted by field, mended; fields and objects of others respected; secrets kept.

use foundry::catalog::Value;
use foundry::probe::Fact;
use foundry::secret::Secret;
use serde_json::json;

use super::rig::{Rig, text};
use super::support::kubernetes::{Kubernetes, With, programs};
use super::user::User;

/// Ports name their protocol: this old server's apply can't do without (kubernetes#92332).
const WEB: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: REPLICAS
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers:
        - name: web
          image: registry.example/web:1
          ports: [{ containerPort: 80, protocol: TCP }]
          env: [{ name: A, value: \"1\" }EXTRA]
          resources: { limits: { cpu: \"0.5\", memory: 1024Mi } }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  selector: { app: web }
  ports: [{ port: 80, protocol: TCP }]
";

fn web(replicas: u32, extra: &str) -> Vec<(&'static str, Value)> {
    let objects = WEB
        .replace("REPLICAS", &replicas.to_string())
        .replace("EXTRA", extra);
    vec![("objects", text(objects)), ("namespace", text("shop"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_applied_found_drifted_by_field_and_mended() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::ApiAlone);
    let user = User::of(&kubernetes).await;
    let rig = Rig::new(kubernetes.kubeconfig(), "demo", false);
    let shop = [("name", text("shop"))];

    assert!(rig.is_missing("namespace", &shop).await);
    assert!(rig.is_missing("manifest", &web(2, "")).await);
    rig.apply("namespace", &shop).await.unwrap();
    rig.apply("manifest", &web(2, "")).await.unwrap();

    let live = user.get("apps/v1", "Deployment", "shop", "web").await;
    assert_eq!(live["metadata"]["labels"]["foundry.dev/stack"], "lab");
    assert_eq!(live["metadata"]["labels"]["foundry.dev/component"], "demo");
    assert_eq!(
        live["metadata"]["labels"]["app.kubernetes.io/managed-by"],
        "foundry"
    );
    assert_eq!(
        live["metadata"]["annotations"]["foundry.dev/key"],
        "the-key"
    );
    assert_eq!(
        live["metadata"]["annotations"]["foundry.dev/step"],
        "demo:manifest"
    );

    // The wish changes: the fields that differ are named.
    assert_eq!(
        rig.wrong("manifest", &web(3, "")).await,
        ["fact `Deployment/web spec.replicas` is 2, wanted 3"]
    );
    // What is no longer wished for is found by who set it, and goes.
    let more = ", { name: B, value: \"2\" }";
    rig.apply("manifest", &web(2, more)).await.unwrap();
    assert_eq!(
        rig.wrong("manifest", &web(2, "")).await,
        [
            "fact `Deployment/web spec.template.spec.containers[web].env[B]` is {\"name\":\"B\",\"value\":\"2\"}, wanted not set"
        ]
    );
    rig.apply("manifest", &web(2, "")).await.unwrap();
    let live = user.get("apps/v1", "Deployment", "shop", "web").await;
    let env = &live["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(*env, json!([{ "name": "A", "value": "1" }]));

    // Somebody edits and deletes: named, and mended once the field is given up.
    let change =
        json!({ "spec": { "replicas": 1 }, "metadata": { "labels": { "theirs": "stays" } } });
    user.edit("apps/v1", "Deployment", ("shop", "web"), change)
        .await;
    user.api("v1", "Service", Some("shop"))
        .delete("web", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(
        rig.wrong("manifest", &web(2, "")).await,
        [
            "fact `Deployment/web spec.replicas` is 1, wanted 2",
            "fact `Service/web` is absent, wanted there",
        ]
    );
    assert!(!rig.is_missing("manifest", &web(2, "")).await);

    // The field is the other's now: named and left, unless taking over was asked for.
    let error = rig.apply("manifest", &web(2, "")).await.unwrap_err();
    assert_eq!(
        error.message,
        "Deployment/web in shop: .spec.replicas is managed by \"kubectl-edit\" using apps/v1"
    );
    assert!(error.hint.contains("--force-conflicts"), "{error:?}");
    let live = user.get("apps/v1", "Deployment", "shop", "web").await;
    assert_eq!(live["spec"]["replicas"], 1);
    let forcing = Rig::new(kubernetes.kubeconfig(), "demo", true);
    forcing.apply("manifest", &web(2, "")).await.unwrap();
    let live = user.get("apps/v1", "Deployment", "shop", "web").await;
    assert_eq!(live["spec"]["replicas"], 2);
    assert_eq!(live["metadata"]["labels"]["theirs"], "stays");

    // An object of another component is nobody's to take over, nor to remove.
    let other = Rig::new(kubernetes.kubeconfig(), "other", true);
    let error = other.apply("manifest", &web(5, "")).await.unwrap_err();
    assert_eq!(
        error.message,
        "Deployment/web in shop belongs to component demo of stack lab: left as it is"
    );
    other.remove("manifest", &web(5, "")).await.unwrap();
    assert!(other.said().contains("does not bear our labels"));
    assert_eq!(rig.wrong("manifest", &web(2, "")).await, [""; 0]);

    // Nothing but our own goes.
    rig.remove("manifest", &web(2, "")).await.unwrap();
    assert!(rig.is_missing("manifest", &web(2, "")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_made_by_hand_is_adopted_and_secrets_are_never_shown() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::ApiAlone);
    let user = User::of(&kubernetes).await;
    let rig = Rig::new(kubernetes.kubeconfig(), "demo", false);
    user.namespace("shop").await;
    let made = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "words" }, "data": { "a": "1" },
    });
    user.create(Some("shop"), made).await;
    let words = "{apiVersion: v1, kind: ConfigMap, metadata: {name: words}, data: {a: '1'}}";
    let given = [("objects", text(words)), ("namespace", text("shop"))];
    // All that is missing are our labels.
    let wrong = rig.wrong("manifest", &given).await;
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(
        wrong[0].contains("ConfigMap/words metadata.labels"),
        "{wrong:?}"
    );
    rig.apply("manifest", &given).await.unwrap();

    // A secret in a Secret, and one in a ConfigMap, which is not meant for it.
    let secret = |word: &str| {
        let secret = Secret::new(word.to_owned());
        rig.masker.learn([&secret]);
        let objects = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{ name: key }}\nstringData: {{ password: {word} }}\n---\n\
             apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: conf }}\ndata: {{ url: \"https://u:{word}@x\", open: \"yes\" }}\n"
        );
        [
            ("objects", Value::Secret(Secret::new(objects))),
            ("namespace", text("shop")),
        ]
    };
    rig.apply("manifest", &secret("hunter2-first"))
        .await
        .unwrap();
    let live = user.get("v1", "Secret", "shop", "key").await;
    assert_eq!(live["data"]["password"], "aHVudGVyMi1maXJzdA==");
    let second = secret("hunter2-second");
    let wrong = rig.wrong("manifest", &second).await;
    assert_eq!(
        wrong,
        [
            "fact `Secret/key data.password` is another secret than wanted",
            "fact `ConfigMap/conf data.url` is another secret than wanted",
        ]
    );
    let facts = rig.observe("manifest", &second).await.unwrap();
    let Fact::Differences(told) = &facts["objects"] else {
        panic!("differences are told as such")
    };
    let shown = format!("{} {told:?}", facts["objects"].value());
    for leaked in ["hunter2", "aHVudGVyMi", "u:"] {
        assert!(!shown.contains(leaked), "{shown}");
    }
    rig.apply("manifest", &second).await.unwrap();
    assert!(!rig.said().contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_steps_take_one_list_for_each_kind() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::ApiAlone);
    let user = User::of(&kubernetes).await;
    let rig = Rig::new(kubernetes.kubeconfig(), "demo", false);
    user.namespace("shop").await;
    let steps: Vec<(&str, Vec<(&str, Value)>)> = (0..40)
        .map(|at| {
            let objects = format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m{at}}}, data: {{a: '{at}'}}}}\n---\n\
                 {{apiVersion: v1, kind: Secret, metadata: {{name: s{at}}}, stringData: {{a: '{at}'}}}}"
            );
            let given = vec![("objects", text(objects)), ("namespace", text("shop"))];
            ("manifest", given)
        })
        .collect();
    for (task, given) in &steps[..3] {
        rig.apply(task, given).await.unwrap();
    }
    let before = requests(&user).await;
    let told = rig.round(&steps).await;
    let after = requests(&user).await;
    let present = told
        .iter()
        .filter(|facts| facts.as_ref().unwrap()["objects"].value().is_empty())
        .count();
    assert_eq!(present, 3);
    eprintln!("80 objects of 40 steps took {} requests", after - before);
    // Whether it is ready, two lists, and the metrics themselves.
    assert!(after - before <= 4, "{} requests", after - before);
}

/// Returns how many requests the API server has answered to clients outside of itself.
async fn requests(user: &User) -> u64 {
    let request = kube::core::Request::new("/metrics")
        .list(&kube::api::ListParams::default())
        .unwrap();
    let text = user.client.request_text(request).await.unwrap();
    text.lines()
        .filter(|line| line.starts_with("apiserver_request_total{"))
        .filter(|line| {
            line.contains("resource=\"configmaps\"")
                || line.contains("resource=\"secrets\"")
                || line.contains("/readyz")
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .map(|count| count as u64)
        .sum()
}
