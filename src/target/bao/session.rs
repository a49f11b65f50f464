//! One connection to the active node, with Foundry's token, shared by all that speak to OpenBAO in a run. Does not know
//! what is asked through it.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::client::{self, BaoError, Client};
use super::endpoint::Health;
use super::{authority_name, token_name};
use crate::config::{HostId, Stack};
use crate::run::{Keeper, Writers};
use crate::secret::{Secret, environment};

/// Environment variable that goes before the stored token.
pub const TOKEN_VARIABLE: &str = "FOUNDRY_BAO_TOKEN";

/// The authority that the hosts' certificates come from.
#[derive(Clone)]
struct Authority {
    /// Its certificate.
    pem: Arc<str>,
    /// Whether it is the one that Foundry's token was last used with, not yet read from a host in this run.
    kept: bool,
}

/// Makes and keeps the connection.
pub struct Sessions {
    writers: Arc<dyn Writers>,
    keeper: Arc<dyn Keeper>,
    stack: Arc<Stack>,
    ca: String,
    authority: Mutex<Option<Authority>>,
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
            authority: Mutex::new(None),
            open: Mutex::new(None),
        }
    }

    /// Returns the authority that all of the hosts share: the one kept with Foundry's token, which spares a round trip,
    /// else as the first host tells it that can.
    async fn authority(&self, hosts: &[HostId]) -> Result<Authority, BaoError> {
        let mut known = self.authority.lock().await;
        if let Some(authority) = &*known {
            return Ok(authority.clone());
        }
        // What can't be loaded is read from a host.
        let kept = self.keeper.load(&authority_name(&self.stack));
        let authority = match kept {
            Ok(Some(pem)) => Authority {
                pem: pem.expose().as_str().into(),
                kept: true,
            },
            Ok(None) | Err(_) => self.told(hosts).await?,
        };
        *known = Some(authority.clone());
        Ok(authority)
    }

    /// Reads the authority's certificate from the first of the hosts that tells it.
    async fn told(&self, hosts: &[HostId]) -> Result<Authority, BaoError> {
        let mut trouble = BaoError::Down("it has no hosts".to_owned());
        for &host in hosts {
            let told = match self.writers.writer(host).await {
                Ok(writer) => client::authority(&*writer, &self.ca).await,
                Err(error) => Err(BaoError::Access(error.to_string())),
            };
            match told {
                Ok(pem) => {
                    return Ok(Authority {
                        pem: pem.into(),
                        kept: false,
                    });
                }
                Err(error) => trouble = error,
            }
        }
        Err(trouble)
    }

    /// Returns the authority that the hosts tell, where it isn't the kept one under which nothing answered: a cluster
    /// made anew under the same name has a new one.
    async fn another(&self, hosts: &[HostId], tried: &Authority) -> Option<Authority> {
        if !tried.kept {
            return None;
        }
        let told = self.told(hosts).await.ok()?;
        if told.pem.trim() == tried.pem.trim() {
            return None;
        }
        *self.authority.lock().await = Some(told.clone());
        Some(told)
    }

    /// Keeps the authority for the next run, once a token was good there.
    async fn keep(&self) {
        let mut known = self.authority.lock().await;
        if let Some(authority) = &mut *known
            && !authority.kept
        {
            let pem = Secret::new(authority.pem.trim().to_owned());
            // Not kept costs the next run a round trip, nothing else.
            authority.kept = self
                .keeper
                .store(&authority_name(&self.stack), &pem)
                .is_ok();
        }
    }

    /// Connects to the active one of the hosts, without a token.
    ///
    /// # Errors
    /// When none is.
    pub async fn connect(&self, hosts: &[HostId]) -> Result<Client, BaoError> {
        let authority = self.authority(hosts).await?;
        let found = client::active(&*self.writers, hosts, &authority.pem).await;
        if let Err(BaoError::Down(_)) = found
            && let Some(other) = self.another(hosts, &authority).await
        {
            return client::active(&*self.writers, hosts, &other.pem).await;
        }
        found
    }

    /// Asks the node on one of the hosts how it is.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn health(&self, host: HostId, hosts: &[HostId]) -> Result<Health, BaoError> {
        let authority = self.authority(hosts).await?;
        let writer = self
            .writers
            .writer(host)
            .await
            .map_err(|error| BaoError::Access(error.to_string()))?;
        let answer = Client::connect(&*writer, &authority.pem)
            .await?
            .health()
            .await;
        if let Err(BaoError::Down(_)) = answer
            && let Some(other) = self.another(hosts, &authority).await
        {
            return Client::connect(&*writer, &other.pem).await?.health().await;
        }
        answer
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
        self.keep().await;
        let client = Arc::new(client);
        *open = Some(Arc::clone(&client));
        Ok(client)
    }

    fn token(&self) -> Result<Secret<String>, BaoError> {
        if let Some(token) = environment::variable(TOKEN_VARIABLE)
            && !token.expose().trim().is_empty()
        {
            return Ok(Secret::new(token.expose().trim().to_owned()));
        }
        self.keeper
            .load(&token_name(&self.stack))
            .map_err(BaoError::Access)?
            .ok_or(BaoError::NoToken)
    }
}
