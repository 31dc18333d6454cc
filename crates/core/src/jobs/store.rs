//! How a job is stored: reading it, moving it in the queue, ending it. `docs/key-layout.md` has the keys.

use bytes::Bytes;
use prost::Message;
use serde_json::Value as Json;
use tenantry_kv::{Isolation, KvFuture, MutationType, Transaction};
use uuid::Uuid;

use crate::database::Inner;
use crate::error::{Code, Error, Result, limit};
use crate::lifecycle::parked;
use crate::limits::{JOB_CURSOR_SIZE_BYTES_MAX, JOB_ERROR_SIZE_BYTES_MAX, JOB_RESULT_SIZE_BYTES_MAX};
use crate::messages::{JobDefinition, JobLease, JobStateKind, JobStatus, StoredFailure, read};

/// The parts of a job's key.
pub(super) const DEFINITION: u32 = 0;
pub(super) const STATUS: u32 = 1;
pub(super) const LEASE: u32 = 2;

/// Everything that is stored of a job.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StoredJob {
    pub(super) id: Uuid,
    pub(super) definition: JobDefinition,
    pub(super) status: JobStatus,
    pub(super) lease: JobLease,
}

pub(super) fn not_found(id: Uuid) -> Error {
    Error::new(Code::JobNotFound, format!("{id}: it never was, or it ended long ago"))
}

/// The parts of a job on their way, all asked for together.
pub(super) struct Reading {
    id: Uuid,
    parts: [KvFuture<Option<Bytes>>; 3],
}

impl Reading {
    pub(super) fn begin(
        inner: &Inner,
        transaction: &dyn Transaction,
        id: Uuid,
        isolation: Isolation,
    ) -> Result<Reading> {
        let part = |part| Ok(transaction.get(&inner.keys.job(id, part)?, isolation));
        let parts: [Result<_>; 3] = [part(DEFINITION), part(STATUS), part(LEASE)];
        let [definition, status, lease] = parts;
        Ok(Reading { id, parts: [definition?, status?, lease?] })
    }

    /// The job, if there is one.
    pub(super) async fn job(self) -> Result<Option<StoredJob>> {
        let [definition, status, lease] = self.parts;
        let (definition, status, lease) = (definition.await?, status.await?, lease.await?);
        let Some(definition) = definition else { return Ok(None) };
        Ok(Some(StoredJob {
            id: self.id,
            definition: read(&definition, "a job")?,
            status: read(&status.unwrap_or_default(), "how a job stands")?,
            lease: read(&lease.unwrap_or_default(), "the lease of a job")?,
        }))
    }
}

/// Reads a job with a conflict.
pub(super) async fn load(inner: &Inner, transaction: &dyn Transaction, id: Uuid) -> Result<StoredJob> {
    let reading = Reading::begin(inner, transaction, id, Isolation::Serializable)?;
    reading.job().await?.ok_or_else(|| not_found(id))
}

/// What somebody read of a job and is about to change.
pub(super) struct Change<'a> {
    pub(super) inner: &'a Inner,
    pub(super) transaction: &'a dyn Transaction,
    pub(super) id: Uuid,
    pub(super) definition: &'a JobDefinition,
}

impl Change<'_> {
    /// Writes how the job stands and who has it, and moves it in the queue.
    pub(super) fn write(&self, before_due_us: i64, status: &JobStatus, lease: &JobLease) -> Result<()> {
        let keys = &self.inner.keys;
        let tenant = self.definition.tenant;
        if before_due_us != status.due_us {
            self.transaction.clear(&keys.job_due(tenant, before_due_us, self.id)?);
        }
        let due = keys.job_due(tenant, status.due_us, self.id)?;
        self.transaction.set(&due, self.definition.kind.as_bytes());
        self.write_parts(status, lease)
    }

    /// Marks the job's place in the queue, so that no worker takes it before the state of its tenant changes.
    pub(super) fn park(&self, due_us: i64) -> Result<()> {
        let due = self.inner.keys.job_due(self.definition.tenant, due_us, self.id)?;
        self.transaction.set(&due, &parked::parked(&self.definition.kind));
        Ok(())
    }

    /// Writes that the job has ended, and takes it out of the queue.
    pub(super) fn end(
        &self,
        mut status: JobStatus,
        mut lease: JobLease,
        state: JobStateKind,
    ) -> Result<(JobStatus, JobLease)> {
        let keys = &self.inner.keys;
        let tenant = self.definition.tenant;
        let now_us = self.inner.env.clock.wall_us();
        self.transaction.clear(&keys.job_due(tenant, status.due_us, self.id)?);
        status.set_state(state);
        (status.ended_us, status.updated_us, status.due_us) = (now_us, now_us, 0);
        status.cursor = Bytes::new();
        lease.owner = Vec::new();
        self.transaction.set(&keys.job_end(now_us, self.id)?, b"");
        let unfinished = keys.jobs_unfinished(tenant)?;
        add(self.transaction, &unfinished, -1);
        // Nothing is left of a tenant whose jobs have all ended.
        self.transaction.atomic(MutationType::CompareAndClear, &unfinished, &0_i64.to_le_bytes());
        add(self.transaction, &keys.jobs_ended()?, 1);
        self.write_parts(&status, &lease)?;
        Ok((status, lease))
    }

    fn write_parts(&self, status: &JobStatus, lease: &JobLease) -> Result<()> {
        let keys = &self.inner.keys;
        self.transaction.set(&keys.job(self.id, STATUS)?, &status.encode_to_vec());
        self.transaction.set(&keys.job(self.id, LEASE)?, &lease.encode_to_vec());
        Ok(())
    }
}

/// Adds to a count, which nobody who does so reads.
pub(super) fn add(transaction: &dyn Transaction, key: &[u8], amount: i64) {
    transaction.atomic(MutationType::Add, key, &amount.to_le_bytes());
}

/// A count as stored, read without a conflict.
pub(super) async fn count(transaction: &dyn Transaction, key: &[u8]) -> Result<usize> {
    let bytes = transaction.get(key, Isolation::Snapshot).await?;
    let count = bytes.and_then(|bytes| <[u8; 8]>::try_from(&bytes[..]).ok()).map_or(0, i64::from_le_bytes);
    Ok(usize::try_from(count).unwrap_or(0))
}

/// A cursor within its limit.
pub(super) fn checked_cursor(cursor: Bytes) -> Result<Bytes> {
    match cursor.len() <= JOB_CURSOR_SIZE_BYTES_MAX {
        true => Ok(cursor),
        false => Err(limit("the bytes of a job's cursor", cursor.len(), JOB_CURSOR_SIZE_BYTES_MAX)),
    }
}

/// A result as stored, within its limit.
pub(super) fn stored_result(result: &Json) -> Result<String> {
    let text = result.to_string();
    match text.len() <= JOB_RESULT_SIZE_BYTES_MAX {
        true => Ok(text),
        false => Err(limit("the bytes of a job's result", text.len(), JOB_RESULT_SIZE_BYTES_MAX)),
    }
}

/// What is kept of an error.
pub(super) fn stored_failure(error: &Error) -> StoredFailure {
    let mut message = error.to_string();
    let end = message.floor_char_boundary(JOB_ERROR_SIZE_BYTES_MAX);
    message.truncate(end);
    StoredFailure { number: error.number(), tag: error.tag().to_owned(), message }
}
