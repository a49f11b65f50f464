//! A FAKE of a TrueNAS, which can't run here: its JSON-RPC API over TLS, with a certificate of its own authority, as far as
//! Foundry uses it. Made from the documented API of 25.10 (the middleware's models `api/v25_10_0`, its WebSocket handler and
//! `auth`): names, shapes, error codes and validations are those; ZFS, NFS and iSCSI are not there. Threads, no runtime.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, WebSocket, accept_hdr};

/// The key that it takes.
pub const KEY: &str = "1-uz8DhKHFhRIUQIvjzabPYtpy5wf1DJ3ZBLlDgNVhRAFT7Y6pJGUlm0n3apwxWEU4";

/// Whose it is.
pub const USER: &str = "foundry";

const GIB: u64 = 1 << 30;

/// What becomes of the next job.
pub enum Plan {
    /// Ends well only when the test says so.
    Held,
    /// Ends badly.
    Fails(&'static str),
}

/// Where a connection is cut during a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Before it is carried out.
    Before,
    /// After, and before the answer.
    After,
}

/// All that there is and was.
#[derive(Default)]
pub struct State {
    pub pools: Vec<Value>,
    pub datasets: Vec<Value>,
    pub shares: Vec<Value>,
    pub portals: Vec<Value>,
    pub services: Vec<Value>,
    pub jobs: Vec<Value>,
    /// Every call, but for its parameters where they hold the key.
    pub calls: Vec<(String, Value)>,
    pub connections: usize,
    pub plans: VecDeque<Plan>,
    pub cuts: Vec<(&'static str, Cut)>,
    /// Methods that are never answered.
    pub deaf: Vec<&'static str>,
    /// Whether the API is that of 27, which has `auth.login_with_api_key` no more.
    pub newest: bool,
    /// Roles of the key's user.
    pub roles: Vec<&'static str>,
    /// Whether the API's version is not served.
    pub too_old: bool,
    next: i64,
    listeners: Vec<Sender<Value>>,
}

/// A running fake, ended on drop.
pub struct TrueNas {
    port: u16,
    ca: String,
    fingerprint: String,
    shared: Arc<(Mutex<State>, Condvar)>,
    listener: TcpListener,
}

impl Drop for TrueNas {
    fn drop(&mut self) {
        // The thread that accepts ends when its listener does; a last connection wakes it.
        let _ = self.listener.set_nonblocking(true);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl TrueNas {
    /// Starts one with the pool `tank`, whose NFS and iSCSI are off.
    pub fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authority = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.distinguished_name
            .push(DnType::CommonName, "a fake TrueNAS' authority");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_pem = ca.self_signed(&authority).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &Issuer::new(ca, authority))
            .unwrap();
        let digest = Sha256::digest(certificate.der());
        let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .unwrap();
        let config = Arc::new(config);

        let state = State {
            pools: vec![json!({
                "id": 1, "name": "tank", "guid": "1", "status": "ONLINE", "healthy": true, "warning": false,
                "path": "/mnt/tank", "status_detail": null,
                "size": 4_000 * GIB, "allocated": 1_000 * GIB, "free": 3_000 * GIB,
            })],
            services: [(4, "iscsitarget"), (9, "nfs"), (10, "cifs")]
                .map(|(id, name)| json!({ "id": id, "service": name, "enable": false, "state": "STOPPED", "pids": [] }))
                .to_vec(),
            roles: vec!["FULL_ADMIN"],
            next: 40,
            ..State::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Self {
            port: listener.local_addr().unwrap().port(),
            ca: ca_pem,
            fingerprint: pairs.join(":"),
            shared: Arc::new((Mutex::new(state), Condvar::new())),
            listener: listener.try_clone().unwrap(),
        };
        let shared = fake.shared.clone();
        std::thread::spawn(move || {
            // Ends with the first error: the listener no longer waits once the fake is dropped.
            while let Ok((stream, _)) = listener.accept() {
                let (shared, config) = (shared.clone(), config.clone());
                std::thread::spawn(move || serve(stream, config, &shared));
            }
        });
        fake
    }

    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub fn ca(&self) -> &str {
        &self.ca
    }

    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }

