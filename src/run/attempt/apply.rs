//! The changing half of an attempt: a script, a built-in action or a service's adapter does the work, and the probe after
//! it judges. Does not know why the step runs.

use std::sync::Arc;
use std::time::Duration;

use super::{Attempt, Failure, Outcome, Service, View, failed, hosts, nonce};
use crate::catalog::{Effect, Task, Values};
use crate::config::HostId;
use crate::event::{Reason, Verdict, What};
use crate::graph::{Step, Target};
use crate::plan::{Decision, decide_step, stamp};
use crate::probe::{
    AccessError, AccessKind, Applications, Applied, Ended, Entry, Filled, Job, Seen, Stamp,
    Unwritable, ask, fold,
};
use crate::run::fence::Pending;
use crate::run::journal::{Deed, Entering, UNWRITABLE};
use crate::run::writer::{Action, ActionContext, Actions, StepError};

/// What the script does that only leaves a stamp, after an action did the work.
const NOTHING: &str = ":";

/// A script on its way to one host.
pub(in crate::run) struct Script<'a> {
    pub step: &'a Step,
    pub task: &'a Task,
    pub effect: &'a Effect,
    pub host: HostId,
    pub values: &'a Values,
}

impl Attempt {
    /// Applies a script and looks again, in one round trip.
    pub(super) async fn script(&self, script: &Script<'_>) -> Result<Outcome, Failure> {
        let left = self.stamp(script);
        let writer = self.writers.writer(script.host).await?;
        // The last thing before it is sent: whether it may be.
        let pending = self.executor.door(script.host)?;
        let door = pending.as_ref().map(Pending::door);
        let shared = &self.executor.shared;
        let mut program = Applications::new(&shared.graph.stack.name, nonce()?, door)
            .entered(shared.journals.of(script.host))
            .map_err(|error| failed(error.to_string()))?;
        let entry = self.entry(script, &left);
        program.enter(self.job(script, &left)?, &entry)?;
        let application = program.finish();
        let reply = writer.run(application.program()).await?;
        if let Some(head) = application.head(&reply) {
            shared.journals.saw(script.host, head);
        }
        if let Some(pending) = pending
            && application.is_over(&reply)
        {
            pending.ended(application.refusal(&reply))?;
        }
        self.judge(script, application.read(&reply))
    }

    /// Returns the stamp to leave.
    pub(in crate::run) fn stamp(&self, script: &Script<'_>) -> Stamp {
        stamp(
            script.task,
            &script.step.target,
            script.values,
            &self.executor.prints.now(),
        )
    }

