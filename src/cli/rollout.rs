//! What the command line says of rollouts, and how it goes with what recipes and the config say. Binds nothing to hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::exit::CliError;
use super::session::Session;
use crate::catalog::{Canary, Rollout, Share, parse_duration, with_health};
use crate::config::nearest;
use crate::event::Verdict;
use crate::graph::{Selection, Target};
use crate::plan::Plan;

/// How components move over their hosts, for all components of the run; over what the config and recipes say.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Rollout")]
pub struct RolloutOptions {
    /// First batch of its own: a number of hosts, a percentage, or names with commas between
    #[arg(long, value_name = "HOSTS")]
    canary: Option<Canary>,
    /// Hosts in a batch: a number or a percentage; a list (`1,10,25%`) for one batch after the other
    #[arg(long, value_name = "SIZES", value_delimiter = ',')]
    batch: Option<Vec<Share>>,
    /// How long a batch must have been up before it is looked at again and the next begins (`90s`, `10m`)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    soak: Option<Duration>,
    /// Hosts of a component that may fail before no further one begins: a number or a percentage
    #[arg(long, value_name = "HOSTS")]
    max_failures: Option<Share>,
    /// Hosts of a component that may be out of reach before no further one begins
    #[arg(long, value_name = "HOSTS")]
    max_unreachable: Option<Share>,
    /// Hosts of a component that may be in the works, failed or out of reach at any moment
    #[arg(long, value_name = "HOSTS")]
    max_unavailable: Option<Share>,
    /// Refuse a plan that would change more than so many steps
    #[arg(long, value_name = "STEPS")]
    max_changes: Option<usize>,
}

impl RolloutOptions {
    /// Returns how each component of `selection` moves over its hosts.
    ///
    /// # Errors
    /// When the canary names a host that the stack does not have, or a batch has no host.
    pub fn resolve(
        &self,
        session: &Session,
        selection: &Selection,
    ) -> Result<BTreeMap<String, Rollout>, CliError> {
        self.check(session)?;
        let mut rollouts = session.rollouts.clone();
        let said = Rollout {
            canary: self.canary.clone(),
            batches: self.batch.clone(),
            soak: self.soak,
            gate: None,
            gate_timeout: None,
            max_failures: self.max_failures,
            max_unreachable: self.max_unreachable,
            max_unavailable: self.max_unavailable,
        };
        if said.is_empty() {
            return Ok(rollouts);
        }
        let components: BTreeSet<&str> = selection
            .own()
            .map(|id| session.graph.step(id))
            .filter(|step| matches!(step.target, Target::Host(_)))
            .map(|step| &*step.label.component)
            .collect();
        for name in components {
            let below = rollouts.remove(name).unwrap_or_default();
            let both = said.clone().over(below);
            let both = match session.catalog.recipes.get(name) {
                Some(recipe) => with_health(both, recipe),
                None => both,
            };
            rollouts.insert(name.to_owned(), both);
        }
        Ok(rollouts)
    }

    fn check(&self, session: &Session) -> Result<(), CliError> {
        let none = |share: &Share| matches!(share, Share::Count(0) | Share::Percent(0));
        if self.batch.iter().flatten().any(none)
            || self.max_unavailable.iter().any(none)
            || matches!(&self.canary, Some(Canary::Size(share)) if none(share))
        {
            return Err(CliError::usage(
                "`--canary`, `--batch` and `--max-unavailable` are at least 1",
            ));
        }
        let Some(Canary::Hosts(names)) = &self.canary else {
            return Ok(());
        };
        let known = || session.stack.hosts.iter().map(|host| &*host.name);
        match names.iter().find(|name| !known().any(|host| host == *name)) {
            None => Ok(()),
            Some(name) => {
                let error = CliError::usage(format!("`--canary` names the unknown host `{name}`"));
                Err(match nearest(name, known()) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint("`foundry host list` lists them"),
                })
            }
        }
    }

    /// Says why `plan` is too much to carry out, if it is.
    #[must_use]
    pub fn refusal(&self, plan: &Plan, selection: &Selection) -> Option<String> {
        let most = self.max_changes?;
        let changes = selection
            .own()
            .filter(|id| {
                matches!(
                    plan.verdict(*id),
                    Some(Verdict::Missing | Verdict::Changed | Verdict::Drifted)
                )
            })
            .count();
        (changes > most).then(|| {
            format!(
                "{changes} steps would run, and `--max-changes` allows {most}: nothing was changed (`foundry plan` shows them)"
            )
        })
    }
}
