//! Shells that stay on a connection from one program to the next: a program costs the host a fork then, not a session with
//! a log-in shell of its own. Each program runs in a subshell, so that nothing of it is left for the next. Knows nothing of
//! what programs do, nor how one becomes root.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::answer::{self, End};
use super::deadline::within;
use super::error::access;
use super::exec::{Fault, Session, open};
use super::link::Link;
use super::wire::{Heard, Shell, subshell, too_late};
use crate::probe::{AccessKind, Reply};

/// Said once to a new shell: after a program, `foundry_end WORD` says on both outputs how it ended.
const BEGIN: &str = "foundry_end() { set -- \"$1\" \"$?\"; printf '\\n%s %s\\n' \"$@\"; printf '\\n%s %s\\n' \"$@\" >&2; }\n";

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
        let running = kept.run(link, shell, program, reply, heard);
        let end = match timeout(deadline, running).await {
            Ok(end) => end?,
            Err(_) => return Err(Fault::Access(too_late(host, deadline))),
        };
        match end {
            End::Marked if link.slots.wanted() => drop(kept),
            End::Marked => link.shells.put(kept),
            // It had gone before the program came; the next has not.
            End::Closed { answered: false } if !first => {
                *reply = Reply::default();
                continue;
            }
            // Nobody became root, the text was no program, or something killed both.
            End::Closed { .. } => kept.session.done(),
            End::Broken(broken) => return Err(Fault::Access(broken.error(host, link))),
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
    let asking = session.write.exec(true, shell.command.as_str());
    within(link.patience, "it did not take a command", asking)
        .await
        .map_err(Fault::Silent)?
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
        shell: &Shell,
        program: &[&[u8]],
        reply: &mut Reply,
        heard: &Heard<'_>,
    ) -> Result<End, Fault> {
        let mark = format!("{}-{}", self.word, self.programs);
        let end = format!("foundry_end {mark}\n");
        let first = self.programs == 0;
        let mut text = subshell(program);
        text.push(end.as_bytes());
        if first {
            text.splice(0..0, [shell.first.as_bytes(), BEGIN.as_bytes()]);
        }
        self.programs += 1;
        let Session { read, write, .. } = &mut self.session;
        // One that has run a program has just given a sign of life.
        let confirm = first.then_some(link.patience);
        let read = answer::read(read, confirm, Some(&mark), reply, heard);
        let write = super::exec::write(write, &text);
        tokio::pin!(read, write);
        // The host may stop listening long before all is written: reading decides.
        tokio::select! {
            biased;
            end = &mut read => Ok(end),
            fed = &mut write => match fed {
                Err(_) if !first && link.is_closed() => Err(Fault::NotStarted(link.ended())),
                _ => Ok(read.await),
            },
        }
    }
}
