//! Covers values that look like passwords in the text of a config, so that a snippet in an error can be shown
//! anywhere. Works on lines, because it must also work on files that do not parse. Does not know recipes.

/// Returns whether a key's name says that its value is a password or another credential.
#[must_use]
pub fn looks_secret(key: &str) -> bool {
    const WORDS: [&str; 9] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "api_key",
        "apikey",
        "private_key",
        "credential",
    ];
    let key = key.to_lowercase().replace('-', "_");
    WORDS.iter().any(|word| key.contains(word))
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
            covered.push_str(line);
            continue;
        };
        let dashes = body.len() - body.trim_start_matches([' ', '-']).len();
        inside = Some(dashes);
        cover(&mut covered, line, value_at);
    }
    covered
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
";
        assert_eq!(cover_secrets(text), wanted);
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
