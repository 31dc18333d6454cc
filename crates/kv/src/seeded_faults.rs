//! Faults that can be switched on where they were seeded into the code, to show that the simulator finds each. Without the feature `seeded-faults` none can be,
//! and the compiler removes them.

/// A seeded fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what it says")]
#[non_exhaustive]
pub enum Fault {
    ReadNotInConflictSet,
    SnapshotReadInConflictSet,
    ReadVersionBehind,
    RangeReadNotInConflictSet,
    ClearNotInWriteSet,
    ResolverForgetsWrite,
    TooOldCheckSkipped,
    MapAheadOfReaders,
    OverlayForgetsClear,
    StampsOfOneBatchEqual,
    AcknowledgedBeforeSync,
    RecoverySkipsSync,
    TableNotSynced,
    LogCutTooEarly,
    LogNotSealed,
    LogChecksumNotVerified,
    BlockChecksumNotVerified,
    VersionsRestartLower,
    WatchLost,
    RetryForgetsUnknownOutcome,
    IndexEntryNotRemoved,
    IndexWrittenOutside,
    UniqueCheckOnSnapshot,
    TenantPrefixShared,
    TenantIdUsedTwice,
    TokenNotBoundToQuery,
    RawKeyNotClamped,
    RawRangeBeginNotClamped,
    RawRangeEndNotClamped,
    RawClearRangeNotClamped,
    StampedKeyNotClamped,
    WatchKeyNotClamped,
    RowsNotClamped,
    CounterRangeNotClamped,
    IdempotencyKeyNotClamped,
    IdempotencyExpiriesNotClamped,
    IndexScanNotClamped,
    IndexRangeNotClamped,
    RecordScanNotClamped,
    LogReadNotClamped,
    TokenNotBoundToTenant,
    TokenNotBoundToIncarnation,
}

impl Fault {
    /// Every fault of the engine and the record layer, but for the [clamps](Fault::CLAMPS).
    pub const ALL: [Fault; 26] = [
        Fault::ReadNotInConflictSet,
        Fault::SnapshotReadInConflictSet,
        Fault::ReadVersionBehind,
        Fault::RangeReadNotInConflictSet,
        Fault::ClearNotInWriteSet,
        Fault::ResolverForgetsWrite,
        Fault::TooOldCheckSkipped,
        Fault::MapAheadOfReaders,
        Fault::OverlayForgetsClear,
        Fault::StampsOfOneBatchEqual,
        Fault::AcknowledgedBeforeSync,
        Fault::RecoverySkipsSync,
        Fault::TableNotSynced,
        Fault::LogCutTooEarly,
        Fault::LogNotSealed,
        Fault::LogChecksumNotVerified,
        Fault::BlockChecksumNotVerified,
        Fault::VersionsRestartLower,
        Fault::WatchLost,
        Fault::RetryForgetsUnknownOutcome,
        Fault::IndexEntryNotRemoved,
        Fault::IndexWrittenOutside,
        Fault::UniqueCheckOnSnapshot,
        Fault::TenantPrefixShared,
        Fault::TenantIdUsedTwice,
        Fault::TokenNotBoundToQuery,
    ];

    /// Every clamp that keeps a tenant within its own keys, each removed alone. The fence around a tenant's transactions is open while one is, for it would refuse what the clamp
    /// lets through.
    pub const CLAMPS: [Fault; 16] = [
        Fault::RawKeyNotClamped,
        Fault::RawRangeBeginNotClamped,
        Fault::RawRangeEndNotClamped,
        Fault::RawClearRangeNotClamped,
        Fault::StampedKeyNotClamped,
        Fault::WatchKeyNotClamped,
        Fault::RowsNotClamped,
        Fault::CounterRangeNotClamped,
        Fault::IdempotencyKeyNotClamped,
        Fault::IdempotencyExpiriesNotClamped,
        Fault::IndexScanNotClamped,
        Fault::IndexRangeNotClamped,
        Fault::RecordScanNotClamped,
        Fault::LogReadNotClamped,
        Fault::TokenNotBoundToTenant,
        Fault::TokenNotBoundToIncarnation,
    ];
}

#[cfg(feature = "seeded-faults")]
mod active {
    use std::cell::Cell;

    use super::Fault;

    thread_local! {
        static ACTIVE: Cell<Option<Fault>> = const { Cell::new(None) };
    }

    /// Switches a fault on for this thread, or all off.
    pub fn activate(fault: Option<Fault>) {
        ACTIVE.set(fault);
    }

    /// Whether a fault is on.
    pub fn is_active(fault: Fault) -> bool {
        ACTIVE.get() == Some(fault)
    }

    /// Whether some clamp is removed.
    pub fn is_unclamped() -> bool {
        ACTIVE.get().is_some_and(|fault| Fault::CLAMPS.contains(&fault))
    }
}

#[cfg(feature = "seeded-faults")]
pub use active::{activate, is_active, is_unclamped};

/// Whether a fault is on: never, without the feature.
#[cfg(not(feature = "seeded-faults"))]
#[inline(always)]
pub const fn is_active(_fault: Fault) -> bool {
    false
}

/// Whether some clamp is removed: never, without the feature.
#[cfg(not(feature = "seeded-faults"))]
#[inline(always)]
pub const fn is_unclamped() -> bool {
    false
}
