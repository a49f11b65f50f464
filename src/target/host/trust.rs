//! Whether a host's key is trusted: not if it is revoked; else the pinned one, the known one, a person's word. Judges while the key is
//! exchanged, asks afterwards (a person takes longer than sshd waits). Opens no connection.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::{Algorithm, EcdsaCurve, PublicKey, PublicKeyOrCertificate};

use super::error::{Hint as _, access};
use super::known_hosts::{Judgement, KnownHosts, can_be_checked, fingerprint, one_line};
use super::revoked::Revoked;
use super::route::Hop;
use super::settings::{AccessSettings, HostKeys, OfferedKey};
use super::ssh_config::Rules;
use super::ssh_words::chosen;
use crate::probe::{AccessError, AccessKind};

/// Host key algorithms that russh can verify here, best first.
const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
];

/// What all connections know of host keys.
pub(super) struct Trust {
    recorded_in: PathBuf,
    user: Vec<PathBuf>,
    global: Vec<PathBuf>,
    policy: HostKeys,
    known: Mutex<HashMap<PathBuf, KnownHosts>>,
    revoked: Mutex<HashMap<PathBuf, Arc<Revoked>>>,
}

/// How one hop's key is to be judged.
#[derive(Clone)]
pub(super) struct Expect {
    /// It must be this one, if it is revoked nowhere.
    pinned: Option<PublicKey>,
    /// The files decide.
    known: KnownHosts,
    address: String,
    known_as: String,
    revoked: Option<(PathBuf, Arc<Revoked>)>,
    rules: Arc<Rules>,
}

/// A key that was not trusted at once.
pub(super) struct Refused {
    pub key: PublicKey,
    pub judgement: Judgement,
}

impl Expect {
    /// Judges what the host offers.
    pub fn judge(&self, offered: &PublicKeyOrCertificate) -> Judgement {
        if let Some((file, revoked)) = &self.revoked
            && revoked.holds(offered)
        {
            return Judgement::Revoked {
                place: file.display().to_string(),
            };
        }
        let Some(pinned) = &self.pinned else {
            let signatures = self.rules.authorities.as_deref();
            return self
                .known
                .judge(&self.address, &self.known_as, offered, signatures);
        };
        if let Some(place) = self.known.revoked(&self.known_as, offered) {
            Judgement::Revoked { place }
        } else if pinned.key_data() == offered.public_key().key_data() {
            Judgement::Trusted
        } else {
            Judgement::Differs {
                expected: fingerprint(pinned),
                place: "`host_key` in the stack".to_owned(),
            }
        }
    }

    /// Returns the algorithms to ask for, those of known keys first: a host with several keys then shows the known one.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let first = match &self.pinned {
            Some(pinned) => vec![pinned.algorithm()],
            None => self.known.algorithms(&self.known_as),
        };
        let allowed = chosen(
            self.rules.host_keys.as_deref(),
            &ALGORITHMS,
            ToString::to_string,
        );
        let (mut known, rest): (Vec<_>, Vec<_>) = allowed
            .into_iter()
            .partition(|algorithm| first.contains(algorithm));
        known.extend(rest);
        known
    }

    /// Returns the algorithms to ask certificates of: none unless there is an authority to judge them by.
    pub fn certificates(&self) -> Vec<Algorithm> {
        if self.pinned.is_some() || !self.known.has_authority(&self.known_as) {
            return Vec::new();
        }
        chosen(
            self.rules.host_keys.as_deref(),
            &ALGORITHMS,
            Algorithm::to_certificate_type,
        )
    }
}

impl Trust {
    pub fn new(settings: &AccessSettings) -> Self {
        Self {
            recorded_in: settings.known_hosts.clone(),
            user: settings.user_known_hosts.clone(),
            global: settings.global_known_hosts.clone(),
            policy: settings.host_keys,
            known: Mutex::default(),
            revoked: Mutex::default(),
        }
    }

    /// Returns how to judge `hop`'s key. The files are read once.
    ///
    /// # Errors
    /// When the pinned key or a file can't be read.
    pub fn expect(&self, hop: &Hop) -> Result<Expect, AccessError> {
        let local = |message: String| access(&hop.name, AccessKind::Local, message);
        let rules = &hop.rules;
        let pinned = match &hop.host_key {
            Some(pinned) => Some(pinned_key(hop, pinned)?),
            None => None,
        };
        let known_as = hop.known_as();
        let mut mine = KnownHosts::default();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for file in files(hop, &self.recorded_in, &self.user, &self.global) {
            if !known.contains_key(file) {
                let read = KnownHosts::read(std::slice::from_ref(file)).map_err(local)?;
                known.insert(file.clone(), read);
            }
            mine.join(known[file].only(&known_as));
        }
        drop(known);
        let revoked = match &rules.revoked {
            None => None,
            Some(file) => Some((file.clone(), self.revoked(hop, file)?)),
        };
        Ok(Expect {
            pinned,
            known: mine,
            address: hop.address.clone(),
            known_as,
            revoked,
            rules: Arc::clone(rules),
        })
    }

