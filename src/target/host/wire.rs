//! What a machine must be able to do for the rest of this module: run one command line with something on its standard
//! input, and lead to a port. SSH and the local machine differ in nothing else. Knows neither sudo nor uploads.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::fs::File;
use zeroize::Zeroizing;

use crate::probe::{AccessError, AccessKind, Reply};
use crate::run::Tunnel;

use super::error::{Hint as _, access};

/// The most that one command may answer, both streams together, in bytes.
pub(super) const MOST: usize = 16 << 20;

/// Told of all the standard output so far.
pub(super) type Heard<'a> = dyn Fn(&[u8]) + Send + Sync + 'a;

/// For those who wait for the whole answer.
pub(super) fn unheard(_: &[u8]) {}

/// What goes to a command's standard input: some text, then a file. May hold secrets, so it isn't `Debug`.
pub(super) struct Stdin<'a> {
    pub text: Vec<&'a [u8]>,
    pub file: Option<File>,
}

/// A shell that reads programs on its standard input.
pub(super) struct Shell {
    /// What starts it. Nothing secret may be in it.
    pub command: String,
    /// What it must be given before the first program. May hold secrets.
    pub first: Zeroizing<String>,
}

/// Returns what has a shell run `program` in a subshell, with nothing on its standard input. A shell reads all of a pair of
/// parentheses before it begins: a program that was cut off on its way is none.
pub(super) fn subshell<'a>(program: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut text: Vec<&[u8]> = vec![b"(\n"];
    text.extend(program);
    text.push(b"\n) </dev/null\n");
    text
}

/// One machine, as far as transport goes.
pub(super) trait Wire: Send + Sync {
    /// Returns what people call it.
    fn host(&self) -> &Arc<str>;

    /// Returns the user that commands run as.
    fn user(&self) -> String;

    /// Returns whether that user is root.
    fn is_root(&self) -> bool;

    /// Makes sure that it can be reached.
    fn reach(&self) -> BoxFuture<'_, Result<(), AccessError>>;

    /// Runs a command line and writes its answer into `reply` as it comes: what came before an error is there too, and
    /// `heard` is told of all the standard output so far whenever there is more.
    /// `deadline` counts from its start. Nothing secret may be in `command`.
    fn exec<'a>(
        &'a self,
        command: &'a str,
        stdin: Stdin<'a>,
        deadline: Duration,
        reply: &'a mut Reply,
        heard: &'a Heard<'a>,
    ) -> BoxFuture<'a, Result<(), AccessError>>;

    /// Runs a program in `shell`, or in one of its kind that has stayed from an earlier program; in a subshell, with nothing
    /// on its standard input. As [`Self::exec`] else.
    fn program<'a>(
        &'a self,
        shell: &'a Shell,
        program: &'a [&'a [u8]],
        deadline: Duration,
        reply: &'a mut Reply,
        heard: &'a Heard<'a>,
    ) -> BoxFuture<'a, Result<(), AccessError>>;

    /// Opens a way to a port on its loopback.
    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>>;
}

/// Returns the error of a command that did not end in time.
pub(super) fn too_late(host: &Arc<str>, deadline: Duration) -> AccessError {
    access(
        host,
        AccessKind::Deadline,
        format!(
            "the program did not end within {} s and was stopped",
            deadline.as_secs_f32()
        ),
    )
}

/// Returns the error of a command that answered more than anybody wants.
pub(super) fn too_much(host: &Arc<str>) -> AccessError {
    access(
        host,
        AccessKind::Host,
        format!(
            "the program answered more than {} MiB and was stopped",
            MOST >> 20
        ),
    )
    .hint("let the script print less")
}
