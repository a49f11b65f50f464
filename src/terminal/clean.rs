//! How characters that do something other than stand there are shown. Does not know where a text comes from.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::style::sgr;

/// Returns whether `c` may be sent as it is within a line.
fn is_plain(c: char) -> bool {
    match c {
        ' '..='~' | '\t' => true,
        '\u{0}'..='\u{9f}' => false,
        // Formats: invisible, and some of them turn the text after them around.
        '\u{ad}'
        | '\u{600}'..='\u{605}'
        | '\u{61c}'
        | '\u{6dd}'
        | '\u{70f}'
        | '\u{890}'..='\u{891}'
        | '\u{8e2}'
        | '\u{180e}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}'
        | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e007f}' => false,
        // Of no meaning outside of this program; ours are marks.
        '\u{fdd0}'..='\u{fdef}' | '\u{fffe}' | '\u{ffff}' => sgr(c).is_some(),
        _ => true,
    }
}

/// Appends `c` as it is shown: `^[`, `^J`, `^?`, `\u{9b}`, `\u{202e}`.
pub(super) fn push(out: &mut String, c: char) {
    match c {
        c if is_plain(c) => out.push(c),
        '\u{0}'..='\u{1f}' => {
            out.push('^');
            // ^@ to ^_, as terminals and `cat -v` show them.
            out.push(char::from(c as u8 + b'@'));
        }
        '\u{7f}' => out.push_str("^?"),
        // Writing to a String does not fail.
        c => _ = write!(out, "\\u{{{:x}}}", u32::from(c)),
    }
}

/// Returns `text` as one line that does nothing but stand there: line breaks are shown as well.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push(&mut out, c));
    Cow::Owned(out)
}

/// Returns the lines of `text` as one, with a blank between them: for words of somebody who broke them as it pleased.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(['\n', '\r']) {
        return Cow::Borrowed(text);
    }
    let lines = text.split(['\n', '\r']).map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    Cow::Owned(lines.join(" "))
}

/// Returns JSON in which such characters are escaped too: the same value to every program that reads it, and harmless to
/// the terminal or the CI runner that it passes on its way. (JSON itself escapes only C0.)
#[must_use]
pub fn escape_json(json: &str) -> Cow<'_, str> {
    let fine = |c: char| is_plain(c) && sgr(c).is_none() || matches!(c, '\n' | '\r');
    if json.chars().all(fine) && !json.contains("##") {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    let mut hashes = 0;
    for c in json.chars() {
        // `##[`, `##vso[`: what CI runners take for a command wherever it stands.
        hashes = match c {
            '#' => hashes + 1,
            c if c.is_ascii_alphanumeric() && hashes > 1 => hashes,
            '[' if hashes > 1 => {
                out.push_str("\\u005b");
                hashes = 0;
                continue;
            }
            _ => 0,
        };
        if fine(c) {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whatever_does_something_is_shown() {
        for (text, wanted) in [
            ("plain – ✓ äöü 日本", "plain – ✓ äöü 日本"),
            ("a\tb", "a\tb"),
            ("\u{1b}[2J\u{1b}]52;c;x\u{7}", "^[[2J^[]52;c;x^G"),
            ("a\nb\r\n", "a^Jb^M^J"),
            ("\u{9b}2J \u{7f}\u{0}", "\\u{9b}2J ^?^@"),
            ("user\u{202e}nimda", "user\\u{202e}nimda"),
            (
                "a\u{2028}b\u{200b}\u{2066}\u{feff}",
                "a\\u{2028}b\\u{200b}\\u{2066}\\u{feff}",
            ),
            ("\u{fddf}", "\\u{fddf}"),
        ] {
            assert_eq!(shown(text), wanted);
        }
        assert_eq!(one_line(" a\r\n\n  b\rc "), "a b c");
    }

    #[test]
    fn json_stays_the_same_value() {
        for text in [
            "plain",
            "\u{9b}2J\u{7f}",
            "\u{202e}x\u{e0001}",
            "##vso[x] ##[y] a[b]",
            "ä\n\u{1b}",
        ] {
            let json = serde_json::to_string_pretty(&serde_json::json!([{ "a": text }])).unwrap();
            let escaped = escape_json(&json);
            let back: serde_json::Value = serde_json::from_str(&escaped).unwrap();
            assert_eq!(back[0]["a"], text);
            assert!(
                !escaped.contains(['\u{9b}', '\u{7f}', '\u{202e}']),
                "{escaped}"
            );
            assert!(
                !escaped.contains("##vso[") && !escaped.contains("##["),
                "{escaped}"
            );
        }
    }

    proptest! {
        #[test]
        fn nothing_gets_through(text in any::<String>()) {
            prop_assert!(!shown(&text).chars().any(|c| c.is_control() && c != '\t'));
            prop_assert!(shown(&text).lines().count() <= 1);
        }
    }
}
