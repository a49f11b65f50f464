//! Invariants of the board under random graphs, limits, outcomes, orders of ending and interruptions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::run::work::Node;

/// One random run: nodes may only need earlier ones, so there is no circle.
#[derive(Debug, Clone)]
struct Case {
    nodes: Vec<Option<Node>>,
    depths: Vec<u32>,
    jobs: u32,
    /// How many steps may be started together.
    together: u32,
    /// How each step ends if it gets as far.
    outcomes: Vec<Final>,
    /// Whether a step needs no doing.
    settled: Vec<bool>,
    /// Which of the running ends next.
    choices: Vec<usize>,
    /// After how many endings the run is told to stop.
    stop_after: Option<usize>,
}

fn outcome() -> impl Strategy<Value = Final> {
    prop_oneof![
        6 => Just(Final::Ran),
        2 => Just(Final::Satisfied),
        1 => Just(Final::Failed),
        1 => Just(Final::Unreachable),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    (1_usize..40, 1_usize..6).prop_flat_map(|(steps, lanes)| {
        let node = (
            prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            prop::collection::btree_set(0..u32::try_from(lanes).unwrap(), 0..3),
            0_u64..5,
            prop::bool::weighted(0.9),
            prop::bool::weighted(0.7),
        );
        (
            prop::collection::vec(node, steps),
            prop::collection::vec(1_u32..4, lanes),
            (1_u32..8, 1_u32..7),
            prop::collection::vec(outcome(), steps),
            prop::collection::vec(prop::bool::weighted(0.2), steps),
            prop::collection::vec(any::<usize>(), steps),
            prop::option::weighted(0.3, 0..steps),
        )
            .prop_map(
                |(raw, depths, (jobs, together), outcomes, settled, choices, stop_after)| {
                    let nodes = raw
                        .into_iter()
                        .enumerate()
                        .map(|(at, (needs, lanes, weight, part, social))| {
                            let mut needs: Vec<StepId> = if at == 0 {
                                Vec::new()
                            } else {
                                needs
                                    .iter()
                                    .map(|index| StepId(u32::try_from(index.index(at)).unwrap()))
                                    .collect()
                            };
                            needs.sort_unstable();
                            needs.dedup();
                            let lanes: Vec<LaneId> = lanes.into_iter().map(LaneId).collect();
                            let with = match lanes.as_slice() {
                                [only] if social => Some(*only),
                                _ => None,
                            };
                            part.then_some(Node {
                                needs,
                                lanes,
                                weight,
                                free: false,
                                with,
                            })
                        })
                        .collect();
                    Case {
                        nodes,
                        depths,
                        jobs,
                        together,
                        outcomes,
                        settled,
                        choices,
                        stop_after,
                    }
                },
            )
    })
}

/// What a run of the board looked like.
#[derive(Debug, Default, PartialEq, Eq)]
struct History {
    started: Vec<StepId>,
    ended: BTreeMap<StepId, (Final, Option<StepId>)>,
    most: u32,
    /// Steps that were started together.
    parties: Vec<Vec<StepId>>,
}

impl History {
    fn end(&mut self, step: StepId, state: Final, by: Option<StepId>) {
        let before = self.ended.insert(step, (state, by));
        assert_eq!(before, None, "step {} ended twice", step.0);
    }

    fn fall(&mut self, fallen: &[Fallen]) {
        for one in fallen {
            self.end(one.step, one.state, one.by);
        }
    }
}

/// Plays `case` to its end and checks what must hold at every moment.
fn play(case: &Case) -> History {
    let work = Work::new(case.nodes.clone(), case.depths.clone()).unwrap();
    let mut board = Board::new(&work, case.jobs).together(case.together);
    let mut history = History::default();
    let mut running: Vec<StepId> = Vec::new();
    for turn in 0.. {
        if case.stop_after == Some(turn) {
            let fallen = board.close();
            history.fall(&fallen);
        }
        while let Some(step) = board.next_ready() {
            if case.settled[step.0 as usize] {
                let fallen = board.end(step, Final::Satisfied);
                history.end(step, Final::Satisfied, None);
                history.fall(&fallen);
            } else {
                board.queue(step);
            }
        }
        loop {
            let party = board.start();
            if party.is_empty() {
                break;
            }
            assert!(party.len() <= case.together as usize);
            for step in &party {
                for need in &work.node(*step).needs {
                    assert!(
                        history.ended[need].0.is_done(),
                        "{step:?} started before {need:?} was done"
                    );
                }
                assert!(
                    party.len() == 1
                        || work.node(*step).with.is_some()
                            && work.node(*step).with == work.node(party[0]).with,
                    "{step:?} travels with what it may not: {party:?}"
                );
            }
            history.started.extend(&party);
            running.extend(&party);
            history.parties.push(party);
        }
        history.most = history.most.max(board.running());
        let under_way: Vec<&Vec<StepId>> = history
            .parties
            .iter()
            .filter(|party| party.iter().any(|step| running.contains(step)))
            .collect();
        assert_eq!(board.running() as usize, under_way.len());
        assert!(board.running() <= case.jobs);
        let used = |lane: LaneId| {
            under_way
                .iter()
                .filter(|party| work.node(party[0]).lanes.contains(&lane))
                .count()
        };
        for (lane, depth) in (0..).map(LaneId).zip(&case.depths) {
            assert!(used(lane) <= *depth as usize, "{lane:?} is over its depth");
        }
        // Nothing waits that could run.
        if board.running() < case.jobs {
            for step in work
                .ids()
                .filter(|step| board.state(*step) == State::Queued)
            {
                assert!(
                    work.node(step)
                        .lanes
                        .iter()
                        .any(|lane| used(*lane) >= case.depths[lane.0 as usize] as usize),
                    "{step:?} waits for nothing"
                );
            }
        }
        if running.is_empty() {
            break;
        }
        let step = running.swap_remove(case.choices[turn % case.choices.len()] % running.len());
        let state = case.outcomes[step.0 as usize];
        let fallen = board.end(step, state);
        history.end(step, state, None);
        history.fall(&fallen);
    }
    let mut counts = Counts::default();
    for (state, _) in history.ended.values() {
        counts.add(*state);
    }
    assert_eq!(counts, *board.counts());
    history
}

proptest! {
    #[test]
    fn limits_and_needs_hold_and_every_step_ends_once(case in case()) {
        let history = play(&case);
        let parts = case.nodes.iter().flatten().count();
        prop_assert_eq!(history.ended.len(), parts, "a step has no final state, or one that it should not have");
    }

    #[test]
    fn blocked_is_what_needs_a_step_in_trouble_and_nothing_else(mut case in case()) {
        case.stop_after = None;
        let history = play(&case);
        let work = Work::new(case.nodes.clone(), case.depths.clone()).unwrap();
        for step in work.ids() {
            let node = work.node(step);
            let (state, by) = history.ended[&step];
            let held_up = node.needs.iter().any(|need| !history.ended[need].0.is_done());
            prop_assert_eq!(state == Final::Blocked, held_up);
            prop_assert_ne!(state, Final::Skipped);
            if let Some(by) = by {
                // The named step is a real cause, and one that stands before this step.
                prop_assert!(history.ended[&by].0.is_trouble());
                let mut before = node.needs.clone();
                let mut reached = false;
                while let Some(need) = before.pop() {
                    reached |= need == by;
                    before.extend(&work.node(need).needs);
                }
                prop_assert!(reached);
            }
            prop_assert_eq!(by.is_some(), state == Final::Blocked);
        }
    }

    #[test]
    fn in_company_every_step_ends_as_it_would_have_alone(mut case in case()) {
        case.stop_after = None;
        let together = play(&case);
        case.together = 1;
        let alone = play(&case);
        let states = |history: &History| -> Vec<(StepId, Final)> {
            history.ended.iter().map(|(step, (state, _))| (*step, *state)).collect()
        };
        prop_assert_eq!(states(&together), states(&alone));
        prop_assert!(alone.parties.iter().all(|party| party.len() == 1));
    }

    #[test]
    fn nothing_starts_after_an_interruption(mut case in case(), after in 0_usize..20) {
        case.stop_after = None;
        let whole = play(&case);
        case.stop_after = Some(after);
        let cut = play(&case);
        prop_assert!(whole.started.starts_with(&cut.started));
        for (step, (state, _)) in &cut.ended {
            prop_assert!(*state != Final::Skipped || !cut.started.contains(step));
        }
    }

    #[test]
    fn the_same_run_takes_the_same_way(case in case()) {
        prop_assert_eq!(play(&case), play(&case));
    }
}

fn chain_beside_singles() -> Work {
    // 0, 1 and 2 stand alone; 3 is the head of a chain of three.
    let mut nodes = vec![
        Node {
            weight: 1,
            ..Node::default()
        };
        6
    ];
    nodes[4].needs = vec![StepId(3)];
    nodes[5].needs = vec![StepId(4)];
    Work::new(nodes.into_iter().map(Some).collect(), Vec::new()).unwrap()
}

#[test]
fn the_longest_path_to_the_end_goes_first() {
    let work = chain_beside_singles();
    let mut board = Board::new(&work, 2);
    while let Some(step) = board.next_ready() {
        board.queue(step);
    }
    assert_eq!(board.start(), [StepId(3)]);
    assert_eq!(board.start(), [StepId(0)]);
    assert_eq!(board.start(), []);
}

#[test]
fn a_pool_of_one_lets_them_through_one_by_one() {
    let nodes = vec![
        Node {
            lanes: vec![LaneId(0)],
            weight: 1,
            ..Node::default()
        };
        3
    ];
    let work = Work::new(nodes.into_iter().map(Some).collect(), vec![1]).unwrap();
    let mut board = Board::new(&work, 9);
    while let Some(step) = board.next_ready() {
        board.queue(step);
    }
    for expected in 0..3 {
        let step = board.start();
        assert_eq!(step, [StepId(expected)]);
        assert_eq!(board.start(), []);
        board.end(StepId(expected), Final::Ran);
    }
    assert_eq!(board.counts().ran, 3);
}

#[test]
fn those_started_together_take_one_place_until_the_last_has_ended() {
    let node = |with| Node {
        lanes: vec![LaneId(0)],
        weight: 1,
        with,
        ..Node::default()
    };
    let mates = vec![Some(node(Some(LaneId(0)))); 3];
    let nodes = mates.into_iter().chain([Some(node(None))]).collect();
    let work = Work::new(nodes, vec![1]).unwrap();
    let mut board = Board::new(&work, 9).together(9);
    while let Some(step) = board.next_ready() {
        board.queue(step);
    }
    assert_eq!(board.start(), [StepId(0), StepId(1), StepId(2)]);
    for step in 0..3 {
        assert_eq!((board.start(), board.running()), (vec![], 1));
        board.end(StepId(step), Final::Ran);
    }
    assert_eq!(board.start(), [StepId(3)]);
}

#[test]
fn a_place_that_is_meant_for_one_that_goes_with_others_goes_to_the_next() {
    let node = |weight, with, needs: &[u32]| {
        Some(Node {
            needs: needs.iter().copied().map(StepId).collect(),
            lanes: vec![LaneId(0)],
            weight,
            with,
            ..Node::default()
        })
    };
    let host = Some(LaneId(0));
    let nodes = vec![
        node(9, None, &[]),
        node(9, None, &[]),
        node(3, host, &[]),
        node(3, host, &[]),
        node(1, None, &[]),
        node(9, host, &[0]),
    ];
    let work = Work::new(nodes, vec![2]).unwrap();
    let mut board = Board::new(&work, 9).together(9);
    let queue = |board: &mut Board<'_>| {
        while let Some(step) = board.next_ready() {
            board.queue(step);
        }
    };
    queue(&mut board);
    assert_eq!(
        (board.start(), board.start()),
        (vec![StepId(0)], vec![StepId(1)])
    );
    assert_eq!(board.start(), []);
    // Both places are free; 2 and 3 are called up for them, and go with 5.
    board.end(StepId(0), Final::Ran);
    board.end(StepId(1), Final::Ran);
    queue(&mut board);
    assert_eq!(board.start(), [StepId(5), StepId(2), StepId(3)]);
    assert_eq!(board.start(), [StepId(4)]);
}
