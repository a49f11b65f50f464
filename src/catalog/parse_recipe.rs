//! `recipes/<component>/recipe.toml` → [`Recipe`]. Checks what one file alone can be checked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::parse_task::{NAMES, checked, is_name, is_variable, kind, list_expression};
use super::recipe::{
    Artifact, Images, Listener, OnTarget, Provided, Recipe, RecipeStep, SettingSpec, StackCheck,
};
use super::rollout::rollout;
use super::table::{START, Sink, Table, count_of, template_at};
use super::task::Template;
use super::value::Value;
use super::written::{Written, value_of};
use crate::config::{Node, Problem, Problems, Setting, Source, Span, suggest_help};

/// Parses one recipe; `files` are those beside it.
///
/// # Errors
/// Everything that is wrong in `recipe.toml`.
pub(super) fn parse_recipe(
    name: &str,
    source: Arc<Source>,
    files: BTreeMap<String, String>,
) -> Result<Recipe, Problems> {
    let (written, entries) = Written::parse(source.clone())?;
    let sink = Sink::new(Problems::new(source));
    if !is_name(name) {
        sink.push(Problem::new(format!("`{name}` is no name for a recipe")).help(NAMES));
    }
    let mut root = Table::new(&sink, format!("recipe `{name}`"), START, entries);
    let mut recipe = Recipe {
        name: name.to_owned(),
        summary: root.required_text("summary"),
        needs: root.texts("needs"),
        roles: root.text_or_texts("role"),
        hostless: root.bool("hostless").unwrap_or(false),
        section: root.text("section").map(|(_, text)| text),
        always: root.bool("always").unwrap_or(false),
        health: root.texts("health"),
        provides: provides(&sink, root.take("provides")),
        rollout: root.table("rollout").map(rollout),
        settings: settings(&sink, root.named("settings")),
        files,
        ..Recipe::default()
    };
    for (name, (span, node)) in root.named("artifacts") {
        if let Some(artifact) = artifact(&sink, &name, span, node) {
            recipe.artifacts.insert(name, artifact);
        }
    }
    for (name, (span, node)) in root.named("images") {
        check_name(&sink, "image", &name, span);
        if let Some(images) = images(&sink, &name, span, node) {
            recipe.images.insert(name, images);
        }
    }
    for (name, (span, node)) in root.named("pools") {
        check_name(&sink, "pool", &name, span);
        match count_of(&node) {
            Some(depth) => _ = recipe.pools.insert(name, depth),
            None => sink.push(Problem::at(
                node.span,
                "a pool's depth must be a whole number of at least 1",
            )),
        }
    }
    for (name, (span, node)) in root.named("steps") {
        check_name(&sink, "step", &name, span);
        if let Some(table) = Table::of(&sink, format!("step `{name}`"), span, node) {
            recipe.steps.insert(name, step(table));
        }
    }
    for (name, (span, node)) in root.named("listeners") {
        check_name(&sink, "listener", &name, span);
        if let Some(mut table) = Table::of(&sink, format!("listener `{name}`"), span, node) {
            let listener = Listener {
                ports: table.texts("ports"),
                tls: table.bool("tls").unwrap_or(false),
                clear: table.text("clear").map(|(_, reason)| reason),
            };
            table.finish();
            recipe.listeners.insert(name, listener);
        }
    }
    for (name, (span, node)) in root.named("checks") {
        check_name(&sink, "check", &name, span);
        if let Some(check) = Table::of(&sink, format!("check `{name}`"), span, node).and_then(check)
        {
            recipe.checks.insert(name, check);
        }
    }
    root.finish();
    recipe.hostless |= recipe.roles.is_empty()
        && recipe
            .steps
            .values()
            .all(|step| matches!(step.on, OnTarget::Role(_) | OnTarget::Service(_)));
    recipe.written = Arc::new(written);
    sink.into_problems().into_result(recipe)
}

fn check_name(sink: &Sink, what: &str, name: &str, span: Span) {
    if !is_name(name) {
        sink.push(Problem::at(span, format!("`{name}` is no name for a {what}")).help(NAMES));
    }
}

