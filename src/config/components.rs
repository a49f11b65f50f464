//! `components:` → what the config says of each: its hosts looked up, its settings as written. Does not know which
//! settings a component has.

use indexmap::IndexMap;

use super::fields::{Placed, plain_text, wrong_kind};
use super::host_entry::{host_names, is_label};
use super::hosts::HostTable;
use super::problem::{Problem, Problems};
use super::setting::{Node, Setting, Span};
use super::stack::{Component, HostId};
use super::suggest;

/// Reads the section. Hosts that nothing declares are declared here if `implicit`, unless they look like a misspelling.
pub(super) fn read(
    node: &Node,
    table: &mut HostTable,
    implicit: bool,
    problems: &mut Problems,
) -> IndexMap<String, Component> {
    let mut components = IndexMap::new();
    let entries = match &node.value {
        Setting::Null => return components,
        Setting::Map(entries) => entries,
        _ => {
            problems.push(wrong_kind(node, "`components`", "a map").help(
                "write each as `name:`, with its settings below; `openbao: {}` if there are none",
            ));
            return components;
        }
    };
    for (name, (span, node)) in entries {
        if !is_label(name) {
            problems.push(
                Problem::at(*span, format!("`{name}` is no component name"))
                    .help("names are lower-case letters, digits and `-`"),
            );
            continue;
        }
        let mut settings = match &node.value {
            Setting::Null => IndexMap::new(),
            Setting::Map(settings) => settings.clone(),
            _ => {
                problems.push(wrong_kind(node, &format!("`{name}`"), "a map of settings"));
                continue;
            }
        };
        let hosts = settings
            .shift_remove("hosts")
            .filter(|(_, node)| node.value != Setting::Null)
            .map(|(_, node)| hosts(&node, name, table, implicit, problems));
        let rollout = settings.shift_remove("rollout").map(|(_, node)| node);
        if let Some((_, version)) = settings.get_mut("version") {
            check_version(version, problems);
        }
        let settings = Node {
            value: Setting::Map(settings),
            span: node.span,
        };
        components.insert(
            name.clone(),
            Component {
                span: *span,
                hosts,
                rollout,
                settings,
            },
        );
    }
    components
}

/// Reads `hosts`: names, ranges, `role:<name>`, `*`; one or a list of them.
fn hosts(
    node: &Node,
    component: &str,
    table: &mut HostTable,
    implicit: bool,
    problems: &mut Problems,
) -> Vec<HostId> {
    let what = format!("`hosts` of `{component}`");
    let items: Vec<&Node> = match &node.value {
        Setting::List(items) => items.iter().collect(),
        Setting::Map(_) => {
            problems.push(wrong_kind(node, &what, "a list of host names"));
            return Vec::new();
        }
        _ => vec![node],
    };
    if items.is_empty() {
        problems.push(
            Problem::at(node.span, format!("{what} is empty"))
                .help("leave `hosts` out to let roles decide, or name hosts"),
        );
    }
    let mut ids: Vec<HostId> = Vec::new();
    for item in items {
        let Some(text) = plain_text(item, &what, problems) else {
            continue;
        };
        let named = if text.value == "*" {
            table.names().filter_map(|name| table.find(name)).collect()
        } else if let Some(role) = text.value.strip_prefix("role:") {
            of_role(role, text.span, table, problems)
        } else {
            by_name(&text, table, implicit, problems)
        };
        for id in named {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    ids
}

/// Looks up the hosts of a role.
fn of_role(role: &str, span: Span, table: &HostTable, problems: &mut Problems) -> Vec<HostId> {
    let ids: Vec<HostId> = (0_u32..)
        .zip(table.roles())
        .filter(|(_, roles)| roles.iter().any(|has| has == role))
        .map(|(id, _)| HostId(id))
        .collect();
    if ids.is_empty() && table.is_complete() {
        let mut known: Vec<&str> = table.roles().flatten().map(String::as_str).collect();
        known.sort_unstable();
        known.dedup();
        problems.push(
            Problem::at(span, format!("no host has the role `{role}`"))
                .label("not declared")
                .maybe_help(suggest::help(role, known)),
        );
    }
    ids
}

/// Looks up hosts by name or range.
fn by_name(
    text: &Placed<String>,
    table: &mut HostTable,
    implicit: bool,
    problems: &mut Problems,
) -> Vec<HostId> {
    let mut left = *table.left();
    let Some(names) = host_names(text, &mut left, problems) else {
        return Vec::new();
    };
    let mut ids = Vec::new();
    for name in names {
        if let Some(id) = table.find(&name) {
            ids.push(id);
            continue;
        }
        let meant = suggest::nearest_host(&name, table.names()).map(str::to_owned);
        // `node1` and `node2` are two machines, `node1` and `ndoe1` are one and a slip of the fingers.
        let misspelt = meant
            .as_deref()
            .is_some_and(|meant| without_digits(meant) != without_digits(&name));
        if implicit && !misspelt && table.is_complete() {
            *table.left() = table.left().saturating_sub(1);
            ids.push(table.declare_at(&name, text.span));
        } else if table.is_complete() {
            let help = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("declare it: `hosts: [{{ hostname: {name} }}]`"),
            };
            problems.push(
                Problem::at(text.span, format!("unknown host `{name}`"))
                    .label("not declared")
                    .help(help),
            );
        }
    }
    ids
}

fn without_digits(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Checks that `version` can be one, and makes text of an unquoted `2.10`.
fn check_version(node: &mut Node, problems: &mut Problems) {
    if node.value == Setting::Null {
        return;
    }
    let source = problems.source.clone();
    let Some(text) = node.as_text(&source).map(str::to_owned) else {
        problems.push(wrong_kind(node, "`version`", "a version such as \"2.1.0\""));
        return;
    };
    if !is_version(&text) {
        problems.push(
            Problem::at(node.span, format!("`{text}` is no version"))
                .label("not a version")
                .help("write it as upstream does: \"2.1.0\", \"v1.28.5+k3s1\"; leave it out for the recipe's own"),
        );
    }
    node.value = Setting::Text(text);
}

/// Returns whether `text` is a version: an optional `v`, numbers with dots, then `-…` or `+…` or `~…`.
fn is_version(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+', '~']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    numbers
        .split('.')
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        && rest
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-+~_".contains(&byte))
        && rest.len() != 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for text in [
            "2",
            "2.10",
            "2.1.0",
            "v1.28.5+k3s1",
            "1.0.0-rc.1",
            "1.2~bpo12+1",
        ] {
            assert!(is_version(text), "{text}");
        }
        for text in [
            "", "v", "latest", "2.", "2..1", "2.1.0+", "2.1 .0", ">=2", "x1",
        ] {
            assert!(!is_version(text), "{text}");
        }
    }
}
