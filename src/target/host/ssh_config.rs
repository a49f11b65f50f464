//! `~/.ssh/config`: what it says of a host. russh-config reads the blocks; here the text is first brought into the
//! form it understands (`Include`, `Key=Value`, options before the first `Host`, `Match`). Connects to nothing.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::pattern;

/// Include files may nest as deep as OpenSSH allows.
const DEPTH: usize = 16;

/// What the file says of one host; values as they are to be used, tokens replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SshOptions {
    pub address: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub identities: Vec<PathBuf>,
    /// The jump hosts, in the order they are passed.
    pub jumps: Vec<String>,
    pub proxy_command: Option<String>,
    pub known_hosts: Option<PathBuf>,
}

/// The file, ready to be asked.
#[derive(Debug, Clone, Default)]
pub(super) struct SshConfig {
    text: String,
    home: PathBuf,
    user: String,
}

impl SshConfig {
    /// Reads `file`; one that is not there says nothing.
    ///
    /// # Errors
    /// When a file is there and can't be read, or includes nest without end.
    pub fn read(file: &Path, home: &Path, user: &str) -> Result<Self, String> {
        let mut text = "Host *\n".to_owned();
        flatten(file, home, 0, "Host *", &mut text)?;
        Ok(Self {
            text,
            home: home.to_owned(),
            user: user.to_owned(),
        })
    }

    /// Returns what is said of `host`, a name as it would be typed after `ssh`.
    ///
    /// # Errors
    /// When the file makes no sense.
    pub fn of(&self, host: &str) -> Result<SshOptions, String> {
        let said = russh_config::parse(&self.text, host)
            .map_err(|error| format!("the SSH configuration can't be read: {error:?}"))?
            .host_config;
        let address = said
            .hostname
            .map(|name| name.replace("%h", host).replace("%%", "%"));
        let known = |value: &String| !value.eq_ignore_ascii_case("none");
        let user = said.user;
        let tokens = |path: PathBuf| {
            PathBuf::from(
                path.to_string_lossy()
                    .replace("%d", &self.home.to_string_lossy())
                    .replace("%h", address.as_deref().unwrap_or(host))
                    .replace("%r", user.as_deref().unwrap_or(&self.user))
                    .replace("%u", &self.user)
                    .replace("%%", "%"),
            )
        };
        Ok(SshOptions {
            port: said.port,
            identities: said
                .identity_file
                .unwrap_or_default()
                .into_iter()
                .filter(|path| path.as_os_str() != "none")
                .map(&tokens)
                .collect(),
            jumps: said
                .proxy_jump
                .filter(known)
                .map(|jumps| {
                    jumps
                        .split(',')
                        .map(|jump| jump.trim().to_owned())
                        .collect()
                })
                .unwrap_or_default(),
            proxy_command: said.proxy_command.filter(known),
            known_hosts: said.user_known_hosts_file.map(&tokens),
            user,
            address,
        })
    }
}

/// Appends the lines of `file` to `out`, one `Key value` each. `block` is the header that an `Include` returns to.
fn flatten(
    file: &Path,
    home: &Path,
    depth: usize,
    block: &str,
    out: &mut String,
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
    let mut block = block.to_owned();
    let mut skipping = false;
    for (index, line) in text.lines().enumerate() {
        let Some((key, value)) = key_value(line) else {
            continue;
        };
        match key.to_ascii_lowercase().as_str() {
            "host" => {
                block = format!("Host {value}");
                skipping = false;
                let _ = writeln!(out, "{block}");
            }
            "match" => match match_hosts(&value) {
                Some(hosts) => {
                    block = format!("Host {hosts}");
                    skipping = false;
                    let _ = writeln!(out, "{block}");
                }
                None => {
                    skipping = true;
                    tracing::warn!(
                        "{}:{}: `Match {value}` is not understood, its options are left out",
                        file.display(),
                        index + 1
                    );
                }
            },
            _ if skipping => {}
            "include" => {
                for path in included(&value, home) {
                    flatten(&path, home, depth + 1, &block, out)?;
                }
                let _ = writeln!(out, "{block}");
            }
            "identityfile" | "userknownhostsfile" => {
                let value = match value.strip_prefix("~/") {
                    Some(rest) => home.join(rest).display().to_string(),
                    None => value,
                };
                let _ = writeln!(out, "{key} {value}");
            }
            _ => {
                let _ = writeln!(out, "{key} {value}");
            }
        }
    }
    Ok(())
}

