//! An object as it is wanted against the live one: which fields differ, by path. Fields that nobody asked about don't count,
//! since the server and others fill in theirs; fields that Foundry set and no longer wants do. Asks nobody: what it reports
//! is in doubt until the server has said what an apply would change.

use serde_json::{Map, Value};

use super::chart::SETTLED;
use super::object::{KEY, LONGEST, MANAGER, STEP};
use super::quantity;
use crate::config::read_yaml;

/// Where a HelmChart has its values.
const VALUES: &str = "spec.valuesContent";

/// A field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// `spec.template.spec.containers[web].image`.
    pub path: String,
    /// What is there, if anything.
    pub found: Option<Value>,
    /// What is wanted; none if nothing is.
    pub wanted: Option<Value>,
}

/// Names by which elements of lists are told apart where the server has not said how.
const LIST_KEYS: [&str; 4] = ["name", "mountPath", "containerPort", "port"];

/// Returns how a live object differs from the wanted one.
#[must_use]
pub fn differences(wanted: &Value, live: &Value) -> Vec<Difference> {
    let owned = owned_fields(live);
    let mut walk = Walk::default();
    for part in parts(wanted) {
        let owned = owned.and_then(|owned| owned.get(&format!("f:{part}")));
        walk.at(part, wanted.get(part), live.get(part), owned);
    }
    // What was set before and is no longer wanted, as a whole.
    for (name, owned) in owned.into_iter().flat_map(Map::iter) {
        if let Some(part) = name.strip_prefix("f:")
            && part != "metadata"
            && wanted.get(part).is_none()
            && live.get(part).is_some()
        {
            walk.at(part, None, live.get(part), Some(owned));
        }
    }
    walk.found
}

/// Returns what an apply would change, `then` being the object that the server says would come of it.
#[must_use]
pub fn changes(live: &Value, then: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut names: Vec<&str> = parts(then);
    names.extend(parts(live).iter().filter(|name| then.get(**name).is_none()));
    for name in names {
        exact(name, live.get(name), then.get(name), &mut found);
    }
    found
}

/// Returns where exactly a text of several lines differs: by path if it is YAML, as values of charts and many configurations
/// are, else by its first line that differs.
#[must_use]
pub fn finer(difference: Difference) -> Vec<Difference> {
    let (Some(Value::String(found)), Some(Value::String(wanted))) =
        (&difference.found, &difference.wanted)
    else {
        return vec![difference];
    };
    let several = |text: &str| text.trim_end().contains('\n');
    if !several(found) && !several(wanted) && difference.path != VALUES {
        return vec![difference];
    }
    let table = |text: &str| {
        read_yaml(text, LONGEST)
            .ok()
            .filter(|value: &Value| value.is_object() || value.is_null())
    };
    let mut places = Vec::new();
    if let (Some(found), Some(wanted)) = (table(found), table(wanted)) {
        let nothing = Value::Object(Map::new());
        let full = |value: Value| {
            if value.is_null() {
                nothing.clone()
            } else {
                value
            }
        };
        exact(
            &difference.path,
            Some(&full(found)),
            Some(&full(wanted)),
            &mut places,
        );
    }
    if places.is_empty() {
        let lines = found.lines().zip(wanted.lines());
        let number = lines.take_while(|(found, wanted)| found == wanted).count();
        let line = |text: &str| text.lines().nth(number).map(Value::from);
        places.push(Difference {
            path: format!("{} line {}", difference.path, number + 1),
            found: line(found),
            wanted: line(wanted),
        });
    }
    places
}

/// Returns the parts of an object that are anybody's wish.
fn parts(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .filter(|name| !matches!(*name, "apiVersion" | "kind" | "status"))
        .collect()
}

/// Returns the fields that Foundry set at its last apply, as the server keeps track of them.
fn owned_fields(live: &Value) -> Option<&Map<String, Value>> {
    live.get("metadata")?
        .get("managedFields")?
        .as_array()?
        .iter()
        .find(|entry| entry["manager"] == MANAGER && entry["operation"] == "Apply")?
        .get("fieldsV1")?
        .as_object()
}

/// Whether a field of `metadata` says nothing about what is wanted.
fn is_bookkeeping(path: &str) -> bool {
    matches!(
        path.strip_prefix("metadata."),
        Some(
            "managedFields"
                | "resourceVersion"
                | "generation"
                | "creationTimestamp"
                | "uid"
                | "selfLink"
                | "name"
                | "namespace"
        )
    ) || [KEY, STEP, SETTLED]
        .iter()
        .any(|name| path.strip_prefix("metadata.annotations.") == Some(name))
}

