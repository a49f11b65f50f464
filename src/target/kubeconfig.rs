//! A kubeconfig: the credentials in one that a host keeps (`kubeconfig.read`), and one made of them. A host's answer is data:
//! only what is a certificate or a key in PEM is taken from it, and put into a typed value. Does not know which cluster it is of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use super::group::{self, fact};
use super::inputs;
use crate::catalog::Values;
use crate::config::read_yaml;
use crate::probe::{ActionProbe, Fact, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, StepError};
use crate::secret::Secret;

/// Longest kubeconfig that is read, in bytes. K3s' own has 3 KB.
const LONGEST: usize = 256 * 1024;

/// Port of the API on every server.
const PORT: u16 = 6443;

/// Reads credentials.
pub struct ReadKubeconfig;

/// What is read of a kubeconfig: each is PEM in base64, and nothing else.
#[derive(Debug)]
pub struct Credentials {
    ca: String,
    cert: String,
    key: Secret<String>,
}

#[derive(Deserialize)]
struct File {
    clusters: Vec<Named>,
    users: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    cluster: Option<Cluster>,
    user: Option<User>,
}

/// A cluster, as it is read and written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    #[serde(skip_deserializing)]
    server: String,
    certificate_authority_data: String,
}

/// A user, as it is read and written.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: String,
    client_key_data: String,
}

#[derive(Serialize)]
struct Context<'a> {
    cluster: &'a str,
    user: &'a str,
}

#[derive(Serialize)]
struct NamedCluster<'a> {
    name: &'a str,
    cluster: Cluster,
}

#[derive(Serialize)]
struct NamedUser<'a> {
    name: &'a str,
    user: User,
}

