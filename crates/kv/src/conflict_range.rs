//! Ranges of keys, and what transactions conflict on.

use bytes::Bytes;

/// The keys from `begin` (inclusive) to `end` (exclusive).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRange {
    /// The first key of the range.
    pub begin: Bytes,
    /// The first key behind the range.
    pub end: Bytes,
}

impl KeyRange {
    /// The range from `begin` to `end`. It may be empty or inverted: whoever takes it says what that means.
    pub fn new(begin: impl Into<Bytes>, end: impl Into<Bytes>) -> KeyRange {
        KeyRange { begin: begin.into(), end: end.into() }
    }

    /// The range that holds `key` alone: `[key, key+0)`.
    pub fn of_key(key: &[u8]) -> KeyRange {
        KeyRange { begin: Bytes::copy_from_slice(key), end: key_after(key) }
    }

    /// Whether the range holds no key.
    pub fn is_empty(&self) -> bool {
        self.begin >= self.end
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.begin.as_ref() <= key && key < self.end.as_ref()
    }

    /// Whether the two ranges have a key in common.
    pub fn intersects(&self, other: &KeyRange) -> bool {
        self.begin < other.end && other.begin < self.end && !self.is_empty() && !other.is_empty()
    }

    /// The same keys in as few ranges as possible, ascending: those that meet or touch are made one.
    pub fn merged(mut ranges: Vec<KeyRange>) -> Vec<KeyRange> {
        ranges.sort();
        let mut merged: Vec<KeyRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if range.begin <= last.end => last.end = last.end.clone().max(range.end),
                _ => merged.push(range),
            }
        }
        merged
    }
}

/// The key right after `key`: `key` with a zero byte appended.
pub fn key_after(key: &[u8]) -> Bytes {
    let mut after = Vec::with_capacity(key.len() + 1);
    after.extend_from_slice(key);
    after.push(0);
    Bytes::from(after)
}

/// Which side of the conflict check a range is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConflictKind {
    /// The transaction fails if somebody writes there between its read version and its commit.
    Read,
    /// Transactions that read there, and commit later from an older read version, fail.
    Write,
}

/// Which conflict ranges of a transaction are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConflictReport {
    /// The read conflict ranges so far, merged.
    Read,
    /// The write conflict ranges so far, merged; a versionstamped key counts as its whole unreadable range until the commit and
    /// as the exact key after it.
    Write,
    /// After a 1020 with [`TransactionOption::ReportConflictingKeys`](crate::TransactionOption::ReportConflictingKeys): the
    /// read ranges that another transaction wrote into.
    Conflicting,
}
