//! Finds in recipes what parses but can't be right: unknown names, settings nobody reads, services that watch nothing.
//! Pure; what only shows on hosts is found by expanding a made-up stack, which `graph` does.

use std::collections::BTreeSet;

use super::Catalog;
use super::lint::FUNCTIONS;
use super::lint_text;
use super::parse_recipe::each_text;
use super::problems::AllProblems;
use super::recipe::{Images, Recipe, RecipeStep, StackCheck};
use super::rollout::Canary;
use super::task::{Collector, Task, Template, ValueType};
use super::template::mentions;
use super::value::Value;
use crate::config::{Problem, suggest_help};

/// What the templates of a recipe's steps can mention.
const VARIABLES: &[&str] = &[
    "settings",
    "stack",
    "host",
    "hosts",
    "others",
    "components",
    "artifacts",
    "versions",
    "images",
    "item",
    "steps",
    "file",
    "file_raw",
    "pinned",
    "pinned_tag",
    "pinned_digest",
];

/// Looks at one recipe.
pub(super) fn lint_recipe(catalog: &Catalog, recipe: &Recipe, problems: &mut AllProblems) {
    let mut linter = Linter { recipe, problems };
    for (name, step) in &recipe.steps {
        linter.step(catalog, name, step);
    }
    for (at, name) in recipe.health.iter().enumerate() {
        if !recipe.steps.contains_key(name) {
            let help = suggest_help(name, recipe.steps.keys().map(String::as_str));
            linter.say(
                &["health", &at.to_string()],
                format!("there is no step `{name}`"),
                help,
            );
        }
    }
    linter.rollout();
    if let Some(all) = recipe.steps.get_key_value("all") {
        linter.say(
            &["steps", all.0],
            "a step can't be called `all`: that is the whole component".to_owned(),
            None,
        );
    }
    for (name, check) in &recipe.checks {
        linter.check(name, check);
    }
    for (name, images) in &recipe.images {
        linter.images(name, images);
    }
    linter.unused(catalog);
    lint_text::lint_texts(catalog, recipe, problems);
}

struct Linter<'a> {
    recipe: &'a Recipe,
    problems: &'a mut AllProblems,
}

