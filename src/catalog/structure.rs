//! Structured text with values to come in it: each must go through an encoder of the text's format and be a scalar of its own,
//! in no quotes of the text. Then whatever takes its place can't become anything else. Does not know what the values are.

use super::encode::Encoder;
use super::placeholder::Piece;

/// A format of text that has a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
    /// TOML.
    Toml,
    /// HCL.
    Hcl,
    /// Sections of lines `name=value`.
    Ini,
    /// A systemd unit.
    Systemd,
    /// Lines `NAME=value` that a shell or systemd reads.
    Env,
    /// A config of whichever kind: its recipe knows which encoder it needs.
    Conf,
    /// A script of a POSIX shell.
    Sh,
}

impl Format {
    /// Returns the format with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "yaml" => Self::Yaml,
            "json" => Self::Json,
            "toml" => Self::Toml,
            "hcl" => Self::Hcl,
            "ini" => Self::Ini,
            "systemd" => Self::Systemd,
            "env" => Self::Env,
            "conf" => Self::Conf,
            "sh" => Self::Sh,
            _ => return None,
        })
    }

    /// Names of all formats.
    pub const NAMES: &'static [&'static str] = &[
        "yaml", "json", "toml", "hcl", "ini", "systemd", "env", "conf", "sh",
    ];

    /// Returns the format of a file, by the end of its name.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or_default();
        // `.env` has nothing before it.
        let (_, extension) = name.rsplit_once('.')?;
        Some(match extension {
            "yaml" | "yml" => Self::Yaml,
            "json" => Self::Json,
            "toml" => Self::Toml,
            "hcl" | "tf" => Self::Hcl,
            "ini" => Self::Ini,
            "service" | "socket" | "timer" | "mount" | "automount" | "target" | "slice"
            | "network" | "netdev" | "link" => Self::Systemd,
            "env" => Self::Env,
            "conf" | "cfg" | "cnf" | "properties" => Self::Conf,
            "sh" => Self::Sh,
            _ => return None,
        })
    }

    /// Returns the encoders whose scalars this format takes; first the one to recommend.
    #[must_use]
    pub fn encoders(self) -> &'static [Encoder] {
        use Encoder::{B64, Curl, Hcl, Ini, Json, Sh, Systemd, Toml, Yaml};
        match self {
            Self::Yaml => &[Yaml, Json],
            Self::Json => &[Json],
            Self::Toml => &[Toml],
            Self::Hcl => &[Hcl],
            Self::Ini => &[Ini, B64],
            Self::Systemd => &[Systemd],
            // What a shell sources or systemd reads: anything else would be run, or cut.
            Self::Env => &[Sh, B64],
            Self::Conf => &[Ini, Systemd, Sh, Json, Yaml, Toml, Hcl, Curl, B64],
            Self::Sh => &[Sh, B64],
        }
    }

    /// Returns what a scalar of its own may come after and before on its line, blanks aside; `None` where only quotes matter.
    fn neighbours(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Yaml => Some((":-?[{,", ",]}:#")),
            Self::Json => Some((":[{,", ",]}:")),
            Self::Toml => Some(("=[{,", ",]}#")),
            Self::Hcl => Some(("=[{,(:?", ",]}):?#/")),
            Self::Ini => Some(("=:", "")),
            Self::Systemd | Self::Env | Self::Conf | Self::Sh => None,
        }
    }
}

/// Why a value to come can't stand where it does, and what to write in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misplaced {
    /// What is wrong.
    pub message: String,
    /// The right form.
    pub hint: String,
}

/// Stands for a value within the text before another: of its own it is whole, and opens no quotes.
pub(super) const VALUE: char = '\u{fffc}';

