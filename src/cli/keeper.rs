//! Keeps what must be kept: hands keys over to the user, stores Foundry's own credentials in the OS keyring or,
//! where there is none, in files that only the user can read. Does not know what the credentials are for.

use std::path::{Path, PathBuf};
#[cfg(feature = "keyring")]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "keyring")]
use std::time::Duration;

use futures::future::BoxFuture;

use super::print::say;
use super::prompt::{ask, hidden, someone_there};
use crate::report::Pause;
use crate::run::{Keeper, Safekeeping};
use crate::secret::{Secret, private};
use crate::terminal::{self, Page, style};

/// The command line's [`Keeper`].
#[derive(Clone)]
pub struct UserKeeper {
    /// Folder of credential files (`$FOUNDRY_HOME/credentials`).
    credentials: PathBuf,
    /// File that the user named for keys (`--keys-to`).
    keys_to: Option<PathBuf>,
    /// Whether a person may be asked.
    interactive: bool,
    /// Whether the OS keyring is tried.
    keyring: bool,
    /// Takes the screen of a run away while something is asked or shown.
    pause: Option<Pause>,
}

/// Name under which entries stand in the OS keyring.
#[cfg(feature = "keyring")]
const SERVICE: &str = "foundry";

impl UserKeeper {
    /// Makes a keeper for the home folder `home`. The keyring is tried unless `FOUNDRY_KEYRING=off` or the home
    /// folder is not the user's ordinary one (a test, a container: its credentials belong into it).
    #[must_use]
    pub fn new(
        home: &Path,
        keys_to: Option<PathBuf>,
        assume_yes: bool,
        pause: Option<Pause>,
    ) -> Self {
        let off = std::env::var_os("FOUNDRY_KEYRING").is_some_and(|value| value == "off");
        Self {
            credentials: home.join("credentials"),
            keys_to,
            interactive: someone_there(assume_yes),
            keyring: !off && std::env::var_os("FOUNDRY_HOME").is_none(),
            pause,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.credentials.join(name.replace(['/', '\\'], "_"))
    }
}

impl Keeper for UserKeeper {
    fn hand_over<'a>(&'a self, kept: &'a Safekeeping) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let Some(path) = &self.keys_to else {
                if !self.interactive {
                    return Err(format!(
                        "the {} can't be shown here: there is no terminal to ask at. Name a file for them with \
                         `--keys-to FILE` (it is made with mode 0600), or let the server encrypt them for PGP recipients",
                        kept.title
                    ));
                }
                let (title, note, text) =
                    (kept.title.clone(), kept.note.clone(), kept.text.clone());
                let shown = ask(self.pause.clone(), move || {
                    Some(show_once(&title, &note, &text))
                })
                .await;
                return shown
                    .unwrap_or_else(|| Err("nobody said that they are safe".to_owned()))
                    .map_err(|error| format!("{}: {error}", kept.title));
            };
            let body = Secret::new(format!(
                "# {}\n# {}\n{}\n",
                kept.title,
                kept.note,
                kept.text.expose().trim_end()
            ));
            let written =
                keep_file(path, &body).map_err(|error| format!("{}: {error}", path.display()))?;
            let told = format!(
                "{} kept in {} (mode 0600): move it to a safe place",
                kept.title,
                written.display()
            );
            let say = move || say(&told);
            match &self.pause {
                Some(pause) => pause.during(say),
                None => say(),
            }
            Ok(())
        })
    }

    fn ask<'a>(&'a self, what: &'a str) -> BoxFuture<'a, Result<Option<Secret<String>>, String>> {
        let (interactive, what, pause) = (self.interactive, what.to_owned(), self.pause.clone());
        Box::pin(async move {
            if !interactive {
                return Ok(None);
            }
            Ok(ask(pause, move || hidden(&what)).await)
        })
    }

    fn store(&self, name: &str, value: &Secret<String>) -> Result<(), String> {
        #[cfg(feature = "keyring")]
        if self.keyring {
            // A machine without a keyring (a server, a CI runner) is the ordinary case for the file.
            let (entry, secret) = (name.to_owned(), value.clone());
            let stored = of_keyring(move || {
                keyring::Entry::new(SERVICE, &entry)?.set_password(secret.expose())
            });
            if stored.is_some() {
                return Ok(());
            }
        }
        let path = self.file(name);
        private::write(&path, value.expose().as_bytes())
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    fn load(&self, name: &str) -> Result<Option<Secret<String>>, String> {
        #[cfg(feature = "keyring")]
        if self.keyring {
            let entry = name.to_owned();
            let value = of_keyring(move || {
                let value = keyring::Entry::new(SERVICE, &entry)?.get_password();
                value.map(Secret::new)
            });
            if value.is_some() {
                return Ok(value);
            }
        }
        let path = self.file(name);
        match private::read(&path) {
            Ok(value) => Ok(Some(Secret::new(value.trim_end().to_owned()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }
}

/// How long the keyring may take: long enough for somebody to unlock it.
#[cfg(feature = "keyring")]
const KEYRING: Duration = Duration::from_secs(30);

/// Asks the keyring, which is a service behind D-Bus: on a thread of its own, which is left alone if no answer comes. One
/// that was silent isn't asked again.
#[cfg(feature = "keyring")]
fn of_keyring<T: Send + 'static>(
    ask: impl FnOnce() -> keyring::Result<T> + Send + 'static,
) -> Option<T> {
    static SILENT: AtomicBool = AtomicBool::new(false);
    if SILENT.load(Ordering::Relaxed) {
        return None;
    }
    match in_time(KEYRING, ask) {
        Some(answer) => answer.ok(),
        None => {
            SILENT.store(true, Ordering::Relaxed);
            tracing::warn!(
                "the keyring did not answer within {} s: the files in ~/.foundry/credentials are used",
                KEYRING.as_secs()
            );
            None
        }
    }
}

/// Returns what `work` returns, if that is within `limit`.
#[cfg(feature = "keyring")]
fn in_time<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, waiting) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // Nobody may be waiting any more.
        let _ = done.send(work());
    });
    waiting.recv_timeout(limit).ok()
}

