//! Waits until a host is one that can be worked with: its sshd takes the key and its systemd has booted.
//! Looks through a real connection; knows nothing of how the host is run.

use std::sync::Arc;
use std::time::Duration;

use russh::ChannelMsg;
use russh::client::{self, Handle};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use tokio::time::{Instant, sleep, timeout};

use crate::secret::Secret;

use super::{LabError, LabHost};

/// How long a host may take to boot. One takes about a second; two hundred at once, on two cores, a minute.
const BOOT: Duration = Duration::from_secs(180);

/// How often a host that is not there yet is tried.
const PAUSE: Duration = Duration::from_millis(50);

/// How long one attempt may take: a host under load answers late, a dropped packet never.
const ATTEMPT: Duration = Duration::from_secs(20);

/// Why one attempt did not succeed.
type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// Waits until `host` has booted and returns its systemd's word: `running`, or `degraded` if a unit failed.
///
/// # Errors
/// If it has not booted after three minutes; the error carries the last refusal.
pub(super) async fn booted(host: &LabHost, key: &Arc<PrivateKey>) -> Result<String, LabError> {
    let deadline = Instant::now() + BOOT;
    loop {
        // Waits at the host until the boot is over; fails as long as the bus is not there.
        let attempt = command(host, key, "sudo systemctl is-system-running --wait", "");
        let why = match timeout(ATTEMPT, attempt).await {
            Ok(Ok(word)) if matches!(word.trim(), "running" | "degraded") => {
                return Ok(word.trim().to_owned());
            }
            Ok(Ok(word)) => format!("systemd says `{}`", word.trim()),
            Ok(Err(refusal)) => refusal.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() > deadline {
            return Err(LabError::Host {
                host: host.name.to_string(),
                step: format!("waiting for its boot ({} s)", BOOT.as_secs()),
                why,
                help: "try fewer hosts; `foundry lab down` cleans up".into(),
            });
        }
        sleep(PAUSE).await;
    }
}

/// Makes the user `debian` with `password`, and sudo with that password, on `host`.
///
/// # Errors
/// If the host refuses.
pub(super) async fn make_password_user(
    host: &LabHost,
    key: &Arc<PrivateKey>,
    password: &Secret<String>,
) -> Result<(), LabError> {
    let script = "id debian >/dev/null 2>&1 || sudo useradd -m -s /bin/bash -G sudo debian; sudo chpasswd && echo made";
    let made = command(
        host,
        key,
        script,
        &format!("debian:{}\n", password.expose()),
    )
    .await;
    let why = match made {
        Ok(word) if word.trim() == "made" => return Ok(()),
        Ok(word) => word,
        Err(refusal) => refusal.to_string(),
    };
    Err(LabError::Host {
        host: host.name.to_string(),
        step: "making the user `debian`".into(),
        why,
        help: "run `foundry lab down`, then `foundry lab up` again".into(),
    })
}

/// Runs `command` on the host with `input` on its standard input and returns what it printed.
async fn command(
    host: &LabHost,
    key: &Arc<PrivateKey>,
    command: &str,
    input: &str,
) -> Result<String, Refusal> {
    let session = connect(host, key).await?;
    let mut channel = session.channel_open_session().await?;
    channel.exec(true, command).await?;
    if !input.is_empty() {
        channel.data_bytes(input.as_bytes().to_vec()).await?;
    }
    channel.eof().await?;
    let mut output = Vec::new();
    while let Some(message) = channel.wait().await {
        if let ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } = message {
            output.extend_from_slice(&data);
        }
    }
    Ok(String::from_utf8_lossy(&output).into_owned())
}

async fn connect(host: &LabHost, key: &Arc<PrivateKey>) -> Result<Handle<Pinned>, Refusal> {
    let config = client::Config {
        nodelay: true,
        ..client::Config::default()
    };
    let pinned = Pinned(host.host_key.parse()?);
    let mut session = client::connect(Arc::new(config), (host.address, host.port), pinned).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
    if session
        .authenticate_publickey(&host.user, key)
        .await?
        .success()
    {
        Ok(session)
    } else {
        Err(format!("sshd refused the key of {}", host.user).into())
    }
}

/// Accepts the one host key the lab made.
struct Pinned(PublicKey);

impl client::Handler for Pinned {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(shown.public_key().key_data() == self.0.key_data())
    }
}
