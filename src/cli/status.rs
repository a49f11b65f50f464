//! `stack status`, `component status`: whether everything is as wanted, by component. Looks, and changes nothing.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Global;
use super::exit::{CliError, CliResult, Ending};
use super::look::{Looked, look};
use super::print::{Output, print, print_json, seconds, table};
use super::session::Session;
use super::wire::Wired;
use crate::graph::Selection;
use crate::plan::{Reason, Verdict};
use crate::terminal::{Page, line, one_line, style};

/// One component's state.
#[derive(Debug, Serialize)]
struct ComponentStatus {
    component: String,
    version: Option<String>,
    state: State,
    hosts: usize,
    satisfied: usize,
    steps: usize,
    /// Whether its health steps are satisfied; `None` if it has none.
    healthy: Option<bool>,
    troubles: Vec<StepTrouble>,
}

#[derive(Debug, Serialize)]
struct StepTrouble {
    label: String,
    verdict: Verdict,
    reasons: Vec<Reason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Everything as wanted.
    Ok,
    /// Nothing of it is there.
    Absent,
    /// Something has to run.
    Pending,
    /// Something can't be decided: a host or an API does not answer.
    Unknown,
}

impl State {
    fn shown(self) -> String {
        match self {
            Self::Ok => style("ok").green(),
            Self::Absent => style("absent").yellow(),
            Self::Pending => style("pending").magenta(),
            Self::Unknown => style("unknown").red(),
        }
        .to_string()
    }
}

/// Shows the status of what `targets` select; `Pending` if not everything is as wanted.
pub async fn status(targets: &[String], output: Output, global: &Global) -> CliResult {
    let session = Session::open(global)?;
    let selection = session.select(targets)?;
    let wired = Wired::new(&session, global, None, None)?;
    let looked = look(&session, &wired, &selection, &|_| {}).await?;
    let components = components(&session, &looked, &selection);
    let ok = components
        .iter()
        .all(|component| component.state == State::Ok);
    match output {
        Output::Json => print_json(&components)?,
        Output::Text => print(&text(&session, &looked, &components))?,
    }
    if ok {
        Ok(())
    } else {
        Err(CliError::quiet(Ending::Pending))
    }
}

fn components(session: &Session, looked: &Looked, selection: &Selection) -> Vec<ComponentStatus> {
    let graph = &session.graph;
    let asked: BTreeSet<&str> = selection
        .asked
        .iter()
        .map(|id| &*graph.step(id).label.component)
        .collect();
    let mut names: Vec<&str> = Vec::new();
    for step in &graph.steps {
        if asked.contains(&*step.label.component) && !names.contains(&&*step.label.component) {
            names.push(&step.label.component);
        }
    }
    names
        .into_iter()
        .map(|name| component(session, looked, selection, name))
        .collect()
}

fn component(
    session: &Session,
    looked: &Looked,
    selection: &Selection,
    name: &str,
) -> ComponentStatus {
    let graph = &session.graph;
    let health = session
        .catalog
        .recipes
        .get(name)
        .map(|recipe| recipe.health.clone())
        .unwrap_or_default();
    let mut status = ComponentStatus {
        component: name.to_owned(),
        version: None,
        state: State::Ok,
        hosts: 0,
        satisfied: 0,
        steps: 0,
        healthy: (!health.is_empty()).then_some(true),
        troubles: Vec::new(),
    };
    let mut hosts = BTreeSet::new();
    let mut verdicts = BTreeSet::new();
    for id in selection.steps.iter() {
        let step = graph.step(id);
        let Some(decision) = looked
            .plan
            .decision(id)
            .filter(|_| &*step.label.component == name && step.task.is_some())
        else {
            continue;
        };
        hosts.extend(step.label.host.as_deref());
        status.steps += 1;
        verdicts.insert(decision.verdict as u8);
        if status.version.is_none() {
            status.version = match step.inputs.get("version") {
                Some(crate::graph::Input::Known(crate::catalog::Value::Text(version))) => {
                    Some(version.clone())
                }
                _ => None,
            };
        }
        if decision.verdict == Verdict::Satisfied {
            status.satisfied += 1;
            continue;
        }
        if health.iter().any(|health| **health == *step.label.step) {
            status.healthy = Some(false);
        }
        status.troubles.push(StepTrouble {
            label: step.label.to_string(),
            verdict: decision.verdict,
            reasons: decision.reasons.clone(),
        });
    }
    status.hosts = hosts.len();
    let has = |verdict: Verdict| verdicts.contains(&(verdict as u8));
    status.state = if has(Verdict::Blocked) {
        State::Unknown
    } else if status.satisfied == status.steps {
        State::Ok
    } else if status.satisfied == 0 {
        State::Absent
    } else {
        State::Pending
    };
    status
}

/// Troubles shown of each component; the rest is counted.
const SHOWN: usize = 8;

fn text(session: &Session, looked: &Looked, components: &[ComponentStatus]) -> Page {
    let reached = looked
        .observed
        .hosts
        .iter()
        .flatten()
        .filter(|answer| answer.is_ok())
        .count();
    let asked = looked.observed.hosts.iter().flatten().count();
    let mut out = line(format_args!(
        "{}: {reached} of {asked} hosts answered in {}",
        style(format!("Stack {}", session.stack.name)).bold(),
        seconds(looked.took)
    ));
    out.gap();
    let rows: Vec<Vec<String>> = components
        .iter()
        .map(|component| {
            vec![
                component.component.clone(),
                component.version.clone().unwrap_or_default(),
                component.state.shown(),
                match component.healthy {
                    Some(true) => style("healthy").green().to_string(),
                    Some(false) => style("not healthy").red().to_string(),
                    None => "-".to_owned(),
                },
                component.hosts.to_string(),
                format!("{}/{}", component.satisfied, component.steps),
            ]
        })
        .collect();
    out.page(&table(
        &[
            "COMPONENT",
            "VERSION",
            "STATE",
            "HEALTH",
            "HOSTS",
            "SATISFIED",
        ],
        &rows,
    ));
    for component in components
        .iter()
        .filter(|component| !component.troubles.is_empty())
    {
        out.gap();
        out.line(style(&component.component).bold());
        for trouble in component.troubles.iter().take(SHOWN) {
            let reason = trouble
                .reasons
                .first()
                .map(ToString::to_string)
                .unwrap_or_default();
            out.line(format_args!(
                "  {}  {}  {}",
                trouble.label,
                super::plan::paint(trouble.verdict).trim_end(),
                one_line(&reason)
            ));
        }
        if component.troubles.len() > SHOWN {
            out.line(format_args!(
                "  … and {} more: `foundry plan {}`",
                component.troubles.len() - SHOWN,
                component.component
            ));
        }
    }
    out
}
