//! What a config says of a component × what its recipe declares → typed settings, defaults filled in. Does not know
//! what the settings are for, nor any secret's value.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::placeholder;
use super::recipe::{Recipe, SettingSpec};
use super::task::ValueType;
use super::value::Value;
use super::written::value_of;
use crate::config::{Node, Problem, Problems, Setting, Span, Stack, suggest_help};
use crate::secret::{STACK_NAMESPACE, SecretRef, references};

/// Settings of one component, by name: every one that the recipe declares, [`Value::Null`] where there is none.
pub type Settings = BTreeMap<String, Value>;

/// Resolves the settings of `recipe`'s component in `stack`. Each secret reference in a text is replaced by what
/// `stand_in` returns for it.
///
/// # Errors
/// All that is wrong with them, with places in the config: unknown ones, wrong types, missing ones, refused values,
/// literal secrets.
pub fn resolve_settings(
    recipe: &Recipe,
    stack: &Stack,
    stand_in: &mut dyn FnMut(SecretRef) -> String,
) -> Result<Settings, Problems> {
    let mut problems = Problems::new(stack.source.clone());
    let component = stack.components.get(&recipe.name);
    let empty = IndexMap::new();
    let own = component
        .and_then(|component| entries(&component.settings))
        .unwrap_or(&empty);
    let section = recipe
        .section
        .as_deref()
        .and_then(|path| section(stack, path))
        .unwrap_or(&empty);
    let mut resolver = Resolver {
        problems: &mut problems,
        stand_in,
        component: &recipe.name,
    };
    let place = component.map(|component| component.span);
    let settings = resolver.table("", &recipe.settings, &[own, section], place);
    problems.into_result(settings)
}

/// Returns the entries of a top-level section by its dotted path (`observability.prometheus`).
fn section<'a>(stack: &'a Stack, path: &str) -> Option<&'a IndexMap<String, (Span, Node)>> {
    let (top, rest) = path
        .split_once('.')
        .map_or((path, None), |(top, rest)| (top, Some(rest)));
    let mut node = stack.sections.get(top)?;
    for key in rest.into_iter().flat_map(|rest| rest.split('.')) {
        node = &entries(node)?.get(key)?.1;
    }
    entries(node)
}

fn entries(node: &Node) -> Option<&IndexMap<String, (Span, Node)>> {
    match &node.value {
        Setting::Map(entries) => Some(entries),
        _ => None,
    }
}

struct Resolver<'a> {
    problems: &'a mut Problems,
    stand_in: &'a mut dyn FnMut(SecretRef) -> String,
    component: &'a str,
}

