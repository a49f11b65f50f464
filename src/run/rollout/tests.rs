//! Invariants of rollouts under random fleets, orders of steps, budgets and failures, played on the real board; and on the
//! real scheduler.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use futures::future::BoxFuture;
use proptest::prelude::*;

use super::*;
use crate::catalog::{Canary, Rollout, Share};
use crate::run::board::{Board, Fallen, State};
use crate::run::conduct::Limits;
use crate::run::schedule::{Begun, Ended, Execute, Observe, Together, schedule};
use crate::run::stop::Stop;
use crate::run::work::{LaneId, Node, Work};

/// A fleet, what is to be done on it, and how it goes.
#[derive(Debug, Clone)]
struct Case {
    rules: Vec<Rule>,
    nodes: Vec<Node>,
    /// Rule and host of each step, if it is bound.
    on: Vec<Option<(RuleId, HostId)>>,
    jobs: u32,
    /// How many steps of a host may be started together.
    together: u32,
    outcomes: Vec<Final>,
    settled: Vec<Option<Final>>,
    choices: Vec<usize>,
    /// How each look at a batch ends.
    checks: Vec<bool>,
    stop_after: Option<usize>,
}

fn share() -> impl Strategy<Value = Share> {
    prop_oneof![
        (1_u32..6).prop_map(Share::Count),
        (1_u32..=100).prop_map(Share::Percent)
    ]
}

fn limit() -> impl Strategy<Value = Share> {
    prop_oneof![
        (0_u32..4).prop_map(Share::Count),
        (0_u32..=60).prop_map(Share::Percent)
    ]
}

fn spec() -> impl Strategy<Value = Rollout> {
    (
        prop::option::of(prop_oneof![
            share().prop_map(Canary::Size),
            prop::collection::vec("[a-l]", 1..3).prop_map(Canary::Hosts)
        ]),
        prop::option::of(prop::collection::vec(share(), 1..4)),
        limit(),
        prop::option::of(limit()),
        prop::option::of(share()),
    )
        .prop_map(
            |(canary, batches, failures, unreachable, unavailable)| Rollout {
                canary,
                batches,
                max_failures: Some(failures),
                max_unreachable: unreachable,
                max_unavailable: unavailable,
                ..Rollout::default()
            },
        )
}

fn outcome() -> impl Strategy<Value = Final> {
    prop_oneof![
        8 => Just(Final::Ran),
        1 => Just(Final::Satisfied),
        2 => Just(Final::Failed),
        1 => Just(Final::Unreachable),
    ]
}

const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

fn rule(name: &str, hosts: u32, spec: &Rollout) -> Rule {
    let hosts: Vec<HostId> = (0..hosts).map(HostId).collect();
    let (batches, canary) = batches(&hosts, spec, |host| NAMES[host.0 as usize]);
    let total = hosts.len();
    Rule {
        component: name.into(),
        batches,
        canary,
        max_failures: spec.max_failures.unwrap().at_most(total),
        max_unreachable: spec.max_unreachable.map(|share| share.at_most(total)),
        max_unavailable: spec
            .max_unavailable
            .map(|share| share.at_most(total).max(1)),
        ..Rule::default()
    }
}

