//! One SSH connection to one machine: whether it still is, and why it went. russh is known here and in `greet`, `auth`,
//! `exec` and `tunnel`. Knows no stack.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, DisconnectReason};
use russh::keys::PublicKeyOrCertificate;

use super::deadline::within;
use super::known_hosts::Judgement;
use super::shell::Shells;
use super::slots::Slots;
use super::trust::{Expect, Refused};

/// Sessions at once on one connection, two fewer than OpenSSH's default `MaxSessions`: a person may be on it too.
const SESSIONS: usize = 8;

/// An open connection, logged in.
pub(super) struct Link {
    pub handle: client::Handle<Watcher>,
    /// Time for the host to answer one thing.
    pub patience: Duration,
    pub slots: Arc<Slots>,
    pub shells: Shells,
    seen: Arc<Seen>,
    /// The connection that this one runs through.
    _under: Option<Arc<Link>>,
}

/// What russh told us on the way.
#[derive(Default)]
pub(super) struct Seen {
    refused: Mutex<Option<Refused>>,
    ended: Mutex<Option<String>>,
    banner: Mutex<String>,
}

impl Seen {
    /// Takes the key that was not trusted, if that is what happened.
    pub fn refused(&self) -> Option<Refused> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Returns why the connection ended, in the words of the host or of the network.
    pub fn ended(&self) -> Option<String> {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns what the host said before log-in.
    pub fn banner(&self) -> String {
        self.banner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .trim()
            .to_owned()
    }
}

/// Judges the host's key and remembers why the connection ended.
pub(super) struct Watcher {
    pub expect: Expect,
    pub seen: Arc<Seen>,
}

impl client::Handler for Watcher {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let judgement = self.expect.judge(offered);
        let trusted = judgement == Judgement::Trusted;
        if !trusted {
            *self
                .seen
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(Refused {
                key: offered.public_key(),
                judgement,
            });
        }
        Ok(trusted)
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        let mut said = self
            .seen
            .banner
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A host is free to talk without end.
        if said.len() + banner.len() < 4096 {
            said.push_str(banner);
        }
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<russh::Error>,
    ) -> Result<(), russh::Error> {
        let why = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                format!("the host closed it: {}", info.message)
            }
            DisconnectReason::Error(russh::Error::KeepaliveTimeout) => {
                "the host stopped answering".to_owned()
            }
            DisconnectReason::Error(russh::Error::Disconnect | russh::Error::HUP) => {
                "the host closed it without a word".to_owned()
            }
            DisconnectReason::Error(error) => error.to_string(),
        };
        *self
            .seen
            .ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(why);
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

impl Link {
    /// Returns the connection of a handle that is logged in, `under` the one it runs through.
    pub fn new(
        handle: client::Handle<Watcher>,
        seen: Arc<Seen>,
        under: Option<Arc<Self>>,
        patience: Duration,
    ) -> Self {
        Self {
            handle,
            patience,
            slots: Slots::new(SESSIONS),
            shells: Shells::default(),
            seen,
            _under: under,
        }
    }

    /// Returns whether it is of no use any more.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Asks the host for a sign of life. Returns whether there was one in time.
    pub async fn answers(&self) -> bool {
        let ping = self.handle.send_ping();
        // A connection that is lost ends the ping as an answer does.
        within(self.patience, "no sign of life", ping)
            .await
            .is_ok_and(|asked| asked.is_ok())
            && !self.is_closed()
            && self.seen.ended().is_none()
    }

    /// Returns why it ended.
    pub fn ended(&self) -> String {
        self.seen
            .ended()
            .unwrap_or_else(|| "the connection ended".to_owned())
    }
}
