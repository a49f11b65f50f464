//! How fast connections start: so many a second and so many not yet logged in, per first hop, and so many not yet logged
//! in over all. sshd drops the rest (`MaxStartups`), and so do bastions and firewalls. Knows no connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

/// The limits of every first hop.
pub(super) struct Starts {
    gap: Duration,
    at_once: usize,
    all: Arc<Semaphore>,
    hops: Mutex<HashMap<String, Hop>>,
}

/// Leave to start; ends when dropped.
pub(super) struct Turn {
    _here: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Turn {
    /// Waits for `work`, and gives itself up after `patience`. Returns the turn if it is still held.
    pub async fn during<T>(
        self,
        patience: Duration,
        work: impl Future<Output = T>,
    ) -> (T, Option<Self>) {
        let mut work = std::pin::pin!(work);
        match timeout(patience, &mut work).await {
            Ok(done) => (done, Some(self)),
            Err(_) => {
                drop(self);
                (work.await, None)
            }
        }
    }
}

struct Hop {
    next: Instant,
    starting: Arc<Semaphore>,
}

impl Starts {
    pub fn new(per_second: u32, at_once: usize, all: usize) -> Self {
        Self {
            gap: Duration::from_secs(1) / per_second.max(1),
            at_once: at_once.max(1),
            all: Arc::new(Semaphore::new(all.max(1))),
            hops: Mutex::new(HashMap::new()),
        }
    }

    /// Waits for a turn to connect through `first`; it ends when dropped: when logged in.
    pub async fn turn(&self, first: &str) -> Turn {
        let starting = {
            let mut hops = self.hops.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&self.hop(&mut hops, first).starting)
        };
        // Fails only for a closed semaphore; nobody closes these.
        let here = starting.acquire_owned().await.ok();
        let all = Arc::clone(&self.all).acquire_owned().await.ok();
        let at = {
            let mut hops = self.hops.lock().unwrap_or_else(PoisonError::into_inner);
            let hop = self.hop(&mut hops, first);
            let at = hop.next.max(Instant::now());
            hop.next = at + self.gap;
            at
        };
        sleep_until(at).await;
        Turn {
            _here: here,
            _all: all,
        }
    }

    fn hop<'a>(&self, hops: &'a mut HashMap<String, Hop>, first: &str) -> &'a mut Hop {
        hops.entry(first.to_owned()).or_insert_with(|| Hop {
            next: Instant::now(),
            starting: Arc::new(Semaphore::new(self.at_once)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn starts_are_spaced_and_bounded_per_hop_and_over_all() {
        let starts = Starts::new(20, 2, 3);
        let began = Instant::now();
        let first = starts.turn("a").await;
        let second = starts.turn("a").await;
        assert!(began.elapsed() >= Duration::from_millis(50));
        let third = starts.turn("a");
        tokio::pin!(third);
        assert!(futures::poll!(&mut third).is_pending());
        let other = starts.turn("b").await;
        assert!(futures::poll!(&mut third).is_pending(), "three of one hop");
        let fourth = starts.turn("c");
        tokio::pin!(fourth);
        assert!(futures::poll!(&mut fourth).is_pending(), "four over all");
        drop(first);
        fourth.await;
        third.await;
        drop((second, other));
    }
}
