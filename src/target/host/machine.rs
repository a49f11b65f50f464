//! One host as the rest of Foundry sees it: a `Reader` and a `Writer` over whatever wire leads there. Becomes root and
//! counts its commands; `program` and `upload` do the rest. Knows nothing of what programs do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::error::{Hint as _, access, words};
use super::settings::{Password, PasswordWanted, Prompts};
use super::sudo::{Refusal, Sudo, refusal};
use super::wire::{Heard, Stdin, Wire, unheard};
use crate::probe::{AccessError, AccessKind, Door, Program, Reader, Reply};
use crate::run::{Tunnel, Upload, Writer};
use crate::secret::Secret;

/// Time for sudo to judge a password: PAM waits some seconds after a wrong one.
const SUDO: Duration = Duration::from_secs(30);

/// One host.
pub(super) struct Machine {
    /// Itself, for what must go on when nobody waits for it any more.
    pub(super) me: Weak<Self>,
    pub(super) wire: Box<dyn Wire>,
    /// What its shells are called in sudo's log.
    pub(super) title: String,
    prompts: Option<Arc<dyn Prompts>>,
    /// What sudo takes; a refusal is remembered, so that a wrong password isn't tried until the account is locked.
    pub(super) sudo: Mutex<Result<Sudo, AccessError>>,
    pub(super) execs: AtomicU64,
}

impl Machine {
    pub fn new(wire: Box<dyn Wire>, prompts: Option<Arc<dyn Prompts>>, title: String) -> Arc<Self> {
        let sudo = if wire.is_root() {
            Sudo::Root
        } else {
            Sudo::Free
        };
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            wire,
            title,
            prompts,
            sudo: Mutex::new(Ok(sudo)),
            execs: AtomicU64::new(0),
        })
    }

    /// Makes sure that it can be reached.
    pub async fn reach(&self) -> Result<(), AccessError> {
        self.wire.reach().await
    }

    /// Returns how many commands were run on it.
    pub fn execs(&self) -> u64 {
        self.execs.load(Ordering::Relaxed)
    }

    async fn program(
        &self,
        program: &Program,
        reply: &mut Reply,
        heard: &Heard<'_>,
    ) -> Result<(), AccessError> {
        let sudo = self.sudo.lock().await.clone()?;
        self.shell(&sudo, program, reply, heard).await?;
        match self.sudo_after(&sudo, reply).await? {
            None => Ok(()),
            Some(sudo) => {
                self.shell(&sudo, program, reply, heard).await?;
                match refusal(reply) {
                    Some(_) => Err(self.refused(&words(&reply.stderr, 1024))),
                    None => Ok(()),
                }
            }
        }
    }

    async fn whole(&self, program: &Program) -> Result<Reply, AccessError> {
        let mut reply = Reply::default();
        self.program(program, &mut reply, &unheard).await?;
        Ok(reply)
    }

    pub(super) async fn exec(
        &self,
        command: &str,
        stdin: Stdin<'_>,
        deadline: Duration,
    ) -> Result<Reply, AccessError> {
        self.execs.fetch_add(1, Ordering::Relaxed);
        let mut reply = Reply::default();
        self.wire
            .exec(command, stdin, deadline, &mut reply, &unheard)
            .await?;
        Ok(reply)
    }

    /// Reads what sudo had against `reply`'s command. Returns how to try again, `None` if it had nothing against it.
    pub(super) async fn sudo_after(
        &self,
        used: &Sudo,
        reply: &Reply,
    ) -> Result<Option<Sudo>, AccessError> {
        if matches!(used, Sudo::Root) {
            return Ok(None);
        }
        match refusal(reply) {
            None => Ok(None),
            Some(Refusal::Missing) => {
                Err(
                    access(self.wire.host(), AccessKind::Sudo, "there is no sudo on it")
                        .hint("install sudo there, or let `user:` be root"),
                )
            }
            Some(Refusal::No(said)) => Err(self.refused(&said)),
            Some(Refusal::PasswordNeeded) => {
                let mut sudo = self.sudo.lock().await;
                match &*sudo {
                    Err(error) => return Err(error.clone()),
                    // Another command has found out meanwhile.
                    Ok(now @ Sudo::Password(_)) if !matches!(used, Sudo::Password(_)) => {
                        return Ok(Some(now.clone()));
                    }
                    Ok(_) => {}
                }
                let found = self.password().await.map(Sudo::Password);
                // A lost connection says nothing about the password.
                if found
                    .as_ref()
                    .err()
                    .is_none_or(|error| error.kind == AccessKind::Sudo)
                {
                    *sudo = found.clone();
                }
                found.map(Some)
            }
        }
    }

    /// Asks for sudo's password and has sudo judge it, alone: with nothing after it on standard input that a second try
    /// could take for a password.
    async fn password(&self) -> Result<Secret<String>, AccessError> {
        let host = self.wire.host();
        let no_password = |what: &str| {
            access(host, AccessKind::Sudo, format!("sudo wants a password there, {what}")).hint(
                format!(
                    "run at a terminal to be asked for it, or allow sudo without: `{} ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d/",
                    self.wire.user()
                ),
            )
        };
        let prompts = self
            .prompts
            .as_ref()
            .ok_or_else(|| no_password("and nobody can be asked for it"))?;
        let wanted = PasswordWanted {
            host: Arc::clone(host),
            user: self.wire.user(),
            what: Password::Sudo,
        };
        let password = prompts
            .password(&wanted)
            .await
            .ok_or_else(|| no_password("and none was given"))?;
        if password.expose().contains('\n') {
            return Err(no_password("and the one given has more than one line"));
        }
        let line = zeroize::Zeroizing::new(format!("{}\n", password.expose()));
        let stdin = Stdin {
            text: vec![line.as_bytes()],
            file: None,
        };
        let command = "env LC_ALL=C sudo -k -S -p '' -- sh -c true";
        let reply = self.exec(command, stdin, SUDO).await?;
        if reply.status == Some(0) {
            Ok(password)
        } else {
            Err(self.refused(&words(&reply.stderr, 1024)))
        }
    }

    fn refused(&self, said: &str) -> AccessError {
        access(
            self.wire.host(),
            AccessKind::Sudo,
            format!("sudo refused {}: {said}", self.wire.user()),
        )
        .hint("check the password and the user's entry in /etc/sudoers; it isn't tried again in this run")
    }
}

impl Reader for Machine {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(self.whole(program))
    }
}

impl Writer for Machine {
    fn run<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(self.whole(program))
    }

    fn follow<'a>(
        &'a self,
        program: &'a Program,
        reply: &'a mut Reply,
        heard: &'a (dyn Fn(&[u8]) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(self.program(program, reply, heard))
    }

    fn upload_through<'a>(
        &'a self,
        upload: &'a Upload,
        door: Option<&'a Door>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(self.put(upload, door))
    }

    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        self.wire.forward(port)
    }
}
