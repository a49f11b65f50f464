//! Files → [`Catalog`]: those embedded in the binary, overlaid by the user's own. Reads no disk: whoever calls does.

use std::collections::BTreeMap;
use std::sync::Arc;

use include_dir::{Dir, include_dir};

use super::Catalog;
use super::parse_recipe::parse_recipe;
use super::parse_task::parse_task;
use super::problems::AllProblems;
use super::versions::{give, parse_versions};
use crate::config::Source;

static TASKS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/tasks");
static RECIPES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/recipes");

/// The files of a catalog, not yet parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Task files by task name.
    pub tasks: BTreeMap<String, Source>,
    /// Recipes by component name.
    pub recipes: BTreeMap<String, RecipeSource>,
    /// Tables of versions; a later one's component takes the place of an earlier one's as a whole.
    pub versions: Vec<Source>,
}

/// One recipe's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipeSource {
    /// `recipe.toml`.
    pub recipe: Source,
    /// The files beside it, by name relative to the folder.
    pub files: BTreeMap<String, String>,
}

impl Files {
    /// Returns the files that are part of the binary.
    #[must_use]
    pub fn embedded() -> Self {
        let mut files = Self::default();
        for (folder, dir) in [("tasks", &TASKS), ("recipes", &RECIPES)] {
            embedded_texts(dir, &mut |path, text| {
                files.add("", &format!("{folder}/{path}"), text);
            });
        }
        files
    }

    /// Adds one file by its path within a catalog: `tasks/file.toml`, `recipes/openbao/recipe.toml`,
    /// `recipes/openbao/openbao.hcl`, `recipes/versions.toml`. Others are left out. `prefix` goes before the path where the file is named to
    /// people.
    pub fn add(&mut self, prefix: &str, path: &str, text: &str) {
        let source = || Source {
            name: format!("{prefix}{path}"),
            text: text.to_owned(),
        };
        if path == "recipes/versions.toml" {
            self.versions.push(source());
        } else if let Some(name) = path
            .strip_prefix("tasks/")
            .and_then(|file| file.strip_suffix(".toml"))
        {
            self.tasks.insert(name.to_owned(), source());
        } else if let Some((name, file)) = path
            .strip_prefix("recipes/")
            .and_then(|file| file.split_once('/'))
        {
            let recipe = self
                .recipes
                .entry(name.to_owned())
                .or_insert_with(|| RecipeSource {
                    recipe: Source {
                        name: format!("{prefix}recipes/{name}/recipe.toml"),
                        text: String::new(),
                    },
                    files: BTreeMap::new(),
                });
            if file == "recipe.toml" {
                recipe.recipe = source();
            } else {
                recipe.files.insert(file.to_owned(), text.to_owned());
            }
        }
    }

    /// Puts `other` over these: a task, a recipe or a component of the table of versions is replaced as a whole.
    #[must_use]
    pub fn overlaid(mut self, other: Self) -> Self {
        self.tasks.extend(other.tasks);
        self.recipes.extend(other.recipes);
        self.versions.extend(other.versions);
        self
    }
}

fn embedded_texts(dir: &Dir<'_>, add: &mut impl FnMut(&str, &str)) {
    for file in dir.files() {
        if let (Some(path), Some(text)) = (file.path().to_str(), file.contents_utf8()) {
            add(path, text);
        }
    }
    dir.dirs().for_each(|dir| embedded_texts(dir, add));
}

