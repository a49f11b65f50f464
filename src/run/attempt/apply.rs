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
use crate::probe::{AccessError, AccessKind, Application, Ended, Filled, Job, Seen, ask, fold};
use crate::run::writer::{Action, ActionContext, Actions, StepError};

/// What the script does that only leaves a stamp, after an action did the work.
const NOTHING: &str = ":";

impl Attempt<'_> {
    /// Applies a script and looks again, in one round trip.
    pub(super) async fn script(
        &self,
        task: &Task,
        effect: &Effect,
        host: HostId,
        step: &Step,
        values: &Values,
    ) -> Result<Outcome, Failure> {
        let shared = &self.executor.shared;
        let stack = &shared.graph.stack;
        let actions: &dyn Actions = &*shared.actions;
        let filled = Filled {
            values: values.clone(),
            ..Filled::default()
        };
        let asked = ask(step, &filled, actions)
            .map_err(|_| failed("the probe can't be put into words".to_owned()))?;
        let left = stamp(task, &step.target, values, &shared.fingerprints);
        let job = Job {
            effect,
            values,
            ask: asked,
            stack: &stack.name,
            stamp: Some(&left),
            by_stamp: task.stamp,
        };
        let application = Application::new(job, nonce()?)?;
        let writer = self.writers.writer(host).await?;
        let reply = writer.run(application.program()).await?;
        let applied = application.read(&reply);
        for line in &applied.says {
            self.say(step, line);
        }
        match applied.ended {
            Ended::Well => {}
            Ended::Status(status) => {
                return Err(StepError::Failed {
                    message: format!("its script ended with status {status}"),
                    output: applied.output,
                    hint: None,
                    status: Some(status),
                }
                .into());
            }
            Ended::TookTooLong => {
                return Err(Failure {
                    output: applied.output,
                    ..StepError::Deadline(effect.timeout).into()
                });
            }
            // The host went down, or the shell was killed: what it did is found out by looking.
            Ended::Cut => {
                let name = Arc::clone(&stack.host(host).name);
                return Err(lost(name, "the answer ends before the script did".to_owned()).into());
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
        let name = Arc::clone(&stack.host(host).name);
        if let Err(fault) = found.host {
            // Cut off after the script: it is done, and what came of it is found out by looking.
            return Err(lost(name, fault.message).into());
        }
        let seen = [Seen {
            host,
            name,
            answer: found.facts,
        }];
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
            &shared.fingerprints,
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
        let key = stamp(task, &step.target, values, &shared.fingerprints).key;
        let context = self.context(step, &key, values, view, &say);
        in_time(effect.timeout, action.apply(&context)).await?;
        if let Target::Host(host) = &step.target {
            // What is left of a script's way: the stamp, and the probe in the same round trip.
            let nothing = Effect {
                script: Some(NOTHING.to_owned()),
                stdin: None,
                action: None,
                ..effect.clone()
            };
            return self.script(task, &nothing, *host, step, values).await;
        }
        let after = self.look(step, values).await?;
        verdict(after.decision, String::new())
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
            .writers
            .service_writer(name)
            .ok_or_else(|| failed(format!("there is no way to the service `{name}`")))?;
        let say = |text: &str| self.say(step, text);
        let fingerprints = &self.executor.shared.fingerprints;
        let key = stamp(task, &step.target, values, fingerprints).key;
        let context = self.context(step, &key, values, view, &say);
        in_time(effect.timeout, writer.apply(action, &context)).await?;
        let after = self.look(step, values).await?;
        verdict(after.decision, String::new())
    }

    fn context<'c>(
        &'c self,
        step: &'c Step,
        key: &'c str,
        values: &'c Values,
        view: &'c View,
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
            writers: &*self.writers,
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

fn lost(host: Arc<str>, message: String) -> AccessError {
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
