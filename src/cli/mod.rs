//! The command line: the only code that prompts, prints or knows exit codes.

use std::process::ExitCode;

/// Runs the command that the process arguments name and returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
