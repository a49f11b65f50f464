//! YAML text → a tree of [`Node`]s with places, under a budget. Does not know what any key means.
//!
//! Decided here: `true` and `false` alone are booleans (`yes` and `on` are text); `0644` and `1_000` are text;
//! a key given twice is an error; anchors, aliases and merge keys work within the budget; tags of other tools are refused.

use std::fmt;
use std::sync::Arc;

use indexmap::IndexMap;
use indexmap::map::Entry;
use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, Location, Spanned};

use super::problem::{Problem, Problems};
use super::setting::{Node, Setting, Source, Span};

/// Largest config read, in bytes: ten thousand hosts written out one by one are about a tenth of it.
const MAX_BYTES: usize = 16 << 20;
/// Most values a config may write.
const MAX_NODES: usize = 400_000;
/// Most values that aliases may repeat: far above what people write, far below what a bomb needs.
const MAX_REPEATED: usize = 200_000;
/// Deepest nesting. A level takes up to 40 KiB of stack in a debug build, and threads have two MiB.
const MAX_DEPTH: usize = 24;
/// What a YAML bomb is told.
const TOO_MANY_ALIASES: &str = "aliases multiply to more values than a config may hold";

/// Parses the text of `source`.
///
/// # Errors
/// The first syntax error, a budget that is used up, or all keys that are given twice.
pub fn parse_yaml(source: &Arc<Source>) -> Result<Node, Problems> {
    let mut problems = Problems::new(source.clone());
    if source.text.len() > MAX_BYTES {
        problems.push(
            Problem::new(format!(
                "is {} MiB long, and {} MiB is the most",
                source.text.len() >> 20,
                MAX_BYTES >> 20
            ))
            .help("write hosts as ranges: `node[001-500].example.com`"),
        );
        return Err(problems);
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            // What a config may repeat is bounded by `MAX_REPEATED`, whatever the ratio.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED },
        // Reported below, all of them and with both places.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Written>(&source.text, options) {
        Ok(written) => {
            let node = written.into_node(&mut problems);
            problems.into_result(node)
        }
        Err(error) => {
            problems.push(explain(&error, &source.text).unread());
            Err(problems)
        }
    }
}

/// Puts a parser's error into our words where ours are clearer.
fn explain(error: &Error, text: &str) -> Problem {
    let (message, help) = match innermost(error) {
        Error::Budget { breach, .. } => (
            over_budget(breach),
            matches!(
                breach,
                BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. }
            )
            .then_some("write hosts as ranges: `node[001-500].example.com`"),
        ),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. } => (
            TOO_MANY_ALIASES.to_owned(),
            Some("spell out what the aliases (`*name`) multiply"),
        ),
        Error::RecursiveReferencesRequireWeakTypes { .. } => (
            "an alias stands inside the very thing that it repeats".to_owned(),
            None,
        ),
        Error::UnknownAnchor { .. } => (
            "an alias has no anchor (`&name`) before it".to_owned(),
            Some("quote the text if it is not meant as an alias: \"*\""),
        ),
        Error::MultipleDocuments { .. } => (
            "a second YAML document begins here, and a config is one".to_owned(),
            Some("put the other into a file of its own and choose with `--config`"),
        ),
        other => (strip_place(&other.to_string()), None),
    };
    let span = error
        .location()
        .and_then(|location| place(location).or_else(|| place_by_line(location, text)));
    Problem {
        span,
        ..Problem::new(message)
    }
    .maybe_help(help.map(str::to_owned))
}

/// Returns the error itself, without what wraps it to say that an alias was on the way.
fn innermost(error: &Error) -> &Error {
    match error.without_snippet() {
        Error::AliasError { error, .. } => innermost(error),
        error => error,
    }
}

/// Says which limit was reached.
fn over_budget(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => format!("is nested more than {MAX_DEPTH} levels deep"),
        BudgetBreach::RecordedAnchorEvents { .. } | BudgetBreach::RecordedAnchorBytes { .. } => {
            TOO_MANY_ALIASES.to_owned()
        }
        BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. } => {
            format!("holds more than {MAX_NODES} values")
        }
        other => format!("goes beyond what a config may hold ({other:?})"),
    }
}

/// Cuts off the place that the parser appends to its messages; problems carry their own.
fn strip_place(message: &str) -> String {
    let end = [" at line ", " (line "]
        .iter()
        .filter_map(|sign| message.rfind(sign))
        .min()
        .unwrap_or(message.len());
    let message = message[..end].trim_end_matches([',', ':', ' ']);
    let first_line = message.lines().next().unwrap_or(message);
    format!("is not valid YAML: {first_line}")
}

