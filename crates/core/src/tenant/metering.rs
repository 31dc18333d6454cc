//! What a transaction costs, and how it comes into the tenant's meters and under its limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tenantry_kv::{Isolation, KvFuture, MutationType, RangeBatch, Transaction};

use super::Tenant;
use super::transaction::TenantTransaction;
use crate::admission::{Account, Cost, Effective};
use crate::error::{Code, Error, Result};
use crate::limits::{METER_FLUSH_INTERVAL, METER_HOURS_KEPT};
use crate::meters::{Consumed, READ_UNIT_SIZE_BYTES, Totals, Written, hour_of, units};
use crate::tenant_state::{Pass, check_begin};

/// What one transaction has read, and whether the meters have it.
#[derive(Default)]
pub(super) struct Usage {
    pub(super) limits: Option<Arc<Effective>>,
    reads: AtomicU64,
    read_units: AtomicU64,
    read_bytes: AtomicU64,
    /// What others read before, which this transaction brings into the meters.
    brought: Mutex<Consumed>,
    /// Whether all that is in its writes.
    is_metered: AtomicBool,
}

impl Usage {
    /// A usage under limits.
    pub(super) fn under(limits: Option<Arc<Effective>>) -> Usage {
        Usage { limits, ..Usage::default() }
    }

    fn count(&self, size_bytes: usize) {
        let size_bytes = size_bytes as u64;
        self.read_units.fetch_add(units(size_bytes, READ_UNIT_SIZE_BYTES), Ordering::Relaxed);
        self.read_bytes.fetch_add(size_bytes, Ordering::Relaxed);
    }

    /// Counts the read of a key.
    pub(super) fn of_key(
        self: &Arc<Usage>,
        key_size_bytes: usize,
        reading: KvFuture<Option<Bytes>>,
    ) -> KvFuture<Option<Bytes>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let size =
            move |value: &Option<Bytes>| value.as_ref().map_or(0, |value| key_size_bytes + value.len());
        match reading.into_ready() {
            Ok(result) => {
                result.iter().for_each(|value| self.count(size(value)));
                KvFuture::ready(result)
            }
            Err(pending) => {
                let usage = self.clone();
                pending.and_then(move |value| {
                    usage.count(size(&value));
                    Ok(value)
                })
            }
        }
    }

    /// Counts the read of a part of a range.
    pub(super) fn of_range(self: &Arc<Usage>, reading: KvFuture<RangeBatch>) -> KvFuture<RangeBatch> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let usage = self.clone();
        reading.and_then(move |batch| {
            usage.count(batch.rows.iter().map(|row| row.key.len() + row.value.len()).sum());
            Ok(batch)
        })
    }

    /// What was read and written, in all.
    fn consumed(&self, written: &Written) -> Consumed {
        Consumed {
            // A change comes with a read of what was there: the two are one operation.
            operations: self.reads.load(Ordering::Relaxed).max(written.changes).max(1),
            read_units: self.read_units.load(Ordering::Relaxed),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            write_units: written.units,
            write_bytes: written.size_bytes,
            throttled: 0,
        }
    }
}

impl Account {
    /// Adds to what waits to be brought into the meters.
    fn gather(&self, consumed: Consumed) {
        let reads = &self.reads;
        reads.operations.fetch_add(consumed.operations, Ordering::Relaxed);
        reads.units.fetch_add(consumed.read_units, Ordering::Relaxed);
        reads.size_bytes.fetch_add(consumed.read_bytes, Ordering::Relaxed);
        if consumed.throttled > 0 {
            reads.throttled.fetch_add(consumed.throttled, Ordering::Relaxed);
        }
    }

    fn take_gathered(&self) -> Consumed {
        let reads = &self.reads;
        if reads.operations.load(Ordering::Relaxed) == 0 && reads.throttled.load(Ordering::Relaxed) == 0 {
            return Consumed::default();
        }
        Consumed {
            operations: reads.operations.swap(0, Ordering::Relaxed),
            read_units: reads.units.swap(0, Ordering::Relaxed),
            read_bytes: reads.size_bytes.swap(0, Ordering::Relaxed),
            throttled: reads.throttled.swap(0, Ordering::Relaxed),
            ..Consumed::default()
        }
    }

    /// Whether what was gathered has waited for long enough. Whoever is told so brings it.
    fn flush_is_due(&self, now: Duration) -> bool {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(1);
        let flushed = &self.reads.flushed_ms;
        let last_ms = flushed.load(Ordering::Relaxed);
        if last_ms != 0 && now_ms.saturating_sub(last_ms) < METER_FLUSH_INTERVAL.as_millis() as u64 {
            return false;
        }
        // The first time nothing has waited yet.
        flushed.compare_exchange(last_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            && last_ms != 0
    }
}

impl TenantTransaction {
    /// What the transaction has cost so far.
    fn cost(&self) -> Cost {
        let consumed = self.usage().consumed(&self.lock().written);
        Cost {
            operations: consumed.operations,
            size_bytes: consumed.read_bytes.saturating_add(consumed.write_bytes),
        }
    }

    /// A watch on a key of the tenant, which counts until it fires or is given up.
    pub(super) fn watch_key(&self, key: &[u8]) -> Result<KvFuture<()>> {
        let most = self.usage().limits.as_ref().and_then(|limits| limits.watches);
        let permit = self.tenant.account.take_watch(most)?;
        Ok(match self.transaction.watch(key).into_ready() {
            Ok(result) => KvFuture::ready(result),
            Err(pending) => KvFuture::pending(async move {
                let fired = pending.await;
                drop(permit);
                fired
            }),
        })
    }

