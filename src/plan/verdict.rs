//! What planning says of a step: data, worded in one place. Does not know how it was reached.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::catalog::Value;

/// What planning decides of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Live state is as wanted.
    Satisfied,
    /// Nothing of it is there.
    Missing,
    /// It is there, from other inputs.
    Changed,
    /// It was as wanted once, and the target moved.
    Drifted,
    /// Not known yet: something before it has to run first.
    Maybe,
    /// Can't be decided or done: a fault, or something before it is blocked.
    Blocked,
}

/// A value in a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shown {
    /// As it is (long ones shortened by whoever made this).
    Text(String),
    /// A secret.
    Redacted,
}

/// Why a step has its verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Reason {
    /// An input differs from the one it was applied with.
    Input {
        /// Its name.
        name: String,
        /// What the stamp says; `None` if it had no such input.
        was: Option<Shown>,
        /// What it is.
        now: Shown,
    },
    /// A fact is not as wanted.
    Fact {
        /// Its name.
        name: String,
        /// What the target says; `None` if the probe did not say.
        found: Option<Shown>,
        /// What is wanted (`a or b` for several).
        wanted: Shown,
    },
    /// The task is decided by its stamp, and there is none, or it is another's.
    Stamp {
        /// Key found, if any.
        found: Option<String>,
        /// Key wanted.
        wanted: String,
    },
    /// Whether its secrets are those of the last apply can't be told yet: the key of their fingerprints is another one.
    Uncompared,
    /// An input is the output of a step yet to run, or a watched step will run.
    Waits {
        /// Label of that step.
        on: String,
    },
    /// An input is a secret that can't be read before the stack's own OpenBAO is up.
    Secret {
        /// The reference.
        reference: String,
    },
    /// The probe could not answer.
    Fault {
        /// In the target's own words.
        message: String,
    },
    /// The host could not be reached.
    Unreachable {
        /// Host.
        host: String,
        /// In the other side's own words.
        message: String,
    },
    /// Something it needs is blocked or failed.
    Needs {
        /// Label of that step.
        label: String,
    },
}

/// Known outputs of a step, by name.
pub type Outputs = IndexMap<String, Value>;

/// Verdict, reasons, and what is known of the outputs.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, most telling first. Empty only for `Satisfied`.
    pub reasons: Vec<Reason>,
    /// Outputs, complete for a satisfied step; otherwise what the facts at hand give.
    pub outputs: Outputs,
    /// Whether it is satisfied by its facts alone: it has a stamp, and whether its secrets are those of the last apply
    /// can't be told, because their fingerprints were made with another key.
    pub uncompared: bool,
}
