//! Tests of the expansion: small catalogs and stacks as text. Knows no embedded recipe.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Graph, Hole, Input, Part, Target, expand};
use crate::catalog::{AllProblems, Catalog, Files, Value};
use crate::config::{self, Source};

const TASKS: &[(&str, &str)] = &[
    (
        "tasks/file.toml",
        r#"
summary = "A file"
[inputs]
path    = { type = "path" }
content = { type = "text", secret = "maybe", default = "" }
mode    = { type = "mode", default = "0644" }
open    = { type = "string", default = "" }
names   = { type = ["string"], default = [] }
[probe]
digest = "{{ path }}"
[expect]
sha256 = "{{ content | sha256 }}"
[apply]
script = ': "$path" "$content" "$mode" "$open" "$names"'
"#,
    ),
    (
        "tasks/join.toml",
        r#"
summary = "Joins"
[inputs]
token = { type = "string", secret = true }
[outputs]
id = { type = "string", from = "{{ facts.id }}" }
token = { type = "string", from = "{{ facts.token }}", secret = true }
[probe]
action = "x.join"
[apply]
action = "x.join"
"#,
    ),
];

pub(super) fn try_expand(recipes: &[(&str, &str)], stack: &str) -> Result<Graph, AllProblems> {
    let mut files = Files::default();
    for (path, text) in TASKS.iter().chain(recipes) {
        files.add("", path, text);
    }
    let catalog = Catalog::load(&files)?;
    let source = Arc::new(Source {
        name: "stack.yaml".to_owned(),
        text: stack.to_owned(),
    });
    let stack = config::parse(&source)?;
    expand(&Arc::new(stack), &catalog)
}

pub(super) fn graph(recipes: &[(&str, &str)], stack: &str) -> Graph {
    try_expand(recipes, stack).unwrap_or_else(|problems| panic!("{problems}"))
}

pub(super) fn stack(hosts: &[(&str, &str)], components: &str) -> String {
    let mut text =
        "version: \"1.0\"\ncluster:\n  name: lab\n  domain: example.com\nhosts:\n".to_owned();
    for (name, role) in hosts {
        let _ = writeln!(text, "  - {{ hostname: {name}, role: {role} }}");
    }
    let _ = write!(text, "components:\n{components}");
    text
}

/// Draws the graph as text: one line a step, with what it needs and (after `!`) watches.
pub(super) fn drawn(graph: &Graph) -> String {
    let names = |ids: &[super::StepId]| {
        ids.iter()
            .map(|id| graph.step(*id).label.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut out = String::new();
    for step in &graph.steps {
        let kind = match &step.target {
            Target::Host(_) => "",
            Target::Group(_) => "group ",
            Target::Service(..) => "service ",
            Target::Gather => "gather ",
        };
        let _ = write!(out, "{kind}{}", step.label);
        if !step.needs.is_empty() {
            let _ = write!(out, " < {}", names(&step.needs));
        }
        if !step.watch.is_empty() {
            let _ = write!(out, " ! {}", names(&step.watch));
        }
        out.push('\n');
    }
    out
}

fn input<'a>(graph: &'a Graph, label: &str, name: &str) -> &'a Input {
    let step = graph
        .steps
        .iter()
        .find(|step| step.label.to_string() == label);
    &step.unwrap_or_else(|| panic!("no step {label}")).inputs[name]
}

fn text(text: &str) -> Input {
    Input::Known(Value::Text(text.to_owned()))
}

