//! Finds in recipes' structured files a secret or an output of a step that is put in as it is, or within quotes: `file:line:column`
//! and the right form. Pure, by reading; what reading can't see is found when a stack is expanded.

use std::collections::BTreeSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::Catalog;
use super::encode::Encoder;
use super::parse_recipe::each_text;
use super::problems::AllProblems;
use super::recipe::{Recipe, SettingSpec};
use super::structure::{Format, Misplaced, VALUE, bare, check_place};
use super::task::{Template, TextFormat};
use super::template::mentions;
use super::template_text::{Code, brackets_end, codes, string_end};
use super::value::Value;
use crate::config::{Problem, Source, Span};

/// Looks at the files of a recipe, and at the texts that it gives as structured inputs.
pub(super) fn lint_texts(catalog: &Catalog, recipe: &Recipe, problems: &mut AllProblems) {
    let folder = match recipe.written.source.name.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/"),
        None => String::new(),
    };
    for (name, text) in &recipe.files {
        let Some(format) = Format::of_path(name).filter(|_| rendered(recipe, name)) else {
            continue;
        };
        let source = Arc::new(Source {
            name: format!("{folder}{name}"),
            text: text.clone(),
        });
        for (at, misplaced) in find(catalog, recipe, format, text) {
            let mut problem = Problem::new(misplaced.message).help(misplaced.hint);
            problem.span = Some(span_at(text, at));
            problems.push(&source, problem);
        }
    }
    for (step_name, step) in &recipe.steps {
        let Some(task) = catalog.tasks.get(&step.uses) else {
            continue;
        };
        for (input, value) in &step.with {
            let format = match task.inputs.get(input).and_then(|spec| spec.format.as_ref()) {
                Some(TextFormat::Is(format)) => Some(*format),
                Some(TextFormat::OfPath(path)) => match step.with.get(path) {
                    Some(Value::Text(path)) => Format::of_path(path),
                    _ => None,
                },
                None => None,
            };
            let Some(format) = format else { continue };
            each_text(value, &mut |text| {
                for (_, misplaced) in find(catalog, recipe, format, text) {
                    let mut problem = Problem::new(misplaced.message).help(misplaced.hint);
                    problem.span = recipe.written.at(&["steps", step_name, "with", input]);
                    problems.push(&recipe.written.source, problem);
                }
            });
        }
    }
}

/// Returns whether a file is ever rendered: one that is only taken as it is has no templates.
fn rendered(recipe: &Recipe, name: &str) -> bool {
    let as_it_is = [
        format!("file_raw('{name}')"),
        format!("file_raw(\"{name}\")"),
    ];
    let mut raw = false;
    let mut look = |text: &str| raw |= as_it_is.iter().any(|call| text.contains(call.as_str()));
    for step in recipe.steps.values() {
        step.with
            .values()
            .for_each(|value| each_text(value, &mut look));
    }
    recipe.files.values().for_each(|text| look(text));
    !raw
}

/// Returns everything in a text that is no scalar of its own, with where it begins.
fn find(catalog: &Catalog, recipe: &Recipe, format: Format, text: &str) -> Vec<(usize, Misplaced)> {
    let mut reading = Reading {
        catalog,
        recipe,
        tainted: BTreeSet::new(),
        blocks: Vec::new(),
    };
    let codes = codes(text);
    let mut found = Vec::new();
    let mut before = String::new();
    let mut literal = 0;
    for (number, code) in codes.iter().enumerate() {
        before.push_str(&text[literal..code.start]);
        literal = code.end;
        let inner = code.inner(text);
        if !code.puts_in {
            reading.statement(inner);
            continue;
        }
        let next = codes.get(number + 1).map_or(text.len(), |code| code.start);
        let after = text[code.end..next].lines().next().unwrap_or_default();
        let encoder = last_encoder(inner);
        if reading.mentions_unknown(inner) && !reading.within_encoder() {
            let wrong = match encoder {
                None if reading.capture() => None,
                None => Some(bare(format)),
                Some(encoder) => check_place(format, encoder, &before, after).err(),
            };
            found.extend(wrong.map(|wrong| (code.start, wrong)));
        }
        before.push(VALUE);
    }
    // A whole document that is given from outside is nothing but itself.
    let around =
        |code: &Code| text[..code.start].trim().is_empty() && text[code.end..].trim().is_empty();
    if let [only] = codes.as_slice()
        && around(only)
        && last_encoder(only.inner(text)).is_none()
    {
        found.clear();
    }
    found
}

/// What is known while a text is read from its beginning.
struct Reading<'a> {
    catalog: &'a Catalog,
    recipe: &'a Recipe,
    /// Variables that hold a secret or an output, not yet through an encoder.
    tainted: BTreeSet<String>,
    blocks: Vec<Block>,
}

