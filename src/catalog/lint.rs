//! Finds in tasks what parses but can't be right: inputs nobody uses, facts nobody prints, secrets on command lines.
//! Pure. Recipes are looked at in `lint_recipe`, scripts properly by shellcheck, which the command line runs.

use std::collections::BTreeSet;

use super::problems::AllProblems;
use super::script::Variables;
use super::task::{Task, Template};
use super::template::mentions;
use super::{Catalog, lint_listeners, lint_recipe};
use crate::config::{Problem, suggest_help};

/// Functions of the template language itself.
pub(super) const FUNCTIONS: &[&str] = &["range", "dict", "namespace", "loop"];

/// A script of a task and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Script<'a> {
    /// Its task.
    pub task: &'a Task,
    /// Table that it stands in: `probe`, `apply` or `remove`.
    pub table: &'static str,
    /// The text.
    pub text: &'a str,
}

impl Script<'_> {
    /// Adds a problem at a line of the script.
    pub fn report(
        &self,
        problems: &mut AllProblems,
        line: u32,
        message: String,
        help: Option<String>,
    ) {
        let mut problem = Problem::new(message).maybe_help(help);
        problem.span = self
            .task
            .written
            .line_at(&[self.table, "script"], Some(line));
        problems.push(&self.task.written.source, problem);
    }
}

/// Returns every script of a task.
#[must_use]
pub fn scripts(task: &Task) -> Vec<Script<'_>> {
    let mut found = Vec::new();
    if let Some(text) = &task.probe.script {
        found.push(Script {
            task,
            table: "probe",
            text,
        });
    }
    for (table, effect) in [("apply", &task.apply), ("remove", &task.remove)] {
        if let Some(text) = effect.as_ref().and_then(|effect| effect.script.as_deref()) {
            found.push(Script { task, table, text });
        }
    }
    found
}

/// Looks at every task and recipe.
///
/// # Errors
/// All that was found.
pub fn lint(catalog: &Catalog) -> Result<(), AllProblems> {
    let mut problems = AllProblems::default();
    for task in catalog.tasks.values() {
        lint_task(task, &mut problems);
    }
    for recipe in catalog.recipes.values() {
        lint_recipe::lint_recipe(catalog, recipe, &mut problems);
        lint_listeners::lint_listeners(recipe, &mut problems);
    }
    problems.into_result(())
}

fn lint_task(task: &Task, problems: &mut AllProblems) {
    let mut used = BTreeSet::new();
    templates(task, &mut used, problems);
    for script in scripts(task) {
        lint_script(&script, &mut used, problems);
    }
    let mut say = |path: &[&str], message: String, help: Option<&str>| {
        let mut problem = Problem::new(message).maybe_help(help.map(str::to_owned));
        problem.span = task.written.at(path);
        problems.push(&task.written.source, problem);
    };
    // A built-in action reads inputs by itself.
    let actions = [&task.apply, &task.remove].iter().any(|effect| {
        effect
            .as_ref()
            .is_some_and(|effect| effect.action.is_some())
    });
    if task.probe.action.is_none() && !actions {
        for name in task.inputs.keys().filter(|name| !used.contains(*name)) {
            say(
                &["inputs", name],
                format!("nothing uses the input `{name}`"),
                Some("use it in a template or as a variable of a script, or take it out"),
            );
        }
    }
    for fact in task.expect.keys().filter(|fact| !can_print(task, fact)) {
        say(
            &["expect", fact],
            format!("no probe prints the fact `{fact}`"),
            known_facts(task).as_deref(),
        );
    }
    for (name, output) in &task.outputs {
        for mention in mentions(&output.from).unwrap_or_default() {
            if let Some(fact) = mention.strip_prefix("facts.")
                && !can_print(task, fact)
            {
                say(
                    &["outputs", name, "from"],
                    format!("no probe prints the fact `{fact}`"),
                    known_facts(task).as_deref(),
                );
            }
        }
    }
    let probes = !task.probe.questions.is_empty()
        || task.probe.script.is_some()
        || task.probe.action.is_some();
    let told = probes && !task.expect.is_empty();
    if task.apply.is_some() && !task.stamp && !told {
        say(
            &["apply"],
            "nothing tells whether this task is done".to_owned(),
            Some("say what a probe must find under `[expect]`, or set `stamp = true`"),
        );
    }
}

