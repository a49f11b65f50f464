//! Draws the edges between steps: same host where both run there, all hosts otherwise. Many-to-many goes through one
//! gathering step, so that edges grow with the number of steps and no faster. Does not know what steps do.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use petgraph::graph::{DiGraph, NodeIndex};

use super::expand::Expansion;
use super::expand_blocks::Block;
use super::order::Order;
use super::{Graph, Inputs, Label, Step, StepId, Target};
use crate::catalog::AllProblems;
use crate::config::{HostId, Problem, suggest_help};

/// Name of the gathering step of a whole component; no recipe's step can have it.
pub(super) const ALL: &str = "all";

/// Why a name means no step, and what to do about it.
type Unresolved = (String, Option<String>);

/// A `needs` or `watch` entry, resolved.
#[derive(Clone, Copy)]
struct Need {
    /// Which block; `None` was reported, or is not part of this stack and need not be.
    block: usize,
    /// `@*`: on all hosts, not only on the same.
    everywhere: bool,
    watch: bool,
}

impl Expansion<'_> {
    /// Adds all edges, gathering steps among them, and looks for cycles.
    pub fn connect(&self, blocks: &[Block], graph: &mut Graph, problems: &mut AllProblems) {
        let by_label: HashMap<(&str, &str), usize> = blocks
            .iter()
            .enumerate()
            .map(|(at, block)| ((&*self.parts[block.part].name, &*block.name), at))
            .collect();
        let mut gathers = HashMap::new();
        for block in blocks {
            let needs = self.needs(block, &by_label, problems);
            let first = self.first_of(block);
            if needs.is_empty() && first.is_empty() {
                continue;
            }
            // Filled anew for each step, so that each step's own list is as long as it need be and no longer.
            let (mut found, mut watch) = (Vec::new(), Vec::new());
            for index in 0..block.instances.len() {
                found.clear();
                watch.clear();
                for need in &needs {
                    let list = if need.watch { &mut watch } else { &mut found };
                    self.edges(graph, blocks, block, index, *need, &mut gathers, list);
                }
                if !first.contains(&index) {
                    found.extend(first.clone().map(|at| block.id(at)));
                }
                let step = &mut graph.steps[block.id(index).0 as usize];
                if !watch.is_empty() {
                    found.extend_from_slice(&watch);
                    add(&mut step.watch, &mut watch);
                }
                add(&mut step.needs, &mut found);
            }
        }
        self.connect_components(blocks, graph, problems);
        if problems.is_empty()
            && Order::of(graph, |_| true).steps.len() < graph.steps.len()
            && let Some(cycle) = cycle(graph)
        {
            self.report_cycle(blocks, graph, &cycle, problems);
        }
    }

    /// Returns the steps that come before those on the other hosts, of a step that leads on its first host.
    fn first_of(&self, block: &Block) -> Range<usize> {
        let lead = self.parts[block.part].base.recipe.steps[&*block.name].lead;
        match block.instances.first().and_then(|first| first.host) {
            Some(host) if lead => block.on(host),
            _ => 0..0,
        }
    }

    /// Resolves the names in `needs` and `watch` of a recipe's step.
    fn needs(
        &self,
        block: &Block,
        by_label: &HashMap<(&str, &str), usize>,
        problems: &mut AllProblems,
    ) -> Vec<Need> {
        let part = &self.parts[block.part];
        let step = &part.base.recipe.steps[&*block.name];
        let lists = [("needs", &step.needs, false), ("watch", &step.watch, true)];
        let mut found = Vec::new();
        for (list, names, watch) in lists {
            for (at, written) in names.iter().enumerate() {
                match self.need(block, written, by_label) {
                    Ok(Some((block, everywhere))) => found.push(Need {
                        block,
                        everywhere,
                        watch,
                    }),
                    Ok(None) => {}
                    Err((message, help)) => {
                        let written = &part.base.recipe.written;
                        let mut problem = Problem::new(message).maybe_help(help);
                        problem.span = written.at(&["steps", &block.name, list, &at.to_string()]);
                        problems.push(&written.source, problem);
                    }
                }
            }
        }
        found
    }

    /// Resolves one name: `step`, `component:step`, with `@*` and `?` at the end.
    fn need(
        &self,
        block: &Block,
        written: &str,
        by_label: &HashMap<(&str, &str), usize>,
    ) -> Result<Option<(usize, bool)>, Unresolved> {
        let (name, optional) = written
            .strip_suffix('?')
            .map_or((written, false), |name| (name, true));
        let (name, everywhere) = name
            .strip_suffix("@*")
            .map_or((name, false), |name| (name, true));
        let own = &*self.parts[block.part].name;
        let (component, step) = name.split_once(':').unwrap_or((own, name));
        if let Some(found) = by_label.get(&(component, step)) {
            return Ok(Some((*found, everywhere)));
        }
        let Some(recipe) = self.catalog.recipes.get(component) else {
            let known = self.catalog.recipes.keys().map(String::as_str);
            return Err((
                format!("`{written}`: there is no component `{component}`"),
                suggest_help(component, known),
            ));
        };
        if !recipe.steps.contains_key(step) {
            let known = recipe.steps.keys().map(String::as_str);
            return Err((
                format!("`{written}`: `{component}` has no step `{step}`"),
                suggest_help(step, known),
            ));
        }
        if optional {
            return Ok(None);
        }
        Err((
            format!("`{own}` needs `{component}`, which is not part of this stack"),
            Some(format!(
                "add `{component}:` under `components:`, or write `{written}?` if it can do without"
            )),
        ))
    }

    /// Finds the steps that one need of one step means.
    #[expect(
        clippy::too_many_arguments,
        reason = "a method of what would be a struct of the same fields"
    )]
    fn edges(
        &self,
        graph: &mut Graph,
        blocks: &[Block],
        block: &Block,
        index: usize,
        need: Need,
        gathers: &mut HashMap<(usize, Option<HostId>, bool), StepId>,
        found: &mut Vec<StepId>,
    ) {
        let needed = &blocks[need.block];
        let host = block.instances[index].host.filter(|_| !need.everywhere);
        let here = host
            .map(|host| (host, needed.on(host)))
            .filter(|(_, range)| !range.is_empty());
        let (host, range, askers) = match here {
            Some((host, range)) => (Some(host), range, block.on(host).len()),
            None => (None, 0..needed.instances.len(), block.instances.len()),
        };
        if range.len() <= 1 || askers <= 1 {
            return found.extend(range.map(|at| needed.id(at)));
        }
        let gather = gathers
            .entry((need.block, host, need.watch))
            .or_insert_with(|| {
                let needs: Vec<StepId> = range.map(|at| needed.id(at)).collect();
                let watch = if need.watch {
                    needs.clone()
                } else {
                    Vec::new()
                };
                let label = Label {
                    component: self.parts[needed.part].name.clone(),
                    step: if need.watch {
                        format!("{}.watched", needed.name).into()
                    } else {
                        needed.name.clone()
                    },
                    item: None,
                    host: host.map(|host| self.stack.host(host).name.clone()),
                };
                gather(graph, label, needs, watch)
            });
        found.push(*gather);
    }

    /// Draws the edges of components that need others as a whole.
    fn connect_components(&self, blocks: &[Block], graph: &mut Graph, problems: &mut AllProblems) {
        let mut done: HashMap<usize, StepId> = HashMap::new();
        for (at, part) in self.parts.iter().enumerate() {
            for (index, written) in part.base.recipe.needs.iter().enumerate() {
                let (name, optional) = written
                    .strip_suffix('?')
                    .map_or((written.as_str(), false), |name| (name, true));
                let Some(needed) = self.parts.iter().position(|part| *part.name == *name) else {
                    if !optional || !self.catalog.recipes.contains_key(name) {
                        let help = format!(
                            "add `{name}:` under `components:`, or write `{name}?` if it can do without"
                        );
                        let message = format!(
                            "`{}` needs `{name}`, which is not part of this stack",
                            part.name
                        );
                        let written = &part.base.recipe.written;
                        let mut problem = Problem::new(message).help(help);
                        problem.span = written.at(&["needs", &index.to_string()]);
                        problems.push(&written.source, problem);
                    }
                    continue;
                };
                let done = *done.entry(needed).or_insert_with(|| {
                    let needs = ids(blocks, needed).collect();
                    let label = Label {
                        component: self.parts[needed].name.clone(),
                        step: ALL.into(),
                        item: None,
                        host: None,
                    };
                    gather(graph, label, needs, Vec::new())
                });
                for id in ids(blocks, at) {
                    let component = &graph.step(id).label.component;
                    let first = graph
                        .step(id)
                        .needs
                        .iter()
                        .all(|need| graph.step(*need).label.component != *component);
                    if first {
                        let needs = &mut graph.steps[id.0 as usize].needs;
                        needs.push(done);
                        sort(needs);
                    }
                }
            }
        }
    }

    /// Says which steps need each other, at the step of the recipe that closes the circle.
    fn report_cycle(
        &self,
        blocks: &[Block],
        graph: &Graph,
        cycle: &[StepId],
        problems: &mut AllProblems,
    ) {
        let mut labels: Vec<String> = cycle
            .iter()
            .map(|id| graph.step(*id).label.to_string())
            .collect();
        labels.push(labels[0].clone());
        let message = format!("these steps wait for each other: {}", labels.join(" → "));
        let block = cycle.iter().find_map(|id| {
            blocks.iter().find(|block| {
                (block.first.0..block.first.0 + u32::try_from(block.instances.len()).unwrap_or(0))
                    .contains(&id.0)
            })
        });
        match block {
            Some(block) => self.report(
                block.part,
                problems,
                &["steps", &block.name, "needs"],
                None,
                message,
            ),
            None => problems.push(&graph.stack.source, Problem::new(message)),
        }
    }
}

