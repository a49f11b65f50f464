//! The text of templates, before they are compiled: where code begins and ends in it, and how it is rewritten.
//! Evaluates nothing.

/// Name of the filter that stands at every `{{ }}` when only checking.
pub(super) const LET_THROUGH: &str = "_let_through";

/// Returns `text` with every `{{ expression }}` sent through the filter that lets nothing at all be put into text.
pub(super) fn forgiving(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(start) = rest
        .find("{{")
        .into_iter()
        .chain(rest.find("{%"))
        .chain(rest.find("{#"))
        .min()
    {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let close = match &rest[..2] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let end = if close == "#}" {
            rest.find(close)
        } else {
            end_of_code(rest, close)
        };
        let Some(end) = end else { break };
        let (code, after) = rest.split_at(end + 2);
        if close == "}}" {
            let inner = &code[2..code.len() - 2];
            let (open, inner) = inner
                .strip_prefix('-')
                .map_or(("{{", inner), |inner| ("{{-", inner));
            let (end, inner) = inner
                .strip_suffix('-')
                .map_or(("}}", inner), |inner| ("-}}", inner));
            let inner = lenient(inner);
            out.push_str(&format!("{open} ({inner}) | {LET_THROUGH} {end}"));
        } else if close == "%}" {
            out.push_str(&lenient(code));
        } else {
            out.push_str(code);
        }
        rest = after;
        if close == "%}" && code.trim_matches(['{', '%', '-', '+', '}', ' ']) == "raw" {
            let raw = rest.find("endraw").unwrap_or(rest.len());
            out.push_str(&rest[..raw]);
            rest = &rest[raw..];
        }
    }
    out.push_str(rest);
    out
}

/// A piece of code within the text of a template.
pub(super) struct Code {
    /// Where it begins, braces included.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Whether it puts a value in: `{{ … }}`, not `{% … %}`.
    pub puts_in: bool,
}

impl Code {
    /// Returns what stands between the braces.
    pub fn inner<'a>(&self, text: &'a str) -> &'a str {
        let inner = &text[self.start + 2..self.end - 2];
        let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
        inner.strip_suffix(['-', '+']).unwrap_or(inner).trim()
    }
}

/// Returns the code within a template in order, without comments and what is `raw`.
pub(super) fn codes(text: &str) -> Vec<Code> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find('{').map(|open| at + open) {
        let rest = &text[open..];
        let (close, puts_in) = match rest.as_bytes().get(1) {
            Some(b'{') => ("}}", true),
            Some(b'%') => ("%}", false),
            Some(b'#') => {
                let Some(end) = rest.find("#}") else { break };
                at = open + end + 2;
                continue;
            }
            _ => {
                at = open + 1;
                continue;
            }
        };
        let Some(end) = end_of_code(rest, close) else {
            break;
        };
        let code = Code {
            start: open,
            end: open + end + 2,
            puts_in,
        };
        at = code.end;
        if !puts_in && code.inner(text) == "raw" {
            at += text[at..].find("endraw").unwrap_or(text.len() - at);
        }
        found.push(code);
    }
    found
}

/// Returns `code` with both sides of every `~` sent through the filter that lets nothing at all be put into text.
pub(super) fn lenient(code: &str) -> String {
    if !code.contains('~') {
        return code.to_owned();
    }
    let mut out = String::with_capacity(code.len() + 64);
    let mut at = 0;
    while let Some(c) = code[at..].chars().next() {
        match c {
            '\'' | '"' => {
                let end = at + string_end(&code[at..]);
                out.push_str(&code[at..end]);
                at = end;
            }
            '~' => {
                let start = at + 1;
                let end = start + operand_end(&code[start..]);
                let operand = lenient(&code[start..end]);
                out.push_str(&format!(" | {LET_THROUGH} ~ {operand} | {LET_THROUGH} "));
                at = end;
            }
            c => {
                out.push(c);
                at += c.len_utf8();
            }
        }
    }
    out
}

