//! Binds the inputs of one block's steps: what is the same for several is evaluated once and shared, what is each host's
//! own is evaluated in parallel. Does not know the other blocks but for the outputs that they hand on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rayon::prelude::*;

use super::bind::Draft;
use super::expand::Expansion;
use super::expand_blocks::{Block, Instance};
use super::expand_inputs::Mentions;
use super::expand_scope::Symbol;
use super::{Hole, HoleId, Input, Inputs, StepId};
use crate::catalog::{
    AllProblems, Format, InputSpec, Placeholder, Template, TextFormat, Value, ValueType,
};

/// What a recipe gives for one input of a task.
pub(super) struct Given<'a> {
    pub name: &'a str,
    pub spec: &'a InputSpec,
    /// `None`: the default.
    pub value: Option<&'a Value>,
    pub mentions: Mentions,
}

/// The inputs of a step, and the steps whose outputs are among them, sorted.
#[derive(Clone)]
pub(super) struct Bound {
    pub inputs: Arc<Inputs>,
    pub outputs: Arc<[StepId]>,
}

/// An input evaluated, and whether its holes make it differ from host to host or item to item.
struct Drafted {
    draft: Draft,
    mentions: Mentions,
}

/// Binds the inputs of one block.
pub(super) struct Binder<'a, 'b> {
    drafter: Drafter<'a>,
    given: Vec<Given<'a>>,
    holes: &'b mut HashMap<Hole, HoleId>,
    list: &'b mut Vec<Hole>,
    problems: &'b mut AllProblems,
    /// Inputs that mention the host, evaluated beforehand: of each step in order, by input. `None` is none of those, or
    /// is wrong, which is still to be said.
    own: std::vec::IntoIter<Vec<Option<Drafted>>>,
    /// Inputs that don't mention the host, by input and item.
    drafts: HashMap<(usize, Option<u32>), Arc<Drafted>>,
    /// Inputs that are the same for several steps, by item where that matters.
    shared: HashMap<Option<u32>, Bound>,
    /// The same for each item, to be found at once; first for steps without one.
    by_item: Vec<Option<Bound>>,
}

impl<'a, 'b> Binder<'a, 'b> {
    /// Makes ready to bind the steps of `block`, whose recipe gives `given`.
    pub fn new(
        expansion: &'a Expansion<'a>,
        blocks: &'a [Block],
        block: &'a Block,
        given: Vec<Given<'a>>,
        holes: &'b mut HashMap<Hole, HoleId>,
        list: &'b mut Vec<Hole>,
        problems: &'b mut AllProblems,
    ) -> Self {
        let drafter = Drafter {
            expansion,
            blocks,
            block,
        };
        Self {
            own: drafter.own(&given).into_iter(),
            drafter,
            given,
            holes,
            list,
            problems,
            drafts: HashMap::new(),
            shared: HashMap::new(),
            by_item: vec![None; block.items.len() + 1],
        }
    }

    /// Returns the inputs of one step; to be asked of all steps in order. `None`: something is wrong, and that has been
    /// said; it would be the same for the next.
    pub fn inputs(&mut self, index: usize, instance: Instance) -> Option<Bound> {
        let slot = instance.item.map_or(0, |item| item as usize + 1);
        if let Some(bound) = &self.by_item[slot] {
            return Some(bound.clone());
        }
        let drafts = self.drafts(instance)?;
        let mut mentions = Mentions::default();
        for drafted in drafts.iter().flatten() {
            mentions.host |= drafted.mentions.host;
            mentions.item |= drafted.mentions.item;
        }
        let key = instance.item.filter(|_| mentions.item);
        let bound = match self.shared.get(&key) {
            Some(bound) if !mentions.host => bound.clone(),
            _ => self.fill(index, instance, &drafts)?,
        };
        if !mentions.host {
            self.shared.insert(key, bound.clone());
            self.by_item[slot] = Some(bound.clone());
        }
        Some(bound)
    }

    /// Returns what each input evaluates to for one step.
    fn drafts(&mut self, instance: Instance) -> Option<Vec<Option<Arc<Drafted>>>> {
        let mut own = self.own.next().unwrap_or_default();
        let mut drafts = Vec::with_capacity(self.given.len());
        for (at, given) in self.given.iter().enumerate() {
            let Some(value) = given.value else {
                drafts.push(None);
                continue;
            };
            if let Some(drafted) = own.get_mut(at).and_then(Option::take) {
                drafts.push(Some(Arc::new(drafted)));
                continue;
            }
            let key = (at, instance.item.filter(|_| given.mentions.item));
            if let Some(drafted) = self.drafts.get(&key) {
                drafts.push(Some(Arc::clone(drafted)));
                continue;
            }
            match self.drafter.evaluate(given, value, instance) {
                Ok(drafted) => {
                    let drafted = Arc::new(drafted);
                    // What mentions the host is of no use to the next.
                    if !given.mentions.host {
                        self.drafts.insert(key, Arc::clone(&drafted));
                    }
                    drafts.push(Some(drafted));
                }
                Err(wrong) => {
                    self.drafter.report(given, &wrong, instance, self.problems);
                    return None;
                }
            }
        }
        Some(drafts)
    }

