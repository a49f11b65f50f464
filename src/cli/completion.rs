//! `foundry completion`: what a shell needs to complete commands, options and values.

use clap_complete::Shell;

use super::exit::CliResult;
use super::print::print_data;

/// Prints a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  foundry completion bash > /etc/bash_completion.d/foundry
  foundry completion zsh > ~/.zfunc/_foundry
  foundry completion fish > ~/.config/fish/completions/foundry.fish")]
pub struct CompletionArgs {
    /// Shell to complete in
    shell: Shell,
}

/// Runs `foundry completion`.
pub fn completion(args: &CompletionArgs, mut command: clap::Command) -> CliResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "foundry", &mut script);
    print_data(&String::from_utf8_lossy(&script))
}