/// Checks the variables of all templates.
fn templates(task: &Task, used: &mut BTreeSet<String>, problems: &mut AllProblems) {
    let mut check = |template: &Template, path: &[&str], facts: bool| {
        for mention in mentions(template).unwrap_or_default() {
            let name = mention.split('.').next().unwrap_or_default();
            if task.inputs.contains_key(name) {
                used.insert(name.to_owned());
            } else if (!facts || name != "facts") && !FUNCTIONS.contains(&name) {
                let mut problem = Problem::new(format!("there is no input `{name}`"))
                    .maybe_help(suggest_help(name, task.inputs.keys().map(String::as_str)));
                problem.span = task.written.at(path);
                problems.push(&task.written.source, problem);
            }
        }
    };
    for question in &task.probe.questions {
        let name = super::parse_task::COLLECTORS
            .iter()
            .find(|(_, collector)| *collector == question.collector);
        check(
            &question.subject,
            &["probe", name.map_or("", |(name, _)| name)],
            false,
        );
    }
    if let Some(when) = &task.probe.when {
        check(when, &["probe", "when"], false);
    }
    for (fact, template) in &task.expect {
        check(template, &["expect", fact], false);
    }
    for (name, output) in &task.outputs {
        check(&output.from, &["outputs", name, "from"], true);
    }
    for (table, effect) in [("apply", &task.apply), ("remove", &task.remove)] {
        if let Some(stdin) = effect.as_ref().and_then(|effect| effect.stdin.as_ref()) {
            check(stdin, &[table, "stdin"], false);
        }
    }
}

fn lint_script(script: &Script<'_>, used: &mut BTreeSet<String>, problems: &mut AllProblems) {
    let inputs = &script.task.inputs;
    let variables = Variables::of(script.text);
    used.extend(variables.uses.iter().map(|u| u.name.clone()));
    for unknown in variables.unknown(&|name| inputs.contains_key(name)) {
        let message = format!(
            "`${}` is neither an input nor set in this script",
            unknown.name
        );
        script.report(
            problems,
            unknown.line,
            message,
            suggest_help(&unknown.name, inputs.keys().map(String::as_str)),
        );
    }
    for u in &variables.uses {
        if let Some(command) = &u.command
            && inputs.get(&u.name).is_some_and(|input| input.secret)
        {
            let message = format!(
                "`${}` may be secret, and every user of the host sees the arguments of `{command}`",
                u.name
            );
            script.report(
                problems,
                u.line,
                message,
                Some(
                    "hand it on standard input: `stdin = …`, or `printf %s \"$x\" | …`".to_owned(),
                ),
            );
        }
    }
}

/// Returns whether a probe of the task may print the fact `name`.
fn can_print(task: &Task, name: &str) -> bool {
    let by_collector = task.probe.questions.iter().any(|question| {
        let bare = match question.prefix.as_str() {
            "" => Some(name),
            prefix => name
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix('.')),
        };
        bare.is_some_and(|bare| question.collector.facts().contains(&bare))
    });
    by_collector
        || task.probe.action.is_some()
        || task
            .probe
            .script
            .as_ref()
            .is_some_and(|script| script.contains(name))
}

