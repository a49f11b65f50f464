//! What a task file says, parsed and checked. Does not know how a probe is asked or an apply is run.

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

use super::structure::Format;
use super::value::Value;
use super::written::Written;

/// A reusable kind of step.
#[derive(Debug, Clone, Default)]
pub struct Task {
    /// Name: the file's, without `.toml`.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Declared inputs, in the order written.
    pub inputs: IndexMap<String, InputSpec>,
    /// Values it hands to others, from its facts or inputs.
    pub outputs: IndexMap<String, OutputSpec>,
    /// The read-only look.
    pub probe: ProbeSpec,
    /// Wanted value of each fact. `none` is not checked, a list means any of these.
    pub expect: IndexMap<String, Template>,
    /// What makes it so.
    pub apply: Option<Effect>,
    /// What undoes it.
    pub remove: Option<Effect>,
    /// Live state can't show the inputs: satisfied only if the stamp on the target equals the key.
    pub stamp: bool,
    /// Facts that its collectors print and nothing in its file names, such as when a file was written: nobody misses them,
    /// and they would be others on every host. Empty where an action reads facts.
    pub unnamed: Vec<String>,
    /// BLAKE3 of the definition's canonical encoding; enters the key of every step that uses it.
    pub digest: [u8; 32],
    /// The file it was read from, for errors that point into it.
    pub written: Arc<Written>,
}

/// One declared input of a task.
#[derive(Debug, Clone)]
pub struct InputSpec {
    /// Its type.
    pub kind: ValueType,
    /// Taken when a recipe gives none. No default: must be given.
    pub default: Option<Value>,
    /// Whether a secret may (or, for `true` on text, does) stand in it; then it is never shown.
    pub secret: bool,
    /// Which structure its text has: then a secret or an output of a step in it can only become one scalar.
    pub format: Option<TextFormat>,
    /// What it is for.
    pub doc: String,
}

/// Which structure the text of an input has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextFormat {
    /// This one.
    Is(Format),
    /// That which the end of a path says; the path is the input of this name.
    OfPath(String),
}

/// Type of an input, setting or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueType {
    /// Any text.
    Text,
    /// A short single line.
    String,
    /// An absolute path.
    Path,
    /// Octal file mode of four digits.
    Mode,
    /// A whole number.
    Int,
    /// True or false.
    Bool,
    /// `500Gi`, `10M`: bytes.
    Size,
    /// `30d`, `90s`.
    Duration,
    /// A version, with or without `v`.
    Version,
    /// One of these words.
    Enum(Vec<String>),
    /// A sequence of one type.
    List(Box<ValueType>),
    /// A mapping from names to one type.
    Map(Box<ValueType>),
    /// Anything (free-form maps such as chart values).
    Any,
}

/// A value that others may use.
#[derive(Debug, Clone)]
pub struct OutputSpec {
    /// Its type.
    pub kind: ValueType,
    /// Where it comes from, rendered over inputs and `facts`: `"{{ facts.cluster_id }}"`.
    pub from: Template,
    /// Whether it is secret.
    pub secret: bool,
}

/// A minijinja template or expression over a task's inputs (and `facts`, where said). A template that is one
/// `{{ expression }}` gives the expression's own value (list, number, none), any other gives text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Template(pub String);

/// How a task looks at its target.
#[derive(Debug, Clone, Default)]
pub struct ProbeSpec {
    /// Questions that collectors merge over all steps of a host.
    pub questions: Vec<QuestionSpec>,
    /// A POSIX sh function body that prints `name=value` lines; inputs are shell variables.
    pub script: Option<String>,
    /// Whether the script is asked at all; it is unless this says otherwise. A script costs processes of its own.
    pub when: Option<Template>,
    /// A built-in action that adds questions and folds their answers into facts.
    pub action: Option<String>,
    /// Time-out of the script.
    pub timeout: Option<Duration>,
}

/// A question to a collector.
#[derive(Debug, Clone)]
pub struct QuestionSpec {
    /// Who answers.
    pub collector: Collector,
    /// Put before each fact's name with a dot; empty for none.
    pub prefix: String,
    /// What is asked about; may evaluate to a list (one question, facts merged as the collector says) or to `none` (not asked).
    pub subject: Template,
}

/// What the engine can ask of a host in one process for all steps together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Collector {
    /// `path` → `kind` (file, directory, symlink, other, absent), `mode` (0644), `owner` (user:group), `size`, `mtime` (seconds), `link`.
    Stat,
    /// `path` → `sha256` (hex or absent).
    Digest,
    /// `name` or list → `version` (or absent; single name), `missing` (space-separated names not installed; list).
    Package,
    /// `unit` → `load`, `enabled`, `active`, `sub`, `needs_reload`, `started` (seconds since the epoch), or absent.
    Unit,
    /// `name` → `uid`, `gid`, `home`, `shell`, `groups` (sorted, comma-separated), or absent.
    User,
    /// `name` → `gid`, `members`, or absent.
    Group,
    /// `{path, line}` → `present` (yes/no): the exact line stands in the file.
    Line,
    /// `key` → `value` or absent.
    Sysctl,
    /// `name` → `loaded` (yes/no).
    Module,
    /// `port` or `address:port` → `listening` (yes/no).
    Port,
    /// `path` → `content`: the file's text (secret when the step says so), absent, up to 256 KiB.
    Content,
    /// `{unit, paths}` → `fresh` (yes/no): the unit's main process started after every path last changed; `newer`: the paths that are newer.
    Fresh,
}

impl Collector {
    /// Returns the keys of its subject, for a collector that is asked about a map; nothing for the others.
    #[must_use]
    pub fn subject_keys(self) -> &'static [&'static str] {
        match self {
            Self::Line => &["path", "line"],
            Self::Fresh => &["unit", "paths"],
            _ => &[],
        }
    }

    /// Returns the names of the facts it answers with.
    #[must_use]
    pub fn facts(self) -> &'static [&'static str] {
        match self {
            Self::Stat => &["kind", "mode", "owner", "size", "mtime", "link"],
            Self::Digest => &["sha256"],
            Self::Package => &["version", "missing"],
            Self::Unit => &[
                "load",
                "enabled",
                "active",
                "sub",
                "needs_reload",
                "started",
            ],
            Self::User => &["uid", "gid", "home", "shell", "groups"],
            Self::Group => &["exists", "gid", "members"],
            Self::Line => &["present"],
            Self::Sysctl => &["value"],
            Self::Module => &["loaded"],
            Self::Port => &["listening"],
            Self::Content => &["content"],
            Self::Fresh => &["fresh", "newer"],
        }
    }
}

/// How a task changes its target.
#[derive(Debug, Clone)]
pub struct Effect {
    /// A POSIX sh function body; inputs are shell variables.
    pub script: Option<String>,
    /// What the script gets on standard input.
    pub stdin: Option<Template>,
    /// A built-in action.
    pub action: Option<String>,
    /// Time-out; ten minutes unless said.
    pub timeout: Duration,
    /// How many times it may be tried in all; one unless said.
    pub tries: u32,
}