/// Returns where the string ends that `text` begins with, its closing quote included.
pub(super) fn string_end(text: &str) -> usize {
    let quote = text.chars().next();
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if Some(c) == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Returns where the brackets end that `text` begins with.
pub(super) fn brackets_end(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = text[at..].chars().next() {
        at += match c {
            '\'' | '"' => string_end(&text[at..]),
            c => c.len_utf8(),
        };
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Returns where the operand ends that `text` begins with: a name, text or brackets, what is looked up in it or called, and the
/// filters that it goes through.
fn operand_end(text: &str) -> usize {
    let word = |text: &str| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len())
    };
    let blank = |at: usize| at + (text[at..].len() - text[at..].trim_start().len());
    let mut at = blank(0);
    if text[at..].starts_with(['-', '+']) {
        at = blank(at + 1);
    }
    at += match text[at..].chars().next() {
        Some('\'' | '"') => string_end(&text[at..]),
        Some('(' | '[' | '{') => brackets_end(&text[at..]),
        _ => word(&text[at..]),
    };
    loop {
        let next = blank(at);
        let rest = &text[next..];
        at = match rest.chars().next() {
            Some('(' | '[') => next + brackets_end(rest),
            Some('.' | '|') => {
                let name = blank(next + 1);
                let end = name + word(&text[name..]);
                if end == name {
                    return at;
                }
                end
            }
            _ => return at,
        };
    }
}

/// Returns `text` as one expression that gives the same: `"a-{{ b }}"` → `('a-' ~ (b))`. `None` when it has
/// blocks or comments, or an end is missing.
pub(super) fn as_expression(text: &str) -> Option<String> {
    let literal = |text: &str| {
        format!(
            "'{}'",
            text.replace('\\', "\\\\")
                .replace('\'', "\\'")
                .replace('\n', "\\n")
        )
    };
    if let Some(inner) = single_expression(text)
        && end_of_code(text, "}}") == Some(text.len() - 2)
    {
        return Some(format!("({inner})"));
    }
    if text.contains("{%") || text.contains("{#") {
        return None;
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        if start > 0 {
            parts.push(literal(&rest[..start]));
        }
        rest = &rest[start..];
        let end = end_of_code(rest, "}}")?;
        parts.push(format!("({})", &rest[2..end]));
        rest = &rest[end + 2..];
    }
    if !rest.is_empty() || parts.is_empty() {
        parts.push(literal(rest));
    }
    Some(if parts.len() == 1 {
        parts.remove(0)
    } else {
        format!("({})", parts.join(" ~ "))
    })
}

/// Returns where `close` ends the code that `text` begins with, strings and nested brackets skipped.
fn end_of_code(text: &str, close: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0_u32, None, false);
    for (at, c) in text.char_indices().skip(2) {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, _) if depth == 0 && text[at..].starts_with(close) => return Some(at),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, _) => {}
        }
    }
    None
}

/// Returns what stands between the braces if `text` may be one `{{ expression }}`.
pub(super) fn single_expression(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("{{")?.strip_suffix("}}")?;
    let inner = inner.strip_prefix(['-', '+']).unwrap_or(inner);
    Some(inner.strip_suffix(['-', '+']).unwrap_or(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_a_concatenation_are_let_through() {
        for (code, want) in [
            ("a + b", "a + b"),
            ("a ~ b", "a | L ~ b | L"),
            ("'~' ~ \"\\\"~\"", "'~' | L ~ \"\\\"~\" | L"),
            (
                "a.b['~'] ~ c.d[0](x) | f('~') | g if e else h",
                "a.b['~'] | L ~ c.d[0](x) | f('~') | g | L if e else h",
            ),
            (
                "(a ~ (b ~ c)) | yaml",
                "(a | L ~ (b | L ~ c | L) | L) | yaml",
            ),
            ("a ~ b ~ c", "a | L ~ b | L | L ~ c | L"),
        ] {
            let found = lenient(code).replace(LET_THROUGH, "L");
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(
                words(&found.replace(')', " )")),
                words(&want.replace(')', " )")),
                "{code}"
            );
        }
    }
}
