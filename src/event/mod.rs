//! What a run tells: public, serialisable, versioned events, and the only thing that reports know.
//!
//! A run is a stream of [`Event`]s that begins with [`What::RunStarted`] and ends with [`What::RunFinished`]. One JSON
//! object a line is their written form (`foundry run show --output json`, the event log). Nothing in them is secret:
//! what could hold one is either [`Shown`], which has a place for secrets, or [`Masked`], which only a masker makes.
//! Pure: no clock, no channel, no file.

mod counts;
mod id;
mod masked;
mod model;
mod schema;

pub use counts::{Counts, HostCounts, Verdicts};
pub use id::{BadRunId, RunId};
pub use masked::Masked;
pub use model::{
    Event, HostProbed, HostUnreachable, LockWaiting, PathStep, Planned, RolloutEnded, RolloutMoved,
    RolloutState, RunStarted, StepFinished, StepPlanned, Summary, Trouble, VERSION, What,
};
pub use schema::schema;

pub use crate::plan::{Reason, Shown, Verdict};
pub use counts::Final;
