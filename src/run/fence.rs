//! The gate that everything passes which a run sends to change a host: while the lock is held, programs bear its number, and
//! every host refuses those of older runs. Does not know what programs do, nor how the lock is kept.
//!
//! Each program is noted on its host before it begins ([`crate::probe::Door`]). One whose end nobody has heard of is
//! remembered here: the next one to that host, whatever it is for, stops it first. So no program runs beside an earlier
//! attempt at itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use tokio::sync::Notify;

use super::lock::Lease;
use super::stop::Stop;
use super::tell::Tell;
use super::writer::{ActionContext, ServiceWriter, StepError, Tunnel, Upload, Writer, Writers};
use crate::config::HostId;
use crate::probe::{
    AccessError, AccessKind, Door, Fence, Nonce, Pass, Program, Reader, Readers, Refused, Reply,
    ServiceReader,
};

/// A lock that is held, as far as programs go.
pub struct Held {
    /// What identifies the run on hosts.
    pub pass: Pass,
    /// How long it may go on.
    pub lease: Lease,
    /// Host that the lock is on.
    pub host: Arc<str>,
    /// The number of each probed host's fence.
    pub seen: BTreeMap<HostId, u64>,
    /// What was probed is out of date: the probes that follow raise the fences first.
    pub waited: bool,
    /// Told when the run may change nothing any more.
    pub tell: Tell,
    /// Ended then.
    pub stop: Stop,
}

/// The gate of one run. Clones are one and the same. Without a lock it lets everything pass.
#[derive(Clone, Default)]
pub struct Gate(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    /// Another run or a fellow shard has a higher number, some host says: the lock tells whether that is so.
    behind: Notify,
}

#[derive(Default)]
struct State {
    held: Option<Opened>,
    /// Programs by host whose end nobody has heard of.
    lost: HashMap<HostId, BTreeSet<String>>,
}

struct Opened {
    pass: Arc<Pass>,
    held: Held,
    /// Why nothing passes any more.
    closed: Option<String>,
    /// Hosts whose fence was raised before they were probed again.
    raised: BTreeSet<HostId>,
    /// Hosts that say they are another run's, and the token of that run.
    refused: BTreeMap<Arc<str>, String>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked while holding it had only changed a set.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has programs bear the number of a lock that is held.
    pub fn open(&self, held: Held) {
        self.state().held = Some(Opened {
            pass: Arc::new(held.pass.clone()),
            held,
            closed: None,
            raised: BTreeSet::new(),
            refused: BTreeMap::new(),
        });
    }

    /// Lets programs pass without a number: the lock was given back. After [`Self::close`], still nothing passes.
    pub fn shut(&self) {
        let mut state = self.state();
        if state
            .held
            .as_ref()
            .is_none_or(|opened| opened.closed.is_none())
        {
            state.held = None;
        }
    }

    /// Lets nothing pass any more, and nothing new start, because `why`.
    pub fn close(&self, why: &str) {
        let mut state = self.state();
        let Some(opened) = &mut state.held else {
            return;
        };
        let first = opened.closed.is_none();
        opened.closed.get_or_insert_with(|| why.to_owned());
        let (tell, stop) = (opened.held.tell.clone(), opened.held.stop.clone());
        drop(state);
        if first {
            tell.warn(&format!("{why}: nothing new starts"));
        }
        stop.end();
    }

    /// Takes the number that the lock has by now.
    pub fn number(&self, number: u64) {
        let mut state = self.state();
        let Some(opened) = &mut state.held else {
            return;
        };
        if number > opened.pass.fence.number {
            let mut pass = Pass::clone(&opened.pass);
            pass.fence.number = number;
            opened.pass = Arc::new(pass);
        }
    }

    /// Returns what identifies the run on hosts, while it holds the lock.
    #[must_use]
    pub fn pass(&self) -> Option<Arc<Pass>> {
        self.state()
            .held
            .as_ref()
            .map(|opened| Arc::clone(&opened.pass))
    }

