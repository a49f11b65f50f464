//! Which config file is meant: `--config`, then `FOUNDRY_CONFIG`, then the only one there is. Does not look at the disk.

use std::path::PathBuf;

use thiserror::Error;

use super::suggest;

/// What there is to choose from.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// `--config`.
    pub flag: Option<&'a str>,
    /// `FOUNDRY_CONFIG`.
    pub env: Option<&'a str>,
    /// Names of the `*.yaml` and `*.yml` files in the home folder, sorted.
    pub files: &'a [String],
    /// The home folder as people know it (`~/.foundry`).
    pub home: &'a str,
}

/// The file chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// A path as given, relative to the working directory.
    Path(PathBuf),
    /// A file in the home folder.
    InHome(String),
}

/// Why none is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectError {
    /// There is none.
    #[error(
        "there is no config in {home}; `foundry config init` writes one, and `foundry lab up` makes hosts to try it on"
    )]
    None {
        /// The home folder.
        home: String,
    },
    /// There are several, and guessing could hit the wrong machines.
    #[error("there are several configs in {home} ({}); choose with `--config NAME` or `FOUNDRY_CONFIG`", .files.join(", "))]
    Several {
        /// The home folder.
        home: String,
        /// Their names.
        files: Vec<String>,
    },
    /// The one asked for is not there.
    #[error("there is no config `{value}` (from {by}), neither as a file nor in {home}{hint}")]
    Unknown {
        /// What was asked for.
        value: String,
        /// Who asked: `--config` or `FOUNDRY_CONFIG`.
        by: &'static str,
        /// The home folder.
        home: String,
        /// A suggestion, as the rest of the sentence.
        hint: String,
    },
}

/// Chooses. A value with a slash is a path; any other is a file here if `is_file` says so, else a name in the home folder, with
/// or without its extension.
///
/// # Errors
/// If the value asked for is not there, or nothing is asked for and there isn't exactly one.
pub fn select(choice: Choice<'_>, is_file: impl Fn(&str) -> bool) -> Result<Chosen, SelectError> {
    let asked = choice
        .flag
        .map(|value| ("--config", value))
        .or_else(|| choice.env.map(|value| ("FOUNDRY_CONFIG", value)))
        .filter(|(_, value)| !value.is_empty());
    let Some((by, value)) = asked else {
        return match choice.files {
            [] => Err(SelectError::None {
                home: choice.home.to_owned(),
            }),
            [only] => Ok(Chosen::InHome(only.clone())),
            files => Err(SelectError::Several {
                home: choice.home.to_owned(),
                files: files.to_vec(),
            }),
        };
    };
    if is_file(value) {
        return Ok(Chosen::Path(PathBuf::from(value)));
    }
    let named = choice
        .files
        .iter()
        .find(|file| *file == value || stem(file) == value);
    if let Some(file) = named {
        return Ok(Chosen::InHome(file.clone()));
    }
    let stems = choice.files.iter().map(|file| stem(file));
    let hint = suggest::help(stem(value), stems).map_or_else(
        || "; `foundry config list` shows what there is".to_owned(),
        |help| format!("; {help}"),
    );
    Err(SelectError::Unknown {
        value: value.to_owned(),
        by,
        home: choice.home.to_owned(),
        hint,
    })
}

/// Returns a file's name without `.yaml` or `.yml`.
#[must_use]
pub fn stem(file: &str) -> &str {
    file.strip_suffix(".yaml")
        .or_else(|| file.strip_suffix(".yml"))
        .unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(
        flag: Option<&str>,
        env: Option<&str>,
        files: &[&str],
    ) -> Result<Chosen, SelectError> {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        let choice = Choice {
            flag,
            env,
            files: &files,
            home: "~/.foundry",
        };
        select(choice, |path| path == "./here.yaml")
    }

    #[test]
    fn flag_then_environment_then_the_only_one() {
        let in_home = |name: &str| Ok(Chosen::InHome(name.to_owned()));
        let both = &["prod.yaml", "staging.yml"];
        assert_eq!(choose(None, None, &["stack.yaml"]), in_home("stack.yaml"));
        assert_eq!(choose(None, Some("staging"), both), in_home("staging.yml"));
        assert_eq!(
            choose(Some("prod"), Some("staging"), both),
            in_home("prod.yaml")
        );
        assert_eq!(choose(Some("prod.yaml"), None, both), in_home("prod.yaml"));
        assert_eq!(choose(Some(""), None, &["a.yaml"]), in_home("a.yaml"));
        assert_eq!(
            choose(Some("./here.yaml"), None, both),
            Ok(Chosen::Path("./here.yaml".into()))
        );
    }

    #[test]
    fn errors_say_what_to_do() {
        let mut said = String::new();
        for (flag, env, files) in [
            (None, None, &[][..]),
            (None, None, &["prod.yaml", "staging.yaml"][..]),
            (Some("prd"), None, &["prod.yaml", "staging.yaml"][..]),
            (None, Some("/etc/nowhere.yaml"), &[][..]),
        ] {
            said.push_str(&format!("{}\n", choose(flag, env, files).unwrap_err()));
        }
        insta::assert_snapshot!(said, @r"
        there is no config in ~/.foundry; `foundry config init` writes one, and `foundry lab up` makes hosts to try it on
        there are several configs in ~/.foundry (prod.yaml, staging.yaml); choose with `--config NAME` or `FOUNDRY_CONFIG`
        there is no config `prd` (from --config), neither as a file nor in ~/.foundry; did you mean `prod`?
        there is no config `/etc/nowhere.yaml` (from FOUNDRY_CONFIG), neither as a file nor in ~/.foundry; `foundry config list` shows what there is
        ");
    }
}
