//! Components that move over their hosts in batches, on real shells.

use std::sync::atomic::Ordering;

use foundry::event::{Final, HostCounts, RolloutState, What};

use crate::rig::{Rig, Told};

/// A file, and a service that reads it, whose start fails on the hosts that the setting names.
const APP: &str = r#"
health = ["up"]
[settings]
bad  = { type = ["string"], default = [], doc = "Hosts on which it fails" }
text = { type = "text", default = "one", doc = "What the config says" }
[steps.config]
uses = "note"
with = { path = "/ROOT/config", text = "{{ settings.text }}" }
[steps.up]
uses  = "shell"
with  = { path = "/ROOT/up", fail = "{{ 'yes' if host.name in settings.bad else 'no' }}" }
needs = ["config"]
[rollout]
"#;

fn app(rollout: &str) -> String {
    format!("{APP}{rollout}\n")
}

fn moves(told: &Told) -> Vec<String> {
    told.events
        .iter()
        .filter_map(|event| match &event.what {
            What::Rollout(moved) => Some(match moved.state {
                RolloutState::Began => {
                    format!("{}/{} of {}", moved.batch, moved.batches, moved.hosts)
                }
                RolloutState::Checking => format!("check {}", moved.batch),
                RolloutState::Stopped => moved.why.as_ref().unwrap().to_string(),
            }),
            _ => None,
        })
        .collect()
}

/// Returns the hosts in the order in which their last step began.
fn order(told: &Told) -> Vec<&str> {
    told.events
        .iter()
        .filter_map(|event| match &event.what {
            What::StepStarted { label } => label.strip_prefix("demo:up@"),
            _ => None,
        })
        .collect()
}

#[test]
fn a_canary_then_batches_each_after_the_one_before() {
    let rig = Rig::new(5, &app("canary = 1\nbatches = [\"50%\"]"));
    let told = rig.build("stack");
    assert!(told.summary.counts.all_done(), "{:?}", told.summary);
    assert_eq!(
        moves(&told),
        ["1/3 of 1", "check 1", "2/3 of 3", "check 2", "3/3 of 1"]
    );
    let order = order(&told);
    assert_eq!((order[0], order[4]), ("h0", "h4"));
    assert_eq!(told.summary.rollouts[0].hosts.done, 5);

    // Nothing to do is nothing to roll out.
    let again = rig.build("stack");
    assert_eq!(again.summary.counts.satisfied, 10);
    assert_eq!(moves(&again), Vec::<String>::new());
}

#[test]
fn a_bad_canary_keeps_the_others_as_they_are() {
    let mut rig = Rig::new(4, &app("canary = [\"h2\"]").replace("[\"h2\"]", "1"));
    rig.set("{ bad: [h2], rollout: { canary: [h2], batches: 2 } }");
    let told = rig.build("stack");
    assert_eq!(told.of(Final::Failed), "up@h2");
    assert_eq!(told.of(Final::Ran), "config@h2");
    assert_eq!(told.summary.counts.skipped, 6);
    assert!(
        rig.machines
            .iter()
            .filter(|machine| machine.root.join("config").exists())
            .count()
            == 1
    );
    let ended = &told.summary.rollouts[0];
    assert_eq!(
        ended.hosts,
        HostCounts {
            failed: 1,
            untouched: 3,
            ..HostCounts::default()
        }
    );
    assert_eq!(
        ended.stopped.as_deref(),
        Some("1 host failed, and none may")
    );

    // Mended, it goes on by itself.
    rig.set("{ rollout: { canary: [h2], batches: 2 } }");
    assert!(rig.build("stack").summary.counts.all_done());
}

#[test]
fn a_budget_lets_some_fail_and_no_more() {
    let mut rig = Rig::new(6, &app("batches = 1\nmax_failures = \"20%\""));
    rig.set("{ bad: [h1] }");
    let told = rig.build("stack");
    assert_eq!(
        (told.of(Final::Failed), told.summary.counts.skipped),
        ("up@h1".to_owned(), 0)
    );
    assert_eq!(told.summary.rollouts[0].hosts.done, 5);

    rig.set("{ bad: [h1, h2], text: two }");
    for machine in &rig.machines {
        let _ = std::fs::remove_file(machine.root.join("up"));
    }
    let told = rig.build("stack");
    assert_eq!(told.of(Final::Failed), "up@h1 up@h2");
    assert_eq!(told.summary.rollouts[0].hosts.untouched, 3);
}

#[test]
fn out_of_reach_is_not_failed_and_has_a_limit_of_its_own() {
    let mut rig = Rig::new(4, &app("batches = 1"));
    rig.machines[1].faults.down.store(true, Ordering::SeqCst);
    let told = rig.build("stack");
    assert_eq!(
        told.summary.rollouts[0].hosts,
        HostCounts {
            done: 3,
            unreachable: 1,
            ..HostCounts::default()
        }
    );

    rig.set("{ text: two, rollout: { max_unreachable: 0 } }");
    let told = rig.build("stack");
    assert_eq!(told.summary.counts.ran, 0);
    assert_eq!(
        told.summary.rollouts[0].stopped.as_deref(),
        Some("1 host is out of reach, and 0 may be")
    );
}

#[test]
fn a_gate_that_stays_shut_stops_it() {
    // The second step undoes what the gate looks at.
    let rig = Rig::new(
        2,
        r#"
health = ["up"]
[steps.up]
uses = "shell"
with = { path = "/ROOT/up" }
[steps.breaks]
uses  = "shell"
with  = { path = "/ROOT/broke", run = "rm /ROOT/up" }
needs = ["up"]
[rollout]
batches      = 1
gate_timeout = "1ms"
"#,
    );
    let told = rig.build("stack");
    assert_eq!(told.of(Final::Ran), "breaks@h0 up@h0");
    let why = told.summary.rollouts[0].stopped.as_ref().unwrap();
    assert_eq!(
        why.as_str(),
        "batch 1 is not healthy after 1ms: demo:up@h0: fact `kind` is absent, wanted file"
    );
}

#[test]
fn one_at_a_time_whatever_the_order_of_steps() {
    // `join` on each host needs `config` on all of them.
    let rig = Rig::new(
        3,
        r#"
[steps.config]
uses = "shell"
with = { path = "/ROOT/config" }
[steps.join]
uses  = "shell"
with  = { path = "/ROOT/join" }
needs = ["config@*"]
[rollout]
max_unavailable = 1
"#,
    );
    let told = rig.build("stack");
    assert!(told.summary.counts.all_done());
    let mut working = 0;
    for event in &told.events {
        match &event.what {
            What::StepStarted { .. } => working += 1,
            What::StepFinished(step) if step.state == Final::Ran => working -= 1,
            _ => {}
        }
        assert!(working <= 1);
    }
}
