//! Which components a stack has, on which hosts, and what their templates see of settings and artifacts. Does not
//! know steps.

use std::collections::HashSet;
use std::sync::Arc;

use minijinja::Value as Jinja;

use super::expand_scope::{Base, Shared, setting, table};
use crate::catalog::{
    AllProblems, Artifact, Catalog, Piece, Purpose, Recipe, Settings, Template, TemplateError,
    Value, evaluate, split_placeholders,
};
use crate::config::{HostId, Problem, Stack, suggest_help};

/// A component that the stack has, before anything of it is evaluated.
pub(super) struct Chosen {
    pub recipe: Arc<Recipe>,
    pub hosts: Vec<HostId>,
}

/// A component of the stack, ready to be expanded.
pub(super) struct Part {
    pub base: Arc<Base>,
    pub name: Arc<str>,
    pub hosts: Arc<[HostId]>,
    /// Whether any of its settings holds a value to come.
    pub holes: bool,
}

/// Finds the components of the stack and their hosts.
pub(super) fn choose(stack: &Stack, catalog: &Catalog, problems: &mut AllProblems) -> Vec<Chosen> {
    let mut chosen = Vec::new();
    let unnamed = catalog
        .recipes
        .values()
        .filter(|recipe| recipe.always && !stack.components.contains_key(&recipe.name));
    for recipe in unnamed {
        let hosts = match recipe.roles.as_slice() {
            [] => hosts_by_roles(stack, &["*".to_owned()]),
            roles => hosts_by_roles(stack, roles),
        };
        if !hosts.is_empty() {
            chosen.push(Chosen {
                recipe: recipe.clone(),
                hosts,
            });
        }
    }
    for (name, component) in &stack.components {
        let Some(recipe) = catalog.recipes.get(name) else {
            let known = catalog.recipes.keys().map(String::as_str);
            problems.push(
                &stack.source,
                Problem::at(component.span, format!("there is no component `{name}`")).maybe_help(
                    suggest_help(name, known)
                        .or_else(|| Some("`foundry component list` lists them all".to_owned())),
                ),
            );
            continue;
        };
        match hosts_of(stack, recipe, component.hosts.as_deref()) {
            Ok(hosts) => chosen.push(Chosen {
                recipe: recipe.clone(),
                hosts,
            }),
            Err((message, help)) => problems.push(
                &stack.source,
                Problem::at(component.span, message).help(help),
            ),
        }
    }
    // Who says how long logs are kept wants logs.
    for recipe in catalog.recipes.values() {
        let section = recipe
            .section
            .as_deref()
            .and_then(|path| stack.section(path));
        let Some(node) = section else { continue };
        if chosen
            .iter()
            .any(|chosen| chosen.recipe.name == recipe.name)
            || stack.components.contains_key(&recipe.name)
        {
            continue;
        }
        match hosts_of(stack, recipe, None) {
            Ok(hosts) => chosen.push(Chosen {
                recipe: recipe.clone(),
                hosts,
            }),
            Err((message, help)) => {
                problems.push(&stack.source, Problem::at(node.span, message).help(help));
            }
        }
    }
    chosen
}

/// Returns the hosts of a component: those that the config names, else those with the recipe's role. The error is a
/// message and what to do.
fn hosts_of(
    stack: &Stack,
    recipe: &Recipe,
    named: Option<&[HostId]>,
) -> Result<Vec<HostId>, (String, String)> {
    let name = &recipe.name;
    let hosts: Vec<HostId> = match (named, recipe.roles.as_slice()) {
        (Some(hosts), _) => {
            let mut seen = HashSet::new();
            let hosts = hosts.iter().copied();
            hosts.filter(|host| seen.insert(*host)).collect()
        }
        (None, []) => Vec::new(),
        (None, roles) => hosts_by_roles(stack, roles),
    };
    if !hosts.is_empty() || recipe.hostless {
        return Ok(hosts);
    }
    Err(match recipe.roles.first() {
        Some(role) if named.is_none() => (
            format!("no host has the role `{role}`, so `{name}` has nowhere to run"),
            format!("give a host the role `{role}`, or name hosts under `components.{name}.hosts`"),
        ),
        _ => (
            format!("`{name}` has no hosts"),
            format!("name them under `components.{name}.hosts`"),
        ),
    })
}

/// Returns the hosts that have one of the roles, in the order of the stack.
pub(super) fn hosts_by_roles(stack: &Stack, roles: &[String]) -> Vec<HostId> {
    (0..u32::try_from(stack.hosts.len()).unwrap_or(u32::MAX))
        .map(HostId)
        .filter(|id| roles.iter().any(|role| has_role(stack, *id, role)))
        .collect()
}

/// Returns whether a host has the role; every host has `*`.
pub(super) fn has_role(stack: &Stack, host: HostId, role: &str) -> bool {
    role == "*" || stack.host(host).roles.iter().any(|own| own == role)
}

