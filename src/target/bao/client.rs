//! A connection to one node's API: through a tunnel of the host, trusting only the authority that the host names.
//! Does not know which node is the active one.

use std::time::Duration;

use futures::future::join_all;
use vaultrs::api::{self, EndpointMiddleware};
use vaultrs::client::{VaultClient, VaultClientSettingsBuilder};
use vaultrs::error::ClientError;

use super::endpoint::{Health, ReadHealth};
use crate::config::HostId;
use crate::probe::Fault;
use crate::run::{StepError, Tunnel, Writer, Writers};
use crate::secret::Secret;
use crate::target::crypto;
use crate::target::script::Script;

/// Port of the API on every host.
pub const PORT: u16 = 8200;

/// Where a host keeps the certificate of the authority that signed its own.
pub const CA: &str = "/opt/openbao/tls/ca.pem";

/// Why OpenBAO could not be asked or told.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BaoError {
    /// Nothing answers there.
    #[error("OpenBAO does not answer: {0}")]
    Down(String),
    /// It was never initialised.
    #[error("OpenBAO is not initialised")]
    NotInitialised,
    /// It is sealed.
    #[error("OpenBAO is sealed")]
    Sealed,
    /// No node of the cluster is the active one.
    #[error("OpenBAO has no active node: {0}")]
    NoLeader(String),
    /// Foundry has no token.
    #[error(
        "Foundry has no token for OpenBAO: set FOUNDRY_BAO_TOKEN, or store one with `foundry secret login`"
    )]
    NoToken,
    /// The token is not good, or not good enough.
    #[error(
        "OpenBAO refuses Foundry's token ({0}): it may have ended (store a new one with `foundry secret login`), or it may not do this (give an administrator's for this run in FOUNDRY_BAO_TOKEN)"
    )]
    Denied(String),
    /// It answered with an error.
    #[error("OpenBAO answers {status}: {message}")]
    Api {
        /// HTTP status.
        status: u16,
        /// In its own words.
        message: String,
    },
    /// The host could not be reached.
    #[error("{0}")]
    Access(String),
}

impl BaoError {
    /// Returns how much it tells about the whole cluster, for choosing among the errors of its nodes.
    fn weight(&self) -> u8 {
        match self {
            Self::Down(_) => 0,
            Self::Access(_) => 1,
            Self::NotInitialised => 2,
            Self::Sealed => 3,
            Self::NoLeader(_) => 4,
            Self::NoToken | Self::Denied(_) | Self::Api { .. } => 5,
        }
    }

    /// Returns whether asking again may help once other steps have run.
    #[must_use]
    pub fn is_not_yet(&self) -> bool {
        !matches!(self, Self::Api { .. } | Self::Denied(_))
    }
}

impl From<BaoError> for Fault {
    fn from(error: BaoError) -> Self {
        Self {
            message: error.to_string(),
            not_yet: error.is_not_yet(),
        }
    }
}

impl From<BaoError> for StepError {
    fn from(error: BaoError) -> Self {
        Self::Failed {
            message: error.to_string(),
            output: String::new(),
            hint: None,
            status: None,
        }
    }
}

impl From<ClientError> for BaoError {
    fn from(error: ClientError) -> Self {
        use rustify::errors::ClientError as Rest;
        let answered = |status: u16, message: String| match (status, message.as_str()) {
            (503, text) if text.contains("sealed") => Self::Sealed,
            (403, _) => Self::Denied(message),
            _ => Self::Api { status, message },
        };
        match error {
            ClientError::APIError { code, errors } if errors.is_empty() => {
                answered(code, "no reason given".to_owned())
            }
            ClientError::APIError { code, errors } => answered(code, errors.join("; ")),
            ClientError::RestClientError {
                source: Rest::ServerResponseError { code, content },
            } => answered(code, content.unwrap_or_default()),
            ClientError::RestClientError { source } => Self::Down(deepest(&source)),
            other => Self::Api {
                status: 200,
                message: deepest(&other),
            },
        }
    }
}

/// Returns the words of the last cause, which name what really happened.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        deepest = deeper.to_string();
        cause = deeper.source();
    }
    deepest
}

/// A connection to one node.
pub struct Client {
    vault: VaultClient,
    tunnel: Box<dyn Tunnel>,
}

