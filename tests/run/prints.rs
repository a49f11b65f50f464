//! Stamps whose secrets can't be compared: never a reason to run, and comparable again as soon as that can be.

use std::collections::BTreeMap;

use foundry::event::Final;
use foundry::graph::{Fingerprints, Standing};
use foundry::secret::Secret;

use crate::rig::{Rig, Told};

const RECIPE: &str = r#"
[settings]
pass = { type = "text", secret = true, doc = "Secret" }
[steps.once]
uses = "once"
on   = "hosts"
with = { log = "/ROOT/log", pass = "{{ settings.pass }}" }
"#;

fn rig() -> Rig {
    let mut rig = Rig::new(1, RECIPE);
    rig.set("{ pass: \"${secret:demo:pass}\" }");
    rig
}

fn key(number: u8, standing: Standing) -> Fingerprints {
    Fingerprints::by(Secret::new([number; 32]), standing)
}

fn build(rig: &Rig, pass: &str, kept: Option<&str>) -> Told {
    let mut secrets = BTreeMap::from([("FOUNDRY_SECRET_foundry_demo_pass", pass)]);
    if let Some(kept) = kept {
        secrets.insert("FOUNDRY_SECRET_foundry_fingerprints_key", kept);
    }
    rig.build_with("stack", &secrets)
}

fn times(rig: &Rig) -> usize {
    rig.machines[0].read("log").lines().count()
}

#[test]
fn a_stack_without_a_key_runs_nothing_twice() {
    let mut rig = rig();
    for number in 1..4 {
        rig.prints = key(number, Standing::Passing);
        let told = build(&rig, "hunter2", None);
        let ran = if number == 1 { "once@h0" } else { "" };
        assert_eq!(told.of(Final::Ran), ran);
        assert!(told.summary.counts.all_done());
    }
    assert_eq!(times(&rig), 1);
}

#[test]
fn a_key_that_can_be_read_later_decides_and_other_stamps_are_left_anew() {
    let kept = hex::encode([1; 32]);
    let mut rig = rig();
    rig.prints = key(1, Standing::Kept);
    build(&rig, "hunter2", None);
    assert_eq!(times(&rig), 1);

    // The leader is away while planning and back when the step's turn comes: the same secret, and nothing runs.
    rig.prints = key(7, Standing::Awaited);
    let told = build(&rig, "hunter2", Some(&kept));
    assert_eq!(
        (told.of(Final::Satisfied).as_str(), times(&rig)),
        ("once@h0", 1)
    );
    // Another secret, and it does.
    let told = build(&rig, "hunter33", Some(&kept));
    assert_eq!((told.of(Final::Ran).as_str(), times(&rig)), ("once@h0", 2));
    rig.prints = key(1, Standing::Kept);
    assert_eq!(build(&rig, "hunter33", None).summary.counts.satisfied, 1);

    // A stamp under a key that is lost: it is left anew, once, and compared from then on.
    rig.prints = key(5, Standing::Kept);
    let told = build(&rig, "hunter33", None);
    assert_eq!(
        (told.of(Final::Satisfied).as_str(), times(&rig)),
        ("once@h0", 2)
    );
    assert_eq!(told.step("demo:once@h0").round_trips, 2, "{}", told.json());
    let told = build(&rig, "hunter33", None);
    assert_eq!(told.summary.counts.satisfied, 1);
    let told = build(&rig, "hunter44", None);
    assert_eq!((told.of(Final::Ran).as_str(), times(&rig)), ("once@h0", 3));
}
