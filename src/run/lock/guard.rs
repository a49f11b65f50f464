//! Taking, keeping and giving back the lock through the connections of a run. Knows how long to wait, not what for.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;

use super::RENEW;
use super::holder::{Controller, Found, Holder, Party, Standing};
use super::script::{Answer, Order, parse, program};
use crate::config::{HostId, Stack};
use crate::event::{LockWaiting, What};
use crate::probe::{AccessError, Reader, Readers};
use crate::run::stop::Stop;
use crate::run::tell::Tell;
use crate::run::writer::{Writer, Writers};

/// How often a waiting run looks again.
const POLL: Duration = Duration::from_secs(2);

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run holds it.
    #[error("stack {stack} is locked, on {host}: {}", found.words())]
    Held {
        /// The stack.
        stack: String,
        /// Host that the lock is on.
        host: String,
        /// Who.
        found: Box<Found>,
    },
    /// No host could be reached.
    #[error(
        "no host of stack {stack} can be reached to hold the lock{}",
        list(tried)
    )]
    NoHost {
        /// The stack.
        stack: String,
        /// Those tried.
        tried: Vec<AccessError>,
    },
    /// The host said something else.
    #[error("{host}: {message}")]
    Host {
        /// Host that the lock is on.
        host: String,
        /// In its own words.
        message: String,
    },
    /// Told to stop while waiting.
    #[error("interrupted while waiting for the lock")]
    Interrupted,
}

impl LockError {
    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Held { .. } => Some(
                "wait for it to end; `foundry lock show` tells more, `foundry lock steal` removes the lock of a run that is no more",
            ),
            Self::NoHost { .. } => Some("`foundry host list` shows how each host is reached"),
            Self::Host { .. } | Self::Interrupted => None,
        }
    }
}

fn list(tried: &[AccessError]) -> String {
    tried.iter().map(|error| format!("\n  {error}")).collect()
}

/// How long to wait for a run that holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patience {
    /// Until it shows that it is alive by renewing its lease: a killed run is waited out, a live one is not.
    #[default]
    UntilAlive,
    /// For so long.
    For(Duration),
}

/// The lock, held. Renewed until it is given back; if this process dies, the lease ends by itself.
#[must_use]
pub struct Lock {
    host: Arc<str>,
    waited: bool,
    place: Place,
    holder: Holder,
    renewal: JoinHandle<()>,
}

/// Where a lock is.
#[derive(Clone)]
struct Place {
    name: Arc<str>,
    writer: Arc<dyn Writer>,
    folder: Arc<str>,
}

/// Takes the lock of `stack` on the first of `hosts` that can be reached; they are to be in the order of the config, and
/// may leave out those known to be out of reach. With `party`, the lock is shared by all shards of the same generation.
///
/// If another run was waited for or taken over from ([`Lock::waited`]), what was probed before is out of date.
///
/// # Errors
/// When another run holds it, no host can be reached, or the host can't write it.
pub async fn take(
    stack: &Stack,
    hosts: &[HostId],
    writers: &dyn Writers,
    party: Option<&Party>,
    patience: Patience,
    tell: &Tell,
    stop: &Stop,
) -> Result<Lock, LockError> {
    let here = Controller::here();
    let holder = Holder {
        token: token(),
        run: tell.run().to_string(),
        who: here.who.clone(),
        machine: here.machine.clone(),
        pid: here.pid,
        born: here.born.clone(),
        command: tell.masked(tell.command()).to_string(),
        started: jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        party: party.cloned(),
    };
    let mut tried = Vec::new();
    for host in hosts {
        let place = match Place::on(stack, *host, writers).await {
            Ok(place) => place,
            Err(error) => {
                tried.push(error);
                continue;
            }
        };
        let waiting = wait(stack, &place, &holder, &here, patience, tell);
        let waited = tokio::select! {
            waited = waiting => waited?,
            () = stop.ending() => {
                // The order to take it may have got through.
                let _ = place.act(Order::Release { holder: &holder }).await;
                return Err(LockError::Interrupted);
            }
        };
        let renewal = tokio::spawn(renew(
            place.clone(),
            holder.clone(),
            tell.clone(),
            stop.clone(),
        ));
        return Ok(Lock {
            host: Arc::clone(&place.name),
            waited,
            place,
            holder,
            renewal,
        });
    }
    Err(LockError::NoHost {
        stack: stack.name.clone(),
        tried,
    })
}

