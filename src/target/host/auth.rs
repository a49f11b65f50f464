//! Logs in: keys that are named for the host, keys of the agent, the usual key files, then the password. Knows neither
//! host keys nor sudo.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, KeyboardInteractiveAuthResponse as Interactive};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{HashAlg, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::candidates::{self, Candidate};
use super::error::{Hint as _, access};
use super::greet::Greeted;
use super::keys::{Keys, Signer};
use super::route::Hop;
use super::settings::{AccessSettings, Password, PasswordWanted};
use crate::probe::{AccessError, AccessKind};

/// How long sshd may take to judge one credential: PAM waits some seconds after a wrong one.
const ANSWER: Duration = Duration::from_secs(30);

/// One log-in.
pub(super) struct Login<'a> {
    pub hop: &'a Hop,
    pub settings: &'a AccessSettings,
    pub keys: &'a Keys,
    /// What was tried or could not be, for the error.
    tried: Vec<String>,
    /// What the host still takes.
    methods: MethodSet,
}

/// What became of one attempt.
enum Outcome {
    In,
    Refused,
}

impl<'a> Login<'a> {
    pub fn new(hop: &'a Hop, settings: &'a AccessSettings, keys: &'a Keys) -> Self {
        Self {
            hop,
            settings,
            keys,
            tried: Vec::new(),
            // Until the host has said.
            methods: MethodSet::client_supported(),
        }
    }

    /// Logs in on `greeted`.
    ///
    /// # Errors
    /// When no credential is taken; the error lists those that were tried.
    pub async fn run(mut self, greeted: &mut Greeted) -> Result<(), AccessError> {
        let mut agent = self.agent(greeted).await;
        let identities = match &mut agent {
            Some(agent) => agent.request_identities().await.unwrap_or_default(),
            None => Vec::new(),
        };
        let mut candidates = candidates::of(
            self.hop,
            self.settings,
            self.keys,
            identities,
            &mut self.tried,
        );
        let proving = self.settings.proving.as_ref() == Some(&self.hop.name);
        if proving {
            candidates.truncate(1);
        }
        if candidates.is_empty() {
            // Asking with no credential tells what the host takes (and gets in where it takes nothing).
            let first = greeted.handle.authenticate_none(&self.hop.user);
            if let Outcome::In = self.judge(greeted_answer(first).await, greeted)? {
                return Ok(());
            }
        }
        for candidate in candidates {
            if !self.methods.contains(&MethodKind::PublicKey) {
                break;
            }
            let outcome = match candidate {
                Candidate::File(file) => self.file(&file, greeted).await?,
                Candidate::Agent(identity) => match &mut agent {
                    Some(agent) => self.held(agent, &identity, greeted).await?,
                    None => Outcome::Refused,
                },
            };
            if let Outcome::In = outcome {
                return Ok(());
            }
        }
        if !proving && let Outcome::In = self.password(greeted).await? {
            return Ok(());
        }
        Err(self.denied(greeted))
    }

    async fn agent(&mut self, greeted: &Greeted) -> Option<AgentClient<UnixStream>> {
        let socket = self.settings.agent.as_ref()?;
        let mut agent = match AgentClient::connect_uds(socket).await {
            Ok(agent) => agent,
            Err(error) => {
                self.tried
                    .push(format!("the agent at {}: {error}", socket.display()));
                return None;
            }
        };
        if let Some(binding) = greeted.handle.agent_session_binding() {
            // Only OpenSSH's agent knows this, and only keys with destinations need it.
            let _ = agent.bind_session(binding, false).await;
        }
        Some(agent)
    }

    async fn file(&mut self, file: &Path, greeted: &mut Greeted) -> Result<Outcome, AccessError> {
        let loaded = self
            .keys
            .load(
                file,
                &self.hop.name,
                &self.hop.user,
                self.settings.prompts.as_ref(),
            )
            .await;
        let Signer { key, certificate } = match loaded {
            Ok(signer) => signer,
            Err(why) => {
                self.tried.push(format!("{} {why}", file.display()));
                return Ok(Outcome::Refused);
            }
        };
        if let Some(certificate) = certificate {
            self.tried
                .push(format!("{} with its certificate", file.display()));
            let asked = greeted.handle.authenticate_openssh_cert(
                &self.hop.user,
                Arc::clone(&key),
                certificate,
            );
            let answer = greeted_answer(asked).await;
            if let Outcome::In = self.judge(answer, greeted)? {
                return Ok(Outcome::In);
            }
        }
        self.tried.push(file.display().to_string());
        let asked = greeted
            .handle
            .authenticate_publickey(&self.hop.user, PrivateKeyWithHashAlg::new(key, None));
        let answer = greeted_answer(asked).await;
        self.judge(answer, greeted)
    }

