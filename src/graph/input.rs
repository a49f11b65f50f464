//! Inputs of steps, with holes where a value is not known before secrets are resolved and other steps have answered.
//! Does not know how holes are filled.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::step::StepId;
use crate::catalog::Value;
use crate::secret::SecretRef;

/// Index of a hole in [`super::Graph::holes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoleId(pub u32);

/// A value to come.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Hole {
    /// A secret reference of the config.
    Secret(SecretRef),
    /// An output of a step.
    Output(StepId, String),
}

/// The inputs of a step by name, in the order in which the task declares them, defaults filled in.
pub type Inputs = IndexMap<String, Input>;

/// A value that may have holes.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Known now.
    Known(Value),
    /// Exactly one hole: keeps the type of what fills it.
    Hole(HoleId),
    /// Text with holes in it.
    Text(Vec<Part>),
    /// A sequence.
    List(Vec<Input>),
    /// A mapping.
    Map(BTreeMap<String, Input>),
}

/// A piece of text with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Literal(String),
    /// A hole.
    Hole(HoleId),
}
