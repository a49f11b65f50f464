//! `Stack` × `Catalog` → [`Graph`]: which components, on which hosts, with which steps. Inputs are bound in
//! `expand_inputs`, edges drawn in `expand_edges`. Knows no live system.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use minijinja::Value as Jinja;

use super::expand_scope::{Base, Provider, Scope, Shared, Symbol, host, setting, table};
use super::{Graph, Pool, PoolId, StepId, Target};
use crate::catalog::{
    AllProblems, Artifact, Catalog, OnTarget, Purpose, Recipe, RecipeStep, Settings, Task,
    Template, TemplateError, Value, evaluate, resolve_settings,
};
use crate::config::{HostId, Problem, Stack, suggest_help};

/// Makes the graph of everything that `stack` wants.
///
/// # Errors
/// Everything that is wrong with the stack's components, with places in the config, and with the recipes that they
/// use, with places in those.
pub fn expand(stack: &Arc<Stack>, catalog: &Catalog) -> Result<Graph, AllProblems> {
    let mut problems = AllProblems::default();
    let mut shared = Shared {
        stack: table([
            ("name", Jinja::from(stack.name.as_str())),
            (
                "domain",
                stack.domain.as_deref().map_or(Jinja::from(()), Jinja::from),
            ),
        ]),
        hosts: stack.hosts.iter().map(host).collect(),
        ..Shared::default()
    };
    let chosen = choose(stack, catalog, &mut problems);
    let settings: Vec<Settings> = chosen
        .iter()
        .map(|chosen| {
            let mut stand_in = |reference| {
                shared
                    .placeholder(Symbol::Secret(reference))
                    .into_jinja()
                    .to_string()
            };
            resolve_settings(&chosen.recipe, stack, &mut stand_in).unwrap_or_else(|wrong| {
                problems.extend(wrong);
                Settings::new()
            })
        })
        .collect();
    if !problems.is_empty() {
        return Err(problems.sorted());
    }
    shared.components = [Purpose::Value, Purpose::Check]
        .map(|purpose| components(stack, &chosen, &settings, &shared, purpose));
    let mut block = 0;
    for chosen in &chosen {
        for (name, step) in &chosen.recipe.steps {
            let task = catalog.tasks.get(&step.uses).cloned();
            shared.steps.insert(
                format!("{}:{name}", chosen.recipe.name),
                Provider { block, task },
            );
            block += 1;
        }
    }
    let shared = Arc::new(shared);
    let parts: Vec<Part> = chosen
        .into_iter()
        .zip(settings)
        .map(|(chosen, settings)| part(stack, chosen, &settings, &shared, &mut problems))
        .collect();
    let expansion = Expansion {
        stack,
        catalog,
        shared,
        parts,
    };
    let mut blocks = Vec::with_capacity(block);
    for part in 0..expansion.parts.len() {
        expansion.blocks_of(part, &mut blocks, &mut problems);
    }
    number(&mut blocks, &mut problems, stack);
    if !problems.is_empty() {
        return Err(problems.sorted());
    }
    let pools = expansion.pools();
    let mut graph = Graph {
        stack: stack.clone(),
        steps: Vec::new(),
        holes: Vec::new(),
        pools,
    };
    expansion.bind(&blocks, &mut graph, &mut problems);
    if problems.is_empty() {
        expansion.connect(&blocks, &mut graph, &mut problems);
    }
    problems.into_result(graph)
}

/// A component that the stack has, before anything of it is evaluated.
struct Chosen {
    recipe: Arc<Recipe>,
    hosts: Vec<HostId>,
}

/// A component of the stack, ready to be expanded.
pub(super) struct Part {
    pub base: Arc<Base>,
    pub name: Arc<str>,
    pub hosts: Arc<[HostId]>,
    /// Whether any of its settings holds a value to come.
    pub holes: bool,
}

/// All that expansion has at hand.
pub(super) struct Expansion<'a> {
    pub stack: &'a Arc<Stack>,
    pub catalog: &'a Catalog,
    pub shared: Arc<Shared>,
    pub parts: Vec<Part>,
}

/// All steps that come of one step of a recipe.
pub(super) struct Block {
    /// Which component.
    pub part: usize,
    /// Name of the step.
    pub name: Arc<str>,
    pub task: Arc<Task>,
    /// Steps, those of one host together, in the order of the component's hosts.
    pub instances: Vec<Instance>,
    /// Host → its steps in `instances`, sorted by host. Empty for a group or service step.
    pub by_host: Vec<(HostId, std::ops::Range<usize>)>,
    /// Where a group or service step runs; `None` for host steps.
    pub target: Option<Target>,
    /// Id of the first step; the others follow.
    pub first: StepId,
}

