//! Expands a made-up stack of two hosts that has every component, once as it comes and once for each value of each
//! choice: what only shows when a recipe meets hosts shows here. Does not know what recipes are for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use indexmap::IndexMap;

use super::expand::expand_all;
use crate::catalog::{AllProblems, Catalog, OnTarget, SettingSpec, ValueType};
use crate::config::{Component, Host, HostId, Node, Setting, Source, Span, Stack};

/// Expands made-up stacks of all recipes.
///
/// # Errors
/// Everything that is wrong with the recipes for at least one of the stacks.
pub fn expand_made_up(catalog: &Catalog) -> Result<(), AllProblems> {
    let mut problems = AllProblems::default();
    for (component, setting, value) in variations(catalog) {
        let stack = Arc::new(made_up(catalog, component, setting, &value));
        if let Err(found) = expand_all(&stack, catalog, false) {
            found
                .files
                .into_iter()
                .for_each(|file| problems.extend(file));
        }
    }
    problems.into_result(())
}

/// Which setting of which component to set to what; the first sets none.
fn variations(catalog: &Catalog) -> Vec<(&str, &str, Setting)> {
    let mut all = vec![("", "", Setting::Null)];
    for recipe in catalog.recipes.values() {
        for (name, spec) in &recipe.settings {
            match &spec.kind {
                ValueType::Bool => {
                    all.extend(
                        [true, false]
                            .map(|b| (recipe.name.as_str(), name.as_str(), Setting::Bool(b))),
                    );
                }
                ValueType::Enum(words) => {
                    all.extend(words.iter().map(|word| {
                        (
                            recipe.name.as_str(),
                            name.as_str(),
                            Setting::Text(word.clone()),
                        )
                    }));
                }
                _ => {}
            }
        }
    }
    all
}

fn made_up(catalog: &Catalog, component: &str, setting: &str, value: &Setting) -> Stack {
    let mut roles = BTreeSet::new();
    for recipe in catalog.recipes.values() {
        roles.extend(recipe.roles.iter().filter(|role| *role != "*").cloned());
        roles.extend(recipe.steps.values().filter_map(|step| match &step.on {
            OnTarget::Role(role) | OnTarget::HostsOf(role) | OnTarget::Group(Some(role)) => {
                Some(role.clone())
            }
            _ => None,
        }));
    }
    let roles: Vec<String> = roles.into_iter().collect();
    let hosts = ["lint-1", "lint-2"].map(|name| Host {
        name: name.into(),
        address: name.to_owned(),
        port: None,
        user: None,
        identity: None,
        jump: None,
        local: false,
        roles: roles.clone(),
        labels: BTreeMap::new(),
        host_key: None,
        span: Span::default(),
    });
    let components = catalog.recipes.values().map(|recipe| {
        let mut settings = table(&recipe.settings);
        if recipe.name == component {
            settings.insert(setting.to_owned(), (Span::default(), node(value.clone())));
        }
        let component = Component {
            span: Span::default(),
            hosts: recipe.roles.is_empty().then(|| vec![HostId(0), HostId(1)]),
            rollout: None,
            settings: node(Setting::Map(settings)),
        };
        (recipe.name.clone(), component)
    });
    Stack {
        source: Arc::new(Source {
            name: "a made-up stack".to_owned(),
            text: String::new(),
        }),
        name: "lint".to_owned(),
        domain: Some("example.com".to_owned()),
        vip: None,
        hosts: hosts.into(),
        components: components.collect(),
        sections: IndexMap::new(),
        mirrors: Vec::new(),
        pins: Arc::default(),
        trusted_keys: Vec::new(),
    }
}

/// Makes up the settings that must be given.
fn table(specs: &IndexMap<String, SettingSpec>) -> IndexMap<String, (Span, Node)> {
    let given = specs
        .iter()
        .filter(|(_, spec)| spec.required || (spec.secret && spec.default.is_none()));
    given
        .map(|(name, spec)| (name.clone(), (Span::default(), node(made_up_value(spec)))))
        .collect()
}

fn made_up_value(spec: &SettingSpec) -> Setting {
    if spec.secret {
        return Setting::Text("${secret:lint:value}".to_owned());
    }
    if !spec.fields.is_empty() {
        return Setting::Map(table(&spec.fields));
    }
    match &spec.kind {
        ValueType::Int => Setting::Int(1),
        ValueType::Bool => Setting::Bool(true),
        ValueType::Path => Setting::Text("/made/up".to_owned()),
        ValueType::Mode => Setting::Text("0644".to_owned()),
        ValueType::Size => Setting::Text("1Gi".to_owned()),
        ValueType::Duration => Setting::Text("1d".to_owned()),
        ValueType::Version => Setting::Text("1.0.0".to_owned()),
        ValueType::Enum(words) => Setting::Text(words.first().cloned().unwrap_or_default()),
        ValueType::List(_) => Setting::List(Vec::new()),
        ValueType::Map(_) | ValueType::Any => Setting::Map(IndexMap::new()),
        ValueType::Text | ValueType::String => Setting::Text("made-up".to_owned()),
    }
}

fn node(value: Setting) -> Node {
    Node {
        value,
        span: Span::default(),
    }
}
