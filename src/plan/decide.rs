//! One step's facts against its expectations → a decision. Knows nothing of the steps around it: neither whether they
//! run nor what the host said of itself.

use std::collections::BTreeMap;

use super::stamp::{Likeness, differences, likeness, stamp};
use super::verdict::{Decision, Outputs, Reason, Verdict};
use super::want::{mismatches, secret_facts, wanted};
use crate::catalog::{OutputSpec, Task, Value, ValueType, Values, evaluate_over};
use crate::graph::{Fingerprints, Step};
use crate::probe::{Fact, Facts, Fault, Stamp};

/// Decides a step all of whose inputs are known.
#[must_use]
pub fn decide_step(
    step: &Step,
    values: &Values,
    facts: Result<&Facts, &Fault>,
    found: Option<&Stamp>,
    secrets: &Fingerprints,
) -> Decision {
    let Some(task) = &step.task else {
        return Decision {
            verdict: Verdict::Satisfied,
            reasons: Vec::new(),
            outputs: Outputs::new(),
            uncompared: false,
        };
    };
    judge(task, step, values, facts, found, secrets).unwrap_or_else(blocked)
}

fn judge(
    task: &Task,
    step: &Step,
    values: &Values,
    facts: Result<&Facts, &Fault>,
    found: Option<&Stamp>,
    secrets: &Fingerprints,
) -> Result<Decision, Fault> {
    let facts = facts.map_err(Clone::clone)?;
    let mismatches = mismatches(&wanted(task, values)?, facts);
    let nothing_there = !mismatches.is_empty() && mismatches.iter().all(|mismatch| mismatch.absent);
    let right = mismatches.is_empty();
    let mut reasons: Vec<Reason> = mismatches
        .into_iter()
        .map(|mismatch| mismatch.reason)
        .collect();
    if reasons.is_empty() && !task.stamp {
        return Ok(Decision {
            verdict: Verdict::Satisfied,
            reasons,
            outputs: outputs(task, values, facts)?,
            uncompared: false,
        });
    }
    let wanted = stamp(task, &step.target, values, secrets);
    let likeness = found.map(|found| likeness(found, &wanted));
    let other = found.filter(|_| likeness == Some(Likeness::Different));
    if task.stamp && matches!(likeness, None | Some(Likeness::Different)) {
        let found = found.map(|stamp| stamp.key.clone());
        reasons.push(Reason::Stamp {
            found,
            wanted: wanted.key.clone(),
        });
    }
    if reasons.is_empty() {
        return Ok(Decision {
            verdict: Verdict::Satisfied,
            reasons,
            outputs: outputs(task, values, facts)?,
            // What can't be compared is no reason to run.
            uncompared: likeness == Some(Likeness::Unknown),
        });
    }
    let differ = other
        .map(|other| differences(other, &wanted))
        .unwrap_or_default();
    // A stamp of its own making that differs in no input is one of another version of the task.
    let changed = !differ.is_empty() || (task.stamp && other.is_some());
    let verdict = if nothing_there || (right && !changed) {
        Verdict::Missing
    } else if changed {
        Verdict::Changed
    } else {
        Verdict::Drifted
    };
    if verdict == Verdict::Changed {
        reasons.splice(0..0, differ);
    }
    Ok(Decision {
        verdict,
        reasons,
        outputs: outputs_at_hand(task, values, facts),
        uncompared: false,
    })
}

/// Returns the decision that a fault leads to.
pub(super) fn blocked(fault: Fault) -> Decision {
    Decision {
        verdict: Verdict::Blocked,
        reasons: vec![Reason::Fault {
            message: fault.message,
        }],
        outputs: Outputs::new(),
        uncompared: false,
    }
}

/// Evaluates the outputs of a step that is as wanted.
///
/// # Errors
/// When one can't be told from the facts.
pub fn outputs(task: &Task, values: &Values, facts: &Facts) -> Result<Outputs, Fault> {
    let facts = as_values(task, values, facts);
    task.outputs
        .iter()
        .map(|(name, spec)| match output(spec, values, &facts) {
            Ok(value) => Ok((name.clone(), value)),
            Err(why) => Err(Fault {
                message: format!("output `{name}`: {why}"),
                not_yet: false,
            }),
        })
        .collect()
}

/// Evaluates those outputs that the facts at hand give.
fn outputs_at_hand(task: &Task, values: &Values, facts: &Facts) -> Outputs {
    let facts = as_values(task, values, facts);
    task.outputs
        .iter()
        .filter_map(|(name, spec)| Some((name.clone(), output(spec, values, &facts).ok()?)))
        .collect()
}

/// Returns the facts as outputs are made of them: one beside a secret expectation is secret itself, because it is the secret,
/// a part of it or its digest.
fn as_values(task: &Task, values: &Values, facts: &Facts) -> BTreeMap<String, Value> {
    let secret = secret_facts(task, values);
    facts
        .iter()
        .map(|(name, fact)| {
            let value = match fact {
                Fact::Text(text) if secret.contains(name.as_str()) => {
                    Value::Secret(text.clone().into())
                }
                Fact::Text(text) => Value::Text(text.clone()),
                Fact::Secret(secret) => Value::Secret(secret.clone()),
                Fact::Differences(_) => Value::Text(fact.value().to_owned()),
            };
            (name.clone(), value)
        })
        .collect()
}

/// Facts are texts: a number or a flag is read out of them.
fn output(
    spec: &OutputSpec,
    values: &Values,
    facts: &BTreeMap<String, Value>,
) -> Result<Value, String> {
    let (value, _) = evaluate_over(&spec.from, values, Some(facts)).map_err(|e| e.to_string())?;
    let value = match (&spec.kind, value) {
        (ValueType::Int, Value::Text(text)) => Value::Int(
            text.trim()
                .parse()
                .map_err(|_| format!("{text:?} is no number"))?,
        ),
        (ValueType::Bool, Value::Text(text)) => match text.trim() {
            "true" | "yes" => Value::Bool(true),
            "false" | "no" => Value::Bool(false),
            _ => return Err(format!("{text:?} is neither true nor false")),
        },
        (_, value) => value,
    };
    Ok(match value {
        Value::Text(text) if spec.secret => Value::Secret(text.into()),
        value => value,
    })
}