/// Tries until it is taken. Returns whether another run held it before.
async fn wait(
    stack: &Stack,
    place: &Place,
    holder: &Holder,
    here: &Controller,
    patience: Patience,
    tell: &Tell,
) -> Result<bool, LockError> {
    let began = tokio::time::Instant::now();
    let mut over: Option<Found> = None;
    let mut last: Option<Found> = None;
    loop {
        let gone = over
            .as_ref()
            .and_then(|found| found.holder.as_ref())
            .map(|holder| holder.token.clone());
        let order = Order::Take {
            holder,
            over: gone.as_deref(),
        };
        match place.act(order).await? {
            Answer::Taken => {
                tell.event(What::LockTaken {
                    host: place.name.to_string(),
                    from: None,
                });
                return Ok(last.is_some());
            }
            Answer::Over(found) => {
                let why = match over {
                    Some(_) => "which is no more",
                    None => "whose lease has ended",
                };
                let from = tell.masked(&format!("{}, {why}", found.words()));
                tell.event(What::LockTaken {
                    host: place.name.to_string(),
                    from: Some(from),
                });
                return Ok(true);
            }
            Answer::Held(found) if over.is_none() && found.standing(here) == Standing::Gone => {
                over = Some(found);
                continue;
            }
            Answer::Held(found) => {
                over = None;
                let alive = last.as_ref().is_some_and(|last| {
                    found.age < last.age
                        || last.holder.as_ref().map(|l| &l.token)
                            != found.holder.as_ref().map(|f| &f.token)
                });
                let enough = match patience {
                    Patience::UntilAlive => alive,
                    Patience::For(limit) => began.elapsed() >= limit,
                };
                if enough {
                    return Err(LockError::Held {
                        stack: stack.name.clone(),
                        host: place.name.to_string(),
                        found: Box::new(found),
                    });
                }
                if last.is_none() {
                    tell.event(What::LockWaiting(LockWaiting {
                        host: place.name.to_string(),
                        holder: tell.masked(&found.words()),
                        lease_s: found.lease_left(),
                    }));
                }
                last = Some(found);
            }
            Answer::Free | Answer::Lost(_) => {
                return Err(LockError::Host {
                    host: place.name.to_string(),
                    message: "gave no answer to being asked for the lock".to_owned(),
                });
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Gives signs of life until it is aborted. A host that does not answer keeps what it was told, so only a lock that is
/// another's ends the run.
async fn renew(place: Place, holder: Holder, tell: Tell, stop: Stop) {
    let mut silent = false;
    loop {
        tokio::time::sleep(RENEW).await;
        match place.act(Order::Renew { holder: &holder }).await {
            Ok(Answer::Lost(found)) => {
                let by = found.map_or_else(
                    || "removed".to_owned(),
                    |found| format!("taken by {}", found.words()),
                );
                tell.warn(&format!(
                    "the lock on {} was {by}: nothing new starts",
                    place.name
                ));
                stop.end();
                return;
            }
            Ok(_) => silent = false,
            Err(error) if !silent => {
                silent = true;
                tell.warn(&format!(
                    "the lock could not be renewed and will be tried again: {error}"
                ));
            }
            Err(_) => {}
        }
    }
}

impl Lock {
    /// Returns the name of the host that it is on.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns whether another run held it when we came, so that what we know of the hosts is out of date.
    #[must_use]
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When the host can't be told; the lease then ends by itself.
    pub async fn release(self) -> Result<(), LockError> {
        self.renewal.abort();
        self.place
            .act(Order::Release {
                holder: &self.holder,
            })
            .await
            .map(drop)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Place {
    async fn on(stack: &Stack, host: HostId, writers: &dyn Writers) -> Result<Self, AccessError> {
        let writer = writers.writer(host).await?;
        Ok(Self {
            name: Arc::clone(&stack.host(host).name),
            writer,
            folder: folder(stack).into(),
        })
    }

    async fn act(&self, order: Order<'_>) -> Result<Answer, LockError> {
        let host = self.name.to_string();
        let fail = |message: String| LockError::Host {
            host: host.clone(),
            message,
        };
        let program = program(&self.folder, order).map_err(|error| fail(error.to_string()))?;
        let reply = self
            .writer
            .run(&program)
            .await
            .map_err(|error| fail(error.message))?;
        parse(&reply).map_err(fail)
    }
}

/// A lock as `lock show` tells of it.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// Host that it is, or would be, on.
    pub host: String,
    /// Who holds it, if anybody does.
    pub held: Option<Found>,
    /// What to make of that from here.
    pub standing: Option<Standing>,
}

/// Looks at the lock of `stack` without touching it.
///
/// # Errors
/// When no host can be reached, or it can't read the lock.
pub async fn show(stack: &Stack, readers: &dyn Readers) -> Result<Shown, LockError> {
    let (name, reader) = first(stack, readers).await?;
    let fail = |message: String| LockError::Host {
        host: name.to_string(),
        message,
    };
    let program = program(&folder(stack), Order::Show).map_err(|error| fail(error.to_string()))?;
    let reply = reader
        .ask(&program)
        .await
        .map_err(|error| fail(error.message))?;
    let held = match parse(&reply).map_err(fail)? {
        Answer::Held(found) => Some(found),
        _ => None,
    };
    let standing = held
        .as_ref()
        .map(|found| found.standing(&Controller::here()));
    Ok(Shown {
        host: name.to_string(),
        held,
        standing,
    })
}

/// Removes the lock that `seen` shows, and no other. Returns whether it was still there.
///
/// # Errors
/// When somebody else holds it by now, no host can be reached, or it can't be removed.
pub async fn steal(stack: &Stack, writers: &dyn Writers, seen: &Found) -> Result<bool, LockError> {
    let mut tried = Vec::new();
    for host in hosts(stack) {
        let place = match Place::on(stack, host, writers).await {
            Ok(place) => place,
            Err(error) => {
                tried.push(error);
                continue;
            }
        };
        let over = seen
            .holder
            .as_ref()
            .map_or("", |holder| holder.token.as_str());
        return match place.act(Order::Steal { over }).await? {
            Answer::Held(found) => Err(LockError::Held {
                stack: stack.name.clone(),
                host: place.name.to_string(),
                found: Box::new(found),
            }),
            answer => Ok(matches!(answer, Answer::Over(_))),
        };
    }
    Err(LockError::NoHost {
        stack: stack.name.clone(),
        tried,
    })
}

/// Connects to the first host of `stack` that can be reached.
async fn first(
    stack: &Stack,
    readers: &dyn Readers,
) -> Result<(Arc<str>, Arc<dyn Reader>), LockError> {
    let mut tried = Vec::new();
    for host in hosts(stack) {
        match readers.reader(host).await {
            Ok(reader) => return Ok((Arc::clone(&stack.host(host).name), reader)),
            Err(error) => tried.push(error),
        }
    }
    Err(LockError::NoHost {
        stack: stack.name.clone(),
        tried,
    })
}

fn hosts(stack: &Stack) -> impl Iterator<Item = HostId> + use<> {
    (0..u32::try_from(stack.hosts.len()).unwrap_or(u32::MAX)).map(HostId)
}

fn folder(stack: &Stack) -> String {
    // Beside the stamps.
    let stamps = crate::probe::stamps_folder(&stack.name);
    stamps
        .rsplit_once('/')
        .map_or(stamps.clone(), |(folder, _)| folder.to_owned())
}

fn token() -> String {
    let mut bytes = [0_u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // Unlike any other of this process and moment is enough.
        let nanos = jiff::Timestamp::now().as_nanosecond().to_le_bytes();
        bytes.copy_from_slice(&nanos);
    }
    hex::encode(bytes)
}
