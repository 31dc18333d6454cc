//! What is left of a deleted tenant goes: in steps, its header last.
//!
//! First what the database keeps about it elsewhere (its jobs, the marks of its changes), then its own keys, counted as they go. Before the header goes, the transaction that removes it
//! reads the tenant's whole space with a conflict and finds it empty. Until then the header says that the tenant is deleted, afterwards there is none: either way a writer is refused.

use bytes::Bytes;
use tenantry_kv::tuple::Element;
use tenantry_kv::{Isolation, KeyRange, MutationType, RangeRequest, Subspace, Transaction, key_after};
use uuid::Uuid;

use super::list::rows;
use crate::database::{Database, Inner, StoredTenant};
use crate::error::{Code, Error, Result};
use crate::key_space::behind;
use crate::messages::{JobDefinition, PurgeCursor, PurgeStage, read};
use crate::tenant_state::TenantState;

/// What a step reads of the tenant's keys at most, in bytes.
const SIZE_BYTES_MAX: usize = 2_000_000;

/// What came of a step.
pub(crate) enum Purged {
    /// There is more to do.
    More(PurgeCursor),
    /// Everything is gone.
    Done(PurgeCursor),
    /// The tenant is not to be purged: somebody brought it back, its grace is not over, or it is gone already.
    Not,
}

/// Does a step of the purge of a tenant, of about `size` keys. `is_forced` does not wait for the end of the grace.
pub(crate) async fn step(
    database: &Database,
    transaction: &dyn Transaction,
    id: u64,
    is_forced: bool,
    cursor: PurgeCursor,
    size: usize,
) -> Result<Purged> {
    let inner = &database.inner;
    let tenant = match inner.stored_tenant(transaction, id).await {
        Ok(tenant) => tenant,
        Err(error) if error.code() == Code::TenantNotFound => return Ok(Purged::Not),
        Err(error) => return Err(error),
    };
    if TenantState::stored(tenant.header.state)? != TenantState::Deleted {
        return Ok(Purged::Not);
    }
    let purge = Purge { inner, transaction, id, size };
    let mut cursor = cursor;
    match cursor.stage() {
        PurgeStage::Begin => {
            if !is_forced && tenant.entry.due_us > inner.env.clock.wall_us() {
                return Ok(Purged::Not);
            }
            purge.begin(tenant).await?;
            cursor.set_stage(PurgeStage::Jobs);
        }
        PurgeStage::Jobs => purge.jobs(&mut cursor).await?,
        PurgeStage::EndedJobs => purge.ended_jobs(&mut cursor).await?,
        PurgeStage::Marks => purge.marks(&mut cursor).await?,
        PurgeStage::Keys => purge.keys(&mut cursor).await?,
        PurgeStage::Header => {
            if purge.header(&tenant, &mut cursor).await? {
                return Ok(Purged::Done(cursor));
            }
        }
    }
    Ok(Purged::More(cursor))
}

struct Purge<'a> {
    inner: &'a Inner,
    transaction: &'a dyn Transaction,
    id: u64,
    size: usize,
}

