//! Asks the person at the terminal: passwords without echo, unknown host keys with their fingerprint.
//! Does not know what the answers are used for.

use std::io::IsTerminal;
use std::sync::Arc;

use console::{Term, style};
use futures::future::BoxFuture;

use crate::report::Pause;
use crate::secret::Secret;
use crate::target::host::{OfferedKey, Password, PasswordWanted, Prompts};

/// Returns whether there is a person to ask: both ways of the terminal are one, and `--yes` was not given.
#[must_use]
pub fn someone_there(assume_yes: bool) -> bool {
    !assume_yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// The terminal's [`Prompts`].
pub struct TerminalPrompts {
    pause: Option<Pause>,
}

impl TerminalPrompts {
    /// Returns the prompts if there is somebody to ask. `pause` takes the screen of a run away meanwhile.
    #[must_use]
    pub fn if_someone_there(assume_yes: bool, pause: Option<Pause>) -> Option<Arc<dyn Prompts>> {
        someone_there(assume_yes).then(|| Arc::new(Self { pause }) as Arc<dyn Prompts>)
    }
}

impl Prompts for TerminalPrompts {
    fn password<'a>(&'a self, wanted: &'a PasswordWanted) -> BoxFuture<'a, Option<Secret<String>>> {
        let prompt = match &wanted.what {
            Password::Login => format!("Password of {}@{}", wanted.user, wanted.host),
            Password::Sudo => format!("Password of {}@{} for sudo", wanted.user, wanted.host),
            Password::Passphrase(key) => format!("Passphrase of {}", key.display()),
        };
        ask(self.pause.clone(), move || hidden(&prompt))
    }

    fn trust_host_key<'a>(&'a self, offered: &'a OfferedKey) -> BoxFuture<'a, bool> {
        let offered = offered.clone();
        let answer = ask(self.pause.clone(), move || {
            let term = Term::stderr();
            let OfferedKey {
                host,
                address,
                algorithm,
                fingerprint,
                note,
                recorded_in,
                ..
            } = offered;
            let told = format!(
                "\nNothing is known yet of the key of host {host} ({address}):\n  {algorithm} {}",
                style(fingerprint).bold().for_stderr()
            );
            term.write_line(&told).ok()?;
            if let Some(note) = note {
                term.write_line(&format!("  {note}")).ok()?;
            }
            dialoguer::Confirm::new()
                .with_prompt(format!(
                    "Is it the right one? A yes is recorded in {}",
                    recorded_in.display()
                ))
                .default(false)
                .interact_on(&term)
                .ok()
        });
        Box::pin(async move { answer.await.unwrap_or(false) })
    }
}

/// Asks for a value without echo; `None` when the person declines (Ctrl-C, end of input) or says nothing.
pub fn hidden(prompt: &str) -> Option<Secret<String>> {
    dialoguer::Password::new()
        .with_prompt(prompt)
        .allow_empty_password(true)
        .interact_on(&Term::stderr())
        .ok()
        .filter(|typed| !typed.is_empty())
        .map(Secret::new)
}

/// Asks on a thread of its own, with the terminal cleared of what a run draws there.
pub fn ask<T: Send + 'static>(
    pause: Option<Pause>,
    question: impl FnOnce() -> Option<T> + Send + 'static,
) -> BoxFuture<'static, Option<T>> {
    Box::pin(async move {
        let asked = tokio::task::spawn_blocking(move || match pause {
            Some(pause) => pause.during(question),
            None => question(),
        });
        asked.await.ok().flatten()
    })
}
