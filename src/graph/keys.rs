//! Keys of many steps at once. Knows that hosts share inputs, and so walks what is shared once.

use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::key::{Fingerprints, Key, key};
use super::step::Target;
use crate::catalog::{Task, Values};

/// A step as far as its key goes.
#[derive(Debug, Clone, Copy)]
pub struct Keyed<'a> {
    /// What it does.
    pub task: &'a Arc<Task>,
    /// Where; only the kind counts.
    pub target: &'a Target,
    /// With what. Steps that share these by pointer share the work.
    pub inputs: &'a Arc<Values>,
}

/// Which walk gives the key: the task and inputs by address, the target by kind (and name, for a service).
#[derive(PartialEq, Eq, Hash)]
struct Walk<'a> {
    task: *const Task,
    inputs: *const Values,
    kind: std::mem::Discriminant<Target>,
    service: Option<&'a str>,
}

impl<'a> From<&Keyed<'a>> for Walk<'a> {
    fn from(step: &Keyed<'a>) -> Self {
        Self {
            task: Arc::as_ptr(step.task),
            inputs: Arc::as_ptr(step.inputs),
            kind: std::mem::discriminant(step.target),
            service: match step.target {
                Target::Service(name, _) => Some(name),
                Target::Host(_) | Target::Group(_) | Target::Gather => None,
            },
        }
    }
}

/// Returns the key of each step, in the order given. Each distinct task with each distinct inputs is walked once,
/// in parallel.
#[must_use]
pub fn keys(steps: &[Keyed<'_>], secrets: &Fingerprints) -> Vec<Key> {
    let mut walks: HashMap<Walk<'_>, usize> = HashMap::new();
    let mut distinct: Vec<&Keyed<'_>> = Vec::new();
    let which: Vec<usize> = steps
        .iter()
        .map(|step| {
            *walks.entry(Walk::from(step)).or_insert_with(|| {
                distinct.push(step);
                distinct.len() - 1
            })
        })
        .collect();
    let made: Vec<Key> = distinct
        .par_iter()
        .map(|step| key(step.task, step.target, step.inputs, secrets))
        .collect();
    which.into_iter().map(|at| made[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Value;
    use crate::config::HostId;
    use crate::graph::fixture;
    use crate::secret::Secret;

    #[test]
    fn shared_inputs_give_the_key_that_each_alone_has() {
        let secrets = Fingerprints::new("k1".into(), Secret::new([7; 32]));
        let tasks = [
            Arc::new(fixture::task("file")),
            Arc::new(fixture::task("unit")),
        ];
        let inputs: Vec<Arc<Values>> = (0..3)
            .map(|n| Arc::new(Values::from([("n".to_owned(), Value::Int(n))])))
            .collect();
        let mut targets: Vec<Target> = (0..20).map(|n| Target::Host(HostId(n))).collect();
        targets.push(Target::Group(Arc::from([HostId(0)])));
        targets.push(Target::Service("bao".into(), Arc::from([HostId(0)])));
        targets.push(Target::Service("zot".into(), Arc::from([HostId(0)])));
        let mut steps = Vec::new();
        for task in &tasks {
            for inputs in &inputs {
                for target in &targets {
                    steps.push(Keyed {
                        task,
                        target,
                        inputs,
                    });
                }
            }
        }
        let made = keys(&steps, &secrets);
        for (step, made) in steps.iter().zip(&made) {
            assert_eq!(*made, key(step.task, step.target, step.inputs, &secrets));
        }
        let distinct: std::collections::HashSet<_> = made.into_iter().collect();
        assert_eq!(distinct.len(), 2 * 3 * 4, "hosts of one kind share a key");
    }
}
