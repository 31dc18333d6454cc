//! What clients did and what they were told.

use bytes::Bytes;
use tenantry_kv::{ErrorCode, KeySelector, KeyValue, MutationType, Version, Versionstamp};

/// An operation with its answer.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Get {
        key: Bytes,
        is_snapshot: bool,
        found: Option<Bytes>,
    },
    /// The first rows of a range; `more`: the limit ended it.
    Range {
        begin: Bytes,
        end: Bytes,
        reverse: bool,
        is_snapshot: bool,
        rows: Vec<KeyValue>,
        more: bool,
    },
    /// The key that a selector was resolved to.
    Selector {
        selector: KeySelector,
        is_snapshot: bool,
        found: Bytes,
    },
    Set {
        key: Bytes,
        value: Bytes,
    },
    ClearRange {
        begin: Bytes,
        end: Bytes,
    },
    Atomic {
        mutation: MutationType,
        key: Bytes,
        operand: Bytes,
    },
    AddReadConflict {
        begin: Bytes,
        end: Bytes,
    },
    AddWriteConflict {
        begin: Bytes,
        end: Bytes,
    },
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Not yet, or in a crash.
    Open,
    Committed(Versionstamp),
    ReadOnly,
    Failed(ErrorCode),
    Unknown,
}

/// A transaction.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// The event at which it had its read version.
    pub(crate) read_at: u64,
    pub(crate) read_version: Version,
    pub(crate) operations: Vec<Operation>,
    /// Whether its commit was called with writes: then it wrote its marker.
    pub(crate) is_writer: bool,
    pub(crate) ended: Ended,
    pub(crate) ended_at: u64,
}

/// All transactions, by number, and the events so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) transactions: Vec<Recorded>,
    pub(crate) events: u64,
}

/// The key in which a writer leaves its stamp.
pub(crate) fn marker(number: usize) -> Bytes {
    Bytes::from(format!("m{number:08}"))
}

/// The number in a marker's key.
pub(crate) fn number_of_marker(key: &[u8]) -> Option<usize> {
    std::str::from_utf8(key.strip_prefix(b"m")?).ok()?.parse().ok()
}
