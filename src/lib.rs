//! Foundry brings bare Debian and Ubuntu machines up to a complete self-hosted platform, and keeps it there.
//!
//! Everything is one pipeline, stopped at different places:
//!
//! ```text
//! config ─► catalog ─► graph ─► probe ─► plan ─► run ─► report
//! stack.yaml recipes   steps,   facts    verdicts events  screen, files
//!            tasks     keys              reasons
//! ```
//!
//! The modules are listed in the order of that flow. Imports run against it: a module knows only what stands
//! before it. `target` gives the ports of `probe` and `run` their hands; `report` knows `event` alone.

pub mod secret;

pub mod terminal;

pub mod config;

pub mod catalog;

pub mod graph;

pub mod probe;

pub mod plan;

pub mod event;

pub mod run;

pub mod target;

pub mod ops;

pub mod lab;

pub mod report;

pub mod cli;
