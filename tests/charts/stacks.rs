//! Stacks to expand, and how steps are found in what comes of them.

use std::path::Path;
use std::sync::Arc;

use foundry::catalog::{Catalog, Files, Value};
use foundry::config::{self, Pins, Source};
use foundry::graph::{Graph, Step, expand};
use foundry::secret::Secret;

/// The seed's own example.
pub const SEED: &str = include_str!("../data/seed/stack.yaml");

/// Hosts of every role.
const HOSTS: &str = "
cluster: { name: lab, domain: example.com }
hosts:
  - { hostname: bao-1.example.com, address: 10.0.0.1, roles: [openbao] }
  - { hostname: dns-1.example.com, address: 10.0.0.2, roles: [powerdns] }
  - { hostname: zot-1.example.com, address: 10.0.0.3, roles: [zot] }
  - { hostname: s-1.example.com, address: 10.0.1.1, roles: [control-plane] }
  - { hostname: s-2.example.com, address: 10.0.1.2, roles: [control-plane] }
  - { hostname: s-3.example.com, address: 10.0.1.3, roles: [control-plane] }
  - { hostname: w-1.example.com, address: 10.0.2.1, roles: [worker] }
  - { hostname: w-2.example.com, address: 10.0.2.2, roles: [worker] }
";

/// All components of the platform, as they come.
pub const ALL: &str = "
components:
  openbao: {}
  k3s: {}
  zot: {}
  storage: {}
  s3: {}
  contour: {}
  cert-manager: { acme: { email: ops@example.com } }
  external-dns: {}
  powerdns: {}
  prometheus: {}
  loki: {}
  grafana: {}
  velero: {}
  argocd: {}
";

/// Names of stacks and what stands under their hosts.
pub const STACKS: &[(&str, &str)] = &[
    ("all", ALL),
    // Nobody else's definitions are there to be counted on.
    (
        "alone",
        "
components:
  openbao: {}
  k3s: {}
  contour: { expose: load-balancer, address: 10.0.3.1, gateway_api: false, replicas: 1, size: large }
  cert-manager: { openbao: { enabled: false } }
  grafana: { admin_password: '${secret:grafana:admin_password}', plugins: [grafana-piechart-panel, grafana-clock-panel] }
  loki: { canary: false, storage: { size: 5Gi, backend: local-path } }
  external-dns: { provider: cloudflare, policy: sync, env: { CF_API_TOKEN: '${secret:cloudflare:token}' }, args: [--cloudflare-proxied] }
  argocd: { hostname: cd.example.org, policy: ['g, ops, role:admin'], replicas: 2 }
  zot: { auth: none, mirrors: [docker.io] }
",
    ),
    (
        "storage",
        "
components:
  openbao: {}
  k3s: { disable: [traefik, local-storage] }
  storage:
    default: longhorn
    truenas: { api_url: https://nas.example.com, api_key: '${secret:truenas:api_key}', protocol: iscsi, pool: fast, ca: '-----BEGIN CERTIFICATE-----', networks: [10.0.0.0/24], shares: [{ name: fast/media, quota: 1Ti }] }
    democratic: { enabled: true, driver: freenas-api-iscsi, config: '${secret:truenas:democratic}' }
    nfs: { server: nfs.example.com, path: /export }
    longhorn: { enabled: true, replicas: 3 }
  zot: { storage: { backend: truenas, size: 1Ti, path: '${secret:zot:pool}' }, sync_credentials: '${secret:zot:logins}' }
  minio: { storage: { backend: truenas } }
  velero: { volumes: snapshots, exclude: [kube-system] }
  loki: { s3: { endpoint: https://s3.example.org, access_key: '${secret:loki:key}', secret_key: '${secret:loki:secret}' } }
  prometheus: { replicas: 2, storage: { size: 100Gi, backend: longhorn }, alertmanager: { config: { route: { receiver: none }, receivers: [{ name: none }] } } }
",
    ),
    (
        "elsewhere",
        "
components:
  openbao: {}
  k3s: {}
  s3: { endpoint: https://s3.example.org, access_key: '${secret:s3:key}', secret_key: '${secret:s3:secret}', buckets: [own] }
  minio: {}
  velero: { volumes: none }
  loki: {}
  zot: { placement: host }
  argocd: {}
",
    ),
];

/// Returns the config of a stack of [`STACKS`].
pub fn config_of(components: &str) -> String {
    format!("{HOSTS}{components}")
}

/// Reads tasks and recipes as they lie in the checkout: an edit of one needs no build.
fn catalog() -> Result<Catalog, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Files::default();
    let mut open = vec![root.join("tasks"), root.join("recipes")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                files.add(
                    "",
                    path.strip_prefix(root).unwrap().to_str().unwrap(),
                    &text,
                );
            }
        }
    }
    Catalog::load(&files).map_err(|problems| problems.to_string())
}

/// Expands a config.
pub fn expanded(text: &str) -> Result<Graph, String> {
    expanded_with(text, Arc::default())
}

/// As [`expanded`], held to pins.
pub fn expanded_with(text: &str, pins: Arc<Pins>) -> Result<Graph, String> {
    let source = Arc::new(Source {
        name: "stack.yaml".to_owned(),
        text: text.to_owned(),
    });
    let mut stack = config::parse(&source).map_err(|problems| problems.to_string())?;
    stack.pins = pins;
    let catalog = catalog()?;
    expand(&Arc::new(stack), &catalog).map_err(|problems| problems.to_string())
}

/// As [`expanded`], of a config that must be right.
pub fn graph(text: &str) -> Graph {
    expanded(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Returns the step with this label.
pub fn step<'a>(graph: &'a Graph, label: &str) -> &'a Step {
    let found = graph
        .steps
        .iter()
        .find(|step| step.label.to_string() == label);
    found.unwrap_or_else(|| panic!("no step {label}"))
}

/// Returns the name of a step's task.
pub fn task(step: &Step) -> &str {
    step.task.as_ref().map_or("", |task| task.name.as_str())
}

/// Returns an input with something made up in the place of every secret and every output.
pub fn input(step: &Step, name: &str) -> Value {
    // Some of them are to be base64.
    let made_up = |_| Some(Value::Secret(Secret::new("madeup==".to_owned())));
    plain(step.inputs[name].fill(&made_up).unwrap_or(Value::Null))
}

fn plain(value: Value) -> Value {
    match value {
        Value::Secret(secret) => Value::Text(secret.expose().clone()),
        Value::List(items) => Value::List(items.into_iter().map(plain).collect()),
        Value::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (key, plain(value)))
                .collect(),
        ),
        other => other,
    }
}

/// Returns an input that is text.
pub fn text(step: &Step, name: &str) -> String {
    match input(step, name) {
        Value::Text(text) => text,
        other => panic!("`{name}` of {} is {other:?}", step.label),
    }
}

/// Returns a value as JSON.
pub fn json(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Value::Null | Value::Secret(_) => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(n) => Json::from(*n),
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.clone(), json(value)))
            .collect(),
    }
}