#[derive(Serialize)]
struct NamedContext<'a> {
    name: &'a str,
    context: Context<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    api_version: &'a str,
    kind: &'a str,
    clusters: [NamedCluster<'a>; 1],
    users: [NamedUser<'a>; 1],
    contexts: [NamedContext<'a>; 1],
    #[serde(rename = "current-context")]
    current_context: &'a str,
}

impl Credentials {
    /// Returns a kubeconfig whose cluster, user and context are called `name`, for the API at `address`, a name or an IP
    /// address without brackets.
    ///
    /// # Errors
    /// When the address is none.
    pub fn kubeconfig(&self, name: &str, address: &str) -> Result<Secret<String>, String> {
        let user = format!("{name}-admin");
        let written = Written {
            api_version: "v1",
            kind: "Config",
            clusters: [NamedCluster {
                name,
                cluster: Cluster {
                    server: server(address)?,
                    certificate_authority_data: self.ca.clone(),
                },
            }],
            users: [NamedUser {
                name: &user,
                user: User {
                    client_certificate_data: self.cert.clone(),
                    client_key_data: self.key.expose().clone(),
                },
            }],
            contexts: [NamedContext {
                name,
                context: Context {
                    cluster: name,
                    user: &user,
                },
            }],
            current_context: name,
        };
        serde_yaml::to_string(&written)
            .map(Secret::new)
            .map_err(|_| "the kubeconfig can't be written".to_owned())
    }

    /// Reads the first cluster and the first user: certificates and a key, nothing else of what stands there.
    ///
    /// # Errors
    /// When it is no kubeconfig with a certificate for the client. Says nothing of what stands there instead.
    pub fn read(text: &str) -> Result<Self, String> {
        // A parser's words may quote what they stumbled over.
        let file: File = read_yaml(text, LONGEST)
            .map_err(|_| "it is no kubeconfig with a client's certificate".to_owned())?;
        let cluster = file.clusters.into_iter().find_map(|named| named.cluster);
        let user = file.users.into_iter().find_map(|named| named.user);
        match (cluster, user) {
            (Some(cluster), Some(user)) => Ok(Self {
                ca: certificates(
                    "certificate-authority-data",
                    &cluster.certificate_authority_data,
                )?,
                cert: certificates("client-certificate-data", &user.client_certificate_data)?,
                key: private_key("client-key-data", user.client_key_data)?,
            }),
            _ => Err("it names no cluster or no user".to_owned()),
        }
    }
}

/// Returns the address of the API as an URL.
fn server(address: &str) -> Result<String, String> {
    let wrong = || format!("`{}` is no address of a server", address.escape_debug());
    let host = match address.parse() {
        Ok(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        _ => address.to_owned(),
    };
    let text = format!("https://{host}:{PORT}");
    let url = reqwest::Url::parse(&text).map_err(|_| wrong())?;
    // What was parsed must be all that was given: no path, no login, no other port.
    let same = url
        .host_str()
        .is_some_and(|parsed| parsed.eq_ignore_ascii_case(&host))
        && url.port_or_known_default() == Some(PORT)
        && url.path() == "/"
        && url.username().is_empty()
        && url.query().is_none()
        && url.fragment().is_none();
    if same { Ok(text) } else { Err(wrong()) }
}

/// Decodes a field of base64 that holds PEM.
fn decoded(field: &str, base64: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, String> {
    STANDARD
        .decode(base64.trim())
        .map(zeroize::Zeroizing::new)
        .map_err(|_| format!("its `{field}` is not base64"))
}

/// Checks that a field holds certificates, and returns it as it is written in base64.
fn certificates(field: &str, base64: &str) -> Result<String, String> {
    let pem = decoded(field, base64)?;
    let mut some = false;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let fine = certificate.is_ok_and(|der| x509_parser::parse_x509_certificate(&der).is_ok());
        if !fine {
            return Err(format!("its `{field}` holds what is no certificate"));
        }
        some = true;
    }
    if !some {
        return Err(format!("its `{field}` holds no certificate"));
    }
    Ok(STANDARD.encode(&*pem))
}

/// Checks that a field holds a private key, and returns it as it is written in base64.
fn private_key(field: &str, base64: String) -> Result<Secret<String>, String> {
    let base64 = zeroize::Zeroizing::new(base64);
    let pem = decoded(field, &base64)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| format!("its `{field}` holds no private key"))?;
    Ok(Secret::new(STANDARD.encode(&*pem)))
}

impl ActionProbe for ReadKubeconfig {
    fn questions(&self, inputs: &Values) -> Result<Vec<Question>, String> {
        Ok(group::questions("", inputs::text(inputs, "path")?))
    }

    fn facts(&self, inputs: &Values, seen: &[Seen]) -> Result<Facts, Fault> {
        let path = inputs::text(inputs, "path").map_err(group::senseless)?;
        let answers = group::all(seen)?;
        let mut facts = Facts::new();
        let Some((name, told)) = answers.first() else {
            return Err(group::senseless("a kubeconfig is on one host".to_owned()));
        };
        for known in ["kind", "mode"] {
            facts.insert(known.into(), fact(told, "", known).into());
        }
        if fact(told, "", "kind") == "file" {
            let credentials = Credentials::read(fact(told, "", "content"))
                .map_err(|words| group::senseless(format!("{path} on {name}: {words}")))?;
            facts.insert("ca".into(), credentials.ca.into());
            facts.insert("cert".into(), credentials.cert.into());
            facts.insert("key".into(), Fact::Secret(credentials.key));
        }
        Ok(facts)
    }
}

impl Action for ReadKubeconfig {
    fn name(&self) -> &'static str {
        "kubeconfig.read"
    }

    /// Somebody else writes it. The look that follows every apply says whether it is there by now.
    fn apply<'a>(&'a self, context: &'a ActionContext<'a>) -> BoxFuture<'a, Result<(), StepError>> {
        Box::pin(async move {
            inputs::text(context.inputs, "path").map_err(inputs::wrong)?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{file, pem_pair, seen, values};
    use super::*;

    /// A kubeconfig as K3s writes it, with these fields in base64.
    fn text(ca: &str, cert: &str, key: &str) -> String {
        // JSON is YAML, and says any text.
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "default", "cluster": { "server": "https://127.0.0.1:6443", "certificate-authority-data": ca } }],
            "contexts": [],
            "users": [{ "name": "default", "user": { "client-certificate-data": cert, "client-key-data": key } }],
        })
        .to_string()
    }

    fn pair() -> (String, String) {
        let (cert, key) = pem_pair();
        (STANDARD.encode(cert), STANDARD.encode(key))
    }

    #[test]
    fn its_key_is_secret() {
        let (cert, key) = pair();
        let inputs = values(&[("path", "/k")]);
        let facts = ReadKubeconfig
            .facts(
                &inputs,
                &[seen("a", file("", Some(&text(&cert, &cert, &key))))],
            )
            .unwrap();
        assert_eq!(facts["ca"].value(), cert);
        assert_eq!(facts["cert"].value(), cert);
        assert!(matches!(&facts["key"], Fact::Secret(found) if *found.expose() == key));
        let facts = ReadKubeconfig
            .facts(&inputs, &[seen("a", file("", None))])
            .unwrap();
        assert_eq!(facts["kind"].value(), "absent");
    }

    #[test]
    fn another_file_is_a_fault_that_quotes_nothing() {
        let fault = ReadKubeconfig
            .facts(
                &values(&[("path", "/k")]),
                &[seen("a", file("", Some("key: hunter2")))],
            )
            .unwrap_err();
        assert!(fault.message.starts_with("/k on a: "), "{}", fault.message);
        assert!(!fault.message.contains("hunter2"));
    }

    #[test]
    fn a_hostile_one_is_refused_by_field() {
        let (cert, key) = pair();
        // What ran a program on the operator's machine once: more YAML within a field.
        let plugin = "\"\"\n      exec:\n        apiVersion: client.authentication.k8s.io/v1\n        interactiveMode: Never\n        \
                      command: /bin/sh\n        args: [\"-c\", \"touch /tmp/pwned\"]\n      token: \"\"";
        let garbage = STANDARD.encode("hunter2");
        for (ca, client, secret, want) in [
            (
                plugin,
                &*cert,
                &*key,
                "its `certificate-authority-data` is not base64",
            ),
            (
                &*cert,
                plugin,
                &*key,
                "its `client-certificate-data` is not base64",
            ),
            (
                &*cert,
                &*cert,
                plugin,
                "its `client-key-data` is not base64",
            ),
            (
                &*garbage,
                &*cert,
                &*key,
                "its `certificate-authority-data` holds no certificate",
            ),
            (
                &*key,
                &*cert,
                &*key,
                "its `certificate-authority-data` holds no certificate",
            ),
            (
                &*cert,
                &*cert,
                &*garbage,
                "its `client-key-data` holds no private key",
            ),
            (
                &*cert,
                &*cert,
                &*cert,
                "its `client-key-data` holds no private key",
            ),
        ] {
            let error = Credentials::read(&text(ca, client, secret)).unwrap_err();
            assert_eq!(error, want);
        }
        let deep = "[".repeat(200_000);
        assert!(Credentials::read(&deep).is_err());
    }

    #[test]
    fn what_is_written_says_only_what_was_meant() {
        let (cert, key) = pair();
        let credentials = Credentials::read(&text(&cert, &cert, &key)).unwrap();
        let name = "a: b\n- \"c\" #";
        let written = credentials.kubeconfig(name, "2001:db8::1").unwrap();
        let read: serde_json::Value = serde_yaml::from_str(written.expose()).unwrap();
        let want = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": name, "cluster": { "server": "https://[2001:db8::1]:6443", "certificate-authority-data": cert } }],
            "users": [{ "name": format!("{name}-admin"), "user": { "client-certificate-data": cert, "client-key-data": key } }],
            "contexts": [{ "name": name, "context": { "cluster": name, "user": format!("{name}-admin") } }],
            "current-context": name,
        });
        assert_eq!(read, want);
        for wrong in [
            "",
            "a b",
            "a/b",
            "user@a",
            "a:1",
            "a\nexec: x",
            "a#b",
            "a?b",
        ] {
            assert!(credentials.kubeconfig("x", wrong).is_err(), "{wrong:?}");
        }
        assert!(credentials.kubeconfig("x", "Node-1.example.com").is_ok());
    }
}
