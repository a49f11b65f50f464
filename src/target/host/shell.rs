//! Shells that stay on a connection from one program to the next: a program costs the host a fork then, not a session with
//! a log-in shell of its own. Each program runs in a subshell, so that nothing of it is left for the next. Knows nothing of
//! what programs do, nor how one becomes root.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::ChannelMsg;
use tokio::time::timeout;

use super::error::access;
use super::exec::{Fault, FeedError, STRAGGLER, Session, gone, open, refused};
use super::link::Link;
use super::wire::{Heard, MOST, Shell, too_late, too_much};
use crate::probe::{AccessKind, Reply};

/// Said once to a new shell: after a program, `foundry_end WORD` says on both outputs how it ended.
const BEGIN: &str = "shift $#\n\
                     foundry_end() { set -- \"$1\" \"$?\"; printf '\\n%s %s\\n' \"$@\"; printf '\\n%s %s\\n' \"$@\" >&2; }\n";

/// The shells of one connection that wait for their next program.
#[derive(Default)]
pub(super) struct Shells(Mutex<Vec<Kept>>);

/// A shell that has run a program to its end, or none yet.
struct Kept {
    /// What it was started by.
    command: String,
    session: Session,
    /// Marks the ends of its programs, with their number: nothing on the host can know it before.
    word: String,
    programs: u64,
}

impl Shells {
    fn take(&self, command: &str) -> Option<Kept> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = idle.iter().rposition(|kept| kept.command == command)?;
        Some(idle.swap_remove(at))
    }

    fn put(&self, kept: Kept) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(kept);
    }

    /// Ends one that waits, so that its session's place is another's.
    pub fn end_one(&self) {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        drop(idle);
    }
}

/// How a program ended.
enum End {
    /// As it should: its status is said.
    Marked,
    /// With its shell: nobody became root, the text was no program, or something killed both.
    WithItsShell {
        /// Something was said before.
        answered: bool,
    },
    /// With the connection.
    Gone,
    TooMuch,
    Refused,
}

/// Runs `program` on `link` in a shell of the kind that `shell` starts, one that waits there if there is one.
pub(super) async fn run(
    link: &Link,
    host: &Arc<str>,
    shell: &Shell,
    program: &[&[u8]],
    deadline: Duration,
    reply: &mut Reply,
    heard: &Heard<'_>,
) -> Result<(), Fault> {
    loop {
        let mut kept = match link.shells.take(&shell.command) {
            // Once the program is on its way nobody can tell any more whether it has begun.
            Some(_) if !link.answers().await => return Err(Fault::NotStarted(link.ended())),
            Some(kept) => kept,
            None => begin(link, host, shell).await?,
        };
        let first = kept.programs == 0;
        let running = kept.run(link, host, shell, program, reply, heard);
        let end = match timeout(deadline, running).await {
            Ok(end) => end?,
            Err(_) => return Err(Fault::Access(too_late(host, deadline))),
        };
        match end {
            End::Marked if link.slots.wanted() => kept.session.end(),
            End::Marked => link.shells.put(kept),
            // It had gone before the program came; the next has not.
            End::WithItsShell { answered: false } if !first => {
                *reply = Reply::default();
                continue;
            }
            End::WithItsShell { .. } => kept.session.done(),
            End::Gone => return Err(Fault::Access(gone(host, link))),
            End::TooMuch => return Err(Fault::Access(too_much(host))),
            End::Refused => return Err(Fault::Access(refused(host))),
        }
        return Ok(());
    }
}

async fn begin(link: &Link, host: &Arc<str>, shell: &Shell) -> Result<Kept, Fault> {
    let mut word = [0; 16];
    getrandom::fill(&mut word).map_err(|error| {
        Fault::Access(access(
            host,
            AccessKind::Local,
            format!("no random numbers: {error}"),
        ))
    })?;
    let session = open(link, host).await?;
    session
        .write
        .exec(true, shell.command.as_str())
        .await
        .map_err(|_| Fault::NotStarted(link.ended()))?;
    Ok(Kept {
        command: shell.command.clone(),
        session,
        word: hex::encode(word),
        programs: 0,
    })
}

impl Kept {
    async fn run(
        &mut self,
        link: &Link,
        host: &Arc<str>,
        shell: &Shell,
        program: &[&[u8]],
        reply: &mut Reply,
        heard: &Heard<'_>,
    ) -> Result<End, Fault> {
        let mark = format!("{}-{}", self.word, self.programs);
        let end = format!(") </dev/null\nfoundry_end {mark}\n");
        // A shell reads all of a pair of parentheses before it begins: a program that was cut off on its way is none.
        let mut text: Vec<&[u8]> = Vec::with_capacity(program.len() + 4);
        if self.programs == 0 {
            text.extend([shell.first.as_bytes(), BEGIN.as_bytes()]);
        }
        text.push(b"(\n");
        text.extend(program);
        text.push(b"\n");
        text.push(end.as_bytes());
        let first = self.programs == 0;
        self.programs += 1;
        let Session { read, write, .. } = &mut self.session;
        let read = read_to(read, &mark, reply, heard);
        let write = super::exec::write(write, &text);
        tokio::pin!(read, write);
        // The host may stop listening long before all is written: reading decides.
        tokio::select! {
            biased;
            end = &mut read => Ok(end),
            fed = &mut write => match fed {
                Err(FeedError::Gone) if !first && link.is_closed() => Err(Fault::NotStarted(link.ended())),
                Ok(()) | Err(FeedError::Gone) => Ok(read.await),
                Err(FeedError::File(error)) => Err(Fault::Access(access(
                    host,
                    AccessKind::Local,
                    error.to_string(),
                ))),
            },
        }
    }
}

/// Reads what a program answers, up to `mark` on both outputs, which is taken away with all that comes after it.
async fn read_to(
    read: &mut russh::ChannelReadHalf,
    mark: &str,
    reply: &mut Reply,
    heard: &Heard<'_>,
) -> End {
    let mark = format!("\n{mark} ");
    let (mut out, mut err) = (None, None);
    let (mut answered, mut ended) = (false, false);
    loop {
        let message = if ended {
            match timeout(STRAGGLER, read.wait()).await {
                Ok(message) => message,
                Err(_) => return End::WithItsShell { answered },
            }
        } else {
            read.wait().await
        };
        match message {
            Some(ChannelMsg::Data { data }) if out.is_none() => {
                answered = true;
                let before = reply.stdout.len();
                reply.stdout.extend_from_slice(&data);
                out = cut(&mut reply.stdout, before, &mark);
                heard(&reply.stdout);
            }
            Some(ChannelMsg::ExtendedData { data, ext: 1 }) if err.is_none() => {
                answered = true;
                let before = reply.stderr.len();
                reply.stderr.extend_from_slice(&data);
                err = cut(&mut reply.stderr, before, &mark);
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
            Some(ChannelMsg::Failure) => return End::Refused,
            Some(ChannelMsg::Close) => return End::WithItsShell { answered },
            None if ended => return End::WithItsShell { answered },
            None => return End::Gone,
            Some(_) => {}
        }
        if let (Some(status), Some(_)) = (out, err) {
            reply.status = Some(status);
            return End::Marked;
        }
        if reply.stdout.len() + reply.stderr.len() > MOST {
            return End::TooMuch;
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
