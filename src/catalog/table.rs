//! Reads one table of a file key by key: types, required keys, and at the end the keys that nobody asked for.
//! Does not know what the keys mean.

use std::cell::RefCell;
use std::time::Duration;

use indexmap::IndexMap;

use super::task::Template;
use super::template;
use super::units::parse_duration;
use super::value::Value;
use super::written::value_of;
use crate::config::{Node, Problem, Problems, Setting, Span, suggest_help};

/// The place of a file as a whole.
pub(super) const START: Span = Span {
    start: 0,
    end: 0,
    line: 1,
    column: 1,
};

/// Collects the problems of one file while several tables are open.
pub(super) struct Sink(RefCell<Problems>);

impl Sink {
    pub fn new(problems: Problems) -> Self {
        Self(RefCell::new(problems))
    }

    pub fn push(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    pub fn into_problems(self) -> Problems {
        self.0.into_inner()
    }
}

/// A table being read.
pub(super) struct Table<'a> {
    sink: &'a Sink,
    /// What it is, for messages: `step "config"`.
    what: String,
    span: Span,
    entries: IndexMap<String, (Span, Node)>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub fn new(
        sink: &'a Sink,
        what: impl Into<String>,
        span: Span,
        entries: IndexMap<String, (Span, Node)>,
    ) -> Self {
        Self {
            sink,
            what: what.into(),
            span,
            entries,
            known: Vec::new(),
        }
    }

    /// Opens `node` as a table.
    pub fn of(sink: &'a Sink, what: impl Into<String>, span: Span, node: Node) -> Option<Self> {
        let what = what.into();
        match node.value {
            Setting::Map(entries) => Some(Self::new(sink, what, span, entries)),
            _ => {
                sink.push(Problem::at(node.span, format!("{what} must be a table")));
                None
            }
        }
    }

    pub fn sink(&self) -> &'a Sink {
        self.sink
    }

    /// Takes the key's node, whatever it is.
    pub fn take(&mut self, key: &'static str) -> Option<(Span, Node)> {
        self.known.push(key);
        self.entries.shift_remove(key)
    }

    /// Says that a key is missing.
    pub fn missing(&self, key: &str) {
        self.sink.push(Problem::at(
            self.span,
            format!("{} has no `{key}`", self.what),
        ));
    }

    /// Says that something else is wanted of the table.
    pub fn wants(&self, wanted: &str) {
        self.sink.push(Problem::at(
            self.span,
            format!("{} wants {wanted}", self.what),
        ));
    }

    pub fn text(&mut self, key: &'static str) -> Option<(Span, String)> {
        let (_, node) = self.take(key)?;
        match node.value {
            Setting::Text(text) => Some((node.span, text)),
            _ => self.wrong(&node, key, "text"),
        }
    }

    pub fn required_text(&mut self, key: &'static str) -> String {
        if !self.entries.contains_key(key) {
            self.missing(key);
        }
        self.text(key).map(|(_, text)| text).unwrap_or_default()
    }

    pub fn bool(&mut self, key: &'static str) -> Option<bool> {
        let (_, node) = self.take(key)?;
        match node.value {
            Setting::Bool(b) => Some(b),
            _ => self.wrong(&node, key, "`true` or `false`"),
        }
    }

    pub fn count(&mut self, key: &'static str) -> Option<u32> {
        let (_, node) = self.take(key)?;
        count_of(&node).or_else(|| self.wrong(&node, key, "a whole number of at least 1"))
    }

    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        let (span, text) = self.text(key)?;
        parse_duration(&text)
            .map_err(|e| self.sink.push(Problem::at(span, e)))
            .ok()
    }

    /// Takes a text, or a list of them.
    pub fn text_or_texts(&mut self, key: &'static str) -> Vec<String> {
        match self.entries.get(key).map(|(_, node)| &node.value) {
            Some(Setting::Text(_)) => self.text(key).map(|(_, text)| text).into_iter().collect(),
            _ => self.texts(key),
        }
    }

    pub fn texts(&mut self, key: &'static str) -> Vec<String> {
        let Some((_, node)) = self.take(key) else {
            return Vec::new();
        };
        let Setting::List(items) = &node.value else {
            self.wrong::<()>(&node, key, "a list of texts");
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| match &item.value {
                Setting::Text(text) => Some(text.clone()),
                _ => self.wrong(item, key, "a list of texts"),
            })
            .collect()
    }

    /// Takes a template and compiles it, to see that it can be.
    pub fn template(&mut self, key: &'static str) -> Option<Template> {
        let (span, text) = self.text(key)?;
        Some(template_at(self.sink, span, text))
    }

    pub fn value(&mut self, key: &'static str) -> Option<(Span, Value)> {
        let (_, node) = self.take(key)?;
        match value_of(&node) {
            Ok(value) => Some((node.span, value)),
            Err(problem) => {
                self.sink.push(*problem);
                None
            }
        }
    }

    pub fn table(&mut self, key: &'static str) -> Option<Table<'a>> {
        let (span, node) = self.take(key)?;
        Table::of(self.sink, format!("`{key}` of {}", self.what), span, node)
    }

    /// Takes all entries of the table at `key`: its keys are names.
    pub fn named(&mut self, key: &'static str) -> IndexMap<String, (Span, Node)> {
        self.table(key)
            .map(|table| table.entries)
            .unwrap_or_default()
    }

    /// Says which keys nobody asked for.
    pub fn finish(self) {
        for (key, (span, _)) in &self.entries {
            self.sink.push(
                Problem::at(*span, format!("{} has no key `{key}`", self.what))
                    .maybe_help(suggest_help(key, self.known.iter().copied())),
            );
        }
    }

    fn wrong<T>(&self, node: &Node, key: &str, wanted: &str) -> Option<T> {
        self.sink.push(Problem::at(
            node.span,
            format!("`{key}` of {} must be {wanted}", self.what),
        ));
        None
    }
}

/// Returns a whole number of at least 1.
pub(super) fn count_of(node: &Node) -> Option<u32> {
    match node.value {
        Setting::Int(n) => u32::try_from(n).ok().filter(|n| *n > 0),
        _ => None,
    }
}

/// Makes a template of `text` and says what is wrong with it, if anything is.
pub(super) fn template_at(sink: &Sink, span: Span, text: String) -> Template {
    let template = Template(text);
    if let Err(error) = template::mentions(&template) {
        sink.push(
            Problem::at(span, error.message).help("templates are those of minijinja (Jinja2)"),
        );
    }
    template
}
