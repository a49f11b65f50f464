//! `foundry config`: new configs, and a look at those there are. Does not know recipes; what it must know of them is
//! handed in.

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::Arc;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value as Json, json};

use super::home::{Home, HomeError};
use crate::catalog::{AllProblems, Catalog, settings_schema};
use crate::config::{
    self, ComponentSchema, NewConfig, NewHost, Problem, Problems, SCHEMA_FILE, Stack, Style, stem,
};
use crate::terminal::{self, Page, line};

/// Writes, checks and shows config files
#[derive(Debug, Args)]
#[command(after_help = "\
A config says what a stack should be. Configs lie in ~/.foundry (FOUNDRY_HOME); with more than one, --config or \
FOUNDRY_CONFIG chooses.

Examples:
  foundry config init                                    asks, and writes ~/.foundry/stack.yaml
  foundry config init --name prod --cluster-name prod --host bao-1=192.0.2.11 --component openbao
  foundry config validate --config prod                  everything that is wrong, with its place
  foundry config show                                    what holds: ranges expanded, defaults filled in, secrets redacted")]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Writes a new config, and its schema for editors beside it
    Init(InitArgs),
    /// Checks the config, and what it asks of recipes, without touching any host
    Validate {
        /// How to print what was found
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Shows what holds: hosts expanded, defaults filled in, secrets redacted
    Show {
        /// How to print it: `text` is YAML
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Lists the configs there are, and which one is used
    List {
        /// How to print the list
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Prints the JSON Schema of configs, with the settings of every recipe there is
    Schema,
}

/// How to print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
struct InitArgs {
    /// Name of the file, in ~/.foundry, without `.yaml`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Name of the stack: lower-case letters, digits and `-`
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// Domain of what will run in it
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// A host, or a range of hosts; may be repeated
    #[arg(long = "host", value_name = "NAME[=ADDRESS]")]
    hosts: Vec<NewHost>,
    /// SSH user, if ~/.ssh/config does not say it
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// A component to bring up; may be repeated
    #[arg(long = "component", value_name = "COMPONENT")]
    components: Vec<String>,
    /// Asks for what no flag gives
    #[arg(long, short)]
    interactive: bool,
}

/// Checks a stack beyond its config, and returns what there is to warn of.
pub type Check<'a> = dyn Fn(&Arc<Stack>) -> Result<Vec<Problem>, AllProblems> + 'a;

/// What the commands need from the rest of the command line.
pub struct ConfigContext<'a> {
    /// The user's folder.
    pub home: &'a Home,
    /// `--config`.
    pub chosen: Option<&'a str>,
    /// What the recipes say of their settings.
    pub components: &'a [ComponentSchema],
    /// Checks beyond the config itself: components and settings that recipes know, cycles in the graph.
    pub check: &'a Check<'a>,
}

impl std::fmt::Debug for ConfigContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigContext")
            .field("home", self.home)
            .field("chosen", &self.chosen)
            .finish_non_exhaustive()
    }
}

/// Returns what a catalog's recipes say of their settings, for [`ConfigContext::components`].
#[must_use]
pub fn component_schemas(catalog: &Catalog) -> Vec<ComponentSchema> {
    catalog
        .recipes
        .values()
        .map(|recipe| ComponentSchema {
            name: recipe.name.clone(),
            doc: recipe.summary.clone(),
            roles: recipe.roles.clone(),
            always: recipe.always,
            section: recipe.section.clone(),
            settings: settings_schema(recipe),
        })
        .collect()
}

/// Runs the command.
///
/// # Errors
/// Whatever is wrong with the config or the command line; nothing has been said of it yet.
pub fn run(args: ConfigArgs, context: &ConfigContext<'_>) -> Result<(), HomeError> {
    match args.command {
        ConfigCommand::Init(args) => init(args, context),
        ConfigCommand::Validate { output } => validate(output, context),
        ConfigCommand::Show { output } => show(output, context),
        ConfigCommand::List { output } => list(output, context),
        ConfigCommand::Schema => print_json(&config::schema(context.components)),
    }
}

/// Returns how to draw problems on standard error.
#[must_use]
pub fn style() -> Style {
    let term = console::Term::stderr();
    Style {
        colour: console::colors_enabled_stderr(),
        unicode: console::Emoji("·", "").to_string() == "·",
        width: usize::from(term.size().1).clamp(60, 160),
    }
}

