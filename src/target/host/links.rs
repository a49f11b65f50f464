//! All open connections: one per route, made once however many ask, made again when lost. Retries what may pass by
//! itself, never a refusal. Knows nothing of what they are used for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::agent::Agents;
use super::auth::Login;
use super::error::{Hint as _, access};
use super::greet::{Greeted, NotGreeted, greet};
use super::keys::Keys;
use super::limit::Starts;
use super::link::Link;
use super::route::{Hop, Route};
use super::settings::AccessSettings;
use super::trust::Trust;
use crate::probe::{AccessError, AccessKind};

type Attempt = Shared<BoxFuture<'static, Result<Arc<Open>, AccessError>>>;

/// A connection and its place among the most that may be open.
pub(super) struct Open {
    pub link: Arc<Link>,
    /// When it was asked for last, on [`Links::clock`].
    used: AtomicU64,
    _place: Option<OwnedSemaphorePermit>,
}

/// What a connection is opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Commands.
    Target,
    /// The way to others. It must not wait for a place that only those it leads to could free.
    Jump,
}

/// All open connections.
pub(super) struct Links {
    pub settings: AccessSettings,
    trust: Trust,
    keys: Keys,
    agents: Agents,
    starts: Starts,
    places: Arc<Semaphore>,
    attempts: Mutex<HashMap<String, Attempt>>,
    opened: AtomicU64,
    /// Counts how often connections were asked for.
    clock: AtomicU64,
}

impl Links {
    pub fn new(settings: AccessSettings) -> Self {
        Self {
            trust: Trust::new(&settings),
            keys: Keys::default(),
            agents: Agents::default(),
            starts: Starts::new(
                settings.starts_per_second,
                settings.starts_at_once,
                settings.all_starts_at_once,
            ),
            places: Arc::new(Semaphore::new(settings.max_connections.max(1))),
            attempts: Mutex::new(HashMap::new()),
            opened: AtomicU64::new(0),
            clock: AtomicU64::new(0),
            settings,
        }
    }

