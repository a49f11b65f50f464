//! Inputs with holes × what is known by now → values. Does not know where a known value came from.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use super::fact::Fault;
use crate::catalog::{Template, Value, Values, evaluate_over, mentions};
use crate::config::Setting;
use crate::graph::{Graph, Hole, HoleId, Input, Inputs, StepId, Unfilled};
use crate::secret::{STACK_NAMESPACE, Secret, SecretRef, references};

/// What is known of the holes of one graph.
#[derive(Debug, Clone, Default)]
pub struct Known {
    values: HashMap<HoleId, Value>,
    outputs: HashMap<StepId, Vec<(String, HoleId)>>,
    /// What each secret is called in the config.
    secrets: Arc<HashMap<HoleId, String>>,
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
        let mut names = HashMap::new();
        for (hole, secret) in secrets {
            known.values.insert(hole, Value::Secret(secret));
        }
        for (index, hole) in (0u32..).zip(&graph.holes) {
            match hole {
                Hole::Output(step, name) => known
                    .outputs
                    .entry(*step)
                    .or_default()
                    .push((name.clone(), HoleId(index))),
                Hole::Secret(reference) => {
                    let name = setting_of(graph, reference);
                    names.insert(HoleId(index), name);
                }
            }
        }
        known.secrets = Arc::new(names);
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
            secrets: self.secrets.clone(),
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
                Err(error) => {
                    let message = format!("input `{name}`: {}", self.told(&error));
                    filled.wrong = Some(Fault {
                        message,
                        not_yet: false,
                    });
                }
            }
        }
        filled
    }

    /// Says why an input can't be filled: which value is to blame, never what it is.
    fn told(&self, error: &Unfilled) -> String {
        let Unfilled::Unencodable {
            holes,
            encoder,
            why,
        } = error
        else {
            return error.to_string();
        };
        let names: Vec<&str> = holes
            .iter()
            .map(|hole| {
                self.secrets
                    .get(hole)
                    .map_or("an output of a step", |name| &**name)
            })
            .collect();
        format!(
            "{} can't be written as `{}`: {why}",
            names.join(" and "),
            encoder.name()
        )
    }

    /// Returns the secrets that can't be written where one of these steps needs them, each with the step and the reason, as far as
    /// that is known before anything runs.
    #[must_use]
    pub fn unwritable(&self, graph: &Graph, steps: &[StepId]) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let mut seen = HashSet::new();
        for step in steps.iter().map(|id| graph.step(*id)) {
            // Steps of many hosts share their inputs.
            if !seen.insert(Arc::as_ptr(&step.inputs)) {
                continue;
            }
            for (name, input) in step.inputs.iter() {
                let error = input.fill(&|hole| self.get(hole).cloned());
                if let Err(error @ Unfilled::Unencodable { .. }) = error {
                    let told = self.told(&error);
                    found.push(format!("{}: input `{name}`: {told}", step.label));
                }
            }
        }
        found
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

/// Returns what to call a secret: the first setting that refers to it, and the reference.
fn setting_of(graph: &Graph, reference: &SecretRef) -> String {
    let text = reference.to_string();
    let components = graph.stack.components.iter().find_map(|(name, component)| {
        let path = path_to(&component.settings.value, reference)?;
        Some(format!("{name}{path}"))
    });
    let sections =
        || {
            graph.stack.sections.iter().find_map(|(name, node)| {
                Some(format!("{name}{}", path_to(&node.value, reference)?))
            })
        };
    match components.or_else(sections) {
        Some(path) => format!("`{path}` ({text})"),
        None => format!("`{text}`"),
    }
}

/// Returns the path to a setting whose text refers to a secret.
fn path_to(setting: &Setting, wanted: &SecretRef) -> Option<String> {
    match setting {
        Setting::Text(text) => references(text, STACK_NAMESPACE)
            .is_ok_and(|found| found.iter().any(|(_, reference)| reference == wanted))
            .then(String::new),
        Setting::List(items) => items.iter().find_map(|item| path_to(&item.value, wanted)),
        Setting::Map(entries) => entries.iter().find_map(|(name, (_, node))| {
            Some(format!(".{name}{}", path_to(&node.value, wanted)?))
        }),
        _ => None,
    }
}

fn from<'a>(graph: &'a Graph, step: StepId, output: &str) -> Option<&'a Template> {
    Some(&graph.step(step).task.as_ref()?.outputs.get(output)?.from)
}