fn init(args: InitArgs, context: &ConfigContext<'_>) -> Result<(), HomeError> {
    let flags =
        args.cluster_name.is_some() || !args.hosts.is_empty() || !args.components.is_empty();
    let person = io::stdin().is_terminal() && terminal::stderr_is_terminal();
    if args.interactive && !person {
        return Err(HomeError::Usage(
            "there is no terminal to ask at; give --cluster-name, --host and --component"
                .to_owned(),
        ));
    }
    let args = if args.interactive || (person && !flags) {
        super::config_wizard::ask(args.into_answers(), context.components)?
    } else {
        args.into_answers()
    };
    let name = args.name.as_deref().map_or("stack", stem);
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
        return Err(HomeError::Usage(format!(
            "`{name}` can't be a config's name: it becomes a file in {}",
            context.home.shown(context.home.dir())
        )));
    }
    let mut components = Vec::new();
    for wanted in &args.components {
        let known = context
            .components
            .iter()
            .find(|known| known.name == *wanted);
        components.push(known.ok_or_else(|| unknown_component(wanted, context.components))?);
    }
    let text = config::new_config(&NewConfig {
        cluster: args.cluster_name.unwrap_or_else(|| name.to_owned()),
        domain: args.domain,
        hosts: args.hosts,
        user: args.user,
        components,
    });
    // What was asked for may be no name or no range: say so before anything is written.
    config::parse(&Arc::new(config::Source {
        name: format!("new {name}.yaml"),
        text: text.clone(),
    }))?;
    let file = format!("{name}.yaml");
    let path = context
        .home
        .create(&file, &text)
        .map_err(|error| match error {
            HomeError::Io { path, error, .. } if error.kind() == io::ErrorKind::AlreadyExists => {
                HomeError::Usage(format!(
                    "{path} is there already; give another --name, or remove it first"
                ))
            }
            other => other,
        })?;
    let schema = config::schema(context.components);
    context
        .home
        .replace(SCHEMA_FILE, &format!("{schema:#}\n"))?;
    let mut page = line(format_args!("wrote {}", context.home.shown(&path)));
    page.gap();
    page.line("next:");
    for (command, what) in [
        (
            format!("config validate --config {name}   "),
            "check it after each change",
        ),
        (
            format!("plan --config {name}              "),
            "what would be done, touching nothing",
        ),
        (format!("build stack --config {name}       "), "do it"),
    ] {
        page.line(format_args!("  foundry {command}{what}"));
    }
    print(&page)
}

fn unknown_component(wanted: &str, known: &[ComponentSchema]) -> HomeError {
    let names = known.iter().map(|component| component.name.as_str());
    let help = config::suggest_help(wanted, names)
        .unwrap_or_else(|| "`foundry component list` shows what there is".to_owned());
    HomeError::Usage(format!("there is no component `{wanted}`; {help}"))
}

/// What a new config is made from.
#[derive(Debug)]
pub(super) struct Answers {
    pub name: Option<String>,
    pub cluster_name: Option<String>,
    pub domain: Option<String>,
    pub hosts: Vec<NewHost>,
    pub user: Option<String>,
    pub components: Vec<String>,
}

impl InitArgs {
    fn into_answers(self) -> Answers {
        Answers {
            name: self.name,
            cluster_name: self.cluster_name,
            domain: self.domain,
            hosts: self.hosts,
            user: self.user,
            components: self.components,
        }
    }
}

fn validate(output: Output, context: &ConfigContext<'_>) -> Result<(), HomeError> {
    let checked = context.home.load(context.chosen).and_then(|stack| {
        let stack = Arc::new(stack);
        let mut list = config::literal_secrets(&stack);
        list.extend((context.check)(&stack)?);
        let source = stack.source.clone();
        Ok((stack, Problems { source, list }))
    });
    match (checked, output) {
        (Ok((stack, warnings)), Output::Text) => {
            if !warnings.is_empty() {
                tell_drawn(&config::render_warnings(&warnings, style()));
            }
            print(&line(format_args!(
                "{} is valid: stack {} with {} and {}",
                stack.source.name,
                stack.name,
                counted(stack.hosts.len(), "host"),
                counted(stack.components.len(), "component"),
            )))
        }
        (Ok((_, warnings)), Output::Json) => print_json(
            &json!({ "valid": true, "problems": [], "warnings": problems_json(&warnings) }),
        ),
        (Err(HomeError::Problems(problems)), Output::Json) => {
            let told: Vec<Json> = problems.files.iter().flat_map(problems_json).collect();
            print_json(&json!({ "valid": false, "problems": told, "warnings": [] }))?;
            Err(problems.into())
        }
        (Err(error), _) => Err(error),
    }
}

