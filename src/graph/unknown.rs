//! Says why a word of a selection names nothing, and what was probably meant. Knows only names.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Graph;
use super::pattern::{Pattern, Word};
use super::select::SelectError;
use super::step::Step;
use crate::config::nearest;

/// How many names a hint lists at most.
const LISTED: usize = 12;

/// Explains why `pattern`, at `at` in `text`, matches no step of `graph`.
pub(super) fn explain(
    graph: &Graph,
    pattern: &Pattern,
    at: &Range<usize>,
    text: &str,
) -> SelectError {
    let fail = |message: String, at: &Range<usize>, hint: Option<String>| SelectError {
        message,
        expression: text.to_owned(),
        at: at.clone(),
        hint,
    };
    let (component, step, item, host) = match pattern {
        Pattern::Stack => return fail("the stack has no steps".to_owned(), at, None),
        Pattern::Role(role) => {
            let roles = names(graph.stack.hosts.iter().flat_map(|host| &host.roles));
            let message = if roles.iter().any(|name| role.glob.matches(name)) {
                format!("no step runs on a host with role `{}`", role.glob.text())
            } else {
                format!("no host has role `{}`", role.glob.text())
            };
            return fail(message, &role.at, hint(role, &roles, "roles"));
        }
        Pattern::Steps {
            component,
            step,
            item,
            host,
        } => (component, step, item, host),
    };
    let hosts = names(graph.stack.hosts.iter().map(|host| &host.name));

    // Part by part: the first that leaves nothing is the one to blame.
    let mut left: Vec<&Step> = graph.steps.iter().collect();
    if let Some(word) = component {
        let known = names(left.iter().map(|step| &step.label.component));
        left.retain(|step| word.glob.matches(&step.label.component));
        if left.is_empty() {
            let name = word.glob.text();
            let hint = if step.is_none() && hosts.contains(name) {
                Some(format!("`{name}` is a host: write `@{name}`"))
            } else if graph
                .stack
                .hosts
                .iter()
                .any(|host| host.roles.iter().any(|role| role == name))
            {
                Some(format!("`{name}` is a role: write `role:{name}`"))
            } else {
                hint(word, &known, "components")
            };
            return fail(
                format!("no component `{name}` in this stack"),
                &word.at,
                hint,
            );
        }
    }
    let of = component
        .as_ref()
        .map_or("the stack", |word| word.glob.text());
    if let Some(word) = step {
        let known = names(left.iter().map(|step| &step.label.step));
        left.retain(|step| word.glob.matches(&step.label.step));
        if left.is_empty() {
            let message = format!("no step `{}` in {of}", word.glob.text());
            return fail(message, &word.at, hint(word, &known, "steps"));
        }
    }
    if let Some(word) = item {
        let known = names(left.iter().filter_map(|step| step.label.item.as_ref()));
        left.retain(|step| matches(word, step.label.item.as_deref()));
        if left.is_empty() {
            let message = format!("no item `{}` of this step", word.glob.text());
            return fail(message, &word.at, hint(word, &known, "items"));
        }
    }
    if let Some(word) = host {
        let name = word.glob.text();
        if !hosts.iter().any(|known| word.glob.matches(known)) {
            return fail(
                format!("no host `{name}` in this stack"),
                &word.at,
                hint(word, &hosts, "hosts"),
            );
        }
        let there = names(left.iter().filter_map(|step| step.label.host.as_ref()));
        let what = match (component, step) {
            (_, Some(step)) => format!("{of}:{}", step.glob.text()),
            (Some(component), None) => component.glob.text().to_owned(),
            (None, None) => "nothing".to_owned(),
        };
        let message = match (component, there.is_empty()) {
            (None, _) => format!("no step runs on `{name}`"),
            (_, true) => format!("`{what}` does not run on single hosts"),
            (_, false) => format!("`{what}` does not run on `{name}`"),
        };
        return fail(message, &word.at, list("it runs on", &there));
    }
    fail("this names no step".to_owned(), at, None)
}

fn matches(word: &Word, name: Option<&str>) -> bool {
    name.is_some_and(|name| word.glob.matches(name))
}

fn names<S: AsRef<str>>(all: impl Iterator<Item = S>) -> BTreeSet<String> {
    all.map(|name| name.as_ref().to_owned()).collect()
}

/// Returns the nearest name to a misspelt one, or what there is if none is near.
fn hint(word: &Word, known: &BTreeSet<String>, what: &str) -> Option<String> {
    let name = word.glob.text();
    let near = nearest(name, known.iter().map(String::as_str));
    match near.filter(|_| !word.glob.is_pattern()) {
        Some(candidate) => Some(format!("did you mean `{candidate}`?")),
        None => list(&format!("{what}:"), known),
    }
}

fn list(before: &str, names: &BTreeSet<String>) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let mut shown: Vec<&str> = names.iter().take(LISTED).map(String::as_str).collect();
    let more = format!("{} more", names.len().saturating_sub(LISTED));
    if names.len() > LISTED {
        shown.push(&more);
    }
    Some(format!("{before} {}", shown.join(", ")))
}
