//! Changes to a section of a config's text: one value set, wherever its table is or is not yet. Pure, and as careful as `edit`:
//! a change that does not read back as meant, or changes anything else, is refused.

use std::sync::Arc;

use super::edit::{
    EditError, at_the_end, end_of_line, in_braces, in_flow, indent, line_after, line_start,
    newline, spliced, value_at,
};
use super::init::quoted;
use super::parse::parse;
use super::setting::{Node, Setting, Source};
use super::yaml::parse_yaml;

/// Returns the text with the value at `path` (`["storage", "truenas", "pool"]`) set to `value`, a text, a number or a truth
/// value. Tables on the way that are not there are made, sections at the end of the file.
///
/// # Errors
/// If the config has mistakes, something on the way is no table, or the result would not say what is meant.
pub fn set_in_section(
    source: &Arc<Source>,
    path: &[&str],
    value: &Setting,
) -> Result<String, EditError> {
    parse(source).map_err(EditError::Before)?;
    let root = parse_yaml(source).map_err(EditError::Before)?;
    let astray = |why: &str| EditError::Section {
        path: path.join("."),
        file: source.name.clone(),
        why: why.to_owned(),
    };
    let written = match value {
        Setting::Text(text) => quoted(text),
        Setting::Bool(flag) => flag.to_string(),
        Setting::Int(number) => number.to_string(),
        _ => return Err(astray("only texts, numbers and truth values can be")),
    };
    let edited = with_value(&source.text, &root, path, &written)
        .ok_or_else(|| astray("there is something else than a table on the way"))?;
    let read = source.with(&edited);
    parse(&read).map_err(|_| astray("the config could not be read any more"))?;
    let after = parse_yaml(&read).map_err(|_| astray("the config could not be read any more"))?;
    if at(&after, path).map(|node| &node.value) != Some(value) {
        return Err(astray("it would not be found there"));
    }
    if !same_but(Some(&root), &after, path) {
        return Err(astray("something else would change"));
    }
    Ok(edited)
}

/// Returns what a config says at `path`, if that is a text.
///
/// # Errors
/// If the config can't be read.
pub fn text_in_section(source: &Arc<Source>, path: &[&str]) -> Result<Option<String>, EditError> {
    let root = parse_yaml(source).map_err(EditError::Before)?;
    Ok(match at(&root, path).map(|node| &node.value) {
        Some(Setting::Text(text)) => Some(text.clone()),
        _ => None,
    })
}

/// Returns whether a config says anything at `path`.
///
/// # Errors
/// If the config can't be read.
pub fn has_section(source: &Arc<Source>, path: &[&str]) -> Result<bool, EditError> {
    let root = parse_yaml(source).map_err(EditError::Before)?;
    Ok(at(&root, path).is_some())
}

fn at<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    let Some((key, rest)) = path.split_first() else {
        return Some(node);
    };
    match &node.value {
        Setting::Map(entries) => at(&entries.get(*key)?.1, rest),
        _ => None,
    }
}

/// Sets the value below `table`, a table with entries; `None` when that can't be.
fn with_value(text: &str, table: &Node, path: &[&str], value: &str) -> Option<String> {
    let (key, rest) = path.split_first()?;
    let Setting::Map(entries) = &table.value else {
        return None;
    };
    let Some((at, node)) = entries.get(*key) else {
        let first = entries
            .values()
            .map(|entry| entry.0)
            .min_by_key(|span| span.start)?;
        if in_braces(text, std::iter::once(first)) {
            let open = text[..first.start].rfind('{')?;
            return Some(in_flow(
                text,
                open,
                &format!("{key}: {}", flow(rest, value)),
            ));
        }
        let lines = block(key, rest, value, &indent(first), newline(text));
        if first.column == 1 {
            return Some(at_the_end(text, &lines));
        }
        return Some(line_after(text, end_of_block(text, first.start), &lines));
    };
    let colon = text[at.end..].find(':').map(|found| at.end + found + 1)?;
    match (&node.value, rest.is_empty()) {
        (Setting::Map(below), false) if !below.is_empty() => with_value(text, node, rest, value),
        (Setting::Map(_), false) => {
            let open = value_at(text, colon);
            let (next, rest) = rest.split_first()?;
            text[open..]
                .starts_with('{')
                .then(|| in_flow(text, open, &format!("{next}: {} ", flow(rest, value))))
        }
        (Setting::Null, _) => {
            // `key:` and nothing, or `~`; a comment may follow.
            let line_end = end_of_line(text, colon);
            let comment = text[colon..line_end]
                .find('#')
                .map_or(line_end, |found| colon + found);
            let word = colon..colon + text[colon..comment].trim_end().len();
            if rest.is_empty() {
                return Some(spliced(text, word, &format!(" {value}")));
            }
            let emptied = spliced(text, word, "");
            let (next, rest) = rest.split_first()?;
            let deeper = format!("{}  ", indent(*at));
            Some(line_after(
                &emptied,
                colon,
                &block(next, rest, value, &deeper, newline(text)),
            ))
        }
        (Setting::Map(_) | Setting::List(_), true) => None,
        (_, true) => Some(spliced(text, node.span.start..node.span.end, value)),
        (_, false) => None,
    }
}

