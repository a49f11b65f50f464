//! Readers of events: live screen, plain lines, JSON lines, the log of a run. Knows `event` and nothing else of Foundry.
//!
//! Events are folded into a [`Picture`]; what is drawn is a pure function of it. One thread owns all reports of a run
//! ([`Reporter`]), so nothing that draws can hold up what runs.

mod closing;
mod driver;
#[cfg(test)]
mod fixture;
mod lines;
mod live;
mod log;
mod paint;
mod picture;
mod plain;
mod record;
mod screen;
#[cfg(test)]
mod tests;
mod words;

pub use closing::{closing, failures};
pub use driver::{Pause, Report, Reporter, Sink};
pub use lines::Lines;
pub use live::Live;
pub use log::EventLog;
pub use paint::Paint;
pub use picture::{Picture, Running};
pub use plain::Plain;
pub use record::{Entry, Fate, Record, RecordError, find, list};
pub use words::{finished, reason, span, summary};
