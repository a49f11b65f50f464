//! Changes to the nodes of the cluster in a config's text: one more, one less. Pure, and as careful as `edit`: a change
//! that does not read back as meant is refused.

use std::sync::Arc;

use super::edit::{
    EditError, bracketed, check_others, end_of_line, end_of_list, find, flow, in_braces, in_flow,
    indent, line_after, line_start, newline, spliced, value_at,
};
use super::host_entry::NODE_ROLES;
use super::init::quoted;
use super::parse::parse;
use super::setting::{Node, Setting, Source, Span};
use super::yaml::parse_yaml;

/// Returns the text with the host among `cluster.nodes`, or the same text if it has the role already.
///
/// # Errors
/// If the config has mistakes, the host has the other role, or the result would not say what is meant.
pub fn add_node(
    source: &Arc<Source>,
    name: &str,
    role: &str,
    address: Option<&str>,
) -> Result<String, EditError> {
    let before = parse(source).map_err(EditError::Before)?;
    if let Some(host) = find(&before, name) {
        if host.roles.iter().any(|own| own == role) {
            return Ok(source.text.clone());
        }
        if let Some(other) = host
            .roles
            .iter()
            .find(|own| NODE_ROLES.contains(&own.as_str()))
        {
            return Err(astray(
                source,
                name,
                format!("it is a node with the role `{other}` already; remove that node first"),
            ));
        }
    }
    let mut fields = vec![("hostname", quoted(name)), ("role", quoted(role))];
    if let Some(address) = address {
        fields.insert(1, ("address", quoted(address)));
    }
    let edited = with_node(source, &flow(&fields))?;
    let after = check_others(source, &before, &edited, name)?;
    if find(&after, name).is_some_and(|host| host.roles.iter().any(|own| own == role)) {
        return Ok(edited);
    }
    Err(astray(
        source,
        name,
        "it would not be found there".to_owned(),
    ))
}

/// Returns the text without the host among the cluster's nodes. A host that `hosts` declares as well stays there, as a
/// machine without that role.
///
/// # Errors
/// If the config has mistakes, one entry stands for the host and others, or the result would not say what is meant.
pub fn remove_node(source: &Arc<Source>, name: &str) -> Result<String, EditError> {
    let before = parse(source).map_err(EditError::Before)?;
    if find(&before, name).is_none() {
        return Err(EditError::NoSuchHost {
            name: name.to_owned(),
            file: source.name.clone(),
        });
    }
    let mut edited = source.text.clone();
    let root = parse_yaml(source).map_err(EditError::Before)?;
    if let Some(entry) = nodes(&root).and_then(|(_, nodes)| entry_of(nodes, name)) {
        edited = without_entry(&edited, entry);
    }
    let root = parse_yaml(&source.with(&edited)).map_err(EditError::Before)?;
    if let Some(Setting::Map(fields)) = section(&root, "hosts")
        .and_then(|(_, hosts)| entry_of(hosts, name))
        .map(|entry| &entry.value)
    {
        for key in ["role", "roles"] {
            let Some((_, roles)) = fields.get(key) else {
                continue;
            };
            if let Some(text) = without_roles(&edited, roles) {
                edited = text;
                break;
            }
        }
    }
    let after = check_others(source, &before, &edited, name)?;
    let left = find(&after, name).is_some_and(|host| {
        host.roles
            .iter()
            .any(|own| NODE_ROLES.contains(&own.as_str()))
    });
    if left {
        return Err(astray(
            source,
            name,
            "one entry stands for it and others: take it out of the range by hand".to_owned(),
        ));
    }
    Ok(edited)
}

fn astray(source: &Source, name: &str, why: String) -> EditError {
    EditError::Astray {
        name: name.to_owned(),
        file: source.name.clone(),
        why,
    }
}

fn section<'a>(root: &'a Node, name: &str) -> Option<(Span, &'a Node)> {
    match &root.value {
        Setting::Map(sections) => sections.get(name).map(|(span, node)| (*span, node)),
        _ => None,
    }
}

fn nodes(root: &Node) -> Option<(Span, &Node)> {
    section(section(root, "cluster")?.1, "nodes")
}

