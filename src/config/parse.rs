//! A config's text → [`Stack`], with all that is wrong found in one go. Does not know recipes, files or the environment.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use indexmap::IndexMap;

use super::components;
use super::fields::{Fields, Placed, wrong_kind};
use super::host_entry::{Section, is_host_name, is_label};
use super::hosts::{Defaults, HostTable};
use super::problem::{Problem, Problems};
use super::setting::{Node, Setting, Source, Span};
use super::stack::{Mirror, MirrorDigests, Stack};
use super::suggest;
use super::yaml::parse_yaml;
use crate::secret::{STACK_NAMESPACE, SecretRef, references};

/// Top-level sections that recipes may lay claim to; they are kept as written.
pub const SECTIONS: [&str; 2] = ["observability", "storage"];

/// Parses and checks a config.
///
/// # Errors
/// All problems found, sorted by place. Nothing is half accepted.
pub fn parse(source: &Arc<Source>) -> Result<Stack, Problems> {
    let root = parse_yaml(source)?;
    let mut problems = Problems::new(source.clone());
    if root.value == Setting::Null {
        problems
            .push(Problem::new("is empty").help("`foundry config init` writes one to begin with"));
        return Err(problems);
    }
    let mut fields = Fields::open(&root, "a config", &mut problems);
    check_format_version(&mut fields, &mut problems);

    let mut table = HostTable::default();
    let cluster = cluster(&mut fields, &mut table, &mut problems);
    let has_hosts = fields.get("hosts").is_some();
    let entries = fields.list("hosts", &mut problems);
    table.read(entries, Section::Hosts, &mut problems);
    let defaults = fields
        .get("ssh")
        .map(|(_, node)| Defaults::read(node, &mut problems))
        .unwrap_or_default();
    let components = fields
        .get("components")
        .map(|(_, node)| components::read(node, &mut table, !has_hosts, &mut problems))
        .unwrap_or_default();
    let mirrors = mirrors(&mut fields, &mut problems);
    let trusted_keys = trusted_keys(&mut fields, &mut problems);
    let sections: IndexMap<String, Node> = SECTIONS
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), fields.get(name)?.1.clone())))
        .collect();
    // `x-…` holds what a person wants to repeat with anchors.
    fields.finish(|key| key.starts_with("x-"), &mut problems);
    check_references(&root, &mut problems);
    let hosts = table.finish(&defaults, &mut problems);

    problems.into_result(Stack {
        source: source.clone(),
        name: cluster.name,
        domain: cluster.domain,
        vip: cluster.vip,
        hosts,
        components,
        sections,
        mirrors,
        pins: Arc::default(),
        trusted_keys,
    })
}

fn check_format_version(fields: &mut Fields<'_>, problems: &mut Problems) {
    let Some(version) = fields.text("version", problems) else {
        return;
    };
    if !["1", "1.0"].contains(&version.value.as_str()) {
        problems.push(
            Problem::at(
                version.span,
                format!("a config of version {} can't be read", version.value),
            )
            .label("only \"1.0\" is known")
            .help("a component's version goes below its name in `components`"),
        );
    }
}

/// What `cluster` says beside its nodes.
#[derive(Default)]
struct Cluster {
    name: String,
    domain: Option<String>,
    vip: Option<IpAddr>,
}

fn cluster(fields: &mut Fields<'_>, table: &mut HostTable, problems: &mut Problems) -> Cluster {
    let Some((span, node)) = fields.get("cluster") else {
        problems.push(Problem::new("has no `cluster`").help("begin with `cluster: { name: … }`"));
        return Cluster::default();
    };
    let mut cluster = Fields::open(node, "`cluster`", problems);
    let name = match cluster.text("name", problems) {
        Some(name) if name.value.len() <= 63 && is_label(&name.value) => name.value,
        Some(name) => {
            problems.push(
                Problem::at(name.span, format!("`{}` is no cluster name", name.value))
                    .help("names are lower-case letters, digits and `-`, 63 at most"),
            );
            String::new()
        }
        None if cluster.has("name") => String::new(),
        None => {
            problems.push(
                Problem::at(span, "`cluster` has no `name`")
                    .help("the name tells this stack from others, on hosts and in reports"),
            );
            String::new()
        }
    };
    let domain = cluster.text("domain", problems).and_then(|domain| {
        let good = is_host_name(&domain.value);
        if !good {
            problems.push(
                Problem::at(domain.span, format!("`{}` is no domain", domain.value))
                    .help("such as `example.com`, in lower case"),
            );
        }
        good.then_some(domain.value)
    });
    let vip = cluster
        .text("vip", problems)
        .and_then(|vip| match vip.value.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                let message = format!("`vip` wants an IP address, found `{}`", vip.value);
                problems.push(Problem::at(vip.span, message));
                None
            }
        });
    let nodes = cluster.list("nodes", problems);
    table.read(nodes, Section::Nodes, problems);
    cluster.finish(|_| false, problems);
    Cluster { name, domain, vip }
}

