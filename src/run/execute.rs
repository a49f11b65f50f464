//! Does steps: ends at once what needs no doing, tries the rest until it is as wanted or out of chances, and remembers
//! what others need to know of it. Does not know when its turn comes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;

use super::attempt::Failure;
use super::elsewhere::Awaited;
use super::fence::{Fenced, Gate, Pending};
use super::journal::Journals;
use super::metered::Sent;
use super::prints::Prints;
use super::rollout::Rule;
use super::schedule::{Begun, Ended, Execute, Together};
use super::stop::Stop;
use super::tell::Tell;
use super::trial::Trial;
use super::writer::{Actions, Keeper, StepError, Writers};
use crate::catalog::{Value, Values};
use crate::config::HostId;
use crate::event::{Final, Reason, Trouble, Verdict};
use crate::graph::{Fingerprints, Graph, Hole, Input, StepId, StepSet, Target};
use crate::plan::{Outputs, Plan};
use crate::probe::{AccessError, AccessKind, Known, Observed};
use crate::secret::{Masker, Resolver};

/// What the steps of a run have in common.
pub(super) struct Shared {
    pub graph: Arc<Graph>,
    pub plan: Plan,
    pub observed: Observed,
    pub writers: Arc<dyn Writers>,
    pub actions: Arc<dyn Actions>,
    pub keeper: Arc<dyn Keeper>,
    pub secrets: Arc<Resolver>,
    pub tell: Tell,
    pub stop: Stop,
    /// What all that changes hosts goes through.
    pub gate: Gate,
    /// What is entered into the journals of hosts.
    pub journals: Arc<Journals>,
    /// Steps that another shard does.
    pub elsewhere: StepSet,
    /// How long to wait for such a step.
    pub patience: Duration,
}

/// Does the steps of one run.
pub(super) struct Executor {
    pub shared: Shared,
    /// Values of holes, as steps and secrets tell them.
    known: Mutex<Known>,
    /// How each step ended, as far as those that watch it care.
    traces: Mutex<Vec<Trace>>,
    pub prints: Prints,
    pub sent: Sent,
    /// Names of the hosts.
    names: Arc<[Arc<str>]>,
    /// What is waited for.
    pub awaited: Awaited,
}

/// What a step that is done means to those that watch it.
#[derive(Debug, Clone, Copy, Default)]
struct Trace {
    /// It was applied, or gathers steps of which one was.
    ran: bool,
    /// It was applied, and hands on exactly what it did before.
    same_outputs: bool,
    /// It is as wanted by now.
    done: bool,
}

/// What there is to tell of a step besides its state.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Why it was run.
    pub reasons: Vec<Reason>,
    /// What went wrong.
    pub trouble: Option<Trouble>,
    /// Label of the step outside this run that it waits for in vain.
    pub blocked_by: Option<String>,
    pub ms: u64,
    pub attempts: u32,
    pub round_trips: u32,
}

impl Executor {
    pub fn new(shared: Shared, fingerprints: Arc<Fingerprints>) -> Self {
        let hosts = shared.graph.stack.hosts.len();
        Self {
            known: Mutex::new(shared.plan.known.clone()),
            traces: Mutex::new(vec![Trace::default(); shared.graph.steps.len()]),
            sent: (0..hosts).map(|_| AtomicU32::new(0)).collect(),
            names: {
                let hosts = shared.graph.stack.hosts.iter();
                hosts.map(|host| Arc::clone(&host.name)).collect()
            },
            awaited: Awaited::default(),
            prints: Prints::new(fingerprints),
            shared,
        }
    }

    /// Puts the run's gate before `writers`.
    pub fn fenced(&self, writers: Arc<dyn Writers>) -> Arc<dyn Writers> {
        Arc::new(Fenced::new(
            writers,
            self.shared.gate.clone(),
            Arc::clone(&self.names),
        ))
    }

    /// Returns the door for a program that is about to be sent to `host`.
    pub fn door(&self, host: HostId) -> Result<Option<Pending>, AccessError> {
        self.shared.gate.door(host, &self.names[host.0 as usize])
    }

