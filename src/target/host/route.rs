//! The way to a host: itself, and the jump hosts before it. Decides whose word counts where the stack and
//! `~/.ssh/config` both say something: the stack's. Pure; opens no connection.

use std::path::PathBuf;
use std::sync::Arc;

use super::ssh_config::{Rules, SshConfig, SshOptions};
use crate::config::{Host, Stack};

/// One machine on the way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Hop {
    /// What people call it.
    pub name: Arc<str>,
    pub address: String,
    pub port: u16,
    pub user: String,
    /// Key files that are named for it, first first.
    pub identities: Vec<PathBuf>,
    /// Its pinned key.
    pub host_key: Option<String>,
    /// What the SSH configuration demands.
    pub rules: Arc<Rules>,
}

impl Hop {
    /// Returns the name that known_hosts uses: its alias, else the address, with the port if it isn't 22.
    pub fn known_as(&self) -> String {
        match &self.rules.alias {
            Some(alias) => alias.to_ascii_lowercase(),
            None => known_as(&self.address, self.port),
        }
    }

    /// Returns what others see as the first machine on the way, for limits that it sets.
    pub fn at(&self) -> String {
        known_as(&self.address, self.port)
    }

    /// Returns `user@address:port`.
    pub fn login(&self) -> String {
        let Self {
            address,
            port,
            user,
            ..
        } = self;
        if address.contains(':') {
            format!("{user}@[{address}]:{port}")
        } else {
            format!("{user}@{address}:{port}")
        }
    }
}

/// Returns the name of an address in known_hosts.
pub(super) fn known_as(address: &str, port: u16) -> String {
    let address = address.to_ascii_lowercase();
    if port == 22 {
        address
    } else {
        format!("[{address}]:{port}")
    }
}

/// All machines on the way, the target last. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Route(Vec<Hop>);

impl Route {
    pub fn target(&self) -> &Hop {
        &self.0[self.0.len() - 1]
    }

    /// Returns the machine that this one connects to itself.
    pub fn first(&self) -> &Hop {
        &self.0[0]
    }

    /// Returns the way to the machine before the target, if there is one.
    pub fn before(&self) -> Option<Self> {
        (self.0.len() > 1).then(|| Self(self.0[..self.0.len() - 1].to_vec()))
    }

    /// Returns a name that two routes share only if one connection serves both.
    pub fn key(&self) -> String {
        let logins: Vec<String> = self.0.iter().map(Hop::login).collect();
        logins.join(" > ")
    }
}

/// Why there is no way to a host.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum RouteError {
    #[error("its jump hosts go in a circle: {0}")]
    Loop(String),
    #[error("jump host `{0}` is this machine itself (`local`), which needs no jump")]
    Local(String),
    #[error("jump host `{0}` is neither a host of the stack nor `user@host:port`")]
    Unreadable(String),
    #[error("`ProxyCommand {0}` in the SSH configuration is not supported")]
    ProxyCommand(String),
    #[error("{0}")]
    Config(String),
}

impl RouteError {
    /// Returns what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Loop(_) => "let `jump:` of one of them lead out",
            Self::Local(_) => "remove `jump:`",
            Self::Unreadable(_) => "write the name of a host, or `admin@bastion.example.com:22`",
            Self::ProxyCommand(_) => "use `ProxyJump` there, or `jump:` of the host in the stack",
            Self::Config(_) => "mend ~/.ssh/config",
        }
    }
}

/// Finds the way to `host`.
pub(super) fn find(
    stack: &Stack,
    host: &Host,
    ssh: &SshConfig,
    user: &str,
) -> Result<Route, RouteError> {
    let mut finder = Finder {
        stack,
        ssh,
        user,
        passed: Vec::new(),
    };
    finder.host(host).map(Route)
}

struct Finder<'a> {
    stack: &'a Stack,
    ssh: &'a SshConfig,
    user: &'a str,
    /// Names between the target and where we are, to see circles.
    passed: Vec<String>,
}