impl Resolver<'_> {
    /// Resolves a table of settings; the first of `layers` that has one wins.
    fn table(
        &mut self,
        prefix: &str,
        specs: &IndexMap<String, SettingSpec>,
        layers: &[&IndexMap<String, (Span, Node)>],
        place: Option<Span>,
    ) -> Settings {
        for layer in layers {
            for (key, (span, _)) in layer.iter().filter(|(key, _)| !specs.contains_key(*key)) {
                self.problems.push(
                    Problem::at(
                        *span,
                        format!("`{}` has no setting `{prefix}{key}`", self.component),
                    )
                    .maybe_help(suggest_help(key, specs.keys().map(String::as_str))),
                );
            }
        }
        specs
            .iter()
            .map(|(name, spec)| {
                let given: Vec<_> = layers
                    .iter()
                    .filter_map(|layer| layer.get(name))
                    .filter(|(_, node)| node.value != Setting::Null)
                    .collect();
                (
                    name.clone(),
                    self.setting(&format!("{prefix}{name}"), spec, &given, place),
                )
            })
            .collect()
    }

    fn setting(
        &mut self,
        name: &str,
        spec: &SettingSpec,
        given: &[&(Span, Node)],
        place: Option<Span>,
    ) -> Value {
        if matches!(spec.kind, ValueType::Map(_)) && !spec.fields.is_empty() {
            return self.known_table(name, spec, given, place);
        }
        let Some((_, node)) = given.first() else {
            if spec.required {
                let message = format!("`{}` needs the setting `{name}`", self.component);
                let help = (!spec.doc.is_empty()).then(|| spec.doc.clone());
                self.problems.push(
                    place
                        .map_or_else(
                            || Problem::new(message.clone()),
                            |span| Problem::at(span, message.clone()),
                        )
                        .maybe_help(help),
                );
            }
            return spec.default.clone().unwrap_or(Value::Null);
        };
        if let (ValueType::List(_), false, Setting::List(items)) =
            (&spec.kind, spec.fields.is_empty(), &node.value)
        {
            let rows = items
                .iter()
                .enumerate()
                .map(|(index, item)| self.row(&format!("{name}[{index}]."), spec, item));
            return Value::List(rows.collect());
        }
        self.value(name, spec, node).unwrap_or_else(|problem| {
            self.problems.push(*problem);
            Value::Null
        })
    }

    /// A table whose keys the recipe names.
    fn known_table(
        &mut self,
        name: &str,
        spec: &SettingSpec,
        given: &[&(Span, Node)],
        place: Option<Span>,
    ) -> Value {
        let mut layers = Vec::new();
        for (_, node) in given {
            match entries(node) {
                Some(entries) => layers.push(entries),
                None => self
                    .problems
                    .push(Problem::at(node.span, format!("`{name}` must be a table"))),
            }
        }
        let place = given.first().map(|(span, _)| *span).or(place);
        let mut values = self.table(&format!("{name}."), &spec.fields, &layers, place);
        // A default of the whole table fills what the fields leave open.
        if let Some(Value::Map(defaults)) = &spec.default {
            for (key, value) in defaults {
                if values.get(key) == Some(&Value::Null) {
                    values.insert(key.clone(), value.clone());
                }
            }
        }
        Value::Map(values)
    }

    /// One row of a list of tables whose keys the recipe names.
    fn row(&mut self, prefix: &str, spec: &SettingSpec, item: &Node) -> Value {
        match entries(item) {
            Some(row) => Value::Map(self.table(prefix, &spec.fields, &[row], Some(item.span))),
            None => {
                self.problems
                    .push(Problem::at(item.span, "this must be a table"));
                Value::Null
            }
        }
    }

    fn value(
        &mut self,
        name: &str,
        spec: &SettingSpec,
        node: &Node,
    ) -> Result<Value, Box<Problem>> {
        if let Setting::Text(text) = &node.value
            && let Some(reason) = spec.refuse.get(match spec.kind {
                ValueType::Version => text.strip_prefix('v').unwrap_or(text),
                _ => text,
            })
        {
            let message = if spec.secret {
                format!("`{name}` can't be what it is: {reason}")
            } else {
                format!("`{name}` can't be `{text}`: {reason}")
            };
            let problem = Problem::at(node.span, message);
            return Err(if spec.secret {
                problem.secret()
            } else {
                problem
            }
            .into());
        }
        if let (Setting::Float(_), ValueType::Version | ValueType::String | ValueType::Text) =
            (&node.value, &spec.kind)
        {
            let message = format!("`{name}` is read as a number with a fraction");
            return Err(Problem::at(node.span, message)
                .help("put it in quotes")
                .into());
        }
        let (value, holes) = self.stand_ins(value_of(node)?, node.span)?;
        if spec.secret && !holes {
            let message = format!("`{name}` is secret: it can't stand here as it is");
            return Err(Problem::at(node.span, message)
                .secret()
                .help(
                    "write a reference, `${secret:path:key}`, and store it by `foundry secret set`",
                )
                .into());
        }
        if holes {
            return self.with_holes(name, &spec.kind, value, node.span);
        }
        spec.kind.check(value).map_err(|e| {
            Problem::at(node.span, format!("`{name}`: {e}"))
                .maybe_help((!spec.doc.is_empty()).then(|| spec.doc.clone()))
                .into()
        })
    }

    /// Checks the shape of a value some of whose texts are not known yet.
    fn with_holes(
        &self,
        name: &str,
        kind: &ValueType,
        value: Value,
        span: Span,
    ) -> Result<Value, Box<Problem>> {
        let fits = |kind: &ValueType, value: &Value| match value {
            Value::Text(text) => {
                kind.is_text() || matches!(placeholder::split(text).as_deref(), Ok([_]))
            }
            _ => false,
        };
        match (kind, value) {
            (ValueType::Any, value) => Ok(value),
            (ValueType::List(item), Value::List(items)) => items
                .into_iter()
                .map(|value| self.with_holes(name, item, value, span))
                .collect::<Result<_, _>>()
                .map(Value::List),
            (ValueType::Map(entry), Value::Map(entries)) => entries
                .into_iter()
                .map(|(key, value)| Ok((key, self.with_holes(name, entry, value, span)?)))
                .collect::<Result<_, _>>()
                .map(Value::Map),
            (kind, value @ Value::Text(_)) if fits(kind, &value) => Ok(value),
            (kind, value) => kind
                .check(value)
                .map_err(|e| Problem::at(span, format!("`{name}`: {e}")).into()),
        }
    }

    /// Replaces the secret references in all texts of `value`; also returns whether there were any.
    fn stand_ins(&mut self, value: Value, span: Span) -> Result<(Value, bool), Box<Problem>> {
        Ok(match value {
            Value::Text(text) => {
                let found = references(&text, STACK_NAMESPACE)
                    .map_err(|e| Problem::at(span, e.to_string()))?;
                let mut out = String::with_capacity(text.len());
                let mut from = 0;
                let any = !found.is_empty();
                for (range, reference) in found {
                    out.push_str(&text[from..range.start]);
                    out.push_str(&(self.stand_in)(reference));
                    from = range.end;
                }
                out.push_str(&text[from..]);
                (Value::Text(out), any)
            }
            Value::List(items) => {
                let mut any = false;
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    let (item, holes) = self.stand_ins(item, span)?;
                    any |= holes;
                    out.push(item);
                }
                (Value::List(out), any)
            }
            Value::Map(entries) => {
                let mut any = false;
                let mut out = BTreeMap::new();
                for (key, value) in entries {
                    let (value, holes) = self.stand_ins(value, span)?;
                    any |= holes;
                    out.insert(key, value);
                }
                (Value::Map(out), any)
            }
            other => (other, false),
        })
    }
}