/// Finds the entry that stands for this host alone.
fn entry_of<'a>(list: &'a Node, name: &str) -> Option<&'a Node> {
    let Setting::List(entries) = &list.value else {
        return None;
    };
    entries.iter().find(|entry| {
        let hostname = match &entry.value {
            Setting::Map(fields) => fields.get("hostname").map(|(_, name)| &name.value),
            plain => Some(plain),
        };
        matches!(hostname, Some(Setting::Text(text)) if text == name)
    })
}

/// Puts `item` at the end of `cluster.nodes`, which is made if there is none.
fn with_node(source: &Arc<Source>, item: &str) -> Result<String, EditError> {
    let text = &source.text;
    let root = parse_yaml(source).map_err(EditError::Before)?;
    let Some((at, cluster)) = section(&root, "cluster") else {
        return Ok(text.clone());
    };
    let Setting::Map(fields) = &cluster.value else {
        return Ok(text.clone());
    };
    if in_braces(text, fields.values().map(|field| field.0)) {
        let colon = colon_after(text, at);
        let open = value_at(text, colon);
        return Ok(match fields.get("nodes") {
            Some((key, _)) => in_flow(text, value_at(text, colon_after(text, *key)), item),
            None => in_flow(text, open, &format!("nodes: [{item}]")),
        });
    }
    let Some((key, nodes)) = fields.get("nodes") else {
        let Some((first, value)) = fields.values().next() else {
            return Ok(text.clone());
        };
        let inner = indent(*first);
        let lines = format!("{inner}nodes:{}{inner}  - {item}", newline(text));
        return Ok(line_after(text, value.span.end.max(first.end), &lines));
    };
    let colon = colon_after(text, *key);
    if nodes.value == Setting::Null {
        return Ok(line_after(
            text,
            colon,
            &format!("{}  - {item}", indent(*key)),
        ));
    }
    let begin = value_at(text, colon);
    if text[begin..].starts_with('[') {
        return Ok(in_flow(text, begin, item));
    }
    let dash = " ".repeat(begin - line_start(text, begin));
    Ok(line_after(
        text,
        end_of_list(text, begin),
        &format!("{dash}- {item}"),
    ))
}

fn colon_after(text: &str, key: Span) -> usize {
    text[key.end..]
        .find(':')
        .map_or(key.end, |at| key.end + at + 1)
}

/// Cuts an entry out of its list.
fn without_entry(text: &str, entry: &Node) -> String {
    let first = match &entry.value {
        Setting::Map(fields) => fields.values().map(|(key, _)| key.start).min(),
        _ => None,
    }
    .unwrap_or(entry.span.start);
    let start = line_start(text, first);
    let head = text[start..first].trim_start();
    if !head.starts_with('-') {
        // Within brackets, beside others.
        let open = text[..first]
            .trim_end()
            .strip_suffix('{')
            .map_or(first, str::len);
        let close = match text[open..].starts_with('{') {
            true => bracketed(text, open).1 + 1,
            false => entry.span.end,
        };
        let after = &text[close..];
        let gap = after.len() - after.trim_start().len();
        return if after.trim_start().starts_with(',') {
            let end = close + gap + 1;
            let blank = text[end..].len() - text[end..].trim_start_matches(' ').len();
            spliced(text, open..end + blank, "")
        } else {
            let before = text[..open].trim_end().trim_end_matches(',').len();
            spliced(text, before..close, "")
        };
    }
    // On lines of its own: from its dash to the last line that is indented deeper.
    let column = text[start..first].len() - head.len();
    let mut end = end_of_line(text, first);
    loop {
        let next = text[end..].find('\n').map_or(text.len(), |at| end + at + 1);
        let line = &text[next..end_of_line(text, next.min(text.len()))];
        let deep = line.len() - line.trim_start().len();
        if line.trim().is_empty() || deep <= column {
            return spliced(text, start..next, "");
        }
        end = next + line.len();
    }
}

/// Returns the text without the cluster's roles in a list of roles; an only role goes with its key's value left empty.
fn without_roles(text: &str, roles: &Node) -> Option<String> {
    match &roles.value {
        Setting::List(items) => {
            let kept: Vec<&str> = items
                .iter()
                .filter_map(|item| match &item.value {
                    Setting::Text(role) if !NODE_ROLES.contains(&role.as_str()) => {
                        Some(role.as_str())
                    }
                    _ => None,
                })
                .collect();
            let (first, last) = (items.first()?, items.last()?);
            let open = text[..first.span.start].rfind('[')?;
            let close = last.span.end + text[last.span.end..].find(']')?;
            (kept.len() < items.len())
                .then(|| spliced(text, open..close + 1, &format!("[{}]", kept.join(", "))))
        }
        Setting::Text(role) if NODE_ROLES.contains(&role.as_str()) => {
            Some(spliced(text, roles.span.start..roles.span.end, "[]"))
        }
        _ => None,
    }
}

