//! How many sessions one connection carries at once. sshd's `MaxSessions` refuses more than it likes and says no number:
//! a refusal lowers the limit to what was open, and the refused one waits. Knows no channel.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The sessions of one connection.
pub(super) struct Slots {
    state: Mutex<State>,
    freed: Notify,
}

struct State {
    limit: usize,
    used: usize,
    waiting: usize,
}

/// One session's place; given back on drop.
pub(super) struct Slot(Arc<Slots>);

impl Slots {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                limit,
                used: 0,
                waiting: 0,
            }),
            freed: Notify::new(),
        })
    }

    /// Waits for a free place. Where there is none, `make_room` may free one.
    pub async fn take(self: &Arc<Self>, make_room: impl Fn()) -> Slot {
        let mut waiting = None;
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.lock();
                if state.used < state.limit {
                    state.used += 1;
                    if state.used < state.limit {
                        self.freed.notify_one();
                    }
                    return Slot(Arc::clone(self));
                }
            }
            // First this: what gives its place back from now on sees that it is wanted.
            waiting.get_or_insert_with(|| Waiting::new(self));
            make_room();
            freed.await;
        }
    }

    /// Returns whether somebody waits for a place.
    pub fn wanted(&self) -> bool {
        self.lock().waiting > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for a place; no more on drop.
struct Waiting<'a>(&'a Slots);

impl<'a> Waiting<'a> {
    fn new(slots: &'a Slots) -> Self {
        slots.lock().waiting += 1;
        Self(slots)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl Slot {
    /// Takes note that the host refused this session. Returns how many others were open: with none, waiting is no use.
    pub fn refused(self) -> usize {
        let mut state = self.0.lock();
        let others = state.used - 1;
        if others > 0 {
            state.limit = state.limit.min(others);
        }
        others
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.used -= 1;
        drop(state);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_lowers_the_limit_to_what_was_open() {
        let slots = Slots::new(8);
        let a = slots.take(|| ()).await;
        let b = slots.take(|| ()).await;
        let c = slots.take(|| ()).await;
        assert_eq!(c.refused(), 2);
        let waiting = slots.take(|| ());
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(a);
        let d = waiting.await;
        drop((b, d));
        let alone = slots.take(|| ()).await;
        assert_eq!(alone.refused(), 0);
        assert_eq!(slots.state.lock().unwrap().used, 0);
    }
}
