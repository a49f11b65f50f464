//! Finds the value of a secret reference: environment, then `~/.foundryvars`, then OpenBAO, else an error that says where
//! it looked. Does not read the environment or any file itself, and does not know who asks.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::sync::Mutex as AsyncMutex;

use super::masker::Masker;
use super::reference::SecretRef;
use super::store::{SecretFields, SecretStore, StoreError};
use super::value::Secret;
use super::vars::Vars;

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Environment,
    /// `~/.foundryvars`.
    Vars,
    /// OpenBAO.
    Store,
}

/// What looking for a secret came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Here it is.
    Found {
        /// The value.
        value: Secret<String>,
        /// Where it was.
        source: SecretSource,
    },
    /// Neither environment nor `~/.foundryvars` have it, and OpenBAO can't be asked yet: a run that brings it up may.
    NotYet {
        /// What OpenBAO's side said.
        why: String,
    },
}

/// Why there is no value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// All places were asked and none has it.
    #[error("there is no secret `{}`; looked at {}", .reference.name(), .looked.join(", "))]
    NotFound {
        /// What was looked for.
        reference: SecretRef,
        /// Every place, in order, in words.
        looked: Vec<String>,
    },
    /// OpenBAO was asked and refused or failed.
    #[error("can't read the secret `{}`: {error}; before that, looked at {}", .reference.name(), .looked.join(", "))]
    Store {
        /// What was looked for.
        reference: SecretRef,
        /// What went wrong.
        error: StoreError,
        /// The places asked before.
        looked: Vec<String>,
    },
}

type Env = dyn Fn(&str) -> Option<Secret<String>> + Send + Sync;
type Slot = Arc<AsyncMutex<Option<Arc<SecretFields>>>>;

/// Resolves the references of one run. Each path of OpenBAO is read once: whoever asks for it meanwhile waits for the same
/// answer. A path that had no secret is asked again, because a step may have written it since.
pub struct Resolver {
    env: Box<Env>,
    vars: Vars,
    vars_name: String,
    store: Option<Arc<dyn SecretStore>>,
    masker: Arc<Masker>,
    read: Mutex<HashMap<String, Slot>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("vars", &self.vars_name)
            .field("store", &self.store.is_some())
            .finish_non_exhaustive()
    }
}

impl Resolver {
    /// Makes a resolver. `env` looks up an environment variable, `vars_name` is the name of the file behind `vars`, and
    /// `masker` learns every value before anybody else gets it.
    pub fn new(
        env: impl Fn(&str) -> Option<Secret<String>> + Send + Sync + 'static,
        vars: Vars,
        vars_name: impl Into<String>,
        store: Option<Arc<dyn SecretStore>>,
        masker: Arc<Masker>,
    ) -> Self {
        masker.learn(vars.values());
        Self {
            env: Box::new(env),
            vars,
            vars_name: vars_name.into(),
            store,
            masker,
            read: Mutex::default(),
        }
    }

    /// Finds the value of a reference.
    ///
    /// # Errors
    /// If no place has it, or OpenBAO refuses or fails. That OpenBAO is not up is no error but [`Resolution::NotYet`].
    pub async fn resolve(&self, reference: &SecretRef) -> Result<Resolution, ResolveError> {
        if let Some(found) = self.resolve_locally(reference) {
            return Ok(found);
        }
        let name = reference.name();
        let mut looked = vec![
            format!("the environment variable {}", reference.env_name()),
            format!("`{name}` in {}", self.vars_name),
        ];
        let Some(store) = &self.store else {
            looked.push("no OpenBAO, because the stack has none".to_owned());
            return Err(ResolveError::NotFound {
                reference: reference.clone(),
                looked,
            });
        };
        let fields = match self.read_once(store.as_ref(), &reference.path).await {
            Ok(fields) => fields,
            Err(StoreError::NotUp(why)) => return Ok(Resolution::NotYet { why }),
            Err(error) => {
                return Err(ResolveError::Store {
                    reference: reference.clone(),
                    error,
                    looked,
                });
            }
        };
        match fields.as_deref() {
            Some(fields) => {
                if let Some(value) = fields.get(&reference.key) {
                    return Ok(self.found(value.clone(), SecretSource::Store));
                }
                let keys: Vec<&str> = fields.keys().map(String::as_str).collect();
                looked.push(format!(
                    "OpenBAO at `{}`, which has only {}",
                    reference.path,
                    keys.join(", ")
                ));
            }
            None => looked.push(format!("OpenBAO at `{}`", reference.path)),
        }
        Err(ResolveError::NotFound {
            reference: reference.clone(),
            looked,
        })
    }

