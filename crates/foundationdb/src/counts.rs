//! What the engine counts.

use std::sync::atomic::AtomicU64;

/// The live counters.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) transactions: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) range_reads: AtomicU64,
    pub(crate) commits: AtomicU64,
}

/// What this process asked of the cluster since the engine was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Transactions begun.
    pub transactions: u64,
    /// Reads of a key or of a selector.
    pub reads: u64,
    /// Batches of ranges.
    pub range_reads: u64,
    /// Commits, those of transactions that wrote nothing included.
    pub commits: u64,
}