    /// Puts the holes of one step in.
    fn fill(
        &mut self,
        index: usize,
        instance: Instance,
        drafts: &[Option<Arc<Drafted>>],
    ) -> Option<Bound> {
        let Drafter {
            expansion, block, ..
        } = self.drafter;
        let mut outputs = Vec::new();
        let mut inputs = Inputs::with_capacity(drafts.len());
        for (at, drafted) in drafts.iter().enumerate() {
            let (name, spec) = (self.given[at].name, self.given[at].spec);
            if let (Some(drafted), Some(format)) = (drafted, self.format(spec, drafts))
                && let Err(misplaced) = drafted.draft.check_format(format)
            {
                let message = format!(
                    "input `{name}` of step `{}`: {}",
                    block.name, misplaced.message
                );
                let path = ["steps", &*block.name, "with", name];
                expansion.report_with(block.part, self.problems, &path, message, misplaced.hint);
                return None;
            }
            let input = match (drafted, &spec.default) {
                (Some(drafted), _) => drafted
                    .draft
                    .bind(&mut |placeholder| self.hole(index, instance, placeholder, &mut outputs)),
                (None, Some(default)) => Ok(Input::Known(default.clone())),
                (None, None) => continue,
            };
            match input {
                Ok(input) => _ = inputs.insert(name.to_owned(), input),
                Err(message) => {
                    let message = format!("input `{name}` of step `{}`: {message}", block.name);
                    let path = ["steps", &*block.name, "with", name];
                    expansion.report(block.part, self.problems, &path, None, message);
                    return None;
                }
            }
        }
        outputs.sort_unstable();
        outputs.dedup();
        Some(Bound {
            inputs: Arc::new(inputs),
            outputs: outputs.into(),
        })
    }

    /// Returns the format of an input's text: as its task says, or as the end of a path says that is another input.
    fn format(&self, spec: &InputSpec, drafts: &[Option<Arc<Drafted>>]) -> Option<Format> {
        match spec.format.as_ref()? {
            TextFormat::Is(format) => Some(*format),
            TextFormat::OfPath(path) => {
                let at = self.given.iter().position(|given| given.name == path)?;
                Format::of_path(drafts[at].as_ref()?.draft.known_text()?)
            }
        }
    }

    /// Returns the hole that a placeholder is for one step.
    fn hole(
        &mut self,
        index: usize,
        instance: Instance,
        placeholder: Placeholder,
        outputs: &mut Vec<StepId>,
    ) -> Result<HoleId, String> {
        let Drafter {
            expansion, blocks, ..
        } = self.drafter;
        let hole = match expansion.shared.symbol(placeholder) {
            Some(Symbol::Secret(reference)) => Hole::Secret(reference),
            Some(Symbol::Output(block, output)) => {
                let step = self.drafter.provider(index, instance, &blocks[block])?;
                outputs.push(step);
                Hole::Output(step, output)
            }
            None => return Err("a value to come got lost".to_owned()),
        };
        if let Some(id) = self.holes.get(&hole) {
            return Ok(*id);
        }
        let id = HoleId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push(hole.clone());
        self.holes.insert(hole, id);
        Ok(id)
    }
}

/// Why an input can't be evaluated: the message, the line of its template, and where in the recipe it stands.
struct Wrong {
    message: String,
    line: Option<u32>,
    path: Vec<String>,
}

/// Evaluates the inputs of one block's steps. Changes nothing, so that it may do so for many at once.
#[derive(Clone, Copy)]
struct Drafter<'a> {
    expansion: &'a Expansion<'a>,
    blocks: &'a [Block],
    block: &'a Block,
}

