//! Tables of objects and how far they are.

use serde_json::{Value, json};

use super::super::kinds::KindName;
use super::{State, Wait, What, ready};

fn object(kind: &str, spec: &Value, status: &Value) -> Value {
    json!({ "kind": kind, "metadata": { "generation": 2 }, "spec": spec, "status": status })
}

fn not_yet(why: &str) -> State {
    State::NotYet(why.to_owned())
}

#[test]
fn each_kind_is_ready_in_its_own_way() {
    let deployment = |status: Value| object("Deployment", &json!({ "replicas": 2 }), &status);
    let stuck =
        json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }]);
    let job = |kind: &str, status: &str| {
        let conditions = json!([{ "type": kind, "status": status, "reason": "BackoffLimitExceeded", "message": "too often" }]);
        object(
            "Job",
            &json!({}),
            &json!({ "conditions": conditions, "failed": 1 }),
        )
    };
    let table = [
        (
            deployment(
                json!({ "observedGeneration": 1, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2 }),
            ),
            not_yet("the rollout has not begun"),
        ),
        (
            deployment(
                json!({ "observedGeneration": 2, "updatedReplicas": 1, "replicas": 3, "availableReplicas": 2 }),
            ),
            not_yet("1 of 2 replicas are updated"),
        ),
        (
            deployment(
                json!({ "observedGeneration": 2, "updatedReplicas": 2, "replicas": 3, "availableReplicas": 2 }),
            ),
            not_yet("1 old replicas still run"),
        ),
        (
            deployment(json!({ "observedGeneration": 2, "updatedReplicas": 2, "replicas": 2 })),
            not_yet("0 of 2 replicas are available"),
        ),
        (
            deployment(
                json!({ "observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2 }),
            ),
            State::Done,
        ),
        (
            deployment(json!({ "observedGeneration": 2, "conditions": stuck })),
            State::Failed("Progressing is False (ProgressDeadlineExceeded)".to_owned()),
        ),
        (
            object(
                "DaemonSet",
                &json!({}),
                &json!({ "observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 1 }),
            ),
            not_yet("1 of 3 pods are available"),
        ),
        (
            object(
                "StatefulSet",
                &json!({ "replicas": 1 }),
                &json!({ "observedGeneration": 2, "readyReplicas": 1, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "a" }),
            ),
            State::Done,
        ),
        (
            object(
                "StatefulSet",
                &json!({ "replicas": 2 }),
                &json!({ "observedGeneration": 2, "readyReplicas": 2, "updatedReplicas": 1, "currentRevision": "a", "updateRevision": "b" }),
            ),
            not_yet("1 of 2 replicas are updated"),
        ),
        (job("Complete", "True"), State::Done),
        (
            job("Failed", "True"),
            State::Failed("Failed is True (BackoffLimitExceeded: too often)".to_owned()),
        ),
        (
            job("Suspended", "True"),
            not_yet("0 pods run, 1 have failed"),
        ),
        (
            object(
                "PersistentVolumeClaim",
                &json!({}),
                &json!({ "phase": "Pending" }),
            ),
            not_yet("it is Pending"),
        ),
        (
            object(
                "PersistentVolumeClaim",
                &json!({}),
                &json!({ "phase": "Bound" }),
            ),
            State::Done,
        ),
        (
            object("CustomResourceDefinition", &json!({}), &json!({})),
            not_yet("there is no condition Established yet"),
        ),
        (
            object(
                "Issuer",
                &json!({}),
                &json!({ "conditions": [{ "type": "Ready", "status": "True", "observedGeneration": 1 }] }),
            ),
            not_yet("Ready is told of an earlier version of it"),
        ),
        (object("ConfigMap", &json!({}), &json!({})), State::Done),
    ];
    for (object, wanted) in table {
        assert_eq!(ready(&object), wanted, "{object}");
    }
}

#[test]
fn conditions_are_read_as_people_write_them() {
    let wait = Wait::parse("Gateway.gateway.networking.k8s.io/edge Programmed", "web").unwrap();
    assert_eq!(
        wait.at.kind,
        KindName::Short("gateway.gateway.networking.k8s.io".to_owned())
    );
    assert_eq!(wait.at.namespace.as_deref(), Some("web"));
    assert_eq!(wait.wanted(), "Programmed");
    let other = Wait::parse("pvc/data/claim status.phase=Bound", "web").unwrap();
    assert_eq!(other.at.namespace.as_deref(), Some("data"));
    assert_eq!(other.at.name, "claim");
    let table = [
        ("x/y", What::Ready),
        (
            "x/y Ready=False",
            What::Condition {
                kind: "Ready".to_owned(),
                status: "False".to_owned(),
            },
        ),
        (
            "x/y .status.list[0].a=b=c",
            What::Path {
                path: "status.list[0].a".to_owned(),
                value: "b=c".to_owned(),
            },
        ),
    ];
    for (text, wanted) in table {
        let wait = Wait::parse(text, "").unwrap();
        assert_eq!(wait.what, wanted, "{text}");
        assert_eq!(wait.at.namespace, None);
    }
    for text in ["deployment", "/x", "a/", "a/b/c/d"] {
        assert!(Wait::parse(text, "").is_err(), "{text}");
    }
}

#[test]
fn paths_lead_through_tables_and_lists() {
    let object = json!({ "status": { "list": [{ "a": "b" }], "count": 3 } });
    let state = |text: &str| Wait::parse(text, "").unwrap().state(&object);
    assert_eq!(state("x/y status.list[0].a=b"), State::Done);
    assert_eq!(state("x/y status.count=3"), State::Done);
    assert_eq!(state("x/y status.count=4"), not_yet("status.count is 3"));
    assert_eq!(
        state("x/y status.gone=4"),
        not_yet("status.gone is not set")
    );
}
