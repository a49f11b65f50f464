//! Where a download comes from and which digest it is held to: pins, mirrors, checksum files. Downloads nothing.

use std::collections::BTreeMap;

use crate::config::{Mirror, MirrorDigests, can_vouch};

/// A download as it will really be fetched.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Address, mirrors taken into account.
    pub url: String,
    /// What it must be.
    pub digest: Wanted,
}

/// What a download is held to.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This SHA-256, in hex.
    Pinned(String),
    /// What the checksum file at this address says of the download's file name.
    Listed {
        /// Address of the checksum file, mirrors taken into account.
        checksums: String,
        /// Whether it is the mirror's own: then no pin of a recipe holds.
        mirror: bool,
    },
}

/// Chooses the source for an architecture.
///
/// # Errors
/// When there is no download for it, or nothing to hold it to.
pub fn choose(
    arch: &str,
    urls: &BTreeMap<&str, &str>,
    pins: &BTreeMap<&str, &str>,
    checksums: &str,
    mirrors: &[Mirror],
) -> Result<Source, String> {
    let Some(&url) = urls.get(arch) else {
        let known: Vec<&str> = urls.keys().copied().collect();
        return Err(format!(
            "there is no download for {arch}, only for {}",
            known.join(", ")
        ));
    };
    let mirror = mirrors
        .iter()
        .find(|mirror| url.starts_with(mirror.prefix.as_str()));
    let from_mirror = mirror.is_some_and(|mirror| mirror.digests == MirrorDigests::Mirror);
    let digest = match pins.get(arch) {
        // Where nothing else says what it must be, the pin holds whoever has packed it.
        Some(pin) if !from_mirror || checksums.is_empty() => {
            Wanted::Pinned(pin.to_ascii_lowercase())
        }
        _ if checksums.is_empty() => {
            return Err(format!(
                "nothing says what {url} must be: the recipe pins no sha256 for {arch} and names no checksum file"
            ));
        }
        _ => {
            let checksums = rewrite(checksums, mirrors);
            if !can_vouch(&checksums) {
                return Err(format!(
                    "only {checksums} says what {url} must be, and anybody on the way can change that: \
                     pin its sha256, or have the checksum file come by https"
                ));
            }
            Wanted::Listed {
                checksums,
                mirror: from_mirror,
            }
        }
    };
    Ok(Source {
        url: rewrite(url, mirrors),
        digest,
    })
}

/// Returns the address that the first mirror with a fitting prefix makes of `url`.
pub fn rewrite(url: &str, mirrors: &[Mirror]) -> String {
    mirrors
        .iter()
        .find_map(|mirror| {
            let rest = url.strip_prefix(mirror.prefix.as_str())?;
            let slash = !mirror.url.ends_with('/')
                && !rest.starts_with('/')
                && mirror.prefix.ends_with('/');
            Some(format!(
                "{}{}{rest}",
                mirror.url,
                if slash { "/" } else { "" }
            ))
        })
        .unwrap_or_else(|| url.to_owned())
}

