//! What Docker is told about a host, and what its answers say about one. Pure: talks to no daemon.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, ContainerSummary, ContainerSummaryStateEnum, EndpointSettings, HostConfig,
    HostConfigCgroupnsModeEnum, NetworkingConfig, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};

use crate::lab::image::ADMIN;
use crate::lab::{HostState, LabHost, LabName};

pub(super) const LABEL_LAB: &str = "dev.foundry.lab";
pub(super) const LABEL_HOME: &str = "dev.foundry.lab.home";
const LABEL_HOST: &str = "dev.foundry.lab.host";
const LABEL_INDEX: &str = "dev.foundry.lab.index";
const LABEL_KEY: &str = "dev.foundry.lab.host-key";

/// The capabilities no lab host has: they would reach through to the machine's own clock, kernel and devices.
const DROPPED: [&str; 4] = ["SYS_TIME", "SYS_MODULE", "SYS_RAWIO", "WAKE_ALARM"];

/// A capability that some machines' roots lack themselves, so that Docker cannot give it.
const SOMETIMES_LACKING: &str = "SYS_RESOURCE";

/// Directories that container runtimes put overlays in: volumes, since an overlay cannot lie on an overlay.
const VOLUMES: [&str; 4] = [
    "/var/lib/rancher",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/lib/docker",
];

/// Paths of `/proc` that reach through to the machine: read-only in a host. Docker's own list has `/proc/sys` too.
const READ_ONLY: [&str; 3] = ["/proc/bus", "/proc/irq", "/proc/sysrq-trigger"];

const SSH: &str = "22/tcp";

/// One host to be made.
#[derive(Debug, Clone)]
pub(super) struct HostSpec<'a> {
    pub(super) lab: &'a LabName,
    pub(super) home: &'a Path,
    pub(super) host: &'a LabName,
    pub(super) index: usize,
    pub(super) host_key: &'a str,
    pub(super) image: &'a str,
}

/// Returns the name of the lab's network.
pub(super) fn network(lab: &LabName) -> String {
    format!("foundry.{lab}")
}

/// Returns the name of a host's container.
pub(super) fn container(lab: &LabName, host: &LabName) -> String {
    format!("foundry.{lab}.{host}")
}

/// Returns the labels of all that belongs to a lab.
pub(super) fn labels(lab: &LabName, home: &Path) -> HashMap<String, String> {
    HashMap::from([
        (LABEL_LAB.to_owned(), lab.to_string()),
        (LABEL_HOME.to_owned(), home.display().to_string()),
    ])
}

impl HostSpec<'_> {
    /// Returns what Docker is to make; `all_capabilities` is false for a daemon that lacks one itself.
    ///
    /// Not privileged: devices stay the machine's. systemd mounts, so seccomp and AppArmor step aside.
    pub(super) fn body(&self, all_capabilities: bool) -> ContainerCreateBody {
        let mut labels = labels(self.lab, self.home);
        labels.insert(LABEL_HOST.into(), self.host.to_string());
        labels.insert(LABEL_INDEX.into(), self.index.to_string());
        labels.insert(LABEL_KEY.into(), self.host_key.into());
        let mut dropped = DROPPED.map(str::to_owned).to_vec();
        if !all_capabilities {
            dropped.push(SOMETIMES_LACKING.into());
        }
        let loopback = PortBinding {
            host_ip: Some("127.0.0.1".into()),
            host_port: None,
        };
        ContainerCreateBody {
            hostname: Some(self.host.to_string()),
            image: Some(self.image.into()),
            cmd: Some(vec!["/usr/local/sbin/lab-init".into()]),
            env: Some(vec!["container=docker".into()]),
            labels: Some(labels),
            exposed_ports: Some(vec![SSH.into()]),
            volumes: Some(VOLUMES.map(str::to_owned).to_vec()),
            // What systemd takes for "power off".
            stop_signal: Some("SIGRTMIN+3".into()),
            host_config: Some(HostConfig {
                cap_add: Some(vec!["ALL".into()]),
                cap_drop: Some(dropped),
                cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
                security_opt: Some(vec![
                    "seccomp=unconfined".into(),
                    "apparmor=unconfined".into(),
                ]),
                readonly_paths: Some(READ_ONLY.map(str::to_owned).to_vec()),
                tmpfs: Some(HashMap::from([(
                    "/run".to_owned(),
                    "exec,mode=0755".to_owned(),
                )])),
                port_bindings: Some(HashMap::from([(SSH.to_owned(), Some(vec![loopback]))])),
                // A host that reboots comes back; one that powers off, too: Docker cannot tell them apart.
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    maximum_retry_count: None,
                }),
                network_mode: Some(network(self.lab)),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(
                    network(self.lab),
                    EndpointSettings {
                        aliases: Some(vec![self.host.to_string()]),
                        ..EndpointSettings::default()
                    },
                )])),
            }),
            ..ContainerCreateBody::default()
        }
    }
}

