//! The write map: what the transaction's own writes make of each key.
//!
//! Three kinds of segments lie over the snapshot: single keys with a state, ranges that were cleared, and ranges that are unreadable because a
//! versionstamped key will come to lie somewhere in them. Everything else is unmodified.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{KeyRange, MutationType};

use tenantry_kv::key_after;

/// What is known of a key that the transaction wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyState {
    /// It has this value, whatever the snapshot says; `None`: absent.
    Known(Option<Bytes>),
    /// It is the snapshot's value, changed by these operations in order.
    Pending(Vec<(MutationType, Bytes)>),
    /// Its value holds a versionstamp and is known only at the commit.
    Unreadable {
        /// What a read returns that asked for the placeholder.
        placeholder: Option<Bytes>,
        /// Whether nothing of it depends on the snapshot.
        is_independent: bool,
    },
}

/// The write map of one transaction.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    keys: BTreeMap<Bytes, KeyState>,
    /// Disjoint, not touching: begin to end.
    cleared: BTreeMap<Bytes, Bytes>,
    unreadable: Vec<KeyRange>,
}

/// What a point read finds in the overlay.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Nothing: the snapshot decides.
    Unmodified,
    /// A state of the key itself.
    Key(&'a KeyState),
    /// The key was cleared with a range.
    Cleared,
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.cleared.is_empty() && self.unreadable.is_empty()
    }

    pub(super) fn find(&self, key: &[u8]) -> Found<'_> {
        if let Some(state) = self.keys.get(key) {
            return Found::Key(state);
        }
        if self.is_cleared(key) { Found::Cleared } else { Found::Unmodified }
    }

    /// Whether a versionstamped key may come to lie on `key`.
    pub(super) fn is_in_unreadable_range(&self, key: &[u8]) -> bool {
        self.unreadable.iter().any(|range| range.contains(key))
    }

    pub(super) fn set(&mut self, key: Bytes, value: Bytes) {
        // A set over an unreadable key does not make it readable: at the commit the stamped value is overwritten, but FoundationDB
        // does not look that far.
        if let Some(KeyState::Unreadable { placeholder, .. }) = self.keys.get_mut(&key) {
            *placeholder = Some(value);
            return;
        }
        self.keys.insert(key, KeyState::Known(Some(value)));
    }

    pub(super) fn clear(&mut self, begin: Bytes, end: Bytes) {
        if begin >= end {
            return;
        }
        let inside = (Bound::Included(begin.as_ref()), Bound::Excluded(end.as_ref()));
        let gone: Vec<Bytes> = self.keys.range::<[u8], _>(inside).map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.keys.remove(&key);
        }
        self.make_readable(&begin, &end);
        if !is_active(Fault::OverlayForgetsClear) {
            self.add_cleared(begin, end);
        }
    }

    pub(super) fn atomic(&mut self, mutation: MutationType, key: Bytes, operand: Bytes) {
        let was_cleared = self.is_cleared(&key);
        let state = match self.keys.remove(&key) {
            None if was_cleared => KeyState::Known(None),
            None => KeyState::Pending(Vec::new()),
            Some(state) => state,
        };
        let state = match (state, mutation) {
            (state, MutationType::SetVersionstampedValue) => KeyState::Unreadable {
                placeholder: Some(operand),
                is_independent: match state {
                    KeyState::Known(_) => true,
                    KeyState::Pending(operations) => operations.is_empty(),
                    KeyState::Unreadable { is_independent, .. } => is_independent,
                },
            },
            (KeyState::Known(value), _) => KeyState::Known(mutation.apply(value.as_ref(), &operand)),
            (KeyState::Unreadable { placeholder, is_independent }, _) => KeyState::Unreadable {
                placeholder: mutation.apply(placeholder.as_ref(), &operand),
                is_independent,
            },
            (KeyState::Pending(mut operations), _) => {
                operations.push((mutation, operand));
                KeyState::Pending(operations)
            }
        };
        self.keys.insert(key, state);
    }

    /// Makes `range` unreadable: a versionstamped key will lie in it.
    pub(super) fn make_unreadable(&mut self, range: KeyRange) {
        self.unreadable.push(range);
    }

    /// The ranges in which versionstamped keys will lie.
    pub(super) fn unreadable_ranges(&self) -> &[KeyRange] {
        &self.unreadable
    }

    /// Whether reading `key` cannot conflict, because the transaction itself decided what is there.
    pub(super) fn is_determined(&self, key: &[u8]) -> bool {
        match self.find(key) {
            Found::Cleared => true,
            Found::Unmodified => false,
            Found::Key(state) => state.is_independent(),
        }
    }

    /// The parts of `range` that depend on the snapshot.
    pub(super) fn undetermined(&self, range: &KeyRange, parts: &mut Vec<KeyRange>) {
        if self.keys.is_empty() && self.cleared.is_empty() {
            parts.push(range.clone());
            return;
        }
        let mut from = range.begin.clone();
        for own in self.determined(range) {
            if from < own.begin {
                parts.push(KeyRange::new(from.clone(), own.begin));
            }
            from = from.max(own.end);
        }
        if from < range.end {
            parts.push(KeyRange::new(from, range.end.clone()));
        }
    }

    /// The keys with a state from `begin` to `end`, ascending.
    pub(super) fn keys_in<'a>(
        &'a self,
        begin: &[u8],
        end: &[u8],
    ) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a KeyState)> {
        let end = end.max(begin);
        self.keys.range::<[u8], _>((Bound::Included(begin), Bound::Excluded(end)))
    }

    /// The cleared ranges that meet the range from `begin` to `end`, cut to it, ascending.
    pub(super) fn cleared_in(&self, begin: &[u8], end: &[u8]) -> Vec<KeyRange> {
        if begin >= end || self.cleared.is_empty() {
            return Vec::new();
        }
        let before = self.cleared.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(begin))).next_back();
        let inside = self.cleared.range::<[u8], _>((Bound::Included(begin), Bound::Excluded(end)));
        let clip = |(from, to): (&Bytes, &Bytes)| {
            let from = if from.as_ref() < begin { Bytes::copy_from_slice(begin) } else { from.clone() };
            let to = if to.as_ref() > end { Bytes::copy_from_slice(end) } else { to.clone() };
            KeyRange { begin: from, end: to }
        };
        before.into_iter().chain(inside).map(clip).filter(|range| !range.is_empty()).collect()
    }

    /// The first unreadable key or range that meets the range from `begin` to `end`, or the last one if `reverse`.
    pub(super) fn first_unreadable(&self, begin: &[u8], end: &[u8], reverse: bool) -> Option<KeyRange> {
        let probe = KeyRange::new(Bytes::copy_from_slice(begin), Bytes::copy_from_slice(end));
        let is_unreadable = |(key, state): (&Bytes, &KeyState)| {
            matches!(state, KeyState::Unreadable { .. }).then(|| KeyRange::of_key(key))
        };
        let mut keys = self.keys_in(begin, end);
        let key = if reverse { keys.rev().find_map(is_unreadable) } else { keys.find_map(is_unreadable) };
        let met = self.unreadable.iter().filter(|range| range.intersects(&probe)).cloned().chain(key);
        if reverse {
            met.max_by(|left, right| left.end.cmp(&right.end))
        } else {
            met.min_by(|left, right| left.begin.cmp(&right.begin))
        }
    }

    fn is_cleared(&self, key: &[u8]) -> bool {
        let before = self.cleared.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.is_some_and(|(_, end)| key < end.as_ref())
    }

    /// Cleared ranges and independent keys within `range`, ascending by begin; they may touch.
    fn determined(&self, range: &KeyRange) -> Vec<KeyRange> {
        let mut own = self.cleared_in(&range.begin, &range.end);
        let keys = self.keys_in(&range.begin, &range.end);
        own.extend(keys.filter(|(_, state)| state.is_independent()).map(|(key, _)| KeyRange::of_key(key)));
        own.sort();
        own
    }

    fn add_cleared(&mut self, begin: Bytes, end: Bytes) {
        let (mut begin, mut end) = (begin, end);
        let before =
            self.cleared.range::<[u8], _>((Bound::Unbounded, Bound::Included(begin.as_ref()))).next_back();
        if let Some((from, to)) = before
            && *to >= begin
        {
            (begin, end) = (from.clone(), end.max(to.clone()));
        }
        let touching = (Bound::Included(begin.as_ref()), Bound::Included(end.as_ref()));
        let swallowed: Vec<(Bytes, Bytes)> =
            self.cleared.range::<[u8], _>(touching).map(|(from, to)| (from.clone(), to.clone())).collect();
        for (from, to) in swallowed {
            self.cleared.remove(&from);
            end = end.max(to);
        }
        self.cleared.insert(begin, end);
    }

    fn make_readable(&mut self, begin: &Bytes, end: &Bytes) {
        if self.unreadable.is_empty() {
            return;
        }
        let ranges = std::mem::take(&mut self.unreadable);
        for range in ranges {
            let left = KeyRange { begin: range.begin.clone(), end: range.end.clone().min(begin.clone()) };
            let right = KeyRange { begin: range.begin.max(end.clone()), end: range.end };
            self.unreadable.extend([left, right].into_iter().filter(|part| !part.is_empty()));
        }
    }
}

