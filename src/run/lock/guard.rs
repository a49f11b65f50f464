//! Taking, keeping and giving back the lock through the connections of a run. Knows how long to wait, not what for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;

use super::holder::{Controller, Found, Holder, Party, Standing};
use super::lease::{BootClock, Clock, Lease, Terms};
use super::place::{Chosen, Place, choose};
use super::script::{Answer, Numbers, Order, parse, program};
use super::seen::SeenRuns;
use crate::config::{HostId, Stack};
use crate::event::{LockWaiting, What};
use crate::probe::{AccessError, Fence, Pass, Reader, Readers, stack_folder};
use crate::run::fence::{Gate, Held};
use crate::run::stop::Stop;
use crate::run::tell::Tell;
use crate::run::writer::Writers;

/// How often a waiting run looks again.
pub(super) const POLL: Duration = Duration::from_secs(2);

/// How far the number of a run is ahead at least whose lock is on a host that stands in.
const AHEAD: u64 = 1000;

/// Returns the error of a host that gives the lock a number that none of its runs can have come to.
fn wrong(place: &Place, folder: &str, number: u64) -> LockError {
    LockError::Number {
        host: place.name.to_string(),
        number,
        file: format!("{folder}/lock.number"),
    }
}

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
    /// The host gives a number that is out of all reason, or none: with it, later runs could be kept off all hosts.
    #[error(
        "{host}: it gives the lock the number {number}, which is far from what all other hosts know of: {file} is wrong there"
    )]
    Number {
        /// Host that the lock is on.
        host: String,
        /// What it says.
        number: u64,
        /// Where it keeps the number.
        file: String,
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
            Self::Number { .. } => Some(
                "find out who wrote it, then remove that file on that host: the next run counts on from what the hosts know",
            ),
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

/// What it takes to get the lock.
pub struct Request<'a> {
    /// The stack.
    pub stack: &'a Stack,
    /// Hosts that it may be on, in the order of the config.
    pub hosts: &'a [HostId],
    /// Those of them that are known not to answer.
    pub unreachable: &'a BTreeMap<HostId, AccessError>,
    /// What the probes found of earlier runs.
    pub seen: &'a SeenRuns,
    /// Ways to the hosts.
    pub writers: &'a dyn Writers,
    /// Whom the lock is shared with: all shards of the same generation.
    pub party: Option<&'a Party>,
    /// How long to wait for a run that holds it.
    pub patience: Patience,
    /// How long it is good for.
    pub terms: Terms,
    /// The clock that the holder stops by.
    pub clock: Arc<dyn Clock>,
    /// This machine and process.
    pub here: Controller,
    /// How far ahead its number is where it stands in for a host that can't be reached: it can't know which numbers that
    /// host has given away.
    pub ahead: u64,
    /// Told what happens.
    pub tell: &'a Tell,
    /// Told to stop.
    pub stop: &'a Stop,
}

impl<'a> Request<'a> {
    /// Returns the request of this process, with what is usual for the rest.
    #[must_use]
    pub fn new(
        stack: &'a Stack,
        hosts: &'a [HostId],
        unreachable: &'a BTreeMap<HostId, AccessError>,
        seen: &'a SeenRuns,
        writers: &'a dyn Writers,
        tell: &'a Tell,
        stop: &'a Stop,
    ) -> Self {
        Self {
            stack,
            hosts,
            unreachable,
            seen,
            writers,
            party: None,
            patience: Patience::default(),
            terms: Terms::default(),
            clock: Arc::new(BootClock::default()),
            here: Controller::here(),
            ahead: AHEAD + random(AHEAD),
            tell,
            stop,
        }
    }
}

/// The lock, held. Renewed until it is given back; if this process dies, the lease ends by itself.
#[must_use]
pub struct Lock {
    host: Arc<str>,
    waited: bool,
    place: Place,
    holder: Holder,
    gate: Gate,
    renewal: JoinHandle<()>,
}

/// What a lock that was got is about.
struct Got {
    numbers: Numbers,
    /// What the probes found is out of date.
    waited: bool,
    /// When the order was sent.
    sent: Duration,
}

