//! One connection to the API a run, shared by all steps: through a tunnel to the first host that answers, or as a kubeconfig
//! of this machine says. Connects anew when the server behind it went away. Does not know what is asked through it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::ListParams;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::sync::Mutex;

use super::error::{ClusterError, deepest};
use super::kinds::Kinds;
use crate::config::HostId;
use crate::run::{Tunnel, Writer, Writers};
use crate::target::crypto;
use crate::target::kubeconfig::Credentials;
use crate::target::script::Script;

/// Where K3s' servers keep the administrator's kubeconfig.
pub const KUBECONFIG: &str = "/etc/rancher/k3s/k3s.yaml";

/// Port of the API on every server's loopback.
pub const PORT: u16 = 6443;

/// Longest that a server may take to say whether it is there.
const LOOK: Duration = Duration::from_secs(10);

/// Longest silence within an answer. Webhooks may take half a minute.
const SILENCE: Duration = Duration::from_secs(60);

/// Longest that a credential plugin may take: a person may have to log in by it.
const PLUGIN: Duration = Duration::from_secs(120);

/// How the API is reached.
#[derive(Debug, Clone)]
pub enum Access {
    /// Through a host that provides it.
    Hosts {
        /// Path of the kubeconfig there.
        kubeconfig: String,
        /// Port of the API on its loopback.
        port: u16,
    },
    /// As a kubeconfig on this machine says.
    Kubeconfig(PathBuf),
}

impl Default for Access {
    fn default() -> Self {
        Self::Hosts {
            kubeconfig: KUBECONFIG.to_owned(),
            port: PORT,
        }
    }
}

/// A connection, and what is known of the API behind it.
pub struct Cluster {
    /// What requests are made with.
    pub client: Client,
    /// Kinds that the API serves.
    pub kinds: Kinds,
    tunnel: Option<Box<dyn Tunnel>>,
}

/// Makes and keeps the connection.
pub struct Sessions {
    writers: Arc<dyn Writers>,
    access: Access,
    open: Mutex<Option<Arc<Cluster>>>,
}

impl Sessions {
    /// Makes it; connects to nothing yet.
    #[must_use]
    pub fn new(writers: Arc<dyn Writers>, access: Access) -> Self {
        Self {
            writers,
            access,
            open: Mutex::new(None),
        }
    }

    /// Returns the connection, a new one if the server behind the old one no longer answers. `hosts` are those that
    /// provide the cluster; they are tried in turn.
    ///
    /// # Errors
    /// When none answers: the error is the most telling of theirs.
    pub async fn open(&self, hosts: &[HostId]) -> Result<Arc<Cluster>, ClusterError> {
        let mut open = self.open.lock().await;
        if let Some(cluster) = &*open {
            match cluster.answers().await {
                Ok(()) => return Ok(Arc::clone(cluster)),
                // Another server won't think better of the credential.
                Err(error @ ClusterError::Unauthorized(_)) => return Err(error),
                Err(_) => *open = None,
            }
        }
        let cluster = Arc::new(self.connect(hosts).await?);
        *open = Some(Arc::clone(&cluster));
        Ok(cluster)
    }

    async fn connect(&self, hosts: &[HostId]) -> Result<Cluster, ClusterError> {
        let (kubeconfig, port) = match &self.access {
            Access::Kubeconfig(path) => {
                let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                    ClusterError::Access(format!("kubeconfig {}: {error}", path.display()))
                })?;
                let cluster = Cluster::new(of_this_machine(&text)?, None).await?;
                cluster.answers().await?;
                return Ok(cluster);
            }
            Access::Hosts { kubeconfig, port } => (kubeconfig, *port),
        };
        let mut worst = ClusterError::NotUp("no host provides it".to_owned());
        for &host in hosts {
            match self.through(host, kubeconfig, port).await {
                Ok(cluster) => return Ok(cluster),
                Err(error) if weight(&error) >= weight(&worst) => worst = error,
                Err(_) => {}
            }
        }
        Err(worst)
    }

    async fn through(
        &self,
        host: HostId,
        kubeconfig: &str,
        port: u16,
    ) -> Result<Cluster, ClusterError> {
        let writer = self
            .writers
            .writer(host)
            .await
            .map_err(|error| ClusterError::Access(error.to_string()))?;
        let text = read(&*writer, kubeconfig).await?;
        let tunnel = writer
            .forward(port)
            .await
            .map_err(|error| ClusterError::Access(error.to_string()))?;
        let cluster = Cluster::new(of_host(&text)?, Some(tunnel)).await?;
        cluster.answers().await?;
        Ok(cluster)
    }
}

/// Returns the kubeconfig that a host keeps, as far as it is taken from there: certificates and a key. What else such a file
/// may say would act on this machine: programs to run, files to read, other servers, certificates that are not checked.
fn of_host(text: &str) -> Result<Kubeconfig, ClusterError> {
    let wrong = |words: String| ClusterError::Access(format!("the host's kubeconfig: {words}"));
    let written = Credentials::read(text)
        .and_then(|credentials| credentials.kubeconfig("cluster", "127.0.0.1"))
        .map_err(wrong)?;
    of_this_machine(written.expose())
}

/// Reads a kubeconfig that the operator names, or that was made here.
fn of_this_machine(text: &str) -> Result<Kubeconfig, ClusterError> {
    // The parser's own words could quote a key.
    Kubeconfig::from_yaml(text)
        .map_err(|_| ClusterError::Access("the kubeconfig is not one that can be read".to_owned()))
}

