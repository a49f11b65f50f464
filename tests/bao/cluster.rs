//! Real OpenBAO servers on loopback addresses of their own, and hosts that are nothing but these. Ended by process id on
//! drop. Knows nothing of what is tested.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foundry::catalog::{Catalog, Task, Value, Values};
use foundry::config::{self, HostId, Source, Stack};
use foundry::graph::Label;
use foundry::probe::{
    AccessError, AccessKind, Actions as _, Ask, Asked, Batch, Door, Facts, Fault, Nonce,
    ProbeScript, Program, Reader, Readers, Reply, Seen, ServiceReader,
};
use foundry::run::{
    ActionContext, Actions as _, Keeper, Safekeeping, ServiceWriter, StepError, Tunnel, Upload,
    Writer, Writers,
};
use foundry::secret::Secret;
use foundry::target::BuiltIn;
use foundry::target::bao::{BaoService, BaoStore, Sessions};
use futures::future::BoxFuture;
use tokio::io::AsyncWriteExt as _;

/// Returns the `bao` program, or says why the test can't run.
pub fn program() -> Option<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(home.map(|home| home.join("foundry/tools/bin")))
        .map(|folder| folder.join("bao"))
        .find(|program| program.exists());
    if found.is_none() {
        eprintln!("skipped: there is no `bao` (./test installs it)");
    }
    found
}

/// Which seal the servers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    Static,
    Shamir,
}

/// Some servers, new, and the stack that they are the hosts of.
pub struct Cluster {
    pub stack: Arc<Stack>,
    pub keeper: Arc<Kept>,
    pub hosts: Arc<Loopback>,
    pub sessions: Arc<Sessions>,
    pub folder: tempfile::TempDir,
    pub program: PathBuf,
    pub seal: Seal,
    catalog: Catalog,
    servers: Mutex<HashMap<usize, Child>>,
}

