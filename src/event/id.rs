//! Names of runs, which sort by time. Does not know which runs there are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Name of one run: `20261122-201455-ab12`, the moment it started (UTC) and four hex digits against a clash.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// A text that names no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no run id: one looks like 20261122-201455-ab12")]
pub struct BadRunId(String);

impl RunId {
    /// Makes the id of a run that started at `second` (UTC, `%Y%m%d-%H%M%S`) with `salt` against a clash.
    ///
    /// # Errors
    /// When `second` has not that form.
    pub fn new(second: &str, salt: u16) -> Result<Self, BadRunId> {
        format!("{second}-{salt:04x}").parse()
    }

    /// Returns it as text. Safe as a file name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = BadRunId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = text.len() == 20
            && text.bytes().enumerate().all(|(at, byte)| match at {
                8 | 15 => byte == b'-',
                16.. => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
                _ => byte.is_ascii_digit(),
            });
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadRunId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for RunId {
    type Error = BadRunId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let ids = [
            RunId::new("20251231-235959", 0xffff).unwrap(),
            RunId::new("20260101-000000", 0).unwrap(),
            RunId::new("20260101-000001", 0x00ab).unwrap(),
        ];
        assert!(ids.is_sorted());
        assert_eq!(ids[2].as_str(), "20260101-000001-00ab");
    }

    #[test]
    fn nothing_else_is_an_id() {
        for text in [
            "",
            "../../../etc/passwd",
            "20261122-201455-AB12",
            "20261122-201455-ab1",
            "20261122_201455-ab12",
            "20261122-201455-ab12x",
            "2026112é-01455-ab12",
        ] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
