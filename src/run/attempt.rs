//! One step's way to being as wanted: look, decide, apply, look again. An attempt that is cut short is taken up by looking
//! afresh, so that nothing is ever assumed of a target. Does not know how often it may be tried.

mod apply;

pub(super) use apply::{Script, lost};

use std::sync::Arc;

use super::execute::{Executor, learn_secrets};
use super::writer::{StepError, Writers};
use crate::catalog::{Task, Values};
use crate::config::HostId;
use crate::event::{Reason, Verdict};
use crate::graph::{Fingerprints, Hole, HoleId, Standing, Step, StepId, Target};
use crate::plan::{Decision, Outputs, decide_step};
use crate::probe::{AccessError, Facts, Fault, Filled, HostFacts, Nonce, Seen};
use crate::secret::{Resolution, Secret};

/// A step that is as wanted.
pub(super) struct Outcome {
    pub outputs: Outputs,
}

/// A step that is not.
pub(super) struct Failure {
    pub error: Box<StepError>,
    /// Facts that are not as wanted.
    pub found: Vec<Reason>,
    /// What its script said, where the error has no place for it.
    pub output: String,
    /// What was asked does not answer yet.
    pub not_yet: bool,
}

impl From<StepError> for Failure {
    fn from(error: StepError) -> Self {
        Self {
            error: Box::new(error),
            found: Vec::new(),
            output: String::new(),
            not_yet: false,
        }
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        StepError::from(error).into()
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self {
            not_yet: fault.not_yet,
            ..failed(fault.message).into()
        }
    }
}

fn failed(message: String) -> StepError {
    StepError::Failed {
        message,
        output: String::new(),
        hint: None,
        status: None,
    }
}
/// What is known of the target at one moment.
struct View {
    decision: Decision,
    facts: Arc<Facts>,
    seen: Vec<Seen>,
    hosts: Vec<Option<HostFacts>>,
}

/// What does it, for a step on a service.
struct Service<'a> {
    name: &'a str,
    action: &'a str,
}

/// The attempts at one step.
pub(super) struct Attempt {
    executor: Arc<Executor>,
    id: StepId,
    /// Ways past the gate, for programs that have a door of their own.
    writers: Arc<dyn Writers>,
    /// The same through the gate, for all else.
    fenced: Arc<dyn Writers>,
    /// The verdict for which it is run.
    before: Verdict,
    /// Why it is run: what the first look that found something to do found.
    reasons: Vec<Reason>,
    /// Whether anything was changed, or may have been.
    applied: bool,
    /// Whether what the plan saw still holds: nothing was tried yet.
    first: bool,
}

impl Attempt {
    pub fn new(executor: Arc<Executor>, id: StepId, writers: Arc<dyn Writers>) -> Self {
        let fenced = executor.fenced(Arc::clone(&writers));
        Self {
            executor,
            id,
            writers,
            fenced,
            before: Verdict::Maybe,
            reasons: Vec::new(),
            applied: false,
            first: true,
        }
    }

    /// Returns whether anything was changed, or may have been.
    pub fn applied(&self) -> bool {
        self.applied
    }

    /// Takes why it was run.
    pub fn take_reasons(&mut self) -> Vec<Reason> {
        std::mem::take(&mut self.reasons)
    }

    /// Tries once.
    pub async fn run(&mut self) -> Result<Outcome, Failure> {
        let executor = Arc::clone(&self.executor);
        let step = executor.shared.graph.step(self.id);
        let Some(task) = &step.task else {
            return Ok(Outcome {
                outputs: Outputs::new(),
            });
        };
        // Before a way to the host is sought, which may take its time.
        executor.may_change(hosts(step))?;
        let values = self.values(step).await?;
        learn_secrets(executor.shared.tell.masker(), &values);
        let view = match self.planned() {
            Some(view) => view,
            None => self.look(step, &values).await?,
        };
        self.first = false;
        match view.decision.verdict {
            Verdict::Satisfied => {
                if view.decision.uncompared {
                    self.renew_stamp(step, task, &values).await;
                }
                return Ok(Outcome {
                    outputs: view.decision.outputs,
                });
            }
            Verdict::Blocked => {
                let words: Vec<String> = view
                    .decision
                    .reasons
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                return Err(failed(words.join("; ")).into());
            }
            Verdict::Missing | Verdict::Changed | Verdict::Drifted | Verdict::Maybe => {}
        }
        self.before = view.decision.verdict;
        if self.reasons.is_empty() {
            self.reasons.clone_from(&view.decision.reasons);
        }
        let Some(effect) = &task.apply else {
            let mut failure = Failure::from(failed(
                "not as wanted, and this step only checks".to_owned(),
            ));
            failure.found = view.decision.reasons;
            return Err(failure);
        };
        self.applied = true;
        match (&effect.action, &step.target) {
            (None, Target::Host(host)) => {
                let script = Script {
                    step,
                    task,
                    effect,
                    host: *host,
                    values: &values,
                };
                self.script(&script).await
            }
            (None, _) => Err(failed("a script can only be applied to one host".to_owned()).into()),
            (Some(action), Target::Service(name, _)) => {
                let service = Service { name, action };
                self.service(task, service, effect, step, &values, &view)
                    .await
            }
            (Some(action), _) => {
                self.action(task, action, effect, step, &values, &view)
                    .await
            }
        }
    }

