//! What a stamp tells: whether a step was last applied with these inputs, and which differ. Does not read or write it.

use super::shorten::stamped;
use super::verdict::Reason;
use crate::catalog::{Task, Value, Values};
use crate::graph::{Fingerprints, Target, key, public_key, shown};
use crate::probe::Stamp;

/// Returns the stamp that an apply with these inputs leaves.
#[must_use]
pub fn stamp(task: &Task, target: &Target, values: &Values, secrets: &Fingerprints) -> Stamp {
    Stamp {
        key: key(task, target, values, secrets).to_string(),
        inputs: shown(values, secrets),
        public: values
            .values()
            .any(Value::is_secret)
            .then(|| public_key(task, target, values).to_string()),
    }
}

/// What two stamps of a step say of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// They are of the same task over the same inputs.
    Same,
    /// They are not.
    Different,
    /// All is the same but for secrets, whose fingerprints were made with different keys and can't be compared.
    Unknown,
}

/// Compares the stamp that was found with the one that an apply would leave now.
#[must_use]
pub fn likeness(was: &Stamp, now: &Stamp) -> Likeness {
    if was.key == now.key {
        return Likeness::Same;
    }
    let other_keys = now.inputs.iter().any(|(name, shown)| {
        let was = was.inputs.get(name).and_then(|was| fingerprint(was));
        matches!((was, fingerprint(shown)), (Some((old, _)), Some((new, _))) if old != new)
    });
    if !other_keys || !differences(was, now).is_empty() {
        return Likeness::Different;
    }
    match (&was.public, &now.public) {
        (Some(was), Some(now)) if was != now => Likeness::Different,
        // One of a version that left none: the inputs that can be compared are the same.
        _ => Likeness::Unknown,
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
            public: None,
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

    #[test]
    fn only_secrets_under_other_keys_leave_it_open() {
        let stamp = |key: &str, public: Option<&str>, inputs: &[(&str, &str)]| Stamp {
            key: key.to_owned(),
            inputs: inputs
                .iter()
                .map(|(name, shown)| ((*name).to_owned(), (*shown).to_owned()))
                .collect(),
            public: public.map(str::to_owned),
        };
        let text = ("mode", "0600");
        let now = stamp("n", Some("p"), &[text, ("pw", "secret:k2:22")]);
        for (was, wanted) in [
            (now.clone(), Likeness::Same),
            // Another key: nothing can be said of the secret.
            (
                stamp("w", Some("p"), &[text, ("pw", "secret:k1:11")]),
                Likeness::Unknown,
            ),
            // The same key: it is another secret.
            (
                stamp("w", Some("p"), &[text, ("pw", "secret:k2:11")]),
                Likeness::Different,
            ),
            // Another key, and something else that differs.
            (
                stamp("w", Some("q"), &[("mode", "0644"), ("pw", "secret:k1:11")]),
                Likeness::Different,
            ),
            // Another key, and another version of the task.
            (
                stamp("w", Some("q"), &[text, ("pw", "secret:k1:11")]),
                Likeness::Different,
            ),
            // Left by a version that knew no public key.
            (
                stamp("w", None, &[text, ("pw", "secret:k1:11")]),
                Likeness::Unknown,
            ),
            (
                stamp("w", None, &[("mode", "0644"), ("pw", "secret:k1:11")]),
                Likeness::Different,
            ),
            // It was no secret then.
            (
                stamp("w", None, &[text, ("pw", "hunter2")]),
                Likeness::Different,
            ),
            (stamp("w", None, &[text]), Likeness::Different),
        ] {
            assert_eq!(likeness(&was, &now), wanted, "{was:?}");
        }
    }
}
