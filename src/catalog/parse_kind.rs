//! Reads how a type is written: a word, `["string"]`, `{ map = "string" }`, `{ enum = ["a", "b"] }`. Knows no task.

use super::kind::SIMPLE;
use super::table::Sink;
use super::task::ValueType;
use crate::config::{Node, Problem, Setting, suggest_help};

/// Returns the type that `node` writes; on an error says so and returns [`ValueType::Any`].
pub(super) fn parse_kind(sink: &Sink, node: &Node) -> ValueType {
    match &node.value {
        Setting::Text(word) => match SIMPLE.iter().find(|(name, _)| name == word) {
            Some((_, kind)) => kind.clone(),
            None if word == "table" => ValueType::Map(Box::new(ValueType::Any)),
            None => {
                let known = SIMPLE.iter().map(|(name, _)| *name).chain(["table"]);
                sink.push(
                    Problem::at(node.span, format!("there is no type `{word}`"))
                        .maybe_help(suggest_help(word, known)),
                );
                ValueType::Any
            }
        },
        Setting::List(items) if items.len() == 1 => {
            ValueType::List(Box::new(parse_kind(sink, &items[0])))
        }
        Setting::Map(entries) => match entries.iter().next() {
            Some((key, (_, inner))) if entries.len() == 1 && key == "map" => {
                ValueType::Map(Box::new(parse_kind(sink, inner)))
            }
            Some((key, (_, inner))) if entries.len() == 1 && key == "enum" => {
                ValueType::Enum(words(sink, inner))
            }
            _ => unknown(sink, node),
        },
        _ => unknown(sink, node),
    }
}

fn words(sink: &Sink, node: &Node) -> Vec<String> {
    let Setting::List(items) = &node.value else {
        sink.push(Problem::at(node.span, "`enum` must be a list of words"));
        return Vec::new();
    };
    if items.is_empty() {
        sink.push(Problem::at(node.span, "`enum` without words takes nothing"));
    }
    items
        .iter()
        .filter_map(|item| match &item.value {
            Setting::Text(word) => Some(word.clone()),
            _ => {
                sink.push(Problem::at(item.span, "a word of `enum` must be text"));
                None
            }
        })
        .collect()
}

fn unknown(sink: &Sink, node: &Node) -> ValueType {
    sink.push(
        Problem::at(node.span, "this is not a type")
            .help("a type is a word such as \"string\", a list [\"string\"], { map = \"string\" } or { enum = [\"a\", \"b\"] }"),
    );
    ValueType::Any
}
