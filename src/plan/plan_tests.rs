//! Plans of small graphs, and what must hold of every plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Plan, Reason, Verdict, plan};
use crate::catalog::{InputSpec, OutputSpec, Task, Template, Value, ValueType};
use crate::graph::fixture::{graph, task};
use crate::graph::{
    Fingerprints, Graph, Hole, HoleId, Input, Selection, Standing, StepId, StepSet,
};
use crate::probe::{
    AccessError, AccessKind, Fact, Facts, Fault, HostFacts, Known, Observed, Stamp,
};
use crate::secret::{Secret, SecretRef};

fn fingerprints() -> Fingerprints {
    Fingerprints::new("k".into(), Secret::new([1; 32]))
}

/// A task that wants its fact `state` to be its input `want`, and hands on its fact `id`.
fn state_task() -> Task {
    let text = |default: Option<&str>| InputSpec {
        format: None,
        kind: ValueType::String,
        default: default.map(|text| Value::Text(text.into())),
        secret: false,
        doc: String::new(),
    };
    let mut task = task("state");
    task.inputs.insert("want".into(), text(Some("on")));
    task.expect
        .insert("state".into(), Template("{{ want }}".into()));
    task.outputs.insert(
        "id".into(),
        OutputSpec {
            kind: ValueType::String,
            from: Template("{{ facts.id }}".into()),
            secret: false,
        },
    );
    task
}

/// Gives every step the same task and `want = on`.
fn stated(text: &str) -> Graph {
    let mut graph = graph(text);
    let task = Arc::new(state_task());
    for step in &mut graph.steps {
        if step.task.is_some() {
            step.task = Some(Arc::clone(&task));
            step.inputs = Arc::new(
                [("want".to_owned(), Input::Known(Value::Text("on".into())))]
                    .into_iter()
                    .collect(),
            );
        }
    }
    graph
}

fn id(graph: &Graph, label: &str) -> StepId {
    graph
        .ids()
        .find(|id| graph.step(*id).label.to_string() == label)
        .unwrap()
}

fn facts(state: &str) -> Facts {
    Facts::from([
        ("state".to_owned(), Fact::from(state)),
        ("id".to_owned(), Fact::from("x1")),
    ])
}

fn fault(not_yet: bool) -> Result<Arc<Facts>, Fault> {
    Err(Fault {
        message: "no answer".into(),
        not_yet,
    })
}

/// Every step that has a task is as wanted.
fn all_well(graph: &Graph) -> Observed {
    let mut observed = Observed::none(graph);
    for step in graph.ids().filter(|id| graph.step(*id).task.is_some()) {
        observed.steps[step.0 as usize] = Some(Ok(facts("on").into()));
    }
    observed
}

fn see(
    observed: &mut Observed,
    graph: &Graph,
    label: &str,
    seen: Option<Result<Arc<Facts>, Fault>>,
) {
    observed.steps[id(graph, label).0 as usize] = seen;
}

fn everything(graph: &Graph) -> Selection {
    let (all, none) = (
        StepSet::all(graph.steps.len()),
        StepSet::none(graph.steps.len()),
    );
    Selection {
        asked: all.clone(),
        steps: all,
        held: none.clone(),
        elsewhere: none,
    }
}

fn planned(graph: &Graph, observed: &Observed) -> Plan {
    plan(
        graph,
        &everything(graph),
        observed,
        Known::new(graph, []),
        &fingerprints(),
    )
}

fn say(graph: &Graph, plan: &Plan) -> String {
    let lines = plan.order.iter().map(|id| {
        let decision = plan.decision(*id).unwrap();
        let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
        let reasons = if reasons.is_empty() {
            String::new()
        } else {
            format!(": {}", reasons.join("; "))
        };
        format!("{} {}{reasons}", graph.step(*id).label, decision.verdict)
    });
    lines.collect::<Vec<_>>().join("\n")
}

const CHAIN: &str = "
    host a
    host b
    c:one@a
    c:two@a < c:one@a
    c:other@b
    gather c:all < c:two@a c:other@b
    c:last@b < c:all
";

