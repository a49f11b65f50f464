//! Keeps the secrets of a step out of what its tools say. Does not know where the text goes.

use std::collections::HashSet;

use zeroize::Zeroizing;

use crate::catalog::{Value, Values};
use crate::secret::{Masker, REDACTED, Secret};

/// A secret longer than this, in bytes, is a whole file with a secret in it. In all the forms that a [`Masker`] knows it
/// would fill megabytes; it is looked for line by line instead.
const LONG: usize = 4096;

/// Lines of a long secret that are shorter say nothing.
const SHORTEST_LINE: usize = 6;

/// How many bytes in a row a line may not share with a long secret: half of what is found for certain.
const WINDOW: usize = 32;

/// The secrets of one step.
pub(super) struct Mask {
    short: Masker,
    long: Vec<Zeroizing<String>>,
    none: bool,
}

impl Mask {
    /// Collects the secrets among `values`.
    pub(super) fn of(values: &Values) -> Self {
        let mut secrets = Vec::new();
        for value in values.values() {
            collect(value, &mut secrets);
        }
        let none = secrets.is_empty();
        let (long, short): (Vec<_>, Vec<_>) = secrets
            .into_iter()
            .partition(|secret| secret.expose().len() > LONG);
        Self {
            short: Masker::new(short),
            long: long
                .into_iter()
                .map(|secret| Zeroizing::new(secret.expose().clone()))
                .collect(),
            none,
        }
    }

    /// Returns whether there are none.
    pub(super) fn is_none(&self) -> bool {
        self.none
    }

    /// Returns `text` without them.
    pub(super) fn hide(&self, text: &str) -> String {
        let text = self.short.mask(text).into_owned();
        if self.long.is_empty() || text.is_empty() {
            return text;
        }
        let lines: HashSet<&str> = self
            .long
            .iter()
            .flat_map(|secret| secret.lines().map(str::trim))
            .filter(|line| line.len() >= SHORTEST_LINE)
            .collect();
        let hidden: Vec<&str> = text
            .split('\n')
            .map(|line| {
                let of_secret = lines.contains(line.trim())
                    || self.long.iter().any(|secret| share(line, secret));
                if of_secret { REDACTED } else { line }
            })
            .collect();
        hidden.join("\n")
    }
}

/// Returns whether a piece of `line` stands in `secret`.
fn share(line: &str, secret: &str) -> bool {
    (0..line.len())
        .step_by(WINDOW)
        .filter_map(|start| line.get(start..start + WINDOW))
        .any(|piece| secret.contains(piece))
}

fn collect<'a>(value: &'a Value, secrets: &mut Vec<&'a Secret<String>>) {
    match value {
        Value::Secret(secret) => secrets.push(secret),
        Value::List(items) => items.iter().for_each(|item| collect(item, secrets)),
        Value::Map(entries) => entries.values().for_each(|item| collect(item, secrets)),
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Text(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_whole_by_line_and_in_pieces() {
        let line: String = (0..2000).map(|n| format!("{n:x}-")).collect();
        let file = format!("[Service]\nshort = 1\n{line}\nend");
        let values = Values::from_iter([
            (
                "a".to_owned(),
                Value::List(vec![Value::Secret("hunter2".to_owned().into())]),
            ),
            ("file".to_owned(), Value::Secret(file.clone().into())),
        ]);
        let mask = Mask::of(&values);
        assert_eq!(
            mask.hide("is hunter2 here\n short = 1\nend"),
            "is [redacted] here\n[redacted]\nend"
        );
        assert_eq!(
            mask.hide(&format!("x {} y\nplain", &line[1000..1070])),
            "[redacted]\nplain"
        );
        assert!(!mask.hide(&file).contains("7ce-7cf"));
    }
}
