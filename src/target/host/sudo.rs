//! Root through sudo: without a password where that is allowed, else with one on standard input. Builds command lines and
//! reads sudo's refusals; runs nothing.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::error::words;
use super::wire::Shell;
use crate::probe::Reply;
use crate::secret::Secret;

/// How commands become root on one machine.
#[derive(Clone)]
pub(super) enum Sudo {
    /// The user is root.
    Root,
    /// sudo without a password; what is hoped for until sudo says otherwise.
    Free,
    /// sudo with this one.
    Password(Secret<String>),
}

/// The line between the password and the program. sudo reads the password's line if it asks at all; whatever it leaves,
/// the shell skips up to here, so that a password is never run as a command.
const GATE: &str = "foundry";
const SKIP: &str = r#"IFS= read -r g; [ "$g" = foundry ] || IFS= read -r g; "#;

impl Sudo {
    /// Returns the command line that runs `script` as root with `arguments`. `script` holds no single quote.
    pub fn command(&self, script: &str, arguments: &[&str]) -> String {
        let (prefix, skip) = match self {
            Self::Root => ("", ""),
            // C: the refusals below are recognised by their words.
            Self::Free => ("env LC_ALL=C sudo -n -- ", ""),
            // -k: ask even if an answer is still remembered, so that the password is always read.
            Self::Password(_) => ("env LC_ALL=C sudo -k -S -p '' -- ", SKIP),
        };
        let mut command = format!("{prefix}sh -c '{skip}{script}'");
        if !arguments.is_empty() {
            command.push_str(" foundry");
        }
        for argument in arguments {
            let _ = write!(command, " {}", quote(argument));
        }
        command
    }

    /// Returns the shell that runs programs as root. It names itself to `stop.sh` by its first argument; the second,
    /// `title`, names the run to those who read sudo's log or look at processes.
    pub fn shell(&self, title: &str) -> Shell {
        let named = quote(title);
        let command = match self {
            Self::Root => format!("sh -s foundry {named}"),
            Self::Free => format!("env LC_ALL=C sudo -n -- sh -s foundry {named}"),
            Self::Password(_) => self.command(r#"exec sh -s foundry "$1""#, &[title]),
        };
        Shell {
            command,
            // Programs have no arguments.
            first: Zeroizing::new(format!("{}shift $#\n", *self.preamble())),
        }
    }

    /// Returns what must come on standard input before anything else.
    pub fn preamble(&self) -> Zeroizing<String> {
        Zeroizing::new(match self {
            Self::Root | Self::Free => String::new(),
            Self::Password(password) => format!("{}\n{GATE}\n", password.expose()),
        })
    }
}

/// Returns `text` as one word of a shell's command line.
pub(super) fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// What sudo had against it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It wants a password.
    PasswordNeeded,
    /// It won't at all; its own words.
    No(String),
    /// There is no sudo.
    Missing,
}

/// What sudo says and goes on all the same.
const WARNINGS: [&str; 3] = [
    "sudo: unable to resolve host ",
    "sudo: unable to send audit message",
    "sudo: setrlimit(",
];

/// Reads sudo's refusal out of a reply; `None` when the program itself answered.
pub(super) fn refusal(reply: &Reply) -> Option<Refusal> {
    if !reply.stdout.is_empty() {
        return None;
    }
    let said = words(&reply.stderr, 1024);
    let line = |test: &dyn Fn(&str) -> bool| said.lines().any(|line| test(line.trim()));
    match reply.status {
        Some(127) if line(&|l| l.starts_with("env: ") && l.contains("sudo")) => {
            Some(Refusal::Missing)
        }
        Some(1)
            if line(&|l| {
                l == "sudo: a password is required"
                    || l.starts_with("sudo: a terminal is required")
                    || l == "sudo: interactive authentication is required"
            }) =>
        {
            Some(Refusal::PasswordNeeded)
        }
        Some(1)
            if line(&|l| {
                (l.starts_with("sudo: ") && !WARNINGS.iter().any(|warning| l.starts_with(warning)))
                    || l.contains("is not in the sudoers file")
                    || (l.starts_with("Sorry, user ") && l.contains("is not allowed to"))
                    || l.contains("may not run sudo")
            }) =>
        {
            Some(Refusal::No(said))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: i32, stdout: &str, stderr: &str) -> Reply {
        Reply {
            stdout: stdout.into(),
            stderr: stderr.into(),
            status: Some(status),
        }
    }

    #[test]
    fn commands() {
        let program = r#"eval "$(cat)""#;
        assert_eq!(Sudo::Root.command(program, &[]), r#"sh -c 'eval "$(cat)"'"#);
        assert_eq!(
            Sudo::Free.command(program, &[]),
            r#"env LC_ALL=C sudo -n -- sh -c 'eval "$(cat)"'"#
        );
        let password = Sudo::Password(Secret::new("hunter2".to_owned()));
        let command = password.command(program, &["a b", "it's"]);
        assert_eq!(
            command,
            r#"env LC_ALL=C sudo -k -S -p '' -- sh -c 'IFS= read -r g; [ "$g" = foundry ] || IFS= read -r g; eval "$(cat)"' foundry 'a b' 'it'\''s'"#
        );
        assert_eq!(*password.preamble(), "hunter2\nfoundry\n");
        let title = "lab/20261130-201455-ab12";
        assert_eq!(
            Sudo::Root.shell(title).command,
            "sh -s foundry lab/20261130-201455-ab12"
        );
        assert_eq!(
            Sudo::Free.shell("it's").command,
            r"env LC_ALL=C sudo -n -- sh -s foundry 'it'\''s'"
        );
        assert_eq!(
            password.shell(title).command,
            r#"env LC_ALL=C sudo -k -S -p '' -- sh -c 'IFS= read -r g; [ "$g" = foundry ] || IFS= read -r g; exec sh -s foundry "$1"' foundry lab/20261130-201455-ab12"#
        );
    }

    #[test]
    fn refusals_are_told_from_answers() {
        for (reply, wanted) in [
            (
                reply(1, "", "sudo: a password is required\n"),
                Some(Refusal::PasswordNeeded),
            ),
            (
                reply(
                    1,
                    "",
                    "sudo: a terminal is required to read the password; either use the -S option\nsudo: a password is required\n",
                ),
                Some(Refusal::PasswordNeeded),
            ),
            (
                reply(1, "", "ada is not in the sudoers file.\n"),
                Some(Refusal::No("ada is not in the sudoers file.".into())),
            ),
            (
                reply(
                    127,
                    "",
                    "env: \u{2018}sudo\u{2019}: No such file or directory\n",
                ),
                Some(Refusal::Missing),
            ),
            (reply(1, "x", "sudo: a password is required\n"), None),
            (reply(1, "", "grep: no such file\n"), None),
            (reply(0, "", "sudo: unable to resolve host x\n"), None),
            (
                reply(
                    1,
                    "",
                    "sudo: unable to resolve host x: Name or service not known\n",
                ),
                None,
            ),
            (
                reply(
                    1,
                    "",
                    "sudo: unable to resolve host x: Name or service not known\nsudo: a password is required\n",
                ),
                Some(Refusal::PasswordNeeded),
            ),
            (reply(2, "", "sudo: a password is required\n"), None),
        ] {
            assert_eq!(
                refusal(&reply),
                wanted,
                "{:?}",
                String::from_utf8_lossy(&reply.stderr)
            );
        }
    }
}
