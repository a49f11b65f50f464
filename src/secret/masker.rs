//! Replaces secrets in text that is about to leave Foundry. Does not know where the text goes.
//!
//! Masked are the value itself, its lines, and the forms that tools print it in: base64 (at any offset within a
//! longer text, as in `Authorization: Basic`, and once more in base64), hex with colons or without, percent-encoding, JSON and shell
//! quoting, backwards. All of them in upper and lower case, and with blanks or line breaks anywhere in between, as `fold` and
//! `base64` put them. Of a secret that looks random every piece of [`PIECE`] bytes is masked too, so that a cut one (`%.14s`)
//! does not show.
//!
//! What can't be masked: pieces of a secret that reads like words (they are words of other texts as well), pieces that are
//! shorter, a secret that is compressed, encrypted, hashed or otherwise computed with, and one that is cut between two
//! calls into pieces that are shorter.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::value::Secret;

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// Shorter values are masked only where they stand as a word: `1` or `on` would make all output unreadable, and is no secret.
const MIN_ANYWHERE: usize = 4;
/// Lines of a secret of several lines are masked one by one from this length on; shorter ones say nothing.
const MIN_LINE: usize = 6;
/// Encoded forms count from this length on; shorter ones turn up by chance.
const MIN_ENCODED: usize = 6;
/// From this length on, case and blanks within a form don't matter; shorter ones would turn up by chance.
const MIN_LOOSE: usize = 8;
/// Length of the pieces of a random secret that are masked by themselves, in bytes.
const PIECE: usize = 8;
/// A secret must have so many bytes for its pieces to be masked: of a shorter one a piece is most of it.
const MIN_PIECES: usize = 16;
/// Longest secret whose pieces are masked. Each costs memory: a longer one is a file, whose lines are masked.
const MAX_PIECES: usize = 160;

/// How many secrets are masked in pieces too: with more, pieces would take tens of megabytes.
const MOST_IN_PIECES: usize = 256;

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
    values: Vec<Zeroizing<String>>,
    /// Searches for the first of the values, a few each. Those that came since are searched for when text is masked next: so
    /// that to learn a secret at a time costs no more than to learn them all at once, but for a logarithm.
    searches: Vec<Arc<Search>>,
}

impl Known {
    /// Returns how many of the values are searched for.
    fn covered(&self) -> usize {
        self.searches.iter().map(|search| search.values).sum()
    }

    /// Has all values searched for.
    fn cover(&mut self) {
        let all = self.values.len();
        let mut from = self.covered();
        if from == all {
            return;
        }
        while let Some(last) = self.searches.last()
            && last.values <= all - from
        {
            from -= last.values;
            self.searches.pop();
        }
        self.searches.push(Arc::new(Search::of(&self.values, from)));
    }
}

