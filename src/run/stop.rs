//! Telling a run to stop, in two levels. Does not know what a signal is.

use tokio_util::sync::CancellationToken;

/// Two levels of stopping: start nothing new; then stop what runs. Clones are one and the same.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    ending: CancellationToken,
    now: CancellationToken,
}

impl Stop {
    /// Returns one that nobody has used yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes one level up: the first call lets running steps end, the second stops them.
    pub fn press(&self) {
        if self.ending.is_cancelled() {
            self.now.cancel();
        } else {
            self.ending.cancel();
        }
    }

    /// Lets running steps end and starts nothing new; never goes further, however often it is called.
    pub fn end(&self) {
        self.ending.cancel();
    }

    /// Returns whether nothing new may start.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.is_cancelled()
    }

    /// Returns whether running steps are to be stopped.
    #[must_use]
    pub fn is_now(&self) -> bool {
        self.now.is_cancelled()
    }

    /// Waits for the first level.
    pub async fn ending(&self) {
        self.ending.cancelled().await;
    }

    /// Waits for the second level.
    pub async fn now(&self) {
        self.now.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_two_presses_to_stop_what_runs() {
        let stop = Stop::new();
        let clone = stop.clone();
        stop.end();
        stop.end();
        assert!(clone.is_ending() && !clone.is_now());
        clone.press();
        assert!(stop.is_now());

        let stop = Stop::new();
        stop.press();
        assert!(stop.is_ending() && !stop.is_now());
        stop.press();
        assert!(stop.is_now());
    }
}
