//! Binds the inputs of every step: evaluated once where nothing mentions the host, and shared by the hosts. Does not
//! know the order of steps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::bind::Draft;
use super::expand::Expansion;
use super::expand_blocks::{Block, Instance, Item};
use super::expand_scope::Symbol;
use super::{Graph, Hole, HoleId, Inputs, Label, Step, StepId, Target};
use crate::catalog::{
    AllProblems, InputSpec, Placeholder, RecipeStep, Template, Value, ValueType, each_text,
    mentions,
};
use crate::config::{HostId, Problem, suggest_help};

/// What a template depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mentions {
    /// `host` or `others`.
    pub host: bool,
    /// `item`.
    pub item: bool,
}

impl Expansion<'_> {
    /// Returns what `template` mentions, the files that it renders included.
    pub fn mentions(&self, part: usize, template: &Template) -> Mentions {
        let mut found = Mentions::default();
        self.collect_mentions(part, &template.0, &mut found, &mut HashSet::new());
        found
    }

    fn collect_mentions(
        &self,
        part: usize,
        text: &str,
        found: &mut Mentions,
        seen: &mut HashSet<String>,
    ) {
        // One that can't be compiled is reported where it is read or evaluated.
        let Ok(names) = mentions(&Template(text.to_owned())) else {
            return;
        };
        let of = |variable: &str| {
            names.iter().any(|name| {
                name.strip_prefix(variable)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        found.host |= of("host") || of("others");
        found.item |= of("item");
        if !of("file") {
            return;
        }
        let literal = calls_are_literal(text);
        for (name, text_of_file) in &self.parts[part].base.recipe.files {
            // A name that is not written out may be that of any file.
            if (!literal || text.contains(name.as_str())) && seen.insert(name.clone()) {
                self.collect_mentions(part, text_of_file, found, seen);
            }
        }
    }

    /// Appends all steps of all blocks, in the order of their ids.
    pub fn bind(&self, blocks: &[Block], graph: &mut Graph, problems: &mut AllProblems) {
        graph
            .steps
            .reserve(blocks.iter().map(|block| block.instances.len()).sum());
        let mut holes = HashMap::new();
        for block in blocks {
            let recipe = self.parts[block.part].base.recipe.clone();
            let step = &recipe.steps[&*block.name];
            if !self.check_names(block, step, problems) {
                continue;
            }
            let pool = self.pool(block, step, &graph.pools, problems);
            let mut binder = Binder {
                expansion: self,
                blocks,
                block,
                step,
                holes: &mut holes,
                list: &mut graph.holes,
                problems,
                drafts: HashMap::new(),
                shared: HashMap::new(),
                texts_mention_host: HashMap::new(),
            };
            for (index, instance) in block.instances.iter().enumerate() {
                let Some((inputs, outputs)) = binder.inputs(index, instance) else {
                    break;
                };
                graph.steps.push(Step {
                    label: Label {
                        component: self.parts[block.part].name.clone(),
                        step: block.name.clone(),
                        item: instance.item.as_ref().map(|item| item.name.clone()),
                        host: instance.host.map(|host| self.stack.host(host).name.clone()),
                    },
                    task: Some(block.task.clone()),
                    target: match (&block.target, instance.host) {
                        (Some(target), _) => target.clone(),
                        (None, Some(host)) => Target::Host(host),
                        (None, None) => Target::Gather,
                    },
                    inputs,
                    needs: outputs.clone(),
                    watch: outputs,
                    pool,
                });
            }
        }
    }

    /// Checks that a step's inputs are those that its task declares.
    fn check_names(&self, block: &Block, step: &RecipeStep, problems: &mut AllProblems) -> bool {
        let declared = &block.task.inputs;
        let written = &self.parts[block.part].base.recipe.written;
        let mut fine = true;
        for name in step
            .with
            .keys()
            .filter(|name| !declared.contains_key(*name))
        {
            let message = format!("task `{}` has no input `{name}`", block.task.name);
            let mut problem = Problem::new(message)
                .maybe_help(suggest_help(name, declared.keys().map(String::as_str)));
            problem.span = written.at(&["steps", &block.name, "with", name]);
            problems.push(&written.source, problem);
            fine = false;
        }
        for (name, _) in declared
            .iter()
            .filter(|(name, spec)| spec.default.is_none() && !step.with.contains_key(*name))
        {
            let message = format!(
                "step `{}` does not give the input `{name}` of task `{}`",
                block.name, block.task.name
            );
            self.report(block.part, problems, &["steps", &block.name], None, message);
            fine = false;
        }
        fine
    }
}

/// Returns whether every call of `file` in `text` has its name written out.
fn calls_are_literal(text: &str) -> bool {
    text.match_indices("file").all(|(at, word)| {
        let rest = text[at + word.len()..]
            .trim_start_matches("_raw")
            .trim_start();
        match rest.strip_prefix('(') {
            Some(argument) => argument.trim_start().starts_with(['\'', '"']),
            None => true,
        }
    })
}

/// Which evaluation of an input an instance shares: by host and item, where it mentions them.
type Shared = (Option<HostId>, Option<Arc<str>>);

/// Binds the inputs of one block.
struct Binder<'a, 'b> {
    expansion: &'a Expansion<'a>,
    blocks: &'a [Block],
    block: &'a Block,
    step: &'a RecipeStep,
    holes: &'b mut HashMap<Hole, HoleId>,
    list: &'b mut Vec<Hole>,
    problems: &'b mut AllProblems,
    /// What was evaluated for each input.
    drafts: HashMap<(usize, Shared), Arc<Draft>>,
    /// Inputs that are the same for several steps, with the steps that their outputs come from.
    shared: HashMap<Shared, (Arc<Inputs>, Vec<StepId>)>,
    texts_mention_host: HashMap<usize, Mentions>,
}

impl Binder<'_, '_> {
    /// Returns the inputs of one step and the steps whose outputs are in them, sorted. `None`: something is wrong,
    /// and that has been said; it would be the same for the next.
    fn inputs(&mut self, index: usize, instance: &Instance) -> Option<(Arc<Inputs>, Vec<StepId>)> {
        let mut per_host = false;
        let mut per_item = false;
        let mut drafts = Vec::with_capacity(self.block.task.inputs.len());
        for (at, (name, spec)) in self.block.task.inputs.iter().enumerate() {
            let Some(value) = self.step.with.get(name) else {
                drafts.push(None);
                continue;
            };
            let mentioned = *self.texts_mention_host.entry(at).or_insert_with(|| {
                let mut found = Mentions::default();
                each_text(value, &mut |text| {
                    let mentions = self
                        .expansion
                        .mentions(self.block.part, &Template(text.to_owned()));
                    found.host |= mentions.host;
                    found.item |= mentions.item;
                });
                found
            });
            per_host |= mentioned.host;
            per_item |= mentioned.item;
            let key = (
                at,
                (
                    instance.host.filter(|_| mentioned.host),
                    instance
                        .item
                        .as_ref()
                        .filter(|_| mentioned.item)
                        .map(|item| item.name.clone()),
                ),
            );
            let draft = match self.drafts.get(&key) {
                Some(draft) => draft.clone(),
                None => {
                    let draft = Arc::new(self.evaluate(name, spec, value, instance)?);
                    // What mentions the host is of no use to the next.
                    if !mentioned.host {
                        self.drafts.insert(key, draft.clone());
                    }
                    draft
                }
            };
            drafts.push(Some(draft));
        }
        // Outputs of steps on hosts differ from host to host; those of steps with items may from item to item.
        for draft in drafts.iter().flatten() {
            draft.each_hole(&mut |hole| {
                if let Some(Symbol::Output(block, _)) = self.expansion.shared.symbol(hole) {
                    per_host |= self.blocks[block].target.is_none();
                    per_item |= self.blocks[block].instances.len() > 1;
                }
            });
        }
        let key = (
            instance.host.filter(|_| per_host),
            instance
                .item
                .as_ref()
                .filter(|_| per_item)
                .map(|item| item.name.clone()),
        );
        if let Some(shared) = self.shared.get(&key) {
            return Some(shared.clone());
        }
        let bound = self.fill(index, instance, &drafts)?;
        if !per_host {
            self.shared.insert(key, bound.clone());
        }
        Some(bound)
    }

    /// Evaluates one input and checks it against what the task declares.
    fn evaluate(
        &mut self,
        name: &str,
        spec: &InputSpec,
        value: &Value,
        instance: &Instance,
    ) -> Option<Draft> {
        let mut path = vec![
            "steps".to_owned(),
            self.block.name.to_string(),
            "with".to_owned(),
            name.to_owned(),
        ];
        match self.draft(value, instance, &mut path).and_then(|draft| {
            self.check_holes(name, spec, &draft)
                .map_err(|message| (message, None))?;
            draft.check(spec).map_err(|message| (message, None))
        }) {
            Ok(draft) => Some(draft),
            Err((message, line)) => {
                let whom = match (instance.host, &instance.item) {
                    (Some(host), _) => format!(" (on {})", self.expansion.stack.host(host).name),
                    _ => String::new(),
                };
                let message = format!(
                    "input `{name}` of step `{}`: {message}{whom}",
                    self.block.name
                );
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                self.expansion
                    .report(self.block.part, self.problems, &path, line, message);
                None
            }
        }
    }

    /// Evaluates every text in `value`. On an error `path` says where it is.
    fn draft(
        &self,
        value: &Value,
        instance: &Instance,
        path: &mut Vec<String>,
    ) -> Result<Draft, (String, Option<u32>)> {
        match value {
            Value::Text(text) => {
                let template = Template(text.clone());
                let item: Option<&Item> = instance.item.as_ref();
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
                let mut drafts = std::collections::BTreeMap::new();
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

    /// Puts the holes of one step in.
    fn fill(
        &mut self,
        index: usize,
        instance: &Instance,
        drafts: &[Option<Arc<Draft>>],
    ) -> Option<(Arc<Inputs>, Vec<StepId>)> {
        let mut outputs = Vec::new();
        let mut inputs = Inputs::with_capacity(drafts.len());
        for ((name, spec), draft) in self.block.task.inputs.iter().zip(drafts) {
            let input = match (draft, &spec.default) {
                (Some(draft), _) => draft
                    .bind(&mut |placeholder| self.hole(index, instance, placeholder, &mut outputs)),
                (None, Some(default)) => Ok(super::Input::Known(default.clone())),
                (None, None) => continue,
            };
            match input {
                Ok(input) => _ = inputs.insert(name.clone(), input),
                Err(message) => {
                    let message =
                        format!("input `{name}` of step `{}`: {message}", self.block.name);
                    let path = ["steps", &*self.block.name, "with", name];
                    self.expansion
                        .report(self.block.part, self.problems, &path, None, message);
                    return None;
                }
            }
        }
        outputs.sort_unstable();
        outputs.dedup();
        Some((Arc::new(inputs), outputs))
    }

    /// Returns the hole that a placeholder is for one step.
    fn hole(
        &mut self,
        index: usize,
        instance: &Instance,
        placeholder: Placeholder,
        outputs: &mut Vec<StepId>,
    ) -> Result<HoleId, String> {
        let hole = match self.expansion.shared.symbol(placeholder) {
            Some(Symbol::Secret(reference)) => Hole::Secret(reference),
            Some(Symbol::Output(block, output)) => {
                let step = self.provider(index, instance, &self.blocks[block])?;
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

    /// Finds the one step of `block` whose output is meant: on the same host if it runs there, for the same item if
    /// there are several.
    fn provider(&self, index: usize, instance: &Instance, block: &Block) -> Result<StepId, String> {
        let same_host = instance
            .host
            .map(|host| block.on(host))
            .filter(|range| !range.is_empty());
        let range = same_host.unwrap_or(0..block.instances.len());
        if std::ptr::eq(block, self.block) && range.contains(&index) {
            return Err("a step can't use its own output".to_owned());
        }
        let item = instance.item.as_ref().map(|item| &item.name);
        let mut fitting = range.clone().filter(|at| {
            range.len() == 1 || block.instances[*at].item.as_ref().map(|item| &item.name) == item
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