fn known_facts(task: &Task) -> Option<String> {
    let facts: BTreeSet<String> = task
        .probe
        .questions
        .iter()
        .flat_map(|question| {
            question
                .collector
                .facts()
                .iter()
                .map(move |fact| match question.prefix.as_str() {
                    "" => (*fact).to_owned(),
                    prefix => format!("{prefix}.{fact}"),
                })
        })
        .collect();
    (!facts.is_empty()).then(|| {
        format!(
            "its collectors print {}",
            facts.into_iter().collect::<Vec<_>>().join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Files;

    const TASK: &str = r#"
summary = "A task"
[inputs]
path   = { type = "path" }
token  = { type = "string", secret = "maybe" }
files  = { type = ["path"], default = [] }
[outputs]
id     = { type = "string", from = "{{ facts.id }}" }
[probe]
stat   = "{{ path }}"
fresh  = { unit = "x", paths = "{{ files }}" }
script = """
echo id=1
"""
[expect]
mode   = "0644"
fresh  = "yes"
[apply]
stdin  = "{{ token }}"
script = """
cat > "$path"
"""
"#;

    const RECIPE: &str = r#"
summary = "A recipe"
role = "*"
health = ["one"]
[settings]
name = { type = "string", default = "x" }
[pools]
few = 1
[steps.one]
uses  = "task"
with  = { path = "/{{ settings.name }}", token = "{{ file('some.txt') }}", files = ["/x"] }
watch = ["two"]
pool  = "few"
[steps.two]
uses = "task"
with = { path = "/y", token = "" }
"#;

    fn found(task: &str, recipe: &str) -> String {
        let mut files = Files::default();
        files.add("", "tasks/task.toml", task);
        files.add("", "recipes/r/recipe.toml", recipe);
        files.add("", "recipes/r/some.txt", "x");
        let catalog = Catalog::load(&files).unwrap_or_else(|problems| panic!("{problems}"));
        lint(&catalog)
            .err()
            .map(|problems| problems.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn what_is_right_passes() {
        assert_eq!(found(TASK, RECIPE), "");
    }

    #[test]
    fn finds_what_cannot_be_right() {
        let mut wrong = String::new();
        for (from, to, want) in [
            (
                "mode   =",
                "mod    =",
                "tasks/task.toml:16:10: no probe prints the fact `mod`",
            ),
            (
                "facts.id",
                "facts.ip",
                "tasks/task.toml:8:36: no probe prints the fact `ip`",
            ),
            (
                "stat   = \"{{ path }}\"",
                "stat   = \"{{ pth }}\"",
                "tasks/task.toml:10:10: there is no input `pth` (did you mean `path`?)",
            ),
            (
                "cat > \"$path\"",
                "cat > \"$pth\"",
                "tasks/task.toml:21:1: `$pth` is neither an input nor set in this script",
            ),
            (
                "cat > \"$path\"",
                "curl -u \"$token\" > \"$path\"",
                "tasks/task.toml:21:1: `$token` may be secret, and every user of the host sees the arguments of `curl`",
            ),
            (
                "stdin  = \"{{ token }}\"",
                "",
                "tasks/task.toml:5:1: nothing uses the input `token`",
            ),
            (
                "mode   = \"0644\"\nfresh  = \"yes\"",
                "",
                "tasks/task.toml:17:2: nothing tells whether this task is done",
            ),
            (
                "watch = [\"two\"]",
                "",
                "recipes/r/recipe.toml:9:8: step `one` restarts when files are newer than its process",
            ),
            (
                "{{ settings.name }}",
                "{{ setings.name }}",
                "recipes/r/recipe.toml:11:18: templates know no `setings` (did you mean `settings`?)",
            ),
            (
                "{{ settings.name }}",
                "{{ settings.nme }}",
                "recipes/r/recipe.toml:11:18: the recipe has no setting `nme` (did you mean `name`?)",
            ),
            (
                "{{ settings.name }}",
                "x",
                "recipes/r/recipe.toml:6:1: nothing reads the setting `name`",
            ),
            (
                "pool  = \"few\"",
                "",
                "recipes/r/recipe.toml:8:7: no step is in the pool `few`",
            ),
            (
                "{{ file('some.txt') }}",
                "z",
                "recipes/r/recipe.toml: nothing renders the file `some.txt`",
            ),
            (
                "health = [\"one\"]",
                "health = [\"on\"]",
                "recipes/r/recipe.toml:4:11: there is no step `on`",
            ),
        ] {
            let (task, recipe) = (TASK.replace(from, to), RECIPE.replace(from, to));
            assert!(task != TASK || recipe != RECIPE, "{from}");
            let found = found(&task, &recipe);
            if !found.lines().any(|line| line.starts_with(want)) {
                wrong += &format!("{from} → {to}\nwanted {want}\nfound  {found}\n");
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }
}