/// Shows `text` on the terminal's own screen and returns once the user says that it is safe.
fn show_once(title: &str, note: &str, text: &Secret<String>) -> Result<(), String> {
    let term = console::Term::stderr();
    let mut page = Page::new();
    page.gap();
    page.line(style(title).bold());
    page.message(note);
    page.line("They are shown this once and stored nowhere that Foundry can read again:");
    page.gap();
    page.drawn(text.expose());
    terminal::tell(&page);
    let lines = text.expose().lines().count();
    let typed = dialoguer::Input::<String>::new()
        .with_prompt("Type `saved` once they are safe")
        .validate_with(|typed: &String| {
            if typed.trim() == "saved" {
                Ok(())
            } else {
                Err("type `saved`, or Ctrl-C to be asked again by the next run")
            }
        })
        .interact_text_on(&term)
        .map_err(|error| error.to_string())?;
    debug_assert_eq!(typed.trim(), "saved");
    // Off the screen again; the scroll-back buffer is the user's own.
    let _ = term.clear_last_lines(lines + 1);
    say("(keys cleared from the screen)");
    Ok(())
}

/// Writes `body` to `path` if that is free or already holds it, else beside it under the next free number.
/// Returns the path it went to.
fn keep_file(path: &Path, body: &Secret<String>) -> std::io::Result<PathBuf> {
    for number in 0..1000_u32 {
        let candidate = if number == 0 {
            path.to_owned()
        } else {
            PathBuf::from(format!("{}.{number}", path.display()))
        };
        match std::fs::read_to_string(&candidate) {
            Ok(there) if there == *body.expose() => return Ok(candidate),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                private::write(&candidate, body.expose().as_bytes())?;
                return Ok(candidate);
            }
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other(
        "a thousand files of that name are there already",
    ))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn keeper(home: &Path, keys_to: Option<PathBuf>) -> UserKeeper {
        UserKeeper {
            credentials: home.join("credentials"),
            keys_to,
            interactive: false,
            keyring: false,
            pause: None,
        }
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn credentials_come_back_and_are_private() {
        let home = tempfile::tempdir().unwrap();
        let keeper = keeper(home.path(), None);
        assert_eq!(keeper.load("lab-bao-token").unwrap(), None);
        keeper
            .store("lab-bao-token", &Secret::new("s.one".into()))
            .unwrap();
        keeper
            .store("lab-bao-token", &Secret::new("s.two".into()))
            .unwrap();
        assert_eq!(
            keeper.load("lab-bao-token").unwrap().unwrap().expose(),
            "s.two"
        );
        assert_eq!(mode(&home.path().join("credentials/lab-bao-token")), 0o600);
        assert_eq!(mode(&home.path().join("credentials")), 0o700);
    }

    #[cfg(feature = "keyring")]
    #[test]
    fn a_keyring_that_is_silent_is_not_waited_for() {
        assert_eq!(in_time(Duration::from_secs(10), || 7), Some(7));
        let (never, waiting) = std::sync::mpsc::channel::<()>();
        let limit = Duration::from_millis(20);
        let answer = in_time(limit, move || waiting.recv().is_ok());
        assert_eq!(answer, None);
        drop(never);
    }

    #[tokio::test]
    async fn keys_go_to_the_named_file_and_never_over_another() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys");
        let keeper = keeper(home.path(), Some(path.clone()));
        let kept = |text: &str| Safekeeping {
            title: "keys".into(),
            note: "note".into(),
            text: Secret::new(text.into()),
        };
        keeper.hand_over(&kept("one")).await.unwrap();
        keeper.hand_over(&kept("one")).await.unwrap();
        keeper.hand_over(&kept("two")).await.unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("one"));
        assert!(
            std::fs::read_to_string(home.path().join("keys.1"))
                .unwrap()
                .contains("two")
        );
        assert!(!home.path().join("keys.2").exists());
        assert_eq!(mode(&path), 0o600);
    }

    #[tokio::test]
    async fn without_terminal_and_file_nothing_counts_as_safe() {
        let home = tempfile::tempdir().unwrap();
        let kept = Safekeeping {
            title: "keys".into(),
            note: String::new(),
            text: Secret::new("hunter2".into()),
        };
        let error = keeper(home.path(), None)
            .hand_over(&kept)
            .await
            .unwrap_err();
        assert!(error.contains("--keys-to"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
