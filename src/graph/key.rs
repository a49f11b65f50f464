//! Keys of steps: same key, same desired state. Knows values that are all there; does not fill holes and does not
//! know what is live.
//!
//! One walk over a step feeds two sinks, the hasher and the explanation, so that an explanation can't drift from
//! its key. The encoding, written down because a key outlives the program that made it (it is the stamp on hosts):
//!
//! | what | bytes |
//! |---|---|
//! | a key | BLAKE3 derive-key with the context `foundry 2026 step key v1` over all below, in this order |
//! | task | its name as text, then the 32 bytes of its definition's digest |
//! | target | tag: 0 host, 1 group, 2 service (then its name as text), 3 gather. Never which hosts |
//! | inputs | count, then by name in byte order: name as text, type, value |
//! | type | tag as in [`Sink::kind`]; a list or mapping is followed by its element's, an enumeration by its count and words |
//! | value | tag: 0 null, 1 boolean, 2 number, 3 text, 4 secret, 5 list, 6 mapping; then its content |
//! | boolean | tag 0 or 1 |
//! | number | i64, little-endian |
//! | text | length in bytes as u64, then UTF-8 |
//! | secret | the 32 bytes of its fingerprint: BLAKE3 keyed with the stack's own key |
//! | list | count, then its values in order |
//! | mapping | count, then by key in byte order: key as text, value |
//! | tag | u32, little-endian |
//! | count | u64, little-endian |
//!
//! An output of another step has taken its place among the inputs by now; what it was enters as a value.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::step::Target;
use crate::catalog::{Task, Value, ValueType, Values};
use crate::secret::Secret;

/// Domain of keys. Changing it makes every stamp on every host another's.
const CONTEXT: &str = "foundry 2026 step key v1";

/// Domain of the names of fingerprint keys.
const KEY_ID_CONTEXT: &str = "foundry 2026 fingerprint key id v1";

/// Longest text that is shown as it is, in bytes.
const SHORT: usize = 64;

/// Digest of a step: its task's definition and all its inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 32]);

impl fmt::Display for Key {
    /// Writes it in hex.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Makes fingerprints of secrets that are of no use to whoever reads one on a host: without the stack's own key a
/// weak password can't be guessed from it.
#[derive(Debug, Clone)]
pub struct Fingerprints {
    id: String,
    key: Secret<[u8; 32]>,
    standing: Standing,
}

/// What is known of the key that fingerprints are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the stack's own: fingerprints of other runs were made with it too.
    Kept,
    /// It is one of this run's; the stack's own can't be read at the moment.
    Awaited,
    /// It is one of this run's, and the stack has none.
    Passing,
}

impl Fingerprints {
    /// Secret (`path:key`) that holds the stack's own key, as 64 digits of hex.
    pub const SECRET: (&str, &str) = ("foundry/fingerprints", "key");

    /// Makes fingerprints with `key`; `id` names it in stamps and may be shown.
    #[must_use]
    pub fn new(id: String, key: Secret<[u8; 32]>) -> Self {
        Self {
            id,
            key,
            standing: Standing::Kept,
        }
    }

    /// Makes fingerprints with `key`, whose name follows from it: one key has one name wherever it is used.
    #[must_use]
    pub fn by(key: Secret<[u8; 32]>, standing: Standing) -> Self {
        let id = blake3::Hasher::new_derive_key(KEY_ID_CONTEXT)
            .update(key.expose())
            .finalize()
            .to_hex()[..8]
            .to_owned();
        Self { id, key, standing }
    }

    /// Makes fingerprints with the stack's own key as it is kept; `None` if that is no key.
    #[must_use]
    pub fn kept(hex: &Secret<String>) -> Option<Self> {
        let mut key = [0; 32];
        hex::decode_to_slice(hex.expose().trim(), &mut key).ok()?;
        Some(Self::by(Secret::new(key), Standing::Kept))
    }

    /// Returns the same fingerprints with another standing.
    #[must_use]
    pub fn standing_as(&self, standing: Standing) -> Self {
        Self {
            standing,
            ..self.clone()
        }
    }

    /// Returns what is known of the key.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Returns the name of the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn of(&self, secret: &Secret<String>) -> blake3::Hash {
        blake3::keyed_hash(self.key.expose(), secret.expose().as_bytes())
    }
}

