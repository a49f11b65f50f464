//! A graph as text for other programs: Graphviz' dot, Mermaid, JSON. Knows no verdicts; draws what is wanted, not
//! what is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::picture::{Hosts, Kind, Picture};
use super::set::StepSet;
use super::step::Target;
use super::{Graph, Input};

/// A graph as JSON: every step of the set with its edges, by label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct GraphJson {
    /// Name of the stack.
    pub stack: String,
    /// Steps, in the graph's order.
    pub steps: Vec<StepJson>,
}

/// One step as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct StepJson {
    /// Its full name.
    pub label: String,
    /// Component.
    pub component: String,
    /// Step within the recipe.
    pub step: String,
    /// Item of a repeated step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// `host`, `group`, `service` or `gather`.
    pub target: &'static str,
    /// Name of the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Hosts that it concerns.
    pub hosts: Vec<String>,
    /// Task that it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Names of its inputs, with whether they are known before the run.
    pub inputs: BTreeMap<String, bool>,
    /// Labels of steps that come before.
    pub needs: Vec<String>,
    /// Those of `needs` along which data flows.
    pub watch: Vec<String>,
    /// Limit it runs under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// Returns the steps of `of` as data. Edges to steps outside of the set are kept: they are named by label.
#[must_use]
pub fn json(graph: &Graph, of: &StepSet) -> GraphJson {
    let label = |id| graph.step(id).label.to_string();
    let host = |id| graph.stack.host(id).name.to_string();
    let steps = of.iter().map(|id| {
        let step = graph.step(id);
        let (target, service, hosts) = match &step.target {
            Target::Host(one) => ("host", None, vec![host(*one)]),
            Target::Group(hosts) => ("group", None, hosts.iter().map(|id| host(*id)).collect()),
            Target::Service(name, hosts) => (
                "service",
                Some(name.to_string()),
                hosts.iter().map(|id| host(*id)).collect(),
            ),
            Target::Gather => ("gather", None, Vec::new()),
        };
        StepJson {
            label: label(id),
            component: step.label.component.to_string(),
            step: step.label.step.to_string(),
            item: step.label.item.as_deref().map(str::to_owned),
            target,
            service,
            hosts,
            task: step.task.as_ref().map(|task| task.name.clone()),
            inputs: step
                .inputs
                .iter()
                .map(|(name, input)| (name.clone(), known(input)))
                .collect(),
            needs: step.needs.iter().map(|id| label(*id)).collect(),
            watch: step.watch.iter().map(|id| label(*id)).collect(),
            pool: step
                .pool
                .map(|pool| graph.pools[pool.0 as usize].name.to_string()),
        }
    });
    GraphJson {
        stack: graph.stack.name.clone(),
        steps: steps.collect(),
    }
}

fn known(input: &Input) -> bool {
    input.holes().is_empty()
}

/// Returns the steps of `of` for Graphviz: a box round each component, solid arrows where data flows, dashed ones
/// where there is only an order. `dot -Tsvg` draws it.
#[must_use]
pub fn dot(graph: &Graph, of: &StepSet, hosts: Hosts) -> String {
    let picture = Picture::new(graph, of, hosts);
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(out, "digraph {} {{", dot_quoted(&graph.stack.name));
    out.push_str(
        "  rankdir=LR; ranksep=0.6; nodesep=0.15; compound=true; fontname=\"Helvetica\";\n  \
         node [shape=box, style=\"rounded,filled\", fillcolor=white, color=\"#7a869a\", fontname=\"Helvetica\", fontsize=11, height=0.3];\n  \
         edge [color=\"#7a869a\", arrowsize=0.6];\n",
    );
    for (n, (component, nodes)) in picture.components().into_iter().enumerate() {
        let _ = writeln!(out, "  subgraph cluster_{n} {{");
        let _ = writeln!(
            out,
            "    label={}; style=\"rounded,filled\"; color=\"#dfe1e6\"; fillcolor=\"#f4f5f7\";",
            dot_quoted(component)
        );
        for id in nodes {
            let node = &picture.nodes[id];
            let look = match node.kind {
                Kind::Host => "",
                Kind::Group => ", shape=hexagon, style=filled",
                Kind::Service => ", shape=ellipse, style=filled",
                Kind::Gather => ", shape=point, width=0.08",
            };
            let _ = writeln!(out, "    n{id} [label={}{look}];", dot_quoted(&node.text()));
        }
        out.push_str("  }\n");
    }
    for edge in &picture.edges {
        let style = if edge.data { "" } else { " [style=dashed]" };
        let _ = writeln!(out, "  n{} -> n{}{style};", edge.from, edge.to);
    }
    out.push_str("}\n");
    out
}

/// Returns the steps of `of` as a Mermaid flow chart, drawn as [`dot`] draws it.
#[must_use]
pub fn mermaid(graph: &Graph, of: &StepSet, hosts: Hosts) -> String {
    let picture = Picture::new(graph, of, hosts);
    let mut out = "flowchart LR\n".to_owned();
    for (n, (component, nodes)) in picture.components().into_iter().enumerate() {
        let _ = writeln!(out, "  subgraph c{n}[{}]", mermaid_quoted(component));
        for id in nodes {
            let node = &picture.nodes[id];
            let text = mermaid_quoted(&node.text());
            let _ = match node.kind {
                Kind::Host => writeln!(out, "    n{id}[{text}]"),
                Kind::Group => writeln!(out, "    n{id}{{{{{text}}}}}"),
                Kind::Service => writeln!(out, "    n{id}([{text}])"),
                Kind::Gather => writeln!(out, "    n{id}(( ))"),
            };
        }
        out.push_str("  end\n");
    }
    for edge in &picture.edges {
        let arrow = if edge.data { "-->" } else { "-.->" };
        let _ = writeln!(out, "  n{} {arrow} n{}", edge.from, edge.to);
    }
    out
}

fn dot_quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", escaped.replace('\n', "\\n"))
}

fn mermaid_quoted(text: &str) -> String {
    // Mermaid knows no backslash: characters that mean something to it are written as their numbers.
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '#' | '<' | '>' | '&' | ';' | '`' | '\n' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
