//! What can go wrong with the Kubernetes API, in its own words. Does not know what was asked.

use crate::probe::Fault;
use crate::run::StepError;

/// Field of an object that somebody else manages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Which object: `Deployment/web in shop`.
    pub object: String,
    /// Who, and through which version of the API, as the server says it: `"kubectl" using apps/v1`.
    pub manager: String,
    /// Which field: `.spec.replicas`.
    pub field: String,
}

/// Why the cluster could not be asked or told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClusterError {
    /// No host that provides it tells how to reach it.
    #[error("{0}")]
    Access(String),
    /// There is no API there yet: no kubeconfig on the host.
    #[error("the cluster is not up yet: {0}")]
    NotUp(String),
    /// Nothing answers, or it is not ready.
    #[error("the Kubernetes API does not answer: {0}")]
    Down(String),
    /// It is not who it should be.
    #[error("the Kubernetes API's certificate is not to be trusted: {0}")]
    Certificate(String),
    /// The credential is not good.
    #[error("the Kubernetes API does not know who asks (401): {0}")]
    Unauthorized(String),
    /// The credential is not good enough.
    #[error("the Kubernetes API forbids it: {0}")]
    Forbidden(String),
    /// Other managers have fields that differ.
    #[error("{}", conflict_words(.0))]
    Conflicts(Vec<Conflict>),
    /// The object belongs to another component or stack.
    #[error("{object} belongs to {owner}: left as it is")]
    Foreign {
        /// `Deployment/web`, with its namespace.
        object: String,
        /// `component x of stack y`.
        owner: String,
    },
    /// It answered with another error.
    #[error("the Kubernetes API answers {status}: {message}")]
    Api {
        /// HTTP status.
        status: u16,
        /// In its own words.
        message: String,
    },
}

fn conflict_words(conflicts: &[Conflict]) -> String {
    let each: Vec<String> = conflicts
        .iter()
        .map(|one| {
            format!(
                "{}: {} is managed by {}",
                one.object, one.field, one.manager
            )
        })
        .collect();
    each.join("; ")
}

impl ClusterError {
    /// Returns whether asking again may help once other steps have run.
    #[must_use]
    pub fn is_not_yet(&self) -> bool {
        matches!(self, Self::Access(_) | Self::NotUp(_) | Self::Down(_))
    }

    /// Returns whether the same request may well be taken in a moment: the server restarts, elects a leader, is told too
    /// much at once, or a webhook of its is not up yet.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotUp(_) | Self::Down(_) | Self::Access(_) => true,
            Self::Api { status, message } => {
                // What can't be read as its kind says won't be read better in a moment.
                (matches!(status, 429 | 500 | 502 | 503 | 504)
                    && !message.contains("failed to create typed"))
                    || (*status == 409 && message.contains("has been modified"))
                    || (*status == 403 && message.contains("being terminated"))
            }
            _ => false,
        }
    }

    /// Returns whether nothing of that name is there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { status: 404, .. })
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Conflicts(_) => {
                "give the field up there or leave it out here; `--force-conflicts` takes it over"
            }
            Self::Foreign { .. } => {
                "remove it there first, or take the label `foundry.dev/component` off it to let it be taken over"
            }
            Self::Certificate(_) => {
                "the kubeconfig may be of an earlier cluster: compare its `certificate-authority-data` with the server's"
            }
            Self::Unauthorized(_) => {
                "the client certificate or token of the kubeconfig may have ended: K3s renews its own when it is restarted"
            }
            Self::Api { message, .. } if message.contains("failed calling webhook") => {
                "the webhook's own workload must be up before objects of its kinds can be applied"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<ClusterError> for Fault {
    fn from(error: ClusterError) -> Self {
        Self {
            message: error.to_string(),
            not_yet: error.is_not_yet(),
        }
    }
}

impl From<ClusterError> for StepError {
    fn from(error: ClusterError) -> Self {
        Self::Failed {
            message: error.to_string(),
            output: String::new(),
            hint: error.hint(),
            status: None,
        }
    }
}

impl From<kube::Error> for ClusterError {
    fn from(error: kube::Error) -> Self {
        use kube::Error;
        match error {
            Error::Api(status) => {
                let message = if status.message.is_empty() {
                    status.reason.clone()
                } else {
                    status.message.clone()
                };
                match status.code {
                    401 => Self::Unauthorized(message),
                    403 if !message.contains("being terminated") => Self::Forbidden(message),
                    code => Self::Api {
                        status: code,
                        message,
                    },
                }
            }
            Error::SerdeError(_) | Error::FromUtf8(_) | Error::BuildRequest(_) => Self::Api {
                status: 200,
                message: deepest(&error),
            },
            Error::Auth(_) | Error::InferConfig(_) | Error::InferKubeconfig(_) => {
                Self::Access(deepest(&error))
            }
            other => {
                let words = deepest(&other);
                if words.contains("certificate") {
                    Self::Certificate(words)
                } else {
                    Self::Down(words)
                }
            }
        }
    }
}

/// Returns the words of the last cause, which name what really happened.
pub fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let words = deeper.to_string();
        if !words.is_empty() {
            deepest = words;
        }
        cause = deeper.source();
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    #[test]
    fn errors_say_what_may_pass_and_what_to_do() {
        let api = |code: u16, message: &str| {
            let status = Status::failure(message, "").with_code(code);
            ClusterError::from(kube::Error::Api(status.boxed()))
        };
        let table = [
            (api(401, "Unauthorized"), false, true),
            (api(403, "user cannot list"), false, false),
            (api(403, "namespace x is being terminated"), true, false),
            (api(404, "not found"), false, false),
            (api(409, "the object has been modified"), true, false),
            (api(422, "invalid"), false, false),
            (api(500, "etcdserver: leader changed"), true, false),
            (api(500, "failed calling webhook \"x\""), true, true),
            (
                api(500, "x: failed to create typed patch object"),
                false,
                false,
            ),
        ];
        for (error, transient, hint) in table {
            assert_eq!(error.is_transient(), transient, "{error}");
            assert_eq!(error.hint().is_some(), hint, "{error}");
            assert!(!error.is_not_yet(), "{error}");
        }
    }

    #[test]
    fn a_conflict_names_manager_and_field() {
        let error = ClusterError::Conflicts(vec![Conflict {
            object: "Deployment/web in shop".to_owned(),
            manager: "\"kubectl-scale\" using apps/v1".to_owned(),
            field: ".spec.replicas".to_owned(),
        }]);
        assert_eq!(
            error.to_string(),
            "Deployment/web in shop: .spec.replicas is managed by \"kubectl-scale\" using apps/v1"
        );
    }
}
