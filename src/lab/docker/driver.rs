//! Brings Docker labs up and takes them down. Knows the order of things; `spec` knows what Docker is told.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
    RemoveContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures::future::{BoxFuture, try_join_all};

use crate::lab::seed::Seed;
use crate::lab::{Blueprint, Driver, DriverKind, HostState, Lab, LabError, LabName, keys};

use super::spec::{self, HostSpec, LABEL_HOME, LABEL_LAB, Shown};
use super::{image, refused};

/// How long a daemon may take to answer before it counts as not there.
const ANSWER: Duration = Duration::from_secs(3);

/// The driver on Docker's API.
pub(in crate::lab) struct DockerDriver {
    docker: Docker,
    home: PathBuf,
    /// Whether this machine reaches containers by their own addresses.
    direct: bool,
}

impl DockerDriver {
    /// Returns the driver for the labs of `home`, if Docker's API answers.
    ///
    /// # Errors
    /// If it does not, or is another machine's: its hosts could not be reached on this one's loopback.
    pub(in crate::lab) async fn new(home: &Path) -> Result<Self, LabError> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        if !is_local(&host) {
            return Err(LabError::Missing {
                what: format!("a Docker of its own (DOCKER_HOST is {host})"),
                why: "the docker driver".into(),
                help: "unset DOCKER_HOST, or point it at this machine's socket".into(),
            });
        }
        let silent = |why: String| LabError::Missing {
            what: format!("a Docker whose API answers ({why})"),
            why: "the docker driver".into(),
            help: "start Docker, or become a member of its group".into(),
        };
        let docker = Docker::connect_with_defaults().map_err(|e| silent(e.to_string()))?;
        let asked = tokio::time::timeout(ANSWER, async {
            let docker = docker.negotiate_version().await?;
            let info = docker.info().await?;
            Ok::<_, bollard::errors::Error>((docker, info))
        });
        let (docker, info) = asked
            .await
            .map_err(|_| silent(format!("no answer in {} s", ANSWER.as_secs())))?
            .map_err(|e| silent(e.to_string()))?;
        // A daemon in a virtual machine or a user's namespace has its containers' addresses for itself.
        let desktop = info
            .operating_system
            .unwrap_or_default()
            .contains("Docker Desktop");
        let rootless = info
            .security_options
            .unwrap_or_default()
            .iter()
            .any(|o| o.contains("rootless"));
        Ok(Self {
            docker,
            home: home.to_owned(),
            direct: cfg!(target_os = "linux") && !desktop && !rootless,
        })
    }

    /// Returns the hosts of `lab`, or of all labs, sorted by lab and place.
    async fn hosts(&self, lab: Option<&LabName>) -> Result<Vec<Shown>, LabError> {
        let options = ListContainersOptionsBuilder::new()
            .all(true)
            .filters(&self.filter(lab))
            .build();
        let containers = self
            .docker
            .list_containers(Some(options))
            .await
            .map_err(refused("list its containers"))?;
        let mut hosts: Vec<Shown> = containers
            .iter()
            .filter_map(|c| spec::shown(c, self.direct))
            .collect();
        hosts.sort_by(|a, b| (&a.lab, a.index).cmp(&(&b.lab, b.index)));
        Ok(hosts)
    }

    /// Returns the filter for what belongs to this home, and to `lab` if one is given.
    fn filter(&self, lab: Option<&LabName>) -> HashMap<String, Vec<String>> {
        let mut labels = vec![format!("{LABEL_HOME}={}", self.home.display())];
        labels.push(lab.map_or_else(|| LABEL_LAB.to_owned(), |lab| format!("{LABEL_LAB}={lab}")));
        HashMap::from([("label".to_owned(), labels)])
    }

    async fn make(&self, blueprint: &Blueprint) -> Result<(), LabError> {
        let image = image::ensure(&self.docker, &blueprint.image).await?;
        let network = NetworkCreateRequest {
            name: spec::network(&blueprint.name),
            labels: Some(spec::labels(&blueprint.name, &self.home)),
            ..NetworkCreateRequest::default()
        };
        // What is left of a killed `lab up` may be a network alone, which no container shows.
        self.remove_networks(&blueprint.name).await?;
        self.docker
            .create_network(network)
            .await
            .map_err(refused("make a network"))?;
        let hosts = blueprint.hosts.iter().enumerate();
        try_join_all(hosts.map(|(index, host)| self.make_host(blueprint, &image, index, host)))
            .await?;
        Ok(())
    }

    async fn make_host(
        &self,
        blueprint: &Blueprint,
        image: &str,
        index: usize,
        host: &LabName,
    ) -> Result<(), LabError> {
        let key = keys::generate(host.as_str())?;
        let spec = HostSpec {
            lab: &blueprint.name,
            home: &self.home,
            host,
            index,
            host_key: &keys::public_text(&key)?,
            image,
        };
        let seed = Seed {
            host,
            host_key: &key,
            authorized_key: &blueprint.authorized_key,
            names: None,
        };
        let seed = seed.tar()?;
        let first = self.create_and_start(&spec, &seed, true).await;
        match first {
            // Machines whose root lacks a capability cannot give it; everything but raised limits works without.
            Err(LabError::Docker { source, .. }) if source.to_string().contains("apply caps") => {
                self.remove_container(&spec::container(spec.lab, spec.host))
                    .await?;
                self.create_and_start(&spec, &seed, false).await
            }
            other => other,
        }
    }

    async fn create_and_start(
        &self,
        spec: &HostSpec<'_>,
        seed: &[u8],
        all_capabilities: bool,
    ) -> Result<(), LabError> {
        let name = spec::container(spec.lab, spec.host);
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        self.docker
            .create_container(Some(options), spec.body(all_capabilities))
            .await
            .map_err(refused(format!("make the container {name}")))?;
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        self.docker
            .upload_to_container(
                &name,
                Some(options),
                bollard::body_full(seed.to_vec().into()),
            )
            .await
            .map_err(refused(format!("put files into {name}")))?;
        self.start(&name).await
    }

    async fn start(&self, container: &str) -> Result<(), LabError> {
        self.docker
            .start_container(container, None)
            .await
            .map_err(refused(format!("start {container}")))
    }

    async fn remove_container(&self, container: &str) -> Result<(), LabError> {
        let options = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        gone(self.docker.remove_container(container, Some(options)).await)
            .map_err(refused(format!("remove {container}")))
    }

    async fn remove_networks(&self, lab: &LabName) -> Result<(), LabError> {
        let options = ListNetworksOptionsBuilder::new()
            .filters(&self.filter(Some(lab)))
            .build();
        let networks = self
            .docker
            .list_networks(Some(options))
            .await
            .map_err(refused("list its networks"))?;
        for id in networks.into_iter().filter_map(|network| network.id) {
            gone(self.docker.remove_network(&id).await)
                .map_err(refused(format!("remove the network {id}")))?;
        }
        Ok(())
    }

    async fn list_now(&self) -> Result<Vec<Lab>, LabError> {
        let mut labs: BTreeMap<LabName, Vec<_>> = BTreeMap::new();
        for shown in self.hosts(None).await? {
            labs.entry(shown.lab).or_default().push(shown.host);
        }
        Ok(labs
            .into_iter()
            .map(|(name, hosts)| Lab::new(name, DriverKind::Docker, hosts))
            .collect())
    }

    async fn up_now(&self, blueprint: &Blueprint) -> Result<Lab, LabError> {
        let hosts = self.hosts(Some(&blueprint.name)).await?;
        if hosts.is_empty() {
            self.make(blueprint).await?;
        }
        let stopped = hosts
            .iter()
            .filter(|shown| shown.host.state == HostState::Stopped);
        try_join_all(stopped.map(|shown| self.start(&shown.id))).await?;
        let hosts = self.hosts(Some(&blueprint.name)).await?;
        let hosts = hosts.into_iter().map(|shown| shown.host).collect();
        Ok(Lab::new(blueprint.name.clone(), DriverKind::Docker, hosts))
    }

    async fn down_now(&self, lab: &LabName) -> Result<(), LabError> {
        let hosts = self.hosts(Some(lab)).await?;
        try_join_all(hosts.iter().map(|shown| self.remove_container(&shown.id))).await?;
        self.remove_networks(lab).await
    }
}

