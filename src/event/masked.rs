//! Text of unknown origin after secrets were taken out. Does not know the secrets.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::secret::Masker;

/// Text from a target or an error, with every secret of the run masked. Made only by handing text to a masker, so that
/// nobody puts a host's own words into an event as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Masked(String);

impl Masked {
    /// Masks `text` with what `masker` knows by now.
    #[must_use]
    pub fn through(masker: &Masker, text: &str) -> Self {
        Self(masker.mask(text).into_owned())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Masked {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
