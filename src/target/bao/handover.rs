//! `bao.token`: hands the key shares to the person, gives Foundry a token of its own, and only then revokes the root token
//! and shreds what init left. Does not know how the person keeps them.

use std::fmt::Write as _;
use std::time::Duration;

use futures::future::BoxFuture;
use vaultrs::api::token::requests::CreateOrphanTokenRequest;

use super::answer::Answer;
use super::client::{self, BaoError, Client};
use super::token_name;
use crate::catalog::Values;
use crate::config::HostId;
use crate::probe::{ActionProbe, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, Safekeeping, StepError};
use crate::secret::Secret;
use crate::target::group::{self, fact};
use crate::target::inputs::{self, wrong};
use crate::target::script::Script;

/// Hands over what init left.
pub struct Handover;

impl ActionProbe for Handover {
    fn questions(&self, _: &Values) -> Result<Vec<Question>, String> {
        Ok(Vec::new())
    }

    fn facts(&self, _: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        let answers = group::all(seen)?;
        let holders: Vec<&str> = answers
            .iter()
            .filter(|(_, facts)| fact(facts, "", "answer") == "there")
            .map(|(name, _)| *name)
            .collect();
        let word = if holders.is_empty() {
            "absent".to_owned()
        } else {
            format!("on {}", holders.join(" and "))
        };
        Ok([("answer".to_owned(), word.into())].into())
    }
}

impl Action for Handover {
    fn name(&self) -> &'static str {
        "bao.token"
    }

    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let path = inputs::text(context.inputs, "answer").map_err(wrong)?;
            for seen in context.seen {
                let holds = seen
                    .answer
                    .as_ref()
                    .is_ok_and(|facts| fact(facts, "", "answer") == "there");
                if !holds {
                    continue;
                }
                let writer = context.writers.writer(seen.host).await?;
                if let Some(answer) = Answer::read(&*writer, path).await? {
                    hand_over(context, &answer).await?;
                    settle(context, &answer).await?;
                }
                shred(context, seen.host, path).await?;
            }
            Ok(())
        })
    }
}

/// Gives the person the shares and the seal key.
async fn hand_over(context: &ActionContext<'_>, answer: &Answer) -> Result<(), StepError> {
    let shares = answer.shares();
    let stack = &context.stack.name;
    let mut text = format!(
        "OpenBAO of stack {stack}: {} key shares, any {} of {} together\n",
        shares.kind,
        shares.threshold,
        shares.keys.len()
    );
    for (at, key) in shares.keys.iter().enumerate() {
        let _ = writeln!(text, "  share {}: {key}", at + 1);
    }
    let seal_key = inputs::secret(context.inputs, "seal_key").map_err(wrong)?;
    if !seal_key.expose().is_empty() {
        let _ = writeln!(
            text,
            "Seal key, in hex (also on each of its hosts, root's alone):\n  {}",
            seal_key.expose()
        );
    }
    let note = if shares.kind == "unseal" {
        "Without enough of the shares a sealed OpenBAO can't be opened again: all secrets in it are lost. Nobody else has them."
    } else {
        "OpenBAO unseals itself with the seal key. Should all of its hosts be lost, a backup opens only with that key; the recovery key shares make a new root token when Foundry's own access is lost. Nobody else has them."
    };
    let kept = Safekeeping {
        title: format!("openbao {} keys of stack {stack}", shares.kind),
        note: note.to_owned(),
        text: Secret::new(text),
    };
    context
        .keeper
        .hand_over(&kept)
        .await
        .map_err(|words| StepError::Failed {
            message: format!("the key shares could not be handed over: {words}"),
            output: String::new(),
            hint: Some(
                "they stay on the host, in a file that only root can read, until they are"
                    .to_owned(),
            ),
            status: None,
        })
}

