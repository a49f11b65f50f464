//! Downloads on the machine that Foundry runs on, into the cache: once per digest, resumed, verified. Knows no host.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::redirect::Policy;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Mutex;

use super::store;
use crate::secret::{Secret, private};

/// One lock a digest, so that many hosts that wait for the same file make one download.
static UNDER_WAY: LazyLock<Mutex<HashMap<String, Arc<Mutex<()>>>>> = LazyLock::new(Mutex::default);

/// Why a download on this machine failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It could not be had.
    #[error("{url}: {message}")]
    Unreachable {
        /// Address.
        url: String,
        /// In the other side's words.
        message: String,
    },
    /// It is another file.
    #[error(
        "{url} has sha256 {found}, wanted {wanted}: nothing was installed; the file was replaced there or on the way, or another one was pinned"
    )]
    Digest {
        /// Address.
        url: String,
        /// What it has.
        found: String,
        /// What it should have.
        wanted: String,
    },
    /// Trouble with a file here.
    #[error("{path}: {error}")]
    Local {
        /// The file.
        path: String,
        /// What the system says.
        error: std::io::Error,
    },
}

/// Longest checksum file, in bytes. Those of releases with a hundred files have some ten KiB.
pub const CHECKSUMS: usize = 1 << 20;

/// Longest file of which nobody says how long it is, in bytes.
const LONGEST: u64 = 8 << 30;

/// Room that a download must leave on the disk, in bytes.
const SPARE: u64 = 256 << 20;

/// Longest that something may take that is read into memory.
const READING: Duration = Duration::from_secs(300);

/// A download must bring at least as many bytes ...
const PACE: u64 = 1 << 20;
/// ... in each of these times: what drips ends as what is silent does.
const EACH: Duration = Duration::from_secs(60);

/// Returns the text at an address (`https:`, `http:` or `file:`), at most `limit` bytes of it.
///
/// # Errors
/// When it can't be had, is longer, or no text.
pub async fn text(url: &str, limit: usize) -> Result<String, FetchError> {
    let bytes = bytes(url, Ask::default(), limit).await?;
    String::from_utf8(bytes).map_err(|_| refused(url, "is no text in UTF-8"))
}

/// What a request says beside its address.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ask<'a> {
    /// Kinds of answers that are understood; none: any.
    pub accept: &'a [&'a str],
    /// The header `Authorization`.
    pub login: Option<&'a Secret<String>>,
    /// Sent along as a form; then it is a POST.
    pub form: Option<&'a Secret<String>>,
}

/// Returns what is at an address, at most `limit` bytes of it.
///
/// # Errors
/// When it can't be had, or is longer.
pub async fn bytes(url: &str, ask: Ask<'_>, limit: usize) -> Result<Vec<u8>, FetchError> {
    let too_long = || refused(url, format!("is longer than {}", size(limit as u64)));
    if let Some(path) = local_path(url) {
        return here(&path, limit as u64).await;
    }
    let reading = async {
        let response = get(url, 0, ask).await?;
        if response.content_length() > Some(limit as u64) {
            return Err(too_long());
        }
        let mut body = response.bytes_stream();
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| unreachable(url, &error))?);
            if bytes.len() > limit {
                return Err(too_long());
            }
        }
        Ok(bytes)
    };
    let slow = || refused(url, format!("took longer than {} s", READING.as_secs()));
    tokio::time::timeout(READING, reading)
        .await
        .unwrap_or_else(|_| Err(slow()))
}

fn refused(url: &str, message: impl Into<String>) -> FetchError {
    FetchError::Unreachable {
        url: url.to_owned(),
        message: message.into(),
    }
}

/// Words a number of bytes that is a limit.
fn size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{bytes} bytes"),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}

/// Reads a file of this machine. One of a loaded bundle is held to what the bundle's index says of it.
async fn here(path: &Path, limit: u64) -> Result<Vec<u8>, FetchError> {
    let at = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let wanted = store::expected(&at)?;
        store::read(&at, wanted.as_deref(), limit)
    })
    .await
    .unwrap_or_else(|error| Err(std::io::Error::other(error)))
    .map_err(|error| local(path, error))
}

/// Returns the path that a `file:` address means; what is written `%2B` in it is a `+` on the disk.
fn local_path(url: &str) -> Option<PathBuf> {
    let plain = url.strip_prefix("file://")?;
    let decoded = reqwest::Url::parse(url)
        .ok()
        .and_then(|url| url.to_file_path().ok());
    Some(decoded.unwrap_or_else(|| PathBuf::from(plain)))
}

