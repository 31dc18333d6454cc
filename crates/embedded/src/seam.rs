//! Where the engine's rooms meet: what a transaction hands to the sequencer, what the sequencer hands to the store, and the two
//! traits between them. Every room depends on this one, and none on another beside it.

use bytes::Bytes;
use tenantry_kv::env::Env;
use tenantry_kv::{Error, KeyRange, KeyValue, KvFuture, MutationType, Result, Version, Versionstamp};

/// A write as the transaction issued it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// `key` gets `value`.
    Set { key: Bytes, value: Bytes },
    /// Every key from `begin` to `end` (exclusive) is removed. A single clear is the range of one key.
    ClearRange { begin: Bytes, end: Bytes },
    /// `key` is changed by an atomic operation on its value at the commit. For versionstamped operations key and operand still have
    /// their four offset bytes.
    Atomic { mutation: MutationType, key: Bytes, operand: Bytes },
}

/// A write whose result is known: what the log, the window and the map hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// `key` has `value` from this version on.
    Set { key: Bytes, value: Bytes },
    /// No key from `begin` to `end` (exclusive) exists from this version on, but for those that a later write sets.
    ClearRange { begin: Bytes, end: Bytes },
}

/// All that the transactions of one batch wrote, in the order in which it takes effect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The commit version of every transaction in the batch.
    pub(crate) version: Version,
    /// The writes, in order.
    pub(crate) writes: Vec<Write>,
}

/// A transaction that wants to commit. It has at least one mutation or write conflict range.
#[derive(Debug, Default)]
pub(crate) struct CommitRequest {
    /// The version its reads were made at; `None` if it read nothing (the sequencer then takes the newest).
    pub(crate) read_version: Option<Version>,
    /// Its writes in issue order.
    pub(crate) mutations: Vec<Mutation>,
    /// What it read, sorted and merged.
    pub(crate) read_conflicts: Vec<KeyRange>,
    /// What it writes. Stamped keys are not in it: the sequencer adds them once the stamp is known.
    pub(crate) write_conflicts: Vec<KeyRange>,
    /// Whether the read ranges that conflict are wanted in the refusal.
    pub(crate) reports_conflicts: bool,
    /// Whether it may commit to a locked database.
    pub(crate) is_lock_aware: bool,
}

/// A commit that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The transaction's stamp; its version is the commit version.
    pub(crate) stamp: Versionstamp,
}

/// A commit that did not happen, or of which it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) error: Error,
    /// The read conflict ranges that another transaction wrote into, if they were asked for.
    pub(crate) conflicting: Vec<KeyRange>,
}

/// Receives the outcome of a commit.
pub(crate) type Done = Box<dyn FnOnce(Verdict) + Send>;

/// The outcome of a commit.
pub(crate) type Verdict = std::result::Result<Committed, Refused>;

/// How much one scan may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanLimit {
    /// The most rows.
    pub(crate) rows_max: usize,
    /// Rows are added until their keys and values reach this many bytes; at least one is.
    pub(crate) bytes_target: usize,
}

/// The committed state at any version of the window.
pub(crate) trait Snapshots: Send + Sync {
    /// The value of `key` at `version`.
    ///
    /// # Errors
    ///
    /// 1007 when `version` has left the window; 10001 when what is stored is damaged; 1510.
    fn get(&self, key: &[u8], version: Version) -> Result<Option<Bytes>>;

    /// The values of some keys at `version`. Keys in their order cost least.
    ///
    /// # Errors
    ///
    /// As [`get`](Snapshots::get).
    fn get_many(&self, keys: &[Bytes], version: Version) -> Result<Vec<Option<Bytes>>>;

    /// Appends rows from `begin` to `end` (exclusive) at `version` to `rows`, ascending or (`reverse`) descending from the end. True if
    /// the limit stopped it, false if the range is exhausted.
    ///
    /// # Errors
    ///
    /// As [`get`](Snapshots::get).
    fn scan(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        version: Version,
        limit: ScanLimit,
        rows: &mut Vec<KeyValue>,
    ) -> Result<bool>;
}

/// What a transaction needs of the engine around it.
pub(crate) trait Gate: Send + Sync {
    /// The committed state.
    fn snapshots(&self) -> &dyn Snapshots;

    /// A version that holds every commit acknowledged before this call. Ready at once, but for a locked or throttled engine.
    ///
    /// # Errors
    ///
    /// 1038 (locked), 10004 (stopped).
    fn read_version(&self, is_lock_aware: bool) -> KvFuture<Version>;

    /// Waits until `version`, given by the user, is one that may be read.
    ///
    /// # Errors
    ///
    /// 1009 when it stays in the future for a second; 1007 when it has left the window.
    fn await_version(&self, version: Version) -> KvFuture<()>;

    /// Counts a read of a key or a selector, or (`is_range`) of a batch of a range.
    fn count_read(&self, is_range: bool);

    /// Commits, and calls `done` with the outcome, on a thread of the engine.
    fn commit(&self, request: CommitRequest, done: Done);

    /// The outside world.
    fn env(&self) -> &Env;

    /// A place for one outstanding watch, counted from now until the ticket is dropped.
    ///
    /// # Errors
    ///
    /// 1032 when all places are taken.
    fn watch_ticket(&self) -> Result<WatchTicket>;

    /// Fires once the value of `key` at some version from now on differs from `expected`. Holds `ticket` until then.
    fn watch(&self, ticket: WatchTicket, key: Bytes, expected: Option<Bytes>) -> KvFuture<()>;
}

/// A counted place among the outstanding watches; dropping it frees the place.
pub(crate) struct WatchTicket {
    count: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl WatchTicket {
    /// Takes a place of `count`, unless `places_max` are taken.
    pub(crate) fn take(
        count: &std::sync::Arc<std::sync::atomic::AtomicUsize>,
        places_max: usize,
    ) -> Option<WatchTicket> {
        use std::sync::atomic::Ordering;
        count
            .try_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                (taken < places_max).then_some(taken + 1)
            })
            .ok()
            .map(|_| WatchTicket { count: count.clone() })
    }
}

impl Drop for WatchTicket {
    fn drop(&mut self) {
        self.count.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
    }
}
