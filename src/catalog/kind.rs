//! Types of inputs, settings and outputs: how they are written, and which values they take. Knows no file.

use std::fmt;

use super::task::ValueType;
use super::units::{parse_duration, parse_size};
use super::value::Value;
use super::version::Version;
use crate::secret::Secret;

/// Names of the types that are one word.
pub(super) const SIMPLE: &[(&str, ValueType)] = &[
    ("text", ValueType::Text),
    ("string", ValueType::String),
    ("path", ValueType::Path),
    ("mode", ValueType::Mode),
    ("int", ValueType::Int),
    ("bool", ValueType::Bool),
    ("size", ValueType::Size),
    ("duration", ValueType::Duration),
    ("version", ValueType::Version),
    ("any", ValueType::Any),
];

impl ValueType {
    /// Returns whether what it takes is text, so that text with holes in it will do.
    #[must_use]
    pub fn is_text(&self) -> bool {
        matches!(
            self,
            Self::Text
                | Self::String
                | Self::Path
                | Self::Mode
                | Self::Size
                | Self::Duration
                | Self::Version
                | Self::Enum(_)
                | Self::Any
        )
    }

    /// Checks `value` and returns it in its one form: modes with four digits, versions without `v`, paths without a
    /// slash at the end, numbers as text where text is wanted.
    ///
    /// # Errors
    /// When it is not of this type; the text says why and never quotes a secret.
    pub fn check(&self, value: Value) -> Result<Value, String> {
        match (self, value) {
            (Self::Any, value) => Ok(value),
            (kind, Value::Secret(secret)) if kind.is_text() => {
                match kind.check_text(secret.expose()) {
                    Ok(text) => Ok(Value::Secret(Secret::new(text))),
                    Err(_) => Err(format!("the secret is not {kind}")),
                }
            }
            (kind, Value::Text(text)) if kind.is_text() => kind.check_text(&text).map(Value::Text),
            (Self::Text | Self::String | Self::Size | Self::Enum(_), Value::Int(n)) => {
                self.check_text(&n.to_string()).map(Value::Text)
            }
            (Self::Text | Self::String | Self::Enum(_), Value::Bool(b)) => {
                self.check_text(&b.to_string()).map(Value::Text)
            }
            (Self::Duration, Value::Int(n)) => Err(format!(
                "a duration needs a unit: `{n}s`, `{n}m`, `{n}h` or `{n}d`"
            )),
            (Self::Int, Value::Int(n)) => Ok(Value::Int(n)),
            (Self::Int, Value::Text(text)) => text
                .parse()
                .map(Value::Int)
                .map_err(|_| format!("`{text}` is not a whole number")),
            (Self::Bool, Value::Bool(b)) => Ok(Value::Bool(b)),
            (Self::List(item), Value::List(items)) => items
                .into_iter()
                .enumerate()
                .map(|(i, value)| {
                    item.check(value)
                        .map_err(|e| format!("item {}: {e}", i + 1))
                })
                .collect::<Result<_, _>>()
                .map(Value::List),
            (Self::Map(entry), Value::Map(entries)) => entries
                .into_iter()
                .map(|(key, value)| match entry.check(value) {
                    Ok(value) => Ok((key, value)),
                    Err(e) => Err(format!("`{key}`: {e}")),
                })
                .collect::<Result<_, _>>()
                .map(Value::Map),
            // As scripts see them: a list is its lines, a table its lines `key=value`. So a file of a recipe can be
            // a list or a table that its loops make.
            (Self::List(_), Value::Text(text)) => self.check(Value::List(
                lines(&text)
                    .map(|line| Value::Text(line.to_owned()))
                    .collect(),
            )),
            (Self::Map(_), Value::Text(text)) => {
                let entries = lines(&text).map(|line| match line.split_once('=') {
                    Some((key, value)) => Ok((key.to_owned(), Value::Text(value.to_owned()))),
                    None => Err(format!(
                        "{self} is wanted; as text it is lines `key=value`, not `{line}`"
                    )),
                });
                self.check(Value::Map(entries.collect::<Result<_, _>>()?))
            }
            (kind, value) => Err(format!(
                "{} is given, but {kind} is wanted",
                describe(&value)
            )),
        }
    }