    /// Returns how many connections were made so far, jump hosts and re-made ones included.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Returns the connection to `route`'s target; makes it if there is none that lives.
    pub fn get(
        self: &Arc<Self>,
        route: &Route,
    ) -> BoxFuture<'static, Result<Arc<Open>, AccessError>> {
        self.get_for(route, Use::Target)
    }

    fn get_for(
        self: &Arc<Self>,
        route: &Route,
        purpose: Use,
    ) -> BoxFuture<'static, Result<Arc<Open>, AccessError>> {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = route.key();
        if let Some(attempt) = attempts.get(&key) {
            let usable = match attempt.peek() {
                None => true,
                Some(Ok(open)) => !open.link.is_closed(),
                Some(Err(_)) => false,
            };
            if usable {
                if let Some(Ok(open)) = attempt.peek() {
                    open.used.store(self.tick(), Ordering::Relaxed);
                }
                return attempt.clone().boxed();
            }
        }
        // On a task of its own: whoever asked first may lose interest, those who wait must not.
        let task = tokio::spawn(Arc::clone(self).open(route.clone(), purpose));
        let host = Arc::clone(&route.target().name);
        let attempt = async move {
            task.await.unwrap_or_else(|error| {
                Err(access(
                    &host,
                    AccessKind::Local,
                    format!("connecting was broken off: {error}"),
                ))
            })
        }
        .boxed()
        .shared();
        attempts.insert(key, attempt.clone());
        attempt.boxed()
    }

    async fn open(self: Arc<Self>, route: Route, purpose: Use) -> Result<Arc<Open>, AccessError> {
        let hop = route.target();
        let mut was_silent = false;
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(300))
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(self.settings.tries.saturating_sub(1))
            .with_jitter()
            .build();
        loop {
            // The jump's own trouble is retried by its own attempt.
            let under =
                match route.before() {
                    Some(before) => {
                        Some(self.get_for(&before, Use::Jump).await.map_err(|error| {
                            AccessError {
                                host: Arc::clone(&hop.name),
                                message: format!("its jump host {}: {}", error.host, error.message),
                                ..error
                            }
                        })?)
                    }
                    None => None,
                };
            match self.open_once(&route, purpose, under).await {
                Ok(link) => {
                    self.opened.fetch_add(1, Ordering::Relaxed);
                    return Ok(link);
                }
                Err(error) if error.kind.is_transient() => match pauses.next() {
                    // The kernel asked again and again in each of these times; more of them only hold up the others.
                    Some(_) if error.kind == AccessKind::Silent && was_silent => {
                        return Err(error);
                    }
                    Some(pause) => {
                        was_silent |= error.kind == AccessKind::Silent;
                        tracing::debug!(host = %hop.name, ?pause, "{}; trying again", error.message);
                        tokio::time::sleep(pause).await;
                    }
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    async fn open_once(
        &self,
        route: &Route,
        purpose: Use,
        under: Option<Arc<Open>>,
    ) -> Result<Arc<Open>, AccessError> {
        let hop = route.target();
        let place = match purpose {
            Use::Target => Some(self.place(hop).await?),
            Use::Jump => Arc::clone(&self.places).try_acquire_owned().ok(),
        };
        let turn = self.starts.turn(&route.first().at()).await;
        let logging_in = async {
            let mut greeted = self
                .greet(hop, under.map(|open| Arc::clone(&open.link)))
                .await?;
            Login::new(hop, &self.settings, &self.keys, &self.agents)
                .run(&mut greeted)
                .await?;
            Ok(Arc::new(greeted.logged_in(self.settings.answer_timeout)))
        };
        let (link, turn) = turn.during(self.settings.patience, logging_in).await;
        let link = link?;
        if route.before().is_some() {
            // The sshd behind a jump host may be one for many hosts, and it counts a connection as not logged in a moment
            // longer than the log-in's answer says. What it answers after that comes from a connection it counts no more.
            let counted = Arc::clone(&link);
            tokio::spawn(async move {
                // A connection that is lost, or silent, has ended its turn as well.
                let _ = counted.answers().await;
                drop(turn);
            });
        }
        Ok(Arc::new(Open {
            link,
            used: AtomicU64::new(self.tick()),
            _place: place,
        }))
    }

    /// Connects; where the key is unknown, asks, records the answer and connects again.
    async fn greet(&self, hop: &Hop, under: Option<Arc<Link>>) -> Result<Greeted, AccessError> {
        let refused = match greet(hop, self.trust.expect(hop)?, under.clone(), &self.settings).await
        {
            Ok(greeted) => return Ok(greeted),
            Err(NotGreeted::Failed(error)) => return Err(error),
            Err(NotGreeted::Key(refused)) => refused,
        };
        let prompts = self.settings.prompts.as_ref();
        let question = self.trust.question(hop, &refused, prompts.is_some())?;
        if let Some(prompts) = prompts
            && !prompts.trust_host_key(&question).await
        {
            return Err(access(
                &hop.name,
                AccessKind::HostKey,
                format!(
                    "its host key {} {} was not trusted",
                    question.algorithm, question.fingerprint
                ),
            ));
        }
        self.trust.record(hop, &refused.key)?;
        match greet(hop, self.trust.expect(hop)?, under, &self.settings).await {
            Ok(greeted) => Ok(greeted),
            Err(NotGreeted::Failed(error)) => Err(error),
            Err(NotGreeted::Key(refused)) => {
                self.trust.question(hop, &refused, false)?;
                Err(access(
                    &hop.name,
                    AccessKind::HostKey,
                    "it shows another host key each time",
                ))
            }
        }
    }

    /// Waits for a place among the open connections; an idle one makes room.
    async fn place(&self, hop: &Hop) -> Result<OwnedSemaphorePermit, AccessError> {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return Ok(place);
            }
            if self.close_one_idle() {
                continue;
            }
            let waited = tokio::time::timeout(
                Duration::from_millis(50),
                Arc::clone(&self.places).acquire_owned(),
            );
            match waited.await {
                Ok(Ok(place)) => return Ok(place),
                // Somebody may be idle by now.
                Err(_) => {}
                Ok(Err(error)) => {
                    return Err(access(&hop.name, AccessKind::Local, error.to_string())
                        .hint("this is a mistake in Foundry"));
                }
            }
        }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    /// Closes the connection that nobody has asked for longest, of those that nobody holds. Returns whether there was one.
    ///
    /// A run goes through a large fleet in turns: what was not used for long belongs to hosts that are done with.
    fn close_one_idle(&self) -> bool {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = attempts.iter().filter_map(|(key, attempt)| {
            let Some(Ok(open)) = attempt.peek() else {
                return None;
            };
            let unused = Arc::strong_count(open) == 1 && Arc::strong_count(&open.link) == 1;
            unused.then(|| (open.used.load(Ordering::Relaxed), key))
        });
        match idle.min().map(|(_, key)| key.clone()) {
            Some(key) => attempts.remove(&key).is_some(),
            None => false,
        }
    }

    /// Forgets a connection that turned out to be dead.
    pub fn forget(&self, route: &Route, dead: &Arc<Open>) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = route.key();
        let same = attempts
            .get(&key)
            .and_then(|attempt| attempt.peek())
            .is_some_and(|result| matches!(result, Ok(open) if Arc::ptr_eq(open, dead)));
        if same {
            attempts.remove(&key);
        }
    }

    /// Closes all connections that nobody holds any more.
    pub fn close(&self) {
        self.attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}
