//! The table of versions (`recipes/versions.toml`): which release of what each component installs, its digest, what was
//! checked, what is known to be bad. Does not know what any of it is for.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::parse_task::is_name;
use super::problems::AllProblems;
use super::recipe::Recipe;
use super::table::{Sink, Table};
use super::task::ValueType;
use super::value::Value;
use super::version::Version;
use super::written::Written;
use crate::config::{Node, Problem, Problems, Setting, Source, Span};

/// What the table says of one component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Release that is installed unless the config names another: the default of the setting `version`.
    pub version: Option<String>,
    /// What was checked of it, and how.
    pub checked: String,
    /// All of it, as templates see it: `versions.charts.<name>.version`.
    pub values: Value,
    /// Setting → value → why it can't be had.
    pub refuse: BTreeMap<String, BTreeMap<String, String>>,
    /// With which releases of other components it was tested.
    pub tested: Vec<Tested>,
}

/// A range of another component's releases that upstream tested with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// The other component.
    pub with: String,
    /// First release, inclusive.
    pub from: String,
    /// Last release, inclusive in all its patches.
    pub to: String,
    /// What it means to be outside.
    pub say: String,
}

impl Tested {
    /// Returns whether `version` lies in the range; what is no version does.
    #[must_use]
    pub fn holds(&self, version: &str) -> bool {
        let parse = |text: &str| Version::parse(text).ok();
        let (Some(version), Some(from), Some(to)) =
            (parse(version), parse(&self.from), parse(&self.to))
        else {
            return true;
        };
        version >= from && (version <= to || version.within(&to))
    }
}

/// Parses the table.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn parse_versions(
    source: Arc<Source>,
) -> Result<BTreeMap<String, Arc<Known>>, Problems> {
    let (_, entries) = Written::parse(source.clone())?;
    let sink = Sink::new(Problems::new(source));
    let mut all = BTreeMap::new();
    for (name, (span, node)) in entries {
        if !is_name(&name) {
            sink.push(Problem::at(
                span,
                format!("`{name}` is no name of a component"),
            ));
        }
        if let Some(known) = known(&sink, &name, span, node) {
            all.insert(name, Arc::new(known));
        }
    }
    sink.into_problems().into_result(all)
}

fn known(sink: &Sink, name: &str, span: Span, node: Node) -> Option<Known> {
    let mut table = Table::of(sink, format!("`{name}`"), span, node)?;
    let version = table.text("version").map(|(span, text)| {
        if let Err(message) = Version::parse(&text) {
            sink.push(Problem::at(span, message));
        }
        text.strip_prefix('v').unwrap_or(&text).to_owned()
    });
    let checked = table.required_text("checked");
    let mut values = BTreeMap::new();
    if let Some(version) = &version {
        values.insert("version".to_owned(), Value::Text(version.clone()));
    }
    let charts = table.named("charts").into_iter();
    let charts = charts.filter_map(|(name, (span, node))| {
        let chart = chart(sink, &name, span, node)?;
        Some((name, chart))
    });
    values.insert("charts".to_owned(), Value::Map(charts.collect()));
    let manifests = rows(sink, &mut table, "manifests");
    let manifests = manifests.into_iter().map(manifest).collect();
    values.insert("manifests".to_owned(), Value::List(manifests));
    let images = table.named("images").into_iter();
    let images = images.filter_map(|(name, (_, node))| Some((name, image(sink, &node)?)));
    values.insert("images".to_owned(), Value::Map(images.collect()));
    let refuse = table.named("refuse").into_iter();
    let refuse = refuse
        .filter_map(|(setting, (_, node))| Some((setting, reasons(sink, &node)?)))
        .collect();
    let tested = rows(sink, &mut table, "tested");
    let tested = tested.into_iter().map(self::tested).collect();
    table.finish();
    Some(Known {
        version,
        checked,
        values: Value::Map(values),
        refuse,
        tested,
    })
}

fn text(sink: &Sink, node: &Node) -> Option<String> {
    match &node.value {
        Setting::Text(text) => Some(text.clone()),
        _ => {
            sink.push(Problem::at(node.span, "this must be text"));
            None
        }
    }
}

