//! Runs the machine's own programs and keeps their words. Knows no lab.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::LabError;
use super::error::system;

/// How many of a failed program's last lines an error carries.
const LAST_LINES: usize = 20;

/// Runs `program` to its end and returns its standard output.
///
/// # Errors
/// If the program is not installed, or ends with anything but success.
pub(super) fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<String, LabError> {
    run_with_input(program, args, "")
}

/// Runs `program` with `input` on its standard input and returns its standard output.
///
/// # Errors
/// If the program is not installed, or ends with anything but success.
pub(super) fn run_with_input<S: AsRef<OsStr>>(
    program: &str,
    args: &[S],
    input: &str,
) -> Result<String, LabError> {
    let shown = std::iter::once(program.to_owned())
        .chain(
            args.iter()
                .map(|a| a.as_ref().to_string_lossy().into_owned()),
        )
        .collect::<Vec<_>>()
        .join(" ");
    let mut child = Command::new(find(program).unwrap_or_else(|| program.into()))
        .args(args)
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => missing(program),
            _ => system(format!("start `{shown}`"))(source),
        })?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends early closes its input; its exit status says the rest.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(system(format!("wait for `{shown}`")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = words.trim().lines().collect();
    Err(LabError::Command {
        command: shown,
        status: output.status.to_string(),
        stderr: lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"),
    })
}

/// Returns where `program` is: in `PATH`, or in the system directories that a user's `PATH` often leaves out.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

fn missing(program: &str) -> LabError {
    let package = match program {
        "ip" => "iproute2",
        "ssh" => "openssh-client",
        other => other,
    };
    LabError::Missing {
        what: format!("the program `{program}`"),
        why: "the lab".into(),
        help: format!("install it: apt-get install {package}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_what_the_program_said() {
        assert_eq!(run("printf", &["%s", "a b"]).unwrap(), "a b");
        assert_eq!(run_with_input("cat", &[] as &[&str], "in").unwrap(), "in");
    }

    #[test]
    fn keeps_the_words_of_a_failed_program() {
        let error = run("sh", &["-c", "echo out of cheese >&2; exit 3"]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("out of cheese") && text.contains('3'),
            "{text}"
        );
    }

    #[test]
    fn names_a_missing_program() {
        let error = run("no-such-program-here", &[] as &[&str]).unwrap_err();
        assert!(
            error.to_string().contains("no-such-program-here"),
            "{error}"
        );
    }
}
