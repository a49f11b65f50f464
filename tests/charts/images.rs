//! The images that recipes list, held to what their manifests and charts name: a list that is short would leave hosts without
//! internet waiting, one that is long carries what nobody runs.

use std::collections::{BTreeMap, BTreeSet};

use foundry::catalog::{ImageRef, images_in};
use foundry::graph::Graph;

use crate::stacks::{SEED, STACKS, config_of, graph, task, text};

/// Images of manifests that are fetched, and so not among what is rendered here.
const FETCHED: &[&str] = &[
    "docker.io/rancher/local-path-provisioner:v0.0.37",
    "docker.io/library/busybox:latest",
];

/// Returns what a component's objects name and its recipe does not list.
pub fn unlisted(graph: &Graph, component: &str, objects: &str) -> Vec<String> {
    let nothing = BTreeSet::new();
    let listed = graph.images.get(component).unwrap_or(&nothing);
    let objects: String = documents(objects).collect();
    let named = images_in(&objects).into_iter();
    named
        .filter(|image| !listed.contains(image))
        .map(|image| format!("`{component}` runs {image}, which its recipe does not list"))
        .collect()
}

/// Returns what a component's recipe lists and none of its objects has a word of.
pub fn unnamed(graph: &Graph, component: &str, objects: &str) -> Vec<String> {
    let listed = graph.images.get(component).into_iter().flatten();
    listed
        .filter(|image| !FETCHED.contains(&image.as_str()))
        .filter(|image| {
            let image = ImageRef::parse(image).unwrap();
            let tail = match (&image.tag, &image.digest) {
                (Some(tag), Some(digest)) => format!("{tag}@{digest}"),
                (tag, digest) => tag.clone().or(digest.clone()).unwrap(),
            };
            // As charts write it: Docker Hub's may be left out.
            let repository = image.repository.trim_start_matches("library/");
            !objects.contains(&format!("{repository}:{tail}"))
        })
        .map(|image| format!("`{component}` lists {image}, which none of its objects names"))
        .collect()
}

/// Takes rendered text apart; what only `helm test` would run is left out.
fn documents(rendered: &str) -> impl Iterator<Item = &str> {
    rendered.split("\n---").filter(|document| {
        !document.contains("helm.sh/hook\": test") && !document.contains("helm.sh/hook: test")
    })
}

#[test]
fn images_of_manifests_are_listed() {
    let stacks = STACKS
        .iter()
        .map(|(name, components)| (*name, config_of(components)));
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (stack, config) in stacks.chain([("seed", SEED.to_owned())]) {
        let graph = graph(&config);
        for step in graph.steps.iter().filter(|step| step.task.is_some()) {
            if task(step) == "manifest" {
                let objects = text(step, "objects");
                seen += images_in(&objects).len();
                let unlisted = unlisted(&graph, &step.label.component, &objects);
                wrong.extend(unlisted.into_iter().map(|why| format!("{stack}: {why}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 10, "{seen}");
}

#[test]
fn nodes_get_the_images_of_all_components_where_they_reach_no_registry() {
    let stack = STACKS
        .iter()
        .find(|(name, _)| *name == "storage")
        .unwrap()
        .1;
    let config = config_of(stack).replace("k3s: {", "k3s: { images: true,");
    let graph = graph(&config);
    let mut staged: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for step in graph
        .steps
        .iter()
        .filter(|step| step.task.is_some() && task(step) == "image")
    {
        let host = step.label.host.as_deref().unwrap();
        assert!(text(step, "path").starts_with("/var/lib/rancher/k3s/agent/images/"));
        assert!(staged.entry(host).or_default().insert(text(step, "image")));
    }
    let all: BTreeSet<String> = graph.images.values().flatten().cloned().collect();
    assert!(all.contains("docker.io/longhornio/longhorn-engine:v1.12.1"));
    assert_eq!(staged.len(), 5, "servers and workers: {staged:?}");
    for (host, images) in staged {
        assert_eq!(images, all, "{host}");
    }
}

#[test]
fn a_list_that_is_short_or_long_is_found() {
    let stack = STACKS.iter().find(|(name, _)| *name == "alone").unwrap().1;
    let graph = graph(&config_of(stack));
    let objects =
        "      image: quay.io/kiwigrid/k8s-sidecar:2.10.1\n      image: grafana/grafana:1.0.0\n";
    assert_eq!(
        unlisted(&graph, "grafana", objects),
        ["`grafana` runs docker.io/grafana/grafana:1.0.0, which its recipe does not list"]
    );
    assert_eq!(
        unnamed(&graph, "grafana", objects),
        ["`grafana` lists docker.io/grafana/grafana:13.2.0, which none of its objects names"]
    );
}
