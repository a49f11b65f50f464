//! What expressions select, and what is said of those that select nothing.

use super::*;
use crate::graph::fixture;
use proptest::prelude::*;

fn stack() -> Graph {
    fixture::graph(
        "host bao-1 openbao
         host bao-2 openbao
         host node9 worker
         base:packages@bao-1
         base:packages@bao-2
         base:packages@node9
         openbao:package[curl]@bao-1 < base:packages@bao-1
         openbao:package[jq]@bao-1 < base:packages@bao-1
         openbao:config@bao-1 < openbao:package[curl]@bao-1 openbao:package[jq]@bao-1
         openbao:config@bao-2 < base:packages@bao-2
         gather openbao:ready < openbao:config@bao-1 openbao:config@bao-2
         group openbao:init < openbao:ready
         service bao openbao:kv < openbao:init
         k3s:agent@node9 < base:packages@node9 openbao:kv",
    )
}

fn labels(graph: &Graph, set: &StepSet) -> Vec<String> {
    set.iter()
        .map(|id| graph.step(id).label.to_string())
        .collect()
}

fn asked(text: &str) -> Vec<String> {
    let graph = stack();
    let selection = graph.select(&Selector::parse(text).unwrap()).unwrap();
    labels(&graph, &selection.asked)
}

#[test]
fn words_name_steps() {
    assert_eq!(asked("stack").len(), 11);
    assert_eq!(
        asked("openbao:config"),
        ["openbao:config@bao-1", "openbao:config@bao-2"]
    );
    assert_eq!(asked("openbao:config@bao-1"), ["openbao:config@bao-1"]);
    assert_eq!(
        asked("role:worker"),
        ["base:packages@node9", "k3s:agent@node9"]
    );
    assert_eq!(
        asked("openbao:package[curl]"),
        ["openbao:package[curl]@bao-1"]
    );
    assert_eq!(asked("@node9"), ["base:packages@node9", "k3s:agent@node9"]);
    assert_eq!(asked("*:pack*@bao-?").len(), 4);
    assert_eq!(asked("k3s"), ["k3s:agent@node9"]);
    assert_eq!(asked("openbao:kv"), ["openbao:kv"]);
}

#[test]
fn expressions_combine_them() {
    assert_eq!(asked("base - @node9"), asked("base & role:openbao"));
    assert_eq!(asked("base + k3s").len(), 4);
    assert_eq!(asked("base+k3s"), asked("base + k3s"));
}

#[test]
fn operators_bind_as_written_down() {
    assert_eq!(
        asked("k3s + base & @bao-1"),
        ["base:packages@bao-1", "k3s:agent@node9"]
    );
    assert_eq!(asked("(k3s + base) & @bao-1"), ["base:packages@bao-1"]);
    assert_eq!(
        asked("base - @bao-* + base:packages@bao-1"),
        ["base:packages@bao-1", "base:packages@node9"]
    );
    assert_eq!(asked("base - (@bao-1 + @node9)"), ["base:packages@bao-2"]);
    assert_eq!(asked("base -@node9"), asked("base - @node9"));
}

#[test]
fn what_is_needed_comes_along_and_what_is_excluded_is_held() {
    let graph = stack();
    let all = graph
        .select(&Selector::parse("openbao:config@bao-1").unwrap())
        .unwrap();
    assert_eq!(
        labels(&graph, &all.pulled_in()),
        [
            "base:packages@bao-1",
            "openbao:package[curl]@bao-1",
            "openbao:package[jq]@bao-1"
        ]
    );
    assert!(all.held.is_empty());

    let without = graph
        .select(&Selector::parse("openbao - @bao-2").unwrap())
        .unwrap();
    assert_eq!(labels(&graph, &without.held), ["openbao:config@bao-2"]);
    // What only the held step needs is not looked at.
    assert!(!labels(&graph, &without.steps).contains(&"base:packages@bao-2".to_owned()));

    // Excluded, but nothing needs it: not looked at at all.
    let none = graph
        .select(&Selector::parse("openbao - @node9").unwrap())
        .unwrap();
    assert!(none.held.is_empty());
}

#[test]
fn several_expressions_are_one_selection() {
    let graph = stack();
    let selectors =
        ["openbao - @bao-2", "openbao:config@bao-2"].map(|text| Selector::parse(text).unwrap());
    let both = graph.select_any(&selectors).unwrap();
    // Asked for by name in one, so no longer excluded; what it needs on that host still is.
    assert_eq!(labels(&graph, &both.held), ["base:packages@bao-2"]);
    assert_eq!(labels(&graph, &both.asked).len(), 7);
}

