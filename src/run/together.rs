//! Steps of one host that are ready at the same moment: applied in one program, one after the other, and looked at together
//! afterwards. What its answer leaves open is taken up step by step, as if each had travelled alone and its answer had
//! been lost. Does not know why these steps and no others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Semaphore;

use super::attempt::{Failure, Script, lost, nonce};
use super::execute::{Account, Executor};
use super::fence::Pending;
use super::schedule::{Begun, Together};
use super::trial::Trial;
use super::writer::{StepError, Writers as _};
use crate::catalog::Values;
use crate::config::HostId;
use crate::graph::{StepId, Target};
use crate::probe::{AccessError, AccessKind, Applications, Applied, Ended, Fault, Reply};

/// A step whose script is in the program.
struct Aboard {
    trial: Trial,
    values: Values,
}

/// What came of a program.
struct Came {
    applied: Vec<Applied>,
    /// It was told to leave off what it had not begun.
    recalled: bool,
    /// Why it came to no end, if it did not.
    error: Option<AccessError>,
}

impl Executor {
    /// Does `steps`, which are of one host and don't need each other.
    pub(super) async fn perform_together(
        self: &Arc<Self>,
        steps: Vec<StepId>,
        begun: &Begun,
    ) -> Together<Account> {
        let mut done = Done::new();
        let mut ready = Vec::new();
        for step in steps {
            let mut trial = Trial::new(self, step);
            match trial.attempt.ready().await {
                Ok(Some(values)) => ready.push(Aboard { trial, values }),
                Ok(None) => done.alone(trial),
                Err(failure) => done.take(trial, Err(failure)),
            }
        }
        let (aboard, sent) = self.send(ready, begun, &mut done).await;
        match sent {
            Ok(came) => {
                let complete = came.recalled && came.error.is_none();
                for (Aboard { trial, values }, applied) in aboard.into_iter().zip(came.applied) {
                    if complete && !applied.begun {
                        done.together.left.push(trial.step);
                        continue;
                    }
                    let result = match self.script(trial.step, &values) {
                        Some(script) if is_answer(&applied) => {
                            trial.attempt.judge(&script, applied)
                        }
                        Some(script) => Err(self.unknown(script.host, came.error.as_ref()).into()),
                        None => Err(failed("its target is no host")),
                    };
                    done.take(trial, result);
                }
            }
            Err(error) => {
                for Aboard { trial, .. } in aboard {
                    done.take(trial, Err(error.clone().into()));
                }
            }
        }
        done.together
    }

    /// Sends the scripts of `ready` in one program. Returns whose were in it, and what came of it.
    async fn send(
        &self,
        ready: Vec<Aboard>,
        begun: &Begun,
        done: &mut Done,
    ) -> (Vec<Aboard>, Result<Came, StepError>) {
        let nonce = match nonce() {
            Ok(nonce) => nonce,
            Err(error) => return (ready, Err(error)),
        };
        let mut aboard = Vec::with_capacity(ready.len());
        let none = Came {
            applied: Vec::new(),
            recalled: false,
            error: None,
        };
        let first = ready.first();
        let host = first.and_then(|one| Some(self.script(one.trial.step, &one.values)?.host));
        let (Some(host), Some(first)) = (host, first) else {
            for one in ready {
                done.take(one.trial, Err(failed("its target is no host")));
            }
            return (aboard, Ok(none));
        };
        let writer = match first.trial.meter.writer(host).await {
            Ok(writer) => writer,
            Err(error) => return (ready, Err(error.into())),
        };
        // The last thing before it is sent: whether it may be.
        let pending = match self.door(host) {
            Ok(pending) => pending,
            Err(error) => return (ready, Err(error.into())),
        };
        let door = pending.as_ref().map(Pending::door);
        let journals = &self.shared.journals;
        let program = Applications::new(&self.shared.graph.stack.name, nonce, door);
        let mut program = match program.entered(journals.of(host)) {
            Ok(program) => program,
            Err(error) => {
                let error = failed(&error.to_string()).error.as_ref().clone();
                return (ready, Err(error));
            }
        };
        for one in ready {
            let added = match self.script(one.trial.step, &one.values) {
                None => Err(failed("its target is no host")),
                Some(script) => {
                    let stamp = one.trial.attempt.stamp(&script);
                    let entry = one.trial.attempt.entry(&script, &stamp);
                    one.trial
                        .attempt
                        .job(&script, &stamp)
                        .and_then(|job| program.enter(job, &entry).map_err(Failure::from))
                }
            };
            match added {
                Ok(()) => aboard.push(one),
                Err(failure) => done.take(one.trial, Err(failure)),
            }
        }
        if aboard.is_empty() {
            if let Some(pending) = pending {
                // Nothing was sent: nothing is under way.
                let _ = pending.ended(None);
            }
            return (aboard, Ok(none));
        }
        let application = program.finish();
        // The program is one round trip of each of them; the host is sent it once.
        for one in &aboard[1..] {
            one.trial.meter.share();
        }
        let steps: Vec<StepId> = aboard.iter().map(|one| one.trial.step).collect();
        let following = Mutex::new((application.progress(), vec![None; steps.len()]));
        let heard = |stdout: &[u8]| {
            let mut following = following.lock().unwrap_or_else(PoisonError::into_inner);
            let (progress, times) = &mut *following;
            for number in progress.begun(stdout) {
                if let (Some(step), Some(time)) = (steps.get(number), times.get_mut(number)) {
                    *time = Some(Instant::now());
                    // Nobody listens any more once the run has ended.
                    let _ = begun.send(*step);
                }
            }
        };
        let mut reply = Reply::default();
        let (result, recalled) = {
            let follow = writer.follow(application.program(), &mut reply, &heard);
            tokio::pin!(follow);
            tokio::select! {
                biased;
                result = &mut follow => (result, false),
                () = self.shared.stop.ending() => {
                    let recall = async {
                        if let Ok(recall) = application.recall() {
                            // As good as it gets: else it goes on to its end.
                            let _ = writer.run(&recall).await;
                        }
                    };
                    (tokio::join!(follow, recall).0, true)
                }
            }
        };
        if recalled && let Ok(tidy) = application.tidy() {
            let _ = writer.run(&tidy).await;
        }
        let mut error = result.err();
        let mut refused = None;
        if let Some(pending) = pending
            && application.is_over(&reply)
        {
            refused = pending.ended(application.refusal(&reply)).err();
        }
        error = error.or_else(|| refused.clone());
        let (_, times) = following
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        // The first began with the way to the host.
        for (one, time) in aboard.iter_mut().zip(times).skip(1) {
            one.trial.began = time.unwrap_or_else(Instant::now);
        }
        if let Some(head) = application.head(&reply) {
            journals.saw(host, head);
        }
        let applied = application.read_all(&reply);
        let came = Came {
            applied,
            recalled: recalled && refused.is_none(),
            error,
        };
        (aboard, Ok(came))
    }