    /// Makes sure that this run may still change these hosts.
    pub fn may_change(&self, hosts: &[HostId]) -> Result<(), AccessError> {
        let mut hosts = hosts.iter();
        hosts.try_for_each(|host| self.shared.gate.check(&self.names[host.0 as usize]))
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        // Whoever panicked while holding it had only inserted values.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn traces(&self) -> MutexGuard<'_, Vec<Trace>> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether something that `step` watches ran and left something to look at.
    ///
    /// Of a step whose outputs it uses, only the outputs count. A step that it watches otherwise may have changed what no
    /// output shows (a file that a service must be restarted for), so there its having run counts.
    fn must_look(&self, step: StepId) -> bool {
        let traces = self.traces();
        let node = self.shared.graph.step(step);
        node.watch.iter().any(|watched| {
            let trace = traces[watched.0 as usize];
            trace.ran && !(trace.same_outputs && self.uses_outputs_of(step, *watched))
        })
    }

    /// Returns whether all that `step` needs is as wanted by now, here or as the plan found it.
    fn needs_are_done(&self, step: StepId) -> bool {
        self.shared.graph.step(step).needs.iter().all(|need| {
            self.is_done(*need) || self.shared.plan.verdict(*need) == Some(Verdict::Satisfied)
        })
    }

    fn uses_outputs_of(&self, step: StepId, other: StepId) -> bool {
        let graph = &self.shared.graph;
        graph.step(step).inputs.values().flat_map(Input::holes).any(
            |hole| matches!(&graph.holes[hole.0 as usize], Hole::Output(of, _) if *of == other),
        )
    }

    /// Remembers that `step` is as wanted, and what it hands on.
    pub fn done(&self, step: StepId, ran: bool, outputs: &Outputs) {
        learn_secrets(self.shared.tell.masker(), outputs);
        self.known().learn(step, outputs);
        let before = self
            .shared
            .plan
            .decision(step)
            .map(|decision| &decision.outputs);
        let same_outputs = !outputs.is_empty() && before == Some(outputs);
        self.traces()[step.0 as usize] = Trace {
            ran,
            same_outputs,
            done: true,
        };
    }

    /// Returns whether `step` is as wanted by now.
    pub fn is_done(&self, step: StepId) -> bool {
        self.traces()[step.0 as usize].done
    }

    /// Waits for a step that another shard does.
    async fn wait(self: &Arc<Self>, step: StepId) -> Ended<Account> {
        let began = Instant::now();
        let (state, trouble) = match self.wait_for(step, self.shared.patience).await {
            Ok(outputs) => {
                // It has most likely just been applied, elsewhere: what watches it must look.
                self.done(step, true, &outputs);
                (Final::Satisfied, None)
            }
            Err(error) => (state_of(&error), Some(self.trouble(error.into()))),
        };
        let account = Account {
            trouble,
            ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            attempts: 1,
            ..Account::default()
        };
        Ended { state, account }
    }

    pub fn trouble(&self, failure: Failure) -> Trouble {
        let tell = &self.shared.tell;
        let some = |text: &str| (!text.trim().is_empty()).then(|| tell.masked(text));
        let (output, hint, status) = match &*failure.error {
            StepError::Failed {
                output,
                hint,
                status,
                ..
            } => (some(output), hint.clone(), *status),
            StepError::Access(error) => (None, error.hint.clone(), None),
            StepError::NotAsWanted(_) | StepError::Deadline(_) | StepError::Interrupted => {
                (None, None, None)
            }
        };
        let message = match &*failure.error {
            // The facts follow one by one.
            StepError::NotAsWanted(_) if !failure.found.is_empty() => {
                "applied, but still not as wanted".to_owned()
            }
            error => error.to_string(),
        };
        Trouble {
            message: tell.masked(&message),
            found: failure.found,
            output: output.or_else(|| some(&failure.output)),
            hint: hint.map(|hint| tell.masked(&hint)),
            status,
        }
    }

    pub fn label(&self, step: StepId) -> String {
        self.shared.graph.step(step).label.to_string()
    }
}

impl Execute for Executor {
    type Account = Account;

