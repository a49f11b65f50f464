//! Replaces secrets in text that is about to leave Foundry. Does not know where the text goes.
//!
//! Masked are the value itself, its lines, and the forms that tools print it in: base64 (at any offset within a
//! longer text, as in `Authorization: Basic`), hex, percent-encoding, JSON and shell quoting.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::value::Secret;

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// Shorter values are masked only where they stand as a word: `1` or `on` would make all output unreadable, and is no secret.
const MIN_ANYWHERE: usize = 4;
/// Lines of a secret of several lines are masked one by one from this length on; shorter ones say nothing.
const MIN_LINE: usize = 6;
/// Encoded forms count from this length on; shorter ones turn up by chance.
const MIN_ENCODED: usize = 6;

/// What RFC 3986 leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Knows the secrets of a run and covers them in text. Cheap to share; secrets may be added at any time.
#[derive(Default)]
pub struct Masker {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    forms: BTreeSet<String>,
    search: Option<Arc<AhoCorasick>>,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masker")
    }
}

impl Masker {
    /// Returns a masker that knows these secrets.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret<String>>) -> Self {
        let masker = Self::default();
        masker.learn(secrets);
        masker
    }

    /// Adds secrets: text masked from now on holds none of them.
    pub fn learn<'a>(&self, secrets: impl IntoIterator<Item = &'a Secret<String>>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.forms.len();
        for secret in secrets {
            add_forms(secret.expose(), &mut known.forms);
        }
        if known.forms.len() > before {
            // Fails only beyond gigabytes of secrets; then what is known already stays masked.
            if let Ok(search) = AhoCorasick::new(&known.forms) {
                known.search = Some(Arc::new(search));
            }
        }
    }

    /// Returns the text with every known secret replaced by [`REDACTED`]. Text is masked as a whole or line by line;
    /// a secret that is cut between two calls is not found.
    #[must_use]
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let search = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            known.search.clone()
        };
        let Some(search) = search else {
            return Cow::Borrowed(text);
        };
        // All matches, overlapping ones too: of `abcd` and `cdef` in `abcdef` none may leave its rest behind.
        let mut spans: Vec<(usize, usize)> = search
            .find_overlapping_iter(text)
            .map(|found| (found.start(), found.end()))
            .filter(|&(start, end)| end - start >= MIN_ANYWHERE || is_word(text, start, end))
            .collect();
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        spans.sort_unstable();
        let mut masked = String::with_capacity(text.len());
        let mut shown = 0;
        for (start, end) in spans {
            if start > shown || shown == 0 && masked.is_empty() {
                masked.push_str(&text[shown..start]);
                masked.push_str(REDACTED);
            }
            shown = shown.max(end);
        }
        masked.push_str(&text[shown..]);
        Cow::Owned(masked)
    }
}

/// Returns whether nothing that could belong to a word stands on either side.
fn is_word(text: &str, start: usize, end: usize) -> bool {
    let before = text[..start].chars().next_back();
    let after = text[end..].chars().next();
    ![before, after]
        .into_iter()
        .flatten()
        .any(char::is_alphanumeric)
}

/// Adds every form in which a value may turn up.
fn add_forms(value: &str, forms: &mut BTreeSet<String>) {
    let trimmed = value.trim();
    if trimmed.is_empty() {
        return;
    }
    add_spellings(trimmed, forms);
    if value.len() != trimmed.len() {
        // With its final newline the last characters of base64 and the escapes differ.
        add_spellings(value, forms);
    }
    for line in trimmed.lines().map(str::trim) {
        if line.len() >= MIN_LINE && line.len() < trimmed.len() {
            add_spellings(line, forms);
        }
    }
}

fn add_spellings(value: &str, forms: &mut BTreeSet<String>) {
    forms.insert(value.to_owned());
    let json = serde_json::Value::from(value).to_string();
    let percent = utf8_percent_encode(value, UNRESERVED).to_string();
    let spellings = [
        json[1..json.len() - 1].to_owned(),
        value.replace('\'', r"'\''"),
        percent.replace("%20", "+"),
        lower_escapes(&percent),
        percent,
    ];
    forms.extend(spellings.into_iter().filter(|form| form != value));
    let hex = hex::encode(value);
    let whole = [STANDARD_NO_PAD.encode(value), URL_SAFE_NO_PAD.encode(value)];
    let encoded = whole
        .into_iter()
        .chain([hex.to_uppercase(), hex])
        .chain((0..3).flat_map(|offset| {
            [
                within_base64(&STANDARD_NO_PAD, value, offset),
                within_base64(&URL_SAFE_NO_PAD, value, offset),
            ]
        }));
    forms.extend(encoded.filter(|form| form.len() >= MIN_ENCODED));
}

