//! The config file of a lab: written whole once, its hosts renewed afterwards. What the user changed stays the user's.
//! Pure, but for the two functions that read and write the file.

use std::fmt::Write as _;
use std::path::Path;

use super::error::file;
use super::{Lab, LabError, LabHost, LabName};

const BEGIN: &str = "  # lab:begin ";
const END: &str = "  # lab:end";

/// What a config at a lab's path is to the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is none.
    Absent,
    /// The hosts' block is as the lab wrote it, whatever the rest is.
    Ours(String),
    /// The file, or the hosts' block in it, is not what the lab wrote.
    Foreign(&'static str),
}

/// Returns what the config at `path` is to the lab.
///
/// # Errors
/// If it cannot be read.
pub(super) fn look(path: &Path) -> Result<Standing, LabError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(standing(&text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Standing::Absent),
        Err(e) => Err(file("read", path)(e)),
    }
}

/// Checks that the lab may write its hosts into the config at `path`, before anything is started.
///
/// # Errors
/// If the file is not the lab's own.
pub(super) fn check(path: &Path) -> Result<(), LabError> {
    match look(path)? {
        Standing::Foreign(why) => Err(LabError::Config {
            path: path.into(),
            why: why.into(),
        }),
        Standing::Absent | Standing::Ours(_) => Ok(()),
    }
}

/// Writes the config, or renews the hosts in it.
///
/// # Errors
/// If the file is not the lab's own, or cannot be written.
pub(super) fn write(path: &Path, lab: &Lab, identity: &str) -> Result<(), LabError> {
    let text = match look(path)? {
        Standing::Absent => whole(lab, identity),
        Standing::Ours(text) => renewed(&text, &block(&lab.hosts, identity)),
        Standing::Foreign(why) => {
            return Err(LabError::Config {
                path: path.into(),
                why: why.into(),
            });
        }
    };
    let temporary = path.with_extension("yaml.new");
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(file("write", path))
}

/// Removes the config if it is to the letter what the lab wrote. Returns whether one is left.
///
/// # Errors
/// If it cannot be read or removed.
pub(super) fn remove_if_unchanged(path: &Path, name: &LabName) -> Result<bool, LabError> {
    match look(path)? {
        Standing::Absent => Ok(false),
        Standing::Ours(text) if frame(name, block_of(&text).unwrap_or_default()) == text => {
            std::fs::remove_file(path).map_err(file("remove", path))?;
            Ok(false)
        }
        Standing::Ours(_) | Standing::Foreign(_) => Ok(true),
    }
}

fn whole(lab: &Lab, identity: &str) -> String {
    frame(&lab.name, &block(&lab.hosts, identity))
}

fn frame(name: &LabName, block: &str) -> String {
    format!(
        "# yaml-language-server: $schema=./schema.json\n\
         # Written by `foundry lab up`. Change what you like, but not the block of hosts: that is renewed.\n\
         version: \"1.0\"\n\
         cluster:\n  name: {name}\n  domain: {name}.test\n\
         hosts:\n{block}\
         components:\n  openbao: {{}}\n"
    )
}

/// Returns the hosts between their marks; the first mark carries the digest of what is between.
fn block(hosts: &[LabHost], identity: &str) -> String {
    let mut inner = String::new();
    for host in hosts {
        let LabHost {
            name,
            address,
            port,
            user,
            host_key,
            ..
        } = host;
        let _ = writeln!(
            inner,
            "  - hostname: {name}\n    address: {address}\n    port: {port}\n    user: {user}\n    \
             identity: {}\n    host_key: {host_key}\n    roles: [openbao]",
            quoted(identity)
        );
    }
    format!("{BEGIN}{}\n{inner}{END}\n", digest(&inner))
}

/// Returns `path` as YAML reads it back: plain where it is plain text, in quotes otherwise.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-~".contains(c);
    if path.chars().all(plain) && path != "~" {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "''"))
    }
}

fn digest(inner: &str) -> String {
    blake3::hash(inner.as_bytes()).to_hex()[..16].to_owned()
}

