//! What is asked of and done to single hosts of a K3s cluster beside its API: etcd's own word, snapshots, stopping, cleaning
//! up. Knows hosts as writers; does not decide who is next.

use std::time::Duration;

use serde::Serialize;

use crate::catalog::{Task, Value, Values};
use crate::run::{StepError, Writer};
use crate::secret::Secret;
use crate::target::script::Script;

/// What a server's etcd says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its host.
    pub name: String,
    /// `voter`, `learner`, or what is in the way.
    pub state: String,
    /// Whether it knows a leader.
    pub leader: bool,
    /// How many other members it talks to.
    pub peers: u32,
}

impl Member {
    /// Returns whether it counts towards a quorum.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.state == "voter" && self.leader
    }
}

const LOOK: &str = r#"
metrics=$(curl --silent --fail --max-time 8 http://127.0.0.1:2381/metrics) || { echo "state=down"; exit 0; }
printf '%s\n' "$metrics" | sed -n -e 's/^etcd_server_is_learner 0$/state=voter/p' -e 's/^etcd_server_is_learner 1$/state=learner/p' \
    -e 's/^etcd_server_has_leader /leader=/p'
printf 'peers='
printf '%s\n' "$metrics" | grep -c '^etcd_network_active_peers{.*} 1$' || :
"#;

/// Asks a server's etcd. One that can't be asked is a member that is down.
pub async fn look(name: &str, writer: Result<&dyn Writer, String>) -> Member {
    let mut member = Member {
        name: name.to_owned(),
        state: "down".to_owned(),
        leader: false,
        peers: 0,
    };
    let answer = match writer {
        Ok(writer) => {
            Script::new(LOOK, Duration::from_secs(20), &[])
                .run(writer)
                .await
        }
        Err(words) => {
            member.state = words;
            return member;
        }
    };
    match answer {
        Ok(text) => told(&mut member, text.expose()),
        Err(error) => member.state = error.to_string(),
    }
    member
}

fn told(member: &mut Member, text: &str) {
    for line in text.lines() {
        match line.split_once('=') {
            Some(("state", state)) => state.clone_into(&mut member.state),
            Some(("leader", leader)) => member.leader = leader == "1",
            Some(("peers", peers)) => member.peers = peers.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
}

/// Reads the administrator's kubeconfig on a server.
///
/// # Errors
/// When it is not there, or the host can't be told.
pub async fn kubeconfig(writer: &dyn Writer) -> Result<Secret<String>, StepError> {
    Script::new(
        "cat /etc/rancher/k3s/k3s.yaml\n",
        Duration::from_secs(20),
        &[],
    )
    .run(writer)
    .await
}

/// Returns what a step's failure says, the end of the script's own words included.
#[must_use]
pub fn words(error: &StepError) -> String {
    match error {
        StepError::Failed {
            message, output, ..
        } if !output.trim().is_empty() => {
            format!(
                "{message}: {}",
                output.trim().lines().last().unwrap_or_default()
            )
        }
        error => error.to_string(),
    }
}

/// Runs `k3s etcd-snapshot` with these arguments on a server and returns what it printed.
///
/// # Errors
/// With K3s' own words.
pub async fn command(
    writer: &dyn Writer,
    what: &str,
    name: &str,
) -> Result<Secret<String>, StepError> {
    const SNAPSHOT: &str = r#"
case $what in
    # What is logged goes to standard error, and is only worth showing if it fails.
    save) k3s etcd-snapshot save --name "$name" 2>&1 ;;
    list) ls -1 --time-style=+%Y-%m-%dT%H:%M:%S -l /var/lib/rancher/k3s/server/db/snapshots 2>/dev/null | awk 'NR > 1 { print $7, $5, $6 }' ;;
esac
"#;
    let variables = [("what", what), ("name", name)];
    Script::new(SNAPSHOT, Duration::from_secs(300), &variables)
        .run(writer)
        .await
}

/// Has systemd leave K3s alone when it ends: one that etcd has dismissed would come back and join anew.
///
/// # Errors
/// When the host can't be told.
pub async fn hold_restarts(writer: &dyn Writer) -> Result<(), StepError> {
    const HOLD: &str = r"
for unit in k3s k3s-agent; do
    mkdir -p /run/systemd/system/$unit.service.d
    printf '[Service]\nRestart=no\n' >/run/systemd/system/$unit.service.d/foundry-leaving.conf
done
systemctl daemon-reload
";
    Script::new(HOLD, Duration::from_secs(30), &[])
        .run(writer)
        .await
        .map(drop)
}

/// Stops K3s on a host, and lets systemd restart it again when it next starts.
///
/// # Errors
/// When the host can't be told.
pub async fn stop(writer: &dyn Writer) -> Result<(), StepError> {
    const STOP: &str = r"
systemctl stop k3s.service k3s-agent.service 2>/dev/null || :
rm -rf /run/systemd/system/k3s.service.d/foundry-leaving.conf /run/systemd/system/k3s-agent.service.d/foundry-leaving.conf
systemctl daemon-reload
";
    Script::new(STOP, Duration::from_secs(120), &[])
        .run(writer)
        .await
        .map(drop)
}

/// Runs the `remove` of a task on a host, with those of its inputs that are plain. One whose script wants others, or
/// that has none, does nothing.
///
/// # Errors
/// With the script's own words.
pub async fn clean(writer: &dyn Writer, task: &Task, inputs: &Values) -> Result<bool, StepError> {
    let Some(remove) = &task.remove else {
        return Ok(false);
    };
    let Some(script) = &remove.script else {
        return Ok(false);
    };
    let mut variables = Vec::new();
    for name in task.inputs.keys() {
        match inputs.get(name) {
            Some(Value::Text(text)) => variables.push((name.as_str(), text.clone())),
            Some(Value::Int(number)) => variables.push((name.as_str(), number.to_string())),
            Some(Value::Bool(flag)) => variables.push((name.as_str(), flag.to_string())),
            Some(Value::Null) => variables.push((name.as_str(), String::new())),
            _ if script.contains(&format!("${name}")) => return Ok(false),
            _ => {}
        }
    }
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    Script::of(script, remove.timeout, &variables)
        .run(writer)
        .await
        .map(|_| true)
}

/// Makes a cluster of one of a snapshot on this server, whose K3s must be stopped.
///
/// # Errors
/// With K3s' own words.
pub async fn restore_first(writer: &dyn Writer, snapshot: &str) -> Result<(), StepError> {
    const RESTORE: &str = r#"
file=/var/lib/rancher/k3s/server/db/snapshots/$snapshot
if [ ! -f "$file" ]; then
    echo "there is no $file on this server" >&2
    exit 1
fi
# Its config may name another server to join: one that is put back joins nobody.
if ! timeout 240 k3s server --server= --cluster-reset --cluster-reset-restore-path="$file" >/run/foundry-restore.log 2>&1; then
    tail -n 20 /run/foundry-restore.log >&2
    exit 1
fi
rm -f /run/foundry-restore.log
"#;
    Script::new(RESTORE, Duration::from_secs(300), &[("snapshot", snapshot)])
        .run(writer)
        .await
        .map(drop)
}

/// Puts this server's etcd data aside, so that it joins anew. Its K3s must be stopped.
///
/// # Errors
/// When the host can't be told.
pub async fn restore_other(writer: &dyn Writer) -> Result<(), StepError> {
    const ASIDE: &str = r"
cd /var/lib/rancher/k3s/server/db
rm -rf etcd.before-restore foundry-voted
if [ -e etcd ]; then mv etcd etcd.before-restore; fi
";
    Script::new(ASIDE, Duration::from_secs(60), &[])
        .run(writer)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_says() {
        let mut member = Member {
            name: "a".to_owned(),
            state: "down".to_owned(),
            leader: false,
            peers: 0,
        };
        told(&mut member, "state=down\n");
        assert!(!member.healthy());
        told(&mut member, "state=voter\nleader=1\npeers=2\n");
        assert!(member.healthy());
        assert_eq!(member.peers, 2);
        told(&mut member, "state=learner\nleader=1\npeers=2\n");
        assert!(!member.healthy());
    }
}
