//! Compares versions as people write them: `v2.6.1`, `1.34.2+k3s1`, `2.7.0-rc1`. Knows no component's release habits.

use std::cmp::Ordering;

/// A version, split for comparing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Numbers of the release, trailing zeros cut.
    release: Vec<u64>,
    /// What follows a `-`; a version with one comes before the same version without.
    pre: Vec<Piece>,
    /// What follows a `+`; later builds come after.
    build: Vec<Piece>,
}

/// A run of digits or of anything else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Number(u64),
    Word(String),
}

impl Version {
    /// Parses `text`, with or without a leading `v`.
    ///
    /// # Errors
    /// When it does not begin with dotted numbers.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('v').unwrap_or(text);
        let (rest, build) = bare.split_once('+').unwrap_or((bare, ""));
        let (release, pre) = rest.split_once('-').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '~' | '_');
        let wrong = || format!("`{text}` is not a version, such as `2.7.2` or `v1.34.2+k3s1`");
        if !build.chars().all(plain) || !pre.chars().all(plain) {
            return Err(wrong());
        }
        let mut release = release
            .split('.')
            .map(|number| number.parse::<u64>().map_err(|_| wrong()))
            .collect::<Result<Vec<_>, _>>()?;
        while release.len() > 1 && release.last() == Some(&0) {
            release.pop();
        }
        Ok(Self {
            release,
            pre: pieces(pre),
            build: pieces(build),
        })
    }

    /// Returns whether it is a release of the series `series`: 1.34.2 is one of 1.34.
    #[must_use]
    pub fn within(&self, series: &Self) -> bool {
        self.release.starts_with(&series.release)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.release
            .cmp(&other.release)
            .then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ => self.pre.cmp(&other.pre),
            })
            .then_with(|| self.build.cmp(&other.build))
    }
}

fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for word in text.split(['.', '-', '_', '~']).filter(|w| !w.is_empty()) {
        let mut rest = word;
        while !rest.is_empty() {
            let digits = rest.starts_with(|c: char| c.is_ascii_digit());
            let end = rest
                .find(|c: char| c.is_ascii_digit() != digits)
                .unwrap_or(rest.len());
            let (piece, after) = rest.split_at(end);
            pieces.push(match piece.parse() {
                Ok(number) => Piece::Number(number),
                Err(_) => Piece::Word(piece.to_owned()),
            });
            rest = after;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_people_do() {
        let ascending = [
            "1.9",
            "1.10.0-alpha1",
            "1.10.0-rc2",
            "1.10.0-rc10",
            "v1.10",
            "1.10.1+k3s1",
            "v1.10.1+k3s2",
            "2.0.0",
        ];
        for pair in ascending.windows(2) {
            let (low, high) = (
                Version::parse(pair[0]).unwrap(),
                Version::parse(pair[1]).unwrap(),
            );
            assert!(low < high, "{} < {}", pair[0], pair[1]);
        }
        assert_eq!(
            Version::parse("v1.0").unwrap(),
            Version::parse("1.0.0").unwrap()
        );
    }

    #[test]
    fn refuses_what_is_no_version() {
        for text in ["", "v", "latest", "1.x", "1..2", "1.2 3", "1.2+ü"] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }
}
