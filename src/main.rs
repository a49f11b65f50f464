//! Takes the secrets out of the environment, calls `foundry::cli::run` and returns its exit code; nothing else.

fn main() -> std::process::ExitCode {
    // SAFETY: no other thread runs yet.
    unsafe { foundry::secret::environment::take() };
    foundry::cli::run()
}