/// Checks a text of a format, cut into pieces. A text that is nothing but one value to come is that value's own affair.
///
/// # Errors
/// About the first value that is no scalar of its own.
pub fn check_pieces(format: Format, pieces: &[Piece<'_>]) -> Result<(), Misplaced> {
    let blank = |piece: &Piece<'_>| matches!(piece, Piece::Literal(text) if text.trim().is_empty());
    let mut rest = pieces.iter().filter(|piece| !blank(piece));
    if let (Some(Piece::Placeholder(_)), None) = (rest.next(), rest.next()) {
        return Ok(());
    }
    let mut before = String::new();
    for (at, piece) in pieces.iter().enumerate() {
        match piece {
            Piece::Literal(text) => before.push_str(text),
            Piece::Placeholder(_) => return Err(bare(format)),
            Piece::Encoded(encoder, _) => {
                let after = match pieces.get(at + 1) {
                    Some(Piece::Literal(text)) => text.lines().next().unwrap_or_default(),
                    Some(_) => "x",
                    None => "",
                };
                check_place(format, *encoder, &before, after)?;
                before.push(VALUE);
            }
        }
    }
    Ok(())
}

/// Checks one encoded value between all that stands before it and what comes after it on its line.
///
/// # Errors
/// When it is no scalar of its own there.
pub fn check_place(
    format: Format,
    encoder: Encoder,
    before: &str,
    after: &str,
) -> Result<(), Misplaced> {
    if !format.encoders().contains(&encoder) {
        let right = format.encoders()[0].name();
        return Err(Misplaced {
            message: format!(
                "a secret or an output of a step goes through `| {}`, which is not what this format takes",
                encoder.name()
            ),
            hint: format!("end it with `| {right}`: `{{{{ … | {right} }}}}`"),
        });
    }
    let name = encoder.name();
    let line = before.rsplit('\n').next().unwrap_or_default();
    let within = if line.ends_with(['"', '\'']) {
        Some(Within::Quotes)
    } else {
        within(format, encoder, before)
    };
    let alone = match format.neighbours() {
        // All of the line: systemd knows no quotes after the value's begin.
        None if format == Format::Env => is_assignment(line) && after.trim().is_empty(),
        // A number before these would be a file's.
        None => format != Format::Sh || !after.starts_with(['<', '>']),
        Some((left, right)) => {
            let last = line.trim_end().chars().last();
            let first = after.trim_start().chars().next();
            last.is_none_or(|c| left.contains(c)) && first.is_none_or(|c| right.contains(c))
                // A comment needs a blank before it.
                && !after.starts_with('#')
        }
    };
    let within = match within {
        None if alone => return Ok(()),
        None => Within::Text,
        Some(within) => within,
    };
    let whole = format!("`{{{{ ('…' ~ x ~ '…') | {name} }}}}`");
    let value = "a secret or an output of a step";
    let variable = match format {
        Format::Sh | Format::Env | Format::Conf => {
            format!("put it into a variable first, on a line of its own: `x={{{{ … | {name} }}}}`")
        }
        _ => format!("put all of it through the filter: {whole}"),
    };
    let (message, hint) = match within {
        Within::Quotes => (
            format!("{value} stands within quotes, and `| {name}` brings its own"),
            format!(
                "take the quotes away, or put all of it through the filter: {whole}; or {variable}"
            ),
        ),
        Within::Text => (
            format!("{value} is joined with other text after `| {name}`"),
            format!("join first, then end with the filter: {whole}"),
        ),
        Within::Block => (
            format!(
                "{value} stands within a block of text, where `| {name}` makes no scalar of its own"
            ),
            format!("join first, then end with the filter: {whole}; or {variable}"),
        ),
        Within::Comment => (
            format!("{value} stands in a comment, which a line break in it would end"),
            "take it out of the comment".to_owned(),
        ),
        Within::Unclear => (
            format!(
                "{value} comes after quotes that can't be followed, so it may stand within them"
            ),
            format!("write it before them: {variable}"),
        ),
    };
    Err(Misplaced { message, hint })
}

/// Returns whether a line is `NAME=` and nothing else.
fn is_assignment(line: &str) -> bool {
    let line = line.trim_start();
    let name = line.strip_prefix("export ").unwrap_or(line);
    name.strip_suffix('=').is_some_and(|name| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == VALUE)
    })
}

