//! The adapters: each gives a `Reader` and a `Writer` for one kind of target. Decides nothing about steps.

pub mod host;
