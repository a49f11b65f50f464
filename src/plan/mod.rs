//! (Graph, facts) → plan: verdict and reasons per step. Pure; executes nothing.

mod alike;
mod decide;
mod diff;
#[expect(
    clippy::module_inception,
    reason = "the plan is what this module is about"
)]
mod plan;
#[cfg(test)]
mod plan_tests;
mod shorten;
mod stamp;
mod verdict;
mod want;
mod words;

pub use decide::{decide_step, outputs};
pub use diff::{DiffAsk, diff, diff_asks};
pub use plan::{Plan, plan};
pub use shorten::shorten;
pub use stamp::stamp;
pub use verdict::{Decision, Outputs, Reason, Shown, Verdict};
pub use want::{Mismatch, Wanted, mismatches, secret_facts, wanted};