impl Linter<'_> {
    fn say(&mut self, path: &[&str], message: String, help: Option<String>) {
        let mut problem = Problem::new(message).maybe_help(help);
        problem.span = self.recipe.written.at(path);
        self.problems.push(&self.recipe.written.source, problem);
    }

    /// A rollout names steps of the recipe and no hosts, of which a recipe knows none.
    fn rollout(&mut self) {
        let recipe = self.recipe;
        let Some(rollout) = &recipe.rollout else {
            return;
        };
        for name in rollout.gate.iter().flatten() {
            if !recipe.steps.contains_key(name) {
                let help = suggest_help(name, recipe.steps.keys().map(String::as_str));
                self.say(
                    &["rollout", "gate"],
                    format!("there is no step `{name}`"),
                    help,
                );
            }
        }
        if matches!(rollout.canary, Some(Canary::Hosts(_))) {
            self.say(
                &["rollout", "canary"],
                "a recipe knows no hosts by name".to_owned(),
                Some("say how many (`1`, \"5%\"); a config may name them".to_owned()),
            );
        }
        let ungated = rollout.gate.as_ref().unwrap_or(&recipe.health).is_empty();
        if rollout.soak.is_some() && ungated {
            self.say(
                &["rollout", "soak"],
                "after the soak time nothing is looked at: there is neither a `gate` nor `health`"
                    .to_owned(),
                None,
            );
        }
    }

    fn step(&mut self, catalog: &Catalog, name: &str, step: &RecipeStep) {
        let mut texts: Vec<(Vec<&str>, &str)> = Vec::new();
        for (input, value) in &step.with {
            each_text(value, &mut |text| {
                texts.push((vec!["steps", name, "with", input], text));
            });
        }
        for (key, template) in [("when", &step.when), ("for_each", &step.for_each)] {
            texts.extend(
                template
                    .as_ref()
                    .map(|template| (vec!["steps", name, key], template.0.as_str())),
            );
        }
        for (path, text) in texts {
            self.variables(&path, text);
        }
        let Some(task) = catalog.tasks.get(&step.uses) else {
            let help = suggest_help(&step.uses, catalog.tasks.keys().map(String::as_str));
            return self.say(
                &["steps", name, "uses"],
                format!("there is no task `{}`", step.uses),
                help,
            );
        };
        if step.watch.is_empty() && restarts_on(task).any(|input| given(step, input)) {
            self.say(
                &["steps", name],
                format!("step `{name}` restarts when files are newer than its process, but watches no step that writes them"),
                Some("name those steps under `watch`: then it is looked at again once one of them has run".to_owned()),
            );
        }
    }

    /// A check is about the stack as a whole: it sees no host, and nothing that only a run finds out.
    fn check(&mut self, name: &str, check: &StackCheck) {
        const SEEN: &[&str] = &["settings", "stack", "hosts", "components"];
        let say = if check.refuse { "refuse" } else { "warn" };
        let texts = [
            ("when", Some(&check.when)),
            (say, Some(&check.say)),
            ("help", check.help.as_ref()),
        ];
        for (key, template) in texts {
            if let Some(template) = template {
                self.mentioned(&["checks", name, key], &template.0, SEEN);
            }
        }
        if let Some(setting) = &check.setting
            && !self.recipe.settings.contains_key(setting)
        {
            let help = suggest_help(setting, self.recipe.settings.keys().map(String::as_str));
            let message = format!("the recipe has no setting `{setting}`");
            self.say(&["checks", name, "setting"], message, help);
        }
    }

    /// Images are those of the stack as a whole: which they are hangs on no host, and on nothing that only a run finds out.
    fn images(&mut self, name: &str, images: &Images) {
        const SEEN: &[&str] = &["settings", "stack", "hosts", "components", "versions"];
        let texts = images.image.iter().map(|image| ("image", image));
        for (key, template) in texts.chain(images.when.iter().map(|when| ("when", when))) {
            self.mentioned(&["images", name, key], &template.0, SEEN);
        }
    }

    fn variables(&mut self, path: &[&str], text: &str) {
        self.mentioned(path, text, VARIABLES);
    }

    /// Looks at what a template mentions; `seen` are the variables that it can.
    fn mentioned(&mut self, path: &[&str], text: &str, seen: &[&'static str]) {
        let known = || seen.iter().chain(FUNCTIONS).copied();
        for mention in mentions(&Template(text.to_owned())).unwrap_or_default() {
            let mut parts = mention.split('.');
            let name = parts.next().unwrap_or_default();
            if !known().any(|known| known == name) {
                self.say(
                    path,
                    format!("templates know no `{name}`"),
                    suggest_help(name, known()),
                );
            } else if let ("settings", Some(setting)) = (name, parts.next())
                && !self.recipe.settings.contains_key(setting)
            {
                let help = suggest_help(setting, self.recipe.settings.keys().map(String::as_str));
                self.say(path, format!("the recipe has no setting `{setting}`"), help);
            }
        }
    }

    /// Finds settings, pools, artifacts and files that nothing names.
    fn unused(&mut self, catalog: &Catalog) {
        let recipe = self.recipe;
        let mut text = String::new();
        for step in recipe.steps.values() {
            for value in step.with.values() {
                each_text(value, &mut |t| text.extend([t, "\n"]));
            }
            for template in [&step.when, &step.for_each].into_iter().flatten() {
                text.extend([template.0.as_str(), "\n"]);
            }
        }
        for artifact in recipe.artifacts.values() {
            for template in [
                Some(&artifact.url),
                artifact.checksums.as_ref(),
                artifact.version.as_ref(),
            ]
            .into_iter()
            .flatten()
            {
                text.extend([template.0.as_str(), "\n"]);
            }
        }
        let steps = text.clone();
        for check in recipe.checks.values() {
            text.extend([check.when.0.as_str(), "\n", check.say.0.as_str(), "\n"]);
        }
        for images in recipe.images.values() {
            for template in images.image.iter().chain(&images.when) {
                text.extend([template.0.as_str(), "\n"]);
            }
        }
        recipe
            .files
            .values()
            .for_each(|file| text.extend([file.as_str(), "\n"]));
        let everywhere: Vec<&str> = catalog
            .recipes
            .values()
            .map(|recipe| recipe.written.source.text.as_str())
            .collect();
        let read = |kind: &str, name: &str| {
            let plain = [
                format!("{kind}.{name}"),
                format!("{kind}['{name}']"),
                format!("{kind}[\"{name}\"]"),
            ];
            plain.iter().any(|mention| text.contains(mention.as_str()))
        };
        for name in recipe.settings.keys() {
            let versions = name == "version" && !recipe.artifacts.is_empty();
            let elsewhere = format!("components.{}.settings.{name}", recipe.name);
            if !versions
                && !read("settings", name)
                && !everywhere.iter().any(|text| text.contains(&elsewhere))
            {
                self.say(
                    &["settings", name],
                    format!("nothing reads the setting `{name}`"),
                    None,
                );
            }
        }
        for name in recipe
            .artifacts
            .keys()
            .filter(|name| !read("artifacts", name))
        {
            self.say(
                &["artifacts", name],
                format!("nothing gets the artifact `{name}`"),
                None,
            );
        }
        let pools: BTreeSet<&str> = recipe
            .steps
            .values()
            .filter_map(|step| step.pool.as_deref())
            .collect();
        for name in recipe
            .pools
            .keys()
            .filter(|name| !pools.contains(name.as_str()))
        {
            let elsewhere = format!("{}:{name}", recipe.name);
            if !everywhere.iter().any(|text| text.contains(&elsewhere)) {
                self.say(
                    &["pools", name],
                    format!("no step is in the pool `{name}`"),
                    None,
                );
            }
        }
        for name in recipe.files.keys() {
            let named = steps.contains(name.as_str())
                || recipe
                    .files
                    .iter()
                    .any(|(other, text)| other != name && text.contains(name.as_str()));
            if !named {
                self.say(&[], format!("nothing renders the file `{name}`"), None);
            }
        }
    }
}

/// Returns the inputs of a task that name files whose being newer than a process means a restart.
fn restarts_on(task: &Task) -> impl Iterator<Item = &str> {
    let read: BTreeSet<String> = task
        .probe
        .questions
        .iter()
        .filter(|question| question.collector == Collector::Fresh)
        .flat_map(|question| mentions(&question.subject).unwrap_or_default())
        .collect();
    task.inputs
        .iter()
        .filter(move |(name, input)| {
            read.contains(*name) && input.kind == ValueType::List(Box::new(ValueType::Path))
        })
        .map(|(name, _)| name.as_str())
}

fn given(step: &RecipeStep, input: &str) -> bool {
    step.with
        .get(input)
        .is_some_and(|value| *value != Value::List(Vec::new()) && *value != Value::Null)
}
