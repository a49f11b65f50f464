//! A value to come, as templates see it: it can be put into text, a list or a map, and nothing else. Does not know
//! what will take its place.

use std::fmt;
use std::sync::Arc;

use minijinja::Value as Jinja;
use minijinja::value::{Object, ObjectRepr};

/// Begins a placeholder within text. A private-use character: nobody types it.
const OPEN: char = '\u{F57AA}';
/// Ends it.
const CLOSE: char = '\u{F57AB}';

/// Stands for a value that is not known yet, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placeholder(pub u32);

impl Placeholder {
    /// Returns what stands in a template's context for it.
    #[must_use]
    pub fn into_jinja(self) -> Jinja {
        Jinja::from_object(self)
    }
}

impl Object for Placeholder {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPEN}{}{CLOSE}", self.0)
    }
}

/// A piece of a text that may hold placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text as it is.
    Literal(&'a str),
    /// A value to come.
    Placeholder(Placeholder),
}

/// Cuts the placeholders out of `text`; neighbours of the result are never both literal.
///
/// # Errors
/// When one was damaged on the way, so that nobody can tell which it was.
pub fn split(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find([OPEN, CLOSE]) {
        let damaged = || {
            "a secret or an output of a step was changed on its way into the text; put it in as it is".to_owned()
        };
        if start > 0 {
            pieces.push(Piece::Literal(&rest[..start]));
        }
        let inner = rest[start..].strip_prefix(OPEN).ok_or_else(damaged)?;
        let (number, after) = inner.split_once(CLOSE).ok_or_else(damaged)?;
        pieces.push(Piece::Placeholder(Placeholder(
            number.parse().map_err(|_| damaged())?,
        )));
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest));
    }
    Ok(pieces)
}

/// Returns whether a placeholder stands anywhere in `value`.
pub(super) fn holds_placeholder(value: &Jinja) -> bool {
    if let Some(text) = value.as_str() {
        return text.contains(OPEN);
    }
    let Some(object) = value.as_object() else {
        return false;
    };
    if object.downcast_ref::<Placeholder>().is_some() {
        return true;
    }
    match object.repr() {
        ObjectRepr::Map => object
            .try_iter_pairs()
            .is_some_and(|mut pairs| pairs.any(|(_, value)| holds_placeholder(&value))),
        ObjectRepr::Seq => object
            .try_iter()
            .is_some_and(|mut items| items.any(|item| holds_placeholder(&item))),
        // A lazy iterable may be of one use only: looking would eat it. Its items meet the formatter or a filter later.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_and_finds() {
        let text = format!(
            "a{}b{}",
            Placeholder(7).into_jinja(),
            Placeholder(0).into_jinja()
        );
        assert_eq!(
            split(&text).unwrap(),
            [
                Piece::Literal("a"),
                Piece::Placeholder(Placeholder(7)),
                Piece::Literal("b"),
                Piece::Placeholder(Placeholder(0)),
            ]
        );
        assert!(split(&text[..text.len() - 1 - '\u{F57AB}'.len_utf8()]).is_err());
        assert!(holds_placeholder(&Jinja::from(vec![Jinja::from(text)])));
        assert!(!holds_placeholder(&Jinja::from("plain")));
    }
}