    /// Waits until the state is as told, which it comes to within seconds or never.
    pub fn wait_until(&self, what: &str, so: impl Fn(&State) -> bool) {
        let (_, changed) = &*self.shared;
        let waited =
            changed.wait_timeout_while(self.state(), Duration::from_secs(30), |state| !so(state));
        let waited = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.1.timed_out(), "never {what}");
    }

    /// Tells how far the held job is.
    pub fn progress(&self, percent: u64, description: &str) {
        let mut state = self.state();
        let job = state.jobs.last_mut().unwrap();
        job["progress"] = json!({ "percent": percent, "description": description, "extra": null });
        state.tell_of_job();
    }

    /// Ends the held job well.
    pub fn finish(&self) {
        let mut state = self.state();
        let job = state.jobs.last_mut().unwrap();
        job["state"] = "SUCCESS".into();
        job["result"] = true.into();
        let arguments = job["arguments"].clone();
        state.start_service(&arguments);
        state.tell_of_job();
    }

    /// Returns how often a method was called.
    pub fn count(&self, method: &str) -> usize {
        self.state()
            .calls
            .iter()
            .filter(|(name, _)| name == method)
            .count()
    }
}

fn lock(shared: &(Mutex<State>, Condvar)) -> MutexGuard<'_, State> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer: a result, an error, or none at all.
enum Outcome {
    Result(Value),
    Error(Value),
    Silence,
    Cut,
}

type Socket = WebSocket<StreamOwned<ServerConnection, TcpStream>>;

fn serve(stream: TcpStream, config: Arc<ServerConfig>, shared: &(Mutex<State>, Condvar)) {
    let cutter = stream.try_clone().unwrap();
    let tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let too_old = lock(shared).too_old;
    #[expect(clippy::result_large_err, reason = "the handshake's own type")]
    let greet = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        match request.uri().path() {
            "/api/v25.10.0" | "/api/current" if !too_old => Ok(response),
            _ => {
                let mut missing = ErrorResponse::new(None);
                *missing.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::NOT_FOUND;
                Err(missing)
            }
        }
    };
    // Who doesn't trust the certificate goes away here.
    let Ok(mut socket) = accept_hdr(tls, greet) else {
        return;
    };
    lock(shared).connections += 1;
    shared.1.notify_all();
    let patience = Some(Duration::from_millis(5));
    cutter.set_read_timeout(patience).unwrap();
    let (mut authenticated, mut told): (bool, Option<Receiver<Value>>) = (false, None);
    loop {
        while let Some(change) = told.as_ref().and_then(|told| told.try_recv().ok()) {
            if send(&mut socket, &change).is_err() {
                return;
            }
        }
        let text = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(_) => continue,
            Err(WsError::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                continue;
            }
            Err(_) => return,
        };
        let message: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(message["jsonrpc"], "2.0");
        let method = message["method"].as_str().unwrap().to_owned();
        let mut outcome = Outcome::Silence;
        {
            let mut state = lock(shared);
            let cut = state.cuts.iter().position(|(name, _)| *name == method);
            let cut = cut.map(|at| state.cuts.remove(at).1);
            if cut == Some(Cut::Before) {
                outcome = Outcome::Cut;
            } else {
                let secret = method.starts_with("auth.");
                let logged = if secret {
                    Value::Null
                } else {
                    message["params"].clone()
                };
                state.calls.push((method.clone(), logged));
                if !state.deaf.contains(&method.as_str()) {
                    outcome =
                        state.call(&method, &message["params"], &mut authenticated, &mut told);
                }
                if cut == Some(Cut::After) {
                    outcome = Outcome::Cut;
                }
            }
        }
        shared.1.notify_all();
        let mut answer = json!({ "jsonrpc": "2.0", "id": message["id"] });
        match outcome {
            Outcome::Result(result) => answer["result"] = result,
            Outcome::Error(error) => answer["error"] = error,
            Outcome::Silence => continue,
            Outcome::Cut => {
                let _ = cutter.shutdown(Shutdown::Both);
                return;
            }
        }
        if send(&mut socket, &answer).is_err() {
            return;
        }
    }
}

fn send(socket: &mut Socket, message: &Value) -> Result<(), WsError> {
    match socket.send(Message::text(message.to_string())) {
        // What could not be written yet is written with the next.
        Err(WsError::Io(error)) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        sent => sent,
    }
}