/// One step to be.
pub(super) struct Instance {
    pub host: Option<HostId>,
    pub item: Option<Item>,
}

/// One item of `for_each`.
#[derive(Clone)]
pub(super) struct Item {
    pub name: Arc<str>,
    pub value: Jinja,
}

impl Block {
    /// Returns the id of the step at `index` of the instances.
    pub fn id(&self, index: usize) -> StepId {
        StepId(self.first.0 + u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Returns the steps on `host`, as a range of the instances.
    pub fn on(&self, host: HostId) -> std::ops::Range<usize> {
        match self.by_host.binary_search_by_key(&host, |(host, _)| *host) {
            Ok(at) => self.by_host[at].1.clone(),
            Err(_) => 0..0,
        }
    }
}

/// Finds the components of the stack and their hosts.
fn choose(stack: &Stack, catalog: &Catalog, problems: &mut AllProblems) -> Vec<Chosen> {
    let mut chosen = Vec::new();
    let unnamed = catalog
        .recipes
        .values()
        .filter(|recipe| recipe.always && !stack.components.contains_key(&recipe.name));
    for recipe in unnamed {
        let hosts = hosts_by_role(stack, recipe.role.as_deref().unwrap_or("*"));
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
        let hosts = match (&component.hosts, &recipe.role) {
            (Some(hosts), _) => {
                let mut seen = HashSet::new();
                hosts
                    .iter()
                    .copied()
                    .filter(|host| seen.insert(*host))
                    .collect()
            }
            (None, Some(role)) => hosts_by_role(stack, role),
            (None, None) => Vec::new(),
        };
        if hosts.is_empty() {
            let (message, help) = match &recipe.role {
                Some(role) if component.hosts.is_none() => (
                    format!("no host has the role `{role}`, so `{name}` has nowhere to run"),
                    format!(
                        "give a host the role `{role}`, or name hosts under `components.{name}.hosts`"
                    ),
                ),
                _ => (
                    format!("`{name}` has no hosts"),
                    format!("name them under `components.{name}.hosts`"),
                ),
            };
            problems.push(
                &stack.source,
                Problem::at(component.span, message).help(help),
            );
            continue;
        }
        chosen.push(Chosen {
            recipe: recipe.clone(),
            hosts,
        });
    }
    chosen
}

fn hosts_by_role(stack: &Stack, role: &str) -> Vec<HostId> {
    (0..)
        .zip(&stack.hosts)
        .filter(|(_, host)| role == "*" || host.roles.iter().any(|own| own == role))
        .map(|(id, _)| HostId(id))
        .collect()
}

/// Makes `components` of the template language.
fn components(
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

fn part(
    stack: &Stack,
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
            crate::catalog::split_placeholders(text).as_deref(),
            Ok([] | [crate::catalog::Piece::Literal(_)])
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
    for arch in ARCHITECTURES {
        urls.push((
            Jinja::from(arch),
            over("url", &artifact.url, &version, arch)?,
        ));
        if let Some(digest) = artifact.sha256.get(&format!("{version}/{arch}")) {
            digests.push((Jinja::from(arch), Jinja::from(digest.as_str())));
        }
    }
    let checksums = match &artifact.checksums {
        Some(template) => over("checksums", template, &version, "")?,
        None => Jinja::from(""),
    };
    Ok(table([
        ("version", version),
        ("url", Jinja::from_pairs(urls)),
        ("sha256", Jinja::from_pairs(digests)),
        ("checksums", checksums),
    ]))
}

/// Gives the blocks their ids.
fn number(blocks: &mut [Block], problems: &mut AllProblems, stack: &Stack) {
    let mut next: u32 = 0;
    for block in blocks {
        block.first = StepId(next);
        match u32::try_from(block.instances.len())
            .ok()
            .and_then(|count| next.checked_add(count))
        {
            Some(after) => next = after,
            None => {
                return problems.push(
                    &stack.source,
                    Problem::new("this stack has more than 4 billion steps"),
                );
            }
        }
    }
}

impl Expansion<'_> {
    /// Reports a problem with a recipe's file.
    pub fn report(
        &self,
        part: usize,
        problems: &mut AllProblems,
        path: &[&str],
        line: Option<u32>,
        message: String,
    ) {
        let written = &self.parts[part].base.recipe.written;
        let mut problem = Problem::new(message);
        problem.span = written.line_at(path, line);
        problems.push(&written.source, problem);
    }

    /// Evaluates a template of a recipe. What it is for goes before the message of an error.
    pub fn evaluate(
        &self,
        part: usize,
        template: &Template,
        host: Option<HostId>,
        item: Option<&Item>,
    ) -> Result<Jinja, TemplateError> {
        let base = &self.parts[part].base;
        let context = |purpose| {
            Jinja::from_object(Scope {
                base: base.clone(),
                host,
                item: item.map(|item| item.value.clone()),
                purpose,
            })
        };
        let may_hold = self.parts[part].holes
            || template.0.contains("steps")
            || template.0.contains("components")
            || template.0.contains("file");
        let without = may_hold.then(|| context(Purpose::Check));
        evaluate(template, &context(Purpose::Value), without.as_ref()).map_err(|error| {
            match self.shared.take_note() {
                Some(message) => TemplateError { message, ..error },
                None => error,
            }
        })
    }

    /// Makes the blocks of one component's steps.
    fn blocks_of(&self, part: usize, blocks: &mut Vec<Block>, problems: &mut AllProblems) {
        let Part { base, hosts, .. } = &self.parts[part];
        let recipe = base.recipe.clone();
        for (name, step) in &recipe.steps {
            let Some(task) = self.catalog.tasks.get(&step.uses) else {
                let known = self.catalog.tasks.keys().map(String::as_str);
                let help = suggest_help(&step.uses, known);
                let mut problem =
                    Problem::new(format!("there is no task `{}`", step.uses)).maybe_help(help);
                problem.span = recipe.written.at(&["steps", name, "uses"]);
                problems.push(&recipe.written.source, problem);
                continue;
            };
            let (target, on): (_, Vec<Option<HostId>>) = match &step.on {
                OnTarget::Hosts => (None, hosts.iter().copied().map(Some).collect()),
                OnTarget::Role(role) => (
                    None,
                    hosts_by_role(self.stack, role)
                        .into_iter()
                        .map(Some)
                        .collect(),
                ),
                OnTarget::Group => (Some(Target::Group(hosts.clone())), vec![None]),
                OnTarget::Service(service) => (Some(self.service(part, service)), vec![None]),
            };
            let mut block = Block {
                part,
                name: name.as_str().into(),
                task: task.clone(),
                instances: Vec::with_capacity(on.len()),
                by_host: Vec::new(),
                target,
                first: StepId(0),
            };
            self.fill(&mut block, step, &on, problems);
            blocks.push(block);
        }
    }

    /// Returns the target of a step on a service: the hosts of the component that provides it, else its own.
    fn service(&self, part: usize, service: &str) -> Target {
        let provides = |other: &&Part| {
            other
                .base
                .recipe
                .provides
                .iter()
                .any(|provided| provided == service)
        };
        let own = &self.parts[part];
        let provider = if provides(&own) {
            own
        } else {
            self.parts.iter().find(provides).unwrap_or(own)
        };
        Target::Service(service.into(), provider.hosts.clone())
    }

    /// Finds on which hosts, and for which items, the step is to be done.
    fn fill(
        &self,
        block: &mut Block,
        step: &RecipeStep,
        on: &[Option<HostId>],
        problems: &mut AllProblems,
    ) {
        let per_host = |template: &Option<Template>| {
            template
                .as_ref()
                .is_some_and(|t| self.mentions(block.part, t).host)
        };
        let (items_per_host, when_per_host) = (per_host(&step.for_each), per_host(&step.when));
        let when_per_item = step
            .when
            .as_ref()
            .is_some_and(|when| self.mentions(block.part, when).item);
        let mut items: Option<Vec<Option<Item>>> = None;
        let mut wanted: HashMap<Option<usize>, bool> = HashMap::new();
        for host in on {
            if items.is_none() || items_per_host {
                wanted.clear();
                items = self.items(block, step, *host, problems);
            }
            if when_per_host {
                wanted.clear();
            }
            let Some(items) = &items else { return };
            let start = block.instances.len();
            for (at, item) in items.iter().enumerate() {
                let asked = when_per_item.then_some(at);
                let wanted = match wanted.get(&asked) {
                    Some(wanted) => *wanted,
                    None => {
                        let Some(answer) = self.wanted(block, step, *host, item.as_ref(), problems)
                        else {
                            return;
                        };
                        wanted.insert(asked, answer);
                        answer
                    }
                };
                if wanted {
                    block.instances.push(Instance {
                        host: *host,
                        item: item.clone(),
                    });
                }
            }
            if let Some(host) = host
                && block.instances.len() > start
            {
                block.by_host.push((*host, start..block.instances.len()));
            }
        }
        block.by_host.sort_unstable_by_key(|(host, _)| *host);
    }

    /// Evaluates `when`. `None`: it is wrong, and that has been said.
    fn wanted(
        &self,
        block: &Block,
        step: &RecipeStep,
        host: Option<HostId>,
        item: Option<&Item>,
        problems: &mut AllProblems,
    ) -> Option<bool> {
        let Some(when) = &step.when else {
            return Some(true);
        };
        let (message, line) = match self.evaluate(block.part, when, host, item) {
            Ok(value) if value.kind() == minijinja::value::ValueKind::Bool => {
                return Some(value.is_true());
            }
            Ok(value) => (
                format!("it must give true or false, not {}", value.kind()),
                None,
            ),
            Err(error) => (error.message, error.line),
        };
        let message = format!("`when` of step `{}`: {message}", block.name);
        self.report(
            block.part,
            problems,
            &["steps", &block.name, "when"],
            line,
            message,
        );
        None
    }

    /// Evaluates `for_each`. `None`: it is wrong, and that has been said.
    fn items(
        &self,
        block: &Block,
        step: &RecipeStep,
        host: Option<HostId>,
        problems: &mut AllProblems,
    ) -> Option<Vec<Option<Item>>> {
        let Some(for_each) = &step.for_each else {
            return Some(vec![None]);
        };
        let (message, line) = match self.evaluate(block.part, for_each, host, None) {
            Ok(value) => match items_of(&value) {
                Ok(items) => return Some(items.into_iter().map(Some).collect()),
                Err(message) => (message, None),
            },
            Err(error) => (error.message, error.line),
        };
        let message = format!("`for_each` of step `{}`: {message}", block.name);
        self.report(
            block.part,
            problems,
            &["steps", &block.name, "for_each"],
            line,
            message,
        );
        None
    }

    /// Returns all pools of the stack's components, by `component:pool`.
    fn pools(&self) -> Vec<Pool> {
        self.parts
            .iter()
            .flat_map(|part| {
                part.base.recipe.pools.iter().map(|(name, depth)| Pool {
                    name: format!("{}:{name}", part.name).into(),
                    depth: *depth,
                })
            })
            .collect()
    }

    /// Finds the pool of a step.
    pub fn pool(
        &self,
        block: &Block,
        step: &RecipeStep,
        pools: &[Pool],
        problems: &mut AllProblems,
    ) -> Option<PoolId> {
        let written = step.pool.as_deref()?;
        let name = if written.contains(':') {
            written.to_owned()
        } else {
            format!("{}:{written}", self.parts[block.part].name)
        };
        let found = pools.iter().position(|pool| *pool.name == *name);
        if found.is_none() {
            self.report(
                block.part,
                problems,
                &["steps", &block.name, "pool"],
                None,
                format!("there is no pool `{written}`"),
            );
        }
        found.and_then(|at| u32::try_from(at).ok()).map(PoolId)
    }
}

/// Reads the items of `for_each`: of a list, its items; of a table, its entries as `{key, value}`; of nothing, none.
fn items_of(value: &Jinja) -> Result<Vec<Item>, String> {
    use minijinja::value::ValueKind;
    let mut items = Vec::new();
    let mut seen = HashSet::new();
    let each = match value.kind() {
        ValueKind::None => return Ok(items),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            value.try_iter().map_err(|e| e.to_string())?
        }
        kind => return Err(format!("it must give a list or a table, not {kind}")),
    };
    for item in each {
        let (name, item) = if value.kind() == ValueKind::Map {
            let entry = value.get_item(&item).map_err(|e| e.to_string())?;
            (item.to_string(), table([("key", item), ("value", entry)]))
        } else {
            (item_name(&item)?, item)
        };
        if name.is_empty() || name.contains(|c: char| c.is_control() || c == ']') {
            return Err(format!(
                "`{name}` can't name an item: it would be part of a label"
            ));
        }
        if !seen.insert(name.clone()) {
            return Err(format!("the item `{name}` is there twice"));
        }
        items.push(Item {
            name: name.into(),
            value: item,
        });
    }
    Ok(items)
}

/// Returns what names an item in labels.
fn item_name(item: &Jinja) -> Result<String, String> {
    use minijinja::value::ValueKind;
    match item.kind() {
        ValueKind::String | ValueKind::Number => {
            match crate::catalog::split_placeholders(&item.to_string()).as_deref() {
                Ok([] | [crate::catalog::Piece::Literal(_)]) => Ok(item.to_string()),
                _ => Err("a secret or an output of a step can't be an item".to_owned()),
            }
        }
        ValueKind::Map => ["name", "key"]
            .iter()
            .find_map(|key| item.get_attr(key).ok()?.as_str().map(str::to_owned))
            .ok_or_else(|| "an item that is a table needs a `name`".to_owned()),
        kind => Err(format!("an item can't be {kind}")),
    }
}