    /// Finds the value in the environment or `~/.foundryvars` alone.
    #[must_use]
    pub fn resolve_locally(&self, reference: &SecretRef) -> Option<Resolution> {
        // An empty variable is one that is not set: CI systems make such of secrets that they do not have.
        let set = |value: &Secret<String>| !value.expose().is_empty();
        if let Some(value) = (self.env)(&reference.env_name()).filter(set) {
            return Some(self.found(value, SecretSource::Environment));
        }
        let value = self.vars.get(reference)?.clone();
        Some(self.found(value, SecretSource::Vars))
    }

    fn found(&self, value: Secret<String>, source: SecretSource) -> Resolution {
        self.masker.learn([&value]);
        Resolution::Found { value, source }
    }

    /// Reads a path of the store, unless it has been read.
    async fn read_once(
        &self,
        store: &dyn SecretStore,
        path: &str,
    ) -> Result<Option<Arc<SecretFields>>, StoreError> {
        let slot = {
            let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            read.entry(path.to_owned()).or_default().clone()
        };
        let mut known = slot.lock().await;
        if known.is_none() {
            *known = store.read(path).await?.map(Arc::new);
            if let Some(fields) = &*known {
                self.masker.learn(fields.values());
            }
        }
        Ok(known.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::{BoxFuture, join_all};

    use super::*;

    /// A store of two secrets whose state is set by the test.
    #[derive(Default)]
    struct Shelf {
        error: Mutex<Option<StoreError>>,
        reads: AtomicUsize,
    }

    impl SecretStore for Shelf {
        fn read<'a>(
            &'a self,
            path: &'a str,
        ) -> BoxFuture<'a, Result<Option<SecretFields>, StoreError>> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let answer = match (self.error.lock().unwrap().clone(), path) {
                (Some(error), _) => Err(error),
                (None, "foundry/grafana") => Ok(Some(
                    [("admin_password", "from-bao"), ("other", "from-bao-too")]
                        .map(|(key, value)| (key.to_owned(), Secret::new(value.to_owned())))
                        .into(),
                )),
                (None, _) => Ok(None),
            };
            Box::pin(async move {
                tokio::task::yield_now().await;
                answer
            })
        }

