//! The map: the ordered key-value store behind the window, with everything that has left it.
//!
//! It changes only by whole [`Change`]s, each of which brings it to a version that no reader is older than. What a change has done
//! half-way is invisible, because the window still holds all of it.

mod lsm;
mod memory;

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use tenantry_kv::{KeyRange, Result, Version};

use crate::key::Key;
use crate::seam::{Batch, Write};

pub(crate) use lsm::LsmMap;
pub(crate) use memory::MemoryMap;

/// Receives the rows of a scan; false ends it.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&[u8], Bytes) -> bool;

/// An ordered map from keys to values.
pub(crate) trait OrderedMap: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// 10001 when what is stored is damaged; 1510.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// The values of some keys: `found` is called with the place of each key that is there, and its value. Keys in their order cost least.
    ///
    /// # Errors
    ///
    /// As [`get`](OrderedMap::get).
    fn get_many(
        &self,
        keys: &mut dyn Iterator<Item = &[u8]>,
        found: &mut dyn FnMut(usize, Bytes),
    ) -> Result<()> {
        for (place, key) in keys.enumerate() {
            if let Some(value) = self.get(key)? {
                found(place, value);
            }
        }
        Ok(())
    }

    /// Visits the rows from `begin` to `end` (exclusive), ascending or (`reverse`) descending.
    ///
    /// # Errors
    ///
    /// As [`get`](OrderedMap::get).
    fn scan(&self, begin: &[u8], end: &[u8], reverse: bool, visit: Visit<'_>) -> Result<()>;

    /// Makes `change` part of the map, durably where the map is durable.
    ///
    /// # Errors
    ///
    /// 10002 (disk full), 1510, 10001. The map may then hold a part of the change.
    fn apply(&self, change: &Change) -> Result<()>;

    /// The version and the log sequence of the last change.
    ///
    /// # Errors
    ///
    /// As [`get`](OrderedMap::get).
    fn applied(&self) -> Result<Applied>;

    /// Reads everything and verifies every checksum. The number of rows.
    ///
    /// # Errors
    ///
    /// 10001 naming the place of the first damage; 1510.
    fn check(&self) -> Result<u64>;

    /// Does one piece of the work that keeps reads fast and files small; false if there is none to do, or none that `room_bytes` of the disk suffice for. Reads
    /// go on meanwhile.
    ///
    /// # Errors
    ///
    /// As [`apply`](OrderedMap::apply).
    fn maintain(&self, _room_bytes: u64) -> Result<bool> {
        Ok(false)
    }

    /// What it takes.
    fn figures(&self) -> Figures {
        Figures::default()
    }
}

/// What a map takes on disk and in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Its files.
    pub(crate) tables: u64,
    /// Their length together.
    pub(crate) size_bytes: u64,
    /// What of them is in memory.
    pub(crate) cached_bytes: u64,
}

/// How far the map has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The newest version in the map.
    pub(crate) version: Version,
    /// The sequence number of the log record that brought it.
    pub(crate) sequence: u64,
}

/// The effect of many batches together: ranges to clear, then keys to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// Ranges in which every key goes, but for those in `keys`. Ascending and disjoint.
    pub(crate) cleared: Vec<KeyRange>,
    /// Keys with their value, or `None` to remove them.
    pub(crate) keys: BTreeMap<Key, Option<Bytes>>,
    /// Keys that were written and then cleared by a range: they are not in `keys`.
    pub(crate) covered: Vec<Key>,
    /// Where the map stands afterwards.
    pub(crate) applied: Applied,
}

impl Change {
    /// Adds what a later batch wrote.
    pub(crate) fn add(&mut self, batch: &Batch, sequence: u64) {
        for write in &batch.writes {
            match write {
                Write::Set { key, value } => {
                    self.keys.insert(key.into(), Some(value.clone()));
                }
                Write::ClearRange { begin, end } if crate::window::is_point(begin, end) => {
                    self.keys.insert(begin.into(), None);
                }
                Write::ClearRange { begin, end } => self.clear(begin, end),
            }
        }
        self.applied = Applied { version: batch.version, sequence };
    }

    fn clear(&mut self, begin: &Bytes, end: &Bytes) {
        if begin >= end {
            return;
        }
        let inside = (Bound::Included(begin.as_ref()), Bound::Excluded(end.as_ref()));
        let gone: Vec<Key> = self.keys.range::<[u8], _>(inside).map(|(key, _)| key.clone()).collect();
        for key in &gone {
            self.keys.remove(key);
        }
        self.covered.extend(gone);
        let mut merged = KeyRange::new(begin.clone(), end.clone());
        // Ranges that touch the new one melt into it; the list stays ascending and disjoint.
        let first = self.cleared.partition_point(|range| range.end < merged.begin);
        let last = self.cleared.partition_point(|range| range.begin <= merged.end);
        for range in self.cleared.drain(first..last.max(first)) {
            merged.begin = merged.begin.min(range.begin);
            merged.end = merged.end.max(range.end);
        }
        self.cleared.insert(first, merged);
    }
}
