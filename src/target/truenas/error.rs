//! What can go wrong with a TrueNAS, in its own words. Never holds what was sent to it.

use std::time::Duration;

use crate::probe::Fault;
use crate::run::StepError;

/// Why a TrueNAS could not be asked or told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrueNasError {
    /// What the config says of it makes no sense.
    #[error("{0}")]
    Config(String),
    /// Nothing answers, or not as a TrueNAS does.
    #[error("TrueNAS does not answer: {0}")]
    Down(String),
    /// It is not who it should be.
    #[error("TrueNAS' certificate is not to be trusted: {words}")]
    Certificate {
        /// What is wrong with it.
        words: String,
        /// Fingerprint of the one it showed.
        shown: Option<String>,
    },
    /// It does not speak the version of the API that Foundry does.
    #[error("{0} does not serve API {api}: its TrueNAS is older than 25.10, or so new that it has dropped it", api = super::address::API)]
    NoSuchApi(String),
    /// It does not take the key.
    #[error("TrueNAS refuses the API key: {0}")]
    Login(String),
    /// The connection went away before the answer came. The call may have been carried out.
    #[error("the connection to TrueNAS was cut during {method}: {why}")]
    Lost {
        /// Which call.
        method: String,
        /// What is known of why.
        why: String,
    },
    /// The answer did not come in time. The call may have been carried out.
    #[error("TrueNAS did not answer {method} within {} seconds", .after.as_secs())]
    Slow {
        /// Which call, or which job.
        method: String,
        /// How long it was given.
        after: Duration,
    },
    /// It answered with an error.
    #[error("TrueNAS answers {method}: {words}")]
    Refused {
        /// Which call.
        method: String,
        /// JSON-RPC's code.
        code: i64,
        /// `EINVAL`, `ENOENT`, … where it names one.
        errname: Option<String>,
        /// In its own words, a field's name before each where it names one.
        words: String,
    },
    /// A job of its ended badly.
    #[error("TrueNAS' job {id} ({method}) {state}: {words}")]
    Job {
        /// Which call began it.
        method: String,
        /// Its number, as TrueNAS shows it under Jobs.
        id: i64,
        /// `failed`, `was aborted`.
        state: String,
        /// In its own words.
        words: String,
        /// The end of its log.
        log: String,
    },
    /// It answered something else than its documentation says.
    #[error("TrueNAS' answer to {method} can't be read: {why}")]
    Unreadable {
        /// Which call.
        method: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is nothing that Foundry could do about it.
    #[error("{message}")]
    Hopeless {
        /// What is wrong.
        message: String,
        /// What a person can do.
        hint: String,
    },
}

/// JSON-RPC's code for a method that is not there.
pub const NO_SUCH_METHOD: i64 = -32601;

/// TrueNAS' code for more calls at once than it takes.
const TOO_MANY: i64 = -32000;

impl TrueNasError {
    /// Returns whether the same may well work in a moment, over a new connection where the old one is gone.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Down(_) | Self::Lost { .. } | Self::Refused { code: TOO_MANY, .. }
        )
    }

    /// Returns whether the connection it came over is of no more use.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Slow { .. })
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Certificate {
                shown: Some(shown), ..
            } => format!(
                "give its authority as `ca`, or, if TrueNAS shows the same under Credentials › Certificates, `fingerprint: {shown}`"
            ),
            Self::Certificate { .. } => {
                "give its authority as `ca`, or the certificate's `fingerprint`".to_owned()
            }
            Self::Login(_) => "make a key in TrueNAS under Credentials › API Keys, store it by `foundry secret set`, and give the user it belongs to as `username`".to_owned(),
            Self::Refused { errname: Some(name), .. } if name == "EACCES" || name == "EPERM" => {
                "the key's user lacks the role for that: give it `Full Admin`, or the roles that docs/storage.md lists".to_owned()
            }
            Self::Refused { errname: Some(name), .. } if name == "ENOTAUTHENTICATED" => {
                "TrueNAS ended the session: run again".to_owned()
            }
            Self::Job { .. } => "TrueNAS shows it under Jobs, at the top right".to_owned(),
            Self::Hopeless { hint, .. } => hint.clone(),
            _ => return None,
        })
    }

    /// Returns what there is to quote beside.
    fn output(&self) -> String {
        match self {
            Self::Job { log, .. } => log.clone(),
            _ => String::new(),
        }
    }
}

impl From<TrueNasError> for Fault {
    fn from(error: TrueNasError) -> Self {
        let message = match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => error.to_string(),
        };
        // It was there before Foundry and is nothing that another step brings up.
        Self {
            message,
            not_yet: false,
        }
    }
}

impl From<TrueNasError> for StepError {
    fn from(error: TrueNasError) -> Self {
        Self::Failed {
            message: error.to_string(),
            output: error.output(),
            hint: error.hint(),
            status: None,
        }
    }
}
