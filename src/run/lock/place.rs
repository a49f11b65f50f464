//! Which host the lock is on: the first, in the order of the config. One that can't be reached may hold the lock of another
//! run: its lease is waited out, aloud, before the next stands in. Does not know how the lock is taken there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::guard::{LockError, POLL, Request};
use super::script::{Answer, Order, parse, program};
use crate::config::{HostId, Stack};
use crate::event::{LockWaiting, What};
use crate::probe::{AccessError, stack_folder};
use crate::run::writer::{Writer, Writers};

/// Where a lock is.
#[derive(Clone)]
pub(super) struct Place {
    pub host: HostId,
    pub name: Arc<str>,
    writer: Arc<dyn Writer>,
    folder: Arc<str>,
    lease: Duration,
}

impl Place {
    pub async fn on(
        stack: &Stack,
        host: HostId,
        writers: &dyn Writers,
        lease: Duration,
    ) -> Result<Self, AccessError> {
        let writer = writers.writer(host).await?;
        Ok(Self {
            host,
            name: Arc::clone(&stack.host(host).name),
            writer,
            folder: stack_folder(&stack.name).into(),
            lease,
        })
    }

    pub async fn act(&self, order: Order<'_>) -> Result<Answer, LockError> {
        let host = self.name.to_string();
        let fail = |message: String| LockError::Host {
            host: host.clone(),
            message,
        };
        let program =
            program(&self.folder, order, self.lease).map_err(|error| fail(error.to_string()))?;
        let reply = self
            .writer
            .run(&program)
            .await
            .map_err(|error| fail(error.message))?;
        parse(&reply).map_err(fail)
    }
}

/// The host that the lock is to be taken on.
pub(super) struct Chosen {
    pub place: Place,
    /// Hosts before it could not be reached until the lease of whoever may hold the lock there had ended.
    pub stands_in: bool,
}

/// Finds the first host that can be reached; if that is not the first one, only after the lease of the others was waited out.
pub(super) async fn choose(request: &Request<'_>) -> Result<Chosen, LockError> {
    let mut silent: BTreeMap<HostId, AccessError> = request.unreachable.clone();
    let lease = request.terms.lease;
    let mut until = None;
    loop {
        let (before, found) = first(request, &mut silent).await;
        let Some(place) = found else {
            let tried = before.into_iter().map(|(_, error)| error).collect();
            return Err(LockError::NoHost {
                stack: request.stack.name.clone(),
                tried,
            });
        };
        if before.is_empty() {
            return Ok(Chosen {
                place,
                stands_in: false,
            });
        }
        let until = *until.get_or_insert_with(|| {
            tell_of_waiting(request, &before);
            Instant::now() + lease
        });
        let hosts: Vec<HostId> = before.iter().map(|(host, _)| *host).collect();
        match tokio::time::timeout_at(until, back(request, &hosts)).await {
            Ok(host) => _ = silent.remove(&host),
            Err(_) => {
                let names = names(&before);
                request.tell.warn(&format!(
                    "the lock belongs on {names}, which cannot be reached ({}): the lease of a run that may hold it there \
                     has been waited out for {} s, and {} stands in; from now on every host that this run reaches refuses \
                     that run",
                    before[0].1.message,
                    lease.as_secs(),
                    place.name
                ));
                return Ok(Chosen {
                    place,
                    stands_in: true,
                });
            }
        }
    }
}

/// Returns the hosts before the first one that can be reached, and that one.
async fn first(
    request: &Request<'_>,
    silent: &mut BTreeMap<HostId, AccessError>,
) -> (Vec<(HostId, AccessError)>, Option<Place>) {
    let mut before = Vec::new();
    for host in request.hosts {
        if let Some(error) = silent.get(host) {
            before.push((*host, error.clone()));
            continue;
        }
        match Place::on(request.stack, *host, request.writers, request.terms.lease).await {
            Ok(place) => return (before, Some(place)),
            Err(error) => {
                silent.insert(*host, error.clone());
                before.push((*host, error));
            }
        }
    }
    // What could not be reached while probing may answer by now.
    for host in request.hosts {
        if let Ok(place) =
            Place::on(request.stack, *host, request.writers, request.terms.lease).await
        {
            before.retain(|(other, _)| other < host);
            return (before, Some(place));
        }
    }
    (before, None)
}

/// Tries `hosts` again and again; returns the first one that answers.
async fn back(request: &Request<'_>, hosts: &[HostId]) -> HostId {
    loop {
        tokio::time::sleep(POLL).await;
        for host in hosts {
            if request.writers.writer(*host).await.is_ok() {
                return *host;
            }
        }
    }
}

fn names(hosts: &[(HostId, AccessError)]) -> String {
    let names: Vec<&str> = hosts.iter().map(|(_, error)| &*error.host).collect();
    names.join(", ")
}

fn tell_of_waiting(request: &Request<'_>, before: &[(HostId, AccessError)]) {
    let names = names(before);
    let (verb, message) = (
        if before.len() == 1 {
            "it"
        } else {
            "one of them"
        },
        &before[0].1.message,
    );
    request.tell.event(What::LockWaiting(LockWaiting {
        host: names.clone(),
        holder: request.tell.masked(&format!(
            "{names} cannot be reached ({message}), and a run may hold the lock on {verb}"
        )),
        lease_s: request.terms.lease.as_secs(),
    }));
}
