//! Renders every chart of every stack by Helm, with the values of its recipe. Needs the charts and a Helm: see
//! `docs/testing.md`. What comes of it can be kept for a real API server to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use foundry::catalog::Value;
use foundry::graph::Step;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::images::{unlisted, unnamed};
use crate::stacks::{SEED, STACKS, config_of, graph, input, json, task, text};

/// What renders: a `helm`, or what takes the same arguments.
fn helm() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("FOUNDRY_TEST_HELM") {
        return Some(given.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("helm"))
        .find(|program| program.is_file())
}

/// Where the charts are, and what renders them.
pub struct Charts {
    folder: PathBuf,
    helm: PathBuf,
}

/// Finds the charts and a Helm; `None`: they are not at hand, and that was said.
pub fn charts() -> Option<Charts> {
    let Some(folder) = std::env::var_os("FOUNDRY_TEST_CHARTS").map(PathBuf::from) else {
        eprintln!("SKIPPED: FOUNDRY_TEST_CHARTS names no folder with the charts");
        return None;
    };
    let Some(helm) = helm() else {
        eprintln!("SKIPPED: no helm in PATH, and FOUNDRY_TEST_HELM names none");
        return None;
    };
    Some(Charts { folder, helm })
}

/// Renders the chart of a step; `None` if it is not at hand.
pub fn rendered(charts: &Charts, step: &Step) -> Option<Result<String, String>> {
    let chart = find(&charts.folder, &text(step, "chart"), &text(step, "version"))?;
    Some(render(&charts.helm, &chart, step))
}

#[test]
fn every_chart_takes_the_values_of_its_recipe() {
    let Some(Charts { folder, helm }) = charts() else {
        return;
    };
    let charts = folder;
    let mut work = Work {
        charts: &charts,
        helm: &helm,
        keep: std::env::var_os("FOUNDRY_TEST_RENDERED").map(PathBuf::from),
        wrong: Vec::new(),
        seen: BTreeSet::new(),
    };
    let stacks = STACKS
        .iter()
        .map(|(name, components)| (*name, config_of(components)));
    for (stack, config) in stacks.chain([("seed", SEED.to_owned())]) {
        work.stack(stack, &config);
    }
    assert!(work.wrong.is_empty(), "{}", work.wrong.join("\n"));
    assert!(
        !work.seen.is_empty(),
        "no chart of any recipe is in {}",
        charts.display()
    );
}

struct Work<'a> {
    charts: &'a Path,
    helm: &'a Path,
    keep: Option<PathBuf>,
    wrong: Vec<String>,
    /// Charts that were rendered.
    seen: BTreeSet<String>,
}

