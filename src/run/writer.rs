//! The ports through which a run changes live systems; adapters implement them. Only `run` holds a `Writer`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::catalog::Values;
use crate::config::{HostId, Stack};
use crate::graph::Label;
use crate::probe::{
    AccessError, ActionProbe, Door, Facts, HostFacts, Program, Reader, Readers, Reply, Seen,
};
use crate::secret::Secret;

/// A file on its way to a host: written beside its place, verified, moved over it.
pub struct Upload {
    /// The file here.
    pub from: PathBuf,
    /// Where it goes.
    pub to: String,
    /// Owner, `user:group`.
    pub owner: String,
    /// Octal mode.
    pub mode: String,
    /// SHA-256 in hex that the host must find.
    pub sha256: String,
}

/// A port on this machine that leads to one on a host; closed on drop.
pub trait Tunnel: Send + Sync {
    /// Returns where to connect to.
    fn address(&self) -> SocketAddr;

    /// Returns what the far side had against the last connection through it, for the error of whoever used it.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// Changes one host. Adapter: `target::host`.
pub trait Writer: Reader {
    /// Runs a program that changes the host, as root.
    ///
    /// # Errors
    /// When the host can't be told at all.
    fn run<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>>;

    /// As [`Self::run`], for whoever wants to know how far it is: the answer goes to `reply`, also what came of it before
    /// an error, and `heard` is told of all its standard output so far whenever there is more.
    ///
    /// # Errors
    /// When the host can't be told at all, or not to the end.
    fn follow<'a>(
        &'a self,
        program: &'a Program,
        reply: &'a mut Reply,
        heard: &'a (dyn Fn(&[u8]) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(async move {
            *reply = self.run(program).await?;
            heard(&reply.stdout);
            Ok(())
        })
    }

    /// Puts a file there: atomic and verified.
    ///
    /// # Errors
    /// When it did not arrive as it should.
    fn upload<'a>(&'a self, upload: &'a Upload) -> BoxFuture<'a, Result<(), AccessError>> {
        self.upload_through(upload, None)
    }

    /// As [`Self::upload`], through the host's fence if there is a `door`. A refusal is an error of the kind
    /// [`AccessKind::Fenced`](crate::probe::AccessKind::Fenced) with the words of [`Door::refused`].
    ///
    /// # Errors
    /// When it did not arrive as it should, or was refused.
    fn upload_through<'a>(
        &'a self,
        upload: &'a Upload,
        door: Option<&'a Door>,
    ) -> BoxFuture<'a, Result<(), AccessError>>;

    /// Opens a way to `port` on the host's own loopback.
    ///
    /// # Errors
    /// When the host refuses to forward.
    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>>;
}

/// All that a run can reach and change.
pub trait Writers: Readers {
    /// Connects to (or finds the open connection of) a host.
    ///
    /// # Errors
    /// When the host can't be reached.
    fn writer(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Writer>, AccessError>>;

    /// Returns the writing half of a service's adapter.
    fn service_writer(&self, name: &str) -> Option<Arc<dyn ServiceWriter>>;
}

/// Why a step failed, for the person who reads it at 3 a.m.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StepError {
    /// The script or action failed.
    #[error("{message}")]
    Failed {
        /// What, in the target's own words.
        message: String,
        /// Last lines of its output, secrets masked.
        output: String,
        /// What to do.
        hint: Option<String>,
        /// Exit status, for a script.
        status: Option<i32>,
    },
    /// It ran, and the target is still not as wanted.
    #[error("applied, but still not as wanted: {0}")]
    NotAsWanted(String),
    /// It took too long.
    #[error("took longer than {0:?}")]
    Deadline(std::time::Duration),
    /// The host could not be told.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The run was interrupted.
    #[error("interrupted")]
    Interrupted,
}

/// What a built-in action has at hand while it applies.
pub struct ActionContext<'a> {
    /// The step.
    pub label: &'a Label,
    /// Its key in hex: what it is applied with, for effects that can bear a mark.
    pub key: &'a str,
    /// The stack.
    pub stack: &'a Stack,
    /// Its inputs, all known.
    pub inputs: &'a Values,
    /// Hosts of its target: one for a host step, all for a group or service.
    pub hosts: &'a [HostId],
    /// What the last probe saw on each host.
    pub seen: &'a [Seen],
    /// The facts folded from that.
    pub facts: &'a Facts,
    /// What is known of each host of the target (same order as `hosts`); `None` where it did not answer.
    pub host_facts: &'a [Option<HostFacts>],
    /// Ways to the hosts.
    pub writers: &'a dyn Writers,
    /// Who keeps what must be kept.
    pub keeper: &'a dyn Keeper,
    /// Says one line of progress; never a secret.
    pub say: &'a (dyn Fn(&str) + Send + Sync),
}

/// A built-in action: what isn't a shell matter.
pub trait Action: ActionProbe {
    /// Returns the name that tasks use (`bao.init`).
    fn name(&self) -> &'static str;

    /// Makes it so. Must be safe to run again after being killed anywhere.
    ///
    /// # Errors
    /// When it could not.
    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>>;
}

/// All built-in actions there are.
pub trait Actions: crate::probe::Actions + Send + Sync {
    /// Returns the action of that name.
    fn action(&self, name: &str) -> Option<Arc<dyn Action>>;
}

/// Changes an API.
pub trait ServiceWriter: Send + Sync {
    /// Makes one step so; `action` is the name that its task's apply gives.
    fn apply<'a>(
        &'a self,
        action: &'a str,
        context: &'a ActionContext<'a>,
    ) -> BoxFuture<'a, Result<(), StepError>>;
}

/// Something that only the user can keep safe, such as the keys that an OpenBAO init answered with.
pub struct Safekeeping {
    /// File-name-like title: `openbao recovery keys of stack lab`.
    pub title: String,
    /// What it is for and what losing it means.
    pub note: String,
    /// The text to keep.
    pub text: Secret<String>,
}

/// Where things go that must outlive this machine or be remembered by the person: the command line implements it
/// (shown once on the terminal, or to a 0600 file that the user named; tokens to the OS keyring or a 0600 file).
pub trait Keeper: Send + Sync {
    /// Hands `kept` to the user; returns only when it is safe.
    ///
    /// # Errors
    /// When it is not safe (no terminal and no file named, disk full): the caller must not throw its copy away.
    fn hand_over<'a>(&'a self, kept: &'a Safekeeping) -> BoxFuture<'a, Result<(), String>>;

    /// Asks the person for a secret; `what` names it. `None` when there is nobody to ask.
    ///
    /// # Errors
    /// When asking went wrong.
    fn ask<'a>(&'a self, what: &'a str) -> BoxFuture<'a, Result<Option<Secret<String>>, String>>;

    /// Stores a credential of Foundry's own under `name`.
    ///
    /// # Errors
    /// When it could not be stored.
    fn store(&self, name: &str, value: &Secret<String>) -> Result<(), String>;

    /// Returns the credential stored under `name`.
    ///
    /// # Errors
    /// When the store could not be read (a missing entry is `None`).
    fn load(&self, name: &str) -> Result<Option<Secret<String>>, String>;
}