/// Takes the lock on the first host that can be reached. The `gate` opens for the run: from then on programs that go
/// through it bear its number.
///
/// If another run was waited for, taken over from, or has been at work since the probes ([`Lock::waited`]), what was probed
/// before is out of date.
///
/// # Errors
/// When another run holds it, no host can be reached, or the host can't write it.
pub async fn take(request: &Request<'_>, gate: &Gate) -> Result<Lock, LockError> {
    let Request { here, tell, .. } = request;
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
        party: request.party.cloned(),
    };
    let Chosen { place, stands_in } = tokio::select! {
        biased;
        chosen = choose(request) => chosen?,
        () = request.stop.ending() => return Err(LockError::Interrupted),
    };
    let waiting = wait(request, &place, &holder, stands_in);
    let got = tokio::select! {
        biased;
        got = waiting => got?,
        () = request.stop.ending() => {
            // The order to take it may have got through.
            let _ = place.act(Order::Release { holder: &holder }).await;
            return Err(LockError::Interrupted);
        }
    };
    let number = got.numbers.number;
    let folder = stack_folder(&request.stack.name);
    let limit = request
        .seen
        .limit(if stands_in { request.ahead } else { 0 });
    if number <= request.seen.highest || number > limit {
        // It is ours, and of no use.
        let _ = place.act(Order::Release { holder: &holder }).await;
        return Err(wrong(&place, &folder, number));
    }
    let lease = Lease::new(Arc::clone(&request.clock), request.terms, got.sent);
    let fence = Fence {
        number,
        token: holder.shared().token,
        run: holder.run.clone(),
        who: holder
            .who
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect(),
    };
    gate.open(Held {
        pass: Pass {
            folder: folder.clone(),
            fence,
        },
        lease: lease.clone(),
        host: Arc::clone(&place.name),
        seen: request.seen.fences.clone(),
        waited: got.waited,
        tell: request.tell.clone(),
        stop: request.stop.clone(),
    });
    let renewal = tokio::spawn(
        Renewal {
            place: place.clone(),
            holder: holder.clone(),
            lease,
            terms: request.terms,
            limit,
            folder,
            gate: gate.clone(),
            tell: request.tell.clone(),
        }
        .run(),
    );
    Ok(Lock {
        host: Arc::clone(&place.name),
        waited: got.waited,
        place,
        holder,
        gate: gate.clone(),
        renewal,
    })
}

