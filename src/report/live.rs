//! The live screen: draws what [`screen`] says below lines that stay. Does not know what happens in a run.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::closing::closing;
use super::driver::Report;
use super::paint::Paint;
use super::picture::Picture;
use super::screen::{GROUPED, screen};
use super::words;
use crate::event::{Event, What};
use crate::terminal::{self, shown, truncate};

/// Redraws a second, at most.
const HERTZ: u8 = 5;

/// A command that is done sooner draws nothing.
const DELAY: Duration = Duration::from_millis(250);

/// Above this many steps to run, or with a fleet too large for a line a host, only those in trouble get a line of their own.
const MANY: u32 = 200;

/// Draws a run on a terminal.
pub struct Live {
    picture: Picture,
    paint: Paint,
    bar: ProgressBar,
    drawn: String,
    began: Instant,
    /// When the last event came, and the time it bore.
    last: (Instant, u64),
    paused: bool,
}

impl Live {
    /// Draws on standard error, which must be a terminal.
    #[must_use]
    pub fn stderr(paint: Paint) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(HERTZ));
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self {
            picture: Picture::default(),
            paint,
            bar,
            drawn: String::new(),
            began: now,
            last: (now, 0),
            paused: false,
        }
    }

    /// Writes a line that stays.
    fn keep(&self, line: &str) {
        self.bar.suspend(|| terminal::tell(&terminal::line(line)));
    }

    fn draw(&mut self) {
        if self.paused || self.began.elapsed() < DELAY {
            return;
        }
        let since = u64::try_from(self.last.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        let text = screen(
            &self.picture,
            self.last.1.saturating_add(since),
            width(),
            self.paint,
        );
        if text != self.drawn {
            self.bar.set_message(terminal::to_ansi(&text));
            self.drawn = text;
        }
    }
}

fn width() -> usize {
    usize::from(console::Term::stderr().size().1)
}

/// Cuts a line to the terminal's width: what is lost stands in full at the end.
fn fit(line: &str) -> String {
    truncate(&shown(line), width())
}

impl Report for Live {
    fn event(&mut self, event: &Event) {
        self.picture.fold(event);
        self.last = (Instant::now(), event.ms);
        if let Some(line) = words::passing(&event.what, &self.picture, self.paint) {
            let many = self
                .picture
                .planned
                .as_ref()
                .is_some_and(|planned| planned.verdicts.will_run() > MANY)
                || self.picture.hosts() > GROUPED;
            let shown = match &event.what {
                What::StepFinished(step) => !many || !step.state.is_done(),
                _ => true,
            };
            if shown {
                self.keep(&fit(&line));
            }
        }
        if matches!(event.what, What::RunFinished(_)) {
            self.bar.finish_and_clear();
            self.paused = true;
        }
    }

    fn tick(&mut self) {
        self.draw();
    }

    fn pause(&mut self) {
        self.paused = true;
        self.bar.set_message("");
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    fn resume(&mut self) {
        self.bar
            .set_draw_target(ProgressDrawTarget::stderr_with_hz(HERTZ));
        self.paused = self.picture.summary.is_some();
        self.drawn.clear();
    }

    fn finish(&mut self) -> Option<String> {
        self.bar.finish_and_clear();
        if self.picture.run.is_some() {
            for line in closing(&self.picture, self.paint) {
                self.keep(&line);
            }
        }
        None
    }
}
