//! Concrete, typed values: what inputs, outputs and settings hold once everything about them is known.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use crate::secret::Secret;

/// The known inputs of a step, by name, in the order in which the task declares them.
pub type Values = IndexMap<String, Value>;

/// A concrete value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Not given.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Text that may be shown.
    Text(String),
    /// Text that may not be shown.
    Secret(Secret<String>),
    /// A sequence.
    List(Vec<Value>),
    /// A mapping, sorted.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// Returns whether any part of it is secret.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        match self {
            Self::Secret(_) => true,
            Self::List(items) => items.iter().any(Self::is_secret),
            Self::Map(entries) => entries.values().any(Self::is_secret),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Text(_) => false,
        }
    }
}