impl Catalog {
    /// Returns the catalog that is part of the binary.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn embedded() -> Result<Self, AllProblems> {
        Self::load(&Files::embedded())
    }

    /// Parses all files.
    ///
    /// # Errors
    /// Everything that is wrong in any of them.
    pub fn load(files: &Files) -> Result<Self, AllProblems> {
        let mut error = AllProblems::default();
        let mut catalog = Self::default();
        for (name, source) in &files.tasks {
            match parse_task(name, Arc::new(source.clone())) {
                Ok(task) => _ = catalog.tasks.insert(name.clone(), Arc::new(task)),
                Err(problems) => error.extend(problems),
            }
        }
        for source in &files.versions {
            match parse_versions(Arc::new(source.clone())) {
                Ok(versions) => catalog.versions.extend(versions),
                Err(problems) => error.extend(problems),
            }
        }
        for (name, source) in &files.recipes {
            match parse_recipe(name, Arc::new(source.recipe.clone()), source.files.clone()) {
                Ok(mut recipe) => {
                    if let Some(known) = catalog.versions.get(name) {
                        give(&mut recipe, known, &mut error);
                    }
                    catalog.recipes.insert(name.clone(), Arc::new(recipe));
                }
                Err(problems) => error.extend(problems),
            }
        }
        error.into_result(catalog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Collector, OnTarget, Template, Value, ValueType};

    const FILE: &str = r#"
summary = "A file has this content, owner and mode"
[inputs]
path    = { type = "path", doc = "Where" }
content = { type = "text", secret = "maybe" }
owner   = { type = "string", default = "root:root" }
mode    = { type = "mode", default = "644" }
names   = { type = ["string"], default = [] }
vip     = { type = "string", optional = true }
[outputs]
sha256  = { type = "string", from = "{{ facts.sha256 }}" }
[probe]
stat    = "{{ path }}"
digest  = { "" = "{{ path }}", key = "{{ path }}.key" }
fresh   = { unit = "x.service", paths = "{{ names }}" }
timeout = "10s"
[expect]
kind    = "file"
sha256  = "{{ content | sha256 }}"
key.sha256 = ["absent", "{{ content | sha256 }}"]
[apply]
stdin   = "{{ content }}"
timeout = "5m"
script  = '''
cat > "$path"
'''
[remove]
script  = 'rm -f -- "$path"'
"#;

    const RECIPE: &str = r#"
summary = "Secrets"
role    = "openbao"
health  = ["config"]
[settings]
version = { type = "version", default = "v2.7.2", doc = "Which" }
storage = { type = { enum = ["raft"] }, default = "raft", refuse = { consul = "OpenBAO has no Consul storage" } }
audit   = { type = "table", fields = { path = { type = "path", default = "/var/log/x" } } }
[artifacts.bao]
url     = "https://example.com/{{ version }}/{{ arch }}"
sha256  = { "2.7.2/amd64" = "8dc1000000000000000000000000000000000000000000000000000000000000" }
[pools]
join = 1
[steps.config]
uses     = "file"
with     = { path = "/etc/x", content = "{{ file('x.hcl') }}", names = ["a", "{{ host.name }}"] }
needs    = ["base:packages", "group@*"]
when     = "{{ settings.storage == 'raft' }}"
for_each = ["a", "b"]
pool     = "join"
[steps.group]
uses = "file"
on   = "role:worker"
"#;

    fn load(files: &[(&str, &str)]) -> Result<Catalog, AllProblems> {
        let mut all = Files::default();
        for (path, text) in files {
            all.add("", path, text);
        }
        Catalog::load(&all)
    }

    #[test]
    fn facts_that_nothing_names_are_known() {
        let catalog = Catalog::embedded().unwrap();
        let unnamed = |task: &str| catalog.tasks[task].unnamed.join(" ");
        assert!(
            unnamed("directory").contains("mtime"),
            "{}",
            unnamed("directory")
        );
        assert!(!unnamed("directory").contains("mode"));
        // Its action compares times.
        assert_eq!(unnamed("artifact"), "");
    }

    #[test]
    fn reads_a_task() {
        let catalog = load(&[("tasks/file.toml", FILE)]).unwrap();
        let task = &catalog.tasks["file"];
        assert_eq!(
            task.inputs.keys().collect::<Vec<_>>(),
            ["path", "content", "owner", "mode", "names", "vip"]
        );
        assert_eq!(
            task.inputs["mode"].default,
            Some(Value::Text("0644".to_owned()))
        );
        assert_eq!(task.inputs["vip"].default, Some(Value::Null));
        assert!(task.inputs["content"].secret && task.inputs["content"].default.is_none());
        let asked: Vec<_> = task
            .probe
            .questions
            .iter()
            .map(|q| (q.collector, q.prefix.as_str(), q.subject.0.as_str()))
            .collect();
        assert_eq!(
            asked,
            [
                (Collector::Stat, "", "{{ path }}"),
                (Collector::Digest, "", "{{ path }}"),
                (Collector::Digest, "key", "{{ path }}.key"),
                (
                    Collector::Fresh,
                    "",
                    "{{ { 'unit': 'x.service', 'paths': ( names ) } }}"
                ),
            ]
        );
        assert_eq!(
            task.expect["key.sha256"],
            Template("{{ ['absent', ( content | sha256 )] }}".to_owned())
        );
        let apply = task.apply.as_ref().unwrap();
        assert_eq!((apply.timeout.as_secs(), apply.tries), (300, 1));
    }

    #[test]
    fn digest_is_of_the_meaning() {
        let digest = |text: &str| load(&[("tasks/file.toml", text)]).unwrap().tasks["file"].digest;
        let first = digest(FILE);
        assert_eq!(first, digest(&format!("# a comment\n{FILE}")));
        assert_eq!(
            first,
            digest(&FILE.replace("doc = \"Where\"", "doc = \"Elsewhere\""))
        );
        assert_eq!(
            first,
            digest(&FILE.replace("'rm -f -- \"$path\"'", "'rm -rf -- \"$path\"'"))
        );
        for (from, to) in [
            ("cat > \"$path\"", "tee \"$path\""),
            ("root:root", "root:adm"),
            ("kind    = \"file\"", "kind = \"directory\""),
            ("secret = \"maybe\"", "secret = false"),
            ("type = [\"string\"]", "type = [\"text\"]"),
        ] {
            let changed = FILE.replace(from, to);
            assert_ne!(changed, FILE);
            assert_ne!(first, digest(&changed), "{from}");
        }
    }

    #[test]
    fn reads_a_recipe() {
        let catalog = load(&[
            ("recipes/openbao/recipe.toml", RECIPE),
            ("recipes/openbao/x.hcl", "x"),
        ])
        .unwrap();
        let recipe = &catalog.recipes["openbao"];
        assert_eq!(
            recipe.settings["version"].default,
            Some(Value::Text("2.7.2".to_owned()))
        );
        assert_eq!(
            recipe.settings["audit"].kind,
            ValueType::Map(Box::new(ValueType::Any))
        );
        assert_eq!(
            recipe.settings["audit"].fields["path"].kind,
            ValueType::Path
        );
        assert_eq!(
            recipe.steps["group"].on,
            OnTarget::Role("worker".to_owned())
        );
        assert_eq!(
            recipe.steps["config"].for_each,
            Some(Template("{{ ['a', 'b'] }}".to_owned()))
        );
        assert_eq!(recipe.files["x.hcl"], "x");
        assert_eq!(recipe.pools["join"], 1);
    }

    #[test]
    fn an_overlay_replaces_whole_recipes() {
        let mut below = Files::default();
        below.add("", "recipes/a/recipe.toml", "summary = 'one'");
        below.add("", "recipes/a/old", "old");
        let mut above = Files::default();
        above.add("~/.foundry/", "recipes/a/recipe.toml", "summary = 'two'");
        let catalog = Catalog::load(&below.overlaid(above)).unwrap();
        assert_eq!(catalog.recipes["a"].summary, "two");
        assert!(catalog.recipes["a"].files.is_empty());
        assert_eq!(
            catalog.recipes["a"].written.source.name,
            "~/.foundry/recipes/a/recipe.toml"
        );
    }

    #[test]
    fn names_what_is_wrong_with_its_place() {
        for (path, from, to, want) in [
            (
                "tasks/file.toml",
                "stat    =",
                "stats   =",
                "tasks/file.toml:13:1: `probe` of task `file` has no key `stats` (did you mean `stat`?)",
            ),
            (
                "tasks/file.toml",
                "type = \"path\"",
                "type = \"pth\"",
                "tasks/file.toml:4:20: there is no type `pth` (did you mean `path`?)",
            ),
            (
                "tasks/file.toml",
                "\"644\"",
                "\"abc\"",
                "tasks/file.toml:7:38: the default does not fit its type: `abc` is not an octal file mode such as `0644`",
            ),
            (
                "tasks/file.toml",
                "{{ content }}",
                "{{ content",
                "tasks/file.toml:22:11: syntax error",
            ),
            (
                "tasks/file.toml",
                "summary",
                "sumary",
                "tasks/file.toml:1:1: task `file` has no `summary`",
            ),
            (
                "recipes/x/recipe.toml",
                "role:worker",
                "roel:worker",
                "recipes/x/recipe.toml:23:8: a step can't run on `roel:worker`",
            ),
            (
                "recipes/x/recipe.toml",
                "join = 1",
                "join = 0",
                "recipes/x/recipe.toml:13:8: a pool's depth must be a whole number of at least 1",
            ),
            (
                "recipes/x/recipe.toml",
                "8dc1",
                "8dx1",
                "recipes/x/recipe.toml:11:29: a SHA-256 is 64 hexadecimal digits",
            ),
        ] {
            let text = if path.starts_with("tasks") {
                FILE
            } else {
                RECIPE
            };
            let error = load(&[(path, &text.replace(from, to))])
                .unwrap_err()
                .to_string();
            assert!(
                error.lines().any(|line| line.starts_with(want)),
                "{from}: {error}"
            );
        }
    }
}
