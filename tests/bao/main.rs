//! OpenBAO's actions, adapter and store, against real servers on this machine.

#![expect(
    clippy::print_stderr,
    reason = "a test says what it sees, and why it is skipped"
)]

mod cluster;

use cluster::{Cluster, Seal, program};
use foundry::catalog::Value;
use foundry::config::HostId;
use foundry::probe::Fact;
use foundry::run::Keeper as _;
use foundry::secret::{Secret, SecretStore as _};
use foundry::target::bao::Sessions;

const POLICY: &str = include_str!("../../recipes/openbao/foundry-policy.hcl");
const CERT_MANAGER: &str = include_str!("../../recipes/cert-manager/policy.hcl");

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn texts(texts: &[&str]) -> Value {
    Value::List(texts.iter().map(|&one| text(one)).collect())
}

fn init(cluster: &Cluster) -> Vec<(&'static str, Value)> {
    vec![
        ("program", text(cluster.program.to_str().unwrap())),
        ("answer", text(cluster.answer().to_str().unwrap())),
        (
            "data",
            text(cluster.folder.path().join("bao-1/data").to_str().unwrap()),
        ),
        (
            "seal",
            text(if cluster.seal == Seal::Static {
                "static"
            } else {
                "shamir"
            }),
        ),
        ("shares", Value::Int(3)),
        ("threshold", Value::Int(2)),
    ]
}

fn join(cluster: &Cluster, at: usize, id: &str) -> Vec<(&'static str, Value)> {
    let members = cluster
        .stack
        .hosts
        .iter()
        .map(|host| (host.name.to_string(), text(&*host.address)))
        .collect();
    vec![
        ("members", Value::Map(members)),
        ("me", text(&*cluster.stack.hosts[at].name)),
        ("cluster_id", text(id)),
    ]
}

fn handover(cluster: &Cluster) -> Vec<(&'static str, Value)> {
    vec![
        ("answer", text(cluster.answer().to_str().unwrap())),
        ("seal_key", text("")),
        ("policy", text(POLICY)),
    ]
}

fn kv(path: &str, value: &str) -> Vec<(&'static str, Value)> {
    let data = [(
        "key".to_owned(),
        Value::Secret(Secret::new(value.to_owned())),
    )];
    vec![("path", text(path)), ("data", Value::Map(data.into()))]
}

async fn secrets_are_made_once(cluster: &Cluster) {
    let random = [("path", text("s3")), ("key", text("secret_key"))];
    let facts = cluster.observe("bao-random", &random).await.unwrap();
    assert_eq!(facts["present"].value(), "no");
    let first = cluster.serve("bao-random", &random).await.unwrap();
    assert_eq!(first["value"].value().len(), 48);
    assert!(matches!(first["value"], Fact::Secret(_)));
    let again = cluster.serve("bao-random", &random).await.unwrap();
    assert_eq!(again["value"].value(), first["value"].value());
}

/// An authority of its own, and a login for whoever asks it for certificates: what cert-manager is given.
async fn objects_are_compared_by_meaning(cluster: &Cluster) {
    let map = |entries: &[(&str, Value)]| {
        let entries = entries.iter();
        Value::Map(
            entries
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        )
    };
    let object = |path: &str, once: &str, data: &[(&str, Value)]| {
        vec![
            ("path", text(path)),
            ("once", text(once)),
            ("data", map(data)),
        ]
    };
    let engine = [("path", text("pki")), ("type", text("pki"))];
    cluster.serve("bao-mount", &engine).await.unwrap();
    let tune = object(
        "sys/mounts/pki/tune",
        "",
        &[("max_lease_ttl", text("87600h"))],
    );
    let facts = cluster.observe("bao-object", &tune).await.unwrap();
    assert_eq!(facts["differs"].value(), "max_lease_ttl");
    let root = object(
        "pki/root/generate/internal",
        "pki/issuers/",
        &[("common_name", text("lab CA")), ("ttl", text("87600h"))],
    );
    let role = |ttl: &str| {
        object(
            "pki/roles/cluster",
            "",
            &[
                ("allow_any_name", Value::Bool(true)),
                ("max_ttl", text(ttl)),
                ("key_usage", texts(&["KeyEncipherment", "DigitalSignature"])),
            ],
        )
    };
    let login = object("sys/auth/approle", "", &[("type", text("approle"))]);
    let user = object(
        "auth/approle/role/cert-manager",
        "",
        &[
            ("token_policies", texts(&["cert-manager"])),
            ("token_ttl", text("20m")),
        ],
    );
    let id = object(
        "auth/approle/role/cert-manager/role-id",
        "",
        &[("role_id", text("cert-manager"))],
    );
    let secret = object(
        "auth/approle/role/cert-manager/custom-secret-id",
        "auth/approle/role/cert-manager/secret-id/",
        &[(
            "secret_id",
            Value::Secret(Secret::new("0123456789abcdef".into())),
        )],
    );
    for (name, inputs) in [
        ("tune", tune),
        ("root", root),
        ("role", role("720h")),
        ("login", login),
        ("user", user),
        ("id", id),
        ("secret", secret),
    ] {
        let facts = cluster.serve("bao-object", &inputs).await;
        let facts = facts.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert_eq!(facts["differs"].value(), "", "{name}");
    }
    let facts = cluster.observe("bao-object", &role("1h")).await.unwrap();
    assert_eq!(facts["differs"].value(), "max_ttl");
}