/// A block that is open.
enum Block {
    /// `{% filter … %}`; whether by an encoder.
    Filter(bool),
    /// `{% set name %}`.
    Capture(String),
}

impl Reading<'_> {
    /// Takes note of what a statement does.
    fn statement(&mut self, code: &str) {
        let (word, rest) = code.split_once(char::is_whitespace).unwrap_or((code, ""));
        let rest = rest.trim();
        match word {
            "set" => match rest.split_once('=') {
                Some((name, expression)) if !name.contains(['(', '"', '\'']) => {
                    let taints =
                        self.mentions_unknown(expression) && last_encoder(expression).is_none();
                    for name in name.split(',').map(str::trim) {
                        if taints {
                            self.tainted.insert(name.to_owned());
                        } else {
                            self.tainted.remove(name);
                        }
                    }
                }
                _ => {
                    let name = rest.split(['|', ' ']).next().unwrap_or_default();
                    self.blocks.push(Block::Capture(name.to_owned()));
                }
            },
            "for" => {
                if let Some((names, list)) = rest.split_once(" in ")
                    && self.mentions_unknown(list)
                {
                    let names = names.split(',').map(|name| name.trim().to_owned());
                    self.tainted.extend(names);
                }
            }
            "filter" => {
                let name = rest.split(['(', ' ', '|']).next().unwrap_or_default();
                self.blocks
                    .push(Block::Filter(Encoder::named(name).is_some()));
            }
            "endset" | "endfilter" => _ = self.blocks.pop(),
            _ => {}
        }
    }

    fn within_encoder(&self) -> bool {
        self.blocks
            .iter()
            .any(|block| matches!(block, Block::Filter(true)))
    }

    /// Takes note that what is captured by now holds a secret or an output; returns whether anything is captured.
    fn capture(&mut self) -> bool {
        let captured = self.blocks.iter().rev().find_map(|block| match block {
            Block::Capture(name) => Some(name.clone()),
            Block::Filter(_) => None,
        });
        let found = captured.is_some();
        self.tainted.extend(captured);
        found
    }

    /// Returns whether an expression mentions what is not known before the run.
    fn mentions_unknown(&self, expression: &str) -> bool {
        let expression = without_tests(expression);
        let names = mentions(&Template(format!("{{{{ {} }}}}", expression.trim())));
        names.unwrap_or_default().iter().any(|name| {
            let mut parts = name.split('.');
            match (parts.next().unwrap_or_default(), parts.next()) {
                ("steps", _) => true,
                ("settings", Some(setting)) => secret(&self.recipe.settings, setting, parts.next()),
                ("components", Some(component)) => {
                    let recipe = self.catalog.recipes.get(component);
                    match (recipe, parts.next(), parts.next()) {
                        (Some(recipe), Some("settings"), Some(setting)) => {
                            secret(&recipe.settings, setting, parts.next())
                        }
                        _ => false,
                    }
                }
                (name, _) => self.tainted.contains(name),
            }
        })
    }
}

/// Returns whether a setting, or a field of it, holds a secret.
fn secret(settings: &IndexMap<String, SettingSpec>, setting: &str, field: Option<&str>) -> bool {
    let Some(spec) = settings.get(setting) else {
        return false;
    };
    spec.secret
        || field
            .and_then(|field| spec.fields.get(field))
            .is_some_and(|field| field.secret)
}

/// Returns an expression without its tests of whether something is given: they tell nothing of it.
fn without_tests(expression: &str) -> String {
    let mut text = expression.to_owned();
    for test in [" is not none", " is none"] {
        while let Some(at) = text.find(test) {
            let part = |c: char| c.is_alphanumeric() || "_.[]'\"-:".contains(c);
            let start = text[..at].rfind(|c| !part(c)).map_or(0, |at| {
                at + text[at..].chars().next().map_or(1, char::len_utf8)
            });
            text.replace_range(start..at + test.len(), "true");
        }
    }
    text
}

/// Returns the last filter of an expression, not of one within brackets, if it is an encoder.
fn last_encoder(expression: &str) -> Option<Encoder> {
    let mut last = None;
    let mut at = 0;
    while let Some(c) = expression[at..].chars().next() {
        at += match c {
            '\'' | '"' => string_end(&expression[at..]),
            '(' | '[' | '{' => brackets_end(&expression[at..]),
            '|' => {
                let name = expression[at + 1..].trim_start();
                let end = name
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(name.len());
                last = Some(Encoder::named(&name[..end]));
                1
            }
            c => c.len_utf8(),
        };
    }
    last.flatten()
}