/// What stands for secrets in a walk.
trait Prints {
    fn print(&self, secret: &Secret<String>) -> [u8; 32];
}

impl Prints for Fingerprints {
    fn print(&self, secret: &Secret<String>) -> [u8; 32] {
        *self.of(secret).as_bytes()
    }
}

/// All secrets alike.
struct Blank;

impl Prints for Blank {
    fn print(&self, _: &Secret<String>) -> [u8; 32] {
        [0; 32]
    }
}

/// Returns the key that such a step would have if all secrets were the same: two steps that have it in common differ at most
/// in values of secrets, whatever their fingerprints were made with. Says nothing of any secret.
#[must_use]
pub fn public_key(task: &Task, target: &Target, inputs: &Values) -> Key {
    let mut hasher = Hasher(blake3::Hasher::new_derive_key(CONTEXT));
    walk(&mut hasher, task, target, inputs, &Blank);
    Key(*hasher.0.finalize().as_bytes())
}

/// Returns the key of a step that uses `task` on `target` with `inputs`.
#[must_use]
pub fn key(task: &Task, target: &Target, inputs: &Values, secrets: &Fingerprints) -> Key {
    let mut hasher = Hasher(blake3::Hasher::new_derive_key(CONTEXT));
    walk(&mut hasher, task, target, inputs, secrets);
    Key(*hasher.0.finalize().as_bytes())
}

/// Returns all that enters the key of such a step, as text for people: equal exactly if the keys are equal.
#[must_use]
pub fn explain_key(
    task: &Task,
    target: &Target,
    inputs: &Values,
    secrets: &Fingerprints,
) -> String {
    let mut writer = Writer::default();
    walk(&mut writer, task, target, inputs, secrets);
    writer.text.trim_start().to_owned()
}

/// Returns each input as a stamp tells it: a short value as it is, a long one as `blake3:…`, one that is or holds a
/// secret as `secret:<key id>:<fingerprint>`. Comparing two such texts tells whether an input of one type differs.
#[must_use]
pub fn shown(inputs: &Values, secrets: &Fingerprints) -> BTreeMap<String, String> {
    inputs
        .iter()
        .map(|(name, value)| (name.clone(), shown_value(value, secrets)))
        .collect()
}

