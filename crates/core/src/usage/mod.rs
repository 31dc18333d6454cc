//! What a tenant stores and consumes, and what it may: for people and bills.

mod reconcile;

use tenantry_kv::{Isolation, RangeRequest};

use crate::access::Operation;
use crate::admission::{Class, TenantLimits};
use crate::error::{Code, Result};
use crate::messages::TenantHeader;
use crate::meters::{Consumed, Totals, hour_begin_us, hour_of};
use crate::tenant::{Tenant, TenantTransaction};
use crate::tenant_state::Pass;

pub(crate) use reconcile::ReconcileStep;
pub use reconcile::Reconciled;

/// What a tenant stores, and what it consumed by hours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantUsage {
    /// How many records there are.
    pub records: u64,
    /// The bytes of their primary keys and of their fields, before compression, without index entries and log.
    pub record_size_bytes: u64,
    /// The bytes of the tenant's own key-value space. An estimate after writes: what they wrote over is not taken off until it is reconciled.
    pub raw_size_bytes: u64,
    /// What was consumed, the oldest hour first; without those in which nothing was.
    pub hours: Vec<HourUsage>,
}

/// What a tenant consumed in an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HourUsage {
    /// When the hour began, in microseconds since 1970.
    pub begin_us: i64,
    /// Operations: the reads or the changes of each transaction, whichever were more, and at least one.
    pub operations: u64,
    /// For each read, its bytes in parts of 4,000, at least one.
    pub read_units: u64,
    /// The bytes that were read.
    pub read_size_bytes: u64,
    /// For each change, its bytes in parts of 1,000, at least one.
    pub write_units: u64,
    /// The bytes that were written, as the change log has them.
    pub write_size_bytes: u64,
    /// The transactions that were turned away.
    pub throttled: u64,
}

impl HourUsage {
    fn of(hour: i64, consumed: Consumed) -> HourUsage {
        HourUsage {
            begin_us: hour_begin_us(hour),
            operations: consumed.operations,
            read_units: consumed.read_units,
            read_size_bytes: consumed.read_bytes,
            write_units: consumed.write_units,
            write_size_bytes: consumed.write_bytes,
            throttled: consumed.throttled,
        }
    }
}

/// The limits of a tenant, and where they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantQuota {
    /// Its plan.
    pub plan: Option<String>,
    /// What is said of the tenant itself.
    pub own: TenantLimits,
    /// What holds: its own, and those of its plan.
    pub effective: TenantLimits,
}

impl TenantUsage {
    /// The bytes stored: what [`Limit::StoredBytes`](crate::Limit::StoredBytes) limits.
    pub fn stored_size_bytes(&self) -> u64 {
        self.record_size_bytes.saturating_add(self.raw_size_bytes)
    }
}

impl Tenant {
    /// What the tenant stores, and what it consumed since a moment: at most 35 days, by whole hours.
    ///
    /// What was read in the last ten seconds may be missing, and of a process that ended what was read in its last ten seconds.
    ///
    /// # Errors
    ///
    /// As [`read`](Tenant::read).
    pub async fn usage(&self, since_us: i64) -> Result<TenantUsage> {
        self.authorize(Operation::ViewUsage)?;
        // Whoever looks is not held by what the tenant may.
        self.read_as(Class::Immediate, |transaction| async move { transaction.read_usage(since_us).await })
            .await
    }

    /// The tenant's limits.
    ///
    /// # Errors
    ///
    /// As [`read`](Tenant::read).
    pub async fn quota(&self) -> Result<TenantQuota> {
        self.authorize(Operation::ViewUsage)?;
        let (own, plan) = self
            .clone()
            .with_pass(Pass::Operator)
            .read_as(Class::Immediate, |transaction| async move {
                let header: &TenantHeader = transaction.header();
                let own = header.limits.as_ref().map(TenantLimits::from_stored).unwrap_or_default();
                Ok::<_, crate::Error>((own, Some(header.plan.clone()).filter(|plan| !plan.is_empty())))
            })
            .await?;
        let of_plan = match &plan {
            Some(plan) => match self.database().inner.plan(plan).await {
                // Of a plan that nobody has set there are none.
                Err(error) if error.code() == Code::PlanNotFound => TenantLimits::none(),
                found => found?,
            },
            None => TenantLimits::none(),
        };
        Ok(TenantQuota { plan, own, effective: own.over(&of_plan) })
    }

    /// Gives the tenant limits of its own, in place of those that it had. They hold from each process's next transaction on.
    ///
    /// # Errors
    ///
    /// 20142 for limits that make no sense; 20010; 20120.
    pub async fn set_limits(&self, limits: &TenantLimits) -> Result<()> {
        self.database().authorize(Operation::SetLimits).await?;
        self.database().inner.change_limits(self.info.id, &self.keys, limits).await
    }
}

impl TenantTransaction {
    async fn read_usage(&self, since_us: i64) -> Result<TenantUsage> {
        let engine = self.engine_transaction();
        let keys = &self.tenant().keys;
        let totals = engine.get(&keys.meter_totals()?, Isolation::Snapshot);
        let hours = keys.meter_hours()?;
        let range = hours.tuples();
        let begin = keys.meter_hour(hour_of(since_us))?.max(range.begin);
        let mut listed = Vec::new();
        let mut next = Some(RangeRequest::new(begin, range.end));
        while let Some(request) = next {
            let batch = engine.get_range(&request, Isolation::Snapshot).await?;
            for row in &batch.rows {
                let hour = hours.unpack(&row.key)?.first().and_then(tenantry_kv::tuple::Element::as_int);
                listed.push(HourUsage::of(hour.unwrap_or_default(), Consumed::from_bytes(Some(&row.value))?));
            }
            next = request.after(&batch);
        }
        let totals = Totals::from_bytes(totals.await?.as_deref())?;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        Ok(TenantUsage {
            records: count(totals.records),
            record_size_bytes: count(totals.record_bytes),
            raw_size_bytes: count(totals.raw_bytes),
            hours: listed,
        })
    }
}

#[cfg(test)]
mod tests;
