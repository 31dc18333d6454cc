//! The reference engine: the contract in its plainest form.
//!
//! Every version is a whole map; a read copies the map of its version and replays the transaction's operations on it; conflicts are found by
//! looking at all commits. It is slow and obviously right, which is what a model is for. It can also be made wrong on purpose, one
//! [`Fault`] at a time, to show that the suite would notice.
//!
//! ```
//! use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
//! use tenantry_kv::{Engine, Isolation};
//!
//! # pollster::block_on(async {
//! let engine = ReferenceEngine::new(manual_env());
//! let transaction = engine.begin()?;
//! transaction.set(b"k", b"v");
//! transaction.commit().await?;
//! assert_eq!(engine.begin()?.get(b"k", Isolation::Snapshot).await?.as_deref(), Some(b"v".as_slice()));
//! # Ok::<_, tenantry_kv::Error>(())
//! # }).unwrap();
//! ```

mod manual;
mod replay;
mod transaction;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;

use crate::conflict_range::KeyRange;
use crate::engine::{Engine, EngineProfile, TransactionRef, Version};
use crate::env::Env;
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{MVCC_WINDOW_VERSIONS, WATCHES_MAX_DEFAULT, WATCHES_MAX_MAX};
use crate::options::{DatabaseOption, TransactionOption};

pub(in crate::conformance) use manual::split_mix;
pub use manual::{ManualClock, manual_env, manual_env_with_clock};
use transaction::ReferenceTransaction;

/// A way in which the reference engine can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Point reads add no conflict range.
    GetAddsNoConflict,
    /// A limited range read conflicts on nothing behind its first row.
    RangeConflictsOnFirstRowAlone,
    /// A range clear is missing from what a transaction writes.
    ClearRangeAddsNoConflict,
    /// A read version older than the window is accepted.
    OldReadVersionAccepted,
    /// A transaction does not see its own range clears.
    OwnClearNotSeen,
    /// `more` is false when the limit was met exactly.
    MoreFalseAtExactLimit,
    /// ADD keeps the old value's length.
    AddKeepsOldLength,
    /// AND on an absent key gives zeros.
    AndOnAbsentGivesZeros,
    /// MIN on an absent key gives zero.
    MinOnAbsentGivesZero,
    /// Equal stamps for the transactions of one version.
    StampsRepeat,
    /// Watches never fire.
    WatchesLost,
    /// A selector with a negative offset resolves one key too far.
    SelectorOffByOne,
    /// Deferred errors are forgotten.
    DeferredErrorForgotten,
    /// Snapshot reads add conflict ranges.
    SnapshotReadConflicts,
    /// A transaction that wrote nothing can conflict.
    ReadOnlyConflicts,
    /// Writes conflict with writes.
    WritesConflictWithWrites,
    /// Unreadable keys are read as absent.
    UnreadableReadAsAbsent,
    /// An empty value is taken for an absent one.
    EmptyIsAbsent,
    /// A transaction can be used after its commit.
    UsableAfterCommit,
    /// Reading an own write adds a conflict range.
    OwnWriteConflicts,
    /// Transactions that were refused make others conflict all the same.
    RefusedWritesConflict,
    /// `on_error` drops the retry limit.
    RetryLimitForgotten,
}

impl Fault {
    /// All faults.
    pub const ALL: [Fault; 22] = [
        Fault::GetAddsNoConflict,
        Fault::RangeConflictsOnFirstRowAlone,
        Fault::ClearRangeAddsNoConflict,
        Fault::OldReadVersionAccepted,
        Fault::OwnClearNotSeen,
        Fault::MoreFalseAtExactLimit,
        Fault::AddKeepsOldLength,
        Fault::AndOnAbsentGivesZeros,
        Fault::MinOnAbsentGivesZero,
        Fault::StampsRepeat,
        Fault::WatchesLost,
        Fault::SelectorOffByOne,
        Fault::DeferredErrorForgotten,
        Fault::SnapshotReadConflicts,
        Fault::ReadOnlyConflicts,
        Fault::WritesConflictWithWrites,
        Fault::UnreadableReadAsAbsent,
        Fault::EmptyIsAbsent,
        Fault::UsableAfterCommit,
        Fault::OwnWriteConflicts,
        Fault::RefusedWritesConflict,
        Fault::RetryLimitForgotten,
    ];
}