impl Client {
    /// Opens a way to the node on a host, without a token; `ca` is the certificate of the authority to trust, in PEM.
    ///
    /// # Errors
    /// When the host can't be reached. Whether OpenBAO answers shows later.
    pub async fn connect(writer: &dyn Writer, ca: &str) -> Result<Self, BaoError> {
        let tunnel = writer
            .forward(PORT)
            .await
            .map_err(|error| BaoError::Access(error.to_string()))?;
        let base = format!("https://{}", tunnel.address());
        let vault = vault(&base, ca)?;
        Ok(Self { vault, tunnel })
    }

    /// Uses `token` from now on.
    pub fn set_token(&mut self, token: &Secret<String>) {
        vaultrs::client::Client::set_token(&mut self.vault, token.expose());
    }

    /// Returns what requests are made with.
    #[must_use]
    pub fn api(&self) -> &VaultClient {
        &self.vault
    }

    /// Returns how the node is.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn health(&self) -> Result<Health, BaoError> {
        api::exec_with_no_result(&self.vault, ReadHealth::default())
            .await
            .map_err(
                |error| match (BaoError::from(error), self.tunnel.trouble()) {
                    // This side only sees the tunnel close: the host knows why.
                    (BaoError::Down(_), Some(words)) => BaoError::Down(words),
                    (error, _) => error,
                },
            )
    }
}

/// Connects to the active node among the hosts; `ca` is the certificate of the authority to trust, in PEM.
///
/// # Errors
/// When there is none: the error is the most telling of the nodes' own.
pub async fn active(writers: &dyn Writers, hosts: &[HostId], ca: &str) -> Result<Client, BaoError> {
    let looks = hosts.iter().map(|&host| async move {
        let writer = writers
            .writer(host)
            .await
            .map_err(|error| BaoError::Access(error.to_string()))?;
        let client = Client::connect(&*writer, ca).await?;
        let health = client.health().await?;
        match (health.initialized, health.sealed, health.standby) {
            (false, ..) => Err(BaoError::NotInitialised),
            (true, true, _) => Err(BaoError::Sealed),
            (true, false, true) => {
                Err(BaoError::NoLeader("all that answer are standby".to_owned()))
            }
            (true, false, false) => Ok(client),
        }
    });
    let mut worst = BaoError::Down("it has no hosts".to_owned());
    for look in join_all(looks).await {
        match look {
            Ok(client) => return Ok(client),
            Err(error) if error.weight() >= worst.weight() => worst = error,
            Err(_) => {}
        }
    }
    Err(worst)
}

/// Returns the certificate of the authority, as the host has it: the SSH connection vouches for it.
///
/// # Errors
/// When it isn't there yet, or the host can't be reached.
pub async fn authority(writer: &dyn Writer, ca: &str) -> Result<String, BaoError> {
    let script = Script::new("cat -- \"$ca\"\n", Duration::from_secs(30), &[("ca", ca)]);
    match script.ask(writer).await {
        Ok(reply) if reply.status == Some(0) => {
            Ok(String::from_utf8_lossy(&reply.stdout).into_owned())
        }
        Ok(_) => Err(BaoError::Down(format!("{ca} is not there yet"))),
        Err(error) => Err(BaoError::Access(error.to_string())),
    }
}

fn vault(base: &str, ca: &str) -> Result<VaultClient, BaoError> {
    crypto::init();
    let wrong = |what: &dyn std::error::Error| BaoError::Down(deepest(what));
    let roots = reqwest::Certificate::from_pem_bundle(ca.as_bytes()).map_err(|e| wrong(&e))?;
    let http = reqwest::Client::builder()
        .tls_backend_rustls()
        .tls_certs_only(roots)
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_secs(60))
        .build()
        .map_err(|error| wrong(&error))?;
    let settings = VaultClientSettingsBuilder::default()
        .address(base)
        .token("")
        .ca_certs(Vec::new())
        .identity(None)
        .verify(true)
        .build()
        .map_err(|error| wrong(&error))?;
    Ok(VaultClient {
        http: rustify::clients::reqwest::Client::new(base, http),
        middle: EndpointMiddleware {
            token: String::new(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: None,
        },
        settings,
    })
}
