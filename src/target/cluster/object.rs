//! YAML documents → objects as they are applied: named, in their namespace, marked as the step's. Does not know the live ones.

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::kinds::KindName;
use crate::config::check_yaml;

/// Longest text of objects that is read, in bytes. The API takes no object of more than 1.5 MB.
pub const LONGEST: usize = 64 << 20;

/// Who makes changes, as the API keeps track of it.
pub const MANAGER: &str = "foundry";

/// Label: name of the stack.
pub const STACK: &str = "foundry.dev/stack";
/// Label: name of the component.
pub const COMPONENT: &str = "foundry.dev/component";
/// Label that many tools read.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Annotation: key of the step when it was last applied.
pub const KEY: &str = "foundry.dev/key";
/// Annotation: label of the step.
pub const STEP: &str = "foundry.dev/step";

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref {
    /// Its kind.
    pub kind: KindName,
    /// Its namespace; none for `default`, and for what lives in no namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// An object that is wanted.
#[derive(Clone)]
pub struct Object {
    /// Where it is.
    pub at: Ref,
    /// `Deployment`.
    pub kind: String,
    /// All of it.
    pub body: Value,
}

/// Who owns what a step makes.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// Name of the stack.
    pub stack: &'a str,
    /// Name of the component.
    pub component: &'a str,
}

impl Ref {
    /// Makes the place of an object whose kind is named exactly.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            kind: KindName::Exact {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
            },
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }
}

impl Object {
    /// Returns how people call it: `Deployment/web`.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}/{}", self.kind, self.at.name)
    }

    /// Returns how people call it, its namespace included.
    #[must_use]
    pub fn full_title(&self) -> String {
        match &self.at.namespace {
            Some(namespace) => format!("{} in {namespace}", self.title()),
            None => self.title(),
        }
    }

    /// Returns whether its data is secret whatever it is made from.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.kind == "Secret"
    }

    /// Returns the CRD's group and kind if it is one.
    #[must_use]
    pub fn defines(&self) -> bool {
        self.kind == "CustomResourceDefinition"
    }

    /// Puts the owner's labels on it.
    pub fn mark(&mut self, owner: Owner<'_>) {
        let labels = [
            (STACK, owner.stack),
            (COMPONENT, owner.component),
            (MANAGED_BY, MANAGER),
        ];
        put(&mut self.body, "labels", &labels);
    }

    /// Puts an annotation on it.
    pub fn annotate(&mut self, name: &str, value: &str) {
        put(&mut self.body, "annotations", &[(name, value)]);
    }
}

fn put(body: &mut Value, table: &str, entries: &[(&str, &str)]) {
    let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let found = metadata.entry(table).or_insert(Value::Null);
    if !found.is_object() {
        *found = Value::Object(Map::new());
    }
    if let Some(found) = found.as_object_mut() {
        for (name, value) in entries {
            found.insert((*name).to_owned(), Value::from(*value));
        }
    }
}

/// Reads the documents of a manifest; `namespace` is where objects go that name none, empty for `default`. What is wrong is
/// told without quoting anything, as the text may hold secrets.
///
/// # Errors
/// When a document is no object.
pub fn parse(text: &str, namespace: &str) -> Result<Vec<Object>, String> {
    check_yaml(text, LONGEST).map_err(|why| format!("the manifest can't be read: {why}"))?;
    let mut objects = Vec::new();
    for (number, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let number = number + 1;
        let mut value = Value::deserialize(document).map_err(|error| match error.location() {
            Some(at) => format!(
                "document {number} of the manifest is no YAML (line {}, column {})",
                at.line(),
                at.column()
            ),
            None => format!("document {number} of the manifest is no YAML"),
        })?;
        read_modes(&mut value);
        add(&mut objects, value, namespace)
            .map_err(|why| format!("document {number} of the manifest {why}"))?;
    }
    Ok(objects)
}

fn add(objects: &mut Vec<Object>, value: Value, namespace: &str) -> Result<(), String> {
    let mut body = match value {
        Value::Null => return Ok(()),
        Value::Object(body) => body,
        _ => return Err("is no object".to_owned()),
    };
    let text = |body: &Map<String, Value>, name: &str| {
        body.get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    let api_version = text(&body, "apiVersion").ok_or("has no `apiVersion`")?;
    let kind = text(&body, "kind").ok_or("has no `kind`")?;
    if kind.ends_with("List")
        && let Some(Value::Array(items)) = body.remove("items")
    {
        return items
            .into_iter()
            .try_for_each(|item| add(objects, item, namespace));
    }
    // What the server sets is nobody's wish.
    body.remove("status");
    if kind == "Secret" {
        encode_data(&mut body);
    }
    let metadata = body
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| format!("({kind}) has no `metadata`"))?;
    for name in [
        "creationTimestamp",
        "managedFields",
        "resourceVersion",
        "uid",
    ] {
        metadata.remove(name);
    }
    let name = text(metadata, "name").ok_or_else(|| format!("({kind}) has no name"))?;
    let own = text(metadata, "namespace");
    let namespace = own.or_else(|| (!namespace.is_empty()).then(|| namespace.to_owned()));
    objects.push(Object {
        at: Ref {
            kind: KindName::Exact {
                api_version,
                kind: kind.clone(),
            },
            namespace,
            name,
        },
        kind,
        body: Value::Object(body),
    });
    Ok(())
}

