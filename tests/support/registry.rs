//! A real container registry on this machine, with images made by hand pushed into it: Debian's `docker-registry` on a port of
//! its own. Installs nothing (`./test` does).

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Name and password of a registry that wants some.
pub const LOGIN: (&str, &str) = ("me", "hunter2");

/// As `htpasswd -B` writes [`LOGIN`].
const ACCOUNT: &str = "me:$2y$04$UyC5N6gzABGZeXCBQaJ3H.dVD0ZDwfrE6NUfztLd7Mu1nde3GEsB.\n";

/// A registry that ends with the test.
pub struct Registry {
    child: Child,
    folder: tempfile::TempDir,
    /// `127.0.0.1:PORT`.
    pub at: String,
    /// Whether it wants [`LOGIN`].
    login: bool,
}

/// Starts a registry; with `login` it answers nobody who is not [`LOGIN`]. `None`: there is none, and why was said.
#[expect(
    clippy::print_stderr,
    reason = "whoever reads the test's output is to know"
)]
pub async fn registry(login: bool) -> Option<Registry> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program: Option<PathBuf> = std::env::split_paths(&path)
        .map(|folder| folder.join("docker-registry"))
        .find(|program| program.exists());
    let Some(program) = program else {
        eprintln!("SKIPPED: there is no `docker-registry` (./test installs it)");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let at = format!("127.0.0.1:{port}");
    let mut config = json!({
        "version": "0.1",
        "log": { "level": "error" },
        "storage": { "filesystem": { "rootdirectory": folder.path().join("data") } },
        "http": { "addr": at },
    });
    if login {
        let accounts = folder.path().join("htpasswd");
        std::fs::write(&accounts, ACCOUNT).unwrap();
        config["auth"] = json!({ "htpasswd": { "realm": "test", "path": accounts } });
    }
    let file = folder.path().join("config.yml");
    std::fs::write(&file, serde_yaml::to_string(&config).unwrap()).unwrap();
    let child = Command::new(program)
        .arg("serve")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let registry = Registry {
        child,
        folder,
        at,
        login,
    };
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::new();
    let up = async {
        while client
            .get(format!("http://{}/v2/", registry.at))
            .send()
            .await
            .is_err()
        {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), up)
        .await
        .unwrap();
    Some(registry)
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Registry {
    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Response {
        let request = match self.login {
            true => request.basic_auth(LOGIN.0, Some(LOGIN.1)),
            false => request,
        };
        request.send().await.unwrap().error_for_status().unwrap()
    }

    /// Pushes a blob and returns its descriptor.
    pub async fn blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Value {
        let client = reqwest::Client::new();
        let begin = format!("http://{}/v2/{repository}/blobs/uploads/", self.at);
        let begun = self.send(client.post(begin)).await;
        let place = begun.headers()["location"].to_str().unwrap().to_owned();
        let joint = if place.contains('?') { '&' } else { '?' };
        let place = format!("{place}{joint}digest={}", digest(bytes));
        self.send(client.put(place).body(bytes.to_vec())).await;
        json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
    }

    /// Pushes a manifest under a tag or its digest, and returns its descriptor.
    pub async fn manifest(&self, repository: &str, tag: Option<&str>, manifest: &Value) -> Value {
        let bytes = manifest.to_string().into_bytes();
        let media_type = manifest["mediaType"].as_str().unwrap();
        let about = digest(&bytes);
        let key = tag.unwrap_or(&about);
        let place = format!("http://{}/v2/{repository}/manifests/{key}", self.at);
        let request = reqwest::Client::new()
            .put(place)
            .header("Content-Type", media_type)
            .body(bytes.clone());
        self.send(request).await;
        json!({ "mediaType": media_type, "digest": about, "size": bytes.len() })
    }

    /// Pushes an image for each of these architectures, as a list under a tag; returns the digest of the list. Each layer holds
    /// `text` and the architecture.
    pub async fn image(&self, repository: &str, tag: &str, archs: &[&str], text: &str) -> String {
        let mut list = Vec::new();
        for arch in archs {
            let layer = format!("{text} for {arch}").into_bytes();
            let about = "application/vnd.oci.image.layer.v1.tar";
            let layer = self.blob(repository, about, &layer).await;
            let config = json!({ "os": "linux", "architecture": arch, "rootfs": { "type": "layers", "diff_ids": [] } });
            let about = "application/vnd.oci.image.config.v1+json";
            let config = self
                .blob(repository, about, config.to_string().as_bytes())
                .await;
            let manifest = json!({
                "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config, "layers": [layer],
            });
            let mut entry = self.manifest(repository, None, &manifest).await;
            entry["platform"] = json!({ "os": "linux", "architecture": arch });
            list.push(entry);
        }
        let list = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": list,
        });
        let about = self.manifest(repository, Some(tag), &list).await;
        about["digest"].as_str().unwrap().to_owned()
    }

    /// Pushes a chart's archive as Helm does.
    pub async fn chart(&self, repository: &str, version: &str, archive: &[u8]) {
        let about = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
        let layer = self.blob(repository, about, archive).await;
        let about = "application/vnd.cncf.helm.config.v1+json";
        let config = self.blob(repository, about, b"{}").await;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [layer],
        });
        self.manifest(repository, Some(version), &manifest).await;
    }

    /// Damages the stored bytes of a blob.
    pub fn damage(&self, digest: &str) {
        let hex = digest.trim_start_matches("sha256:");
        let blobs = "data/docker/registry/v2/blobs/sha256";
        let path = self
            .folder
            .path()
            .join(blobs)
            .join(&hex[..2])
            .join(hex)
            .join("data");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
}
