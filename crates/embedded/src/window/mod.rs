//! The version window: what was written in the last few seconds, by version, over the map that holds everything older.
//!
//! Visibility is governed by the published version alone, so entering a batch need not be atomic: it goes in in small steps, each
//! under the lock for microseconds, and no I/O ever happens under it. A range clear enters as a fragment of key space, at a cost that does
//! not depend on the number of keys in it.
//!
//! Versions leave in this order: the oldest readable version is raised; what is not newer is applied to the map; the entries go.
//! Entries go step by step, and a key that was set after a range clear may be gone before the clear is: so the map's version is published first, as
//! the *floor*, and nothing at or below it counts from then on. A reader checks its version against the oldest readable one *after* it has read the map as well, so that it can never return what
//! the map took on meanwhile.

mod clears;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as BTreeEntry;
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tenantry_kv::{KeyRange, Version, key_after};

use crate::key::Key;
use crate::seam::{Batch, Write};
use clears::Clears;

/// How many writes enter or leave under one hold of the lock.
const WRITES_PER_HOLD: usize = 32;

/// What the window knows of a key at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It has this value, or (`None`) it is absent.
    State(Option<Bytes>),
    /// It was not written in the window: the map knows.
    Unknown,
}

/// A part of a range as the window sees it at a version.
#[derive(Debug, Default)]
pub(crate) struct Excerpt {
    /// Keys written in the window, ascending, with their state.
    pub(crate) keys: Vec<(Key, Option<Bytes>)>,
    /// Ranges cleared in the window, ascending and disjoint; `keys` inside them were set later.
    pub(crate) cleared: Vec<KeyRange>,
    /// How far the excerpt reaches: the whole range, or (if it was too long) only up to here, exclusive.
    pub(crate) reaches: Option<Bytes>,
}

#[derive(Default)]
struct State {
    keys: BTreeMap<Key, Chain>,
    clears: Clears,
    /// Up to here the map knows everything: what is still entered at or below it counts no more.
    floor: Version,
}

/// A change of a key: the version, and the value that it has from then on.
type Entry = (Version, Option<Bytes>);

/// The changes of a key. Most have one.
struct Chain {
    newest: Entry,
    /// Ascending.
    older: Vec<Entry>,
}

impl Chain {
    /// Enters a change at `version`, which is not older than the newest.
    fn enter(&mut self, version: Version, value: Option<Bytes>) {
        let replaced = std::mem::replace(&mut self.newest, (version, value));
        if replaced.0 != version {
            self.older.push(replaced);
        }
    }

    /// The newest change not after `version`, and after `floor`.
    fn newest(&self, version: Version, floor: Version) -> Option<&Entry> {
        let mut entries = std::iter::once(&self.newest).chain(self.older.iter().rev());
        entries.find(|(at, _)| *at <= version).filter(|(at, _)| *at > floor)
    }
}

/// The version window.
#[derive(Default)]
pub(crate) struct Window {
    state: RwLock<State>,
}

impl Window {
    /// Enters what a batch wrote. It becomes visible when its version is published, not before.
    pub(crate) fn enter(&self, batch: &Batch) {
        for writes in batch.writes.chunks(WRITES_PER_HOLD) {
            let mut state = self.write();
            for write in writes {
                state.enter(batch.version, write);
            }
            RwLockWriteGuard::unlock_fair(state);
        }
    }

    /// What is known of `key` at `version`.
    pub(crate) fn get(&self, key: &[u8], version: Version) -> Known {
        let state = self.read();
        let entry = state.keys.get(key).and_then(|chain| chain.newest(version, state.floor));
        match (entry, state.clears.newest(key, version, state.floor)) {
            (Some((at, value)), Some(cleared)) if *at >= cleared => Known::State(value.clone()),
            (_, Some(_)) => Known::State(None),
            (Some((_, value)), None) => Known::State(value.clone()),
            (None, None) => Known::Unknown,
        }
    }

