//! Tests of what graphs download, and of steps held to pins. Knows no embedded recipe.

use std::sync::Arc;

use super::{Fingerprints, Graph, Input, Step, StepSet, expand, key};
use crate::catalog::{AllProblems, Catalog, Files, Value};
use crate::config::{self, Pins, Source};
use crate::secret::Secret;

const TASKS: &[(&str, &str)] = &[
    (
        "tasks/artifact.toml",
        include_str!("../../tasks/artifact.toml"),
    ),
    (
        "tasks/helm-chart.toml",
        include_str!("../../tasks/helm-chart.toml"),
    ),
    (
        "tasks/manifest.toml",
        include_str!("../../tasks/manifest.toml"),
    ),
    (
        "tasks/manifest-url.toml",
        include_str!("../../tasks/manifest-url.toml"),
    ),
    ("tasks/image.toml", include_str!("../../tasks/image.toml")),
];

const RECIPE: &str = r#"
summary  = "x"
role     = "web"
provides = [{ service = "cluster", role = "web" }]
[settings]
token = { type = "string", secret = true, default = "", doc = "x" }
[images]
web = { image = ["docker.io/library/web:1", "quay.io/side:2@sha256:cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"] }
[artifacts.tool]
version   = "1.0.0"
url       = "https://up.example/tool-{{ arch }}"
checksums = "https://up.example/sums"
[artifacts.tool.sha256]
"1.0.0/arm64" = "1b408e01f3565ac0cbcb88d637dca271d0515148fb72efdeff4473a34fa50c4e"
[steps.tool]
uses = "artifact"
on   = "hosts"
with = { name = "tool", version = "1.0.0", url = "{{ artifacts.tool.url }}", sha256 = "{{ artifacts.tool.sha256 }}", checksums = "{{ artifacts.tool.checksums }}" }
[steps.chart]
uses = "helm-chart"
on   = "service:cluster"
with = { name = "web", namespace = "web", chart = "web", repo = "https://charts.example", version = "1.2.0", values = { whole = "{{ pinned('web:1') }}", tag = "{{ pinned_tag('docker.io/library/web:1') }}", digest = "{{ pinned_digest('web:1') }}", other = "{{ pinned('other:2') }}" } }
[steps.crds]
uses = "manifest-url"
on   = "service:cluster"
with = { url = "https://up.example/crds.yaml", sha256 = "9781b39c24f3f651bd6d6e41b561e04e4904bbdb6d4f8c7a6009df3a702dcd65" }
[steps.image]
uses     = "image"
on       = "hosts"
for_each = "{{ images }}"
with     = { image = "{{ item }}", path = "/x/{{ item | replace('/', '_') }}.tar" }
[steps.objects]
uses = "manifest"
on   = "service:cluster"
with = { objects = "containers:\n  - image: busybox:1\n    env: {{ settings.token | yaml }}\n  - image: other:1\n" }
"#;

const CONFIG: &str = "cluster: { name: lab }\nhosts: [{ hostname: a, role: web }, { hostname: b, role: web }]\ncomponents: { web: { token: '${secret:x/y:z}' } }\n";

fn try_graph(pins: &str) -> Result<Graph, AllProblems> {
    let mut files = Files::default();
    for (path, text) in TASKS {
        files.add("", path, text);
    }
    files.add("", "recipes/web/recipe.toml", RECIPE);
    let catalog = Catalog::load(&files)?;
    let source = |name: &str, text: &str| Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let mut stack = config::parse(&Arc::new(source("stack.yaml", CONFIG)))?;
    if !pins.is_empty() {
        stack.pins = Arc::new(Pins::parse(source("stack.pins", pins))?);
    }
    expand(&Arc::new(stack), &catalog)
}

fn graph(pins: &str) -> Graph {
    try_graph(pins).unwrap_or_else(|problems| panic!("{problems}"))
}

fn steps<'a>(graph: &'a Graph, name: &'a str) -> impl Iterator<Item = &'a Step> {
    graph
        .steps
        .iter()
        .filter(move |step| &*step.label.step == name)
}

fn input(graph: &Graph, step: &str, name: &str) -> Input {
    steps(graph, step).next().unwrap().inputs[name].clone()
}

fn known(text: &str) -> Input {
    Input::Known(Value::Text(text.to_owned()))
}

/// Pins of everything that [`RECIPE`] downloads, in the order of the file.
fn all_pins() -> String {
    let hex = |byte: &str| byte.repeat(32);
    format!(
        "format = 1
[[artifact]]
name = 'tool'\nversion = '1.0.0'\narch = 'amd64'\nurl = 'https://up.example/tool-amd64'\nsha256 = '{aa}'\nsource = 'checksums'
[[artifact]]
name = 'tool'\nversion = '1.0.0'\narch = 'arm64'\nurl = 'https://up.example/tool-arm64'\nsha256 = '1b408e01f3565ac0cbcb88d637dca271d0515148fb72efdeff4473a34fa50c4e'\nsource = 'recipe'
[[chart]]
name = 'web'\nversion = '1.2.0'\nrepo = 'https://charts.example'\nurl = 'https://charts.example/web-1.2.0.tgz'\nsha256 = '{bb}'\nsource = 'index'
[[image]]
name = 'docker.io/library/busybox:1'\ndigest = 'sha256:{bb}'\nsource = 'registry'
[[image]]
name = 'docker.io/library/web:1'\ndigest = 'sha256:{aa}'\nsource = 'registry'
",
        aa = hex("aa"),
        bb = hex("bb"),
    )
}