fn standing(text: &str) -> Standing {
    let Some(block) = block_of(text) else {
        return Standing::Foreign("it has no block of lab hosts");
    };
    let inner = block.split_once('\n').map_or("", |(_, rest)| rest);
    let inner = inner.strip_suffix(&format!("{END}\n")).unwrap_or_default();
    let marked = block
        .lines()
        .next()
        .and_then(|line| line.strip_prefix(BEGIN));
    if marked == Some(digest(inner).as_str()) {
        Standing::Ours(text.to_owned())
    } else {
        Standing::Foreign("its block of lab hosts was changed by hand")
    }
}

/// Returns the block with its two marks.
fn block_of(text: &str) -> Option<&str> {
    let start = text.find(BEGIN)?;
    let end = start + text[start..].find(&format!("{END}\n"))? + END.len() + 1;
    Some(&text[start..end])
}

fn renewed(text: &str, fresh: &str) -> String {
    match block_of(text) {
        Some(old) => text.replacen(old, fresh, 1),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{DriverKind, HostState};

    fn lab(address: &str) -> Lab {
        let host = LabHost {
            name: "bao-1".parse().unwrap(),
            address: address.parse().unwrap(),
            port: 22,
            user: "admin".into(),
            host_key: "ssh-ed25519 AAAA".into(),
            state: HostState::Running,
        };
        Lab::new("lab".parse().unwrap(), DriverKind::Namespaces, vec![host])
    }

    #[test]
    fn writes_a_config_that_yaml_reads() {
        let text = whole(&lab("10.87.0.11"), "~/.foundry/lab/lab/id_ed25519");
        let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(value["version"].as_str(), Some("1.0"));
        assert_eq!(value["cluster"]["domain"].as_str(), Some("lab.test"));
        let host = &value["hosts"][0];
        assert_eq!(host["hostname"].as_str(), Some("bao-1"));
        assert_eq!(host["address"].as_str(), Some("10.87.0.11"));
        assert_eq!(host["port"].as_u64(), Some(22));
        assert_eq!(
            host["identity"].as_str(),
            Some("~/.foundry/lab/lab/id_ed25519")
        );
        assert_eq!(host["host_key"].as_str(), Some("ssh-ed25519 AAAA"));
    }

    #[test]
    fn paths_that_yaml_would_misread_are_quoted() {
        for path in ["/tmp/a b/id", "/tmp/it's: #1", "/tmp/x"] {
            let value: serde_yaml::Value =
                serde_yaml::from_str(&format!("identity: {}\n", quoted(path))).unwrap();
            assert_eq!(value["identity"].as_str(), Some(path));
        }
    }

    #[test]
    fn renews_its_hosts_and_leaves_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.yaml");
        write(&path, &lab("10.87.0.11"), "/k").unwrap();
        let edited = std::fs::read_to_string(&path)
            .unwrap()
            .replace("openbao: {}", "openbao: {version: 2.6.1}");
        std::fs::write(&path, &edited).unwrap();
        write(&path, &lab("10.87.9.11"), "/k").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("10.87.9.11") && !text.contains("10.87.0.11"),
            "{text}"
        );
        assert!(text.contains("version: 2.6.1"), "{text}");
        assert!(
            remove_if_unchanged(&path, &"lab".parse().unwrap()).unwrap(),
            "an edited config stays"
        );
    }

    #[test]
    fn refuses_what_is_not_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.yaml");
        std::fs::write(&path, "version: \"1.0\"\n").unwrap();
        assert!(matches!(check(&path), Err(LabError::Config { .. })));
        std::fs::remove_file(&path).unwrap();
        write(&path, &lab("10.87.0.11"), "/k").unwrap();
        let text = std::fs::read_to_string(&path)
            .unwrap()
            .replace("user: admin", "user: me");
        std::fs::write(&path, &text).unwrap();
        assert!(matches!(
            write(&path, &lab("10.87.0.12"), "/k"),
            Err(LabError::Config { .. })
        ));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn removes_what_nobody_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lab.yaml");
        write(&path, &lab("10.87.0.11"), "/k").unwrap();
        assert!(!remove_if_unchanged(&path, &"lab".parse().unwrap()).unwrap());
        assert!(!path.exists());
    }
}
