//! Covers values that look like passwords in the text of a config, so that a snippet in an error can be shown
//! anywhere. Works on lines, because it must also work on files that do not parse. Does not know recipes.

use std::ops::Range;

use super::setting::Span;

/// Returns whether a key's name says that its value is a password or another credential.
#[must_use]
pub fn looks_secret(key: &str) -> bool {
    const WORDS: [&str; 11] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "api_key",
        "apikey",
        "access_key",
        "accesskey",
        "private_key",
        "credential",
    ];
    const WHOLE: [&str; 4] = ["pass", "pwd", "psk", "passcode"];
    let key = key.to_lowercase().replace('-', "_");
    let last = key.rsplit('_').next().unwrap_or_default();
    WORDS.iter().any(|word| key.contains(word)) || WHOLE.contains(&last)
}

/// Overwrites the text at `places` as [`cover_secrets`] does; line breaks and indentation stay.
pub(super) fn cover_places(text: String, places: impl IntoIterator<Item = Span>) -> String {
    let mut bytes = text.into_bytes();
    for place in places {
        let end = place.end.min(bytes.len());
        for byte in bytes.get_mut(place.start..end).into_iter().flatten() {
            if !matches!(byte, b'\n' | b'\r' | b' ') {
                *byte = b'*';
            }
        }
    }
    // A place begins and ends between characters; if one did not, the half that is left is shown as such.
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the text with every literal value of a key that [`looks_secret`] overwritten by as many `*` as it has
/// bytes, so that all places stay where they are. References (`${secret:…}`) stay readable.
pub(super) fn cover_secrets(text: &str) -> String {
    let mut covered = String::with_capacity(text.len());
    // Indentation of a key whose value goes on in deeper lines (block text, folded text, lists).
    let mut inside: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end();
        let indent = body.len() - body.trim_start().len();
        if let Some(key_indent) = inside {
            if body.trim().is_empty() || indent > key_indent {
                cover(&mut covered, line, indent);
                continue;
            }
            inside = None;
        }
        let Some(value_at) = value_of_secret_key(body) else {
            match password_in_url(line) {
                Some(range) => {
                    covered.push_str(&line[..range.start]);
                    covered.extend(std::iter::repeat_n('*', range.len()));
                    covered.push_str(&line[range.end..]);
                }
                None => covered.push_str(line),
            }
            continue;
        };
        let dashes = body.len() - body.trim_start_matches([' ', '-']).len();
        inside = Some(dashes);
        cover(&mut covered, line, value_at);
    }
    covered
}

/// Returns the text with the letters and digits of all values overwritten: what stands after a colon or a dash, or in a
/// line that has neither. References stay, and so do the marks that a mistake may be about: quotes, brackets, tabs.
pub(super) fn cover_values(text: &str) -> String {
    let mut covered = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let key = line.find(": ").map(|colon| colon + 2);
        let ends_with_key = line.trim_end().ends_with(':');
        let item = || {
            let bare = line.trim_start();
            let dash = bare.starts_with("- ");
            if dash { line.len() - bare.len() + 2 } else { 0 }
        };
        let at = match key {
            Some(at) => at,
            None if ends_with_key => line.len(),
            None => item(),
        };
        let value = &line[at..];
        covered.push_str(&line[..at]);
        if value
            .trim_start_matches(['"', '\''])
            .starts_with("${secret:")
            || value.starts_with('#')
        {
            covered.push_str(value);
            continue;
        }
        for c in value.chars() {
            if c.is_alphanumeric() {
                covered.extend(std::iter::repeat_n('*', c.len_utf8()));
            } else {
                covered.push(c);
            }
        }
    }
    covered
}

/// Returns where the password stands in a line with `scheme://user:password@host`. It goes as far as the last `@` of the
/// word: one that holds an `@` unescaped must not lose its tail.
fn password_in_url(line: &str) -> Option<Range<usize>> {
    let mut from = 0;
    while let Some(at) = line[from..].find("://").map(|at| at + from + 3) {
        let word = line[at..].split([' ', '"', '\'', '\n', '\r', ',']).next()?;
        if let Some((login, _)) = word.rsplit_once('@')
            && let Some(colon) = colon_outside_references(login)
            && !login[colon + 1..].starts_with("${secret")
            && colon + 1 < login.len()
        {
            return Some(at + colon + 1..at + login.len());
        }
        from = at;
    }
    None
}

/// Returns where the first colon stands that is not within a `${…}`.
fn colon_outside_references(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let colon = from + text[from..].find(':')?;
        match text[from..colon].find("${") {
            None => return Some(colon),
            Some(opened) => from = from + opened + text[from + opened..].find('}')? + 1,
        }
    }
}

/// Returns where the value begins in a line `key: value` (or `- key: value`, `{ key: value`) whose key looks secret.
fn value_of_secret_key(line: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(colon) = line[from..].find(':').map(|at| at + from) {
        let after = &line[colon + 1..];
        let key = line[..colon]
            .rsplit([' ', ',', '{', '[', '\t'])
            .next()
            .unwrap_or("")
            .trim_matches(['"', '\'']);
        if (after.is_empty() || after.starts_with([' ', '\t'])) && looks_secret(key) {
            return Some(colon + 1 + (after.len() - after.trim_start().len()));
        }
        from = colon + 1;
    }
    None
}

/// Copies `line`, from byte `at` on covered unless that part is a reference, a comment or nothing.
fn cover(covered: &mut String, line: &str, at: usize) {
    let body_end = line.trim_end().len().max(at);
    let value = &line[at..body_end];
    let open = value.trim_matches(['"', '\'']);
    covered.push_str(&line[..at]);
    if open.starts_with("${secret:")
        || open.starts_with('#')
        || ["|", ">", "|-", ">-"].contains(&open)
    {
        covered.push_str(value);
    } else {
        covered.extend(std::iter::repeat_n('*', value.len()));
    }
    covered.push_str(&line[body_end..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_literals_and_nothing_else() {
        let text = "\
admin_password: hunter2
- token: 'abc'
api_key: ${secret:foundry/truenas:api_key}
flow: { password: x, size: 3 }
private_key: |
  line one
  line two
next: shown
tokens:
# comment
url: 'postgres://bao:hunter2@db:5432/x'
plain: http://db:5432/@x
open: postgres://bao:${secret:db:pw}@db
root_pass: hunter2
";
        let wanted = "\
admin_password: *******
- token: *****
api_key: ${secret:foundry/truenas:api_key}
flow: { password: ************
private_key: |
  ********
  ********
next: shown
tokens:
# comment
url: 'postgres://bao:*******@db:5432/x'
plain: http://db:*****@x
open: postgres://bao:${secret:db:pw}@db
root_pass: *******
";
        assert_eq!(cover_secrets(text), wanted);
    }

    #[test]
    fn of_a_file_that_can_not_be_read_no_value_is_shown() {
        let text = "a: hünter2\n- b\n - c: [x, 'y\nfree text\nd:\n  { e: f }\ng: ${secret:a:b}\n";
        let wanted =
            "a: ********\n- *\n - c: [*, '*\n**** ****\nd:\n  { e: * }\ng: ${secret:a:b}\n";
        assert_eq!(cover_values(text), wanted);
    }

    #[test]
    fn keys_that_look_secret() {
        for key in [
            "password",
            "admin-password",
            "apiKey",
            "API_KEY",
            "joinToken",
        ] {
            assert!(looks_secret(key), "{key}");
        }
        for key in ["path", "key", "identity", "host_key", "seal"] {
            assert!(!looks_secret(key), "{key}");
        }
    }
}