impl Purge<'_> {
    /// There is no way back from here on.
    async fn begin(&self, mut tenant: StoredTenant) -> Result<()> {
        tenant.entry.is_purging = true;
        self.inner.write_tenant(self.transaction, &tenant, Vec::new(), &[]).await.map(drop)
    }

    /// The tenant's jobs that have not ended. Whoever is at one of them conflicts, and then has it no more.
    async fn jobs(&self, cursor: &mut PurgeCursor) -> Result<()> {
        let keys = &self.inner.keys;
        let queue = Subspace::new(keys.job_queue_of(self.id)?);
        let rows = rows(self.transaction, &queue.tuples(), self.size).await?;
        for row in &rows {
            match queue.unpack(&row.key)?[..] {
                [Element::Int(_), Element::Uuid(job)] => self.clear_job(job)?,
                _ => return Err(damaged("a place in the queue of jobs has no time and id")),
            }
            self.transaction.clear(&row.key);
        }
        cursor.jobs += rows.len() as u64;
        if rows.len() < self.size {
            self.transaction.clear(&keys.jobs_unfinished(self.id)?);
            cursor.set_stage(PurgeStage::EndedJobs);
        }
        Ok(())
    }

    /// The tenant's jobs that have ended and are kept for a while.
    async fn ended_jobs(&self, cursor: &mut PurgeCursor) -> Result<()> {
        let keys = &self.inner.keys;
        let ends = keys.job_ends()?;
        let range = behind_cursor(ends.tuples(), cursor);
        let rows = rows(self.transaction, &range, self.size).await?;
        let mut reading = Vec::with_capacity(rows.len());
        for row in &rows {
            let [Element::Int(_), Element::Uuid(job)] = ends.unpack(&row.key)?[..] else {
                return Err(damaged("the end of a job has no time and id"));
            };
            reading.push((job, self.transaction.get(&keys.job(job, 0)?, Isolation::Snapshot)));
        }
        let mut removed = 0_i64;
        for (row, (job, definition)) in rows.iter().zip(reading) {
            let Some(definition) = definition.await? else { continue };
            if read::<JobDefinition>(&definition, "a job")?.tenant != self.id {
                continue;
            }
            // With a conflict: whoever else removes it counts it, too.
            if self.transaction.get(&row.key, Isolation::Serializable).await?.is_some() {
                self.clear_job(job)?;
                self.transaction.clear(&row.key);
                removed += 1;
            }
        }
        if removed > 0 {
            self.transaction.atomic(MutationType::Add, &keys.jobs_ended()?, &(-removed).to_le_bytes());
        }
        cursor.jobs += removed.unsigned_abs();
        cursor.after = rows.last().map(|row| row.key.clone()).unwrap_or_default();
        if rows.len() < self.size {
            cursor.after = Bytes::new();
            cursor.set_stage(PurgeStage::Marks);
        }
        Ok(())
    }

    fn clear_job(&self, job: Uuid) -> Result<()> {
        let keys = Subspace::new(self.inner.keys.jobs()?.pack(&[Element::Uuid(job)])?).keys();
        self.transaction.clear_range(&keys.begin, &keys.end);
        Ok(())
    }

    /// The marks that it changed about then: one read for each stretch of time in which anybody changed.
    async fn marks(&self, cursor: &mut PurgeCursor) -> Result<()> {
        let keys = &self.inner.keys;
        let marks = keys.changes()?;
        for _ in 0..self.size {
            let from = keys.changed_in(cursor.bucket, self.id)?;
            let request = RangeRequest::new(from, marks.tuples().end).limit(1);
            let batch = self.transaction.get_range(&request, Isolation::Snapshot).await?;
            let Some(row) = batch.rows.first() else {
                cursor.set_stage(PurgeStage::Keys);
                return Ok(());
            };
            let [Element::Int(bucket), Element::Int(tenant)] = marks.unpack(&row.key)?[..] else {
                return Err(damaged("the mark of a change has no time and tenant"));
            };
            let tenant = u64::try_from(tenant).unwrap_or(0);
            if tenant == self.id {
                self.transaction.clear(&row.key);
                cursor.marks += 1;
            }
            cursor.bucket = bucket + i64::from(tenant >= self.id);
        }
        Ok(())
    }

    /// The tenant's space in front of its header and behind it.
    fn space(&self) -> Result<[KeyRange; 2]> {
        let keys = self.inner.keys.tenant_keys(self.id)?;
        let (everything, header) = (keys.everything(), keys.header()?);
        let behind_header = KeyRange::new(key_after(&header), everything.end);
        Ok([KeyRange::new(everything.begin, header), behind_header])
    }

    async fn keys(&self, cursor: &mut PurgeCursor) -> Result<()> {
        for range in self.space()? {
            let (mut keys, mut size_bytes, mut last) = (0, 0, None);
            let mut next = Some(RangeRequest::new(range.begin.clone(), range.end).limit(self.size));
            while let Some(request) = next {
                let batch = self.transaction.get_range(&request, Isolation::Snapshot).await?;
                keys += batch.rows.len();
                size_bytes += batch.rows.iter().map(|row| row.key.len() + row.value.len()).sum::<usize>();
                last = batch.rows.last().map(|row| row.key.clone()).or(last);
                next = request.after(&batch).filter(|_| size_bytes < SIZE_BYTES_MAX);
            }
            if let Some(last) = last {
                self.transaction.clear_range(&range.begin, &key_after(&last));
                cursor.keys += keys as u64;
                cursor.size_bytes += size_bytes as u64;
                return Ok(());
            }
        }
        cursor.set_stage(PurgeStage::Header);
        Ok(())
    }

    /// Proves that nothing is left and removes the header. False where something is left after all.
    async fn header(&self, tenant: &StoredTenant, cursor: &mut PurgeCursor) -> Result<bool> {
        let keys = &self.inner.keys;
        let jobs = Subspace::new(keys.job_queue_of(self.id)?).tuples();
        let [before, behind_header] = self.space()?;
        for (range, stage) in
            [(jobs, PurgeStage::Jobs), (before, PurgeStage::Keys), (behind_header, PurgeStage::Keys)]
        {
            let request = RangeRequest::new(range.begin, range.end).limit(1);
            let batch = self.transaction.get_range(&request, Isolation::Serializable).await?;
            if !batch.rows.is_empty() {
                cursor.set_stage(stage);
                return Ok(false);
            }
        }
        self.transaction.clear(&keys.tenant_keys(self.id)?.header()?);
        self.transaction.clear(&keys.archive_progress(self.id)?);
        cursor.keys += 1;
        let clears = [
            keys.tenant(self.id)?,
            keys.purge_due(tenant.entry.look_us, self.id)?,
            keys.deleted_name(&tenant.entry.name, self.id)?,
        ];
        self.inner.write_catalog(self.transaction, &[], &clears).await?;
        self.inner.forget_header(self.id);
        Ok(true)
    }
}

fn behind_cursor(range: KeyRange, cursor: &PurgeCursor) -> KeyRange {
    match cursor.after.is_empty() {
        true => range,
        false => KeyRange::new(behind(&cursor.after, &[0]), range.end),
    }
}

fn damaged(what: &str) -> Error {
    Error::new(Code::StoredDataInvalid, what)
}
