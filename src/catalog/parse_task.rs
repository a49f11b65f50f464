//! `tasks/<name>.toml` → [`Task`]. Checks what one file alone can be checked for; the lint looks deeper.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::digest::digest_of;
use super::parse_kind::parse_kind;
use super::structure::Format;
use super::table::{START, Sink, Table, template_at};
use super::task::{
    Collector, Effect, InputSpec, OutputSpec, ProbeSpec, QuestionSpec, Task, Template, TextFormat,
};
use super::template_text::as_expression;
use super::value::Value;
use super::written::Written;
use crate::config::{Node, Problem, Problems, Setting, Source, Span, suggest_help};

/// How long an apply may take unless its task says otherwise.
const APPLY_TIMEOUT: Duration = Duration::from_secs(600);

/// Parses one task file.
///
/// # Errors
/// Everything that is wrong in it.
pub(super) fn parse_task(name: &str, source: Arc<Source>) -> Result<Task, Problems> {
    let (written, entries) = Written::parse(source.clone())?;
    let sink = Sink::new(Problems::new(source));
    if !is_name(name) {
        sink.push(Problem::new(format!("`{name}` is no name for a task")).help(NAMES));
    }
    let mut root = Table::new(&sink, format!("task `{name}`"), START, entries);
    let mut task = Task {
        name: name.to_owned(),
        summary: root.required_text("summary"),
        stamp: root.bool("stamp").unwrap_or(false),
        inputs: inputs(&mut root),
        outputs: outputs(&mut root),
        probe: ProbeSpec::default(),
        expect: IndexMap::new(),
        apply: None,
        remove: None,
        unnamed: Vec::new(),
        digest: [0; 32],
        written: Arc::new(written),
    };
    if let Some(table) = root.table("probe") {
        task.probe = probe(table);
    }
    for (fact, (span, node)) in root.named("expect") {
        expectation(&sink, &mut task.expect, fact, span, node);
    }
    task.apply = root.table("apply").map(effect);
    task.remove = root.table("remove").map(effect);
    root.finish();
    task.digest = digest_of(&task);
    task.unnamed = unnamed(&task.probe, &task.written.source.text);
    sink.into_problems().into_result(task)
}

/// Returns the facts of the collectors whose names the text of the task does not hold.
fn unnamed(probe: &ProbeSpec, text: &str) -> Vec<String> {
    if probe.action.is_some() {
        return Vec::new();
    }
    let facts = probe.questions.iter().flat_map(|question| {
        let facts = question.collector.facts().iter();
        let unnamed = facts.filter(|fact| !text.contains(**fact));
        unnamed.map(|fact| match question.prefix.as_str() {
            "" => (*fact).to_owned(),
            prefix => format!("{prefix}.{fact}"),
        })
    });
    facts.collect()
}

/// What names must look like.
pub(super) const NAMES: &str =
    "names are small letters, digits, `-` and `_`, and begin with a letter";

/// Returns whether `name` may name a task, recipe, step or pool.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}

/// Returns whether `name` may name an input or setting: a variable in templates and in the shell.
pub(super) fn is_variable(name: &str) -> bool {
    is_name(name) && !name.contains('-')
}

/// Names that inputs can't have: the shell or the engine means something else by them.
const TAKEN: &[&str] = &[
    "facts", "label", "true", "false", "none", "loop", "self", "not", "and", "or", "in", "is",
    "if", "else",
];

