//! The stack's own key for fingerprints of secrets: a secret like others, kept in its OpenBAO unless the environment or
//! `~/.foundryvars` have it. Does not know what is fingerprinted.

use super::exit::CliError;
use crate::graph::{Fingerprints, Standing};
use crate::secret::{
    Resolution, ResolveError, Resolver, Secret, SecretRef, SecretSource, SecretStore, StoreError,
};

const PATH: &str = Fingerprints::SECRET.0;
const FIELD: &str = Fingerprints::SECRET.1;

/// A key that the stack does not have yet.
pub struct NewKey(Secret<String>);

/// Returns the stack's fingerprints. While its key can't be read, or where it has none, one made of `random` serves: its
/// fingerprints equal no others, so that no stamp of a secret counts for or against anything. `keeps` says whether the stack
/// has an OpenBAO to keep a key in.
///
/// # Errors
/// When the environment or `~/.foundryvars` have something else than a key.
pub async fn of(
    resolver: &Resolver,
    keeps: bool,
    random: [u8; 32],
) -> Result<(Fingerprints, Option<NewKey>), CliError> {
    let reference = SecretRef {
        path: PATH.to_owned(),
        key: FIELD.to_owned(),
    };
    let own = |standing| Fingerprints::by(Secret::new(random), standing);
    let new = || Some(NewKey(Secret::new(hex::encode(random))));
    Ok(match resolver.resolve(&reference).await {
        Ok(Resolution::Found { value, source }) => match Fingerprints::kept(&value) {
            Some(kept) => (kept, None),
            // Nobody's key is written over.
            None if source == SecretSource::Store => (own(Standing::Passing), None),
            None => {
                return Err(CliError::usage(format!(
                    "{} is no key for fingerprints: it wants 64 digits of hex",
                    reference.name()
                ))
                .hint("make one with `openssl rand -hex 32`"));
            }
        },
        Ok(Resolution::NotYet { .. }) => (own(Standing::Awaited), new()),
        Err(ResolveError::NotFound { .. }) if keeps => (own(Standing::Kept), new()),
        Err(ResolveError::NotFound { .. }) => (own(Standing::Passing), None),
        Err(ResolveError::Store { .. }) => (own(Standing::Awaited), None),
    })
}

/// Keeps a new key, unless the stack got one meanwhile.
///
/// # Errors
/// When OpenBAO can't be told.
pub async fn keep(store: &dyn SecretStore, new: &NewKey) -> Result<(), StoreError> {
    let there = store.read(PATH).await?;
    if there.is_some_and(|fields| fields.contains_key(FIELD)) {
        return Ok(());
    }
    store.write(PATH, FIELD, &new.0).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use std::sync::Arc;

    use futures::future::BoxFuture;

    use super::*;
    use crate::secret::{Masker, SecretFields, Vars};

    /// A store in memory; `None` is one that is not up.
    struct Memory(Mutex<Option<BTreeMap<String, SecretFields>>>);

    impl SecretStore for Memory {
        fn read<'a>(
            &'a self,
            path: &'a str,
        ) -> BoxFuture<'a, Result<Option<SecretFields>, StoreError>> {
            let read = match &*self.0.lock().unwrap() {
                None => Err(StoreError::NotUp("sealed".to_owned())),
                Some(kept) => Ok(kept.get(path).cloned()),
            };
            Box::pin(async { read })
        }

        fn write<'a>(
            &'a self,
            path: &'a str,
            key: &'a str,
            value: &'a Secret<String>,
        ) -> BoxFuture<'a, Result<(), StoreError>> {
            let mut kept = self.0.lock().unwrap();
            let fields = kept.as_mut().unwrap().entry(path.to_owned()).or_default();
            fields.insert(key.to_owned(), value.clone());
            Box::pin(async { Ok(()) })
        }

        fn list<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    fn resolver(store: Option<&Arc<Memory>>, env: Option<String>) -> Resolver {
        Resolver::new(
            move |name| {
                env.clone()
                    .filter(|_| name == "FOUNDRY_SECRET_foundry_fingerprints_key")
                    .map(Secret::new)
            },
            Vars::default(),
            "vars",
            store.map(|store| Arc::clone(store) as Arc<dyn SecretStore>),
            Arc::new(Masker::default()),
        )
    }

    async fn made(store: &Arc<Memory>, random: u8) -> (Fingerprints, Option<NewKey>) {
        of(&resolver(Some(store), None), true, [random; 32])
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_key_once_kept_is_the_stacks_for_good() {
        let store = Arc::new(Memory(Mutex::new(None)));
        let (first, new) = made(&store, 1).await;
        assert_eq!(first.standing(), Standing::Awaited);
        *store.0.lock().unwrap() = Some(BTreeMap::new());
        let (second, _) = made(&store, 1).await;
        assert_eq!(
            (second.standing(), second.id()),
            (Standing::Kept, first.id())
        );
        keep(&*store, &new.unwrap()).await.unwrap();
        let (third, new) = made(&store, 2).await;
        assert_eq!(first.id(), third.id());
        assert!(new.is_none());
        // Another run that began before the key was kept loses.
        keep(&*store, &NewKey(Secret::new(hex::encode([3; 32]))))
            .await
            .unwrap();
        assert_eq!(made(&store, 4).await.0.id(), first.id());
    }

    #[tokio::test]
    async fn a_stack_without_openbao_may_be_given_one() {
        let (passing, new) = of(&resolver(None, None), false, [1; 32]).await.unwrap();
        assert_eq!(passing.standing(), Standing::Passing);
        assert!(new.is_none());
        let key = Some(hex::encode([5; 32]));
        let (given, _) = of(&resolver(None, key), false, [1; 32]).await.unwrap();
        assert_eq!(given.standing(), Standing::Kept);
        assert_ne!(given.id(), passing.id());
        let Err(wrong) = of(&resolver(None, Some("hunter2".into())), false, [1; 32]).await else {
            panic!("taken for a key");
        };
        let told = wrong.to_string();
        assert!(
            told.contains("64 digits") && !told.contains("hunter2"),
            "{told}"
        );
    }
}
