//! One entry of `cluster.nodes` or `hosts`: its fields checked, its range expanded. Does not know the other entries.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::fields::{Fields, Placed, plain_text, wrong_kind};
use super::problem::{Problem, Problems};
use super::range::{Range, RangeError};
use super::setting::{Node, Setting, Span};
use super::suggest;

/// Most hosts in one config.
pub(super) const MAX_HOSTS: u64 = 10_000;

/// Roles that `cluster.nodes` may have.
pub(super) const NODE_ROLES: [&str; 2] = ["control-plane", "worker"];

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// `cluster.nodes`: cluster roles only.
    Nodes,
    /// `hosts`: any role.
    Hosts,
}

/// What was written about how to reach a host and what it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Draft {
    pub address: Option<Placed<String>>,
    pub port: Option<Placed<u16>>,
    pub user: Option<Placed<String>>,
    pub identity: Option<Placed<String>>,
    pub jump: Option<Placed<String>>,
    pub local: Option<Placed<bool>>,
    pub host_key: Option<Placed<String>>,
    pub roles: Vec<String>,
    pub labels: BTreeMap<String, String>,
}

/// One entry: its names, and what it says of all of them.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where its name was written.
    pub span: Span,
    /// The hosts' names with their addresses, if it gives any.
    pub names: Vec<(String, Option<String>)>,
    /// The rest; its `address` is that of the whole entry.
    pub draft: Draft,
}

/// Reads an entry; `left` is how many hosts there still may be, and is counted down.
pub(super) fn read(
    node: &Node,
    section: Section,
    left: &mut u64,
    problems: &mut Problems,
) -> Option<Entry> {
    // `- node1.example.com` is short for `- hostname: node1.example.com`.
    if let Setting::Text(_) = node.value {
        let name = plain_text(node, "a host", problems)?;
        let names = host_names(&name, left, problems)?;
        if section == Section::Nodes {
            problems.push(no_role(name.span));
        }
        return Some(Entry {
            span: name.span,
            names: names.into_iter().map(|name| (name, None)).collect(),
            draft: Draft::default(),
        });
    }
    let what = match section {
        Section::Nodes => "an entry of `nodes`",
        Section::Hosts => "an entry of `hosts`",
    };
    if !matches!(node.value, Setting::Map(_)) {
        problems.push(wrong_kind(node, what, "a map with `hostname`"));
        return None;
    }
    let mut fields = Fields::open(node, what, problems);
    let name = fields.text("hostname", problems);
    let draft = Draft {
        address: fields.text("address", problems),
        port: fields.port("port", problems),
        user: fields
            .text("user", problems)
            .filter(|user| good_user(user, problems)),
        identity: fields.text("identity", problems),
        jump: fields.text("jump", problems),
        roles: roles(&mut fields, section, problems),
        labels: labels(&mut fields, problems),
        host_key: fields
            .text("host_key", problems)
            .filter(|key| good_host_key(key, problems)),
        local: fields.bool("local", problems),
    };
    if section == Section::Nodes && !fields.has("role") && !fields.has("roles") {
        problems.push(no_role(name.as_ref().map_or(node.span, |name| name.span)));
    }
    if !fields.has("hostname") {
        problems.push(Problem::at(node.span, format!("{what} has no `hostname`")));
    }
    fields.finish(|_| false, problems);
    let name = name?;
    let names = host_names(&name, left, problems)?;
    let addresses = addresses(draft.address.as_ref(), &name.value, names.len(), problems)?;
    Some(Entry {
        span: name.span,
        names: names.into_iter().zip(addresses).collect(),
        draft,
    })
}

fn no_role(span: Span) -> Problem {
    Problem::at(span, "a cluster node has no role")
        .help("add `role: control-plane` or `role: worker`")
}

/// Expands a host name, counts down `left`, and checks that each result can be a name.
pub(super) fn host_names(
    name: &Placed<String>,
    left: &mut u64,
    problems: &mut Problems,
) -> Option<Vec<String>> {
    let made = Range::parse(&name.value).and_then(|range| range.expand(*left));
    let names = match made {
        Ok(names) => names,
        Err(error) => {
            problems.push(range_problem(&error, name.span));
            return None;
        }
    };
    *left -= names.len() as u64;
    if let Some(bad) = names.iter().find(|name| !is_host_name(name)) {
        let help = if bad.parse::<IpAddr>().is_ok() {
            "give the host a name, and write the IP address as its `address`"
        } else {
            "names are lower-case letters, digits and `-`, in parts joined by dots"
        };
        problems.push(
            Problem::at(name.span, format!("`{bad}` is no host name"))
                .label("not a host name")
                .help(help),
        );
        return None;
    }
    Some(names)
}

/// Puts an error of a range into words that fit hosts.
fn range_problem(error: &RangeError, span: Span) -> Problem {
    match error {
        RangeError::TooMany { text, count, .. } => Problem::at(
            span,
            format!("`{text}` stands for {count} hosts, and a config may have {MAX_HOSTS} in all"),
        )
        .label("too many hosts")
        .help("is there a digit too many? Larger fleets want several configs"),
        other => Problem::at(span, other.to_string()).label("not a range"),
    }
}

