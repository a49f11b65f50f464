//! Inputs with holes × what is known by now → values. Does not know where a known value came from.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::fact::Fault;
use crate::catalog::{Template, Value, Values, evaluate_over, mentions};
use crate::graph::{Graph, Hole, HoleId, Input, Inputs, StepId, Unfilled};
use crate::secret::Secret;

/// What is known of the holes of one graph.
#[derive(Debug, Clone, Default)]
pub struct Known {
    values: HashMap<HoleId, Value>,
    outputs: HashMap<StepId, Vec<(String, HoleId)>>,
}

/// The values of one step as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filled {
    /// Known inputs, in the order declared.
    pub values: Values,
    /// Inputs that are not, each with its open holes.
    pub open: IndexMap<String, Vec<HoleId>>,
    /// What can't be filled, whatever becomes known.
    pub wrong: Option<Fault>,
}

impl Filled {
    /// Returns the open holes of the inputs that any of `templates` mentions, without doubles.
    #[must_use]
    pub fn open_in<'a>(&self, templates: impl IntoIterator<Item = &'a Template>) -> Vec<HoleId> {
        if self.open.is_empty() {
            return Vec::new();
        }
        let mut holes = Vec::new();
        for template in templates {
            // A template that can't be read is for its evaluation to complain of.
            let names = mentions(template).unwrap_or_default();
            for name in names.iter().map(|name| root(name)) {
                holes.extend(self.open.get(name).into_iter().flatten());
            }
        }
        holes.sort_unstable();
        holes.dedup();
        holes
    }

    /// Returns all open holes, without doubles.
    #[must_use]
    pub fn all_open(&self) -> Vec<HoleId> {
        let mut holes: Vec<HoleId> = self.open.values().flatten().copied().collect();
        holes.sort_unstable();
        holes.dedup();
        holes
    }
}

/// The variable itself of `settings.a.b`.
fn root(mention: &str) -> &str {
    mention.split_once('.').map_or(mention, |(root, _)| root)
}

impl Known {
    /// Starts with what needs nobody's answer: `secrets`, and outputs that follow from inputs alone.
    #[must_use]
    pub fn new(graph: &Graph, secrets: impl IntoIterator<Item = (HoleId, Secret<String>)>) -> Self {
        let mut known = Self::default();
        for (hole, secret) in secrets {
            known.values.insert(hole, Value::Secret(secret));
        }
        for (index, hole) in (0u32..).zip(&graph.holes) {
            if let Hole::Output(step, name) = hole {
                known
                    .outputs
                    .entry(*step)
                    .or_default()
                    .push((name.clone(), HoleId(index)));
            }
        }
        known.follow(graph);
        known
    }

    /// Returns what is known of the holes in all of `inputs`, and nothing of others.
    #[must_use]
    pub fn of<'a>(&self, inputs: impl IntoIterator<Item = &'a Inputs>) -> Self {
        let inputs = inputs.into_iter().flat_map(|inputs| inputs.values());
        let holes = inputs.flat_map(Input::holes);
        Self {
            values: holes
                .filter_map(|hole| Some((hole, self.get(hole)?.clone())))
                .collect(),
            outputs: HashMap::new(),
        }
    }

    /// Returns the value of a hole.
    #[must_use]
    pub fn get(&self, hole: HoleId) -> Option<&Value> {
        self.values.get(&hole)
    }

    /// Returns whether some step uses an output of `step`.
    #[must_use]
    pub fn uses_outputs_of(&self, step: StepId) -> bool {
        self.outputs.contains_key(&step)
    }

    /// Takes over a secret that was resolved later than the others.
    pub fn learn_secret(&mut self, hole: HoleId, secret: Secret<String>) {
        self.values.insert(hole, Value::Secret(secret));
    }

    /// Takes over the outputs of a step; returns whether that told anything new.
    pub fn learn(&mut self, step: StepId, outputs: &Values) -> bool {
        let mut news = false;
        for (name, hole) in self.outputs.get(&step).into_iter().flatten() {
            if let Some(value) = outputs.get(name)
                && self.values.get(hole) != Some(value)
            {
                self.values.insert(*hole, value.clone());
                news = true;
            }
        }
        news
    }

    /// Fills `inputs`.
    #[must_use]
    pub fn fill(&self, inputs: &Inputs) -> Filled {
        let mut filled = Filled::default();
        for (name, input) in inputs {
            match input.fill(&|hole| self.get(hole).cloned()) {
                Ok(value) => {
                    filled.values.insert(name.clone(), value);
                }
                Err(Unfilled::Unknown(holes)) => {
                    filled.open.insert(name.clone(), holes);
                }
                Err(error @ Unfilled::NotText { .. }) => {
                    let message = format!("input `{name}`: {error}");
                    filled.wrong = Some(Fault {
                        message,
                        not_yet: false,
                    });
                }
            }
        }
        filled
    }

    /// Finds the outputs that need no facts, step by step as far as they lead.
    fn follow(&mut self, graph: &Graph) {
        let mut open: Vec<(StepId, String, HoleId)> = self
            .outputs
            .iter()
            .flat_map(|(step, holes)| {
                holes
                    .iter()
                    .map(|(name, hole)| (*step, name.clone(), *hole))
            })
            .filter(|(step, name, _)| {
                from(graph, *step, name).is_some_and(|from| {
                    mentions(from).is_ok_and(|names| names.iter().all(|name| root(name) != "facts"))
                })
            })
            .collect();
        // Steps are numbered in no order of need, so go on for as long as something new comes of it.
        loop {
            let before = open.len();
            open.retain(|(step, name, hole)| {
                let Some(from) = from(graph, *step, name) else {
                    return false;
                };
                let filled = self.fill(&graph.step(*step).inputs);
                if !filled.open_in([from]).is_empty() {
                    return true;
                }
                if let Ok((value, _)) = evaluate_over(from, &filled.values, None) {
                    self.values.insert(*hole, value);
                }
                false
            });
            if open.len() == before {
                return;
            }
        }
    }
}

fn from<'a>(graph: &'a Graph, step: StepId, output: &str) -> Option<&'a Template> {
    Some(&graph.step(step).task.as_ref()?.outputs.get(output)?.from)
}
