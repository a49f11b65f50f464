//! The stack's own key for fingerprints of secrets, kept in its OpenBAO. Does not know what is fingerprinted.

use crate::graph::Fingerprints;
use crate::secret::{Secret, SecretStore};

/// Where the stack keeps the key.
const PATH: &str = "foundry/fingerprints";
const FIELD: &str = "key";

/// A key that the stack does not have yet.
pub struct NewKey(Secret<String>);

/// Returns the stack's fingerprints. Before its OpenBAO is up, or has a key, one made of `random` serves: its
/// fingerprints equal no others, so that no stamp of a secret counts for or against anything.
pub async fn of(
    store: Option<&dyn SecretStore>,
    random: [u8; 32],
) -> (Fingerprints, Option<NewKey>) {
    let Some(store) = store else {
        return (fingerprints(Secret::new(random)), None);
    };
    let stored = store.read(PATH).await;
    if let Ok(Some(fields)) = &stored
        && let Some(key) = fields.get(FIELD).and_then(parse)
    {
        return (fingerprints(key), None);
    }
    let new = NewKey(Secret::new(hex::encode(random)));
    // Nothing else may be written over: neither a key that could not be read nor one that is no key.
    let free = match stored {
        Ok(Some(fields)) => !fields.contains_key(FIELD),
        Ok(None) => true,
        Err(crate::secret::StoreError::NotUp(_)) => true,
        Err(_) => false,
    };
    (fingerprints(Secret::new(random)), free.then_some(new))
}

/// Keeps a new key, unless the stack got one meanwhile.
///
/// # Errors
/// When OpenBAO can't be told.
pub async fn keep(store: &dyn SecretStore, new: &NewKey) -> Result<(), crate::secret::StoreError> {
    let there = store.read(PATH).await?;
    if there.is_some_and(|fields| fields.contains_key(FIELD)) {
        return Ok(());
    }
    store.write(PATH, FIELD, &new.0).await
}

fn parse(hex: &Secret<String>) -> Option<Secret<[u8; 32]>> {
    let mut key = [0; 32];
    hex::decode_to_slice(hex.expose().trim(), &mut key).ok()?;
    Some(Secret::new(key))
}

fn fingerprints(key: Secret<[u8; 32]>) -> Fingerprints {
    // Derived from the key, so that one key has one name wherever it is used.
    let id = blake3::Hasher::new_derive_key("foundry 2026 fingerprint key id v1")
        .update(key.expose())
        .finalize()
        .to_hex()[..8]
        .to_owned();
    Fingerprints::new(id, key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use futures::future::BoxFuture;

    use super::*;
    use crate::secret::{SecretFields, StoreError};

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

    #[tokio::test]
    async fn a_key_once_kept_is_the_stacks_for_good() {
        let store = Memory(Mutex::new(None));
        let (first, new) = of(Some(&store), [1; 32]).await;
        *store.0.lock().unwrap() = Some(BTreeMap::new());
        keep(&store, &new.unwrap()).await.unwrap();
        let (second, new) = of(Some(&store), [2; 32]).await;
        assert_eq!(first.id(), second.id());
        assert!(new.is_none());
        // Another run that began before the key was kept loses.
        keep(&store, &NewKey(Secret::new(hex::encode([3; 32]))))
            .await
            .unwrap();
        assert_eq!(of(Some(&store), [4; 32]).await.0.id(), first.id());
    }
}
