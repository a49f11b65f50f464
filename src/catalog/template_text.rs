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
            out.push_str(&format!("{open} ({inner}) | {LET_THROUGH} {end}"));
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