    /// Waits until some host says that another run or a fellow shard has a higher number.
    pub(super) async fn behind(&self) {
        self.0.behind.notified().await;
    }

    /// Returns whether this run may still change anything on `host`.
    ///
    /// # Errors
    /// When its lease has ended by its own clock, or another run has taken over.
    pub fn check(&self, host: &Arc<str>) -> Result<(), AccessError> {
        let mut over = None;
        let state = self.state();
        if let Some(opened) = &state.held {
            if let Some(why) = &opened.closed {
                return Err(fenced(host, format!("{why}: nothing was sent")));
            }
            if opened.held.lease.left().is_none() {
                over = Some(format!(
                    "the lock on {} was renewed last {} s ago, and another run may have taken it over",
                    opened.held.host,
                    opened.held.lease.age().as_secs()
                ));
            }
        }
        drop(state);
        match over {
            None => Ok(()),
            Some(why) => {
                self.close(&why);
                Err(fenced(host, format!("{why}: nothing was sent")))
            }
        }
    }

    /// Returns the door for a program that is about to be sent to `host`.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(super) fn door(
        &self,
        host: HostId,
        name: &Arc<str>,
    ) -> Result<Option<Pending>, AccessError> {
        self.check(name)?;
        let state = self.state();
        let Some(opened) = &state.held else {
            return Ok(None);
        };
        let id = id(name)?;
        let seen = (!opened.held.waited)
            .then(|| opened.held.seen.get(&host).copied())
            .flatten();
        let door = Door::new(Arc::clone(&opened.pass), id, state.lost_on(host), seen);
        Ok(Some(Pending {
            gate: self.clone(),
            host,
            name: Arc::clone(name),
            door,
            noted: true,
            over: false,
        }))
    }

    /// Returns the door that a probe of `host` goes through first: where its fence must be raised before, or some program of
    /// this run may still be at work.
    fn before_probe(&self, host: HostId, name: &Arc<str>) -> Result<Option<Pending>, AccessError> {
        let must = {
            let state = self.state();
            state.held.as_ref().is_some_and(|opened| {
                opened.closed.is_none()
                    && ((opened.held.waited && !opened.raised.contains(&host))
                        || state.lost.contains_key(&host))
            })
        };
        if !must {
            return Ok(None);
        }
        let mut pending = self.door(host, name)?;
        if let Some(pending) = &mut pending {
            pending.noted = false;
        }
        Ok(pending)
    }

    /// Makes an error of a refusal. If the host is another run's, the lock is looked at at once: it tells whether this run
    /// has lost it, and ends it then. One host's word alone does not, as it may be wrong; that of two about the same run does,
    /// as that run may have its lock elsewhere.
    fn judge(&self, name: &Arc<str>, refused: Refused) -> AccessError {
        let (ours, held, folder) = {
            let state = self.state();
            let opened = state.held.as_ref();
            let pass = opened.map(|opened| Pass::clone(&opened.pass));
            let (ours, folder) = pass.map_or_else(Default::default, |p| (p.fence, p.folder));
            (ours, opened.is_some(), folder)
        };
        match refused {
            // A fellow shard's: the lock knows the number.
            Refused::By(fence) if held && fence.token == ours.token => {
                self.0.behind.notify_one();
                AccessError {
                    kind: AccessKind::Lost,
                    ..fenced(
                        name,
                        "a shard of this run has a higher number there".to_owned(),
                    )
                }
            }
            Refused::By(fence) => {
                let why = format!(
                    "belongs to {} now and refuses this run (fence {})",
                    fence.words(),
                    ours.number
                );
                if self.is_agreed(name, &fence) {
                    self.close(&format!("{name} {why}, and so does another host"));
                } else {
                    self.0.behind.notify_one();
                }
                AccessError {
                    hint: Some(format!(
                        "if there is no such run, {folder}/fence is wrong on {name}: find out who wrote it, then remove it there"
                    )),
                    ..fenced(name, format!("it {why}: nothing was changed"))
                }
            }
            Refused::Trouble(words) => {
                fenced(name, format!("its fence lets nothing through: {words}"))
            }
        }
    }

    /// Notes that `name` says it is another run's. Returns whether another host says the same.
    fn is_agreed(&self, name: &Arc<str>, fence: &Fence) -> bool {
        let mut state = self.state();
        let Some(opened) = &mut state.held else {
            return false;
        };
        let refused = &mut opened.refused;
        refused.insert(Arc::clone(name), fence.token.clone());
        refused.values().filter(|of| **of == fence.token).count() > 1
    }
}

