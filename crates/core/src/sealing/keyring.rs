//! A store of keys and what wraps them: all that a process needs to work on sealed tenants.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tenantry_kv::env::Env;
use uuid::Uuid;

use super::secret::SecretKey;
use super::store::{KeyEntry, KeyState, KeyStore};
use super::wrapping::KeyWrapper;
use crate::error::{Code, Error, Result};

/// How many keys are rewrapped before the store is written.
const REWRAPPED_TOGETHER_MAX: usize = 10_000;

/// What a process needs to work on sealed tenants: the store of their keys, and what wraps these. Cheap to clone.
#[derive(Clone)]
pub struct Keyring {
    pub(super) wrapper: Arc<dyn KeyWrapper>,
    pub(super) store: Arc<dyn KeyStore>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Keyring({}, {})", self.wrapper.id(), self.store.name())
    }
}

/// What is in a store of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyringStatus {
    /// The store's name.
    pub store: String,
    /// The id of the root key at hand.
    pub root: String,
    /// How many keys each root key wraps, by its id.
    pub wrapped: BTreeMap<String, u64>,
    /// How many keys were destroyed.
    pub destroyed: u64,
}

/// What a rotation of the root key did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootRotation {
    /// How many keys were rewrapped.
    pub rewrapped: u64,
    /// How many the new root key had wrapped before.
    pub unchanged: u64,
    /// How many were destroyed before, and have nothing to rewrap.
    pub destroyed: u64,
}

/// What a tenant's wrapped key is bound to.
fn context(tenant: Uuid, key_id: Uuid) -> Vec<u8> {
    [&b"tenantry key of a tenant 1"[..], tenant.as_bytes(), key_id.as_bytes()].concat()
}

impl Keyring {
    /// The keys of a store, which `wrapper` wraps.
    pub fn new(wrapper: Arc<dyn KeyWrapper>, store: Arc<dyn KeyStore>) -> Keyring {
        Keyring { wrapper, store }
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn KeyStore> {
        &self.store
    }

    /// What wraps the keys.
    pub fn wrapper(&self) -> &Arc<dyn KeyWrapper> {
        &self.wrapper
    }

    /// Counts what is in the store.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn status(&self) -> Result<KeyringStatus> {
        let mut status = KeyringStatus {
            store: self.store.name(),
            root: self.wrapper.id().to_owned(),
            wrapped: BTreeMap::new(),
            destroyed: 0,
        };
        for entry in self.store.list().await? {
            match entry.state {
                KeyState::Wrapped { root, .. } => *status.wrapped.entry(root).or_default() += 1,
                KeyState::Destroyed { .. } => status.destroyed += 1,
            }
        }
        Ok(status)
    }

    /// Wraps every key with another root key. No data and no database is touched. Run again after an interruption, it goes on; it looks again until no key is left that the old root
    /// key wraps, so that one which was added meanwhile is rewrapped too.
    ///
    /// # Errors
    ///
    /// 20112 for a key that neither of the two root keys wraps: nothing of that group is rewrapped. The store's and the wrappers'.
    pub async fn rotate_root(&self, new: &dyn KeyWrapper) -> Result<RootRotation> {
        let mut rotation = RootRotation::default();
        loop {
            let entries = self.store.list().await?;
            rotation.destroyed = entries.iter().filter(|entry| !is_wrapped(entry)).count() as u64;
            let old = |entry: &&KeyEntry| matches!(&entry.state, KeyState::Wrapped { root, .. } if root != new.id());
            let left: Vec<&KeyEntry> = entries.iter().filter(old).take(REWRAPPED_TOGETHER_MAX).collect();
            if left.is_empty() {
                let wrapped = entries.len() as u64 - rotation.destroyed;
                rotation.unchanged = wrapped.saturating_sub(rotation.rewrapped);
                return Ok(rotation);
            }
            let mut rewrapped = Vec::with_capacity(left.len());
            for entry in left {
                let key = self.opened(entry).await?;
                let context = context(entry.tenant, entry.key_id);
                let bytes = new.wrap(&key, &context).await?;
                let state = KeyState::Wrapped { root: new.id().to_owned(), bytes };
                rewrapped.push(KeyEntry { state, ..entry.clone() });
            }
            rotation.rewrapped += self.store.rewrap(rewrapped).await? as u64;
        }
    }

    /// The key of a tenant, made and stored if there is none. It is durable before anything is sealed with it.
    pub(crate) async fn created(&self, env: &Env, tenant: Uuid) -> Result<(KeyEntry, SecretKey)> {
        if let Some(entry) = self.store.get(tenant).await? {
            let key = self.opened(&entry).await?;
            return Ok((entry, key));
        }
        let key = SecretKey::random(&*env.entropy);
        let mut key_id = [0; 16];
        env.entropy.fill(&mut key_id);
        let key_id = uuid::Builder::from_random_bytes(key_id).into_uuid();
        let bytes = self.wrapper.wrap(&key, &context(tenant, key_id)).await?;
        let state = KeyState::Wrapped { root: self.wrapper.id().to_owned(), bytes };
        let entry = KeyEntry::new(tenant, key_id, key.fingerprint(), env.clock.wall_us(), state);
        let stored = self.store.add(entry.clone()).await?;
        match stored == entry {
            true => Ok((stored, key)),
            // Somebody else was first.
            false => {
                let key = self.opened(&stored).await?;
                Ok((stored, key))
            }
        }
    }

    /// The key of a tenant.
    pub(crate) async fn tenant_key(&self, tenant: Uuid) -> Result<SecretKey> {
        match self.store.get(tenant).await? {
            Some(entry) => self.opened(&entry).await,
            None => {
                let detail = format!(
                    "{} has no key of the tenant {tenant}: name the key store that it was sealed with",
                    self.store.name()
                );
                Err(Error::new(Code::TenantSealed, detail))
            }
        }
    }

    async fn opened(&self, entry: &KeyEntry) -> Result<SecretKey> {
        let (root, bytes) = match &entry.state {
            KeyState::Wrapped { root, bytes } => (root, bytes),
            KeyState::Destroyed { .. } => return Err(shredded(entry.tenant)),
        };
        if root != self.wrapper.id() {
            let detail = format!(
                "the key of the tenant {} in {} is wrapped by {root}, the root key at hand is {}: name the other one",
                entry.tenant,
                self.store.name(),
                self.wrapper.id()
            );
            return Err(Error::new(Code::RootKeyDiffers, detail));
        }
        let key = self.wrapper.unwrap(bytes, &context(entry.tenant, entry.key_id)).await?;
        match key.fingerprint() == entry.key_hash {
            true => Ok(key),
            false => {
                let detail = format!(
                    "the key of the tenant {} in {} has another hash",
                    entry.tenant,
                    self.store.name()
                );
                Err(Error::new(Code::KeyStoreDamaged, detail))
            }
        }
    }
}

fn is_wrapped(entry: &KeyEntry) -> bool {
    matches!(entry.state, KeyState::Wrapped { .. })
}

/// The error of a tenant whose key is gone.
pub(super) fn shredded(tenant: Uuid) -> Error {
    let detail =
        format!("nothing that was sealed for the tenant {tenant} can be read any more; it can be deleted");
    Error::new(Code::TenantShredded, detail)
}
