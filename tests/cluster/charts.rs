//! Charts, with K3s' helm controller played: what it writes for a HelmChart (its Job, the Job's pod, Helm's records) is put
//! there as the true one puts it. What Foundry asks of it and makes of it is real.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use foundry::catalog::Value as Input;
use foundry::config::{Mirror, MirrorDigests};
use foundry::secret::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::rig::{Rig, text};
use super::support::kubernetes::{Kubernetes, With, programs};
use super::user::User;

/// The kind as K3s defines it, with these fields.
fn definition(fields: &[&str]) -> Value {
    let fields: BTreeMap<&str, Value> = fields
        .iter()
        .map(|&name| {
            (
                name,
                json!({ "x-kubernetes-preserve-unknown-fields": true }),
            )
        })
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": "helmcharts.helm.cattle.io" },
        "spec": {
            "group": "helm.cattle.io",
            "scope": "Namespaced",
            "names": { "kind": "HelmChart", "plural": "helmcharts", "singular": "helmchart" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "properties": fields },
                    "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                } } },
            }],
        },
    })
}

const CURRENT: [&str; 10] = [
    "chart",
    "repo",
    "version",
    "chartContent",
    "targetNamespace",
    "valuesContent",
    "valuesSecrets",
    "failurePolicy",
    "backOffLimit",
    "timeout",
];

/// How the next releases go: each is `deployed`, `failed`, or `pending-upgrade` (the Job was killed).
type Script = Arc<Mutex<Vec<&'static str>>>;

/// The controller: for each HelmChart whose spec changed, and each whose Job is gone, a new Job and what it does.
async fn play(user: User, script: Script) {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let charts = user.api("helm.cattle.io/v1", "HelmChart", Some("kube-system"));
        let Ok(list) = charts.list(&ListParams::default()).await else {
            continue;
        };
        for chart in list.items {
            let chart = serde_json::to_value(chart).unwrap();
            let name = chart["metadata"]["name"].as_str().unwrap().to_owned();
            if !chart["metadata"]["deletionTimestamp"].is_null() {
                uninstall(&user, &name).await;
                continue;
            }
            // A changed Secret has the true one make the Job anew as well: moments before the HelmChart is written, so that its
            // pod never comes to run Helm.
            let spec = chart["spec"].to_string();
            let job = format!("helm-install-{name}");
            let gone = user
                .get("batch/v1", "Job", "kube-system", &job)
                .await
                .is_null();
            if seen.get(&name) == Some(&spec) && !gone {
                continue;
            }
            release(&user, &chart, &job, &script).await;
            seen.insert(name, spec);
        }
    }
}

async fn uninstall(user: &User, name: &str) {
    let selector = ListParams::default().labels(&format!("owner=helm,name={name}"));
    let secrets = user.api("v1", "Secret", Some("web"));
    let all = secrets.list(&selector).await.unwrap();
    for secret in all.items {
        let name = secret.metadata.name.unwrap();
        secrets
            .delete(&name, &DeleteParams::default())
            .await
            .unwrap();
    }
    let change = json!({ "metadata": { "finalizers": null } });
    user.edit(
        "helm.cattle.io/v1",
        "HelmChart",
        ("kube-system", name),
        change,
    )
    .await;
}

