//! Stacks with every image pinned: what of it reaches objects and the values of charts, and, with the charts at hand, what charts
//! make of such values. The digests are made up.

use std::collections::BTreeSet;
use std::sync::Arc;

use foundry::catalog::{ImageRef, images_in};
use foundry::config::{Pin, PinKind, PinSource, Pins, Span};
use foundry::graph::Graph;

use crate::helm::{charts, rendered};
use crate::stacks::{SEED, STACKS, config_of, expanded_with, graph, input, json, task, text};

/// Images that recipes give charts by a value, and that so are run by their digest, without tags.
const BY_VALUE: &[&str] = &[
    "docker.io/chrislusf/seaweedfs",
    "docker.io/democraticcsi/democratic-csi",
    "docker.io/grafana/grafana",
    "docker.io/grafana/loki",
    "docker.io/library/httpd",
    "docker.io/velero/velero",
    "docker.io/velero/velero-plugin-for-aws",
    "ghcr.io/project-zot/zot",
    "ghcr.io/projectcontour/contour",
    "quay.io/argoproj/argocd",
    "quay.io/jetstack/cert-manager-acmesolver",
    "quay.io/jetstack/cert-manager-cainjector",
    "quay.io/jetstack/cert-manager-controller",
    "quay.io/jetstack/cert-manager-startupapicheck",
    "quay.io/jetstack/cert-manager-webhook",
    "quay.io/minio/minio",
    "quay.io/prometheus-operator/prometheus-operator",
    "registry.k8s.io/external-dns/external-dns",
];

/// A digest of its own for every image.
fn digest(name: &str) -> String {
    let mut hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    hex = format!("{:0<64}", hex.split_off(hex.len().saturating_sub(64)));
    hex
}

/// Returns pins of all images that a stack's recipes list, and that its objects name, without a digest of their own.
fn pins(graph: &Graph) -> Pins {
    let mut images: BTreeSet<String> = graph.images.values().flatten().cloned().collect();
    for step in graph.steps.iter().filter(|step| step.task.is_some()) {
        if task(step) == "manifest" {
            images.extend(images_in(&text(step, "objects")));
        }
    }
    let open = images.iter().filter(|image| !image.contains('@'));
    Pins::none("stack.pins").with(open.map(|image| Pin {
        kind: PinKind::Image,
        name: image.clone(),
        version: String::new(),
        arch: String::new(),
        repo: String::new(),
        url: String::new(),
        sha256: digest(image),
        source: PinSource::Registry,
        images: Vec::new(),
        span: Span::default(),
    }))
}

/// Every stack with its pins.
fn pinned() -> impl Iterator<Item = (&'static str, Graph)> {
    let stacks = STACKS
        .iter()
        .map(|(name, components)| (*name, config_of(components)));
    stacks
        .chain([("seed", SEED.to_owned())])
        .map(|(name, config)| {
            let pins = pins(&graph(&config));
            let graph = expanded_with(&config, Arc::new(pins));
            (
                name,
                graph.unwrap_or_else(|problems| panic!("{name}: {problems}")),
            )
        })
}

#[test]
fn pinned_images_reach_objects_files_and_values_of_charts() {
    let mut given = BTreeSet::new();
    let mut seen = 0;
    for (stack, graph) in pinned() {
        let mut values = String::new();
        for step in graph.steps.iter().filter(|step| step.task.is_some()) {
            match task(step) {
                "manifest" => {
                    for image in images_in(&text(step, "objects")) {
                        assert!(
                            image.contains("@sha256:"),
                            "{stack} {}: {image}",
                            step.label
                        );
                        seen += 1;
                    }
                }
                "helm-chart" => values += &json(&input(step, "values")).to_string(),
                "file" if &*step.label.step == "kube-vip" => {
                    let content = text(step, "content");
                    assert!(content.contains("kube-vip:v1.0.4@sha256:"), "{content}");
                    seen += 1;
                }
                _ => {}
            }
        }
        for image in graph.images.values().flatten() {
            let image = ImageRef::parse(image).unwrap();
            let name = format!("{}/{}", image.registry, image.repository);
            let digest = image.digest.expect("all are pinned");
            if values.contains(&digest) {
                given.insert(name);
            }
        }
    }
    assert!(seen > 10, "{seen}");
    let wanted: BTreeSet<String> = BY_VALUE.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(given, wanted);
}

#[test]
fn charts_run_the_images_that_values_pin_and_put_no_digest_into_a_label() {
    let Some(charts) = charts() else { return };
    let mut wrong = Vec::new();
    for (stack, graph) in pinned() {
        for step in graph.steps.iter().filter(|step| step.task.is_some()) {
            if task(step) != "helm-chart" {
                continue;
            }
            let Some(made) = rendered(&charts, step) else {
                continue;
            };
            let made = match made {
                Ok(made) => made,
                Err(why) => {
                    wrong.push(format!("{stack} {}: {why}", step.label));
                    continue;
                }
            };
            for image in images_in(&made) {
                let image = ImageRef::parse(&image).unwrap();
                let name = format!("{}/{}", image.registry, image.repository);
                if BY_VALUE.contains(&name.as_str()) && image.digest.is_none() {
                    wrong.push(format!("{stack} {}: {image} has no digest", step.label));
                }
            }
            let labels = made.lines().filter(|line| {
                line.contains("@sha256:") && line.trim_start().starts_with("app.kubernetes.io/")
            });
            wrong.extend(labels.map(|line| format!("{stack} {}: {line}", step.label)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
