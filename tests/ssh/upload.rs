//! Files put in place.

use super::*;

pub fn file(sshd: &Sshd, bytes: &[u8], to: &Path) -> Upload {
    let from = sshd.path("from");
    std::fs::write(&from, bytes).unwrap();
    Upload {
        from,
        to: to.display().to_string(),
        owner: format!("{}:{}", nix::unistd::geteuid(), nix::unistd::getegid()),
        mode: "0640".into(),
        sha256: hex::encode(sha2::Sha256::digest(bytes)),
    }
}

#[tokio::test]
async fn a_file_arrives_whole_or_not_at_all() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(sshd) = Sshd::start("") else { return };
    if sshd.user != "root" {
        skip("uploads run as root");
        return;
    }
    let fleet = fleet(&sshd);
    let writer = fleet.writer(H).await.unwrap();
    let directory = sshd.path("it's a place");
    std::fs::create_dir(&directory).unwrap();
    let to = directory.join("file");
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let upload = file(&sshd, &bytes, &to);
    writer.upload(&upload).await.unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), bytes);
    assert_eq!(
        std::fs::metadata(&to).unwrap().permissions().mode() & 0o7777,
        0o640
    );

    // Another digest: refused, and the old file stays.
    let wrong = Upload {
        sha256: "00".repeat(32),
        ..file(&sshd, b"other", &to)
    };
    let error = writer.upload(&wrong).await.unwrap_err();
    assert!(
        error.message.contains("arrived with the digest d9298a10"),
        "{error}"
    );
    assert_eq!(std::fs::read(&to).unwrap(), bytes);

    for (target, word) in [
        (directory.join("nowhere/file"), "No such file"),
        (directory.clone(), "is a directory"),
        ("/dev/full/x".into(), "/dev/full"),
    ] {
        let error = writer
            .upload(&file(&sshd, b"x", &target))
            .await
            .unwrap_err();
        assert_eq!(error.kind, AccessKind::Host);
        assert!(error.message.contains(word), "{error}");
    }
    let missing = Upload {
        from: sshd.path("not there"),
        ..file(&sshd, b"x", &to)
    };
    let error = writer.upload(&missing).await.unwrap_err();
    assert_eq!(error.kind, AccessKind::Local);
    let names: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["file"], "something was left behind");
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let Some(sshd) = Sshd::start("") else { return };
    if sshd.user != "root" {
        return;
    }
    let fleet = fleet(&sshd);
    let writer = fleet.writer(H).await.unwrap();
    let directory = sshd.path("in");
    std::fs::create_dir(&directory).unwrap();
    // A pipe that gives some and then waits: the upload hangs in the middle.
    let pipe = sshd.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let feeding = pipe.clone();
    let feeder = std::thread::spawn(move || {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(feeding)
            .unwrap();
        let _ = file.write_all(&[7; 40_000]);
        file
    });
    let upload = Upload {
        from: pipe,
        ..file(&sshd, b"", &directory.join("file"))
    };
    let begun = || {
        std::fs::read_dir(&directory)
            .unwrap()
            .any(|entry| entry.unwrap().metadata().is_ok_and(|data| data.len() > 0))
    };
    tokio::select! {
        result = writer.upload(&upload) => panic!("{result:?}"),
        () = async {
            eventually("it begins", begun).await;
        } => {}
    }
    drop(feeder.join().unwrap());
    eventually("it is gone", || {
        std::fs::read_dir(&directory).unwrap().next().is_none()
    })
    .await;
}

/// A file system that holds next to nothing.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(at: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let none: Option<&str> = None;
        let flags = nix::mount::MsFlags::empty();
        match nix::mount::mount(none, &at, Some("tmpfs"), flags, Some("size=64k")) {
            Ok(()) => Some(Self(at)),
            Err(error) => {
                skip(&format!("no file system can be mounted here: {error}"));
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = nix::mount::umount(&self.0);
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_what_was_there_stays() {
    let Some(sshd) = Sshd::start("") else { return };
    let Some(small) = Small::mount(sshd.path("small")) else {
        return;
    };
    let fleet = fleet(&sshd);
    let writer = fleet.writer(H).await.unwrap();
    let to = small.0.join("file");
    writer.upload(&file(&sshd, b"first", &to)).await.unwrap();
    let error = writer
        .upload(&file(&sshd, &vec![7; 20_000_000], &to))
        .await
        .unwrap_err();
    assert_eq!(error.kind, AccessKind::Host);
    assert!(error.message.contains("No space left on device"), "{error}");
    assert_eq!(std::fs::read(&to).unwrap(), b"first");
    assert_eq!(std::fs::read_dir(&small.0).unwrap().count(), 1);
    assert_eq!(fleet.connections(), 1);
}
