//! The fence of a host, on real shells: programs of older runs are refused by name, and none runs beside an earlier one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use foundry::config::HostId;
use foundry::event::{Event, Final, What};
use foundry::probe::{AccessError, AccessKind, Fence, Pass, Program, Reply};
use foundry::run::fence::Held;
use foundry::run::lock::{BootClock, Clock, Lease, Terms};
use foundry::run::{Fenced, Gate, Stop, Writer, Writers};

use super::rig::{Rig, voice};

const STEP: &str = "[steps.a]\nuses = \"note\"\non = \"hosts\"\nwith = { path = \"/ROOT/a\", text = \"new\\n\" }\n\
    [steps.b]\nuses = \"note\"\non = \"hosts\"\nwith = { path = \"/ROOT/b\", text = \"new\\n\" }\nneeds = [\"a\"]\n";

/// A run that holds the lock, as far as hosts can tell.
struct Run {
    gate: Gate,
    stop: Stop,
    events: Arc<std::sync::Mutex<Vec<Event>>>,
}

fn run(number: u64, token: &str, seen: Option<u64>, waited: bool) -> Run {
    let (tell, events) = voice();
    let (gate, stop) = (Gate::default(), Stop::new());
    let clock: Arc<dyn Clock> = Arc::new(BootClock::default());
    let now = clock.now();
    gate.open(Held {
        pass: Pass {
            folder: "/var/lib/foundry/rig".to_owned(),
            fence: Fence {
                number,
                token: token.to_owned(),
                run: format!("20261130-21000{number}-0000"),
                who: format!("ada{number}@my desk"),
            },
        },
        lease: Lease::new(clock, Terms::default(), now),
        host: "h0".into(),
        seen: seen.map(|seen| (HostId(0), seen)).into_iter().collect(),
        waited,
        tell,
        stop: stop.clone(),
    });
    Run { gate, stop, events }
}

impl Run {
    async fn writer(&self, rig: &Rig, host: u32) -> Arc<dyn Writer> {
        let names: Arc<[Arc<str>]> = ["h0".into(), "h1".into()].into();
        let fenced = Fenced::new(rig.writers(), self.gate.clone(), names);
        fenced.writer(HostId(host)).await.unwrap()
    }

    async fn sh(&self, rig: &Rig, text: &str) -> Result<Reply, AccessError> {
        self.sh_on(rig, 0, text).await
    }

    async fn sh_on(&self, rig: &Rig, host: u32, text: &str) -> Result<Reply, AccessError> {
        self.writer(rig, host).await.run(&program(text)).await
    }
}

fn program(text: &str) -> Program {
    Program {
        text: text.to_owned().into(),
        deadline: Duration::from_secs(30),
    }
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not come to be");
}

fn notes(rig: &Rig) -> Vec<String> {
    let folder = rig.machines[0].root.join("state/rig/work");
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .filter(|text| !text.is_empty())
        .collect()
}

#[tokio::test]
async fn the_program_of_an_older_run_is_refused_by_name_and_changes_nothing() {
    let rig = Rig::new(2, STEP);
    let (older, newer) = (run(5, "aa", None, false), run(6, "bb", None, false));
    let reply = older
        .sh(&rig, "echo out; echo err >&2; echo one >/ROOT/x; exit 7")
        .await
        .unwrap();
    assert_eq!(
        (reply.status, reply.stdout, reply.stderr),
        (Some(7), b"out\n".to_vec(), b"err\n".to_vec())
    );
    newer.sh(&rig, "echo two >/ROOT/x").await.unwrap();
    assert_eq!(
        rig.machines[0].read("state/rig/fence"),
        "6 bb 20261130-210006-0000 ada6@my desk\n"
    );
    let error = older.sh(&rig, "echo three >/ROOT/x").await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Fenced);
    assert_eq!(
        error.to_string(),
        "h0: it belongs to run 20261130-210006-0000 of ada6@my desk (fence 6) now and refuses this run (fence 5): nothing was changed"
    );
    assert_eq!(rig.machines[0].read("x"), "two\n");
    assert_eq!(
        error.hint.as_deref(),
        Some(
            "if there is no such run, /var/lib/foundry/rig/fence is wrong on h0: find out who wrote it, then remove it there"
        )
    );
    // Two runs with one number: the second is none.
    let tie = run(6, "cc", None, false);
    let error = tie.sh(&rig, "echo four >/ROOT/x").await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("run 20261130-210006-0000 of ada6@my desk"),
        "{error}"
    );
    assert_eq!(rig.machines[0].read("x"), "two\n");
    assert_eq!(notes(&rig), [""; 0], "what was refused is not at work");
}

