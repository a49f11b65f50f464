//! Changes to a config's text that keep everything else as the person wrote it: comments, order, spacing. Pure; does
//! not read or write files. A change whose result does not read back as meant is refused, never half made.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use super::init::quoted;
use super::parse::parse;
use super::problem::Problems;
use super::setting::{Node, Setting, Source, Span};
use super::stack::{Host, Stack};
use super::yaml::parse_yaml;

/// What a new entry of `hosts` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostEntry {
    /// `hostname`.
    pub hostname: String,
    /// `address`.
    pub address: Option<String>,
    /// `port`.
    pub port: Option<u16>,
    /// `user`.
    pub user: Option<String>,
    /// `roles`.
    pub roles: Vec<String>,
    /// `jump`.
    pub jump: Option<String>,
    /// `host_key`.
    pub host_key: Option<String>,
}

/// Why a config's text was left as it is.
#[derive(Debug, Error)]
pub enum EditError {
    /// It had mistakes before.
    #[error("{0}")]
    Before(Problems),
    /// There is a host of that name.
    #[error("host `{name}` is there already ({file}:{line})")]
    Taken {
        /// The host.
        name: String,
        /// The config.
        file: String,
        /// Where it is declared.
        line: u32,
    },
    /// There is no host of that name.
    #[error("{file} has no host `{name}`")]
    NoSuchHost {
        /// The host.
        name: String,
        /// The config.
        file: String,
    },
    /// A value of a section can't be set.
    #[error("`{path}` can't be written into {file}: {why}")]
    Section {
        /// Where in the config.
        path: String,
        /// The config.
        file: String,
        /// Why not.
        why: String,
    },
    /// What would be written can't be read, or means something else.
    #[error("host `{name}` can't be written into {file}: {why}")]
    Astray {
        /// The host.
        name: String,
        /// The config.
        file: String,
        /// What came of it.
        why: String,
    },
}

/// Returns the text with one more host, at the end of `hosts` or in a section of its own.
///
/// # Errors
/// If the host is there already, or the result would not say what is meant.
pub fn add_host(source: &Arc<Source>, entry: &HostEntry) -> Result<String, EditError> {
    let before = parse(source).map_err(EditError::Before)?;
    if let Some(there) = find(&before, &entry.hostname) {
        return Err(EditError::Taken {
            name: entry.hostname.clone(),
            file: source.name.clone(),
            line: there.span.line,
        });
    }
    let edited = with_entry(source, &entry.fields())?;
    check(source, &before, &edited, &entry.hostname)?;
    Ok(edited)
}

/// Returns the text with `key` of a host set to `value`. A host that only another section declares gets an entry of
/// its own.
///
/// # Errors
/// If there is no such host, one entry stands for it and others, or the result would not say what is meant.
pub fn set_host_field(
    source: &Arc<Source>,
    host: &str,
    key: &str,
    value: &str,
) -> Result<String, EditError> {
    let before = parse(source).map_err(EditError::Before)?;
    if find(&before, host).is_none() {
        return Err(EditError::NoSuchHost {
            name: host.to_owned(),
            file: source.name.clone(),
        });
    }
    let root = parse_yaml(source).map_err(EditError::Before)?;
    let text = &source.text;
    let edited = match own_entry(&root, host) {
        None => with_entry(source, &[("hostname", quoted(host)), (key, quoted(value))])?,
        Some(entry) => match &entry.value {
            Setting::Map(fields) => match (fields.get(key), fields.get("hostname")) {
                (Some((_, old)), _) => spliced(text, old.span.start..old.span.end, &quoted(value)),
                (None, Some((at, name))) => {
                    let field = format!("{key}: {}", quoted(value));
                    let end = name.span.end;
                    if in_braces(text, fields.values().map(|field| field.0)) {
                        spliced(text, end..end, &format!(", {field}"))
                    } else {
                        line_after(text, end, &format!("{}{field}", indent(*at)))
                    }
                }
                // An entry without a name is none.
                (None, None) => text.clone(),
            },
            _ => named_only(text, &root, entry.span, key, value),
        },
    };
    check(source, &before, &edited, host)?;
    let read_back = own_field(&source.with(&edited), host, key)?;
    if read_back.as_deref() != Some(value) {
        return Err(EditError::Astray {
            name: host.to_owned(),
            file: source.name.clone(),
            why: format!("`{key}` would not be found there"),
        });
    }
    Ok(edited)
}