impl Work<'_> {
    /// Renders all charts of a stack.
    fn stack(&mut self, stack: &str, config: &str) {
        let graph = graph(config);
        // What components are made of, and those of which not all charts are at hand.
        let mut made: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let mut partly = BTreeSet::new();
        let mut texts: BTreeMap<&str, String> = BTreeMap::new();
        for step in graph.steps.iter().filter(|step| step.task.is_some()) {
            let rendered = match task(step) {
                "manifest" => Ok(text(step, "objects")),
                // What upstream publishes: where it is at hand, it goes before the judge as well.
                "manifest-url" => match self.published(step) {
                    Some(published) => published,
                    None => continue,
                },
                "helm-chart" => match self.chart(stack, step) {
                    Some(rendered) => rendered,
                    None => {
                        partly.insert(&*step.label.component);
                        continue;
                    }
                },
                _ => continue,
            };
            match rendered.and_then(|rendered| Ok((objects(&rendered)?, rendered))) {
                Ok((names, rendered)) => {
                    eprintln!("{stack} {}: {} objects", step.label, names.len());
                    made.entry(&step.label.component).or_default().extend(names);
                    let all = texts.entry(&step.label.component).or_default();
                    all.extend(["\n---\n", &rendered]);
                    self.keep(stack, step, &rendered);
                }
                Err(error) => self.wrong.push(format!("{stack} {}: {error}", step.label)),
            }
        }
        for (component, text) in &texts {
            let mut wrong = unlisted(&graph, component, text);
            if !partly.contains(component) {
                wrong.extend(unnamed(&graph, component, text));
            }
            let wrong = wrong.into_iter().map(|why| format!("{stack}: {why}"));
            self.wrong.extend(wrong);
        }
        for step in graph
            .steps
            .iter()
            .filter(|step| task(step) == "workloads-ready")
        {
            let component = &*step.label.component;
            let Some(made) = made.get(component) else {
                continue;
            };
            for name in waited_for(step) {
                if !made.contains(&name) && !partly.contains(component) {
                    self.wrong.push(format!(
                        "{stack} {}: nothing of `{component}` is {name}",
                        step.label
                    ));
                }
            }
        }
    }

    /// Returns a manifest of upstream's; `None` if it is not at hand.
    fn published(&self, step: &Step) -> Option<Result<String, String>> {
        let url = text(step, "url");
        let name = url.rsplit('/').next()?;
        let Ok(found) = std::fs::read_to_string(self.charts.join(name)) else {
            eprintln!("SKIPPED {name}: not in {}", self.charts.display());
            return None;
        };
        let (sha256, pinned) = (hex::encode(Sha256::digest(&found)), text(step, "sha256"));
        if sha256 != pinned {
            return Some(Err(format!(
                "{name} at hand has {sha256}, pinned is {pinned}"
            )));
        }
        Some(Ok(found))
    }

    /// Renders one chart; `None` if it is not at hand.
    fn chart(&mut self, stack: &str, step: &Step) -> Option<Result<String, String>> {
        let name = text(step, "chart");
        let Some(chart) = find(self.charts, &name, &text(step, "version")) else {
            eprintln!("SKIPPED {name}: not in {}", self.charts.display());
            return None;
        };
        self.seen.insert(name.clone());
        let unknown = unknown_values(self.helm, &chart, &name, &json(&input(step, "values")));
        self.wrong.extend(
            unknown
                .into_iter()
                .map(|key| format!("{stack} {}: {name} has no value `{key}`", step.label)),
        );
        Some(render(self.helm, &chart, step))
    }

    fn keep(&self, stack: &str, step: &Step, rendered: &str) {
        if let Some(keep) = &self.keep {
            let folder = keep.join(stack);
            std::fs::create_dir_all(&folder).unwrap();
            let file = step.label.to_string().replace([':', '/', '[', ']'], "-");
            std::fs::write(folder.join(format!("{file}.yaml")), rendered).unwrap();
        }
    }
}

/// What a step waits for, as `kind/name`.
fn waited_for(step: &Step) -> Vec<String> {
    ["workloads", "conditions"]
        .into_iter()
        .flat_map(|name| match input(step, name) {
            Value::List(items) => items,
            _ => Vec::new(),
        })
        .filter_map(|item| match item {
            Value::Text(text) => {
                let (kind, name) = text.split(' ').next()?.split_once('/')?;
                Some(format!("{}/{name}", kind.split('.').next()?))
            }
            _ => None,
        })
        .collect()
}

/// Finds a chart's folder or archive.
fn find(charts: &Path, name: &str, version: &str) -> Option<PathBuf> {
    [
        charts.join(format!("{name}-{version}.tgz")),
        charts.join(format!("{name}-{}.tgz", version.trim_start_matches('v'))),
        charts.join(name),
    ]
    .into_iter()
    .find(|path| path.exists())
}

