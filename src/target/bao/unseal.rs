//! `bao.unseal`: opens a sealed node with Shamir's shares, from the answer that is still on a host or from the person.
//! Does not know who the holders are.

use std::time::Duration;

use backon::{ConstantBuilder, Retryable as _};
use futures::future::BoxFuture;

use super::answer::Answer;
use super::client::{BaoError, Client, authority};
use super::node;
use crate::catalog::Values;
use crate::probe::{ActionProbe, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, StepError};
use crate::target::inputs::{self, wrong};

/// Unseals a node.
pub struct Unseal;

impl ActionProbe for Unseal {
    fn questions(&self, _: &Values) -> Result<Vec<Question>, String> {
        Ok(Vec::new())
    }

    fn facts(&self, _: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        node::one_host(seen)
    }
}

impl Action for Unseal {
    fn name(&self) -> &'static str {
        "bao.unseal"
    }

    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let text = |name| inputs::text(context.inputs, name).map_err(wrong);
            let Some(&host) = context.hosts.first() else {
                return Err(wrong("this step is for one host".to_owned()));
            };
            let writer = context.writers.writer(host).await?;
            let ca = authority(&*writer, text("ca")?).await?;
            let client = Client::connect(&*writer, &ca).await?;
            let members = inputs::list(context.inputs, "members").map_err(wrong)?;
            let answer = find(context, &members, text("answer")?).await?;
            unseal(context, &client, answer.as_ref()).await
        })
    }
}

/// Returns the answer of the init if it still lies on one of the hosts named.
async fn find(
    context: &ActionContext<'_>,
    members: &[&str],
    path: &str,
) -> Result<Option<Answer>, StepError> {
    for name in members {
        let Some(host) = context.stack.host_named(name) else {
            continue;
        };
        if let Ok(writer) = context.writers.writer(host).await
            && let Some(answer) = Answer::read(&*writer, path).await?
        {
            return Ok(Some(answer));
        }
    }
    Ok(None)
}

/// What a share came to.
enum Given {
    /// The node is open.
    Open,
    /// It takes more of them.
    More(String),
}

/// Gives the node one share.
async fn give(client: &Client, key: &str) -> Result<Given, BaoError> {
    let now = vaultrs::sys::unseal(client.api(), Some(key.to_owned()), None, None).await?;
    if !now.sealed {
        return Ok(Given::Open);
    }
    if now.progress > 0 {
        return Ok(Given::More(format!(
            "{} of {} shares given",
            now.progress, now.threshold
        )));
    }
    // Enough of them, and no error: a node that just joined answers the leader's challenge with them, and opens then.
    opened(client).await.map(|()| Given::Open)
}

/// Waits until the node is unsealed.
///
/// # Errors
/// When it stays sealed for a minute.
pub async fn opened(client: &Client) -> Result<(), BaoError> {
    let look = || async {
        match client.health().await? {
            health if health.sealed => Err(BaoError::Sealed),
            _ => Ok(()),
        }
    };
    look.retry(
        ConstantBuilder::default()
            .with_delay(Duration::from_millis(300))
            .with_max_times(200),
    )
    .await
}

/// Gives the node shares until it is open: those of the answer, else the person's.
///
/// # Errors
/// When it stays sealed.
pub async fn unseal(
    context: &ActionContext<'_>,
    client: &Client,
    answer: Option<&Answer>,
) -> Result<(), StepError> {
    if !client.health().await?.sealed {
        return Ok(());
    }
    for key in answer.map(Answer::usable).unwrap_or_default() {
        if let Given::Open = give(client, key).await? {
            return Ok(());
        }
    }
    let name = context.hosts.first().map_or_else(String::new, |&host| {
        context.stack.host(host).name.to_string()
    });
    loop {
        let asked = context
            .keeper
            .ask(&format!("unseal key share for OpenBAO on {name}"))
            .await
            .map_err(wrong)?;
        let Some(key) = asked else {
            return Err(StepError::Failed {
                message: format!(
                    "OpenBAO on {name} is sealed, and there is nobody to ask for key shares"
                ),
                output: String::new(),
                hint: Some(
                    "run in a terminal, or unseal it with `bao operator unseal`, then run again"
                        .to_owned(),
                ),
                status: None,
            });
        };
        match give(client, key.expose().trim()).await {
            Ok(Given::Open) => return Ok(()),
            Ok(Given::More(words)) => (context.say)(&words),
            Err(error @ BaoError::Sealed) => return Err(error.into()),
            Err(error) => (context.say)(&format!("not taken: {error}")),
        }
    }
}