    /// The last thing before the commit: holds the tenant to what it may store, and adds to its meters.
    pub(super) async fn finish_meters(&self, written: Written) -> Result<()> {
        let usage = self.usage();
        if let Some(limits) = &usage.limits {
            self.check_stored(limits, written.stored).await?;
        }
        let account = &self.tenant.account;
        let brought = account.take_gathered();
        *usage.brought.lock().unwrap_or_else(PoisonError::into_inner) = brought;
        usage.is_metered.store(true, Ordering::Relaxed);
        let keys = &self.tenant.keys;
        if !written.stored.is_zero() {
            let operand = written.stored.to_operand();
            self.transaction.atomic(MutationType::Add, &keys.meter_totals()?, &operand);
        }
        let consumed = usage.consumed(&written).plus(brought);
        self.tenant.add_consumed(&*self.transaction, consumed)
    }

    /// Whether the tenant may store so much more. What makes it less is always allowed.
    async fn check_stored(&self, limits: &Effective, more: Totals) -> Result<()> {
        let more_bytes = more.record_bytes + more.raw_bytes;
        let records_max = limits.records.filter(|_| more.records > 0);
        let bytes_max = limits.stored_bytes.filter(|_| more_bytes > 0);
        if records_max.is_none() && bytes_max.is_none() {
            return Ok(());
        }
        // Without a conflict: transactions that run at a time may pass the limit together, by what they write.
        let found = self.transaction.get(&self.tenant.keys.meter_totals()?, Isolation::Snapshot).await?;
        let stored = Totals::from_bytes(found.as_deref())?;
        let exceeds =
            |stored: i64, more: i64, most: u64| i128::from(stored) + i128::from(more) > i128::from(most);
        if let Some(most) = records_max.filter(|most| exceeds(stored.records, more.records, *most)) {
            return Err(exceeded("records", stored.records, more.records, most));
        }
        let Some(most) = bytes_max else { return Ok(()) };
        let mut stored_bytes = stored.record_bytes + stored.raw_bytes;
        if exceeds(stored_bytes, more_bytes, most) && stored.raw_bytes > 0 {
            // The meter of raw keys counts what was written; how much of that is there, the engine knows about.
            let raw = tenantry_kv::Subspace::new(self.tenant.keys.raw()?).keys();
            let there = self.transaction.estimated_range_size_bytes(&raw.begin, &raw.end).await?;
            stored_bytes =
                stored.record_bytes + stored.raw_bytes.min(i64::try_from(there).unwrap_or(i64::MAX));
        }
        match exceeds(stored_bytes, more_bytes, most) {
            true => Err(exceeded("bytes", stored_bytes, more_bytes, most)),
            false => Ok(()),
        }
    }

    /// The attempt is over: what it cost is added to `cost`, and what the meters do not have of it is left to whoever comes next.
    pub(super) fn close_usage(&self, cost: &Mutex<Cost>, is_committed: bool) {
        let usage = self.usage();
        cost.lock().unwrap_or_else(PoisonError::into_inner).add(self.cost());
        if usage.is_metered.swap(false, Ordering::Relaxed) {
            if is_committed {
                return;
            }
            let brought = std::mem::take(&mut *usage.brought.lock().unwrap_or_else(PoisonError::into_inner));
            self.tenant.account.gather(brought);
        }
        self.tenant.account.gather(usage.consumed(&Written::default()));
    }
}

fn exceeded(what: &str, stored: i64, more: i64, most: u64) -> Error {
    let detail = format!(
        "the tenant stores {stored} {what} and would store {more} more, its limit is {most}: delete some, or have the limit raised"
    );
    Error::new(Code::QuotaExceeded, detail)
}

impl Tenant {
    /// Adds to the meter of this hour.
    fn add_consumed(&self, transaction: &dyn Transaction, consumed: Consumed) -> Result<()> {
        if consumed.is_zero() {
            return Ok(());
        }
        let hour = hour_of(self.database.inner.env.clock.wall_us());
        transaction.atomic(MutationType::Add, &self.keys.meter_hour(hour)?, &consumed.to_operand());
        if self.account.is_first_of_hour(hour) {
            let hours = self.keys.meter_hours()?.tuples();
            transaction.clear_range(&hours.begin, &self.keys.meter_hour(hour - METER_HOURS_KEPT)?);
        }
        Ok(())
    }

    /// What is to be done once in a while, by whoever has just run a transaction.
    pub(super) async fn maintain(&self, now: Duration) {
        let inner = &self.database.inner;
        if self.account.has_known_limits() {
            inner.renew_lease(&self.account, self.info.id, &self.keys).await;
        }
        if self.account.flush_is_due(now) {
            // What cannot be brought now is brought later.
            let _ = self.flush_meters().await;
        }
    }

    /// Brings what this process has read of the tenant into its meters. The tenant's transactions do so by themselves, within ten seconds: this is for a process that ends.
    ///
    /// # Errors
    ///
    /// 20003 and 20004 while the database may not change; the engine's own. What was not brought is brought by the next transaction.
    pub async fn flush_meters(&self) -> Result<()> {
        let gathered = self.account.take_gathered();
        if gathered.is_zero() {
            return Ok(());
        }
        let inner = &self.database.inner;
        let flushed: Result<()> = inner
            .runner
            .run(|transaction| async move {
                inner.check_writable(&*transaction).await?;
                // A tenant that is gone gets no key.
                let header = inner.header(&*transaction, self.info.id, &self.keys).await?;
                check_begin(&header, self.info.id, Pass::Operator)?;
                self.add_consumed(&*transaction, gathered)
            })
            .await;
        flushed.inspect_err(|error| {
            if !error.is_outcome_unknown() {
                self.account.gather(gathered);
            }
        })
    }
}
