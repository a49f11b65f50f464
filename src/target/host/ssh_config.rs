//! `~/.ssh/config` and `/etc/ssh/ssh_config`: what they say of a host, read as OpenSSH does: the first word on an option counts.
//! What is not followed, and could matter for safety, is warned of by name. Connects to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::pattern;
use super::ssh_words::{Condition, expand, key_value, words};

/// Include files may nest as deep as OpenSSH allows.
const DEPTH: usize = 16;

/// Options that have no effect here, and whose effect somebody may count on: unless they have this value.
const NOT_FOLLOWED: [(&str, &str); 10] = [
    ("StrictHostKeyChecking", "ask"),
    ("PKCS11Provider", "none"),
    ("SecurityKeyProvider", "internal"),
    ("KnownHostsCommand", "none"),
    ("VerifyHostKeyDNS", "no"),
    ("RequiredRSASize", "1024"),
    ("CanonicalizeHostname", "no"),
    ("BindAddress", ""),
    ("BindInterface", ""),
    ("AddressFamily", "any"),
];

/// The files say this of one host; values as they are to be used, tokens replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SshOptions {
    pub address: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub identities: Vec<PathBuf>,
    /// The jump hosts, in the order they are passed.
    pub jumps: Vec<String>,
    pub proxy_command: Option<String>,
    pub rules: Arc<Rules>,
}

/// What is to be held to on a connection to a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Rules {
    pub certificates: Vec<PathBuf>,
    /// No key of the agent but those that are named.
    pub identities_only: bool,
    pub agent: AgentAt,
    /// The host's name in files of known hosts.
    pub alias: Option<String>,
    /// Files in place of `~/.ssh/known_hosts`.
    pub user_known_hosts: Option<Vec<PathBuf>>,
    /// Files in place of `/etc/ssh/ssh_known_hosts`.
    pub global_known_hosts: Option<Vec<PathBuf>>,
    /// A file of keys that must not be taken.
    pub revoked: Option<PathBuf>,
    /// Nobody is to be asked about an unknown key.
    pub strict: bool,
    /// Nobody is to be asked for a password or passphrase.
    pub batch: bool,
    pub no_keys: bool,
    pub no_password: bool,
    pub no_interactive: bool,
    /// Lists of algorithms by option, as they are written.
    pub host_keys: Option<String>,
    pub user_keys: Option<String>,
    pub authorities: Option<String>,
    pub exchanges: Option<String>,
    pub ciphers: Option<String>,
    pub macs: Option<String>,
}

/// Which agent is to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) enum AgentAt {
    /// That of the environment.
    #[default]
    Environment,
    None,
    Socket(PathBuf),
}

/// The files, ready to be asked.
#[derive(Debug, Default)]
pub(super) struct SshConfig {
    lines: Vec<Line>,
    home: PathBuf,
    user: String,
    warned: Mutex<BTreeSet<&'static str>>,
}

/// One option, and when it holds.
#[derive(Debug)]
struct Line {
    conditions: Vec<Arc<Condition>>,
    /// In small letters.
    key: String,
    value: String,
}

