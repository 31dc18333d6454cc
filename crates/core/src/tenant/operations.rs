//! Operations on records that are made of reads and writes: replace, update, merge patch, get many, exists, insert without a look.

use std::sync::{Mutex, PoisonError};

use futures_util::future::try_join_all;
use serde_json::Value as Json;
use tenantry_kv::KvFuture;

use super::Tenant;
use super::permits::Permit;
use super::records::Condition;
use super::transaction::TenantTransaction;
use crate::access::Operation;
use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::{GET_MANY_KEYS_MAX, GET_MANY_SIZE_BYTES_MAX};
use crate::merge_patch;
use crate::record::{PrimaryKey, Record, frame};

impl TenantTransaction {
    /// Writes a record that has to be there already.
    ///
    /// # Errors
    ///
    /// 20030 when it is not; as [`put`](TenantTransaction::put) otherwise.
    pub async fn replace(&self, record_type: &str, record: &Record) -> Result<()> {
        self.put_if(record_type, record, Condition::Exists).await
    }

    /// Writes a record whose key the caller knows to be new: nothing is read of it, so that the write costs no round trip. Unique indexes are checked all the
    /// same.
    ///
    /// A record that is there after all is written over, and its index entries stay behind: use it for keys that cannot be there, such as those of
    /// [`Tenant::new_id`].
    ///
    /// # Errors
    ///
    /// 20031 for a record that this very transaction wrote; as [`put`](TenantTransaction::put) otherwise.
    pub async fn insert_new(&self, record_type: &str, record: &Record) -> Result<()> {
        let record_type = self.permit(Operation::InsertNew, record_type)?.record_type;
        let record = &*self.filled(record_type, record);
        record.check(record_type)?;
        let key = record.primary_key(record_type)?;
        let keys = self.record_keys(record_type, &key.elements(record_type)?)?;
        if self.has_pending(&keys.part(0)?) {
            return Err(Error::new(Code::RecordExists, format!("{} {key}", shown(&record_type.name))));
        }
        self.write_record(record_type, &keys, record, None).await
    }

    /// Reads a record, lets `change` change it, writes it, and returns it as it was written.
    ///
    /// # Errors
    ///
    /// 20030 when it is not there, 20036 when its primary key has become another one; what `change` returns, after which nothing has been written; as
    /// [`put`](TenantTransaction::put) otherwise.
    pub async fn update(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        change: impl FnOnce(&mut Record) -> Result<()>,
    ) -> Result<Record> {
        self.update_if(record_type, key, Condition::Exists, change).await
    }

    /// As [`update`](TenantTransaction::update), if a condition holds.
    ///
    /// # Errors
    ///
    /// 20030, 20035, 20040, 20041 for the condition; as [`update`](TenantTransaction::update) otherwise.
    pub async fn update_if(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        condition: Condition<'_>,
        change: impl FnOnce(&mut Record) -> Result<()>,
    ) -> Result<Record> {
        let record_type = self.permit(Operation::Update, record_type)?.record_type;
        let keys = self.record_keys(record_type, &key.elements(record_type)?)?;
        let old = self.check_condition(record_type, key, &keys, condition).await?;
        // With no condition it may be one that is not seen, and so is not there.
        let is_there = match &old {
            Some(old) => self.shows(record_type, &old.record)?,
            None => false,
        };
        let Some(old) = old.filter(|_| is_there) else {
            return Err(Error::new(Code::RecordNotFound, format!("{} {key}", shown(&record_type.name))));
        };
        let mut record = old.record.clone();
        change(&mut record)?;
        record.version = None;
        let record = self.filled(record_type, &record).into_owned();
        record.check(record_type)?;
        let new_keys =
            self.record_keys(record_type, &record.elements(&record_type.primary_key, record_type)?)?;
        if new_keys.packed != keys.packed {
            let detail = format!(
                "{} {key} would become {}: insert that one and delete this one",
                shown(&record_type.name),
                record.primary_key(record_type)?
            );
            return Err(Error::new(Code::PrimaryKeyChanged, detail));
        }
        self.write_record(record_type, &keys, &record, Some(&old)).await?;
        Ok(record)
    }

