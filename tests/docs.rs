//! Holds the documentation to the program: every `foundry` command that it shows in a fenced block is understood.
//! Does not run any of them.

use std::path::Path;

/// A document and its text.
struct Document {
    name: String,
    text: String,
}

fn documents() -> Vec<Document> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for entry in std::fs::read_dir(root.join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    names
        .into_iter()
        .map(|name| Document {
            text: std::fs::read_to_string(root.join(&name)).unwrap(),
            name,
        })
        .collect()
}

fn understands(words: &[String]) -> Result<(), String> {
    // What follows the host of `lab ssh` is a command for that host.
    let words = match words {
        [lab, ssh, host, ..] if lab == "lab" && ssh == "ssh" => {
            &[lab, ssh, host].map(Clone::clone)[..]
        }
        _ => words,
    };
    let home = tempfile::tempdir().unwrap();
    // Arguments are read before help is given: a command or option that is not there is an error.
    let answer = std::process::Command::new(env!("CARGO_BIN_EXE_foundry"))
        .args(words)
        .arg("--help")
        .env("HOME", home.path())
        .env("FOUNDRY_HOME", home.path())
        .env("XDG_CACHE_HOME", home.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    if answer.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&answer.stderr);
        Err(said.lines().next().unwrap_or_default().to_owned())
    }
}

/// Returns the words of a shell command up to its end, quotes resolved.
fn shell_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '|' | ';' | '>' | '<' | '#' | '&') if word.is_none() => break,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Returns the `foundry …` commands of the fenced blocks of a document, with their lines.
fn documented_commands(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut fenced = None;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fenced = fenced.is_none().then(|| language.trim().to_owned());
            continue;
        }
        if !matches!(fenced.as_deref(), Some("sh" | "console" | "bash")) {
            continue;
        }
        let line = line.trim_start();
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        if let Some(arguments) = line.strip_prefix("foundry ") {
            found.push((at + 1, shell_words(arguments)));
        }
    }
    found
}

#[test]
fn documented_commands_exist() {
    assert!(understands(&["no-such-command".to_owned()]).is_err());
    let mut broken = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for (line, words) in documented_commands(&document.text) {
            seen += 1;
            if let Err(said) = understands(&words) {
                broken.push(format!(
                    "{}:{line}: foundry {}: {said}",
                    document.name,
                    words.join(" ")
                ));
            }
        }
    }
    assert!(seen >= 10, "commands are found: {seen}");
    assert!(
        broken.is_empty(),
        "commands that the program does not have:\n  {}\n",
        broken.join("\n  ")
    );
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in documents() {
        let folder = root.join(&document.name);
        for (at, _) in document.text.match_indices("](") {
            let target = document.text[at + 2..].split(')').next().unwrap();
            if target.starts_with("http") || target.starts_with('#') {
                continue;
            }
            let path = folder
                .parent()
                .unwrap()
                .join(target.split('#').next().unwrap());
            assert!(path.exists(), "{}: {target}", document.name);
        }
    }
}

#[test]
fn shell_words_are_read_as_a_shell_would() {
    assert_eq!(
        shell_words("build 'openbao - @bao-2' --dry-run | less"),
        ["build", "openbao - @bao-2", "--dry-run"]
    );
    assert_eq!(shell_words("explain a:b@c   # why"), ["explain", "a:b@c"]);
}