fn shown_value(value: &Value, secrets: &Fingerprints) -> String {
    let digest = || {
        let mut hasher = Hasher(blake3::Hasher::new_derive_key(CONTEXT));
        walk_value(&mut hasher, value, secrets);
        hasher.0.finalize().to_hex()
    };
    if value.is_secret() {
        return format!("secret:{}:{}", secrets.id, &digest()[..32]);
    }
    let text = match value {
        Value::Null => Some("none".to_owned()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Text(text) => Some(text.clone()),
        // One word each, so that the words can be told apart.
        Value::List(items) => items
            .iter()
            .map(|item| match item {
                Value::Text(text) if !text.is_empty() && !text.contains([',', ' ']) => {
                    Some(&**text)
                }
                _ => None,
            })
            .collect::<Option<Vec<&str>>>()
            .map(|words| words.join(", ")),
        Value::Secret(_) | Value::Map(_) => None,
    };
    text.filter(|text| text.len() <= SHORT && !text.contains('\n'))
        .unwrap_or_else(|| format!("blake3:{}", &digest()[..16]))
}

/// What a walk over a step is told into.
trait Sink {
    /// A heading: shown, and of no weight, because the order of what follows is fixed.
    fn heading(&mut self, name: &str);
    /// One of a fixed set of words.
    fn tag(&mut self, number: u32, word: &str);
    /// How many follow.
    fn count(&mut self, count: usize);
    /// A name or text.
    fn text(&mut self, text: &str);
    /// A whole number.
    fn number(&mut self, number: i64);
    /// A digest or fingerprint.
    fn digest(&mut self, digest: &[u8; 32]);

    /// A type.
    fn kind(&mut self, kind: &ValueType) {
        match kind {
            ValueType::Text => self.tag(0, "text"),
            ValueType::String => self.tag(1, "string"),
            ValueType::Path => self.tag(2, "path"),
            ValueType::Mode => self.tag(3, "mode"),
            ValueType::Int => self.tag(4, "int"),
            ValueType::Bool => self.tag(5, "bool"),
            ValueType::Size => self.tag(6, "size"),
            ValueType::Duration => self.tag(7, "duration"),
            ValueType::Version => self.tag(8, "version"),
            ValueType::Enum(words) => {
                self.tag(9, "enum");
                self.count(words.len());
                words.iter().for_each(|word| self.text(word));
            }
            ValueType::List(element) => {
                self.tag(10, "list");
                self.kind(element);
            }
            ValueType::Map(element) => {
                self.tag(11, "map");
                self.kind(element);
            }
            ValueType::Any => self.tag(12, "any"),
        }
    }
}

fn walk(
    sink: &mut impl Sink,
    task: &Task,
    target: &Target,
    inputs: &Values,
    secrets: &impl Prints,
) {
    sink.heading("task");
    sink.text(&task.name);
    sink.digest(&task.digest);
    sink.heading("target");
    match target {
        Target::Host(_) => sink.tag(0, "host"),
        Target::Group(_) => sink.tag(1, "group"),
        Target::Service(name, _) => {
            sink.tag(2, "service");
            sink.text(name);
        }
        Target::Gather => sink.tag(3, "gather"),
    }
    sink.heading("inputs");
    sink.count(inputs.len());
    let sorted: BTreeMap<&String, &Value> = inputs.iter().collect();
    for (name, value) in sorted {
        sink.heading("");
        sink.text(name);
        sink.kind(
            task.inputs
                .get(name)
                .map_or(&ValueType::Any, |input| &input.kind),
        );
        walk_value(sink, value, secrets);
    }
}

fn walk_value(sink: &mut impl Sink, value: &Value, secrets: &impl Prints) {
    match value {
        Value::Null => sink.tag(0, "null"),
        Value::Bool(value) => {
            sink.tag(1, "bool");
            sink.tag(u32::from(*value), if *value { "true" } else { "false" });
        }
        Value::Int(value) => {
            sink.tag(2, "int");
            sink.number(*value);
        }
        Value::Text(text) => {
            sink.tag(3, "text");
            sink.text(text);
        }
        Value::Secret(secret) => {
            sink.tag(4, "secret");
            sink.digest(&secrets.print(secret));
        }
        Value::List(items) => {
            sink.tag(5, "list");
            sink.count(items.len());
            for item in items {
                walk_value(sink, item, secrets);
            }
        }
        Value::Map(entries) => {
            sink.tag(6, "map");
            sink.count(entries.len());
            for (name, item) in entries {
                sink.text(name);
                walk_value(sink, item, secrets);
            }
        }
    }
}

/// The terse sink.
struct Hasher(blake3::Hasher);

impl Sink for Hasher {
    fn heading(&mut self, _name: &str) {}

    fn tag(&mut self, number: u32, _word: &str) {
        self.0.update(&number.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.0.update(&number.to_le_bytes());
    }

    fn digest(&mut self, digest: &[u8; 32]) {
        self.0.update(digest);
    }
}

/// The sink that people read: a line for each heading, words between spaces, text in quotes, long text as its digest.
#[derive(Default)]
struct Writer {
    text: String,
}

impl Writer {
    fn word(&mut self, word: impl fmt::Display) {
        let gap = if self.text.ends_with([' ', '\n']) {
            ""
        } else {
            " "
        };
        // Writing to a String does not fail.
        let _ = write!(self.text, "{gap}{word}");
    }
}

impl Sink for Writer {
    fn heading(&mut self, name: &str) {
        self.text
            .push_str(if name.is_empty() { "\n  " } else { "\n" });
        self.text.push_str(name);
    }

    fn tag(&mut self, _number: u32, word: &str) {
        self.word(word);
    }

    fn count(&mut self, count: usize) {
        self.word(format_args!("({count})"));
    }

    fn text(&mut self, text: &str) {
        if text.len() <= SHORT {
            self.word(format_args!("{text:?}"));
        } else {
            let digest = blake3::hash(text.as_bytes()).to_hex();
            self.word(format_args!("blake3:{digest} ({} bytes)", text.len()));
        }
    }

    fn number(&mut self, number: i64) {
        self.word(number);
    }

    fn digest(&mut self, digest: &[u8; 32]) {
        self.word(hex::encode(digest));
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
