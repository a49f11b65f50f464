//! A parsed TOML file that remembers where everything was written. Does not know what any key means.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use indexmap::IndexMap;
use toml::de::{DeTable, DeValue};

use super::value::Value;
use crate::config::{Node, Problem, Problems, Setting, Source, Span};

/// The entries of a table: each key with its place, in the order written.
pub(super) type Entries = IndexMap<String, (Span, Node)>;

/// A file and the place of each of its settings.
#[derive(Debug, Clone)]
pub struct Written {
    /// The file.
    pub source: Arc<Source>,
    /// Path of keys, joined by NUL → place: of the key for tables, of the value for the rest.
    places: HashMap<String, Span>,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            source: Arc::new(Source {
                name: String::new(),
                text: String::new(),
            }),
            places: HashMap::new(),
        }
    }
}

impl Written {
    /// Parses TOML into a tree of settings with their places.
    ///
    /// # Errors
    /// When it is not TOML, or holds what no setting can be (a date).
    pub(super) fn parse(source: Arc<Source>) -> Result<(Self, Entries), Problems> {
        let mut problems = Problems::new(source.clone());
        let lines = Lines::of(&source.text);
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors {
            let message = format!("this is not TOML: {}", error.message());
            problems.push(match error.span() {
                Some(range) => Problem::at(lines.span(range), message),
                None => Problem::new(message),
            });
        }
        if !problems.is_empty() {
            return problems.into_result((Self::default(), IndexMap::new()));
        }
        let root = entries(&lines, table.get_ref(), &mut problems);
        let mut places = HashMap::new();
        remember(&mut places, "", &root);
        problems.into_result((Self { source, places }, root))
    }

    /// Returns the place of what stands at `path`, or of the nearest table around it.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<Span> {
        (1..=path.len())
            .rev()
            .find_map(|length| self.places.get(&path[..length].join("\0")).copied())
    }

    /// Returns the place of a line (from 1) within the text that stands at `path`.
    #[must_use]
    pub fn line_at(&self, path: &[&str], line: Option<u32>) -> Option<Span> {
        let place = self.at(path)?;
        let written = self.source.text.get(place.start..place.end)?;
        let Some(line) = line.filter(|_| written.contains('\n')) else {
            return Some(place);
        };
        let opens = ["'''\n", "\"\"\"\n", "'''\r\n", "\"\"\"\r\n"];
        let skipped = usize::from(opens.iter().any(|open| written.starts_with(open)));
        let (mut start, mut number) = (place.start, place.line);
        for text in written
            .split_inclusive('\n')
            .take(line as usize - 1 + skipped)
        {
            start += text.len();
            number += 1;
        }
        let rest = self.source.text.get(start..).unwrap_or_default();
        let text = rest.lines().next().unwrap_or_default();
        let blank = text.len() - text.trim_start().len();
        Some(Span {
            start: start + blank,
            end: start + text.len(),
            line: number,
            column: u32::try_from(blank).unwrap_or(0) + 1,
        })
    }
}

fn remember(
    places: &mut HashMap<String, Span>,
    prefix: &str,
    entries: &IndexMap<String, (Span, Node)>,
) {
    for (key, (key_span, node)) in entries {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}\0{key}")
        };
        match &node.value {
            Setting::Map(inner) => {
                remember(places, &path, inner);
                places.insert(path, *key_span);
            }
            Setting::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let path = format!("{path}\0{index}");
                    if let Setting::Map(inner) = &item.value {
                        remember(places, &path, inner);
                    }
                    places.insert(path, item.span);
                }
                places.insert(path, node.span);
            }
            _ => {
                places.insert(path, node.span);
            }
        }
    }
}

fn entries(
    lines: &Lines<'_>,
    table: &DeTable<'_>,
    problems: &mut Problems,
) -> IndexMap<String, (Span, Node)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
        .into_iter()
        .map(|(key, value)| {
            let node = node(lines, value.get_ref(), value.span(), problems);
            (key.get_ref().to_string(), (lines.span(key.span()), node))
        })
        .collect()
}