impl Cluster {
    /// Starts `count` servers and waits until they answer.
    pub fn start(program: PathBuf, count: usize, seal: Seal) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let addresses: Vec<Ipv4Addr> = (0..count).map(address).collect();
        authority(folder.path(), &addresses);
        let mut key = [0; 32];
        getrandom::fill(&mut key).unwrap();
        fs::write(folder.path().join("seal"), hex::encode(key)).unwrap();
        let yaml = addresses.iter().enumerate().fold(
            "cluster: { name: lab }\nhosts:\n".to_owned(),
            |yaml, (at, address)| {
                format!(
                    "{yaml}  - {{ hostname: bao-{}, address: {address} }}\n",
                    at + 1
                )
            },
        );
        let stack = Arc::new(
            config::parse(&Arc::new(Source {
                name: "lab.yaml".to_owned(),
                text: yaml,
            }))
            .unwrap(),
        );
        let keeper = Arc::new(Kept::default());
        let hosts = Arc::new(Loopback {
            hosts: addresses
                .iter()
                .map(|&address| Arc::new(Host(address)))
                .collect(),
        });
        let ca = folder.path().join("ca.pem");
        let sessions = Arc::new(Sessions::new(
            hosts.clone(),
            keeper.clone(),
            stack.clone(),
            ca.to_str().unwrap(),
        ));
        let cluster = Self {
            stack,
            keeper,
            hosts,
            sessions,
            folder,
            program,
            seal,
            catalog: Catalog::embedded().unwrap(),
            servers: Mutex::default(),
        };
        for at in 0..count {
            cluster.boot(at);
        }
        cluster
    }

    /// Starts one server and waits until it answers.
    pub fn boot(&self, at: usize) {
        let address = address(at);
        let folder = self.folder.path();
        let own = folder.join(format!("bao-{}", at + 1));
        fs::create_dir_all(own.join("data")).unwrap();
        let seal = match self.seal {
            Seal::Static => format!(
                "seal \"static\" {{\n current_key_id = \"one\"\n current_key = \"file://{}\"\n}}\n",
                folder.join("seal").display()
            ),
            Seal::Shamir => String::new(),
        };
        let config = format!(
            "cluster_name = \"lab\"\napi_addr = \"https://{address}:8200\"\ncluster_addr = \"https://{address}:8201\"\n\
             storage \"raft\" {{\n path = \"{own}/data\"\n node_id = \"bao-{}\"\n performance_multiplier = 1\n}}\n\
             listener \"tcp\" {{\n address = \"{address}:8200\"\n tls_cert_file = \"{own}/cert.pem\"\n tls_key_file = \"{own}/key.pem\"\n}}\n{seal}",
            at + 1,
            own = own.display(),
        );
        fs::write(own.join("bao.hcl"), config).unwrap();
        let log = fs::File::create(own.join("log")).unwrap();
        let server = Command::new(&self.program)
            .arg("server")
            .arg(format!("-config={}", own.join("bao.hcl").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.servers.lock().unwrap().insert(at, server);
        let socket = SocketAddr::new(IpAddr::V4(address), 8200);
        until("the server answers", || {
            TcpStream::connect_timeout(&socket, Duration::from_millis(200)).is_ok()
        });
    }

    /// Ends one server as a power cut would.
    pub fn kill(&self, at: usize) {
        if let Some(mut server) = self.servers.lock().unwrap().remove(&at) {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Returns the file that init's answer goes to.
    pub fn answer(&self) -> PathBuf {
        self.folder.path().join("state/init.json")
    }

    /// Returns all hosts.
    pub fn all(&self) -> Vec<HostId> {
        (0..self.stack.hosts.len())
            .map(|at| HostId(u32::try_from(at).unwrap()))
            .collect()
    }

    fn task(&self, name: &str) -> &Arc<Task> {
        &self.catalog.tasks[name]
    }

    /// Returns a task's inputs: those given, and the defaults of the others.
    pub fn inputs(&self, task: &str, given: &[(&str, Value)]) -> Values {
        let mut values: Values = self
            .task(task)
            .inputs
            .iter()
            .map(|(name, spec)| (name.clone(), spec.default.clone().unwrap_or(Value::Null)))
            .collect();
        for (name, value) in given {
            assert!(values.contains_key(*name), "{task} has no input {name}");
            values.insert((*name).to_owned(), value.clone());
        }
        let ca = self.folder.path().join("ca.pem").display().to_string();
        if values.contains_key("ca") {
            values.insert("ca".to_owned(), Value::Text(ca));
        }
        values
    }

    /// Probes a step on hosts as the engine does: the task's own script, its action's fold.
    pub async fn probe(
        &self,
        task: &str,
        hosts: &[HostId],
        inputs: &Values,
    ) -> (Vec<Seen>, Result<Facts, Fault>) {
        let task = self.task(task);
        let mut seen = Vec::new();
        for &host in hosts {
            let address = self.hosts.hosts[host.0 as usize].0;
            let mut inputs = inputs.clone();
            inputs.insert(
                "api".to_owned(),
                Value::Text(format!("https://{address}:8200")),
            );
            let script = task.probe.script.as_ref().unwrap();
            let ask = Ask {
                label: task.name.clone(),
                questions: Vec::new(),
                unnamed: Vec::new(),
                script: Some(ProbeScript::new(script, &inputs, task.probe.timeout).unwrap()),
                stamp: "x".to_owned(),
            };
            let batch = Batch::new([Arc::new(ask)], None, Nonce::new([7; 16]));
            let reader = self.hosts.reader(host).await.unwrap();
            let reply = reader.ask(batch.program()).await.unwrap();
            seen.push(Seen {
                host,
                name: self.stack.host(host).name.clone(),
                answer: batch.read(&reply).facts.remove(0),
            });
        }
        let actions = BuiltIn::default();
        let action = actions.find(task.probe.action.as_ref().unwrap()).unwrap();
        let facts = action.facts(inputs, &seen);
        (seen, facts)
    }

    /// Probes, applies and probes again.
    pub async fn build(
        &self,
        task: &str,
        hosts: &[HostId],
        given: &[(&str, Value)],
    ) -> Result<Facts, String> {
        let first = self.hosts.hosts[hosts[0].0 as usize].0;
        let mut inputs = self.inputs(task, given);
        inputs.insert(
            "api".to_owned(),
            Value::Text(format!("https://{first}:8200")),
        );
        let (seen, facts) = self.probe(task, hosts, &inputs).await;
        let facts = facts.map_err(|fault| fault.message)?;
        let apply = self.task(task).apply.as_ref().unwrap();
        let action = BuiltIn::default()
            .action(apply.action.as_ref().unwrap())
            .unwrap();
        let label = label(task);
        let context = ActionContext {
            label: &label,
            key: "",
            stack: &self.stack,
            inputs: &inputs,
            hosts,
            seen: &seen,
            facts: &facts,
            host_facts: &vec![None; hosts.len()],
            writers: &*self.hosts,
            keeper: &*self.keeper,
            say: &|line| eprintln!("  {task}: {line}"),
        };
        action.apply(&context).await.map_err(words)?;
        let (_, facts) = self.probe(task, hosts, &inputs).await;
        facts.map_err(|fault| fault.message)
    }

    /// Observes a service step.
    pub async fn observe(&self, task: &str, given: &[(&str, Value)]) -> Result<Facts, Fault> {
        let inputs = self.inputs(task, given);
        let asked = Asked {
            step: foundry::graph::StepId(0),
            label: &label(task),
            action: self.task(task).probe.action.as_ref().unwrap(),
            inputs: &inputs,
            hosts: &self.all(),
        };
        BaoService::new(self.sessions.clone())
            .observe(&[asked])
            .await
            .remove(0)
    }

    /// Applies a service step and observes it again.
    pub async fn serve(&self, task: &str, given: &[(&str, Value)]) -> Result<Facts, String> {
        let inputs = self.inputs(task, given);
        let label = label(task);
        let hosts = self.all();
        let context = ActionContext {
            label: &label,
            key: "",
            stack: &self.stack,
            inputs: &inputs,
            hosts: &hosts,
            seen: &[],
            facts: &Facts::new(),
            host_facts: &[],
            writers: &*self.hosts,
            keeper: &*self.keeper,
            say: &|line| eprintln!("  {task}: {line}"),
        };
        let apply = self.task(task).apply.as_ref().unwrap();
        BaoService::new(self.sessions.clone())
            .apply(apply.action.as_ref().unwrap(), &context)
            .await
            .map_err(words)?;
        self.observe(task, given)
            .await
            .map_err(|fault| fault.message)
    }

    /// Returns the store of secrets.
    pub fn store(&self) -> BaoStore {
        BaoStore::new(self.sessions.clone(), self.all())
    }

    /// Runs the `bao` program against the first server.
    pub fn bao(&self, token: &str, arguments: &[&str]) -> String {
        let output = Command::new(&self.program)
            .args(arguments)
            .env("BAO_ADDR", format!("https://{}:8200", address(0)))
            .env("BAO_CACERT", self.folder.path().join("ca.pem"))
            .env("BAO_TOKEN", token)
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in self.servers.lock().unwrap().values_mut() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn words(error: StepError) -> String {
    match error {
        StepError::Failed {
            message, output, ..
        } => format!("{message}\n{output}"),
        other => other.to_string(),
    }
}

fn label(step: &str) -> Label {
    Label {
        component: "openbao".into(),
        step: step.into(),
        item: None,
        host: None,
    }
}

/// Returns the address of a server: each test process has a network of its own within 127.0.0.0/8.
fn address(at: usize) -> Ipv4Addr {
    let id = std::process::id();
    let byte = |shift: u32| u8::try_from((id >> shift) & 0xff).unwrap();
    Ipv4Addr::new(127, byte(8) | 1, byte(0), u8::try_from(at + 1).unwrap())
}

/// Makes an authority and a certificate for each address.
fn authority(folder: &Path, addresses: &[Ipv4Addr]) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    let name = |params: &mut CertificateParams, name: &str| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
    };
    name(&mut params, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&ca.pem(), key).unwrap();
    for (at, address) in addresses.iter().enumerate() {
        let own = folder.join(format!("bao-{}", at + 1));
        fs::create_dir_all(&own).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([address.to_string()]).unwrap();
        name(&mut params, "server");
        let cert = params.signed_by(&key, &issuer).unwrap();
        fs::write(own.join("cert.pem"), cert.pem()).unwrap();
        let mut file = fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(own.join("key.pem"))
            .unwrap();
        file.write_all(key.serialize_pem().as_bytes()).unwrap();
    }
}

/// Waits for `condition`, thirty seconds at most.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{what}: not within 30 s"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Keeps what is handed over, in memory; answers what was laid ready.
#[derive(Default)]
pub struct Kept {
    pub handed: Mutex<Vec<(String, String)>>,
    pub answers: Mutex<Vec<String>>,
    /// When set, nothing can be handed over.
    pub refuses: Mutex<bool>,
    tokens: Mutex<HashMap<String, Secret<String>>>,
}

impl Keeper for Kept {
    fn hand_over<'a>(&'a self, kept: &'a Safekeeping) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            if *self.refuses.lock().unwrap() {
                return Err("there is nobody to show them to".to_owned());
            }
            let text = (kept.title.clone(), kept.text.expose().clone());
            self.handed.lock().unwrap().push(text);
            Ok(())
        })
    }

    fn ask<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Secret<String>>, String>> {
        Box::pin(async move { Ok(self.answers.lock().unwrap().pop().map(Secret::new)) })
    }

    fn store(&self, name: &str, value: &Secret<String>) -> Result<(), String> {
        let mut tokens = self.tokens.lock().unwrap();
        tokens.insert(name.to_owned(), value.clone());
        Ok(())
    }

    fn load(&self, name: &str) -> Result<Option<Secret<String>>, String> {
        Ok(self.tokens.lock().unwrap().get(name).cloned())
    }
}