/// Splits `Key value`, `Key=value` and `Key = "value"`; `None` for comments and empty lines.
fn key_value(line: &str) -> Option<(&str, String)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c.is_whitespace() || c == '=')?;
    let value = line[end..].trim_start();
    let value = value.strip_prefix('=').unwrap_or(value).trim();
    let value = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .filter(|inner| !inner.contains('"'))
        .unwrap_or(value);
    (!value.is_empty()).then(|| (&line[..end], value.to_owned()))
}

/// Returns the `Host` patterns that a `Match` means, for those that mean just a host.
fn match_hosts(value: &str) -> Option<String> {
    let mut parts = value.split_whitespace();
    let patterns = match (parts.next()?.to_ascii_lowercase().as_str(), parts.next()) {
        ("all", None) => "*".to_owned(),
        ("host" | "originalhost", Some(list)) => list.replace(',', " "),
        _ => return None,
    };
    parts.next().is_none().then_some(patterns)
}

/// Returns the files that an `Include` names, in the order of their names.
fn included(value: &str, home: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for word in value.split_whitespace() {
        let path = match word.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => home.join(".ssh").join(word),
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
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> (tempfile::TempDir, SshConfig) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        for (name, text) in files {
            std::fs::write(home.path().join(".ssh").join(name), text).unwrap();
        }
        let config = SshConfig::read(&home.path().join(".ssh/config"), home.path(), "ada").unwrap();
        (home, config)
    }

    #[test]
    fn options_are_found_in_every_spelling() {
        let (home, config) = read(&[(
            "config",
            "# first\nUser=anna\nHost bao-?\n\tPort 2222\n  HostName \"%h.example.com\"\n  IdentityFile ~/.ssh/lab\n  ProxyJump = a, root@b:22\nHost *\nIdentityFile %d/keys/%r\nPort 99\n",
        )]);
        assert_eq!(
            config.of("bao-1").unwrap(),
            SshOptions {
                address: Some("bao-1.example.com".into()),
                port: Some(2222),
                user: Some("anna".into()),
                identities: vec![home.path().join(".ssh/lab"), home.path().join("keys/anna")],
                jumps: vec!["a".into(), "root@b:22".into()],
                proxy_command: None,
                known_hosts: None,
            }
        );
        assert_eq!(config.of("other").unwrap().port, Some(99));
    }

    #[test]
    fn includes_return_to_their_block() {
        let (_home, config) = read(&[
            ("config", "Host x\nInclude more.d-*\nPort 7\n"),
            ("more.d-1", "Host y\nUser inner\n"),
            ("more.d-2", "Host z\nPort 1\n"),
        ]);
        assert_eq!(config.of("x").unwrap().port, Some(7));
        assert_eq!(config.of("y").unwrap().user.as_deref(), Some("inner"));
        assert_eq!(config.of("y").unwrap().port, None);
    }

    #[test]
    fn an_include_of_itself_ends() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config");
        std::fs::write(&file, format!("Include {}\n", file.display())).unwrap();
        let error = SshConfig::read(&file, home.path(), "ada").unwrap_err();
        assert!(error.contains("nests deeper"), "{error}");
    }

    #[test]
    fn a_match_block_that_is_not_understood_does_not_leak_into_the_one_before() {
        let (_home, config) = read(&[(
            "config",
            "Host a\nUser one\nMatch exec \"true\"\nPort 1\nMatch host a,b\nPort 2\nMatch all\nUser late\n",
        )]);
        let a = config.of("a").unwrap();
        assert_eq!((a.user.as_deref(), a.port), (Some("one"), Some(2)));
        assert_eq!(config.of("c").unwrap().user.as_deref(), Some("late"));
    }

    #[test]
    fn none_turns_off_and_no_file_says_nothing() {
        let (_home, config) = read(&[("config", "Host a\nProxyJump none\nProxyCommand none\n")]);
        assert_eq!(config.of("a").unwrap(), SshOptions::default());
        let config = SshConfig::read(Path::new("/nowhere/config"), Path::new("/"), "u").unwrap();
        assert_eq!(config.of("a").unwrap(), SshOptions::default());
    }
}