/// Returns the file of that digest in the cache, verified, if it is there.
pub async fn cached(sha256: &str) -> Option<PathBuf> {
    let done = cache().join(sha256);
    verify("the cache", &done, sha256).await.ok().map(|()| done)
}

/// Returns what a server that wants a login says of it (`WWW-Authenticate`).
pub async fn challenge(url: &str) -> Option<String> {
    if local_path(url).is_some() {
        return None;
    }
    let request = client().ok()?.head(url);
    let response = request.send().await.ok()?;
    if response.status() != reqwest::StatusCode::UNAUTHORIZED {
        return None;
    }
    let header = response.headers().get("www-authenticate")?;
    header.to_str().ok().map(str::to_owned)
}

/// Returns a local file with the content of `url`, verified: the file itself for `file:`, else one in the cache. `login` is
/// the header `Authorization`.
///
/// # Errors
/// When it can't be had, or has another digest.
pub async fn file(
    url: &str,
    sha256: &str,
    login: Option<&Secret<String>>,
) -> Result<PathBuf, FetchError> {
    sized(url, sha256, login, LONGEST).await
}

/// The same for a file that has at most `limit` bytes.
///
/// # Errors
/// When it can't be had, is longer, or has another digest.
pub async fn sized(
    url: &str,
    sha256: &str,
    login: Option<&Secret<String>>,
    limit: u64,
) -> Result<PathBuf, FetchError> {
    let lock = UNDER_WAY
        .lock()
        .await
        .entry(sha256.to_owned())
        .or_default()
        .clone();
    let _one_at_a_time = lock.lock().await;
    if let Some(path) = local_path(url) {
        return verify(url, &path, sha256).await.map(|()| path);
    }
    let folder = cache_ready()?;
    let done = folder.join(sha256);
    if tokio::fs::try_exists(&done).await.unwrap_or(false)
        && verify(url, &done, sha256).await.is_ok()
    {
        return Ok(done);
    }
    let part = folder.join(format!("{sha256}.part"));
    download(url, &part, login, limit).await?;
    if let Err(error) = verify(url, &part, sha256).await {
        // What was resumed may have been the beginning of something else.
        let _ = tokio::fs::remove_file(&part).await;
        return Err(error);
    }
    tokio::fs::rename(&part, &done)
        .await
        .map_err(|error| local(&done, error))?;
    Ok(done)
}

/// Returns a local file with the content of `url`, and its SHA-256, for what nothing says beforehand what it must be.
///
/// # Errors
/// When it can't be had.
pub async fn unpinned(url: &str) -> Result<(PathBuf, String), FetchError> {
    if let Some(path) = local_path(url) {
        let wanted = store::expected(&path).map_err(|error| local(&path, error))?;
        let found = digest(&path).await?;
        return match wanted {
            Some(wanted) if wanted != found => Err(FetchError::Digest {
                url: url.to_owned(),
                found,
                wanted,
            }),
            _ => Ok((path, found)),
        };
    }
    let folder = cache_ready()?;
    // Under its address until it is whole, and never gone on with: it may be another one by then.
    let name = blake3::hash(url.as_bytes()).to_hex();
    let part = folder.join(format!("{name}.unpinned"));
    let _ = tokio::fs::remove_file(&part).await;
    download(url, &part, None, LONGEST).await?;
    let found = digest(&part).await?;
    let done = folder.join(&found);
    tokio::fs::rename(&part, &done)
        .await
        .map_err(|error| local(&done, error))?;
    Ok((done, found))
}

/// How often a download that breaks off is gone on with, as long as each time brings it further.
const PIECES: usize = 10;

async fn download(
    url: &str,
    part: &Path,
    login: Option<&Secret<String>>,
    limit: u64,
) -> Result<(), FetchError> {
    let mut have = length(part).await;
    for _ in 1..PIECES {
        match piece(url, part, login, limit).await {
            Err(FetchError::Unreachable { .. }) if length(part).await > have => {
                have = length(part).await;
            }
            other => return other,
        }
    }
    piece(url, part, login, limit).await
}

/// Returns how much more `folder` has room for, where that is known.
fn room(folder: &Path) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let disk = nix::sys::statvfs::statvfs(folder).ok()?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        Some(free.saturating_sub(SPARE))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (folder, SPARE);
        None
    }
}

/// What may still come of a download: no more than it should have, than there is room for, and not too slowly.
struct Bounds<'a> {
    url: &'a str,
    folder: &'a Path,
    limit: u64,
    have: u64,
    /// How much there was when the current time began, and when that was.
    before: (u64, Instant),
}

