//! `Stack` × `Catalog` → [`Graph`]: which components, on which hosts, with which steps. Inputs are bound in
//! `expand_inputs`, edges drawn in `expand_edges`. Knows no live system.

use std::sync::Arc;

use minijinja::Value as Jinja;

use super::expand_blocks::{Block, Item, number};
use super::expand_parts::{Part, choose, components, part};
use super::expand_scope::{Provider, Scope, Shared, Symbol, host, table};
use super::{Graph, Pool, PoolId};
use crate::catalog::{
    AllProblems, Catalog, Purpose, RecipeStep, Settings, Template, TemplateError, evaluate,
    resolve_settings,
};
use crate::config::{HostId, Problem, Stack};

/// Makes the graph of everything that `stack` wants.
///
/// # Errors
/// Everything that is wrong with the stack's components, with places in the config, and with the recipes that they
/// use, with places in those.
pub fn expand(stack: &Arc<Stack>, catalog: &Catalog) -> Result<Graph, AllProblems> {
    expand_all(stack, catalog, true)
}

/// As [`expand`]; whether `checked`, as a stack that is made up need not be one that recipes would not refuse.
pub(super) fn expand_all(
    stack: &Arc<Stack>,
    catalog: &Catalog,
    checked: bool,
) -> Result<Graph, AllProblems> {
    let mut problems = AllProblems::default();
    let mut shared = Shared {
        stack: table([
            ("name", Jinja::from(stack.name.as_str())),
            (
                "domain",
                stack.domain.as_deref().map_or(Jinja::from(()), Jinja::from),
            ),
            (
                "vip",
                stack
                    .vip
                    .map_or(Jinja::from(()), |vip| Jinja::from(vip.to_string())),
            ),
        ]),
        hosts: stack.hosts.iter().map(host).collect(),
        pins: stack.pins.clone(),
        ..Shared::default()
    };
    let chosen = choose(stack, catalog, &mut problems);
    let settings: Vec<Settings> = chosen
        .iter()
        .map(|chosen| {
            let mut stand_in = |reference| {
                shared
                    .placeholder(Symbol::Secret(reference))
                    .into_jinja()
                    .to_string()
            };
            resolve_settings(&chosen.recipe, stack, &mut stand_in).unwrap_or_else(|wrong| {
                problems.extend(wrong);
                Settings::new()
            })
        })
        .collect();
    if !problems.is_empty() {
        return Err(problems.sorted());
    }
    shared.components = [Purpose::Value, Purpose::Check]
        .map(|purpose| components(stack, &chosen, &settings, &shared, purpose));
    let mut block = 0;
    for chosen in &chosen {
        for (name, step) in &chosen.recipe.steps {
            let task = catalog.tasks.get(&step.uses).cloned();
            shared.steps.insert(
                format!("{}:{name}", chosen.recipe.name),
                Provider { block, task },
            );
            block += 1;
        }
    }
    let shared = Arc::new(shared);
    let parts: Vec<Part> = chosen
        .into_iter()
        .zip(settings)
        .map(|(chosen, settings)| part(stack, catalog, chosen, &settings, &shared, &mut problems))
        .collect();
    let expansion = Expansion {
        stack,
        catalog,
        shared,
        parts,
    };
    let found = expansion.checks(&mut problems);
    if checked {
        found.refused.into_result(())?;
    }
    let images = expansion.images(&mut problems);
    if !problems.is_empty() {
        return Err(problems.sorted());
    }
    let mut blocks = Vec::with_capacity(block);
    for part in 0..expansion.parts.len() {
        expansion.blocks_of(part, &mut blocks, &mut problems);
    }
    number(&mut blocks, &mut problems, stack);
    if !problems.is_empty() {
        return Err(problems.sorted());
    }
    let pools = expansion.pools();
    let mut graph = Graph {
        stack: stack.clone(),
        steps: Vec::new(),
        holes: Vec::new(),
        pools,
        images,
        warnings: found.warnings,
    };
    expansion.bind(&blocks, &mut graph, &mut problems);
    if problems.is_empty() {
        expansion.connect(&blocks, &mut graph, &mut problems);
    }
    if problems.is_empty() {
        super::pins::hold(&mut graph, &mut problems);
    }
    problems.into_result(graph)
}

/// All that expansion has at hand.
pub(super) struct Expansion<'a> {
    pub stack: &'a Arc<Stack>,
    pub catalog: &'a Catalog,
    pub shared: Arc<Shared>,
    pub parts: Vec<Part>,
}

impl Expansion<'_> {
    /// Reports a problem with a recipe's file.
    pub fn report(
        &self,
        part: usize,
        problems: &mut AllProblems,
        path: &[&str],
        line: Option<u32>,
        message: String,
    ) {
        let written = &self.parts[part].base.recipe.written;
        let mut problem = Problem::new(message);
        problem.span = written.line_at(path, line);
        problems.push(&written.source, problem);
    }

    /// Reports a problem with a recipe's file, and what to do about it.
    pub fn report_with(
        &self,
        part: usize,
        problems: &mut AllProblems,
        path: &[&str],
        message: String,
        help: String,
    ) {
        let written = &self.parts[part].base.recipe.written;
        let mut problem = Problem::new(message).help(help);
        problem.span = written.at(path);
        problems.push(&written.source, problem);
    }

    /// Evaluates a template of a recipe. What it is for goes before the message of an error.
    pub fn evaluate(
        &self,
        part: usize,
        template: &Template,
        host: Option<HostId>,
        item: Option<&Item>,
    ) -> Result<Jinja, TemplateError> {
        let base = &self.parts[part].base;
        let context = |purpose| {
            Jinja::from_object(Scope {
                base: base.clone(),
                host,
                item: item.map(|item| item.value.clone()),
                purpose,
            })
        };
        let may_hold = self.parts[part].holes
            || template.0.contains("steps")
            || template.0.contains("components")
            || template.0.contains("file");
        let without = may_hold.then(|| context(Purpose::Check));
        evaluate(template, &context(Purpose::Value), without.as_ref()).map_err(|error| {
            match self.shared.take_note() {
                Some(message) => TemplateError { message, ..error },
                None => error,
            }
        })
    }

    /// Returns all pools of the stack's components, by `component:pool`.
    fn pools(&self) -> Vec<Pool> {
        self.parts
            .iter()
            .flat_map(|part| {
                part.base.recipe.pools.iter().map(|(name, depth)| Pool {
                    name: format!("{}:{name}", part.name).into(),
                    depth: *depth,
                })
            })
            .collect()
    }

    /// Finds the pool of a step.
    pub fn pool(
        &self,
        block: &Block,
        step: &RecipeStep,
        pools: &[Pool],
        problems: &mut AllProblems,
    ) -> Option<PoolId> {
        let written = step.pool.as_deref()?;
        let name = if written.contains(':') {
            written.to_owned()
        } else {
            format!("{}:{written}", self.parts[block.part].name)
        };
        let found = pools.iter().position(|pool| *pool.name == *name);
        if found.is_none() {
            self.report(
                block.part,
                problems,
                &["steps", &block.name, "pool"],
                None,
                format!("there is no pool `{written}`"),
            );
        }
        found.and_then(|at| u32::try_from(at).ok()).map(PoolId)
    }
}