/// What is looked for.
struct Search {
    /// How many values it is for.
    values: usize,
    /// Short forms, as they are.
    exact: Option<AhoCorasick>,
    /// Longer ones: without blanks, in any case.
    loose: Option<AhoCorasick>,
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
        for secret in secrets {
            let value = secret.expose();
            let new = !known.values.iter().any(|known| **known == *value);
            if new && !value.trim().is_empty() {
                known.values.push(Zeroizing::new(value.clone()));
            }
        }
    }

    fn searches(&self) -> Vec<Arc<Search>> {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.covered() == known.values.len() {
                return known.searches.clone();
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.cover();
        known.searches.clone()
    }

    /// Returns the text with every known secret replaced by [`REDACTED`]. Text is masked as a whole or line by line.
    #[must_use]
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if text.is_empty() {
            return Cow::Borrowed(text);
        }
        let searches = self.searches();
        if searches.is_empty() {
            return Cow::Borrowed(text);
        }
        let bare = text.bytes().any(is_blank).then(|| without_blanks(text));
        let mut spans = Vec::new();
        for search in &searches {
            search.spans(text, bare.as_ref(), &mut spans);
        }
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

impl Search {
    /// Makes the search for all values from number `from` on.
    fn of(values: &[Zeroizing<String>], from: usize) -> Self {
        let mut forms = Forms::default();
        for (number, value) in values.iter().enumerate().skip(from) {
            add_forms(value, number < MOST_IN_PIECES, &mut forms);
        }
        Self {
            values: values.len() - from,
            // It fails only beyond gigabytes of secrets.
            exact: AhoCorasick::new(&forms.exact).ok(),
            loose: AhoCorasick::builder()
                .ascii_case_insensitive(true)
                .build(&forms.loose)
                .ok(),
        }
    }

    /// Adds where secrets stand in `text`, of which `bare` is what is left without blanks, if it has any. All matches,
    /// overlapping ones too: of `abcd` and `cdef` in `abcdef` none may leave its rest behind.
    fn spans(&self, text: &str, bare: Option<&Bare>, spans: &mut Vec<(usize, usize)>) {
        if let Some(exact) = &self.exact {
            let found = exact.find_overlapping_iter(text);
            let found = found.map(|found| (found.start(), found.end()));
            spans.extend(
                found.filter(|&(start, end)| {
                    end - start >= MIN_ANYWHERE || is_word(text, start, end)
                }),
            );
        }
        if let Some(loose) = &self.loose {
            match bare {
                Some(Bare { bytes, places }) => {
                    let found = loose.find_overlapping_iter(bytes);
                    // The end is that of the last byte found: blanks after it stay.
                    spans.extend(
                        found.map(|found| (places[found.start()], places[found.end() - 1] + 1)),
                    );
                }
                None => {
                    let found = loose.find_overlapping_iter(text);
                    spans.extend(found.map(|found| (found.start(), found.end())));
                }
            }
        }
    }
}

/// A text without blanks, and where each byte stood.
struct Bare {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn without_blanks(text: &str) -> Bare {
    let mut bare = Bare {
        bytes: Vec::with_capacity(text.len()),
        places: Vec::with_capacity(text.len()),
    };
    for (place, byte) in text.bytes().enumerate() {
        if !is_blank(byte) {
            bare.bytes.push(byte);
            bare.places.push(place);
        }
    }
    bare
}

/// Forms to look for.
#[derive(Default)]
struct Forms {
    exact: BTreeSet<String>,
    loose: BTreeSet<String>,
}

impl Forms {
    fn insert(&mut self, form: String) {
        let bare: String = form
            .chars()
            .filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\n'))
            .collect();
        if bare.len() >= MIN_LOOSE {
            self.loose.insert(bare);
        } else {
            self.exact.insert(form);
        }
    }

    /// Adds every piece of a form.
    fn insert_pieces(&mut self, form: &str) {
        for (start, _) in form.char_indices() {
            let Some(end) = (start + PIECE..=form.len()).find(|end| form.is_char_boundary(*end))
            else {
                return;
            };
            self.loose.insert(form[start..end].to_owned());
        }
    }
}

/// Returns whether a secret looks as if nobody had thought it up: letters and digits, upper and lower case change often.
/// Pieces of such a one stand in no other text.
fn looks_random(value: &str) -> bool {
    if !(MIN_PIECES..=MAX_PIECES).contains(&value.len()) || value.bytes().any(is_blank) {
        return false;
    }
    let kind = |byte: u8| match byte {
        b'0'..=b'9' => Some(0),
        b'a'..=b'z' => Some(1),
        b'A'..=b'Z' => Some(2),
        _ => None,
    };
    let kinds: Vec<u8> = value.bytes().filter_map(kind).collect();
    let changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    kinds.len() >= MIN_PIECES && changes * 5 >= kinds.len()
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
fn add_forms(value: &str, pieces: bool, forms: &mut Forms) {
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
    if pieces && looks_random(trimmed) {
        forms.insert_pieces(trimmed);
        forms.insert_pieces(&hex::encode(trimmed));
        for offset in 0..3 {
            forms.insert_pieces(&within_base64(&STANDARD_NO_PAD, trimmed, offset));
        }
    }
}

fn add_spellings(value: &str, forms: &mut Forms) {
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
    let long = |form: &String| form.len() >= MIN_ANYWHERE && form != value;
    spellings
        .into_iter()
        .filter(long)
        .for_each(|form| forms.insert(form));
    if value.len() >= MIN_LOOSE {
        forms.insert(value.chars().rev().collect());
    }
    let hex = hex::encode(value);
    let bytes: Vec<&str> = (0..hex.len())
        .step_by(2)
        .map(|at| &hex[at..at + 2])
        .collect();
    let once = STANDARD.encode(value);
    let twice = STANDARD.encode(&once);
    let encoded = [
        STANDARD_NO_PAD.encode(value),
        URL_SAFE_NO_PAD.encode(value),
        twice.trim_end_matches('=').to_owned(),
        twice,
        once,
        bytes.join(":"),
        hex.to_uppercase(),
        hex,
    ]
    .into_iter()
    .chain((0..3).flat_map(|offset| {
        [
            within_base64(&STANDARD_NO_PAD, value, offset),
            within_base64(&URL_SAFE_NO_PAD, value, offset),
        ]
    }));
    let long = |form: &String| form.len() >= MIN_ENCODED;
    encoded.filter(long).for_each(|form| forms.insert(form));
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
    fn masks_what_is_folded_cut_or_turned() {
        let secret = "4f9aQ17c0eBd83x2Zk61Lm";
        let masker = masker(&[secret, "correct horse battery staple", "on"]);
        let fold = |text: &str, width: usize| -> String {
            let pieces: Vec<String> = text
                .as_bytes()
                .chunks(width)
                .map(|piece| String::from_utf8(piece.to_vec()).unwrap())
                .collect();
            pieces.join("\n")
        };
        let base64 = STANDARD.encode(secret);
        for text in [
            // `printf %.14s`, `cut -c5-`, `head -c 8`.
            secret[..14].to_owned(),
            secret[5..].to_owned(),
            secret[3..11].to_owned(),
            format!("x{}y", &hex::encode(secret)[6..20]),
            base64[2..14].to_owned(),
            STANDARD.encode(format!("user:{secret}"))[8..20].to_owned(),
            // `fold -w 9`, `base64 -w 10`, `xxd`, `openssl`.
            fold(secret, 9),
            fold(&base64, 10),
            fold(&hex::encode(secret), 2).replace('\n', " "),
            fold(&hex::encode(secret), 2)
                .replace('\n', ":")
                .to_uppercase(),
            secret.to_uppercase(),
            secret.to_lowercase(),
            secret.chars().rev().collect(),
            STANDARD.encode(&base64),
            "CORRECT HORSE\r\n  battery staple".to_owned(),
            "correcthorsebatterystaple".to_owned(),
        ] {
            let whole = format!("before {text} after");
            let masked = masker.mask(&whole);
            assert_eq!(
                masked.trim_start_matches("before ").trim_start_matches('x'),
                if text.starts_with('x') {
                    "[redacted]y after"
                } else {
                    "[redacted] after"
                },
                "{text}"
            );
        }
        // Each line by itself, as a step says them.
        for line in fold(secret, 9).lines().take(2) {
            assert_eq!(masker.mask(line), REDACTED);
        }
        // Words of a secret that reads like words are words; pieces too short to tell are shown.
        for text in ["a horse and a battery", "4f9aQ17", "switched on and only"] {
            assert_eq!(
                masker.mask(text).contains(REDACTED),
                text.contains(" on "),
                "{text}"
            );
        }
    }

    #[test]
    fn many_are_learned_one_by_one_and_all_are_known() {
        let masker = masker(&[]);
        let secret =
            |number: u32| Secret::new(hex::encode(blake3::hash(&number.to_le_bytes()).as_bytes()));
        for number in 0..100 {
            masker.learn([&secret(number)]);
            let text = format!("is {} here", secret(number / 2).expose());
            assert_eq!(masker.mask(&text), "is [redacted] here", "{number}");
            let known = masker.known.read().unwrap();
            assert!(known.searches.len() <= 8, "{}", known.searches.len());
            assert_eq!(known.covered(), known.values.len());
        }
        for number in 0..100 {
            assert_eq!(masker.mask(secret(number).expose()), REDACTED);
        }
    }

    #[test]
    fn names_and_addresses_do_not_pass_for_random() {
        for text in [
            "postgres://bao:hunter2@db-1.example.com/openbao",
            "node-1.example.com-token",
            "correct-horse-battery-staple-2026",
            "AAAABBBBCCCCDDDD",
            "short1A2b3C",
        ] {
            assert!(!looks_random(text), "{text}");
        }
        for text in [
            "0f3e9a1b2c4d5e6f708192a3b4c5d6e7",
            "s.Zk61Lm4f9aQ17c0eBd83",
            "8f14e45f-ceea-467f-a0e6-1c2f1e5d7b9a",
        ] {
            assert!(looks_random(text), "{text}");
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
