//! Calls `foundry::cli::run` and returns its exit code; nothing else.

fn main() -> std::process::ExitCode {
    foundry::cli::run()
}
