//! Runs one command line on an open connection: a session of its own, standard input in pieces, both outputs and the
//! exit status. Knows nothing of what runs.

use std::sync::Arc;
use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::AsyncReadExt as _;
use tokio::time::{sleep, timeout};

use super::answer::{self, End};
use super::deadline::{Silence, within};
use super::error::{Hint as _, access};
use super::link::Link;
use super::slots::Slot;
use super::wire::{Heard, Stdin, too_late};
use crate::probe::{AccessError, AccessKind, Reply};

/// Bytes in one piece of standard input: what one SSH packet carries.
const PIECE: usize = 32 << 10;

/// How often a session is asked for again when the host refuses it though none is open (it may not have noticed yet that
/// the last one closed).
const REFUSALS: u32 = 6;

/// Why a command did not run to its end.
pub(super) enum Fault {
    /// Nothing of it reached the host, because the connection was gone: safe to try again on a new one.
    NotStarted(String),
    /// The host keeps the connection and does not answer on it. Nothing of it has run: safe to try again on a new one.
    Silent(Silence),
    /// Anything else.
    Access(AccessError),
}

/// Runs `command` on `link`. What is left of `stdin` is untouched when nothing was started.
pub(super) async fn exec(
    link: &Link,
    host: &Arc<str>,
    command: &str,
    stdin: &mut Stdin<'_>,
    deadline: Duration,
    reply: &mut Reply,
    heard: &Heard<'_>,
) -> Result<(), Fault> {
    let mut session = open(link, host).await?;
    let running = async {
        session
            .write
            .exec(true, command)
            .await
            .map_err(|_| Fault::NotStarted(link.ended()))?;
        let confirm = Some(link.patience);
        let read = answer::read(&mut session.read, confirm, None, reply, heard);
        let write = feed(&session.write, stdin);
        tokio::pin!(read, write);
        // The host may stop listening long before all is written (a command that fails at once): reading decides.
        let end = tokio::select! {
            biased;
            end = &mut read => end,
            fed = &mut write => match fed {
                Ok(()) => read.await,
                Err(FeedError::Gone) => read.await,
                Err(FeedError::File(error)) => return Err(Fault::Access(access(
                    host,
                    AccessKind::Local,
                    format!("the file to send can't be read: {error}"),
                ))),
            },
        };
        match end {
            End::Closed { .. } | End::Marked => Ok(()),
            End::Broken(broken) => Err(Fault::Access(broken.error(host, link))),
        }
    };
    match timeout(deadline, running).await {
        Ok(Ok(())) => {
            session.done();
            Ok(())
        }
        Ok(Err(fault)) => Err(fault),
        Err(_) => Err(Fault::Access(too_late(host, deadline))),
    }
}

/// An open session; closed on drop.
pub(super) struct Session {
    pub read: ChannelReadHalf,
    pub write: Arc<ChannelWriteHalf<Msg>>,
    slot: Option<Slot>,
}

impl Session {
    /// Lets go of one that has closed.
    pub fn done(mut self) {
        self.slot.take();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let write = Arc::clone(&self.write);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            // Its pipes close; sshd takes no signals for root's sessions, so that whoever wants it ended must do more.
            let _ = write.close().await;
            drop(slot);
        });
    }
}

/// Opens a session. One that waits for its next program makes room if there is no other place.
pub(super) async fn open(link: &Link, host: &Arc<str>) -> Result<Session, Fault> {
    let mut refusals = 0;
    loop {
        let slot = link.slots.take(|| link.shells.end_one()).await;
        let opening = link.handle.channel_open_session();
        let opened = within(link.patience, "it did not open a session", opening);
        let refused = match opened.await.map_err(Fault::Silent)? {
            Ok(channel) => return Ok(session(channel, slot)),
            Err(russh::Error::ChannelOpenFailure(refused)) => refused,
            Err(_) => return Err(Fault::NotStarted(link.ended())),
        };
        if slot.refused() == 0 {
            refusals += 1;
            if refusals > REFUSALS {
                return Err(Fault::Access(no_session(host, &refused)));
            }
            sleep(Duration::from_millis(20) * 2_u32.pow(refusals)).await;
        }
    }
}

fn session(channel: Channel<Msg>, slot: Slot) -> Session {
    let (read, write) = channel.split();
    Session {
        read,
        write: Arc::new(write),
        slot: Some(slot),
    }
}

fn no_session(host: &Arc<str>, refused: &ChannelOpenFailure) -> AccessError {
    access(
        host,
        AccessKind::Host,
        format!("it refuses to open a session: {refused:?}"),
    )
    .hint("sshd's `MaxSessions` must be at least 1")
}

enum FeedError {
    Gone,
    File(std::io::Error),
}

/// Writes `text` in as few pieces as it takes.
pub(super) async fn write(
    write: &ChannelWriteHalf<Msg>,
    text: &[&[u8]],
) -> Result<(), russh::Error> {
    let mut piece = Vec::new();
    for mut part in text.iter().copied() {
        while !part.is_empty() {
            let (now, later) = part.split_at(part.len().min(PIECE - piece.len()));
            piece.extend_from_slice(now);
            part = later;
            if piece.len() == PIECE {
                let full = std::mem::take(&mut piece);
                write.data_bytes(full).await?;
            }
        }
    }
    if piece.is_empty() {
        return Ok(());
    }
    write.data_bytes(piece).await
}

async fn feed(to: &ChannelWriteHalf<Msg>, stdin: &mut Stdin<'_>) -> Result<(), FeedError> {
    let gone = |_| FeedError::Gone;
    write(to, &stdin.text).await.map_err(gone)?;
    if let Some(file) = &mut stdin.file {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            // A short read is no end.
            while piece.len() < PIECE
                && file.read_buf(&mut piece).await.map_err(FeedError::File)? > 0
            {}
            if piece.is_empty() {
                break;
            }
            to.data_bytes(piece).await.map_err(gone)?;
        }
    }
    to.eof().await.map_err(gone)
}