/// What a value stands in that keeps it from being a scalar of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Quotes,
    /// Other text of the same scalar or word.
    Text,
    /// A here-document or a block scalar.
    Block,
    Comment,
    /// Nobody can tell from the text alone, or readers differ.
    Unclear,
}

/// Returns what the end of a text is within. Where in doubt it is within something.
fn within(format: Format, encoder: Encoder, text: &str) -> Option<Within> {
    match format {
        Format::Sh => shell(text),
        Format::Env => {
            // For systemd the next line is still the comment.
            let goes_on =
                |line: &str| line.trim_start().starts_with(['#', ';']) && line.ends_with('\\');
            let unclear = text.lines().any(goes_on).then_some(Within::Unclear);
            unclear.or_else(|| shell(text))
        }
        Format::Yaml => yaml(text),
        Format::Json | Format::Toml => strings(text, format),
        Format::Hcl => hcl(text),
        Format::Systemd => systemd(text),
        Format::Ini => lines(text),
        Format::Conf => lines(text).or_else(|| match encoder {
            Encoder::Sh => shell(text),
            Encoder::Systemd => systemd(text),
            Encoder::Hcl => hcl(text),
            Encoder::Toml => strings(text, Format::Toml),
            _ => None,
        }),
    }
}

/// What is open in a shell script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Single,
    Double,
    Backtick,
    /// `${`
    Brace,
    /// `(` or `$(`; whether right after another, so maybe arithmetic.
    Paren(bool),
}

