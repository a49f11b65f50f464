//! Tables of wanted and live objects, and what must be told of them.

use serde_json::{Value, json};

use super::{Difference, changes, differences, finer};

fn told(found: &[Difference]) -> Vec<String> {
    let shown = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
    found
        .iter()
        .map(|one| format!("{} {} {}", one.path, shown(&one.found), shown(&one.wanted)))
        .collect()
}

/// A live Deployment as the server shows it after an apply of [`wanted`], with its defaults.
fn live() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "uid": "1", "resourceVersion": "7", "generation": 1,
            "annotations": { "deployment.kubernetes.io/revision": "1", "foundry.dev/key": "old" },
            "managedFields": [
                { "manager": "kube-controller-manager", "operation": "Update", "fieldsV1": { "f:status": {} } },
                { "manager": "foundry", "operation": "Apply", "fieldsV1": {
                    "f:metadata": { "f:annotations": { "f:foundry.dev/key": {} } },
                    "f:spec": {
                        "f:replicas": {}, "f:paused": {},
                        "f:template": { "f:spec": {
                            "f:containers": {
                                "k:{\"name\":\"web\"}": {
                                    ".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                                    "f:ports": { "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {} } },
                                    "f:resources": { "f:limits": { "f:cpu": {} } },
                                },
                                "k:{\"name\":\"old\"}": { ".": {}, "f:name": {}, "f:image": {} },
                            },
                        } },
                    },
                } },
            ],
        },
        "spec": {
            "replicas": 1, "paused": true, "revisionHistoryLimit": 10,
            "template": { "spec": {
                "restartPolicy": "Always",
                "containers": [
                    { "name": "web", "image": "a:1", "args": ["x", "y"], "imagePullPolicy": "Always",
                      "ports": [{ "containerPort": 80, "protocol": "TCP" }],
                      "resources": { "limits": { "cpu": "500m" } } },
                    { "name": "old", "image": "b" },
                    { "name": "injected", "image": "mesh" },
                ],
            } },
        },
        "status": { "replicas": 1 },
    })
}

fn wanted() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "web", "annotations": { "foundry.dev/key": "new" } },
        "spec": {
            "replicas": 1, "paused": true,
            "template": { "spec": { "containers": [
                { "name": "web", "image": "a:1", "args": ["x", "y"], "env": [],
                  "ports": [{ "containerPort": 80 }],
                  "resources": { "limits": { "cpu": "0.5" } } },
                { "name": "old", "image": "b" },
            ] } },
        },
    })
}

#[test]
fn defaults_and_what_others_put_there_are_no_differences() {
    assert_eq!(told(&differences(&wanted(), &live())), [""; 0]);
}

#[test]
fn each_field_that_differs_is_named_by_its_path() {
    let mut live = live();
    live["spec"]["replicas"] = json!(3);
    let containers = &mut live["spec"]["template"]["spec"]["containers"];
    containers[0]["image"] = json!("a:2");
    containers[0]["args"] = json!(["x", "z"]);
    containers[0]["ports"][0]["containerPort"] = json!(81);
    assert_eq!(
        told(&differences(&wanted(), &live)),
        [
            "spec.replicas 3 1",
            "spec.template.spec.containers[web].image \"a:2\" \"a:1\"",
            "spec.template.spec.containers[web].args[1] \"z\" \"y\"",
            "spec.template.spec.containers[web].ports[80] - {\"containerPort\":80}",
        ]
    );
}

#[test]
fn what_foundry_set_and_no_longer_wants_is_a_difference() {
    let mut wanted = wanted();
    wanted["spec"].as_object_mut().unwrap().remove("paused");
    let spec = &mut wanted["spec"]["template"]["spec"];
    spec["containers"].as_array_mut().unwrap().pop();
    assert_eq!(
        told(&differences(&wanted, &live())),
        [
            "spec.template.spec.containers[old] {\"name\":\"old\",\"image\":\"b\"} -",
            "spec.paused true -",
        ]
    );
}