    /// What is known of the range from `begin` to `end` at `version`, looking from the begin (or, `reverse`, from the end) at not more
    /// than about `steps_max` keys and fragments.
    pub(crate) fn excerpt(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        version: Version,
        steps_max: usize,
    ) -> Excerpt {
        let state = self.read();
        let mut excerpt = Excerpt::default();
        if begin >= end {
            return excerpt;
        }
        let range = (Bound::Included(begin), Bound::Excluded(end));
        let mut steps = 0;
        let mut look = |key: &Key, chain: &Chain, excerpt: &mut Excerpt| {
            if steps >= steps_max {
                return false;
            }
            steps += 1;
            let cleared = state.clears.newest(key, version, state.floor);
            match chain.newest(version, state.floor) {
                Some((at, value)) if cleared.is_none_or(|cleared| *at >= cleared) => {
                    excerpt.keys.push((key.clone(), value.clone()));
                }
                _ => {}
            }
            true
        };
        let stopped = if reverse {
            state.keys.range::<[u8], _>(range).rev().find(|(key, chain)| !look(key, chain, &mut excerpt))
        } else {
            state.keys.range::<[u8], _>(range).find(|(key, chain)| !look(key, chain, &mut excerpt))
        };
        // Reverse excerpts that were cut reach down to, and without, the key that was not looked at: its successor is the begin.
        let stopped = stopped.map(|(key, _)| key.to_bytes());
        if reverse {
            excerpt.keys.reverse();
        }
        excerpt.reaches = stopped.map(|key| if reverse { key_after(&key) } else { key });
        let (begin, end) = match (&excerpt.reaches, reverse) {
            (Some(reaches), true) => (reaches.as_ref(), end),
            (Some(reaches), false) => (begin, reaches.as_ref()),
            (None, _) => (begin, end),
        };
        state.clears.within(begin, end, version, state.floor, &mut excerpt.cleared);
        excerpt
    }

    /// Says that the map holds everything up to `version`. To be called before anything of it is forgotten.
    pub(crate) fn raise_floor(&self, version: Version) {
        let mut state = self.write();
        state.floor = state.floor.max(version);
    }

    /// Forgets what was written to `keys` up to `version`, once the map has it and the floor is raised. Ascending keys go fastest.
    pub(crate) fn forget<'a>(&self, keys: impl Iterator<Item = &'a Key>, version: Version) {
        let mut keys = keys.peekable();
        while keys.peek().is_some() {
            let mut state = self.write();
            keys.by_ref().take(WRITES_PER_HOLD).for_each(|key| state.forget(key, version));
            RwLockWriteGuard::unlock_fair(state);
        }
    }

    /// Forgets the range clears up to `version`, once the map has them.
    pub(crate) fn forget_clears(&self, version: Version) {
        let mut from = Bytes::new();
        loop {
            let mut state = self.write();
            let next = state.clears.forget(version, &from, WRITES_PER_HOLD * 4);
            RwLockWriteGuard::unlock_fair(state);
            match next {
                Some(next) => from = next,
                None => return,
            }
        }
    }

    /// How many keys and clear fragments there are.
    pub(crate) fn len(&self) -> usize {
        let state = self.read();
        state.keys.len() + state.clears.len()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write()
    }
}

impl State {
    fn enter(&mut self, version: Version, write: &Write) {
        match write {
            Write::Set { key, value } => self.enter_key(key, version, Some(value.clone())),
            Write::ClearRange { begin, end } if is_point(begin, end) => self.enter_key(begin, version, None),
            Write::ClearRange { begin, end } => {
                // What the same version set before the clear is gone; what it sets later will stand over the clear.
                let range = (Bound::Included(begin.as_ref()), Bound::Excluded(end.as_ref()));
                for (_, chain) in self.keys.range_mut::<[u8], _>(range) {
                    if chain.newest.0 == version {
                        chain.newest.1 = None;
                    }
                }
                self.clears.enter(begin, end, version);
            }
        }
    }

    fn enter_key(&mut self, key: &Bytes, version: Version, value: Option<Bytes>) {
        match self.keys.entry(key.into()) {
            BTreeEntry::Occupied(mut chain) => chain.get_mut().enter(version, value),
            BTreeEntry::Vacant(place) => {
                place.insert(Chain { newest: (version, value), older: Vec::new() });
            }
        }
    }

    fn forget(&mut self, key: &Key, version: Version) {
        if let Some(chain) = self.keys.get_mut(&**key) {
            if chain.newest.0 <= version {
                self.keys.remove(&**key);
            } else {
                chain.older.retain(|(at, _)| *at > version);
            }
        }
    }
}