/// Gives each of `count` names its address: none, a range of as many, or the first of an IP address that counts up.
fn addresses(
    written: Option<&Placed<String>>,
    name: &str,
    count: usize,
    problems: &mut Problems,
) -> Option<Vec<Option<String>>> {
    let Some(written) = written else {
        return Some(vec![None; count]);
    };
    let problem = |message: String| Problem::at(written.span, message);
    if let Some(first) = ip(&written.value) {
        let all: Option<Vec<_>> = (0..count)
            .map(|offset| Some(Some(add(first, offset)?.to_string())))
            .collect();
        if all.is_none() {
            problems.push(problem(format!(
                "{count} addresses from {first} on go beyond the last there is"
            )));
        }
        return all;
    }
    let made = Range::parse(&written.value).and_then(|range| range.expand(MAX_HOSTS));
    let all = match made {
        Ok(all) => all,
        Err(error) => {
            problems.push(range_problem(&error, written.span));
            return None;
        }
    };
    if let Some(bad) = all.iter().find(|address| !is_address(address)) {
        problems.push(
            problem(format!("`{bad}` is no address"))
                .label("neither an IP address nor a host name"),
        );
        return None;
    }
    if all.len() != count {
        let have = all.len();
        problems.push(
            problem(format!(
                "{have} address{} for the {count} hosts of `{name}`",
                if have == 1 { "" } else { "es" }
            ))
            .help("write a range of as many, or the first IP address: it counts up"),
        );
        return None;
    }
    Some(all.into_iter().map(Some).collect())
}

/// Parses an IP address, an IPv6 one with or without brackets.
fn ip(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match bare {
        Some(inside) => inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// Returns the address `offset` after `first`.
fn add(first: IpAddr, offset: usize) -> Option<IpAddr> {
    Some(match first {
        IpAddr::V4(ip) => {
            let bits = ip.to_bits().checked_add(u32::try_from(offset).ok()?)?;
            Ipv4Addr::from_bits(bits).into()
        }
        IpAddr::V6(ip) => {
            let bits = ip.to_bits().checked_add(offset as u128)?;
            Ipv6Addr::from_bits(bits).into()
        }
    })
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || is_host_name(&text.to_lowercase())
}

/// Returns whether `text` is a DNS name in lower case, and no IP address.
pub(super) fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.parse::<IpAddr>().is_err()
        && text
            .split('.')
            .all(|part| part.len() <= 63 && is_label(part))
}

/// Returns whether `text` is lower-case letters, digits and inner hyphens.
pub(super) fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Reads `role` and `roles` together.
fn roles(fields: &mut Fields<'_>, section: Section, problems: &mut Problems) -> Vec<String> {
    let mut written = fields.texts("role", problems);
    written.extend(fields.texts("roles", problems));
    let mut roles = Vec::new();
    for role in written {
        let known = section == Section::Hosts || NODE_ROLES.contains(&role.value.as_str());
        if !known {
            let help = suggest::nearest(&role.value, NODE_ROLES).map_or_else(
                || "nodes are `control-plane` or `worker`; other roles go into `hosts`".to_owned(),
                |meant| format!("did you mean `{meant}`?"),
            );
            let message = format!("unknown role `{}` of a cluster node", role.value);
            problems.push(
                Problem::at(role.span, message)
                    .label("not known here")
                    .help(help),
            );
        } else if is_label(&role.value) {
            roles.push(role.value);
        } else {
            problems.push(
                Problem::at(role.span, format!("`{}` is no role", role.value))
                    .help("roles are lower-case letters, digits and `-`"),
            );
        }
    }
    roles.sort_unstable();
    roles.dedup();
    roles
}

fn labels(fields: &mut Fields<'_>, problems: &mut Problems) -> BTreeMap<String, String> {
    let Some((_, node)) = fields.get("labels") else {
        return BTreeMap::new();
    };
    let Setting::Map(entries) = &node.value else {
        problems.push(wrong_kind(node, "`labels`", "a map"));
        return BTreeMap::new();
    };
    entries
        .iter()
        .filter_map(|(key, (_, value))| {
            Some((key.clone(), plain_text(value, "a label", problems)?.value))
        })
        .collect()
}

/// Checks that a user name can't be taken for something else by ssh.
pub(super) fn good_user(user: &Placed<String>, problems: &mut Problems) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "@:/\\'\"`$;&|<>".contains(c);
    let good = !user.value.starts_with('-') && !user.value.contains(bad);
    if !good {
        problems.push(Problem::at(
            user.span,
            format!("`{}` is no user name", user.value),
        ));
    }
    good
}

/// Checks that a pinned key has the form `type base64 [comment]`.
fn good_host_key(key: &Placed<String>, problems: &mut Problems) -> bool {
    use base64::Engine as _;
    let mut words = key.value.split_whitespace();
    let kind = words.next().unwrap_or("");
    let known = kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
    let body = words
        .next()
        .and_then(|body| base64::engine::general_purpose::STANDARD.decode(body).ok());
    let good = known && body.is_some_and(|body| !body.is_empty());
    if !good {
        problems.push(
            Problem::at(key.span, "`host_key` is no OpenSSH public key")
                .label("wants `ssh-ed25519 AAAA…`")
                .help("`ssh-keyscan -t ed25519 HOST` prints it; compare it with the console's"),
        );
    }
    good
}