    /// Changes a record by a merge patch (RFC 7396): null takes a field out, an object is merged into a struct or JSON field, every other value takes the
    /// field's place. Returns the record as it was written.
    ///
    /// # Errors
    ///
    /// 20032 and 20037 for a patch that is no object or after which the record does not fit its type, such as without a required field; as
    /// [`update`](TenantTransaction::update) otherwise.
    pub async fn merge_patch(&self, record_type: &str, key: &PrimaryKey, patch: &Json) -> Result<Record> {
        self.merge_patch_if(record_type, key, patch, Condition::Exists).await
    }

    /// As [`merge_patch`](TenantTransaction::merge_patch), if a condition holds.
    ///
    /// # Errors
    ///
    /// As [`update_if`](TenantTransaction::update_if) and [`merge_patch`](TenantTransaction::merge_patch).
    pub async fn merge_patch_if(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        patch: &Json,
        condition: Condition<'_>,
    ) -> Result<Record> {
        let fields = &self.permit(Operation::Update, record_type)?.record_type.fields;
        let change = |record: &mut Record| merge_patch::apply(&mut record.values, fields, patch);
        self.update_if(record_type, key, condition, change).await
    }

    /// The records of some keys, in their order; `None` where there is none. All reads are issued together: one round trip, and a second one if there are
    /// records of more than 90,000 bytes.
    ///
    /// # Errors
    ///
    /// 20060 for more than 1,000 keys or 32,000,000 bytes of records; as [`get`](TenantTransaction::get) otherwise.
    pub async fn get_many(&self, record_type: &str, keys: &[PrimaryKey]) -> Result<Vec<Option<Record>>> {
        let Permit { record_type, policy } = self.permit(Operation::GetMany, record_type)?;
        if keys.len() > GET_MANY_KEYS_MAX {
            return Err(limit("the keys that are read together", keys.len(), GET_MANY_KEYS_MAX));
        }
        let isolation = self.isolation();
        let keys: Vec<_> = keys
            .iter()
            .map(|key| self.record_keys(record_type, &key.elements(record_type)?))
            .collect::<Result<_>>()?;
        let first_parts: Vec<_> = keys.iter().map(|keys| keys.part(0)).collect::<Result<_>>()?;
        let first_parts = self.get_keys(&first_parts, isolation);
        let mut found = Vec::with_capacity(keys.len());
        let mut size_bytes = 0;
        for part in first_parts {
            let part = part.await?;
            if let Some(bytes) = &part {
                size_bytes += frame::read(bytes)?.payload_size_bytes()?;
            }
            found.push(part);
        }
        if size_bytes > GET_MANY_SIZE_BYTES_MAX {
            let what = "the bytes of the records that are read together (ask for fewer)";
            return Err(limit(what, size_bytes, GET_MANY_SIZE_BYTES_MAX));
        }
        let records = keys.iter().zip(&found).map(|(keys, part)| async move {
            match part {
                Some(bytes) => self.assemble(record_type, keys, bytes, isolation).await.map(Some),
                None => Ok(None),
            }
        });
        let records = try_join_all(records).await?;
        let is_shown = |record: &Record| policy.as_ref().is_none_or(|policy| policy.shows(&record.values));
        let records = records.into_iter().map(|stored| stored.map(|stored| stored.record).filter(is_shown));
        Ok(records.collect())
    }

    /// Whether there is a record of a key. One key is read, however large the record is; the whole record where a grant has a row policy for it.
    ///
    /// # Errors
    ///
    /// As [`get`](TenantTransaction::get).
    pub async fn exists(&self, record_type: &str, key: &PrimaryKey) -> Result<bool> {
        let Permit { record_type, policy } = self.permit(Operation::Exists, record_type)?;
        let keys = self.record_keys(record_type, &key.elements(record_type)?)?;
        match policy {
            None => Ok(self.get_key(&keys.part(0)?, self.isolation()).await?.is_some()),
            Some(_) => Ok(self.load_shown(record_type, &keys, self.isolation()).await?.is_some()),
        }
    }
}

/// Each in a transaction of its own.
impl Tenant {
    /// As [`TenantTransaction::put_if`], in a transaction of its own.
    ///
    /// # Errors
    ///
    /// Its own; as [`run`](Tenant::run).
    pub async fn put_if(&self, record_type: &str, record: &Record, condition: Condition<'_>) -> Result<()> {
        self.run(|transaction| async move { transaction.put_if(record_type, record, condition).await }).await
    }

