//! Where the wrapped keys of tenants are kept: outside the database, so that whoever destroys one there makes every copy of the database worthless for that tenant.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::wrapping::{KeyFuture, hexadecimal};
use crate::error::{Code, Error, Result};

/// What a store of keys has of one tenant.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyEntry {
    /// The tenant's own identity, which it keeps wherever it moves.
    pub tenant: Uuid,
    /// The key's identity.
    pub key_id: Uuid,
    /// A hash that tells the key from others and nothing else about it.
    pub key_hash: [u8; 32],
    /// When it was made, in microseconds since 1970.
    pub created_us: i64,
    /// The key, or that there is none any more.
    pub state: KeyState,
}

/// A wrapped key, or that there is none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// The key.
    Wrapped {
        /// The [id](super::KeyWrapper::id) of what wraps it.
        root: String,
        /// What [`KeyWrapper::wrap`](super::KeyWrapper::wrap) gave.
        bytes: Vec<u8>,
    },
    /// The key was destroyed.
    Destroyed {
        /// When, in microseconds since 1970.
        at_us: i64,
    },
}

impl fmt::Debug for KeyEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            KeyState::Wrapped { root, .. } => format!("wrapped by {root}"),
            KeyState::Destroyed { at_us } => format!("destroyed at {at_us}"),
        };
        write!(formatter, "KeyEntry({} of {}, {state})", self.key_id, self.tenant)
    }
}

impl KeyEntry {
    /// What the entry of a key is at first.
    pub fn new(tenant: Uuid, key_id: Uuid, key_hash: [u8; 32], created_us: i64, state: KeyState) -> KeyEntry {
        KeyEntry { tenant, key_id, key_hash, created_us, state }
    }

    /// What stays of it when the key is destroyed.
    #[must_use]
    pub fn destroyed(&self, at_us: i64) -> KeyEntry {
        KeyEntry { state: KeyState::Destroyed { at_us }, ..self.clone() }
    }

    /// The hash in hexadecimal digits.
    pub fn key_hash_text(&self) -> String {
        hexadecimal(&self.key_hash)
    }
}

/// A store of keys. What it answered with success is durable.
///
/// A destroyed entry stays as it is for ever: nothing takes its place, so that no late writer brings a key back.
pub trait KeyStore: Send + Sync {
    /// Names the store in messages.
    fn name(&self) -> String;

    /// What there is of a tenant.
    ///
    /// # Errors
    ///
    /// 20113 when what is stored is damaged, 20117 when the store cannot be reached.
    fn get<'a>(&'a self, tenant: Uuid) -> KeyFuture<'a, Option<KeyEntry>>;

    /// Adds the entry of a tenant that has none. Returns what there is then: the entry that was there, if there was one.
    ///
    /// # Errors
    ///
    /// As [`get`](KeyStore::get).
    fn add<'a>(&'a self, entry: KeyEntry) -> KeyFuture<'a, KeyEntry>;

    /// Puts keys that another root key wraps in the place of the same keys, all of them at once if the store can. Those that were destroyed meanwhile stay destroyed. Returns
    /// how many were replaced.
    ///
    /// # Errors
    ///
    /// As [`get`](KeyStore::get).
    fn rewrap<'a>(&'a self, entries: Vec<KeyEntry>) -> KeyFuture<'a, usize>;

    /// Destroys the key of a tenant. Returns the entry that stays in its place; that of the first time, if it was destroyed before. `None` for a tenant without an entry.
    ///
    /// # Errors
    ///
    /// As [`get`](KeyStore::get). After an error the key may or may not be destroyed: do it again.
    fn destroy<'a>(&'a self, tenant: Uuid, at_us: i64) -> KeyFuture<'a, Option<KeyEntry>>;

    /// All entries, by tenant.
    ///
    /// # Errors
    ///
    /// As [`get`](KeyStore::get).
    fn list<'a>(&'a self) -> KeyFuture<'a, Vec<KeyEntry>>;
}

/// The entries of a store.
pub(super) type Entries = BTreeMap<Uuid, KeyEntry>;

/// Puts rewrapped keys in the place of the same keys.
pub(super) fn replace_wrapped(entries: &mut Entries, rewrapped: Vec<KeyEntry>) -> usize {
    let mut replaced = 0;
    for new in rewrapped {
        if let Some(old) = entries.get_mut(&new.tenant)
            && old.key_id == new.key_id
            && matches!((&old.state, &new.state), (KeyState::Wrapped { .. }, KeyState::Wrapped { .. }))
        {
            old.state = new.state;
            replaced += 1;
        }
    }
    replaced
}

/// Destroys the key of an entry, once.
pub(super) fn destroy_in(entries: &mut Entries, tenant: Uuid, at_us: i64) -> Option<KeyEntry> {
    let entry = entries.get_mut(&tenant)?;
    if matches!(entry.state, KeyState::Wrapped { .. }) {
        *entry = entry.destroyed(at_us);
    }
    Some(entry.clone())
}

/// A store in memory, for tests: what is in it is gone with the process.
#[derive(Debug, Default)]
pub struct MemoryKeyStore {
    entries: Mutex<Entries>,
}

impl MemoryKeyStore {
    /// One without entries.
    pub fn new() -> MemoryKeyStore {
        MemoryKeyStore::default()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyStore for MemoryKeyStore {
    fn name(&self) -> String {
        "the key store in memory".to_owned()
    }

    fn get<'a>(&'a self, tenant: Uuid) -> KeyFuture<'a, Option<KeyEntry>> {
        Box::pin(async move { Ok(self.lock().get(&tenant).cloned()) })
    }

    fn add<'a>(&'a self, entry: KeyEntry) -> KeyFuture<'a, KeyEntry> {
        Box::pin(async move {
            let mut entries = self.lock();
            check_room(entries.len())?;
            Ok(entries.entry(entry.tenant).or_insert(entry).clone())
        })
    }

    fn rewrap<'a>(&'a self, entries: Vec<KeyEntry>) -> KeyFuture<'a, usize> {
        Box::pin(async move { Ok(replace_wrapped(&mut self.lock(), entries)) })
    }

    fn destroy<'a>(&'a self, tenant: Uuid, at_us: i64) -> KeyFuture<'a, Option<KeyEntry>> {
        Box::pin(async move { Ok(destroy_in(&mut self.lock(), tenant, at_us)) })
    }

    fn list<'a>(&'a self) -> KeyFuture<'a, Vec<KeyEntry>> {
        Box::pin(async move { Ok(self.lock().values().cloned().collect()) })
    }
}

/// Fails where one more entry would be too many.
pub(super) fn check_room(entries: usize) -> Result<()> {
    use crate::limits::KEY_STORE_ENTRIES_MAX;
    match entries < KEY_STORE_ENTRIES_MAX {
        true => Ok(()),
        false => Err(Error::new(
            Code::LimitPassed,
            format!("the keys of a key store: {entries}, the limit is {KEY_STORE_ENTRIES_MAX}"),
        )),
    }
}
