//! `bao.raft-join`: has a node join the cluster of the active one, after trying the ways between the two. Does not make
//! clusters and leaves none.

use std::time::Duration;

use futures::future::BoxFuture;
use vaultrs::api;

use super::client::{BaoError, Client, PORT, authority};
use super::endpoint::JoinRaft;
use super::node;
use super::unseal::opened;
use crate::catalog::Values;
use crate::config::HostId;
use crate::probe::{ActionProbe, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, StepError, Writer};
use crate::target::inputs::{self, wrong};
use crate::target::script::Script;

/// Joins a node.
pub struct Join;

/// Port on which nodes speak to each other.
const CLUSTER_PORT: u16 = 8201;

impl ActionProbe for Join {
    fn questions(&self, _: &Values) -> Result<Vec<Question>, String> {
        Ok(Vec::new())
    }

    fn facts(&self, _: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        node::one_host(seen)
    }
}

/// A host of the cluster.
struct Member<'a> {
    name: &'a str,
    address: &'a str,
}

/// Returns the hosts of the cluster, by name.
fn members(inputs: &Values) -> Result<Vec<Member<'_>>, String> {
    let members = inputs::map(inputs, "members")?;
    Ok(members
        .into_iter()
        .map(|(name, address)| Member { name, address })
        .collect())
}

impl Action for Join {
    fn name(&self) -> &'static str {
        "bao.raft-join"
    }

    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            let text = |name| inputs::text(context.inputs, name).map_err(wrong);
            let (me, cluster) = (text("me")?, text("cluster_id")?);
            let members = members(context.inputs).map_err(wrong)?;
            let (Some(&host), Some(own)) = (
                context.hosts.first(),
                members.iter().find(|member| member.name == me),
            ) else {
                return Err(wrong(format!("{me} is not one of the cluster's hosts")));
            };
            let writer = context.writers.writer(host).await?;
            let ca = authority(&*writer, text("ca")?).await?;
            let client = Client::connect(&*writer, &ca).await?;
            let health = client.health().await?;
            if let Some(id) = &health.cluster_id
                && !health.sealed
            {
                if cluster.is_empty() || id == cluster {
                    return Ok(());
                }
                return Err(StepError::Failed {
                    message: format!(
                        "OpenBAO on {me} belongs to another cluster, {id}; the others' is {cluster}"
                    ),
                    output: String::new(),
                    hint: Some(format!(
                        "if nothing in it is needed, empty its data folder on {me} and run again; Foundry never throws a cluster away"
                    )),
                    status: None,
                });
            }
            let (leader, leader_host) = leader(context, &members, me, &ca, cluster).await?;
            let theirs = context.writers.writer(leader_host).await?;
            try_ways(own, leader, &*writer, &*theirs).await?;
            if !health.initialized {
                (context.say)(&format!("joining {}", leader.name));
                let answer = api::exec_with_no_result(
                    client.api(),
                    JoinRaft {
                        leader_api_addr: format!("https://{}:{PORT}", bracketed(leader.address)),
                        leader_ca_cert: ca.clone(),
                    },
                )
                .await
                .map_err(BaoError::from)?;
                if !answer.joined {
                    return Err(wrong(format!(
                        "{} did not let {me} join, and gave no reason",
                        leader.name
                    )));
                }
            }
            if text("seal")? == "shamir" {
                return Ok(());
            }
            (context.say)("waiting for it to unseal");
            opened(&client).await.map_err(|error| StepError::Failed {
                message: format!("{me} joined {}, but: {error}", leader.name),
                output: String::new(),
                hint: Some(format!("`journalctl -u openbao` on {me} tells more; a seal key that differs from the others' is one cause")),
                status: None,
            })
        })
    }
}

/// Returns the member that leads the cluster, and its host.
async fn leader<'m>(
    context: &ActionContext<'_>,
    members: &'m [Member<'m>],
    me: &str,
    ca: &str,
    cluster: &str,
) -> Result<(&'m Member<'m>, HostId), StepError> {
    let mut said = Vec::new();
    for member in members.iter().filter(|member| member.name != me) {
        let Some(host) = context.stack.host_named(member.name) else {
            continue;
        };
        let words = match look(context, host, ca).await {
            Ok(health) if health.sealed => "sealed".to_owned(),
            Ok(health) if health.standby => "standby".to_owned(),
            Ok(health) if cluster.is_empty() || health.cluster_id.as_deref() == Some(cluster) => {
                return Ok((member, host));
            }
            Ok(_) => "active in another cluster".to_owned(),
            Err(error) => error.to_string(),
        };
        said.push(format!("{}: {words}", member.name));
    }
    Err(BaoError::NoLeader(said.join("; ")).into())
}

async fn look(
    context: &ActionContext<'_>,
    host: HostId,
    ca: &str,
) -> Result<super::endpoint::Health, BaoError> {
    let writer = context
        .writers
        .writer(host)
        .await
        .map_err(|error| BaoError::Access(error.to_string()))?;
    Client::connect(&*writer, ca).await?.health().await
}

/// Tries the ports both ways: a node that can't be reached by the leader looks joined and stays sealed for ever.
async fn try_ways(
    own: &Member<'_>,
    leader: &Member<'_>,
    here: &dyn Writer,
    there: &dyn Writer,
) -> Result<(), StepError> {
    for port in [PORT, CLUSTER_PORT] {
        reach(here, own, leader, port, 0).await?;
    }
    let listen = async {
        // Nothing listens there before it joined. What comes of this does not matter: the other side tells.
        let port = CLUSTER_PORT.to_string();
        let script = Script::new(
            include_str!("listen.sh"),
            Duration::from_secs(30),
            &[("address", own.address), ("port", &port)],
        );
        let _ = script.reply(here).await;
    };
    let (reached, ()) = futures::join!(reach(there, leader, own, CLUSTER_PORT, 12), listen);
    reached
}

async fn reach(
    from: &dyn Writer,
    source: &Member<'_>,
    to: &Member<'_>,
    port: u16,
    patience: u32,
) -> Result<(), StepError> {
    let (port_text, patience) = (port.to_string(), patience.to_string());
    let address = bracketed(to.address);
    Script::new(
        include_str!("reach.sh"),
        Duration::from_secs(60),
        &[
            ("address", &address),
            ("port", &port_text),
            ("patience", &patience),
        ],
    )
    .run(from)
    .await
    .map_err(|error| match error {
        StepError::Failed { output, .. } => StepError::Failed {
            message: format!(
                "{} can't reach {} at {}:{port}: {output}",
                source.name, to.name, to.address
            ),
            output: String::new(),
            hint: Some(
                "OpenBAO's hosts must reach each other on ports 8200 and 8201, both ways"
                    .to_owned(),
            ),
            status: None,
        },
        other => other,
    })?;
    Ok(())
}

fn bracketed(address: &str) -> String {
    if address.parse::<std::net::Ipv6Addr>().is_ok() {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_version_6_goes_into_brackets() {
        assert_eq!(bracketed("10.0.0.1"), "10.0.0.1");
        assert_eq!(bracketed("::1"), "[::1]");
        assert_eq!(bracketed("bao-1.example.com"), "bao-1.example.com");
    }
}