/// Hosts that share this machine, each with a loopback address of its own.
pub struct Loopback {
    hosts: Vec<Arc<Host>>,
}

/// One of them.
struct Host(Ipv4Addr);

struct Direct(SocketAddr);

impl Tunnel for Direct {
    fn address(&self) -> SocketAddr {
        self.0
    }
}

impl Reader for Host {
    fn ask<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        Box::pin(async move {
            let mut child = tokio::process::Command::new("sh")
                .args(["-c", "eval \"$(cat)\""])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin
                .write_all(program.text.expose().as_bytes())
                .await
                .unwrap();
            drop(stdin);
            let output = child.wait_with_output().await.unwrap();
            Ok(Reply {
                stdout: output.stdout,
                stderr: output.stderr,
                status: output.status.code(),
            })
        })
    }
}

impl Writer for Host {
    fn run<'a>(&'a self, program: &'a Program) -> BoxFuture<'a, Result<Reply, AccessError>> {
        self.ask(program)
    }

    fn upload_through<'a>(
        &'a self,
        _: &'a Upload,
        _: Option<&'a Door>,
    ) -> BoxFuture<'a, Result<(), AccessError>> {
        Box::pin(async {
            Err(AccessError {
                host: "loopback".into(),
                kind: AccessKind::Local,
                message: "nothing is uploaded here".to_owned(),
                hint: None,
            })
        })
    }

    fn forward(&self, port: u16) -> BoxFuture<'_, Result<Box<dyn Tunnel>, AccessError>> {
        let tunnel: Box<dyn Tunnel> = Box::new(Direct(SocketAddr::new(IpAddr::V4(self.0), port)));
        Box::pin(async move { Ok(tunnel) })
    }
}

impl Readers for Loopback {
    fn reader(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Reader>, AccessError>> {
        let reader: Arc<dyn Reader> = self.hosts[host.0 as usize].clone();
        Box::pin(async move { Ok(reader) })
    }

    fn service(&self, _: &str) -> Option<Arc<dyn ServiceReader>> {
        None
    }
}

impl Writers for Loopback {
    fn writer(&self, host: HostId) -> BoxFuture<'_, Result<Arc<dyn Writer>, AccessError>> {
        let writer: Arc<dyn Writer> = self.hosts[host.0 as usize].clone();
        Box::pin(async move { Ok(writer) })
    }

    fn service_writer(&self, _: &str) -> Option<Arc<dyn ServiceWriter>> {
        None
    }
}
