//! Whether a host's key is trusted: the pinned one, else the known one, else a person's word. Judges while the key is
//! exchanged, asks afterwards (a person takes longer than sshd waits). Opens no connection.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use russh::keys::{Algorithm, EcdsaCurve, PublicKey, PublicKeyOrCertificate};

use super::error::{Hint as _, access};
use super::known_hosts::{Judgement, KnownHosts, can_be_checked, fingerprint, one_line};
use super::route::Hop;
use super::settings::{AccessSettings, HostKeys, OfferedKey};
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
    others: Vec<PathBuf>,
    policy: HostKeys,
    known: Mutex<Option<KnownHosts>>,
}

/// How one hop's key is to be judged.
#[derive(Clone)]
pub(super) enum Expect {
    /// It must be this one.
    Pinned(PublicKey),
    /// The files decide.
    Known {
        known: KnownHosts,
        address: String,
        known_as: String,
    },
}

/// A key that was not trusted at once.
pub(super) struct Refused {
    pub key: PublicKey,
    pub judgement: Judgement,
}

impl Expect {
    /// Judges what the host offers.
    pub fn judge(&self, offered: &PublicKeyOrCertificate) -> Judgement {
        match self {
            Self::Pinned(pinned) if pinned.key_data() == offered.public_key().key_data() => {
                Judgement::Trusted
            }
            Self::Pinned(pinned) => Judgement::Differs {
                expected: fingerprint(pinned),
                place: "`host_key` in the stack".to_owned(),
            },
            Self::Known {
                known,
                address,
                known_as,
            } => known.judge(address, known_as, offered),
        }
    }

    /// Returns the algorithms to ask for, those of known keys first: a host with several keys then shows the known one.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let first = match self {
            Self::Pinned(pinned) => vec![pinned.algorithm()],
            Self::Known {
                known, known_as, ..
            } => known.algorithms(known_as),
        };
        let (mut known, rest): (Vec<_>, Vec<_>) = ALGORITHMS
            .into_iter()
            .partition(|algorithm| first.contains(algorithm));
        known.extend(rest);
        known
    }

    /// Returns the algorithms to ask certificates of: none unless there is an authority to judge them by.
    pub fn certificates(&self) -> Vec<Algorithm> {
        match self {
            Self::Known {
                known, known_as, ..
            } if known.has_authority(known_as) => ALGORITHMS.to_vec(),
            _ => Vec::new(),
        }
    }
}

impl Trust {
    pub fn new(settings: &AccessSettings) -> Self {
        Self {
            recorded_in: settings.known_hosts.clone(),
            others: settings.other_known_hosts.clone(),
            policy: settings.host_keys,
            known: Mutex::new(None),
        }
    }

    /// Returns how to judge `hop`'s key. The files are read once.
    ///
    /// # Errors
    /// When the pinned key or a file can't be read.
    pub fn expect(&self, hop: &Hop) -> Result<Expect, AccessError> {
        let local = |message: String| access(&hop.name, AccessKind::Local, message);
        if let Some(pinned) = &hop.host_key {
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
            return Ok(Expect::Pinned(key));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let files = match known.take() {
            Some(files) => files,
            None => {
                let mut files = vec![self.recorded_in.clone()];
                files.extend(self.others.iter().cloned());
                KnownHosts::read(&files).map_err(local)?
            }
        };
        let known_as = hop.known_as();
        let mut mine = files.only(&known_as);
        *known = Some(files);
        drop(known);
        if let Some(file) = &hop.known_hosts {
            let further = KnownHosts::read(std::slice::from_ref(file)).map_err(local)?;
            mine.join(further.only(&known_as));
        }
        Ok(Expect::Known {
            known: mine,
            address: hop.address.clone(),
            known_as,
        })
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
            Judgement::Unknown { note } if may_ask && self.policy == HostKeys::Ask => {
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
            .get_or_insert_default()
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
