//! Values for people: long ones cut, secrets not shown. Does not know the sentence they stand in.

use super::verdict::Shown;
use crate::probe::Fact;

/// Longest value that is shown whole, in characters.
const LONGEST: usize = 72;

/// Returns `text` on one line, cut with its length named when it is long.
#[must_use]
pub fn shorten(text: &str) -> String {
    let line = text.split('\n').next().unwrap_or_default();
    let one_line = text.strip_suffix('\n').unwrap_or(text) == line;
    if one_line && line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    let head: String = line.chars().take(LONGEST / 2).collect();
    format!("{head}… ({} bytes)", text.len())
}

/// Returns a fact as it may be shown.
#[must_use]
pub fn of_fact(fact: &Fact) -> Shown {
    match fact {
        Fact::Text(text) => Shown::Text(shorten(text)),
        Fact::Secret(_) => Shown::Redacted,
        Fact::Differences(_) => Shown::Text(shorten(fact.value())),
    }
}

/// Returns what a stamp says of an input as it may be shown.
#[must_use]
pub fn stamped(shown: &str) -> Shown {
    if shown.starts_with("secret:") {
        Shown::Redacted
    } else {
        Shown::Text(shorten(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_many_lined_values_are_cut() {
        for (text, wanted) in [
            ("", ""),
            ("0644", "0644"),
            ("one\n", "one"),
            ("one\ntwo\n", "one… (8 bytes)"),
            (
                &"x".repeat(100),
                &format!("{}… (100 bytes)", "x".repeat(36)),
            ),
        ] {
            assert_eq!(shorten(text), wanted);
        }
    }
}