/// Returns the place of what begins at a byte of a text, to the end of its line.
fn span_at(text: &str, at: usize) -> Span {
    let before = &text[..at];
    let line = before.matches('\n').count();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    Span {
        start: at,
        end,
        line: u32::try_from(line).unwrap_or(u32::MAX).saturating_add(1),
        column: u32::try_from(text[start..at].chars().count())
            .unwrap_or(u32::MAX)
            .saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Catalog, Files, lint};

    const RECIPE: &str = r#"
summary = "A recipe"
role = "*"
[settings]
password = { type = "string", secret = true, doc = "x" }
other    = { type = "string", default = "x", doc = "x" }
[steps.made]
uses = "shared-secret"
on   = "group"
with = { path = "/etc/x" }
[steps.one]
uses  = "file"
with  = { path = "/x", content = "{{ file('a.yaml') }}" }
[steps.two]
uses  = "file"
with  = { path = "/y.yaml", content = "INLINE" }
"#;

    fn found(file: &str, inline: &str) -> String {
        let mut files = Files::default();
        for (path, text) in [
            ("tasks/file.toml", include_str!("../../tasks/file.toml")),
            (
                "tasks/shared-secret.toml",
                include_str!("../../tasks/shared-secret.toml"),
            ),
        ] {
            files.add("", path, text);
        }
        files.add(
            "",
            "recipes/r/recipe.toml",
            &RECIPE.replace("INLINE", inline),
        );
        files.add("", "recipes/r/a.yaml", file);
        let catalog = Catalog::load(&files).unwrap_or_else(|problems| panic!("{problems}"));
        lint(&catalog)
            .err()
            .map(|problems| problems.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn what_becomes_one_scalar_passes() {
        for file in [
            "a: {{ settings.password | yaml }}\nb: {{ steps.made.value | yaml }} # it's\n",
            "a: [{{ settings.password | yaml }}, {{ ('x' ~ steps.made.value) | json }}]\n",
            "{% set p = steps.made.value if settings.password is none else settings.password %}\na: {{ p | yaml }}\n",
            "a: {{ settings.password | b64 | yaml }}\n",
            "{% filter yaml %}K10{{ settings.password }}{% endfilter %}\n",
            "{% set p %}K10{{ settings.password }}{% endset %}\na: {{ p | yaml }}\n",
            "a: {{ 'none' if settings.password is none else 'some' }}\n",
            "a: \"{{ settings.other }}\"\n",
            "{{ settings.password }}\n",
        ] {
            let uses = format!("{file}# {{{{ settings.other ~ (settings.password is none) }}}}\n");
            let file = if file.starts_with("{{") { file } else { &uses };
            let found = found(file, "{{ settings.other }}{{ settings.password | yaml }}");
            // The second text is wrong, so that this looks at all.
            let of_file: Vec<_> = found
                .lines()
                .filter(|line| line.contains("a.yaml"))
                .collect();
            assert!(of_file.is_empty(), "{file}\n{found}");
            assert!(found.contains("recipes/r/recipe.toml:"), "{found}");
        }
    }

    #[test]
    fn what_could_become_more_is_found_by_line_and_column() {
        for (file, at, hint) in [
            (
                "a: 1\nb: \"{{ settings.password }}\"\n",
                "2:5",
                "`{{ … | yaml }}`",
            ),
            (
                "a:\n  b: {{ steps.made.value }}\n",
                "2:6",
                "`{{ … | yaml }}`",
            ),
            (
                "b: K10{{ settings.password | yaml }}\n",
                "1:7",
                "`{{ ('…' ~ x ~ '…') | yaml }}`",
            ),
            (
                "b: \"{{ settings.password | yaml }}\"\n",
                "1:5",
                "take the quotes away",
            ),
            (
                "b: |\n  [x]\n  y={{ settings.password | yaml }}\n",
                "3:5",
                "join first",
            ),
            (
                "b: {{ settings.password | sh }}\n",
                "1:4",
                "`{{ … | yaml }}`",
            ),
            (
                "{% set p = settings.password %}\nb: {{ p }}\n",
                "2:4",
                "`{{ … | yaml }}`",
            ),
            (
                "{% for p in [settings.password] %}\nb: {{ p }}\n{% endfor %}\n",
                "2:4",
                "`{{ … | yaml }}`",
            ),
            (
                "ä: {{ steps['made'].value ~ 'x' }}\n",
                "1:4",
                "`{{ … | yaml }}`",
            ),
        ] {
            let found = found(file, "{{ settings.other }}");
            let want = format!("recipes/r/a.yaml:{at}: ");
            let line = found.lines().find(|line| line.starts_with(&want));
            assert!(
                line.is_some_and(|line| line.contains(hint)),
                "{file}\n{found}"
            );
        }
        let found = found(
            "a: {{ settings.password | yaml }}",
            "a: {{ steps.made.value }}\\nb: {{ settings.other }}",
        );
        assert!(found.contains("recipes/r/recipe.toml:16:"), "{found}");
    }
}