/// One host as Docker shows it.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) lab: LabName,
    pub(super) index: usize,
    pub(super) id: String,
    pub(super) host: LabHost,
}

/// Returns the host a container is; none if it is none of ours. `direct`: this machine reaches containers by their
/// own addresses, else through the port published on loopback.
pub(super) fn shown(container: &ContainerSummary, direct: bool) -> Option<Shown> {
    let label = |name: &str| container.labels.as_ref()?.get(name).map(String::as_str);
    let lab: LabName = label(LABEL_LAB)?.parse().ok()?;
    let networks = container
        .network_settings
        .as_ref()
        .and_then(|n| n.networks.as_ref());
    let inner = networks
        .and_then(|n| n.get(&network(&lab)))
        .and_then(|endpoint| endpoint.ip_address.as_ref()?.parse().ok());
    let published = container
        .ports
        .iter()
        .flatten()
        .find(|port| port.private_port == 22)
        .and_then(|port| port.public_port);
    let loopback = ([127, 0, 0, 1].into(), published.unwrap_or_default());
    let (address, port) = match inner {
        Some(address) if direct => (address, 22),
        _ => loopback,
    };
    let running = container.state == Some(ContainerSummaryStateEnum::RUNNING);
    Some(Shown {
        index: label(LABEL_INDEX)?.parse().ok()?,
        id: container.id.clone()?,
        host: LabHost {
            name: label(LABEL_HOST)?.parse().ok()?,
            address,
            port,
            user: ADMIN.into(),
            host_key: label(LABEL_KEY)?.to_owned(),
            state: if running {
                HostState::Running
            } else {
                HostState::Stopped
            },
        },
        lab,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(lab: &LabName) -> HostSpec<'_> {
        HostSpec {
            lab,
            home: Path::new("/h"),
            host: lab,
            index: 4,
            host_key: "ssh-ed25519 AAAA",
            image: "foundry-lab:x",
        }
    }

    #[test]
    fn a_host_is_not_privileged_and_reaches_neither_clock_nor_kernel() {
        let lab = "a".parse().unwrap();
        let config = spec(&lab).body(true).host_config.unwrap();
        assert_eq!(config.privileged, None);
        let dropped = config.cap_drop.unwrap();
        assert!(dropped.contains(&"SYS_TIME".into()) && dropped.contains(&"SYS_MODULE".into()));
        assert!(!dropped.contains(&SOMETIMES_LACKING.into()));
        let fewer = spec(&lab)
            .body(false)
            .host_config
            .unwrap()
            .cap_drop
            .unwrap();
        assert!(fewer.contains(&SOMETIMES_LACKING.into()));
    }

    #[test]
    fn ssh_is_published_on_loopback_alone() {
        let lab = "a".parse().unwrap();
        let ports = spec(&lab)
            .body(true)
            .host_config
            .unwrap()
            .port_bindings
            .unwrap();
        let bindings = ports[SSH].as_ref().unwrap();
        assert!(
            bindings
                .iter()
                .all(|b| b.host_ip.as_deref() == Some("127.0.0.1")),
            "{bindings:?}"
        );
    }

    #[test]
    fn a_host_is_read_back_from_what_docker_shows() {
        let lab: LabName = "a".parse().unwrap();
        let summary: ContainerSummary = serde_json::from_value(serde_json::json!({
            "Id": "c0ffee",
            "State": "running",
            "Labels": spec(&lab).body(true).labels.unwrap(),
            "Ports": [{"IP": "127.0.0.1", "PrivatePort": 22, "PublicPort": 32768, "Type": "tcp"}],
            "NetworkSettings": {"Networks": {"foundry.a": {"IPAddress": "172.18.0.2"}}},
        }))
        .unwrap();
        let direct = shown(&summary, true).unwrap();
        assert_eq!(
            (direct.host.address.to_string().as_str(), direct.host.port),
            ("172.18.0.2", 22)
        );
        assert_eq!(direct.index, 4);
        let published = shown(&summary, false).unwrap().host;
        assert_eq!(
            (published.address.to_string().as_str(), published.port),
            ("127.0.0.1", 32768)
        );
        assert!(shown(&ContainerSummary::default(), true).is_none());
    }
}