/// Returns what the host's own entry says under `key`: not what a section's default or another entry says.
///
/// # Errors
/// If the config can't be read.
pub fn own_field(source: &Arc<Source>, host: &str, key: &str) -> Result<Option<String>, EditError> {
    let root = parse_yaml(source).map_err(EditError::Before)?;
    let Some(Setting::Map(fields)) = own_entry(&root, host).map(|entry| &entry.value) else {
        return Ok(None);
    };
    Ok(match fields.get(key).map(|(_, node)| &node.value) {
        Some(Setting::Text(text)) => Some(text.clone()),
        _ => None,
    })
}

impl HostEntry {
    /// Its fields in the order people write them, values ready to be written.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let text = |value: &Option<String>| value.as_deref().map(quoted);
        let roles: Vec<String> = self.roles.iter().map(|role| quoted(role)).collect();
        [
            ("hostname", Some(quoted(&self.hostname))),
            ("address", text(&self.address)),
            ("port", self.port.map(|port| port.to_string())),
            ("user", text(&self.user)),
            ("jump", text(&self.jump)),
            (
                "roles",
                (!roles.is_empty()).then(|| format!("[{}]", roles.join(", "))),
            ),
            ("host_key", text(&self.host_key)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }
}

/// Returns the text with an entry of these fields at the end of `hosts`.
fn with_entry(source: &Arc<Source>, fields: &[(&str, String)]) -> Result<String, EditError> {
    let text = &source.text;
    let root = parse_yaml(source).map_err(EditError::Before)?;
    let Setting::Map(sections) = &root.value else {
        return Ok(text.clone());
    };
    let braces = in_braces(text, sections.values().map(|section| section.0));
    let Some((key, hosts)) = sections.get("hosts") else {
        let Some((first, _)) = sections.values().next() else {
            return Ok(text.clone());
        };
        return Ok(if braces {
            let open = text[..first.start].rfind('{').unwrap_or(0);
            in_flow(text, open, &format!("hosts: [{}]", flow(fields)))
        } else {
            new_section(text, &indent(*first), fields)
        });
    };
    let deeper = format!("{}  ", indent(*key));
    let colon = text[key.end..]
        .find(':')
        .map_or(key.end, |at| key.end + at + 1);
    if hosts.value == Setting::Null {
        // `hosts:` and nothing, or `~`; a comment may follow.
        let line_end = end_of_line(text, colon);
        let comment = text[colon..line_end]
            .find('#')
            .map_or(line_end, |at| colon + at);
        let word = colon..colon + text[colon..comment].trim_end().len();
        let emptied = spliced(text, word, "");
        return Ok(line_after(&emptied, colon, &block(fields, &deeper, text)));
    }
    let at = value_at(text, colon);
    if !text[at..].starts_with('[') {
        let dash = " ".repeat(at - line_start(text, at));
        let end = end_of_list(text, at);
        return Ok(line_after(text, end, &block(fields, &dash, text)));
    }
    let (_, close) = bracketed(text, at);
    let rest = text[close..end_of_line(text, close)]
        .trim_start_matches(']')
        .trim();
    let empty = text[at + 1..close].trim().is_empty();
    if empty && !braces && (rest.is_empty() || rest.starts_with('#')) {
        let from = text[..at].trim_end_matches([' ', '\t']).len();
        let emptied = spliced(text, from..close + 1, "");
        return Ok(line_after(&emptied, from, &block(fields, &deeper, text)));
    }
    Ok(in_flow(text, at, &flow(fields)))
}

/// Turns an entry that is only a name into one with a field more.
fn named_only(text: &str, root: &Node, name: Span, key: &str, value: &str) -> String {
    let written = &text[name.start..name.end];
    let in_list = match &root.value {
        Setting::Map(sections) => sections.get("hosts").is_some_and(|(key, _)| {
            let colon = text[key.end..]
                .find(':')
                .map_or(key.end, |at| key.end + at + 1);
            text[value_at(text, colon)..].starts_with('[')
        }),
        _ => false,
    };
    let range = name.start..name.end;
    if in_list {
        let entry = format!("{{ hostname: {written}, {key}: {} }}", quoted(value));
        return spliced(text, range, &entry);
    }
    let named = spliced(text, range, &format!("hostname: {written}"));
    let line = format!("{}{key}: {}", indent(name), quoted(value));
    line_after(&named, name.start, &line)
}

/// Appends a section `hosts`.
fn new_section(text: &str, indent: &str, fields: &[(&str, String)]) -> String {
    let entry = block(fields, &format!("{indent}  "), text);
    at_the_end(text, &format!("{indent}hosts:{}{entry}", newline(text)))
}

/// Appends lines, the last of them without its end, and a blank one before them.
pub(super) fn at_the_end(text: &str, lines: &str) -> String {
    // Nothing may follow the end of a document but the end of the file.
    let end = text.rfind("\n...").map_or(text.len(), |before| before + 1);
    let newline = newline(text);
    let (head, tail) = text.split_at(end);
    let mut edited = head.to_owned();
    if !head.ends_with('\n') {
        edited += newline;
    }
    if !edited.ends_with(&newline.repeat(2)) {
        edited += newline;
    }
    edited + lines + newline + tail
}

/// An entry on lines of its own, the last one without its end.
fn block(fields: &[(&str, String)], dash: &str, text: &str) -> String {
    let lines: Vec<String> = fields
        .iter()
        .enumerate()
        .map(|(index, (key, value))| {
            let mark = if index == 0 { "- " } else { "  " };
            format!("{dash}{mark}{key}: {value}")
        })
        .collect();
    lines.join(newline(text))
}

/// An entry in braces.
pub(super) fn flow(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    format!("{{ {} }}", fields.join(", "))
}

/// Puts `item` last into the brackets or braces that open at `open`.
pub(super) fn in_flow(text: &str, open: usize, item: &str) -> String {
    let (last, _) = bracketed(text, open);
    let item = match text[..last].chars().next_back() {
        Some('[') => item.to_owned(),
        Some('{' | ',') => format!(" {item}"),
        _ => format!(", {item}"),
    };
    spliced(text, last..last, &item)
}

/// Returns the end of the last thing in the brackets that open at `open`, and where they close.
pub(super) fn bracketed(text: &str, open: usize) -> (usize, usize) {
    let bytes = text.as_bytes();
    let (mut depth, mut quote, mut last, mut at) = (0_usize, None, open, open);
    while let Some(&byte) = bytes.get(at) {
        let before = at.checked_sub(1).map_or(b' ', |before| bytes[before]);
        match (quote, byte) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'#') if before.is_ascii_whitespace() => {
                at = end_of_line(text, at);
                continue;
            }
            // Within a word a quote is itself.
            (None, b'"' | b'\'') if b" \t\r\n[{,:".contains(&before) => quote = Some(byte),
            (None, b'[' | b'{') => depth += 1,
            (None, b']' | b'}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return (last, at);
                }
            }
            _ => {}
        }
        at += 1;
        if !byte.is_ascii_whitespace() {
            last = at.min(text.len());
        }
    }
    (last, text.len())
}