/// Reads a kubeconfig on a host, as root.
async fn read(writer: &dyn Writer, path: &str) -> Result<String, ClusterError> {
    let script = Script::new(
        "cat -- \"$kubeconfig\"\n",
        Duration::from_secs(30),
        &[("kubeconfig", path)],
    );
    match script.ask(writer).await {
        Ok(reply) if reply.status == Some(0) => {
            Ok(String::from_utf8_lossy(&reply.stdout).into_owned())
        }
        Ok(_) => Err(ClusterError::NotUp(format!("{path} is not there"))),
        Err(error) => Err(ClusterError::Access(error.to_string())),
    }
}

/// Returns how much an error tells about the whole cluster, for choosing among those of its servers.
fn weight(error: &ClusterError) -> u8 {
    match error {
        ClusterError::NotUp(_) => 0,
        ClusterError::Access(_) => 1,
        ClusterError::Down(_) => 2,
        _ => 3,
    }
}

impl Cluster {
    async fn new(
        mut kubeconfig: Kubeconfig,
        tunnel: Option<Box<dyn Tunnel>>,
    ) -> Result<Self, ClusterError> {
        crypto::init();
        if let Some(tunnel) = &tunnel {
            for named in &mut kubeconfig.clusters {
                if let Some(cluster) = &mut named.cluster {
                    // Servers' certificates are good for their loopback.
                    cluster.server = Some(format!("https://{}", tunnel.address()));
                    cluster.proxy_url = None;
                }
            }
        }
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| {
                ClusterError::Access(format!("the kubeconfig: {}", deepest(&error)))
            })?;
        config.connect_timeout = Some(LOOK);
        config.read_timeout = Some(SILENCE);
        config.reset_reader_on_write = true;
        if tunnel.is_some() {
            config.proxy_url = None;
        }
        // A kubeconfig of this machine may name a program that is asked for a credential.
        let building = tokio::task::spawn_blocking(move || Client::try_from(config));
        let client = tokio::time::timeout(PLUGIN, building)
            .await
            .map_err(|_| {
                ClusterError::Access(format!(
                    "the credential plugin of the kubeconfig gave no answer within {} s",
                    PLUGIN.as_secs()
                ))
            })?
            .map_err(|error| ClusterError::Access(error.to_string()))?
            .map_err(ClusterError::from)?;
        Ok(Self {
            kinds: Kinds::new(client.clone()),
            client,
            tunnel,
        })
    }

    /// Asks whether it is there and ready.
    async fn answers(&self) -> Result<(), ClusterError> {
        // A GET without parameters, as the crate words it.
        let request = kube::core::Request::new("/readyz")
            .list(&ListParams::default())
            .map_err(|error| ClusterError::Access(error.to_string()))?;
        let looked = tokio::time::timeout(LOOK, self.client.request_text(request)).await;
        let error = match looked {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => ClusterError::from(error),
            Err(_) => ClusterError::Down(format!("no answer within {} seconds", LOOK.as_secs())),
        };
        match error {
            // Who may not ask for its health may still ask for objects.
            ClusterError::Forbidden(_) | ClusterError::Api { status: 404, .. } => Ok(()),
            ClusterError::Api { status, message } => {
                Err(ClusterError::Down(format!("{status}: {message}")))
            }
            ClusterError::Down(words) => {
                // This side only sees the tunnel close: the host knows why.
                let trouble = self.tunnel.as_ref().and_then(|tunnel| tunnel.trouble());
                Err(ClusterError::Down(trouble.unwrap_or(words)))
            }
            error => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::fixture::pem_pair;

    #[tokio::test]
    async fn a_host_s_kubeconfig_runs_nothing_here() {
        use base64::Engine as _;
        let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
        let (cert, key) = pem_pair();
        let (cert, key) = (encode(cert), encode(key));
        let folder = tempfile::tempdir().unwrap();
        let marker = folder.path().join("ran");
        let exec = serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "interactiveMode": "Never",
            "command": "/bin/sh",
            "args": ["-c", format!("touch {}; echo '{{}}'", marker.display())],
        });
        let text = |user: serde_json::Value| {
            serde_json::json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{ "name": "default", "cluster": {
                    "server": "https://evil.example:6443",
                    "certificate-authority-data": cert,
                    "insecure-skip-tls-verify": true,
                    "proxy-url": "http://evil.example",
                } }],
                "users": [{ "name": "default", "user": user }],
                "contexts": [{ "name": "default", "context": { "cluster": "default", "user": "default" } }],
                "current-context": "default",
            })
            .to_string()
        };
        let with_key = text(serde_json::json!({
            "client-certificate-data": cert, "client-key-data": key, "exec": exec, "tokenFile": "/etc/passwd",
        }));
        let kubeconfig = of_host(&with_key).unwrap();
        let user = kubeconfig.auth_infos[0].auth_info.clone().unwrap();
        assert!(user.exec.is_none() && user.token_file.is_none());
        let cluster = kubeconfig.clusters[0].cluster.clone().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
        assert!(cluster.proxy_url.is_none() && cluster.insecure_skip_tls_verify != Some(true));
        Cluster::new(kubeconfig, None).await.unwrap();
        assert!(!marker.exists());
        // One that has nothing but a program to run is refused.
        let alone = text(serde_json::json!({ "exec": exec }));
        assert!(of_host(&alone).is_err());
        // The operator's own file may name one, and it is run: so that this test could fail.
        let mut own = of_this_machine(&alone).unwrap();
        own.clusters[0].cluster.as_mut().unwrap().proxy_url = None;
        let _ = Cluster::new(own, None).await;
        assert!(marker.exists());
    }
}
