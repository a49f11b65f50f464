//! The text of a new config, with comments that teach. Pure; does not write files.

use std::fmt::Write as _;

use super::schema::ComponentSchema;

/// Name of the schema file that lies beside configs.
pub const SCHEMA_FILE: &str = "stack.schema.json";

/// What a new config is to say.
#[derive(Debug, Clone)]
pub struct NewConfig<'a> {
    /// `cluster.name`.
    pub cluster: String,
    /// `cluster.domain`.
    pub domain: Option<String>,
    /// Hosts with their addresses.
    pub hosts: Vec<NewHost>,
    /// SSH user for all of them.
    pub user: Option<String>,
    /// Components to bring up.
    pub components: Vec<&'a ComponentSchema>,
}

/// A host of a new config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHost {
    /// Its name, or a range.
    pub name: String,
    /// Where to connect to, if not the name.
    pub address: Option<String>,
}

impl std::str::FromStr for NewHost {
    type Err = &'static str;

    /// Parses `name` or `name=address`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, address) = match text.split_once('=') {
            Some((name, address)) => (name, Some(address)),
            None => (text, None),
        };
        if name.is_empty() || address.is_some_and(str::is_empty) {
            return Err("a host is `name` or `name=address`");
        }
        Ok(Self {
            name: name.to_owned(),
            address: address.map(str::to_owned),
        })
    }
}

/// Returns the text.
#[must_use]
pub fn new_config(new: &NewConfig<'_>) -> String {
    let mut text = format!(
        "\
# yaml-language-server: $schema=./{SCHEMA_FILE}
#
# What this stack should be. `foundry plan` shows what that would change, `foundry build stack` makes it so.
version: \"1.0\"

cluster:
  name: {}
",
        quoted(&new.cluster)
    );
    if let Some(domain) = &new.domain {
        line(&mut text, format_args!("  domain: {}", quoted(domain)));
    }
    text.push_str(
        "  # Machines of the Kubernetes cluster:
  # nodes:
  #   - { hostname: node1.example.com, role: control-plane }
  #   - { hostname: node2.example.com, role: worker }
",
    );
    ssh(&mut text, new.user.as_deref());
    hosts(&mut text, new);
    components(&mut text, new);
    text.push_str(
        "
# Passwords and keys are never written here, only references to them. They are looked up in the environment, then in
# ~/.foundryvars, then in OpenBAO (`foundry secret set foundry/grafana:admin_password`):
#   admin_password: ${secret:foundry/grafana:admin_password}
",
    );
    text
}

fn ssh(text: &mut String, user: Option<&str>) {
    text.push_str("\n# How to log in, where ~/.ssh/config does not say it already:\n");
    match user {
        Some(user) => line(text, format_args!("ssh:\n  user: {}", quoted(user))),
        None => text.push_str(
            "# ssh: { user: admin, identity: ~/.ssh/id_ed25519, jump: bastion.example.com }\n",
        ),
    }
}

fn hosts(text: &mut String, new: &NewConfig<'_>) {
    text.push_str("\n# Machines. A range such as node[001-500].example.com stands for many.\n");
    if new.hosts.is_empty() {
        text.push_str("# hosts:\n#   - { hostname: bao-1.example.com, address: 192.0.2.11, roles: [openbao] }\n");
        return;
    }
    text.push_str("hosts:\n");
    let mut roles: Vec<&str> = Vec::new();
    for component in &new.components {
        roles.extend(
            component
                .roles
                .first()
                .map(String::as_str)
                .filter(|role| *role != "*"),
        );
    }
    roles.sort_unstable();
    roles.dedup();
    // Three machines outvote the loss of one; two would be no better than one.
    let servers = if new.hosts.len() < 3 { 1 } else { 3 };
    for (index, host) in new.hosts.iter().enumerate() {
        line(text, format_args!("  - hostname: {}", quoted(&host.name)));
        if let Some(address) = &host.address {
            line(text, format_args!("    address: {}", quoted(address)));
        }
        if index < servers && !roles.is_empty() {
            line(text, format_args!("    roles: [{}]", roles.join(", ")));
        }
    }
}

fn components(text: &mut String, new: &NewConfig<'_>) {
    text.push_str("\n# What to bring up. `foundry component list` shows what there is; settings have defaults.\n");
    if new.components.is_empty() {
        text.push_str("components: {}\n");
        return;
    }
    text.push_str("components:\n");
    for component in &new.components {
        line(text, format_args!("  # {}", component.doc));
        line(text, format_args!("  {}: {{}}", component.name));
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a `String` does not fail.
    let _ = writeln!(text, "{line}");
}

/// Returns the text as a YAML scalar, quoted unless it is plainly a word.
pub(super) fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        && !["true", "false", "null"].contains(&text.to_lowercase().as_str());
    if plain {
        text.to_owned()
    } else {
        // JSON's strings are YAML's double-quoted ones.
        serde_json::Value::from(text).to_string()
    }
}