/// One run of the Job, as the true one's container does it.
async fn release(user: &User, chart: &Value, job: &str, script: &Script) {
    let name = chart["metadata"]["name"].as_str().unwrap();
    let jobs = user.api("batch/v1", "Job", Some("kube-system"));
    let _ = jobs.delete(job, &DeleteParams::background()).await;
    while jobs.get_opt(job).await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let finalizers =
        json!({ "metadata": { "finalizers": ["wrangler.cattle.io/on-helm-chart-remove"] } });
    user.edit(
        "helm.cattle.io/v1",
        "HelmChart",
        ("kube-system", name),
        finalizers,
    )
    .await;
    let selector = ListParams::default().labels(&format!("owner=helm,name={name}"));
    let secrets = user.api("v1", "Secret", Some("web"));
    let records = secrets.list(&selector).await.unwrap().items;
    let latest = records
        .iter()
        .map(|record| {
            let labels = record.metadata.labels.as_ref().unwrap();
            (
                labels["version"].parse::<u32>().unwrap(),
                labels["status"].clone(),
            )
        })
        .max();
    let (mut revision, status) = latest.unwrap_or((0, "absent".to_owned()));
    let outcome = if status == "failed" || status.starts_with("pending") {
        // The true one waits for a person then (`failurePolicy: abort`).
        assert_eq!(chart["spec"]["failurePolicy"], "abort");
        "abort"
    } else {
        script.lock().unwrap().pop().unwrap_or("deployed")
    };
    if outcome != "abort" {
        revision += 1;
        if outcome == "deployed" {
            for record in &records {
                let old = record.metadata.name.as_ref().unwrap();
                let change = json!({ "metadata": { "labels": { "status": "superseded" } } });
                user.edit("v1", "Secret", ("web", old), change).await;
            }
        }
        let record = record(chart, revision, outcome);
        user.create(Some("web"), record).await;
    }
    let object = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": job },
        "spec": { "template": { "spec": { "restartPolicy": "Never",
            "containers": [{ "name": "helm", "image": "x" }] } } },
    });
    let made = user.create(Some("kube-system"), object).await;
    let uid = made.metadata.uid.unwrap();
    let status = match outcome {
        "deployed" => {
            json!({ "succeeded": 1, "conditions": [{ "type": "Complete", "status": "True" }] })
        }
        "pending-upgrade" => {
            json!({ "failed": 1, "conditions": [{ "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded" }] })
        }
        _ => json!({ "failed": 1 }),
    };
    patch_status(user, "batch/v1", "Job", job, &json!({ "status": status })).await;
    if outcome != "deployed" {
        pod(user, job, &uid).await;
    }
    let status = json!({ "status": { "jobName": job } });
    patch_status(user, "helm.cattle.io/v1", "HelmChart", name, &status).await;
}

async fn patch_status(user: &User, api_version: &str, kind: &str, name: &str, status: &Value) {
    user.api(api_version, kind, Some("kube-system"))
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

/// The pod of a Job that failed, with what its container said last.
async fn pod(user: &User, job: &str, uid: &str) {
    let name = format!("{job}-{}", &uid[..5]);
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "controller-uid": uid } },
        "spec": { "containers": [{ "name": "helm", "image": "x" }] },
    });
    let object = serde_json::from_value(object).unwrap();
    let pods = user.api("v1", "Pod", Some("kube-system"));
    pods.create(&PostParams::default(), &object).await.unwrap();
    let status = json!({ "status": { "phase": "Failed", "containerStatuses": [{
        "name": "helm", "ready": false, "restartCount": 0, "image": "x", "imageID": "x",
        "state": { "terminated": { "exitCode": 1, "reason": "Error", "message": "Error: UPGRADE FAILED: timed out waiting for the condition" } },
    }] } });
    patch_status(user, "v1", "Pod", &name, &status).await;
}

fn record(chart: &Value, revision: u32, status: &str) -> Value {
    let name = chart["metadata"]["name"].as_str().unwrap();
    let description = if status == "failed" {
        "Upgrade \"zot\" failed: timed out waiting for the condition"
    } else {
        "as it is"
    };
    let release = json!({
        "info": { "status": status, "description": description },
        "chart": { "metadata": { "name": name, "version": chart["spec"]["version"] } },
        "version": revision,
    });
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(release.to_string().as_bytes()).unwrap();
    let inner = STANDARD.encode(gzip.finish().unwrap());
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {
            "name": format!("sh.helm.release.v1.{name}.v{revision}"),
            "labels": { "owner": "helm", "name": name, "status": status, "version": revision.to_string() },
        },
        "data": { "release": STANDARD.encode(inner) },
    })
}

