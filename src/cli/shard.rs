//! Which shard of a run this process is: from the command line, or from the variables that CI systems set. Does not know
//! what a shard does.

use std::time::Duration;

use super::exit::CliError;
use crate::catalog::parse_duration;
use crate::graph::Shard;
use crate::run::lock::Party;

/// How long to wait for a step of another shard, unless said.
const WAIT: &str = "30m";

/// How a run is divided among several processes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Shards")]
pub struct ShardOptions {
    /// Do only this part of the fleet: the second of three shards is 2/3 [default: what the CI says; 1/1 for all]
    #[arg(long, value_name = "I/N", env = "FOUNDRY_SHARD")]
    shard: Option<Shard>,
    /// What all shards of this run, and no others, are called [default: what the CI calls its run]
    #[arg(long, value_name = "NAME", env = "FOUNDRY_GENERATION")]
    generation: Option<String>,
    /// How long to wait for a step of another shard
    #[arg(long, value_name = "TIME", default_value = WAIT, value_parser = parse_duration)]
    pub shard_wait: Duration,
}

/// Names of variables by which CI systems tell a run from others.
const GENERATIONS: [&str; 2] = ["GITHUB_RUN_ID", "CI_PIPELINE_ID"];

impl ShardOptions {
    /// Returns which shard of which run this is, and where that is known from; `None` for the whole of a run.
    ///
    /// # Errors
    /// When variables name no shard, or nothing names the run.
    pub fn resolve(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<(Party, &'static str)>, CliError> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let (shard, from) = match self.shard {
            Some(shard) => (shard, "--shard"),
            None => match from_ci(&variable)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if shard.count() == 1 {
            return Ok(None);
        }
        let generation = self
            .generation
            .clone()
            .filter(|name| !name.trim().is_empty())
            .or_else(|| GENERATIONS.into_iter().find_map(variable));
        let Some(generation) = generation else {
            return Err(CliError::usage(format!(
                "shard {shard} of which run? All shards of one run go by one name, and those of another by another"
            ))
            .hint("`--generation NAME`, or FOUNDRY_GENERATION; a date and time will do"));
        };
        Ok(Some((Party { generation, shard }, from)))
    }
}

/// Reads the shard from what GitLab sets for `parallel` jobs, or Kubernetes for indexed Jobs.
fn from_ci(
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Option<(Shard, &'static str)>, CliError> {
    // (index, first index, total)
    let engines = [
        ("CI_NODE_INDEX", 1, "CI_NODE_TOTAL"),
        ("JOB_COMPLETION_INDEX", 0, "FOUNDRY_SHARDS"),
    ];
    for (index, first, total) in engines {
        let Some(written) = variable(index) else {
            continue;
        };
        let Some(count) = variable(total) else {
            continue;
        };
        let number = |text: &str| text.trim().parse::<u32>().ok();
        let shard = number(&written)
            .and_then(|number| (number + 1).checked_sub(first))
            .zip(number(&count))
            .and_then(|(number, count)| Shard::new(number, count));
        return match shard {
            Some(shard) => Ok(Some((shard, index))),
            None => Err(CliError::usage(format!(
                "{index}={written} and {total}={count} name no shard"
            ))
            .hint("`--shard 1/1` does the whole fleet, whatever the variables say")),
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        shard: Option<&str>,
        generation: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<Option<(String, String, &'static str)>, String> {
        let options = ShardOptions {
            shard: shard.map(|text| text.parse().unwrap()),
            generation: generation.map(ToOwned::to_owned),
            shard_wait: Duration::from_secs(1),
        };
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        options
            .resolve(variable)
            .map(|found| {
                found.map(|(party, from)| (party.shard.to_string(), party.generation, from))
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_read_from_where_it_stands() {
        let is = |shard: &str, run: &str, from| Ok(Some((shard.to_owned(), run.to_owned(), from)));
        assert_eq!(resolve(None, None, &[]), Ok(None));
        assert_eq!(
            resolve(
                Some("1/1"),
                None,
                &[("CI_NODE_INDEX", "2"), ("CI_NODE_TOTAL", "3")]
            ),
            Ok(None)
        );
        assert_eq!(
            resolve(Some("2/3"), Some("x"), &[]),
            is("2/3", "x", "--shard")
        );
        assert_eq!(
            resolve(Some("2/3"), None, &[("GITHUB_RUN_ID", "77")]),
            is("2/3", "77", "--shard")
        );
        let gitlab = [
            ("CI_NODE_INDEX", "2"),
            ("CI_NODE_TOTAL", "3"),
            ("CI_PIPELINE_ID", "5"),
        ];
        assert_eq!(
            resolve(None, None, &gitlab),
            is("2/3", "5", "CI_NODE_INDEX")
        );
        let kubernetes = [("JOB_COMPLETION_INDEX", "0"), ("FOUNDRY_SHARDS", "4")];
        assert_eq!(
            resolve(None, Some("j"), &kubernetes),
            is("1/4", "j", "JOB_COMPLETION_INDEX")
        );
        // GitLab without `parallel`, and a Job that is not indexed, are whole runs.
        assert_eq!(
            resolve(
                None,
                None,
                &[("CI_NODE_TOTAL", "1"), ("CI_NODE_INDEX", "1")]
            ),
            Ok(None)
        );
        assert_eq!(
            resolve(None, None, &[("JOB_COMPLETION_INDEX", "3")]),
            Ok(None)
        );
    }

    #[test]
    fn what_names_no_shard_or_no_run_is_said() {
        assert!(
            resolve(Some("2/3"), None, &[])
                .unwrap_err()
                .contains("--generation")
        );
        let wrong = [("CI_NODE_INDEX", "9"), ("CI_NODE_TOTAL", "3")];
        assert!(
            resolve(None, Some("x"), &wrong)
                .unwrap_err()
                .contains("CI_NODE_INDEX=9")
        );
    }
}