impl Driver for DockerDriver {
    fn kind(&self) -> DriverKind {
        DriverKind::Docker
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Lab>, LabError>> {
        Box::pin(self.list_now())
    }

    fn up<'a>(&'a self, blueprint: &'a Blueprint) -> BoxFuture<'a, Result<Lab, LabError>> {
        Box::pin(self.up_now(blueprint))
    }

    fn down<'a>(&'a self, lab: &'a LabName) -> BoxFuture<'a, Result<(), LabError>> {
        Box::pin(self.down_now(lab))
    }
}

/// Returns whether a `DOCKER_HOST` is this machine's own daemon.
fn is_local(host: &str) -> bool {
    match host.split_once("://") {
        None => host.is_empty() || host.starts_with('/'),
        Some(("unix" | "npipe", _)) => true,
        Some((_, rest)) => ["127.", "localhost", "[::1]"]
            .iter()
            .any(|own| rest.starts_with(own)),
    }
}

/// Takes "there is no such thing" for success.
fn gone(result: Result<(), bollard::errors::Error>) -> Result<(), bollard::errors::Error> {
    match result {
        Err(bollard::errors::Error::DockerResponseServerError {
            status_code: 404, ..
        }) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machines_daemon_is_not_ours() {
        for own in [
            "",
            "unix:///var/run/docker.sock",
            "npipe:////./pipe/docker_engine",
            "tcp://127.0.0.1:2375",
        ] {
            assert!(is_local(own), "{own}");
        }
        for other in [
            "tcp://build.example.com:2376",
            "ssh://me@there",
            "http://10.0.0.1",
        ] {
            assert!(!is_local(other), "{other}");
        }
    }
}
