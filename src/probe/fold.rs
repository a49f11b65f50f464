//! What the hosts of one step answered → the step's facts. Does not know how they were asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::fact::{Fact, Facts, Fault, Seen};
use super::reader::ActionProbe;
use crate::catalog::Values;
use crate::graph::Target;

/// Folds the answers of a step's hosts. With an action, the action does, and adds to what the collectors saw of a
/// single host; a group without one has the facts on which all its hosts agree, and of the others every value.
///
/// # Errors
/// When a host that must answer did not.
pub fn fold(
    action: Option<&dyn ActionProbe>,
    target: &Target,
    values: &Values,
    seen: &[Seen],
) -> Result<Arc<Facts>, Fault> {
    if let (Target::Host(_), [only]) = (target, seen) {
        let mut facts = only.answer.clone()?;
        if let Some(action) = action {
            Arc::make_mut(&mut facts).extend(action.facts(values, seen)?);
        }
        return Ok(facts);
    }
    match action {
        Some(action) => action.facts(values, seen),
        None => agreed(seen),
    }
    .map(Arc::new)
}

fn agreed(seen: &[Seen]) -> Result<Facts, Fault> {
    let mut all: Vec<&Facts> = Vec::with_capacity(seen.len());
    for one in seen {
        match &one.answer {
            Ok(facts) => all.push(facts),
            Err(fault) => {
                let message = format!("{}: {}", one.name, fault.message);
                return Err(Fault {
                    message,
                    not_yet: fault.not_yet,
                });
            }
        }
    }
    let names: BTreeSet<&String> = all.iter().flat_map(|facts| facts.keys()).collect();
    Ok(names
        .into_iter()
        .map(|name| {
            let found = |facts: &&Facts| facts.get(name).map_or("absent", Fact::value).to_owned();
            let values: BTreeSet<String> = all.iter().map(found).collect();
            let text = values.into_iter().collect::<Vec<_>>().join(",");
            let secret = all
                .iter()
                .any(|facts| matches!(facts.get(name), Some(Fact::Secret(_))));
            (
                name.clone(),
                if secret {
                    Fact::Secret(text.into())
                } else {
                    Fact::Text(text)
                },
            )
        })
        .collect())
}
