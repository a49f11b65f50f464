//! The loop on a real runtime, with steps that end when the test says so.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::run::work::{LaneId, Node};

/// Hands each started step's end to the test.
struct Manual {
    settled: Vec<StepId>,
    started: mpsc::UnboundedSender<(StepId, oneshot::Sender<Final>)>,
}

impl Execute for Manual {
    type Account = String;

    fn settle(&self, step: StepId) -> Option<Ended<String>> {
        self.settled.contains(&step).then(|| Ended {
            state: Final::Satisfied,
            account: "settled".to_owned(),
        })
    }

    fn execute(self: Arc<Self>, step: StepId) -> BoxFuture<'static, Ended<String>> {
        Box::pin(async move {
            let (end, ended) = oneshot::channel();
            self.started.send((step, end)).unwrap();
            let state = ended.await.expect("the test let go of the step");
            Ended {
                state,
                account: format!("did {}", step.0),
            }
        })
    }

    fn check(self: Arc<Self>, _: Arc<Rule>, _: usize) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// The first ends as the others do, by the test's word; the rest is left over.
    fn execute_together(
        self: Arc<Self>,
        steps: Vec<StepId>,
        begun: Begun,
    ) -> BoxFuture<'static, Together<String>> {
        Box::pin(async move {
            begun.send(steps[1]).unwrap();
            let ended = Arc::clone(&self).execute(steps[0]).await;
            let rest = steps[1..]
                .iter()
                .map(|step| (*step, Arc::clone(&self).execute(*step)));
            Together {
                ended: vec![(steps[0], ended)],
                rest: rest.collect(),
                left: Vec::new(),
            }
        })
    }

    fn panicked(&self, step: StepId, message: &str) -> String {
        format!("{}: {message}", step.0)
    }
}

const LIMITS: Limits = Limits {
    jobs: 8,
    per_host: 8,
    together: 8,
};

#[derive(Default)]
struct Seen {
    started: Vec<StepId>,
    ended: BTreeMap<StepId, (Final, Option<String>)>,
    stopping: Vec<bool>,
}

impl Observe<String> for Seen {
    fn started(&mut self, step: StepId) {
        self.started.push(step);
    }

    fn ended(&mut self, step: StepId, state: Final, account: Option<String>) {
        assert_eq!(self.ended.insert(step, (state, account)), None);
    }

    fn fallen(&mut self, fallen: &Fallen) {
        let by = fallen.by.map(|by| by.0.to_string());
        assert_eq!(self.ended.insert(fallen.step, (fallen.state, by)), None);
    }

    fn moved(&mut self, _: &Rule, _: &Move) {}

    fn stopping(&mut self, now: bool) {
        self.stopping.push(now);
    }
}

/// Runs `needs` (of each step) under the test's `script`, which is given the started steps and the way to stop.
fn run<F>(
    needs: &[&[u32]],
    settled: &[u32],
    script: impl FnOnce(Started, Stop) -> F,
) -> (Counts, Seen)
where
    F: Future<Output = ()>,
{
    run_in_company(needs, settled, false, script)
}

