//! Questions about the order of steps: what needs what, by which way, in which waves. Knows only edges.

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::Graph;
use super::set::StepSet;
use super::step::StepId;

/// The edges of a graph, to be walked both ways.
#[derive(Debug, Clone)]
pub struct Links<'a> {
    graph: &'a Graph,
    /// From what is needed to what needs it; node indices are step ids.
    net: DiGraph<(), (), u32>,
}

/// Steps that need each other in a circle: none of them could ever run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("steps need each other in a circle: {}", .labels.join(" needs "))]
pub struct Cycle {
    /// Labels, each needing the next; the last is the first again.
    pub labels: Vec<String>,
}

impl<'a> Links<'a> {
    /// Returns the edges of `graph`.
    #[must_use]
    pub fn new(graph: &'a Graph) -> Self {
        let edges = graph.steps.iter().map(|step| step.needs.len()).sum();
        let mut net = DiGraph::with_capacity(graph.steps.len(), edges);
        for _ in &graph.steps {
            net.add_node(());
        }
        for id in graph.ids() {
            for need in &graph.step(id).needs {
                net.add_edge(node(*need), node(id), ());
            }
        }
        Self { graph, net }
    }

    /// Returns `from` and all that it needs, up to `depth` edges away.
    #[must_use]
    pub fn needs(&self, from: &StepSet, depth: Option<usize>) -> StepSet {
        self.reach(from, depth, Direction::Incoming)
    }

    /// Returns `of` and all that needs it, up to `depth` edges away.
    #[must_use]
    pub fn dependants(&self, of: &StepSet, depth: Option<usize>) -> StepSet {
        self.reach(of, depth, Direction::Outgoing)
    }

    /// Returns all steps on any way by which something in `from` needs something in `to`, ends included.
    #[must_use]
    pub fn all_paths(&self, from: &StepSet, to: &StepSet) -> StepSet {
        let mut between = self.needs(from, None);
        between.keep(&self.dependants(to, None));
        between
    }

    /// Returns a shortest way by which something in `from` needs something in `to`: each step needs the next.
    #[must_use]
    pub fn some_path(&self, from: &StepSet, to: &StepSet) -> Option<Vec<StepId>> {
        let mut came: Vec<Option<StepId>> = vec![None; self.graph.steps.len()];
        let mut seen = from.clone();
        let mut row: Vec<StepId> = from.iter().collect();
        while !row.is_empty() {
            if let Some(end) = row.iter().find(|id| to.contains(**id)) {
                let mut path = vec![*end];
                let mut at = *end;
                while let Some(before) = came[at.0 as usize] {
                    path.push(before);
                    at = before;
                }
                path.reverse();
                return Some(path);
            }
            let mut next = Vec::new();
            for id in row {
                for need in &self.graph.step(id).needs {
                    if seen.insert(*need) {
                        came[need.0 as usize] = Some(id);
                        next.push(*need);
                    }
                }
            }
            row = next;
        }
        None
    }

    /// Returns all steps, each after those it needs.
    ///
    /// # Errors
    /// When there is a circle.
    pub fn order(&self) -> Result<Vec<StepId>, Cycle> {
        match petgraph::algo::toposort(&self.net, None) {
            Ok(order) => Ok(order.into_iter().map(step).collect()),
            Err(on) => Err(self.cycle(step(on.node_id()))),
        }
    }

    /// Returns the steps of `of` in waves: each wave needs only the waves before it, and no step could come earlier.
    ///
    /// # Errors
    /// When there is a circle.
    pub fn waves(&self, of: &StepSet) -> Result<Vec<Vec<StepId>>, Cycle> {
        let mut wave = vec![0_usize; self.graph.steps.len()];
        let mut waves: Vec<Vec<StepId>> = Vec::new();
        for id in self.order()?.into_iter().filter(|id| of.contains(*id)) {
            let needs = self.graph.step(id).needs.iter();
            let at = needs
                .filter(|need| of.contains(**need))
                .map(|need| wave[need.0 as usize] + 1)
                .max()
                .unwrap_or(0);
            wave[id.0 as usize] = at;
            if waves.len() <= at {
                waves.push(Vec::new());
            }
            waves[at].push(id);
        }
        waves.iter_mut().for_each(|wave| wave.sort_unstable());
        Ok(waves)
    }

