//! Which steps come of each step of a recipe: one per host and item, where `when` holds. Does not know their inputs.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use minijinja::Value as Jinja;
use minijinja::value::ValueKind;

use super::expand::Expansion;
use super::expand_parts::{Part, has_role, hosts_by_roles};
use super::expand_scope::table;
use super::{StepId, Target};
use crate::catalog::{
    AllProblems, OnTarget, Piece, RecipeStep, Task, Template, split_placeholders,
};
use crate::config::{HostId, Problem, Stack, suggest_help};

/// All steps that come of one step of a recipe.
pub(super) struct Block {
    /// Which component.
    pub part: usize,
    /// Name of the step.
    pub name: Arc<str>,
    pub task: Arc<Task>,
    /// Steps, those of one host together, in the order of the component's hosts.
    pub instances: Vec<Instance>,
    /// Items of `for_each`: those of all hosts where it is the same for all, else one host's after the other's.
    pub items: Vec<Item>,
    /// `HostId` → its steps in `instances`. Ends with the last host that has any; empty for a group or service step.
    by_host: Vec<Range<u32>>,
    /// Where a group or service step runs; `None` for host steps.
    pub target: Option<Target>,
    /// Id of the first step; the others follow.
    pub first: StepId,
}

/// One step to be. There may be millions, so it is small.
#[derive(Clone, Copy)]
pub(super) struct Instance {
    pub host: Option<HostId>,
    /// Index of [`Block::items`].
    pub item: Option<u32>,
}

/// One item of `for_each`.
pub(super) struct Item {
    pub name: Arc<str>,
    pub value: Jinja,
}

impl Block {
    /// Returns the id of the step at `index` of the instances.
    pub fn id(&self, index: usize) -> StepId {
        StepId(self.first.0 + u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Returns the steps on `host`, as a range of the instances.
    pub fn on(&self, host: HostId) -> Range<usize> {
        self.by_host
            .get(host.0 as usize)
            .map_or(0..0, |range| range.start as usize..range.end as usize)
    }

    /// Returns the item of one of the steps.
    pub fn item(&self, instance: Instance) -> Option<&Item> {
        self.items.get(instance.item? as usize)
    }

    /// Notes that the steps from `start` on are those of `host`.
    fn close_host(&mut self, host: HostId, start: usize) {
        let at = host.0 as usize;
        if self.by_host.len() <= at {
            self.by_host.resize(at + 1, 0..0);
        }
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.by_host[at] = place(start)..place(self.instances.len());
    }
}

/// Gives the blocks their ids.
pub(super) fn number(blocks: &mut [Block], problems: &mut AllProblems, stack: &Stack) {
    let mut next: u32 = 0;
    for block in blocks {
        block.first = StepId(next);
        match u32::try_from(block.instances.len())
            .ok()
            .and_then(|count| next.checked_add(count))
        {
            Some(after) => next = after,
            None => {
                return problems.push(
                    &stack.source,
                    Problem::new("this stack has more than 4 billion steps"),
                );
            }
        }
    }
}

impl Expansion<'_> {
    /// Makes the blocks of one component's steps.
    pub fn blocks_of(&self, part: usize, blocks: &mut Vec<Block>, problems: &mut AllProblems) {
        let Part { base, hosts, .. } = &self.parts[part];
        let recipe = base.recipe.clone();
        for (name, step) in &recipe.steps {
            let Some(task) = self.catalog.tasks.get(&step.uses) else {
                let known = self.catalog.tasks.keys().map(String::as_str);
                let help = suggest_help(&step.uses, known);
                let mut problem =
                    Problem::new(format!("there is no task `{}`", step.uses)).maybe_help(help);
                problem.span = recipe.written.at(&["steps", name, "uses"]);
                problems.push(&recipe.written.source, problem);
                continue;
            };
            let (target, on): (_, Vec<Option<HostId>>) = match &step.on {
                OnTarget::Hosts => (None, hosts.iter().copied().map(Some).collect()),
                OnTarget::HostsOf(role) => {
                    (None, self.with_role(hosts, Some(role)).map(Some).collect())
                }
                OnTarget::Role(role) => (
                    None,
                    hosts_by_roles(self.stack, std::slice::from_ref(role))
                        .into_iter()
                        .map(Some)
                        .collect(),
                ),
                OnTarget::Group(role) => {
                    let hosts: Arc<[HostId]> = self.with_role(hosts, role.as_deref()).collect();
                    // A group of nobody has nothing to do, and nobody to do it.
                    let on = if hosts.is_empty() { vec![] } else { vec![None] };
                    (Some(Target::Group(hosts)), on)
                }
                OnTarget::Service(service) => (Some(self.service(part, service)), vec![None]),
            };
            let mut block = Block {
                part,
                name: name.as_str().into(),
                task: task.clone(),
                instances: Vec::new(),
                items: Vec::new(),
                by_host: Vec::new(),
                target,
                first: StepId(0),
            };
            self.fill(&mut block, step, &on, problems);
            blocks.push(block);
        }
    }

    /// Returns those of the hosts that have the role; all if none is asked for.
    fn with_role<'s>(
        &'s self,
        hosts: &'s [HostId],
        role: Option<&'s str>,
    ) -> impl Iterator<Item = HostId> + use<'s> {
        hosts
            .iter()
            .copied()
            .filter(move |host| role.is_none_or(|role| has_role(self.stack, *host, role)))
    }

    /// Returns the target of a step on a service: those hosts of the component that provide it, else its own.
    fn service(&self, part: usize, service: &str) -> Target {
        let provides = |other: &Part| {
            let mut provided = other.base.recipe.provides.iter();
            provided
                .find(|provided| provided.service == service)
                .map(|provided| {
                    self.with_role(&other.hosts, provided.role.as_deref())
                        .collect()
                })
        };
        let own = &self.parts[part];
        let hosts = provides(own)
            .or_else(|| self.parts.iter().find_map(provides))
            .unwrap_or_else(|| own.hosts.clone());
        Target::Service(service.into(), hosts)
    }

    /// Finds on which hosts, and for which items, the step is to be done.
    fn fill(
        &self,
        block: &mut Block,
        step: &RecipeStep,
        on: &[Option<HostId>],
        problems: &mut AllProblems,
    ) {
        let per_host = |template: &Option<Template>| {
            template
                .as_ref()
                .is_some_and(|t| self.mentions(block.part, t).host)
        };
        let (items_per_host, when_per_host) = (per_host(&step.for_each), per_host(&step.when));
        let when_per_item = step
            .when
            .as_ref()
            .is_some_and(|when| self.mentions(block.part, when).item);
        // Which of the items are this host's; `None` for the one step without any.
        let mut items: Option<Vec<Option<u32>>> = None;
        let mut wanted: HashMap<Option<u32>, bool> = HashMap::new();
        for host in on {
            if items.is_none() || items_per_host {
                wanted.clear();
                items = self.items(block, step, *host, problems);
                if let Some(items) = &items
                    && !items_per_host
                {
                    block.instances.reserve_exact(items.len() * on.len());
                }
            }
            if when_per_host {
                wanted.clear();
            }
            let Some(items) = &items else { return };
            let start = block.instances.len();
            for item in items {
                let instance = Instance {
                    host: *host,
                    item: *item,
                };
                let asked = item.filter(|_| when_per_item);
                let wanted = match wanted.get(&asked) {
                    _ if step.when.is_none() => true,
                    Some(wanted) => *wanted,
                    None => {
                        let Some(answer) = self.wanted(block, step, instance, problems) else {
                            return;
                        };
                        wanted.insert(asked, answer);
                        answer
                    }
                };
                if wanted {
                    block.instances.push(instance);
                }
            }
            if let Some(host) = host
                && block.instances.len() > start
            {
                block.close_host(*host, start);
            }
        }
    }

    /// Evaluates `when`. `None`: it is wrong, and that has been said.
    fn wanted(
        &self,
        block: &Block,
        step: &RecipeStep,
        instance: Instance,
        problems: &mut AllProblems,
    ) -> Option<bool> {
        let Some(when) = &step.when else {
            return Some(true);
        };
        let item = block.item(instance);
        let (message, line) = match self.evaluate(block.part, when, instance.host, item) {
            Ok(value) if value.kind() == ValueKind::Bool => {
                return Some(value.is_true());
            }
            Ok(value) => (
                format!("it must give true or false, not {}", value.kind()),
                None,
            ),
            Err(error) => (error.message, error.line),
        };
        let message = format!("`when` of step `{}`: {message}", block.name);
        self.report(
            block.part,
            problems,
            &["steps", &block.name, "when"],
            line,
            message,
        );
        None
    }

    /// Evaluates `for_each` and appends what it gives to the block's items. `None`: it is wrong, and that has been said.
    fn items(
        &self,
        block: &mut Block,
        step: &RecipeStep,
        host: Option<HostId>,
        problems: &mut AllProblems,
    ) -> Option<Vec<Option<u32>>> {
        let Some(for_each) = &step.for_each else {
            return Some(vec![None]);
        };
        let (message, line) = match self.evaluate(block.part, for_each, host, None) {
            Ok(value) => match items_of(&value) {
                Ok(items) => {
                    let first = u32::try_from(block.items.len()).ok()?;
                    block.items.extend(items);
                    let after = u32::try_from(block.items.len()).ok()?;
                    return Some((first..after).map(Some).collect());
                }
                Err(message) => (message, None),
            },
            Err(error) => (error.message, error.line),
        };
        let message = format!("`for_each` of step `{}`: {message}", block.name);
        self.report(
            block.part,
            problems,
            &["steps", &block.name, "for_each"],
            line,
            message,
        );
        None
    }
}

