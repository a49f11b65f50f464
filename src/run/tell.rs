//! Tells what happens: stamps events with the time since the run began, masks what may hold a secret, and hands them on.
//! Does not know who listens.

use std::sync::Arc;
use std::time::Instant;

use super::lock::Party;
use crate::event::{Event, Masked, RunId, RunStarted, VERSION, What};
use crate::secret::Masker;

/// Where events go. Must not wait.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// Draws the id of a run that begins `now`.
#[must_use]
pub fn draw_run(now: jiff::Timestamp) -> RunId {
    let mut salt = [0_u8; 2];
    // Without randomness two runs of the same second would only share a log's name.
    let _ = getrandom::fill(&mut salt);
    let second = now.strftime("%Y%m%d-%H%M%S").to_string();
    RunId::new(&second, u16::from_le_bytes(salt))
        .unwrap_or_else(|error| unreachable!("BUG: {error}"))
}

/// The voice of one run. Clones speak for the same run.
#[derive(Clone)]
pub struct Tell {
    run: RunId,
    command: Arc<str>,
    began: Instant,
    sink: Sink,
    masker: Arc<Masker>,
}

impl Tell {
    /// Begins a run of `command` (as a person would type it) on `stack` of so many `hosts`: gives it an id and sends the
    /// first event.
    #[must_use]
    pub fn begin(
        stack: &str,
        command: &str,
        hosts: usize,
        sink: Sink,
        masker: Arc<Masker>,
    ) -> Self {
        Self::begin_part(stack, command, hosts, None, sink, masker)
    }

    /// As [`Self::begin`], for one of several processes that make a run together.
    #[must_use]
    pub fn begin_part(
        stack: &str,
        command: &str,
        hosts: usize,
        party: Option<&Party>,
        sink: Sink,
        masker: Arc<Masker>,
    ) -> Self {
        let now = jiff::Timestamp::now();
        let run = draw_run(now);
        let tell = Self {
            run: run.clone(),
            command: command.into(),
            began: Instant::now(),
            sink,
            masker,
        };
        tell.event(What::RunStarted(RunStarted {
            version: VERSION,
            run,
            stack: stack.to_owned(),
            command: tell.masked(command).as_str().to_owned(),
            started: now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            hosts: u32::try_from(hosts).unwrap_or(u32::MAX),
            foundry: env!("CARGO_PKG_VERSION").to_owned(),
            shard: party.map(|party| party.shard.to_string()),
            generation: party.map(|party| party.generation.clone()),
        }));
        tell
    }

    /// Sends an event.
    pub fn event(&self, what: What) {
        (self.sink)(Event {
            ms: self.ms(),
            what,
        });
    }

    /// Says something to know.
    pub fn note(&self, text: &str) {
        self.event(What::Note {
            text: self.masked(text),
        });
    }

    /// Says something to know that may need doing something about.
    pub fn warn(&self, text: &str) {
        self.event(What::Warning {
            text: self.masked(text),
        });
    }

    /// Masks `text`.
    #[must_use]
    pub fn masked(&self, text: &str) -> Masked {
        Masked::through(&self.masker, text)
    }

    /// Returns what masks; secrets that turn up during the run are added to it.
    #[must_use]
    pub fn masker(&self) -> &Masker {
        &self.masker
    }

    /// Returns the milliseconds since the run began.
    #[must_use]
    pub fn ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Returns the run's name.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Returns the command line that the run is of.
    #[must_use]
    pub fn command(&self) -> &str {
        &self.command
    }
}
