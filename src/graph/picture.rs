//! What a drawing of a graph shows: nodes and edges, hosts of one kind folded into one node. Knows no format.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use indexmap::IndexMap;
use petgraph::algo::tred::{dag_to_toposorted_adjacency_list, dag_transitive_reduction_closure};
use petgraph::graph::{DiGraph, NodeIndex};

use super::Graph;
use super::set::StepSet;
use super::step::{StepId, Target};

/// Most nodes of which implied edges are looked for.
const REDUCED: usize = 2000;

/// How steps that stand on many hosts are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Hosts {
    /// One node with `×N`; gathering points left out, their edges drawn through.
    #[default]
    Collapsed,
    /// One node for each host.
    Expanded,
}

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Host,
    Group,
    Service,
    Gather,
}

/// One box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub component: String,
    pub name: String,
    pub kind: Kind,
    /// How many hosts are folded into it.
    pub count: usize,
}

impl Node {
    pub fn text(&self) -> String {
        if self.count > 1 {
            format!("{} ×{}", self.name, self.count)
        } else {
            self.name.clone()
        }
    }
}

/// One arrow, from what is needed to what needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Edge {
    pub from: usize,
    pub to: usize,
    /// Whether data flows along it, or it is only an order.
    pub data: bool,
}

/// Nodes and edges, ready to be written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
}

impl Picture {
    pub fn new(graph: &Graph, of: &StepSet, hosts: Hosts) -> Self {
        let mut nodes: IndexMap<(String, String, Kind), Node> = IndexMap::new();
        let mut of_step: HashMap<StepId, usize> = HashMap::new();
        for id in of.iter() {
            let step = graph.step(id);
            let kind = match step.target {
                Target::Host(_) => Kind::Host,
                Target::Group(_) => Kind::Group,
                Target::Service(..) => Kind::Service,
                Target::Gather => Kind::Gather,
            };
            if kind == Kind::Gather && hosts == Hosts::Collapsed {
                continue;
            }
            let component = step.label.component.to_string();
            let mut name = match &step.label.item {
                Some(item) => format!("{}[{item}]", step.label.step),
                None => step.label.step.to_string(),
            };
            if let (Hosts::Expanded, Some(host)) = (hosts, &step.label.host) {
                name = format!("{name}@{host}");
            }
            let entry = nodes.entry((component.clone(), name.clone(), kind));
            of_step.insert(id, entry.index());
            entry
                .and_modify(|node| node.count += 1)
                .or_insert_with(|| Node {
                    component,
                    name,
                    kind,
                    count: 1,
                });
        }
        let nodes: Vec<Node> = nodes.into_values().collect();
        let edges = edges(graph, of, &of_step);
        Self {
            edges: without_implied(nodes.len(), &edges),
            nodes,
        }
    }

    /// Returns the nodes of each component.
    pub fn components(&self) -> BTreeMap<&str, Vec<usize>> {
        let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (id, node) in self.nodes.iter().enumerate() {
            found.entry(&node.component).or_default().push(id);
        }
        found
    }
}

/// Returns the edges between nodes, drawn through steps that have no node of their own; whether data flows along.
fn edges(
    graph: &Graph,
    of: &StepSet,
    of_step: &HashMap<StepId, usize>,
) -> BTreeMap<(usize, usize), bool> {
    let mut edges: BTreeMap<(usize, usize), bool> = BTreeMap::new();
    // What a gathering point gathers, found once for each: the nodes behind it.
    let mut behind: HashMap<StepId, BTreeSet<usize>> = HashMap::new();
    for (id, to) in of_step {
        let step = graph.step(*id);
        for need in &step.needs {
            let data = step.watch.contains(need);
            let from = match of_step.get(need) {
                Some(from) => BTreeSet::from([*from]),
                None if of.contains(*need) => gathered(graph, *need, of_step, &mut behind),
                None => continue,
            };
            for from in from.into_iter().filter(|from| from != to) {
                *edges.entry((from, *to)).or_default() |= data;
            }
        }
    }
    edges
}

fn gathered(
    graph: &Graph,
    id: StepId,
    of_step: &HashMap<StepId, usize>,
    behind: &mut HashMap<StepId, BTreeSet<usize>>,
) -> BTreeSet<usize> {
    if let Some(known) = behind.get(&id) {
        return known.clone();
    }
    // Put first, so that a circle of gathering points (which lint refuses) ends.
    behind.insert(id, BTreeSet::new());
    let mut found = BTreeSet::new();
    for need in &graph.step(id).needs {
        match of_step.get(need) {
            Some(node) => {
                found.insert(*node);
            }
            None if graph.step(*need).target == Target::Gather => {
                found.extend(gathered(graph, *need, of_step, behind));
            }
            None => {}
        }
    }
    behind.insert(id, found.clone());
    found
}

/// Leaves out each edge of mere order that follows from others: three arrows say as much as six.
fn without_implied(nodes: usize, edges: &BTreeMap<(usize, usize), bool>) -> Vec<Edge> {
    let mut net: DiGraph<(), ()> = DiGraph::new();
    for _ in 0..nodes {
        net.add_node(());
    }
    for (from, to) in edges.keys() {
        net.add_edge(NodeIndex::new(*from), NodeIndex::new(*to), ());
    }
    // Nodes that fold many hosts may need each other in a circle though no step does; then nothing is implied.
    // And thousands of nodes nobody reads arrow by arrow, so they are not worth the time.
    let order = petgraph::algo::toposort(&net, None)
        .ok()
        .filter(|_| nodes <= REDUCED);
    let reduced = order.map(|order| {
        let (sorted, place) = dag_to_toposorted_adjacency_list::<_, u32>(&net, &order);
        (dag_transitive_reduction_closure(&sorted).0, place)
    });
    let implied = |from: usize, to: usize| {
        reduced
            .as_ref()
            .is_some_and(|(reduced, place)| !reduced.contains_edge(place[from], place[to]))
    };
    edges
        .iter()
        .filter(|((from, to), data)| **data || !implied(*from, *to))
        .map(|((from, to), data)| Edge {
            from: *from,
            to: *to,
            data: *data,
        })
        .collect()
}
