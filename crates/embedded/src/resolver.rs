//! The resolver: refuses a transaction that read what another one has written since.
//!
//! It remembers which keys and ranges were written when, as far back as the window reaches, in generations: a transaction is compared with those that have something
//! newer than its read version, mostly one, and what nobody can ask for any more goes by the generation. Within a generation single keys, which are nearly all, stand in an ordered map of
//! their own; ranges cut key space into segments, each with the version of its last write.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use tenantry_kv::limits::VERSIONS_PER_SECOND;
use tenantry_kv::{KeyRange, Version};

use crate::key::Key;
use crate::window::is_point;

/// A generation ends when it has so many keys and segments: about what stays in a processor's cache.
const GENERATION_ENTRIES_MAX: usize = 16_384;
/// Or when it spans so many versions.
const GENERATION_VERSIONS_MAX: Version = VERSIONS_PER_SECOND / 2;

/// The recent writes.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    /// Oldest first.
    generations: VecDeque<Generation>,
    /// Nothing older than this is remembered.
    oldest: Version,
}

/// What was written in a stretch of versions.
#[derive(Debug)]
struct Generation {
    first: Version,
    last: Version,
    points: BTreeMap<Key, Version>,
    /// A segment begins at its key and ends where the next begins; its version is that of the last write to it as a range, 0 for none.
    segments: BTreeMap<Key, Version>,
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

    /// Remembers the write ranges of a transaction that commits at `version`, which is not older than any before.
    pub(crate) fn record(&mut self, version: Version, writes: &[KeyRange]) {
        let is_fitting = |generation: &Generation| {
            generation.len() < GENERATION_ENTRIES_MAX && version - generation.first < GENERATION_VERSIONS_MAX
        };
        if !self.generations.back().is_some_and(is_fitting) {
            self.generations.push_back(Generation::new(version));
        }
        if let Some(generation) = self.generations.back_mut() {
            writes.iter().for_each(|range| generation.record(version, range));
        }
    }

    /// Forgets what was written at or before `version`, as far as whole generations go.
    pub(crate) fn forget(&mut self, version: Version) {
        self.oldest = self.oldest.max(version);
        while self.generations.front().is_some_and(|generation| generation.last <= version) {
            self.generations.pop_front();
        }
    }

    /// How many keys and segments are remembered.
    pub(crate) fn len(&self) -> usize {
        self.generations.iter().map(Generation::len).sum()
    }

    fn was_written(&self, range: &KeyRange, after: Version) -> bool {
        let newer = self.generations.iter().rev().take_while(|generation| generation.last > after);
        newer.into_iter().any(|generation| generation.was_written(range, after))
    }
}

impl Generation {
    fn new(first: Version) -> Generation {
        Generation { first, last: first, points: BTreeMap::new(), segments: BTreeMap::new() }
    }

    fn len(&self) -> usize {
        self.points.len() + self.segments.len()
    }

    fn record(&mut self, version: Version, range: &KeyRange) {
        self.last = version;
        if is_point(&range.begin, &range.end) {
            self.points.insert((&range.begin).into(), version);
        } else if !range.is_empty() {
            self.record_range(range, version);
        }
    }

    fn record_range(&mut self, range: &KeyRange, version: Version) {
        let behind = self.segment_at(&range.end).unwrap_or(0);
        let bounds = (Bound::Included(range.begin.as_ref()), Bound::Excluded(range.end.as_ref()));
        let covered: Vec<Key> = self.segments.range::<[u8], _>(bounds).map(|(key, _)| key.clone()).collect();
        for key in covered {
            self.segments.remove(&key);
        }
        self.segments.insert((&range.begin).into(), version);
        self.segments.entry((&range.end).into()).or_insert(behind);
    }

    fn was_written(&self, range: &KeyRange, after: Version) -> bool {
        if is_point(&range.begin, &range.end) {
            return self.points.get(range.begin.as_ref()).is_some_and(|at| *at > after)
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
            // So far apart that there are one to many generations.
            step in prop_oneof![Just(1), Just(GENERATION_VERSIONS_MAX / 3), Just(GENERATION_VERSIONS_MAX)],
        ) {
            let mut resolver = Resolver::default();
            for (index, writes) in commits.iter().enumerate() {
                resolver.record((index as Version + 1) * step, writes);
            }
            resolver.forget(forgotten * step);
            for (range, read_version) in reads {
                if read_version < forgotten {
                    continue;
                }
                let read_version = read_version * step;
                let expected = commits.iter().enumerate().any(|(index, writes)| {
                    (index as Version + 1) * step > read_version
                        && writes.iter().any(|write| write.intersects(&range))
                });
                let found = !resolver.conflicts(read_version, std::slice::from_ref(&range), false).is_empty();
                prop_assert_eq!(found, expected, "{:?} at {}", range, read_version);
            }
        }
    }
    #[test]
    fn what_nobody_can_ask_for_goes_by_the_generation() {
        let mut resolver = Resolver::default();
        let versions = 3 * GENERATION_ENTRIES_MAX as Version;
        for version in 1..=versions {
            resolver.record(version, &[KeyRange::of_key(&version.to_be_bytes())]);
        }
        assert_eq!(resolver.generations.len(), 3);
        resolver.forget(GENERATION_ENTRIES_MAX as Version + 10);
        assert_eq!(resolver.len(), 2 * GENERATION_ENTRIES_MAX);
        resolver.forget(versions);
        assert_eq!(resolver.len(), 0);
    }
}
