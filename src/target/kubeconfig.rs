//! A kubeconfig: the credentials in one that a host keeps (`kubeconfig.read`), and one merged into another. Does not
//! know which cluster it is of.

use futures::future::BoxFuture;
use serde::Deserialize;

use super::group::{self, fact};
use super::inputs;
use crate::catalog::Values;
use crate::probe::{ActionProbe, Fact, Facts, Fault, Question, Seen};
use crate::run::{Action, ActionContext, StepError};
use crate::secret::Secret;

/// Reads credentials.
pub struct ReadKubeconfig;

/// What of a kubeconfig is read: each in base64, as it stands there.
pub struct Credentials {
    /// Authority of the API's certificate.
    pub ca: String,
    /// The client's certificate.
    pub cert: String,
    /// The client's key.
    pub key: Secret<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    clusters: Vec<Named>,
    users: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    cluster: Option<Cluster>,
    user: Option<User>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    certificate_authority_data: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: String,
    client_key_data: String,
}

impl Credentials {
    /// Returns a kubeconfig whose cluster, user and context are called `name`, for the API at `address`.
    #[must_use]
    pub fn kubeconfig(&self, name: &str, address: &str) -> Secret<String> {
        let Self { ca, cert, key } = self;
        Secret::new(format!(
            "apiVersion: v1\nkind: Config\nclusters:\n  - name: {name}\n    cluster:\n      server: https://{address}:6443\n      \
             certificate-authority-data: {ca}\nusers:\n  - name: {name}-admin\n    user:\n      client-certificate-data: {cert}\n      \
             client-key-data: {key}\ncontexts:\n  - name: {name}\n    context: {{ cluster: {name}, user: {name}-admin }}\n\
             current-context: {name}\n",
            key = key.expose(),
        ))
    }

    /// Reads the first cluster and the first user.
    ///
    /// # Errors
    /// When it is no kubeconfig with a certificate for the client. Says nothing of what stands there instead.
    pub fn read(text: &str) -> Result<Self, String> {
        // A parser's words may quote what they stumbled over.
        let file: File = serde_yaml::from_str(text)
            .map_err(|_| "it is no kubeconfig with a client's certificate".to_owned())?;
        let cluster = file.clusters.into_iter().find_map(|named| named.cluster);
        let user = file.users.into_iter().find_map(|named| named.user);
        match (cluster, user) {
            (Some(cluster), Some(user)) => Ok(Self {
                ca: cluster.certificate_authority_data,
                cert: user.client_certificate_data,
                key: Secret::new(user.client_key_data),
            }),
            _ => Err("it names no cluster or no user".to_owned()),
        }
    }
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
    use super::super::fixture::{file, seen, values};
    use super::*;

    const TEXT: &str = "\
apiVersion: v1
kind: Config
clusters:
- {name: default, cluster: {server: 'https://127.0.0.1:6443', certificate-authority-data: Q0E=}}
contexts: []
users:
- name: default
  user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}
";

    #[test]
    fn its_key_is_secret() {
        let inputs = values(&[("path", "/k")]);
        let facts = ReadKubeconfig
            .facts(&inputs, &[seen("a", file("", Some(TEXT)))])
            .unwrap();
        assert_eq!(facts["ca"].value(), "Q0E=");
        assert_eq!(facts["cert"].value(), "Q0VSVA==");
        assert!(matches!(&facts["key"], Fact::Secret(key) if key.expose() == "S0VZ"));
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
}
