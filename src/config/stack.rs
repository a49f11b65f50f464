//! The checked picture of one config file: hosts expanded, components with their settings as written.
//! Does not know which settings a component has; recipes do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::pins::Pins;
use super::setting::{Node, Setting, Source, Span};

/// Index of a host in [`Stack::hosts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub u32);

/// All that one config file describes.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The file, for errors that point into it.
    pub source: Arc<Source>,
    /// `cluster.name`: names the stack on hosts, in locks and in reports.
    pub name: String,
    /// `cluster.domain`.
    pub domain: Option<String>,
    /// `cluster.vip`: the address under which the control plane is reached.
    pub vip: Option<IpAddr>,
    /// Every host, ranges expanded, in the order written. `HostId` indexes this.
    pub hosts: Vec<Host>,
    /// `components:` in the order written.
    pub components: IndexMap<String, Component>,
    /// Top-level sections that recipes lay claim to (`observability`, `storage`), as written.
    pub sections: IndexMap<String, Node>,
    /// Where downloads go instead of upstream; first match wins.
    pub mirrors: Vec<Mirror>,
    /// Digests of what the stack downloads, from the file beside the config.
    pub pins: Arc<Pins>,
    /// `bundles.trusted_keys`: minisign's public keys that bundles may be signed by.
    pub trusted_keys: Vec<String>,
}

impl Stack {
    /// Returns the host that `id` stands for.
    #[must_use]
    pub fn host(&self, id: HostId) -> &Host {
        &self.hosts[id.0 as usize]
    }

    /// Returns what stands at a dotted path of the sections (`observability.prometheus`).
    #[must_use]
    pub fn section(&self, path: &str) -> Option<&Node> {
        let mut parts = path.split('.');
        let mut node = self.sections.get(parts.next()?)?;
        for part in parts {
            let Setting::Map(entries) = &node.value else {
                return None;
            };
            node = &entries.get(part)?.1;
        }
        Some(node)
    }

    /// Returns the host of that name.
    #[must_use]
    pub fn host_named(&self, name: &str) -> Option<HostId> {
        (0..)
            .map(HostId)
            .zip(&self.hosts)
            .find_map(|(id, host)| (&*host.name == name).then_some(id))
    }

    /// Makes the paths of private keys absolute: `~` is `home`, other relative ones begin at `base`, the config's folder.
    pub fn resolve_paths(&mut self, home: &Path, base: &Path) {
        for identity in self
            .hosts
            .iter_mut()
            .filter_map(|host| host.identity.as_mut())
        {
            *identity = match identity.strip_prefix("~") {
                Ok(rest) => home.join(rest),
                Err(_) => base.join(&*identity),
            };
        }
    }
}

/// One machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// Its name: what labels, certificates and people use.
    pub name: Arc<str>,
    /// What to connect to: a name or an IP address; the name unless given.
    pub address: String,
    /// SSH port; `None` leaves it to `~/.ssh/config`, then 22.
    pub port: Option<u16>,
    /// SSH user; `None` leaves it to `~/.ssh/config`, then the local user's name.
    pub user: Option<String>,
    /// Private key file to log in with.
    pub identity: Option<PathBuf>,
    /// Name of a host of this stack, or `user@host:port`, to jump through.
    pub jump: Option<String>,
    /// `true`: the machine Foundry runs on, reached without SSH.
    pub local: bool,
    /// Roles, sorted, without doubles.
    pub roles: Vec<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Pinned host key in OpenSSH's one-line form (`ssh-ed25519 AAAA…`).
    pub host_key: Option<String>,
    /// Where it was written.
    pub span: Span,
}

/// What the config says of one component.
#[derive(Debug, Clone)]
pub struct Component {
    /// Where its name was written.
    pub span: Span,
    /// Hosts it names itself; `None` leaves the choice to roles.
    pub hosts: Option<Vec<HostId>>,
    /// How it moves over its hosts, as written.
    pub rollout: Option<Node>,
    /// Its settings as written, `hosts` and `rollout` left out. Always a map (empty for `openbao: {}` and `openbao:`).
    pub settings: Node,
}

/// Sends downloads whose URL begins with `prefix` to `url` + rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Beginning of an upstream URL.
    pub prefix: String,
    /// What stands in its place: `https://…` or `file:///…` (pushed over SSH).
    pub url: String,
    /// Whose digests count.
    pub digests: MirrorDigests,
}

/// Whose digests a mirrored download is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MirrorDigests {
    /// Those pinned in the recipe: the mirror holds upstream's own files.
    #[default]
    Pinned,
    /// Those of the mirror's own checksum file: the mirror repackages.
    Mirror,
}
