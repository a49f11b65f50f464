//! Verdicts and reasons in words, in this one place. Does not know where they are shown.

use std::fmt;

use super::verdict::{Reason, Shown, Verdict};

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Satisfied => "satisfied",
            Self::Missing => "missing",
            Self::Changed => "changed",
            Self::Drifted => "drifted",
            Self::Maybe => "maybe",
            Self::Blocked => "blocked",
        })
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // An empty value would leave a hole in the sentence.
            Self::Text(text) if text.is_empty() => f.write_str("empty"),
            Self::Text(text) => f.write_str(text),
            Self::Redacted => f.write_str("[redacted]"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input {
                name,
                was: Some(Shown::Redacted),
                now: Shown::Redacted,
            } => {
                write!(f, "input `{name}` is another secret than before")
            }
            // Digests say nothing to people.
            Self::Input {
                name,
                was: Some(was),
                now,
            } if is_digest(was) && is_digest(now) => {
                write!(f, "input `{name}` is another text than before")
            }
            Self::Input {
                name,
                was: Some(was),
                now,
            } => write!(f, "input `{name}` {was} → {now}"),
            Self::Input {
                name,
                was: None,
                now,
            } => write!(f, "input `{name}` is new: {now}"),
            Self::Fact {
                name,
                found: Some(Shown::Redacted),
                wanted: Shown::Redacted,
            } => {
                write!(f, "fact `{name}` is another secret than wanted")
            }
            Self::Fact {
                name,
                found: Some(found),
                wanted,
            } => write!(f, "fact `{name}` is {found}, wanted {wanted}"),
            Self::Fact {
                name,
                found: None,
                wanted,
            } => write!(f, "fact `{name}` was not told, wanted {wanted}"),
            Self::Stamp { found: None, .. } => f.write_str("never applied with these inputs"),
            Self::Stamp { found: Some(_), .. } => f.write_str("last applied with other inputs"),
            Self::Uncompared => {
                f.write_str("its secrets can't be compared yet with those it was last applied with")
            }
            Self::Waits { on } => write!(f, "waits for {on}"),
            Self::Secret { reference } => write!(f, "secret {reference} can't be read yet"),
            Self::Fault { message } => f.write_str(message),
            Self::Unreachable { host, message } => write!(f, "{host} can't be reached: {message}"),
            Self::Needs { label } => write!(f, "needs {label}"),
        }
    }
}

fn is_digest(shown: &Shown) -> bool {
    matches!(shown, Shown::Text(text) if text.starts_with("blake3:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_name_what_differs() {
        let text = |text: &str| Shown::Text(text.to_owned());
        let cases = [
            (
                Reason::Input {
                    name: "version".into(),
                    was: Some(text("2.6.1")),
                    now: text("2.6.2"),
                },
                "input `version` 2.6.1 → 2.6.2",
            ),
            (
                Reason::Input {
                    name: "password".into(),
                    was: Some(Shown::Redacted),
                    now: Shown::Redacted,
                },
                "input `password` is another secret than before",
            ),
            (
                Reason::Fact {
                    name: "mode".into(),
                    found: Some(text("0644")),
                    wanted: text("0600"),
                },
                "fact `mode` is 0644, wanted 0600",
            ),
            (
                Reason::Fact {
                    name: "groups".into(),
                    found: Some(text("")),
                    wanted: text("sudo"),
                },
                "fact `groups` is empty, wanted sudo",
            ),
            (
                Reason::Input {
                    name: "content".into(),
                    was: Some(text("blake3:00112233")),
                    now: text("blake3:44556677"),
                },
                "input `content` is another text than before",
            ),
            (
                Reason::Needs {
                    label: "k3s:api".into(),
                },
                "needs k3s:api",
            ),
        ];
        for (reason, words) in cases {
            assert_eq!(reason.to_string(), words);
        }
    }
}