    /// As [`TenantTransaction::replace`], in a transaction of its own.
    ///
    /// # Errors
    ///
    /// Its own; as [`run`](Tenant::run).
    pub async fn replace(&self, record_type: &str, record: &Record) -> Result<()> {
        self.put_if(record_type, record, Condition::Exists).await
    }

    /// As [`TenantTransaction::insert_new`], in a transaction of its own.
    ///
    /// # Errors
    ///
    /// Its own; as [`run`](Tenant::run).
    pub async fn insert_new(&self, record_type: &str, record: &Record) -> Result<()> {
        self.run(|transaction| async move { transaction.insert_new(record_type, record).await }).await
    }

    /// As [`TenantTransaction::update`], in a transaction of its own. `change` is called once for each attempt.
    ///
    /// # Errors
    ///
    /// Its own; as [`run`](Tenant::run).
    pub async fn update(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        change: impl FnMut(&mut Record) -> Result<()>,
    ) -> Result<Record> {
        self.update_if(record_type, key, Condition::Exists, change).await
    }

    /// As [`TenantTransaction::update_if`], in a transaction of its own. `change` is called once for each attempt.
    ///
    /// # Errors
    ///
    /// Its own; as [`run`](Tenant::run).
    pub async fn update_if(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        condition: Condition<'_>,
        change: impl FnMut(&mut Record) -> Result<()>,
    ) -> Result<Record> {
        let change = &Mutex::new(change);
        self.run(|transaction| async move {
            let change = |record: &mut Record| {
                let mut change = change.lock().unwrap_or_else(PoisonError::into_inner);
                change(record)
            };
            transaction.update_if(record_type, key, condition, change).await
        })
        .await
    }

    /// As [`TenantTransaction::merge_patch`], in a transaction of its own.
    ///
    /// # Errors
    ///
    /// Its own; as [`run`](Tenant::run).
    pub async fn merge_patch(&self, record_type: &str, key: &PrimaryKey, patch: &Json) -> Result<Record> {
        self.merge_patch_if(record_type, key, patch, Condition::Exists).await
    }

    /// As [`TenantTransaction::merge_patch_if`], in a transaction of its own.
    ///
    /// # Errors
    ///
    /// Its own; as [`run`](Tenant::run).
    pub async fn merge_patch_if(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        patch: &Json,
        condition: Condition<'_>,
    ) -> Result<Record> {
        self.run(
            |transaction| async move { transaction.merge_patch_if(record_type, key, patch, condition).await },
        )
        .await
    }

    /// As [`TenantTransaction::get_many`], in a transaction of its own: all records are those of one moment.
    ///
    /// # Errors
    ///
    /// Its own; as [`run`](Tenant::run).
    pub async fn get_many(&self, record_type: &str, keys: &[PrimaryKey]) -> Result<Vec<Option<Record>>> {
        self.read(|transaction| async move { transaction.get_many(record_type, keys).await }).await
    }

    /// As [`TenantTransaction::exists`], in a transaction of its own.
    ///
    /// # Errors
    ///
    /// Its own; as [`run`](Tenant::run).
    pub async fn exists(&self, record_type: &str, key: &PrimaryKey) -> Result<bool> {
        self.read(|transaction| async move { transaction.exists(record_type, key).await }).await
    }

    /// Fires when the record of a key is written or deleted after now; one that does not exist can be waited for.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::watch_record`]; 1032 when too many watches are outstanding.
    pub async fn watch_record(&self, record_type: &str, key: &PrimaryKey) -> Result<KvFuture<()>> {
        self.run(|transaction| async move { transaction.watch_record(record_type, key) }).await
    }

    /// As [`TenantTransaction::delete_if`], in a transaction of its own.
    ///
    /// # Errors
    ///
    /// Its own; as [`run`](Tenant::run).
    pub async fn delete_if(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        condition: Condition<'_>,
    ) -> Result<bool> {
        self.run(|transaction| async move { transaction.delete_if(record_type, key, condition).await }).await
    }
}
