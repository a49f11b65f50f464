//! How an image is made: suite, packages, set-up script and where the packages come from. Reads this machine's apt
//! settings, builds nothing.

use std::path::{Path, PathBuf};

use crate::lab::LabError;
use crate::lab::command;
use crate::lab::error::file;

/// The user of every lab host with passwordless sudo.
pub(in crate::lab) const ADMIN: &str = "admin";

/// The user and group id of [`ADMIN`], as the set-up script makes it.
pub(in crate::lab) const ADMIN_ID: u64 = 1000;

/// What a freshly installed Debian server has, and what Foundry's tasks expect of any host.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "libpam-systemd",
    "openssh-server",
    "sudo",
    "curl",
    "ca-certificates",
    "iproute2",
    "iptables",
    "nftables",
    "procps",
    "kmod",
    "unzip",
    "zstd",
    "iputils-ping",
];

/// What turns the packages into an image, and what it puts in there: file names and texts.
pub(super) const SCRIPTS: [(&str, &str); 2] = [
    ("setup.sh", include_str!("setup.sh")),
    ("lab-init.sh", include_str!("lab-init.sh")),
];

/// The Debian release where this machine itself runs none.
const DEFAULT_SUITE: &str = "bookworm";

/// All that decides what an image contains.
#[derive(Debug)]
pub(super) struct Recipe {
    /// The Debian release.
    pub(super) suite: String,
    /// The apt sources of that release, one text per file of this machine, with the file's extension.
    pub(super) sources: Vec<(String, &'static str)>,
    /// The machine's apt settings for reaching its sources (proxies, checks), as apt configuration text.
    pub(super) apt_settings: String,
    /// Certificates that the machine's owner added.
    certificates: Vec<Vec<u8>>,
}

impl Recipe {
    /// Reads the recipe that fits this machine.
    ///
    /// # Errors
    /// If apt's source files cannot be read.
    pub(super) fn of_machine() -> Result<Self, LabError> {
        let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let suite = debian_suite(&os).unwrap_or(DEFAULT_SUITE).to_owned();
        let mut sources = Vec::new();
        for path in source_files(Path::new("/etc/apt"))? {
            let text = std::fs::read_to_string(&path).map_err(file("read", &path))?;
            let deb822 = path.extension().is_some_and(|e| e == "sources");
            let kept = if deb822 {
                stanzas_of(&text, &suite)
            } else {
                lines_of(&text, &suite)
            };
            if !kept.is_empty() {
                sources.push((kept, if deb822 { "sources" } else { "list" }));
            }
        }
        let dump = command::run("apt-config", &["dump"]).unwrap_or_default();
        Ok(Self {
            suite,
            sources,
            apt_settings: reaching(&dump),
            certificates: certificates(Path::new("/usr/local/share/ca-certificates"))?,
        })
    }

    /// Returns the packages, as mmdebstrap and debootstrap take them.
    pub(super) fn packages() -> String {
        PACKAGES.join(",")
    }

    /// Returns the digest of all that decides the image's content, as 16 hexadecimal digits.
    pub(super) fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("foundry lab image 1");
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(std::env::consts::ARCH.as_bytes());
        part(self.suite.as_bytes());
        part(Self::packages().as_bytes());
        SCRIPTS.iter().for_each(|(_, text)| part(text.as_bytes()));
        part(self.apt_settings.as_bytes());
        self.sources
            .iter()
            .for_each(|(text, _)| part(text.as_bytes()));
        self.certificates.iter().for_each(|c| part(c));
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// Returns the release that an `os-release` names, if it is a Debian's own.
fn debian_suite(os_release: &str) -> Option<&str> {
    let field = |name: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim().trim_matches('"'))
    };
    (field("ID")? == "debian").then(|| field("VERSION_CODENAME"))?
}

fn source_files(apt: &Path) -> Result<Vec<PathBuf>, LabError> {
    let mut files = vec![apt.join("sources.list")];
    files.extend(listed(&apt.join("sources.list.d"), &["list", "sources"])?);
    files.retain(|path| path.is_file());
    Ok(files)
}

fn certificates(directory: &Path) -> Result<Vec<Vec<u8>>, LabError> {
    listed(directory, &["crt"])?
        .into_iter()
        .map(|path| std::fs::read(&path).map_err(file("read", path)))
        .collect()
}

/// Returns the files of `directory` with one of `extensions`, sorted; none if there is no such directory.
fn listed(directory: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, LabError> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Ok(Vec::new());
    };
    let mut files = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(file("list", directory))?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|e| extensions.iter().any(|x| e == *x))
    });
    files.sort();
    Ok(files)
}