/// An image, or images that go together: texts, for recipes to make of them what they need.
fn image(sink: &Sink, node: &Node) -> Option<Value> {
    match &node.value {
        Setting::List(items) => {
            let items = items.iter().map(|item| text(sink, item).map(Value::Text));
            items.collect::<Option<_>>().map(Value::List)
        }
        _ => text(sink, node).map(Value::Text),
    }
}

fn reasons(sink: &Sink, node: &Node) -> Option<BTreeMap<String, String>> {
    let Setting::Map(entries) = &node.value else {
        sink.push(Problem::at(
            node.span,
            "this must be a table: a value and why it can't be had",
        ));
        return None;
    };
    let entries = entries.iter();
    Some(
        entries
            .filter_map(|(value, (_, reason))| Some((value.clone(), text(sink, reason)?)))
            .collect(),
    )
}

/// A chart: where, which, and the digest of its archive where that is known.
fn chart(sink: &Sink, name: &str, span: Span, node: Node) -> Option<Value> {
    let mut table = Table::of(sink, format!("chart `{name}`"), span, node)?;
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for key in ["repo", "version"] {
        values.insert(key.to_owned(), Value::Text(table.required_text(key)));
    }
    for (key, default) in [("chart", name), ("app", ""), ("sha256", "")] {
        let found = table.text(key);
        if let Some((span, text)) = &found
            && key == "sha256"
        {
            check_digest(sink, *span, text);
        }
        let text = found.map_or_else(|| default.to_owned(), |(_, text)| text);
        values.insert(key.to_owned(), Value::Text(text));
    }
    table.finish();
    Some(Value::Map(values))
}

/// A file of Kubernetes objects: its name, where, and its digest.
fn manifest(mut table: Table<'_>) -> Value {
    let mut values: BTreeMap<String, Value> = BTreeMap::new();
    for key in ["name", "url"] {
        values.insert(key.to_owned(), Value::Text(table.required_text(key)));
    }
    match table.text("sha256") {
        Some((span, text)) => {
            check_digest(table.sink(), span, &text);
            values.insert("sha256".to_owned(), Value::Text(text));
        }
        None => table.missing("sha256"),
    }
    let wait = table.texts("wait").into_iter().map(Value::Text).collect();
    values.insert("wait".to_owned(), Value::List(wait));
    table.finish();
    Value::Map(values)
}

fn tested(mut table: Table<'_>) -> Tested {
    let tested = Tested {
        with: table.required_text("with"),
        from: table.required_text("from"),
        to: table.required_text("to"),
        say: table.required_text("say"),
    };
    table.finish();
    tested
}

/// Returns the rows of a list of tables.
fn rows<'a>(sink: &'a Sink, table: &mut Table<'a>, key: &'static str) -> Vec<Table<'a>> {
    let Some((_, node)) = table.take(key) else {
        return Vec::new();
    };
    let Setting::List(items) = node.value else {
        sink.push(Problem::at(
            node.span,
            format!("`{key}` must be a list of tables"),
        ));
        return Vec::new();
    };
    let rows = items.into_iter();
    rows.filter_map(|item| Table::of(sink, format!("a row of `{key}`"), item.span, item))
        .collect()
}

fn check_digest(sink: &Sink, span: Span, text: &str) {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        sink.push(Problem::at(span, "a SHA-256 is 64 hexadecimal digits"));
    }
}

/// Gives a recipe what the table says of it: the default of its setting `version`, and the values that it refuses.
pub(super) fn give(recipe: &mut Recipe, known: &Known, problems: &mut AllProblems) {
    if let (Some(version), Some(setting)) = (&known.version, recipe.settings.get_mut("version"))
        && setting.default.is_none()
        && !setting.required
    {
        setting.default = Some(Value::Text(version.clone()));
    }
    for (name, reasons) in &known.refuse {
        match find(&mut recipe.settings, name) {
            Some(setting) => setting.refuse.extend(reasons.iter().map(|(value, reason)| {
                let value = match setting.kind {
                    ValueType::Version => value.strip_prefix('v').unwrap_or(value),
                    _ => value,
                };
                (value.to_owned(), reason.clone())
            })),
            None => problems.push(
                &recipe.written.source,
                Problem::new(format!(
                    "the table of versions refuses values of the setting `{name}`, which `{}` has not",
                    recipe.name
                )),
            ),
        }
    }
}

