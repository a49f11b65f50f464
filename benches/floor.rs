//! The floor under everything that asks hosts over SSH: connect, send one ready-made program, take the answer, hang up;
//! nothing is planned, checked or kept. Counts failures. Not part of the product.
//!
//! `floor HOSTS PORT USER KEY PROGRAM AT_ONCE`: HOSTS and PROGRAM are files, one address a line in the first.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use futures::stream::{self, StreamExt as _};
use russh::client;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, Disconnect, Preferred, cipher, kex};

struct Anybody;

impl client::Handler for Anybody {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[expect(clippy::print_stdout, reason = "the result")]
fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let [hosts, port, user, key, program, at_once] = &arguments[..] else {
        return Err("HOSTS PORT USER KEY PROGRAM AT_ONCE are wanted".into());
    };
    let hosts: Vec<String> = std::fs::read_to_string(hosts)?
        .lines()
        .map(str::to_owned)
        .collect();
    let port: u16 = port.parse()?;
    let at_once: usize = at_once.parse()?;
    let program: Arc<[u8]> = std::fs::read(program)?.into();
    let key = Arc::new(load_secret_key(key, None)?);
    let config = Arc::new(client::Config {
        nodelay: true,
        preferred: Preferred {
            kex: Cow::Borrowed(&[
                kex::CURVE25519,
                kex::EXTENSION_SUPPORT_AS_CLIENT,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
            ]),
            cipher: Cow::Borrowed(&[cipher::AES_256_GCM]),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    });
    let (failed, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let each = |host: String| {
            let (config, key, program) =
                (Arc::clone(&config), Arc::clone(&key), Arc::clone(&program));
            let user = user.clone();
            tokio::spawn(async move { ask(&host, port, &user, config, key, program).await })
        };
        let mut answers = stream::iter(hosts).map(each).buffer_unordered(at_once);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(Ok(size)) => bytes.fetch_add(size, Relaxed),
                Ok(Err(_)) | Err(_) => failed.fetch_add(1, Relaxed),
            };
        }
    });
    println!(
        "bytes={} failed={}",
        bytes.load(Relaxed),
        failed.load(Relaxed)
    );
    Ok(())
}

async fn ask(
    host: &str,
    port: u16,
    user: &str,
    config: Arc<client::Config>,
    key: Arc<PrivateKey>,
    program: Arc<[u8]>,
) -> Result<usize, Failure> {
    let mut handle = client::connect(config, (host, port), Anybody).await?;
    let key = PrivateKeyWithHashAlg::new(key, None);
    if !handle.authenticate_publickey(user, key).await?.success() {
        return Err("the key was not taken".into());
    }
    let mut channel = handle.channel_open_session().await?;
    channel.exec(true, "sh -s").await?;
    channel.data_bytes(program.to_vec()).await?;
    channel.eof().await?;
    let (mut size, mut status) = (0, None);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => size += data.len(),
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            _ => {}
        }
    }
    if status != Some(0) {
        return Err(format!("status {status:?}").into());
    }
    handle.disconnect(Disconnect::ByApplication, "", "").await?;
    Ok(size)
}