fn join(path: &str, name: &str) -> String {
    format!("{path}.{name}")
}

/// Nothing, or as good as nothing: the server leaves such fields out.
fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

#[derive(Default)]
struct Walk {
    found: Vec<Difference>,
}

impl Walk {
    fn differs(&mut self, path: &str, live: Option<&Value>, wanted: Option<&Value>) {
        self.found.push(Difference {
            path: path.to_owned(),
            found: live.cloned(),
            wanted: wanted.cloned(),
        });
    }

    fn at(
        &mut self,
        path: &str,
        wanted: Option<&Value>,
        live: Option<&Value>,
        owned: Option<&Value>,
    ) {
        if is_bookkeeping(path) {
            return;
        }
        match (wanted, live) {
            (wanted, live) if is_empty(wanted) && is_empty(live) => {}
            (Some(Value::Object(wanted)), Some(Value::Object(live))) => {
                self.objects(path, wanted, live, owned);
            }
            (Some(Value::Array(wanted)), Some(Value::Array(live))) => {
                self.lists(path, wanted, live, owned);
            }
            // An empty table or list that was asked for, and the server filled.
            (Some(_), Some(_)) if is_empty(wanted) => {}
            (Some(wanted), Some(live)) if same(path, wanted, live) => {}
            (wanted, live) => self.differs(path, live, wanted),
        }
    }

    fn objects(
        &mut self,
        path: &str,
        wanted: &Map<String, Value>,
        live: &Map<String, Value>,
        owned: Option<&Value>,
    ) {
        for (name, value) in wanted {
            let owned = owned.and_then(|owned| owned.get(format!("f:{name}")));
            self.at(&join(path, name), Some(value), live.get(name), owned);
        }
        let set_before = owned.and_then(Value::as_object).into_iter().flatten();
        for name in set_before.filter_map(|(name, _)| name.strip_prefix("f:")) {
            if !wanted.contains_key(name) && live.contains_key(name) {
                let path = join(path, name);
                if !is_bookkeeping(&path) {
                    self.differs(&path, live.get(name), None);
                }
            }
        }
    }

    fn lists(&mut self, path: &str, wanted: &[Value], live: &[Value], owned: Option<&Value>) {
        let owned = owned.and_then(Value::as_object);
        // How the server tells elements apart: `k:{…}` by some of their fields, `v:…` by themselves.
        let keyed: Vec<(Map<String, Value>, &Value)> = owned
            .into_iter()
            .flatten()
            .filter_map(|(name, fields)| {
                let key = serde_json::from_str(name.strip_prefix("k:")?).ok()?;
                Some((key, fields))
            })
            .collect();
        if !keyed.is_empty() {
            return self.keyed(path, wanted, live, &keyed);
        }
        if owned.is_some_and(|owned| owned.keys().any(|name| name.starts_with("v:"))) {
            return self.set(path, wanted, live, owned);
        }
        if owned.is_none_or(|owned| !owned.is_empty())
            && let Some(key) = list_key(wanted, live)
        {
            for element in wanted {
                let name = &element[key];
                let found = live.iter().find(|other| other[key] == *name);
                self.at(&element_path(path, name), Some(element), found, None);
            }
            return;
        }
        if wanted.len() != live.len() {
            return self.differs(
                path,
                Some(&Value::Array(live.to_vec())),
                Some(&Value::Array(wanted.to_vec())),
            );
        }
        for (index, (wanted, live)) in wanted.iter().zip(live).enumerate() {
            self.at(&format!("{path}[{index}]"), Some(wanted), Some(live), None);
        }
    }

    fn keyed(
        &mut self,
        path: &str,
        wanted: &[Value],
        live: &[Value],
        owned: &[(Map<String, Value>, &Value)],
    ) {
        let mut used = vec![false; owned.len()];
        for element in wanted {
            let at = owned.iter().position(|(key, _)| has_key(element, key));
            if let Some(at) = at {
                used[at] = true;
            }
            let (found, fields) = match at {
                Some(at) => {
                    let (key, fields) = &owned[at];
                    let found = live
                        .iter()
                        .find(|other| key.iter().all(|(name, value)| other[name] == *value));
                    (found, Some(*fields))
                }
                // One that is new: the server has not told its key yet.
                None => (None, None),
            };
            let path = match at {
                Some(at) => element_path(path, &key_name(&owned[at].0)),
                None => element_path(path, &own_name(element)),
            };
            self.at(&path, Some(element), found, fields);
        }
        for ((key, _), used) in owned.iter().zip(used) {
            let still = live
                .iter()
                .find(|other| key.iter().all(|(name, value)| other[name] == *value));
            if !used && let Some(still) = still {
                self.differs(&element_path(path, &key_name(key)), Some(still), None);
            }
        }
    }

