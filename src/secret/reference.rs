//! `${secret:path:key}`: references as written in texts, and the names under which their values are looked up.
//! Does not know any value.
//!
//! How the path is read: in a service's config it is relative to the service's namespace, so that
//! `${secret:database/prod:password}` of `myservice-stable` is `myservice-stable/database/prod:password`. In a stack's config
//! the namespace is [`STACK_NAMESPACE`]. A path that already begins with the namespace stays as it is:
//! `${secret:foundry/zot:storage_path}` is `foundry/zot:storage_path`.

use std::fmt;
use std::ops::Range;

use thiserror::Error;

/// Namespace of what a stack's own config refers to.
pub const STACK_NAMESPACE: &str = "foundry";

/// How every reference begins.
const OPENING: &str = "${secret:";

/// Names a secret: `path` is already scoped to its namespace (`myservice-stable/database/prod`), `key` is one field of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct SecretRef {
    /// Path in OpenBAO, namespace included, without leading slash.
    pub path: String,
    /// Field of the secret at `path`.
    pub key: String,
}

/// Why a text with `${secret:` in it is no reference.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is no secret reference: {why}")]
pub struct BadReference {
    /// The reference as written, to its end or the end of the line.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
    /// Bytes of the text that it takes up.
    pub range: Range<usize>,
}

impl SecretRef {
    /// Parses `path:key` (what stands after `${secret:`), and scopes the path to `namespace`.
    ///
    /// # Errors
    /// What is wrong, as a part of a sentence.
    pub fn parse(text: &str, namespace: &str) -> Result<Self, &'static str> {
        let (path, key) = text
            .rsplit_once(':')
            .ok_or("it has no key, as `path/to/secret:key` has")?;
        if !is_word(key) {
            return Err("its key wants letters, digits, `.`, `_` and `-`");
        }
        if !path.split('/').all(is_word) {
            return Err(
                "its path wants words of letters, digits, `.`, `_` and `-` between slashes",
            );
        }
        Ok(Self {
            path: scope(namespace, path),
            key: key.to_owned(),
        })
    }

    /// Returns the environment variable that overrides this secret. Everything but letters and digits becomes `_`, so
    /// different references may share one name (`a-b/c:k` and `a/b-c:k`); the config's checks refuse that.
    #[must_use]
    pub fn env_name(&self) -> String {
        let name = format!("{}_{}", self.path, self.key);
        "FOUNDRY_SECRET_".to_owned() + &name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
    }

    /// Returns `path:key`, the form of `~/.foundryvars` and of `foundry secret get`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.path, self.key)
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPENING}{}:{}}}", self.path, self.key)
    }
}

/// Splits `path:key` and checks both.
pub(super) fn split_name(text: &str) -> Result<(&str, &str), &'static str> {
    let (path, key) = text
        .rsplit_once(':')
        .ok_or("it has no key, as `path/to/secret:key` has")?;
    if !is_word(key) {
        return Err("its key wants letters, digits, `.`, `_` and `-`");
    }
    if !path.split('/').all(is_word) {
        return Err("its path wants words of letters, digits, `.`, `_` and `-` between slashes");
    }
    Ok((path, key))
}

/// Returns `path` within `namespace`.
#[must_use]
pub fn scope(namespace: &str, path: &str) -> String {
    let inside = path
        .strip_prefix(namespace)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if inside {
        path.to_owned()
    } else {
        format!("{namespace}/{path}")
    }
}

/// Finds all references in a text, each with the bytes that it takes up, in the order written. Any other `${…}` is text.
///
/// # Errors
/// The first one that is badly written.
pub fn references(
    text: &str,
    namespace: &str,
) -> Result<Vec<(Range<usize>, SecretRef)>, BadReference> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = text[from..].find(OPENING).map(|at| at + from) {
        let inside = start + OPENING.len();
        let close = text[inside..]
            .find(['}', '\n'])
            .map(|at| at + inside)
            .filter(|at| text[*at..].starts_with('}'));
        let bad = |end: usize, why| BadReference {
            text: text[start..end].to_owned(),
            why,
            range: start..end,
        };
        let Some(close) = close else {
            let line = text[start..].lines().next().map_or(0, str::len);
            return Err(bad(start + line, "its `}` is missing"));
        };
        let end = close + 1;
        let reference =
            SecretRef::parse(&text[inside..close], namespace).map_err(|why| bad(end, why))?;
        found.push((start..end, reference));
        from = end;
    }
    Ok(found)
}