/// What Foundry's everyday token may do, as OpenBAO itself says, and ways by which it could get at more.
async fn nothing_leads_to_more_rights(cluster: &Cluster) {
    let token = token(cluster);
    let may = [
        ("auth/approle/login", "list read"),
        ("auth/approle/role/admin", "list read"),
        ("auth/token/create", "list read"),
        ("auth/token/create-orphan", "list read"),
        ("auth/token/roles/admin", "list read"),
        ("foundry/data/x", "create delete list patch read update"),
        ("identity/entity", "list read"),
        ("identity/group", "list read"),
        ("sys/audit/file", "deny"),
        ("sys/auth/userpass", "deny"),
        ("sys/generate-root/attempt", "deny"),
        ("sys/mounts/auth/approle/tune", "read"),
        ("sys/mounts/foundry", "create read update"),
        ("sys/namespaces/x", "deny"),
        ("sys/plugins/catalog/secret/x", "deny"),
        ("sys/policies/acl/evil", "read"),
        ("sys/policies/acl/foundry", "read"),
        ("sys/policies/password/x", "deny"),
        ("sys/policy/evil", "read"),
        ("sys/policy/foundry", "read"),
        ("sys/raw/x", "deny"),
        ("sys/rekey/init", "deny"),
        ("sys/remount", "deny"),
        ("sys/rotate", "deny"),
        ("sys/seal", "deny"),
        ("sys/storage/raft/snapshot", "read"),
        ("sys/storage/raft/snapshot-force", "deny"),
        ("sys/unseal", "deny"),
    ];
    let mut ask = vec!["write", "-format=json", "sys/capabilities-self"];
    let paths: Vec<String> = may
        .iter()
        .map(|(path, _)| format!("paths={path}"))
        .collect();
    ask.extend(paths.iter().map(String::as_str));
    let answer = cluster.bao(&token, &ask);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    for (path, wanted) in may {
        let mut found: Vec<&str> = answer["data"][path]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found.join(" "), wanted, "{path}");
    }

    let evil = r#"policy=path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }"#;
    for attempt in [
        &["write", "sys/policies/acl/evil", evil][..],
        &["write", "sys/policy/evil", evil],
        // What may be written at all may be written in these words only.
        &["write", "sys/policy/cert-manager", evil],
        &["write", "sys/policy/foundry", evil],
        &["write", "-force", "auth/token/create-orphan"],
        &["token", "create", "-orphan", "-policy=foundry"],
        &["token", "create", "-policy=cert-manager"],
        &[
            "write",
            "auth/approle/role/cert-manager",
            "token_policies=foundry",
        ],
        &[
            "write",
            "auth/approle/role/cert-manager",
            "policies=foundry",
        ],
        &[
            "write",
            "auth/approle/role/cert-manager",
            "token_period=8760h",
        ],
        &[
            "write",
            "auth/approle/role/cert-manager/policies",
            "token_policies=foundry",
        ],
        &[
            "write",
            "auth/approle/role/admin",
            "token_policies=cert-manager",
        ],
        &["write", "identity/entity", "name=x", "policies=foundry"],
        &["auth", "enable", "userpass"],
        &["auth", "enable", "-path=other", "approle"],
        &["secrets", "move", "foundry", "pki-x"],
        &["secrets", "disable", "foundry"],
        &["audit", "disable", "file"],
        &["operator", "seal"],
        &["write", "-force", "sys/storage/raft/snapshot-force"],
        &["write", "-force", "sys/storage/raft/snapshot"],
    ] {
        let answer = cluster.bao(&token, attempt);
        assert!(
            answer.contains("permission denied"),
            "{attempt:?}: {answer}"
        );
    }
    let policy = [("name", text("foundry")), ("policy", text(evil))];
    let error = cluster.serve("bao-policy", &policy).await.unwrap_err();
    assert!(error.contains("administrator"), "{error}");
}

