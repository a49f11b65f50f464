//! The embedded catalog as a whole, and the examples of docs/recipes.md: they load, pass the lint and expand.
//! Knows no single recipe's insides.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use foundry::catalog::{AllProblems, Catalog, FILTERS, Files, lint};
use foundry::config::{self, Source, Stack};
use foundry::graph::{Graph, expand, expand_made_up};

fn stack(text: &str) -> Arc<Stack> {
    let source = Source {
        name: "stack.yaml".to_owned(),
        text: text.to_owned(),
    };
    Arc::new(config::parse(&Arc::new(source)).unwrap_or_else(|problems| panic!("{problems}")))
}

fn fine<T>(result: Result<T, AllProblems>) -> T {
    result.unwrap_or_else(|problems| panic!("{problems}"))
}

fn labels(graph: &Graph) -> Vec<String> {
    graph
        .steps
        .iter()
        .map(|step| step.label.to_string())
        .collect()
}

#[test]
fn the_embedded_catalog_passes_the_lint_and_expands() {
    let catalog = fine(Catalog::embedded());
    fine(lint(&catalog));
    fine(expand_made_up(&catalog));
    let stack = stack(
        "cluster:\n  name: lab\n  domain: example.com\nhosts:\n  - { hostname: \"bao-[1-3]\", role: openbao }\n  - { hostname: w1, role: worker }\ncomponents:\n  openbao: {}\n",
    );
    let graph = fine(expand(&stack, &catalog));
    assert!(graph.steps.len() > 60, "{} steps", graph.steps.len());
}

/// Returns the fenced blocks of a page whose info string names a file, by that name.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some((_, name)) = line
            .strip_prefix("```")
            .and_then(|info| info.split_once(' '))
        else {
            continue;
        };
        let text: String = lines
            .by_ref()
            .take_while(|line| *line != "```")
            .map(|line| format!("{line}\n"))
            .collect();
        blocks.push((name.to_owned(), text));
    }
    blocks
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recipes.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_examples_of_the_docs_do_what_they_say() {
    let mut files = Files::default();
    let mut config = None;
    for (name, text) in blocks(&page()) {
        files.add("docs/", &name, &text);
        config = (name == "stack.yaml").then_some(text).or(config);
    }
    let catalog = fine(Catalog::load(&files));
    fine(lint(&catalog));
    fine(expand_made_up(&catalog));
    let graph = fine(expand(&stack(&config.expect("there is a stack")), &catalog));
    assert_eq!(
        labels(&graph),
        [
            "greeter:motd@a",
            "greeter:motd@b",
            "greeter:extra[hello]@a",
            "greeter:extra[servus]@a",
            "greeter:extra[hello]@b",
            "greeter:extra[servus]@b",
        ]
    );
}

#[test]
fn the_docs_name_every_filter_and_fact() {
    let page = page();
    for filter in FILTERS {
        assert!(
            page.contains(&format!("`{filter}`")) || page.contains(&format!("`{filter}(")),
            "{filter}"
        );
    }
}

/// A recipe that renders one structured file over a secret and an output.
const STRUCTURED: &str = r#"
summary = "x"
role = "*"
[settings]
password = { type = "string", secret = true, doc = "x" }
[steps.ca]
uses = "certificate-authority"
on   = "group"
with = { path = "/etc/x", name = "x" }
[steps.file]
uses = "file"
with = { path = "/etc/x.yaml", content = "{{ file('x.yaml') }}" }
[steps.other]
uses = "file"
with = { path = "/etc/x", content = "{{ settings.password }} {{ steps.ca.sha256 }}" }
"#;

/// Returns what the lint, and the expansion of a stack, have against a file of [`STRUCTURED`].
fn structured(text: &str) -> [String; 2] {
    let mut files = Files::default();
    for task in ["file", "certificate-authority"] {
        let path = format!("tasks/{task}.toml");
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path));
        files.add("", &path, &text.unwrap());
    }
    files.add("", "recipes/x/recipe.toml", STRUCTURED);
    files.add("", "recipes/x/x.yaml", text);
    let catalog = fine(Catalog::load(&files));
    [lint(&catalog), expand_made_up(&catalog)]
        .map(|result| result.err().map(|e| e.to_string()).unwrap_or_default())
}

#[test]
fn the_docs_forms_of_secrets_in_structured_files_are_taken_and_refused_as_they_say() {
    let blocks = blocks(&page());
    let block = |name: &str| {
        let found = blocks.iter().find(|(other, _)| other == name);
        found.unwrap_or_else(|| panic!("no block {name}")).1.clone()
    };
    assert_eq!(structured(&block("right.yaml")), ["", ""]);
    let wrong = block("wrong.yaml");
    assert!(wrong.lines().count() >= 5);
    for line in wrong.lines() {
        let [by_lint, by_expansion] = structured(&format!("# One line.\n{line}\nb: 1\n"));
        let column = line.find("{{").unwrap() + 1;
        let place = format!("recipes/x/x.yaml:2:{column}: ");
        assert!(
            by_lint.lines().any(|found| found.starts_with(&place)),
            "{line}\n{by_lint}"
        );
        assert!(by_expansion.contains("x.yaml: "), "{line}\n{by_expansion}");
    }
}

/// Runs `foundry recipe lint` over a folder and returns its exit code and findings.
fn lint_by_command(dir: &Path) -> (Option<i32>, serde_json::Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_foundry"))
        .args(["recipe", "lint", "--output", "json"])
        .arg(dir)
        .output()
        .unwrap();
    let findings = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), findings)
}

#[test]
fn shellcheck_reads_every_script() {
    if Command::new("shellcheck")
        .arg("--version")
        .output()
        .is_err()
    {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: shellcheck is not installed (apt-get install shellcheck)"
        );
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (code, findings) = lint_by_command(home.path());
    assert_eq!((code, findings), (Some(0), serde_json::json!([])));

    let tasks = home.path().join("tasks");
    std::fs::create_dir(&tasks).unwrap();
    let task = "summary = 'x'\nstamp = true\n[inputs]\npath = { type = 'path' }\n[apply]\nscript = '''\necho ok\nrm -f $path\n'''\n";
    std::fs::write(tasks.join("bad.toml"), task).unwrap();
    let (code, findings) = lint_by_command(home.path());
    assert_eq!(code, Some(1));
    let finding = &findings[0];
    assert_eq!(finding["line"], 8, "{findings}");
    assert!(
        finding["file"]
            .as_str()
            .unwrap()
            .ends_with("tasks/bad.toml"),
        "{findings}"
    );
    assert!(
        finding["message"]
            .as_str()
            .unwrap()
            .starts_with("shellcheck: "),
        "{findings}"
    );
}
