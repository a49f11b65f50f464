//! What a run enters into the journals of hosts: counts its entries, remembers how far each journal has come, and has
//! programs of built-in actions enter themselves. Knows neither the shell's part of it nor who reads it.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::config::{HostId, Stack};
use crate::event::RunId;
use crate::probe::{
    AccessError, AccessKind, Author, Door, Entered, Entry, Head, Journal, Nonce, Program, Reader,
    Readers, Reply, ServiceReader,
};
use crate::run::lock::Controller;
use crate::run::writer::{ServiceWriter, Tunnel, Upload, Writer, Writers};

/// The journals of all hosts of a stack, for one run.
pub struct Journals {
    stack: Arc<Stack>,
    author: Arc<Author>,
    /// The clock of each host when it booted, where that is known.
    booted: Vec<Option<i64>>,
    numbers: Vec<AtomicU32>,
    heads: Mutex<BTreeMap<u32, Head>>,
}

/// What is done to hosts, as it is entered.
#[derive(Debug, Clone)]
pub struct Deed {
    /// Label of the step.
    pub step: String,
    /// Key of the step; empty for what is none.
    pub key: String,
    /// Verdict for which it is done.
    pub before: String,
}

impl Deed {
    /// Returns the deed of a command that is no build.
    #[must_use]
    pub fn command(name: &str) -> Self {
        Self {
            step: name.to_owned(),
            key: String::new(),
            before: String::new(),
        }
    }
}

impl Journals {
    /// Makes the journals of `stack` for the run `run`, made by whoever makes it on this machine. `booted`: the clock of each host when it booted.
    #[must_use]
    pub fn new(stack: Arc<Stack>, run: &RunId, mut booted: Vec<Option<i64>>) -> Self {
        let author = Author {
            run: run.to_string(),
            by: Controller::here().who,
        };
        booted.resize(stack.hosts.len(), None);
        Self {
            stack,
            author: Arc::new(author),
            numbers: booted.iter().map(|_| AtomicU32::new(0)).collect(),
            booted,
            heads: Mutex::default(),
        }
    }

    /// Returns the journal of a host.
    #[must_use]
    pub fn of(&self, host: HostId) -> Journal {
        Journal {
            stack: self.stack.name.as_str().into(),
            author: Arc::clone(&self.author),
            booted: self.booted.get(host.0 as usize).copied().flatten(),
        }
    }

    /// Returns the next entry on a host.
    #[must_use]
    pub fn entry(&self, host: HostId, deed: &Deed) -> Entry {
        let number = self.numbers.get(host.0 as usize);
        Entry {
            number: number.map_or(0, |number| number.fetch_add(1, Ordering::Relaxed) + 1),
            step: deed.step.clone(),
            key: deed.key.clone(),
            before: deed.before.clone(),
        }
    }

    /// Remembers how far a host's journal has come.
    pub fn saw(&self, host: HostId, head: Head) {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        let known = heads.entry(host.0).or_insert_with(|| head.clone());
        // Programs at work side by side are heard of in any order.
        if (head.file, head.bytes) > (known.file, known.bytes) {
            *known = head;
        }
    }

    /// Returns how far the journals have come that anything was heard of.
    #[must_use]
    pub fn heads(&self) -> BTreeMap<HostId, Head> {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads
            .iter()
            .map(|(host, head)| (HostId(*host), head.clone()))
            .collect()
    }
}

/// Ways to hosts on which whatever is changed enters itself as one deed.
pub struct Entering {
    inner: Arc<dyn Writers>,
    journals: Arc<Journals>,
    deed: Arc<Deed>,
    /// Hosts on which it is entered.
    entered: Arc<Mutex<HashSet<HostId>>>,
}

impl Entering {
    /// Has what is changed through `inner` entered as `deed`.
    #[must_use]
    pub fn new(inner: Arc<dyn Writers>, journals: Arc<Journals>, deed: Deed) -> Self {
        Self {
            inner,
            journals,
            deed: Arc::new(deed),
            entered: Arc::default(),
        }
    }
}

impl Readers for Entering {
    fn reader(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        self.inner.reader(host)
    }

    fn service(&self, name: &str) -> Option<Arc<dyn ServiceReader>> {
        self.inner.service(name)
    }
}

impl Writers for Entering {
    fn writer(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Writer>, AccessError>> {
        Box::pin(async move {
            let writer: Arc<dyn Writer> = Arc::new(One {
                inner: self.inner.writer(host).await?,
                host,
                journals: Arc::clone(&self.journals),
                deed: Arc::clone(&self.deed),
                entered: Arc::clone(&self.entered),
            });
            Ok(writer)
        })
    }

    fn service_writer(&self, name: &str) -> Option<Arc<dyn ServiceWriter>> {
        self.inner.service_writer(name)
    }
}

/// One host.
struct One {
    inner: Arc<dyn Writer>,
    host: HostId,
    journals: Arc<Journals>,
    deed: Arc<Deed>,
    entered: Arc<Mutex<HashSet<HostId>>>,
}

impl One {
    fn is_entered(&self) -> bool {
        let entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
        entered.contains(&self.host)
    }

    async fn enter(&self, program: &Program) -> Result<Reply, AccessError> {
        let error = |kind, message, hint: Option<&str>| AccessError {
            host: Arc::clone(&self.journals.stack.host(self.host).name),
            kind,
            message,
            hint: hint.map(ToOwned::to_owned),
        };
        let nonce = Nonce::draw().map_err(|cause| {
            error(
                AccessKind::Local,
                format!("no random numbers: {cause}"),
                None,
            )
        })?;
        let entry = self.journals.entry(self.host, &self.deed);
        let entered = Entered::new(program, &self.journals.of(self.host), &entry, &nonce)
            .map_err(|cause| error(AccessKind::Local, format!("its stack {cause}"), None))?;
        let reply = self.inner.run(entered.program()).await?;
        let told = entered
            .read(reply)
            .map_err(|cause| error(AccessKind::Host, cause.to_string(), Some(UNWRITABLE)))?;
        self.entered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(self.host);
        if let Some(head) = told.head {
            self.journals.saw(self.host, head);
        }
        Ok(told.reply)
    }
}

/// What to do about a journal that can't be written.
pub const UNWRITABLE: &str =
    "nothing is changed on a host that can't note it: make room below /var/lib/foundry there";

impl Reader for One {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        self.inner.ask(program)
    }
}

impl Writer for One {
    fn run<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(self.enter(program))
    }

    fn upload_through<'a>(
        &'a self,
        upload: &'a Upload,
        door: Option<&'a Door>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(async move {
            // Most deeds have run a program before: then this costs nothing.
            if !self.is_entered() {
                let nothing = Program {
                    text: ":\n".to_owned().into(),
                    deadline: Duration::from_secs(30),
                };
                self.enter(&nothing).await?;
            }
            match door {
                None => self.inner.upload(upload).await,
                door => self.inner.upload_through(upload, door).await,
            }
        })
    }

    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        self.inner.forward(port)
    }
}
