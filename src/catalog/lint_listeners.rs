//! Holds recipes to what they say of the ports that they open: each is named, and speaks TLS or has a reason not to. Reads what
//! can be read without a stack: rules of the packet filter, and files that listen on all addresses.

use super::parse_recipe::each_text;
use super::problems::AllProblems;
use super::recipe::Recipe;
use super::value::Value;
use crate::config::Problem;

/// Shortest text that can be a reason.
const REASON: usize = 20;

/// What a file says that is reached from other machines.
const OPEN: [&str; 4] = ["0.0.0.0:", "\"0.0.0.0\"", "NodePort", "hostPort"];

/// Looks at one recipe.
pub(super) fn lint_listeners(recipe: &Recipe, problems: &mut AllProblems) {
    let mut say = |path: &[&str], message: String, help: &str| {
        let mut problem = Problem::new(message).help(help);
        problem.span = recipe.written.at(path);
        problems.push(&recipe.written.source, problem);
    };
    for (name, listener) in &recipe.listeners {
        let reasoned = listener
            .clear
            .as_ref()
            .is_some_and(|reason| reason.trim().len() >= REASON);
        if listener.tls == listener.clear.is_some() || (!listener.tls && !reasoned) {
            say(
                &["listeners", name],
                format!("listener `{name}` must speak TLS or say why not"),
                "write `tls = true`, or `clear = \"…\"` with the reason",
            );
        }
    }
    let is_named = |port: &str| {
        let mut ports = recipe.listeners.values().flat_map(|one| &one.ports);
        ports.any(|named| named == port)
    };
    for (name, step) in &recipe.steps {
        let rule = step.with.get("rule");
        for port in rule.iter().flat_map(|rule| opened(recipe, rule)) {
            if !is_named(&port) {
                say(
                    &["steps", name, "with", "rule"],
                    format!("port {port} is opened, and no listener of the recipe has it"),
                    "describe it under `[listeners.<name>]`: `ports`, and `tls` or `clear`",
                );
            }
        }
    }
    if recipe.listeners.is_empty()
        && let Some((name, _)) = recipe
            .files
            .iter()
            .find(|(_, text)| OPEN.iter().any(|word| text.contains(word)))
    {
        say(
            &["steps"],
            format!("`{name}` listens for other machines, and the recipe describes no listener"),
            "describe it under `[listeners.<name>]`: `ports`, and `tls` or `clear`",
        );
    }
}

/// Returns the ports, or ranges of them, that a rule lets in, files that it renders included.
fn opened(recipe: &Recipe, rule: &Value) -> Vec<String> {
    let mut texts = Vec::new();
    each_text(rule, &mut |text| {
        texts.push(text.to_owned());
        let files = recipe.files.iter();
        texts.extend(
            files
                .filter(|(name, _)| text.contains(&format!("file('{name}')")))
                .map(|(_, text)| text.clone()),
        );
    });
    let mut ports = Vec::new();
    for text in &texts {
        for after in text.split("dport").skip(1) {
            let until = after.find(|c: char| c.is_ascii_alphabetic());
            let named = &after[..until.unwrap_or(after.len())];
            ports.extend(
                named
                    .split(|c: char| !(c.is_ascii_digit() || c == '-'))
                    .filter(|word| !word.is_empty())
                    .map(str::to_owned),
            );
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::super::recipe::{Listener, RecipeStep};
    use super::*;

    fn found(rule: &str, listeners: &[(&[&str], bool, Option<&str>)], file: &str) -> Vec<String> {
        let mut recipe = Recipe {
            name: "web".to_owned(),
            ..Recipe::default()
        };
        recipe.files.insert("conf".to_owned(), file.to_owned());
        let mut step = RecipeStep::default();
        step.with
            .insert("rule".to_owned(), Value::Text(rule.to_owned()));
        recipe.steps.insert("firewall".to_owned(), step);
        for (at, (ports, tls, clear)) in listeners.iter().enumerate() {
            let listener = Listener {
                ports: ports.iter().map(|port| (*port).to_owned()).collect(),
                tls: *tls,
                clear: clear.map(str::to_owned),
            };
            recipe.listeners.insert(format!("l{at}"), listener);
        }
        let mut problems = AllProblems::default();
        lint_listeners(&recipe, &mut problems);
        let Err(problems) = problems.into_result(()) else {
            return Vec::new();
        };
        problems
            .to_string()
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| line.contains("port ") || line.contains("listen"))
            .collect()
    }

    #[test]
    fn a_port_that_is_opened_is_described_and_speaks_tls_or_has_a_reason() {
        let reason = Some("resolvers ask in the clear, and so does everybody");
        let named: &[(&[&str], bool, Option<&str>)] = &[(&["443", "8000-8010"], true, None)];
        let rule = "tcp dport { 443, 8000-8010 } accept; udp dport 53 accept";
        let table = [
            ("", named, "listen 0.0.0.0:443", 0),
            ("tcp dport 443 accept", named, "", 0),
            (rule, named, "", 1),
            (rule, &[], "", 3),
            ("{{ file('conf') }}", named, "th dport 444 accept", 1),
            ("", &[], "listen 0.0.0.0:443", 1),
            ("", &[], "listen 127.0.0.1:443", 0),
            ("", &[(&["53"], false, reason)], "", 0),
            ("", &[(&["53"], true, reason)], "", 1),
            ("", &[(&["53"], false, Some("because"))], "", 1),
            ("", &[(&["53"], false, None)], "", 1),
        ];
        for (rule, listeners, file, wanted) in table {
            let found = found(rule, listeners, file);
            assert_eq!(
                found.len().min(wanted + 1),
                wanted,
                "{rule} {listeners:?} {file}: {found:?}"
            );
        }
    }
}