#[test]
fn everything_that_steps_download_is_named_once() {
    let graph = graph("");
    let found = graph.downloads(&StepSet::all(graph.steps.len()));
    assert!(found.unknown.is_empty());
    let shown = found.list.iter().map(|one| {
        let steps: Vec<&str> = one.steps.iter().map(String::as_str).collect();
        let held = one.sha256.get(..4).unwrap_or("-");
        format!("{one} {held} {}\n", steps.join(" "))
    });
    insta::assert_snapshot!(shown.collect::<String>(), @r"
    artifact tool 1.0.0 amd64 - web:tool
    artifact tool 1.0.0 arm64 1b40 web:tool
    chart web 1.2.0 - web:chart
    manifest https://up.example/crds.yaml 9781 web:crds
    image docker.io/library/busybox:1 - web:objects
    image docker.io/library/other:1 - web:objects
    image docker.io/library/web:1 - web web:image
    image quay.io/side:2 cdcd web web:image
    ");
    let none = graph.downloads(&StepSet::none(graph.steps.len()));
    assert_eq!(none, super::Downloads::default());
}

#[test]
fn steps_are_held_to_the_pins_and_know_them_in_their_inputs() {
    let (plain, pinned) = (graph(""), graph(&all_pins()));
    let aa = "aa".repeat(32);
    let Input::Known(Value::Map(digests)) = input(&pinned, "tool", "sha256") else {
        panic!("digests are a table");
    };
    assert_eq!(digests["amd64"], Value::Text(aa.clone()));
    assert!(digests.contains_key("arm64"));
    assert_eq!(input(&pinned, "chart", "sha256"), known(&"bb".repeat(32)));
    assert_eq!(input(&plain, "chart", "sha256"), known(""));
    // Not pinned: as the recipe says.
    assert_eq!(
        input(&pinned, "crds", "sha256"),
        input(&plain, "crds", "sha256")
    );
    let web = format!("docker.io/library/web:1@sha256:{aa}");
    assert_eq!(input(&pinned, "image", "image"), known(&web));
    // The place of its archive and its label stay as they were.
    assert_eq!(
        input(&pinned, "image", "path"),
        input(&plain, "image", "path")
    );
    let labels = |graph: &Graph| {
        graph
            .steps
            .iter()
            .map(|step| step.label.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(labels(&pinned), labels(&plain));
    assert!(pinned.images.values().flatten().any(|image| *image == web));
    let Input::Text(parts) = input(&pinned, "objects", "objects") else {
        panic!("there is a secret in it");
    };
    let text = format!("{parts:?}");
    assert!(
        text.contains(&format!("busybox:1@sha256:{}", "bb".repeat(32))),
        "{text}"
    );
    assert!(text.contains("other:1\\n"), "{text}");
    // Steps that shared their inputs still do.
    let pointers: Vec<_> = steps(&pinned, "tool")
        .map(|step| Arc::as_ptr(&step.inputs))
        .collect();
    assert_eq!(pointers.len(), 2);
    assert_eq!(pointers[0], pointers[1]);
}

#[test]
fn a_pin_that_contradicts_a_recipe_is_refused_by_name() {
    let other = all_pins().replace("1b408e01", "00000000");
    let side = format!(
        "{other}[[image]]\nname = 'quay.io/side:2'\ndigest = 'sha256:{}'\nsource = 'registry'\n",
        "00".repeat(32)
    );
    let said = try_graph(&side).unwrap_err().to_string();
    for wanted in [
        "stack.pins:14:10: artifact tool 1.0.0 arm64 is pinned to sha256 00000000f3565ac0",
        "but the recipe `web` says 1b408e01f3565ac0",
        "foundry stack pin --accept tool",
        "image quay.io/side:2 is pinned to sha256 0000",
    ] {
        assert!(said.contains(wanted), "no `{wanted}` in\n{said}");
    }
}

#[test]
fn templates_give_images_with_the_digests_that_are_pinned() {
    let values = |graph: &Graph| {
        let Input::Known(Value::Map(values)) = input(graph, "chart", "values") else {
            panic!("values are a table");
        };
        ["whole", "tag", "digest", "other"].map(|name| match &values[name] {
            Value::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(values(&graph("")), ["web:1", "1", "", "other:2"]);
    let digest = format!("sha256:{}", "aa".repeat(32));
    let wanted = [
        format!("web:1@{digest}"),
        format!("1@{digest}"),
        digest.clone(),
        "other:2".to_owned(),
    ];
    assert_eq!(values(&graph(&all_pins())), wanted);
}

#[test]
fn pins_enter_the_keys_of_the_steps_that_download() {
    let keys = |graph: &Graph| {
        let made_up = |_| Some(Value::Text("made up".to_owned()));
        let secrets = Fingerprints::new("k1".into(), Secret::new([7; 32]));
        let of = |name: &'static str| {
            let step = steps(graph, name).next().unwrap();
            let inputs = step.inputs.iter();
            let inputs = inputs.map(|(name, input)| (name.clone(), input.fill(&made_up).unwrap()));
            let task = step.task.as_ref().unwrap();
            key(task, &step.target, &inputs.collect(), &secrets)
        };
        ["tool", "chart", "objects", "image", "crds"].map(of)
    };
    let (plain, pinned) = (keys(&graph("")), keys(&graph(&all_pins())));
    let changed: Vec<bool> = plain.iter().zip(&pinned).map(|(a, b)| a != b).collect();
    // Nothing is pinned of the last.
    assert_eq!(changed, [true, true, true, true, false]);
    let other = all_pins().replace(&"aa".repeat(32), &"cc".repeat(32));
    let again = keys(&graph(&other));
    let changed: Vec<bool> = pinned.iter().zip(&again).map(|(a, b)| a != b).collect();
    // Of the chart's values an image has changed; of the objects none has.
    assert_eq!(changed, [true, true, false, true, false]);
}
