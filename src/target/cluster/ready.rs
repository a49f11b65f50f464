//! What it means for an object to be ready, and conditions in words (`deployment/web`, `gateway.x.io/edge Programmed`,
//! `pvc/data status.phase=Bound`). Looks at one object; asks nobody.

use serde_json::Value;

use super::kinds::KindName;
use super::object::{Ref, int_at, text_at};

/// A condition to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// As it was written.
    pub text: String,
    /// Of which object.
    pub at: Ref,
    /// What about it.
    pub what: What,
}

/// What is waited for of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// What its kind calls ready.
    Ready,
    /// A condition of this type has this status.
    Condition {
        /// `Programmed`.
        kind: String,
        /// `True`, as a rule.
        status: String,
    },
    /// The field at this path is this text.
    Path {
        /// `status.phase`; elements of lists by number.
        path: String,
        /// What must stand there.
        value: String,
    },
}

/// How far an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// As wanted.
    Done,
    /// Not yet, and why.
    NotYet(String),
    /// It will not get there by itself.
    Failed(String),
}

impl Wait {
    /// Reads a condition: `kind[.group]/[namespace/]name`, then nothing, ` Condition[=Status]` or ` path=value`.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str, namespace: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no condition: write `kind.group/name`, `kind.group/name Condition` or `kind.group/name path=value`"
            )
        };
        let (object, what) = match text.trim().split_once(char::is_whitespace) {
            Some((object, what)) => (object, what.trim()),
            None => (text.trim(), ""),
        };
        let (kind, place) = object.split_once('/').ok_or_else(wrong)?;
        let (namespace, name) = match place.split_once('/') {
            Some((namespace, name)) => (namespace, name),
            None => (namespace, place),
        };
        if kind.is_empty() || name.is_empty() || name.contains('/') {
            return Err(wrong());
        }
        let what = match what.split_once('=') {
            _ if what.is_empty() => What::Ready,
            None => What::Condition {
                kind: what.to_owned(),
                status: "True".to_owned(),
            },
            // Types of conditions have capitals, fields don't.
            Some((kind, status)) if kind.starts_with(|c: char| c.is_ascii_uppercase()) => {
                What::Condition {
                    kind: kind.to_owned(),
                    status: status.to_owned(),
                }
            }
            Some((path, value)) => What::Path {
                path: path.trim_start_matches('.').to_owned(),
                value: value.to_owned(),
            },
        };
        Ok(Self {
            text: text.trim().to_owned(),
            at: Ref {
                kind: KindName::Short(kind.to_ascii_lowercase()),
                namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
                name: name.to_owned(),
            },
            what,
        })
    }

    /// Makes one for an object that is to be ready.
    #[must_use]
    pub fn ready(at: Ref, text: String) -> Self {
        Self {
            text,
            at,
            what: What::Ready,
        }
    }

    /// Returns what is wanted, in words.
    #[must_use]
    pub fn wanted(&self) -> String {
        match &self.what {
            What::Ready => "ready".to_owned(),
            What::Condition { kind, status } if status == "True" => kind.clone(),
            What::Condition { kind, status } => format!("{kind}={status}"),
            What::Path { path, value } => format!("{path}={value}"),
        }
    }

    /// Returns how far a live object is.
    #[must_use]
    pub fn state(&self, object: &Value) -> State {
        match &self.what {
            What::Ready => ready(object),
            What::Condition { kind, status } => condition_state(object, kind, status),
            What::Path { path, value } => match at_path(object, path) {
                Some(found) if found == *value => State::Done,
                Some(found) => State::NotYet(format!("{path} is {found}")),
                None => State::NotYet(format!("{path} is not set")),
            },
        }
    }
}

fn at_path(object: &Value, path: &str) -> Option<String> {
    let found = path
        .split(['.', '[', ']'])
        .filter(|name| !name.is_empty())
        .try_fold(object, |value, name| match name.parse::<usize>() {
            Ok(index) if value.is_array() => value.get(index),
            _ => value.get(name),
        })?;
    Some(match found {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// Returns an object's condition of that type.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|one| one["type"] == kind)
}

/// Returns what a condition says, in words.
fn words(condition: &Value) -> String {
    let text = |name: &str| condition[name].as_str().unwrap_or_default();
    let status = format!("{} is {}", text("type"), text("status"));
    let why = [text("reason"), text("message")]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join(": ");
    if why.is_empty() {
        status
    } else {
        format!("{status} ({why})")
    }
}

fn condition_state(object: &Value, kind: &str, status: &str) -> State {
    let Some(found) = condition(object, kind) else {
        return State::NotYet(format!("there is no condition {kind} yet"));
    };
    // What was said of an earlier generation says nothing of this one.
    let generation = int_at(object, &["metadata", "generation"]);
    let observed = int_at(found, &["observedGeneration"])
        .or_else(|| int_at(object, &["status", "observedGeneration"]));
    if let (Some(generation), Some(observed)) = (generation, observed)
        && observed < generation
    {
        return State::NotYet(format!("{kind} is told of an earlier version of it"));
    }
    if found["status"] == status {
        State::Done
    } else {
        State::NotYet(words(found))
    }
}

fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|found| found["status"] == "True")
}