/// Reads the items of `for_each`: of a list, its items; of a table, its entries as `{key, value}`; of nothing, none.
fn items_of(value: &Jinja) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut seen = HashSet::new();
    let each = match value.kind() {
        ValueKind::None => return Ok(items),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            value.try_iter().map_err(|e| e.to_string())?
        }
        kind => return Err(format!("it must give a list or a table, not {kind}")),
    };
    for item in each {
        let (name, item) = if value.kind() == ValueKind::Map {
            let entry = value.get_item(&item).map_err(|e| e.to_string())?;
            (item.to_string(), table([("key", item), ("value", entry)]))
        } else {
            (item_name(&item)?, item)
        };
        if name.is_empty() || name.contains(|c: char| c.is_control() || c == ']') {
            return Err(format!(
                "`{name}` can't name an item: it would be part of a label"
            ));
        }
        if !seen.insert(name.clone()) {
            return Err(format!("the item `{name}` is there twice"));
        }
        items.push(Item {
            name: name.into(),
            value: item,
        });
    }
    Ok(items)
}

/// Returns what names an item in labels.
fn item_name(item: &Jinja) -> Result<String, String> {
    match item.kind() {
        ValueKind::String | ValueKind::Number => {
            match split_placeholders(&item.to_string()).as_deref() {
                Ok([] | [Piece::Literal(_)]) => Ok(item.to_string()),
                _ => Err("a secret or an output of a step can't be an item".to_owned()),
            }
        }
        ValueKind::Map => ["name", "key"]
            .iter()
            .find_map(|key| item.get_attr(key).ok()?.as_str().map(str::to_owned))
            .ok_or_else(|| "an item that is a table needs a `name`".to_owned()),
        kind => Err(format!("an item can't be {kind}")),
    }
}
