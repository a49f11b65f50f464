//! What a step's facts must be, and how they differ. Does not know why, nor what comes of it.

use std::collections::BTreeSet;

use super::shorten::{of_fact, shorten};
use super::verdict::{Reason, Shown};
use crate::catalog::{Task, Template, Value, Values, evaluate_over, mentions};
use crate::probe::{Fact, Facts, Fault, Place};

/// The wanted value of one fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the fact.
    pub name: String,
    /// Any of these will do.
    any: Vec<Value>,
    secret: bool,
}

/// Evaluates a task's expectations. What evaluates to null is not checked.
///
/// # Errors
/// When one can't be evaluated, or gives what no fact can equal.
pub fn wanted(task: &Task, values: &Values) -> Result<Vec<Wanted>, Fault> {
    let mut all = Vec::with_capacity(task.expect.len());
    for (name, template) in &task.expect {
        let wrong = |why: String| Fault {
            message: format!("the expectation of fact `{name}`: {why}"),
            not_yet: false,
        };
        let (value, secret) =
            evaluate_over(template, values, None).map_err(|e| wrong(e.to_string()))?;
        let any = match value {
            Value::Null => continue,
            Value::List(items) => items,
            one => vec![one],
        };
        if let Some(odd) = any
            .iter()
            .find(|value| matches!(value, Value::List(_) | Value::Map(_) | Value::Null))
        {
            let kind = match odd {
                Value::Null => "none",
                Value::List(_) => "a list",
                _ => "a map",
            };
            return Err(wrong(format!(
                "{kind} among the values, and facts are texts"
            )));
        }
        all.push(Wanted {
            name: name.clone(),
            any,
            secret,
        });
    }
    Ok(all)
}

/// Returns the facts that are compared with something made of a secret. What is found there may be the secret, a part of it,
/// or a digest by which a weak one can be guessed.
#[must_use]
pub fn secret_facts<'t>(task: &'t Task, values: &Values) -> BTreeSet<&'t str> {
    if !values.values().any(Value::is_secret) {
        return BTreeSet::new();
    }
    let of_secret = |template: &Template| {
        // A template that can't be read is for its evaluation to complain of.
        mentions(template).unwrap_or_default().iter().any(|name| {
            let root = name.split_once('.').map_or(name.as_str(), |(root, _)| root);
            values.get(root).is_some_and(Value::is_secret)
        })
    };
    task.expect
        .iter()
        .filter(|(_, template)| of_secret(template))
        .map(|(name, _)| name.as_str())
        .collect()
}

impl Wanted {
    fn is_met_by(&self, found: &str) -> bool {
        self.any.iter().any(|value| match value {
            Value::Text(text) => text == found,
            Value::Secret(text) => text.expose() == found,
            Value::Bool(flag) => found == if *flag { "true" } else { "false" },
            Value::Int(number) => found.parse() == Ok(*number),
            Value::Null | Value::List(_) | Value::Map(_) => false,
        })
    }

    fn shown(&self) -> Shown {
        if self.secret {
            return Shown::Redacted;
        }
        let words: Vec<String> = self
            .any
            .iter()
            .map(|value| match value {
                Value::Text(text) => text.clone(),
                Value::Bool(flag) => flag.to_string(),
                Value::Int(number) => number.to_string(),
                Value::Secret(_) | Value::Null | Value::List(_) | Value::Map(_) => String::new(),
            })
            .collect();
        Shown::Text(shorten(&words.join(" or ")))
    }
}

/// A fact that is not as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// In words.
    pub reason: Reason,
    /// Whether there is nothing at all: the fact is `absent` or was not told.
    pub absent: bool,
}

/// Holds facts against what is wanted, in the order of the task's expectations.
#[must_use]
pub fn mismatches(wanted: &[Wanted], facts: &Facts) -> Vec<Mismatch> {
    wanted
        .iter()
        .flat_map(|wanted| match facts.get(&wanted.name) {
            Some(found) if wanted.is_met_by(found.value()) => Vec::new(),
            Some(Fact::Differences(differences)) => {
                differences.places().iter().map(place_mismatch).collect()
            }
            found => vec![mismatch(wanted, found)],
        })
        .collect()
}

fn mismatch(wanted: &Wanted, found: Option<&Fact>) -> Mismatch {
    let shown = found.map(|fact| match fact {
        Fact::Text(text) if text == "absent" => Shown::Text(text.clone()),
        // Beside a secret, what was found may be a part of it or its digest.
        _ if wanted.secret => Shown::Redacted,
        fact => of_fact(fact),
    });
    Mismatch {
        reason: Reason::Fact {
            name: wanted.name.clone(),
            found: shown,
            wanted: wanted.shown(),
        },
        absent: found.is_none_or(|fact| fact.value() == "absent"),
    }
}

fn place_mismatch(place: &Place) -> Mismatch {
    Mismatch {
        reason: Reason::Fact {
            name: place.name.clone(),
            found: Some(of_fact(&place.found)),
            wanted: of_fact(&place.wanted),
        },
        absent: place.found.value() == "absent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn each_place_that_differs_is_a_reason_of_its_own() {
        let place = |name: &str, found: Fact, wanted: Fact| Place {
            name: name.to_owned(),
            found,
            wanted,
        };
        let secret = |text: &str| Fact::Secret(Secret::new(text.to_owned()));
        let wanted = [Wanted {
            name: "objects".to_owned(),
            any: vec![Value::Text(String::new())],
            secret: false,
        }];
        let told = |places: Vec<Place>| {
            let fact = Fact::Differences(places.into_iter().collect());
            mismatches(&wanted, &Facts::from([("objects".to_owned(), fact)]))
        };
        assert_eq!(told(Vec::new()), []);
        let found = told(vec![
            place("Deployment/web spec.replicas", "1".into(), "2".into()),
            place("Secret/x data.key", secret("old"), secret("new")),
            place("Service/web", "absent".into(), "there".into()),
        ]);
        let words: Vec<String> = found.iter().map(|one| one.reason.to_string()).collect();
        assert_eq!(
            words,
            [
                "fact `Deployment/web spec.replicas` is 1, wanted 2",
                "fact `Secret/x data.key` is another secret than wanted",
                "fact `Service/web` is absent, wanted there",
            ]
        );
        let absent: Vec<bool> = found.iter().map(|one| one.absent).collect();
        assert_eq!(absent, [false, false, true]);
    }
}