    /// Returns the chain of steps of `of`, each needed by the next, whose costs add up to most, and that sum. What is
    /// longest in steps alone: give each a cost of one.
    ///
    /// # Errors
    /// When there is a circle.
    pub fn longest_path(
        &self,
        of: &StepSet,
        cost: impl Fn(StepId) -> u64,
    ) -> Result<(Vec<StepId>, u64), Cycle> {
        let mut best: Vec<(u64, Option<StepId>)> = vec![(0, None); self.graph.steps.len()];
        let mut end: Option<StepId> = None;
        for id in self.order()?.into_iter().filter(|id| of.contains(*id)) {
            let needs = self.graph.step(id).needs.iter();
            let before = needs
                .filter(|need| of.contains(**need))
                .max_by_key(|need| (best[need.0 as usize].0, std::cmp::Reverse(**need)))
                .copied();
            let sum = before.map_or(0, |before| best[before.0 as usize].0) + cost(id);
            best[id.0 as usize] = (sum, before);
            if end.is_none_or(|end| sum > best[end.0 as usize].0) {
                end = Some(id);
            }
        }
        let sum = end.map_or(0, |end| best[end.0 as usize].0);
        let mut path = Vec::new();
        while let Some(id) = end {
            path.push(id);
            end = best[id.0 as usize].1;
        }
        path.reverse();
        Ok((path, sum))
    }

    fn reach(&self, from: &StepSet, depth: Option<usize>, direction: Direction) -> StepSet {
        let mut found = from.clone();
        let mut row: Vec<StepId> = from.iter().collect();
        let mut steps = 0;
        while !row.is_empty() && depth.is_none_or(|depth| steps < depth) {
            let mut next = Vec::new();
            for id in row {
                for edge in self.net.edges_directed(node(id), direction) {
                    let other = match direction {
                        Direction::Incoming => edge.source(),
                        Direction::Outgoing => edge.target(),
                    };
                    if found.insert(step(other)) {
                        next.push(step(other));
                    }
                }
            }
            row = next;
            steps += 1;
        }
        found
    }

    /// Names a shortest circle through the knot that `on` belongs to.
    fn cycle(&self, on: StepId) -> Cycle {
        let knots = petgraph::algo::tarjan_scc(&self.net);
        let knot = knots
            .into_iter()
            .find(|knot| knot.contains(&node(on)) && knot.len() > 1);
        let mut members = StepSet::none(self.graph.steps.len());
        for member in knot.unwrap_or_else(|| vec![node(on)]) {
            members.insert(step(member));
        }
        let first = members.iter().next().unwrap_or(on);
        let mut start = StepSet::none(self.graph.steps.len());
        start.insert(first);
        let mut circle = vec![first];
        for need in self
            .graph
            .step(first)
            .needs
            .iter()
            .filter(|need| members.contains(**need))
        {
            let mut from = StepSet::none(self.graph.steps.len());
            from.insert(*need);
            if let Some(path) = self.some_path(&from, &start)
                && (circle.len() == 1 || path.len() + 1 < circle.len())
            {
                circle.truncate(1);
                circle.extend(path);
            }
        }
        let label = |id: StepId| self.graph.step(id).label.to_string();
        Cycle {
            labels: circle.into_iter().map(label).collect(),
        }
    }
}

fn node(id: StepId) -> NodeIndex<u32> {
    NodeIndex::from(id.0)
}

fn step(node: NodeIndex<u32>) -> StepId {
    // Node indices are step ids, which are 32 bits wide.
    StepId(u32::try_from(node.index()).unwrap_or(u32::MAX))
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