const BAO: &str = r#"
summary = "Secrets"
role = "bao"
provides = ["bao"]
[settings]
version = { type = "version", default = "2.7.2" }
pw      = { type = "string", secret = true }
things  = { type = ["string"], default = ["a", "b"] }
ha      = { type = "bool", default = true }
[artifacts.bao]
url    = "https://example.com/v{{ version }}/bao_{{ arch }}"
sha256 = { "2.7.2/amd64" = "8dc1000000000000000000000000000000000000000000000000000000000000" }
[pools]
join = 1
[steps.config]
uses = "file"
with = { path = "/etc/bao.hcl", content = "{{ file('bao.hcl') }}" }
[steps.shared]
uses = "file"
with = { path = "/etc/shared", content = "{{ settings.version }} {{ stack.name }}" }
[steps.unit]
uses  = "file"
with  = { path = "/etc/unit", names = ["{{ item }}", "x"] }
needs = ["config"]
for_each = "{{ settings.things }}"
[steps.init]
uses = "join"
on   = "group"
with = { token = "{{ settings.pw }}" }
needs = ["unit"]
pool = "join"
[steps.join]
uses = "join"
when = "{{ settings.ha and host.name != hosts[0].name }}"
with = { token = "{{ steps.init.token }}" }
watch = ["config"]
[steps.kv]
uses = "file"
on = "service:bao"
with = { path = "/kv", content = "id {{ steps.init.id }} {{ settings.pw }}", open = "{{ artifacts.bao.url.arm64 }}" }
needs = ["join@*", "config@*"]
"#;

const FILE: &str =
    "# {{ host.name }}\n{% for other in others %}\njoin {{ other.address }}\n{% endfor %}\n";

fn bao() -> Vec<(&'static str, &'static str)> {
    vec![
        ("recipes/bao/recipe.toml", BAO),
        ("recipes/bao/bao.hcl", FILE),
    ]
}

const THREE: &[(&str, &str)] = &[("b1", "bao"), ("b2", "bao"), ("w1", "worker")];