/// Returns where a value begins after its colon: past spaces, comments, anchors and tags.
pub(super) fn value_at(text: &str, colon: usize) -> usize {
    let mut at = colon;
    loop {
        let rest = &text[at..];
        let begin = at + (rest.len() - rest.trim_start().len());
        match text[begin..].chars().next() {
            Some('#') => at = end_of_line(text, begin),
            Some('&' | '!') => {
                let word = text[begin..].find(char::is_whitespace);
                at = word.map_or(text.len(), |len| begin + len);
            }
            _ => return begin,
        }
    }
}

/// Returns a place on the last line of the list whose first dash is at `dash`, with the comments that belong to it.
pub(super) fn end_of_list(text: &str, dash: usize) -> usize {
    let column = dash - line_start(text, dash);
    let mut end = dash;
    let mut after_gap = false;
    let mut at = line_start(text, dash);
    for line in text[at..].split_inclusive('\n') {
        let words = line.trim();
        let inner = line.len() - line.trim_start().len();
        if words.is_empty() {
            after_gap = true;
        } else if words.starts_with('#') {
            // Below the list and in line with it: an entry that was taken out, or a remark on the last one.
            if !after_gap && column > 0 && inner >= column {
                end = at + inner;
            }
        } else if inner > column || (inner == column && (words == "-" || words.starts_with("- "))) {
            end = at + inner;
            after_gap = false;
        } else {
            break;
        }
        at += line.len();
    }
    end
}

