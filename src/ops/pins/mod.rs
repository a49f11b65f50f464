//! Writing `stack.pins`: which digests are to be asked for, asking for them, and what comes of old and new. Writes no file.

mod ask;
mod settle;

pub use ask::{Asked, ask};
pub use settle::{Alarm, Change, Settled, missing, settle};
