//! The files that make a host out of the image: its name, its keys, who may log in. One tar for either driver.
//! Knows no driver.

use std::fmt::Write as _;
use std::net::IpAddr;

use russh::keys::PrivateKey;
use zeroize::Zeroizing;

use super::error::system;
use super::image::{ADMIN, ADMIN_ID};
use super::keys;
use super::{LabError, LabName};

/// What one host is told.
pub(super) struct Seed<'a> {
    /// Its name.
    pub(super) host: &'a LabName,
    /// Its own key pair.
    pub(super) host_key: &'a PrivateKey,
    /// Who may log in as the admin user, in OpenSSH's format.
    pub(super) authorized_key: &'a str,
    /// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`; none where somebody else writes them (Docker does).
    pub(super) names: Option<Names<'a>>,
}

/// How a host names itself and the others.
pub(super) struct Names<'a> {
    /// All hosts of the lab with their addresses.
    pub(super) hosts: &'a [(LabName, IpAddr)],
    /// The content of `/etc/resolv.conf`.
    pub(super) resolv: &'a str,
}

impl Seed<'_> {
    /// Returns the files as a tar, to be unpacked at the host's root.
    ///
    /// # Errors
    /// If a key cannot be encoded.
    pub(super) fn tar(&self) -> Result<Zeroizing<Vec<u8>>, LabError> {
        let mut tar = tar::Builder::new(Vec::new());
        let private = keys::private_text(self.host_key)?;
        let public = keys::public_text(self.host_key)?;
        let host_key = "etc/ssh/ssh_host_ed25519_key";
        add(&mut tar, host_key, 0o600, 0, private.as_bytes())?;
        add(
            &mut tar,
            &format!("{host_key}.pub"),
            0o644,
            0,
            format!("{public}\n").as_bytes(),
        )?;
        let ssh = format!("home/{ADMIN}/.ssh");
        add_directory(&mut tar, &ssh, 0o700, ADMIN_ID)?;
        add(
            &mut tar,
            &format!("{ssh}/authorized_keys"),
            0o600,
            ADMIN_ID,
            format!("{}\n", self.authorized_key).as_bytes(),
        )?;
        if let Some(names) = &self.names {
            let hostname = format!("{}\n", self.host);
            add(&mut tar, "etc/hostname", 0o644, 0, hostname.as_bytes())?;
            add(
                &mut tar,
                "etc/hosts",
                0o644,
                0,
                hosts_file(self.host, names.hosts).as_bytes(),
            )?;
            add(
                &mut tar,
                "etc/resolv.conf",
                0o644,
                0,
                names.resolv.as_bytes(),
            )?;
        }
        tar.into_inner()
            .map(Zeroizing::new)
            .map_err(system("pack a host's files"))
    }
}

/// Returns `/etc/hosts` as host `own` sees it: every sudo asks for the own name, and the hosts of a lab find each other by name.
fn hosts_file(own: &LabName, hosts: &[(LabName, IpAddr)]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    if !hosts.iter().any(|(name, _)| name == own) {
        let _ = writeln!(text, "127.0.1.1 {own}");
    }
    for (name, address) in hosts {
        let _ = writeln!(text, "{address} {name}");
    }
    text
}

fn header(mode: u32, owner: u64, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_size(size as u64);
    header
}

fn add(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    owner: u64,
    content: &[u8],
) -> Result<(), LabError> {
    let mut header = header(mode, owner, content.len());
    tar.append_data(&mut header, path, content)
        .map_err(system(format!("pack {path}")))
}

fn add_directory(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    mode: u32,
    owner: u64,
) -> Result<(), LabError> {
    let mut header = header(mode, owner, 0);
    header.set_entry_type(tar::EntryType::Directory);
    tar.append_data(&mut header, format!("{path}/"), std::io::empty())
        .map_err(system(format!("pack {path}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_seed_holds_what_makes_the_host() {
        let key = keys::generate("test").unwrap();
        let hosts = [
            ("a".parse().unwrap(), "10.87.0.11".parse().unwrap()),
            ("b".parse().unwrap(), "10.87.0.12".parse().unwrap()),
        ];
        let seed = Seed {
            host: &hosts[0].0,
            host_key: &key,
            authorized_key: "ssh-ed25519 AAAA me",
            names: Some(Names {
                hosts: &hosts,
                resolv: "nameserver 192.0.2.1\n",
            }),
        };
        let bytes = seed.tar().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            found.push((
                entry.path().unwrap().display().to_string(),
                entry.header().mode().unwrap(),
                entry.header().uid().unwrap(),
                content,
            ));
        }
        let paths: Vec<_> = found
            .iter()
            .map(|(p, m, u, _)| format!("{p} {m:o} {u}"))
            .collect();
        assert_eq!(
            paths,
            [
                "etc/ssh/ssh_host_ed25519_key 600 0",
                "etc/ssh/ssh_host_ed25519_key.pub 644 0",
                "home/admin/.ssh/ 700 1000",
                "home/admin/.ssh/authorized_keys 600 1000",
                "etc/hostname 644 0",
                "etc/hosts 644 0",
                "etc/resolv.conf 644 0",
            ]
        );
        assert!(found[5].3.contains("10.87.0.12 b\n"), "{}", found[5].3);
        assert_eq!(found[4].3, "a\n");
    }
}
