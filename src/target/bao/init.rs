//! `bao.init`: initialises OpenBAO on one host, once, and only when every host of the group said that it is new. Does not
//! hand out keys.

use std::time::Duration;

use futures::future::BoxFuture;

use super::answer::Answer;
use super::client::{BaoError, Client, authority};
use super::node::Node;
use super::unseal::unseal;
use crate::catalog::Values;
use crate::config::HostId;
use crate::probe::{ActionProbe, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, StepError};
use crate::target::group::{self, fact};
use crate::target::inputs::{self, wrong};
use crate::target::script::Script;

/// Initialises a cluster.
pub struct Init;

/// What all hosts together say.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// All are new.
    New,
    /// At least one belongs to a cluster, of this id where one is unsealed.
    Initialised(Option<String>),
    /// One was initialised, and its answer is whole but not in its place yet.
    Unfinished(HostId),
    /// One was initialised, and its answer never came whole.
    Lost(HostId),
}

impl State {
    fn read(seen: &[Seen]) -> Result<Self, Fault> {
        let answers = group::all(seen)?;
        let mut silent = None;
        let mut open: Option<(&str, String)> = None;
        let mut members = Vec::new();
        for (host, (name, facts)) in seen.iter().zip(&answers) {
            match Node::read(facts) {
                Node::New => {}
                Node::Silent(words) => silent = silent.or(Some((*name, words))),
                Node::Sealed => members.push(host),
                Node::Open(id) => {
                    members.push(host);
                    match &open {
                        Some((other, theirs)) if *theirs != id => {
                            return Err(Fault {
                                message: format!(
                                    "{other} and {name} belong to two clusters ({theirs} and {id}): decide which one stays, empty the other's data folder by hand, and run again"
                                ),
                                not_yet: false,
                            });
                        }
                        Some(_) => {}
                        None => open = Some((name, id)),
                    }
                }
            }
        }
        let marked = |name: &str| {
            answers
                .iter()
                .any(|(_, facts)| fact(facts, "", "answer") == name)
        };
        let answer = |host: &Seen| match &host.answer {
            Ok(facts) => fact(facts, "", "answer").to_owned(),
            Err(_) => String::new(),
        };
        if let Some(host) = members.iter().find(|host| answer(host) == "part") {
            return Ok(Self::Unfinished(host.host));
        }
        // Once another has joined, somebody had its keys.
        if let [only] = members[..]
            && answer(only) == "begun"
            && !marked("whole")
        {
            return Ok(Self::Lost(only.host));
        }
        match (members.is_empty(), silent) {
            (false, _) => Ok(Self::Initialised(open.map(|(_, id)| id))),
            (true, Some((name, words))) => Err(Fault {
                message: format!(
                    "OpenBAO on {name} does not answer, so it can't be told whether it is initialised: {words}"
                ),
                not_yet: true,
            }),
            (true, None) => Ok(Self::New),
        }
    }
}

impl ActionProbe for Init {
    fn questions(&self, _: &Values) -> Result<Vec<Question>, String> {
        Ok(Vec::new())
    }

    fn facts(&self, _: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        let (word, id) = match State::read(seen)? {
            State::New => ("absent", None),
            State::Initialised(id) => ("yes", id),
            State::Unfinished(_) | State::Lost(_) => ("broken off", None),
        };
        Ok([
            ("initialized".to_owned(), word.into()),
            (
                "cluster_id".to_owned(),
                id.unwrap_or_else(|| "absent".to_owned()).into(),
            ),
        ]
        .into())
    }
}

impl Action for Init {
    fn name(&self) -> &'static str {
        "bao.init"
    }

    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let host = match State::read(context.seen).map_err(group::failed)? {
                State::Initialised(_) => return Ok(()),
                State::Unfinished(host) => host,
                State::Lost(host) => {
                    recover(context, host).await?;
                    host
                }
                State::New => match context.hosts.first() {
                    Some(&host) => host,
                    None => return Err(wrong("no host to initialise".to_owned())),
                },
            };
            init(context, host).await
        })
    }
}

async fn init(context: &ActionContext<'_>, host: HostId) -> Result<(), StepError> {
    let text = |name| inputs::text(context.inputs, name).map_err(wrong);
    let number = |name| {
        inputs::int(context.inputs, name)
            .map(|number| number.to_string())
            .map_err(wrong)
    };
    let pgp_keys = inputs::list(context.inputs, "pgp_keys").map_err(wrong)?;
    let (answer, ca, seal) = (text("answer")?, text("ca")?, text("seal")?);
    let writer = context.writers.writer(host).await?;
    (context.say)(&format!(
        "initialising on {}",
        context.stack.host(host).name
    ));
    let pgp_keys: Vec<&str> = pgp_keys.iter().map(|key| key.trim()).collect();
    Script::new(
        include_str!("init.sh"),
        Duration::from_secs(180),
        &[
            ("answer", answer),
            ("api", text("api")?),
            ("ca", ca),
            ("program", text("program")?),
            ("seal", seal),
            ("shares", &number("shares")?),
            ("threshold", &number("threshold")?),
            ("pgp_keys", &pgp_keys.join("\n.\n")),
        ],
    )
    .run(&*writer)
    .await?;
    let client = Client::connect(&*writer, &authority(&*writer, ca).await?).await?;
    if seal == "shamir"
        && let Some(answer) = Answer::read(&*writer, answer).await?
    {
        (context.say)("unsealing the first node");
        unseal(context, &client, Some(&answer)).await?;
    }
    (context.say)("waiting for it to become active");
    active(&client).await?;
    Ok(())
}

