//! (Graph, facts) → plan: verdict and reasons per step. Pure; executes nothing.

mod verdict;
mod words;

pub use verdict::{Decision, Outputs, Reason, Shown, Verdict};