/// Whether the range from `begin` to `end` holds the key `begin` alone.
pub(crate) fn is_point(begin: &[u8], end: &[u8]) -> bool {
    end.split_last().is_some_and(|(last, rest)| *last == 0 && rest == begin)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> Bytes {
        Bytes::from(vec![b'k', number])
    }

    fn forget(window: &Window, batches: &[Batch]) {
        for batch in batches {
            let keys: Vec<Key> = batch
                .writes
                .iter()
                .map(|write| match write {
                    Write::Set { key: at, .. } | Write::ClearRange { begin: at, .. } => at.into(),
                })
                .collect();
            window.forget(keys.iter(), batch.version);
        }
    }

    /// A simulated power cut lost keys, but only now and then: the keys of a batch left the window before its clears did, and a reader in between took an
    /// older clear for the last word on a key that the map had.
    #[test]
    fn a_clear_that_is_still_there_hides_nothing_that_the_map_has() {
        let window = Window::default();
        let cleared = Write::ClearRange { begin: key(0), end: key(9) };
        let set = Write::Set { key: key(3), value: Bytes::from_static(b"v") };
        let batches = [Batch { version: 1, writes: vec![cleared] }, Batch { version: 2, writes: vec![set] }];
        batches.iter().for_each(|batch| window.enter(batch));
        assert_eq!(window.get(&key(3), 2), Known::State(Some(Bytes::from_static(b"v"))));
        // The map has both, and the keys go first.
        window.raise_floor(2);
        forget(&window, &batches);
        assert_eq!(window.get(&key(3), 2), Known::Unknown);
        let excerpt = window.excerpt(&key(0), &key(9), false, 2, 100);
        assert!(excerpt.keys.is_empty() && excerpt.cleared.is_empty(), "{excerpt:?}");
        window.forget_clears(2);
        assert_eq!(window.len(), 0);
    }

    fn write_strategy() -> impl Strategy<Value = Write> {
        prop_oneof![
            (0..12u8, any::<u8>())
                .prop_map(|(at, value)| Write::Set { key: key(at), value: vec![value].into() }),
            (0..12u8).prop_map(|at| Write::ClearRange { begin: key(at), end: key_after(&key(at)) }),
            (0..12u8, 0..13u8).prop_map(|(from, to)| Write::ClearRange {
                begin: key(from.min(to)),
                end: key(from.max(to))
            }),
        ]
    }

    /// What each key is at each version, by replay.
    fn model(batches: &[Batch]) -> Vec<BTreeMap<Bytes, Option<Bytes>>> {
        let mut states = vec![BTreeMap::new()];
        for batch in batches {
            let mut state = states.last().unwrap().clone();
            for write in &batch.writes {
                match write {
                    Write::Set { key, value } => {
                        state.insert(key.clone(), Some(value.clone()));
                    }
                    Write::ClearRange { begin, end } => {
                        for number in 0..13 {
                            if key(number) >= *begin && key(number) < *end {
                                state.insert(key(number), None);
                            }
                        }
                    }
                }
            }
            states.push(state);
        }
        states
    }

    proptest! {
        #[test]
        fn every_version_reads_as_a_replay(
            writes in prop::collection::vec(prop::collection::vec(write_strategy(), 0..6), 1..8),
            forgotten in 0..8usize,
        ) {
            let batches: Vec<Batch> = writes
                .into_iter()
                .enumerate()
                .map(|(index, writes)| Batch { version: index as Version + 1, writes })
                .collect();
            let window = Window::default();
            batches.iter().for_each(|batch| window.enter(batch));
            let states = model(&batches);
            let forgotten = forgotten.min(batches.len() - 1);
            forget(&window, &batches[..forgotten]);
            window.forget_clears(forgotten as Version);
            for version in forgotten..=batches.len() {
                let state = &states[version];
                let old = &states[forgotten];
                // A reader falls back to the map, which has the state of the last forgotten version.
                let merged = |known: Known, at: &Bytes| match known {
                    Known::State(value) => value,
                    Known::Unknown => old.get(at).cloned().flatten(),
                };
                for number in 0..13 {
                    let found = merged(window.get(&key(number), version as Version), &key(number));
                    prop_assert_eq!(&found, &state.get(&key(number)).cloned().flatten(), "version {} key {}", version, number);
                }
                for (reverse, steps_max) in [(false, 100), (true, 100), (false, 2), (true, 2)] {
                    let excerpt = window.excerpt(&key(2), &key(10), reverse, version as Version, steps_max);
                    let reaches = excerpt.reaches.clone();
                    for number in 2..10 {
                        let at = key(number);
                        if reaches.as_ref().is_some_and(|reaches| (at < *reaches) == reverse) {
                            continue;
                        }
                        let found = match excerpt.keys.iter().find(|(key, _)| key.to_bytes() == at) {
                            Some((_, value)) => value.clone(),
                            None if excerpt.cleared.iter().any(|range| range.contains(&at)) => None,
                            None => old.get(&at).cloned().flatten(),
                        };
                        prop_assert_eq!(&found, &state.get(&at).cloned().flatten(), "excerpt {} {}", version, number);
                    }
                }
            }
        }
    }
}
