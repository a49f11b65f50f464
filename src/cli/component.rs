//! `foundry component …`: one component at a time.

use serde::Serialize;

use super::Global;
use super::build::{BuildOptions, build};
use super::exit::{CliError, CliResult};
use super::home::Home;
use super::print::{Output, print, print_json, table};
use super::session::load_catalog;
use super::status::status;
use crate::config::nearest;

/// Lists, installs and shows components
#[derive(Debug, clap::Args)]
pub struct ComponentArgs {
    #[command(subcommand)]
    command: ComponentCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ComponentCommand {
    /// Lists every component there is a recipe for, and whether the stack has it
    List {
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Makes one component, and what it needs, as the config says (as `foundry build NAME`)
    Install {
        /// Component
        name: String,
        /// Version to install in place of the config's
        #[arg(long)]
        version: Option<String>,
        /// Only show what would run, and why
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        options: Box<BuildOptions>,
    },
    /// Asks whether one component is as wanted and healthy; exit code 2 if not
    Status {
        /// Component
        name: String,
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

/// Runs a `foundry component` command.
pub async fn component(args: ComponentArgs, global: &Global) -> CliResult {
    match args.command {
        ComponentCommand::List { output } => list(output, global),
        ComponentCommand::Install {
            name,
            version,
            dry_run,
            mut options,
        } => {
            known(&name)?;
            options.version = version.map(|version| (name.clone(), version));
            build(&[name], dry_run, &options, global).await
        }
        ComponentCommand::Status { name, output } => {
            known(&name)?;
            status(&[name], output, global).await
        }
    }
}

/// Refuses what is no component: `install` and `status` take no labels.
fn known(name: &str) -> CliResult {
    let catalog = load_catalog(&Home::from_env()?)?;
    if catalog.recipes.contains_key(name) {
        return Ok(());
    }
    let error = CliError::usage(format!("there is no component `{name}`"));
    Err(
        match nearest(name, catalog.recipes.keys().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("`foundry component list` shows all"),
        },
    )
}

#[derive(Debug, Serialize)]
struct Listed {
    component: String,
    summary: String,
    version: Option<String>,
    in_stack: Option<bool>,
}

fn list(output: Output, global: &Global) -> CliResult {
    let home = Home::from_env()?;
    let catalog = load_catalog(&home)?;
    // Without a config (or with several) the list is still worth having.
    let stack = home.load(global.config.as_deref()).ok();
    let listed: Vec<Listed> = catalog
        .recipes
        .values()
        .map(|recipe| Listed {
            component: recipe.name.clone(),
            summary: recipe.summary.clone(),
            version: match recipe
                .settings
                .get("version")
                .and_then(|spec| spec.default.as_ref())
            {
                Some(crate::catalog::Value::Text(version)) => Some(version.clone()),
                _ => None,
            },
            in_stack: stack
                .as_ref()
                .map(|stack| recipe.always || stack.components.contains_key(&recipe.name)),
        })
        .collect();
    if output == Output::Json {
        return print_json(&listed);
    }
    let rows: Vec<Vec<String>> = listed
        .into_iter()
        .map(|component| {
            let used = match component.in_stack {
                Some(true) => "yes",
                Some(false) => "no",
                None => "-",
            };
            vec![
                component.component,
                component.version.unwrap_or_default(),
                used.to_owned(),
                component.summary,
            ]
        })
        .collect();
    print(&table(&["COMPONENT", "VERSION", "IN STACK", "WHAT"], &rows))
}