    async fn held(
        &mut self,
        agent: &mut AgentClient<UnixStream>,
        identity: &AgentIdentity,
        greeted: &mut Greeted,
    ) -> Result<Outcome, AccessError> {
        let user = &self.hop.user;
        let (answer, comment) = match identity {
            AgentIdentity::PublicKey { key, comment } => {
                let hash = key.algorithm().is_rsa().then_some(HashAlg::Sha512);
                let asked =
                    greeted
                        .handle
                        .authenticate_publickey_with(user, key.clone(), hash, agent);
                (timeout(ANSWER, asked).await, comment)
            }
            AgentIdentity::Certificate {
                certificate,
                comment,
            } => {
                let hash = certificate.algorithm().is_rsa().then_some(HashAlg::Sha512);
                let asked = greeted.handle.authenticate_certificate_with(
                    user,
                    certificate.clone(),
                    hash,
                    agent,
                );
                (timeout(ANSWER, asked).await, comment)
            }
        };
        match answer {
            Ok(Ok(result)) => {
                self.tried.push(format!("the agent's key {comment}"));
                self.judge(Ok(result), greeted)
            }
            Ok(Err(error)) => {
                self.tried
                    .push(format!("the agent's key {comment} ({error})"));
                Ok(Outcome::Refused)
            }
            Err(_) => Err(self.silent()),
        }
    }

    async fn password(&mut self, greeted: &mut Greeted) -> Result<Outcome, AccessError> {
        let password = self.methods.contains(&MethodKind::Password);
        if !password && !self.methods.contains(&MethodKind::KeyboardInteractive) {
            return Ok(Outcome::Refused);
        }
        let Some(prompts) = &self.settings.prompts else {
            return Ok(Outcome::Refused);
        };
        let wanted = PasswordWanted {
            host: Arc::clone(&self.hop.name),
            user: self.hop.user.clone(),
            what: Password::Login,
        };
        let Some(secret) = prompts.password(&wanted).await else {
            self.tried.push("no password was given".to_owned());
            return Ok(Outcome::Refused);
        };
        self.tried.push("the password".to_owned());
        if password {
            let asked = greeted
                .handle
                .authenticate_password(&self.hop.user, secret.expose());
            let answer = greeted_answer(asked).await;
            return self.judge(answer, greeted);
        }
        let answer = timeout(
            ANSWER,
            interactive(greeted, &self.hop.user, secret.expose()),
        )
        .await;
        match answer {
            Ok(result) => self.judge(result, greeted),
            Err(_) => Err(self.silent()),
        }
    }

    fn judge(
        &mut self,
        answer: Result<AuthResult, russh::Error>,
        greeted: &Greeted,
    ) -> Result<Outcome, AccessError> {
        match answer {
            Ok(AuthResult::Success) => Ok(Outcome::In),
            Ok(AuthResult::Failure {
                remaining_methods,
                partial_success,
            }) => {
                if greeted.handle.is_closed() {
                    return Err(self.denied(greeted));
                }
                if partial_success && let Some(last) = self.tried.last_mut() {
                    last.push_str(" (taken, but the host wants more)");
                }
                self.methods = remaining_methods;
                Ok(Outcome::Refused)
            }
            Err(russh::Error::Elapsed(_)) => Err(self.silent()),
            Err(error) => {
                let why = greeted.seen.ended().unwrap_or_else(|| error.to_string());
                Err(access(
                    &self.hop.name,
                    AccessKind::Unreachable,
                    format!("the connection ended while logging in: {why}"),
                ))
            }
        }
    }

    fn silent(&self) -> AccessError {
        access(
            &self.hop.name,
            AccessKind::Unreachable,
            format!("no answer to a log-in within {} s", ANSWER.as_secs()),
        )
    }

    fn denied(&self, greeted: &Greeted) -> AccessError {
        let mut message = format!("{} was refused", self.hop.login());
        if let Some(ended) = greeted.seen.ended() {
            message.push_str(&format!(" ({ended})"));
        }
        let takes: Vec<&str> = self.methods.iter().map(<&str>::from).collect();
        if !takes.is_empty() {
            message.push_str(&format!("; it takes {}", takes.join(", ")));
        }
        if self.tried.is_empty() {
            message.push_str("; there was no key to try");
        } else {
            message.push_str(&format!("; tried {}", self.tried.join(", ")));
        }
        let banner = greeted.seen.banner();
        if !banner.is_empty() {
            message.push_str(&format!("; it says: {banner}"));
        }
        access(&self.hop.name, AccessKind::Auth, message).hint(format!(
            "put your key there with `ssh-copy-id -p {} {}@{}`, name another with `identity:`, or run at a terminal to be asked for the password",
            self.hop.port, self.hop.user, self.hop.address
        ))
    }
}

async fn greeted_answer(
    asked: impl Future<Output = Result<AuthResult, russh::Error>>,
) -> Result<AuthResult, russh::Error> {
    timeout(ANSWER, asked).await?
}

/// Answers the one hidden question that a host asks in place of a password.
async fn interactive(
    greeted: &mut Greeted,
    user: &str,
    password: &str,
) -> Result<AuthResult, russh::Error> {
    let handle = &mut greeted.handle;
    let mut said = handle
        .authenticate_keyboard_interactive_start(user, None)
        .await?;
    let mut given = false;
    loop {
        said = match said {
            Interactive::Success => return Ok(AuthResult::Success),
            Interactive::Failure {
                remaining_methods,
                partial_success,
            } => {
                return Ok(AuthResult::Failure {
                    remaining_methods,
                    partial_success,
                });
            }
            Interactive::InfoRequest { prompts, .. } => {
                // The password goes once, and only where it would not be shown.
                let answers = prompts
                    .iter()
                    .map(|prompt| {
                        if prompt.echo || given {
                            String::new()
                        } else {
                            given = true;
                            password.to_owned()
                        }
                    })
                    .collect();
                handle
                    .authenticate_keyboard_interactive_respond(answers)
                    .await?
            }
        };
    }
}