impl KeyState {
    fn is_independent(&self) -> bool {
        match self {
            KeyState::Known(_) => true,
            KeyState::Pending(_) => false,
            KeyState::Unreadable { is_independent, .. } => *is_independent,
        }
    }

    /// The value of a key in this state over a snapshot that has `below`; unreadable ones give their placeholder.
    pub(super) fn value(&self, below: Option<&Bytes>) -> Option<Bytes> {
        match self {
            KeyState::Known(value) => value.clone(),
            KeyState::Unreadable { placeholder, .. } => placeholder.clone(),
            KeyState::Pending(operations) => evaluate(below, operations),
        }
    }
}

fn evaluate(below: Option<&Bytes>, operations: &[(MutationType, Bytes)]) -> Option<Bytes> {
    let mut value = below.cloned();
    let mut operations = operations.iter().peekable();
    while let Some((mutation, operand)) = operations.next() {
        // Appends in a row fit or do not fit as a whole, as they will at the commit.
        let mut joined = operand.clone();
        while *mutation == MutationType::AppendIfFits
            && let Some((MutationType::AppendIfFits, more)) = operations.peek()
            && joined.len() + more.len() <= tenantry_kv::limits::APPEND_IF_FITS_BYTES_MAX
        {
            joined = [joined.as_ref(), more.as_ref()].concat().into();
            operations.next();
        }
        value = mutation.apply(value.as_ref(), &joined);
    }
    value
}

/// The range of the single key `key`.
pub(super) fn point(key: &[u8]) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(key), key_after(key))
}