    fn script<'a>(&'a self, step: StepId, values: &'a Values) -> Option<Script<'a>> {
        let step = self.shared.graph.step(step);
        let Target::Host(host) = step.target else {
            return None;
        };
        let task = step.task.as_deref()?;
        Some(Script {
            step,
            task,
            effect: task.apply.as_ref()?,
            host,
            values,
        })
    }

    /// Returns the error of a step of which the answer says nothing for certain: it is found out by looking.
    fn unknown(&self, host: HostId, error: Option<&AccessError>) -> AccessError {
        let name = Arc::clone(&self.shared.graph.stack.host(host).name);
        match error {
            None => lost(name, "the answer ends before the script did".to_owned()),
            // Whichever of them it was that took too long or said too much, each is tried alone.
            Some(error) if matches!(error.kind, AccessKind::Deadline | AccessKind::Host) => {
                lost(name, error.message.clone())
            }
            Some(error) => error.clone(),
        }
    }
}

/// Returns whether `applied` says for certain what became of its step.
fn is_answer(applied: &Applied) -> bool {
    if applied.unwritable.is_some() {
        return true;
    }
    match applied.ended {
        Ended::Status(_) | Ended::TookTooLong => true,
        Ended::Cut => false,
        // A look that failed may have done so for another's sake.
        Ended::Well => applied
            .found
            .as_ref()
            .is_some_and(|found| found.whole.is_ok() && found.facts.is_ok()),
    }
}

fn failed(message: &str) -> Failure {
    Fault {
        message: message.to_owned(),
        not_yet: false,
    }
    .into()
}

/// What came of them so far.
struct Done {
    together: Together<Account>,
    /// Those that go on do so one at a time: they share one place.
    turn: Arc<Semaphore>,
}

impl Done {
    fn new() -> Self {
        Self {
            together: Together {
                ended: Vec::new(),
                rest: Vec::new(),
                left: Vec::new(),
            },
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    fn take(&mut self, mut trial: Trial, result: Result<super::attempt::Outcome, Failure>) {
        let step = trial.step;
        match trial.after(result) {
            Ok(ended) => self.together.ended.push((step, ended)),
            Err(again) => {
                let turn = Arc::clone(&self.turn);
                let rest = Box::pin(trial.go_on(again, Some(turn)));
                self.together.rest.push((step, rest));
            }
        }
    }

    fn alone(&mut self, trial: Trial) {
        let step = trial.step;
        let turn = Arc::clone(&self.turn);
        let rest = Box::pin(async move {
            let _turn = turn.acquire().await.ok();
            trial.run().await
        });
        self.together.rest.push((step, rest));
    }
}