impl Finder<'_> {
    fn host(&mut self, host: &Host) -> Result<Vec<Hop>, RouteError> {
        self.pass(&host.name)?;
        let said = self.ssh.of(&host.address).map_err(RouteError::Config)?;
        let mut hops = match &host.jump {
            Some(jump) => self.jump(jump)?,
            None => self.jumps(&said)?,
        };
        hops.push(Hop {
            name: Arc::clone(&host.name),
            address: said.address.unwrap_or_else(|| host.address.clone()),
            port: host.port.or(said.port).unwrap_or(22),
            user: host
                .user
                .clone()
                .or(said.user)
                .unwrap_or_else(|| self.user.to_owned()),
            identities: host
                .identity
                .iter()
                .cloned()
                .chain(said.identities)
                .collect(),
            host_key: host.host_key.clone(),
            rules: said.rules,
        });
        self.passed.pop();
        Ok(hops)
    }

    /// The way to a jump host that the stack names: one of its own hosts, or a login.
    fn jump(&mut self, jump: &str) -> Result<Vec<Hop>, RouteError> {
        match self.stack.hosts.iter().find(|host| &*host.name == jump) {
            Some(host) if host.local => Err(RouteError::Local(jump.to_owned())),
            Some(host) => self.host(host),
            None => self.login(jump),
        }
    }

    /// The way to something written as one would after `ssh`: `[user@]host[:port]`.
    fn login(&mut self, login: &str) -> Result<Vec<Hop>, RouteError> {
        self.pass(login)?;
        let (user, name, port) =
            parse_login(login).ok_or_else(|| RouteError::Unreadable(login.to_owned()))?;
        let said = self.ssh.of(name).map_err(RouteError::Config)?;
        let mut hops = self.jumps(&said)?;
        hops.push(Hop {
            name: name.into(),
            address: said.address.unwrap_or_else(|| name.to_owned()),
            port: port.or(said.port).unwrap_or(22),
            user: user
                .map(str::to_owned)
                .or(said.user)
                .unwrap_or_else(|| self.user.to_owned()),
            identities: said.identities,
            host_key: None,
            rules: said.rules,
        });
        self.passed.pop();
        Ok(hops)
    }

    /// The way that `ProxyJump` describes: the first from here, each further one from the one before.
    fn jumps(&mut self, said: &SshOptions) -> Result<Vec<Hop>, RouteError> {
        if let Some(command) = &said.proxy_command
            && said.jumps.is_empty()
        {
            return Err(RouteError::ProxyCommand(command.clone()));
        }
        let mut hops = Vec::new();
        for jump in &said.jumps {
            let way = self.login(jump.strip_prefix("ssh://").unwrap_or(jump))?;
            if hops.is_empty() {
                hops = way;
            } else {
                hops.extend(way.into_iter().next_back());
            }
        }
        Ok(hops)
    }

    fn pass(&mut self, name: &str) -> Result<(), RouteError> {
        let again = self.passed.iter().any(|passed| passed == name);
        self.passed.push(name.to_owned());
        if again {
            return Err(RouteError::Loop(self.passed.join(" → ")));
        }
        Ok(())
    }
}

/// Splits `[user@]host[:port]`; the host may be an IPv6 address in brackets.
fn parse_login(login: &str) -> Option<(Option<&str>, &str, Option<u16>)> {
    let (user, rest) = match login.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, login),
    };
    let (name, port) = if let Some(rest) = rest.strip_prefix('[') {
        let (name, after) = rest.split_once(']')?;
        match after.strip_prefix(':') {
            Some(port) => (name, Some(port)),
            None if after.is_empty() => (name, None),
            None => return None,
        }
    } else {
        match rest.split_once(':') {
            Some((name, port)) if !port.contains(':') => (name, Some(port)),
            _ => (rest, None),
        }
    };
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|&port| port > 0)?),
        None => None,
    };
    let sane = |text: &str| {
        !text.is_empty() && !text.starts_with('-') && !text.contains(char::is_whitespace)
    };
    (sane(name) && user.is_none_or(sane)).then_some((user, name, port))
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
