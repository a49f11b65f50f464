//! Makes the steps of every block, and finds what the templates of each depend on; `expand_bind` evaluates them. Does not
//! know the order of steps.

use std::collections::{HashMap, HashSet};

use super::expand::Expansion;
use super::expand_bind::{Binder, Bound, Given};
use super::expand_blocks::Block;
use super::{Graph, Label, Step, Target};
use crate::catalog::{AllProblems, RecipeStep, Template, each_text, mentions};
use crate::config::{Problem, suggest_help};

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
            let given = self.given(block, step);
            let list = &mut graph.holes;
            let mut binder = Binder::new(self, blocks, block, given, &mut holes, list, problems);
            for (index, instance) in block.instances.iter().enumerate() {
                let Some(Bound { inputs, outputs }) = binder.inputs(index, *instance) else {
                    break;
                };
                graph.steps.push(Step {
                    label: Label {
                        component: self.parts[block.part].name.clone(),
                        step: block.name.clone(),
                        item: block.item(*instance).map(|item| item.name.clone()),
                        host: instance.host.map(|host| self.stack.host(host).name.clone()),
                    },
                    task: Some(block.task.clone()),
                    target: match (&block.target, instance.host) {
                        (Some(target), _) => target.clone(),
                        (None, Some(host)) => Target::Host(host),
                        (None, None) => Target::Gather,
                    },
                    inputs,
                    needs: outputs.to_vec(),
                    watch: outputs.to_vec(),
                    pool,
                });
            }
        }
    }

    /// Returns what is given for each input of the task, in the order declared, and what that depends on.
    fn given<'a>(&self, block: &'a Block, step: &'a RecipeStep) -> Vec<Given<'a>> {
        let given = block.task.inputs.iter().map(|(name, spec)| {
            let value = step.with.get(name);
            let mut found = Mentions::default();
            if let Some(value) = value {
                each_text(value, &mut |text| {
                    let mentions = self.mentions(block.part, &Template(text.to_owned()));
                    found.host |= mentions.host;
                    found.item |= mentions.item;
                });
            }
            Given {
                name,
                spec,
                value,
                mentions: found,
            }
        });
        given.collect()
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
