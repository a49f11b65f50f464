//! One connection to the active node, with Foundry's token, shared by all that speak to OpenBAO in a run. Does not know
//! what is asked through it.

use std::sync::Arc;

use tokio::sync::{Mutex, OnceCell};

use super::client::{self, BaoError, Client};
use super::endpoint::Health;
use super::token_name;
use crate::config::{HostId, Stack};
use crate::run::{Keeper, Writers};
use crate::secret::Secret;

/// Environment variable that goes before the stored token.
pub const TOKEN_VARIABLE: &str = "FOUNDRY_BAO_TOKEN";

/// Makes and keeps the connection.
pub struct Sessions {
    writers: Arc<dyn Writers>,
    keeper: Arc<dyn Keeper>,
    stack: Arc<Stack>,
    ca: String,
    authority: OnceCell<String>,
    open: Mutex<Option<Arc<Client>>>,
}

impl Sessions {
    /// Makes it; connects to nothing yet. `ca` is the file on each host that holds the authority's certificate
    /// ([`CA`](super::CA) on hosts that the recipe set up).
    #[must_use]
    pub fn new(
        writers: Arc<dyn Writers>,
        keeper: Arc<dyn Keeper>,
        stack: Arc<Stack>,
        ca: impl Into<String>,
    ) -> Self {
        Self {
            writers,
            keeper,
            stack,
            ca: ca.into(),
            authority: OnceCell::new(),
            open: Mutex::new(None),
        }
    }

    /// Returns the certificate of the authority that all of the hosts share, from the first that tells it.
    async fn authority(&self, hosts: &[HostId]) -> Result<&str, BaoError> {
        let read = || async {
            let mut trouble = BaoError::Down("it has no hosts".to_owned());
            for &host in hosts {
                let told = match self.writers.writer(host).await {
                    Ok(writer) => client::authority(&*writer, &self.ca).await,
                    Err(error) => Err(BaoError::Access(error.to_string())),
                };
                match told {
                    Ok(pem) => return Ok(pem),
                    Err(error) => trouble = error,
                }
            }
            Err(trouble)
        };
        self.authority
            .get_or_try_init(read)
            .await
            .map(String::as_str)
    }

    /// Connects to the active one of the hosts, without a token.
    ///
    /// # Errors
    /// When none is.
    pub async fn connect(&self, hosts: &[HostId]) -> Result<Client, BaoError> {
        let ca = self.authority(hosts).await?;
        client::active(&*self.writers, hosts, ca).await
    }

    /// Asks the node on one of the hosts how it is.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn health(&self, host: HostId, hosts: &[HostId]) -> Result<Health, BaoError> {
        let ca = self.authority(hosts).await?;
        let writer = self
            .writers
            .writer(host)
            .await
            .map_err(|error| BaoError::Access(error.to_string()))?;
        Client::connect(&*writer, ca).await?.health().await
    }

    /// Returns the stack it is about.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Returns a connection to whichever of the hosts is active now.
    ///
    /// # Errors
    /// When none is, or Foundry's token is missing or not good.
    pub async fn active(&self, hosts: &[HostId]) -> Result<Arc<Client>, BaoError> {
        let mut open = self.open.lock().await;
        if let Some(client) = &*open {
            match client.health().await {
                Ok(health) if !health.sealed && !health.standby => return Ok(Arc::clone(client)),
                _ => *open = None,
            }
        }
        let mut client = self.connect(hosts).await?;
        client.set_token(&self.token()?);
        let token = vaultrs::token::lookup_self(client.api())
            .await
            .map_err(BaoError::from)?;
        // A token in use never ends; this changes nothing but its own lease.
        if token.renewable == Some(true) && token.ttl > 0 && token.ttl * 2 < token.creation_ttl {
            vaultrs::token::renew_self(client.api(), None)
                .await
                .map_err(BaoError::from)?;
        }
        let client = Arc::new(client);
        *open = Some(Arc::clone(&client));
        Ok(client)
    }

    fn token(&self) -> Result<Secret<String>, BaoError> {
        if let Ok(token) = std::env::var(TOKEN_VARIABLE)
            && !token.trim().is_empty()
        {
            return Ok(Secret::new(token.trim().to_owned()));
        }
        self.keeper
            .load(&token_name(&self.stack))
            .map_err(BaoError::Access)?
            .ok_or(BaoError::NoToken)
    }
}
