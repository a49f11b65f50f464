//! `foundry stack …`: the whole stack at once.

use super::Global;
use super::build::{BuildOptions, build};
use super::exit::CliResult;
use super::outdated::outdated;
use super::print::{Output, print};
use super::session::Session;
use super::status::status;
use crate::terminal::line;

/// Installs, checks and shows the whole stack
#[derive(Debug, clap::Args)]
pub struct StackArgs {
    #[command(subcommand)]
    command: StackCommand,
}

#[derive(Debug, clap::Subcommand)]
enum StackCommand {
    /// Makes everything as the config says (as `foundry build stack`)
    Install {
        /// Only show what would run, and why
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        options: Box<BuildOptions>,
    },
    /// Asks every host and API whether everything is as wanted; exit code 2 if not
    Status {
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Shows what could be newer, in the config and on the machines; exit code 2 if anything could
    Outdated {
        /// Ask no host and no API what is installed
        #[arg(long)]
        offline: bool,
        /// How to show it
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    Pin(super::stack_pin::PinArgs),
    /// Checks the config against the catalog; touches nothing
    Validate,
}

/// Runs a `foundry stack` command.
pub async fn stack(args: StackArgs, global: &Global) -> CliResult {
    let whole = vec!["stack".to_owned()];
    match args.command {
        StackCommand::Install { dry_run, options } => {
            build(&whole, dry_run, &options, global).await
        }
        StackCommand::Status { output } => status(&whole, output, global).await,
        StackCommand::Outdated { offline, output } => outdated(offline, output, global).await,
        StackCommand::Pin(args) => super::stack_pin::pin(args, global).await,
        StackCommand::Validate => validate(global),
    }
}

/// Checks the config as far as can be done without asking any host.
pub fn validate(global: &Global) -> CliResult {
    let session = Session::open(global)?;
    let steps = session
        .graph
        .steps
        .iter()
        .filter(|step| step.task.is_some())
        .count();
    let components: std::collections::BTreeSet<&str> = session
        .graph
        .steps
        .iter()
        .map(|step| &*step.label.component)
        .collect();
    print(&line(format_args!(
        "{} is valid: stack {}, {} hosts, {} components, {steps} steps",
        session.stack.source.name,
        session.stack.name,
        session.stack.hosts.len(),
        components.len(),
    )))
}
