//! The SSH agent: which keys it holds, and signatures by them. Anything may listen on its socket, so each question has a
//! deadline, and one that was silent isn't asked again in this run. Knows no host.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::agent::{AgentIdentity, AgentSessionBinding};
use russh::keys::{Error as KeyError, HashAlg};
use russh::{AgentAuthError, SendError, Signer};

use super::deadline::{Silence, within};

type Client = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// All agents that were asked.
#[derive(Default)]
pub(super) struct Agents {
    /// Sockets on which nobody answered in time.
    silent: Mutex<HashSet<PathBuf>>,
}

/// One connection to an agent.
pub(super) struct Agent<'a> {
    client: Client,
    all: &'a Agents,
    socket: &'a Path,
    patience: Duration,
    /// How long signatures took so far.
    pub signing: Duration,
}

impl Agents {
    /// Connects to the agent at `socket` and asks what it holds, within `limit`. A signature by it may take `patience`.
    ///
    /// # Errors
    /// When it can't be asked; the text says why.
    pub async fn open<'a>(
        &'a self,
        socket: &'a Path,
        binding: Option<&AgentSessionBinding>,
        limit: Duration,
        patience: Duration,
    ) -> Result<(Agent<'a>, Vec<AgentIdentity>), String> {
        if self.is_silent(socket) {
            return Err("it did not answer before".to_owned());
        }
        let asking = async {
            let mut client = connect(socket).await?;
            if let Some(binding) = binding {
                // Only OpenSSH's agent knows this, and only keys with destinations need it.
                let _ = client.bind_session(binding, false).await;
            }
            let identities = client.request_identities().await?;
            Ok::<_, KeyError>((client, identities))
        };
        let (client, identities) = match within(limit, "no answer", asking).await {
            Ok(asked) => asked.map_err(|error| error.to_string())?,
            Err(silence) => {
                self.note_silent(socket);
                return Err(silence.words());
            }
        };
        let agent = Agent {
            client,
            all: self,
            socket,
            patience,
            signing: Duration::ZERO,
        };
        Ok((agent, identities))
    }

    fn is_silent(&self, socket: &Path) -> bool {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.contains(socket)
    }

    fn note_silent(&self, socket: &Path) {
        tracing::warn!(
            "the SSH agent at {} does not answer: it is left out",
            socket.display()
        );
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.insert(socket.to_owned());
    }
}

#[cfg(unix)]
async fn connect(socket: &Path) -> Result<Client, KeyError> {
    Ok(AgentClient::connect_uds(socket).await?.dynamic())
}

#[cfg(windows)]
async fn connect(pipe: &Path) -> Result<Client, KeyError> {
    Ok(AgentClient::connect_named_pipe(pipe).await?.dynamic())
}

impl Agent<'_> {
    /// Returns whether it is still worth asking.
    pub fn answers(&self) -> bool {
        !self.all.is_silent(self.socket)
    }
}

/// Why there is no signature.
#[derive(Debug)]
pub(super) enum Unsigned {
    /// The agent did not answer.
    Silent(Silence),
    /// It, or the connection to the host, had something against it.
    Failed(AgentAuthError),
}

impl Unsigned {
    /// Returns why, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Silent(silence) => silence.words(),
            Self::Failed(error) => error.to_string(),
        }
    }
}

impl From<SendError> for Unsigned {
    fn from(error: SendError) -> Self {
        Self::Failed(error.into())
    }
}

impl Signer for Agent<'_> {
    type Error = Unsigned;

    async fn auth_sign(
        &mut self,
        key: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        let begun = Instant::now();
        let signing = self.client.auth_sign(key, hash, to_sign);
        let signed = within(self.patience, "no signature", signing).await;
        self.signing += begun.elapsed();
        match signed {
            Ok(signed) => signed.map_err(Unsigned::Failed),
            Err(silence) => {
                self.all.note_silent(self.socket);
                Err(Unsigned::Silent(silence))
            }
        }
    }
}
