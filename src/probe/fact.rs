//! What probes answer with: facts and faults. Does not know what is wanted.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::fence::Fence;
use crate::catalog::{Collector, Value};
use crate::config::HostId;
use crate::secret::Secret;

/// The facts of one step, by name. What is not there is the word `absent`.
pub type Facts = BTreeMap<String, Fact>;

/// One value of live state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// May be shown.
    Text(String),
    /// May not be shown.
    Secret(Secret<String>),
    /// Where something differs from what it was asked about. For what only the adapter can compare, such as an object
    /// whose server fills in defaults. Its value is empty when nothing differs.
    Differences(Differences),
}

/// Places that are not as asked about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Differences {
    places: Vec<Place>,
    text: String,
}

/// One place that is not as asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name, for people: `Deployment/web spec.replicas`.
    pub name: String,
    /// What is there; the word `absent` means that the thing as a whole is not. A [`Fact::Secret`] is not shown.
    pub found: Fact,
    /// What was asked about.
    pub wanted: Fact,
}

impl Differences {
    /// Returns the places.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }
}

impl FromIterator<Place> for Differences {
    fn from_iter<T: IntoIterator<Item = Place>>(places: T) -> Self {
        let places: Vec<Place> = places.into_iter().collect();
        let shown = |fact: &Fact| match fact {
            Fact::Secret(_) => "[redacted]".to_owned(),
            fact => fact.value().to_owned(),
        };
        let words: Vec<String> = places
            .iter()
            .map(|place| {
                let (found, wanted) = (shown(&place.found), shown(&place.wanted));
                format!("{} is {found}, wanted {wanted}", place.name)
            })
            .collect();
        Self {
            text: words.join("; "),
            places,
        }
    }
}

impl Fact {
    /// Returns the value, secret or not. For comparing, never for showing.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Secret(secret) => secret.expose(),
            Self::Differences(differences) => &differences.text,
        }
    }
}

/// As [`Value`]'s: for telling equal facts apart from others within one process.
impl Hash for Fact {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        self.value().hash(state);
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A probe that could not answer: never a wrong fact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What went wrong, with the target's own words.
    pub message: String,
    /// The thing asked does not answer *yet* (API not up, tool not installed): worth asking again once the steps before have run.
    pub not_yet: bool,
}

/// A question to a collector, ready to be asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Who answers.
    pub collector: Collector,
    /// Put before each fact's name with a dot; empty for none.
    pub prefix: String,
    /// What is asked about, as the collector wants it.
    pub subject: Value,
    /// Whether the answer is secret.
    pub secret: bool,
}

/// What one host of a step's target answered.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which host.
    pub host: HostId,
    /// Its name.
    pub name: Arc<str>,
    /// Its facts, or why there are none (fault of the probe, or the host unreachable). Hosts that answer alike share them.
    pub answer: Result<Arc<Facts>, Fault>,
}

/// What every batch tells of the host itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// `amd64`, `arm64`: Debian's word.
    pub arch: String,
    /// `ID` of os-release.
    pub os: String,
    /// `VERSION_CODENAME` of os-release.
    pub codename: String,
    /// `uname -r`.
    pub kernel: String,
    /// Boot id of the kernel: tells a reboot.
    pub boot_id: String,
    /// The host's clock, seconds since the epoch.
    pub clock: i64,
    /// What that clock showed when the host booted, if it says how long ago that was.
    pub booted: Option<i64>,
    /// How many processes the probe started there.
    pub processes: u32,
    /// The stack's fence there: the last run that changed the host.
    pub fence: Option<Fence>,
    /// The number of the last run that took the stack's lock there; 0 if none did.
    pub lock_number: u64,
    /// Some program of a run may not have come to its end there.
    pub at_work: bool,
}

/// What an apply left beside its effect: the key, and each input's digest or short value so that a later
/// explanation can name what changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Key of the step when it was applied, in hex.
    pub key: String,
    /// Input name → how it was shown then (short value, `blake3:…` of a long one, `secret:<key id>:<fingerprint>`).
    pub inputs: BTreeMap<String, String>,
    /// For a step with secrets: what its key would be if all secrets were the same. So that two stamps whose fingerprints
    /// were made with different keys can be compared in all else.
    pub public: Option<String>,
}
