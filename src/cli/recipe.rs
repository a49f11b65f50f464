//! `foundry recipe lint|list|show`, and the catalog that every command works with: what is in the binary, overlaid by
//! the user's folder. Reads files and runs shellcheck; what is right or wrong is decided in `catalog` and `graph`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::config::style;
use super::exit::{CliError, CliResult, Ending};
use super::home::Home;
use super::print::{Output, print, print_json, table, warn};
use super::session::load_catalog;
use crate::catalog::{AllProblems, Catalog, Files, SettingSpec, lint, scripts};
use crate::config::{render, suggest_help};
use crate::graph::expand_made_up;
use crate::secret::private;
use crate::terminal::{Page, from_ansi, line};

/// Lists, shows and checks recipes: those built in, and your own
#[derive(Debug, Args)]
pub struct RecipeArgs {
    #[command(subcommand)]
    command: RecipeCommand,
}

#[derive(Debug, Subcommand)]
enum RecipeCommand {
    /// Checks recipes and tasks: names, types, facts, secrets, cycles, and every script by shellcheck
    Lint {
        /// Folder with `tasks/` and `recipes/`, laid over those built in (else the folder of your configs)
        dir: Option<PathBuf>,
        /// How to show what was found
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Lists every recipe there is
    List {
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Shows a recipe's settings and steps
    Show {
        /// Component
        name: String,
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

/// Something that a lint found, for programs.
#[derive(Debug, Serialize)]
struct Finding<'a> {
    file: &'a str,
    line: Option<u32>,
    column: Option<u32>,
    message: &'a str,
    help: Option<&'a str>,
}

/// A recipe, for programs.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    summary: &'a str,
    file: &'a str,
    settings: serde_json::Value,
    steps: Vec<ShownStep<'a>>,
}

#[derive(Debug, Serialize)]
struct ShownStep<'a> {
    name: &'a str,
    uses: &'a str,
    needs: &'a [String],
    watch: &'a [String],
}

/// Runs a `foundry recipe` command.
pub fn recipe(args: RecipeArgs) -> CliResult {
    let home = Home::from_env()?;
    match args.command {
        RecipeCommand::Lint { dir, output } => lint_command(&home, dir.as_deref(), output),
        RecipeCommand::List { output } => list(&home, output),
        RecipeCommand::Show { name, output } => show(&home, &name, output),
    }
}

fn lint_command(home: &Home, dir: Option<&Path>, output: Output) -> CliResult {
    if let Some(dir) = dir.filter(|dir| !dir.is_dir()) {
        return Err(CliError::usage(format!("{} is no folder", dir.display())));
    }
    let (found, checked) = lint_all(&files(home, dir.unwrap_or(home.dir()), &|_| Ok(()))?)?;
    if !checked {
        warn(
            "the scripts were not checked: shellcheck is not installed (apt-get install shellcheck)",
        );
    }
    match output {
        Output::Json => print_json(&findings(&found).collect::<Vec<_>>())?,
        Output::Text if found.is_empty() => print(&line("nothing found"))?,
        Output::Text => {
            let mut page = Page::new();
            for (at, file) in found.files.iter().enumerate() {
                if at > 0 {
                    page.gap();
                }
                page.drawn(&from_ansi(&render(file, style())));
            }
            print(&page)?;
        }
    }
    if found.is_empty() {
        Ok(())
    } else {
        Err(CliError::quiet(Ending::Failed))
    }
}

fn list(home: &Home, output: Output) -> CliResult {
    let catalog = load_catalog(home)?;
    let recipes = catalog.recipes.values();
    match output {
        Output::Json => {
            let all: Vec<_> = recipes
                .map(|recipe| {
                    serde_json::json!({
                        "name": recipe.name,
                        "summary": recipe.summary,
                        "file": recipe.written.source.name,
                    })
                })
                .collect();
            print_json(&all)
        }
        Output::Text => {
            let rows: Vec<_> = recipes
                .map(|recipe| {
                    vec![
                        recipe.name.clone(),
                        recipe.written.source.name.clone(),
                        recipe.summary.clone(),
                    ]
                })
                .collect();
            print(&table(&["RECIPE", "FILE", "SUMMARY"], &rows))
        }
    }
}

fn show(home: &Home, name: &str, output: Output) -> CliResult {
    let catalog = load_catalog(home)?;
    let Some(recipe) = catalog.recipes.get(name) else {
        let error = CliError::usage(format!("there is no recipe `{name}`"));
        return Err(
            match suggest_help(name, catalog.recipes.keys().map(String::as_str)) {
                Some(help) => error.hint(help),
                None => error,
            },
        );
    };
    if output == Output::Json {
        return print_json(&Shown {
            name: &recipe.name,
            summary: &recipe.summary,
            file: &recipe.written.source.name,
            settings: crate::catalog::settings_schema(recipe),
            steps: recipe
                .steps
                .iter()
                .map(|(name, step)| ShownStep {
                    name,
                    uses: &step.uses,
                    needs: &step.needs,
                    watch: &step.watch,
                })
                .collect(),
        });
    }
    let mut rows = Vec::new();
    settings(&mut rows, "", &recipe.settings);
    let steps: Vec<Vec<String>> = recipe
        .steps
        .iter()
        .map(|(name, step)| {
            let after: Vec<&str> = step
                .needs
                .iter()
                .chain(&step.watch)
                .map(String::as_str)
                .collect();
            vec![name.clone(), step.uses.clone(), after.join(", ")]
        })
        .collect();
    let mut page = line(&recipe.summary);
    page.line(&recipe.written.source.name);
    page.gap();
    page.page(&table(&["SETTING", "TYPE", "WHAT"], &rows));
    page.gap();
    page.page(&table(&["STEP", "TASK", "AFTER"], &steps));
    print(&page)
}

/// Returns the files of the catalog: those built in, overlaid by `tasks/` and `recipes/` of `dir`.
///
/// # Errors
/// When a file or folder is there but can't be read.
pub fn files(home: &Home, dir: &Path, trusted: Trusted<'_>) -> Result<Files, CliError> {
    let mut own = Files::default();
    let shown = format!("{}/", home.shown(dir));
    for folder in ["tasks", "recipes"] {
        let start = dir.join(folder);
        if start.is_dir() {
            trusted(dir)
                .map_err(|error| (dir.to_owned(), error))
                .and_then(|()| read_folder(dir, &shown, &start, &mut own, trusted))
                .map_err(|(path, error)| unusable(&home.shown(&path), &error))?;
        }
    }
    Ok(Files::embedded().overlaid(own))
}

/// Judges a file or folder before it is read.
pub type Trusted<'a> = &'a dyn Fn(&Path) -> io::Result<()>;

/// Refuses what another user could have written: recipes run as root on every host.
///
/// # Errors
/// If another user could have, or it can't be looked at.
pub fn only_ours(path: &Path) -> io::Result<()> {
    match private::writable_by_others(path)? {
        None => Ok(()),
        Some(why) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{why}, and recipes run as root on every host"),
        )),
    }
}

