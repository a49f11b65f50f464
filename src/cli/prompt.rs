//! Asks the person at the terminal: passwords without echo, unknown host keys with their fingerprint.
//! Does not know what the answers are used for.

use std::io::IsTerminal as _;
use std::sync::Arc;

use console::Term;
use futures::future::BoxFuture;

use crate::report::Pause;
use crate::secret::Secret;
use crate::target::host::{OfferedKey, Password, PasswordWanted, Prompts};
use crate::terminal::{self, Page, shown, style};

/// Returns whether there is a person to ask: both ways of the terminal are one, and `--yes` was not given.
#[must_use]
pub fn someone_there(assume_yes: bool) -> bool {
    !assume_yes && std::io::stdin().is_terminal() && terminal::stderr_is_terminal()
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
            let OfferedKey {
                host,
                address,
                algorithm,
                fingerprint,
                note,
                recorded_in,
                ..
            } = offered;
            let mut page = Page::new();
            page.gap();
            page.line(format_args!(
                "Nothing is known yet of the key of host {host} ({address}):"
            ));
            page.line(format_args!("  {algorithm} {}", style(fingerprint).bold()));
            if let Some(note) = note {
                page.words("  ", &note);
            }
            terminal::tell(&page);
            Some(confirm(&format!(
                "Is it the right one? A yes is recorded in {}",
                recorded_in.display()
            )))
        });
        Box::pin(async move { answer.await.unwrap_or(false) })
    }
}

/// Returns a question as it may stand on the terminal: names and addresses in it do nothing but stand there.
pub fn asked(question: &str) -> String {
    terminal::to_ansi(&shown(question))
}

/// Asks for a yes; anything else is none. Of several lines the last is the question.
pub fn confirm(question: &str) -> bool {
    let (about, question) = question.rsplit_once('\n').unwrap_or(("", question));
    if !about.is_empty() {
        terminal::tell(&terminal::block(about));
    }
    dialoguer::Confirm::new()
        .with_prompt(asked(question))
        .default(false)
        .interact_on(&Term::stderr())
        .unwrap_or(false)
}

/// Asks for a value without echo; `None` when the person declines (Ctrl-C, end of input) or says nothing.
pub fn hidden(prompt: &str) -> Option<Secret<String>> {
    dialoguer::Password::new()
        .with_prompt(asked(prompt))
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
