//! One connection to a TrueNAS, logged in: calls with their answers, a bound on each, and what it says of jobs on its own
//! account. Does not connect anew, and does not know what is asked through it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore, broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};

use super::address::Address;
use super::error::{NO_SUCH_METHOD, TrueNasError};
use super::rpc::{self, Received, RpcError};
use super::trust::{Trust, offered};
use crate::secret::Secret;

/// Longest that connecting and logging in may take, each. A refused key is answered late on purpose.
pub const CONNECT: Duration = Duration::from_secs(15);

/// Longest that an answer to a question may take.
pub const ASK: Duration = Duration::from_secs(60);

/// Longest that an answer to a change may take: a dataset on a busy pool.
pub const CHANGE: Duration = Duration::from_secs(180);

/// Calls at once: the middleware delays those past ten of one connection, and refuses those past twenty.
const AT_ONCE: usize = 8;

/// The collection that tells of jobs.
const JOBS: &str = "core.get_jobs";

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Answer = Result<Value, RpcError>;

/// A connection.
pub struct Client {
    calls: mpsc::Sender<Call>,
    at_once: Semaphore,
    next: AtomicU64,
    jobs: broadcast::Sender<Value>,
    subscribed: OnceCell<()>,
    ended: Arc<OnceLock<String>>,
    task: JoinHandle<()>,
}

/// A request on its way.
struct Call {
    id: u64,
    text: String,
    answer: oneshot::Sender<Answer>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Client {
    /// Connects and logs in. Without a `username` the key's own number tells TrueNAS whose it is, which it does until 26.
    ///
    /// # Errors
    /// When nothing answers, it isn't who it should be, or it refuses the key.
    pub async fn connect(
        address: &Address,
        trust: &Trust,
        username: &str,
        key: &Secret<String>,
    ) -> Result<Self, TrueNasError> {
        let socket = tokio::time::timeout(CONNECT, open(address, trust))
            .await
            .map_err(|_| {
                let seconds = CONNECT.as_secs();
                TrueNasError::Down(format!("{address}: no answer within {seconds} seconds"))
            })??;
        let (calls, waiting) = mpsc::channel(AT_ONCE);
        let (jobs, _) = broadcast::channel(64);
        let ended = Arc::new(OnceLock::new());
        let client = Self {
            calls,
            at_once: Semaphore::new(AT_ONCE),
            next: AtomicU64::new(1),
            jobs: jobs.clone(),
            subscribed: OnceCell::new(),
            ended: ended.clone(),
            task: tokio::spawn(serve(socket, waiting, jobs, ended)),
        };
        client.log_in(username, key).await?;
        Ok(client)
    }

    async fn log_in(&self, username: &str, key: &Secret<String>) -> Result<(), TrueNasError> {
        let key = key.expose();
        if username.is_empty() {
            let method = "auth.login_with_api_key";
            return match self.call(method, &json!([key]), CONNECT).await {
                Ok(Value::Bool(true)) => Ok(()),
                Ok(_) => Err(TrueNasError::Login("it is not valid".to_owned())),
                Err(TrueNasError::Refused {
                    code: NO_SUCH_METHOD,
                    ..
                }) => Err(TrueNasError::Login(
                    "this TrueNAS wants to know whose key it is (`username`)".to_owned(),
                )),
                Err(error) => Err(error),
            };
        }
        let method = "auth.login_ex";
        let asked = json!([{
            "mechanism": "API_KEY_PLAIN",
            "username": username,
            "api_key": key,
            "login_options": { "user_info": false },
        }]);
        let answer = self.call(method, &asked, CONNECT).await?;
        let why = match answer["response_type"].as_str() {
            Some("SUCCESS") => return Ok(()),
            Some("AUTH_ERR") => format!("it is not valid, or not `{username}`'s"),
            Some("EXPIRED") => "it has expired or was revoked".to_owned(),
            Some("DENIED") => format!("`{username}` may not use the API"),
            Some("OTP_REQUIRED") => format!(
                "`{username}` needs a one-time password: use a user without two-factor authentication"
            ),
            Some(other) => format!("it answers {other}"),
            None => {
                return Err(TrueNasError::Unreadable {
                    method: method.to_owned(),
                    why: "it has no `response_type`".to_owned(),
                });
            }
        };
        Err(TrueNasError::Login(why))
    }

    /// Calls a method and returns its result, within `limit`.
    ///
    /// # Errors
    /// When TrueNAS refuses, is too slow, or the connection is cut.
    pub async fn call(
        &self,
        method: &str,
        params: &Value,
        limit: Duration,
    ) -> Result<Value, TrueNasError> {
        let lost = || TrueNasError::Lost {
            method: method.to_owned(),
            why: self.ended().unwrap_or("it was closed").to_owned(),
        };
        let called = async {
            let _place = self.at_once.acquire().await.map_err(|_| lost())?;
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let (answer, answered) = oneshot::channel();
            let text = rpc::request(id, method, params);
            let call = Call { id, text, answer };
            self.calls.send(call).await.map_err(|_| lost())?;
            let answer = answered.await.map_err(|_| lost())?;
            tracing::debug!(method, ok = answer.is_ok(), "TrueNAS answered");
            answer.map_err(|error| error.of(method))
        };
        tokio::time::timeout(limit, called)
            .await
            .unwrap_or_else(|_| {
                Err(TrueNasError::Slow {
                    method: method.to_owned(),
                    after: limit,
                })
            })
    }

    /// Returns why the connection has ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<&str> {
        match self.ended.get() {
            None if self.task.is_finished() => Some("it was closed"),
            ended => ended.map(String::as_str),
        }
    }

