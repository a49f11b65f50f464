//! The table of hosts: entries of `cluster.nodes` and `hosts` merged by name, `ssh` defaults filled in, jumps checked.
//! Does not know components.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::fields::{Fields, Placed};
use super::host_entry::{self, Draft, Entry, MAX_HOSTS, Section, good_user, is_host_name};
use super::problem::{Problem, Problems};
use super::setting::{Node, Span};
use super::stack::{Host, HostId};
use super::suggest;

/// Hosts as they are gathered.
#[derive(Debug)]
pub(super) struct HostTable {
    rows: Vec<Row>,
    index: HashMap<Arc<str>, u32>,
    /// How many hosts there still may be.
    left: u64,
    /// An entry could not be read: a name that is not here may still be meant well.
    incomplete: bool,
}

#[derive(Debug)]
struct Row {
    name: Arc<str>,
    draft: Draft,
    nodes: Option<Span>,
    hosts: Option<Span>,
}

impl Default for HostTable {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            index: HashMap::new(),
            left: MAX_HOSTS,
            incomplete: false,
        }
    }
}

impl HostTable {
    /// Reads the entries of a section.
    pub fn read(&mut self, nodes: &[Node], section: Section, problems: &mut Problems) {
        for node in nodes {
            match host_entry::read(node, section, &mut self.left, problems) {
                Some(entry) => self.add(&entry, section, problems),
                None => self.incomplete = true,
            }
        }
    }

    /// Adds the hosts of an entry; one that the other section has is merged, one that the same section has is a problem.
    fn add(&mut self, entry: &Entry, section: Section, problems: &mut Problems) {
        let mut twice: Vec<(Span, &str, usize)> = Vec::new();
        for (name, address) in &entry.names {
            let mut draft = entry.draft.clone();
            draft.address = address.clone().map(|value| Placed {
                value,
                span: entry.draft.address.as_ref().map_or(entry.span, |a| a.span),
            });
            let id = self.declare(name);
            let row = &mut self.rows[id.0 as usize];
            let place = match section {
                Section::Nodes => &mut row.nodes,
                Section::Hosts => &mut row.hosts,
            };
            if let Some(first) = *place {
                match twice.iter_mut().find(|(span, ..)| *span == first) {
                    Some((_, _, count)) => *count += 1,
                    None => twice.push((first, name, 1)),
                }
                continue;
            }
            *place = Some(entry.span);
            row.draft.merge(draft, name, problems);
        }
        for (first, name, count) in twice {
            let others = match count {
                1 => String::new(),
                _ => format!(" (and {} more)", count - 1),
            };
            problems.push(
                Problem::at(
                    entry.span,
                    format!("host `{name}`{others} is declared twice"),
                )
                .label("second time")
                .also(first, "first time"),
            );
        }
    }

    /// Returns the host's number, having made it if there was none of that name.
    fn declare(&mut self, name: &str) -> HostId {
        if let Some(id) = self.index.get(name) {
            return HostId(*id);
        }
        let name: Arc<str> = name.into();
        // Never more than `MAX_HOSTS` plus the few that components name.
        let id = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.index.insert(name.clone(), id);
        self.rows.push(Row {
            name,
            draft: Draft::default(),
            nodes: None,
            hosts: None,
        });
        HostId(id)
    }

    /// Declares a host that only a component names.
    pub fn declare_at(&mut self, name: &str, span: Span) -> HostId {
        let id = self.declare(name);
        self.rows[id.0 as usize].hosts = Some(span);
        id
    }

    /// Returns how many hosts may still be declared, to be counted down by who declares them.
    pub fn left(&mut self) -> &mut u64 {
        &mut self.left
    }

    /// Returns the host's number, if there is one of that name.
    pub fn find(&self, name: &str) -> Option<HostId> {
        self.index.get(name).copied().map(HostId)
    }