/// Tries until it is taken.
async fn wait(
    request: &Request<'_>,
    place: &Place,
    holder: &Holder,
    stands_in: bool,
) -> Result<Got, LockError> {
    let Request {
        stack,
        here,
        tell,
        terms,
        seen,
        ..
    } = request;
    let began = tokio::time::Instant::now();
    let jump = if stands_in { request.ahead } else { 0 };
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
            seen: seen.highest,
            jump,
        };
        let sent = request.clock.now();
        match place.act(order).await? {
            Answer::Taken(numbers) => {
                tell.event(What::LockTaken {
                    host: place.name.to_string(),
                    from: None,
                });
                // A number that the probe did not see: somebody has been at work since. Fellow shards see their own.
                let probed = seen.locks.get(&place.host);
                let moved = probed.is_some_and(|probed| {
                    *probed != numbers.before
                        && !(request.party.is_some() && *probed == numbers.number)
                });
                return Ok(Got {
                    numbers,
                    waited: last.is_some() || stands_in || numbers.stolen || moved || seen.at_work,
                    sent,
                });
            }
            Answer::Over(found, numbers) => {
                let why = match over {
                    Some(_) => "which is no more",
                    None => "whose lease has ended",
                };
                let from = tell.masked(&format!("{}, {why}", found.words()));
                tell.event(What::LockTaken {
                    host: place.name.to_string(),
                    from: Some(from),
                });
                return Ok(Got {
                    numbers,
                    waited: true,
                    sent,
                });
            }
            Answer::Held(found)
                if over.is_none() && found.standing(here, terms.lease) == Standing::Gone =>
            {
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
                let enough = match request.patience {
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
                        lease_s: found.lease_left(terms.lease),
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

/// Keeps the lock alive.
struct Renewal {
    place: Place,
    holder: Holder,
    lease: Lease,
    terms: Terms,
    /// The highest number that is believed.
    limit: u64,
    /// The stack's folder on hosts.
    folder: String,
    gate: Gate,
    tell: Tell,
}

impl Renewal {
    /// Gives signs of life until it is aborted, the lock is another's, or its own lease has ended: then nothing new starts.
    async fn run(self) {
        let mut silent = false;
        loop {
            let pause = if silent {
                self.terms.retry()
            } else {
                self.terms.renew
            };
            tokio::select! {
                biased;
                () = tokio::time::sleep(pause) => {}
                // Some host says that another run, or a fellow shard, has a higher number by now.
                () = self.gate.behind() => {}
            }
            let Some(left) = self.lease.left() else {
                return self.over();
            };
            let sent = self.lease.now();
            let order = Order::Renew {
                holder: &self.holder,
            };
            let Ok(answer) = tokio::time::timeout(left, self.place.act(order)).await else {
                return self.over();
            };
            let answer = match answer {
                Ok(Answer::Taken(numbers)) if numbers.number > self.limit => {
                    Err(wrong(&self.place, &self.folder, numbers.number))
                }
                answer => answer,
            };
            match answer {
                Ok(Answer::Lost(found)) => {
                    let by = found.map_or_else(
                        || "removed".to_owned(),
                        |found| format!("taken by {}", found.words()),
                    );
                    self.gate
                        .close(&format!("the lock on {} was {by}", self.place.name));
                    return;
                }
                Ok(Answer::Taken(numbers)) => {
                    silent = false;
                    self.lease.renew(sent);
                    self.gate.number(numbers.number);
                }
                Ok(_) => silent = false,
                Err(error) if !silent => {
                    silent = true;
                    let left = self.lease.left().unwrap_or_default().as_secs();
                    let hint = error.hint().map(|hint| format!(" ({hint})"));
                    self.tell.warn(&format!(
                        "the lock could not be renewed and will be tried again; without it, this run stops in {left} s: {error}{}",
                        hint.unwrap_or_default()
                    ));
                }
                Err(_) => {}
            }
        }
    }

    fn over(&self) {
        self.gate.close(&format!(
            "the lock on {} could not be renewed for {} s, and another run may take it over",
            self.place.name,
            self.lease.age().as_secs()
        ));
    }
}

impl Lock {
    /// Returns the name of the host that it is on.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns whether somebody else may have been at work since we looked at the hosts.
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
        self.gate.shut();
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
    /// Hosts before it that cannot be reached, and why: a run may hold the lock there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreachable: Vec<String>,
}

/// Looks at the lock of `stack` without touching it.
///
/// # Errors
/// When no host can be reached, or it can't read the lock.
pub async fn show(stack: &Stack, readers: &dyn Readers) -> Result<Shown, LockError> {
    let (name, reader, unreachable) = first(stack, readers).await?;
    let lease = Terms::default().lease;
    let fail = |message: String| LockError::Host {
        host: name.to_string(),
        message,
    };
    let program = program(&stack_folder(&stack.name), Order::Show, lease)
        .map_err(|error| fail(error.to_string()))?;
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
        .map(|found| found.standing(&Controller::here(), lease));
    Ok(Shown {
        host: name.to_string(),
        held,
        standing,
        unreachable,
    })
}

/// Removes the lock that `seen` shows, and no other. Returns whether it was still there.
///
/// # Errors
/// When somebody else holds it by now, no host can be reached, or it can't be removed.
pub async fn steal(stack: &Stack, writers: &dyn Writers, seen: &Found) -> Result<bool, LockError> {
    let mut tried = Vec::new();
    for host in hosts(stack) {
        let place = match Place::on(stack, host, writers, Terms::default().lease).await {
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
            answer => Ok(matches!(answer, Answer::Over(..))),
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
) -> Result<(Arc<str>, Arc<dyn Reader>, Vec<String>), LockError> {
    let mut tried: Vec<AccessError> = Vec::new();
    for host in hosts(stack) {
        match readers.reader(host).await {
            Ok(reader) => {
                let unreachable = tried.iter().map(ToString::to_string).collect();
                return Ok((Arc::clone(&stack.host(host).name), reader, unreachable));
            }
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

/// Returns some number below `most`.
fn random(most: u64) -> u64 {
    let mut bytes = [0_u8; 8];
    // Without randomness two runs that stand in at once may get the same number: hosts then refuse the second.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes) % most
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
