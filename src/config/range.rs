//! `node[001-500].example.com` → five hundred names. Does not know what the names are for.

use thiserror::Error;

/// Why a text with brackets is no range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RangeError {
    /// A bracket has no partner.
    #[error("`{0}` has a bracket without its partner")]
    Unbalanced(String),
    /// Something in the brackets is neither a number nor `first-last`.
    #[error("`[{0}]` wants numbers: `[1-3]`, `[001-500]` or `[1-3,7]`")]
    NotNumbers(String),
    /// The last number is smaller than the first.
    #[error("`{0}` runs backwards")]
    Backwards(String),
    /// More names than `limit`.
    #[error("`{text}` stands for {count} names, and {limit} is the most")]
    TooMany {
        /// The text as written.
        text: String,
        /// How many names it stands for (or at least that many).
        count: u64,
        /// How many there may be.
        limit: u64,
    },
}

/// One piece of a range: text, or numbers to count through.
#[derive(Debug)]
enum Piece<'a> {
    Text(&'a str),
    Numbers(Vec<Run>),
}

/// Numbers from `first` to `last`, padded with zeros to `width`.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    width: usize,
}

impl Run {
    fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// A parsed range that knows how many names it stands for before any is made.
#[derive(Debug)]
pub struct Range<'a> {
    text: &'a str,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Range<'a> {
    /// Parses a text. Text without brackets is a range of one.
    ///
    /// # Errors
    /// If brackets do not pair up or hold something else than numbers.
    pub fn parse(text: &'a str) -> Result<Self, RangeError> {
        let unbalanced = || RangeError::Unbalanced(text.to_owned());
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['[', ']']) {
            if rest[open..].starts_with(']') {
                return Err(unbalanced());
            }
            let inside = &rest[open + 1..];
            let close = inside.find(['[', ']']).ok_or_else(unbalanced)?;
            if inside[close..].starts_with('[') {
                return Err(unbalanced());
            }
            pieces.push(Piece::Text(&rest[..open]));
            pieces.push(Piece::Numbers(numbers(&inside[..close])?));
            rest = &inside[close + 1..];
        }
        pieces.push(Piece::Text(rest));
        Ok(Self { text, pieces })
    }

    /// Returns how many names it stands for; `u64::MAX` for more than that.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.pieces.iter().fold(1, |count, piece| match piece {
            Piece::Text(_) => count,
            Piece::Numbers(runs) => {
                let numbers = runs
                    .iter()
                    .fold(0_u64, |sum, run| sum.saturating_add(run.count()));
                count.saturating_mul(numbers)
            }
        })
    }

    /// Makes the names, the last bracket counting fastest.
    ///
    /// # Errors
    /// If there would be more than `limit`; then none is made.
    pub fn expand(&self, limit: u64) -> Result<Vec<String>, RangeError> {
        let count = self.count();
        if count > limit {
            return Err(RangeError::TooMany {
                text: self.text.to_owned(),
                count,
                limit,
            });
        }
        let mut names = vec![String::new()];
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => names.iter_mut().for_each(|name| name.push_str(text)),
                Piece::Numbers(runs) => {
                    names = names
                        .iter()
                        .flat_map(|name| {
                            runs.iter().flat_map(move |run| {
                                let width = run.width;
                                (run.first..=run.last)
                                    .map(move |number| format!("{name}{number:0width$}"))
                            })
                        })
                        .collect();
                }
            }
        }
        Ok(names)
    }
}

/// Parses what stands between two brackets.
fn numbers(inside: &str) -> Result<Vec<Run>, RangeError> {
    let wrong = || RangeError::NotNumbers(inside.to_owned());
    inside
        .split(',')
        .map(|item| {
            let item = item.trim();
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let (first, last) = (first.trim(), last.trim());
            let run = Run {
                first: number(first).ok_or_else(wrong)?,
                last: number(last).ok_or_else(wrong)?,
                width: first.len(),
            };
            if run.last < run.first {
                return Err(RangeError::Backwards(item.to_owned()));
            }
            Ok(run)
        })
        .collect()
}

/// Parses plain digits (`u64::from_str` would take a sign as well).
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(text: &str) -> Result<Vec<String>, RangeError> {
        Range::parse(text)?.expand(1000)
    }

    #[test]
    fn expands() {
        let cases: [(&str, &[&str]); 8] = [
            ("one", &["one"]),
            ("n[1-3].x", &["n1.x", "n2.x", "n3.x"]),
            ("n[8-11]", &["n8", "n9", "n10", "n11"]),
            ("n[08-11]", &["n08", "n09", "n10", "n11"]),
            ("n[1-2,7]", &["n1", "n2", "n7"]),
            ("n[1, 3]", &["n1", "n3"]),
            ("r[1-2]-n[01-02]", &["r1-n01", "r1-n02", "r2-n01", "r2-n02"]),
            ("10.0.[0-1].[5]", &["10.0.0.5", "10.0.1.5"]),
        ];
        for (text, names) in cases {
            assert_eq!(expand(text).unwrap(), names, "{text}");
        }
    }

    #[test]
    fn refuses() {
        for (text, message) in [
            ("n[1-3", "`n[1-3` has a bracket without its partner"),
            ("n1-3]", "`n1-3]` has a bracket without its partner"),
            ("n[1[2]]", "`n[1[2]]` has a bracket without its partner"),
            (
                "n[]",
                "`[]` wants numbers: `[1-3]`, `[001-500]` or `[1-3,7]`",
            ),
            (
                "n[a-c]",
                "`[a-c]` wants numbers: `[1-3]`, `[001-500]` or `[1-3,7]`",
            ),
            (
                "n[+1]",
                "`[+1]` wants numbers: `[1-3]`, `[001-500]` or `[1-3,7]`",
            ),
            ("n[3-1]", "`3-1` runs backwards"),
            (
                "n[1-1000000]",
                "`n[1-1000000]` stands for 1000000 names, and 1000 is the most",
            ),
        ] {
            assert_eq!(expand(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn a_range_too_large_to_count_is_refused_at_once() {
        let text = "n[0-18446744073709551615][0-18446744073709551615]";
        assert_eq!(Range::parse(text).unwrap().count(), u64::MAX);
        assert!(matches!(expand(text), Err(RangeError::TooMany { .. })));
    }

    proptest! {
        #[test]
        fn makes_as_many_distinct_names_as_it_counts(
            first in 0_u64..50, more in 0_u64..50, width in 1_usize..5, second in 1_u64..4,
        ) {
            let last = first + more;
            let text = format!("n[{first:0width$}-{last}].r[1-{second}]");
            let range = Range::parse(&text).unwrap();
            let names = range.expand(1000).unwrap();
            prop_assert_eq!(names.len() as u64, range.count());
            prop_assert_eq!(range.count(), (more + 1) * second);
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            prop_assert_eq!(distinct.len(), names.len());
            let shortest = names.iter().map(String::len).min().unwrap();
            prop_assert!(shortest >= "n.r1".len() + width);
        }

        #[test]
        fn never_panics(text in "[a-z0-9\\[\\],-]{0,30}") {
            let _ = expand(&text);
        }
    }
}