impl State {
    fn lost_on(&self, host: HostId) -> Vec<String> {
        let lost = self.lost.get(&host);
        lost.into_iter().flatten().cloned().collect()
    }
}

fn fenced(host: &Arc<str>, message: String) -> AccessError {
    AccessError {
        host: Arc::clone(host),
        kind: AccessKind::Fenced,
        message,
        hint: None,
    }
}

/// Draws a name for a program.
fn id(host: &Arc<str>) -> Result<String, AccessError> {
    let nonce = Nonce::draw().map_err(|error| AccessError {
        kind: AccessKind::Local,
        ..fenced(host, format!("no randomness is to be had: {error}"))
    })?;
    Ok(nonce.word().to_owned())
}

/// A program that was sent. Dropped before its end is known, it counts as lost.
pub(super) struct Pending {
    gate: Gate,
    host: HostId,
    name: Arc<str>,
    door: Door,
    /// The host keeps a note of it.
    noted: bool,
    over: bool,
}

impl Pending {
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Takes that it has come to its end, and what it said against it.
    pub fn ended(mut self, refused: Option<Refused>) -> Result<(), AccessError> {
        self.over = true;
        if let Some(refused) = refused {
            return Err(self.gate.judge(&self.name, refused));
        }
        let mut state = self.gate.state();
        if let Some(lost) = state.lost.get_mut(&self.host) {
            lost.retain(|id| !self.door.lost().contains(id));
            if lost.is_empty() {
                state.lost.remove(&self.host);
            }
        }
        if !self.noted
            && let Some(opened) = &mut state.held
        {
            opened.raised.insert(self.host);
        }
        Ok(())
    }

    /// Takes the answer of a program that went through its door as a whole.
    fn answered(self, reply: Reply) -> Result<Reply, AccessError> {
        if reply.status.is_none() {
            return Ok(reply);
        }
        let refused = self.door.refusal(&reply);
        self.ended(refused)?;
        Ok(reply)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.over && self.noted {
            let mut state = self.gate.state();
            state
                .lost
                .entry(self.host)
                .or_default()
                .insert(self.door.id().to_owned());
        }
    }
}

/// All ways to hosts and services, through the gate.
pub struct Fenced {
    inner: Arc<dyn Writers>,
    gate: Gate,
    names: Arc<[Arc<str>]>,
}

impl Fenced {
    /// Puts the gate before `inner`, whose hosts have these `names`.
    #[must_use]
    pub fn new(inner: Arc<dyn Writers>, gate: Gate, names: Arc<[Arc<str>]>) -> Self {
        Self { inner, gate, names }
    }

    fn name(&self, host: HostId) -> Arc<str> {
        let name = self.names.get(host.0 as usize);
        name.map_or_else(|| "a host".into(), Arc::clone)
    }
}

/// One host, through the gate.
struct Behind<T: ?Sized> {
    inner: Arc<T>,
    gate: Gate,
    host: HostId,
    name: Arc<str>,
}

impl Readers for Fenced {
    fn reader(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        Box::pin(async move {
            let reader: Arc<dyn Reader> = Arc::new(Behind {
                inner: self.inner.reader(host).await?,
                gate: self.gate.clone(),
                host,
                name: self.name(host),
            });
            Ok(reader)
        })
    }

