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
}

impl Fault {
    /// Every fault.
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
}

#[cfg(feature = "seeded-faults")]
pub use active::{activate, is_active};

/// Whether a fault is on: never, without the feature.
#[cfg(not(feature = "seeded-faults"))]
#[inline(always)]
pub const fn is_active(_fault: Fault) -> bool {
    false
}
