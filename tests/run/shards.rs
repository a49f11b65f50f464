//! Several runs side by side, each doing its part of the fleet, on real shells.

use std::collections::BTreeMap;
use std::time::Duration;

use foundry::event::{Final, StepFinished, What};
use foundry::graph::Shard;

use crate::rig::{Rig, Told};

/// A file on each host, whose digest on the first host all others copy once all have it.
const APP: &str = r#"
[steps.config]
uses = "note"
with = { path = "/ROOT/config", text = "one" }
[steps.join]
uses  = "note"
with  = { path = "/ROOT/join", text = "{{ steps.config.sha256 }}" }
needs = ["config@*"]
"#;

fn shards(count: u32) -> Vec<Shard> {
    (1..=count).map(|n| Shard::new(n, count).unwrap()).collect()
}

fn finished(told: &Told) -> impl Iterator<Item = &StepFinished> {
    told.events.iter().filter_map(|event| match &event.what {
        What::StepFinished(step) => Some(step),
        _ => None,
    })
}

#[test]
fn shards_wait_for_one_another_by_probing() {
    let rig = Rig::new(5, APP);
    let told = rig.build_shards(&shards(3));
    let mut done: BTreeMap<&str, Vec<Final>> = BTreeMap::new();
    for step in told
        .iter()
        .flat_map(finished)
        .filter(|step| !step.elsewhere)
    {
        done.entry(&step.label).or_default().push(step.state);
    }
    assert_eq!(done.len(), 10, "{done:?}");
    assert!(
        done.values().all(|states| *states == [Final::Ran]),
        "{done:?}"
    );
    for machine in &rig.machines {
        assert_eq!(machine.read("join").len(), 64);
        assert_eq!(machine.read("config.log"), "ran\n");
    }
    let waited = told
        .iter()
        .flat_map(finished)
        .filter(|step| step.elsewhere)
        .count();
    assert!(waited > 0, "nobody had to wait for anybody");

    // Nothing to do: nobody waits, and each counts its own alone.
    let again = rig.build_shards(&shards(3));
    let satisfied: u32 = again.iter().map(|told| told.summary.counts.satisfied).sum();
    assert_eq!(satisfied, 10);
    assert!(again.iter().flat_map(finished).all(|step| !step.elsewhere));
}

#[test]
fn a_shard_that_never_comes_is_named() {
    let mut rig = Rig::new(4, APP);
    rig.patience = Duration::from_millis(1500);
    let told = rig.build_shards(&shards(2)[..1]);
    let told = &told[0];
    let own: Vec<&StepFinished> = finished(told).filter(|step| !step.elsewhere).collect();
    assert!(own.iter().any(|step| step.state == Final::Ran));
    assert!(
        own.iter()
            .any(|step| step.state == Final::Blocked && step.label.starts_with("demo:join@"))
    );
    let failed = finished(told)
        .find(|step| step.state == Final::Failed)
        .unwrap();
    assert!(failed.elsewhere);
    let trouble = failed.trouble.as_ref().unwrap();
    assert_eq!(
        trouble.message.as_str(),
        "another shard does it, and it was not as wanted within 1.5s: fact `sha256` is absent, wanted 7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    );
    assert!(!told.summary.counts.all_done());
}