    /// Returns what is to be done to the host.
    pub(in crate::run) fn job<'j>(
        &'j self,
        script: &Script<'j>,
        stamp: &'j Stamp,
    ) -> Result<Job<'j>, Failure> {
        let shared = &self.executor.shared;
        let actions: &dyn Actions = &*shared.actions;
        let filled = Filled {
            values: script.values.clone(),
            ..Filled::default()
        };
        let asked = ask(script.step, &filled, actions)
            .map_err(|_| failed("the probe can't be put into words".to_owned()))?;
        Ok(Job {
            effect: script.effect,
            values: script.values,
            ask: asked,
            stack: &shared.graph.stack.name,
            stamp: Some(stamp),
            by_stamp: script.task.stamp,
        })
    }

    /// Returns what is entered of the script.
    pub(in crate::run) fn entry(&self, script: &Script<'_>, stamp: &Stamp) -> Entry {
        let deed = self.deed(script.step, &stamp.key);
        self.executor.shared.journals.entry(script.host, &deed)
    }

    fn deed(&self, step: &Step, key: &str) -> Deed {
        Deed {
            step: step.label.to_string(),
            key: key.to_owned(),
            before: self.before.to_string(),
        }
    }

    /// Judges what came of a script.
    pub(in crate::run) fn judge(
        &self,
        script: &Script<'_>,
        applied: Applied,
    ) -> Result<Outcome, Failure> {
        let shared = &self.executor.shared;
        let Script {
            step,
            task,
            effect,
            host,
            values,
        } = *script;
        let name = || Arc::clone(&shared.graph.stack.host(host).name);
        for line in &applied.says {
            self.say(step, line);
        }
        if let Some(why) = applied.unwritable {
            return Err(unwritable(why));
        }
        match applied.ended {
            Ended::Well => {}
            Ended::Status(status) => return Err(by_status(status, applied.output)),
            Ended::TookTooLong => {
                return Err(Failure {
                    output: applied.output,
                    ..StepError::Deadline(effect.timeout).into()
                });
            }
            // The host went down, or the shell was killed: what it did is found out by looking.
            Ended::Cut => {
                return Err(
                    lost(name(), "the answer ends before the script did".to_owned()).into(),
                );
            }
        }
        if let Some(Err(words)) = &applied.stamped {
            shared.tell.warn(&format!(
                "{}: its stamp could not be left: {words}",
                step.label
            ));
        }
        let found = applied
            .found
            .ok_or_else(|| failed("the probe after it did not answer".to_owned()))?;
        if let Err(fault) = found.whole {
            // Cut off after the script: it is done, and what came of it is found out by looking.
            return Err(lost(name(), fault.message).into());
        }
        let seen = [Seen {
            host,
            name: name(),
            answer: found.facts,
        }];
        let actions: &dyn Actions = &*shared.actions;
        let probe = match task.probe.action.as_deref() {
            None => None,
            Some(name) => Some(actions.find(name).ok_or_else(|| no_action(name))?),
        };
        let facts = fold(probe, &step.target, values, &seen)?;
        let decision = decide_step(
            step,
            values,
            Ok(&facts),
            found.stamp.as_deref(),
            &self.executor.prints.now(),
        );
        verdict(decision, applied.output)
    }

    /// Applies a built-in action to one or several hosts, leaves the stamp, and looks again.
    pub(super) async fn action(
        &self,
        task: &Task,
        name: &str,
        effect: &Effect,
        step: &Step,
        values: &Values,
        view: &View,
    ) -> Result<Outcome, Failure> {
        let shared = &self.executor.shared;
        let action: Arc<dyn Action> = shared.actions.action(name).ok_or_else(|| no_action(name))?;
        let say = |text: &str| self.say(step, text);
        let key = stamp(task, &step.target, values, &self.executor.prints.now()).key;
        let writers = self.entering(step, &key);
        let context = self.context(step, &key, values, view, &writers, &say);
        in_time(effect.timeout, action.apply(&context)).await?;
        if let Target::Host(host) = &step.target {
            return self.leave_stamp(step, task, effect, *host, values).await;
        }
        let after = self.look(step, values).await?;
        verdict(after.decision, String::new())
    }

    /// Leaves the stamp and changes nothing else: what is left of a script's way, the probe in the same round trip.
    pub(super) async fn leave_stamp(
        &self,
        step: &Step,
        task: &Task,
        effect: &Effect,
        host: HostId,
        values: &Values,
    ) -> Result<Outcome, Failure> {
        let nothing = Effect {
            script: Some(NOTHING.to_owned()),
            stdin: None,
            action: None,
            ..effect.clone()
        };
        let script = Script {
            step,
            task,
            effect: &nothing,
            host,
            values,
        };
        self.script(&script).await
    }

    /// Has a service's adapter apply the step, and looks again.
    pub(super) async fn service(
        &self,
        task: &Task,
        Service { name, action }: Service<'_>,
        effect: &Effect,
        step: &Step,
        values: &Values,
        view: &View,
    ) -> Result<Outcome, Failure> {
        let writer = self
            .fenced
            .service_writer(name)
            .ok_or_else(|| failed(format!("there is no way to the service `{name}`")))?;
        let say = |text: &str| self.say(step, text);
        let key = stamp(task, &step.target, values, &self.executor.prints.now()).key;
        let writers = self.entering(step, &key);
        let context = self.context(step, &key, values, view, &writers, &say);
        in_time(effect.timeout, writer.apply(action, &context)).await?;
        let after = self.look(step, values).await?;
        verdict(after.decision, String::new())
    }

    /// Returns ways to hosts on which what an action changes is entered.
    fn entering(&self, step: &Step, key: &str) -> Entering {
        Entering::new(
            Arc::clone(&self.fenced),
            Arc::clone(&self.executor.shared.journals),
            self.deed(step, key),
        )
    }

    fn context<'c>(
        &'c self,
        step: &'c Step,
        key: &'c str,
        values: &'c Values,
        view: &'c View,
        writers: &'c Entering,
        say: &'c (dyn Fn(&str) + Send + Sync),
    ) -> ActionContext<'c> {
        let shared = &self.executor.shared;
        ActionContext {
            label: &step.label,
            key,
            stack: &shared.graph.stack,
            inputs: values,
            hosts: hosts(step),
            seen: &view.seen,
            facts: &view.facts,
            host_facts: &view.hosts,
            writers,
            keeper: &*shared.keeper,
            say,
        }
    }

    fn say(&self, step: &Step, text: &str) {
        let tell = &self.executor.shared.tell;
        tell.event(What::StepSays {
            label: step.label.to_string(),
            text: tell.masked(text),
        });
    }
}

/// Returns the failure of a script that was not begun since the host's journal could not be written.
fn unwritable(why: String) -> Failure {
    StepError::Failed {
        message: Unwritable(why).to_string(),
        output: String::new(),
        hint: Some(UNWRITABLE.to_owned()),
        status: None,
    }
    .into()
}

/// Returns the failure of a script that ended with `status`.
fn by_status(status: i32, output: String) -> Failure {
    StepError::Failed {
        message: format!("its script ended with status {status}"),
        output,
        hint: None,
        status: Some(status),
    }
    .into()
}

/// Judges what was found after an apply.
fn verdict(decision: Decision, output: String) -> Result<Outcome, Failure> {
    if decision.verdict == Verdict::Satisfied {
        return Ok(Outcome {
            outputs: decision.outputs,
        });
    }
    let words: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    let mut failure = Failure::from(StepError::NotAsWanted(words.join("; ")));
    // Which inputs differ from the last apply is why it ran, not what is wrong now.
    failure.found = decision
        .reasons
        .into_iter()
        .filter(|reason| !matches!(reason, Reason::Input { .. }))
        .collect();
    failure.output = output;
    Err(failure)
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(StepError::Deadline(limit)))
}

pub(in crate::run) fn lost(host: Arc<str>, message: String) -> AccessError {
    AccessError {
        host,
        kind: AccessKind::Lost,
        message,
        hint: None,
    }
}

fn no_action(name: &str) -> StepError {
    failed(format!("there is no built-in action `{name}`"))
}