fn case() -> impl Strategy<Value = Case> {
    let rules = prop::collection::vec((1_u32..=12, spec()), 1..3);
    (rules, 1_usize..60).prop_flat_map(|(rules, steps)| {
        let node = (
            prop::collection::vec(any::<prop::sample::Index>(), 0..3),
            any::<prop::sample::Index>(),
            0_u32..12,
            prop::bool::weighted(0.85),
        );
        (
            Just(rules),
            prop::collection::vec(node, steps),
            (1_u32..8, 1_u32..6),
            prop::collection::vec(outcome(), steps),
            prop::collection::vec(
                prop::option::weighted(
                    0.2,
                    prop_oneof![4 => Just(Final::Satisfied), 1 => Just(Final::Unreachable)],
                ),
                steps,
            ),
            prop::collection::vec(any::<usize>(), steps),
            prop::collection::vec(prop::bool::weighted(0.9), steps),
            prop::option::weighted(0.2, 0..steps),
        )
            .prop_map(
                |(specs, raw, (jobs, together), outcomes, settled, choices, checks, stop_after)| {
                    let rules: Vec<Rule> = ["app", "web"]
                        .into_iter()
                        .zip(&specs)
                        .map(|(name, (hosts, spec))| rule(name, *hosts, spec))
                        .collect();
                    let mut nodes = Vec::new();
                    let mut on = Vec::new();
                    for (at, (needs, rule, host, bound)) in raw.into_iter().enumerate() {
                        let needs: BTreeSet<StepId> = needs
                            .iter()
                            .filter(|_| at > 0)
                            .map(|index| StepId(u32::try_from(index.index(at)).unwrap()))
                            .collect();
                        let rule = rule.index(rules.len());
                        let hosts = u32::try_from(rules[rule].hosts()).unwrap();
                        let lane = LaneId(host % hosts);
                        nodes.push(Node {
                            needs: needs.into_iter().collect(),
                            weight: 1,
                            lanes: vec![lane],
                            with: bound.then_some(lane),
                            ..Node::default()
                        });
                        on.push(
                            bound.then(|| {
                                (RuleId(u32::try_from(rule).unwrap()), HostId(host % hosts))
                            }),
                        );
                    }
                    Case {
                        rules,
                        nodes,
                        on,
                        jobs,
                        together,
                        outcomes,
                        settled,
                        choices,
                        checks,
                        stop_after,
                    }
                },
            )
    })
}

/// What an onlooker has noted: knows nothing of how rollouts count.
#[derive(Debug, Default)]
struct Notes {
    began: BTreeSet<StepId>,
    ended: BTreeMap<StepId, Final>,
    /// Failed looks at a batch, by rule.
    shut: BTreeSet<u32>,
    stops: Vec<(u32, String)>,
}

impl Notes {
    fn end(&mut self, step: StepId, state: Final) {
        assert_eq!(
            self.ended.insert(step, state),
            None,
            "step {} ended twice",
            step.0
        );
    }

    fn fall(&mut self, fallen: &[Fallen]) {
        fallen.iter().for_each(|one| self.end(one.step, one.state));
    }

    /// Returns the hosts of `rule` on which a step ended as `state`.
    fn hosts(&self, case: &Case, rule: u32, state: Final) -> BTreeSet<HostId> {
        self.ended
            .iter()
            .filter(|(_, ended)| **ended == state)
            .filter_map(|(step, _)| case.on(*step, rule))
            .collect()
    }
}

impl Case {
    fn on(&self, step: StepId, rule: u32) -> Option<HostId> {
        let (of, host) = self.on[step.0 as usize]?;
        (of.0 == rule).then_some(host)
    }

    fn work(&self) -> Work {
        let depths = vec![4; NAMES.len()];
        Work::new(self.nodes.iter().cloned().map(Some).collect(), depths).unwrap()
    }

    fn limits(&self) -> Limits {
        Limits {
            jobs: self.jobs,
            per_host: 4,
            together: self.together,
        }
    }

    fn rollouts(&self, work: &Work) -> Rollouts {
        Rollouts::new(self.rules.clone(), work, |step| self.on[step.0 as usize])
    }

    /// Returns all that `step` needs, however indirectly.
    fn upstream(&self, step: StepId) -> BTreeSet<StepId> {
        let mut found = BTreeSet::new();
        let mut open = self.nodes[step.0 as usize].needs.clone();
        while let Some(need) = open.pop() {
            if found.insert(need) {
                open.extend(&self.nodes[need.0 as usize].needs);
            }
        }
        found
    }

    fn batch(&self, rule: u32, host: HostId) -> usize {
        let batches = &self.rules[rule as usize].batches;
        batches
            .iter()
            .position(|batch| batch.contains(&host))
            .unwrap()
    }
}

