//! The journals of hosts: who changed what, and whether it still says so. Programs write them
//! ([`crate::probe::Journal`]); here are read, checked and kept what they wrote. Does not know how hosts are reached.

mod chain;
mod door;
mod entries;
mod line;

pub use chain::{Checked, JournalFile, Place, Problem, Remembered, check};
pub use door::{Deed, Entering, Journals, UNWRITABLE};
pub use entries::{Done, Result, entries};
pub use line::{Line, Said, number};
