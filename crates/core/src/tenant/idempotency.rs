//! Transactions that take effect once for a key of the caller's: what a repeat is answered is the first result.
//!
//! The record of a key lies beside what the transaction writes, and is written with it. It is bookkeeping: not in the change log. Expired ones are removed a few at
//! a time, by whoever comes next, in a transaction of its own.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenantry_kv::{EngineError, Isolation, KvFuture, RangeBatch, RangeRequest};

use super::Tenant;
use super::run::start;
use super::transaction::{TenantTransaction, read_size_bytes, write_size_bytes};
use crate::access::Operation;
use crate::error::{Code, Error, Result, limit};
use crate::limits::{
    IDEMPOTENCY_KEY_SIZE_BYTES_MAX, IDEMPOTENCY_RESULT_SIZE_BYTES_MAX, IDEMPOTENCY_RETENTION,
    IDEMPOTENCY_RETENTION_MAX, IDEMPOTENCY_SWEEP_ROWS_MAX,
};
use crate::messages::{IdempotencyRecord, read};

/// What is kept, in messages.
pub(super) const RESULT_NAME: &str = "the result of an idempotency key";

/// The result of a transaction that takes effect once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Idempotent<T> {
    /// The first result.
    pub value: T,
    /// Whether the transaction had taken effect before, so that nothing was done this time.
    pub is_repeated: bool,
}

impl Tenant {
    /// Runs `body` as [`run`](Tenant::run) does, but once for a key within 24 hours: a repeat, by whatever process and after whatever outcome, returns the first result and does
    /// nothing else. Nothing is kept of a transaction that failed: its repeat runs.
    ///
    /// `fingerprint` stands for what the request asks for; only its hash is kept. The result is kept as JSON. To the holder of a grant, the key of another subject's belongs to another
    /// request.
    ///
    /// # Errors
    ///
    /// 20085 for a key that was used with another fingerprint, or whose result is not of this type; 20060 for a key of no or more than 255 bytes, or a result of more than 90,000;
    /// as [`run`](Tenant::run).
    pub async fn run_idempotent<T, E, F, Fut>(
        &self,
        key: &[u8],
        fingerprint: &[u8],
        mut body: F,
    ) -> Result<Idempotent<T>, E>
    where
        T: Serialize + DeserializeOwned,
        F: FnMut(TenantTransaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + From<tenantry_kv::Error> + EngineError,
    {
        let done = self
            .run_idempotent_bytes(key, fingerprint, IDEMPOTENCY_RETENTION, |transaction| {
                let work = body(transaction);
                async move {
                    let json = serde_json::to_vec(&work.await?).map_err(|error| {
                        E::from(Error::new(
                            Code::JsonInvalid,
                            format!("the result has no form in JSON: {error}"),
                        ))
                    });
                    json.map(Bytes::from)
                }
            })
            .await?;
        let value = serde_json::from_slice(&done.value).map_err(|error| {
            let detail = format!("the result that is kept for it is of another type: {error}");
            E::from(Error::new(Code::IdempotencyKeyReused, detail))
        })?;
        Ok(Idempotent { value, is_repeated: done.is_repeated })
    }

    /// As [`run_idempotent`](Tenant::run_idempotent) for a result of bytes, with a retention of one's own, counted by the wall clock.
    ///
    /// # Errors
    ///
    /// As [`run_idempotent`](Tenant::run_idempotent); 20060 for a retention of more than 30 days.
    pub async fn run_idempotent_bytes<E, F, Fut>(
        &self,
        key: &[u8],
        fingerprint: &[u8],
        retention: Duration,
        body: F,
    ) -> Result<Idempotent<Bytes>, E>
    where
        F: FnMut(TenantTransaction) -> Fut,
        Fut: Future<Output = Result<Bytes, E>>,
        E: From<Error> + From<tenantry_kv::Error> + EngineError,
    {
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_SIZE_BYTES_MAX {
            let what = "the bytes of an idempotency key (at least one)";
            return Err(limit(what, key.len(), IDEMPOTENCY_KEY_SIZE_BYTES_MAX).into());
        }
        if retention > IDEMPOTENCY_RETENTION_MAX {
            let (found, most) = (retention.as_secs() as usize, IDEMPOTENCY_RETENTION_MAX.as_secs() as usize);
            return Err(limit("the seconds that a result is kept", found, most).into());
        }
        let hash = self.fingerprint(fingerprint);
        let body = Mutex::new(body);
        let (value, is_repeated, has_expired) = self
            .run(|transaction| {
                let body = &body;
                async move {
                    let (found, expired) = transaction.idempotency_record(key).await?;
                    let now_us = transaction.wall_us();
                    if let Some(record) = found.as_ref().filter(|record| record.expires_us > now_us) {
                        if record.fingerprint != hash.as_bytes() {
                            let detail = "a request that asks for something else takes another key";
                            return Err(Error::new(Code::IdempotencyKeyReused, detail).into());
                        }
                        return Ok((record.result.clone(), true, expired));
                    }
                    let work = start(body, transaction.clone());
                    let result = work.await?;
                    let record = IdempotencyRecord {
                        fingerprint: hash.as_bytes().to_vec(),
                        expires_us: now_us.saturating_add(retention.as_micros() as i64),
                        result: result.clone(),
                    };
                    transaction.keep_idempotency_record(key, found.as_ref(), &record)?;
                    Ok::<_, E>((result, false, expired))
                }
            })
            .await?;
        if has_expired {
            // It is nobody's who waits for this result: whoever comes next tries again.
            let _ = self.forget_results().await;
        }
        Ok(Idempotent { value, is_repeated })
    }

    /// Removes some of the records of idempotency keys whose retention is over, the oldest first: at most a hundred. Returns how many these were; 0 when there are no more.
    ///
    /// Each use of [`run_idempotent`](Tenant::run_idempotent) that meets expired ones does this.
    ///
    /// # Errors
    ///
    /// As [`run`](Tenant::run).
    pub async fn remove_expired_idempotency_records(&self) -> Result<usize> {
        self.authorize(Operation::ForgetResults)?;
        self.forget_results().await
    }

    /// What a request asks for, and who asks: nobody is given another's result.
    fn fingerprint(&self, of: &[u8]) -> blake3::Hash {
        match self.database.grant() {
            None => blake3::hash(of),
            Some(grant) => {
                let mut hasher = blake3::Hasher::new();
                for part in [b"grant", grant.subject().as_bytes(), of] {
                    hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
                }
                hasher.finalize()
            }
        }
    }

    async fn forget_results(&self) -> Result<usize> {
        self.run(|transaction| async move {
            transaction.remove_expired_idempotency_records(IDEMPOTENCY_SWEEP_ROWS_MAX).await
        })
        .await
    }
}

impl TenantTransaction {
    /// Removes some of the records whose retention is over, the oldest first.
    pub(crate) async fn remove_expired_idempotency_records(&self, rows_max: usize) -> Result<usize> {
        let expired = self.expired_idempotency_keys(self.wall_us(), rows_max)?.await?;
        let keys = &self.tenant.keys;
        for row in &expired.rows {
            let Some((expires_us, key)) = keys.idempotency_expiry_of(&row.key)? else { continue };
            let record_key = keys.idempotency_record(&key)?;
            // Read with a conflict: a record that is written anew meanwhile stays.
            let found = self.get_key(&record_key, Isolation::Serializable).await?;
            let found =
                found.map(|bytes| read::<IdempotencyRecord>(&bytes, "an idempotency record")).transpose()?;
            let size_bytes = 2 * write_size_bytes(row.key.len(), row.key.len() + 1);
            self.count_bookkeeping(size_bytes + read_size_bytes(record_key.len()))?;
            self.transaction.clear(&row.key);
            if found.is_some_and(|record| record.expires_us == expires_us) {
                self.transaction.clear(&record_key);
            }
        }
        Ok(expired.rows.len())
    }

