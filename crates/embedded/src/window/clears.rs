//! Range clears by version: key space cut into fragments, each with the versions at which it was cleared.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use tenantry_kv::{KeyRange, Version};

/// The fragments. A fragment begins at its key and ends where the next begins; its versions are ascending, and none of them means that
/// it was not cleared. The space before the first fragment was not cleared either.
#[derive(Default)]
pub(super) struct Clears {
    fragments: BTreeMap<Bytes, Vec<Version>>,
}

impl Clears {
    /// Enters a clear of the range from `begin` to `end` at `version`, which is not older than any entered before.
    pub(super) fn enter(&mut self, begin: &Bytes, end: &Bytes, version: Version) {
        if begin >= end {
            return;
        }
        self.cut(begin);
        self.cut(end);
        let range = (Bound::Included(begin.as_ref()), Bound::Excluded(end.as_ref()));
        for (_, versions) in self.fragments.range_mut::<[u8], _>(range) {
            if versions.last() != Some(&version) {
                versions.push(version);
            }
        }
    }

    /// The newest version not after `version`, and after `floor`, at which `key` was cleared.
    pub(super) fn newest(&self, key: &[u8], version: Version, floor: Version) -> Option<Version> {
        if self.fragments.is_empty() {
            return None;
        }
        let (_, versions) =
            self.fragments.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        newest(versions, version, floor)
    }

    /// Appends the ranges between `begin` and `end` that were cleared at or before `version` and after `floor`, ascending and merged.
    pub(super) fn within(
        &self,
        begin: &[u8],
        end: &[u8],
        version: Version,
        floor: Version,
        ranges: &mut Vec<KeyRange>,
    ) {
        if self.fragments.is_empty() || begin >= end {
            return;
        }
        let mut open = self.newest(begin, version, floor).map(|_| Bytes::copy_from_slice(begin));
        for (key, versions) in self.fragments.range::<[u8], _>((Bound::Excluded(begin), Bound::Excluded(end)))
        {
            match (newest(versions, version, floor), open.take()) {
                (Some(_), None) => open = Some(key.clone()),
                (Some(_), begun) => open = begun,
                (None, Some(begun)) => ranges.push(KeyRange::new(begun, key.clone())),
                (None, None) => {}
            }
        }
        if let Some(begun) = open {
            ranges.push(KeyRange::new(begun, Bytes::copy_from_slice(end)));
        }
    }

    /// Forgets clears up to `version` in at most `steps_max` fragments from `from` on. Where to go on, if that was not all.
    pub(super) fn forget(&mut self, version: Version, from: &Bytes, steps_max: usize) -> Option<Bytes> {
        let mut empty = Vec::new();
        let mut next = None;
        let before =
            self.fragments.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(from.as_ref()))).next_back();
        // A fragment without versions is needed only behind one with some.
        let mut needed = before.is_some_and(|(_, versions)| !versions.is_empty());
        let range = (Bound::Included(from.as_ref()), Bound::Unbounded);
        for (steps, (key, versions)) in self.fragments.range_mut::<[u8], _>(range).enumerate() {
            if steps == steps_max {
                next = Some(key.clone());
                break;
            }
            versions.retain(|at| *at > version);
            if versions.is_empty() && !needed {
                empty.push(key.clone());
            }
            needed = !versions.is_empty();
        }
        for key in empty {
            self.fragments.remove(&key);
        }
        next
    }

    /// How many fragments there are.
    pub(super) fn len(&self) -> usize {
        self.fragments.len()
    }

    /// Makes `at` the begin of a fragment.
    fn cut(&mut self, at: &Bytes) {
        if self.fragments.contains_key(at.as_ref()) {
            return;
        }
        let before =
            self.fragments.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(at.as_ref()))).next_back();
        let versions = before.map(|(_, versions)| versions.clone()).unwrap_or_default();
        self.fragments.insert(at.clone(), versions);
    }
}

fn newest(versions: &[Version], version: Version, floor: Version) -> Option<Version> {
    versions.iter().rev().find(|at| **at <= version).copied().filter(|at| *at > floor)
}
