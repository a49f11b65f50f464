//! A value to come, as templates see it: it can be put into text, a list or a map, go through an encoder, and nothing else. Does
//! not know what will take its place.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use minijinja::Value as Jinja;
use minijinja::value::{Object, ObjectRepr};

use super::encode::Encoder;

/// Begins a placeholder within text. A private-use character: nobody types it.
const OPEN: char = '\u{F57AA}';
/// Ends it.
const CLOSE: char = '\u{F57AB}';
/// Begins what goes through an encoder once its placeholders are known: then come the encoder's name, [`COLON`], and a text.
const BEGIN: char = '\u{F57AC}';
/// Ends the encoder's name.
const COLON: char = '\u{F57AD}';
/// Ends the text.
const END: char = '\u{F57AE}';

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
    /// A text that goes through an encoder once its values have come.
    Encoded(Encoder, Vec<Piece<'a>>),
}

/// Cuts the placeholders out of `text`; neighbours of the result are never both literal.
///
/// # Errors
/// When one was damaged on the way, so that nobody can tell which it was.
pub fn split(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut rest = text;
    let pieces = pieces(&mut rest, 0)?;
    if rest.is_empty() {
        Ok(pieces)
    } else {
        Err(damaged())
    }
}

fn damaged() -> String {
    "a secret or an output of a step was changed on its way into the text; put it in as it is"
        .to_owned()
}

/// Most encoders that one text may go through. Each is a level of a stack.
const DEEPEST: usize = 16;

/// Cuts up `rest` to its end, or to the end of what is encoded `depth` times.
fn pieces<'a>(rest: &mut &'a str, depth: usize) -> Result<Vec<Piece<'a>>, String> {
    if depth > DEEPEST {
        return Err(format!("a value goes through more than {DEEPEST} filters"));
    }
    let mut found = Vec::new();
    loop {
        let Some(at) = rest.find([OPEN, CLOSE, BEGIN, COLON, END]) else {
            if depth > 0 {
                return Err(damaged());
            }
            if !rest.is_empty() {
                found.push(Piece::Literal(rest));
            }
            *rest = "";
            return Ok(found);
        };
        let (literal, from) = rest.split_at(at);
        if !literal.is_empty() {
            found.push(Piece::Literal(literal));
        }
        if let Some(inner) = from.strip_prefix(OPEN) {
            let (number, after) = inner.split_once(CLOSE).ok_or_else(damaged)?;
            let number = number.parse().map_err(|_| damaged())?;
            found.push(Piece::Placeholder(Placeholder(number)));
            *rest = after;
        } else if let Some(inner) = from.strip_prefix(BEGIN) {
            let (name, after) = inner.split_once(COLON).ok_or_else(damaged)?;
            let encoder = Encoder::named(name).ok_or_else(damaged)?;
            *rest = after;
            let inner = pieces(rest, depth + 1)?;
            found.push(Piece::Encoded(encoder, inner));
        } else if let Some(after) = from.strip_prefix(END).filter(|_| depth > 0) {
            *rest = after;
            return Ok(found);
        } else {
            return Err(damaged());
        }
    }
}

/// Returns `text`, which holds placeholders, to go through `encoder` when it is known.
pub(super) fn encoded(encoder: Encoder, text: &str) -> String {
    format!("{BEGIN}{}{COLON}{text}{END}", encoder.name())
}

/// Returns the text that pieces were cut out of.
pub(super) fn joined(pieces: &[Piece<'_>]) -> String {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Placeholder(placeholder) => text.push_str(&placeholder.into_jinja().to_string()),
            Piece::Encoded(encoder, inner) => text.push_str(&encoded(*encoder, &joined(inner))),
        }
    }
    text
}

thread_local! {
    /// Whether all values are known, so that what looks like a placeholder is a value's own text.
    static ALL_KNOWN: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, in which all values are known: whoever has these characters in a secret or an answer of a host can't pass it off as
/// a placeholder.
pub(super) fn all_known<T>(work: impl FnOnce() -> T) -> T {
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            ALL_KNOWN.set(self.0);
        }
    }
    let _back = Back(ALL_KNOWN.replace(true));
    work()
}

/// Returns whether `text` holds a placeholder.
pub(super) fn text_holds_placeholder(text: &str) -> bool {
    !ALL_KNOWN.get() && text.contains([OPEN, BEGIN])
}

/// Returns whether a placeholder stands anywhere in `value`.
pub(super) fn holds_placeholder(value: &Jinja) -> bool {
    if let Some(text) = value.as_str() {
        return text_holds_placeholder(text);
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
        let seven = Placeholder(7).into_jinja();
        let text = format!(
            "a{seven}b{}{}",
            Placeholder(0).into_jinja(),
            encoded(
                Encoder::Yaml,
                &format!("c{}", encoded(Encoder::Ini, &seven.to_string()))
            )
        );
        let pieces = split(&text).unwrap();
        assert_eq!(
            pieces,
            [
                Piece::Literal("a"),
                Piece::Placeholder(Placeholder(7)),
                Piece::Literal("b"),
                Piece::Placeholder(Placeholder(0)),
                Piece::Encoded(
                    Encoder::Yaml,
                    vec![
                        Piece::Literal("c"),
                        Piece::Encoded(Encoder::Ini, vec![Piece::Placeholder(Placeholder(7))]),
                    ]
                ),
            ]
        );
        assert_eq!(joined(&pieces), text);
        for mark in [OPEN, CLOSE, BEGIN, COLON, END] {
            for (at, _) in text.match_indices(mark) {
                let mut cut = text.clone();
                cut.remove(at);
                assert!(split(&cut).is_err(), "{mark:?} at {at}");
            }
        }
        let deep = (0..100).fold(seven.to_string(), |text, _| encoded(Encoder::Yaml, &text));
        assert!(split(&deep).is_err());
        assert!(holds_placeholder(&Jinja::from(vec![Jinja::from(text)])));
        assert!(!holds_placeholder(&Jinja::from("plain")));
    }
}
