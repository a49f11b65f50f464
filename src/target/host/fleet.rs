//! All hosts of a stack, and the adapters of its services: what planning and running are handed. Connects to a host when
//! it is first asked for. Knows nothing of steps.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use futures::future::BoxFuture;

use super::error::{Hint as _, access};
use super::links::Links;
use super::local::LocalWire;
use super::machine::Machine;
use super::route::{self, Route};
use super::settings::{AccessSettings, OneAtATime};
use super::ssh::SshWire;
use super::ssh_config::SshConfig;
use crate::config::{HostId, Stack};
use crate::probe::{AccessError, AccessKind, Reader, Readers, ServiceReader};
use crate::run::{ServiceWriter, Writer, Writers};

/// The two halves of a service's adapter.
type Service = (Arc<dyn ServiceReader>, Arc<dyn ServiceWriter>);

/// All hosts of a stack, each with at most one connection.
pub struct Fleet {
    stack: Arc<Stack>,
    links: Arc<Links>,
    ssh_config: OnceLock<Result<SshConfig, String>>,
    machines: Mutex<HashMap<HostId, Arc<Machine>>>,
    services: RwLock<HashMap<String, Service>>,
    run: OnceLock<String>,
}

impl Fleet {
    /// Returns the fleet of `stack`'s hosts. Reads nothing and connects to nothing yet.
    #[must_use]
    pub fn new(stack: Arc<Stack>, mut settings: AccessSettings) -> Self {
        settings.prompts = settings.prompts.map(OneAtATime::over);
        Self {
            stack,
            links: Arc::new(Links::new(settings)),
            ssh_config: OnceLock::new(),
            machines: Mutex::default(),
            services: RwLock::default(),
            run: OnceLock::new(),
        }
    }

    /// Names the run on whose behalf hosts are reached from now on: sudo's log there shows it, and so do processes.
    pub fn name_run(&self, run: &str) {
        // The first stays: shells bear its name.
        let _ = self.run.set(run.to_owned());
    }

    /// Hands over the adapter of a service, under the name that steps use.
    pub fn register_service(
        &self,
        name: &str,
        reader: Arc<dyn ServiceReader>,
        writer: Arc<dyn ServiceWriter>,
    ) {
        self.services
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), (reader, writer));
    }

    /// Returns how many commands were run on a host so far.
    #[must_use]
    pub fn execs(&self, host: HostId) -> u64 {
        self.machines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&host)
            .map_or(0, |machine| machine.execs())
    }

    /// Returns how many connections were made so far, those to jump hosts and those made again included.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.links.opened()
    }

    /// Closes the connections that nobody uses at the moment.
    pub fn close(&self) {
        self.links.close();
    }

    /// Returns the way to a host, as OpenSSH's client would have to be told.
    pub(super) fn route(&self, host: HostId) -> Result<Route, AccessError> {
        let host = self.stack.host(host);
        let settings = &self.links.settings;
        let config = self.ssh_config.get_or_init(|| {
            let files = settings.ssh_config.iter();
            let files = files.chain(&settings.system_ssh_config);
            SshConfig::read(files, &settings.home, &settings.user)
        });
        let config = config
            .as_ref()
            .map_err(|error| access(&host.name, AccessKind::Local, error.clone()))?;
        route::find(&self.stack, host, config, &settings.user).map_err(|error| {
            access(&host.name, AccessKind::Local, error.to_string()).hint(error.hint())
        })
    }

    /// Returns the user that Foundry logs in as on a host: the stack's word, `~/.ssh/config`'s, or the local user's name.
    ///
    /// # Errors
    /// When there is no way to the host.
    pub fn user(&self, host: HostId) -> Result<String, AccessError> {
        if self.stack.host(host).local {
            return Ok(self.links.settings.user.clone());
        }
        Ok(self.route(host)?.target().user.clone())
    }

    pub(super) fn stack(&self) -> &Stack {
        &self.stack
    }

    pub(super) fn settings(&self) -> &AccessSettings {
        &self.links.settings
    }

    fn machine(&self, id: HostId) -> Result<Arc<Machine>, AccessError> {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machine) = machines.get(&id) {
            return Ok(Arc::clone(machine));
        }
        let host = self.stack.host(id);
        let prompts = self.links.settings.prompts.clone();
        let title = match self.run.get() {
            Some(run) => format!("{}/{run}", self.stack.name),
            None => self.stack.name.clone(),
        };
        let machine = if host.local {
            let wire = LocalWire::new(Arc::clone(&host.name), self.links.settings.user.clone());
            Machine::new(Box::new(wire), prompts, title)
        } else {
            let wire = SshWire::new(Arc::clone(&self.links), self.route(id)?);
            Machine::new(Box::new(wire), prompts, title)
        };
        machines.insert(id, Arc::clone(&machine));
        Ok(machine)
    }

    async fn reached(&self, host: HostId) -> Result<Arc<Machine>, AccessError> {
        let machine = self.machine(host)?;
        machine.reach().await?;
        Ok(machine)
    }
}

impl Readers for Fleet {
    fn reader(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        Box::pin(async move {
            let machine: Arc<dyn Reader> = self.reached(host).await?;
            Ok(machine)
        })
    }

    fn service(&self, name: &str) -> Option<Arc<dyn ServiceReader>> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.get(name).map(|(reader, _)| Arc::clone(reader))
    }
}

impl Writers for Fleet {
    fn writer(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Writer>, AccessError>> {
        Box::pin(async move {
            let machine: Arc<dyn Writer> = self.reached(host).await?;
            Ok(machine)
        })
    }

    fn service_writer(&self, name: &str) -> Option<Arc<dyn ServiceWriter>> {
        let services = self.services.read().unwrap_or_else(PoisonError::into_inner);
        services.get(name).map(|(_, writer)| Arc::clone(writer))
    }
}
