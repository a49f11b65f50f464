//! A real Kubernetes of one test's own: etcd, API server, and if asked for the controllers, the scheduler and a kubelet with a
//! pretended runtime, with certificates made for it, ended on drop. Installs nothing (`./test` does).

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// How long a server may take to be there on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The programs that a test needs.
pub struct Programs {
    folder: PathBuf,
    etcd: PathBuf,
}

/// Returns the programs, or says why the test can't run.
#[expect(
    clippy::print_stderr,
    reason = "whoever reads the test's output is to know"
)]
pub fn programs() -> Option<Programs> {
    let folder = std::env::var_os("FOUNDRY_TEST_KUBERNETES")
        .map(PathBuf::from)
        .or_else(|| Some(cache()?.join("foundry/tools/kubernetes")))?;
    let missing = [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubemark",
    ]
    .into_iter()
    .find(|name| !folder.join(name).exists());
    if let Some(missing) = missing {
        let why = fs::read_to_string(folder.join("why-not")).unwrap_or_default();
        eprintln!(
            "SKIPPED: there is no {missing} in {} (./test builds it from Debian's packages){}",
            folder.display(),
            if why.is_empty() {
                String::new()
            } else {
                format!(": {}", why.trim())
            }
        );
        return None;
    }
    Some(Programs {
        etcd: folder.join("etcd"),
        folder,
    })
}

fn cache() -> Option<PathBuf> {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
}

/// What runs beside the API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum With {
    /// Nothing: objects stay as they are put.
    ApiAlone,
    /// Controllers, scheduler, one node.
    Everything,
}