/// Reads modes of files as Kubernetes' own YAML does: `0644` is an octal number there, and a text to YAML 1.2.
fn read_modes(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let of_a_file = fields.contains_key("key") && fields.contains_key("path");
            for (name, field) in fields {
                let octal = field.as_str().and_then(|text| {
                    let digits = text.strip_prefix('0')?;
                    u32::from_str_radix(digits, 8).ok()
                });
                match octal {
                    Some(mode) if name == "defaultMode" || (of_a_file && name == "mode") => {
                        *field = Value::from(mode);
                    }
                    _ => read_modes(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(read_modes),
        _ => {}
    }
}

/// Moves `stringData` into `data`, which is what the server shows.
fn encode_data(body: &mut Map<String, Value>) {
    use base64::Engine as _;
    let Some(Value::Object(plain)) = body.remove("stringData") else {
        return;
    };
    let data = body.entry("data").or_insert(Value::Null);
    if !data.is_object() {
        *data = Value::Object(Map::new());
    }
    if let Some(data) = data.as_object_mut() {
        for (name, value) in plain {
            let text = match value {
                Value::String(text) => text,
                Value::Null => String::new(),
                other => other.to_string(),
            };
            let coded = base64::engine::general_purpose::STANDARD.encode(text);
            data.insert(name, Value::String(coded));
        }
    }
}

/// Returns whose object a live one is, if its labels say so.
#[must_use]
pub fn owner_of(live: &Value) -> Option<Owner<'_>> {
    let labels = live.get("metadata")?.get("labels")?;
    Some(Owner {
        stack: labels.get(STACK)?.as_str()?,
        component: labels.get(COMPONENT)?.as_str()?,
    })
}

/// Returns the text at a path of field names.
#[must_use]
pub fn text_at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    path.iter()
        .try_fold(value, |value, name| value.get(name))?
        .as_str()
}

/// Returns the whole number at a path of field names.
#[must_use]
pub fn int_at(value: &Value, path: &[&str]) -> Option<i64> {
    path.iter()
        .try_fold(value, |value, name| value.get(name))?
        .as_i64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_become_objects_with_names_and_namespaces() {
        let text = "\
apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
# nothing but a comment
---
apiVersion: v1
kind: List
items:
  - apiVersion: apps/v1
    kind: Deployment
    metadata: { name: web, creationTimestamp: null }
    spec: { replicas: 2 }
    status: {}
  - apiVersion: v1
    kind: Secret
    metadata: { name: key, namespace: other }
    stringData: { a: b }
";
        let objects = parse(text, "shop").unwrap();
        let titles: Vec<String> = objects.iter().map(Object::full_title).collect();
        assert_eq!(
            titles,
            [
                "Namespace/shop in shop",
                "Deployment/web in shop",
                "Secret/key in other"
            ]
        );
        assert_eq!(
            objects[1].body.to_string(),
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":2}}"#
        );
        assert_eq!(objects[2].body["data"]["a"], "Yg==");
    }

    #[test]
    fn modes_of_files_are_octal() {
        let text = "\
apiVersion: v1
kind: Pod
metadata: { name: x }
spec:
  volumes:
    - configMap: { defaultMode: 0644, items: [{ key: a, path: b, mode: 0400 }] }
    - secret: { defaultMode: 420 }
  mode: 0644
";
        let objects = parse(text, "").unwrap();
        assert_eq!(
            objects[0].body["spec"],
            json!({
                "volumes": [
                    { "configMap": { "defaultMode": 0o644, "items": [{ "key": "a", "path": "b", "mode": 0o400 }] } },
                    { "secret": { "defaultMode": 420 } },
                ],
                "mode": "0644",
            })
        );
    }

    #[test]
    fn what_is_no_object_is_told_without_quoting_it() {
        for (text, wanted) in [
            ("- hunter2\n", "document 1 of the manifest is no object"),
            ("a: 1\n", "document 1 of the manifest has no `apiVersion`"),
            (
                "apiVersion: v1\nkind: Secret\nmetadata: {}\n",
                "document 1 of the manifest (Secret) has no name",
            ),
        ] {
            assert_eq!(parse(text, "").err().unwrap(), wanted);
        }
        let error = parse("apiVersion: v1\nkind: \"hunter2\n", "")
            .err()
            .unwrap();
        assert!(
            error.contains("no YAML") && !error.contains("hunter2"),
            "{error}"
        );
    }

    #[test]
    fn marks_are_put_beside_what_is_there() {
        let mut object = parse(
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: x, labels: {app: web}}}",
            "",
        )
        .unwrap()
        .remove(0);
        object.mark(Owner {
            stack: "lab",
            component: "demo",
        });
        object.annotate(KEY, "ab");
        let owner = owner_of(&object.body).unwrap();
        assert_eq!((owner.stack, owner.component), ("lab", "demo"));
        assert_eq!(object.body["metadata"]["labels"]["app"], "web");
        assert_eq!(object.body["metadata"]["annotations"][KEY], "ab");
    }
}
