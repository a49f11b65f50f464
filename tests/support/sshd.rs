//! Real sshds for tests: on a high port of 127.0.0.1, with keys and configuration of their own in a temporary directory,
//! running as whoever runs the tests. Ended by process id on drop. Knows nothing of what is tested.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use foundry::target::host::generate_key;
use nix::sys::signal::Signal;

/// A running sshd.
pub struct Sshd {
    child: Child,
    directory: tempfile::TempDir,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// Its host key, one line.
    pub host_key: String,
    /// A private key file that it takes.
    pub identity: PathBuf,
    /// The user to log in as.
    pub user: String,
}

/// Returns the path of sshd, or says why the test can't run.
pub fn installed() -> Option<PathBuf> {
    let found = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    if found.is_none() {
        skip("sshd is not installed (Debian: apt-get install openssh-server)");
    }
    found
}

/// Says why a test does not run here.
#[expect(
    clippy::print_stderr,
    reason = "whoever reads the test's output is to know"
)]
pub fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Waits for `condition`, ten seconds at most.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{what}: not within 10 s"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for `condition` while everything else goes on, ten seconds at most.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{what}: not within 10 s"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Sshd {
    /// Starts one with `extra` lines in its configuration; `None` if there is no sshd.
    pub fn start(extra: &str) -> Option<Self> {
        Self::start_on("127.0.0.1", extra)
    }

    /// The same on all addresses of this machine: one sshd behind many.
    pub fn start_everywhere(extra: &str) -> Option<Self> {
        Self::start_on("0.0.0.0", extra)
    }

    fn start_on(address: &str, extra: &str) -> Option<Self> {
        let sshd = installed()?;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let (host_private, host_key) = generate_key("").unwrap();
        write_private(&at("host_key"), host_private.expose());
        let (private, public) = generate_key("test").unwrap();
        write_private(&at("id"), private.expose());
        std::fs::write(at("authorized_keys"), format!("{public}\n")).unwrap();
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid())
            .unwrap()
            .unwrap()
            .name;
        if nix::unistd::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        // Between our finding a free port and sshd's taking it, another test may take it: then sshd ends, and we try again.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            // SHLVL: bash then leaves out the start-up files of whoever runs the tests.
            let config = format!(
                "{extra}\nListenAddress {address}:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
                 PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\n\
                 LogLevel VERBOSE\nSetEnv SHLVL=1\n",
                at("host_key").display(),
                at("authorized_keys").display(),
            );
            std::fs::write(at("config"), config).unwrap();
            let mut child = Command::new(&sshd)
                .args(["-D", "-f"])
                .arg(at("config"))
                .arg("-E")
                .arg(at("log"))
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            let mut ended = false;
            until("sshd listens", || {
                ended = child.try_wait().unwrap().is_some();
                ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
            if !ended {
                let identity = at("id");
                return Some(Self {
                    child,
                    directory,
                    port,
                    host_key,
                    identity,
                    user,
                });
            }
        }
        panic!(
            "sshd does not start: {}",
            std::fs::read_to_string(at("log")).unwrap_or_default()
        );
    }

    /// Returns a place for files of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Stops all sessions where they are, as a host that has gone silent.
    pub fn freeze_sessions(&self) {
        for id in descendants(self.child.id()) {
            signal(id, Signal::SIGSTOP);
        }
    }

    /// Ends all sessions, as a crash would; it goes on listening.
    pub fn kill_sessions(&self) {
        for id in descendants(self.child.id()) {
            signal(id, Signal::SIGKILL);
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.kill_sessions();
        signal(self.child.id(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn write_private(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

fn signal(id: u32, signal: Signal) {
    let id = nix::unistd::Pid::from_raw(i32::try_from(id).unwrap());
    let _ = nix::sys::signal::kill(id, signal);
}

fn descendants(id: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let mut all = Vec::new();
    for child in children.unwrap_or_default().split_whitespace() {
        let child = child.parse().unwrap();
        all.push(child);
        all.extend(descendants(child));
    }
    all
}