fn mirrors(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<Mirror> {
    let list = fields.list("mirrors", problems);
    list.iter()
        .filter_map(|node| {
            if !matches!(node.value, Setting::Map(_)) {
                problems.push(wrong_kind(node, "an entry of `mirrors`", "a map"));
                return None;
            }
            let mut entry = Fields::open(node, "an entry of `mirrors`", problems);
            let prefix = entry.text("prefix", problems);
            let url = entry.text("url", problems);
            let digests = entry
                .text("digests", problems)
                .and_then(|digests| mirror_digests(&digests, problems));
            for (key, value) in [("prefix", &prefix), ("url", &url)] {
                if value.is_none() && !entry.has(key) {
                    let message = format!("an entry of `mirrors` has no `{key}`");
                    problems.push(Problem::at(node.span, message));
                }
            }
            entry.finish(|_| false, problems);
            let (prefix, url) = (prefix?, url?);
            let schemes: [(&Placed<String>, &[&str]); 2] = [
                (&prefix, &["https://", "http://"]),
                (&url, &["https://", "http://", "file:///"]),
            ];
            for (value, schemes) in schemes {
                if !schemes.iter().any(|scheme| value.value.starts_with(scheme)) {
                    let message = format!(
                        "`{}` does not begin with {}",
                        value.value,
                        schemes.join(", ")
                    );
                    problems.push(Problem::at(value.span, message));
                }
            }
            let digests = digests.unwrap_or_default();
            if digests == MirrorDigests::Mirror && !can_vouch(&url.value) {
                let message = format!(
                    "`digests: mirror` takes the word of `{}`, which anybody on the way can change",
                    url.value
                );
                problems.push(Problem::at(url.span, message).help(
                    "let the mirror speak https://, or leave `digests` out: then the recipes' own digests hold",
                ));
            }
            Some(Mirror {
                prefix: prefix.value,
                url: url.value,
                digests,
            })
        })
        .collect()
}

/// Returns whether what an address says of digests is the word of whoever it names: not over HTTP in the clear, except from
/// this machine itself.
pub fn can_vouch(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return true;
    };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or(rest);
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    };
    // Whatever stands before an `@` is no part of the host's name.
    !authority.contains('@')
        && (host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback()))
}

/// Reads whose bundles are taken: minisign's public keys, which begin with `RW` and hold 42 bytes.
fn trusted_keys(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<String> {
    let Some((_, node)) = fields.get("bundles") else {
        return Vec::new();
    };
    let mut bundles = Fields::open(node, "`bundles`", problems);
    let keys = bundles.texts("trusted_keys", problems);
    bundles.finish(|_| false, problems);
    keys.into_iter()
        .filter_map(|key| {
            let in_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
            let good = key.value.starts_with("RW")
                && key.value.len() == 56
                && key.value.bytes().all(in_base64);
            if !good {
                problems.push(
                    Problem::at(key.span, format!("`{}` is no public key", key.value)).help(
                        "the second line of a `.pub` file of `foundry bundle keygen` or `minisign`",
                    ),
                );
            }
            good.then_some(key.value)
        })
        .collect()
}

fn mirror_digests(written: &Placed<String>, problems: &mut Problems) -> Option<MirrorDigests> {
    match written.value.as_str() {
        "pinned" => Some(MirrorDigests::Pinned),
        "mirror" => Some(MirrorDigests::Mirror),
        other => {
            problems.push(
                Problem::at(written.span, format!("`digests` can't be `{other}`"))
                    .maybe_help(suggest::help(other, ["pinned", "mirror"])),
            );
            None
        }
    }
}

/// Checks every secret reference in the file: well written, and none that shares its environment variable with another.
fn check_references(root: &Node, problems: &mut Problems) {
    let mut by_env: HashMap<String, (SecretRef, Span)> = HashMap::new();
    root.for_each_text(&mut |text, span| match references(text, STACK_NAMESPACE) {
        Ok(found) => {
            for (range, reference) in found {
                let place = within(&problems.source, span, &text[range]);
                let env = reference.env_name();
                match by_env.get(&env) {
                    None => {
                        by_env.insert(env, (reference, place));
                    }
                    Some((first, _)) if *first == reference => {}
                    Some((first, first_place)) => problems.push(
                        Problem::at(
                            place,
                            format!(
                                "secrets `{}` and `{}` share the environment variable {env}",
                                first.name(),
                                reference.name()
                            ),
                        )
                        .label("this one")
                        .help("rename one of them: all but letters and digits becomes `_` there")
                        .also(*first_place, "and this one"),
                    ),
                }
            }
        }
        Err(bad) => {
            let place = within(&problems.source, span, &bad.text);
            problems.push(Problem::at(place, bad.to_string()).label("here"));
        }
    });
}

/// Narrows a span down to a part of what was written there, if that can be found as it is.
fn within(source: &Source, span: Span, part: &str) -> Span {
    let written = source.text.get(span.start..span.end).unwrap_or("");
    let Some(at) = written.find(part) else {
        return span;
    };
    let before = &written[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let columns = u32::try_from(before[line_start..].chars().count()).unwrap_or(0);
    Span {
        start: span.start + at,
        end: span.start + at + part.len(),
        line: span.line + u32::try_from(before.matches('\n').count()).unwrap_or(0),
        column: if line_start == 0 { span.column } else { 1 } + columns,
    }
}
