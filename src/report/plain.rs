//! Plain lines, for where there is no terminal: a CI log, a file. One line for each step that was worked on.

use std::io::Write;
use std::time::{Duration, Instant};

use super::closing::closing;
use super::driver::Report;
use super::paint::Paint;
use super::picture::Picture;
use super::words;
use crate::event::Event;
use crate::terminal::{self, written};

/// A sign of life comes this often, if nothing else does.
const SILENCE: Duration = Duration::from_secs(30);

/// Writes a run as lines.
pub struct Plain<W> {
    picture: Picture,
    paint: Paint,
    to: W,
    spoke: Instant,
}

impl<W: Write + Send> Plain<W> {
    /// Writes to `to`.
    pub fn new(to: W, paint: Paint) -> Self {
        Self {
            picture: Picture::default(),
            paint,
            to,
            spoke: Instant::now(),
        }
    }

    fn line(&mut self, line: &str) {
        self.spoke = Instant::now();
        // Nothing can be done for a reader that is gone.
        let line = written(&terminal::line(line), self.paint.is_coloured());
        let _ = self.to.write_all(line.as_bytes());
    }
}

impl<W: Write + Send> Report for Plain<W> {
    fn event(&mut self, event: &Event) {
        self.picture.fold(event);
        if let Some(line) = words::passing(&event.what, &self.picture, self.paint) {
            self.line(&line);
        }
    }

    fn tick(&mut self) {
        if self.spoke.elapsed() >= SILENCE && self.picture.summary.is_none() {
            let since = u64::try_from(self.spoke.elapsed().as_millis()).unwrap_or(u64::MAX);
            let line = words::sign_of_life(&self.picture, self.picture.ms.saturating_add(since));
            self.line(&line);
        }
    }

    fn finish(&mut self) -> Option<String> {
        if self.picture.run.is_some() {
            for line in closing(&self.picture, self.paint) {
                self.line(&line);
            }
        }
        self.to
            .flush()
            .err()
            .map(|error| format!("can't write the report: {error}"))
    }
}
