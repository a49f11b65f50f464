//! What the recipes' charts render (`FOUNDRY_TEST_RENDERED`, filled by `tests/charts.rs`), judged by a real API server:
//! definitions of custom kinds are made, everything else is applied as a dry run. Runs none of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{Discovery, Scope};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::support::kubernetes::{Kubernetes, With, programs};
use super::user::User;

/// What is found of one object.
enum Verdict {
    Accepted,
    /// Accepted but for fields that this server has not heard of.
    NewerFields(String),
    /// The server has no such kind: it is too old for it.
    UnknownKind,
    Refused(String),
}

/// Returns the objects of all files of a stack, in the order of files; `List`s are taken apart.
fn objects(stack: &Path) -> Vec<(String, Value)> {
    let mut files: Vec<PathBuf> = fs::read_dir(stack)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let step = file.file_stem().unwrap().to_str().unwrap().to_owned();
        // As Helm's YAML reads it: an octal number.
        let text = fs::read_to_string(&file)
            .unwrap()
            .replace("Mode: 0", "Mode: 0o");
        for document in format!("\n{text}").split("\n---") {
            let object: Value = serde_yaml::Deserializer::from_str(document).next().map_or(
                Value::Null,
                |document| {
                    Value::deserialize(document)
                        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
                },
            );
            match &object["items"] {
                Value::Array(items) => {
                    all.extend(items.iter().map(|item| (step.clone(), item.clone())));
                }
                _ if object.is_null() => {}
                _ => all.push((step.clone(), object)),
            }
        }
    }
    all
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

struct Judge {
    user: User,
    kinds: BTreeMap<(String, String), (ApiResource, bool)>,
    namespaces: BTreeSet<String>,
}