impl Bounds<'_> {
    /// Takes note of `more` bytes, which may only be announced.
    fn check(&mut self, more: u64, announced: bool) -> Result<(), FetchError> {
        const LOOK: u64 = 64 << 20;
        let total = self.have + more;
        if total > self.limit {
            return Err(refused(
                self.url,
                format!("is longer than {}", size(self.limit)),
            ));
        }
        let looks = announced || total / LOOK != self.have / LOOK;
        if looks && let Some(room) = room(self.folder).filter(|room| more > *room) {
            let error = std::io::Error::new(
                std::io::ErrorKind::StorageFull,
                format!("{} has room for no more than {room} bytes", self.url),
            );
            return Err(local(self.folder, error));
        }
        if !announced {
            self.have = total;
            let (before, since) = self.before;
            if since.elapsed() >= EACH {
                if total - before < PACE {
                    let seconds = EACH.as_secs();
                    let message = format!("brought less than {} in {seconds} s", size(PACE));
                    return Err(refused(self.url, message));
                }
                self.before = (total, Instant::now());
            }
        }
        Ok(())
    }
}

async fn length(path: &Path) -> u64 {
    tokio::fs::metadata(path).await.map_or(0, |meta| meta.len())
}

async fn piece(
    url: &str,
    part: &Path,
    login: Option<&Secret<String>>,
    limit: u64,
) -> Result<(), FetchError> {
    let ask = Ask {
        login,
        ..Ask::default()
    };
    let have = length(part).await;
    let response = match get(url, have, ask).await {
        // Nothing beyond what is there, or no resuming: begin anew.
        Err(_) if have > 0 => get(url, 0, ask).await?,
        other => other?,
    };
    let resumed = response.status() == reqwest::StatusCode::PARTIAL_CONTENT;
    let have = if resumed { have } else { 0 };
    let mut bounds = Bounds {
        url,
        folder: part.parent().unwrap_or(part),
        limit,
        have,
        before: (have, Instant::now()),
    };
    if let Some(announced) = response.content_length() {
        bounds.check(announced, true)?;
    }
    let mut file = tokio::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .append(resumed)
        .truncate(!resumed)
        .open(part)
        .await
        .map_err(|error| local(part, error))?;
    let mut body = response.bytes_stream();
    let mut ended = Ok(());
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => {
                if let Err(error) = bounds.check(piece.len() as u64, false) {
                    // What has no end, or no room, is of no use another time.
                    if bounds.have + piece.len() as u64 > limit
                        || matches!(error, FetchError::Local { .. })
                    {
                        let _ = tokio::fs::remove_file(part).await;
                    }
                    return Err(error);
                }
                file.write_all(&piece)
                    .await
                    .map_err(|error| local(part, error))?;
            }
            Err(error) => {
                ended = Err(unreachable(url, &error));
                break;
            }
        }
    }
    // What came before a break is on the disk before anybody asks how much it is.
    file.sync_all().await.map_err(|error| local(part, error))?;
    ended
}

fn client() -> Result<reqwest::Client, reqwest::Error> {
    crate::target::crypto::init();
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(30))
        .user_agent("foundry")
        .redirect(Policy::custom(|attempt| {
            let was_safe = |url: &reqwest::Url| url.scheme() == "https";
            if attempt.previous().len() > 10 {
                attempt.error("it leads from one address to the next without end")
            } else if attempt.url().scheme() != "https" && attempt.previous().iter().any(was_safe) {
                attempt.error("it leads from https to an address in the clear")
            } else {
                attempt.follow()
            }
        }))
        .build()
}

async fn get(url: &str, from: u64, ask: Ask<'_>) -> Result<reqwest::Response, FetchError> {
    let client = client().map_err(|error| unreachable(url, &error))?;
    let mut request = match ask.form {
        None => client.get(url),
        Some(form) => client
            .post(url)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form.expose().clone()),
    };
    if let Some(login) = ask.login {
        request = request.header("Authorization", login.expose().as_str());
    }
    if !ask.accept.is_empty() {
        request = request.header("Accept", ask.accept.join(", "));
    }
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    request
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(|error| unreachable(url, &error))
}

async fn verify(url: &str, path: &Path, wanted: &str) -> Result<(), FetchError> {
    let found = digest(path).await?;
    if found == wanted {
        return Ok(());
    }
    Err(FetchError::Digest {
        url: url.to_owned(),
        found,
        wanted: wanted.to_owned(),
    })
}

