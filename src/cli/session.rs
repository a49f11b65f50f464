//! What most commands begin with: the config chosen and checked, the catalog, the graph, the selection.
//! Connects to nothing.

use std::collections::BTreeMap;

use std::sync::Arc;

use super::Global;
use super::config::{style, tell_drawn};
use super::exit::{CliError, Ending};
use super::home::{Home, HomeError};
use super::print::warn;
use crate::catalog::{AllProblems, Catalog, Rollout, resolve_rollout};
use crate::config::{Node, Pins, Problems, Setting, Stack, render, render_warnings};
use crate::graph::{Graph, SelectError, Selection, Selector, expand};
use crate::secret::private;

/// Config, catalog and graph of one command.
pub struct Session {
    /// The user's folder and files.
    pub home: Home,
    /// The stack.
    pub stack: Arc<Stack>,
    /// The catalog, the user's own tasks and recipes over the embedded ones.
    pub catalog: Catalog,
    /// All steps of the stack.
    pub graph: Arc<Graph>,
    /// How components move over their hosts, by name, as recipes and the config say.
    pub rollouts: BTreeMap<String, Rollout>,
}

impl Session {
    /// Reads the chosen config and makes its graph.
    pub fn open(global: &Global) -> Result<Self, CliError> {
        Self::open_with(global, None)
    }

    /// As [`Self::open`], with another version of one component than the config has.
    pub fn open_with(
        global: &Global,
        version: Option<&(String, String)>,
    ) -> Result<Self, CliError> {
        let home = Home::from_env()?;
        let mut stack = home.load(global.config.as_deref())?;
        if let Some((name, version)) = version {
            let Some(component) = stack.components.get_mut(name) else {
                return Err(CliError::usage(format!(
                    "{} has no component `{name}`",
                    stack.source.name
                ))
                .hint(format!("add it under `components:` first: `{name}: {{}}`")));
            };
            if let Setting::Map(settings) = &mut component.settings.value {
                let node = Node {
                    value: Setting::Text(version.clone()),
                    span: component.span,
                };
                settings.insert("version".to_owned(), (component.span, node));
            }
        }
        warn_of_writable(&home, global.config.as_deref());
        Self::of(home, stack)
    }

    /// As [`Self::open`], with a graph that is held to no pins; returns them.
    pub fn open_without_pins(global: &Global) -> Result<(Self, Arc<Pins>), CliError> {
        let home = Home::from_env()?;
        let mut stack = home.load(global.config.as_deref())?;
        let pins = std::mem::take(&mut stack.pins);
        Ok((Self::of(home, stack)?, pins))
    }

    fn of(home: Home, stack: Stack) -> Result<Self, CliError> {
        let stack = Arc::new(stack);
        let catalog = load_catalog(&home)?;
        let graph = Arc::new(expand(&stack, &catalog)?);
        let rollouts = rollouts(&stack, &catalog)?;
        if !graph.warnings.is_empty() {
            let warnings = Problems {
                source: stack.source.clone(),
                list: graph.warnings.clone(),
            };
            tell_drawn(&render_warnings(&warnings, style()));
        }
        Ok(Self {
            home,
            stack,
            catalog,
            graph,
            rollouts,
        })
    }

    /// Selects steps by expressions; several are united.
    pub fn select(&self, expressions: &[String]) -> Result<Selection, CliError> {
        self.select_within(expressions, None, None)
    }

    /// As [`Self::select`], but runs nothing outside of `limit` and nothing within `exclude`.
    pub fn select_within(
        &self,
        expressions: &[String],
        limit: Option<&str>,
        exclude: Option<&str>,
    ) -> Result<Selection, CliError> {
        let selectors = expressions
            .iter()
            .map(|text| Selector::parse(text))
            .collect::<Result<Vec<_>, _>>()?;
        let limit = limit.map(Selector::parse).transpose()?;
        let exclude = exclude.map(Selector::parse).transpose()?;
        Ok(self
            .graph
            .select_within(&selectors, limit.as_ref(), exclude.as_ref())?)
    }
}

/// Finds how each component of `stack` moves over its hosts.
///
/// # Errors
/// All that is wrong with what the config says of it.
pub fn rollouts(
    stack: &Stack,
    catalog: &Catalog,
) -> Result<BTreeMap<String, Rollout>, AllProblems> {
    let mut problems = AllProblems::default();
    let mut rollouts = BTreeMap::new();
    for recipe in catalog.recipes.values() {
        match resolve_rollout(recipe, stack) {
            Ok(rollout) => rollouts.extend(rollout.map(|rollout| (recipe.name.clone(), rollout))),
            Err(wrong) => problems.extend(wrong),
        }
    }
    problems.into_result(rollouts)
}

/// Warns of a config that others could have changed: it decides what root does on every host. No more than a warning, since
/// some CI runners check everything out as writable by all.
fn warn_of_writable(home: &Home, flag: Option<&str>) {
    let path = match flag {
        Some("-") => return,
        flag => home.select(flag),
    };
    let Ok(path) = path else { return };
    if let Ok(Some(why)) = private::writable_by_others(&path) {
        let shown = home.shown(&path);
        warn(&format!(
            "{shown}: {why}, and it decides what root does on every host; `chmod go-w {shown}`"
        ));
    }
}

/// Reads the catalog, the user's own tasks and recipes over the embedded ones.
pub fn load_catalog(home: &Home) -> Result<Catalog, CliError> {
    Ok(Catalog::load(&super::recipe::files(
        home,
        home.dir(),
        &super::recipe::only_ours,
    )?)?)
}

impl From<Problems> for CliError {
    fn from(problems: Problems) -> Self {
        Self {
            ending: Ending::Usage,
            message: None,
            hint: None,
            rendered: Some(render(&problems, style())),
        }
    }
}

impl From<HomeError> for CliError {
    fn from(error: HomeError) -> Self {
        match error {
            HomeError::Problems(problems) => problems.into(),
            HomeError::Io { .. } => Self::failed(error),
            _ => Self::usage(error),
        }
    }
}

impl From<AllProblems> for CliError {
    fn from(problems: AllProblems) -> Self {
        let drawn: Vec<String> = problems
            .files
            .iter()
            .map(|file| render(file, style()))
            .collect();
        Self {
            ending: Ending::Usage,
            message: None,
            hint: None,
            rendered: Some(drawn.join("\n")),
        }
    }
}

impl From<SelectError> for CliError {
    fn from(error: SelectError) -> Self {
        let marks = " ".repeat(error.expression[..error.at.start].chars().count())
            + &"^".repeat(error.expression[error.at.clone()].chars().count().max(1));
        let mut shown = Self::usage(format!(
            "{}\n\n    {}\n    {marks}",
            error.message, error.expression
        ));
        shown.hint = error.hint;
        shown
    }
}
