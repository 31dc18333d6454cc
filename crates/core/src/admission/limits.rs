//! The limits of a tenant, its own and those of its plan.

use std::fmt;

use crate::error::{Code, Error, Result};
use crate::limits::{TENANT_RATE_MAX, TENANT_WEIGHT_MAX};
use crate::messages::StoredLimits;

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Limit {
    /// No limit but a share: how much the tenant gets beside others where all want more than there is. 1 to 10,000; 100 where nothing is said.
    Weight,
    /// Operations in a second: the reads or the changes of a transaction, whichever are more, and at least one.
    OperationsPerSecond,
    /// Bytes in a second, read and written.
    BytesPerSecond,
    /// The bytes stored: records with their keys, and the tenant's own key-value space.
    StoredBytes,
    /// The records stored.
    Records,
    /// The bytes that one transaction writes, as [`TenantTransaction::size_bytes`](crate::TenantTransaction::size_bytes) counts them.
    TransactionBytes,
    /// The transactions that run at a time, in each process.
    Transactions,
    /// The watches that are outstanding, in each process.
    Watches,
}

impl Limit {
    /// All of them.
    pub const ALL: [Limit; 8] = [
        Limit::Weight,
        Limit::OperationsPerSecond,
        Limit::BytesPerSecond,
        Limit::StoredBytes,
        Limit::Records,
        Limit::TransactionBytes,
        Limit::Transactions,
        Limit::Watches,
    ];

    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Weight => "weight",
            Limit::OperationsPerSecond => "operations_per_second",
            Limit::BytesPerSecond => "bytes_per_second",
            Limit::StoredBytes => "stored_bytes",
            Limit::Records => "records",
            Limit::TransactionBytes => "transaction_bytes",
            Limit::Transactions => "transactions",
            Limit::Watches => "watches",
        }
    }

    /// The limit of a name.
    ///
    /// # Errors
    ///
    /// 20142 naming those that there are.
    pub fn from_name(name: &str) -> Result<Limit> {
        Limit::ALL.into_iter().find(|limit| limit.name() == name).ok_or_else(|| {
            let names = Limit::ALL.map(Limit::name).join(", ");
            Error::new(Code::LimitsInvalid, format!("{} is none of {names}", crate::error::shown(name)))
        })
    }

    /// The least and the greatest value.
    fn bounds(self) -> (u64, u64) {
        match self {
            Limit::Weight => (1, TENANT_WEIGHT_MAX),
            Limit::OperationsPerSecond | Limit::BytesPerSecond => (1, TENANT_RATE_MAX),
            Limit::Transactions => (1, UNLIMITED - 1),
            _ => (0, UNLIMITED - 1),
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Stands for "no limit, whatever the plan says".
const UNLIMITED: u64 = u64::MAX;

/// The limits of a tenant or of a plan. What is not set follows the plan, and where that is silent as well, there is no limit.
///
/// ```
/// use tenantry_core::{Limit, TenantLimits};
///
/// let plan = TenantLimits::none().with(Limit::Records, 1_000).with(Limit::Watches, 10);
/// let own = TenantLimits::none().with(Limit::Records, 5_000).without(Limit::Watches);
/// let effective = own.over(&plan);
/// assert_eq!(effective.get(Limit::Records), Some(5_000));
/// assert_eq!(effective.get(Limit::Watches), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits([Option<u64>; Limit::ALL.len()]);

impl TenantLimits {
    /// Nothing is set.
    pub fn none() -> TenantLimits {
        TenantLimits::default()
    }

    /// The same with a limit.
    #[must_use]
    pub fn with(mut self, limit: Limit, value: u64) -> TenantLimits {
        self.0[limit as usize] = Some(value);
        self
    }

    /// The same that says that there is no such limit, whatever the plan says.
    #[must_use]
    pub fn without(self, limit: Limit) -> TenantLimits {
        self.with(limit, UNLIMITED)
    }

    /// The same that says nothing of a limit, and so follows the plan.
    #[must_use]
    pub fn unset(mut self, limit: Limit) -> TenantLimits {
        self.0[limit as usize] = None;
        self
    }

    /// The value of a limit, if there is one.
    pub fn get(&self, limit: Limit) -> Option<u64> {
        self.0[limit as usize].filter(|value| *value != UNLIMITED)
    }

    /// Whether something is said of a limit: a value, or that there is none.
    pub fn is_set(&self, limit: Limit) -> bool {
        self.0[limit as usize].is_some()
    }

    /// Whether nothing is said of any.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// These limits, and where they say nothing those of a plan.
    #[must_use]
    pub fn over(&self, plan: &TenantLimits) -> TenantLimits {
        let mut both = *self;
        both.0.iter_mut().zip(plan.0).for_each(|(own, plan)| *own = own.or(plan));
        both
    }

    /// Fails for a value that makes no sense.
    pub(crate) fn check(&self) -> Result<()> {
        for limit in Limit::ALL {
            let (least, most) = limit.bounds();
            if let Some(value) = self.get(limit).filter(|value| *value < least || *value > most) {
                let detail = format!("{limit} is {value}, and has to be from {least} to {most}");
                return Err(Error::new(Code::LimitsInvalid, detail));
            }
        }
        Ok(())
    }

    pub(crate) fn to_stored(self) -> StoredLimits {
        let [
            weight,
            operations_per_second,
            bytes_per_second,
            stored_bytes,
            records,
            transaction_bytes,
            transactions,
            watches,
        ] = self.0;
        StoredLimits {
            weight,
            operations_per_second,
            bytes_per_second,
            stored_bytes,
            records,
            transaction_bytes,
            transactions,
            watches,
        }
    }

    pub(crate) fn from_stored(stored: &StoredLimits) -> TenantLimits {
        TenantLimits([
            stored.weight,
            stored.operations_per_second,
            stored.bytes_per_second,
            stored.stored_bytes,
            stored.records,
            stored.transaction_bytes,
            stored.transactions,
            stored.watches,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_stored_and_read_by_their_places() {
        for (value, limit) in (1..).zip(Limit::ALL) {
            let limits = TenantLimits::none().with(limit, value);
            assert_eq!(TenantLimits::from_stored(&limits.to_stored()), limits);
            assert_eq!(Limit::from_name(limit.name()), Ok(limit));
            for other in Limit::ALL {
                assert_eq!(limits.get(other), (other == limit).then_some(value));
            }
            limits.check().unwrap();
        }
        assert_eq!(Limit::from_name("speed").unwrap_err().code(), Code::LimitsInvalid);
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_name() {
        for (limit, value) in [
            (Limit::Weight, 0),
            (Limit::Weight, TENANT_WEIGHT_MAX + 1),
            (Limit::OperationsPerSecond, 0),
            (Limit::BytesPerSecond, TENANT_RATE_MAX + 1),
            (Limit::Transactions, 0),
        ] {
            let error = TenantLimits::none().with(limit, value).check().unwrap_err();
            assert_eq!(error.code(), Code::LimitsInvalid);
            assert!(error.detail().contains(limit.name()), "{error}");
        }
        TenantLimits::none().with(Limit::Records, 0).without(Limit::Transactions).check().unwrap();
    }
}
