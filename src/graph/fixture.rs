//! Small graphs for tests, written as text. Knows nothing of catalogs: every step has the same task.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;

use super::{Graph, Inputs, Label, Step, StepId, Target};
use crate::catalog::Task;
use crate::config::{Host, HostId, Node, Source, Span, Stack};

/// Returns a task without inputs, probe or expectations.
pub(crate) fn task(name: &str) -> Task {
    Task {
        name: name.to_owned(),
        digest: *blake3::hash(name.as_bytes()).as_bytes(),
        ..Task::default()
    }
}

/// Reads a graph, one line a host or step:
///
/// ```text
/// host bao-1 openbao worker            a host and its roles
/// base:packages@bao-1                  a step on a host
/// openbao:config@bao-1 < base:packages@bao-1
/// group openbao:init < openbao:config@bao-1
/// service bao openbao:kv < openbao:init
/// gather openbao:ready < openbao:config@bao-1
/// ```
pub(crate) fn graph(text: &str) -> Graph {
    let mut hosts: Vec<Host> = Vec::new();
    let mut ids: BTreeMap<String, StepId> = BTreeMap::new();
    let mut rows: Vec<(Label, Option<&str>, Vec<&str>)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(host_line) = line.strip_prefix("host ") {
            let mut words = host_line.split_whitespace();
            hosts.push(host(
                words.next().unwrap(),
                words.map(str::to_owned).collect(),
            ));
            continue;
        }
        let (name, needs) = line.split_once(" <").unwrap_or((line, ""));
        let name = name.trim();
        let (kind, name) = match name.rsplit_once(' ') {
            Some((kind, name)) if !name.contains(']') => (Some(kind), name),
            _ => (None, name),
        };
        ids.insert(name.to_owned(), StepId(u32::try_from(rows.len()).unwrap()));
        rows.push((
            name.parse().unwrap(),
            kind,
            needs.split_whitespace().collect(),
        ));
    }
    let every: Arc<[HostId]> = (0..u32::try_from(hosts.len()).unwrap())
        .map(HostId)
        .collect();
    let task = Arc::new(task("file"));
    let steps = rows
        .into_iter()
        .map(|(label, kind, needs)| {
            let target = match (kind, &label.host) {
                (Some("gather"), _) => Target::Gather,
                (Some("group"), _) => Target::Group(every.clone()),
                (Some(other), _) => {
                    let service = other.strip_prefix("service ").unwrap();
                    Target::Service(service.into(), every.clone())
                }
                (None, Some(name)) => {
                    let at = hosts.iter().position(|host| host.name == *name).unwrap();
                    Target::Host(every[at])
                }
                (None, None) => panic!("{label} runs nowhere"),
            };
            let mut needs: Vec<StepId> = needs.iter().map(|name| ids[*name]).collect();
            needs.sort_unstable();
            Step {
                task: (target != Target::Gather).then(|| task.clone()),
                label,
                target,
                inputs: Arc::new(Inputs::new()),
                needs,
                watch: Vec::new(),
                pool: None,
            }
        })
        .collect();
    Graph {
        images: BTreeMap::new(),
        warnings: Vec::new(),
        stack: Arc::new(stack(hosts)),
        steps,
        holes: Vec::new(),
        pools: Vec::new(),
    }
}

fn host(name: &str, roles: Vec<String>) -> Host {
    Host {
        name: name.into(),
        address: name.to_owned(),
        port: None,
        user: None,
        identity: None::<PathBuf>,
        jump: None,
        local: false,
        roles,
        labels: BTreeMap::new(),
        host_key: None,
        span: Span::default(),
    }
}

fn stack(hosts: Vec<Host>) -> Stack {
    Stack {
        source: Arc::new(Source {
            name: "stack.yaml".to_owned(),
            text: String::new(),
        }),
        name: "lab".to_owned(),
        domain: None,
        vip: None,
        hosts,
        components: IndexMap::new(),
        sections: IndexMap::<String, Node>::new(),
        mirrors: Vec::new(),
        pins: Arc::default(),
        trusted_keys: Vec::new(),
    }
}