/// Returns the file name that an address ends in.
pub fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns what a checksum file (`sha256sum`'s form, or BSD's) says of `name`.
pub fn listed(checksums: &str, name: &str) -> Option<String> {
    let hex = |word: &str| {
        (word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| word.to_ascii_lowercase())
    };
    checksums.lines().find_map(|line| {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("SHA256 (") {
            let (file, digest) = rest.split_once(") = ")?;
            return (file == name).then(|| hex(digest.trim())).flatten();
        }
        let (digest, file) = line.split_once(char::is_whitespace)?;
        let file = file.trim_start().trim_start_matches('*');
        (file.trim_start_matches("./") == name)
            .then(|| hex(digest))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://up.example/v1/tool_1_linux_amd64.tar.gz";
    const SUMS: &str = "https://up.example/v1/checksums.txt";

    fn mirror(url: &str, digests: MirrorDigests) -> Vec<Mirror> {
        vec![Mirror {
            prefix: "https://up.example/".into(),
            url: url.into(),
            digests,
        }]
    }

    fn chosen(pins: &[(&str, &str)], sums: &str, mirrors: &[Mirror]) -> Result<Source, String> {
        let pins = pins.iter().copied().collect();
        choose("amd64", &[("amd64", URL)].into(), &pins, sums, mirrors)
    }

    #[test]
    fn a_pin_goes_before_the_checksum_file_unless_the_mirror_repackages() {
        let pin = [("amd64", "AB")];
        let table = [
            (chosen(&pin, SUMS, &[]), Wanted::Pinned("ab".into())),
            (
                chosen(&pin, SUMS, &mirror("https://m/x", MirrorDigests::Pinned)),
                Wanted::Pinned("ab".into()),
            ),
            (
                chosen(&pin, SUMS, &mirror("file:///m", MirrorDigests::Mirror)),
                Wanted::Listed {
                    checksums: "file:///m/v1/checksums.txt".into(),
                    mirror: true,
                },
            ),
            (
                chosen(&[("arm64", "cd")], SUMS, &[]),
                Wanted::Listed {
                    checksums: SUMS.into(),
                    mirror: false,
                },
            ),
        ];
        for (source, wanted) in table {
            assert_eq!(source.unwrap().digest, wanted);
        }
    }

    #[test]
    fn a_mirror_takes_the_place_of_its_prefix() {
        for url in ["file:///m", "file:///m/"] {
            let source = chosen(&[], SUMS, &mirror(url, MirrorDigests::Pinned)).unwrap();
            assert_eq!(source.url, "file:///m/v1/tool_1_linux_amd64.tar.gz");
        }
    }

    #[test]
    fn a_checksum_file_that_comes_in_the_clear_vouches_for_nothing() {
        let plain = mirror("http://mirror.lan/", MirrorDigests::Pinned);
        let error = chosen(&[], SUMS, &plain).unwrap_err();
        assert!(
            error.contains("only http://mirror.lan/v1/checksums.txt says"),
            "{error}"
        );
        chosen(&[("amd64", "ab")], SUMS, &plain).unwrap();
        let own = mirror("http://127.0.0.1:5000/", MirrorDigests::Pinned);
        chosen(&[], SUMS, &own).unwrap();
    }

    #[test]
    fn nothing_to_hold_it_to_is_an_error_and_so_is_an_unknown_architecture() {
        assert!(chosen(&[], "", &[]).unwrap_err().contains("nothing says"));
        let repackaged = mirror("file:///m", MirrorDigests::Mirror);
        assert!(chosen(&[], "", &repackaged).is_err());
        let pinned = chosen(&[("amd64", "ab")], "", &repackaged).unwrap();
        assert_eq!(pinned.digest, Wanted::Pinned("ab".into()));
        let error = choose(
            "riscv64",
            &[("amd64", URL)].into(),
            &BTreeMap::new(),
            SUMS,
            &[],
        );
        assert_eq!(
            error.unwrap_err(),
            "there is no download for riscv64, only for amd64"
        );
    }

    #[test]
    fn checksum_files_are_read_in_both_forms() {
        let digest = "8dc11cc5fca0b539a9e352727dacb4e2d304daffcf9a66e0718ac325a20d05aa";
        for text in [
            format!("{digest}  tool.tar.gz\n"),
            format!("{digest} *tool.tar.gz"),
            format!("{digest}  ./tool.tar.gz"),
            format!("SHA256 (tool.tar.gz) = {}", digest.to_uppercase()),
        ] {
            let text = format!("{}  other.tar.gz\n{text}", "0".repeat(64));
            assert_eq!(
                listed(&text, "tool.tar.gz").as_deref(),
                Some(digest),
                "{text}"
            );
        }
        assert_eq!(
            listed(&format!("{digest}  xtool.tar.gz"), "tool.tar.gz"),
            None
        );
        assert_eq!(listed("short  tool.tar.gz", "tool.tar.gz"), None);
        assert_eq!(file_name("https://a/b/tool.tar.gz?x=/y"), "tool.tar.gz");
    }
}
