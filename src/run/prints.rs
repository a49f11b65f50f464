//! The fingerprints of a run, whose key may turn up while it is under way. Does not know what is fingerprinted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;

use crate::graph::{Fingerprints, Standing};
use crate::secret::{Resolution, ResolveError, Resolver, SecretRef};

/// How long a key that could not be read is not asked for again: many steps may want it at once.
const PAUSE: Duration = Duration::from_secs(5);

/// What the steps of a run make fingerprints with.
pub(super) struct Prints {
    now: Mutex<Arc<Fingerprints>>,
    /// When the key was asked for in vain.
    asked: AsyncMutex<Option<Instant>>,
}

impl Prints {
    pub fn new(fingerprints: Arc<Fingerprints>) -> Self {
        Self {
            now: Mutex::new(fingerprints),
            asked: AsyncMutex::default(),
        }
    }

    /// Returns those that are good by now.
    pub fn now(&self) -> Arc<Fingerprints> {
        // Whoever panicked while holding it had only put another in its place.
        Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// As [`Self::now`], after the stack's own key has been asked for once more if it could not be read so far.
    pub async fn ask_again(&self, secrets: &Resolver) -> Arc<Fingerprints> {
        let mut asked = self.asked.lock().await;
        let now = self.now();
        if now.standing() != Standing::Awaited || asked.is_some_and(|at| at.elapsed() < PAUSE) {
            return now;
        }
        let (path, key) = Fingerprints::SECRET;
        let reference = SecretRef {
            path: path.to_owned(),
            key: key.to_owned(),
        };
        let found = match secrets.resolve(&reference).await {
            Ok(Resolution::Found { value, .. }) => Fingerprints::kept(&value),
            // There is none yet: this run's own becomes it.
            Err(ResolveError::NotFound { .. }) => Some(now.standing_as(Standing::Kept)),
            Ok(Resolution::NotYet { .. }) | Err(ResolveError::Store { .. }) => None,
        };
        let Some(found) = found.map(Arc::new) else {
            *asked = Some(Instant::now());
            return now;
        };
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&found);
        found
    }
}