/// Returns whether `text` is one path segment or key.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, namespace: &str) -> Vec<String> {
        references(text, namespace)
            .unwrap()
            .iter()
            .map(|(_, reference)| reference.name())
            .collect()
    }

    #[test]
    fn references_of_a_service_are_scoped_to_it() {
        for (text, name) in [
            (
                "${secret:database/prod:password}",
                "myservice-stable/database/prod:password",
            ),
            (
                "${secret:external/github:api_token}",
                "myservice-stable/external/github:api_token",
            ),
            (
                "${secret:certs/wildcard:cert}",
                "myservice-stable/certs/wildcard:cert",
            ),
            ("${secret:myservice-stable/x:y}", "myservice-stable/x:y"),
            (
                "${secret:myservice-stable2/x:y}",
                "myservice-stable/myservice-stable2/x:y",
            ),
        ] {
            assert_eq!(names(text, "myservice-stable"), [name], "{text}");
        }
    }

    #[test]
    fn references_of_a_stack_stay_in_its_namespace() {
        for (text, name) in [
            (
                "${secret:foundry/zot:storage_path}",
                "foundry/zot:storage_path",
            ),
            ("${secret:zot:storage_path}", "foundry/zot:storage_path"),
        ] {
            assert_eq!(names(text, STACK_NAMESPACE), [name], "{text}");
        }
    }

    #[test]
    fn one_text_may_hold_several() {
        let text = "postgres://${secret:db:user}:${secret:db:password}@${host}/x";
        let found = references(text, "ns").unwrap();
        assert_eq!(&text[found[1].0.clone()], "${secret:db:password}");
        assert_eq!(names(text, "ns"), ["ns/db:user", "ns/db:password"]);
        assert_eq!(names("no ${other} reference", "ns"), Vec::<String>::new());
    }

    #[test]
    fn the_environment_name_is_that_of_the_seed() {
        let reference = SecretRef::parse("database/prod:password", "myservice-stable").unwrap();
        assert_eq!(
            reference.env_name(),
            "FOUNDRY_SECRET_myservice_stable_database_prod_password"
        );
    }

    #[test]
    fn bad_ones_are_explained() {
        let mut said = String::new();
        for text in [
            "a ${secret:foundry/x} b",
            "${secret:foundry/x:}",
            "${secret::key}",
            "${secret:a//b:key}",
            "${secret:../b:key}",
            "${secret:a b:key}",
            "${secret:a:key",
            "${secret:a:key\n}",
        ] {
            said.push_str(&references(text, "foundry").unwrap_err().to_string());
            said.push('\n');
        }
        insta::assert_snapshot!(said, @r"
        `${secret:foundry/x}` is no secret reference: it has no key, as `path/to/secret:key` has
        `${secret:foundry/x:}` is no secret reference: its key wants letters, digits, `.`, `_` and `-`
        `${secret::key}` is no secret reference: its path wants words of letters, digits, `.`, `_` and `-` between slashes
        `${secret:a//b:key}` is no secret reference: its path wants words of letters, digits, `.`, `_` and `-` between slashes
        `${secret:../b:key}` is no secret reference: its path wants words of letters, digits, `.`, `_` and `-` between slashes
        `${secret:a b:key}` is no secret reference: its path wants words of letters, digits, `.`, `_` and `-` between slashes
        `${secret:a:key` is no secret reference: its `}` is missing
        `${secret:a:key` is no secret reference: its `}` is missing
        ");
    }
}
