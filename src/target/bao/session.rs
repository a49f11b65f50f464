//! One connection to the active node, with Foundry's token, shared by all that speak to OpenBAO in a run. Does not know
//! what is asked through it.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::client::{self, BaoError, Client};
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
            open: Mutex::new(None),
        }
    }

    /// Returns the ways to hosts that it was made with.
    #[must_use]
    pub fn writers(&self) -> &dyn Writers {
        &*self.writers
    }

    /// Returns where hosts keep the authority's certificate.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.ca
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
        let mut client = client::active(&*self.writers, hosts, &self.ca).await?;
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