/// Makes `components` of the template language.
pub(super) fn components(
    stack: &Stack,
    chosen: &[Chosen],
    settings: &[Settings],
    shared: &Shared,
    purpose: Purpose,
) -> Jinja {
    debug_assert_eq!(stack.hosts.len(), shared.hosts.len());
    Jinja::from_pairs(chosen.iter().zip(settings).map(|(chosen, settings)| {
        let hosts: Jinja = chosen
            .hosts
            .iter()
            .map(|id| shared.hosts[id.0 as usize].clone())
            .collect();
        let entry = table([
            ("hosts", hosts),
            ("settings", settings_table(settings, purpose)),
        ]);
        (Jinja::from(chosen.recipe.name.as_str()), entry)
    }))
}

fn settings_table(settings: &Settings, purpose: Purpose) -> Jinja {
    Jinja::from_pairs(
        settings
            .iter()
            .map(|(name, value)| (Jinja::from(name.as_str()), setting(value, purpose))),
    )
}

pub(super) fn part(
    stack: &Stack,
    catalog: &Catalog,
    chosen: Chosen,
    settings: &Settings,
    shared: &Arc<Shared>,
    problems: &mut AllProblems,
) -> Part {
    debug_assert_eq!(stack.hosts.len(), shared.hosts.len());
    let tables = [Purpose::Value, Purpose::Check].map(|purpose| settings_table(settings, purpose));
    let mut artifacts = Vec::new();
    for (name, artifact) in &chosen.recipe.artifacts {
        match self::artifact(artifact, &tables) {
            Ok(artifact) => artifacts.push((Jinja::from(name.as_str()), artifact)),
            Err((key, error)) => {
                let place = chosen
                    .recipe
                    .written
                    .line_at(&["artifacts", name, key], error.line);
                let mut problem = Problem::new(format!("artifact `{name}`: {error}"));
                problem.span = place;
                problems.push(&chosen.recipe.written.source, problem);
            }
        }
    }
    let base = Base {
        shared: shared.clone(),
        settings: tables,
        hosts: Arc::new(
            chosen
                .hosts
                .iter()
                .map(|id| shared.hosts[id.0 as usize].clone())
                .collect(),
        ),
        position: chosen
            .hosts
            .iter()
            .enumerate()
            .map(|(at, id)| (*id, at))
            .collect(),
        artifacts: Jinja::from_pairs(artifacts),
        versions: catalog
            .versions
            .get(&chosen.recipe.name)
            .map_or(Jinja::UNDEFINED, |known| {
                setting(&known.values, Purpose::Value)
            }),
        recipe: chosen.recipe,
    };
    Part {
        name: base.recipe.name.as_str().into(),
        hosts: chosen.hosts.into(),
        holes: settings.values().any(holds_placeholder),
        base: Arc::new(base),
    }
}

fn holds_placeholder(value: &Value) -> bool {
    match value {
        Value::Text(text) => !matches!(
            split_placeholders(text).as_deref(),
            Ok([] | [Piece::Literal(_)])
        ),
        Value::List(items) => items.iter().any(holds_placeholder),
        Value::Map(entries) => entries.values().any(holds_placeholder),
        _ => false,
    }
}

/// Debian's words for what Foundry downloads for.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// Makes `artifacts.<name>` of the template language. An error comes with the key it is about.
fn artifact(
    artifact: &Artifact,
    settings: &[Jinja; 2],
) -> Result<Jinja, (&'static str, TemplateError)> {
    let implied = Template("{{ settings.version }}".to_owned());
    let over = |key, template: &Template, version: &Jinja, arch: &str| {
        let context = |purpose: Purpose| {
            table([
                ("settings", settings[purpose as usize].clone()),
                ("version", version.clone()),
                ("arch", Jinja::from(arch)),
            ])
        };
        evaluate(
            template,
            &context(Purpose::Value),
            Some(&context(Purpose::Check)),
        )
        .map_err(|error| (key, error))
    };
    let version = over(
        "version",
        artifact.version.as_ref().unwrap_or(&implied),
        &Jinja::UNDEFINED,
        "",
    )?;
    let mut urls = Vec::new();
    let mut digests = Vec::new();
    let mut checksums = Vec::new();
    for arch in ARCHITECTURES {
        urls.push((
            Jinja::from(arch),
            over("url", &artifact.url, &version, arch)?,
        ));
        if let Some(digest) = artifact.sha256.get(&format!("{version}/{arch}")) {
            digests.push((Jinja::from(arch), Jinja::from(digest.as_str())));
        }
        if let Some(template) = &artifact.checksums {
            let url = over("checksums", template, &version, arch)?;
            checksums.push((Jinja::from(arch), url));
        }
    }
    Ok(table([
        ("version", version),
        ("url", Jinja::from_pairs(urls)),
        ("sha256", Jinja::from_pairs(digests)),
        ("checksums", Jinja::from_pairs(checksums)),
    ]))
}