/// Returns whether `name` is `suite` itself or its updates: third parties' suites are none of the image's business.
fn belongs(name: &str, suite: &str) -> bool {
    name.strip_prefix(suite)
        .is_some_and(|rest| matches!(rest, "" | "-updates" | "-security" | "/updates"))
}

/// Returns the stanzas of a deb822 source file that offer `suite`'s main packages.
fn stanzas_of(text: &str, suite: &str) -> String {
    let uncommented: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let offers = |stanza: &[&str]| {
        let field = |name: &str| {
            stanza.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then_some(value)
            })
        };
        let has = |name, wanted: &dyn Fn(&str) -> bool| {
            field(name).is_some_and(|value| value.split_whitespace().any(wanted))
        };
        has("Types", &|t| t == "deb")
            && has("Components", &|c| c == "main")
            && !has("Enabled", &|e| e.eq_ignore_ascii_case("no"))
            && field("Suites").is_some_and(|v| v.split_whitespace().all(|s| belongs(s, suite)))
    };
    uncommented
        .split(|line| line.trim().is_empty())
        .filter(|stanza| offers(stanza))
        .map(|stanza| stanza.join("\n") + "\n")
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns the lines of a one-line-style source file that offer `suite`'s main packages.
fn lines_of(text: &str, suite: &str) -> String {
    let offers = |line: &&str| {
        let mut words = line.split_whitespace();
        if words.next() != Some("deb") {
            return false;
        }
        let rest: Vec<&str> = words.collect();
        let after_options = match rest.iter().position(|w| w.ends_with(']')) {
            Some(end) if rest[0].starts_with('[') => &rest[end + 1..],
            _ => &rest[..],
        };
        matches!(after_options, [_, name, components @ ..] if belongs(name, suite) && components.contains(&"main"))
    };
    text.lines()
        .filter(offers)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Returns the settings of an `apt-config dump` that decide how sources are reached and checked.
fn reaching(dump: &str) -> String {
    const PREFIXES: &[&str] = &[
        "Acquire::http",
        "Acquire::https",
        "Acquire::Retries",
        "Acquire::Check-Valid-Until",
        "Acquire::Check-Date",
    ];
    dump.lines()
        .filter(|line| PREFIXES.iter().any(|p| line.starts_with(p)) && !line.ends_with("\"\";"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_release_of_a_debian_only() {
        assert_eq!(
            debian_suite("ID=debian\nVERSION_CODENAME=trixie\n"),
            Some("trixie")
        );
        assert_eq!(debian_suite("ID=ubuntu\nVERSION_CODENAME=noble\n"), None);
        assert_eq!(debian_suite("ID=\"debian\"\nVERSION_ID=\"13\"\n"), None);
    }

    #[test]
    fn leaves_third_parties_out_of_deb822_sources() {
        let text = "Types: deb\n# old\nURIs: http://d/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://n\nSuites: nodistro\nComponents: main\n\n\
                    Types: deb-src\nURIs: http://d\nSuites: bookworm\nComponents: main\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://d\nSuites: bookworm\nComponents: main\n";
        assert_eq!(
            stanzas_of(text, "bookworm"),
            "Types: deb\nURIs: http://d/debian\nSuites: bookworm bookworm-updates\nComponents: main\n"
        );
    }

    #[test]
    fn leaves_third_parties_out_of_one_line_sources() {
        let text = "# deb http://d bookworm main\ndeb http://d bookworm main contrib\n\
                    deb [signed-by=/k arch=amd64] http://d bookworm-security main\n\
                    deb http://x bookworm-backports main\ndeb http://y stable main\ndeb http://z bookworm non-free\n";
        assert_eq!(
            lines_of(text, "bookworm"),
            "deb http://d bookworm main contrib\ndeb [signed-by=/k arch=amd64] http://d bookworm-security main\n"
        );
    }

    #[test]
    fn keeps_how_sources_are_reached() {
        let dump = "APT \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://p:3142\";\nAcquire::Languages:: \"none\";\n";
        assert_eq!(reaching(dump), "Acquire::http::Proxy \"http://p:3142\";\n");
    }

    #[test]
    fn every_part_of_the_recipe_is_in_its_digest() {
        let recipe = |suite: &str, settings: &str| Recipe {
            suite: suite.into(),
            sources: vec![("deb http://d x main\n".into(), "list")],
            apt_settings: settings.into(),
            certificates: Vec::new(),
        };
        let digests = [
            recipe("a", "").digest(),
            recipe("b", "").digest(),
            recipe("a", "x").digest(),
        ];
        assert_eq!(digests[0], recipe("a", "").digest());
        assert_ne!(digests[0], digests[1]);
        assert_ne!(digests[0], digests[2]);
        assert_eq!(digests[0].len(), 16);
    }
}
