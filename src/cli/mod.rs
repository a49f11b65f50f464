//! The command line: the only code that prompts, prints or knows exit codes.

mod lab;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "foundry", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
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
