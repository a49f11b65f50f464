//! Reads what a session answers, as it comes: to its close, or to a mark that a program's end is told by. Knows nothing of
//! what runs in it.

use std::sync::Arc;
use std::time::Duration;

use russh::{ChannelMsg, ChannelReadHalf};
use tokio::time::timeout;

use super::deadline::{Silence, within};
use super::error::{Hint as _, access};
use super::link::Link;
use super::wire::{Heard, MOST, too_much};
use crate::probe::{AccessError, AccessKind, Reply};

/// After the exit status, how long to wait for more output of something left behind in the background, which keeps
/// sshd from closing the session.
const STRAGGLER: Duration = Duration::from_secs(5);

/// How an answer ended.
pub(super) enum End {
    /// With the mark on both outputs: the status beside it is the reply's.
    Marked,
    /// With the session.
    Closed {
        /// Something was said before.
        answered: bool,
    },
    /// Before either.
    Broken(Broken),
}

/// Why an answer has no end.
pub(super) enum Broken {
    /// The connection went away under it.
    Gone,
    TooMuch,
    Refused,
    /// It was not even confirmed that it runs.
    Silent(Silence),
}

impl Broken {
    pub fn error(&self, host: &Arc<str>, link: &Link) -> AccessError {
        match self {
            Self::Gone => access(
                host,
                AccessKind::Lost,
                format!(
                    "the connection was lost while a program ran: {}",
                    link.ended()
                ),
            )
            .hint("run again: what was done is found, the rest is done"),
            Self::TooMuch => too_much(host),
            Self::Silent(silence) => silence.of(host),
            Self::Refused => access(host, AccessKind::Host, "it refused to run a command").hint(
                "is the key bound to another one (`command=` in authorized_keys, ForceCommand)?",
            ),
        }
    }
}

/// Reads into `reply` up to `mark` on both outputs, which is taken away with all that comes after it, or to the session's close.
/// `confirm` is how long the host may take to say that what was asked for runs.
pub(super) async fn read(
    read: &mut ChannelReadHalf,
    mut confirm: Option<Duration>,
    mark: Option<&str>,
    reply: &mut Reply,
    heard: &Heard<'_>,
) -> End {
    let mark = mark.map(|mark| format!("\n{mark} "));
    let cut = |said: &mut Vec<u8>, before| cut(said, before, mark.as_deref()?);
    let (mut out, mut err) = (None, None);
    let (mut answered, mut ended) = (false, false);
    loop {
        let message = if ended {
            match timeout(STRAGGLER, read.wait()).await {
                Ok(message) => message,
                Err(_) => return End::Closed { answered },
            }
        } else if let Some(limit) = confirm {
            match within(limit, "it did not start a command", read.wait()).await {
                Ok(message) => message,
                Err(silence) => return End::Broken(Broken::Silent(silence)),
            }
        } else {
            read.wait().await
        };
        // How much it may be written says nothing about the command.
        if !matches!(message, Some(ChannelMsg::WindowAdjusted { .. })) {
            confirm = None;
        }
        match message {
            Some(ChannelMsg::Data { data }) if out.is_none() => {
                answered = true;
                let before = reply.stdout.len();
                reply.stdout.extend_from_slice(&data);
                out = cut(&mut reply.stdout, before);
                heard(&reply.stdout);
            }
            Some(ChannelMsg::ExtendedData { data, ext: 1 }) if err.is_none() => {
                answered = true;
                let before = reply.stderr.len();
                reply.stderr.extend_from_slice(&data);
                err = cut(&mut reply.stderr, before);
            }
            Some(ChannelMsg::ExitStatus { exit_status }) => {
                reply.status = i32::try_from(exit_status).ok();
                ended = true;
            }
            Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                let note = format!("\n(ended by signal {signal_name:?})\n");
                reply.stderr.extend_from_slice(note.as_bytes());
                ended = true;
            }
            Some(ChannelMsg::Failure) => return End::Broken(Broken::Refused),
            Some(ChannelMsg::Close) => return End::Closed { answered },
            // sshd sends the status before the close; without either, the connection is what ended.
            None if ended => return End::Closed { answered },
            None => return End::Broken(Broken::Gone),
            Some(_) => {}
        }
        if let (Some(status), Some(_)) = (out, err) {
            reply.status = Some(status);
            return End::Marked;
        }
        if reply.stdout.len() + reply.stderr.len() > MOST {
            return End::Broken(Broken::TooMuch);
        }
    }
}

/// Finds `mark` with a status and a line break after it, in what came since `before` or ends there. Takes it away, and all
/// after it; returns the status.
fn cut(said: &mut Vec<u8>, before: usize, mark: &str) -> Option<i32> {
    /// Digits of a status, and the line break.
    const REST: usize = 5;
    let from = before.saturating_sub(mark.len() + REST);
    let start = from
        + said[from..]
            .windows(mark.len())
            .position(|window| window == mark.as_bytes())?;
    let rest = &said[start + mark.len()..];
    let line = rest.iter().position(|byte| *byte == b'\n')?;
    let status = std::str::from_utf8(&rest[..line]).ok()?.parse().ok()?;
    said.truncate(start);
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_found_however_it_comes_in_pieces() {
        let whole = b"one\ntwo\nw0rd-3 17\nof somebody left behind";
        for at in 0..whole.len() {
            let mut said = whole[..at].to_vec();
            let early = cut(&mut said, 0, "\nw0rd-3 ");
            if early.is_none() {
                let before = said.len();
                said.extend_from_slice(&whole[at..]);
                assert_eq!(cut(&mut said, before, "\nw0rd-3 "), Some(17), "{at}");
            }
            assert_eq!(said, b"one\ntwo", "{at}");
        }
        let mut other = b"\nw0rd-2 0\n".to_vec();
        assert_eq!(cut(&mut other, 0, "\nw0rd-3 "), None);
        assert_eq!(other, b"\nw0rd-2 0\n");
    }
}