/// Returns the steps of one component.
fn ids(blocks: &[Block], part: usize) -> impl Iterator<Item = StepId> {
    blocks
        .iter()
        .filter(move |block| block.part == part)
        .flat_map(|block| (0..block.instances.len()).map(|at| block.id(at)))
}

/// Appends a gathering step and returns its id.
fn gather(graph: &mut Graph, label: Label, needs: Vec<StepId>, watch: Vec<StepId>) -> StepId {
    let id = StepId(u32::try_from(graph.steps.len()).unwrap_or(u32::MAX));
    graph.steps.push(Step {
        label,
        task: None,
        target: Target::Gather,
        inputs: Arc::new(Inputs::new()),
        needs,
        watch,
        pool: None,
    });
    id
}

/// Puts what `more` holds among `ids`, sorted and without doubles. Leaves anything in `more`.
fn add(ids: &mut Vec<StepId>, more: &mut Vec<StepId>) {
    more.extend_from_slice(ids);
    sort(more);
    if more.len() > ids.len() {
        *ids = more.as_slice().to_vec();
    }
}

fn sort(ids: &mut Vec<StepId>) {
    ids.sort_unstable();
    ids.dedup();
}

/// Returns the shortest cycle through one of the steps that lie on one, each needing the next; `None` if there is none.
fn cycle(graph: &Graph) -> Option<Vec<StepId>> {
    let edges = graph.steps.iter().map(|step| step.needs.len()).sum();
    let mut order: DiGraph<(), (), u32> = DiGraph::with_capacity(graph.steps.len(), edges);
    for _ in &graph.steps {
        order.add_node(());
    }
    for (id, step) in graph.ids().zip(&graph.steps) {
        for need in &step.needs {
            order.add_edge(
                NodeIndex::new(id.0 as usize),
                NodeIndex::new(need.0 as usize),
                (),
            );
        }
    }
    let circle = petgraph::algo::kosaraju_scc(&order)
        .into_iter()
        .filter(|nodes| nodes.len() > 1 || order.contains_edge(nodes[0], nodes[0]))
        .min_by_key(Vec::len)?;
    // Breadth first from one of them back to itself.
    let start = circle.iter().min()?;
    let mut before: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut queue = std::collections::VecDeque::from([*start]);
    while let Some(node) = queue.pop_front() {
        for next in order.neighbors(node) {
            if next == *start {
                let mut path = vec![node];
                while let Some(previous) = before.get(path.last()?) {
                    path.push(*previous);
                }
                path.reverse();
                return path
                    .into_iter()
                    .map(|node| u32::try_from(node.index()).ok().map(StepId))
                    .collect();
            }
            if let Entry::Vacant(unseen) = before.entry(next) {
                unseen.insert(node);
                queue.push_back(next);
            }
        }
    }
    None
}
