//! The data keys of sealed tenants, unwrapped, for a while.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chacha20poly1305::XChaCha20Poly1305;
use prost::Message;
use tenantry_kv::env::Env;
use tenantry_kv::{Isolation, Transaction};
use uuid::Uuid;

use super::keyring::Keyring;
use super::secret::SecretKey;
use crate::error::{Code, Error, Result};
use crate::key_space::TenantKeys;
use crate::limits::{DATA_KEY_CACHE_TIME_MAX, DATA_KEYS_CACHED_MAX};
use crate::messages::{StoredDataKey, read};

/// A data key, ready to be used.
pub(crate) struct DataKey {
    pub(super) generation: u32,
    pub(super) cipher: XChaCha20Poly1305,
    /// Of the hashes in indexes. It comes from the tenant's key, and is the same beside every data key.
    pub(super) index_key: SecretKey,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DataKey({})", self.generation)
    }
}

struct Cached {
    key: Arc<DataKey>,
    /// On the monotonic clock: then the store of keys is asked again, which may have destroyed the tenant's.
    until: Duration,
}

/// What a process knows of keys: the keyring that it was given, and the data keys that it unwrapped.
pub(crate) struct DataKeys {
    pub(super) env: Env,
    keyring: Mutex<Option<Keyring>>,
    cached: Mutex<BTreeMap<(Uuid, u32), Cached>>,
}

impl DataKeys {
    pub(crate) fn new(env: Env) -> DataKeys {
        DataKeys { env, keyring: Mutex::default(), cached: Mutex::default() }
    }

    pub(crate) fn set_keyring(&self, keyring: Option<Keyring>) {
        *lock(&self.keyring) = keyring;
        lock(&self.cached).clear();
    }

    /// The keyring.
    pub(crate) fn keyring(&self) -> Result<Keyring> {
        lock(&self.keyring).clone().ok_or_else(|| {
            let detail = "this process has no keys: name the key store and the root key (--key-store and --root-key, or TENANTRY_KEY_STORE and TENANTRY_ROOT_KEY; in a program \
                          Database::set_keyring)";
            Error::new(Code::TenantSealed, detail)
        })
    }

    /// Wipes what is known of a tenant's keys.
    pub(crate) fn forget(&self, tenant: Uuid) {
        lock(&self.cached).retain(|(other, _), _| *other != tenant);
    }

    /// Wipes what is known of a tenant's keys, if there is anything.
    pub(super) fn forget_known(&self, tenant: Uuid) {
        let mut cached = lock(&self.cached);
        if cached.range((tenant, 0)..=(tenant, u32::MAX)).next().is_some() {
            cached.retain(|(other, _), _| *other != tenant);
        }
    }

    /// A data key that is known.
    pub(super) fn known(&self, tenant: Uuid, generation: u32) -> Option<Arc<DataKey>> {
        let cached = lock(&self.cached);
        let found = cached.get(&(tenant, generation))?;
        (self.env.clock.monotonic() < found.until).then(|| found.key.clone())
    }

    /// A data key, read and unwrapped unless it is known.
    pub(super) async fn get(
        &self,
        transaction: &dyn Transaction,
        keys: &TenantKeys,
        tenant: Uuid,
        generation: u32,
    ) -> Result<Arc<DataKey>> {
        if let Some(key) = self.known(tenant, generation) {
            return Ok(key);
        }
        let keyring = self.keyring()?;
        let Some(stored) = transaction.get(&keys.data_key(generation)?, Isolation::Snapshot).await? else {
            let detail = format!("the tenant has no data key of the generation {generation}");
            return Err(Error::new(Code::StoredDataInvalid, detail));
        };
        let stored: StoredDataKey = read(&stored, "a data key")?;
        let tenant_key = keyring.tenant_key(tenant).await?;
        let key = tenant_key.unwrap(&stored.wrapped, &context(tenant, generation)).ok_or_else(|| {
            let detail = format!(
                "the data key of the generation {generation} does not open with the tenant's key in {}: it was altered, or it is another tenant's",
                keyring.store.name()
            );
            Error::new(Code::SealBroken, detail)
        })?;
        let key = Arc::new(DataKey { generation, cipher: key.cipher(), index_key: tenant_key.index_key() });
        let until = self.env.clock.monotonic().saturating_add(DATA_KEY_CACHE_TIME_MAX);
        let mut cached = lock(&self.cached);
        if cached.len() >= DATA_KEYS_CACHED_MAX {
            cached.clear();
        }
        cached.insert((tenant, generation), Cached { key: key.clone(), until });
        Ok(key)
    }
}

/// What a wrapped data key is bound to. Not to the incarnation: the tenant keeps its keys when it moves.
fn context(tenant: Uuid, generation: u32) -> Vec<u8> {
    [&b"tenantry data key 1"[..], tenant.as_bytes(), &generation.to_be_bytes()].concat()
}

/// A new data key, wrapped by the tenant's, as it is stored.
pub(crate) fn new_data_key(
    env: &Env,
    tenant: Uuid,
    tenant_key: &SecretKey,
    generation: u32,
) -> Result<Vec<u8>> {
    let key = SecretKey::random(&*env.entropy);
    let wrapped = tenant_key.wrap(&key, &context(tenant, generation), &*env.entropy)?;
    let stored = StoredDataKey {
        generation,
        created_us: env.clock.wall_us(),
        wrapped,
        hash: key.fingerprint().to_vec(),
    };
    Ok(stored.encode_to_vec())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