fn node(
    lines: &Lines<'_>,
    value: &DeValue<'_>,
    range: Range<usize>,
    problems: &mut Problems,
) -> Node {
    let span = lines.span(range);
    let value = match value {
        DeValue::String(text) => Setting::Text(text.to_string()),
        DeValue::Boolean(b) => Setting::Bool(*b),
        DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(n) => Setting::Int(n),
            Err(_) => {
                problems.push(Problem::at(span, "this number does not fit into 64 bits"));
                Setting::Null
            }
        },
        DeValue::Float(n) => Setting::Float(n.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Datetime(_) => {
            problems
                .push(Problem::at(span, "a date can't be a value here").help("put it in quotes"));
            Setting::Null
        }
        DeValue::Array(items) => Setting::List(
            items
                .iter()
                .map(|item| node(lines, item.get_ref(), item.span(), problems))
                .collect(),
        ),
        DeValue::Table(table) => Setting::Map(entries(lines, table, problems)),
    };
    Node { value, span }
}

/// Returns a setting as a value.
///
/// # Errors
/// When a number in it has a fraction.
pub(super) fn value_of(node: &Node) -> Result<Value, Box<Problem>> {
    Ok(match &node.value {
        Setting::Null => Value::Null,
        Setting::Bool(b) => Value::Bool(*b),
        Setting::Int(n) => Value::Int(*n),
        Setting::Float(_) => {
            let message = "a number with a fraction can't be a value here";
            return Err(Problem::at(node.span, message)
                .help("put it in quotes")
                .into());
        }
        Setting::Text(text) => Value::Text(text.clone()),
        Setting::List(items) => Value::List(items.iter().map(value_of).collect::<Result<_, _>>()?),
        Setting::Map(entries) => Value::Map(
            entries
                .iter()
                .map(|(key, (_, node))| Ok((key.clone(), value_of(node)?)))
                .collect::<Result<_, Box<Problem>>>()?,
        ),
    })
}

/// Where the lines of a text begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self { text, starts }
    }

    fn span(&self, range: Range<usize>) -> Span {
        let line = self.starts.partition_point(|start| *start <= range.start);
        let start = self.starts[line.saturating_sub(1)];
        let column = self
            .text
            .get(start..range.start)
            .map_or(0, |before| before.chars().count());
        Span {
            start: range.start,
            end: range.end,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column + 1).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Written, Problems> {
        let source = Arc::new(Source {
            name: "x.toml".to_owned(),
            text: text.to_owned(),
        });
        Written::parse(source).map(|(written, _)| written)
    }

    #[test]
    fn remembers_places() {
        let written = parse("a = 1\n[steps.config]\nwith = { path = \"/x\", list = [1, 'b'] }\nscript = '''\none\n  two\n'''\n").unwrap();
        let place = |path: &[&str]| written.at(path).map(|span| (span.line, span.column));
        assert_eq!(place(&["a"]), Some((1, 5)));
        assert_eq!(place(&["steps", "config"]), Some((2, 8)));
        assert_eq!(place(&["steps", "config", "with", "path"]), Some((3, 17)));
        assert_eq!(
            place(&["steps", "config", "with", "list", "1"]),
            Some((3, 34))
        );
        assert_eq!(place(&["steps", "config", "with", "nosuch"]), Some((3, 1)));
        assert_eq!(place(&["nosuch"]), None);
        let line = written
            .line_at(&["steps", "config", "script"], Some(2))
            .unwrap();
        assert_eq!((line.line, line.column), (6, 3));
        assert_eq!(&written.source.text[line.start..line.end], "two");
    }

    #[test]
    fn says_where_it_is_no_toml() {
        let problems = parse("a = 1\nb = = 2\n").unwrap_err();
        assert_eq!(
            problems.list[0].span.map(|span| span.line),
            Some(2),
            "{problems}"
        );
        assert!(parse("a = 1979-05-27").is_err());
    }
}
