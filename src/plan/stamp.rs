//! What a stamp tells: whether a step was last applied with these inputs, and which differ. Does not read or write it.

use super::shorten::stamped;
use super::verdict::Reason;
use crate::catalog::{Task, Values};
use crate::graph::{Fingerprints, Target, key, shown};
use crate::probe::Stamp;

/// Returns the stamp that an apply with these inputs leaves.
#[must_use]
pub fn stamp(task: &Task, target: &Target, values: &Values, secrets: &Fingerprints) -> Stamp {
    Stamp {
        key: key(task, target, values, secrets).to_string(),
        inputs: shown(values, secrets),
    }
}

/// Returns the inputs that differ between two stamps, by name. Fingerprints made with different keys say nothing
/// about each other, so such secrets count as equal.
#[must_use]
pub fn differences(was: &Stamp, now: &Stamp) -> Vec<Reason> {
    now.inputs
        .iter()
        .filter(|(name, shown)| !same(was.inputs.get(*name), shown))
        .map(|(name, shown)| Reason::Input {
            name: name.clone(),
            was: was.inputs.get(name).map(|shown| stamped(shown)),
            now: stamped(shown),
        })
        .collect()
}

fn same(was: Option<&String>, now: &str) -> bool {
    let Some(was) = was else { return false };
    match (fingerprint(was), fingerprint(now)) {
        (Some((old, _)), Some((new, _))) if old != new => true,
        _ => was == now,
    }
}

/// Splits `secret:<key id>:<fingerprint>`.
fn fingerprint(shown: &str) -> Option<(&str, &str)> {
    shown.strip_prefix("secret:")?.split_once(':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Shown;

    #[test]
    fn what_differs_is_named() {
        let stamp = |inputs: &[(&str, &str)]| Stamp {
            key: String::new(),
            inputs: inputs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
        };
        let was = stamp(&[
            ("version", "1"),
            ("gone", "x"),
            ("a", "secret:k1:00"),
            ("b", "secret:k1:00"),
        ]);
        let now = stamp(&[
            ("version", "2"),
            ("new", "y"),
            ("a", "secret:k2:11"),
            ("b", "secret:k1:11"),
        ]);
        let said: Vec<String> = differences(&was, &now)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "input `b` is another secret than before",
                "input `new` is new: y",
                "input `version` 1 → 2"
            ]
        );
        assert_eq!(stamped("secret:k:0"), Shown::Redacted);
    }
}