impl SshConfig {
    /// Reads `files`, the first one's word first; one that is not there says nothing.
    ///
    /// # Errors
    /// When a file is there and can't be read, or includes nest without end.
    pub fn read<'a>(
        files: impl IntoIterator<Item = &'a PathBuf>,
        home: &Path,
        user: &str,
    ) -> Result<Self, String> {
        let mut config = Self {
            home: home.to_owned(),
            user: user.to_owned(),
            ..Self::default()
        };
        for file in files {
            // Those of the system name others beside themselves, a person's those in ~/.ssh.
            let beside = match file.starts_with("/etc") {
                true => file.parent().unwrap_or(file).to_owned(),
                false => home.join(".ssh"),
            };
            config.add(file, &beside, 0, &[])?;
        }
        Ok(config)
    }

    /// Adds the lines of `file`, which hold where `outer` does.
    fn add(
        &mut self,
        file: &Path,
        beside: &Path,
        depth: usize,
        outer: &[Arc<Condition>],
    ) -> Result<(), String> {
        if depth > DEPTH {
            return Err(format!(
                "{}: Include nests deeper than {DEPTH}",
                file.display()
            ));
        }
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(format!("{}: {error}", file.display())),
        };
        let mut conditions = outer.to_vec();
        for (index, line) in text.lines().enumerate() {
            let Some((key, value)) = key_value(line) else {
                continue;
            };
            let key = key.to_ascii_lowercase();
            let condition = match key.as_str() {
                "host" => Condition::Host(words(value)),
                "match" => Condition::parse(value).unwrap_or_else(|| {
                    tracing::warn!(
                        "{}:{}: `Match {value}` is not understood, its options are left out",
                        file.display(),
                        index + 1
                    );
                    Condition::Never
                }),
                "include" => {
                    for path in included(value, &self.home, beside) {
                        self.add(&path, beside, depth + 1, &conditions)?;
                    }
                    continue;
                }
                _ => {
                    self.lines.push(Line {
                        conditions: conditions.clone(),
                        key,
                        value: value.to_owned(),
                    });
                    continue;
                }
            };
            conditions.truncate(outer.len());
            conditions.push(Arc::new(condition));
        }
        Ok(())
    }

    /// Returns what is said of `host`, a name as it would be typed after `ssh`.
    ///
    /// # Errors
    /// When a value makes no sense.
    pub fn of(&self, host: &str) -> Result<SshOptions, String> {
        let said = self.said(host);
        self.warn(&said);
        let first = |key: &str| -> Option<String> {
            let value = said.first.get(key)?;
            words(value).into_iter().next()
        };
        let known = |value: &String| !value.eq_ignore_ascii_case("none");
        let address = first("hostname")
            .map(|name| expand(&name, &|token| (token == 'h').then(|| host.to_owned())));
        let port = match first("port") {
            None => None,
            Some(port) => Some(port.parse().map_err(|_| {
                format!("the SSH configuration can't be read: `Port {port}` of {host} is no port")
            })?),
        };
        let user = first("user");
        let alias = first("hostkeyalias").filter(known);
        let token = |token: char| {
            Some(match token {
                'd' => self.home.to_string_lossy().into_owned(),
                'h' => address.clone().unwrap_or_else(|| host.to_owned()),
                'k' => alias.clone().unwrap_or_else(|| host.to_owned()),
                'n' => host.to_owned(),
                'p' => port.unwrap_or(22_u16).to_string(),
                'r' => user.clone().unwrap_or_else(|| self.user.clone()),
                'u' => self.user.clone(),
                _ => return None,
            })
        };
        let path = |value: &String| {
            let value = expand(value, &token);
            match value.strip_prefix("~/") {
                Some(rest) => self.home.join(rest),
                None => PathBuf::from(value),
            }
        };
        let paths = |key: &str| -> Option<Vec<PathBuf>> {
            let value = said.first.get(key)?;
            Some(
                words(value)
                    .iter()
                    .filter(|word| known(word))
                    .map(&path)
                    .collect(),
            )
        };
        let all = |values: &[String]| -> Vec<PathBuf> {
            let words = values
                .iter()
                .filter_map(|value| words(value).into_iter().next());
            words.filter(&known).map(|value| path(&value)).collect()
        };
        let is = |key: &str, wanted: &[&str]| {
            first(key).is_some_and(|value| {
                wanted
                    .iter()
                    .any(|wanted| value.eq_ignore_ascii_case(wanted))
            })
        };
        let methods = first("preferredauthentications");
        let without = |key: &str, method: &str| {
            let listed = |list: &String| list.split(',').any(|listed| listed.trim() == method);
            is(key, &["no", "false"]) || methods.as_ref().is_some_and(|list| !listed(list))
        };
        let rules = Rules {
            certificates: all(&said.certificates),
            identities_only: is("identitiesonly", &["yes", "true"]),
            agent: match first("identityagent") {
                None => AgentAt::Environment,
                Some(word) if word == "SSH_AUTH_SOCK" => AgentAt::Environment,
                Some(word) if !known(&word) => AgentAt::None,
                Some(word) => match word.strip_prefix('$').filter(|rest| !rest.starts_with('{')) {
                    None => AgentAt::Socket(path(&word)),
                    Some(name) => std::env::var_os(name)
                        .map_or(AgentAt::None, |socket| AgentAt::Socket(socket.into())),
                },
            },
            user_known_hosts: paths("userknownhostsfile"),
            global_known_hosts: paths("globalknownhostsfile"),
            revoked: first("revokedhostkeys")
                .filter(known)
                .map(|file| path(&file)),
            strict: is("stricthostkeychecking", &["yes", "true"]),
            batch: is("batchmode", &["yes", "true"]),
            no_keys: without("pubkeyauthentication", "publickey"),
            no_password: without("passwordauthentication", "password"),
            no_interactive: without("kbdinteractiveauthentication", "keyboard-interactive")
                || is("challengeresponseauthentication", &["no", "false"]),
            host_keys: first("hostkeyalgorithms"),
            user_keys: first("pubkeyacceptedalgorithms")
                .or_else(|| first("pubkeyacceptedkeytypes")),
            authorities: first("casignaturealgorithms"),
            exchanges: first("kexalgorithms"),
            ciphers: first("ciphers"),
            macs: first("macs"),
            alias: alias.clone(),
        };
        let jumps = said.first.get("proxyjump").filter(|jumps| known(jumps));
        Ok(SshOptions {
            port,
            identities: all(&said.identities),
            jumps: jumps
                .iter()
                .flat_map(|jumps| jumps.split(','))
                .map(|jump| jump.trim().to_owned())
                .collect(),
            proxy_command: said
                .first
                .get("proxycommand")
                .filter(|command| known(command))
                .map(|command| (*command).clone()),
            rules: Arc::new(rules),
            user: user.clone(),
            address: address.clone(),
        })
    }

    /// Collects what holds for `host`.
    fn said(&self, host: &str) -> Said<'_> {
        let mut said = Said::default();
        for line in &self.lines {
            let holds = |condition: &Arc<Condition>| {
                let text = |key: &str| said.first.get(key).map(|value| value.as_str());
                condition.holds(host, text("hostname"), text("user"), &self.user)
            };
            if !line.conditions.iter().all(holds) {
                continue;
            }
            match line.key.as_str() {
                "identityfile" => said.identities.push(line.value.clone()),
                "certificatefile" => said.certificates.push(line.value.clone()),
                // Whichever comes first leaves no room for the other.
                "proxyjump" | "proxycommand"
                    if said.first.contains_key("proxyjump")
                        || said.first.contains_key("proxycommand") => {}
                key => {
                    // Nothing but a whole option is one; OpenSSH would refuse the file.
                    said.first.entry(key).or_insert(&line.value);
                }
            }
        }
        said
    }

    /// Warns, once for each option, of what is said and not followed.
    fn warn(&self, said: &Said<'_>) {
        for (name, harmless) in NOT_FOLLOWED {
            let Some(value) = said.first.get(name.to_ascii_lowercase().as_str()) else {
                continue;
            };
            let followed =
                name == "StrictHostKeyChecking" && matches!(value.as_str(), "yes" | "true");
            if followed || value.eq_ignore_ascii_case(harmless) {
                continue;
            }
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.insert(name) {
                tracing::warn!("`{name} {value}` of the SSH configuration is not followed");
            }
        }
    }
}

/// What holds for one host: the first word on each option, all of those that add up.
#[derive(Default)]
struct Said<'a> {
    first: BTreeMap<&'a str, &'a String>,
    identities: Vec<String>,
    certificates: Vec<String>,
}

/// Returns the files that an `Include` names, in the order of their names.
fn included(value: &str, home: &Path, beside: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for word in words(value) {
        let path = match word.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => beside.join(&word),
        };
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let name = name.to_string_lossy();
        if !name.contains(['*', '?']) {
            files.push(path.clone());
            continue;
        }
        let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| pattern::glob(&name, &entry.file_name().to_string_lossy()))
            .map(|entry| entry.path())
            .collect();
        found.sort();
        files.append(&mut found);
    }
    files
}

#[cfg(test)]
#[path = "ssh_config_tests.rs"]
mod tests;