/// What a config says of the hosts' roles in the cluster, for tests.
#[cfg(test)]
fn told(stack: &super::stack::Stack) -> Vec<String> {
    stack
        .hosts
        .iter()
        .map(|host| format!("{}={}", host.name, host.roles.join("+")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source {
            name: "stack.yaml".to_owned(),
            text: text.to_owned(),
        })
    }

    fn roles(text: &str) -> Vec<String> {
        told(&parse(&source(text)).unwrap_or_else(|problems| panic!("{problems}\n{text}")))
    }

    const BLOCK: &str = "\
cluster:
  name: lab  # its name
  nodes:
    # the first
    - hostname: a
      role: control-plane
    - { hostname: b, role: worker }   # a remark
components: {}
";

    #[test]
    fn one_more_in_each_way_of_writing() {
        let table = [
            BLOCK,
            "cluster:\n  name: lab\n  nodes: [{ hostname: a, role: control-plane }, { hostname: b, role: worker }]\n",
            "cluster: { name: lab, nodes: [{ hostname: a, role: control-plane }, { hostname: b, role: worker }] }\n",
            "cluster:\n  name: lab\nhosts:\n  - { hostname: a, role: control-plane }\n  - { hostname: b, role: worker }\n",
            "cluster:\n  name: lab\n  nodes:\nhosts:\n  - { hostname: a, role: control-plane }\n  - { hostname: b, role: worker }\n",
        ];
        for text in table {
            let edited = add_node(&source(text), "c", "worker", Some("192.0.2.7")).unwrap();
            let mut found = roles(&edited);
            found.sort();
            assert_eq!(
                found,
                ["a=control-plane", "b=worker", "c=worker"],
                "{edited}"
            );
            assert!(edited.contains("192.0.2.7"), "{edited}");
            // Twice is once.
            assert_eq!(
                add_node(&source(&edited), "c", "worker", None).unwrap(),
                edited
            );
        }
        let edited = add_node(&source(BLOCK), "c", "worker", None).unwrap();
        assert!(
            edited.contains("# its name") && edited.contains("# a remark"),
            "{edited}"
        );
    }

    #[test]
    fn a_node_does_not_change_its_role_in_passing() {
        let error = add_node(&source(BLOCK), "b", "control-plane", None).unwrap_err();
        assert!(
            error.to_string().contains("remove that node first"),
            "{error}"
        );
    }

    #[test]
    fn one_less_in_each_way_of_writing() {
        for (name, left) in [("a", "b=worker"), ("b", "a=control-plane")] {
            for text in [
                BLOCK,
                "cluster:\n  name: lab\n  nodes: [{ hostname: a, role: control-plane }, { hostname: b, role: worker }]\n",
                "cluster:\n  name: lab\n  nodes:\n  - hostname: a\n    role: control-plane\n  - hostname: b\n    role: worker\n",
            ] {
                let edited = remove_node(&source(text), name).unwrap();
                assert_eq!(roles(&edited), [left], "{edited}");
            }
        }
        let edited = remove_node(&source(BLOCK), "a").unwrap();
        assert!(
            edited.contains("# the first") && edited.contains("# a remark"),
            "{edited}"
        );
    }

    #[test]
    fn a_machine_stays_one() {
        let text = "cluster:\n  name: lab\nhosts:\n  - { hostname: a, roles: [control-plane, openbao] }\n  - hostname: b\n    role: worker\n";
        let edited = remove_node(&source(text), "a").unwrap();
        assert_eq!(roles(&edited), ["a=openbao", "b=worker"]);
        let edited = remove_node(&source(text), "b").unwrap();
        assert_eq!(roles(&edited), ["a=control-plane+openbao", "b="]);
    }

    #[test]
    fn a_range_is_left_to_its_author() {
        let text = "cluster:\n  name: lab\n  nodes:\n    - { hostname: 'n[1-3]', role: worker }\n";
        let error = remove_node(&source(text), "n2").unwrap_err();
        assert!(error.to_string().contains("by hand"), "{error}");
    }
}