    /// Makes ready to apply a script in company, if the plan has found that it is to be applied; `None` if it is to be
    /// looked at first, alone.
    pub async fn ready(&mut self) -> Result<Option<Values>, Failure> {
        let executor = Arc::clone(&self.executor);
        let values = self.values(executor.shared.graph.step(self.id)).await?;
        learn_secrets(executor.shared.tell.masker(), &values);
        let Some(view) = self.planned() else {
            return Ok(None);
        };
        self.first = false;
        self.applied = true;
        self.before = view.decision.verdict;
        self.reasons = view.decision.reasons;
        Ok(Some(values))
    }

    /// Returns the step's inputs, all of them known. A secret that was not to be had while planning is asked for now.
    async fn values(&self, step: &Step) -> Result<Values, Failure> {
        let graph = &self.executor.shared.graph;
        let filled = self.fill(step)?;
        for hole in filled.all_open() {
            let Hole::Secret(reference) = &graph.holes[hole.0 as usize] else {
                continue;
            };
            match self.executor.shared.secrets.resolve(reference).await {
                Ok(Resolution::Found { value, .. }) => self.learn(hole, value),
                Ok(Resolution::NotYet { why }) => {
                    let message = format!("the secret {reference} can't be read: {why}");
                    return Err(Fault {
                        message,
                        not_yet: true,
                    }
                    .into());
                }
                Err(error) => return Err(failed(error.to_string()).into()),
            }
        }
        let filled = self.fill(step)?;
        match filled.open.keys().next() {
            None => Ok(filled.values),
            Some(name) => Err(failed(format!(
                "input `{name}` has no value, though all that this step needs is done"
            ))
            .into()),
        }
    }

    fn fill(&self, step: &Step) -> Result<Filled, Failure> {
        let filled = self.executor.known().fill(&step.inputs);
        match filled.wrong {
            Some(fault) => Err(fault.into()),
            None => Ok(filled),
        }
    }

    fn learn(&self, hole: HoleId, value: Secret<String>) {
        self.executor.known().learn_secret(hole, value);
    }

    /// Returns what the plan saw, if that is enough to act upon and nothing has been tried since.
    fn planned(&self) -> Option<View> {
        let shared = &self.executor.shared;
        let decision = shared.plan.decision(self.id).filter(|_| self.first)?;
        if !matches!(
            decision.verdict,
            Verdict::Missing | Verdict::Changed | Verdict::Drifted
        ) {
            return None;
        }
        let facts = shared.observed.facts(self.id)?.as_ref().ok()?.clone();
        let hosts = hosts(shared.graph.step(self.id))
            .iter()
            .map(|host| {
                shared
                    .observed
                    .host(*host)
                    .and_then(|facts| facts.as_ref().ok())
                    .cloned()
            })
            .collect();
        let seen = shared
            .observed
            .seen
            .get(self.id.0 as usize)
            .cloned()
            .unwrap_or_default();
        Some(View {
            decision: decision.clone(),
            facts,
            seen,
            hosts,
        })
    }

    /// Leaves a stamp that can be compared, on a step that is as wanted by its facts and whose stamp can't be. What it was
    /// applied with is taken for what it is now: the step itself is not run for it.
    async fn renew_stamp(&self, step: &Step, task: &Task, values: &Values) {
        let tell = &self.executor.shared.tell;
        if self.executor.prints.now().standing() != Standing::Kept {
            return tell.note(&format!(
                "{}: as wanted by its facts; whether its secrets are those it was last applied with could not be told, \
                 because the key of the stack's fingerprints can't be read",
                step.label
            ));
        }
        let (Some(effect), Target::Host(host)) = (&task.apply, &step.target) else {
            return;
        };
        if let Err(failure) = self.leave_stamp(step, task, effect, *host, values).await {
            tell.warn(&format!(
                "{}: its stamp could not be renewed: {}",
                step.label, failure.error
            ));
        }
    }

    /// Looks at this step's target alone, and decides.
    async fn look(&self, step: &Step, values: &Values) -> Result<View, Failure> {
        let shared = &self.executor.shared;
        let (_, mut look) = self.executor.look_at(&[self.id], &*self.fenced).await?;
        let Some((_, found)) = look.steps.pop() else {
            return Err(failed("the probe can't be asked yet".to_owned()).into());
        };
        let mut known_hosts = Vec::new();
        let mut lost = None;
        for (_, host) in look.hosts {
            match host {
                Ok(facts) => known_hosts.push(Some(facts)),
                Err(error) => {
                    known_hosts.push(None);
                    lost = Some(error);
                }
            }
        }
        let facts = match (found.facts, lost) {
            (Some(Ok(facts)), _) => facts,
            (_, Some(error)) => return Err(error.into()),
            (Some(Err(fault)), None) => return Err(fault.into()),
            (None, None) => return Err(failed("the probe can't be asked yet".to_owned()).into()),
        };
        let decide = |fingerprints: &Fingerprints| {
            let stamp = found.stamp.as_deref();
            decide_step(step, values, Ok(&facts), stamp, fingerprints)
        };
        let mut decision = decide(&self.executor.prints.now());
        if decision.uncompared {
            let prints = self.executor.prints.ask_again(&shared.secrets).await;
            decision = decide(&prints);
        }
        Ok(View {
            decision,
            facts,
            seen: found.seen,
            hosts: known_hosts,
        })
    }
}

pub(super) fn nonce() -> Result<Nonce, StepError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| failed(format!("no randomness is to be had: {error}")))?;
    Ok(Nonce::new(random))
}

/// Returns the hosts of a step's target.
pub(super) fn hosts(step: &Step) -> &[HostId] {
    match &step.target {
        Target::Host(host) => std::slice::from_ref(host),
        Target::Group(hosts) | Target::Service(_, hosts) => hosts,
        Target::Gather => &[],
    }
}