fn inputs(root: &mut Table<'_>) -> IndexMap<String, InputSpec> {
    let mut inputs: IndexMap<String, InputSpec> = IndexMap::new();
    let mut formats = Vec::new();
    for (name, (span, node)) in root.named("inputs") {
        let sink = root.sink();
        if !is_variable(&name) || TAKEN.contains(&name.as_str()) {
            sink.push(
                Problem::at(span, format!("`{name}` can't be the name of an input"))
                    .help("small letters, digits and `_`, beginning with a letter, and no word of the template language"),
            );
        }
        let Some(mut table) = Table::of(sink, format!("input `{name}`"), span, node) else {
            continue;
        };
        let kind = kind(&mut table);
        let secret = match table.take("secret") {
            None => false,
            Some((_, node)) => match &node.value {
                Setting::Bool(secret) => *secret,
                Setting::Text(word) if word == "maybe" => true,
                _ => {
                    sink.push(Problem::at(
                        node.span,
                        "`secret` is true, false or \"maybe\"",
                    ));
                    false
                }
            },
        };
        let optional = table.bool("optional").unwrap_or(false);
        let default = match table.value("default") {
            None => optional.then_some(Value::Null),
            Some((span, _)) if optional => {
                sink.push(Problem::at(
                    span,
                    "an input with a default is not `optional`: it always has a value",
                ));
                None
            }
            Some((span, value)) => checked(sink, span, &kind, value),
        };
        let format = table.text("format").map(|(span, word)| {
            formats.extend(Format::named(&word).is_none().then(|| (span, word.clone())));
            Format::named(&word).map_or(TextFormat::OfPath(word), TextFormat::Is)
        });
        let spec = InputSpec {
            kind,
            default,
            secret,
            format,
            doc: table.text("doc").map(|(_, text)| text).unwrap_or_default(),
        };
        table.finish();
        inputs.insert(name, spec);
    }
    for (span, word) in formats {
        if inputs
            .get(&word)
            .is_none_or(|input| input.kind != super::ValueType::Path)
        {
            let help = format!(
                "one of {}, or the name of an input of type `path` whose end says it",
                Format::NAMES.join(", ")
            );
            let message = format!("there is no format `{word}`");
            root.sink().push(Problem::at(span, message).help(help));
        }
    }
    inputs
}

/// Takes the key `type`.
pub(super) fn kind(table: &mut Table<'_>) -> super::ValueType {
    match table.take("type") {
        Some((_, node)) => parse_kind(table.sink(), &node),
        None => {
            table.missing("type");
            super::ValueType::Any
        }
    }
}

/// Checks a default against its type.
pub(super) fn checked(
    sink: &Sink,
    span: Span,
    kind: &super::ValueType,
    value: Value,
) -> Option<Value> {
    kind.check(value)
        .map_err(|e| {
            let message = format!("the default does not fit its type: {e}");
            sink.push(Problem::at(span, message));
        })
        .ok()
}

fn outputs(root: &mut Table<'_>) -> IndexMap<String, OutputSpec> {
    let mut outputs = IndexMap::new();
    for (name, (span, node)) in root.named("outputs") {
        let Some(mut table) = Table::of(root.sink(), format!("output `{name}`"), span, node) else {
            continue;
        };
        let kind = kind(&mut table);
        let from = table.template("from");
        if from.is_none() {
            table.missing("from");
        }
        let secret = table.bool("secret").unwrap_or(false);
        let _ = table.text("doc");
        table.finish();
        if let Some(from) = from {
            outputs.insert(name, OutputSpec { kind, from, secret });
        }
    }
    outputs
}

/// Collectors by the name that tasks use.
pub(super) const COLLECTORS: &[(&str, Collector)] = &[
    ("stat", Collector::Stat),
    ("digest", Collector::Digest),
    ("package", Collector::Package),
    ("unit", Collector::Unit),
    ("user", Collector::User),
    ("group", Collector::Group),
    ("line", Collector::Line),
    ("sysctl", Collector::Sysctl),
    ("module", Collector::Module),
    ("port", Collector::Port),
    ("content", Collector::Content),
    ("fresh", Collector::Fresh),
];

fn probe(mut table: Table<'_>) -> ProbeSpec {
    let mut spec = ProbeSpec {
        script: table.text("script").map(|(_, text)| text),
        when: table.template("when"),
        action: table.text("action").map(|(_, text)| text),
        timeout: table.duration("timeout"),
        questions: Vec::new(),
    };
    if spec.when.is_some() && spec.script.is_none() {
        table.missing("script` for its `when");
    }
    let sink = table.sink();
    for (name, collector) in COLLECTORS {
        let Some((span, node)) = table.take(name) else {
            continue;
        };
        questions(sink, *collector, span, node, &mut spec.questions);
    }
    table.finish();
    spec
}

