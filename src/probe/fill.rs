//! Inputs with holes × what is known by now → values. Does not know where a known value came from.

use std::collections::{BTreeMap, HashMap};

use indexmap::IndexMap;
use zeroize::Zeroizing;

use crate::catalog::{Template, Value, Values, evaluate_over, mentions};
use crate::graph::{Graph, Hole, HoleId, Input, Inputs, Part, StepId};
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
            let mut open = Vec::new();
            match self.fill_one(input, &mut open) {
                Some(value) => {
                    filled.values.insert(name.clone(), value);
                }
                None => {
                    filled.open.insert(name.clone(), open);
                }
            }
        }
        filled
    }

    fn fill_one(&self, input: &Input, open: &mut Vec<HoleId>) -> Option<Value> {
        match input {
            Input::Known(value) => Some(value.clone()),
            Input::Hole(hole) => self.hole(*hole, open),
            Input::Text(parts) => self.fill_text(parts, open),
            Input::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.fill_one(item, open)).collect();
                items.into_iter().collect::<Option<_>>().map(Value::List)
            }
            Input::Map(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, item)| Some((key.clone(), self.fill_one(item, open)?)))
                    .collect();
                entries
                    .into_iter()
                    .collect::<Option<BTreeMap<_, _>>>()
                    .map(Value::Map)
            }
        }
    }

    fn hole(&self, hole: HoleId, open: &mut Vec<HoleId>) -> Option<Value> {
        let value = self.get(hole);
        if value.is_none() {
            open.push(hole);
        }
        value.cloned()
    }

    /// One secret part makes the whole text secret. Null adds nothing; a list or map has no text, so that its hole
    /// stays open (the catalog lets only scalars into text).
    fn fill_text(&self, parts: &[Part], open: &mut Vec<HoleId>) -> Option<Value> {
        let mut text = Zeroizing::new(String::new());
        let (mut secret, mut whole) = (false, true);
        for part in parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Hole(hole) => match self.hole(*hole, open) {
                    None => whole = false,
                    Some(Value::Null) => {}
                    Some(Value::Bool(flag)) => text.push_str(if flag { "true" } else { "false" }),
                    Some(Value::Int(number)) => text.push_str(&number.to_string()),
                    Some(Value::Text(value)) => text.push_str(&value),
                    Some(Value::Secret(value)) => {
                        secret = true;
                        text.push_str(value.expose());
                    }
                    Some(Value::List(_) | Value::Map(_)) => {
                        open.push(*hole);
                        whole = false;
                    }
                },
            }
        }
        let text = std::mem::take(&mut *text);
        whole.then(|| {
            if secret {
                Value::Secret(text.into())
            } else {
                Value::Text(text)
            }
        })
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
