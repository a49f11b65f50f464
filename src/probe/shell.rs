//! Values → POSIX sh: the one place that quotes. Does not know what the variables are for.

use std::fmt::Write as _;

use crate::catalog::{Value, Values};

/// Why a value can't be handed to a shell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShellError {
    /// A shell can't hold this byte.
    #[error("holds a NUL byte, which no shell can hold")]
    Nul,
    /// List items and map entries are handed over one per line.
    #[error("has an item with a line break, and items are handed over one per line")]
    LineBreak,
    /// Only one level of list or map has an encoding.
    #[error("is nested deeper than a shell variable can show")]
    Nested,
    /// The input's name is no name of a variable, or one that the shell itself uses.
    #[error("input `{0}` can't be a shell variable")]
    Name(String),
    /// One of the above, of this input.
    #[error("input `{0}` {1}")]
    Input(String, Box<ShellError>),
}

/// Appends `text` as one shell word: in single quotes, whatever it holds.
///
/// # Errors
/// When `text` holds a NUL byte.
pub fn quote_into(out: &mut String, text: &str) -> Result<(), ShellError> {
    if text.contains('\0') {
        return Err(ShellError::Nul);
    }
    out.reserve(text.len() + 2);
    out.push('\'');
    for (index, piece) in text.split('\'').enumerate() {
        if index > 0 {
            out.push_str("'\\''");
        }
        out.push_str(piece);
    }
    out.push('\'');
    Ok(())
}

/// Returns `text` as one shell word.
///
/// # Errors
/// When `text` holds a NUL byte.
pub fn quote(text: &str) -> Result<String, ShellError> {
    let mut out = String::new();
    quote_into(&mut out, text)?;
    Ok(out)
}

/// Appends what a shell variable holds for `value`: text as it is, `true` or `false`, digits, nothing for null,
/// one line per item of a list, one `key=value` line per entry of a map.
///
/// # Errors
/// When the value has no such encoding.
pub fn encode_into(out: &mut String, value: &Value) -> Result<(), ShellError> {
    match value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push('\n');
                }
                encode_item(out, item)?;
            }
            Ok(())
        }
        Value::Map(entries) => {
            for (index, (key, item)) in entries.iter().enumerate() {
                if key.contains(['\n', '=']) {
                    return Err(ShellError::LineBreak);
                }
                if index > 0 {
                    out.push('\n');
                }
                out.push_str(key);
                out.push('=');
                encode_item(out, item)?;
            }
            Ok(())
        }
        scalar => encode_scalar(out, scalar),
    }
}

fn encode_item(out: &mut String, item: &Value) -> Result<(), ShellError> {
    let start = out.len();
    encode_scalar(out, item)?;
    if out[start..].contains('\n') {
        return Err(ShellError::LineBreak);
    }
    Ok(())
}

fn encode_scalar(out: &mut String, value: &Value) -> Result<(), ShellError> {
    match value {
        Value::Null => {}
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Text(text) => out.push_str(text),
        Value::Secret(secret) => out.push_str(secret.expose()),
        Value::List(_) | Value::Map(_) => return Err(ShellError::Nested),
    }
    Ok(())
}

/// Appends `name='value'` and a line break.
///
/// # Errors
/// When the name is none for a variable or the value has no encoding.
pub fn assign_into(out: &mut String, name: &str, value: &Value) -> Result<(), ShellError> {
    if !is_variable(name) {
        return Err(ShellError::Name(name.to_owned()));
    }
    let named = |error| ShellError::Input(name.to_owned(), Box::new(error));
    let mut held = zeroize::Zeroizing::new(String::new());
    encode_into(&mut held, value).map_err(named)?;
    out.push_str(name);
    out.push('=');
    quote_into(out, &held).map_err(named)?;
    out.push('\n');
    Ok(())
}