fn settings(sink: &Sink, entries: IndexMap<String, (Span, Node)>) -> IndexMap<String, SettingSpec> {
    entries
        .into_iter()
        .filter_map(|(name, (span, node))| {
            if !is_variable(&name) {
                sink.push(
                    Problem::at(span, format!("`{name}` can't be the name of a setting"))
                        .help("small letters, digits and `_`, beginning with a letter"),
                );
            }
            let table = Table::of(sink, format!("setting `{name}`"), span, node)?;
            Some((name, setting(table)))
        })
        .collect()
}

fn setting(mut table: Table<'_>) -> SettingSpec {
    let sink = table.sink();
    let kind = kind(&mut table);
    let fields = settings(sink, table.named("fields"));
    let required = table.bool("required").unwrap_or(false);
    let default = match table.value("default") {
        Some((span, _)) if required => {
            sink.push(Problem::at(
                span,
                "a setting with a default is not `required`: it always has a value",
            ));
            None
        }
        Some((span, value)) => checked(sink, span, &kind, value),
        None => None,
    };
    let spec = SettingSpec {
        kind,
        default,
        required,
        secret: table.bool("secret").unwrap_or(false),
        doc: table.text("doc").map(|(_, text)| text).unwrap_or_default(),
        fields,
        refuse: table
            .named("refuse")
            .into_iter()
            .filter_map(|(word, (_, node))| match node.value {
                Setting::Text(reason) => Some((word, reason)),
                _ => {
                    sink.push(Problem::at(
                        node.span,
                        "the reason to refuse a value must be text",
                    ));
                    None
                }
            })
            .collect(),
    };
    table.finish();
    spec
}

fn artifact(sink: &Sink, name: &str, span: Span, node: Node) -> Option<Artifact> {
    if !is_variable(name) {
        sink.push(
            Problem::at(span, format!("`{name}` can't be the name of an artifact"))
                .help("small letters, digits and `_`"),
        );
    }
    let mut table = Table::of(sink, format!("artifact `{name}`"), span, node)?;
    let url = table.template("url");
    if url.is_none() {
        table.missing("url");
    }
    let checksums = table.template("checksums");
    let version = table.template("version");
    let sha256 = table
        .named("sha256")
        .into_iter()
        .filter_map(|(key, (span, node))| {
            if !key.contains('/') {
                sink.push(Problem::at(
                    span,
                    "a digest is pinned by version and architecture: \"2.7.2/amd64\"",
                ));
            }
            match node.value {
                Setting::Text(hex)
                    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) =>
                {
                    Some((key, hex.to_lowercase()))
                }
                _ => {
                    sink.push(Problem::at(node.span, "a SHA-256 is 64 hexadecimal digits"));
                    None
                }
            }
        })
        .collect();
    table.finish();
    Some(Artifact {
        version,
        url: url?,
        checksums,
        sha256,
    })
}

