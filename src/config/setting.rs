//! A tree of settings as written, each with its place in the file. Does not know what any setting means.

use indexmap::IndexMap;

/// A place in a source file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Byte offset of the first byte.
    pub start: usize,
    /// Byte offset after the last byte.
    pub end: usize,
    /// Line of `start`.
    pub line: u32,
    /// Column of `start`.
    pub column: u32,
}

/// A file that a person wrote: its name as the person knows it, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name to show, a path or `<stdin>`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A setting and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What was written.
    pub value: Setting,
    /// Where.
    pub span: Span,
}

/// What a person can write as a setting. Text may hold `${secret:…}` references.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// `~`, `null` or nothing after the colon.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text, quoted or not.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order written; each key with its own place.
    Map(IndexMap<String, (Span, Node)>),
}

impl Node {
    /// Calls `visit` with every text below this node and its place, keys left out.
    pub fn for_each_text(&self, visit: &mut impl FnMut(&str, Span)) {
        match &self.value {
            Setting::Text(text) => visit(text, self.span),
            Setting::List(items) => items.iter().for_each(|item| item.for_each_text(visit)),
            Setting::Map(entries) => {
                for (_, node) in entries.values() {
                    node.for_each_text(visit);
                }
            }
            Setting::Null | Setting::Bool(_) | Setting::Int(_) | Setting::Float(_) => {}
        }
    }
}
