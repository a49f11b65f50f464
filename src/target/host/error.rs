//! Turns what went wrong on a connection into an `AccessError`, with the other side's words and what to do next.

use std::sync::Arc;

use crate::probe::{AccessError, AccessKind};

/// Returns an error about `host`.
pub(super) fn access(host: &Arc<str>, kind: AccessKind, message: impl Into<String>) -> AccessError {
    AccessError {
        host: Arc::clone(host),
        kind,
        message: message.into(),
        hint: None,
    }
}

/// Adds what to do about it.
pub(super) trait Hint {
    /// Returns the error with `hint`.
    fn hint(self, hint: impl Into<String>) -> Self;
}

impl Hint for AccessError {
    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Returns the last lines of what a host said, at most `limit` bytes, for a message.
pub(super) fn words(said: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(said);
    let text = text.trim();
    let from = text.len().saturating_sub(limit);
    let from = (from..text.len())
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(text.len());
    text[from..].to_owned()
}