fn flow(rest: &[&str], value: &str) -> String {
    match rest.split_first() {
        None => value.to_owned(),
        Some((key, rest)) => format!("{{ {key}: {} }}", flow(rest, value)),
    }
}

fn block(key: &str, rest: &[&str], value: &str, indent: &str, newline: &str) -> String {
    match rest.split_first() {
        None => format!("{indent}{key}: {value}"),
        Some((next, rest)) => {
            let below = block(next, rest, value, &format!("{indent}  "), newline);
            format!("{indent}{key}:{newline}{below}")
        }
    }
}

/// Returns a place on the last line of the table whose first key is at `first`.
fn end_of_block(text: &str, first: usize) -> usize {
    let column = first - line_start(text, first);
    let (mut end, mut at) = (first, line_start(text, first));
    for line in text[at..].split_inclusive('\n') {
        let words = line.trim();
        let inner = line.len() - line.trim_start().len();
        if !words.is_empty() {
            if inner < column && !words.starts_with('#') {
                break;
            }
            // A remark further left belongs to what follows.
            if inner >= column {
                end = at + inner;
            }
        }
        at += line.len();
    }
    end
}

/// Returns whether `after` says the same as `before` but for what is at `path`.
fn same_but(before: Option<&Node>, after: &Node, path: &[&str]) -> bool {
    let Some((key, rest)) = path.split_first() else {
        return true;
    };
    let Setting::Map(after) = &after.value else {
        return false;
    };
    let empty = indexmap::IndexMap::new();
    let before = match before.map(|node| &node.value) {
        Some(Setting::Map(before)) => before,
        None | Some(Setting::Null) => &empty,
        Some(_) => return false,
    };
    let others = |name: &&String| name.as_str() != *key;
    before.keys().filter(others).eq(after.keys().filter(others))
        && before
            .iter()
            .filter(|(name, _)| others(name))
            .all(|(name, (_, node))| after.get(name).is_some_and(|(_, other)| same(node, other)))
        && after
            .get(*key)
            .is_some_and(|(_, node)| same_but(before.get(*key).map(|(_, node)| node), node, rest))
}

fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Setting::Map(one), Setting::Map(other)) => {
            one.keys().eq(other.keys())
                && one
                    .values()
                    .zip(other.values())
                    .all(|((_, one), (_, other))| same(one, other))
        }
        (Setting::List(one), Setting::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source {
            name: "s.yaml".to_owned(),
            text: text.to_owned(),
        })
    }

    fn text(text: &str) -> Setting {
        Setting::Text(text.to_owned())
    }

    const PATH: [&str; 3] = ["storage", "truenas", "pool"];

    #[test]
    fn a_value_is_set_and_the_rest_stays_to_the_letter() {
        for (case, before, after) in [
            (
                "no section",
                "cluster: { name: x } # mine\n",
                "cluster: { name: x } # mine\n\nstorage:\n  truenas:\n    pool: fast\n",
            ),
            (
                "a section without the table",
                "cluster: { name: x }\nstorage:\n  # default\n  default: auto # so far\n\n# end\ncomponents: {}\n",
                "cluster: { name: x }\nstorage:\n  # default\n  default: auto # so far\n  truenas:\n    pool: fast\n\n# end\ncomponents: {}\n",
            ),
            (
                "a table without the value",
                "cluster: { name: x }\nstorage:\n  truenas:\n    api_url: https://nas # the old one\n    # no pool yet\n  smoke: false\n",
                "cluster: { name: x }\nstorage:\n  truenas:\n    api_url: https://nas # the old one\n    # no pool yet\n    pool: fast\n  smoke: false\n",
            ),
            (
                "another value",
                "cluster: { name: x }\nstorage:\n  truenas:\n    pool: \"tank\" # all disks\n    protocol: nfs\n",
                "cluster: { name: x }\nstorage:\n  truenas:\n    pool: fast # all disks\n    protocol: nfs\n",
            ),
            (
                "in braces",
                "cluster: { name: x }\nstorage: { truenas: { api_url: https://nas } }\n",
                "cluster: { name: x }\nstorage: { truenas: { api_url: https://nas, pool: fast } }\n",
            ),
            (
                "in braces, the table is missing",
                "cluster: { name: x }\nstorage: { default: auto }\n",
                "cluster: { name: x }\nstorage: { default: auto, truenas: { pool: fast } }\n",
            ),
            (
                "an empty table in braces",
                "cluster: { name: x }\nstorage: { truenas: {} }\n",
                "cluster: { name: x }\nstorage: { truenas: { pool: fast } }\n",
            ),
            (
                "nothing after the colon, and a comment",
                "cluster: { name: x }\nstorage: # soon\ncomponents: {}\n",
                "cluster: { name: x }\nstorage: # soon\n  truenas:\n    pool: fast\ncomponents: {}\n",
            ),
            (
                "nothing where the value goes",
                "cluster: { name: x }\nstorage:\n  truenas:\n    pool: # which?\n",
                "cluster: { name: x }\nstorage:\n  truenas:\n    pool: fast # which?\n",
            ),
            (
                "line ends of Windows",
                "cluster: { name: x }\r\nstorage:\r\n  default: auto\r\n",
                "cluster: { name: x }\r\nstorage:\r\n  default: auto\r\n  truenas:\r\n    pool: fast\r\n",
            ),
        ] {
            let edited = set_in_section(&source(before), &PATH, &text("fast")).unwrap();
            assert_eq!(edited, after, "{case}");
            let again = set_in_section(&source(&edited), &PATH, &text("fast")).unwrap();
            assert_eq!(again, edited, "{case}, again");
        }
    }

    #[test]
    fn what_is_no_table_is_left_alone() {
        for written in [
            "cluster: { name: x }\nstorage: [a]\n",
            "cluster: { name: x }\nstorage: { truenas: yes }\n",
            "cluster: { name: x }\nstorage: { truenas: { pool: [a] } }\n",
            "cluster: [\n",
        ] {
            set_in_section(&source(written), &PATH, &text("fast")).unwrap_err();
        }
        let config =
            source("cluster: { name: x }\nstorage: { truenas: { pool: [a], quota: 1Gi } }\n");
        assert_eq!(text_in_section(&config, &PATH).unwrap(), None);
        assert_eq!(
            text_in_section(&config, &["storage", "truenas", "quota"])
                .unwrap()
                .as_deref(),
            Some("1Gi")
        );
        assert!(has_section(&config, &["storage", "truenas"]).unwrap());
        assert!(!has_section(&config, &["storage", "nfs"]).unwrap());
    }

    #[test]
    fn references_and_certificates_are_written_so_that_they_are_read_back() {
        let config = source("cluster: { name: x }\n");
        for value in [
            "${secret:foundry/truenas:api_key}",
            "a\nb\n",
            "yes # no",
            "https://nas:444",
        ] {
            let edited = set_in_section(&config, &PATH, &text(value)).unwrap();
            let read = text_in_section(&source(&edited), &PATH).unwrap();
            assert_eq!(read.as_deref(), Some(value));
        }
        let edited = set_in_section(&config, &PATH, &Setting::Bool(false)).unwrap();
        assert!(edited.ends_with("    pool: false\n"), "{edited}");
    }
}