/// Returns whether the map that has these keys is written in braces.
pub(super) fn in_braces(text: &str, mut keys: impl Iterator<Item = Span>) -> bool {
    keys.next()
        .is_some_and(|first| text[..first.start].trim_end().ends_with('{'))
}

/// Returns the text with `lines` after the line of `at`.
pub(super) fn line_after(text: &str, at: usize, lines: &str) -> String {
    let end = end_of_line(text, at);
    spliced(text, end..end, &format!("{}{lines}", newline(text)))
}

pub(super) fn spliced(text: &str, range: Range<usize>, with: &str) -> String {
    let (head, tail) = (&text[..range.start], &text[range.end..]);
    format!("{head}{with}{tail}")
}

pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Returns the end of the line of `at`, before its line break.
pub(super) fn end_of_line(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |len| at + len);
    match text[..end].strip_suffix('\r') {
        Some(line) if line.len() >= at => line.len(),
        _ => end,
    }
}

pub(super) fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// The spaces that put a line's first word under the one at `span`.
pub(super) fn indent(span: Span) -> String {
    " ".repeat(span.column.saturating_sub(1) as usize)
}

/// Finds the entry of `hosts` that stands for this host alone.
fn own_entry<'a>(root: &'a Node, host: &str) -> Option<&'a Node> {
    let Setting::Map(sections) = &root.value else {
        return None;
    };
    let Setting::List(entries) = &sections.get("hosts")?.1.value else {
        return None;
    };
    entries.iter().find(|entry| {
        let name = match &entry.value {
            Setting::Map(fields) => fields.get("hostname").map(|(_, name)| &name.value),
            name => Some(name),
        };
        matches!(name, Some(Setting::Text(name)) if name == host)
    })
}

impl Source {
    /// The same file with another text.
    pub(super) fn with(&self, text: &str) -> Arc<Self> {
        Arc::new(Self {
            name: self.name.clone(),
            text: text.to_owned(),
        })
    }
}

pub(super) fn find<'a>(stack: &'a Stack, name: &str) -> Option<&'a Host> {
    stack.hosts.iter().find(|host| &*host.name == name)
}

/// Checks that the edited text can be read, has the host, and says of all others what it said before.
fn check(source: &Source, before: &Stack, edited: &str, name: &str) -> Result<(), EditError> {
    let after = check_others(source, before, edited, name)?;
    if find(&after, name).is_none() {
        return Err(EditError::Astray {
            name: name.to_owned(),
            file: source.name.clone(),
            why: "it would not be found there".to_owned(),
        });
    }
    Ok(())
}

/// Checks that the edited text can be read and says of all hosts but one what it said before.
pub(super) fn check_others(
    source: &Source,
    before: &Stack,
    edited: &str,
    name: &str,
) -> Result<Stack, EditError> {
    let astray = |why: String| EditError::Astray {
        name: name.to_owned(),
        file: source.name.clone(),
        why,
    };
    let after = parse(&source.with(edited)).map_err(|problems| {
        // Their places are in a text that nobody will ever see.
        let whys = problems.list.iter().map(|problem| match &problem.help {
            Some(help) => format!("{} ({help})", problem.message),
            None => problem.message.clone(),
        });
        astray(whys.collect::<Vec<_>>().join("; "))
    })?;
    let others = |stack: &Stack| -> Vec<Host> {
        let others = stack.hosts.iter().filter(|host| &*host.name != name);
        others
            .map(|host| Host {
                span: Span::default(),
                ..host.clone()
            })
            .collect()
    };
    if others(before) != others(&after) {
        return Err(astray("other hosts would change".to_owned()));
    }
    Ok(after)
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
