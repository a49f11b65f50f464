//! `stack outdated`: what the config names and what runs, beside the newest releases that the table of versions knows.
//! Asks no release page: it knows what this Foundry knows, and what people's own table adds.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Global;
use super::exit::{CliError, CliResult, Ending};
use super::look::{Looked, look};
use super::print::{Output, print, print_json, table, warn};
use super::session::Session;
use super::wire::Wired;
use crate::catalog::{Known, Recipe, Settings, Value, Version, resolve_settings};
use crate::graph::Input;
use crate::terminal::{Page, style};

/// One component.
#[derive(Debug, Serialize)]
struct Row {
    component: String,
    /// What the config asks for, defaults filled in.
    configured: Option<String>,
    /// The newest that this Foundry knows.
    known: Option<String>,
    /// What is there, where it was asked and told.
    installed: Vec<Installed>,
    outdated: bool,
    /// What is to be known of the release that the config asks for.
    notes: Vec<String>,
}

/// What one step found installed.
#[derive(Debug, Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Installed {
    /// Component and step.
    step: String,
    /// What was found.
    found: String,
    /// What the step wants.
    wanted: String,
}

/// Shows what could be newer; `Pending` if anything could.
pub async fn outdated(offline: bool, output: Output, global: &Global) -> CliResult {
    let session = Session::open(global)?;
    let looked = match offline {
        true => None,
        false => {
            let selection = session.select(&["stack".to_owned()])?;
            let wired = Wired::new(&session, global, None, None)?;
            Some(look(&session, &wired, &selection, &|_| {}).await?)
        }
    };
    let rows = rows(&session, looked.as_ref());
    match output {
        Output::Json => print_json(&rows)?,
        Output::Text => print(&text(&rows, looked.is_some()))?,
    }
    if looked.as_ref().is_some_and(|looked| !all_answered(looked)) {
        warn("not every host answered: what runs there is not known");
    }
    if rows.iter().any(|row| row.outdated) {
        Err(CliError::quiet(Ending::Pending))
    } else {
        Ok(())
    }
}

fn all_answered(looked: &Looked) -> bool {
    looked.observed.hosts.iter().flatten().all(Result::is_ok)
}

fn rows(session: &Session, looked: Option<&Looked>) -> Vec<Row> {
    let mut names: Vec<&str> = Vec::new();
    for step in &session.graph.steps {
        if !names.contains(&&*step.label.component) {
            names.push(&step.label.component);
        }
    }
    let versions = |name: &str| {
        let recipe = session.catalog.recipes.get(name)?;
        let settings = resolve_settings(recipe, &session.stack, &mut |_| String::new()).ok()?;
        version(&settings)
    };
    names
        .into_iter()
        .filter_map(|name| {
            let recipe = session.catalog.recipes.get(name)?;
            let known = session.catalog.versions.get(name).map(AsRef::as_ref);
            let mut row = row(recipe, known, versions(name), &versions);
            if let Some(looked) = looked {
                row.installed = installed(session, looked, name, row.configured.as_deref());
                row.outdated |= row
                    .installed
                    .iter()
                    .any(|one| older(&one.found, &one.wanted));
            }
            let told =
                row.configured.is_some() || !row.installed.is_empty() || !row.notes.is_empty();
            told.then_some(row)
        })
        .collect()
}

fn version(settings: &Settings) -> Option<String> {
    match settings.get("version") {
        Some(Value::Text(version)) if !version.is_empty() => Some(version.clone()),
        _ => None,
    }
}

/// Compares what the config asks for with what is known; `of` tells the versions of other components.
fn row(
    recipe: &Recipe,
    known: Option<&Known>,
    configured: Option<String>,
    of: &dyn Fn(&str) -> Option<String>,
) -> Row {
    let newest = recipe
        .settings
        .get("version")
        .and_then(|setting| match &setting.default {
            Some(Value::Text(version)) => Some(version.clone()),
            _ => None,
        });
    let tested = known.into_iter().flat_map(|known| &known.tested);
    let notes = tested.filter_map(|tested| {
        let version = of(&tested.with)?;
        let outside = !tested.holds(&version);
        outside.then(|| format!("with {} {version}: {}", tested.with, tested.say))
    });
    Row {
        component: recipe.name.clone(),
        outdated: match (&configured, &newest) {
            (Some(configured), Some(newest)) => older(configured, newest),
            _ => false,
        },
        notes: notes.collect(),
        configured,
        known: newest,
        installed: Vec::new(),
    }
}

