//! The shell functions for work that root does by path: `enter` and `no_room`, at the disposal of every script that changes a
//! host. Does not know what the scripts do.

use std::sync::LazyLock;

use super::shell::quote;

/// Source of the functions.
const SOURCE: &str = include_str!("enter.sh");

/// The functions without comments, as text in `$__enter`, which goes along when work is done as another user, and defined.
static FUNCTIONS: LazyLock<String> = LazyLock::new(|| {
    let lines = SOURCE.lines().map(str::trim_start);
    let code: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
    format!("__enter='{}'\neval \"$__enter\"\n", code.join("\n"))
});

/// Returns the definitions that `script` needs before it is run: none, if it uses none of the functions.
#[must_use]
pub fn functions_for(script: &str) -> &'static str {
    let is_used = |name: &str| {
        script
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .any(|word| word == name)
    };
    if is_used("enter") || is_used("no_room") {
        &FUNCTIONS
    } else {
        ""
    }
}

/// Returns a text of sh that runs `script` with the functions that it uses, once its variables are set. What no shell can
/// hold is left for the shell to refuse.
#[must_use]
pub fn with_functions(script: &str) -> String {
    let functions = functions_for(script);
    match quote(&format!("__f() {{\n{script}\n}}")) {
        Ok(body) if !functions.is_empty() => {
            format!("{functions}__body={body}\neval \"$__body\"\n__f\n")
        }
        Ok(_) | Err(_) => script.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_can_stand_in_single_quotes_and_come_along_only_where_they_are_used() {
        assert!(!SOURCE.contains('\''));
        assert_eq!(functions_for("cat /etc/centered; re_enter x"), "");
        assert!(functions_for("enter \"$path\" ''").starts_with("__enter='"));
        assert!(functions_for("printf x || no_room").contains("no_room() {"));
        assert_eq!(with_functions("true"), "true");
        assert!(with_functions("enter / root").ends_with("\neval \"$__body\"\n__f\n"));
    }
}
