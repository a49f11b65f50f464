//! Connections, one for each TrueNAS and key, shared by all steps of a run and made anew when they are cut. Does not know what
//! is asked through them.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use tokio::sync::Mutex;

use super::address::Address;
use super::client::Client;
use super::error::TrueNasError;
use super::trust::Trust;
use crate::catalog::{Value, Values};
use crate::secret::Secret;
use crate::target::inputs;

/// How a TrueNAS is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// `https://truenas.example.com`.
    pub url: String,
    /// Whose key it is; may be empty until TrueNAS 26.
    pub username: String,
    /// The key.
    pub api_key: Secret<String>,
    /// Authority of its certificate, in PEM; empty: this machine's.
    pub ca: String,
    /// SHA-256 of its certificate; empty: not pinned.
    pub fingerprint: String,
}

impl Connection {
    /// Reads the inputs that every task on a TrueNAS has.
    ///
    /// # Errors
    /// When one isn't there.
    pub fn of(values: &Values) -> Result<Self, String> {
        // What a config leaves out comes as nothing at all.
        let optional = |name: &str| match values.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(_) => inputs::text(values, name).map(str::to_owned),
        };
        Ok(Self {
            url: inputs::text(values, "url")?.to_owned(),
            username: optional("username")?,
            api_key: inputs::secret(values, "api_key")?,
            ca: optional("ca")?,
            fingerprint: optional("fingerprint")?,
        })
    }
}

type Slot = Arc<Mutex<Option<Arc<Client>>>>;

/// Makes and keeps the connections.
#[derive(Default)]
pub struct Sessions {
    slots: Mutex<Vec<(Connection, Slot)>>,
}

/// How often something is tried again whose way was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Once, for whoever waits at a terminal.
    Little,
    /// For about two minutes, in which a middleware restarts.
    Much,
}

impl Sessions {
    /// Returns the connection, a new one if the old one has ended.
    ///
    /// # Errors
    /// When there is none to be had.
    pub async fn open(&self, to: &Connection) -> Result<Arc<Client>, TrueNasError> {
        let address = Address::parse(&to.url).map_err(TrueNasError::Config)?;
        let trust = Trust::read(&to.ca, &to.fingerprint).map_err(TrueNasError::Config)?;
        let slot = self.slot(to).await;
        // Whoever else wants this one waits for it rather than to log in too.
        let mut open = slot.lock().await;
        if let Some(client) = open.as_ref().filter(|client| client.ended().is_none()) {
            return Ok(Arc::clone(client));
        }
        *open = None;
        let client = Client::connect(&address, &trust, &to.username, &to.api_key).await?;
        let client = Arc::new(client);
        *open = Some(Arc::clone(&client));
        Ok(client)
    }

    async fn slot(&self, to: &Connection) -> Slot {
        let mut slots = self.slots.lock().await;
        if let Some((_, slot)) = slots.iter().find(|(known, _)| known == to) {
            return Arc::clone(slot);
        }
        let slot = Slot::default();
        slots.push((to.clone(), Arc::clone(&slot)));
        slot
    }

    /// Does something over the connection, again if the way to it was cut meanwhile: so it must look first at what is there.
    ///
    /// # Errors
    /// The last one's.
    pub async fn patiently<T, F, W>(
        &self,
        to: &Connection,
        patience: Patience,
        work: F,
    ) -> Result<T, TrueNasError>
    where
        F: Fn(Arc<Client>) -> W,
        W: Future<Output = Result<T, TrueNasError>>,
    {
        let (times, longest) = match patience {
            Patience::Little => (1, 1),
            Patience::Much => (10, 20),
        };
        (|| async {
            let client = self.open(to).await?;
            let done = work(Arc::clone(&client)).await;
            if let Err(error) = &done
                && error.is_broken()
            {
                self.forget(to, &client).await;
            }
            done
        })
        .retry(
            ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(250))
                .with_max_delay(Duration::from_secs(longest))
                .with_max_times(times)
                .with_jitter(),
        )
        .when(|error| match patience {
            // That nothing is there at all is no news that waiting makes better.
            Patience::Little => error.is_transient() && !matches!(error, TrueNasError::Down(_)),
            Patience::Much => error.is_transient(),
        })
        .await
    }

    /// Has the next one connect anew: one whose answers don't come is of no use.
    async fn forget(&self, to: &Connection, client: &Arc<Client>) {
        let slot = self.slot(to).await;
        let mut open = slot.lock().await;
        if open.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, client)) {
            *open = None;
        }
    }
}