#[tokio::test]
async fn one_host_ends_no_run_and_two_that_name_the_same_run_do_for_good() {
    let rig = Rig::new(2, STEP);
    for (machine, token) in rig.machines.iter().zip(["yy", "zz"]) {
        let path = machine.root.join("state/rig");
        std::fs::create_dir_all(&path).unwrap();
        let fence = format!("8 {token} 20261130-210008-0000 eve@laptop\n");
        std::fs::write(path.join("fence"), fence).unwrap();
    }
    let older = run(5, "aa", None, false);
    for host in [0, 0, 1] {
        let error = older.sh_on(&rig, host, ": >/ROOT/x").await.unwrap_err();
        assert!(
            error.to_string().contains("now and refuses this run"),
            "{error}"
        );
        // Not even two that name different ones.
        assert!(!older.stop.is_ending());
    }
    std::fs::remove_file(rig.machines[1].root.join("state/rig/fence")).unwrap();
    older.sh_on(&rig, 1, "echo one >/ROOT/x").await.unwrap();
    assert_eq!(rig.machines[1].read("x"), "one\n");

    let newer = run(9, "bb", None, false);
    for host in [0, 1] {
        newer.sh_on(&rig, host, "echo two >/ROOT/x").await.unwrap();
        older
            .sh_on(&rig, host, "echo three >/ROOT/x")
            .await
            .unwrap_err();
        assert_eq!(older.stop.is_ending(), host == 1);
    }
    assert!(!older.stop.is_now());
    assert!(older.events.lock().unwrap().iter().any(|event| matches!(
        &event.what,
        What::Warning { text } if text.as_str().ends_with(
            "refuses this run (fence 5), and so does another host: nothing new starts"
        )
    )));
    // Not even on a host that has heard of nobody, nor once the lock is given back.
    for machine in &rig.machines {
        std::fs::remove_file(machine.root.join("state/rig/fence")).unwrap();
    }
    for _ in 0..2 {
        let error = older.sh(&rig, "echo four >/ROOT/x").await.unwrap_err();
        assert!(error.to_string().contains("nothing was sent"), "{error}");
        older.gate.shut();
    }
    assert_eq!(rig.machines[0].read("x"), "two\n");
    // One that was never closed needs no number any more.
    newer.gate.shut();
    assert!(newer.gate.pass().is_none());
}

#[tokio::test]
async fn what_was_probed_before_another_run_came_is_out_of_date() {
    let rig = Rig::new(2, STEP);
    run(5, "aa", Some(0), false).sh(&rig, ":").await.unwrap();
    let stale = run(9, "bb", Some(4), false);
    let error = stale.sh(&rig, ": >/ROOT/x").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "h0: its fence lets nothing through: since it was probed, run 20261130-210005-0000 of ada5@my desk has changed it"
    );
    run(9, "bb", Some(5), false).sh(&rig, ":").await.unwrap();
}

#[tokio::test]
async fn a_newer_run_waits_for_what_an_older_one_has_at_work() {
    let rig = Rig::new(2, STEP);
    let (older, newer) = (run(5, "aa", None, false), run(6, "bb", None, false));
    let log = || rig.machines[0].read("log");
    let slow = older.sh(
        &rig,
        "echo begin >>/ROOT/log; sleep 2; echo end >>/ROOT/log",
    );
    let next = async {
        until("the first program", || !log().is_empty()).await;
        newer.sh(&rig, "echo newer >>/ROOT/log").await
    };
    let (slow, next) = tokio::join!(slow, next);
    assert_eq!(slow.unwrap().status, Some(0));
    next.unwrap();
    assert_eq!(log(), "begin\nend\nnewer\n");
    assert_eq!(notes(&rig), [""; 0]);
}

