//! A step and its values → what it asks of a host. Does not know which host.

use super::batch::Ask;
use super::fact::{Fault, Question};
use super::fill::Filled;
use super::reader::ActionProbe;
use super::script::ProbeScript;
use super::shell::uses;
use super::stamp::stamp_path;
use crate::catalog::{Collector, QuestionSpec, Task, Value, evaluate_over};
use crate::graph::{HoleId, Label, Step};

/// Finds the pure half of a built-in action by the name that tasks use.
pub trait Actions: Sync {
    /// Returns the action, if there is one of that name.
    fn find(&self, name: &str) -> Option<&dyn ActionProbe>;
}

/// Why a step is not asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAsked {
    /// Its probe needs these holes filled.
    Open(Vec<HoleId>),
    /// Its probe can't be put into words.
    Fault(Fault),
}

impl From<Fault> for NotAsked {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Returns what `step` asks of each host of its target.
///
/// # Errors
/// When an input that its probe uses is not known yet, or makes no sense.
pub fn ask(step: &Step, filled: &Filled, actions: &dyn Actions) -> Result<Ask, NotAsked> {
    let Some(task) = &step.task else {
        return Err(fault("a gathering point has no probe".to_owned()).into());
    };
    if let Some(wrong) = &filled.wrong {
        return Err(wrong.clone().into());
    }
    let open = needed(task, filled);
    if !open.is_empty() {
        return Err(NotAsked::Open(open));
    }
    let probe = &task.probe;
    let is_asked = script_is_asked(task, filled)?;
    let mut questions = Vec::new();
    for spec in &probe.questions {
        questions.extend(question(task, spec, filled)?);
    }
    if let Some(name) = &probe.action {
        match action(actions, name)?.questions(&filled.values) {
            Ok(asked) => questions.extend(asked),
            // What it can't do without may be what is not known yet.
            Err(_) if !filled.open.is_empty() => return Err(NotAsked::Open(filled.all_open())),
            Err(why) => return Err(fault(format!("`{name}`: {why}")).into()),
        }
    }
    let script = probe
        .script
        .as_ref()
        .filter(|_| is_asked)
        .map(|text| ProbeScript::new(text, &filled.values, probe.timeout))
        .transpose()
        .map_err(|error| fault(error.to_string()))?;
    Ok(Ask {
        label: without_host(&step.label),
        questions,
        unnamed: task.unnamed.clone(),
        script,
        stamp: stamp_path(&step.label),
    })
}

/// Returns the action that a task's probe names.
///
/// # Errors
/// When there is none of that name.
pub(super) fn action<'a>(
    actions: &'a dyn Actions,
    name: &str,
) -> Result<&'a dyn ActionProbe, Fault> {
    actions
        .find(name)
        .ok_or_else(|| fault(format!("there is no built-in action `{name}`")))
}

/// Returns the open holes that the probe's collectors and script can't do without. (An action says so itself.)
fn needed(task: &Task, filled: &Filled) -> Vec<HoleId> {
    if filled.open.is_empty() {
        return Vec::new();
    }
    let subjects = task.probe.questions.iter().map(|spec| &spec.subject);
    let mut holes = filled.open_in(subjects.chain(&task.probe.when));
    for (name, open) in &filled.open {
        if task
            .probe
            .script
            .as_ref()
            .is_some_and(|script| uses(script, name))
        {
            holes.extend(open);
        }
    }
    holes.sort_unstable();
    holes.dedup();
    holes
}

/// Evaluates whether the task's script has anything to ask with these inputs.
fn script_is_asked(task: &Task, filled: &Filled) -> Result<bool, Fault> {
    let Some(when) = &task.probe.when else {
        return Ok(true);
    };
    match evaluate_over(when, &filled.values, None) {
        Ok((Value::Bool(flag), _)) => Ok(flag),
        Ok(_) => Err(fault(format!(
            "the probe's `when` gives neither true nor false: {}",
            when.0
        ))),
        Err(error) => Err(fault(format!("the probe's `when`: {error}"))),
    }
}

/// Evaluates one question; a subject of null is not asked.
fn question(task: &Task, spec: &QuestionSpec, filled: &Filled) -> Result<Option<Question>, Fault> {
    let (subject, tainted) = evaluate_over(&spec.subject, &filled.values, None)
        .map_err(|error| fault(format!("the probe's `{}`: {error}", spec.subject.0)))?;
    if subject == Value::Null {
        return Ok(None);
    }
    // The content of a file that is made from a secret is one.
    let holds_secret = spec.collector == Collector::Content
        && task.inputs.iter().any(|(name, input)| {
            input.secret && filled.values.get(name).is_some_and(Value::is_secret)
        });
    Ok(Some(Question {
        collector: spec.collector,
        prefix: spec.prefix.clone(),
        subject,
        secret: tainted || holds_secret,
    }))
}

/// Returns the label as all hosts of a kind share it.
fn without_host(label: &Label) -> String {
    Label {
        host: None,
        ..label.clone()
    }
    .to_string()
}

fn fault(message: String) -> Fault {
    Fault {
        message,
        not_yet: false,
    }
}
