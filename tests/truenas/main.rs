//! TrueNAS' adapter and tasks, and `foundry storage` without a cluster, against a FAKE of a TrueNAS (`tests/support/truenas.rs`):
//! a real one can't run here. What is shown is that Foundry speaks the documented API, not that TrueNAS does.

#![expect(
    clippy::print_stderr,
    reason = "a test says what it sees, and why it is skipped"
)]

mod cli;
mod connect;
mod jobs;
#[path = "../support/keeper.rs"]
mod keeper;
mod rig;
mod steps;
#[path = "../support/truenas.rs"]
mod truenas;
