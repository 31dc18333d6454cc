//! Counts anew what a tenant stores, at one version, and puts its meter right.
//!
//! What writers add to the meter meanwhile stays in it: the difference between what was counted and what the meter said at the same version is added. Records are counted by a scan that is consistent
//! at one version; the tenant's own keys, of which the log does not say how long they were, in the last step's transaction, as long as that may take.

use bytes::Bytes;
use prost::Message;
use tenantry_kv::{Isolation, MutationType, RangeRequest, StreamingMode, Subspace};

use crate::consistent_scan::{ConsistentScan, Found, FoundPage, NextStep, Region};
use crate::error::{Code, Error, Result};
use crate::limits::CHECK_RECOUNT_TIME_MAX;
use crate::messages::{Before, ReconcileCursor, read};
use crate::meters::Totals;
use crate::tenant::TenantTransaction;

/// What the meter of a tenant was put right to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reconciled {
    /// How many records there are.
    pub records: i64,
    /// The bytes of their keys and fields.
    pub record_size_bytes: i64,
    /// The bytes of the tenant's own key-value space.
    pub raw_size_bytes: i64,
    /// Whether that was counted. It is the engine's estimate where a count takes longer than a transaction may.
    pub raw_is_exact: bool,
    /// By how much the meter was wrong: the records.
    pub records_off: i64,
    /// Their bytes.
    pub record_size_bytes_off: i64,
    /// The bytes of the key-value space.
    pub raw_size_bytes_off: i64,
    /// The version at which all this is so.
    pub version: i64,
}

/// How a step ended.
pub(crate) enum ReconcileStep {
    More(Bytes, u64),
    Done(Reconciled),
}

impl TenantTransaction {
    /// Does a step, of about so many rows. The cursor of the first is empty.
    pub(crate) async fn reconcile(&self, cursor: &[u8], rows_max: usize) -> Result<ReconcileStep> {
        let mut cursor: ReconcileCursor = read(cursor, "the cursor of a recount")?;
        let types = self.schema().definition.types.iter();
        let regions = types.map(|record_type| Region::Records(record_type.id)).collect();
        let page = ConsistentScan::new(regions, &cursor.scan)?.step(self, rows_max).await?;
        let seen = cursor.seen.saturating_add(page.changes.len() as u64);
        let mut counted =
            Totals { records: cursor.records, record_bytes: cursor.record_size_bytes, raw_bytes: 0 };
        count(&page, &mut counted)?;
        match page.next {
            NextStep::Restart => Ok(ReconcileStep::More(Bytes::new(), 0)),
            NextStep::More(scan) => {
                cursor = ReconcileCursor {
                    scan,
                    records: counted.records,
                    record_size_bytes: counted.record_bytes,
                    seen,
                };
                Ok(ReconcileStep::More(cursor.encode_to_vec().into(), seen))
            }
            NextStep::Done => {
                let raw_is_exact = self.count_raw(&mut counted).await?;
                self.put_right(counted, raw_is_exact, page.version).await.map(ReconcileStep::Done)
            }
        }
    }

    /// Counts the tenant's own keys at this transaction's version; false where that takes too long, and the engine says about how much it is.
    async fn count_raw(&self, counted: &mut Totals) -> Result<bool> {
        let clock = &self.tenant().database().inner.env.clock;
        let begun = clock.monotonic();
        let prefix = self.tenant().keys.raw()?;
        let range = Subspace::new(prefix.clone()).keys();
        let engine = self.engine_transaction();
        let request = RangeRequest::new(range.begin.clone(), range.end.clone());
        let mut next = Some(request.mode(StreamingMode::WantAll));
        let mut size_bytes = 0;
        while let Some(request) = next {
            let batch = engine.get_range(&request, Isolation::Snapshot).await?;
            size_bytes +=
                batch.rows.iter().map(|row| row.key.len() - prefix.len() + row.value.len()).sum::<usize>();
            next = request.after(&batch);
            if next.is_some() && clock.monotonic().saturating_sub(begun) > CHECK_RECOUNT_TIME_MAX {
                let about = engine.estimated_range_size_bytes(&range.begin, &range.end).await?;
                counted.raw_bytes = i64::try_from(about).unwrap_or(i64::MAX).max(size_bytes as i64);
                return Ok(false);
            }
        }
        counted.raw_bytes = size_bytes as i64;
        Ok(true)
    }

    async fn put_right(&self, counted: Totals, raw_is_exact: bool, version: i64) -> Result<Reconciled> {
        let key = self.tenant().keys.meter_totals()?;
        // At the version at which everything was counted; what is added to it meanwhile is not touched.
        let found = self.engine_transaction().get(&key, Isolation::Snapshot).await?;
        let off = counted.minus(Totals::from_bytes(found.as_deref())?);
        if !off.is_zero() {
            self.engine_transaction().atomic(MutationType::Add, &key, &off.to_operand());
        }
        Ok(Reconciled {
            records: counted.records,
            record_size_bytes: counted.record_bytes,
            raw_size_bytes: counted.raw_bytes,
            raw_is_exact,
            records_off: off.records,
            record_size_bytes_off: off.record_bytes,
            raw_size_bytes_off: off.raw_bytes,
            version,
        })
    }
}

/// Adds what a page found.
fn count(page: &FoundPage, counted: &mut Totals) -> Result<()> {
    let older = || {
        let detail = "an older build changes the tenant meanwhile: its entries in the change log do not say how long a record was";
        Error::new(Code::JobInvalid, detail)
    };
    for change in &page.changes {
        let (key, old, new) = match change {
            Found::Put { key, value, before, before_size_bytes, .. } => {
                let old = match before {
                    Before::Absent => None,
                    Before::Present => Some(before_size_bytes.ok_or_else(older)?),
                    Before::Unknown => return Err(older()),
                };
                (key, old, Some(value.len() as u64))
            }
            Found::Delete { key, before_size_bytes, .. } => {
                (key, Some(before_size_bytes.ok_or_else(older)?), None)
            }
            // Of the scanned regions there are none.
            Found::DeleteRange { .. } | Found::Atomic { .. } => continue,
        };
        let size = |payload: Option<u64>| payload.map_or(0, |size| (key.len() as u64 + size) as i64);
        counted.records += i64::from(new.is_some()) - i64::from(old.is_some());
        counted.record_bytes += size(new) - size(old);
    }
    Ok(())
}
