//! In which order the platform comes up: no cycle, definitions early, nothing waits for what it does not need.

use std::collections::{BTreeMap, BTreeSet};

use foundry::graph::Graph;

use crate::stacks::{ALL, SEED, STACKS, config_of, expanded, graph, step};

/// Returns the length of the longest path to each step, gathering steps not counted.
fn depths(graph: &Graph) -> Vec<usize> {
    let mut depths = vec![None; graph.steps.len()];
    fn depth(graph: &Graph, at: usize, depths: &mut Vec<Option<usize>>) -> usize {
        if let Some(known) = depths[at] {
            return known;
        }
        let step = &graph.steps[at];
        let before = step
            .needs
            .iter()
            .map(|need| depth(graph, need.0 as usize, depths))
            .max();
        let own = usize::from(step.task.is_some());
        let found = before.unwrap_or(0) + own;
        depths[at] = Some(found);
        found
    }
    (0..graph.steps.len())
        .map(|at| depth(graph, at, &mut depths))
        .collect()
}

/// Returns whether `later` comes after `earlier`, through however many steps.
fn after(graph: &Graph, later: &str, earlier: &str) -> bool {
    let mut open = vec![step(graph, later)];
    let mut seen = BTreeSet::new();
    while let Some(one) = open.pop() {
        for &need in &one.needs {
            let needed = graph.step(need);
            if needed.label.to_string() == earlier {
                return true;
            }
            if seen.insert(need) {
                open.push(needed);
            }
        }
    }
    false
}

#[test]
fn every_stack_expands() {
    for (name, components) in STACKS {
        if let Err(problems) = expanded(&config_of(components)) {
            panic!("{name}: {problems}");
        }
    }
}

#[test]
fn the_seed_s_own_example_is_a_whole_platform() {
    let graph = graph(SEED);
    let mut steps: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for step in graph.steps.iter().filter(|step| step.task.is_some()) {
        if !["base", "openbao", "k3s"].contains(&&*step.label.component) {
            let of = steps.entry(&step.label.component).or_default();
            of.insert(&step.label.step);
        }
    }
    let told: String = steps
        .iter()
        .map(|(component, steps)| {
            let steps: Vec<&str> = steps.iter().copied().collect();
            format!("{component}: {}\n", steps.join(" "))
        })
        .collect();
    insta::assert_snapshot!(told, @r"
    grafana: chart credentials dashboards namespace ready
    loki: alloy alloy-ready chart namespace ready
    prometheus: chart crds namespace ready rules
    storage: class dataset namespace packages pool service smoke snapshot-controller snapshot-crds truenas truenas-ready worker-packages
    zot: certificate chart class credentials namespace password ready
    ");
}

#[test]
fn definitions_come_in_one_early_wave() {
    let graph = graph(&config_of(ALL));
    let depths = depths(&graph);
    let api = graph
        .steps
        .iter()
        .position(|step| &*step.label.component == "k3s" && &*step.label.step == "api")
        .unwrap();
    for (at, step) in graph.steps.iter().enumerate() {
        let label = step.label.to_string();
        if !["crds", "gateway-crds", "snapshot-crds"].contains(&&*step.label.step)
            || step.task.is_none()
        {
            continue;
        }
        // The operator's come by a chart, which wants its namespace first.
        let most = depths[api]
            + if &*step.label.component == "prometheus" {
                2
            } else {
                1
            };
        assert!(
            depths[at] <= most,
            "{label} is in wave {}, the API in {}",
            depths[at],
            depths[api]
        );
    }
}

#[test]
fn only_real_needs_order_components() {
    let graph = graph(&config_of(ALL));
    for (later, earlier) in [
        ("loki:chart", "s3:buckets[foundry-loki]"),
        ("velero:chart", "s3:buckets[foundry-velero]"),
        ("s3:chart", "storage:class"),
        ("grafana:chart", "prometheus:crds"),
        ("external-dns:chart", "contour:ready"),
        ("cert-manager:issuers", "cert-manager:pki-role"),
        ("velero:readback", "velero:location"),
        ("zot:chart", "storage:class"),
    ] {
        assert!(
            after(&graph, later, earlier),
            "{later} does not wait for {earlier}"
        );
    }
    for (one, other) in [
        ("prometheus:chart", "loki:chart"),
        ("grafana:chart", "prometheus:chart"),
        ("grafana:chart", "loki:chart"),
        ("contour:chart", "cert-manager:chart"),
        ("loki:alloy", "loki:chart"),
        ("argocd:chart", "contour:chart"),
        ("cert-manager:chart", "storage:class"),
    ] {
        assert!(
            !after(&graph, one, other),
            "{one} waits for {other} and need not"
        );
    }
}

#[test]
fn the_longest_path_is_that_of_the_backup() {
    let graph = graph(&config_of(ALL));
    let depths = depths(&graph);
    let longest = *depths.iter().max().unwrap();
    let mut at = depths.iter().position(|depth| *depth == longest).unwrap();
    let mut path = Vec::new();
    loop {
        let step = &graph.steps[at];
        if step.task.is_some() {
            path.push(step.label.to_string());
        }
        let Some(next) = step
            .needs
            .iter()
            .map(|need| need.0 as usize)
            .max_by_key(|need| depths[*need])
        else {
            break;
        };
        at = next;
    }
    path.reverse();
    // How K3s comes up is its own recipe's matter.
    let path: Vec<&str> = path
        .iter()
        .map(String::as_str)
        .skip_while(|label| !label.starts_with("k3s:api"))
        .collect();
    insta::assert_snapshot!(path.join("\n"), @r"
    k3s:api@s-1.example.com
    prometheus:namespace
    prometheus:crds
    s3:chart
    s3:ready
    s3:buckets[foundry-velero]
    velero:chart
    velero:ready
    velero:location
    velero:readback
    ");
}