impl Drafter<'_> {
    /// Evaluates the inputs that mention the host, of all steps at once; nothing if there are none.
    fn own(&self, given: &[Given<'_>]) -> Vec<Vec<Option<Drafted>>> {
        if !given.iter().any(|given| given.mentions.host) {
            return Vec::new();
        }
        let instances = &self.block.instances;
        let of = |instance: &Instance| {
            let each = given.iter().map(|given| {
                let value = given.value.filter(|_| given.mentions.host)?;
                self.evaluate(given, value, *instance).ok()
            });
            each.collect()
        };
        let drafted = instances.par_iter().map(of).collect();
        // What went wrong is evaluated once more when its turn comes, and said then.
        let _ = self.expansion.shared.take_note();
        drafted
    }

    /// Evaluates one input and checks it against what the task declares.
    fn evaluate(
        &self,
        given: &Given<'_>,
        value: &Value,
        instance: Instance,
    ) -> Result<Drafted, Wrong> {
        let mut path = vec![
            "steps".to_owned(),
            self.block.name.to_string(),
            "with".to_owned(),
            given.name.to_owned(),
        ];
        let draft = self
            .draft(value, instance, &mut path)
            .and_then(|draft| {
                let plain = |message| (message, None);
                self.check_holes(given.name, given.spec, &draft)
                    .map_err(plain)?;
                draft.check(given.spec).map_err(plain)
            })
            .map_err(|(message, line)| Wrong {
                message,
                line,
                path,
            })?;
        // Outputs of steps on hosts differ from host to host; those of steps with items may from item to item.
        let mut mentions = given.mentions;
        draft.each_hole(&mut |hole| {
            if let Some(Symbol::Output(block, _)) = self.expansion.shared.symbol(hole) {
                mentions.host |= self.blocks[block].target.is_none();
                mentions.item |= self.blocks[block].instances.len() > 1;
            }
        });
        Ok(Drafted { draft, mentions })
    }

    /// Says what is wrong with an input of one step.
    fn report(
        &self,
        given: &Given<'_>,
        wrong: &Wrong,
        instance: Instance,
        problems: &mut AllProblems,
    ) {
        let whom = match instance.host {
            Some(host) => format!(" (on {})", self.expansion.stack.host(host).name),
            None => String::new(),
        };
        let message = format!(
            "input `{}` of step `{}`: {}{whom}",
            given.name, self.block.name, wrong.message
        );
        let path: Vec<&str> = wrong.path.iter().map(String::as_str).collect();
        self.expansion
            .report(self.block.part, problems, &path, wrong.line, message);
    }

    /// Evaluates every text in `value`. On an error `path` says where it is.
    fn draft(
        &self,
        value: &Value,
        instance: Instance,
        path: &mut Vec<String>,
    ) -> Result<Draft, (String, Option<u32>)> {
        match value {
            Value::Text(text) => {
                let template = Template(text.clone());
                let item = self.block.item(instance);
                let value = self
                    .expansion
                    .evaluate(self.block.part, &template, instance.host, item)
                    .map_err(|error| (error.message, error.line))?;
                Draft::of(&value).map_err(|message| (message, None))
            }
            Value::List(items) => {
                let mut drafts = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    drafts.push(self.draft(item, instance, path)?);
                    path.pop();
                }
                Ok(Draft::of_list(drafts))
            }
            Value::Map(entries) => {
                let mut drafts = BTreeMap::new();
                for (key, entry) in entries {
                    path.push(key.clone());
                    drafts.insert(key.clone(), self.draft(entry, instance, path)?);
                    path.pop();
                }
                Ok(Draft::of_map(drafts))
            }
            other => Ok(Draft::Known(other.clone())),
        }
    }

    /// Checks that secrets go only where the task takes them, and that outputs fit.
    fn check_holes(&self, name: &str, spec: &InputSpec, draft: &Draft) -> Result<(), String> {
        let alone = matches!(draft, Draft::Hole(_));
        let mut result = Ok(());
        draft.each_hole(&mut |placeholder| {
            if result.is_err() {
                return;
            }
            let task = &self.block.task;
            let (what, secret, fits) = match self.expansion.shared.symbol(placeholder) {
                Some(Symbol::Secret(reference)) => (reference.to_string(), true, true),
                Some(Symbol::Output(block, output)) => {
                    let provider = &self.blocks[block].task.outputs[&output];
                    let label = format!("the output `{output}` of step `{}`", self.blocks[block].name);
                    (label, provider.secret, !alone || takes(&spec.kind, &provider.kind))
                }
                None => return,
            };
            if secret && !spec.secret {
                result = Err(format!(
                    "{what} is secret, and task `{}` takes no secret as `{name}` (its input would need `secret = \"maybe\"`)",
                    task.name
                ));
            } else if !fits {
                result = Err(format!("{what} is of another type: {} is wanted", spec.kind));
            }
        });
        result
    }

    /// Finds the one step of `block` whose output is meant: on the same host if it runs there, for the same item if
    /// there are several.
    fn provider(&self, index: usize, instance: Instance, block: &Block) -> Result<StepId, String> {
        let same_host = instance
            .host
            .map(|host| block.on(host))
            .filter(|range| !range.is_empty());
        let range = same_host.unwrap_or(0..block.instances.len());
        if std::ptr::eq(block, self.block) && range.contains(&index) {
            return Err("a step can't use its own output".to_owned());
        }
        let item = self.block.item(instance).map(|item| &item.name);
        let mut fitting = range.clone().filter(|at| {
            range.len() == 1 || block.item(block.instances[*at]).map(|item| &item.name) == item
        });
        match (fitting.next(), fitting.next()) {
            (Some(at), None) => Ok(block.id(at)),
            (None, _) if range.is_empty() => Err(format!(
                "the step `{}` whose output is used is left out (its `when` or `for_each`, or no host for it)",
                block.name
            )),
            _ => Err(format!(
                "there are {} steps `{}` (hosts or items), so it can't be said whose output is meant",
                range.len(),
                block.name
            )),
        }
    }
}

/// Returns whether an input of one type takes an output of another as it is.
fn takes(input: &ValueType, output: &ValueType) -> bool {
    let scalar =
        |kind: &ValueType| kind.is_text() || matches!(kind, ValueType::Int | ValueType::Bool);
    match (input, output) {
        (ValueType::Any, _) | (_, ValueType::Any) => true,
        (ValueType::List(input), ValueType::List(output))
        | (ValueType::Map(input), ValueType::Map(output)) => takes(input, output),
        (input, output) => input == output || (input.is_text() && scalar(output)),
    }
}