/// Returns the place in our terms, if it is one.
fn place(location: Location) -> Option<Span> {
    if location.line() == 0 {
        return None;
    }
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    let len = usize::try_from(location.span().byte_len()?).ok()?;
    Some(Span {
        start,
        end: start + len,
        line: u32::try_from(location.line()).ok()?,
        column: u32::try_from(location.column()).ok()?,
    })
}

/// Returns the place of a scanner's error, which has a line and a column only.
fn place_by_line(location: Location, text: &str) -> Option<Span> {
    let line = u32::try_from(location.line()).ok()?;
    let column = u32::try_from(location.column()).ok()?;
    let before = usize::try_from(line.checked_sub(1)?).ok()?;
    let line_start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let within: usize = text[line_start..]
        .chars()
        .take(usize::try_from(column.saturating_sub(1)).ok()?)
        .take_while(|c| *c != '\n')
        .map(char::len_utf8)
        .sum();
    Some(Span {
        start: line_start + within,
        end: line_start + within,
        line,
        column,
    })
}

/// A value as written: duplicate keys are still there.
#[derive(Debug)]
struct Written {
    value: WrittenValue,
    span: Span,
}

#[derive(Debug)]
enum WrittenValue {
    Scalar(Setting),
    List(Vec<Written>),
    Map(Vec<(Span, String, Written)>),
}

impl Written {
    fn into_node(self, problems: &mut Problems) -> Node {
        let value = match self.value {
            WrittenValue::Scalar(setting) => setting,
            WrittenValue::List(items) => Setting::List(
                items
                    .into_iter()
                    .map(|item| item.into_node(problems))
                    .collect(),
            ),
            WrittenValue::Map(entries) => {
                let mut map: IndexMap<String, (Span, Node)> = IndexMap::new();
                for (span, key, value) in entries {
                    let node = value.into_node(problems);
                    match map.entry(key) {
                        Entry::Vacant(vacant) => {
                            vacant.insert((span, node));
                        }
                        Entry::Occupied(first) => problems.push(
                            Problem::at(span, format!("key `{}` is given twice", first.key()))
                                .label("second time")
                                .also(first.get().0, "first time"),
                        ),
                    }
                }
                Setting::Map(map)
            }
        };
        Node {
            value,
            span: self.span,
        }
    }
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<WrittenValue>::deserialize(deserializer)?;
        Ok(Self {
            value: spanned.value,
            // What an alias repeats is shown where it is written, which is where it must be mended.
            span: place(spanned.defined).unwrap_or_default(),
        })
    }
}

impl<'de> Deserialize<'de> for WrittenValue {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenVisitor)
    }
}

struct WrittenVisitor;

