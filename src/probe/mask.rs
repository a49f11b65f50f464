//! Keeps the secrets of a step out of what its tools say. Does not know where the text goes.

use std::borrow::Cow;

use zeroize::Zeroizing;

use crate::catalog::{Value, Values};

/// What stands in place of a secret.
const REDACTED: &str = "[redacted]";

/// Parts shorter than this are not looked for: they would blacken half of every text.
const SHORTEST: usize = 4;

/// The secrets of one step.
#[derive(Clone, Default)]
pub struct Mask(Vec<Zeroizing<String>>);

impl Mask {
    /// Collects the secrets among `values`. Of one with several lines, each line counts for itself too.
    #[must_use]
    pub fn of(values: &Values) -> Self {
        let mut mask = Self::default();
        for value in values.values() {
            mask.add(value);
        }
        // Longest first: a secret that holds another goes as a whole.
        mask.0.sort_by_key(|part| std::cmp::Reverse(part.len()));
        mask.0.dedup();
        mask
    }

    fn add(&mut self, value: &Value) {
        match value {
            Value::Secret(secret) => {
                let whole = secret.expose().trim();
                for part in std::iter::once(whole).chain(whole.lines().map(str::trim)) {
                    if part.len() >= SHORTEST {
                        self.0.push(Zeroizing::new(part.to_owned()));
                    }
                }
            }
            Value::List(items) => items.iter().for_each(|item| self.add(item)),
            Value::Map(entries) => entries.values().for_each(|item| self.add(item)),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Text(_) => {}
        }
    }

    /// Returns `text` without them.
    #[must_use]
    pub fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), REDACTED));
            }
        }
        text
    }
}

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mask({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_secrets_and_their_lines_go() {
        let values = Values::from_iter([
            (
                "a".to_owned(),
                Value::Secret("hunter2\nsecond line".to_owned().into()),
            ),
            (
                "b".to_owned(),
                Value::List(vec![Value::Secret("hunter2-more".to_owned().into())]),
            ),
            ("c".to_owned(), Value::Secret("ab".to_owned().into())),
        ]);
        let mask = Mask::of(&values);
        assert_eq!(
            mask.hide("x hunter2-more, second line; ab"),
            "x [redacted], [redacted]; ab"
        );
        assert_eq!(
            format!("{mask:?}"),
            "Mask(3)".replace('3', &mask.0.len().to_string())
        );
    }
}
