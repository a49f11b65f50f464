//! `${secret:path:key}`: the reference itself, not its value.

use std::fmt;

/// Names a secret: `path` is already scoped to its namespace (`myservice-stable/database/prod`), `key` is one field of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct SecretRef {
    /// Path in OpenBAO, namespace included, without leading slash.
    pub path: String,
    /// Field of the secret at `path`.
    pub key: String,
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${{secret:{}:{}}}", self.path, self.key)
    }
}
