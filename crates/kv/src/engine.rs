//! What an engine is: [`Engine`], and the [`Transaction`] with its read and its write side.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::atomic::MutationType;
use crate::conflict_range::{ConflictKind, ConflictReport, KeyRange};
use crate::error::Result;
use crate::future::KvFuture;
use crate::options::{DatabaseOption, TransactionOption};
use crate::range::{RangeBatch, RangeRequest};
use crate::selector::KeySelector;
use crate::versionstamp::Versionstamp;

/// A version of the database: it advances by about 1,000,000 a second, and with every commit.
pub type Version = i64;

/// A transaction that can be shared: its operations take `&self` and may be issued from several threads.
pub type TransactionRef = Arc<dyn Transaction>;

/// Whether a read takes part in the conflict check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// The transaction fails with 1020 if somebody changes what was read before it commits.
    #[default]
    Serializable,
    /// The read sees the same consistent state but adds no conflict range.
    Snapshot,
}

/// What an engine is, for the layers above.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineProfile {
    /// The engine's name in lower case: `embedded`, `foundationdb`.
    pub name: String,
    /// Whether a commit can end with an unknown outcome although the engine goes on. The runner then protects every
    /// transaction with a slot.
    pub commits_can_be_unknown: bool,
    /// Whether a commit that returned is on stable storage.
    pub is_durable: bool,
}

impl EngineProfile {
    /// A profile from its parts.
    pub fn new(name: impl Into<String>, commits_can_be_unknown: bool, is_durable: bool) -> EngineProfile {
        EngineProfile { name: name.into(), commits_can_be_unknown, is_durable }
    }
}

/// An ordered, transactional key-value store. Cheap to share; object-safe, so that no layer above is generic over it.
pub trait Engine: Send + Sync + fmt::Debug {
    /// A new transaction, with the database's default options.
    ///
    /// # Errors
    ///
    /// 10004 when the engine has stopped.
    fn begin(&self) -> Result<TransactionRef>;

    /// Sets an option of the database handle. Transactions that exist already keep theirs until they are reset.
    ///
    /// # Errors
    ///
    /// 2006 for a value out of bounds, 2007 for an option that is no transaction default.
    fn set_option(&self, option: DatabaseOption) -> Result<()>;

    /// What the engine is.
    fn profile(&self) -> EngineProfile;
}

/// The read side of a transaction.
///
/// All reads see the state at the transaction's read version, taken at the first of them, merged with the transaction's own
/// writes so far. Key arguments may be of any length; what cannot exist is absent.
///
/// # Errors
///
/// All reads share these: the transaction's deferred error, 1007 (read version older than the window), 1009 (in the future), 1025
/// (cancelled or reset), 1031 (timeout), 1036 (unreadable until commit), 2004 (outside the legal space), 2017 (after commit).
pub trait ReadTransaction: Send + Sync {
    /// The value of `key`, or `None` if it is absent (an empty value is not absent).
    fn get(&self, key: &[u8], isolation: Isolation) -> KvFuture<Option<Bytes>>;

    /// The values of some keys, each as [`get`](ReadTransaction::get) gives it. An engine that answers at once looks once for what lies together, so keys in their order
    /// cost least; one that is asked over a network has them all on their way.
    fn get_many(&self, keys: &[Bytes], isolation: Isolation) -> Vec<KvFuture<Option<Bytes>>> {
        keys.iter().map(|key| self.get(key, isolation)).collect()
    }

    /// The key that `selector` resolves to: the empty key off the beginning, the end of the readable space off the end.
    fn get_key(&self, selector: &KeySelector, isolation: Isolation) -> KvFuture<Bytes>;

    /// One batch of a range. [`RangeRequest::after`] gives the request for the next one.
    ///
    /// # Errors
    ///
    /// 2210 for [`StreamingMode::Exact`](crate::StreamingMode::Exact) without a limit, 2000 for an iteration of 0.
    fn get_range(&self, request: &RangeRequest, isolation: Isolation) -> KvFuture<RangeBatch>;

    /// The version that this transaction reads at; takes it if nothing was read yet.
    fn read_version(&self) -> KvFuture<Version>;

    /// About how many bytes of keys and values lie in the range. Committed data only; no conflict range.
    ///
    /// # Errors
    ///
    /// 2005 for an inverted range.
    fn estimated_range_size_bytes(&self, begin: &[u8], end: &[u8]) -> KvFuture<u64>;

