//! Which keys to log in with, in which order. Tries none.

use std::path::Path;

use russh::keys::PublicKey;
use russh::keys::agent::AgentIdentity;

use super::keys::Keys;
use super::route::Hop;
use super::settings::AccessSettings;
use super::ssh_config::Rules;
use super::ssh_words::chosen;

/// A key to try.
pub(super) enum Candidate {
    File(Box<Path>),
    Agent(Box<AgentIdentity>),
}

/// The keys in the order to try them, none twice: named ones (by the agent if it holds them, so that nobody is asked
/// for a passphrase), then the agent's others, then the usual files. Where only named ones may be used, the usual files count
/// as such if there are no others.
pub(super) fn of(
    hop: &Hop,
    settings: &AccessSettings,
    keys: &Keys,
    held: Vec<AgentIdentity>,
    notes: &mut Vec<String>,
) -> Vec<Candidate> {
    let rules = &hop.rules;
    if rules.no_keys {
        return Vec::new();
    }
    let mut list = List {
        rules,
        keys,
        held,
        offered: Vec::new(),
        candidates: Vec::new(),
    };
    list.held
        .retain(|identity| is_accepted(rules, &identity.public_key()));
    for file in &hop.identities {
        if file.exists() {
            list.add(file);
        } else {
            notes.push(format!("key file {} is not there", file.display()));
        }
    }
    if rules.identities_only {
        if !hop.identities.is_empty() {
            return list.candidates;
        }
    } else {
        list.add_held();
    }
    for file in settings.default_keys.iter().filter(|file| file.exists()) {
        list.add(file);
    }
    list.candidates
}

struct List<'a> {
    rules: &'a Rules,
    keys: &'a Keys,
    /// Keys of the agent that are not in the list yet.
    held: Vec<AgentIdentity>,
    offered: Vec<PublicKey>,
    candidates: Vec<Candidate>,
}

impl List<'_> {
    /// Adds a key file, or the same key as the agent holds it.
    fn add(&mut self, file: &Path) {
        let Some(public) = self.keys.public_half(file) else {
            self.candidates.push(Candidate::File(file.into()));
            return;
        };
        let same = |other: &PublicKey| public.key_data() == other.key_data();
        if !is_accepted(self.rules, &public) || self.offered.iter().any(same) {
            return;
        }
        let at = self
            .held
            .iter()
            .position(|identity| same(&identity.public_key()));
        self.candidates.push(match at {
            Some(at) => Candidate::Agent(Box::new(self.held.remove(at))),
            None => Candidate::File(file.into()),
        });
        self.offered.push(public);
    }

    /// Adds all that the agent holds.
    fn add_held(&mut self) {
        for identity in std::mem::take(&mut self.held) {
            self.offered.push(identity.public_key().into_owned());
            self.candidates.push(Candidate::Agent(Box::new(identity)));
        }
    }
}

/// Returns whether `PubkeyAcceptedAlgorithms` allows to log in with a key.
fn is_accepted(rules: &Rules, key: &PublicKey) -> bool {
    let algorithm = key.algorithm();
    // russh signs with it as such.
    let name = match algorithm.clone().is_rsa() {
        true => "rsa-sha2-512".to_owned(),
        false => algorithm.to_string(),
    };
    !chosen(rules.user_keys.as_deref(), &[name], String::clone).is_empty()
}
