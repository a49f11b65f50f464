//! Keeps lines from being commands to a CI runner. Knows how runners tell commands from text.

/// Appends `line`, of which no runner takes anything for a command.
///
/// GitHub takes lines that begin with `::`, blanks before it or not, and `##[` anywhere; Azure `##vso[` anywhere;
/// `TeamCity` `##teamcity[` at the beginning. GitLab's marks are escape sequences, which no text has left by now.
pub(super) fn push(out: &mut String, line: &str) {
    let text = line.trim_start();
    let (blanks, mut rest) = line.split_at(line.len() - text.len());
    out.push_str(blanks);
    if rest.starts_with("::") {
        out.push('\\');
    }
    while let Some(at) = rest.find("##") {
        let (head, tail) = rest.split_at(at);
        let hashes = tail.len() - tail.trim_start_matches('#').len();
        let word = tail[hashes..]
            .find(|c: char| !c.is_ascii_alphanumeric())
            .map_or(tail.len(), |end| hashes + end);
        out.push_str(head);
        out.push_str(&tail[..word]);
        if tail[word..].starts_with('[') {
            out.push('\\');
        }
        rest = &tail[word..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_a_command() {
        for (line, wanted) in [
            ("::error::x", "\\::error::x"),
            ("  ::add-mask::x", "  \\::add-mask::x"),
            ("\u{a0}::stop-commands::x", "\u{a0}\\::stop-commands::x"),
            ("a ::error::x", "a ::error::x"),
            (
                "see ##[error]x ##vso[task.x]y",
                "see ##\\[error]x ##vso\\[task.x]y",
            ),
            ("##teamcity[x]", "##teamcity\\[x]"),
            ("###[x] ## heading, a[0]", "###\\[x] ## heading, a[0]"),
            ("## x [y]", "## x [y]"),
            ("", ""),
        ] {
            let mut out = String::new();
            push(&mut out, line);
            assert_eq!(out, wanted);
        }
    }
}
