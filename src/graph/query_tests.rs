//! Queries on a small graph by name, and on random ones against what they mean.

use proptest::prelude::*;

use super::*;
use crate::graph::fixture;

fn diamond() -> Graph {
    fixture::graph(
        "host a
         x:one@a
         x:two@a < x:one@a
         x:three@a < x:one@a
         x:four@a < x:two@a x:three@a
         x:five@a < x:four@a
         x:alone@a",
    )
}

fn set(graph: &Graph, names: &[&str]) -> StepSet {
    let mut set = StepSet::none(graph.steps.len());
    for id in graph
        .ids()
        .filter(|id| names.contains(&&*graph.step(*id).label.step))
    {
        set.insert(id);
    }
    set
}

fn names(graph: &Graph, ids: impl IntoIterator<Item = StepId>) -> String {
    let names: Vec<&str> = ids
        .into_iter()
        .map(|id| &*graph.step(id).label.step)
        .collect();
    names.join(" ")
}

#[test]
fn what_needs_what() {
    let graph = diamond();
    let links = Links::new(&graph);
    let of = |wanted: &[&str]| set(&graph, wanted);
    assert_eq!(
        names(&graph, links.needs(&of(&["four"]), None).iter()),
        "one two three four"
    );
    assert_eq!(
        names(&graph, links.needs(&of(&["five"]), Some(1)).iter()),
        "four five"
    );
    assert_eq!(
        names(&graph, links.dependants(&of(&["two"]), None).iter()),
        "two four five"
    );
    assert_eq!(
        names(&graph, links.dependants(&of(&["one"]), Some(1)).iter()),
        "one two three"
    );
    assert_eq!(
        names(
            &graph,
            links.all_paths(&of(&["five"]), &of(&["two"])).iter()
        ),
        "two four five"
    );
    assert_eq!(
        names(
            &graph,
            links.some_path(&of(&["five"]), &of(&["one"])).unwrap()
        ),
        "five four two one"
    );
    assert_eq!(links.some_path(&of(&["one"]), &of(&["five"])), None);
    assert_eq!(
        names(
            &graph,
            links.some_path(&of(&["one"]), &of(&["one"])).unwrap()
        ),
        "one"
    );
}

#[test]
fn waves_and_the_longest_path() {
    let graph = diamond();
    let links = Links::new(&graph);
    let all = StepSet::all(graph.steps.len());
    let waves: Vec<String> = links
        .waves(&all)
        .unwrap()
        .into_iter()
        .map(|wave| names(&graph, wave))
        .collect();
    assert_eq!(waves, ["one alone", "two three", "four", "five"]);
    let slow = |id: StepId| {
        if &*graph.step(id).label.step == "three" {
            10
        } else {
            1
        }
    };
    let (path, sum) = links.longest_path(&all, slow).unwrap();
    assert_eq!(
        (names(&graph, path).as_str(), sum),
        ("one three four five", 13)
    );
    let part = set(&graph, &["one", "two", "five"]);
    assert_eq!(
        names(&graph, links.longest_path(&part, |_| 1).unwrap().0),
        "one two"
    );
    assert_eq!(
        links
            .longest_path(&StepSet::none(graph.steps.len()), |_| 1)
            .unwrap(),
        (vec![], 0)
    );
}

#[test]
fn a_circle_is_named() {
    let graph = fixture::graph(
        "host a
         x:before@a
         x:one@a < x:before@a x:three@a
         x:two@a < x:one@a
         x:three@a < x:two@a
         x:after@a < x:three@a",
    );
    let error = Links::new(&graph).order().unwrap_err();
    assert_eq!(
        error.to_string(),
        "steps need each other in a circle: x:one@a needs x:three@a needs x:two@a needs x:one@a"
    );
    let own = fixture::graph("host a\nx:one@a < x:one@a");
    assert_eq!(
        Links::new(&own).order().unwrap_err().labels,
        ["x:one@a", "x:one@a"]
    );
}

/// Random graphs of which each step needs some of those before it.
fn graphs() -> impl Strategy<Value = Graph> {
    prop::collection::vec(any::<u16>(), 1..14).prop_map(|rows| {
        let mut text = "host a\n".to_owned();
        for (n, bits) in rows.iter().enumerate() {
            text.push_str(&format!("x:s{n}@a < "));
            for need in (0..n).filter(|need| bits >> need & 1 == 1) {
                text.push_str(&format!("x:s{need}@a "));
            }
            text.push('\n');
        }
        fixture::graph(&text)
    })
}

proptest! {
    #[test]
    fn every_step_comes_after_what_it_needs(graph in graphs()) {
        let links = Links::new(&graph);
        let all = StepSet::all(graph.steps.len());
        let waves = links.waves(&all).unwrap();
        let at = |id: StepId| waves.iter().position(|wave| wave.contains(&id)).unwrap();
        let order = links.order().unwrap();
        for id in graph.ids() {
            let needs = &graph.step(id).needs;
            let wanted = needs.iter().map(|need| at(*need) + 1).max().unwrap_or(0);
            prop_assert_eq!(at(id), wanted, "no step could come earlier");
            for need in needs {
                prop_assert!(order.iter().position(|o| o == need) < order.iter().position(|o| *o == id));
            }
        }
        let (path, sum) = links.longest_path(&all, |_| 1).unwrap();
        prop_assert_eq!((path.len(), sum), (waves.len(), waves.len() as u64));
        for pair in path.windows(2) {
            prop_assert!(graph.step(pair[1]).needs.contains(&pair[0]));
        }
    }

    #[test]
    fn both_directions_agree(graph in graphs()) {
        let links = Links::new(&graph);
        let one = |id: StepId| {
            let mut set = StepSet::none(graph.steps.len());
            set.insert(id);
            set
        };
        for a in graph.ids() {
            for b in graph.ids() {
                let reached = links.needs(&one(a), None).contains(b);
                prop_assert_eq!(reached, links.dependants(&one(b), None).contains(a));
                let path = links.some_path(&one(a), &one(b));
                prop_assert_eq!(reached, path.is_some());
                for pair in path.unwrap_or_default().windows(2) {
                    prop_assert!(graph.step(pair[0]).needs.contains(&pair[1]));
                }
                let between = links.all_paths(&one(a), &one(b));
                prop_assert_eq!(reached, !between.is_empty());
            }
        }
    }
}
