//! The adapter for steps on `service:bao`: all of a round's questions over one connection, one list call a kind. Does not
//! bring OpenBAO up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable as _};
use futures::future::{BoxFuture, join_all};
use vaultrs::api::sys::responses::MountResponse;

use super::client::{BaoError, Client};
use super::session::Sessions;
use super::steps::{health, kv, mount, object, policy, random};
use crate::config::HostId;
use crate::probe::{Asked, Facts, Fault, ServiceReader};
use crate::run::{ActionContext, ServiceWriter, StepError};
use crate::target::inputs::wrong;

/// Names of the actions that it knows.
pub const SERVICE_ACTIONS: &[&str] = &[
    mount::ACTION,
    policy::ACTION,
    kv::ACTION,
    random::ACTION,
    object::ACTION,
    health::ACTION,
];

/// How often it is asked whether there is an active node yet.
const ELECTION_POLL: Duration = Duration::from_secs(1);

/// How many times: an election takes a few seconds, a start from a cold disk up to half a minute.
const ELECTION_POLLS: usize = 60;

/// Observes and changes OpenBAO.
pub struct BaoService {
    sessions: Arc<Sessions>,
}

/// What a round of questions shares.
struct Round {
    client: Arc<Client>,
    mounts: Result<HashMap<String, MountResponse>, BaoError>,
}

impl BaoService {
    /// Makes the adapter over the one connection.
    #[must_use]
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self { sessions }
    }

    async fn round(&self, asked: &[Asked<'_>]) -> Result<Round, BaoError> {
        let hosts = asked.first().map_or(&[][..], |asked| asked.hosts);
        let client = self.sessions.active(hosts).await?;
        let mounts = if asked.iter().any(|asked| asked.action == mount::ACTION) {
            vaultrs::sys::mount::list(client.api())
                .await
                .map_err(BaoError::from)
        } else {
            Ok(HashMap::new())
        };
        Ok(Round { client, mounts })
    }

    /// Waits for an active node: after restarts the members first have to elect one.
    async fn leader(&self, hosts: &[HostId]) -> Result<Arc<Client>, BaoError> {
        (|| self.sessions.active(hosts))
            .retry(
                ConstantBuilder::new()
                    .with_delay(ELECTION_POLL)
                    .with_max_times(ELECTION_POLLS),
            )
            .when(|error| matches!(error, BaoError::NoLeader(_) | BaoError::Down(_)))
            .await
    }

    async fn answer(&self, round: &Round, asked: &Asked<'_>) -> Result<Facts, Fault> {
        let client = &round.client;
        match asked.action {
            mount::ACTION => {
                mount::facts(asked.inputs, round.mounts.as_ref().map_err(Clone::clone)?)
            }
            policy::ACTION => policy::facts(client, asked.inputs).await,
            kv::ACTION => kv::facts(client, asked.inputs).await,
            random::ACTION => random::facts(client, asked.inputs).await,
            object::ACTION => object::facts(client, asked.inputs).await,
            health::ACTION => health::facts(&self.sessions, client, asked.hosts).await,
            other => Err(Fault {
                message: format!("OpenBAO's adapter knows no action `{other}`"),
                not_yet: false,
            }),
        }
    }
}

impl ServiceReader for BaoService {
    fn observe<'a>(&'a self, asked: &'a [Asked<'a>]) -> BoxFuture<'a, Vec<Result<Facts, Fault>>> {
        Box::pin(async move {
            match self.round(asked).await {
                Ok(round) => join_all(asked.iter().map(|asked| self.answer(&round, asked))).await,
                Err(error) => asked.iter().map(|_| Err(error.clone().into())).collect(),
            }
        })
    }
}

impl ServiceWriter for BaoService {
    fn apply<'a>(
        &'a self,
        action: &'a str,
        context: &'a ActionContext<'a>,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let client = self.leader(context.hosts).await?;
            match action {
                mount::ACTION => mount::apply(&client, context.inputs).await,
                policy::ACTION => policy::apply(&client, context.inputs).await,
                kv::ACTION => kv::apply(&client, context.inputs).await,
                random::ACTION => random::apply(&client, context.inputs).await,
                object::ACTION => object::apply(&client, context.inputs).await,
                health::ACTION => health::wait(&self.sessions, &client, context).await,
                other => Err(wrong(format!(
                    "OpenBAO's adapter knows no action `{other}`"
                ))),
            }
        })
    }
}