/// Returns how far an object is by what its kind calls ready.
#[must_use]
pub fn ready(object: &Value) -> State {
    let not_seen = || {
        let generation = int_at(object, &["metadata", "generation"]).unwrap_or(0);
        int_at(object, &["status", "observedGeneration"]).unwrap_or(0) < generation
    };
    let count = |path: &[&str]| int_at(object, path).unwrap_or(0);
    let wanted = int_at(object, &["spec", "replicas"]).unwrap_or(1);
    let waiting =
        |what: &str, found: i64, wanted: i64| State::NotYet(format!("{found} of {wanted} {what}"));
    match text_at(object, &["kind"]).unwrap_or_default() {
        "Deployment" => {
            if let Some(stuck) = condition(object, "Progressing")
                && stuck["reason"] == "ProgressDeadlineExceeded"
                && !not_seen()
            {
                return State::Failed(words(stuck));
            }
            let updated = count(&["status", "updatedReplicas"]);
            let all = count(&["status", "replicas"]);
            let available = count(&["status", "availableReplicas"]);
            if not_seen() {
                State::NotYet("the rollout has not begun".to_owned())
            } else if updated < wanted {
                waiting("replicas are updated", updated, wanted)
            } else if all > updated {
                State::NotYet(format!("{} old replicas still run", all - updated))
            } else if available < wanted {
                waiting("replicas are available", available, wanted)
            } else {
                State::Done
            }
        }
        "StatefulSet" => {
            let status = &object["status"];
            let updated = count(&["status", "updatedReplicas"]);
            let ready = count(&["status", "readyReplicas"]);
            let partition = int_at(
                object,
                &["spec", "updateStrategy", "rollingUpdate", "partition"],
            )
            .unwrap_or(0);
            let manual = text_at(object, &["spec", "updateStrategy", "type"]) == Some("OnDelete");
            if not_seen() {
                State::NotYet("the rollout has not begun".to_owned())
            } else if !manual
                && status["currentRevision"] != status["updateRevision"]
                && updated < wanted - partition
            {
                waiting("replicas are updated", updated, wanted - partition)
            } else if ready < wanted {
                waiting("replicas are ready", ready, wanted)
            } else {
                State::Done
            }
        }
        "DaemonSet" => {
            let desired = count(&["status", "desiredNumberScheduled"]);
            let updated = count(&["status", "updatedNumberScheduled"]);
            let available = count(&["status", "numberAvailable"]);
            let manual = text_at(object, &["spec", "updateStrategy", "type"]) == Some("OnDelete");
            if not_seen() {
                State::NotYet("the rollout has not begun".to_owned())
            } else if !manual && updated < desired {
                waiting("pods are updated", updated, desired)
            } else if available < desired {
                waiting("pods are available", available, desired)
            } else {
                State::Done
            }
        }
        "Job" => match (condition(object, "Failed"), is_true(object, "Complete")) {
            (_, true) => State::Done,
            (Some(failed), _) if failed["status"] == "True" => State::Failed(words(failed)),
            _ => {
                let count = |name| int_at(object, &["status", name]).unwrap_or(0);
                let (active, failed) = (count("active"), count("failed"));
                State::NotYet(format!("{active} pods run, {failed} have failed"))
            }
        },
        "CustomResourceDefinition" => match condition(object, "NamesAccepted") {
            Some(names) if names["status"] == "False" => State::Failed(words(names)),
            _ => condition_state(object, "Established", "True"),
        },
        "PersistentVolumeClaim" | "PersistentVolume" | "Namespace" => {
            match text_at(object, &["status", "phase"]) {
                Some("Bound" | "Active" | "Available") => State::Done,
                Some(phase @ ("Lost" | "Failed")) => State::Failed(format!("it is {phase}")),
                Some(phase) => State::NotYet(format!("it is {phase}")),
                None => State::NotYet("it has no phase yet".to_owned()),
            }
        }
        "Pod" => match text_at(object, &["status", "phase"]) {
            Some("Succeeded") => State::Done,
            Some("Failed") => State::Failed("it has failed".to_owned()),
            _ => condition_state(object, "Ready", "True"),
        },
        _ => ["Ready", "Available", "Accepted", "Established"]
            .iter()
            .find(|kind| condition(object, kind).is_some())
            // Nothing that could be waited for: that it is there is all there is to say.
            .map_or(State::Done, |kind| condition_state(object, kind, "True")),
    }
}

/// Returns what an object's conditions say, one a line.
#[must_use]
pub fn all_conditions(object: &Value) -> Vec<String> {
    object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(words)
        .collect()
}

#[cfg(test)]
#[path = "ready_tests.rs"]
mod tests;
