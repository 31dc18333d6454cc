//! The data keys of sealed tenants, unwrapped, for a while.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message;
use tenantry_kv::env::Env;
use tenantry_kv::{Isolation, Transaction};
use uuid::Uuid;

use super::header_seal::HeaderKey;
use super::keyring::Keyring;
use super::secret::SecretKey;
use crate::cipher::Cipher;
use crate::error::{Code, Error, Result};
use crate::key_space::TenantKeys;
use crate::limits::{DATA_KEY_CACHE_TIME_MAX, DATA_KEYS_CACHED_MAX, SEAL_UNDER_WAY_TIME_MAX};
use crate::messages::{StoredDataKey, StoredSealing, read};

/// When the store is asked again about a tenant that is just being sealed.
const SEAL_UNDER_WAY_LOOK: Duration = Duration::from_secs(1);

/// A data key, ready to be used.
pub(crate) struct DataKey {
    pub(super) generation: u32,
    pub(super) cipher: Cipher,
    /// Of the hashes in indexes. It comes from the tenant's key, and is the same beside every data key.
    pub(super) index_key: SecretKey,
    /// Of the tenant's header, from the tenant's key too.
    pub(super) header_key: HeaderKey,
    /// What a header said of the seal when it was checked last.
    checked: Mutex<Option<StoredSealing>>,
}

impl DataKey {
    fn new(generation: u32, key: &SecretKey, tenant_key: &SecretKey) -> Result<DataKey> {
        Ok(DataKey {
            generation,
            cipher: key.cipher()?,
            index_key: tenant_key.derived("tenantry 2026 key of the hashes in a tenant's indexes"),
            header_key: tenant_key.header_key(),
            checked: Mutex::default(),
        })
    }

    /// Fails unless what a header says of the seal was written by somebody who has the tenant's key.
    pub(super) fn check_header(&self, tenant: Uuid, sealing: &StoredSealing) -> Result<()> {
        let mut checked = lock(&self.checked);
        if checked.as_ref() != Some(sealing) {
            self.header_key.check(tenant, sealing)?;
            *checked = Some(sealing.clone());
        }
        Ok(())
    }
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
    /// The tenants whose headers say that they are not sealed, with what the store of keys does not say otherwise, and until when that holds on the monotonic clock.
    in_clear: Mutex<BTreeMap<Uuid, Duration>>,
}

impl DataKeys {
    pub(crate) fn new(env: Env) -> DataKeys {
        DataKeys { env, keyring: Mutex::default(), cached: Mutex::default(), in_clear: Mutex::default() }
    }

    pub(crate) fn set_keyring(&self, keyring: Option<Keyring>) {
        *lock(&self.keyring) = keyring;
        lock(&self.cached).clear();
        lock(&self.in_clear).clear();
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

    /// Fails where the store of keys knows a tenant as sealed whose header says that it is not. It is asked once in a while: a process without keys, or one whose store does not
    /// answer, takes the header's word.
    pub(super) async fn check_in_clear(&self, tenant: Uuid) -> Result<()> {
        let now = self.env.clock.monotonic();
        if lock(&self.in_clear).get(&tenant).is_some_and(|until| now < *until) {
            return Ok(());
        }
        let Some(keyring) = lock(&self.keyring).clone() else { return Ok(()) };
        let found = keyring.store.get(tenant).await.unwrap_or_default();
        let under_way_us = i64::try_from(SEAL_UNDER_WAY_TIME_MAX.as_micros()).unwrap_or(i64::MAX);
        let again_after = match found {
            None => DATA_KEY_CACHE_TIME_MAX,
            // The key comes first, then the header.
            Some(entry) if self.env.clock.wall_us().saturating_sub(entry.created_us) < under_way_us => {
                SEAL_UNDER_WAY_LOOK
            }
            Some(_) => {
                let detail = format!(
                    "the tenant's header says that it is not sealed, and {} has a key of it: what it said of its seal was taken out, then put the header back from a backup; or the \
                     tenant was not sealed yet in what was restored, or its sealing was interrupted, then \"tenantry tenant seal\" seals it",
                    keyring.store.name()
                );
                return Err(Error::new(Code::SealBroken, detail));
            }
        };
        let mut in_clear = lock(&self.in_clear);
        if in_clear.len() >= DATA_KEYS_CACHED_MAX {
            in_clear.clear();
        }
        in_clear.insert(tenant, now.saturating_add(again_after));
        Ok(())
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
        let key = Arc::new(DataKey::new(generation, &key, &tenant_key)?);
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