/// Returns the SHA-256 of a file in hex.
pub async fn digest(path: &Path) -> Result<String, FetchError> {
    let mut file = tokio::fs::File::open(path)
        .await
        .map_err(|error| local(path, error))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file
            .read(&mut buffer)
            .await
            .map_err(|error| local(path, error))?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    Ok(hex::encode(hash.finalize()))
}

/// Returns where downloads are kept between runs: `$XDG_CACHE_HOME/foundry/artifacts`.
pub fn cache() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir);
    base.join("foundry/artifacts")
}

/// Returns the folder of downloads, there and the user's alone: what lies in it may come from private registries, and is read
/// again by its name after it was verified.
///
/// # Errors
/// When it can't be made, or is somebody else's.
pub fn cache_ready() -> Result<PathBuf, FetchError> {
    let folder = cache();
    secured(&folder).map_err(|error| local(&folder, error))?;
    Ok(folder)
}

/// Sees that a folder is there and open to its owner alone, and that nobody else can write to the one that it is in.
fn secured(folder: &Path) -> std::io::Result<()> {
    private::create_dir(folder)?;
    for place in [Some(folder), folder.parent()].into_iter().flatten() {
        if let Some(why) = private::writable_by_others(place)? {
            return Err(std::io::Error::other(format!(
                "{}: {why}; remove it, or set XDG_CACHE_HOME",
                place.display()
            )));
        }
    }
    // Earlier versions made it for everybody to read.
    #[cfg(unix)]
    if private::exposed(folder).is_some() {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn local(path: &Path, error: std::io::Error) -> FetchError {
    FetchError::Local {
        path: path.display().to_string(),
        error,
    }
}

/// Words an HTTP client's error with its causes, which it keeps to itself.
fn unreachable(url: &str, error: &reqwest::Error) -> FetchError {
    let mut message = match error.status() {
        Some(status) => {
            return FetchError::Unreachable {
                url: url.to_owned(),
                message: format!("answers {status}"),
            };
        }
        None => error.to_string(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        message = deeper.to_string();
        cause = deeper.source();
    }
    FetchError::Unreachable {
        url: url.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::{header, method};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    const TEXT: &[u8] = b"the whole of it";

    fn digest() -> String {
        hex::encode(Sha256::digest(TEXT))
    }

    #[tokio::test]
    async fn a_download_cut_off_is_resumed() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .and(header("Range", "bytes=4-"))
            .respond_with(ResponseTemplate::new(206).set_body_bytes(&TEXT[4..]))
            .expect(1)
            .mount(&server)
            .await;
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("part");
        std::fs::write(&part, &TEXT[..4]).unwrap();
        download(&server.uri(), &part, None, LONGEST).await.unwrap();
        assert_eq!(std::fs::read(&part).unwrap(), TEXT);
    }

    /// Serves each connection this many bytes of the text, from where it asks, and hangs up.
    async fn cutting(pieces: Vec<usize>) -> String {
        use tokio::io::AsyncReadExt as _;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for piece in pieces {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = vec![0; 4096];
                let read = stream.read(&mut asked).await.unwrap();
                let asked = String::from_utf8_lossy(&asked[..read]).to_lowercase();
                let from = asked.split("range: bytes=").nth(1);
                let from = from.map_or(0, |rest| rest.split('-').next().unwrap().parse().unwrap());
                let (status, rest) = (if from > 0 { 206 } else { 200 }, &TEXT[from..]);
                let head = format!(
                    "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n",
                    rest.len()
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                stream
                    .write_all(&rest[..piece.min(rest.len())])
                    .await
                    .unwrap();
            }
        });
        format!("http://{address}/")
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_gone_on_with_as_long_as_it_brings_anything() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("part");
        let url = cutting(vec![3, 5, 100]).await;
        download(&url, &part, None, LONGEST).await.unwrap();
        assert_eq!(std::fs::read(&part).unwrap(), TEXT);

        std::fs::remove_file(&part).unwrap();
        let url = cutting(vec![3, 0, 100]).await;
        assert!(download(&url, &part, None, LONGEST).await.is_err());
        // What came stays for the next time.
        assert_eq!(std::fs::read(&part).unwrap(), &TEXT[..3]);
    }

    #[tokio::test]
    async fn a_server_that_can_not_resume_sends_it_all_again() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .respond_with(ResponseTemplate::new(200).set_body_bytes(TEXT))
            .mount(&server)
            .await;
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("part");
        std::fs::write(&part, b"something else that is longer").unwrap();
        download(&server.uri(), &part, None, LONGEST).await.unwrap();
        assert_eq!(std::fs::read(&part).unwrap(), TEXT);
    }

    /// Sends `head` and then `body` again and again, each after a pause, until the other side has enough.
    async fn endless(head: &'static str, body: &'static [u8], pause: Duration) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut asked = vec![0; 4096];
                    assert!(stream.read(&mut asked).await.unwrap() > 0);
                    stream.write_all(head.as_bytes()).await.unwrap();
                    while stream.write_all(body).await.is_ok() {
                        tokio::time::sleep(pause).await;
                    }
                });
            }
        });
        format!("http://{address}/sums")
    }

    const OPEN: &str = "HTTP/1.1 200 OK\r\n\r\n";

    #[tokio::test]
    async fn what_has_no_end_is_ended() {
        let url = endless(OPEN, &[b'x'; 65536], Duration::ZERO).await;
        let error = text(&url, CHECKSUMS).await.unwrap_err().to_string();
        assert_eq!(error, format!("{url}: is longer than 1 MiB"));
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("part");
        let error = download(&url, &part, None, 3 << 20)
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(error, format!("{url}: is longer than 3 MiB"));
        assert!(!part.exists(), "nothing of it stays");
        // What says beforehand how long it is isn't even begun.
        let long = endless(
            "HTTP/1.1 200 OK\r\ncontent-length: 9000000000000\r\n\r\n",
            b"",
            Duration::from_secs(60),
        )
        .await;
        let error = text(&long, CHECKSUMS).await.unwrap_err().to_string();
        assert!(error.contains("is longer than 1 MiB"), "{error}");
        let error = download(&long, &part, None, LONGEST)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("is longer than 8 GiB"), "{error}");
        let error = download(&long, &part, None, u64::MAX)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("has room for no more than"), "{error}");
        let local = format!("file://{}", "/dev/zero");
        let error = text(&local, CHECKSUMS).await.unwrap_err().to_string();
        assert!(error.contains("is longer than 1048576 bytes"), "{error}");
    }

    #[test]
    fn what_drips_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let ago = |seconds| {
            Instant::now()
                .checked_sub(Duration::from_secs(seconds))
                .unwrap()
        };
        let mut bounds = Bounds {
            url: "u",
            folder: folder.path(),
            limit: LONGEST,
            have: 0,
            before: (0, ago(59)),
        };
        bounds.check(1, false).unwrap();
        bounds.before = (0, ago(61));
        bounds.check(PACE, false).unwrap();
        assert_eq!(bounds.before.0, PACE + 1);
        bounds.before.1 = ago(61);
        let error = bounds.check(PACE - 1, false).unwrap_err().to_string();
        assert_eq!(error, "u: brought less than 1 MiB in 60 s");
    }

    #[tokio::test]
    async fn another_digest_is_an_error_that_names_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tool");
        std::fs::write(&path, TEXT).unwrap();
        let url = format!("file://{}", path.display());
        assert_eq!(file(&url, &digest(), None).await.unwrap(), path);
        let odd = folder.path().join("v1+k1");
        std::fs::write(&odd, TEXT).unwrap();
        let odd_url = format!("file://{}/v1%2Bk1", folder.path().display());
        assert_eq!(file(&odd_url, &digest(), None).await.unwrap(), odd);
        assert_eq!(text(&odd_url, CHECKSUMS).await.unwrap().as_bytes(), TEXT);
        let wanted = "0".repeat(64);
        let error = file(&url, &wanted, None).await.unwrap_err().to_string();
        assert!(
            error.contains(&digest()) && error.contains(&wanted),
            "{error}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn the_cache_is_the_user_s_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let rig = tempfile::tempdir().unwrap();
        let folder = rig.path().join("foundry/artifacts");
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        secured(&folder).unwrap();
        std::fs::set_permissions(&folder, mode(0o755)).unwrap();
        secured(&folder).unwrap();
        let found = std::fs::metadata(&folder).unwrap().permissions().mode();
        assert_eq!(found & 0o777, 0o700);
        for open in [folder.clone(), rig.path().join("foundry")] {
            std::fs::set_permissions(&open, mode(0o777)).unwrap();
            let error = secured(&folder).unwrap_err().to_string();
            assert!(error.contains("every user of this machine"), "{error}");
            std::fs::set_permissions(&open, mode(0o700)).unwrap();
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_an_error_is_told_with_its_status() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .respond_with(ResponseTemplate::new(404))
            .mount(&server)
            .await;
        let error = text(&server.uri(), CHECKSUMS)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("404"), "{error}");
    }
}