    fn wall_us(&self) -> i64 {
        self.tenant.database.inner.env.clock.wall_us()
    }

    /// The record of a key, and whether there are expired ones. One round trip.
    async fn idempotency_record(&self, key: &[u8]) -> Result<(Option<IdempotencyRecord>, bool)> {
        let record = self.get_key(&self.tenant.keys.idempotency_record(key)?, Isolation::Serializable);
        let expired = self.expired_idempotency_keys(self.wall_us(), 1)?;
        let mut record: Option<IdempotencyRecord> =
            record.await?.map(|bytes| read(&bytes, "an idempotency record")).transpose()?;
        if let Some(record) = &mut record {
            let at = self.tenant.keys.idempotency_record(key)?;
            record.result = self.opened_value(&at, std::mem::take(&mut record.result), RESULT_NAME).await?;
        }
        Ok((record, !expired.await?.rows.is_empty()))
    }

    /// What has expired, the oldest first. It takes no part in the conflict check.
    fn expired_idempotency_keys(&self, now_us: i64, rows_max: usize) -> Result<KvFuture<RangeBatch>> {
        let range = self.tenant.keys.idempotency_expiries(now_us)?;
        let request = RangeRequest::new(range.begin, range.end).limit(rows_max);
        Ok(self.transaction.get_range(&request, Isolation::Snapshot))
    }

    fn keep_idempotency_record(
        &self,
        key: &[u8],
        old: Option<&IdempotencyRecord>,
        new: &IdempotencyRecord,
    ) -> Result<()> {
        if new.result.len() > IDEMPOTENCY_RESULT_SIZE_BYTES_MAX {
            let what = "the bytes of a result that is kept for a repeat";
            return Err(limit(what, new.result.len(), IDEMPOTENCY_RESULT_SIZE_BYTES_MAX));
        }
        let keys = &self.tenant.keys;
        let (record_key, expiry_key) =
            (keys.idempotency_record(key)?, keys.idempotency_expiry(new.expires_us, key)?);
        let stored =
            IdempotencyRecord { result: self.sealed_value(&record_key, new.result.clone())?, ..new.clone() };
        let value = stored.encode_to_vec();
        let size_bytes = read_size_bytes(record_key.len())
            + write_size_bytes(record_key.len(), value.len())
            + 3 * write_size_bytes(expiry_key.len(), expiry_key.len());
        self.count_bookkeeping(size_bytes)?;
        if let Some(old) = old {
            self.transaction.clear(&keys.idempotency_expiry(old.expires_us, key)?);
        }
        self.transaction.set(&record_key, &value);
        self.transaction.set(&expiry_key, b"");
        Ok(())
    }
}
