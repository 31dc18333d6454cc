//! The resolver: refuses a transaction that read what another one has written since.
//!
//! It remembers which keys and ranges were written when, as far back as the window reaches. Single keys, which are nearly all, stand in
//! an ordered map of their own; ranges cut key space into segments, each with the version of its last write.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use tenantry_kv::{KeyRange, Version};

use crate::window::is_point;

/// The recent writes.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    points: BTreeMap<Bytes, Version>,
    /// A segment begins at its key and ends where the next begins; its version is that of the last write to it as a range, 0 for none.
    segments: BTreeMap<Bytes, Version>,
    /// The points of each version, oldest first, to forget them again.
    history: VecDeque<(Version, Vec<Bytes>)>,
    /// How many segments there were after the last sweep.
    segments_swept: usize,
    /// Nothing older than this is remembered.
    oldest: Version,
}

impl Resolver {
    /// The read ranges that were written after `read_version`. At the first one it stops, unless `all` are wanted.
    pub(crate) fn conflicts(&self, read_version: Version, reads: &[KeyRange], all: bool) -> Vec<KeyRange> {
        let mut conflicts = Vec::new();
        for range in reads {
            if !range.is_empty() && self.was_written(range, read_version) {
                conflicts.push(range.clone());
                if !all {
                    break;
                }
            }
        }
        conflicts
    }

    /// The version before which writes are forgotten: a transaction with an older read version cannot be judged.
    pub(crate) fn oldest(&self) -> Version {
        self.oldest
    }

    /// Remembers the write ranges of a transaction that commits at `version`.
    pub(crate) fn record(&mut self, version: Version, writes: &[KeyRange]) {
        let mut keys = Vec::new();
        for range in writes {
            if range.is_empty() {
                continue;
            }
            if is_point(&range.begin, &range.end) {
                self.points.insert(range.begin.clone(), version);
                keys.push(range.begin.clone());
            } else {
                self.record_range(range, version);
            }
        }
        match self.history.back_mut() {
            Some((at, known)) if *at == version => known.append(&mut keys),
            _ => self.history.push_back((version, keys)),
        }
    }

    /// Forgets what was written at or before `version`.
    pub(crate) fn forget(&mut self, version: Version) {
        self.oldest = self.oldest.max(version);
        while let Some((at, _)) = self.history.front()
            && *at <= version
        {
            let (at, keys) = self.history.pop_front().unwrap_or_default();
            for key in keys {
                if self.points.get(&key) == Some(&at) {
                    self.points.remove(&key);
                }
            }
        }
        if self.segments.len() > 2 * self.segments_swept + 64 {
            self.sweep(version);
        }
    }

    /// How many keys and segments are remembered.
    pub(crate) fn len(&self) -> usize {
        self.points.len() + self.segments.len()
    }

    fn was_written(&self, range: &KeyRange, after: Version) -> bool {
        if is_point(&range.begin, &range.end) {
            return self.points.get(&range.begin).is_some_and(|at| *at > after)
                || self.segment_at(&range.begin).is_some_and(|at| at > after);
        }
        let bounds = (Bound::Included(range.begin.as_ref()), Bound::Excluded(range.end.as_ref()));
        self.segment_at(&range.begin).is_some_and(|at| at > after)
            || self.segments.range::<[u8], _>(bounds).any(|(_, at)| *at > after)
            || self.points.range::<[u8], _>(bounds).any(|(_, at)| *at > after)
    }

    fn segment_at(&self, key: &[u8]) -> Option<Version> {
        if self.segments.is_empty() {
            return None;
        }
        let before = self.segments.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.map(|(_, at)| *at)
    }

    fn record_range(&mut self, range: &KeyRange, version: Version) {
        let behind = self.segment_at(&range.end).unwrap_or(0);
        let bounds = (Bound::Included(range.begin.as_ref()), Bound::Excluded(range.end.as_ref()));
        let covered: Vec<Bytes> =
            self.segments.range::<[u8], _>(bounds).map(|(key, _)| key.clone()).collect();
        for key in covered {
            self.segments.remove(&key);
        }
        self.segments.insert(range.begin.clone(), version);
        self.segments.entry(range.end.clone()).or_insert(behind);
    }

    fn sweep(&mut self, version: Version) {
        let mut last = 0;
        self.segments.retain(|_, at| {
            if *at <= version {
                *at = 0;
            }
            let keep = *at != last;
            last = *at;
            keep
        });
        self.segments_swept = self.segments.len();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range_strategy() -> impl Strategy<Value = KeyRange> {
        (0..20u8, 0..21u8, any::<bool>()).prop_map(|(from, to, point)| {
            if point {
                KeyRange::of_key(&[from])
            } else {
                KeyRange::new(vec![from.min(to)], vec![from.max(to)])
            }
        })
    }

    proptest! {
        #[test]
        fn it_judges_as_a_list_of_all_writes_does(
            commits in prop::collection::vec(prop::collection::vec(range_strategy(), 0..4), 1..20),
            reads in prop::collection::vec((range_strategy(), 0..20i64), 1..20),
            forgotten in 0..10i64,
        ) {
            let mut resolver = Resolver::default();
            for (index, writes) in commits.iter().enumerate() {
                resolver.record(index as Version + 1, writes);
            }
            resolver.forget(forgotten);
            resolver.sweep(forgotten);
            for (range, read_version) in reads {
                if read_version < forgotten {
                    continue;
                }
                let expected = commits.iter().enumerate().any(|(index, writes)| {
                    index as Version + 1 > read_version && writes.iter().any(|write| write.intersects(&range))
                });
                let found = !resolver.conflicts(read_version, std::slice::from_ref(&range), false).is_empty();
                prop_assert_eq!(found, expected, "{:?} at {}", range, read_version);
            }
        }
    }
}