/// Reads images: a reference, a list of them, or `{ image, when }`.
fn images(sink: &Sink, name: &str, span: Span, node: Node) -> Option<Images> {
    let references = |node: &Node| {
        let texts: Option<Vec<_>> = match &node.value {
            Setting::Text(text) => Some(vec![(node.span, text.clone())]),
            Setting::List(items) => items
                .iter()
                .map(|item| match &item.value {
                    Setting::Text(text) => Some((item.span, text.clone())),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        if texts.is_none() {
            sink.push(Problem::at(
                node.span,
                "an image must be a reference, or a list of them: `docker.io/library/busybox:1.37.0`",
            ));
        }
        let texts = texts?.into_iter();
        Some(
            texts
                .map(|(span, text)| template_at(sink, span, text))
                .collect(),
        )
    };
    if !matches!(node.value, Setting::Map(_)) {
        return Some(Images {
            image: references(&node)?,
            when: None,
        });
    }
    let mut table = Table::of(sink, format!("image `{name}`"), span, node)?;
    let image = table.take("image");
    if image.is_none() {
        table.missing("image");
    }
    let when = table.template("when");
    table.finish();
    Some(Images {
        image: references(&image?.1)?,
        when,
    })
}

/// Reads services: names, or `{ service, role }`.
fn provides(sink: &Sink, taken: Option<(Span, Node)>) -> Vec<Provided> {
    let Some((_, node)) = taken else {
        return Vec::new();
    };
    let Setting::List(items) = node.value else {
        sink.push(Problem::at(
            node.span,
            "`provides` must be a list of services: names, or `{ service = \"…\", role = \"…\" }`",
        ));
        return Vec::new();
    };
    items
        .into_iter()
        .filter_map(|item| match item.value {
            Setting::Text(service) => Some(Provided {
                service,
                role: None,
            }),
            _ => {
                let span = item.span;
                let mut table = Table::of(sink, "a service in `provides`", span, item)?;
                let provided = Provided {
                    service: table.required_text("service"),
                    role: table.text("role").map(|(_, role)| role),
                };
                table.finish();
                Some(provided)
            }
        })
        .collect()
}

fn check(mut table: Table<'_>) -> Option<StackCheck> {
    let when = table.template("when");
    if when.is_none() {
        table.missing("when");
    }
    let (refuse, warn) = (table.template("refuse"), table.template("warn"));
    let help = table.template("help");
    let setting = table.text("setting").map(|(_, setting)| setting);
    let (say, refuse) = match (refuse, warn) {
        (Some(say), None) => (Some(say), true),
        (None, Some(say)) => (Some(say), false),
        _ => {
            table.wants("either `refuse` or `warn`, the words to say");
            (None, false)
        }
    };
    table.finish();
    Some(StackCheck {
        when: when?,
        say: say?,
        help,
        refuse,
        setting,
    })
}

fn step(mut table: Table<'_>) -> RecipeStep {
    let sink = table.sink();
    let step = RecipeStep {
        uses: table.required_text("uses"),
        on: match table.text("on") {
            None => OnTarget::Hosts,
            Some((span, text)) => on(sink, span, &text),
        },
        with: table
            .named("with")
            .into_iter()
            .filter_map(|(name, (_, node))| {
                check_templates(sink, &node);
                match value_of(&node) {
                    Ok(value) => Some((name, value)),
                    Err(problem) => {
                        sink.push(*problem);
                        None
                    }
                }
            })
            .collect(),
        needs: table.texts("needs"),
        watch: table.texts("watch"),
        when: table.template("when"),
        for_each: for_each(&mut table),
        pool: table.text("pool").map(|(_, text)| text),
        lead: table.bool("lead").unwrap_or(false),
    };
    table.finish();
    step
}

fn on(sink: &Sink, span: Span, text: &str) -> OnTarget {
    match text.split_once(':') {
        None if text == "hosts" => OnTarget::Hosts,
        None if text == "group" => OnTarget::Group(None),
        Some(("hosts", role)) if !role.is_empty() => OnTarget::HostsOf(role.to_owned()),
        Some(("group", role)) if !role.is_empty() => OnTarget::Group(Some(role.to_owned())),
        Some(("role", role)) if !role.is_empty() => OnTarget::Role(role.to_owned()),
        Some(("service", name)) if !name.is_empty() => OnTarget::Service(name.to_owned()),
        _ => {
            sink.push(
                Problem::at(span, format!("a step can't run on `{text}`")).maybe_help(
                    suggest_help(
                        text,
                        [
                            "hosts",
                            "group",
                            "hosts:<role>",
                            "group:<role>",
                            "role:<name>",
                            "service:<name>",
                        ],
                    ),
                ),
            );
            OnTarget::Hosts
        }
    }
}

fn for_each(table: &mut Table<'_>) -> Option<Template> {
    let sink = table.sink();
    let (_, node) = table.take("for_each")?;
    let text = match &node.value {
        Setting::Text(text) => Some(text.clone()),
        Setting::List(items) => list_expression(items),
        _ => None,
    };
    if text.is_none() {
        sink.push(Problem::at(
            node.span,
            "`for_each` must be a template that gives a list, or a list of texts",
        ));
    }
    Some(template_at(sink, node.span, text?))
}

/// Compiles every text within an input, to see that it can be.
fn check_templates(sink: &Sink, node: &Node) {
    match &node.value {
        Setting::Text(text) => _ = template_at(sink, node.span, text.clone()),
        Setting::List(items) => items.iter().for_each(|item| check_templates(sink, item)),
        Setting::Map(entries) => entries
            .values()
            .for_each(|(_, node)| check_templates(sink, node)),
        _ => {}
    }
}

/// Calls `visit` with every text within an input.
pub fn each_text<'a>(value: &'a Value, visit: &mut impl FnMut(&'a str)) {
    match value {
        Value::Text(text) => visit(text),
        Value::List(items) => items.iter().for_each(|item| each_text(item, visit)),
        Value::Map(entries) => entries.values().for_each(|value| each_text(value, visit)),
        _ => {}
    }
}