/// A whole state of the store.
type Snapshot = Arc<BTreeMap<Bytes, Bytes>>;

/// A watch that is active.
struct ActiveWatch {
    key: Bytes,
    expected: Option<Bytes>,
    signal: Arc<Mutex<WatchSignal>>,
}

#[derive(Default)]
struct WatchSignal {
    has_fired: bool,
    waker: Option<Waker>,
}

struct Store {
    snapshots: BTreeMap<Version, Snapshot>,
    /// Commit version and write ranges of every commit.
    commits: Vec<(Version, Vec<KeyRange>)>,
    newest: Version,
    watches: Vec<ActiveWatch>,
    watches_taken: usize,
    watches_max: usize,
    defaults: Vec<TransactionOption>,
    has_snapshot_read_your_writes: bool,
}

struct Shared {
    env: Env,
    fault: Option<Fault>,
    store: Mutex<Store>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// The newest version, after the clock.
    fn read_version(&self) -> Version {
        let mut store = self.lock();
        let now = Version::try_from(self.env.clock.monotonic().as_micros()).unwrap_or(Version::MAX);
        // The clock may start at nought; the window must not reach below the first version even then.
        store.newest = store.newest.max(10 * MVCC_WINDOW_VERSIONS + now);
        store.newest
    }

    fn oldest(&self) -> Version {
        self.read_version() - MVCC_WINDOW_VERSIONS
    }
}

impl Store {
    fn snapshot(&self, version: Version) -> Snapshot {
        self.snapshots.range(..=version).next_back().map(|(_, snapshot)| snapshot.clone()).unwrap_or_default()
    }

    fn fire_watches(&mut self) {
        let newest = self.snapshot(Version::MAX);
        self.watches.retain(|watch| {
            if newest.get(&watch.key) == watch.expected.as_ref() {
                return true;
            }
            let mut signal = watch.signal.lock().unwrap_or_else(PoisonError::into_inner);
            signal.has_fired = true;
            if let Some(waker) = signal.waker.take() {
                waker.wake();
            }
            false
        });
    }
}

/// The reference engine.
pub struct ReferenceEngine {
    shared: Arc<Shared>,
}

impl ReferenceEngine {
    /// An empty store.
    pub fn new(env: Env) -> ReferenceEngine {
        ReferenceEngine::with_fault(env, None)
    }

    /// An empty store that is wrong in one way.
    pub fn with_fault(env: Env, fault: Option<Fault>) -> ReferenceEngine {
        let store = Store {
            snapshots: BTreeMap::new(),
            commits: Vec::new(),
            newest: 10 * MVCC_WINDOW_VERSIONS,
            watches: Vec::new(),
            watches_taken: 0,
            watches_max: WATCHES_MAX_DEFAULT,
            defaults: Vec::new(),
            has_snapshot_read_your_writes: true,
        };
        ReferenceEngine { shared: Arc::new(Shared { env, fault, store: Mutex::new(store) }) }
    }
}

impl fmt::Debug for ReferenceEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ReferenceEngine").field("fault", &self.shared.fault).finish_non_exhaustive()
    }
}

impl Engine for ReferenceEngine {
    fn begin(&self) -> Result<TransactionRef> {
        Ok(Arc::new(ReferenceTransaction::new(self.shared.clone())))
    }

    fn set_option(&self, option: DatabaseOption) -> Result<()> {
        let mut store = self.shared.lock();
        match option {
            DatabaseOption::MaxWatches(count) => match usize::try_from(count) {
                Ok(count) if count <= WATCHES_MAX_MAX => store.watches_max = count,
                _ => return Err(ErrorCode::INVALID_OPTION_VALUE.into()),
            },
            DatabaseOption::SnapshotReadYourWrites(enabled) => store.has_snapshot_read_your_writes = enabled,
            DatabaseOption::TransactionDefault(option) => {
                option.validate()?;
                if !matches!(option.code(), 500..=503 | 505 | 700..=702) {
                    return Err(Error::from(ErrorCode::INVALID_OPTION));
                }
                store.defaults.push(option);
            }
        }
        Ok(())
    }

    fn profile(&self) -> EngineProfile {
        EngineProfile::new("reference", false, false)
    }
}
