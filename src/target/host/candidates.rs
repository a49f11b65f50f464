//! Which keys to log in with, in which order. Tries none.

use std::path::Path;

use russh::keys::PublicKey;
use russh::keys::agent::AgentIdentity;

use super::keys::Keys;
use super::route::Hop;
use super::settings::AccessSettings;

/// A key to try.
pub(super) enum Candidate {
    File(Box<Path>),
    Agent(Box<AgentIdentity>),
}

/// The keys in the order to try them, none twice: named ones (by the agent if it holds them, so that nobody is asked
/// for a passphrase), then the agent's others, then the usual files.
pub(super) fn of(
    hop: &Hop,
    settings: &AccessSettings,
    keys: &Keys,
    mut held: Vec<AgentIdentity>,
    notes: &mut Vec<String>,
) -> Vec<Candidate> {
    let mut offered: Vec<PublicKey> = Vec::new();
    let mut candidates = Vec::new();
    for file in &hop.identities {
        if !file.exists() {
            notes.push(format!("key file {} is not there", file.display()));
            continue;
        }
        let public = keys.public_half(file);
        let at = public.as_ref().and_then(|public| {
            held.iter()
                .position(|identity| identity.public_key().key_data() == public.key_data())
        });
        candidates.push(match at {
            Some(at) => Candidate::Agent(Box::new(held.remove(at))),
            None => Candidate::File(file.as_path().into()),
        });
        offered.extend(public);
    }
    offered.extend(
        held.iter()
            .map(|identity| identity.public_key().into_owned()),
    );
    candidates.extend(
        held.into_iter()
            .map(|identity| Candidate::Agent(Box::new(identity))),
    );
    for file in settings.default_keys.iter().filter(|file| file.exists()) {
        let known = keys.public_half(file).is_some_and(|public| {
            offered
                .iter()
                .any(|offered| offered.key_data() == public.key_data())
        });
        if !known && !hop.identities.contains(file) {
            candidates.push(Candidate::File(file.as_path().into()));
        }
    }
    candidates
}