#[tokio::test]
async fn what_hangs_of_an_older_run_is_stopped_with_all_it_started() {
    let rig = Rig::new(2, STEP);
    let (older, newer) = (run(5, "aa", None, false), run(6, "bb", None, false));
    // The shell is killed; what it started goes on.
    let hang = "trap '' TERM; (sleep 1; while :; do echo tick >>/ROOT/ticks; sleep 0.2; done) & \
                echo $$ >/ROOT/shell; wait";
    let slow = older.sh(&rig, hang);
    let next = async {
        until("a tick", || !rig.machines[0].read("ticks").is_empty()).await;
        let leader: i32 = rig.machines[0].read("shell").trim().parse().unwrap();
        let pid = nix::unistd::Pid::from_raw(leader);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        newer.sh(&rig, "cp /ROOT/ticks /ROOT/then").await
    };
    let (_, next) = tokio::join!(slow, next);
    next.unwrap();
    assert_eq!(rig.machines[0].read("ticks"), rig.machines[0].read("then"));
}

#[tokio::test]
async fn a_program_whose_answer_was_lost_is_over_before_the_next_of_the_same_run_begins() {
    let rig = Rig::new(2, STEP);
    let run = run(5, "aa", None, false);
    let log = || rig.machines[0].read("log");
    {
        let slow = run.sh(
            &rig,
            "echo begin >>/ROOT/log; sleep 2; echo end >>/ROOT/log",
        );
        tokio::select! {
            _ = slow => panic!("it was to be slow"),
            () = until("the first program", || !log().is_empty()) => {}
        }
    }
    // Also a mere look waits: it is to see how it ended.
    let reply = run
        .writer(&rig, 0)
        .await
        .ask(&program("cat /ROOT/log"))
        .await
        .unwrap();
    assert_eq!(String::from_utf8(reply.stdout).unwrap(), "begin\nend\n");
    run.sh(&rig, "echo next >>/ROOT/log").await.unwrap();
    assert_eq!(log(), "begin\nend\nnext\n");
}

#[tokio::test]
async fn a_look_after_another_run_was_taken_over_from_raises_the_fence_first() {
    let rig = Rig::new(2, STEP);
    let (older, newer) = (run(5, "aa", None, false), run(6, "bb", Some(0), true));
    older.sh(&rig, ":").await.unwrap();
    let reply = newer
        .writer(&rig, 0)
        .await
        .ask(&program("echo looked"))
        .await
        .unwrap();
    assert_eq!(reply.stdout, b"looked\n");
    let error = older.sh(&rig, ": >/ROOT/x").await.unwrap_err();
    assert!(error.to_string().contains("(fence 6)"), "{error}");
}

#[test]
fn a_batch_of_steps_stops_at_the_fence_of_its_host_and_each_ends_in_one_state() {
    let rig = Rig::new(2, STEP);
    rig.machines[0].write("x", "");
    let path = rig.machines[0].root.join("state/rig");
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("fence"), "8 zz 20261130-210008-0000 eve@laptop\n").unwrap();
    let older = run(5, "aa", None, false);
    let mut rig = rig;
    (rig.gate, rig.stop) = (older.gate, older.stop);
    let told = rig.build("stack");
    let failed = told.step("demo:a@h0");
    assert_eq!((failed.state, failed.attempts), (Final::Failed, 1));
    let message = failed.trouble.as_ref().unwrap().message.as_str();
    assert!(
        message.contains("run 20261130-210008-0000 of eve@laptop (fence 8)"),
        "{message}"
    );
    assert!(!rig.machines[0].root.join("a").exists());
    let mut states: BTreeMap<String, u32> = BTreeMap::new();
    for event in &told.events {
        if let What::StepFinished(step) = &event.what {
            *states.entry(step.label.clone()).or_default() += 1;
        }
    }
    assert_eq!(states.len(), 4, "{states:?}");
    assert!(states.values().all(|times| *times == 1), "{states:?}");
    // The other host's word is its own.
    assert_eq!(
        (told.summary.interrupted, told.summary.counts.ran),
        (false, 2)
    );
    assert_eq!(rig.machines[1].read("b"), "new\n");
}

#[test]
fn a_run_with_the_lock_leaves_its_number_and_nothing_at_work() {
    let mut rig = Rig::new(2, STEP);
    let first = run(5, "aa", Some(0), false);
    (rig.gate, rig.stop) = (first.gate, first.stop);
    let told = rig.build("stack");
    assert_eq!(told.summary.counts.ran, 4);
    // No program more than without a fence: the probe, and a batch for each rank.
    assert_eq!(told.summary.execs["h0"], 3);
    for machine in &rig.machines {
        assert!(machine.read("state/rig/fence").starts_with("5 aa "));
    }
    assert_eq!(notes(&rig), [""; 0]);
    assert!(Path::new(&rig.machines[0].root.join("b")).exists());
}
