//! The ports through which probes look at live systems; adapters implement them. A `Reader` can't write.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::fact::{Facts, Fault, Question, Seen};
use crate::catalog::Values;
use crate::config::HostId;
use crate::graph::{Label, StepId};
use crate::secret::Secret;

/// A POSIX sh program that goes to a host's `sh` on standard input, run as root. May hold secrets.
#[derive(Debug, Clone)]
pub struct Program {
    /// The text.
    pub text: Secret<String>,
    /// When to give up on the whole of it.
    pub deadline: Duration,
}

/// What a program answered.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Its exit status; `None` when it ended by a signal or the status never came.
    pub status: Option<i32>,
}

/// Why a host could not be asked or told.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{host}: {message}")]
pub struct AccessError {
    /// The host's name.
    pub host: Arc<str>,
    /// What kind of trouble.
    pub kind: AccessKind,
    /// What happened, with the other side's own words.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Kinds of trouble with access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessKind {
    /// No route, refused, hung up on before it said who it is.
    Unreachable,
    /// Nothing was heard of it within the time for connecting.
    Silent,
    /// The host key is unknown or differs.
    HostKey,
    /// No credential was taken.
    Auth,
    /// sudo refused.
    Sudo,
    /// The connection was there and went away.
    Lost,
    /// The deadline passed.
    Deadline,
    /// The host is another run's by now, or this run may not change it any more: nothing was done.
    Fenced,
    /// The host was reached and could not do it (disk full, no such directory, too much output).
    Host,
    /// Anything else on this side (a local file, a bad key).
    Local,
}

impl AccessKind {
    /// Returns whether trying again may help without anybody doing anything.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Unreachable | Self::Silent | Self::Lost)
    }
}

/// Asks one host. Adapter: `target::host`.
pub trait Reader: Send + Sync {
    /// Runs a probe program in one exec on the one connection. A reply with a non-zero status is still a reply.
    ///
    /// # Errors
    /// When the host can't be asked at all.
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>>;
}

/// One step's question to a service.
pub struct Asked<'a> {
    /// Which step.
    pub step: StepId,
    /// Its label, for errors.
    pub label: &'a Label,
    /// Name of the built-in action that its task's probe names.
    pub action: &'a str,
    /// Its inputs.
    pub inputs: &'a Values,
    /// Hosts that provide the service.
    pub hosts: &'a [HostId],
}

/// Asks an API. Gets all steps of the service at once, so that it can batch (one list call per kind).
pub trait ServiceReader: Send + Sync {
    /// Answers in the order asked.
    fn observe<'a>(&'a self, asked: &'a [Asked<'a>]) -> BoxFuture<'a, Vec<Result<Facts, Fault>>>;
}

/// All that a round of probing can reach.
pub trait Readers: Send + Sync {
    /// Connects to (or finds the open connection of) a host.
    ///
    /// # Errors
    /// When the host can't be reached.
    fn reader(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>>;

    /// Returns the adapter of a service by name.
    fn service(&self, name: &str) -> Option<Arc<dyn ServiceReader>>;
}

/// The pure half of a built-in action: what to ask on each host, and what the answers mean.
pub trait ActionProbe: Send + Sync {
    /// Returns the questions for each host of the step's target.
    ///
    /// # Errors
    /// When the inputs make no sense; the text says why.
    fn questions(&self, inputs: &Values) -> Result<Vec<Question>, String>;

    /// Folds what the hosts answered (one for a host step, several for a group) into the step's facts.
    ///
    /// # Errors
    /// When the answers don't allow a fact, never a guess.
    fn facts(&self, inputs: &Values, seen: &[Seen]) -> Result<Facts, Fault>;
}
