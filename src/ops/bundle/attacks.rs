//! Bundles as an attacker makes them, and folders that somebody or something else changed: what a load must refuse or mend.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::index::{Entry, FORMAT, Index, Kind};
use super::{
    BLOBS, BundleError, INDEX, Loaded, SIGNATURE, Signed, Signer, Trust, TrustedKey, generate,
};
use crate::target::artifact::layout::append;

const TOOL: &str = "https://up.example/v1/tool.tar.gz";

/// Loads a bundle as with `--unsigned`.
fn load(path: &Path, folder: &Path) -> Result<Loaded, BundleError> {
    let any = Trust {
        unsigned: true,
        ..Trust::default()
    };
    super::load(path, folder, &any)
}

fn blake3(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn sha256(text: &str) -> String {
    hex::encode(sha2::Sha256::digest(text))
}

fn entry(url: &str, kind: Kind, text: &str) -> Entry {
    Entry {
        url: url.to_owned(),
        kind,
        blake3: blake3(text),
        sha256: sha256(text),
        size: text.len() as u64,
        repackaged: false,
        as_found: false,
        earlier: false,
        steps: BTreeSet::new(),
    }
}

/// Writes a bundle of just these entries and contents, whatever they say.
fn bundle(path: &Path, entries: Vec<Entry>, contents: &[&str]) -> PathBuf {
    let index = Index {
        format: FORMAT,
        stack: "lab".to_owned(),
        platforms: vec!["linux/amd64".to_owned()],
        entries,
        images: Vec::new(),
    };
    let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
    let text = serde_json::to_vec(&index).unwrap();
    append(&mut tar, INDEX, text.len() as u64, text.as_slice()).unwrap();
    let mut sorted: Vec<&&str> = contents.iter().collect();
    sorted.sort_by_key(|text| blake3(text));
    for text in sorted {
        let name = format!("{BLOBS}{}", blake3(text));
        append(&mut tar, &name, text.len() as u64, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap();
    path.to_owned()
}

/// Returns all that lies under names below a folder, whatever its layout.
fn found(folder: &Path, name: &str) -> Option<String> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.ends_with(name) {
                return fs::read_to_string(path).ok();
            }
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    None
}

#[test]
fn no_address_reaches_the_contents_of_another() {
    let rig = tempfile::tempdir().unwrap();
    let at = |name: &str| rig.path().join(name);
    let (good, evil) = ("the tool", "something evil");
    let honest = bundle(
        &at("good.tar"),
        vec![entry(TOOL, Kind::Artifact, good)],
        &[good],
    );
    for folder in [
        ".blobs",
        "contents",
        "..",
        ".",
        ".oci",
        "oci",
        "mirror",
        "%2econtents",
    ] {
        let url = format!("https://{folder}/{}", blake3(good));
        let name = format!("{}.tar", blake3(&url));
        let poison = bundle(&at(&name), vec![entry(&url, Kind::Artifact, evil)], &[evil]);
        let into = at(&format!("srv-{folder}").replace(['%', '.'], "_"));
        let _ = load(&poison, &into);
        load(&honest, &into).unwrap();
        assert_eq!(
            found(&into, "up.example/v1/tool.tar.gz").as_deref(),
            Some(good),
            "after {url}"
        );
    }
}

#[test]
fn a_content_changed_in_the_folder_is_noticed_and_replaced() {
    let rig = tempfile::tempdir().unwrap();
    let at = |name: &str| rig.path().join(name);
    let good = "the tool";
    let path = bundle(
        &at("good.tar"),
        vec![entry(TOOL, Kind::Artifact, good)],
        &[good],
    );
    let into = at("srv");
    load(&path, &into).unwrap();
    // Cut short by a full disk, or changed: names are links, so both are.
    for text in ["", "the", "something evil"] {
        let mut folders = vec![into.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.ends_with(blake3(good)) {
                    fs::write(path, text).unwrap();
                }
            }
        }
        assert_eq!(
            found(&into, "up.example/v1/tool.tar.gz").as_deref(),
            Some(text)
        );
        load(&path, &into).unwrap();
        assert_eq!(
            found(&into, "up.example/v1/tool.tar.gz").as_deref(),
            Some(good)
        );
    }
}

#[test]
fn one_content_can_t_have_two_digests() {
    let rig = tempfile::tempdir().unwrap();
    let evil = "something evil";
    let url = format!("https://reg.example/v2/a/blobs/sha256:{}", sha256("good"));
    let lying = Entry {
        sha256: sha256("good"),
        ..entry(&url, Kind::Blob, evil)
    };
    let first = entry("https://a.example/x", Kind::Artifact, evil);
    let path = bundle(&rig.path().join("a.tar"), vec![first, lying], &[evil]);
    let into = rig.path().join("srv");
    let error = load(&path, &into).unwrap_err().to_string();
    assert!(error.contains(&url), "{error}");
    assert_eq!(found(&into, &format!("sha256:{}", sha256("good"))), None);
}

#[test]
fn an_index_that_makes_no_sense_is_refused_before_anything_is_written() {
    let rig = tempfile::tempdir().unwrap();
    let one = entry("https://a.example/x", Kind::Artifact, "one");
    let another = |url: &str| entry(url, Kind::Artifact, "another");
    let with = |change: &dyn Fn(&mut Entry)| {
        let mut entry = one.clone();
        change(&mut entry);
        vec![entry]
    };
    let upper = with(&|entry| entry.blake3 = entry.blake3.to_uppercase());
    let cases = [
        (
            "one place",
            vec![one.clone(), another("http://a.example/x")],
        ),
        (
            "one place",
            vec![one.clone(), another("https://a.example/%78")],
        ),
        (
            "lies below",
            vec![one.clone(), another("https://a.example/x/y")],
        ),
        ("a digest that is none", upper),
        (
            "a digest that is none",
            with(&|entry| entry.sha256 = "../../../../etc/passwd".to_owned()),
        ),
        (
            "has sha256",
            vec![entry(
                &format!("https://r.example/v2/a/blobs/sha256%3A{}", sha256("other")),
                Kind::Blob,
                "one",
            )],
        ),
        (
            "is the most",
            with(&|entry| {
                entry.kind = Kind::ChartIndex;
                entry.size = 1 << 40;
            }),
        ),
        (
            "differ in what they say",
            vec![
                one.clone(),
                Entry {
                    size: 4,
                    ..entry("https://a.example/y", Kind::Artifact, "one")
                },
            ],
        ),
        ("can't be kept", vec![another("https://a.example/../x")]),
    ];
    for (wanted, entries) in cases {
        let path = bundle(&rig.path().join("a.tar"), entries, &["one", "another"]);
        let into = rig.path().join("srv");
        let error = load(&path, &into).unwrap_err().to_string();
        assert!(error.contains(wanted), "no `{wanted}` in {error}");
        assert!(!into.exists(), "{wanted}");
    }
}

#[test]
fn members_that_announce_more_than_they_hold_are_not_believed() {
    let rig = tempfile::tempdir().unwrap();
    let path = rig.path().join("a.tar");
    let good = "the tool";
    let refused = |change: &dyn Fn(&mut tar::Header), text: &[u8]| {
        bundle(&path, vec![entry(TOOL, Kind::Artifact, good)], &[]);
        let whole = fs::read(&path).unwrap();
        // Without the two empty blocks at the end.
        let mut tar = tar::Builder::new(whole[..whole.len() - 1024].to_vec());
        let mut header = tar::Header::new_gnu();
        header.set_path(format!("{BLOBS}{}", blake3(good))).unwrap();
        header.set_size(text.len() as u64);
        change(&mut header);
        header.set_cksum();
        tar.append(&header, text).unwrap();
        fs::write(&path, tar.into_inner().unwrap()).unwrap();
        let into = rig.path().join("srv");
        let error = load(&path, &into).unwrap_err().to_string();
        assert_eq!(found(&into, "up.example/v1/tool.tar.gz"), None);
        error
    };
    // A petabyte of nothing, in a few bytes.
    let sparse = |header: &mut tar::Header| {
        header.set_entry_type(tar::EntryType::GNUSparse);
        header.as_gnu_mut().unwrap().set_real_size(1 << 50);
    };
    assert!(refused(&sparse, b"").contains("no place in it"));
    for kind in [
        tar::EntryType::GNULongName,
        tar::EntryType::XHeader,
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Directory,
    ] {
        let error = refused(&|header| header.set_entry_type(kind), b"");
        assert!(error.contains("no place in it"), "{kind:?}: {error}");
    }
    let error = refused(&|_| {}, b"a longer text than the index says");
    assert!(error.contains("33 bytes, the index says 8"), "{error}");
    let error = refused(&|header| header.set_size(1 << 40), b"");
    assert!(error.contains("the index says 8"), "{error}");
}

#[test]
fn deep_and_wide_indexes_end_soon() {
    let rig = tempfile::tempdir().unwrap();
    let raw = |text: &[u8]| {
        let path = rig.path().join("a.tar");
        let mut tar = tar::Builder::new(fs::File::create(&path).unwrap());
        append(&mut tar, INDEX, text.len() as u64, text).unwrap();
        tar.into_inner().unwrap();
        path
    };
    let started = std::time::Instant::now();
    let into = rig.path().join("srv");
    let deep = |start: &str, each: &str| {
        let text = format!("{start}{}", each.repeat(200_000));
        load(&raw(text.as_bytes()), &into).unwrap_err().to_string()
    };
    for (start, each) in [
        ("", "["),
        ("{\"entries\":[{\"steps\":", "["),
        ("{\"unknown\":", "{\"a\":"),
        ("{\"unknown\":", "["),
    ] {
        let error = deep(start, each);
        assert!(error.contains("is no bundle"), "{start}: {error}");
    }
    let huge = vec![b' '; (32 << 20) + 1];
    let error = load(&raw(&huge), &into).unwrap_err().to_string();
    assert!(error.contains("32 MiB is the most"), "{error}");
    // As wide as it may be: each fault is looked for without going through all entries each time.
    let entries = (0..40_000)
        .map(|n| {
            let url = format!("https://a.example/{n}");
            entry(&url, Kind::Artifact, &n.to_string())
        })
        .collect();
    let path = bundle(&rig.path().join("wide.tar"), entries, &["0"]);
    let error = load(&path, &into).unwrap_err().to_string();
    assert!(error.contains("39899 more are missing"), "{error}");
    assert!(error.len() < 20_000, "{}", error.len());
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

#[cfg(unix)]
#[test]
fn links_in_the_folder_lead_nowhere() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let rig = tempfile::tempdir().unwrap();
    let at = |name: &str| rig.path().join(name);
    let good = "the tool";
    let path = bundle(
        &at("good.tar"),
        vec![entry(TOOL, Kind::Artifact, good)],
        &[good],
    );
    let elsewhere = at("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for planted in [
        "mirror",
        "contents",
        "oci",
        "mirror/up.example",
        "mirror/up.example/v1",
        ".foundry-bundles.json",
        "contents/.lock",
    ] {
        let into = at(&format!("srv-{}", planted.replace('/', "_")));
        let place = into.join(planted);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(&elsewhere, &place).unwrap();
        let error = load(&path, &into).unwrap_err().to_string();
        assert!(error.contains("link"), "{planted}: {error}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "{planted}");
    }
    // A link in a content's or a name's place is replaced, not followed.
    let into = at("srv");
    load(&path, &into).unwrap();
    let aim = elsewhere.join("aim");
    fs::write(&aim, "aim").unwrap();
    for name in [
        format!("contents/{}", blake3(good)),
        "mirror/up.example/v1/tool.tar.gz".to_owned(),
    ] {
        let place = into.join(name);
        fs::remove_file(&place).unwrap();
        symlink(&aim, &place).unwrap();
        load(&path, &into).unwrap();
        assert!(fs::symlink_metadata(&place).unwrap().is_file());
        assert_eq!(fs::read_to_string(&place).unwrap(), good);
        assert_eq!(fs::read_to_string(&aim).unwrap(), "aim");
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&into.join("contents")), 0o700);
    assert_eq!(mode(&into.join("mirror")), 0o755);
    fs::set_permissions(&into, fs::Permissions::from_mode(0o777)).unwrap();
    let error = load(&path, &into).unwrap_err().to_string();
    assert!(error.contains("others can write to it"), "{error}");
}

#[test]
fn a_load_cut_short_is_mended_by_the_next() {
    let rig = tempfile::tempdir().unwrap();
    let at = |name: &str| rig.path().join(name);
    let (one, two) = ("the tool", "another tool");
    let other = "https://up.example/v1/other.tar.gz";
    let path = bundle(
        &at("good.tar"),
        vec![
            entry(TOOL, Kind::Artifact, one),
            entry(other, Kind::Artifact, two),
        ],
        &[one, two],
    );
    let into = at("srv");
    let whole = fs::read(&path).unwrap();
    for cut in (600..whole.len()).step_by(300) {
        fs::write(at("cut.tar"), &whole[..cut]).unwrap();
        if load(&at("cut.tar"), &into).is_ok() {
            // Nothing but the empty blocks at the end is gone.
            assert!(cut > whole.len() - 1024, "{cut}");
        } else {
            assert_eq!(found(&into, "up.example/v1/tool.tar.gz"), None);
        }
    }
    fs::remove_dir_all(&into).unwrap();
    // As killed: contents staged, one of them taken in, a name without a record.
    load(&path, &into).unwrap();
    fs::remove_file(into.join(".foundry-bundles.json")).unwrap();
    fs::remove_file(into.join("mirror/up.example/v1/other.tar.gz")).unwrap();
    fs::rename(
        into.join("contents").join(blake3(two)),
        into.join("contents/half"),
    )
    .unwrap();
    fs::create_dir(into.join("contents/.staged")).unwrap();
    fs::write(into.join("contents/.staged").join(blake3(two)), "ano").unwrap();
    load(&path, &into).unwrap();
    assert_eq!(
        found(&into, "up.example/v1/other.tar.gz").as_deref(),
        Some(two)
    );
    assert!(!into.join("contents/.staged").exists());
    // One load at a time.
    let lock = fs::File::open(into.join("contents/.lock")).unwrap();
    lock.lock().unwrap();
    let error = load(&path, &into).unwrap_err().to_string();
    assert!(error.contains("another `foundry bundle load`"), "{error}");
}

#[tokio::test]
async fn what_a_build_takes_is_what_the_bundle_brought() {
    use crate::target::artifact;
    let rig = tempfile::tempdir().unwrap();
    let at = |name: &str| rig.path().join(name);
    let sums = "https://up.example/v1/sums";
    let path = bundle(
        &at("good.tar"),
        vec![
            entry(sums, Kind::Checksums, "sums"),
            entry(TOOL, Kind::Artifact, "the tool"),
        ],
        &["sums", "the tool"],
    );
    let into = at("srv");
    let mirrors = load(&path, &into).unwrap().mirrors;
    let from = |url: &str| artifact::mirrored(url, &mirrors);
    assert_eq!(artifact::text(&from(sums), 1 << 20).await.unwrap(), "sums");
    assert!(artifact::unpinned(TOOL, &mirrors).await.is_ok());
    // Neither of these has a digest that a recipe pins.
    for name in ["sums", "tool.tar.gz"] {
        let name = into.join("mirror/up.example/v1").join(name);
        fs::remove_file(&name).unwrap();
        fs::write(&name, "evil").unwrap();
    }
    let error = artifact::text(&from(sums), 1 << 20).await.unwrap_err();
    assert!(error.contains(&sha256("sums")), "{error}");
    let error = artifact::unpinned(TOOL, &mirrors).await.unwrap_err();
    assert!(error.contains(&sha256("the tool")), "{error}");
    fs::write(into.join("mirror/up.example/v1/new"), "planted").unwrap();
    let planted = from("https://up.example/v1/new");
    let error = artifact::text(&planted, 1 << 20).await.unwrap_err();
    assert!(error.contains("no bundle brought it"), "{error}");
    load(&path, &into).unwrap();
    assert_eq!(artifact::text(&from(sums), 1 << 20).await.unwrap(), "sums");
}

/// Puts a signature, or whatever it is, behind the index of a bundle.
fn with_signature(path: &Path, signature: &str) -> PathBuf {
    let whole = fs::read(path).unwrap();
    let mut archive = tar::Archive::new(&*whole);
    let mut tar = tar::Builder::new(Vec::new());
    for member in archive.entries().unwrap() {
        let member = member.unwrap();
        let (name, size) = (member.path().unwrap().into_owned(), member.size());
        let name = name.to_str().unwrap();
        if name != SIGNATURE {
            append(&mut tar, name, size, member).unwrap();
        }
        if name == INDEX {
            append(
                &mut tar,
                SIGNATURE,
                signature.len() as u64,
                signature.as_bytes(),
            )
            .unwrap();
        }
    }
    let path = path.with_extension("changed.tar");
    fs::write(&path, tar.into_inner().unwrap()).unwrap();
    path
}

fn signature(path: &Path) -> String {
    let file = fs::File::open(path).unwrap();
    let mut archive = tar::Archive::new(file);
    let member = archive.entries().unwrap().nth(1).unwrap().unwrap();
    assert_eq!(member.path().unwrap().to_str(), Some(SIGNATURE));
    std::io::read_to_string(member).unwrap()
}

#[test]
fn only_what_a_trusted_key_signed_is_loaded() {
    let rig = tempfile::tempdir().unwrap();
    let at = |name: &str| rig.path().join(name);
    let good = "the tool";
    let unsigned = bundle(
        &at("a.tar"),
        vec![entry(TOOL, Kind::Artifact, good)],
        &[good],
    );
    let key = || {
        let (secret, public) = generate(None).unwrap();
        (Signer::read(&secret, None).unwrap(), public)
    };
    let ((signer, ours), (_, other)) = (key(), key());
    let trusting = |keys: &[&TrustedKey], unsigned| Trust {
        keys: keys.iter().map(|&key| key.clone()).collect(),
        unsigned,
    };
    let into = at("srv");
    let refused = |path: &Path, trust: &Trust, wanted: &str| {
        let error = super::load(path, &into, trust).unwrap_err();
        assert!(matches!(error, BundleError::Untrusted { .. }), "{error}");
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(!into.exists());
    };
    refused(&unsigned, &trusting(&[], false), "it is not signed");
    refused(&unsigned, &trusting(&[&ours], false), "it is not signed");

    let signed = at("signed.tar");
    fs::copy(&unsigned, &signed).unwrap();
    super::sign(&signed, &signer).unwrap();
    // Again: in place of the first.
    super::sign(&signed, &signer).unwrap();
    refused(&signed, &trusting(&[], false), &ours.id());
    refused(&signed, &trusting(&[&other], false), &ours.id());

    // Another index under a signature that was good for the first one, whatever `--unsigned` says.
    let evil = "something evil";
    let another = bundle(
        &at("b.tar"),
        vec![entry(TOOL, Kind::Artifact, evil)],
        &[evil],
    );
    let moved = with_signature(&another, &signature(&signed));
    for unsigned in [false, true] {
        refused(&moved, &trusting(&[&other, &ours], unsigned), "is wrong");
    }
    let garbage = with_signature(
        &unsigned,
        "untrusted comment: x\nAAAA\ntrusted comment: y\nAAAA\n",
    );
    refused(
        &garbage,
        &trusting(&[&ours], true),
        "not in minisign's format",
    );

    // A good signature over other contents.
    let mut bytes = fs::read(&signed).unwrap();
    let place = bytes
        .windows(8)
        .position(|window| window == good.as_bytes())
        .unwrap();
    bytes[place] = b'T';
    fs::write(at("changed.tar"), bytes).unwrap();
    let error = super::load(&at("changed.tar"), &into, &trusting(&[&ours], false)).unwrap_err();
    assert!(matches!(error, BundleError::Damaged { .. }), "{error}");
    assert_eq!(found(&into, "up.example/v1/tool.tar.gz"), None);
    // Nor is such a one signed.
    assert!(super::sign(&at("changed.tar"), &signer).is_err());

    let loaded = super::load(&signed, &into, &trusting(&[&other, &ours], false)).unwrap();
    let Signed::Trusted { key, comment } = loaded.signed else {
        panic!("{:?}", loaded.signed)
    };
    assert_eq!(
        (key, comment.as_str()),
        (ours.id(), "foundry bundle of stack lab")
    );
    load(&unsigned, &into).unwrap();
}