fn shell(text: &str) -> Option<Within> {
    let mut open: Vec<Open> = Vec::new();
    // Delimiters of here-documents to come, whether tabs before them and quotes around them, and how much is open there.
    let mut documents: Vec<(String, bool, bool, usize)> = Vec::new();
    let mut before = '\n';
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let next = rest[c.len_utf8()..].chars().next();
        let top = open.last().copied();
        at += c.len_utf8();
        if c == '\n' && !documents.is_empty() {
            if documents.iter().any(|document| document.3 != open.len()) {
                return Some(Within::Unclear);
            }
            for (end, tabs, quoted, depth) in documents.drain(..) {
                let mut joined = false;
                loop {
                    let Some((line, _)) = text[at..].split_once('\n') else {
                        return Some(Within::Block);
                    };
                    at += line.len() + 1;
                    let line = if tabs {
                        line.trim_start_matches('\t')
                    } else {
                        line
                    };
                    let after = line.strip_prefix(end.as_str());
                    if after.is_some_and(|after| {
                        (after.is_empty() && joined) || (after.starts_with(')') && depth > 0)
                    }) {
                        return Some(Within::Unclear);
                    }
                    if after == Some("") {
                        break;
                    }
                    joined = !quoted && line.ends_with('\\');
                }
            }
            before = '\n';
            continue;
        }
        if top == Some(Open::Single) {
            if c == '\'' {
                open.pop();
            }
            continue;
        }
        if c == '\\' {
            let Some(next) = next else {
                return Some(Within::Text);
            };
            at += next.len_utf8();
            if next != '\n' {
                before = 'x';
            }
            continue;
        }
        if top == Some(Open::Backtick) {
            if c == '`' {
                open.pop();
            }
            continue;
        }
        let quoted = open.iter().rev().find(|open| **open != Open::Brace) == Some(&Open::Double);
        let starts = before.is_whitespace() || ";&|()<>".contains(before);
        let in_word = matches!(top, Some(Open::Double | Open::Brace));
        let was = std::mem::replace(&mut before, c);
        match c {
            '`' => open.push(Open::Backtick),
            '$' if next.is_none() => return Some(Within::Text),
            '$' if next == Some('\'') && !quoted => return Some(Within::Unclear),
            '$' if matches!(next, Some('(' | '{')) => {
                at += 1;
                let paren = next == Some('(');
                open.push(if paren {
                    Open::Paren(false)
                } else {
                    Open::Brace
                });
                before = next.unwrap_or(c);
            }
            '"' if top == Some(Open::Double) => _ = open.pop(),
            '"' => open.push(Open::Double),
            '}' if top == Some(Open::Brace) => _ = open.pop(),
            // Some shells quote by it there, some do not.
            '\'' if quoted && top == Some(Open::Brace) => return Some(Within::Unclear),
            '\'' if !quoted => open.push(Open::Single),
            _ if in_word => {}
            '(' => open.push(Open::Paren(was == '(')),
            ')' => {
                if matches!(top, Some(Open::Paren(_))) {
                    open.pop();
                }
            }
            // After `$( )` it goes on with the word, after `( )` it does not.
            '#' if was == ')' => return Some(Within::Unclear),
            '#' if starts => match text[at..].find('\n') {
                Some(end) => at += end,
                None => return Some(Within::Comment),
            },
            // Its patterns close more than was opened.
            'c' if starts
                && rest.starts_with("case")
                && rest[4..].starts_with(char::is_whitespace)
                && open
                    .iter()
                    .any(|open| matches!(open, Open::Double | Open::Brace)) =>
            {
                return Some(Within::Unclear);
            }
            '<' if rest.starts_with("<<<") => at += 2,
            '<' if next == Some('<') => {
                if open.contains(&Open::Paren(true)) {
                    return Some(Within::Unclear);
                }
                at += 1;
                let tabs = text[at..].starts_with('-');
                at += usize::from(tabs);
                at += text[at..].len() - text[at..].trim_start_matches([' ', '\t']).len();
                let Some(end) =
                    text[at..].find(|c: char| c.is_whitespace() || ";&|()<>".contains(c))
                else {
                    return Some(Within::Block);
                };
                let word = &text[at..at + end];
                let bare = word
                    .strip_prefix('\\')
                    .or_else(|| word.strip_prefix('\'')?.strip_suffix('\''))
                    .or_else(|| word.strip_prefix('"')?.strip_suffix('"'));
                let delimiter = bare.unwrap_or(word);
                let plain = |c: char| c.is_alphanumeric() || "_-.!+".contains(c);
                if delimiter.is_empty() || !delimiter.chars().all(plain) {
                    return Some(Within::Unclear);
                }
                documents.push((delimiter.to_owned(), tabs, bare.is_some(), open.len()));
                at += end;
                before = 'x';
            }
            _ => {}
        }
    }
    if open.iter().any(|open| *open != Open::Paren(false)) {
        Some(Within::Quotes)
    } else if documents.is_empty() {
        None
    } else {
        Some(Within::Unclear)
    }
}

