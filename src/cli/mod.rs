//! The command line: the only code that prompts, prints or knows exit codes.

pub mod config;
mod config_wizard;
pub mod home;
mod lab;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "foundry", version, about)]
struct Cli {
    /// Config file, or the name of one in ~/.foundry (else `FOUNDRY_CONFIG`, else the only one there)
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<String>,
    #[command(subcommand)]
    command: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    Config(config::ConfigArgs),
    Lab(lab::LabArgs),
}

/// Runs the command that the process arguments name and returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&miette::miette!("cannot start the runtime: {error}")),
    };
    let done = match cli.command {
        Noun::Config(args) => {
            return match configure(args, cli.config.as_deref()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => refused(&error),
            };
        }
        Noun::Lab(args) => runtime
            .block_on(lab::run(args))
            .map_err(miette::Report::new),
    };
    done.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn failed(error: &miette::Report) -> ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{error:?}");
    ExitCode::FAILURE
}

fn configure(args: config::ConfigArgs, chosen: Option<&str>) -> Result<(), home::HomeError> {
    let home = home::Home::from_env()?;
    let context = config::ConfigContext {
        home: &home,
        chosen,
        components: &[],
        check: &|_| Ok(()),
    };
    config::run(args, &context)
}

fn refused(error: &home::HomeError) -> ExitCode {
    use std::io::Write;
    let text = match error {
        home::HomeError::Problems(problems) => crate::config::render(problems, config::style()),
        other => format!("error: {other}\n"),
    };
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(3)
}