fn unusable(shown: &str, error: &io::Error) -> CliError {
    if error.kind() == io::ErrorKind::PermissionDenied && error.get_ref().is_some() {
        return CliError::usage(format!("{shown} is not used: {error}")).hint(format!(
            "look through what is in it, then `chmod -R go-w {shown}`, or `chown -R` it to yourself"
        ));
    }
    CliError::failed(format!("can't read {shown}: {error}"))
}

fn read_folder(
    root: &Path,
    shown: &str,
    folder: &Path,
    files: &mut Files,
    trusted: Trusted<'_>,
) -> Result<(), (PathBuf, io::Error)> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    trusted(folder).map_err(failed(folder))?;
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.is_dir() {
            read_folder(root, shown, &path, files, trusted)?;
        } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            trusted(&path).map_err(failed(&path))?;
            let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
            files.add(shown, &name.replace('\\', "/"), &text);
        }
    }
    Ok(())
}

/// Lints everything; also returns whether shellcheck was there to read the scripts.
fn lint_all(files: &Files) -> Result<(AllProblems, bool), CliError> {
    let catalog = match Catalog::load(files) {
        Ok(catalog) => catalog,
        Err(problems) => return Ok((problems, true)),
    };
    let mut found = AllProblems::default();
    for problems in [lint(&catalog), expand_made_up(&catalog)]
        .into_iter()
        .filter_map(Result::err)
    {
        problems
            .files
            .into_iter()
            .for_each(|file| found.extend(file));
    }
    let checked = shellcheck(&catalog, &mut found)?;
    Ok((found.sorted(), checked))
}

/// Runs shellcheck over every script, with the task's inputs declared. `false`: it is not installed.
fn shellcheck(catalog: &Catalog, found: &mut AllProblems) -> Result<bool, CliError> {
    #[derive(serde::Deserialize)]
    struct Answer {
        comments: Vec<Comment>,
    }
    #[derive(serde::Deserialize)]
    struct Comment {
        file: String,
        line: u32,
        code: u32,
        message: String,
    }
    let folder = tempfile::tempdir()?;
    let all: Vec<_> = catalog
        .tasks
        .values()
        .flat_map(|task| scripts(task))
        .collect();
    let mut declared = BTreeMap::new();
    for (number, script) in all.iter().enumerate() {
        let mut text = String::from("#!/bin/sh\n: \"${label:=}\"\n");
        for name in script.task.inputs.keys() {
            let _ = writeln!(text, ": \"${{{name}:=}}\"");
        }
        let lines = u32::try_from(text.lines().count()).unwrap_or(0);
        let path = folder.path().join(format!("{number}.sh"));
        std::fs::write(&path, text + script.text)?;
        declared.insert(path.display().to_string(), (lines, script));
    }
    if declared.is_empty() {
        return Ok(true);
    }
    let output = match Command::new("shellcheck")
        .args(["-s", "dash", "-f", "json1", "--"])
        .args(declared.keys())
        .output()
    {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(CliError::failed(format!("can't run shellcheck: {error}"))),
    };
    let answer: Answer = serde_json::from_slice(&output.stdout).map_err(|_| {
        CliError::failed(format!(
            "shellcheck failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    })?;
    for comment in answer.comments {
        let Some((lines, script)) = declared.get(&comment.file) else {
            continue;
        };
        let help = format!("https://www.shellcheck.net/wiki/SC{}", comment.code);
        script.report(
            found,
            comment.line.saturating_sub(*lines).max(1),
            format!("shellcheck: {}", comment.message),
            Some(help),
        );
    }
    Ok(true)
}

fn findings(found: &AllProblems) -> impl Iterator<Item = Finding<'_>> {
    found.files.iter().flat_map(|file| {
        file.list.iter().map(|problem| Finding {
            file: &file.source.name,
            line: problem.span.map(|span| span.line),
            column: problem.span.map(|span| span.column),
            message: &problem.message,
            help: problem.help.as_deref(),
        })
    })
}

fn settings(
    rows: &mut Vec<Vec<String>>,
    prefix: &str,
    specs: &indexmap::IndexMap<String, SettingSpec>,
) {
    for (name, spec) in specs {
        rows.push(vec![
            format!("{prefix}{name}"),
            spec.kind.to_string(),
            spec.doc.clone(),
        ]);
        settings(rows, &format!("{prefix}{name}."), &spec.fields);
    }
}
