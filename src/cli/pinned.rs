//! Whether a build holds to `stack.pins` alone: `--pinned`, `--no-pinned`, and what is so without a word. Connects to nothing.

use std::collections::BTreeMap;

use super::exit::CliError;
use super::session::Session;
use crate::config::PinKind;
use crate::graph::{Download, Selection};

/// Environment variable: `true` or `false`, in place of the options.
const PINNED: &str = "FOUNDRY_PINNED";

/// Environment variables by which CI systems say that they are one.
const CI: [&str; 6] = [
    "CI",
    "GITHUB_ACTIONS",
    "GITLAB_CI",
    "TF_BUILD",
    "BUILDKITE",
    "JENKINS_URL",
];

/// Whether a build downloads anything that `stack.pins` does not hold.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PinnedOptions {
    /// Refuse, before anything is touched, what is not in stack.pins (default in CI; FOUNDRY_PINNED=false there is as --no-pinned)
    #[arg(long, overrides_with = "no_pinned")]
    pinned: bool,
    /// Build with what is not in stack.pins too; what is in it is held to it all the same
    #[arg(long, overrides_with = "pinned")]
    no_pinned: bool,
}

impl PinnedOptions {
    /// Returns whether only pinned downloads are taken.
    ///
    /// # Errors
    /// When the environment variable makes no sense.
    fn resolve(&self, env: impl Fn(&str) -> Option<String>) -> Result<bool, CliError> {
        if self.pinned || self.no_pinned {
            return Ok(self.pinned);
        }
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        match set(PINNED).as_deref() {
            Some("true" | "1") => return Ok(true),
            Some("false" | "0") => return Ok(false),
            Some(other) => {
                return Err(CliError::usage(format!(
                    "{PINNED} is `{other}`, it can be `true` or `false`"
                )));
            }
            None => {}
        }
        let says = |value: String| !["false", "0"].contains(&value.as_str());
        Ok(CI.into_iter().filter_map(set).any(says))
    }

    /// Holds what the selection downloads to the pins. Returns what there is to know of downloads that nothing pins, in one line.
    ///
    /// # Errors
    /// With `--pinned`, everything that is not in the file.
    pub fn check(
        &self,
        session: &Session,
        selection: &Selection,
    ) -> Result<Option<String>, CliError> {
        let downloads = session.graph.downloads(&selection.steps);
        let pins = &session.stack.pins;
        let name = &pins.source.name;
        if !self.resolve(|name| std::env::var(name).ok())? {
            let open = downloads.list.iter().filter(|one| {
                pins.get(&one.key).is_none() && (one.sha256.is_empty() || one.repackaged)
            });
            return Ok(told(&counted(open), name));
        }
        let mut refused: Vec<String> = Vec::new();
        for one in &downloads.list {
            if let Some(pin) = pins.get(&one.key) {
                let images = pin.images.iter();
                let images =
                    images.filter(|image| pins.get(&crate::config::PinKey::image(image)).is_none());
                refused.extend(images.map(|image| format!("image {image} ({pin} names it)")));
                continue;
            }
            let other = pins
                .iter()
                .find(|pin| {
                    pin.kind == one.key.kind && !pin.version.is_empty() && pin.name == one.name
                })
                .map(|pin| format!("; there it is {}", pin.version))
                .unwrap_or_default();
            refused.push(format!("{one} ({}){other}", steps(one)));
        }
        refused.extend(
            downloads
                .unknown
                .iter()
                .map(|step| format!("{step}: what it downloads is known only during the run")),
        );
        if refused.is_empty() {
            return Ok(None);
        }
        let downloads = match refused.len() {
            1 => "1 download".to_owned(),
            many => format!("{many} downloads"),
        };
        let what = match pins.exists {
            true => format!("{downloads} not in {name}"),
            false => format!("{downloads}, and no {name}"),
        };
        Err(CliError::usage(format!(
            "{what} (`--pinned`, the default in CI); nothing was touched:\n  {}",
            refused.join("\n  ")
        ))
        .hint("`foundry stack pin`, where the internet can be reached, writes it: read what changed and commit it; `--no-pinned` builds without"))
    }
}

/// How many of which kind.
fn counted<'a>(downloads: impl Iterator<Item = &'a Download>) -> BTreeMap<PinKind, usize> {
    let mut counted = BTreeMap::new();
    for one in downloads {
        *counted.entry(one.key.kind).or_default() += 1;
    }
    counted
}

fn told(counted: &BTreeMap<PinKind, usize>, file: &str) -> Option<String> {
    let each = counted.iter().map(|(kind, many)| match many {
        1 => format!("1 {kind}"),
        many => format!("{many} {kind}s"),
    });
    let each: Vec<String> = each.collect();
    (!each.is_empty()).then(|| {
        format!(
            "pinned neither by {file} nor by a recipe: {}; `foundry stack pin` writes their digests down",
            each.join(", ")
        )
    })
}

fn steps(download: &Download) -> String {
    let steps: Vec<&str> = download.steps.iter().map(String::as_str).collect();
    steps.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(options: (bool, bool), env: &[(&str, &str)]) -> bool {
        let options = PinnedOptions {
            pinned: options.0,
            no_pinned: options.1,
        };
        let of = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        options.resolve(of).unwrap()
    }

    #[test]
    fn ci_is_pinned_unless_it_is_said_otherwise() {
        let none = (false, false);
        assert!(!resolved(none, &[]));
        assert!(resolved((true, false), &[]));
        for ci in [
            [("CI", "true")],
            [("GITHUB_ACTIONS", "true")],
            [("GITLAB_CI", "1")],
        ] {
            assert!(resolved(none, &ci));
            assert!(!resolved((false, true), &ci));
        }
        assert!(!resolved(none, &[("CI", "false")]));
        assert!(!resolved(none, &[("CI", "")]));
        assert!(!resolved(none, &[("CI", "true"), (PINNED, "false")]));
        assert!(resolved(none, &[(PINNED, "true")]));
        let options = PinnedOptions::default();
        assert!(options.resolve(|_| Some("yes".to_owned())).is_err());
    }

    #[test]
    fn what_nothing_pins_is_one_line() {
        let counted = [(PinKind::Chart, 1), (PinKind::Image, 12)].into();
        assert_eq!(
            told(&counted, "stack.pins").as_deref(),
            Some(
                "pinned neither by stack.pins nor by a recipe: 1 chart, 12 images; `foundry stack pin` writes their digests down"
            )
        );
        assert_eq!(told(&BTreeMap::new(), "x"), None);
    }
}