    fn check_text(&self, text: &str) -> Result<String, String> {
        match self {
            Self::String if text.contains(['\n', '\0', '\r']) => {
                Err("a single line is wanted, but there are several".to_owned())
            }
            Self::Path => check_path(text),
            Self::Mode => {
                let octal =
                    matches!(text.len(), 3 | 4) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
                if octal {
                    Ok(format!("{text:0>4}"))
                } else {
                    Err(format!("`{text}` is not an octal file mode such as `0644`"))
                }
            }
            Self::Size => parse_size(text).map(|_| text.to_owned()),
            Self::Duration => parse_duration(text).map(|_| text.to_owned()),
            Self::Version => {
                Version::parse(text).map(|_| text.strip_prefix('v').unwrap_or(text).to_owned())
            }
            Self::Enum(words) if !words.iter().any(|word| word == text) => {
                let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
                let meant = crate::config::nearest(text, words.iter().map(|w| w.trim_matches('`')))
                    .map(|word| format!("; did you mean `{word}`?"))
                    .unwrap_or_default();
                Err(format!("`{text}` is none of {}{meant}", words.join(", ")))
            }
            _ if text.contains('\0') => Err("it holds a NUL byte".to_owned()),
            _ => Ok(text.to_owned()),
        }
    }
}

/// Returns the lines of a text that are not blank.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty())
}

fn check_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("`{text}` is not an absolute path"));
    }
    if text.contains(char::is_control) {
        return Err("a path can't hold control characters".to_owned());
    }
    if text.split('/').any(|part| part == "..") {
        return Err(format!("`{text}` leads upwards with `..`"));
    }
    let trimmed = text.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
}

/// Returns what `value` is, for a message.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(b) => format!("`{b}`"),
        Value::Int(n) => format!("the number {n}"),
        Value::Text(text) if text.len() <= 40 && !text.contains('\n') => {
            format!("the text `{text}`")
        }
        Value::Text(_) => "a text".to_owned(),
        Value::Secret(_) => "a secret".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a table".to_owned(),
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::String => f.write_str("a single line of text"),
            Self::Path => f.write_str("an absolute path"),
            Self::Mode => f.write_str("a file mode"),
            Self::Int => f.write_str("a whole number"),
            Self::Bool => f.write_str("`true` or `false`"),
            Self::Size => f.write_str("a size such as `500Gi`"),
            Self::Duration => f.write_str("a duration such as `30d`"),
            Self::Version => f.write_str("a version"),
            Self::Enum(words) => write!(f, "one of `{}`", words.join("`, `")),
            Self::List(item) => write!(f, "a list ({item} each)"),
            Self::Map(entry) if **entry == Self::Any => f.write_str("a table"),
            Self::Map(entry) => write!(f, "a table ({entry} each)"),
            Self::Any => f.write_str("anything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn brings_values_into_their_one_form() {
        for (kind, given, want) in [
            (ValueType::Mode, text("644"), text("0644")),
            (ValueType::Version, text("v1.2.3+k3s1"), text("1.2.3+k3s1")),
            (ValueType::Path, text("/etc/"), text("/etc")),
            (ValueType::Path, text("/"), text("/")),
            (ValueType::String, Value::Int(8200), text("8200")),
            (ValueType::Int, text("8200"), Value::Int(8200)),
            (
                ValueType::Enum(vec!["a".into(), "b".into()]),
                text("b"),
                text("b"),
            ),
            (
                ValueType::List(Box::new(ValueType::String)),
                Value::List(vec![Value::Int(1)]),
                Value::List(vec![text("1")]),
            ),
            (
                ValueType::List(Box::new(ValueType::Int)),
                text("1\n\n2\n"),
                Value::List(vec![Value::Int(1), Value::Int(2)]),
            ),
            (
                ValueType::Map(Box::new(ValueType::String)),
                text("a=1=2\nb=\n"),
                Value::Map([("a".to_owned(), text("1=2")), ("b".to_owned(), text(""))].into()),
            ),
        ] {
            assert_eq!(kind.check(given), Ok(want), "{kind}");
        }
    }

    #[test]
    fn refuses_what_is_of_another_type() {
        for (kind, given) in [
            (ValueType::Mode, text("rw-r--r--")),
            (ValueType::Mode, text("0888")),
            (ValueType::Version, text("latest")),
            (ValueType::Path, text("etc")),
            (ValueType::Path, text("/a/../b")),
            (ValueType::String, text("a\nb")),
            (ValueType::String, Value::List(vec![])),
            (ValueType::Text, Value::Null),
            (ValueType::Int, Value::Bool(true)),
            (ValueType::Bool, text("yes")),
            (ValueType::Duration, Value::Int(30)),
            (ValueType::Size, text("lots")),
            (ValueType::Enum(vec!["raft".into()]), text("ratf")),
            (
                ValueType::Map(Box::new(ValueType::Int)),
                Value::Map([("a".to_owned(), text("x"))].into()),
            ),
        ] {
            assert!(kind.check(given.clone()).is_err(), "{kind} {given:?}");
        }
        let error = ValueType::Path
            .check(Value::Secret("hunter2".to_owned().into()))
            .unwrap_err();
        assert!(!error.contains("hunter2"));
    }
}
