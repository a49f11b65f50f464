//! Logs in: keys that are named for the host, keys of the agent, the usual key files, then the password. Knows neither
//! host keys nor sudo.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::client::{AuthResult, KeyboardInteractiveAuthResponse as Interactive};
use russh::keys::agent::AgentIdentity;
use russh::keys::{Certificate, HashAlg, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};

use super::agent::{Agent, Agents};
use super::candidates::{self, Candidate};
use super::deadline::within;
use super::error::{Hint as _, access};
use super::greet::Greeted;
use super::keys::{Keys, Signer};
use super::route::Hop;
use super::settings::{AccessSettings, Password, PasswordWanted, Prompts};
use super::ssh_config::AgentAt;
use crate::probe::{AccessError, AccessKind};

/// One log-in.
pub(super) struct Login<'a> {
    pub hop: &'a Hop,
    pub settings: &'a AccessSettings,
    pub keys: &'a Keys,
    pub agents: &'a Agents,
    /// What is left of the time for all answers of the host.
    left: Duration,
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
    pub fn new(
        hop: &'a Hop,
        settings: &'a AccessSettings,
        keys: &'a Keys,
        agents: &'a Agents,
    ) -> Self {
        Self {
            hop,
            settings,
            keys,
            agents,
            left: settings.answer_timeout * 2,
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
        let (mut agent, identities) = self.agent(greeted).await.unzip();
        let identities = identities.unwrap_or_default();
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
            let answer = self.answer(first).await?;
            if let Outcome::In = self.judge(answer, greeted)? {
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
                    Some(agent) if agent.answers() => self.held(agent, &identity, greeted).await?,
                    _ => Outcome::Refused,
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

    async fn agent(&mut self, greeted: &Greeted) -> Option<(Agent<'a>, Vec<AgentIdentity>)> {
        let settings = self.settings;
        let socket = match &self.hop.rules.agent {
            AgentAt::Environment => settings.agent.as_deref()?,
            AgentAt::None => return None,
            AgentAt::Socket(socket) => socket,
        };
        let binding = greeted.handle.agent_session_binding();
        let (limit, patience) = (settings.agent_timeout, settings.answer_timeout);
        let opened = self.agents.open(socket, binding, limit, patience).await;
        opened
            .map_err(|why| {
                self.tried
                    .push(format!("the agent at {}: {why}", socket.display()));
            })
            .ok()
    }

    /// Returns who may be asked for a password or passphrase.
    fn prompts(&self) -> Option<&'a Arc<dyn Prompts>> {
        let prompts = self.settings.prompts.as_ref();
        prompts.filter(|_| !self.hop.rules.batch)
    }

    /// Waits for the host's answer to a credential.
    ///
    /// # Errors
    /// When it takes too long, over one or over all.
    async fn answer<T>(&mut self, asked: impl Future<Output = T>) -> Result<T, AccessError> {
        let each = self.settings.answer_timeout;
        let begun = Instant::now();
        let answer = within(each.min(self.left), "no answer to a log-in", asked).await;
        let slow = self.left < each;
        self.left = self.left.saturating_sub(begun.elapsed());
        answer.map_err(|silence| match slow {
            false => silence.of(&self.hop.name),
            true => access(
                &self.hop.name,
                AccessKind::Silent,
                format!(
                    "its answers to the log-in take longer than {} s together",
                    (each * 2).as_secs_f32()
                ),
            ),
        })
    }

    async fn file(&mut self, file: &Path, greeted: &mut Greeted) -> Result<Outcome, AccessError> {
        let loaded = self
            .keys
            .load(file, &self.hop.name, &self.hop.user, self.prompts())
            .await;
        let Signer { key, certificate } = match loaded {
            Ok(signer) => signer,
            Err(why) => {
                self.tried.push(format!("{} {why}", file.display()));
                return Ok(Outcome::Refused);
            }
        };
        let others = self.hop.rules.certificates.iter();
        let others = others
            .filter_map(|file| Certificate::read_file(file).ok())
            .filter(|other| other.public_key() == key.public_key().key_data());
        for certificate in certificate.into_iter().chain(others) {
            self.tried
                .push(format!("{} with its certificate", file.display()));
            let asked = greeted.handle.authenticate_openssh_cert(
                &self.hop.user,
                Arc::clone(&key),
                certificate,
            );
            let answer = self.answer(asked).await?;
            if let Outcome::In = self.judge(answer, greeted)? {
                return Ok(Outcome::In);
            }
        }
        self.tried.push(file.display().to_string());
        let asked = greeted
            .handle
            .authenticate_publickey(&self.hop.user, PrivateKeyWithHashAlg::new(key, None));
        let answer = self.answer(asked).await?;
        self.judge(answer, greeted)
    }

    async fn held(
        &mut self,
        agent: &mut Agent<'_>,
        identity: &AgentIdentity,
        greeted: &mut Greeted,
    ) -> Result<Outcome, AccessError> {
        let user = &self.hop.user;
        let handle = &mut greeted.handle;
        // The signature has its own time; the host's is what it takes beside that.
        let signed = agent.signing;
        let begun = Instant::now();
        let limit = self.settings.answer_timeout.min(self.left) + self.settings.answer_timeout;
        let (answer, comment) = match identity {
            AgentIdentity::PublicKey { key, comment } => {
                let hash = key.algorithm().is_rsa().then_some(HashAlg::Sha512);
                let asked = handle.authenticate_publickey_with(user, key.clone(), hash, agent);
                (within(limit, "no answer to a log-in", asked).await, comment)
            }
            AgentIdentity::Certificate {
                certificate,
                comment,
            } => {
                let hash = certificate.algorithm().is_rsa().then_some(HashAlg::Sha512);
                let asked =
                    handle.authenticate_certificate_with(user, certificate.clone(), hash, agent);
                (within(limit, "no answer to a log-in", asked).await, comment)
            }
        };
        let hosts = begun
            .elapsed()
            .saturating_sub(agent.signing.saturating_sub(signed));
        self.left = self.left.saturating_sub(hosts);
        match answer {
            Ok(Ok(result)) => {
                self.tried.push(format!("the agent's key {comment}"));
                self.judge(Ok(result), greeted)
            }
            Ok(Err(unsigned)) => {
                let why = unsigned.words();
                self.tried
                    .push(format!("the agent's key {comment} ({why})"));
                Ok(Outcome::Refused)
            }
            Err(silence) => Err(silence.of(&self.hop.name)),
        }
    }

    async fn password(&mut self, greeted: &mut Greeted) -> Result<Outcome, AccessError> {
        let rules = &self.hop.rules;
        let password = self.methods.contains(&MethodKind::Password) && !rules.no_password;
        let interactive = self.methods.contains(&MethodKind::KeyboardInteractive);
        if !password && (!interactive || rules.no_interactive) {
            return Ok(Outcome::Refused);
        }
        let Some(prompts) = self.prompts() else {
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
            let answer = self.answer(asked).await?;
            return self.judge(answer, greeted);
        }
        let asked = answer_questions(greeted, &self.hop.user, secret.expose());
        let answer = self.answer(asked).await?;
        self.judge(answer, greeted)
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

/// Answers the one hidden question that a host asks in place of a password.
async fn answer_questions(
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