/// Waits until the node leads.
async fn active(client: &Client) -> Result<(), BaoError> {
    use backon::{ConstantBuilder, Retryable as _};
    let look = || async {
        let health = client.health().await?;
        match (health.sealed, health.standby) {
            (true, _) => Err(BaoError::Sealed),
            (false, true) => Err(BaoError::NoLeader("it is a standby".to_owned())),
            (false, false) => Ok(()),
        }
    };
    look.retry(
        ConstantBuilder::default()
            .with_delay(Duration::from_millis(300))
            .with_max_times(200),
    )
    .await
}

async fn recover(context: &ActionContext<'_>, host: HostId) -> Result<(), StepError> {
    let text = |name| inputs::text(context.inputs, name).map_err(wrong);
    let data = text("data")?;
    if data.is_empty() {
        return Err(wrong(
            "an earlier init broke off before its answer was kept, and its data lies in a database: empty that, then run again".to_owned(),
        ));
    }
    (context.say)(
        "an earlier init broke off before its answer was kept: starting over, its data moved aside",
    );
    let writer = context.writers.writer(host).await?;
    Script::new(
        include_str!("recover.sh"),
        Duration::from_secs(120),
        &[
            ("answer", text("answer")?),
            ("data", data),
            ("unit", text("unit")?),
        ],
    )
    .run(&*writer)
    .await?;
    // New again once it answers.
    let ca = authority(&*writer, text("ca")?).await?;
    let client = Client::connect(&*writer, &ca).await?;
    use backon::{ConstantBuilder, Retryable as _};
    (|| client.health())
        .retry(
            ConstantBuilder::default()
                .with_delay(Duration::from_millis(300))
                .with_max_times(100),
        )
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::fixture::{facts, seen};

    fn new(name: &str) -> Seen {
        seen(
            name,
            facts(&[
                ("initialized", "false"),
                ("sealed", "true"),
                ("answer", "absent"),
            ]),
        )
    }

    fn open(name: &str, id: &str) -> Seen {
        seen(
            name,
            facts(&[
                ("initialized", "true"),
                ("sealed", "false"),
                ("cluster_id", id),
                ("answer", "whole"),
            ]),
        )
    }

    fn silent(name: &str) -> Seen {
        seen(name, facts(&[("error", "connection refused")]))
    }

    #[test]
    fn all_new_and_all_answered_is_new() {
        assert_eq!(State::read(&[new("a"), new("b")]), Ok(State::New));
    }

    #[test]
    fn one_that_is_initialised_is_enough_even_beside_silent_ones() {
        let wanted = Ok(State::Initialised(Some("id".into())));
        assert_eq!(State::read(&[new("a"), open("b", "id")]), wanted);
        assert_eq!(State::read(&[silent("a"), open("b", "id")]), wanted);
        let sealed = seen("c", facts(&[("initialized", "true"), ("sealed", "true")]));
        assert_eq!(
            State::read(&[sealed, new("d")]),
            Ok(State::Initialised(None))
        );
    }

    #[test]
    fn a_silent_one_among_new_ones_is_a_fault_never_an_init() {
        let fault = State::read(&[new("a"), silent("b")]).unwrap_err();
        assert!(fault.not_yet);
        assert!(
            fault.message.contains("b does not answer"),
            "{}",
            fault.message
        );
    }

    #[test]
    fn an_unreachable_one_is_a_fault() {
        let mut gone = new("b");
        gone.answer = Err(Fault {
            message: "no route".into(),
            not_yet: false,
        });
        assert_eq!(
            State::read(&[open("a", "id"), gone]).unwrap_err().message,
            "b: no route"
        );
    }

    #[test]
    fn two_clusters_are_a_fault_by_name() {
        let fault = State::read(&[open("a", "one"), open("b", "two")]).unwrap_err();
        assert!(!fault.not_yet);
        assert!(
            fault.message.contains("a and b belong to two clusters"),
            "{}",
            fault.message
        );
    }

    #[test]
    fn an_init_whose_answer_never_came_is_told_apart() {
        let mark = |initialized: &str, answer: &str| {
            seen(
                "a",
                facts(&[
                    ("initialized", initialized),
                    ("sealed", "false"),
                    ("cluster_id", "id"),
                    ("answer", answer),
                ]),
            )
        };
        let read = |first| State::read(&[first, new("b")]);
        assert_eq!(read(mark("true", "begun")), Ok(State::Lost(HostId(0))));
        assert_eq!(read(mark("true", "part")), Ok(State::Unfinished(HostId(0))));
        assert_eq!(
            read(mark("true", "absent")),
            Ok(State::Initialised(Some("id".into())))
        );
        assert_eq!(read(mark("false", "begun")), Ok(State::New));
        let joined = State::read(&[mark("true", "begun"), open("b", "id")]);
        assert_eq!(joined, Ok(State::Initialised(Some("id".into()))));
    }
}
