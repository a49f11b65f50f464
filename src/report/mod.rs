//! Readers of events: live screen, plain lines, JSON lines, the log of a run. Knows `event` and nothing else of Foundry.
//!
//! Events are folded into a [`Picture`]; what is drawn is a pure function of it. One thread owns all reports of a run
//! ([`Reporter`]), so nothing that draws can hold up what runs.

mod closing;
mod driver;
#[cfg(test)]
mod fixture;
mod github;
mod junit;
mod kept;
mod lines;
mod live;
mod log;
mod merge;
mod paint;
mod picture;
mod plain;
mod record;
mod screen;
#[cfg(test)]
mod tests;
mod timings;
mod trace;
mod words;

pub use closing::{closing, failures};
pub use driver::{Defect, Pause, Report, Reporter, Sink};
pub use github::{GitHub, markdown};
pub use junit::junit;
pub use kept::{Kept, Kind};
pub use lines::Lines;
pub use live::Live;
pub use log::EventLog;
pub use merge::{Merged, Outcome, Part};
pub use paint::Paint;
pub use picture::{Picture, Running};
pub use plain::Plain;
pub use record::{Entry, Fate, Record, RecordError, find, list};
pub use timings::timings;
pub use trace::trace;
pub use words::{counts as counted, finished, reason, span, summary};