/// Returns whether `version` comes before `newest`; what is no version is not older than anything.
fn older(version: &str, newest: &str) -> bool {
    match (Version::parse(version), Version::parse(newest)) {
        (Ok(version), Ok(newest)) => version < newest,
        _ => false,
    }
}

/// Finds what steps of a component found installed: those whose probe tells `installed` (or `versions`, of several
/// hosts), and what is wanted in its place.
fn installed(
    session: &Session,
    looked: &Looked,
    component: &str,
    configured: Option<&str>,
) -> Vec<Installed> {
    let graph = &session.graph;
    let mut found = BTreeSet::new();
    for (id, step) in graph.ids().zip(&graph.steps) {
        let Some(Ok(facts)) = &looked.observed.steps[id.0 as usize] else {
            continue;
        };
        let told = facts.get("installed").or_else(|| facts.get("versions"));
        let Some(told) = told.filter(|_| &*step.label.component == component) else {
            continue;
        };
        let wanted = match step.inputs.get("version") {
            Some(Input::Known(Value::Text(wanted))) => wanted,
            _ => configured.unwrap_or_default(),
        };
        let each = told.value().split_whitespace();
        found.extend(
            each.filter(|word| !["absent", "unknown"].contains(word))
                .map(|version| Installed {
                    step: format!("{component}:{}", step.label.step),
                    found: version.to_owned(),
                    wanted: wanted.to_owned(),
                }),
        );
    }
    found.into_iter().collect()
}

fn text(rows: &[Row], looked: bool) -> Page {
    let shown = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
    let cells = rows.iter().map(|row| {
        let installed: Vec<String> = row
            .installed
            .iter()
            .map(|one| match older(&one.found, &one.wanted) {
                true => format!("{} {} → {}", one.step, one.found, one.wanted),
                false => one.found.clone(),
            })
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut cells = vec![
            row.component.clone(),
            shown(&row.configured),
            shown(&row.known),
        ];
        if looked {
            cells.push(match installed.is_empty() {
                true => "-".to_owned(),
                false => installed.join(", "),
            });
        }
        cells.push(match row.outdated {
            true => style("outdated").yellow().to_string(),
            false => style("current").green().to_string(),
        });
        cells
    });
    let cells: Vec<Vec<String>> = cells.collect();
    let head: &[&str] = if looked {
        &["COMPONENT", "CONFIGURED", "KNOWN", "INSTALLED", "STATE"]
    } else {
        &["COMPONENT", "CONFIGURED", "KNOWN", "STATE"]
    };
    let mut out = table(head, &cells);
    let notes = rows
        .iter()
        .flat_map(|row| row.notes.iter().map(move |note| (row, note)));
    for (at, (row, note)) in notes.enumerate() {
        if at == 0 {
            out.gap();
        }
        out.line(format_args!("{}: {note}", row.component));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, Files};

    fn catalog() -> Catalog {
        let mut files = Files::default();
        files.add(
            "",
            "recipes/versions.toml",
            "[web]\nversion = '1.33.6'\nchecked = 'x'\n[[web.tested]]\nwith = 'k8s'\nfrom = '1.32'\nto = '1.34'\nsay = 'nobody tried'\n",
        );
        files.add(
            "",
            "recipes/web/recipe.toml",
            "summary = 'x'\n[settings]\nversion = { type = 'version', doc = 'x' }\n",
        );
        Catalog::load(&files).unwrap()
    }

    #[test]
    fn what_is_older_than_the_table_is_outdated_and_what_nobody_tried_is_said() {
        let catalog = catalog();
        let look = |configured: &str, with: &str| {
            let of = |name: &str| (name == "k8s").then(|| with.to_owned());
            let known = catalog.versions.get("web").map(AsRef::as_ref);
            row(
                &catalog.recipes["web"],
                known,
                Some(configured.to_owned()),
                &of,
            )
        };
        let old = look("1.33.5", "1.34.2+k3s1");
        assert!(old.outdated && old.notes.is_empty(), "{old:?}");
        assert_eq!(old.known.as_deref(), Some("1.33.6"));
        let current = look("1.33.6", "1.36.3+k3s1");
        assert!(!current.outdated);
        assert_eq!(current.notes, ["with k8s 1.36.3+k3s1: nobody tried"]);
        assert!(!look("1.34.0", "1.33").outdated, "newer than known");
    }
}
