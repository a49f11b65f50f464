//! `bao.health`: one cluster, open everywhere, every host a voter, autopilot content. Mends nothing: it waits and tells.

use std::collections::BTreeSet;
use std::time::Duration;

use backon::{ConstantBuilder, Retryable as _};
use futures::future::join_all;
use vaultrs::api;

use super::super::client::{BaoError, Client};
use super::super::endpoint::{ReadAutopilot, ReadRaft};
use super::super::session::Sessions;
use crate::config::HostId;
use crate::probe::{Facts, Fault};
use crate::run::{ActionContext, StepError};
use crate::target::group::fact;
use crate::target::inputs::{self, wrong};

/// Its name.
pub const ACTION: &str = "bao.health";

/// Asks every node how it is, and the active one what raft and autopilot say.
pub async fn facts(sessions: &Sessions, client: &Client, hosts: &[HostId]) -> Result<Facts, Fault> {
    let looks = join_all(hosts.iter().map(|&host| async move {
        let name = sessions.stack().host(host).name.to_string();
        (name, sessions.health(host, hosts).await)
    }))
    .await;
    let mut open = BTreeSet::new();
    let mut clusters = BTreeSet::new();
    let mut versions = BTreeSet::new();
    let mut trouble = Vec::new();
    for (name, look) in looks {
        match look {
            Ok(health) if health.sealed => trouble.push(format!("{name} is sealed")),
            Ok(health) => {
                open.insert(name);
                versions.insert(health.version);
                clusters.extend(health.cluster_id);
            }
            Err(error) => trouble.push(format!("{name}: {error}")),
        }
    }
    let mut facts: Facts = [
        ("open".to_owned(), joined(open).into()),
        ("clusters".to_owned(), clusters.len().to_string().into()),
        ("versions".to_owned(), joined(versions).into()),
        ("trouble".to_owned(), trouble.join("; ").into()),
    ]
    .into();
    // Another storage than raft has none of these.
    match api::exec_with_result(client.api(), ReadRaft {})
        .await
        .map_err(BaoError::from)
    {
        Ok(raft) => {
            let servers = raft.config.servers;
            let leader = servers.iter().find(|server| server.leader);
            facts.insert(
                "leader".into(),
                leader.map_or("absent", |server| &server.node_id).into(),
            );
            let voters = servers
                .iter()
                .filter(|server| server.voter)
                .map(|server| server.node_id.clone())
                .collect();
            facts.insert("voters".into(), joined(voters).into());
            let autopilot = api::exec_with_result(client.api(), ReadAutopilot {})
                .await
                .map_err(BaoError::from)?;
            facts.insert("healthy".into(), autopilot.healthy.to_string().into());
            facts.insert(
                "failure_tolerance".into(),
                autopilot.failure_tolerance.to_string().into(),
            );
            let ill = autopilot
                .servers
                .into_iter()
                .filter(|(_, server)| !server.healthy)
                .map(|(name, _)| name)
                .collect();
            facts.insert("unhealthy".into(), joined(ill).into());
        }
        Err(BaoError::Api {
            status: 400 | 404, ..
        }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(facts)
}

fn joined(names: BTreeSet<String>) -> String {
    names.into_iter().collect::<Vec<_>>().join(" ")
}

/// Waits until all is well.
pub async fn wait(
    sessions: &Sessions,
    client: &Client,
    context: &ActionContext<'_>,
) -> Result<(), StepError> {
    let seconds = inputs::int(context.inputs, "seconds").map_err(wrong)?;
    let storage = inputs::text(context.inputs, "storage").map_err(wrong)?;
    let members: BTreeSet<String> = inputs::list(context.inputs, "members")
        .map_err(wrong)?
        .into_iter()
        .map(str::to_owned)
        .collect();
    let members = joined(members);
    (context.say)("waiting for every node to be open and a voter");
    let look = || async {
        let facts = facts(sessions, client, context.hosts)
            .await
            .map_err(|fault| fault.message)?;
        let raft = storage != "raft"
            || (fact(&facts, "", "voters") == members && fact(&facts, "", "healthy") == "true");
        if raft && fact(&facts, "", "open") == members && fact(&facts, "", "clusters") == "1" {
            return Ok(());
        }
        let told: Vec<String> = facts
            .iter()
            .map(|(name, fact)| format!("{name}: {}", fact.value()))
            .collect();
        Err(told.join("\n"))
    };
    let times = usize::try_from(seconds.max(1)).unwrap_or(1) * 2;
    look.retry(
        ConstantBuilder::default()
            .with_delay(Duration::from_millis(500))
            .with_max_times(times),
    )
    .await
    .map_err(|told| StepError::Failed {
        message: format!("OpenBAO is still not healthy after {seconds} seconds"),
        output: told,
        hint: None,
        status: None,
    })
}
