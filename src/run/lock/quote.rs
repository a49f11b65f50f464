//! One shell word from any text. Does not know what the word is for.

/// A shell can't hold a NUL byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("holds a NUL byte, which no shell can hold")]
pub(super) struct ShellError;

/// Returns `text` in single quotes.
pub(super) fn quote(text: &str) -> Result<String, ShellError> {
    if text.contains('\0') {
        return Err(ShellError);
    }
    Ok(format!("'{}'", text.replace('\'', "'\\''")))
}
