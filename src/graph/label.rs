//! Names of steps: `openbao:package[curl]@bao-1`. Does not know which steps exist.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The full name of one step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// Component.
    pub component: Arc<str>,
    /// Step within the recipe.
    pub step: Arc<str>,
    /// Item of `for_each`.
    pub item: Option<Arc<str>>,
    /// Host, for a step that runs on one.
    pub host: Option<Arc<str>>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.component, self.step)?;
        if let Some(item) = &self.item {
            write!(f, "[{item}]")?;
        }
        if let Some(host) = &self.host {
            write!(f, "@{host}")?;
        }
        Ok(())
    }
}

/// A text that is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no label: {why} (a label is `component:step`, `component:step[item]@host`)")]
pub struct LabelError {
    text: String,
    why: &'static str,
}

impl FromStr for Label {
    type Err = LabelError;

    /// Reads the full name of one step, as [`Display`](fmt::Display) writes it.
    fn from_str(text: &str) -> Result<Self, LabelError> {
        let fail = |why| LabelError {
            text: text.to_owned(),
            why,
        };
        let parts = split(text).map_err(|wrong| fail(wrong.why))?;
        let whole = |part: Option<&Piece<'_>>| part.map(|piece| Arc::from(piece.text));
        Ok(Self {
            component: whole(parts.component.as_ref())
                .ok_or_else(|| fail("it has no component"))?,
            step: whole(parts.step.as_ref()).ok_or_else(|| fail("it has no step"))?,
            item: whole(parts.item.as_ref()),
            host: whole(parts.host.as_ref()),
        })
    }
}

/// A part of a label and where it begins, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub text: &'a str,
    pub at: usize,
}

/// The parts of a label; those not written are `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pieces<'a> {
    pub component: Option<Piece<'a>>,
    pub step: Option<Piece<'a>>,
    pub item: Option<Piece<'a>>,
    pub host: Option<Piece<'a>>,
}

/// What is wrong with the spelling of a label, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misspelt {
    pub why: &'static str,
    pub at: usize,
}

/// Takes `component:step[item]@host` apart. An item may hold any character: it ends at the last `]`.
pub(super) fn split(text: &str) -> Result<Pieces<'_>, Misspelt> {
    let wrong = |why, at| Err(Misspelt { why, at });
    let (head, item, tail, tail_at) = match text.find('[') {
        Some(open) => match text.rfind(']') {
            Some(close) if close > open => {
                let item = Piece {
                    text: &text[open + 1..close],
                    at: open + 1,
                };
                (&text[..open], Some(item), &text[close + 1..], close + 1)
            }
            _ => return wrong("`[` is never closed", open),
        },
        None => {
            let at = text.find('@').unwrap_or(text.len());
            (&text[..at], None, &text[at..], at)
        }
    };
    if let Some(at) = head.find('@') {
        return wrong("an item comes before the host", at);
    }
    let host = match tail.strip_prefix('@') {
        Some("") => return wrong("no host after `@`", tail_at),
        Some(name) => Some(Piece {
            text: name,
            at: tail_at + 1,
        }),
        None if tail.is_empty() => None,
        None => return wrong("only `@host` may follow an item", tail_at),
    };
    if let Some(again) = host.and_then(|host| host.text.find('@').map(|at| host.at + at)) {
        return wrong("a second `@`", again);
    }
    let (component, step) = match head.split_once(':') {
        Some((_, "")) => return wrong("no step after `:`", head.len() - 1),
        Some(("", _)) => return wrong("no component before `:`", 0),
        Some((component, step)) => {
            let at = component.len() + 1;
            if let Some(again) = step.find(':') {
                return wrong("a second `:`", at + again);
            }
            (
                Some(Piece {
                    text: component,
                    at: 0,
                }),
                Some(Piece { text: step, at }),
            )
        }
        None if head.is_empty() => (None, None),
        None => (Some(Piece { text: head, at: 0 }), None),
    };
    if let Some(item) = item {
        if step.is_none() {
            return wrong("an item belongs to a step", item.at - 1);
        }
        if item.text.is_empty() {
            return wrong("no item between `[` and `]`", item.at);
        }
    }
    if component.is_none() && host.is_none() {
        return wrong("it is empty", 0);
    }
    Ok(Pieces {
        component,
        step,
        item,
        host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            component in "[a-z][a-z0-9-]{0,8}",
            step in "[a-z][a-z0-9._-]{0,8}",
            item in proptest::option::of("[ -~]{1,12}"),
            host in proptest::option::of("[a-z][a-z0-9.-]{0,12}"),
        ) {
            let label = Label {
                component: component.into(),
                step: step.into(),
                item: item.map(Arc::from),
                host: host.map(Arc::from),
            };
            prop_assert_eq!(label.to_string().parse(), Ok(label));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-z:@\\[\\]é ]{0,10}") {
            let _ = text.parse::<Label>();
        }
    }

    #[test]
    fn wrong_spelling_is_said() {
        let cases = [
            ("", "it is empty", 0),
            ("a:", "no step after `:`", 1),
            (":b", "no component before `:`", 0),
            ("a:b:c", "a second `:`", 3),
            ("a:b@", "no host after `@`", 3),
            ("a:b@h@i", "a second `@`", 5),
            ("a:b[x", "`[` is never closed", 3),
            ("a:b[x]y", "only `@host` may follow an item", 6),
            ("a:b[]", "no item between `[` and `]`", 4),
            ("a[x]", "an item belongs to a step", 1),
            ("a:b@h[x]", "an item comes before the host", 3),
        ];
        for (text, why, at) in cases {
            assert_eq!(split(text), Err(Misspelt { why, at }), "{text}");
        }
        assert_eq!(
            "openbao".parse::<Label>().unwrap_err().to_string(),
            "`openbao` is no label: it has no step (a label is `component:step`, `component:step[item]@host`)"
        );
    }
}