    fn settle(&self, step: StepId) -> Option<Ended<Account>> {
        let satisfied = |ran, outputs: &Outputs| {
            self.done(step, ran, outputs);
            Some(Ended {
                state: Final::Satisfied,
                account: Account::default(),
            })
        };
        if self.shared.graph.step(step).target == Target::Gather {
            let ran = {
                let traces = self.traces();
                let node = self.shared.graph.step(step);
                node.needs.iter().any(|need| traces[need.0 as usize].ran)
            };
            return satisfied(ran, &Outputs::new());
        }
        let decision = self.shared.plan.decision(step)?;
        match decision.verdict {
            Verdict::Satisfied => satisfied(false, &decision.outputs),
            Verdict::Maybe
                if self.shared.plan.settled[step.0 as usize] && !self.must_look(step) =>
            {
                satisfied(false, &decision.outputs)
            }
            Verdict::Blocked => match decision.reasons.first()? {
                // What it needs could not be asked while planning, and has become as wanted since.
                Reason::Needs { .. } if self.needs_are_done(step) => None,
                Reason::Needs { label } => {
                    let account = Account {
                        blocked_by: Some(label.clone()),
                        ..Account::default()
                    };
                    Some(Ended {
                        state: Final::Blocked,
                        account,
                    })
                }
                Reason::Unreachable { .. } => {
                    let reason = decision
                        .reasons
                        .first()
                        .map(ToString::to_string)
                        .unwrap_or_default();
                    let trouble = Trouble {
                        message: self.shared.tell.masked(&reason),
                        found: Vec::new(),
                        output: None,
                        hint: None,
                        status: None,
                    };
                    let account = Account {
                        trouble: Some(trouble),
                        ..Account::default()
                    };
                    Some(Ended {
                        state: Final::Unreachable,
                        account,
                    })
                }
                // A probe that could not answer may answer by now.
                _ => None,
            },
            Verdict::Missing | Verdict::Changed | Verdict::Drifted | Verdict::Maybe => None,
        }
    }

    fn execute(self: Arc<Self>, step: StepId) -> BoxFuture<'static, Ended<Account>> {
        Box::pin(async move {
            if self.shared.elsewhere.contains(step) {
                self.wait(step).await
            } else {
                Trial::new(&self, step).run().await
            }
        })
    }

    fn execute_together(
        self: Arc<Self>,
        steps: Vec<StepId>,
        begun: Begun,
    ) -> BoxFuture<'static, Together<Account>> {
        Box::pin(async move { self.perform_together(steps, &begun).await })
    }

    fn check(
        self: Arc<Self>,
        rule: Arc<Rule>,
        batch: usize,
    ) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async move { self.pass_gate(rule, batch).await })
    }

    fn panicked(&self, _step: StepId, message: &str) -> Account {
        let tell = &self.shared.tell;
        let trouble = Trouble {
            message: tell.masked(&format!("Foundry broke while doing this step: {message}")),
            found: Vec::new(),
            output: None,
            hint: Some(tell.masked("this is a bug: please report it with the run's log")),
            status: None,
        };
        Account {
            trouble: Some(trouble),
            ..Account::default()
        }
    }
}

/// Returns the state that an error for good leads to. A host that can't be got at is not a step that failed.
pub(super) fn state_of(error: &StepError) -> Final {
    match error {
        StepError::Access(error) => match error.kind {
            AccessKind::Unreachable
            | AccessKind::Silent
            | AccessKind::Lost
            | AccessKind::HostKey
            | AccessKind::Auth
            | AccessKind::Sudo => Final::Unreachable,
            AccessKind::Deadline | AccessKind::Fenced | AccessKind::Host | AccessKind::Local => {
                Final::Failed
            }
        },
        StepError::Interrupted => Final::Interrupted,
        StepError::Failed { .. } | StepError::NotAsWanted(_) | StepError::Deadline(_) => {
            Final::Failed
        }
    }
}

/// Lets the masker know every secret among `values`.
pub(super) fn learn_secrets(masker: &Masker, values: &Values) {
    fn learn(masker: &Masker, value: &Value) {
        match value {
            Value::Secret(secret) => masker.learn([secret]),
            Value::List(items) => items.iter().for_each(|item| learn(masker, item)),
            Value::Map(entries) => entries.values().for_each(|item| learn(masker, item)),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Text(_) => {}
        }
    }
    values.values().for_each(|value| learn(masker, value));
}

/// Returns the programs sent to each host so far.
pub(super) fn counts(sent: &Sent) -> Vec<u32> {
    sent.iter()
        .map(|count| count.load(Ordering::Relaxed))
        .collect()
}