/// Returns whether a script may have a variable of this name: lower case, so that it is none of the shell's own.
fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Returns whether `script` uses the variable `name`, in any of the forms `$name`, `${name}`, `${name:-…}`, `${#name}`, and
/// `name` within `$((…))`.
#[must_use]
pub fn uses(script: &str, name: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    script.match_indices(name).any(|(at, _)| {
        let (before, from) = script.split_at(at);
        if from.as_bytes().get(name.len()).is_some_and(is_word) {
            return false;
        }
        let opened = ["$", "${", "${#"].iter().any(|mark| before.ends_with(mark));
        let calculated = || {
            !before.as_bytes().last().is_some_and(is_word)
                && before
                    .rfind("$((")
                    .is_some_and(|open| !before[open..].contains("))"))
        };
        opened || calculated()
    })
}

/// Appends the assignments of those of `values` that `script` uses.
///
/// # Errors
/// When one of them can't be handed over.
pub fn assign_used_into(out: &mut String, script: &str, values: &Values) -> Result<(), ShellError> {
    for (name, value) in values {
        if uses(script, name) {
            assign_into(out, name, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn encoded(value: &Value) -> Result<String, ShellError> {
        let mut out = String::new();
        encode_into(&mut out, value).map(|()| out)
    }

    #[test]
    fn encodings() {
        let text = |s: &str| Value::Text(s.to_owned());
        let list = Value::List(vec![text("a b"), Value::Int(-3), Value::Bool(true)]);
        let map = Value::Map(BTreeMap::from([("k".to_owned(), text("v=w"))]));
        for (value, wanted) in [
            (Value::Null, ""),
            (text("it's\n"), "it's\n"),
            (list, "a b\n-3\ntrue"),
            (map, "k=v=w"),
        ] {
            assert_eq!(encoded(&value).unwrap(), wanted);
        }
        assert_eq!(
            encoded(&Value::List(vec![text("a\nb")])),
            Err(ShellError::LineBreak)
        );
        assert_eq!(
            encoded(&Value::List(vec![Value::List(vec![])])),
            Err(ShellError::Nested)
        );
    }

    #[test]
    fn variables_are_used_with_a_dollar_or_in_arithmetic() {
        let table = [
            ("echo $seconds", true),
            ("echo ${seconds:-1} ${#seconds}", true),
            ("end=$(($(date +%s) + seconds))", true),
            ("end=$((seconds * 5)); x=$((1))", true),
            ("echo seconds", false),
            ("x=$((1)); echo seconds", false),
            ("echo $((in_seconds + seconds2)) $seconds_left", false),
        ];
        for (script, wanted) in table {
            assert_eq!(uses(script, "seconds"), wanted, "{script}");
        }
    }

    #[test]
    fn names_and_nul_are_refused() {
        let mut out = String::new();
        let text = Value::Text("x".to_owned());
        for name in ["PATH", "IFS", "", "a-b", "_x", "1a", "a b"] {
            assert!(assign_into(&mut out, name, &text).is_err(), "{name}");
        }
        let nul = Value::Text("a\0b".to_owned());
        assert_eq!(
            assign_into(&mut out, "content", &nul)
                .unwrap_err()
                .to_string(),
            "input `content` holds a NUL byte, which no shell can hold"
        );
    }

    #[test]
    fn uses_finds_each_form() {
        for script in [
            "echo $path",
            "echo \"${path}\"",
            "${path:-x}",
            "${#path}",
            "$path/x",
        ] {
            assert!(uses(script, "path"), "{script}");
        }
        for script in ["echo path", "echo $paths", "echo ${path_x}", "echo $xpath"] {
            assert!(!uses(script, "path"), "{script}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_text_survives_a_real_shell(text in "[^\\x00]{0,200}|['\"\\\\$`\n !*?-]{0,40}") {
            let program = format!("v={}; printf %s \"$v\"", quote(&text).unwrap());
            let output = Command::new("sh").arg("-c").arg(program).output().unwrap();
            prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