fn mount() -> Vec<(&'static str, Value)> {
    vec![
        ("path", text("foundry")),
        (
            "options",
            Value::Map([("version".to_owned(), text("2"))].into()),
        ),
        ("description", text("Secrets of the stack")),
    ]
}

/// Returns the token that Foundry keeps.
fn token(cluster: &Cluster) -> String {
    use foundry::run::Keeper as _;
    cluster
        .keeper
        .load("lab-bao-token")
        .unwrap()
        .unwrap()
        .expose()
        .clone()
}

fn root_token(cluster: &Cluster) -> String {
    let answer = std::fs::read_to_string(cluster.answer()).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    answer["root_token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_new_nodes_become_one_cluster_that_foundry_has_a_token_for() {
    let Some(program) = program() else { return };
    let cluster = Cluster::start(program, 3, Seal::Static);
    let all = cluster.all();

    // Before: nobody is asked for a token that can't be there.
    let fault = cluster.observe("bao-mount", &mount()).await.unwrap_err();
    assert!(fault.not_yet);
    assert_eq!(fault.message, "OpenBAO is not initialised");

    let facts = cluster
        .build("bao-init", &all, &init(&cluster))
        .await
        .unwrap();
    assert_eq!(facts["initialized"].value(), "yes");
    let id = facts["cluster_id"].value().to_owned();
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(cluster.answer()).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    for at in [1, 2] {
        let host = [HostId(u32::try_from(at).unwrap())];
        let facts = cluster
            .build("bao-join", &host, &join(&cluster, at, &id))
            .await
            .unwrap();
        assert_eq!(facts["sealed"].value(), "false");
        assert_eq!(facts["cluster_id"].value(), id);
    }

    let root = root_token(&cluster);
    let facts = cluster
        .build("bao-handover", &all, &handover(&cluster))
        .await
        .unwrap();
    assert_eq!(facts["answer"].value(), "absent");
    assert!(!cluster.answer().exists());
    {
        let handed = cluster.keeper.handed.lock().unwrap();
        let [(title, kept)] = &handed[..] else {
            panic!("handed over {} times", handed.len())
        };
        assert_eq!(title, "openbao recovery keys of stack lab");
        assert!(kept.contains("any 2 of 3 together"), "{kept}");
        assert!(!kept.contains(&root), "the root token is nobody's to keep");
    }
    let answer = cluster.bao(&root, &["token", "lookup"]);
    assert!(answer.contains("permission denied"), "{answer}");
    let answer = cluster.bao(&token(&cluster), &["token", "lookup"]);
    assert!(answer.contains("[default foundry]"), "{answer}");

    let facts = cluster.serve("bao-mount", &mount()).await.unwrap();
    assert_eq!(facts["type"].value(), "kv");
    assert_eq!(facts["options"].value(), r#"{"version":"2"}"#);
    let policy = [("name", text("foundry")), ("policy", text(POLICY))];
    let facts = cluster.observe("bao-policy", &policy).await.unwrap();
    assert_eq!(facts["policy"].value(), POLICY.trim());
    for text in [CERT_MANAGER, CERT_MANAGER.trim_end()] {
        let policy = [
            ("name", self::text("cert-manager")),
            ("policy", self::text(text)),
        ];
        let facts = cluster.serve("bao-policy", &policy).await.unwrap();
        assert_eq!(facts["policy"].value(), CERT_MANAGER.trim());
    }
    assert_eq!(
        cluster.observe("bao-kv", &kv("ca", "one")).await.unwrap()["differs"].value(),
        "absent"
    );
    let facts = cluster.serve("bao-kv", &kv("ca", "one")).await.unwrap();
    assert_eq!(facts["differs"].value(), "");
    assert_eq!(
        cluster.observe("bao-kv", &kv("ca", "two")).await.unwrap()["differs"].value(),
        "key"
    );

    secrets_are_made_once(&cluster).await;
    objects_are_compared_by_meaning(&cluster).await;
    nothing_leads_to_more_rights(&cluster).await;

    let members = [("members", texts(&["bao-1", "bao-2", "bao-3"]))];
    let facts = cluster.serve("bao-health", &members).await.unwrap();
    assert_eq!(facts["clusters"].value(), "1");
    assert_eq!(facts["voters"].value(), "bao-1 bao-2 bao-3");
    let peers = cluster.bao(&token(&cluster), &["operator", "raft", "list-peers"]);
    eprintln!("{peers}");
    assert_eq!(peers.matches("true").count(), 3, "{peers}");

    // A second look finds everything as it is.
    let (_, facts) = cluster
        .probe(
            "bao-init",
            &all,
            &cluster.inputs("bao-init", &init(&cluster)),
        )
        .await;
    assert_eq!(facts.unwrap()["cluster_id"].value(), id);

    // The active node goes: the next question finds the new one.
    cluster.kill(0);
    let mut found = cluster.observe("bao-kv", &kv("ca", "one")).await;
    for _ in 0..150 {
        if found.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        found = cluster.observe("bao-kv", &kv("ca", "one")).await;
    }
    assert_eq!(found.unwrap()["differs"].value(), "");
    let facts = cluster.observe("bao-health", &members).await.unwrap();
    assert_eq!(facts["open"].value(), "bao-2 bao-3");
    assert!(
        facts["trouble"]
            .value()
            .starts_with("bao-1: OpenBAO does not answer"),
        "{facts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_read_written_and_listed_by_namespace() {
    let Some(program) = program() else { return };
    let cluster = Cluster::start(program, 1, Seal::Static);
    let all = cluster.all();
    cluster
        .build("bao-init", &all, &init(&cluster))
        .await
        .unwrap();
    cluster
        .build("bao-handover", &all, &handover(&cluster))
        .await
        .unwrap();
    let store = cluster.store();
    let secret = |text: &str| Secret::new(text.to_owned());

    assert_eq!(store.read("foundry/grafana").await.unwrap(), None);
    store
        .write("foundry/grafana", "admin_password", &secret("hunter2"))
        .await
        .unwrap();
    store
        .write("foundry/grafana", "user", &secret("admin"))
        .await
        .unwrap();
    store
        .write("myapp-stable/database/prod", "password", &secret("p"))
        .await
        .unwrap();
    let fields = store.read("foundry/grafana").await.unwrap().unwrap();
    assert_eq!(fields["admin_password"].expose(), "hunter2");
    assert_eq!(fields["user"].expose(), "admin");
    assert_eq!(store.list("").await.unwrap(), ["foundry/", "myapp-stable/"]);
    assert_eq!(store.list("foundry").await.unwrap(), ["grafana"]);
    assert_eq!(store.list("myapp-stable").await.unwrap(), ["database/"]);
    assert_eq!(store.list("nobody").await.unwrap(), [""; 0]);

    // What was deleted can be written again.
    let done = cluster.bao(
        &token(&cluster),
        &["kv", "delete", "-mount=foundry", "grafana"],
    );
    assert!(done.contains("Success"), "{done}");
    assert_eq!(store.read("foundry/grafana").await.unwrap(), None);
    store
        .write("foundry/grafana", "admin_password", &secret("again"))
        .await
        .unwrap();
    let fields = store.read("foundry/grafana").await.unwrap().unwrap();
    assert_eq!(fields.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_kept_with_the_token_and_asked_for_again_when_it_is_another() {
    let Some(program) = program() else { return };
    let cluster = Cluster::start(program, 1, Seal::Static);
    let all = cluster.all();
    cluster
        .build("bao-init", &all, &init(&cluster))
        .await
        .unwrap();
    cluster
        .build("bao-handover", &all, &handover(&cluster))
        .await
        .unwrap();
    let new = || {
        Sessions::new(
            cluster.hosts.clone(),
            cluster.keeper.clone(),
            cluster.stack.clone(),
            cluster.folder.path().join("ca.pem").to_str().unwrap(),
        )
    };
    new().active(&all).await.unwrap();

    // No host needs to tell it now.
    let (file, aside) = (
        cluster.folder.path().join("ca.pem"),
        cluster.folder.path().join("aside"),
    );
    std::fs::rename(&file, &aside).unwrap();
    new().active(&all).await.unwrap();

    // A cluster made anew under the same name: what is kept is another's, and the hosts know better.
    let kept = cluster.keeper.load("lab-bao-ca").unwrap().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let other = params
        .self_signed(&rcgen::KeyPair::generate().unwrap())
        .unwrap();
    cluster
        .keeper
        .store("lab-bao-ca", &Secret::new(other.pem()))
        .unwrap();
    let error = new().active(&all).await.err().unwrap().to_string();
    assert!(error.contains("certificate"), "{error}");
    std::fs::rename(&aside, &file).unwrap();
    new().active(&all).await.unwrap();
    assert_eq!(cluster.keeper.load("lab-bao-ca").unwrap(), Some(kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn shamir_is_opened_by_the_answer_at_first_and_by_the_holders_later() {
    let Some(program) = program() else { return };
    let cluster = Cluster::start(program, 1, Seal::Shamir);
    let all = cluster.all();
    cluster
        .build("bao-init", &all, &init(&cluster))
        .await
        .unwrap();
    cluster
        .build("bao-handover", &all, &handover(&cluster))
        .await
        .unwrap();
    cluster.serve("bao-mount", &mount()).await.unwrap();

    cluster.kill(0);
    let fault = cluster.observe("bao-mount", &mount()).await.unwrap_err();
    assert!(fault.not_yet);
    assert!(
        fault.message.starts_with("OpenBAO does not answer"),
        "{}",
        fault.message
    );
    cluster.boot(0);
    let fault = cluster.observe("bao-mount", &mount()).await.unwrap_err();
    assert!(fault.not_yet);
    assert_eq!(fault.message, "OpenBAO is sealed");

    let unseal = [
        ("answer", text(cluster.answer().to_str().unwrap())),
        ("members", texts(&["bao-1"])),
    ];
    let error = cluster
        .build("bao-unseal", &all, &unseal)
        .await
        .unwrap_err();
    assert!(error.contains("nobody to ask"), "{error}");
    let kept = cluster.keeper.handed.lock().unwrap()[0].1.clone();
    *cluster.keeper.answers.lock().unwrap() = kept
        .lines()
        .filter_map(|line| line.trim().strip_prefix("share ")?.split_once(": "))
        .map(|(_, key)| key.to_owned())
        .take(2)
        .collect();
    let facts = cluster.build("bao-unseal", &all, &unseal).await.unwrap();
    assert_eq!(facts["sealed"].value(), "false");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_locked_out_whatever_breaks_off() {
    let Some(program) = program() else { return };
    let cluster = Cluster::start(program, 1, Seal::Static);
    let all = cluster.all();
    let facts = cluster
        .build("bao-init", &all, &init(&cluster))
        .await
        .unwrap();
    let id = facts["cluster_id"].value().to_owned();

    // Killed between the answer and its move into place: the next run moves it, and does not init again.
    let part = cluster.answer().with_extension("json.part");
    std::fs::rename(cluster.answer(), &part).unwrap();
    let inputs = cluster.inputs("bao-init", &init(&cluster));
    let (_, facts) = cluster.probe("bao-init", &all, &inputs).await;
    assert_eq!(facts.unwrap()["initialized"].value(), "broken off");
    let facts = cluster
        .build("bao-init", &all, &init(&cluster))
        .await
        .unwrap();
    assert_eq!(facts["initialized"].value(), "yes");
    assert_eq!(facts["cluster_id"].value(), id);
    assert!(!part.exists());

    // Nobody took the keys: they stay.
    *cluster.keeper.refuses.lock().unwrap() = true;
    let error = cluster
        .build("bao-handover", &all, &handover(&cluster))
        .await
        .unwrap_err();
    assert!(error.contains("there is nobody to show them to"), "{error}");
    assert!(cluster.answer().exists());
    *cluster.keeper.refuses.lock().unwrap() = false;

    // Killed between revoking the root token and shredding: the next run only shreds.
    let copy = std::fs::read(cluster.answer()).unwrap();
    cluster
        .build("bao-handover", &all, &handover(&cluster))
        .await
        .unwrap();
    let before = token(&cluster);
    std::fs::write(cluster.answer(), copy).unwrap();
    cluster
        .build("bao-handover", &all, &handover(&cluster))
        .await
        .unwrap();
    assert_eq!(token(&cluster), before);
    assert!(!cluster.answer().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shamir_node_that_joined_opens_with_the_shares_of_the_answer() {
    let Some(program) = program() else { return };
    let cluster = Cluster::start(program, 2, Seal::Shamir);
    let all = cluster.all();
    let facts = cluster
        .build("bao-init", &all, &init(&cluster))
        .await
        .unwrap();
    let id = facts["cluster_id"].value().to_owned();
    let second = [HostId(1)];
    let mut inputs = join(&cluster, 1, &id);
    inputs.push(("seal", text("shamir")));
    let facts = cluster.build("bao-join", &second, &inputs).await.unwrap();
    assert_eq!(facts["initialized"].value(), "true");
    let unseal = [
        ("answer", text(cluster.answer().to_str().unwrap())),
        ("members", texts(&["bao-1", "bao-2"])),
    ];
    let facts = cluster.build("bao-unseal", &second, &unseal).await.unwrap();
    assert_eq!(facts["sealed"].value(), "false");
    assert_eq!(facts["cluster_id"].value(), id);
}