fn refused(errno: i64, errname: &str, reason: &str) -> Outcome {
    Outcome::Error(json!({
        "code": -32001, "message": "Method call error",
        "data": { "error": errno, "errname": errname, "reason": format!("[{errname}] {reason}"), "trace": null, "extra": null },
    }))
}

fn invalid(attribute: &str, words: &str) -> Outcome {
    Outcome::Error(json!({
        "code": -32602, "message": "Invalid params",
        "data": {
            "error": 22, "errname": "EINVAL", "reason": format!("[EINVAL] {attribute}: {words}\n"),
            "trace": null, "extra": [[attribute, words, 22]],
        },
    }))
}

impl State {
    fn id(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    fn call(
        &mut self,
        method: &str,
        params: &Value,
        authenticated: &mut bool,
        told: &mut Option<Receiver<Value>>,
    ) -> Outcome {
        match method {
            "auth.login_with_api_key" if self.newest => {
                return Outcome::Error(
                    json!({ "code": -32601, "message": "Method does not exist" }),
                );
            }
            "auth.login_with_api_key" => {
                *authenticated = params[0] == KEY;
                return Outcome::Result((*authenticated).into());
            }
            "auth.login_ex" => {
                assert_eq!(params[0]["mechanism"], "API_KEY_PLAIN");
                *authenticated = params[0]["username"] == USER && params[0]["api_key"] == KEY;
                let response = if *authenticated {
                    "SUCCESS"
                } else {
                    "AUTH_ERR"
                };
                return Outcome::Result(json!({ "response_type": response }));
            }
            _ if !*authenticated => return refused(201, "ENOTAUTHENTICATED", "Not authenticated"),
            "core.subscribe" => {
                let (tell, listen) = channel();
                self.listeners.push(tell);
                *told = Some(listen);
                return Outcome::Result("a-subscription".into());
            }
            "auth.me" => {
                let roles = json!({ "$set": self.roles });
                return Outcome::Result(
                    json!({ "pw_name": USER, "privilege": { "roles": roles } }),
                );
            }
            "system.info" => {
                return Outcome::Result(json!({ "version": "25.10.1", "hostname": "nas" }));
            }
            _ => {}
        }
        let (filters, first, second) = (&params[0], &params[0], &params[1]);
        let queried = |all: &[Value]| {
            Outcome::Result(
                all.iter()
                    .filter(|one| matches(one, filters))
                    .cloned()
                    .collect(),
            )
        };
        match method {
            "pool.query" => queried(&self.pools),
            "pool.dataset.query" => {
                let all: Vec<Value> = self
                    .datasets
                    .iter()
                    .filter(|one| matches(one, filters))
                    .cloned()
                    .collect();
                let wanted = second["extra"]["properties"].as_array();
                Outcome::Result(all.into_iter().map(|one| only(one, wanted)).collect())
            }
            "sharing.nfs.query" => queried(&self.shares),
            "iscsi.portal.query" => queried(&self.portals),
            "service.query" => queried(&self.services),
            "core.get_jobs" => queried(&self.jobs),
            "pool.dataset.create" => self.create_dataset(first),
            "pool.dataset.update" => self.update_dataset(first, second),
            "pool.dataset.delete" => {
                let below = format!("{}/", first.as_str().unwrap());
                let id = |one: &Value| one["id"].as_str().unwrap().to_owned();
                let recursive = second["recursive"] == true;
                if !recursive && self.datasets.iter().any(|one| id(one).starts_with(&below)) {
                    return refused(39, "ENOTEMPTY", "dataset has children");
                }
                self.datasets
                    .retain(|one| one["id"] != *first && !id(one).starts_with(&below));
                Outcome::Result(true.into())
            }
            "sharing.nfs.create" => {
                let path = first["path"].as_str().unwrap_or_default();
                let known = self.datasets.iter().any(|one| one["mountpoint"] == path);
                if !known {
                    return invalid("sharingnfs_create.path", "This path does not exist.");
                }
                let mut share = json!({
                    "id": self.id(), "aliases": [], "comment": "", "networks": [], "hosts": [], "ro": false,
                    "maproot_user": null, "maproot_group": null, "mapall_user": null, "mapall_group": null,
                    "security": [], "enabled": true, "locked": false,
                });
                if let Some(wrong) = merge(&mut share, first, &["path"]) {
                    return invalid(
                        &format!("sharingnfs_create.{wrong}"),
                        "Extra inputs are not permitted",
                    );
                }
                self.shares.push(share.clone());
                Outcome::Result(share)
            }
            "sharing.nfs.update" => update(&mut self.shares, first, second, "sharingnfs_update"),
            "sharing.nfs.delete" => {
                self.shares.retain(|one| one["id"] != *first);
                Outcome::Result(true.into())
            }
            "iscsi.portal.create" => {
                let id = self.id();
                let listen = listens(&first["listen"]);
                let portal =
                    json!({ "id": id, "tag": id, "comment": first["comment"], "listen": listen });
                self.portals.push(portal.clone());
                Outcome::Result(portal)
            }
            "iscsi.portal.update" => {
                let changes = json!({ "listen": listens(&second["listen"]) });
                update(&mut self.portals, first, &changes, "iscsiportal_update")
            }
            "service.update" => {
                let service = self
                    .services
                    .iter_mut()
                    .find(|one| one["service"] == *first);
                match service {
                    None => refused(2, "ENOENT", "Service not found"),
                    Some(service) => {
                        service["enable"] = second["enable"].clone();
                        Outcome::Result(service["id"].clone())
                    }
                }
            }
            "service.control" => self.begin_job(method, params),
            _ => Outcome::Error(json!({ "code": -32601, "message": "Method does not exist" })),
        }
    }

    fn create_dataset(&mut self, asked: &Value) -> Outcome {
        let name = asked["name"].as_str().unwrap_or_default().to_owned();
        let pool = name.split('/').next().unwrap_or_default().to_owned();
        if !self.pools.iter().any(|one| one["name"] == pool.as_str()) {
            return invalid(
                "pool_dataset_create.name",
                "Please specify a pool which exists for the dataset/volume to be created",
            );
        }
        if self.datasets.iter().any(|one| one["id"] == name.as_str()) {
            return invalid(
                "pool_dataset_create.name",
                &format!("Path {name} already exists"),
            );
        }
        if let Some(wrong) = quota(asked, "pool_dataset_create") {
            return wrong;
        }
        assert_eq!(asked["type"], "FILESYSTEM");
        let mut dataset = json!({
            "id": name, "name": name, "pool": pool, "type": "FILESYSTEM", "mountpoint": format!("/mnt/{name}"),
            "quota": property(&Value::Null), "comments": property(&"".into()),
            "used": property(&json!(98_304)), "available": property(&json!(3_000 * GIB)),
            "compression": inherited("LZ4"), "atime": inherited("OFF"), "recordsize": inherited("128K"),
            "sync": inherited("STANDARD"), "copies": inherited("1"),
        });
        if let Some(wrong) =
            set_properties(&mut dataset, asked, &["name", "type", "create_ancestors"])
        {
            return invalid(
                &format!("pool_dataset_create.{wrong}"),
                "Extra inputs are not permitted",
            );
        }
        self.datasets.push(dataset.clone());
        Outcome::Result(dataset)
    }

    fn update_dataset(&mut self, id: &Value, changes: &Value) -> Outcome {
        if let Some(wrong) = quota(changes, "pool_dataset_update") {
            return wrong;
        }
        let Some(dataset) = self.datasets.iter_mut().find(|one| one["id"] == *id) else {
            return refused(2, "ENOENT", &format!("{id} does not exist"));
        };
        match set_properties(dataset, changes, &[]) {
            Some(wrong) => invalid(
                &format!("pool_dataset_update.{wrong}"),
                "Extra inputs are not permitted",
            ),
            None => Outcome::Result(dataset.clone()),
        }
    }

    fn begin_job(&mut self, method: &str, arguments: &Value) -> Outcome {
        let id = self.id();
        let plan = self.plans.pop_front();
        let (state, result, error) = match &plan {
            None => ("SUCCESS", json!(true), Value::Null),
            Some(Plan::Held) => ("RUNNING", Value::Null, Value::Null),
            Some(Plan::Fails(words)) => ("FAILED", Value::Null, json!(words)),
        };
        self.jobs.push(json!({
            "id": id, "method": method, "arguments": arguments, "state": state, "result": result, "error": error,
            "progress": { "percent": 0, "description": "", "extra": null }, "message_ids": [], "exc_info": null,
            "logs_excerpt": error.is_string().then_some("nfs-server.service: Failed with result 'exit-code'."),
        }));
        if plan.is_none() {
            self.start_service(arguments);
        }
        self.tell_of_job();
        Outcome::Result(id.into())
    }

    fn start_service(&mut self, arguments: &Value) {
        let running = arguments[0] == "START";
        for service in self
            .services
            .iter_mut()
            .filter(|one| one["service"] == arguments[1])
        {
            service["state"] = if running { "RUNNING" } else { "STOPPED" }.into();
        }
    }

    fn tell_of_job(&mut self) {
        let job = self.jobs.last().unwrap().clone();
        let told = json!({
            "jsonrpc": "2.0", "method": "collection_update",
            "params": { "msg": "changed", "collection": "core.get_jobs", "id": job["id"], "fields": job },
        });
        self.listeners
            .retain(|listener| listener.send(told.clone()).is_ok());
    }
}

/// Whether an entry passes the filters, of which `=` and `in` are known.
fn matches(entry: &Value, filters: &Value) -> bool {
    filters.as_array().into_iter().flatten().all(|filter| {
        let (field, wanted) = (&entry[filter[0].as_str().unwrap()], &filter[2]);
        match filter[1].as_str().unwrap() {
            "=" => field == wanted,
            "in" => wanted.as_array().unwrap().contains(field),
            other => panic!("no filter {other}"),
        }
    })
}

/// A dataset with the ZFS properties that were asked for, as `extra.properties` has it.
fn only(mut dataset: Value, wanted: Option<&Vec<Value>>) -> Value {
    if let (Some(fields), Some(wanted)) = (dataset.as_object_mut(), wanted) {
        // The middleware keeps the comment among a dataset's own properties, which are left out too.
        fields.retain(|name, value| {
            !value.is_object() || name == "comments" || wanted.contains(&name.as_str().into())
        });
    }
    dataset
}

fn property(value: &Value) -> Value {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    json!({ "parsed": value, "rawvalue": text.to_lowercase(), "value": text, "source": "LOCAL", "source_info": null })
}

fn inherited(value: &str) -> Value {
    json!({ "parsed": value.to_lowercase(), "rawvalue": value.to_lowercase(), "value": value, "source": "DEFAULT", "source_info": null })
}

/// Sets ZFS properties; returns the name of one that there isn't.
fn set_properties(dataset: &mut Value, asked: &Value, others: &[&str]) -> Option<String> {
    for (name, value) in asked.as_object().unwrap() {
        if others.contains(&name.as_str()) {
            continue;
        }
        if !dataset[name.as_str()].is_object() {
            return Some(name.clone());
        }
        dataset[name.as_str()] = match value {
            Value::Number(n) if name == "quota" && n.as_u64() == Some(0) => property(&Value::Null),
            value if *value == "INHERIT" => inherited("LZ4"),
            value => property(value),
        };
    }
    None
}

fn quota(asked: &Value, schema: &str) -> Option<Outcome> {
    let quota = asked["quota"].as_u64().unwrap_or_default();
    (quota != 0 && quota < GIB).then(|| {
        invalid(
            &format!("{schema}.quota"),
            "Input should be greater than or equal to 1073741824",
        )
    })
}

/// Puts fields over others; returns the name of one that there isn't.
fn merge(into: &mut Value, changes: &Value, others: &[&str]) -> Option<String> {
    for (name, value) in changes.as_object().unwrap() {
        if into.get(name.as_str()).is_none() && !others.contains(&name.as_str()) {
            return Some(name.clone());
        }
        into[name.as_str()] = value.clone();
    }
    None
}

fn update(all: &mut [Value], id: &Value, changes: &Value, schema: &str) -> Outcome {
    let Some(found) = all.iter_mut().find(|one| one["id"] == *id) else {
        return refused(2, "ENOENT", &format!("{id} does not exist"));
    };
    match merge(found, changes, &[]) {
        Some(wrong) => invalid(
            &format!("{schema}.{wrong}"),
            "Extra inputs are not permitted",
        ),
        None => Outcome::Result(found.clone()),
    }
}

fn listens(asked: &Value) -> Value {
    let each = asked.as_array().unwrap().iter();
    each.map(|one| json!({ "ip": one["ip"], "port": 3260 }))
        .collect()
}
