//! Concrete, typed values: what inputs, outputs and settings hold once everything about them is known.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

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

/// For telling equal values apart from others within one process: a secret goes in too, and nothing comes out but a
/// number that nobody keeps.
impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Null => {}
            Self::Bool(flag) => flag.hash(state),
            Self::Int(number) => number.hash(state),
            Self::Text(text) => text.hash(state),
            Self::Secret(secret) => secret.expose().hash(state),
            Self::List(items) => items.hash(state),
            Self::Map(entries) => entries.hash(state),
        }
    }
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
