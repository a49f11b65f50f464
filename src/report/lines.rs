//! Events as JSON lines, for programs. Does not know who reads them.

use std::io::Write;

use super::driver::Report;
use crate::event::Event;
use crate::terminal::escape_json;

/// Writes each event as one line of JSON.
pub struct Lines<W> {
    to: W,
    asked_for: bool,
    trouble: Option<String>,
}

impl<W: Write + Send> Lines<W> {
    /// Writes to `to`, one write for each event.
    pub fn new(to: W) -> Self {
        Self {
            to,
            asked_for: false,
            trouble: None,
        }
    }

    /// As [`Self::new`], for events that the user asked for by name.
    pub fn asked_for(to: W) -> Self {
        Self {
            asked_for: true,
            ..Self::new(to)
        }
    }
}

impl<W: Write + Send> Report for Lines<W> {
    fn event(&mut self, event: &Event) {
        if self.trouble.is_some() {
            return;
        }
        let written = serde_json::to_string(event)
            .map_err(std::io::Error::other)
            .and_then(|line| {
                let line = escape_json(&line).into_owned() + "\n";
                self.to.write_all(line.as_bytes())
            });
        self.trouble = written
            .err()
            .map(|error| format!("can't write events: {error}"));
    }

    fn is_asked_for(&self) -> bool {
        self.asked_for
    }

    fn finish(&mut self) -> Option<String> {
        self.trouble.take().or_else(|| {
            self.to
                .flush()
                .err()
                .map(|error| format!("can't write events: {error}"))
        })
    }
}