    fn service(&self, name: &str) -> Option<Arc<dyn ServiceReader>> {
        self.inner.service(name)
    }
}

impl Writers for Fenced {
    fn writer(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Writer>, AccessError>> {
        Box::pin(async move {
            let writer: Arc<dyn Writer> = Arc::new(Behind {
                inner: self.inner.writer(host).await?,
                gate: self.gate.clone(),
                host,
                name: self.name(host),
            });
            Ok(writer)
        })
    }

    fn service_writer(&self, name: &str) -> Option<Arc<dyn ServiceWriter>> {
        let inner = self.inner.service_writer(name)?;
        Some(Arc::new(Guarded {
            inner,
            gate: self.gate.clone(),
            name: name.into(),
        }))
    }
}

/// An API that is changed only while the run may change anything.
struct Guarded {
    inner: Arc<dyn ServiceWriter>,
    gate: Gate,
    name: Arc<str>,
}

impl ServiceWriter for Guarded {
    fn apply<'a>(
        &'a self,
        action: &'a str,
        context: &'a ActionContext<'a>,
    ) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            self.gate.check(&self.name)?;
            self.inner.apply(action, context).await
        })
    }
}

impl Behind<dyn Reader> {
    async fn asked(&self, program: &Program) -> Result<Reply, AccessError> {
        ask(&self.gate, self.host, &self.name, &*self.inner, program).await
    }
}

impl Reader for Behind<dyn Reader> {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(self.asked(program))
    }
}

impl Reader for Behind<dyn Writer> {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        let reader: &dyn Reader = &*self.inner;
        Box::pin(ask(&self.gate, self.host, &self.name, reader, program))
    }
}

async fn ask(
    gate: &Gate,
    host: HostId,
    name: &Arc<str>,
    reader: &dyn Reader,
    program: &Program,
) -> Result<Reply, AccessError> {
    match gate.before_probe(host, name)? {
        None => reader.ask(program).await,
        Some(pending) => {
            let reply = reader.ask(&pending.door().before(program)).await?;
            pending.answered(reply)
        }
    }
}

impl Writer for Behind<dyn Writer> {
    fn run<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(async move {
            match self.gate.door(self.host, &self.name)? {
                None => self.inner.run(program).await,
                Some(pending) => {
                    let reply = self.inner.run(&pending.door().around(program)).await?;
                    pending.answered(reply)
                }
            }
        })
    }

    fn follow<'a>(
        &'a self,
        program: &'a Program,
        reply: &'a mut Reply,
        heard: &'a (dyn Fn(&[u8]) + Send + Sync),
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(async move {
            match self.gate.door(self.host, &self.name)? {
                None => self.inner.follow(program, reply, heard).await,
                Some(pending) => {
                    let program = pending.door().around(program);
                    self.inner.follow(&program, reply, heard).await?;
                    *reply = pending.answered(std::mem::take(reply))?;
                    Ok(())
                }
            }
        })
    }

    fn upload_through<'a>(
        &'a self,
        upload: &'a Upload,
        door: Option<&'a Door>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(async move {
            let pending = match door {
                None => self.gate.door(self.host, &self.name)?,
                Some(_) => None,
            };
            match pending {
                None => self.inner.upload_through(upload, door).await,
                Some(pending) => {
                    let result = self
                        .inner
                        .upload_through(upload, Some(pending.door()))
                        .await;
                    match result {
                        Ok(()) => pending.ended(None),
                        Err(AccessError {
                            kind: AccessKind::Fenced,
                            message,
                            ..
                        }) => pending.ended(Some(Refused::read(&message))),
                        // What the host itself says has come to its end there.
                        Err(error) if error.kind == AccessKind::Host => {
                            pending.ended(None)?;
                            Err(error)
                        }
                        Err(error) => Err(error),
                    }
                }
            }
        })
    }

    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        self.inner.forward(port)
    }
}