#[test]
fn what_is_as_wanted_stays_and_needs_only_order() {
    let graph = stated(CHAIN);
    let mut observed = all_well(&graph);
    assert!(
        planned(&graph, &observed)
            .decisions
            .iter()
            .flatten()
            .all(|d| d.verdict == Verdict::Satisfied)
    );
    see(
        &mut observed,
        &graph,
        "c:one@a",
        Some(Ok(facts("off").into())),
    );
    let plan = planned(&graph, &observed);
    insta::assert_snapshot!(say(&graph, &plan), @r"
    c:one@a drifted: fact `state` is off, wanted on
    c:other@b satisfied
    c:two@a satisfied
    c:all satisfied
    c:last@b satisfied
    ");
    assert_eq!(plan.level, [0, 1, 0, 2, 3]);
}

#[test]
fn what_is_watched_makes_maybe_and_is_remembered_as_settled() {
    let mut graph = stated(CHAIN);
    for (step, watched) in [("c:two@a", "c:one@a"), ("c:last@b", "c:all")] {
        let watched = id(&graph, watched);
        let step = id(&graph, step);
        graph.steps[step.0 as usize].watch = vec![watched];
    }
    let mut observed = all_well(&graph);
    see(
        &mut observed,
        &graph,
        "c:one@a",
        Some(Ok(facts("absent").into())),
    );
    let plan = planned(&graph, &observed);
    insta::assert_snapshot!(say(&graph, &plan), @r"
    c:one@a missing: fact `state` is absent, wanted on
    c:other@b satisfied
    c:two@a maybe: waits for c:one@a
    c:all maybe: waits for c:two@a
    c:last@b maybe: waits for c:all
    ");
    assert_eq!(plan.settled, [false, true, true, false, true]);
}

#[test]
fn blocked_goes_down_the_needs_and_names_what_is_behind() {
    let graph = stated(CHAIN);
    let mut observed = all_well(&graph);
    observed.hosts[0] = Some(Err(AccessError {
        host: "a".into(),
        kind: AccessKind::Unreachable,
        message: "connection refused".into(),
        hint: None,
    }));
    observed.hosts[1] = Some(Ok(HostFacts::default()));
    insta::assert_snapshot!(say(&graph, &planned(&graph, &observed)), @r"
    c:one@a blocked: a can't be reached: connection refused
    c:other@b satisfied
    c:two@a blocked: needs c:one@a
    c:all blocked: needs c:two@a
    c:last@b blocked: needs c:two@a
    ");
}

#[test]
fn a_fault_waits_for_what_may_mend_it_and_blocks_otherwise() {
    let graph = stated(CHAIN);
    let mut observed = all_well(&graph);
    see(&mut observed, &graph, "c:last@b", Some(fault(true)));
    assert!(say(&graph, &planned(&graph, &observed)).ends_with("c:last@b blocked: no answer"));
    see(
        &mut observed,
        &graph,
        "c:one@a",
        Some(Ok(facts("off").into())),
    );
    assert!(
        say(&graph, &planned(&graph, &observed))
            .ends_with("c:last@b maybe: waits for c:one@a; no answer"),
        "however far away it runs"
    );
    see(&mut observed, &graph, "c:last@b", Some(fault(false)));
    assert!(say(&graph, &planned(&graph, &observed)).ends_with("c:last@b blocked: no answer"));
}

/// `c:two` wants what `c:one` hands on, and a secret.
fn with_holes() -> Graph {
    let mut graph = stated("host a\n c:one@a\n c:two@a < c:one@a");
    graph.holes = vec![
        Hole::Output(StepId(0), "id".into()),
        Hole::Secret(SecretRef {
            path: "p".into(),
            key: "k".into(),
        }),
    ];
    graph.steps[1].watch = vec![StepId(0)];
    graph.steps[1].inputs = Arc::new(
        [
            ("want".to_owned(), Input::Hole(HoleId(0))),
            ("pass".to_owned(), Input::Hole(HoleId(1))),
        ]
        .into_iter()
        .collect(),
    );
    graph
}

#[test]
fn holes_are_filled_by_satisfied_steps_and_known_secrets() {
    let graph = with_holes();
    let mut observed = all_well(&graph);
    insta::assert_snapshot!(say(&graph, &planned(&graph, &observed)), @r"
    c:one@a satisfied
    c:two@a maybe: secret ${secret:p:k} can't be read yet
    ");
    let secret = || [(HoleId(1), Secret::new("hunter2".to_owned()))];
    let with = |observed: &Observed| {
        plan(
            &graph,
            &everything(&graph),
            observed,
            Known::new(&graph, secret()),
            &fingerprints(),
        )
    };
    see(
        &mut observed,
        &graph,
        "c:two@a",
        Some(Ok(facts("x1").into())),
    );
    insta::assert_snapshot!(say(&graph, &with(&observed)), @r"
    c:one@a satisfied
    c:two@a satisfied
    ");
    see(
        &mut observed,
        &graph,
        "c:one@a",
        Some(Ok(facts("off").into())),
    );
    insta::assert_snapshot!(say(&graph, &with(&observed)), @r"
    c:one@a drifted: fact `state` is off, wanted on
    c:two@a maybe: waits for c:one@a
    ");
    see(
        &mut observed,
        &graph,
        "c:one@a",
        Some(Ok(facts("on").into())),
    );
    see(&mut observed, &graph, "c:two@a", None);
    let plan = with(&observed);
    assert_eq!(plan.ask_again, [StepId(1)]);
    assert_eq!(plan.verdict(StepId(1)), Some(Verdict::Maybe));
}

#[test]
fn an_output_that_is_not_told_is_said_and_not_waited_for() {
    let graph = with_holes();
    let mut observed = all_well(&graph);
    observed.steps[0] = Some(Ok(
        Facts::from([("state".to_owned(), Fact::from("on"))]).into()
    ));
    let said = say(&graph, &planned(&graph, &observed));
    assert!(said.starts_with("c:one@a blocked: output `id`: "), "{said}");
}

#[test]
fn held_steps_are_looked_at_and_block_what_needs_them() {
    let graph = stated(CHAIN);
    let mut observed = all_well(&graph);
    see(
        &mut observed,
        &graph,
        "c:two@a",
        Some(Ok(facts("off").into())),
    );
    let mut selection = everything(&graph);
    for (from, to) in [(StepId(1), true), (StepId(0), false)] {
        let mut one = StepSet::none(graph.steps.len());
        one.insert(from);
        selection.steps.remove(&one);
        if to {
            selection.held.insert(from);
        }
    }
    let plan = plan(
        &graph,
        &selection,
        &observed,
        Known::new(&graph, []),
        &fingerprints(),
    );
    insta::assert_snapshot!(say(&graph, &plan), @r"
    c:two@a drifted: fact `state` is off, wanted on
    c:other@b satisfied
    c:all blocked: needs c:two@a
    c:last@b blocked: needs c:two@a
    ");
    assert!(plan.decision(StepId(0)).is_none());
}

/// Graphs of up to twelve steps in which each needs some before it, and what was seen of each.
fn any_case() -> impl Strategy<Value = (Vec<(Vec<usize>, bool)>, Vec<u8>)> {
    let step = |index: usize| (prop::collection::vec(0..index.max(1), 0..3), any::<bool>());
    let steps = (1..12_usize).prop_flat_map(move |count| (0..count).map(step).collect::<Vec<_>>());
    steps.prop_flat_map(|steps| {
        let count = steps.len();
        (Just(steps), prop::collection::vec(0..6_u8, count))
    })
}

proptest! {
    #[test]
    fn no_plan_breaks_the_rules((steps, seen) in any_case()) {
        let mut text = "host a\n".to_owned();
        for index in 0..steps.len() {
            text.push_str(&format!("c:s{index}@a\n"));
        }
        let mut graph = stated(&text);
        for (index, (needs, watch)) in steps.iter().enumerate() {
            let mut needs: Vec<StepId> = needs.iter().filter(|need| **need < index).map(|need| StepId(*need as u32)).collect();
            needs.sort_unstable();
            needs.dedup();
            graph.steps[index].watch = if *watch { needs.clone() } else { Vec::new() };
            graph.steps[index].needs = needs;
        }
        let mut observed = Observed::none(&graph);
        for (index, kind) in seen.iter().enumerate() {
            observed.steps[index] = match kind {
                0 => None,
                1 => Some(fault(true)),
                2 => Some(fault(false)),
                3 => Some(Ok(facts("off").into())),
                _ => Some(Ok(facts("on").into())),
            };
        }
        let plan = planned(&graph, &observed);
        prop_assert_eq!(plan.order.len(), steps.len());
        let mut done = StepSet::none(steps.len());
        for id in &plan.order {
            let step = graph.step(*id);
            let decision = plan.decision(*id).unwrap();
            let need = |verdict: Verdict| step.needs.iter().any(|need| plan.verdict(*need) == Some(verdict));
            prop_assert!(step.needs.iter().all(|need| done.contains(*need)), "order");
            done.insert(*id);
            prop_assert_eq!(decision.reasons.is_empty(), decision.verdict == Verdict::Satisfied);
            match decision.verdict {
                Verdict::Satisfied => {
                    prop_assert!(seen[id.0 as usize] >= 4, "satisfied only if the facts say so");
                    prop_assert!(!need(Verdict::Blocked));
                    prop_assert!(step.watch.iter().all(|on| plan.verdict(*on) == Some(Verdict::Satisfied)));
                }
                Verdict::Missing | Verdict::Changed | Verdict::Drifted => prop_assert_eq!(seen[id.0 as usize], 3),
                Verdict::Maybe => prop_assert!(!need(Verdict::Blocked)),
                Verdict::Blocked => prop_assert!(need(Verdict::Blocked) || (1..=2).contains(&seen[id.0 as usize])),
            }
            if need(Verdict::Blocked) {
                let named = matches!(decision.reasons[..], [Reason::Needs { .. }]);
                prop_assert!(decision.verdict == Verdict::Blocked && named);
            }
        }
    }
}

#[test]
fn planning_is_linear() {
    let time = |count: usize| {
        let mut text = "host a\nc:s0@a\n".to_owned();
        for index in 1..count {
            text.push_str(&format!("c:s{index}@a < c:s{}@a\n", index - 1));
        }
        let graph = stated(&text);
        let observed = all_well(&graph);
        let known = Known::new(&graph, []);
        (0..3)
            .map(|_| {
                let begin = std::time::Instant::now();
                let plan = plan(
                    &graph,
                    &everything(&graph),
                    &observed,
                    known.clone(),
                    &fingerprints(),
                );
                assert_eq!(plan.order.len(), count);
                begin.elapsed()
            })
            .min()
            .unwrap()
    };
    let (small, large) = (time(500), time(8000));
    assert!(
        large < small * 16 * 6,
        "{small:?} for 500 steps, {large:?} for 8000"
    );
}

#[test]
fn stamps_decide_where_facts_do_not() {
    let mut graph = stated("host a\nc:one@a");
    let mut task = state_task();
    task.stamp = true;
    graph.steps[0].task = Some(Arc::new(task));
    let mut observed = all_well(&graph);
    insta::assert_snapshot!(say(&graph, &planned(&graph, &observed)), @"c:one@a missing: never applied with these inputs");
    let right = super::stamp(
        graph.steps[0].task.as_ref().unwrap(),
        &graph.steps[0].target,
        &[("want".to_owned(), Value::Text("on".into()))]
            .into_iter()
            .collect(),
        &fingerprints(),
    );
    observed.stamps[0] = Some(right.clone().into());
    assert_eq!(
        planned(&graph, &observed).verdict(StepId(0)),
        Some(Verdict::Satisfied)
    );
    observed.stamps[0] = Some(Arc::new(Stamp {
        key: "00".into(),
        inputs: BTreeMap::from([("want".to_owned(), "off".to_owned())]),
        public: None,
    }));
    insta::assert_snapshot!(
        say(&graph, &planned(&graph, &observed)),
        @"c:one@a changed: input `want` off → on; last applied with other inputs"
    );
    observed.stamps[0] = Some(Arc::new(Stamp {
        key: "00".into(),
        ..right
    }));
    insta::assert_snapshot!(say(&graph, &planned(&graph, &observed)), @"c:one@a changed: last applied with other inputs");
}

/// A step with a secret and a stamp, whose stamp was left by `was` when the secret was `then`.
fn stamped_with_secret(was: &Fingerprints, then: &str, state: &str) -> (Graph, Observed) {
    let mut graph = stated("host a\nc:one@a");
    let mut task = state_task();
    task.stamp = true;
    let input = task.inputs["want"].clone();
    task.inputs.insert(
        "pass".into(),
        InputSpec {
            secret: true,
            ..input
        },
    );
    graph.steps[0].task = Some(Arc::new(task));
    let secret = |text: &str| Value::Secret(text.to_owned().into());
    let values = |pass: Value| {
        let want = ("want".to_owned(), Value::Text("on".into()));
        crate::catalog::Values::from_iter([want, ("pass".to_owned(), pass)])
    };
    graph.steps[0].inputs = Arc::new(
        values(secret("hunter2"))
            .into_iter()
            .map(|(name, value)| (name, Input::Known(value)))
            .collect(),
    );
    let mut observed = all_well(&graph);
    see(
        &mut observed,
        &graph,
        "c:one@a",
        Some(Ok(facts(state).into())),
    );
    let task = graph.steps[0].task.as_ref().unwrap();
    let left = super::stamp(task, &graph.steps[0].target, &values(secret(then)), was);
    observed.stamps[0] = Some(left.into());
    (graph, observed)
}

#[test]
fn a_fingerprint_under_another_key_is_no_reason_to_run() {
    let key = |number, standing| Fingerprints::by(Secret::new([number; 32]), standing);
    let kept = key(1, Standing::Kept);
    let open =
        "c:one@a maybe: its secrets can't be compared yet with those it was last applied with";
    let well = "c:one@a satisfied";
    let another = "c:one@a changed: input `pass` is another secret than before; last applied with other inputs";
    let drifted = "c:one@a drifted: fact `state` is off, wanted on";
    for (was, then, state, now, wanted) in [
        // The same key: fingerprints tell.
        (&kept, "hunter2", "on", key(1, Standing::Kept), well),
        (&kept, "hunter3", "on", key(1, Standing::Kept), another),
        // A stack without a key of its own: each run has another.
        (
            &key(8, Standing::Passing),
            "hunter2",
            "on",
            key(9, Standing::Passing),
            well,
        ),
        (
            &key(8, Standing::Passing),
            "hunter3",
            "on",
            key(9, Standing::Passing),
            well,
        ),
        (
            &key(8, Standing::Passing),
            "hunter2",
            "off",
            key(9, Standing::Passing),
            drifted,
        ),
        // Its key can't be read at the moment: to be asked for again.
        (&kept, "hunter2", "on", key(9, Standing::Awaited), open),
        (&kept, "hunter3", "on", key(9, Standing::Awaited), open),
        (&kept, "hunter3", "off", key(9, Standing::Awaited), drifted),
        // The stamp was left while the key could not be read: to be left anew.
        (
            &key(9, Standing::Awaited),
            "hunter2",
            "on",
            key(1, Standing::Kept),
            open,
        ),
        (
            &key(9, Standing::Awaited),
            "hunter2",
            "off",
            key(1, Standing::Kept),
            drifted,
        ),
    ] {
        let (graph, observed) = stamped_with_secret(was, then, state);
        let plan = plan(
            &graph,
            &everything(&graph),
            &observed,
            Known::new(&graph, []),
            &now,
        );
        assert_eq!(say(&graph, &plan), wanted, "{was:?} {then} {state} {now:?}");
    }
}

#[test]
fn what_is_made_of_a_secret_is_secret_in_what_a_step_hands_on() {
    let (graph, _) = stamped_with_secret(&fingerprints(), "hunter2", "on");
    let mut task = state_task();
    task.expect
        .insert("sha256".into(), Template("{{ pass | sha256 }}".into()));
    for (name, from) in [
        ("sha256", "{{ facts.sha256 }}"),
        ("state", "{{ facts.state }}"),
    ] {
        let spec = OutputSpec {
            kind: ValueType::String,
            from: Template(from.into()),
            secret: false,
        };
        task.outputs.insert(name.into(), spec);
    }
    let values = Known::new(&graph, []).fill(&graph.steps[0].inputs).values;
    let mut facts = facts("on");
    facts.insert("sha256".into(), Fact::from("f52fbd32b2b3b86f"));
    assert_eq!(
        super::secret_facts(&task, &values)
            .into_iter()
            .collect::<Vec<_>>(),
        ["sha256"]
    );
    let outputs = super::outputs(&task, &values, &facts).unwrap();
    assert!(outputs["sha256"].is_secret(), "{outputs:?}");
    assert_eq!(outputs["state"], Value::Text("on".into()));
    // Without a secret among the inputs all is as before.
    let plain = crate::catalog::Values::from_iter([
        ("want".to_owned(), Value::Text("on".into())),
        ("pass".to_owned(), Value::Text("no secret".into())),
    ]);
    assert!(!super::outputs(&task, &plain, &facts).unwrap()["sha256"].is_secret());
}
