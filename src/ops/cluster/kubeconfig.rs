//! One kubeconfig merged into another. Pure; does not read or write files.

use serde_yaml::{Mapping, Value};

/// Why nothing was merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// What is there is no kubeconfig.
    #[error("it is no kubeconfig: {0}")]
    Unreadable(&'static str),
    /// Something of that name is another's.
    #[error("it has a context `{0}` that leads to another server ({1})")]
    Taken(String, String),
}

const LISTS: [&str; 3] = ["clusters", "users", "contexts"];

/// Puts the one cluster, user and context of `new` into `old` as `name`, and makes it the current one. What else `old` says
/// stays, in its order; an entry of the same name is renewed if it leads to the same server, or `replace` says so.
///
/// # Errors
/// When one of the two is no kubeconfig, or the name is taken by another server.
pub fn merge(old: &str, new: &str, name: &str, replace: bool) -> Result<String, MergeError> {
    let mut old: Mapping = if old.trim().is_empty() {
        let mut empty = Mapping::new();
        empty.insert("apiVersion".into(), "v1".into());
        empty.insert("kind".into(), "Config".into());
        empty
    } else {
        // The parser's own words could quote a key.
        serde_yaml::from_str(old).map_err(|_| MergeError::Unreadable("it can't be read"))?
    };
    let new: Mapping = serde_yaml::from_str(new)
        .map_err(|_| MergeError::Unreadable("the new one can't be read"))?;
    let wanted = server(&new, None);
    let there = server(&old, Some(name));
    if let (Some(there), false) = (&there, replace)
        && there.as_str() != wanted.as_deref().unwrap_or_default()
    {
        return Err(MergeError::Taken(name.to_owned(), there.clone()));
    }
    let user = format!("{name}-admin");
    for list in LISTS {
        let mut entry = first(&new, list)
            .cloned()
            .ok_or(MergeError::Unreadable("the new one is not whole"))?;
        let entry_name = if list == "users" { &user } else { name };
        entry.insert("name".into(), entry_name.into());
        if list == "contexts" {
            let mut context = Mapping::new();
            context.insert("cluster".into(), name.into());
            context.insert("user".into(), user.as_str().into());
            entry.insert("context".into(), context.into());
        }
        let slot = old
            .entry(list.into())
            .or_insert_with(|| Value::Sequence(Vec::new()));
        if slot.is_null() {
            *slot = Value::Sequence(Vec::new());
        }
        let Value::Sequence(entries) = slot else {
            return Err(MergeError::Unreadable("a list in it is none"));
        };
        match entries
            .iter_mut()
            .find(|there| named(there) == Some(entry_name))
        {
            Some(there) => *there = entry.into(),
            None => entries.push(entry.into()),
        }
    }
    old.insert("current-context".into(), name.into());
    serde_yaml::to_string(&old).map_err(|_| MergeError::Unreadable("it can't be written"))
}

fn named(entry: &Value) -> Option<&str> {
    entry.get("name")?.as_str()
}

fn first<'a>(config: &'a Mapping, list: &str) -> Option<&'a Mapping> {
    config.get(list)?.as_sequence()?.first()?.as_mapping()
}

/// Returns the server of the cluster of that name, or of the first.
fn server(config: &Mapping, name: Option<&str>) -> Option<String> {
    let clusters = config.get("clusters")?.as_sequence()?;
    let cluster = match name {
        Some(name) => clusters.iter().find(|entry| named(entry) == Some(name))?,
        None => clusters.first()?,
    };
    let server = cluster.get("cluster")?.get("server")?.as_str()?;
    Some(server.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "\
apiVersion: v1
kind: Config
clusters: [{name: default, cluster: {server: 'https://192.0.2.1:6443', certificate-authority-data: Q0E=}}]
users: [{name: default, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}]
contexts: [{name: default, context: {cluster: default, user: default}}]
current-context: default
";

    const OLD: &str = "\
apiVersion: v1
kind: Config
preferences: {colors: true}
clusters:
- {name: work, cluster: {server: 'https://work.example:6443'}}
users:
- {name: me, user: {exec: {command: login}}}
contexts:
- {name: work, context: {cluster: work, user: me, namespace: mine}}
current-context: work
";

    #[test]
    fn others_stay_and_the_new_one_is_current() {
        let merged = merge(OLD, NEW, "lab", false).unwrap();
        insta::assert_snapshot!(merged, @r#"
    apiVersion: v1
    kind: Config
    preferences:
      colors: true
    clusters:
    - name: work
      cluster:
        server: https://work.example:6443
    - name: lab
      cluster:
        server: https://192.0.2.1:6443
        certificate-authority-data: Q0E=
    users:
    - name: me
      user:
        exec:
          command: login
    - name: lab-admin
      user:
        client-certificate-data: Q0VSVA==
        client-key-data: S0VZ
    contexts:
    - name: work
      context:
        cluster: work
        user: me
        namespace: mine
    - name: lab
      context:
        cluster: lab
        user: lab-admin
    current-context: lab
    "#);
        // Again changes nothing.
        assert_eq!(merge(&merged, NEW, "lab", false).unwrap(), merged);
        // With nothing there, it is the new one alone.
        assert!(
            merge("", NEW, "lab", false)
                .unwrap()
                .contains("name: lab-admin")
        );
    }

    #[test]
    fn a_name_that_is_another_clusters_is_not_taken() {
        let error = merge(OLD, NEW, "work", false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it has a context `work` that leads to another server (https://work.example:6443)"
        );
        let merged = merge(OLD, NEW, "work", true).unwrap();
        assert!(!merged.contains("work.example"));
    }

    #[test]
    fn what_is_no_kubeconfig_is_not_quoted() {
        let error = merge("- hunter2", NEW, "lab", false)
            .unwrap_err()
            .to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
