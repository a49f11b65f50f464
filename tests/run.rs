//! Whole runs on real shells: what is looked at, what is done, in what order, and what is told of it.

#[path = "run/fenced.rs"]
mod fenced;
#[path = "support/keeper.rs"]
mod keeper;
#[path = "run/locked.rs"]
mod locked;
#[path = "run/prints.rs"]
mod prints;
#[path = "run/rig.rs"]
mod rig;
#[path = "run/rollouts.rs"]
mod rollouts;
#[path = "run/shards.rs"]
mod shards;
#[cfg(target_os = "linux")]
#[path = "run/sim/mod.rs"]
mod sim;
#[path = "run/together.rs"]
mod together;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use foundry::event::{Final, What};
use rig::{Rig, Told};

/// A config, a service that must be restarted since, and something that uses an output of the config.
const SERVICE: &str = r#"
[settings]
text = { type = "text", default = "one", doc = "What the config says" }
[steps.config]
uses = "note"
on   = "hosts"
with = { path = "/ROOT/config", text = "{{ settings.text }}" }
[steps.service]
uses  = "started"
on    = "hosts"
with  = { path = "/ROOT/service", config = "/ROOT/config" }
watch = ["config"]
[steps.copy]
uses = "note"
on   = "hosts"
with = { path = "/ROOT/copy", text = "{{ steps.config.sha256 }}" }
"#;

fn ran(told: &Told) -> String {
    told.of(Final::Ran)
}

#[test]
fn what_is_not_there_is_made_once_and_then_costs_one_exec_a_host() {
    let rig = Rig::new(2, SERVICE);
    let first = rig.build("stack");
    assert_eq!(
        ran(&first),
        "config@h0 config@h1 copy@h0 copy@h1 service@h0 service@h1"
    );
    assert_eq!(rig.machines[1].read("config"), "one");
    assert_eq!(rig.machines[1].read("copy").len(), 64);
    let config = first.step("demo:config@h0");
    assert_eq!((config.attempts, config.round_trips), (1, 1));
    assert!(
        first.summary.longest.len() >= 2,
        "{:?}",
        first.summary.longest
    );
    assert!(
        first.json().contains("::say") || first.json().contains("writing"),
        "what a step says is told"
    );

    let second = rig.build("stack");
    assert_eq!(
        (
            second.summary.counts.satisfied,
            second.summary.counts.ended()
        ),
        (6, 6)
    );
    assert!(
        second.summary.execs.values().all(|execs| *execs == 1),
        "{:?}",
        second.summary.execs
    );
    assert!(
        !second
            .events
            .iter()
            .any(|event| matches!(event.what, What::StepStarted { .. }))
    );
    assert_eq!(rig.machines[0].read("config.log"), "ran\n");
}

#[test]
fn a_change_goes_as_far_as_it_matters() {
    let mut rig = Rig::new(1, SERVICE);
    rig.build("stack");
    rig.set("{ text: two }");
    let told = rig.build("stack");
    assert_eq!(ran(&told), "config@h0 copy@h0 service@h0");
    assert_eq!(
        told.step("demo:config@h0").reasons[0].to_string(),
        "input `text` one → two"
    );
    assert_eq!(rig.machines[0].read("service"), "two");
}

#[test]
fn drift_is_mended_and_what_it_does_not_touch_stays() {
    let rig = Rig::new(2, SERVICE);
    rig.build("stack");
    rig.machines[1].write("service", "something else");
    let told = rig.build("stack");
    assert_eq!(ran(&told), "service@h1");
    assert_eq!(
        told.step("demo:service@h1").reasons[0].to_string(),
        "fact `started` is no, wanted yes"
    );
}

#[test]
fn unchanged_outputs_stop_there_and_a_watched_step_is_looked_at_afresh() {
    let rig = Rig::new(1, SERVICE);
    rig.build("stack");
    let config = rig.machines[0].root.join("config");
    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let told = rig.build("stack");
    assert_eq!(ran(&told), "config@h0");
    assert_eq!(
        told.step("demo:config@h0").reasons[0].to_string(),
        "fact `mode` is 0600, wanted 0644"
    );
    // Its outputs are the same, but what watches it can't know that the service need not be restarted.
    assert_eq!(told.step("demo:service@h0").round_trips, 1);
    assert_eq!(told.step("demo:service@h0").state, Final::Satisfied);
    assert_eq!(rig.machines[0].read("copy.log"), "ran\n");
}

