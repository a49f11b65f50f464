//! What an installed artifact leaves beside itself, so that a probe need not hash 150 MB. Reads it; `install.sh` writes it.

use std::collections::BTreeMap;

use crate::probe::Facts;
use crate::target::group::fact;

/// Folder of everything that artifacts bring.
pub const ROOT: &str = "/opt/foundry";

/// Folder of downloads under way, root's alone.
pub const DOWNLOADS: &str = "/opt/foundry/.downloads";

/// Returns the folder of one version.
pub fn folder(name: &str, version: &str) -> String {
    format!("{ROOT}/{name}/{version}")
}

/// Folds the record's text (`record.content`) and the look of the installed file or folder (`file.*`) into facts.
///
/// The file counts as the one that was verified while its size and time of change are those of the record: somebody who
/// changes it and sets its time back on purpose is not noticed.
///
/// Of a download that a mirror had repackaged a pin says nothing, unless no checksum file says otherwise.
pub fn facts(told: &Facts, pins: &BTreeMap<&str, &str>, checksums: &BTreeMap<&str, &str>) -> Facts {
    let record: BTreeMap<&str, &str> = fact(told, "record", "content")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let kept = |name: &str| record.get(name).copied().unwrap_or("absent");
    let wanted = pins
        .get(kept("arch"))
        .filter(|_| kept("digests") != "mirror" || !checksums.contains_key(kept("arch")));
    let state = if !record.contains_key("sha256") || fact(told, "file", "kind") == "absent" {
        "absent"
    } else if wanted.is_some_and(|pin| !pin.eq_ignore_ascii_case(kept("sha256"))) {
        "another"
    } else if record.contains_key("size")
        && (kept("size") != fact(told, "file", "size")
            || kept("mtime") != fact(told, "file", "mtime"))
    {
        "altered"
    } else {
        "installed"
    };
    [
        ("state".to_owned(), state.into()),
        ("sha256".to_owned(), kept("sha256").into()),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::fixture;

    const RECORD: &str =
        "url https://x\nsha256 ab\narch amd64\ndigests pinned\nsize 10\nmtime 20\n";

    fn state(record: &str, file: &[(&str, &str)], pins: &[(&str, &str)]) -> String {
        let mut told = fixture::facts(file);
        told.insert("record.content".into(), record.into());
        let sums = [("amd64", "https://x/sums")].into();
        facts(&told, &pins.iter().copied().collect(), &sums)["state"]
            .value()
            .to_owned()
    }

    #[test]
    fn a_pin_that_no_checksum_file_stands_against_holds_for_what_a_mirror_repackaged() {
        let mut told = fixture::facts(&[
            ("file.kind", "file"),
            ("file.size", "10"),
            ("file.mtime", "20"),
        ]);
        told.insert(
            "record.content".into(),
            RECORD.replace("pinned", "mirror").as_str().into(),
        );
        let found = |pin| {
            facts(&told, &[("amd64", pin)].into(), &BTreeMap::new())["state"]
                .value()
                .to_owned()
        };
        assert_eq!(
            (found("ab"), found("cd")),
            ("installed".to_owned(), "another".to_owned())
        );
    }

    #[test]
    fn the_record_and_the_file_tell_the_state() {
        let here: &[_] = &[
            ("file.kind", "file"),
            ("file.size", "10"),
            ("file.mtime", "20"),
        ];
        let touched: &[_] = &[
            ("file.kind", "file"),
            ("file.size", "10"),
            ("file.mtime", "21"),
        ];
        let gone: &[_] = &[("file.kind", "absent")];
        let mirrored = RECORD.replace("pinned", "mirror");
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let table: [(&str, Pairs<'_>, Pairs<'_>, &str); 7] = [
            (RECORD, here, &[("amd64", "AB")], "installed"),
            (RECORD, here, &[], "installed"),
            (RECORD, touched, &[], "altered"),
            (RECORD, gone, &[], "absent"),
            ("absent", here, &[], "absent"),
            (RECORD, here, &[("amd64", "cd")], "another"),
            (&mirrored, here, &[("amd64", "cd")], "installed"),
        ];
        for (record, file, pins, wanted) in table {
            assert_eq!(
                state(record, file, pins),
                wanted,
                "{record} {file:?} {pins:?}"
            );
        }
    }
}
