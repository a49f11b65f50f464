//! Steps that are alike, the same task over the same inputs with the same facts and stamp, are decided once. Knows
//! neither what comes before a step nor what comes of it.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::mem::Discriminant;
use std::sync::Arc;

use rayon::prelude::*;

use super::decide::decide_step;
use super::verdict::Decision;
use crate::catalog::Values;
use crate::graph::{Fingerprints, Graph, Input, Step, StepId, Target};
use crate::probe::{Known, Observed};

/// Where something that is shared lies: the same address, the same thing.
type Address = usize;

/// What a decision follows from besides the inputs; all that hosts of one kind share is told apart by its address.
#[derive(PartialEq, Eq, Hash)]
struct Seen<'a> {
    task: Address,
    target: Discriminant<Target>,
    service: Option<&'a str>,
    facts: Address,
    stamp: Option<Address>,
}

impl<'a> Seen<'a> {
    /// Returns what is seen of a step that is known well enough to be decided.
    fn of(step: &'a Step, id: StepId, observed: &Observed) -> Option<Self> {
        Some(Self {
            task: Arc::as_ptr(step.task.as_ref()?).addr(),
            target: std::mem::discriminant(&step.target),
            service: match &step.target {
                Target::Service(name, _) => Some(name),
                Target::Host(_) | Target::Group(_) | Target::Gather => None,
            },
            facts: Arc::as_ptr(observed.facts(id)?.as_ref().ok()?).addr(),
            stamp: observed
                .stamp(id)
                .map(|stamp| std::ptr::from_ref(stamp).addr()),
        })
    }
}

/// Values as a key, order and all.
#[derive(PartialEq, Eq)]
struct ByContent(Values);

impl Hash for ByContent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (name, value) in &self.0 {
            name.hash(state);
            value.hash(state);
        }
    }
}

/// The decisions of steps whose inputs no other step has a say in.
pub(super) struct Alike<'a> {
    graph: &'a Graph,
    observed: &'a Observed,
    secrets: &'a Fingerprints,
    /// Index of each step's decision by `StepId`; [`NONE`] if it has to wait for others.
    which: Vec<u32>,
    decisions: Vec<Arc<Decision>>,
    /// Decisions of steps whose inputs were filled in later.
    later: HashMap<(Seen<'a>, ByContent), Arc<Decision>>,
}

const NONE: u32 = u32::MAX;

impl<'a> Alike<'a> {
    /// Decides all of `steps` that need not wait for others, in parallel.
    pub fn new(
        graph: &'a Graph,
        steps: &[StepId],
        observed: &'a Observed,
        known: &Known,
        secrets: &'a Fingerprints,
    ) -> Self {
        let mut which = vec![NONE; graph.steps.len()];
        let mut kinds: HashMap<(Seen<'_>, Address), u32> = HashMap::new();
        let mut first: Vec<StepId> = Vec::new();
        for id in steps {
            let step = graph.step(*id);
            let Some(seen) = Seen::of(step, *id, observed) else {
                continue;
            };
            let kind = kinds
                .entry((seen, Arc::as_ptr(&step.inputs).addr()))
                .or_insert_with(|| {
                    if !step.inputs.values().all(is_known) {
                        return NONE;
                    }
                    first.push(*id);
                    u32::try_from(first.len() - 1).unwrap_or(NONE)
                });
            which[id.0 as usize] = *kind;
        }
        let mut alike = Self {
            graph,
            observed,
            secrets,
            which,
            decisions: Vec::new(),
            later: HashMap::new(),
        };
        alike.decisions = first
            .par_iter()
            .map(|id| {
                let values = known.fill(&graph.step(*id).inputs).values;
                Arc::new(alike.decide(*id, &values))
            })
            .collect();
        alike
    }

    /// Returns the decision of a step that had to wait for nobody.
    pub fn decision(&self, id: StepId) -> Option<Arc<Decision>> {
        self.decisions
            .get(self.which[id.0 as usize] as usize)
            .cloned()
    }

    /// Decides a step whose inputs are all filled in by now.
    pub fn decide_later(&mut self, id: StepId, values: Values) -> Arc<Decision> {
        let Some(seen) = Seen::of(self.graph.step(id), id, self.observed) else {
            return Arc::new(self.decide(id, &values));
        };
        let key = (seen, ByContent(values));
        if let Some(decision) = self.later.get(&key) {
            return Arc::clone(decision);
        }
        let decision = Arc::new(self.decide(id, &key.1.0));
        self.later.insert(key, Arc::clone(&decision));
        decision
    }

    fn decide(&self, id: StepId, values: &Values) -> Decision {
        let facts = match self.observed.facts(id) {
            Some(facts) => facts.as_deref(),
            None => unreachable!("BUG: a step that nobody looked at is decided"),
        };
        let stamp = self.observed.stamp(id);
        decide_step(self.graph.step(id), values, facts, stamp, self.secrets)
    }
}

/// Returns whether an input has no hole. (Lists and tables without any are [`Input::Known`] as a whole.)
fn is_known(input: &Input) -> bool {
    matches!(input, Input::Known(_))
}