/// Finds a setting by its name, fields of a table after a dot.
fn find<'a>(
    settings: &'a mut IndexMap<String, super::SettingSpec>,
    name: &str,
) -> Option<&'a mut super::SettingSpec> {
    match name.split_once('.') {
        None => settings.get_mut(name),
        Some((table, field)) => find(&mut settings.get_mut(table)?.fields, field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, Files};

    const TABLE: &str = r#"
[web]
version = "v1.2.0"
checked = "rendered"
[web.charts.web]
repo    = "https://charts.example.com"
version = "0.7.0"
sha256  = "8dc11cc5fca0b539a9e352727dacb4e2d304daffcf9a66e0718ac325a20d05aa"
[web.refuse.plugin]
"v1.14.2" = "it corrupts backups"
[[web.tested]]
with = "k3s"
from = "1.32"
to   = "1.34"
say  = "nobody tested it there"
"#;

    const RECIPE: &str = r#"
summary = "A web server"
[settings]
version = { type = "version", doc = "Which" }
plugin  = { type = "version", default = "1.14.3", doc = "Which" }
"#;

    fn load(table: &str) -> Result<Catalog, AllProblems> {
        let mut files = Files::default();
        files.add("", "recipes/versions.toml", table);
        files.add("", "recipes/web/recipe.toml", RECIPE);
        Catalog::load(&files)
    }

    #[test]
    fn recipes_take_their_version_and_what_is_bad_from_the_table() {
        let catalog = load(TABLE).unwrap();
        let settings = &catalog.recipes["web"].settings;
        assert_eq!(
            settings["version"].default,
            Some(Value::Text("1.2.0".to_owned()))
        );
        assert_eq!(settings["plugin"].refuse["1.14.2"], "it corrupts backups");
        let Value::Map(values) = &catalog.versions["web"].values else {
            panic!("values are a table");
        };
        let Value::Map(charts) = &values["charts"] else {
            panic!("charts are a table");
        };
        let Value::Map(chart) = &charts["web"] else {
            panic!("a chart is a table");
        };
        assert_eq!(chart["chart"], Value::Text("web".to_owned()));
    }

    #[test]
    fn a_range_holds_all_patches_of_its_last_release() {
        let catalog = load(TABLE).unwrap();
        let tested = &catalog.versions["web"].tested[0];
        let inside = ["1.31.9", "1.32.0", "v1.34.9+k3s1", "1.35.0", "latest"]
            .map(|version| tested.holds(version));
        assert_eq!(inside, [false, true, true, false, true]);
    }

    #[test]
    fn a_folder_s_table_replaces_a_component_as_a_whole() {
        let mut below = Files::default();
        below.add("", "recipes/versions.toml", TABLE);
        below.add("", "recipes/web/recipe.toml", RECIPE);
        let mut above = Files::default();
        let own = "[web]\nversion = '2.0.0'\nchecked = 'by us'\n";
        above.add("~/.foundry/", "recipes/versions.toml", own);
        let catalog = Catalog::load(&below.overlaid(above)).unwrap();
        assert_eq!(catalog.versions["web"].version.as_deref(), Some("2.0.0"));
        assert!(catalog.recipes["web"].settings["plugin"].refuse.is_empty());
    }

    #[test]
    fn what_is_wrong_in_the_table_is_said_with_its_place() {
        let said = load(
            &TABLE
                .replace("8dc11cc5", "xyz")
                .replace("say  =", "tell =")
                .replace("plugin]", "plugins]"),
        );
        insta::assert_snapshot!(said.unwrap_err().to_string(), @r"
        recipes/versions.toml:8:11: a SHA-256 is 64 hexadecimal digits
        recipes/versions.toml:11:1: a row of `tested` has no `say`
        recipes/versions.toml:15:1: a row of `tested` has no key `tell` (known here: `with`, `from`, `to`, `say`)
        ");
    }
}
