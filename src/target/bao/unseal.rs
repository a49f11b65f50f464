//! `bao.unseal`: opens a sealed node with Shamir's shares, from the answer that is still on a host or from the person.
//! Does not know who the holders are.

use futures::future::BoxFuture;

use super::answer::Answer;
use super::client::{BaoError, Client, authority};
use super::node;
use crate::catalog::Values;
use crate::config::HostId;
use crate::probe::{ActionProbe, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, StepError};
use crate::secret::Secret;
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
        let Some(host) = host_of(context, name) else {
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

/// Returns the host of that name.
pub fn host_of(context: &ActionContext<'_>, name: &str) -> Option<HostId> {
    let at = context
        .stack
        .hosts
        .iter()
        .position(|host| &*host.name == name)?;
    u32::try_from(at).ok().map(HostId)
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
    let status = |key: Option<Secret<String>>| async move {
        vaultrs::sys::unseal(
            client.api(),
            key.as_ref().map(|key| key.expose().clone()),
            None,
            None,
        )
        .await
        .map_err(BaoError::from)
    };
    if !client.health().await?.sealed {
        return Ok(());
    }
    if let Some(answer) = answer {
        for key in answer.usable() {
            if !status(Some(Secret::new(key.clone()))).await?.sealed {
                return Ok(());
            }
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
        match status(Some(Secret::new(key.expose().trim().to_owned()))).await {
            Ok(now) if !now.sealed => return Ok(()),
            Ok(now) => (context.say)(&format!(
                "{} of {} shares given",
                now.progress, now.threshold
            )),
            Err(error) => (context.say)(&format!("not taken: {error}")),
        }
    }
}