    /// Returns the names of all hosts, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.rows.iter().map(|row| &*row.name)
    }

    /// Returns the roles of each host, in order.
    pub fn roles(&self) -> impl Iterator<Item = &[String]> {
        self.rows.iter().map(|row| row.draft.roles.as_slice())
    }

    /// Returns whether every entry could be read.
    pub fn is_complete(&self) -> bool {
        !self.incomplete
    }

    /// Makes the hosts, with `defaults` where they say nothing themselves, and checks what they say of each other.
    pub fn finish(self, defaults: &Defaults, problems: &mut Problems) -> Vec<Host> {
        self.check_local(problems);
        let jumps: Vec<Option<Placed<String>>> =
            self.rows.iter().map(|row| row.jump(defaults)).collect();
        self.check_jumps(&jumps, problems);
        self.rows
            .into_iter()
            .zip(jumps)
            .map(|(row, jump)| row.finish(defaults, jump))
            .collect()
    }

    fn check_local(&self, problems: &mut Problems) {
        let mut locals = self
            .rows
            .iter()
            .filter_map(|row| row.draft.local.as_ref())
            .filter(|local| local.value);
        let Some(first) = locals.next() else { return };
        for other in locals {
            let mut problem = Problem::at(other.span, "more than one host is `local`")
                .help("`local` is the machine that Foundry runs on, and there is one");
            if other.span != first.span {
                problem = problem.also(first.span, "this one is");
            }
            problems.push(problem);
        }
    }

    /// Checks that each jump leads to a host or out of the stack, and none back to where it began.
    fn check_jumps(&self, jumps: &[Option<Placed<String>>], problems: &mut Problems) {
        let next: Vec<Option<HostId>> = jumps
            .iter()
            .map(|jump| {
                let jump = jump.as_ref()?;
                let inside = self.find(&jump.value);
                if inside.is_none() && self.is_complete() && !is_outside_jump(&jump.value) {
                    let message = format!("unknown host `{}` to jump through", jump.value);
                    let help = suggest::nearest_host(&jump.value, self.names()).map_or_else(
                        || "a machine outside the stack is written `user@host:port`".to_owned(),
                        |meant| format!("did you mean `{meant}`?"),
                    );
                    problems.push(
                        Problem::at(jump.span, message)
                            .label("not declared")
                            .help(help),
                    );
                }
                inside
            })
            .collect();
        // 0: not seen; otherwise the walk (by its start + 1) that saw it first.
        let mut seen = vec![0_usize; self.rows.len()];
        for start in 0..self.rows.len() {
            let mut at = start;
            while seen[at] == 0 {
                seen[at] = start + 1;
                match next[at] {
                    Some(HostId(to)) => at = to as usize,
                    None => break,
                }
            }
            if seen[at] == start + 1 && next[at].is_some() {
                self.report_cycle(at, &next, jumps, problems);
            }
        }
    }

    fn report_cycle(
        &self,
        start: usize,
        next: &[Option<HostId>],
        jumps: &[Option<Placed<String>>],
        problems: &mut Problems,
    ) {
        let mut path = vec![&*self.rows[start].name];
        let mut spans = Vec::new();
        let mut at = start;
        while let Some(HostId(to)) = next[at] {
            spans.extend(jumps[at].as_ref().map(|jump| jump.span));
            at = to as usize;
            path.push(&self.rows[at].name);
            if at == start {
                break;
            }
        }
        let Some((first, others)) = spans.split_first() else {
            return;
        };
        let message = format!("jumps go in a circle: {}", path.join(" → "));
        let mut problem = Problem::at(*first, message).label("from here");
        for span in others.iter().filter(|span| *span != first) {
            problem = problem.also(*span, "and here");
        }
        problems.push(problem);
    }
}