/// A running Kubernetes.
pub struct Kubernetes {
    folder: tempfile::TempDir,
    programs: Programs,
    port: u16,
    etcd_port: u16,
    children: Vec<(&'static str, Child)>,
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        for (_, child) in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Kubernetes {
    /// Starts it and waits until it is ready.
    pub fn start(programs: Programs, with: With) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port, etcd_port] = ports();
        let mut kubernetes = Self {
            folder,
            programs,
            port,
            etcd_port,
            children: Vec::new(),
        };
        kubernetes.make_certificates();
        kubernetes.start_etcd();
        kubernetes.start_api();
        if with == With::Everything {
            kubernetes.start_the_rest();
        }
        kubernetes
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arg(&self, name: &str, file: &str) -> String {
        format!("--{name}={}", self.path(file).display())
    }

    /// Returns the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// Returns the port of the API.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the API server.
    pub fn stop_api(&mut self) {
        let at = self
            .children
            .iter()
            .position(|(name, _)| *name == "kube-apiserver")
            .expect("it runs");
        let (_, mut child) = self.children.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn spawn(&mut self, program: &Path, name: &'static str, arguments: &[String]) {
        let log = File::create(self.path(&format!("{name}.log"))).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        self.children.push((name, child));
    }

    fn start_etcd(&mut self) {
        let [peer] = ports();
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{peer}");
        let arguments = [
            self.arg("data-dir", "etcd"),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ];
        let program = self.programs.etcd.clone();
        self.spawn(&program, "etcd", &arguments);
    }

    /// Starts the API server, once more after [`Self::stop_api`], and waits until it is ready.
    pub fn start_api(&mut self) {
        let arguments = [
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            self.arg("tls-cert-file", "server.crt"),
            self.arg("tls-private-key-file", "server.key"),
            self.arg("client-ca-file", "ca.crt"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            self.arg("service-account-signing-key-file", "accounts.key"),
            self.arg("service-account-key-file", "accounts.pub"),
            "--service-cluster-ip-range=10.99.0.0/24".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            // Nobody makes service accounts while the controllers don't run.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ];
        let program = self.programs.folder.join("kube-apiserver");
        self.spawn(&program, "kube-apiserver", &arguments);
        self.wait_until_ready();
    }

    fn start_the_rest(&mut self) {
        let kubeconfig = self.arg("kubeconfig", "kubeconfig");
        let [manager, scheduler, kubelet, kubelet_ro] = ports();
        let folder = self.programs.folder.clone();
        self.spawn(
            &folder.join("kube-controller-manager"),
            "kube-controller-manager",
            &[
                kubeconfig.clone(),
                self.arg("service-account-private-key-file", "accounts.key"),
                self.arg("root-ca-file", "ca.crt"),
                "--leader-elect=false".to_owned(),
                "--bind-address=127.0.0.1".to_owned(),
                "--port=0".to_owned(),
                format!("--secure-port={manager}"),
                self.arg("cert-dir", "manager"),
            ],
        );
        self.spawn(
            &folder.join("kube-scheduler"),
            "kube-scheduler",
            &[
                kubeconfig.clone(),
                "--leader-elect=false".to_owned(),
                "--bind-address=127.0.0.1".to_owned(),
                "--port=0".to_owned(),
                format!("--secure-port={scheduler}"),
                self.arg("cert-dir", "scheduler"),
            ],
        );
        self.spawn(
            &folder.join("kubemark"),
            "kubemark",
            &[
                "--morph=kubelet".to_owned(),
                "--name=node-1".to_owned(),
                kubeconfig,
                format!("--kubelet-port={kubelet}"),
                format!("--kubelet-read-only-port={kubelet_ro}"),
            ],
        );
    }

    fn wait_until_ready(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            if self.get("/readyz").as_deref() == Some("ok") {
                return;
            }
            for (name, child) in &mut self.children {
                if let Some(status) = child.try_wait().unwrap() {
                    let log = fs::read_to_string(self.folder.path().join(format!("{name}.log")));
                    panic!(
                        "{name} ended ({status}):\n{}",
                        tail(&log.unwrap_or_default())
                    );
                }
            }
            assert!(
                Instant::now() < end,
                "the API server is not ready:\n{}",
                tail(&fs::read_to_string(self.path("kube-apiserver.log")).unwrap_or_default())
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Asks the API server with curl, which this test machine has, as the administrator.
    fn get(&self, path: &str) -> Option<String> {
        let output = Command::new("curl")
            .args(["--silent", "--max-time", "5", "--cacert"])
            .arg(self.path("ca.crt"))
            .arg("--cert")
            .arg(self.path("admin.crt"))
            .arg("--key")
            .arg(self.path("admin.key"))
            .arg(format!("https://127.0.0.1:{}{path}", self.port))
            .output()
            .ok()?;
        String::from_utf8(output.stdout).ok()
    }

    fn make_certificates(&self) {
        let write = |name: &str, text: &str| fs::write(self.path(name), text).unwrap();
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.distinguished_name.push(DnType::CommonName, "test");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_cert = ca.self_signed(&ca_key).unwrap().pem();
        write("ca.crt", &ca_cert);
        let issuer = Issuer::new(ca, ca_key);
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"];
        let server = signed(&issuer, "kube-apiserver", None, &names);
        write("server.crt", &server.0);
        write("server.key", &server.1);
        let admin = signed(&issuer, "admin", Some("system:masters"), &[]);
        write("admin.crt", &admin.0);
        write("admin.key", &admin.1);
        let accounts = KeyPair::generate().unwrap();
        write("accounts.key", &accounts.serialize_pem());
        write("accounts.pub", &accounts.public_key_pem());
        let config = kubeconfig(self.port, &ca_cert, &admin);
        write("kubeconfig", &config);
    }

    /// Returns a kubeconfig with a certificate of another authority, as one of an earlier cluster has.
    pub fn stale_kubeconfig(&self) -> PathBuf {
        let text = fs::read_to_string(self.kubeconfig()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let other = encode(&ca.self_signed(&key).unwrap().pem());
        let ours = encode(&fs::read_to_string(self.path("ca.crt")).unwrap());
        let path = self.path("stale-kubeconfig");
        fs::write(&path, text.replace(&ours, &other)).unwrap();
        path
    }
}

/// Signs a certificate; returns it and its key in PEM.
fn signed(
    issuer: &Issuer<'_, KeyPair>,
    name: &str,
    organisation: Option<&str>,
    names: &[&str],
) -> (String, String) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(organisation) = organisation {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organisation);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, issuer).unwrap().pem();
    (cert, key.serialize_pem())
}

fn encode(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

fn kubeconfig(port: u16, ca: &str, (cert, key): &(String, String)) -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters:
  - name: default
    cluster:
      server: https://127.0.0.1:{port}
      certificate-authority-data: {}
users:
  - name: default
    user:
      client-certificate-data: {}
      client-key-data: {}
contexts:
  - name: default
    context: {{ cluster: default, user: default }}
current-context: default
",
        encode(ca),
        encode(cert),
        encode(key)
    )
}

/// Returns ports that are free now.
fn ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