/// Checks, at the moment when `step` begins, all that must hold then.
fn may_begin(case: &Case, notes: &Notes, step: StepId) {
    let Some((RuleId(id), host)) = case.on[step.0 as usize] else {
        return;
    };
    let rule = &case.rules[id as usize];
    let failed = notes.hosts(case, id, Final::Failed);
    let mut lost = notes.hosts(case, id, Final::Unreachable);
    lost.retain(|host| !failed.contains(host));
    let first = !notes
        .began
        .iter()
        .any(|began| case.on(*began, id) == Some(host));
    // No host begins once a budget is used up.
    if first {
        assert!(
            failed.len() <= rule.max_failures,
            "{step:?} begins after {} of {} failures",
            failed.len(),
            rule.max_failures
        );
        assert!(
            rule.max_unreachable.is_none_or(|most| lost.len() <= most),
            "{step:?} begins after {lost:?} were lost"
        );
        assert!(
            !notes.shut.contains(&id),
            "{step:?} begins though a gate stayed shut"
        );
    }
    if let Some(most) = rule.max_unavailable {
        let mut working: BTreeSet<HostId> = notes
            .began
            .iter()
            .filter(|began| !notes.ended.contains_key(began))
            .filter_map(|began| case.on(*began, id))
            .collect();
        working.insert(host);
        // At no moment are more hosts worked on than may be unavailable.
        assert!(
            working.len() <= most,
            "{step:?}: {working:?} are worked on, {most} may be"
        );
        // No host begins unless it may be unavailable besides those that are already. (One that is in the works goes on,
        // whatever becomes of others meanwhile.)
        if first {
            working.extend(failed.union(&lost));
            assert!(
                working.len() <= most,
                "{step:?}: {working:?} are unavailable, {most} may be"
            );
        }
    }
    // What comes in an earlier batch, and does not need a later one, has ended.
    let mine = case.batch(id, host);
    for other in (0..).map(StepId).take(case.nodes.len()) {
        let Some(on) = case.on(other, id) else {
            continue;
        };
        if case.batch(id, on) < mine && !notes.ended.contains_key(&other) {
            let forced = case
                .upstream(other)
                .iter()
                .filter_map(|need| case.on(*need, id))
                .any(|needed| case.batch(id, needed) >= mine);
            assert!(
                forced,
                "{step:?} of batch {mine} begins before {other:?} has ended"
            );
        }
    }
}

/// Plays `case` on the board to its end.
fn play(case: &Case) -> (Notes, Vec<(Arc<str>, HostCounts, bool)>) {
    let work = case.work();
    let mut board = Board::under(&work, case.jobs, case.rollouts(&work)).together(case.together);
    let mut notes = Notes::default();
    let mut running: Vec<StepId> = Vec::new();
    let mut checks = case.checks.iter().cycle();
    let mut looks: Vec<(RuleId, usize)> = Vec::new();
    for turn in 0.. {
        assert!(
            turn < 20 * case.nodes.len() + 100,
            "it does not come to an end"
        );
        if case.stop_after == Some(turn) {
            looks.clear();
            notes.fall(&board.close());
        }
        while let Some(step) = board.next_ready() {
            match case.settled[step.0 as usize] {
                Some(state) => {
                    let fallen = board.end(step, state);
                    notes.end(step, state);
                    notes.fall(&fallen);
                }
                None => board.queue(step),
            }
        }
        let advanced = board.advance();
        notes.fall(&advanced.fallen);
        for moved in advanced.moves {
            match moved {
                Move::Check { rule, batch } => looks.push((rule, batch)),
                Move::Stop { rule, why } => notes.stops.push((rule.0, why)),
                _ => {}
            }
        }
        loop {
            let party = board.start();
            if party.is_empty() {
                break;
            }
            for step in party {
                may_begin(case, &notes, step);
                assert!(notes.began.insert(step));
                running.push(step);
            }
        }
        let choice = case.choices[turn % case.choices.len()];
        if let Some((rule, batch)) =
            looks.pop_if(|_| running.is_empty() || choice.is_multiple_of(2))
        {
            let well = *checks.next().unwrap();
            if !well {
                notes.shut.insert(rule.0);
            }
            board.checked(
                rule,
                if well {
                    Ok(())
                } else {
                    Err(format!("batch {batch} is not well"))
                },
            );
            continue;
        }
        if running.is_empty() {
            let advanced = board.unstick();
            notes.fall(&advanced.fallen);
            if advanced.is_empty() {
                break;
            }
            for moved in advanced.moves {
                match moved {
                    Move::Check { rule, batch } => looks.push((rule, batch)),
                    Move::Stop { rule, why } => notes.stops.push((rule.0, why)),
                    _ => {}
                }
            }
            continue;
        }
        let step = running.swap_remove(choice % running.len());
        let state = case.outcomes[step.0 as usize];
        let fallen = board.end(step, state);
        notes.end(step, state);
        notes.fall(&fallen);
    }
    let all = (0..).map(StepId).take(case.nodes.len());
    for step in all {
        assert!(
            matches!(board.state(step), State::Ended(_)),
            "{step:?} has no final state"
        );
    }
    let counts = board
        .rollouts()
        .counts()
        .map(|(rule, counts, stopped)| (Arc::clone(&rule.component), counts, stopped.is_some()))
        .collect();
    (notes, counts)
}