fn said(text: &str) -> String {
    let error = match Selector::parse(text) {
        Err(error) => error,
        Ok(selector) => stack().select(&selector).unwrap_err(),
    };
    let hint = error
        .hint
        .map(|hint| format!(" ({hint})"))
        .unwrap_or_default();
    format!(
        "{} at `{}`{hint}",
        error.message, &error.expression[error.at]
    )
}

#[test]
fn errors_point_at_the_place_and_suggest() {
    let cases = [
        (
            "opnbao",
            "no component `opnbao` in this stack at `opnbao` (did you mean `openbao`?)",
        ),
        (
            "stack - @node8",
            "no host `node8` in this stack at `node8` (did you mean `node9`?)",
        ),
        (
            "openbao:confg",
            "no step `confg` in openbao at `confg` (did you mean `config`?)",
        ),
        (
            "openbao:package[git]",
            "no item `git` of this step at `git` (items: curl, jq)",
        ),
        (
            "openbao:config@node9",
            "`openbao:config` does not run on `node9` at `node9` (it runs on bao-1, bao-2)",
        ),
        (
            "k3s@bao-1",
            "`k3s` does not run on `bao-1` at `bao-1` (it runs on node9)",
        ),
        (
            "openbao:kv@bao-1",
            "`openbao:kv` does not run on single hosts at `bao-1`",
        ),
        (
            "node9",
            "no component `node9` in this stack at `node9` (`node9` is a host: write `@node9`)",
        ),
        (
            "worker",
            "no component `worker` in this stack at `worker` (`worker` is a role: write `role:worker`)",
        ),
        (
            "role:wrker",
            "no host has role `wrker` at `wrker` (did you mean `worker`?)",
        ),
        (
            "x-*",
            "no component `x-*` in this stack at `x-*` (components: base, k3s, openbao)",
        ),
        ("k3s - k3s", "nothing is left of `k3s - k3s` at `k3s - k3s`"),
        ("k3s &", "a name is missing at the end at ``"),
        (
            "k3s openbao",
            "two names without an operator between them at `openbao` (put `+` (either), `-` (without) or `&` (both) between them)",
        ),
        ("(k3s", "`(` is never closed at `(`"),
        ("k3s)", "`)` without `(` at `)`"),
        ("k3s + + base", "a name is missing here at `+`"),
        (
            "- @node9",
            "nothing stands before `-` at `-` (to take it from everything: `stack - @node9`)",
        ),
        ("openbao:package[x", "`[` is never closed at `[`"),
        ("base + openbao:", "no step after `:` at `:`"),
        ("role:", "no step after `:` at `:`"),
        ("", "a name is missing at the end at ``"),
    ];
    for (text, wanted) in cases {
        assert_eq!(said(text), wanted, "{text}");
    }
}

/// Expressions over the fixture's names, with their meaning as a plain predicate over sets.
fn expressions() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "stack",
        "base",
        "openbao",
        "k3s",
        "@bao-*",
        "@node9",
        "role:openbao",
        "openbao:config",
    ]);
    word.prop_map(str::to_owned)
        .prop_recursive(4, 24, 2, |inner| {
            (
                inner.clone(),
                prop::sample::select(vec!["+", "-", "&"]),
                inner,
            )
                .prop_map(|(a, operator, b)| format!("({a} {operator} {b})"))
        })
}

proptest! {
    #[test]
    fn a_selection_is_closed(text in expressions()) {
        let graph = stack();
        if let Ok(found) = graph.select(&Selector::parse(&text).unwrap()) {
            for id in found.steps.iter() {
                prop_assert!(!found.held.contains(id), "{text}: in and held");
                for need in &graph.step(id).needs {
                    prop_assert!(found.steps.contains(*need) || found.held.contains(*need), "{text}");
                }
            }
            for id in found.asked.iter() {
                prop_assert!(found.steps.contains(id));
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a-k3s:@*+&() \\[\\]é-]{0,24}") {
        if let Ok(selector) = Selector::parse(&text) {
            let _ = stack().select(&selector);
        }
    }
}

#[test]
fn errors_are_drawn_as_those_of_a_config() {
    let error = Selector::parse("stack - @né +").unwrap_err();
    let problems = Problems::from(error);
    let span = problems.list[0].span.unwrap();
    assert_eq!((span.start, span.line, span.column), (14, 1, 14));
    let style = crate::config::Style {
        colour: false,
        unicode: false,
        width: 80,
    };
    let drawn = crate::config::render(&problems, style);
    assert!(
        drawn.contains("a name is missing at the end") && drawn.contains("stack - @né +"),
        "{drawn}"
    );
}