fn yaml(text: &str) -> Option<Within> {
    let mut quote: Option<char> = None;
    let mut flow = 0_usize;
    // Whether the last that came was a plain scalar, which a line further in goes on with.
    let mut plain = false;
    // The column that what comes is within: of the last key, or dash; 0 where there is none.
    let mut parent = 0;
    // The column from which on all is of a block scalar.
    let mut block: Option<usize> = None;
    let mut token = true;
    let mut rest = text.split('\n').peekable();
    while let Some(line) = rest.next() {
        let last = rest.peek().is_none();
        let line: Vec<char> = line.chars().collect();
        let indent = line.iter().take_while(|c| **c == ' ').count();
        let blank = line.iter().all(|c| c.is_whitespace());
        let mut at = 0;
        if quote.is_none() {
            if blank && !last {
                continue;
            }
            match block {
                Some(from) if indent >= from && last => return Some(Within::Block),
                Some(from) if indent >= from => continue,
                _ => block = None,
            }
            at = indent;
            token = true;
            let first = line.get(at).copied();
            if flow == 0 && (line.starts_with(&['-'; 3]) || line.starts_with(&['.'; 3])) {
                (plain, parent) = (false, 0);
                if line.get(3).map_or(!last, |c| c.is_whitespace()) {
                    at = 3;
                }
            }
            let goes_on = if flow > 0 {
                !matches!(first, Some(',' | ']' | '}' | ':' | '#'))
            } else {
                at >= parent && first != Some('#')
            };
            if plain && goes_on {
                match (last, flow) {
                    (true, _) => return Some(Within::Text),
                    (false, 0) => continue,
                    (false, _) => return Some(Within::Unclear),
                }
            }
        }
        // Where what may be a key begins.
        let mut start = None;
        while let Some(&c) = line.get(at) {
            let next = line.get(at + 1).copied();
            // The value itself comes next at the end of all.
            let ends = next.map_or(!last, char::is_whitespace);
            let previous = at.checked_sub(1).map(|at| line[at]);
            at += 1;
            match (quote, c) {
                (Some('"'), '\\') => at += 1,
                (Some('\''), '\'') if next == Some('\'') => at += 1,
                (Some(quoted), _) => {
                    if quoted == c {
                        quote = None;
                    }
                }
                (None, '#') if previous.is_none_or(char::is_whitespace) => {
                    if last {
                        return Some(Within::Comment);
                    }
                    break;
                }
                (None, c) if c.is_whitespace() => {}
                (None, '"' | '\'') if token => {
                    quote = Some(c);
                    start.get_or_insert(at - 1);
                    (token, plain) = (false, false);
                }
                (None, '-' | '?') if token && flow == 0 && ends => parent = at,
                (None, ':') if ends || (flow > 0 && matches!(previous, Some('"' | '\''))) => {
                    if flow == 0 {
                        parent = start.take().unwrap_or(at - 1) + 1;
                    }
                    (token, plain) = (true, false);
                }
                (None, '[' | '{') if token || flow > 0 => {
                    flow += 1;
                    (token, plain) = (true, false);
                }
                (None, ']' | '}') if flow > 0 => {
                    flow -= 1;
                    (token, plain) = (false, false);
                }
                (None, ',') if flow > 0 => (token, plain) = (true, false),
                (None, '|' | '>') if token && flow == 0 => {
                    if last {
                        return Some(Within::Block);
                    }
                    block = Some(parent);
                    break;
                }
                (None, '!' | '&') if token => {
                    start.get_or_insert(at - 1);
                    while line
                        .get(at)
                        .is_some_and(|c| !c.is_whitespace() && !",]}".contains(*c))
                    {
                        at += 1;
                    }
                }
                (None, c) => {
                    if token {
                        start.get_or_insert(at - 1);
                    }
                    (token, plain) = (false, c != VALUE);
                }
            }
        }
    }
    match quote {
        Some(_) => Some(Within::Quotes),
        None => (!token).then_some(Within::Text),
    }
}

/// JSON's and TOML's strings.
fn strings(text: &str, format: Format) -> Option<Within> {
    let toml = format == Format::Toml;
    let mut rest = text;
    while let Some(at) = rest.find(|c| c == '"' || (toml && matches!(c, '\'' | '#'))) {
        let quote = &rest[at..=at];
        let long = quote.repeat(3);
        rest = &rest[at + 1..];
        if quote == "#" {
            let Some((_, after)) = rest.split_once('\n') else {
                return Some(Within::Comment);
            };
            rest = after;
            continue;
        }
        let long = toml && rest.starts_with(&long[1..]);
        rest = &rest[if long { 2 } else { 0 }..];
        let Some(after) = string_after(rest, quote, long) else {
            return Some(Within::Quotes);
        };
        rest = after;
    }
    None
}

