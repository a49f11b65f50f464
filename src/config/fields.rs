//! Typed reading of nodes: every mistake becomes a problem, and reading goes on. Does not know which keys there are.

use indexmap::IndexMap;

use super::problem::{Problem, Problems};
use super::setting::{Node, Setting, Source, Span};
use super::suggest;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub value: T,
    pub span: Span,
}

impl Setting {
    /// Returns what kind of setting it is, with its article.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl Node {
    /// Returns the text, or what was written for a number or boolean: an unquoted `2.10` is `2.10` where text is wanted.
    #[must_use]
    pub fn as_text<'a>(&'a self, source: &'a Source) -> Option<&'a str> {
        match &self.value {
            Setting::Text(text) => Some(text),
            Setting::Bool(_) | Setting::Int(_) | Setting::Float(_) => {
                source.text.get(self.span.start..self.span.end)
            }
            Setting::Null | Setting::List(_) | Setting::Map(_) => None,
        }
    }
}

/// A mapping being read. Keys that nobody asks for are reported by [`Fields::finish`].
#[derive(Debug)]
pub(super) struct Fields<'n> {
    /// What the mapping is, for messages: `` `cluster` ``.
    what: String,
    entries: Option<&'n IndexMap<String, (Span, Node)>>,
    asked: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// Opens a mapping. Null counts as an empty one; anything else is a problem.
    pub fn open(node: &'n Node, what: impl Into<String>, problems: &mut Problems) -> Self {
        let what = what.into();
        let entries = match &node.value {
            Setting::Map(entries) => Some(entries),
            Setting::Null => None,
            other => {
                let kind = other.kind();
                problems.push(
                    Problem::at(node.span, format!("{what} wants a map, found {kind}"))
                        .label("not a map"),
                );
                None
            }
        };
        Self {
            what,
            entries,
            asked: Vec::new(),
        }
    }

    /// Returns the key's place and node, unless it is not there or null.
    pub fn get(&mut self, key: &'static str) -> Option<(Span, &'n Node)> {
        self.asked.push(key);
        let (span, node) = self.entries?.get(key)?;
        (node.value != Setting::Null).then_some((*span, node))
    }

    /// Returns whether the key is there and not null, right or wrong.
    pub fn has(&self, key: &str) -> bool {
        self.entries
            .and_then(|entries| entries.get(key))
            .is_some_and(|(_, node)| node.value != Setting::Null)
    }

    /// Reports every key that was not asked for, but not those that `ignore`.
    pub fn finish(self, ignore: impl Fn(&str) -> bool, problems: &mut Problems) {
        for (key, (span, _)) in self.entries.into_iter().flatten() {
            if self.asked.contains(&key.as_str()) || ignore(key) {
                continue;
            }
            problems.push(
                Problem::at(*span, format!("unknown key `{key}` in {}", self.what))
                    .label("not known here")
                    .maybe_help(suggest::help(key, self.asked.iter().copied())),
            );
        }
    }

    /// Reads plain text: no secret reference may stand in it.
    pub fn text(&mut self, key: &'static str, problems: &mut Problems) -> Option<Placed<String>> {
        let (_, node) = self.get(key)?;
        plain_text(node, &format!("`{key}`"), problems)
    }

    /// Reads true or false.
    pub fn bool(&mut self, key: &'static str, problems: &mut Problems) -> Option<Placed<bool>> {
        let (_, node) = self.get(key)?;
        if let Setting::Bool(value) = node.value {
            return Some(Placed {
                value,
                span: node.span,
            });
        }
        problems.push(wrong_kind(node, &format!("`{key}`"), "`true` or `false`"));
        None
    }

    /// Reads a TCP port.
    pub fn port(&mut self, key: &'static str, problems: &mut Problems) -> Option<Placed<u16>> {
        let (_, node) = self.get(key)?;
        let number = match &node.value {
            Setting::Int(number) => Some(*number),
            Setting::Text(text) => text.parse().ok(),
            _ => None,
        };
        match number.map(u16::try_from) {
            Some(Ok(value @ 1..)) => Some(Placed {
                value,
                span: node.span,
            }),
            Some(_) => {
                problems.push(
                    Problem::at(node.span, format!("`{key}` wants a port from 1 to 65535"))
                        .label("not a port"),
                );
                None
            }
            None => {
                problems.push(wrong_kind(
                    node,
                    &format!("`{key}`"),
                    "a port from 1 to 65535",
                ));
                None
            }
        }
    }

    /// Reads a list of plain texts; a single text counts as a list of one.
    pub fn texts(&mut self, key: &'static str, problems: &mut Problems) -> Vec<Placed<String>> {
        let Some((_, node)) = self.get(key) else {
            return Vec::new();
        };
        let what = format!("`{key}`");
        match &node.value {
            Setting::List(items) => items
                .iter()
                .filter_map(|item| plain_text(item, &what, problems))
                .collect(),
            Setting::Map(_) => {
                problems.push(wrong_kind(node, &what, "a list"));
                Vec::new()
            }
            _ => plain_text(node, &what, problems).into_iter().collect(),
        }
    }

    /// Reads a list; each item is read by the caller.
    pub fn list(&mut self, key: &'static str, problems: &mut Problems) -> &'n [Node] {
        let Some((_, node)) = self.get(key) else {
            return &[];
        };
        if let Setting::List(items) = &node.value {
            return items;
        }
        problems.push(wrong_kind(node, &format!("`{key}`"), "a list"));
        &[]
    }
}

/// Reads plain text from a node.
pub(super) fn plain_text(
    node: &Node,
    what: &str,
    problems: &mut Problems,
) -> Option<Placed<String>> {
    let source = problems.source.clone();
    let Some(text) = node.as_text(&source) else {
        problems.push(wrong_kind(node, what, "text"));
        return None;
    };
    if text.contains("${secret:") {
        problems.push(
            Problem::at(node.span, format!("{what} can't hold a secret reference"))
                .label("wanted as plain text")
                .help("secret references may stand in the settings of components"),
        );
        return None;
    }
    if text.trim().is_empty() {
        problems.push(Problem::at(node.span, format!("{what} is empty")));
        return None;
    }
    Some(Placed {
        value: text.to_owned(),
        span: node.span,
    })
}

/// Makes the problem of a node of the wrong kind.
pub(super) fn wrong_kind(node: &Node, what: &str, wanted: &str) -> Problem {
    let found = node.value.kind();
    Problem::at(node.span, format!("{what} wants {wanted}, found {found}"))
        .label(format!("not {wanted}"))
}