/// Counts the hosts of a rule by what the onlooker noted.
fn recount(case: &Case, notes: &Notes, rule: u32) -> HostCounts {
    let mut counts = HostCounts::default();
    for host in case.rules[rule as usize].batches.iter().flatten() {
        let steps: Vec<StepId> = (0..)
            .map(StepId)
            .take(case.nodes.len())
            .filter(|step| case.on(*step, rule) == Some(*host))
            .collect();
        let any = |state: Final| steps.iter().any(|step| notes.ended[step] == state);
        *if any(Final::Failed) {
            &mut counts.failed
        } else if any(Final::Unreachable) {
            &mut counts.unreachable
        } else if steps.iter().all(|step| notes.ended[step].is_done()) {
            &mut counts.done
        } else if steps.iter().any(|step| notes.began.contains(step)) {
            &mut counts.unfinished
        } else {
            &mut counts.untouched
        } += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn budgets_hold_and_every_host_ends_in_exactly_one_state(case in case()) {
        let (notes, counts) = play(&case);
        prop_assert_eq!(notes.ended.len(), case.nodes.len());
        for (at, (_, counts, _)) in (0..).zip(&counts) {
            prop_assert_eq!(counts.hosts() as usize, case.rules[at as usize].hosts());
            prop_assert_eq!(*counts, recount(&case, &notes, at));
        }
    }

    #[test]
    fn without_failures_everything_is_done_unless_two_rollouts_are_in_each_others_way(mut case in case()) {
        case.rules.truncate(1);
        for on in &mut case.on {
            *on = on.filter(|(rule, _)| rule.0 == 0);
        }
        case.outcomes.fill(Final::Ran);
        case.checks.fill(true);
        case.settled.iter_mut().for_each(|settled| *settled = settled.filter(|state| state.is_done()));
        case.stop_after = None;
        let (notes, counts) = play(&case);
        prop_assert!(notes.ended.values().all(|state| state.is_done()));
        prop_assert_eq!(counts[0].1.done as usize, case.rules[0].hosts());
    }

    #[test]
    fn a_rollout_stops_for_a_reason(mut case in case()) {
        case.rules.truncate(1);
        for on in &mut case.on {
            *on = on.filter(|(rule, _)| rule.0 == 0);
        }
        case.stop_after = None;
        let (notes, counts) = play(&case);
        let rule = &case.rules[0];
        let failed = counts[0].1.failed as usize;
        let lost = counts[0].1.unreachable as usize;
        if let Some((_, why)) = notes.stops.first() {
            let spent = failed > rule.max_failures
                || rule.max_unreachable.is_some_and(|most| lost + failed > most)
                || rule.max_unavailable.is_some_and(|most| counts[0].1.hosts() as usize >= most)
                || !notes.shut.is_empty();
            prop_assert!(spent, "{why}");
        } else {
            // Nothing is skipped but for a rollout that stopped.
            prop_assert!(notes.ended.values().all(|state| *state != Final::Skipped));
            prop_assert!(failed <= rule.max_failures);
        }
    }

    #[test]
    fn every_host_is_in_exactly_one_batch(hosts in 1_u32..=12, spec in spec()) {
        let rule = rule("app", hosts, &spec);
        let all: Vec<HostId> = rule.batches.iter().flatten().copied().collect();
        let distinct: BTreeSet<HostId> = all.iter().copied().collect();
        prop_assert_eq!(all.len(), hosts as usize);
        prop_assert_eq!(distinct.len(), hosts as usize);
        prop_assert!(rule.batches.iter().all(|batch| !batch.is_empty()));
    }

    #[test]
    fn the_scheduler_holds_to_it_too(case in case()) {
        let work = case.work();
        let rollouts = case.rollouts(&work);
        let onlooker = Mutex::new(Notes::default());
        let executor = Arc::new(Random(case.clone()));
        let mut seen = Onlooker { case: &case, notes: &onlooker };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (counts, rollouts) = runtime.block_on(schedule(&work, case.limits(), rollouts, &executor, &Stop::new(), &mut seen));
        let notes = onlooker.into_inner().unwrap();
        prop_assert_eq!(counts.ended() as usize, case.nodes.len());
        for (at, (_, counts, _)) in (0..).zip(rollouts.counts()) {
            prop_assert_eq!(counts, recount(&case, &notes, at));
        }
    }
}

/// Ends steps as the case says, each after some turns of the runtime.
struct Random(Case);

impl Execute for Random {
    type Account = ();

    fn settle(&self, step: StepId) -> Option<Ended<()>> {
        let state = self.0.settled[step.0 as usize]?;
        Some(Ended { state, account: () })
    }

    fn execute(self: Arc<Self>, step: StepId) -> BoxFuture<'static, Ended<()>> {
        Box::pin(async move {
            for _ in 0..self.0.choices[step.0 as usize] % 5 {
                tokio::task::yield_now().await;
            }
            Ended {
                state: self.0.outcomes[step.0 as usize],
                account: (),
            }
        })
    }

    fn execute_together(
        self: Arc<Self>,
        steps: Vec<StepId>,
        _: Begun,
    ) -> BoxFuture<'static, Together<()>> {
        Box::pin(async move {
            let (mut ended, mut rest) = (Vec::new(), Vec::new());
            for step in steps {
                let work = Arc::clone(&self).execute(step);
                if self.0.choices[step.0 as usize].is_multiple_of(3) {
                    rest.push((step, work));
                } else {
                    ended.push((step, work.await));
                }
            }
            Together {
                ended,
                rest,
                left: Vec::new(),
            }
        })
    }

    fn check(
        self: Arc<Self>,
        _: Arc<Rule>,
        batch: usize,
    ) -> BoxFuture<'static, Result<(), String>> {
        let well = self.0.checks[batch % self.0.checks.len()];
        Box::pin(async move {
            if well {
                Ok(())
            } else {
                Err("not well".to_owned())
            }
        })
    }

    fn panicked(&self, _: StepId, message: &str) {
        panic!("{message}");
    }
}