/// Returns what comes after a string whose opening quote was before `text`, if it ends.
fn string_after<'a>(text: &'a str, quote: &str, long: bool) -> Option<&'a str> {
    let end = quote.repeat(if long { 3 } else { 1 });
    let mut at = 0;
    loop {
        let c = text[at..].chars().next()?;
        if text[at..].starts_with(&end) {
            // Two more quotes at the end of a long one are of it.
            let after = &text[at + end.len()..];
            return Some(if long {
                after.trim_start_matches(quote)
            } else {
                after
            });
        }
        at += c.len_utf8();
        if c == '\\' && quote == "\"" {
            at += text[at..].chars().next()?.len_utf8();
        }
    }
}

fn hcl(text: &str) -> Option<Within> {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = |end: &str| rest.split_once(end).map(|(_, after)| after);
        rest = if c == '#' || rest.starts_with("//") {
            let Some(after) = skip("\n") else {
                return Some(Within::Comment);
            };
            after
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let Some(after) = comment.split_once("*/") else {
                return Some(Within::Comment);
            };
            after.1
        } else if let Some(after) = rest.strip_prefix("<<") {
            let Some((end, mut body)) = after.split_once('\n') else {
                return Some(Within::Block);
            };
            let end = end.trim_start_matches('-').trim();
            loop {
                let Some((line, after)) = body.split_once('\n') else {
                    return Some(Within::Block);
                };
                body = after;
                if line.trim() == end {
                    break body;
                }
            }
        } else if c == '"' {
            let Some(after) = string_after(&rest[1..], "\"", false) else {
                return Some(Within::Quotes);
            };
            // Strings within `${ }` have quotes of their own.
            let inner = &rest[1..rest.len() - after.len()];
            if inner.contains('\n') {
                return Some(Within::Unclear);
            }
            if inner.contains("${") || inner.contains("%{") {
                let balanced = inner.matches('{').count() == inner.matches('}').count();
                if !balanced {
                    return Some(Within::Unclear);
                }
            }
            after
        } else {
            &rest[c.len_utf8()..]
        };
    }
    None
}

fn systemd(text: &str) -> Option<Within> {
    let mut quote: Option<char> = None;
    let mut goes_on = false;
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let last = lines.peek().is_none();
        if line.trim_start().starts_with(['#', ';']) {
            if last {
                return Some(Within::Comment);
            }
            continue;
        }
        if !goes_on {
            quote = None;
        }
        goes_on = false;
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match (quote, c) {
                (_, '\\') => {
                    goes_on = chars.next().is_none();
                    if goes_on && last {
                        return Some(Within::Text);
                    }
                }
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                _ => {}
            }
        }
    }
    quote.map(|_| Within::Quotes)
}

/// Any quotes, that end with their line or that do not: who reads the file is not known.
fn lines(text: &str) -> Option<Within> {
    let open = |text: &str| {
        let mut quote: Option<char> = None;
        let mut escaped = false;
        for c in text.chars() {
            match (quote, c) {
                _ if escaped => escaped = false,
                (_, '\\') => escaped = true,
                (None, '"' | '\'' | '`') => quote = Some(c),
                (Some(open), c) if open == c => quote = None,
                _ => {}
            }
        }
        quote.is_some() || escaped
    };
    let comment = |line: &&str| line.trim_start().starts_with(['#', ';']);
    let last = text.rsplit('\n').next().unwrap_or_default();
    if comment(&last) {
        return Some(Within::Comment);
    }
    let without: Vec<&str> = text.split('\n').filter(|line| !comment(line)).collect();
    (open(last) || open(&without.join("\n"))).then_some(Within::Quotes)
}

/// Says that a value to come is put in as it is.
#[must_use]
pub fn bare(format: Format) -> Misplaced {
    let name = format.encoders()[0].name();
    Misplaced {
        message: "a secret or an output of a step is put into a structured text as it is: what stands in it could become \
                  more than one value"
            .to_owned(),
        hint: format!("end it with `| {name}`, without quotes around it: `{{{{ … | {name} }}}}`"),
    }
}

#[cfg(test)]
#[path = "structure_tests.rs"]
mod tests;