impl<'de> Visitor<'de> for WrittenVisitor {
    type Value = WrittenValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(WrittenValue::Scalar(Setting::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(WrittenValue::Scalar(Setting::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(WrittenValue::Scalar(Setting::Int(value)))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        let value = i64::try_from(value)
            .map_err(|_| E::custom(format!("{value} is too large for a number; quote it")))?;
        Ok(WrittenValue::Scalar(Setting::Int(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(WrittenValue::Scalar(Setting::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(WrittenValue::Scalar(Setting::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(WrittenValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let span = place(key.defined).unwrap_or_default();
            entries.push((span, key.value, map.next_value()?));
        }
        Ok(WrittenValue::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Node, Problems> {
        parse_yaml(&Arc::new(Source {
            name: "stack.yaml".to_owned(),
            text: text.to_owned(),
        }))
    }

    fn value(text: &str) -> Setting {
        match parse(&format!("a: {text}\n")).unwrap().value {
            Setting::Map(mut map) => map.swap_remove("a").unwrap().1.value,
            other => panic!("{other:?}"),
        }
    }

    fn text(text: &str) -> Setting {
        Setting::Text(text.to_owned())
    }

    #[test]
    fn scalars_are_read_as_decided() {
        for (written, read) in [
            ("true", Setting::Bool(true)),
            ("yes", text("yes")),
            ("on", text("on")),
            ("off", text("off")),
            ("", Setting::Null),
            ("~", Setting::Null),
            ("null", Setting::Null),
            ("\"\"", text("")),
            ("12", Setting::Int(12)),
            ("-3", Setting::Int(-3)),
            ("0644", text("0644")),
            ("1_000", text("1_000")),
            ("1.5", Setting::Float(1.5)),
            ("\"2.10\"", text("2.10")),
            ("2.1.0", text("2.1.0")),
            ("192.168.1.100", text("192.168.1.100")),
            ("30d", text("30d")),
            ("500Gi", text("500Gi")),
            ("v1.28.5+k3s1", text("v1.28.5+k3s1")),
            ("12:30:45", text("12:30:45")),
            (
                "${secret:foundry/zot:storage_path}",
                text("${secret:foundry/zot:storage_path}"),
            ),
        ] {
            assert_eq!(value(written), read, "{written}");
        }
    }

    #[test]
    fn places_are_bytes_of_what_was_written() {
        let source = "über: grün\nlist:\n  - one\n  - { k: v }\n";
        let node = parse(source).unwrap();
        let Setting::Map(map) = &node.value else {
            panic!()
        };
        let shown = |span: Span| (&source[span.start..span.end], span.line, span.column);
        let (key, value) = &map["über"];
        assert_eq!(shown(*key), ("über", 1, 1));
        assert_eq!(shown(value.span), ("grün", 1, 7));
        let Setting::List(items) = &map["list"].1.value else {
            panic!()
        };
        assert_eq!(shown(items[0].span), ("one", 3, 5));
        let Setting::Map(inner) = &items[1].value else {
            panic!()
        };
        assert_eq!(shown(inner["k"].0), ("k", 4, 7));
        assert_eq!(shown(inner["k"].1.span), ("v", 4, 10));
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let node = parse("x: &x { user: a, port: 1 }\ny: { <<: *x, port: 2 }\nz: *x\n").unwrap();
        let Setting::Map(map) = &node.value else {
            panic!()
        };
        let Setting::Map(y) = &map["y"].1.value else {
            panic!()
        };
        assert_eq!(y["port"].1.value, Setting::Int(2));
        assert_eq!(y["user"].1.value, text("a"));
        assert_eq!(map["z"].1.value, map["x"].1.value);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned()
            + &('b'..='j')
                .map(|c| {
                    let before = char::from(c as u8 - 1);
                    let aliases = vec![format!("*{before}"); 10].join(", ");
                    format!("{c}: &{c} [{aliases}]\n")
                })
                .collect::<String>();
        let deep = "a: ".to_owned() + &"[".repeat(100) + &"]".repeat(100);
        let mut said = String::new();
        for text in [
            "a: 1\nb: 2\na: 3\nb: 4\n",
            "a: [1, 2\nb: 3\n",
            "a: \"open\n",
            "a: 1\n  b: 2\n",
            "a:\n\tb: 1\n",
            "a: *nowhere\n",
            "a: &a [*a]\n",
            "a: 1\n---\nb: 2\n",
            "a: !vault x\n",
            "a: 18446744073709551615\n",
            &bomb,
            &deep,
        ] {
            said.push_str(&parse(text).unwrap_err().to_string());
            said.push('\n');
        }
        insta::assert_snapshot!(said, @r#"
        stack.yaml:3:1: key `a` is given twice
        stack.yaml:4:1: key `b` is given twice
        stack.yaml:2:2: is not valid YAML: illegal placement of ':' indicator
        stack.yaml:1:4: is not valid YAML: unclosed quote
        stack.yaml:2:4: is not valid YAML: mapping values are not allowed in this context
        stack.yaml:2:2: is not valid YAML: tabs disallowed within this context (block indentation)
        stack.yaml:1:4: an alias has no anchor (`&name`) before it (quote the text if it is not meant as an alias: "*")
        stack.yaml:1:8: an alias stands inside the very thing that it repeats
        stack.yaml:3:1: a second YAML document begins here, and a config is one (put the other into a file of its own and choose with `--config`)
        stack.yaml:1:11: is not valid YAML: unsupported tag `!vault`
        stack.yaml:1:4: is not valid YAML: 18446744073709551615 is too large for a number; quote it
        stack.yaml:6:8: aliases multiply to more values than a config may hold (spell out what the aliases (`*name`) multiply)
        stack.yaml:1:27: is nested more than 24 levels deep
        "#);
    }

    #[test]
    fn a_file_of_absurd_size_is_refused() {
        let error = parse(&"#".repeat(MAX_BYTES + 1)).unwrap_err();
        assert!(error.to_string().contains("16 MiB is the most"), "{error}");
    }
}