struct Onlooker<'a> {
    case: &'a Case,
    notes: &'a Mutex<Notes>,
}

impl Observe<()> for Onlooker<'_> {
    fn started(&mut self, step: StepId) {
        let mut notes = self.notes.lock().unwrap();
        // Steps in company were let through all at once, and are told of as their turns come.
        if self.case.together == 1 {
            may_begin(self.case, &notes, step);
        }
        notes.began.insert(step);
    }

    fn ended(&mut self, step: StepId, state: Final, _: Option<()>) {
        self.notes.lock().unwrap().end(step, state);
    }

    fn fallen(&mut self, fallen: &Fallen) {
        self.notes.lock().unwrap().end(fallen.step, fallen.state);
    }

    fn moved(&mut self, rule: &Rule, moved: &Move) {
        if let Move::Stop { why, .. } = moved
            && why == "not well"
        {
            let at = self
                .case
                .rules
                .iter()
                .position(|other| other.component == rule.component);
            self.notes
                .lock()
                .unwrap()
                .shut
                .insert(u32::try_from(at.unwrap()).unwrap());
        }
    }

    fn stopping(&mut self, _: bool) {}
}

/// Three hosts, one of which may be unavailable. The last gets its turn by a step that comes late: its first step, held back
/// until then behind the one of the host before, goes along.
#[test]
fn a_host_that_begins_by_a_late_step_has_its_held_ones_go_along() {
    let node = |needs: &[u32]| Node {
        needs: needs.iter().copied().map(StepId).collect(),
        lanes: vec![LaneId(0)],
        weight: 1,
        free: false,
        with: None,
    };
    // 0: of nobody. 1, 2: the first host's, its second after 0. 3: of the second host. 4, 5: of the third, its second after 0.
    let nodes = vec![
        node(&[]),
        node(&[]),
        node(&[0]),
        node(&[]),
        node(&[]),
        node(&[0]),
    ];
    let on = [None, Some(0), Some(0), Some(1), Some(2), Some(2)];
    let case = Case {
        rules: vec![rule(
            "app",
            3,
            &Rollout {
                max_failures: Some(Share::Count(0)),
                max_unavailable: Some(Share::Count(1)),
                ..Rollout::default()
            },
        )],
        on: on
            .iter()
            .map(|host| host.map(|host| (RuleId(0), HostId(host))))
            .collect(),
        jobs: 2,
        together: 1,
        outcomes: vec![Final::Ran; 6],
        // The first host has done when 0 ends, before anything else gets to know.
        settled: vec![None, None, Some(Final::Satisfied), None, None, None],
        // What began last ends first.
        choices: vec![1, 0],
        checks: vec![true],
        stop_after: None,
        nodes,
    };
    let (notes, counts) = play(&case);
    assert!(
        notes.ended.values().all(|state| state.is_done()),
        "{:?} {:?}",
        notes.ended,
        notes.stops
    );
    assert_eq!(counts[0].1.done, 3);
}