/// Returns percent-encoding with lower-case hex, as some tools write it.
fn lower_escapes(percent: &str) -> String {
    let mut text = String::with_capacity(percent.len());
    let mut escape = 0_u8;
    for c in percent.chars() {
        if c == '%' {
            escape = 2;
            text.push(c);
        } else if escape > 0 {
            escape -= 1;
            text.push(c.to_ascii_lowercase());
        } else {
            text.push(c);
        }
    }
    text
}

/// Returns the characters of base64 that the value alone decides when `offset` (0..3) bytes of a group stand before it.
fn within_base64(engine: &impl base64::Engine, value: &str, offset: usize) -> String {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(value.as_bytes());
    let text = engine.encode(&bytes);
    let first = (offset * 8).div_ceil(6);
    let last = bytes.len() * 8 / 6;
    text.get(first..last).unwrap_or("").to_owned()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    fn masker(secrets: &[&str]) -> Masker {
        let secrets: Vec<_> = secrets
            .iter()
            .map(|text| Secret::new((*text).to_owned()))
            .collect();
        Masker::new(&secrets)
    }

    #[test]
    fn masks_every_form() {
        let secret = "p@ss 'wörd'/\"42\"";
        let masker = masker(&[secret]);
        for text in [
            secret.to_owned(),
            STANDARD.encode(secret),
            URL_SAFE.encode(secret),
            STANDARD.encode(format!("admin:{secret}")),
            STANDARD.encode(format!("ad:{secret} and more")),
            hex::encode(secret),
            serde_json::json!({ "password": secret }).to_string(),
            utf8_percent_encode(secret, UNRESERVED).to_string(),
            utf8_percent_encode(secret, UNRESERVED)
                .to_string()
                .to_lowercase(),
            r#"'p@ss '\''wörd'\''/"42"'"#.to_owned(),
        ] {
            let masked = masker.mask(&text);
            assert!(masked.contains(REDACTED), "{text} → {masked}");
            assert!(!masked.contains("42"), "{text} → {masked}");
        }
    }

    #[test]
    fn masks_what_it_should_and_leaves_the_rest() {
        let masker = masker(&[
            "hunter22",
            "abcd",
            "cdef",
            "on",
            "line one\nx\nline two\n",
            "",
            "  ",
        ]);
        for (text, masked) in [
            ("nothing here", "nothing here"),
            ("is hunter22.", "is [redacted]."),
            ("hunter22hunter22", "[redacted]"),
            ("abcdef", "[redacted]"),
            ("switched on, not only", "switched [redacted], not only"),
            ("> line two", "> [redacted]"),
            ("> x", "> x"),
        ] {
            assert_eq!(masker.mask(text), masked, "{text}");
        }
    }

    #[test]
    fn learns_while_it_is_used() {
        let masker = masker(&[]);
        assert_eq!(masker.mask("token abcdef"), "token abcdef");
        masker.learn(&[Secret::new("abcdef".to_owned())]);
        assert_eq!(masker.mask("token abcdef"), "token [redacted]");
        assert_eq!(format!("{masker:?}"), "Masker");
    }

    proptest! {
        #[test]
        fn never_leaves_a_secret(
            secrets in prop::collection::vec("[x-zX-Z0-9:/+ 'ü]{4,12}", 1..5),
            pieces in prop::collection::vec("[x-z0-9 ü]{0,6}", 5),
        ) {
            let known: Vec<_> = secrets.iter().map(|text| Secret::new(text.clone())).collect();
            let masker = Masker::new(&known);
            let mut text = String::new();
            for (secret, piece) in secrets.iter().zip(&pieces) {
                text += piece;
                text += secret;
                text += &STANDARD.encode(format!("{piece}{secret}"));
            }
            let masked = masker.mask(&text);
            for secret in &secrets {
                let secret = secret.trim();
                prop_assume!(secret.len() >= MIN_ANYWHERE);
                prop_assert!(!masked.contains(secret), "{masked}");
                prop_assert!(!masked.contains(&STANDARD.encode(secret)), "{masked}");
            }
            prop_assert_eq!(masker.mask(&masked), masked.clone());
        }
    }
}