#[test]
fn a_failure_blocks_what_needs_it_and_nothing_else() {
    let rig = Rig::new(
        2,
        r#"
[steps.bad]
uses = "shell"
on   = "hosts"
with = { path = "/ROOT/bad", run = "echo out; echo err >&2", fail = "{{ 'yes' if host.name == 'h0' else 'no' }}" }
[steps.after]
uses  = "shell"
on    = "hosts"
with  = { path = "/ROOT/after" }
needs = ["bad"]
[steps.last]
uses  = "shell"
on    = "hosts"
with  = { path = "/ROOT/last" }
needs = ["after"]
[steps.apart]
uses = "shell"
on   = "hosts"
with = { path = "/ROOT/apart" }
"#,
    );
    let told = rig.build("stack");
    assert_eq!(ran(&told), "after@h1 apart@h0 apart@h1 bad@h1 last@h1");
    assert_eq!(told.of(Final::Blocked), "after@h0 last@h0");
    assert_eq!(
        told.step("demo:last@h0").blocked_by.as_deref(),
        Some("demo:bad@h0")
    );
    let bad = told.step("demo:bad@h0");
    // The task grants two tries.
    assert_eq!((bad.state, bad.attempts), (Final::Failed, 2));
    let trouble = bad.trouble.as_ref().unwrap();
    assert_eq!(trouble.message.as_str(), "its script ended with status 3");
    assert_eq!(
        (trouble.status, trouble.output.as_deref()),
        (Some(3), Some("out\nerr"))
    );

    // What failed is named again, and mended once the cause is gone.
    let again = rig.build("demo - @h0");
    assert_eq!(
        (again.summary.counts.satisfied, again.summary.counts.ended()),
        (4, 4)
    );
}

#[test]
fn what_could_not_be_asked_and_answers_by_now_blocks_nothing() {
    let mut rig = Rig::new(
        1,
        r#"
[steps.server]
uses = "answers"
on   = "hosts"
with = { path = "/ROOT/server" }
[steps.after]
uses  = "shell"
on    = "hosts"
with  = { path = "/ROOT/after" }
needs = ["server"]
[steps.last]
uses  = "shell"
on    = "hosts"
with  = { path = "/ROOT/last" }
needs = ["after"]
"#,
    );
    // It comes back between the plan and its turn, as one does whose host has just booted.
    let machine = Arc::clone(&rig.machines[0]);
    rig.watch = Arc::new(move |event| {
        if matches!(&event.what, What::StepStarted { label } if label == "demo:server@h0") {
            machine.write("server", "");
        }
    });
    let told = rig.build("stack");
    assert_eq!(told.of(Final::Satisfied), "server@h0");
    assert_eq!(ran(&told), "after@h0 last@h0");
    assert_eq!(told.of(Final::Blocked), "");
}

#[test]
fn applied_is_not_done() {
    let rig = Rig::new(
        1,
        "[steps.lie]\nuses = \"lie\"\non = \"hosts\"\nwith = { path = \"/ROOT/never\" }\n",
    );
    let told = rig.build("stack");
    let trouble = told.step("demo:lie@h0").trouble.clone().unwrap();
    assert_eq!(trouble.message.as_str(), "applied, but still not as wanted");
    assert_eq!(
        trouble.found[0].to_string(),
        "fact `kind` is absent, wanted file"
    );
    assert_eq!(trouble.output.unwrap().as_str(), "all done, trust me");
}

#[test]
fn a_script_that_hangs_is_stopped_in_time() {
    let rig = Rig::new(
        1,
        "[steps.hang]\nuses = \"shell\"\non = \"hosts\"\nwith = { path = \"/ROOT/never\", run = \"echo begun; sleep 600\" }\n",
    );
    let told = rig.build("stack");
    let hang = told.step("demo:hang@h0");
    let trouble = hang.trouble.as_ref().unwrap();
    assert_eq!(trouble.message.as_str(), "took longer than 2s");
    assert_eq!(trouble.output.as_deref(), Some("begun"));
    assert!(hang.ms < 30_000);
}

#[test]
fn a_step_that_only_checks_fails_by_name() {
    let rig = Rig::new(
        1,
        "[steps.look]\nuses = \"check\"\non = \"hosts\"\nwith = { path = \"/ROOT/theirs\" }\n",
    );
    let trouble = rig
        .build("stack")
        .step("demo:look@h0")
        .trouble
        .clone()
        .unwrap();
    assert_eq!(
        trouble.message.as_str(),
        "not as wanted, and this step only checks"
    );
    assert_eq!(
        trouble.found[0].to_string(),
        "fact `kind` is absent, wanted file"
    );
    rig.machines[0].write("theirs", "");
    assert_eq!(rig.build("stack").summary.counts.satisfied, 1);
}