fn problems_json(problems: &Problems) -> Vec<Json> {
    problems
        .list
        .iter()
        .map(|problem| {
            json!({
                "file": problems.source.name,
                "message": problem.message,
                "line": problem.span.map(|span| span.line),
                "column": problem.span.map(|span| span.column),
                "help": problem.help,
            })
        })
        .collect()
}

fn show(output: Output, context: &ConfigContext<'_>) -> Result<(), HomeError> {
    let stack = context.home.load(context.chosen)?;
    let effective = config::effective(&stack, context.components);
    if output == Output::Json {
        return print_json(&effective);
    }
    let yaml = serde_yaml::to_string(&effective)
        .map_err(|error| HomeError::Usage(format!("can't write this config as YAML: {error}")))?;
    print_data(&yaml)
}

fn list(output: Output, context: &ConfigContext<'_>) -> Result<(), HomeError> {
    let home = context.home;
    let chosen = home.select(context.chosen).ok();
    let mut paths: Vec<_> = home
        .configs()?
        .iter()
        .map(|name| home.dir().join(name))
        .collect();
    if let Some(chosen) = &chosen
        && !paths.contains(chosen)
    {
        paths.push(chosen.clone());
    }
    let rows: Vec<Json> = paths
        .iter()
        .map(|path| row(home, path, chosen.as_deref() == Some(path.as_path())))
        .collect();
    if output == Output::Json {
        return print_json(&Json::Array(rows));
    }
    if rows.is_empty() {
        return print(&line(format_args!(
            "no configs in {}; `foundry config init` writes one, `foundry lab up` makes hosts to try it on",
            home.shown(home.dir())
        )));
    }
    let width = |key: &str| {
        rows.iter()
            .map(|row| as_text(&row[key]).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (name, file) = (width("name").max(4), width("file").max(4));
    let mut text = line(format_args!("  {:name$}  {:file$}  STACK", "NAME", "FILE"));
    for row in &rows {
        let mark = if row["chosen"] == json!(true) {
            "*"
        } else {
            " "
        };
        let stack = match row["error"].as_str() {
            Some(error) => error.to_owned(),
            None => format!(
                "{}, {}",
                as_text(&row["cluster"]),
                counted(
                    usize::try_from(row["hosts"].as_u64().unwrap_or(0)).unwrap_or(0),
                    "host"
                )
            ),
        };
        text.line(format_args!(
            "{mark} {:name$}  {:file$}  {stack}",
            as_text(&row["name"]),
            as_text(&row["file"])
        ));
    }
    if chosen.is_none() {
        text.gap();
        text.line("none is used: choose with --config NAME or FOUNDRY_CONFIG");
    }
    print(&text)
}

fn row(home: &Home, path: &Path, chosen: bool) -> Json {
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut row = json!({ "name": stem(&name), "file": home.shown(path), "chosen": chosen });
    match home.load_path(path) {
        Ok(stack) => {
            row["cluster"] = json!(stack.name);
            row["hosts"] = json!(stack.hosts.len());
        }
        Err(HomeError::Problems(problems)) => {
            row["error"] = json!(counted(
                problems.files.iter().map(|file| file.list.len()).sum(),
                "problem"
            ));
        }
        Err(error) => row["error"] = json!(error.to_string()),
    }
    row
}

fn as_text(value: &Json) -> &str {
    value.as_str().unwrap_or("")
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn print_json(value: &Json) -> Result<(), HomeError> {
    print_data(&terminal::escape_json(&format!("{value:#}\n")))
}

fn print(page: &Page) -> Result<(), HomeError> {
    terminal::page(page).map_err(unwritten)
}

fn print_data(text: &str) -> Result<(), HomeError> {
    terminal::data(text).map_err(unwritten)
}

fn unwritten(error: io::Error) -> HomeError {
    HomeError::Io {
        what: "write",
        path: "standard output".to_owned(),
        error,
    }
}

/// Writes problems, as they were drawn, to standard error.
pub fn tell_drawn(drawn: &str) {
    let mut page = Page::new();
    page.drawn(&terminal::from_ansi(drawn));
    terminal::tell(&page);
}