/// As [`run`], with all steps on one host and ready to travel together.
fn run_in_company<F>(
    needs: &[&[u32]],
    settled: &[u32],
    company: bool,
    script: impl FnOnce(Started, Stop) -> F,
) -> (Counts, Seen)
where
    F: Future<Output = ()>,
{
    let host = LaneId(0);
    let nodes = needs
        .iter()
        .map(|needs| {
            Some(Node {
                needs: needs.iter().copied().map(StepId).collect(),
                weight: 1,
                lanes: if company { vec![host] } else { Vec::new() },
                with: company.then_some(host),
                ..Node::default()
            })
        })
        .collect();
    let work = Work::new(nodes, vec![8]).unwrap();
    let (started, receiver) = mpsc::unbounded_channel();
    let executor = Arc::new(Manual {
        settled: settled.iter().copied().map(StepId).collect(),
        started,
    });
    let stop = Stop::new();
    let mut seen = Seen::default();
    let script = script(
        Started {
            receiver,
            held: Mutex::default(),
        },
        stop.clone(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let ((counts, _), ()) = runtime.block_on(async {
        tokio::join!(
            schedule(
                &work,
                LIMITS,
                Rollouts::default(),
                &executor,
                &stop,
                &mut seen
            ),
            script
        )
    });
    (counts, seen)
}

struct Started {
    receiver: mpsc::UnboundedReceiver<(StepId, oneshot::Sender<Final>)>,
    held: Mutex<BTreeMap<StepId, oneshot::Sender<Final>>>,
}

impl Started {
    /// Waits until `step` has started.
    async fn until(&mut self, step: u32) {
        while !self.held.get_mut().unwrap().contains_key(&StepId(step)) {
            let (step, end) = self
                .receiver
                .recv()
                .await
                .expect("the run ended before the step began");
            self.held.get_mut().unwrap().insert(step, end);
        }
    }

    /// Waits until `step` has started, and ends it.
    async fn end(&mut self, step: u32, state: Final) {
        self.until(step).await;
        let end = self.held.get_mut().unwrap().remove(&StepId(step)).unwrap();
        end.send(state).expect("the step is gone");
    }

    /// Makes `step` panic by letting go of it.
    async fn drop_it(&mut self, step: u32) {
        self.until(step).await;
        self.held.get_mut().unwrap().remove(&StepId(step));
    }
}

#[test]
fn others_go_on_when_one_fails() {
    let (counts, seen) = run(&[&[], &[0], &[1], &[]], &[], |mut started, _| async move {
        started.end(0, Final::Failed).await;
        started.end(3, Final::Ran).await;
    });
    assert_eq!((counts.ran, counts.failed, counts.blocked), (1, 1, 2));
    assert_eq!(
        seen.ended[&StepId(2)],
        (Final::Blocked, Some("0".to_owned()))
    );
    assert_eq!(
        seen.ended[&StepId(3)],
        (Final::Ran, Some("did 3".to_owned()))
    );
}

#[test]
fn what_needs_no_doing_is_not_started() {
    let (counts, seen) = run(&[&[], &[0], &[1]], &[0, 2], |mut started, _| async move {
        started.end(1, Final::Ran).await;
    });
    assert_eq!((counts.ran, counts.satisfied), (1, 2));
    assert_eq!(seen.started, [StepId(1)]);
}

#[test]
fn the_first_stop_lets_running_steps_end() {
    let (counts, seen) = run(&[&[], &[0], &[]], &[], |mut started, stop| async move {
        started.until(0).await;
        started.until(2).await;
        stop.press();
        started.end(0, Final::Ran).await;
        started.end(2, Final::Failed).await;
    });
    assert_eq!((counts.ran, counts.failed, counts.skipped), (1, 1, 1));
    assert_eq!(seen.stopping, [false]);
    assert_eq!(seen.ended[&StepId(1)], (Final::Skipped, None));
}

#[test]
fn the_second_stop_stops_them() {
    let (counts, seen) = run(&[&[], &[0]], &[], |mut started, stop| async move {
        started.until(0).await;
        stop.press();
        stop.press();
        // Keeps the step from ending by itself.
        std::mem::forget(started);
    });
    assert_eq!((counts.interrupted, counts.skipped), (1, 1));
    assert_eq!(seen.stopping, [false, true]);
    assert_eq!(seen.ended[&StepId(0)], (Final::Interrupted, None));
}

#[test]
fn a_panic_is_that_steps_failure_alone() {
    let (counts, seen) = run(&[&[], &[0], &[]], &[], |mut started, _| async move {
        started.drop_it(0).await;
        started.end(2, Final::Ran).await;
    });
    assert_eq!((counts.ran, counts.failed, counts.blocked), (1, 1, 1));
    let (_, account) = &seen.ended[&StepId(0)];
    assert!(
        account
            .as_ref()
            .unwrap()
            .contains("the test let go of the step"),
        "{account:?}"
    );
}

#[test]
fn what_steps_in_company_leave_over_goes_on_and_each_is_told_of_before_its_end() {
    let needs: &[&[u32]] = &[&[], &[], &[], &[0, 1]];
    let (counts, seen) = run_in_company(needs, &[], true, |mut started, _| async move {
        started.end(0, Final::Ran).await;
        started.end(2, Final::Failed).await;
        started.end(1, Final::Ran).await;
        started.end(3, Final::Ran).await;
    });
    assert_eq!((counts.ran, counts.failed), (3, 1));
    assert_eq!(seen.started, [0, 1, 2, 3].map(StepId));
}

#[test]
fn a_panic_in_company_is_the_failure_of_all_of_it() {
    let needs: &[&[u32]] = &[&[], &[], &[0, 1]];
    let (counts, seen) = run_in_company(needs, &[], true, |mut started, _| async move {
        started.drop_it(0).await;
    });
    assert_eq!((counts.failed, counts.blocked), (2, 1));
    assert_eq!(seen.started, [0, 1].map(StepId));
}

#[test]
fn steps_in_company_are_stopped_together() {
    let (counts, seen) = run_in_company(&[&[], &[]], &[], true, |mut started, stop| async move {
        started.until(0).await;
        stop.press();
        stop.press();
        std::mem::forget(started);
    });
    assert_eq!(counts.interrupted, 2);
    assert_eq!(seen.ended[&StepId(1)], (Final::Interrupted, None));
}

#[test]
fn no_steps_is_no_work() {
    let (counts, seen) = run(&[], &[], |_, _| async {});
    assert_eq!(counts.ended(), 0);
    assert!(seen.started.is_empty());
}