/// Stores a token of Foundry's own, makes sure that it works, and revokes the root token.
async fn settle(context: &ActionContext<'_>, answer: &Answer) -> Result<(), StepError> {
    let mut client = active(context).await?;
    let name = token_name(context.stack);
    if !works(context, &mut client, &name).await? {
        client.set_token(&answer.root_token());
        let policy = inputs::text(context.inputs, "name").map_err(wrong)?;
        let rules = inputs::text(context.inputs, "policy").map_err(wrong)?;
        let period = inputs::text(context.inputs, "period").map_err(wrong)?;
        (context.say)("making a token of Foundry's own");
        let root = |error: BaoError| {
            match error {
            BaoError::Denied(words) => StepError::Failed {
                message: format!("the root token that init answered with is no longer good ({words}), and Foundry has no token of its own"),
                output: String::new(),
                hint: Some("have the holders of the key shares make a root token (docs/openbao.md, \"Locked out\"), make a token with it, and store that with `foundry secret login`".to_owned()),
                status: None,
            },
            other => other.into(),
        }
        };
        vaultrs::sys::policy::set(client.api(), policy, rules)
            .await
            .map_err(|error| root(error.into()))?;
        let made = vaultrs::token::new_orphan(
            client.api(),
            Some(
                CreateOrphanTokenRequest::builder()
                    .display_name("foundry")
                    .policies(vec![policy.to_owned()])
                    .period(period),
            ),
        )
        .await
        .map_err(|error| root(error.into()))?;
        let token = Secret::new(made.client_token);
        context
            .keeper
            .store(&name, &token)
            .map_err(|words| wrong(format!("Foundry's token could not be stored: {words}")))?;
        if !works(context, &mut client, &name).await? {
            return Err(wrong(
                "the token that was stored does not work when read back".to_owned(),
            ));
        }
    }
    (context.say)("revoking the root token");
    client.set_token(&answer.root_token());
    match vaultrs::token::revoke_self(client.api())
        .await
        .map_err(BaoError::from)
    {
        // Revoked by a run that was cut off after it.
        Ok(()) | Err(BaoError::Denied(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether there is a stored token and OpenBAO takes it.
async fn works(
    context: &ActionContext<'_>,
    client: &mut Client,
    name: &str,
) -> Result<bool, StepError> {
    let Some(token) = context.keeper.load(name).map_err(wrong)? else {
        return Ok(false);
    };
    client.set_token(&token);
    match vaultrs::token::lookup_self(client.api())
        .await
        .map_err(BaoError::from)
    {
        Ok(_) => Ok(true),
        Err(BaoError::Denied(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns a connection to the active node.
async fn active(context: &ActionContext<'_>) -> Result<Client, StepError> {
    let path = inputs::text(context.inputs, "ca").map_err(wrong)?;
    let Some(&first) = context.hosts.first() else {
        return Err(wrong("OpenBAO has no hosts".to_owned()));
    };
    let writer = context.writers.writer(first).await?;
    let ca = client::authority(&*writer, path).await?;
    Ok(client::active(context.writers, context.hosts, &ca).await?)
}

async fn shred(context: &ActionContext<'_>, host: HostId, path: &str) -> Result<(), StepError> {
    let writer = context.writers.writer(host).await?;
    Script::new(
        "if [ -e \"$answer\" ]; then shred -u -- \"$answer\"; fi\nrm -f -- \"$answer.part\"\n",
        Duration::from_secs(60),
        &[("answer", path)],
    )
    .run(&*writer)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::fixture::{facts, seen};

    #[test]
    fn the_hosts_that_still_hold_an_answer_are_named() {
        let table = [
            ("absent", "absent", "absent"),
            ("there", "absent", "on a"),
            ("there", "there", "on a and b"),
        ];
        for (a, b, wanted) in table {
            let seen = [
                seen("a", facts(&[("answer", a)])),
                seen("b", facts(&[("answer", b)])),
            ];
            let found = Handover.facts(&Values::new(), &seen).unwrap();
            assert_eq!(found["answer"].value(), wanted);
        }
    }
}