    /// Returns the keys that `file` revokes.
    fn revoked(&self, hop: &Hop, file: &Path) -> Result<Arc<Revoked>, AccessError> {
        let mut known = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(revoked) = known.get(file) {
            return Ok(Arc::clone(revoked));
        }
        let revoked = Revoked::read(file).map_err(|why| {
            access(
                &hop.name,
                AccessKind::HostKey,
                format!("whether its host key is revoked can't be known: {why}"),
            )
            .hint("mend the file, or RevokedHostKeys in the SSH configuration")
        })?;
        let revoked = Arc::new(revoked);
        known.insert(file.to_owned(), Arc::clone(&revoked));
        Ok(revoked)
    }

    /// Says what comes of a refused key: the question to ask a person, or the error.
    ///
    /// # Errors
    /// When there is nothing to ask: the key differs, is revoked, or nobody may be asked.
    pub fn question(
        &self,
        hop: &Hop,
        refused: &Refused,
        may_ask: bool,
    ) -> Result<OfferedKey, AccessError> {
        let algorithm = refused.key.algorithm();
        let found = fingerprint(&refused.key);
        let error = |message: String| access(&hop.name, AccessKind::HostKey, message);
        let known_as = hop.known_as();
        match &refused.judgement {
            Judgement::Trusted => Err(error("its key was refused and is trusted".to_owned())),
            Judgement::Unknown { note }
                if may_ask && self.policy == HostKeys::Ask && !hop.rules.strict =>
            {
                Ok(OfferedKey {
                    host: Arc::clone(&hop.name),
                    address: known_as,
                    algorithm: algorithm.to_string(),
                    fingerprint: found,
                    line: one_line(&refused.key).map_err(&error)?,
                    note: note.clone(),
                    recorded_in: self.recorded_in.clone(),
                })
            }
            Judgement::Unknown { note } => {
                let line = one_line(&refused.key).unwrap_or_default();
                let note = note
                    .as_ref()
                    .map(|note| format!("; {note}"))
                    .unwrap_or_default();
                Err(error(format!(
                    "nothing is known of its host key: {known_as} offers {algorithm} {found}{note}"
                ))
                .hint(format!(
                    "compare it with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host; if it is the same, \
                     set `host_key: {line}` for the host in the stack, or run once at a terminal and say yes"
                )))
            }
            Judgement::Differs { expected, place } => Err(error(format!(
                "its host key is not the known one: {known_as} offers {algorithm} {found}, expected {expected} ({place})"
            ))
            .hint(format!(
                "somebody may be listening in, or the host was installed anew; if you know that it was, remove {place} and try again"
            ))),
            Judgement::Revoked { place } => Err(error(format!(
                "its host key {found} is marked as revoked ({place})"
            ))
            .hint("give the host a new key")),
            Judgement::BadCertificate { why } => Err(error(format!(
                "its host certificate can't be trusted: {why}"
            ))
            .hint("sign the host's key anew, or correct the `@cert-authority` line")),
        }
    }

    /// Records a key that a person trusts.
    ///
    /// # Errors
    /// When it can't be written down.
    pub fn record(&self, hop: &Hop, key: &PublicKey) -> Result<(), AccessError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .entry(self.recorded_in.clone())
            .or_default()
            .record(&self.recorded_in, &hop.known_as(), key)
            .map_err(|error| {
                access(
                    &hop.name,
                    AccessKind::Local,
                    format!("its host key could not be recorded: {error}"),
                )
            })
    }
}

/// Returns the files of known hosts that count for `hop`, first first.
pub(super) fn files<'a>(
    hop: &'a Hop,
    recorded_in: &'a PathBuf,
    user: &'a [PathBuf],
    global: &'a [PathBuf],
) -> impl Iterator<Item = &'a PathBuf> {
    let user = hop.rules.user_known_hosts.as_deref().unwrap_or(user);
    let global = hop.rules.global_known_hosts.as_deref().unwrap_or(global);
    std::iter::once(recorded_in).chain(user).chain(global)
}

fn pinned_key(hop: &Hop, pinned: &str) -> Result<PublicKey, AccessError> {
    let local = |message: String| access(&hop.name, AccessKind::Local, message);
    let key = PublicKey::from_openssh(pinned).map_err(|error| {
        local(format!(
            "the pinned `host_key` is not a public key: {error}"
        ))
        .hint("write it as `ssh-keyscan` prints it, without the name: `ssh-ed25519 AAAA…`")
    })?;
    if !can_be_checked(&key.algorithm()) {
        return Err(local(format!(
            "the pinned `host_key` is of the kind {}, which can't be checked",
            key.algorithm()
        ))
        .hint("pin the host's Ed25519 or ECDSA key: /etc/ssh/ssh_host_ed25519_key.pub"));
    }
    Ok(key)
}
