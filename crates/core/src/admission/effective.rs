//! The limits that hold for a tenant, with those of its plan.

use super::limits::{Limit, TenantLimits};
use crate::limits::TENANT_WEIGHT_DEFAULT;

/// The limits that hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) weight: u64,
    pub(crate) operations_per_second: Option<u64>,
    pub(crate) bytes_per_second: Option<u64>,
    pub(crate) stored_bytes: Option<u64>,
    pub(crate) records: Option<u64>,
    pub(crate) transaction_bytes: Option<u64>,
    pub(crate) transactions: Option<u64>,
    pub(crate) watches: Option<u64>,
}

impl Effective {
    pub(crate) fn of(limits: &TenantLimits) -> Effective {
        Effective {
            weight: limits.get(Limit::Weight).unwrap_or(TENANT_WEIGHT_DEFAULT).max(1),
            operations_per_second: limits.get(Limit::OperationsPerSecond),
            bytes_per_second: limits.get(Limit::BytesPerSecond),
            stored_bytes: limits.get(Limit::StoredBytes),
            records: limits.get(Limit::Records),
            transaction_bytes: limits.get(Limit::TransactionBytes),
            transactions: limits.get(Limit::Transactions),
            watches: limits.get(Limit::Watches),
        }
    }

    /// Whether somebody has to look at the queue for every transaction.
    pub(super) fn holds_at_admission(&self) -> bool {
        self.has_rate() || self.transactions.is_some()
    }

    /// Whether it has a budget that processes share.
    pub(super) fn has_rate(&self) -> bool {
        self.operations_per_second.is_some() || self.bytes_per_second.is_some()
    }
}