fn run(helm: &Path, args: &[&str]) -> Result<String, String> {
    let output = Command::new(helm)
        .args(args)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn render(helm: &Path, chart: &Path, step: &Step) -> Result<String, String> {
    let values = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(values.path(), json(&input(step, "values")).to_string()).unwrap();
    let chart_path = chart.to_str().unwrap();
    let about = run(helm, &["show", "chart", chart_path])?;
    let about: Json = serde_yaml::from_str(&about).map_err(|error| error.to_string())?;
    let pinned = text(step, "version");
    if about["version"].as_str() != Some(pinned.as_str()) {
        return Err(format!(
            "the chart at hand is {}, pinned is {pinned}",
            about["version"]
        ));
    }
    let (name, namespace) = (text(step, "name"), text(step, "namespace"));
    run(
        helm,
        &[
            "template",
            &name,
            chart_path,
            "--namespace",
            &namespace,
            "--include-crds",
            "--values",
            values.path().to_str().unwrap(),
        ],
    )
}

/// Names the objects in rendered text, as `kind/name`; each must be one.
fn objects(rendered: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for document in format!("\n{rendered}").split("\n---") {
        let document: Json =
            serde_yaml::from_str(document).map_err(|error| format!("{error} in\n{document}"))?;
        if document.is_null() {
            continue;
        }
        let text = |value: &Json| value.as_str().map(str::to_owned);
        let parts = (
            text(&document["apiVersion"]),
            text(&document["kind"]),
            text(&document["metadata"]["name"]),
        );
        let (Some(_), Some(kind), Some(name)) = parts else {
            return Err(format!("this is no object: {document}"));
        };
        names.push(format!("{}/{name}", kind.to_lowercase()));
    }
    Ok(names)
}

/// Names the values that a recipe gives and the chart's own `values.yaml` does not have: they would do nothing. What
/// the chart leaves open (`{}`, null, a list) may hold anything.
fn unknown_values(helm: &Path, chart: &Path, name: &str, given: &Json) -> Vec<String> {
    let own = run(helm, &["show", "values", chart.to_str().unwrap()]);
    let own: Json = own
        .and_then(|text| serde_yaml::from_str(&text).map_err(|error| error.to_string()))
        .unwrap_or_else(|error| panic!("{}: {error}", chart.display()));
    let mut unknown = Vec::new();
    compare("", given, &own, &mut unknown);
    unknown.retain(|path| {
        !LEFT_OPEN
            .iter()
            .any(|(chart, open)| *chart == name && path.starts_with(open))
    });
    unknown
}

fn compare(path: &str, given: &Json, own: &Json, unknown: &mut Vec<String>) {
    let (Json::Object(given), Json::Object(own)) = (given, own) else {
        return;
    };
    if own.is_empty() {
        return;
    }
    for (key, value) in given {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match own.get(key) {
            Some(own) => compare(&path, value, own, unknown),
            None => unknown.push(path),
        }
    }
}

/// Values that `values.yaml` has in its comments only, or that are handed on as they are.
const LEFT_OPEN: &[(&str, &str)] = &[
    ("zot", "fullnameOverride"),
    ("contour", "configInline."),
    ("contour", "envoy.updateStrategy."),
    ("cert-manager", "image.tag"),
    ("cert-manager", "webhook.image.tag"),
    ("cert-manager", "cainjector.image.tag"),
    ("cert-manager", "acmesolver.image.tag"),
    ("cert-manager", "startupapicheck.image.tag"),
    ("loki", "loki.limits_config."),
    ("loki", "loki.storage.bucketNames"),
    ("grafana", "fullnameOverride"),
    ("grafana", "grafana.ini."),
    ("grafana", "ingress.ingressClassName"),
    ("argo-cd", "configs.cm."),
    ("argo-cd", "configs.params."),
];

#[test]
fn a_value_that_the_chart_does_not_have_is_found() {
    let own = serde_json::json!({ "a": { "b": 1 }, "open": {}, "list": [] });
    let given =
        serde_json::json!({ "a": { "b": 2, "c": 3 }, "open": { "x": 1 }, "list": [1], "d": 4 });
    let mut unknown = Vec::new();
    compare("", &given, &own, &mut unknown);
    assert_eq!(unknown, ["a.c", "d"]);
    assert_eq!(
        json(&Value::List(vec![Value::Int(1), Value::Null])),
        serde_json::json!([1, null])
    );
}