        fn write<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: &'a Secret<String>,
        ) -> BoxFuture<'a, Result<(), StoreError>> {
            unreachable!("resolving writes nothing")
        }

        fn list<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
            unreachable!("resolving lists nothing")
        }
    }

    struct Bench {
        shelf: Arc<Shelf>,
        masker: Arc<Masker>,
        resolver: Resolver,
    }

    fn bench(env: &'static [(&str, &str)], vars: &str) -> Bench {
        let shelf = Arc::new(Shelf::default());
        let masker = Arc::new(Masker::default());
        let resolver = Resolver::new(
            |name| {
                let found = env.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| Secret::new((*value).to_owned()))
            },
            Vars::parse("v", vars).unwrap(),
            "~/.foundryvars",
            Some(shelf.clone() as Arc<dyn SecretStore>),
            masker.clone(),
        );
        Bench {
            shelf,
            masker,
            resolver,
        }
    }

    fn reference(name: &str) -> SecretRef {
        SecretRef::parse(name, "foundry").unwrap()
    }

    #[tokio::test]
    async fn the_first_of_three_sources_wins() {
        const ENV: &[(&str, &str)] =
            &[("FOUNDRY_SECRET_foundry_grafana_admin_password", "from-env")];
        const VARS: &str = "foundry/grafana:admin_password=from-vars";
        let wanted = reference("grafana:admin_password");
        for (env, vars, value, source) in [
            (ENV, VARS, "from-env", SecretSource::Environment),
            (&[][..], VARS, "from-vars", SecretSource::Vars),
            (&[][..], "", "from-bao", SecretSource::Store),
        ] {
            let bench = bench(env, vars);
            let found = bench.resolver.resolve(&wanted).await.unwrap();
            let value = Secret::new(value.to_owned());
            assert_eq!(bench.masker.mask(value.expose()), "[redacted]");
            assert_eq!(found, Resolution::Found { value, source });
            let asked = usize::from(source == SecretSource::Store);
            assert_eq!(bench.shelf.reads.load(Ordering::SeqCst), asked);
        }
    }

    #[tokio::test]
    async fn a_path_is_read_once_however_many_ask_at_once() {
        let bench = bench(&[], "");
        let names = ["grafana:admin_password", "grafana:other", "grafana:other"];
        let references = names.map(reference);
        let all = join_all(references.iter().map(|name| bench.resolver.resolve(name))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(bench.shelf.reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_store_that_is_not_up_may_come_up() {
        let bench = bench(&[], "");
        let wanted = reference("grafana:admin_password");
        *bench.shelf.error.lock().unwrap() = Some(StoreError::NotUp("sealed".to_owned()));
        assert_eq!(
            bench.resolver.resolve(&wanted).await,
            Ok(Resolution::NotYet {
                why: "sealed".to_owned()
            })
        );
        *bench.shelf.error.lock().unwrap() = None;
        assert!(matches!(
            bench.resolver.resolve(&wanted).await,
            Ok(Resolution::Found { .. })
        ));
    }

    #[tokio::test]
    async fn errors_say_where_it_looked() {
        let bench = bench(&[], "");
        let mut said = String::new();
        for name in ["nowhere:key", "grafana:nothing"] {
            let error = bench.resolver.resolve(&reference(name)).await.unwrap_err();
            said.push_str(&format!("{error}\n"));
        }
        *bench.shelf.error.lock().unwrap() =
            Some(StoreError::Denied("permission denied".to_owned()));
        let error = bench.resolver.resolve(&reference("truenas:key")).await;
        said.push_str(&format!("{}\n", error.unwrap_err()));
        let alone = Resolver::new(|_| None, Vars::default(), "v", None, Arc::default());
        let error = alone.resolve(&reference("truenas:key")).await.unwrap_err();
        said.push_str(&format!("{error}\n"));
        assert!(!said.contains("from-bao"), "{said}");
        insta::assert_snapshot!(said, @r"
        there is no secret `foundry/nowhere:key`; looked at the environment variable FOUNDRY_SECRET_foundry_nowhere_key, `foundry/nowhere:key` in ~/.foundryvars, OpenBAO at `foundry/nowhere`
        there is no secret `foundry/grafana:nothing`; looked at the environment variable FOUNDRY_SECRET_foundry_grafana_nothing, `foundry/grafana:nothing` in ~/.foundryvars, OpenBAO at `foundry/grafana`, which has only admin_password, other
        can't read the secret `foundry/truenas:key`: OpenBAO denies it: permission denied; before that, looked at the environment variable FOUNDRY_SECRET_foundry_truenas_key, `foundry/truenas:key` in ~/.foundryvars
        there is no secret `foundry/truenas:key`; looked at the environment variable FOUNDRY_SECRET_foundry_truenas_key, `foundry/truenas:key` in v, no OpenBAO, because the stack has none
        ");
    }
}