#[test]
fn a_host_out_of_reach_is_one_thing_and_the_others_another() {
    let rig = Rig::new(2, SERVICE);
    rig.machines[0].faults.down.store(true, Ordering::SeqCst);
    let told = rig.build("stack");
    assert_eq!(ran(&told), "config@h1 copy@h1 service@h1");
    assert_eq!(told.summary.counts.failed, 0);
    assert_eq!(
        told.summary.counts.unreachable + told.summary.counts.blocked,
        3
    );
    assert!(told.of(Final::Unreachable).contains("config@h0"));
}

#[test]
fn a_lost_answer_is_found_out_by_looking_and_nothing_is_done_twice() {
    let rig = Rig::new(1, SERVICE);
    rig.machines[0].faults.lose.store(1, Ordering::SeqCst);
    let told = rig.build("demo:config");
    let config = told.step("demo:config@h0");
    assert_eq!((config.state, config.attempts), (Final::Ran, 2));
    assert_eq!(rig.machines[0].read("config.log"), "ran\n");
    assert!(
        told.events
            .iter()
            .any(|event| matches!(&event.what, What::StepRetrying { attempt: 2, .. }))
    );
}

#[test]
fn an_answer_cut_off_in_the_middle_is_no_answer() {
    let rig = Rig::new(1, SERVICE);
    rig.machines[0].faults.cut.store(1, Ordering::SeqCst);
    let told = rig.build("demo:config");
    assert_eq!(told.step("demo:config@h0").state, Final::Ran);
    assert_eq!(told.step("demo:config@h0").attempts, 2);
}

#[test]
fn an_interrupted_run_ends_what_runs_and_the_next_goes_on() {
    let mut rig = Rig::new(1, SERVICE);
    let stop = rig.stop.clone();
    rig.watch = Arc::new(move |event| {
        if matches!(event.what, What::StepStarted { .. }) {
            stop.press();
        }
    });
    let told = rig.build("stack");
    assert!(told.summary.interrupted);
    assert_eq!(
        (ran(&told), told.of(Final::Skipped)),
        ("config@h0".to_owned(), "copy@h0 service@h0".to_owned())
    );
    rig.stop = foundry::run::Stop::new();
    rig.watch = Arc::new(|_| {});
    assert_eq!(ran(&rig.build("stack")), "copy@h0 service@h0");
}

#[test]
fn limits_hold_on_real_hosts() {
    let many = "[pools]\none = 1\n[steps.many]\nuses = \"shell\"\non = \"hosts\"\n\
                with = { path = \"/ROOT/{{ item }}\", run = \"sleep 0.05\" }\n\
                for_each = \"{{ ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'] }}\"\n";
    let mut rig = Rig::new(1, many);
    rig.limits.per_host = 3;
    rig.limits.together = 1;
    assert_eq!(rig.build("stack").summary.counts.ran, 8);
    assert!((2..=3).contains(&rig.machines[0].most.load(Ordering::SeqCst)));

    let rig = Rig::new(2, &format!("{many}pool = \"one\"\n"));
    assert_eq!(rig.build("stack").summary.counts.ran, 16);
    let most: u32 = rig
        .machines
        .iter()
        .map(|machine| machine.most.load(Ordering::SeqCst))
        .max()
        .unwrap();
    assert_eq!(most, 1);
}

#[test]
fn no_secret_gets_into_an_event() {
    let rig = Rig::new(
        1,
        r#"
[settings]
password = { type = "text", secret = true, default = "none", doc = "Secret" }
[steps.file]
uses = "note"
on   = "hosts"
with = { path = "/ROOT/password", text = "{{ settings.password }}" }
[steps.loud]
uses = "shell"
on   = "hosts"
with = { path = "/ROOT/loud", run = "echo '{{ settings.password }}'; echo '{{ settings.password }}' | base64; set -x; : '{{ settings.password }}'", fail = "yes" }
"#,
    );
    let mut rig = rig;
    rig.set("{ password: \"${secret:demo:password}\" }");
    let canary = "c4nary-0f-the-mine";
    let secrets = BTreeMap::from([
        ("FOUNDRY_SECRET_demo_password", canary),
        ("FOUNDRY_SECRET_foundry_demo_password", canary),
    ]);
    let told = rig.build_with("stack", &secrets);
    assert_eq!(rig.machines[0].read("password"), canary);
    assert_eq!(told.step("demo:loud@h0").state, Final::Failed);
    let output = told
        .step("demo:loud@h0")
        .trouble
        .clone()
        .unwrap()
        .output
        .unwrap();
    assert!(output.contains("[redacted]"), "{}", output.as_str());
    assert!(!told.json().contains(canary), "{}", told.json());
    assert!(
        !told.json().contains("YzRuYXJ5LTBmLXRoZS1taW5l"),
        "{}",
        told.json()
    );
}