#[test]
fn batches_are_as_said() {
    let hosts: Vec<HostId> = (0..10).map(HostId).collect();
    let sizes = |spec: &Rollout| {
        let (batches, canary) = batches(&hosts, spec, |host| NAMES[host.0 as usize]);
        (batches.iter().map(Vec::len).collect::<Vec<_>>(), canary)
    };
    let spec = |canary: Option<&str>, batches: &[&str]| Rollout {
        canary: canary.map(|text| text.parse().unwrap()),
        batches: (!batches.is_empty())
            .then(|| batches.iter().map(|text| text.parse().unwrap()).collect()),
        soak: Some(Duration::ZERO),
        ..Rollout::default()
    };
    for (canary, batches, expected, is_canary) in [
        (None, &[][..], vec![10], false),
        (None, &["4"], vec![4, 4, 2], false),
        (None, &["25%"], vec![3, 3, 3, 1], false),
        (Some("1"), &["1", "50%"], vec![1, 1, 5, 3], true),
        (Some("c,a,z"), &["5"], vec![2, 5, 3], true),
        (Some("z"), &["9"], vec![9, 1], false),
        (Some("100%"), &["1"], vec![10], true),
    ] {
        assert_eq!(
            sizes(&spec(canary, batches)),
            (expected, is_canary),
            "{canary:?} {batches:?}"
        );
    }
}
