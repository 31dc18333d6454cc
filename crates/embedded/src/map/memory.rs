//! The map of a volatile database.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use tenantry_kv::Result;

use crate::key::Key;

use super::{Applied, Change, OrderedMap, Visit};

/// How many keys come or go under one hold of the lock.
const KEYS_PER_HOLD: usize = 64;

#[derive(Default)]
struct State {
    keys: BTreeMap<Key, Bytes>,
    applied: Applied,
}

/// An ordered map in memory.
#[derive(Default)]
pub(crate) struct MemoryMap {
    state: RwLock<State>,
}

impl MemoryMap {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OrderedMap for MemoryMap {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.read().keys.get(key).cloned())
    }

    fn scan(&self, begin: &[u8], end: &[u8], reverse: bool, visit: Visit<'_>) -> Result<()> {
        if begin >= end {
            return Ok(());
        }
        let state = self.read();
        let mut range = state.keys.range::<[u8], _>((Bound::Included(begin), Bound::Excluded(end)));
        while let Some((key, value)) = if reverse { range.next_back() } else { range.next() } {
            if !visit(key, value.clone()) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, change: &Change) -> Result<()> {
        for range in &change.cleared {
            loop {
                let mut state = self.write();
                let bounds = (Bound::Included(range.begin.as_ref()), Bound::Excluded(range.end.as_ref()));
                let gone: Vec<Key> = state
                    .keys
                    .range::<[u8], _>(bounds)
                    .take(KEYS_PER_HOLD)
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in &gone {
                    state.keys.remove(key);
                }
                if gone.len() < KEYS_PER_HOLD {
                    break;
                }
            }
        }
        let mut changes = change.keys.iter().peekable();
        while changes.peek().is_some() {
            let mut state = self.write();
            for (key, value) in changes.by_ref().take(KEYS_PER_HOLD) {
                match value {
                    Some(value) => state.keys.insert(key.clone(), value.clone()),
                    None => state.keys.remove(key),
                };
            }
        }
        self.write().applied = change.applied;
        Ok(())
    }

    fn applied(&self) -> Result<Applied> {
        Ok(self.read().applied)
    }

    fn check(&self) -> Result<u64> {
        Ok(self.read().keys.len() as u64)
    }
}