    /// Has TrueNAS tell of jobs, and returns what it tells from now on.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn jobs(&self) -> Result<broadcast::Receiver<Value>, TrueNasError> {
        let told = self.jobs.subscribe();
        self.subscribed
            .get_or_try_init(|| async {
                self.call("core.subscribe", &json!([JOBS]), ASK)
                    .await
                    .map(drop)
            })
            .await?;
        Ok(told)
    }
}

async fn open(address: &Address, trust: &Trust) -> Result<Socket, TrueNasError> {
    let connector = trust.connector()?;
    let stream = TcpStream::connect(address.target())
        .await
        .map_err(|error| TrueNasError::Down(format!("{address}: {error}")))?;
    // Small questions, each waited for.
    let _ = stream.set_nodelay(true);
    match client_async_tls_with_config(address.api(), stream, None, connector).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(answer)) if answer.status() == 404 => {
            Err(TrueNasError::NoSuchApi(address.to_string()))
        }
        Err(WsError::Http(answer)) => Err(TrueNasError::Down(format!(
            "{address} answers {}",
            answer.status()
        ))),
        Err(error) => {
            let words = match &error {
                WsError::Io(error) => error.to_string(),
                other => other.to_string(),
            };
            if words.contains("certificate") {
                let shown = offered(address).await.ok();
                return Err(TrueNasError::Certificate { words, shown });
            }
            Err(TrueNasError::Down(format!("{address}: {words}")))
        }
    }
}

/// Sends what is asked and hands answers to whoever waits, until either side ends.
async fn serve(
    mut socket: Socket,
    mut calls: mpsc::Receiver<Call>,
    jobs: broadcast::Sender<Value>,
    ended: Arc<OnceLock<String>>,
) {
    let mut open: HashMap<u64, oneshot::Sender<Answer>> = HashMap::new();
    let why = loop {
        tokio::select! {
            call = calls.recv() => {
                let Some(Call { id, text, answer }) = call else { return };
                // Whoever gave up waiting is not answered any more.
                open.retain(|_, waiting| !waiting.is_closed());
                open.insert(id, answer);
                match tokio::time::timeout(CONNECT, socket.send(Message::text(text))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => break error.to_string(),
                    Err(_) => break "it took nothing more that was sent".to_owned(),
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => match rpc::read(&text) {
                    Some(Received::Answer { id, result }) => {
                        if let Some(waiting) = open.remove(&id) {
                            let _ = waiting.send(result);
                        }
                    }
                    Some(Received::Changed { collection, fields }) if collection == JOBS => {
                        let _ = jobs.send(fields);
                    }
                    Some(Received::Changed { .. } | Received::Other) => {}
                    None => break "it sent what is no JSON-RPC".to_owned(),
                },
                Some(Ok(Message::Close(frame))) => break match frame {
                    Some(frame) if !frame.reason.is_empty() => {
                        format!("TrueNAS closed it ({}): {}", u16::from(frame.code), frame.reason)
                    }
                    Some(frame) => format!("TrueNAS closed it ({})", u16::from(frame.code)),
                    None => "TrueNAS closed it".to_owned(),
                },
                Some(Ok(_)) => {}
                Some(Err(error)) => break error.to_string(),
                None => break "it ended".to_owned(),
            },
        }
    };
    // Before the waiting hear of it, so that they can say why.
    let _ = ended.set(why);
    drop(open);
}
