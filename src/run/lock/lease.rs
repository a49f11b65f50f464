//! How long a holder may go on by itself: up to its last sign of life and the lease, by a clock of its own that no step of
//! the wall clock changes and that a sleeping machine does not stop. Does not know who else wants the lock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A clock that only goes forward, also while the machine sleeps or the process is stopped.
pub trait Clock: Send + Sync {
    /// Returns the time since some moment.
    fn now(&self) -> Duration;
}

/// This machine's time since it was started. Where the system does not tell it, the process's own, which may stand still
/// while the machine sleeps.
#[derive(Debug)]
pub struct BootClock(Instant);

impl Default for BootClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for BootClock {
    fn now(&self) -> Duration {
        // `CLOCK_BOOTTIME`, in hundredths of a second.
        let text = std::fs::read_to_string("/proc/uptime").ok();
        let uptime = text
            .as_deref()
            .and_then(|text| text.split_ascii_whitespace().next()?.parse().ok())
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        uptime.unwrap_or_else(|| self.0.elapsed())
    }
}

/// How long a lock is good for, and how often it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// After the last sign of life, for others.
    pub lease: Duration,
    /// Between two signs of life.
    pub renew: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            lease: super::LEASE,
            renew: super::RENEW,
        }
    }
}

impl Terms {
    /// Returns how long the holder itself relies on it: less, since hosts count whole seconds, and their clocks may be
    /// faster.
    #[must_use]
    pub fn own(&self) -> Duration {
        self.lease - self.lease / 12
    }

    /// Returns how soon a sign of life is tried again that did not get through.
    #[must_use]
    pub fn retry(&self) -> Duration {
        self.renew / 4
    }
}

/// The holder's own view of its lease. Clones are one and the same.
#[derive(Clone)]
pub struct Lease(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    good_for: Duration,
    /// When the last sign of life was sent that got through.
    renewed: Mutex<Duration>,
}

impl Lease {
    /// Begins with a sign of life that was sent at `sent` by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, terms: Terms, sent: Duration) -> Self {
        Self(Arc::new(Inner {
            clock,
            good_for: terms.own(),
            renewed: Mutex::new(sent),
        }))
    }

    /// Returns the time by its clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.clock.now()
    }

    /// Notes that a sign of life got through that was sent at `sent`.
    pub fn renew(&self, sent: Duration) {
        let mut renewed = self.renewed();
        *renewed = sent.max(*renewed);
    }

    /// Returns how long it is still good for; nothing once it has ended.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        self.0
            .good_for
            .checked_sub(self.age())
            .filter(|left| !left.is_zero())
    }

    /// Returns how long ago the last sign of life was sent that got through.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.now().saturating_sub(*self.renewed())
    }

    fn renewed(&self) -> std::sync::MutexGuard<'_, Duration> {
        // Whoever panicked while holding it had only set a number.
        self.0
            .renewed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    #[test]
    fn it_ends_before_it_does_for_others_and_only_what_was_sent_prolongs_it() {
        let hand = Arc::new(Hand(Mutex::new(Duration::from_secs(100))));
        let lease = Lease::new(hand.clone(), Terms::default(), Duration::from_secs(100));
        let at = |seconds| *hand.0.lock().unwrap() = Duration::from_secs(seconds);
        at(154);
        assert_eq!(lease.left(), Some(Duration::from_secs(1)));
        at(155);
        assert_eq!(lease.left(), None);
        lease.renew(Duration::from_secs(120));
        assert_eq!(lease.left(), Some(Duration::from_secs(20)));
        // Answers may overtake each other.
        lease.renew(Duration::from_secs(110));
        at(174);
        assert_eq!(lease.left(), Some(Duration::from_secs(1)));
        assert_eq!(lease.age(), Duration::from_secs(54));
    }

    #[test]
    fn the_machines_clock_goes_forward() {
        let clock = BootClock::default();
        let before = clock.now();
        while clock.now() == before {
            std::thread::yield_now();
        }
        assert!(clock.now() > before);
    }
}
