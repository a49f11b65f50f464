//! What group actions share: files that every host of a group must have alike, never made while a host is silent.
//! Does not know what stands in the files.

use std::time::Duration;

use futures::future::try_join_all;

use super::script::Script;
use crate::catalog::{Collector, Value};
use crate::probe::{Facts, Fault, Question, Seen};
use crate::run::{ActionContext, StepError};
use crate::secret::Secret;

/// What the hosts of a group hold of one file.
#[derive(Debug)]
pub struct Agreed {
    /// Its text, the same wherever it is; `None` when no host has it.
    pub value: Option<Secret<String>>,
    /// Names of the hosts that lack it.
    pub without: Vec<String>,
}

/// A host's name and its facts.
pub type Answer<'a> = (&'a str, &'a Facts);

/// Returns the questions for one file that must be alike everywhere.
#[must_use]
pub fn questions(prefix: &str, path: &str) -> Vec<Question> {
    [(Collector::Stat, false), (Collector::Content, true)]
        .into_iter()
        .map(|(collector, secret)| Question {
            collector,
            prefix: prefix.to_owned(),
            subject: Value::Text(path.to_owned()),
            secret,
        })
        .collect()
}

/// Returns every host's facts, or the first fault by host: a silent host may hold what the others lack.
///
/// # Errors
/// When a host did not answer.
pub fn all(seen: &[Seen]) -> Result<Vec<Answer<'_>>, Fault> {
    seen.iter()
        .map(|host| match &host.answer {
            Ok(facts) => Ok((&*host.name, &**facts)),
            Err(fault) => Err(Fault {
                message: format!("{}: {}", host.name, fault.message),
                not_yet: fault.not_yet,
            }),
        })
        .collect()
}

/// Returns a fact, `absent` when it was not told.
#[must_use]
pub fn fact<'a>(facts: &'a Facts, prefix: &str, name: &str) -> &'a str {
    let found = if prefix.is_empty() {
        facts.get(name)
    } else {
        facts.get(&format!("{prefix}.{name}"))
    };
    found.map_or("absent", |fact| fact.value())
}

/// Returns the one text that all hosts which have the file hold in it.
///
/// # Errors
/// When two hosts hold different texts: neither is ever overwritten.
pub fn agree(answers: &[Answer<'_>], prefix: &str, path: &str) -> Result<Agreed, Fault> {
    let mut first: Option<Answer<'_>> = None;
    let mut without = Vec::new();
    for &(name, facts) in answers {
        if fact(facts, prefix, "kind") != "file" || fact(facts, prefix, "size") == "0" {
            without.push(name.to_owned());
            continue;
        }
        let here = fact(facts, prefix, "content").trim_end();
        match first {
            Some((other, theirs)) if fact(theirs, prefix, "content").trim_end() != here => {
                return Err(Fault {
                    message: format!(
                        "{other} and {name} hold different {path}: Foundry overwrites neither; move the wrong one away by hand"
                    ),
                    not_yet: false,
                });
            }
            Some(_) => {}
            None => first = Some((name, facts)),
        }
    }
    Ok(Agreed {
        value: first.map(|(_, facts)| Secret::new(fact(facts, prefix, "content").to_owned())),
        without,
    })
}

/// Returns the names of hosts on which the file is there with another owner or mode than root's alone.
#[must_use]
pub fn exposed(answers: &[Answer<'_>], prefix: &str, mode: &str) -> String {
    let names: Vec<&str> = answers
        .iter()
        .filter(|(_, facts)| {
            fact(facts, prefix, "kind") == "file"
                && (fact(facts, prefix, "mode") != mode
                    || fact(facts, prefix, "owner") != "root:root")
        })
        .map(|(name, _)| *name)
        .collect();
    names.join(" ")
}

/// Wraps words about inputs that make no sense as a fault.
#[must_use]
pub fn senseless(message: String) -> Fault {
    Fault {
        message,
        not_yet: false,
    }
}

/// Turns a probe's fault into a step's failure.
#[must_use]
pub fn failed(fault: Fault) -> StepError {
    StepError::Failed {
        message: fault.message,
        output: String::new(),
        hint: None,
        status: None,
    }
}

/// Writes root's own files (path, mode, text) on every host of the step's target. What is there already with the same text
/// is left; another text is replaced only if `replace` says so, else refused by the host itself.
///
/// # Errors
/// When a host could not be written to.
pub async fn place(
    context: &ActionContext<'_>,
    files: &[(&str, &str, &Secret<String>)],
    replace: bool,
) -> Result<(), StepError> {
    try_join_all(context.hosts.iter().map(|&host| async move {
        let writer = context.writers.writer(host).await?;
        for (path, mode, text) in files {
            Script::new(
                include_str!("place.sh"),
                Duration::from_secs(60),
                &[
                    ("path", path),
                    ("mode", mode),
                    ("text", text.expose()),
                    ("replace", if replace { "yes" } else { "no" }),
                ],
            )
            .run(&*writer)
            .await?;
        }
        Ok::<_, StepError>(())
    }))
    .await?;
    Ok(())
}
