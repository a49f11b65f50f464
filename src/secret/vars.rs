//! `~/.foundryvars`: local values in place of OpenBAO's. Does not read the file and does not know references of any config.
//!
//! A line is `namespace/path/to/secret:key=value`. The value is everything after the first `=`, to the letter: no quotes,
//! no escapes. Empty lines and lines that begin with `#` say nothing. A line whose path has no namespace
//! (`external/github:api_token=…`) holds for every namespace that has none of its own.

use std::collections::HashMap;

use thiserror::Error;

use super::reference::{SecretRef, split_name};
use super::value::Secret;

/// The values of one file.
#[derive(Debug, Default)]
pub struct Vars {
    values: HashMap<(String, String), Entry>,
}

#[derive(Debug)]
struct Entry {
    line: usize,
    value: Secret<String>,
}

/// Lines that can't be read. Never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", .lines.join("\n"))]
pub struct BadVars {
    /// One sentence per line that is wrong, each with the file's name and its line number.
    pub lines: Vec<String>,
}

impl Vars {
    /// Parses the text of the file `name`.
    ///
    /// # Errors
    /// All lines that are wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, BadVars> {
        let mut vars = Self::default();
        let mut wrong = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let start = line.trim_start();
            if start.is_empty() || start.starts_with('#') {
                continue;
            }
            if let Err(why) = vars.add(number, start) {
                wrong.push(format!("{name}:{number}: {why}"));
            }
        }
        if wrong.is_empty() {
            Ok(vars)
        } else {
            Err(BadVars { lines: wrong })
        }
    }

    fn add(&mut self, line: usize, text: &str) -> Result<(), String> {
        let (name, value) = text
            .split_once('=')
            .ok_or("there is no `=`; a line is `namespace/path/to/secret:key=value`")?;
        let (path, key) = split_name(name.trim())?;
        let name = (path.to_owned(), key.to_owned());
        if let Some(first) = self.values.get(&name) {
            return Err(format!(
                "`{path}:{key}` is given in line {} already",
                first.line
            ));
        }
        let value = Secret::new(value.to_owned());
        self.values.insert(name, Entry { line, value });
        Ok(())
    }

    /// Returns the value for a reference: that of its full path, else that of its path without namespace.
    #[must_use]
    pub fn get(&self, reference: &SecretRef) -> Option<&Secret<String>> {
        let find = |path: &str| {
            let name = (path.to_owned(), reference.key.clone());
            self.values.get(&name).map(|entry| &entry.value)
        };
        find(&reference.path).or_else(|| find(reference.path.split_once('/')?.1))
    }

    /// Returns all values: what must never be shown.
    pub fn values(&self) -> impl Iterator<Item = &Secret<String>> {
        self.values.values().map(|entry| &entry.value)
    }

    /// Returns how many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEED: &str = include_str!("../../tests/data/seed/foundryvars");

    fn value<'v>(vars: &'v Vars, namespace: &str, name: &str) -> Option<&'v str> {
        let reference = SecretRef::parse(name, namespace).unwrap();
        vars.get(&reference).map(|value| value.expose().as_str())
    }

    #[test]
    fn the_file_of_the_seed_is_read() {
        let vars = Vars::parse(".foundryvars", SEED).unwrap();
        assert_eq!(vars.len(), 4);
        for (namespace, name, wanted) in [
            (
                "myservice-stable",
                "database/prod:password",
                Some("my_local_dev_password"),
            ),
            (
                "myservice-toy",
                "database/prod:password",
                Some("toy_password"),
            ),
            (
                "foundry",
                "foundry/truenas:api_key",
                Some("local_truenas_key"),
            ),
            (
                "anything",
                "external/github:api_token",
                Some("ghp_localdevtoken123"),
            ),
            ("other", "database/prod:password", None),
            ("foundry", "foundry/truenas:other", None),
        ] {
            assert_eq!(value(&vars, namespace, name), wanted, "{namespace} {name}");
        }
    }

    #[test]
    fn values_are_taken_to_the_letter() {
        let vars = Vars::parse("v", "\n  # no\na/b:k = x=\"y\" \r\na/b:empty=\n").unwrap();
        assert_eq!(value(&vars, "a", "b:k"), Some(" x=\"y\" "));
        assert_eq!(value(&vars, "a", "b:empty"), Some(""));
    }

    #[test]
    fn wrong_lines_are_named_without_their_values() {
        let text = "a/b:k=hunter2\nhunter2\nno-key=hunter2\na/b:k=hunter2\na//b:k=hunter2\n";
        let error = Vars::parse("~/.foundryvars", text).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
        insta::assert_snapshot!(error, @r"
        ~/.foundryvars:2: there is no `=`; a line is `namespace/path/to/secret:key=value`
        ~/.foundryvars:3: it has no key, as `path/to/secret:key` has
        ~/.foundryvars:4: `a/b:k` is given in line 1 already
        ~/.foundryvars:5: its path wants words of letters, digits, `.`, `_` and `-` between slashes
        ");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            entries in prop::collection::btree_map("[a-z]{1,5}(/[a-z0-9._-]{1,5}x){1,3}:[a-z_]{1,8}", "[^\r\n]{0,20}", 0..8),
        ) {
            let text: String = entries.iter().map(|(name, value)| format!("{name}={value}\n# c\n")).collect();
            let vars = Vars::parse("v", &text).unwrap();
            prop_assert_eq!(vars.len(), entries.len());
            for (name, wanted) in &entries {
                let namespace = name.split('/').next().unwrap();
                prop_assert_eq!(value(&vars, namespace, name), Some(wanted.as_str()));
            }
        }
    }
}
