//! Wires the ports of probe and run to the adapters: hosts over SSH, OpenBAO, secrets, the keeper.
//! Decides nothing.

use std::path::PathBuf;
use std::sync::Arc;

use super::Global;
use super::exit::CliError;
use super::keeper::UserKeeper;
use super::print::warn;
use super::prompt::TerminalPrompts;
use super::session::Session;
use crate::config::{HostId, Stack};
use crate::graph::{Graph, Target};
use crate::report::Pause;
use crate::run::journal::Journals;
use crate::run::{Fenced, Gate, Keeper, Writers, draw_run};
use crate::secret::{Masker, Resolver, SecretStore, environment};
use crate::target::bao::{BaoService, BaoStore, CA, Sessions};
use crate::target::cluster::{self, Access, ClusterService};
use crate::target::host::{AccessSettings, Fleet, HostKeys};
use crate::target::truenas::TrueNasService;

/// Name by which recipes call the stack's own OpenBAO.
const BAO: &str = "bao";

/// Name by which recipes call the cluster.
const CLUSTER: &str = "cluster";

/// Name by which recipes call a TrueNAS; each step says which.
pub(super) const TRUENAS: &str = "truenas";

/// Environment variable: a kubeconfig on this machine, for clusters whose servers are not hosts of the stack.
const KUBECONFIG: &str = "FOUNDRY_KUBECONFIG";

/// Raises the number of files that this process may have open to the highest that it is allowed, and returns it.
#[cfg(target_os = "linux")]
fn open_files() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1024;
    };
    let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    usize::try_from(if raised { hard } else { soft }).unwrap_or(usize::MAX)
}

/// Returns the number of files that a process may have open where nobody raised it.
#[cfg(not(target_os = "linux"))]
fn open_files() -> usize {
    256
}

/// Everything that reaches out of this process.
pub struct Wired {
    /// All hosts.
    pub fleet: Arc<Fleet>,
    /// What all that changes hosts goes through; a run's lock opens it.
    pub gate: Gate,
    /// All hosts, through the gate.
    pub fenced: Arc<dyn Writers>,
    /// The user's keeper.
    pub keeper: Arc<UserKeeper>,
    /// Secrets of the stack.
    pub resolver: Arc<Resolver>,
    /// The stack's own OpenBAO, if it has one.
    pub store: Option<Arc<BaoStore>>,
    /// Takes every secret out of whatever is shown.
    pub masker: Arc<Masker>,
}

impl Wired {
    /// Wires up a session. Connects to nothing yet. `keys_to` is the file that the user named for keys, `pause` clears
    /// the screen for questions.
    pub fn new(
        session: &Session,
        global: &Global,
        keys_to: Option<PathBuf>,
        pause: Option<Pause>,
    ) -> Result<Self, CliError> {
        let home = &session.home;
        let keeper = Arc::new(UserKeeper::new(
            home.dir(),
            keys_to,
            global.yes,
            pause.clone(),
        ));
        let mut settings = AccessSettings::new(home.dir());
        // Each connection is a file; some are needed for everything else.
        let files = open_files().saturating_sub(64).max(16);
        settings.max_connections = settings.max_connections.min(files);
        settings.prompts = TerminalPrompts::if_someone_there(global.yes, pause);
        settings.host_keys = if settings.prompts.is_some() {
            HostKeys::Ask
        } else {
            HostKeys::Strict
        };
        let fleet = Arc::new(Fleet::new(session.stack.clone(), settings));

        let gate = Gate::default();
        let names = session.stack.hosts.iter().map(|host| host.name.clone());
        let fenced: Arc<dyn Writers> =
            Arc::new(Fenced::new(fleet.clone(), gate.clone(), names.collect()));
        let writers = fenced.clone();
        let keeping: Arc<dyn Keeper> = keeper.clone();
        let sessions = Arc::new(Sessions::new(writers, keeping, session.stack.clone(), CA));
        let service = Arc::new(BaoService::new(sessions.clone()));
        fleet.register_service(BAO, service.clone(), service);

        let hosts = service_hosts(&session.graph, BAO);
        let store = (!hosts.is_empty()).then(|| Arc::new(BaoStore::new(sessions, hosts)));
        let masker = Arc::new(Masker::new([]));
        let loaded = home.vars()?;
        if let Some(warning) = &loaded.warning {
            warn(warning);
        }
        let resolver = Resolver::new(
            environment::variable,
            loaded.vars,
            loaded.name,
            store.clone().map(|store| store as Arc<dyn SecretStore>),
            masker.clone(),
        );
        register_cluster(&fleet, &fenced, session, &masker, false);
        let truenas = Arc::new(TrueNasService::default());
        fleet.register_service(TRUENAS, truenas.clone(), truenas);
        Ok(Self {
            fleet,
            gate,
            fenced,
            keeper,
            resolver: Arc::new(resolver),
            store,
            masker,
        })
    }
}

impl Wired {
    /// Has fields of objects in the cluster taken over from whoever set them, if that is wanted.
    #[must_use]
    pub fn forcing_conflicts(self, session: &Session, wanted: bool) -> Self {
        if wanted {
            register_cluster(&self.fleet, &self.fenced, session, &self.masker, true);
        }
        self
    }

    /// Returns the journals of the stack's hosts for a command that is no build, as a run of its own; sudo's log names it.
    #[must_use]
    pub fn journals(&self, stack: &Arc<Stack>) -> Arc<Journals> {
        let run = draw_run(jiff::Timestamp::now());
        self.fleet.name_run(run.as_str());
        Arc::new(Journals::new(Arc::clone(stack), &run, Vec::new()))
    }

    /// Returns a way to the cluster's API for what a command asks itself, and the hosts that lead there.
    #[must_use]
    pub fn cluster(&self, session: &Session) -> (cluster::Sessions, Vec<HostId>) {
        let writers: Arc<dyn Writers> = self.fleet.clone();
        let hosts = service_hosts(&session.graph, CLUSTER);
        (cluster::Sessions::new(writers, access()), hosts)
    }
}

/// Returns how the cluster is reached.
fn access() -> Access {
    std::env::var_os(KUBECONFIG)
        .filter(|path| !path.is_empty())
        .map_or_else(Access::default, |path| Access::Kubeconfig(path.into()))
}

/// Hands the fleet the cluster's adapter. Connects to nothing.
fn register_cluster(
    fleet: &Fleet,
    fenced: &Arc<dyn Writers>,
    session: &Session,
    masker: &Arc<Masker>,
    force: bool,
) {
    let service = Arc::new(ClusterService::new(
        fenced.clone(),
        access(),
        session.stack.clone(),
        masker.clone(),
        force,
    ));
    fleet.register_service(CLUSTER, service.clone(), service);
}

/// Returns the hosts that provide a service of the stack.
fn service_hosts(graph: &Graph, service: &str) -> Vec<HostId> {
    graph
        .steps
        .iter()
        .find_map(|step| match &step.target {
            Target::Service(name, hosts) if &**name == service => Some(hosts.to_vec()),
            _ => None,
        })
        .unwrap_or_default()
}