fn zot(version: &str, size: i64, password: &str) -> Vec<(&'static str, Input)> {
    let values = Input::Map([("size".to_owned(), Input::Int(size))].into());
    let secret = Secret::new(format!("password: {password}\n"));
    vec![
        ("name", text("zot")),
        ("namespace", text("web")),
        ("chart", text("zot")),
        ("repo", text("https://charts.example")),
        ("version", text(version)),
        ("values", values),
        ("secret_values", Input::Secret(secret)),
        ("timeout", text("1m")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_is_released_followed_mended_and_removed() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::ApiAlone);
    let user = User::of(&kubernetes).await;
    let rig = Rig::new(kubernetes.kubeconfig(), "demo", false);
    let script = Script::default();
    user.create(None, definition(&CURRENT)).await;
    let playing = tokio::spawn(play(user.clone(), script.clone()));

    let one = zot("1.0.0", 1, "hunter2-one");
    assert!(rig.is_missing("helm-chart", &one).await);
    rig.apply("helm-chart", &one).await.unwrap();
    let chart = user
        .get("helm.cattle.io/v1", "HelmChart", "kube-system", "zot")
        .await;
    assert_eq!(chart["spec"]["failurePolicy"], "abort");
    assert!(!chart.to_string().contains("hunter2"), "{chart}");
    let facts = rig.observe("helm-chart", &one).await.unwrap();
    assert_eq!(facts["revision"].value(), "1");

    // Version, values and secret values: each is told apart, the secret is not shown.
    let wrong = rig
        .wrong("helm-chart", &zot("1.1.0", 2, "hunter2-two"))
        .await;
    assert_eq!(
        wrong,
        [
            "fact `Secret/zot-foundry-values data.values.yaml` is another secret than wanted",
            "fact `HelmChart/zot spec.version` is 1.0.0, wanted 1.1.0",
            "fact `HelmChart/zot spec.valuesContent.size` is 1, wanted 2",
        ]
    );
    rig.apply("helm-chart", &zot("1.1.0", 2, "hunter2-two"))
        .await
        .unwrap();
    let facts = rig
        .observe("helm-chart", &zot("1.1.0", 2, "hunter2-two"))
        .await;
    assert_eq!(facts.unwrap()["revision"].value(), "2");

    // An upgrade fails half-way: Helm's words and the pod's are in the error.
    script.lock().unwrap().push("failed");
    let three = zot("1.2.0", 2, "hunter2-two");
    let error = rig.apply("helm-chart", &three).await.unwrap_err();
    eprintln!("{error:?}");
    assert_eq!(error.message, "chart zot in web: the release has failed");
    for quoted in [
        "release: revision 3 is failed: Upgrade \"zot\" failed: timed out waiting for the condition",
        "helm ended with 1 (Error): Error: UPGRADE FAILED",
    ] {
        assert!(error.output.contains(quoted), "{quoted}\n{}", error.output);
    }
    let wrong = rig.wrong("helm-chart", &three).await;
    assert_eq!(
        wrong,
        [
            "fact `release` is failed, wanted deployed",
            "fact `settled` is no, wanted yes",
        ]
    );
    // The next run takes what failed out of the way, and nothing that was deployed.
    rig.apply("helm-chart", &three).await.unwrap();
    assert!(
        rig.said()
            .contains("revision 3 of zot is failed: forgetting it"),
        "{}",
        rig.said()
    );
    let kept = user
        .get("v1", "Secret", "web", "sh.helm.release.v1.zot.v2")
        .await;
    assert_eq!(kept["metadata"]["labels"]["status"], "superseded");

    // One that was cut off.
    script.lock().unwrap().push("pending-upgrade");
    let four = zot("1.3.0", 2, "hunter2-two");
    let error = rig.apply("helm-chart", &four).await.unwrap_err();
    assert!(error.message.contains("its Job has failed"), "{error:?}");
    rig.apply("helm-chart", &four).await.unwrap();
    assert!(!rig.said().contains("hunter2"));

    // A pinned archive is verified here and handed over.
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("zot-1.4.0.tgz");
    std::fs::write(&archive, b"an archive").unwrap();
    let index = format!(
        "entries:\n  zot:\n    - {{ version: 1.4.0, urls: [\"file://{}\"] }}\n",
        archive.display()
    );
    std::fs::write(folder.path().join("index.yaml"), index).unwrap();
    let pinned = |sha256: &str| {
        let mut given = zot("1.4.0", 2, "hunter2-two");
        given[3].1 = text(format!("file://{}", folder.path().display()));
        given.push(("sha256", text(sha256)));
        given
    };
    let error = rig
        .apply("helm-chart", &pinned(&"0".repeat(64)))
        .await
        .unwrap_err();
    assert!(error.message.contains("wanted 000"), "{error:?}");
    let sha256 = hex::encode(Sha256::digest(b"an archive"));
    rig.apply("helm-chart", &pinned(&sha256)).await.unwrap();
    let chart = user
        .get("helm.cattle.io/v1", "HelmChart", "kube-system", "zot")
        .await;
    assert_eq!(
        chart["spec"]["chartContent"],
        STANDARD.encode(b"an archive")
    );

    // One that nothing pins, with a mirror before its repository: handed over as well, and that is that.
    std::fs::write(&archive, b"of a mirror").unwrap();
    let index = format!(
        "entries:\n  zot:\n    - {{ version: 1.5.0, urls: [\"file://{}\"] }}\n",
        archive.display()
    );
    std::fs::write(folder.path().join("index.yaml"), index).unwrap();
    let mut mirrored = Rig::new(kubernetes.kubeconfig(), "demo", false);
    let mut stack = (*mirrored.stack).clone();
    stack.mirrors = vec![Mirror {
        prefix: "https://charts.example/".to_owned(),
        url: format!("file://{}/", folder.path().display()),
        digests: MirrorDigests::Pinned,
    }];
    mirrored.stack = Arc::new(stack);
    let five = zot("1.5.0", 2, "hunter2-two");
    mirrored.apply("helm-chart", &five).await.unwrap();
    let chart = user
        .get("helm.cattle.io/v1", "HelmChart", "kube-system", "zot")
        .await;
    assert_eq!(
        chart["spec"]["chartContent"],
        STANDARD.encode(b"of a mirror")
    );
    assert_eq!(mirrored.wrong("helm-chart", &five).await, [""; 0]);
    let six = zot("1.6.0", 2, "hunter2-two");
    assert_eq!(
        mirrored.wrong("helm-chart", &six).await,
        ["fact `HelmChart/zot spec.version` is 1.5.0, wanted 1.6.0"]
    );

    rig.remove("helm-chart", &pinned(&sha256)).await.unwrap();
    assert!(rig.is_missing("helm-chart", &one).await);
    playing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_helm_chart_kind_gets_no_secret_in_the_open() {
    let Some(programs) = programs() else { return };
    let kubernetes = Kubernetes::start(programs, With::ApiAlone);
    let user = User::of(&kubernetes).await;
    let rig = Rig::new(kubernetes.kubeconfig(), "demo", false);
    let old: Vec<&str> = CURRENT
        .into_iter()
        .filter(|name| !matches!(*name, "valuesSecrets" | "backOffLimit"))
        .collect();
    user.create(None, definition(&old)).await;
    let playing = tokio::spawn(play(user.clone(), Script::default()));
    let given = zot("1.0.0", 1, "hunter2-one");
    let error = rig.apply("helm-chart", &given).await.unwrap_err();
    assert!(
        error.message.contains("has no `valuesSecrets`"),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("hunter2"));
    let plain: Vec<_> = given
        .into_iter()
        .filter(|(name, _)| *name != "secret_values")
        .collect();
    rig.apply("helm-chart", &plain).await.unwrap();
    playing.abort();
}