fn questions(
    sink: &Sink,
    collector: Collector,
    span: Span,
    node: Node,
    questions: &mut Vec<QuestionSpec>,
) {
    match node.value {
        Setting::Text(text) => questions.push(QuestionSpec {
            collector,
            prefix: String::new(),
            subject: template_at(sink, node.span, text),
        }),
        Setting::Map(entries) if collector.subject_keys().is_empty() => {
            for (prefix, (_, node)) in entries {
                match node.value {
                    Setting::Text(text) => questions.push(QuestionSpec {
                        collector,
                        prefix,
                        subject: template_at(sink, node.span, text),
                    }),
                    _ => sink.push(Problem::at(node.span, "what is asked about must be text")),
                }
            }
        }
        Setting::Map(entries) => {
            if let Some(subject) = map_subject(sink, collector, span, &entries) {
                questions.push(QuestionSpec { collector, prefix: String::new(), subject });
            }
        }
        _ => sink.push(
            Problem::at(node.span, "what a collector asks about must be text or a table")
                .help("such as \"{{ path }}\", or { cert = \"{{ cert }}\", key = \"{{ key }}\" } for several"),
        ),
    }
}

/// Makes one template that gives a map out of a table of templates.
fn map_subject(
    sink: &Sink,
    collector: Collector,
    span: Span,
    entries: &IndexMap<String, (Span, Node)>,
) -> Option<Template> {
    let keys = collector.subject_keys();
    let mut parts = Vec::new();
    for (key, (span, node)) in entries {
        let Setting::Text(text) = &node.value else {
            sink.push(Problem::at(node.span, format!("`{key}` must be text")));
            return None;
        };
        if !keys.contains(&key.as_str()) {
            sink.push(
                Problem::at(*span, format!("this collector knows no `{key}`"))
                    .maybe_help(suggest_help(key, keys.iter().copied())),
            );
            return None;
        }
        let Some(expression) = as_expression(text) else {
            sink.push(Problem::at(
                node.span,
                "only `{{ … }}` can stand here, no `{% … %}`",
            ));
            return None;
        };
        parts.push(format!("'{key}': {expression}"));
    }
    if let Some(missing) = keys.iter().find(|key| !entries.contains_key(**key)) {
        sink.push(Problem::at(
            span,
            format!("this collector needs `{missing}`"),
        ));
        return None;
    }
    Some(template_at(
        sink,
        span,
        format!("{{{{ {{ {} }} }}}}", parts.join(", ")),
    ))
}

fn expectation(
    sink: &Sink,
    expect: &mut IndexMap<String, Template>,
    fact: String,
    span: Span,
    node: Node,
) {
    if fact.is_empty()
        || !fact
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.'))
    {
        sink.push(
            Problem::at(span, format!("`{fact}` can't be the name of a fact"))
                .help("small letters, digits, `_` and `.`"),
        );
    }
    let template = match node.value {
        Setting::Text(text) => text,
        Setting::Bool(b) => b.to_string(),
        Setting::Int(n) => n.to_string(),
        Setting::List(items) => match list_expression(&items) {
            Some(list) => list,
            None => {
                return sink.push(Problem::at(
                    node.span,
                    "a list of what is wanted holds texts",
                ));
            }
        },
        // `cert.mode = "0644"` is a table within a table in TOML, but one name here.
        Setting::Map(entries) => {
            for (key, (span, node)) in entries {
                expectation(sink, expect, format!("{fact}.{key}"), span, node);
            }
            return;
        }
        Setting::Null | Setting::Float(_) => {
            return sink.push(Problem::at(
                node.span,
                "what is wanted of a fact must be text",
            ));
        }
    };
    expect.insert(fact, template_at(sink, node.span, template));
}

/// Returns a template that gives the list of what `items` (texts that are templates, numbers) give.
pub(super) fn list_expression(items: &[Node]) -> Option<String> {
    let items: Option<Vec<String>> = items
        .iter()
        .map(|item| match &item.value {
            Setting::Text(text) => as_expression(text),
            Setting::Int(n) => Some(n.to_string()),
            _ => None,
        })
        .collect();
    Some(format!("{{{{ [{}] }}}}", items?.join(", ")))
}

fn effect(mut table: Table<'_>) -> Effect {
    let effect = Effect {
        script: table.text("script").map(|(_, text)| text),
        stdin: table.template("stdin"),
        action: table.text("action").map(|(_, text)| text),
        timeout: table.duration("timeout").unwrap_or(APPLY_TIMEOUT),
        tries: table.count("tries").unwrap_or(1),
    };
    if effect.script.is_some() == effect.action.is_some() {
        table.missing("script` or an `action` (one of them)");
    }
    table.finish();
    effect
}