#[test]
fn steps_hosts_items_and_edges() {
    let graph = graph(&bao(), &stack(THREE, "  bao:\n    pw: ${secret:bao:pw}\n"));
    insta::assert_snapshot!(drawn(&graph), @r"
    bao:config@b1
    bao:config@b2
    bao:shared@b1
    bao:shared@b2
    bao:unit[a]@b1 < bao:config@b1
    bao:unit[b]@b1 < bao:config@b1
    bao:unit[a]@b2 < bao:config@b2
    bao:unit[b]@b2 < bao:config@b2
    group bao:init < bao:unit[a]@b1 bao:unit[b]@b1 bao:unit[a]@b2 bao:unit[b]@b2
    bao:join@b2 < bao:config@b2 bao:init ! bao:config@b2 bao:init
    service bao:kv < bao:config@b1 bao:config@b2 bao:init bao:join@b2 ! bao:init
    ");
    assert_eq!(graph.pools.len(), 1);
    assert_eq!(graph.steps[8].pool, Some(super::PoolId(0)));
}

#[test]
fn inputs_are_typed_shared_and_have_holes() {
    let graph = graph(&bao(), &stack(THREE, "  bao:\n    pw: ${secret:bao:pw}\n"));
    assert_eq!(
        input(&graph, "bao:config@b1", "content"),
        &text("# b1\njoin b2\n")
    );
    assert_eq!(input(&graph, "bao:config@b1", "mode"), &text("0644"));
    assert_eq!(
        input(&graph, "bao:shared@b2", "content"),
        &text("2.7.2 lab")
    );
    assert!(Arc::ptr_eq(&graph.steps[2].inputs, &graph.steps[3].inputs));
    assert!(!Arc::ptr_eq(&graph.steps[0].inputs, &graph.steps[1].inputs));
    // Per item, but shared over hosts.
    assert!(Arc::ptr_eq(&graph.steps[4].inputs, &graph.steps[6].inputs));
    let names = Input::Known(Value::List(vec![
        Value::Text("b".into()),
        Value::Text("x".into()),
    ]));
    assert_eq!(input(&graph, "bao:unit[b]@b1", "names"), &names);
    let Input::Hole(hole) = input(&graph, "bao:init", "token") else {
        panic!("no hole")
    };
    let Hole::Secret(reference) = &graph.holes[hole.0 as usize] else {
        panic!("no secret")
    };
    assert_eq!(reference.to_string(), "${secret:foundry/bao:pw}");
    let Input::Text(parts) = input(&graph, "bao:kv", "content") else {
        panic!("no text")
    };
    let [
        Part::Literal(id),
        Part::Hole(output),
        Part::Literal(space),
        Part::Hole(secret),
    ] = parts.as_slice()
    else {
        panic!("{parts:?}")
    };
    assert_eq!((id.as_str(), space.as_str(), secret), ("id ", " ", hole));
    assert_eq!(
        graph.holes[output.0 as usize],
        Hole::Output(super::StepId(8), "id".to_owned())
    );
    assert_eq!(
        input(&graph, "bao:kv", "open"),
        &text("https://example.com/v2.7.2/bao_arm64")
    );
}

const BASE: &str = r#"
summary = "Base"
always = true
role = "*"
[steps.packages]
uses = "file"
with = { path = "/p" }
[steps.late]
uses = "file"
with = { path = "/l" }
needs = ["packages"]
"#;

#[test]
fn other_components_whole_or_by_step() {
    let app = r#"
summary = "App"
needs = ["base"]
[steps.first]
uses = "file"
with = { path = "/a" }
needs = ["none:x?", "base:packages"]
[steps.second]
uses = "file"
on = "role:worker"
with = { path = "/b" }
needs = ["first"]
"#;
    let none = "summary = 'n'\n[steps.x]\nuses = 'file'\nwith = { path = '/x' }\n";
    let recipes = [
        ("recipes/base/recipe.toml", BASE),
        ("recipes/app/recipe.toml", app),
        ("recipes/none/recipe.toml", none),
    ];
    let graph = graph(&recipes, &stack(THREE, "  app:\n    hosts: [b2, b1]\n"));
    insta::assert_snapshot!(drawn(&graph), @r"
    base:packages@b1
    base:packages@b2
    base:packages@w1
    base:late@b1 < base:packages@b1
    base:late@b2 < base:packages@b2
    base:late@w1 < base:packages@w1
    app:first@b2 < base:packages@b2 base:all
    app:first@b1 < base:packages@b1 base:all
    app:second@w1 < app:first@b2 app:first@b1
    gather base:all < base:packages@b1 base:packages@b2 base:packages@w1 base:late@b1 base:late@b2 base:late@w1
    ");
}

#[test]
fn names_what_is_wrong_with_its_place() {
    let good = "  bao:\n    pw: ${secret:bao:pw}\n";
    let cases: &[(&str, &str, &str, &str)] = &[
        // In the config.
        (
            "",
            "",
            "  boa: {}\n",
            "stack.yaml:10:3: there is no component `boa` (did you mean `bao`?)",
        ),
        (
            "",
            "",
            "  bao:\n    vesion: 1\n",
            "stack.yaml:11:5: `bao` has no setting `vesion` (did you mean `version`?)",
        ),
        (
            "",
            "",
            "  bao:\n    version: latest\n",
            "stack.yaml:11:14: `latest` is no version",
        ),
        (
            "",
            "",
            "  bao:\n    pw: hunter2\n",
            "stack.yaml:11:9: `pw` is secret: it can't stand here as it is",
        ),
        (
            "",
            "",
            "  bao:\n    ha: ${secret:x:y}\n",
            "recipes/bao/recipe.toml:34:8: `when` of step `join`: a secret or an output",
        ),
        (
            "role = \"bao\"",
            "role = \"vault\"",
            good,
            "stack.yaml:10:3: no host has the role `vault`",
        ),
        (
            "secret = true }",
            "secret = true, required = true }",
            "  bao: {}\n",
            "stack.yaml:10:3: `bao` needs the setting `pw`",
        ),
        // In the recipe.
        (
            "uses = \"join\"",
            "uses = \"jion\"",
            good,
            "recipes/bao/recipe.toml:27:8: there is no task `jion` (did you mean `join`?)",
        ),
        ("mode", "mode", good, ""),
        (
            "path = \"/kv\"",
            "path = \"kv\"",
            good,
            "recipes/bao/recipe.toml:40:17: input `path` of step `kv`: `kv` is not an absolute path",
        ),
        (
            "path = \"/kv\"",
            "pth = \"/kv\"",
            good,
            "recipes/bao/recipe.toml:40:16: task `file` has no input `pth` (did you mean `path`?)",
        ),
        (
            "path = \"/kv\", ",
            "",
            good,
            "recipes/bao/recipe.toml:37:8: step `kv` does not give the input `path`",
        ),
        (
            "steps.init.id",
            "steps.init.ip",
            good,
            "recipes/bao/recipe.toml:40:34: input `content` of step `kv`: step `bao:init` has no output `ip`",
        ),
        (
            "steps.init.id",
            "steps.innit.id",
            good,
            "recipes/bao/recipe.toml:40:34: input `content` of step `kv`: there is no step `innit` (did you mean `init`?)",
        ),
        (
            "steps.init.id }}",
            "steps.init.id | upper }}",
            good,
            "recipes/bao/recipe.toml:40:34: input `content` of step `kv`: a secret or an output of a step is not known yet",
        ),
        (
            "open = \"{{ artifacts.bao.url.arm64 }}\"",
            "open = \"{{ settings.pw }}\"",
            good,
            "recipes/bao/recipe.toml:40:85: input `open` of step `kv`: ${secret:foundry/bao:pw} is secret, and task `file` takes no secret as `open`",
        ),
        (
            "\"join@*\"",
            "\"jon@*\"",
            good,
            "recipes/bao/recipe.toml:41:10: `jon@*`: `bao` has no step `jon` (did you mean `join`?)",
        ),
        (
            "\"join@*\"",
            "\"k3s:x\"",
            good,
            "recipes/bao/recipe.toml:41:10: `k3s:x`: there is no component `k3s`",
        ),
        (
            "pool = \"join\"",
            "pool = \"jion\"",
            good,
            "recipes/bao/recipe.toml:31:8: there is no pool `jion`",
        ),
        (
            "file('bao.hcl')",
            "file('bao.hc')",
            good,
            "recipes/bao/recipe.toml:17:43: input `content` of step `config`: recipe `bao` has no file `bao.hc` (did you mean `bao.hcl`?)",
        ),
        (
            "needs = [\"config\"]",
            "needs = [\"init\"]",
            good,
            "recipes/bao/recipe.toml:24:9: these steps wait for each other: bao:unit[a]@b1 → bao:init → bao:unit[a]@b1",
        ),
    ];
    let mut wrong = String::new();
    for (from, to, components, want) in cases {
        let recipe = if from.is_empty() {
            BAO.to_owned()
        } else {
            BAO.replacen(from, to, 1)
        };
        assert!(from.is_empty() || from == to || recipe != BAO, "{from}");
        let recipes = [
            ("recipes/bao/recipe.toml", recipe.as_str()),
            ("recipes/bao/bao.hcl", FILE),
        ];
        let found = match try_expand(&recipes, &stack(THREE, components)) {
            Ok(_) => String::new(),
            Err(problems) => problems.to_string(),
        };
        let hit = if want.is_empty() {
            found.is_empty()
        } else {
            found.lines().any(|line| line.starts_with(want))
        };
        if !hit {
            let _ = writeln!(wrong, "{from} → {to}\nwanted {want}\nfound  {found}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_needed_component_must_be_there() {
    let app = "summary = 'a'\nrole = '*'\n[steps.x]\nuses = 'file'\nwith = { path = '/x' }\nneeds = ['bao:kv']\n";
    let mut recipes = bao();
    recipes.push(("recipes/app/recipe.toml", app));
    let problems = try_expand(&recipes, &stack(THREE, "  app: {}\n"))
        .unwrap_err()
        .to_string();
    assert!(
        problems.starts_with(
            "recipes/app/recipe.toml:6:10: `app` needs `bao`, which is not part of this stack"
        ),
        "{problems}"
    );
}

#[test]
fn edges_of_two_thousand_hosts_are_linear() {
    let recipe = r#"
summary = "Many"
role = "*"
[steps.a]
uses = "file"
with = { path = "/a" }
[steps.b]
uses = "file"
with = { path = "/b", content = "{{ host.name }}" }
needs = ["a@*"]
[steps.c]
uses = "file"
with = { path = "/c/{{ item }}" }
for_each = ["1", "2", "3", "4"]
watch = ["b@*"]
[steps.d]
uses = "file"
with = { path = "/d/{{ item }}" }
for_each = ["1", "2", "3", "4"]
needs = ["c"]
"#;
    let stack = "cluster:\n  name: big\nhosts:\n  - { hostname: \"n[0001-2000]\", role: worker }\ncomponents:\n  many: {}\n";
    let graph = graph(&[("recipes/many/recipe.toml", recipe)], stack);
    let real = graph
        .steps
        .iter()
        .filter(|step| step.target != Target::Gather)
        .count();
    assert_eq!(real, 2000 * 10);
    let edges: usize = graph.steps.iter().map(|step| step.needs.len()).sum();
    assert!(
        edges < 3 * graph.steps.len(),
        "{edges} edges over {} steps",
        graph.steps.len()
    );
    let watching = graph
        .steps
        .iter()
        .find(|step| step.label.to_string() == "many:c[1]@n0001")
        .unwrap();
    let gather = graph.step(watching.watch[0]);
    assert_eq!((gather.watch.len(), gather.needs.len()), (2000, 2000));
    check(&graph);
}

/// Checks what must hold of every graph.
fn check(graph: &Graph) {
    let count = u32::try_from(graph.steps.len()).unwrap();
    let mut order = HashMap::new();
    let mut left: Vec<_> = graph.ids().collect();
    // Peel off what needs nothing that is left: only a cycle stops it.
    while !left.is_empty() {
        let before = left.len();
        left.retain(|id| {
            let ready = graph
                .step(*id)
                .needs
                .iter()
                .all(|need| order.contains_key(need));
            if ready {
                order.insert(*id, order.len());
            }
            !ready
        });
        assert!(left.len() < before, "a cycle");
    }
    let mut labels = std::collections::HashSet::new();
    for step in &graph.steps {
        assert!(labels.insert(&step.label), "{} twice", step.label);
        assert!(
            step.needs.windows(2).all(|pair| pair[0] < pair[1]),
            "{} unsorted",
            step.label
        );
        assert!(
            step.watch.windows(2).all(|pair| pair[0] < pair[1]),
            "{} unsorted",
            step.label
        );
        assert!(step.needs.iter().all(|need| need.0 < count));
        assert!(
            step.watch
                .iter()
                .all(|watch| step.needs.binary_search(watch).is_ok())
        );
        assert_eq!(step.task.is_none(), step.target == Target::Gather);
        let declared = step.task.iter().flat_map(|task| task.inputs.keys());
        if step.task.is_some() {
            assert!(declared.eq(step.inputs.keys()), "{}", step.label);
        }
    }
}

/// A random recipe: each step may only need earlier ones, so that there is no cycle.
fn recipe() -> impl Strategy<Value = String> {
    let step = (
        0..4_u8,
        0..3_usize,
        prop::collection::vec((0..8_usize, any::<bool>(), any::<bool>()), 0..4),
        any::<bool>(),
    );
    prop::collection::vec(step, 1..8).prop_map(|steps| {
        let mut text = "summary = 'random'\nrole = 'bao'\n".to_owned();
        for (at, (on, items, needs, host)) in steps.iter().enumerate() {
            let on = ["hosts", "role:worker", "group", "service:x"][*on as usize];
            let _ = writeln!(text, "[steps.s{at}]\nuses = 'file'\non = '{on}'");
            let mention = if *host && matches!(on, "hosts" | "role:worker") {
                "{{ host.name }}"
            } else {
                ""
            };
            let item = if *items > 0 { "{{ item }}" } else { "" };
            let _ = writeln!(text, "with = {{ path = '/s/{mention}/{item}' }}");
            if *items > 0 {
                let _ = writeln!(
                    text,
                    "for_each = {:?}",
                    (0..*items).map(|i| i.to_string()).collect::<Vec<_>>()
                );
            }
            for (list, watched) in [("needs", false), ("watch", true)] {
                let names: Vec<String> = needs
                    .iter()
                    .filter(|(to, _, watch)| *to < at && *watch == watched)
                    .map(|(to, everywhere, _)| {
                        format!("s{to}{}", if *everywhere { "@*" } else { "" })
                    })
                    .collect();
                let _ = writeln!(text, "{list} = {names:?}");
            }
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_graph_is_sound(recipe in recipe(), hosts in 1..5_usize) {
        let mut hosts: Vec<(String, &str)> = (0..hosts).map(|i| (format!("h{i}"), "bao")).collect();
        hosts.push(("w".to_owned(), "worker"));
        let hosts: Vec<(&str, &str)> = hosts.iter().map(|(name, role)| (name.as_str(), *role)).collect();
        let graph = graph(&[("recipes/r/recipe.toml", &recipe)], &stack(&hosts, "  r: {}\n"));
        check(&graph);
    }
}
