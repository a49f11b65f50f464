//! Drawings of one graph that has all there is, pinned.

use super::*;
use crate::graph::fixture;

fn graph() -> Graph {
    let mut graph = fixture::graph(
        "host bao-1 openbao
         host bao-2 openbao
         base:packages@bao-1
         base:packages@bao-2
         openbao:package[a\"b\"<c>\\]@bao-1 < base:packages@bao-1
         openbao:package[a\"b\"<c>\\]@bao-2 < base:packages@bao-2
         openbao:config@bao-1 < base:packages@bao-1 openbao:package[a\"b\"<c>\\]@bao-1
         openbao:config@bao-2 < base:packages@bao-2 openbao:package[a\"b\"<c>\\]@bao-2
         gather openbao:ready < openbao:config@bao-1 openbao:config@bao-2
         group openbao:init < openbao:ready
         service bao openbao:kv < openbao:init",
    );
    let last = graph.steps.last_mut().unwrap();
    last.watch = last.needs.clone();
    graph
}

fn all(graph: &Graph) -> StepSet {
    StepSet::all(graph.steps.len())
}

#[test]
fn dot_folds_hosts() {
    let graph = graph();
    insta::assert_snapshot!(dot(&graph, &all(&graph), Hosts::Collapsed), @r##"
    digraph "lab" {
      rankdir=LR; ranksep=0.6; nodesep=0.15; compound=true; fontname="Helvetica";
      node [shape=box, style="rounded,filled", fillcolor=white, color="#7a869a", fontname="Helvetica", fontsize=11, height=0.3];
      edge [color="#7a869a", arrowsize=0.6];
      subgraph cluster_0 {
        label="base"; style="rounded,filled"; color="#dfe1e6"; fillcolor="#f4f5f7";
        n0 [label="packages ×2"];
      }
      subgraph cluster_1 {
        label="openbao"; style="rounded,filled"; color="#dfe1e6"; fillcolor="#f4f5f7";
        n1 [label="package[a\"b\"<c>\\] ×2"];
        n2 [label="config ×2"];
        n3 [label="init", shape=hexagon, style=filled];
        n4 [label="kv", shape=ellipse, style=filled];
      }
      n0 -> n1 [style=dashed];
      n1 -> n2 [style=dashed];
      n2 -> n3 [style=dashed];
      n3 -> n4;
    }
    "##);
}

#[test]
fn dot_shows_hosts_where_asked() {
    let graph = graph();
    let text = dot(&graph, &all(&graph), Hosts::Expanded);
    assert_eq!(text.matches("@bao-1").count(), 3);
    assert_eq!(
        text.matches("shape=point").count(),
        1,
        "the gathering point"
    );
}

#[test]
fn mermaid_folds_hosts() {
    let graph = graph();
    insta::assert_snapshot!(mermaid(&graph, &all(&graph), Hosts::Collapsed), @r#"
    flowchart LR
      subgraph c0["base"]
        n0["packages ×2"]
      end
      subgraph c1["openbao"]
        n1["package[a#34;b#34;#60;c#62;\] ×2"]
        n2["config ×2"]
        n3{{"init"}}
        n4(["kv"])
      end
      n0 -.-> n1
      n1 -.-> n2
      n2 -.-> n3
      n3 --> n4
    "#);
}

#[test]
fn json_holds_every_step_by_label() {
    let graph = graph();
    let whole = json(&graph, &all(&graph));
    assert_eq!(whole.steps.len(), graph.steps.len());
    let mut one = StepSet::none(graph.steps.len());
    one.insert(crate::graph::StepId(8));
    insta::assert_snapshot!(serde_json::to_string_pretty(&json(&graph, &one)).unwrap(), @r#"
    {
      "stack": "lab",
      "steps": [
        {
          "label": "openbao:kv",
          "component": "openbao",
          "step": "kv",
          "target": "service",
          "service": "bao",
          "hosts": [
            "bao-1",
            "bao-2"
          ],
          "task": "file",
          "inputs": {},
          "needs": [
            "openbao:init"
          ],
          "watch": [
            "openbao:init"
          ]
        }
      ]
    }
    "#);
}

/// Graphviz itself reads it (`./test` installs it).
#[test]
fn graphviz_reads_it() {
    let graph = graph();
    for hosts in [Hosts::Collapsed, Hosts::Expanded] {
        let text = dot(&graph, &all(&graph), hosts);
        let mut child = std::process::Command::new("dot")
            .arg("-Tplain")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("dot, of Debian's package graphviz");
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let answer = child.wait_with_output().unwrap();
        assert!(answer.status.success());
        let plain = String::from_utf8(answer.stdout).unwrap();
        assert_eq!(
            plain
                .lines()
                .filter(|line| line.starts_with("edge "))
                .count(),
            text.matches(" -> ").count()
        );
    }
}