impl Row {
    /// Returns what this host jumps through: nothing for `none`, for the machine itself, and for the default jump host.
    fn jump(&self, defaults: &Defaults) -> Option<Placed<String>> {
        let local = self.draft.local.as_ref().is_some_and(|local| local.value);
        let own = self.draft.jump.clone();
        let by_default = || {
            defaults
                .jump
                .clone()
                .filter(|jump| *jump.value != *self.name)
        };
        own.or_else(by_default)
            .filter(|jump| !local && jump.value != "none")
    }

    fn finish(self, defaults: &Defaults, jump: Option<Placed<String>>) -> Host {
        let draft = self.draft;
        let value = |own: Option<Placed<String>>, default: &Option<Placed<String>>| {
            own.or_else(|| default.clone()).map(|placed| placed.value)
        };
        Host {
            address: draft
                .address
                .map_or_else(|| self.name.to_string(), |address| address.value),
            name: self.name,
            port: draft
                .port
                .or_else(|| defaults.port.clone())
                .map(|p| p.value),
            user: value(draft.user, &defaults.user),
            identity: value(draft.identity, &defaults.identity).map(PathBuf::from),
            jump: jump.map(|jump| jump.value),
            local: draft.local.is_some_and(|local| local.value),
            roles: draft.roles,
            labels: draft.labels,
            host_key: draft.host_key.map(|key| key.value),
            span: self.hosts.or(self.nodes).unwrap_or_default(),
        }
    }
}

impl Draft {
    /// Unites what two sections say of one host.
    fn merge(&mut self, other: Self, name: &str, problems: &mut Problems) {
        unite(&mut self.address, other.address, "address", name, problems);
        unite(&mut self.port, other.port, "port", name, problems);
        unite(&mut self.user, other.user, "user", name, problems);
        unite(
            &mut self.identity,
            other.identity,
            "identity",
            name,
            problems,
        );
        unite(&mut self.jump, other.jump, "jump", name, problems);
        unite(&mut self.local, other.local, "local", name, problems);
        unite(
            &mut self.host_key,
            other.host_key,
            "host_key",
            name,
            problems,
        );
        self.roles.extend(other.roles);
        self.roles.sort_unstable();
        self.roles.dedup();
        self.labels.extend(other.labels);
    }
}

fn unite<T: PartialEq>(
    mine: &mut Option<Placed<T>>,
    other: Option<Placed<T>>,
    key: &str,
    name: &str,
    problems: &mut Problems,
) {
    match (mine, other) {
        (Some(mine), Some(other)) if mine.value != other.value => problems.push(
            Problem::at(
                other.span,
                format!("`{key}` of host `{name}` is given twice, and differently"),
            )
            .label("here")
            .also(mine.span, "and here"),
        ),
        (mine @ None, other) => *mine = other,
        _ => {}
    }
}

/// `ssh:` — what holds for all hosts that say nothing themselves.
#[derive(Debug, Default)]
pub(super) struct Defaults {
    user: Option<Placed<String>>,
    port: Option<Placed<u16>>,
    identity: Option<Placed<String>>,
    jump: Option<Placed<String>>,
}

impl Defaults {
    /// Reads the section.
    pub fn read(node: &Node, problems: &mut Problems) -> Self {
        let mut fields = Fields::open(node, "`ssh`", problems);
        let read = Self {
            user: fields
                .text("user", problems)
                .filter(|user| good_user(user, problems)),
            port: fields.port("port", problems),
            identity: fields.text("identity", problems),
            jump: fields.text("jump", problems),
        };
        fields.finish(|_| false, problems);
        read
    }
}

/// Returns whether a jump leads through a machine that is no part of the stack: `user@host`, `host:port`, or both.
fn is_outside_jump(jump: &str) -> bool {
    let (user, rest) = jump.split_once('@').unwrap_or(("", jump));
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!user.is_empty() || port.is_some() || host.parse::<std::net::IpAddr>().is_ok())
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && (is_host_name(&host.to_lowercase()) || host.parse::<std::net::IpAddr>().is_ok())
}