    fn set(
        &mut self,
        path: &str,
        wanted: &[Value],
        live: &[Value],
        owned: Option<&Map<String, Value>>,
    ) {
        for element in wanted.iter().filter(|element| !live.contains(element)) {
            self.differs(&element_path(path, element), None, Some(element));
        }
        let set_before = owned
            .into_iter()
            .flatten()
            .filter_map(|(name, _)| serde_json::from_str(name.strip_prefix("v:")?).ok());
        for element in set_before {
            let element: Value = element;
            if live.contains(&element) && !wanted.contains(&element) {
                self.differs(&element_path(path, &element), Some(&element), None);
            }
        }
    }
}

/// Returns whether a wanted element is the one of that key; what it does not say the server fills in.
fn has_key(element: &Value, key: &Map<String, Value>) -> bool {
    let mut some = false;
    let fits = key.iter().all(|(name, value)| match element.get(name) {
        None => true,
        Some(own) => {
            some = true;
            own == value
        }
    });
    fits && some
}

fn key_name(key: &Map<String, Value>) -> Value {
    LIST_KEYS
        .iter()
        .find_map(|name| key.get(*name))
        .or_else(|| key.values().next())
        .cloned()
        .unwrap_or_default()
}

fn own_name(element: &Value) -> Value {
    LIST_KEYS
        .iter()
        .find_map(|name| element.get(*name))
        .cloned()
        .unwrap_or_else(|| Value::from("new"))
}

fn element_path(path: &str, name: &Value) -> String {
    match name {
        Value::String(name) => format!("{path}[{name}]"),
        other => format!("{path}[{other}]"),
    }
}

/// Returns the field by which all elements of both lists can be told apart.
fn list_key(wanted: &[Value], live: &[Value]) -> Option<&'static str> {
    let distinct = |list: &[Value], key: &str| {
        let names: Vec<&Value> = list.iter().filter_map(|element| element.get(key)).collect();
        names.len() == list.len()
            && names
                .iter()
                .enumerate()
                .all(|(at, name)| !names[..at].contains(name))
    };
    LIST_KEYS
        .into_iter()
        .find(|key| !wanted.is_empty() && distinct(wanted, key) && distinct(live, key))
}

fn same(path: &str, wanted: &Value, live: &Value) -> bool {
    if wanted == live {
        return true;
    }
    if let (Value::Number(a), Value::Number(b)) = (wanted, live) {
        return a.as_f64() == b.as_f64();
    }
    quantity::is_one(path) && quantity::same(wanted, live)
}

/// Finds every difference between two objects, defaults included.
fn exact(path: &str, live: Option<&Value>, then: Option<&Value>, found: &mut Vec<Difference>) {
    if is_bookkeeping(path) || live == then || (is_empty(live) && is_empty(then)) {
        return;
    }
    match (live, then) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            for (name, value) in b {
                exact(&join(path, name), a.get(name), Some(value), found);
            }
            for (name, value) in a.iter().filter(|(name, _)| !b.contains_key(*name)) {
                exact(&join(path, name), Some(value), None, found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if list_key(a, b).is_some() => {
            let key = list_key(a, b).unwrap_or_default();
            for element in b {
                let before = a.iter().find(|other| other[key] == element[key]);
                exact(
                    &element_path(path, &element[key]),
                    before,
                    Some(element),
                    found,
                );
            }
            for element in a
                .iter()
                .filter(|one| !b.iter().any(|other| other[key] == one[key]))
            {
                exact(
                    &element_path(path, &element[key]),
                    Some(element),
                    None,
                    found,
                );
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (index, (before, after)) in a.iter().zip(b).enumerate() {
                exact(
                    &format!("{path}[{index}]"),
                    Some(before),
                    Some(after),
                    found,
                );
            }
        }
        (live, then) => found.push(Difference {
            path: path.to_owned(),
            found: live.cloned(),
            wanted: then.cloned(),
        }),
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