#[test]
fn an_adopted_object_is_compared_by_names() {
    let mut live = live();
    live["metadata"]["managedFields"] = json!([]);
    assert_eq!(told(&differences(&wanted(), &live)), [""; 0]);
    live["spec"]["template"]["spec"]["containers"][0]["image"] = json!("a:2");
    assert_eq!(
        told(&differences(&wanted(), &live)),
        ["spec.template.spec.containers[web].image \"a:2\" \"a:1\""]
    );
}

#[test]
fn atomic_lists_and_sets_are_compared_as_what_they_are() {
    let object = |fields: Value, list: Value| {
        json!({
            "metadata": { "managedFields": [{ "manager": "foundry", "operation": "Apply", "fieldsV1": fields }] },
            "spec": { "list": list },
        })
    };
    let wanted = |list: Value| json!({ "metadata": {}, "spec": { "list": list } });
    let atomic = json!({ "f:spec": { "f:list": {} } });
    let set = json!({ "f:spec": { "f:list": { "v:\"a\"": {}, "v:\"b\"": {} } } });
    for (fields, live, want, told_of) in [
        (&atomic, json!(["a"]), json!(["a"]), vec![]),
        (
            &atomic,
            json!([{ "name": "a" }, { "name": "b" }]),
            json!([{ "name": "a" }]),
            vec!["spec.list [{\"name\":\"a\"},{\"name\":\"b\"}] [{\"name\":\"a\"}]"],
        ),
        (&set, json!(["a", "b", "theirs"]), json!(["b", "a"]), vec![]),
        (
            &set,
            json!(["a", "b", "theirs"]),
            json!(["a", "c"]),
            vec!["spec.list[c] - \"c\"", "spec.list[b] \"b\" -"],
        ),
    ] {
        let found = differences(&wanted(want), &object(fields.clone(), live));
        assert_eq!(told(&found), told_of);
    }
}

#[test]
fn an_apply_that_would_change_nothing_shows_none() {
    let then = || {
        let mut then = live();
        then["metadata"]["resourceVersion"] = json!("8");
        then["metadata"]["annotations"]["foundry.dev/key"] = json!("new");
        then
    };
    assert_eq!(told(&changes(&live(), &then())), [""; 0]);
    let mut then = then();
    then["spec"]["replicas"] = json!(2);
    then["spec"]["template"]["spec"]["containers"][1] = json!({ "name": "next", "image": "b" });
    then["metadata"]["labels"] = json!({ "a": "b" });
    assert_eq!(
        told(&changes(&live(), &then)),
        [
            "metadata.labels - {\"a\":\"b\"}",
            "spec.replicas 1 2",
            "spec.template.spec.containers[next] - {\"name\":\"next\",\"image\":\"b\"}",
            "spec.template.spec.containers[old] {\"name\":\"old\",\"image\":\"b\"} -",
        ]
    );
}

#[test]
fn texts_of_several_lines_are_told_where_they_differ() {
    let told_of = |path: &str, found: &str, wanted: &str| {
        told(&finer(Difference {
            path: path.to_owned(),
            found: Some(json!(found)),
            wanted: Some(json!(wanted)),
        }))
    };
    assert_eq!(
        told_of("spec.valuesContent", "a: 1\n", "a: 2\nb: { c: x }\n"),
        [
            "spec.valuesContent.a 1 2",
            "spec.valuesContent.b - {\"c\":\"x\"}"
        ]
    );
    assert_eq!(
        told_of("data.conf", "server {\n  a;\n}\n", "server {\n  b;\n}\n"),
        ["data.conf line 2 \"  a;\" \"  b;\""]
    );
    assert_eq!(
        told_of("data.conf", "x\n", "x\ny\n"),
        ["data.conf line 2 - \"y\""]
    );
    // Only a comment differs.
    assert_eq!(
        told_of("data.conf", "a: 1\nb: 2\n", "a: 1\nb: 2 # two\n"),
        ["data.conf line 2 \"b: 2\" \"b: 2 # two\""]
    );
    assert_eq!(told_of("spec.image", "a", "b"), ["spec.image \"a\" \"b\""]);
}