impl Judge {
    /// Makes what a stack defines, and learns every kind that the server has then.
    async fn define(&mut self, objects: &[(String, Value)]) -> Vec<String> {
        let mut refused = Vec::new();
        let mut made = Vec::new();
        for (step, object) in objects {
            if text(object, "/kind") != "CustomResourceDefinition" {
                continue;
            }
            let name = text(object, "/metadata/name");
            let api = self.user.api(
                text(object, "/apiVersion"),
                "CustomResourceDefinition",
                None,
            );
            let definition: DynamicObject = serde_json::from_value(object.clone()).unwrap();
            match api.create(&PostParams::default(), &definition).await {
                Ok(_) => made.push(name.to_owned()),
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
                Err(error) => {
                    refused.push(format!("{step} CustomResourceDefinition/{name}: {error}"));
                }
            }
        }
        let api = self
            .user
            .api("apiextensions.k8s.io/v1", "CustomResourceDefinition", None);
        let end = Instant::now() + Duration::from_secs(60);
        for name in made {
            loop {
                let live = serde_json::to_value(api.get(&name).await.unwrap()).unwrap();
                let conditions = live["status"]["conditions"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default();
                if conditions
                    .iter()
                    .any(|one| one["type"] == "Established" && one["status"] == "True")
                {
                    break;
                }
                assert!(
                    Instant::now() < end,
                    "{name} is not established: {conditions:?}"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        // A group's list of kinds follows its definitions after a moment: until it holds still, it is asked again.
        let mut before = usize::MAX;
        loop {
            let discovery = Discovery::new(self.user.client.clone())
                .run()
                .await
                .unwrap();
            self.kinds.clear();
            for group in discovery.groups() {
                for version in group.versions() {
                    for (resource, capabilities) in group.versioned_resources(version) {
                        let key = (resource.api_version.clone(), resource.kind.clone());
                        let namespaced = capabilities.scope == Scope::Namespaced;
                        self.kinds.insert(key, (resource, namespaced));
                    }
                }
            }
            if self.kinds.len() == before {
                return refused;
            }
            before = self.kinds.len();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn judge(&mut self, object: &Value, namespace: &str) -> Verdict {
        let key = (
            text(object, "/apiVersion").to_owned(),
            text(object, "/kind").to_owned(),
        );
        let Some((resource, namespaced)) = self.kinds.get(&key).cloned() else {
            return Verdict::UnknownKind;
        };
        let name = text(object, "/metadata/name");
        let given = text(object, "/metadata/namespace");
        let namespace = if given.is_empty() { namespace } else { given };
        let api: Api<DynamicObject> = if namespaced {
            self.namespace(namespace).await;
            Api::namespaced_with(self.user.client.clone(), namespace, &resource)
        } else {
            Api::all_with(self.user.client.clone(), &resource)
        };
        let params = PatchParams::apply("judge").dry_run().force();
        let error = match api.patch(name, &params, &Patch::Apply(object)).await {
            Ok(_) => return Verdict::Accepted,
            Err(error) => error.to_string(),
        };
        if !error.contains("field not declared in schema") {
            return Verdict::Refused(error);
        }
        let typed: DynamicObject = serde_json::from_value(object.clone()).unwrap();
        let params = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        match api.create(&params, &typed).await {
            Ok(_) => Verdict::NewerFields(error),
            Err(error) => Verdict::Refused(error.to_string()),
        }
    }

    /// Makes a namespace that objects are to be in.
    async fn namespace(&mut self, name: &str) {
        if !self.namespaces.insert(name.to_owned()) {
            return;
        }
        let api: Api<DynamicObject> = Api::all_with(
            self.user.client.clone(),
            &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace")),
        );
        let object =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        api.patch(
            name,
            &PatchParams::apply("judge").force(),
            &Patch::Apply(object),
        )
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_accepts_what_the_charts_render() {
    let Some(folder) = std::env::var_os("FOUNDRY_TEST_RENDERED").map(PathBuf::from) else {
        eprintln!("SKIPPED: FOUNDRY_TEST_RENDERED names no folder that tests/charts.rs has filled");
        return;
    };
    let mut stacks: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    stacks.sort();
    assert!(!stacks.is_empty(), "{} is empty", folder.display());
    let given = std::env::var_os("FOUNDRY_TEST_KUBECONFIG").map(PathBuf::from);
    let (kubernetes, kubeconfig) = if let Some(given) = given {
        (None, given)
    } else {
        let Some(programs) = programs() else { return };
        let kubernetes = Kubernetes::start(programs, With::ApiAlone);
        let kubeconfig = kubernetes.kubeconfig();
        (Some(kubernetes), kubeconfig)
    };
    let mut judge = Judge {
        user: User::by(&kubeconfig).await,
        kinds: BTreeMap::new(),
        namespaces: BTreeSet::new(),
    };
    let mut refused = Vec::new();
    for stack in stacks {
        let objects = objects(&stack);
        let stack = stack.file_name().unwrap().to_str().unwrap().to_owned();
        let unaccepted = judge.define(&objects).await;
        refused.extend(unaccepted.into_iter().map(|why| format!("{stack} {why}")));
        let (mut accepted, mut judged) = (0, 0);
        for (step, object) in &objects {
            let kind = text(object, "/kind");
            if kind == "CustomResourceDefinition" {
                continue;
            }
            judged += 1;
            let component = step.split('-').next().unwrap();
            let what = format!("{stack} {step} {kind}/{}", text(object, "/metadata/name"));
            match judge.judge(object, &format!("foundry-{component}")).await {
                Verdict::Accepted => accepted += 1,
                Verdict::NewerFields(error) => eprintln!("newer fields: {what}: {error}"),
                Verdict::UnknownKind => {
                    eprintln!("unknown kind: {what} {}", text(object, "/apiVersion"));
                }
                Verdict::Refused(error) => refused.push(format!("{what}: {error}")),
            }
        }
        eprintln!(
            "{stack}: {accepted} of {judged} accepted as they are, {} definitions made",
            objects.len() - judged
        );
    }
    drop(kubernetes);
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
