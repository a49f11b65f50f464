//! The one way to wait for something on the way to a host: up to a deadline, with words for what did not come. Knows neither
//! what is waited for nor how long that may take.

use std::sync::Arc;
use std::time::Duration;

use super::error::access;
use crate::probe::{AccessError, AccessKind};

/// Something that did not come in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Silence {
    what: &'static str,
    after: Duration,
}

impl Silence {
    /// Returns the words, with how long was waited.
    pub fn words(&self) -> String {
        format!("{} within {} s", self.what, self.after.as_secs_f32())
    }

    /// Returns the error about `host`.
    pub fn of(&self, host: &Arc<str>) -> AccessError {
        access(host, AccessKind::Silent, self.words())
    }
}

/// Waits for `work`, at most `limit`. `what` says what did not happen: "it did not open a session".
pub(super) async fn within<T>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = T>,
) -> Result<T, Silence> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| Silence { what, after: limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_and_says_what_for() {
        let limit = Duration::from_millis(50);
        let what = "it did not open a session";
        assert_eq!(within(limit, what, async { 7 }).await, Ok(7));
        let before = std::time::Instant::now();
        let never = std::future::pending::<()>();
        let silence = within(limit, what, never).await.unwrap_err();
        assert!(before.elapsed() >= limit);
        let error = silence.of(&"a".into());
        assert_eq!(error.kind, AccessKind::Silent);
        assert_eq!(error.message, "it did not open a session within 0.05 s");
    }
}