    /// Keys that cut the range into parts of about `chunk_size_bytes`: `begin` first, `end` last.
    ///
    /// # Errors
    ///
    /// 2005 for an inverted range, 2004 past the readable space.
    fn range_split_points(&self, begin: &[u8], end: &[u8], chunk_size_bytes: u64) -> KvFuture<Vec<Bytes>>;
}

/// The write side of a transaction.
///
/// Writes return nothing: as in FoundationDB the first one that is not legal is kept as the transaction's *deferred error*, later
/// writes are ignored, and every later read and the commit fail with it, until `reset` or `on_error`.
pub trait WriteTransaction: Send + Sync {
    /// Sets `key` to `value`. Deferred: 2004, 2102 (key too long), 2103 (value too long).
    fn set(&self, key: &[u8], value: &[u8]);

    /// Removes `key`. Deferred: 2004.
    fn clear(&self, key: &[u8]);

    /// Removes every key from `begin` (inclusive) to `end` (exclusive). Deferred: 2004, 2005 (inverted).
    fn clear_range(&self, begin: &[u8], end: &[u8]);

    /// Changes `key` by `mutation` and `operand`, without reading it. Deferred: as `set`; 2000 for a versionstamp that does not fit.
    fn atomic(&self, mutation: MutationType, key: &[u8], operand: &[u8]);

    /// Adds to what the transaction conflicts on, as if the range had been read or written.
    ///
    /// # Errors
    ///
    /// 2005 at once for an inverted range; 2004 is deferred.
    fn add_conflict_range(&self, begin: &[u8], end: &[u8], kind: ConflictKind) -> Result<()>;
}

/// A transaction: reads, writes, and its life.
///
/// Fresh, then reading and writing, then committed once: after [`commit`](Transaction::commit), whatever its result, every further
/// operation fails with 2017 until [`on_error`](Transaction::on_error) or [`reset`](Transaction::reset). Dropping it, or a commit's future,
/// does not stop a commit that has begun.
pub trait Transaction: ReadTransaction + WriteTransaction + fmt::Debug {
    /// Sets an option. What is wrong with it is deferred (2006, 2000), but for 2007, which comes at once.
    ///
    /// # Errors
    ///
    /// 2007 for an idempotency id of the wrong length.
    fn set_option(&self, option: TransactionOption) -> Result<()>;

    /// Reads at `version` instead of asking for one. Deferred: 2011 (not positive), 2010 (has one already).
    fn set_read_version(&self, version: Version);

    /// Commits: all writes or none. A transaction without writes and write conflict ranges succeeds at once.
    ///
    /// # Errors
    ///
    /// 1020 (conflict), 1007 (too old), 1021, 1031, 1039 (outcome unknown), 2101 (too large), the error of a read that failed, the
    /// deferred error.
    fn commit(&self) -> KvFuture<()>;

    /// The version of the commit: -1 before it and after a read-only one.
    ///
    /// # Errors
    ///
    /// The deferred error is not reported here: there are none today; engines that can lose the answer give 1025.
    fn committed_version(&self) -> Result<Version>;

    /// The stamp that this transaction will have. Ask before the commit (after it: 2017); the answer comes with it.
    ///
    /// # Errors
    ///
    /// 2021 after a read-only commit, 2020 after a failed one, 1025 after a reset.
    fn versionstamp(&self) -> KvFuture<Versionstamp>;

    /// Fires when the value of `key` is no longer what this transaction sees now. Becomes active with the commit and outlives the
    /// transaction; dropping the future gives it up.
    ///
    /// # Errors
    ///
    /// 1034 (read-your-writes off), 2004, 2102, 1032 (too many), 1025 (reset before the commit), the commit's error.
    fn watch(&self, key: &[u8]) -> KvFuture<()>;

    /// Waits the back-off and makes the transaction ready for another attempt, if `error` is one to retry; otherwise fails with it
    /// and leaves the transaction cancelled.
    fn on_error(&self, error: &crate::Error) -> KvFuture<()>;

    /// Makes the transaction as new: options, retry counter and timeout included.
    fn reset(&self);

    /// Makes every pending and later operation fail with 1025 until a reset.
    fn cancel(&self);

    /// Whether a write or a write conflict range was issued since the transaction was created or reset: whether its commit will be
    /// more than a formality.
    fn has_writes(&self) -> bool;

    /// About how many bytes the transaction counts towards its size limit so far.
    fn approximate_size_bytes(&self) -> KvFuture<u64>;

    /// The transaction's conflict ranges, sorted and merged.
    fn conflict_ranges(&self, report: ConflictReport) -> KvFuture<Vec<KeyRange>>;
}
