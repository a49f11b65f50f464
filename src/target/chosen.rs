//! `group.chosen`: one host of a group is the one that begins something, all hosts have its name in a file, and it stays
//! the same for as long as it has what it began. Does not know what that is.

use futures::future::BoxFuture;

use super::group::{self, Answer, fact, place};
use super::inputs;
use crate::catalog::{Collector, Value, Values};
use crate::probe::{ActionProbe, Fact, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, StepError};
use crate::secret::Secret;

/// Chooses a host and tells the others.
pub struct Chosen;

const MODE: &str = "0644";

/// Returns the name that counts: the one that is written down, unless its host has lost what it began and others have
/// it; then the first of those. Nothing written and nothing begun: the first host.
fn choose<'a>(answers: &[Answer<'a>]) -> Option<&'a str> {
    let mut begun = answers
        .iter()
        .filter(|(_, facts)| fact(facts, "begun", "kind") != "absent")
        .map(|(name, _)| *name);
    let written = |name: &str| {
        answers
            .iter()
            .any(|(_, facts)| fact(facts, "", "content").trim() == name)
    };
    let first_begun = begun.clone().next();
    begun
        .find(|name| written(name))
        .or(first_begun)
        .or_else(|| {
            let mut names = answers.iter().map(|(name, _)| *name);
            names.find(|name| written(name))
        })
        .or_else(|| answers.first().map(|(name, _)| *name))
}

/// Returns the names of the hosts whose file says something else.
fn without(answers: &[Answer<'_>], chosen: &str) -> Vec<String> {
    answers
        .iter()
        .filter(|(_, facts)| fact(facts, "", "content").trim() != chosen)
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

impl ActionProbe for Chosen {
    fn questions(&self, inputs: &Values) -> Result<Vec<Question>, String> {
        let mut questions = group::questions("", inputs::text(inputs, "path")?);
        for question in &mut questions {
            question.secret = false;
        }
        questions.push(Question {
            collector: Collector::Stat,
            prefix: "begun".to_owned(),
            subject: Value::Text(inputs::text(inputs, "begun")?.to_owned()),
            secret: false,
        });
        Ok(questions)
    }

    fn facts(&self, _inputs: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        let answers = group::all(seen)?;
        let mut facts = Facts::new();
        if let Some(chosen) = choose(&answers) {
            facts.insert("without".into(), without(&answers, chosen).join(" ").into());
            facts.insert("name".into(), Fact::from(chosen));
        }
        Ok(facts)
    }
}

impl Action for Chosen {
    fn name(&self) -> &'static str {
        "group.chosen"
    }

    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let path = inputs::text(context.inputs, "path").map_err(inputs::wrong)?;
            let answers = group::all(context.seen).map_err(group::failed)?;
            let Some(chosen) = choose(&answers) else {
                return Err(inputs::wrong("there is no host to choose".to_owned()));
            };
            (context.say)(&format!("it is {chosen}"));
            place(
                context,
                &[(path, MODE, &Secret::new(chosen.to_owned()))],
                true,
            )
            .await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{file, seen, values};
    use super::*;

    /// Name, what its file says, whether it has begun.
    type Host<'a> = (&'a str, Option<&'a str>, bool);

    fn told(hosts: &[Host<'_>]) -> (String, String) {
        let seen: Vec<Seen> = hosts
            .iter()
            .map(|(name, says, begun)| {
                let mut facts = file("", *says);
                let kind = if *begun { "directory" } else { "absent" };
                facts.insert("begun.kind".into(), kind.into());
                seen(name, facts)
            })
            .collect();
        let inputs = values(&[("path", "/f"), ("begun", "/d")]);
        let facts = Chosen.facts(&inputs, &seen).unwrap();
        (
            facts["name"].value().to_owned(),
            facts["without"].value().to_owned(),
        )
    }

    #[test]
    fn the_first_at_first_and_then_the_same_for_as_long_as_it_has_it() {
        let table: &[(&[Host<'_>], (&str, &str))] = &[
            // From nothing.
            (&[("a", None, false), ("b", None, false)], ("a", "a b")),
            // Cut off while it was written down.
            (&[("a", None, false), ("b", Some("b"), false)], ("b", "a")),
            // As it should be.
            (&[("a", Some("a"), true), ("b", Some("a"), true)], ("a", "")),
            // A new host.
            (&[("a", Some("a"), true), ("b", None, false)], ("a", "b")),
            // The chosen one came back empty.
            (
                &[
                    ("a", None, false),
                    ("b", Some("a"), true),
                    ("c", Some("a"), true),
                ],
                ("b", "a b c"),
            ),
            (
                &[("a", Some("a"), false), ("b", Some("a"), true)],
                ("b", "a b"),
            ),
            // And joined again: it stays with the other.
            (&[("a", Some("b"), true), ("b", Some("b"), true)], ("b", "")),
            // It left the group.
            (
                &[("b", Some("a"), true), ("c", Some("a"), true)],
                ("b", "b c"),
            ),
            // Made by hand.
            (&[("a", None, false), ("b", None, true)], ("b", "a b")),
        ];
        for (hosts, (name, without)) in table {
            assert_eq!(
                told(hosts),
                ((*name).to_owned(), (*without).to_owned()),
                "{hosts:?}"
            );
        }
    }

    #[test]
    fn nobody_is_chosen_while_one_is_silent() {
        let silent = Seen {
            answer: Err(Fault {
                message: "no route".into(),
                not_yet: false,
            }),
            ..seen("b", Facts::new())
        };
        let fault = Chosen
            .facts(&values(&[]), &[seen("a", Facts::new()), silent])
            .unwrap_err();
        assert_eq!(fault.message, "b: no route");
    }
}
