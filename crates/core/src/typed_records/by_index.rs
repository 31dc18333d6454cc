//! Reads that name an index: positions, and the order of changes; and what tells of a change.

use std::borrow::Borrow;

use tenantry_kv::KvFuture;

use super::on::Reads;
use super::{Records, Versioned};
use crate::error::Result;
use crate::record::{Record, RecordVersion};
use crate::tenant::{Tenant, TenantTransaction};
use crate::typed::{TypedKey, TypedRecord};
use crate::value::Value;

impl<T: TypedRecord, On: Reads> Records<T, On> {
    /// The position of a record in its group, from 0, by an index of the kind `rank`; `None` if it does not exist or is not in the index.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::rank_of`].
    pub async fn rank_of<K: TypedKey + ?Sized>(&self, index: &str, key: &K) -> Result<Option<u64>>
    where
        T::Key: Borrow<K>,
    {
        self.on.rank_of(T::NAME, index, &key.to_primary_key()?).await
    }

    /// How many records of a group come before some values of a rank index's columns: all of them, or the first ones.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::rank_of_value`].
    pub async fn rank_of_value(
        &self,
        index: &str,
        group: &[Option<Value>],
        values: &[Option<Value>],
    ) -> Result<u64> {
        self.on.rank_of_value(T::NAME, index, group, values).await
    }

    /// The record at a position of a group, from 0.
    ///
    /// # Errors
    ///
    /// 20029; as [`TenantTransaction::at_rank`].
    pub async fn at_rank(&self, index: &str, group: &[Option<Value>], position: u64) -> Result<Option<T>> {
        Ok(self.ranked(index, group, position, 1).await?.pop())
    }

    /// The records of a group from a position on, in the order of a rank index: from 0, the first ones.
    ///
    /// # Errors
    ///
    /// 20029; as [`TenantTransaction::ranked`].
    pub async fn ranked(
        &self,
        index: &str,
        group: &[Option<Value>],
        from_position: u64,
        rows_max: usize,
    ) -> Result<Vec<T>> {
        let records = self.on.ranked(T::NAME, index, group, from_position, rows_max).await?;
        records.into_iter().map(T::from_record).collect()
    }

    /// How many records a group of a rank index has.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::rank_count`].
    pub async fn rank_count(&self, index: &str, group: &[Option<Value>]) -> Result<u64> {
        self.on.rank_count(T::NAME, index, group).await
    }

    /// The records whose last change came after a version, in the order of their changes, by an index of the kind `version`. The version of the last of them is what
    /// to go on after.
    ///
    /// # Errors
    ///
    /// 20029; as [`TenantTransaction::changed_after`].
    pub async fn changed_after(
        &self,
        index: &str,
        group: &[Option<Value>],
        after: Option<RecordVersion>,
        rows_max: usize,
    ) -> Result<Vec<Versioned<T>>> {
        let records = self.on.changed_after(T::NAME, index, group, after, rows_max).await?;
        let versioned = |record: Record| {
            let version = record.version();
            Ok(Versioned { record: T::from_record(record)?, version })
        };
        records.into_iter().map(versioned).collect()
    }
}

impl<T: TypedRecord> Records<T, Tenant> {
    /// Fires when anything in the tenant has changed since now, be it of this type or of another.
    ///
    /// # Errors
    ///
    /// As [`Tenant::watch`].
    pub async fn watch(&self) -> Result<KvFuture<()>> {
        self.on.watch().await
    }

    /// Fires when the record of a key is written or deleted after now; one that does not exist can be waited for.
    ///
    /// # Errors
    ///
    /// As [`Tenant::watch_record`].
    pub async fn watch_record<K: TypedKey + ?Sized>(&self, key: &K) -> Result<KvFuture<()>>
    where
        T::Key: Borrow<K>,
    {
        self.on.watch_record(T::NAME, &key.to_primary_key()?).await
    }
}

impl<T: TypedRecord> Records<T, TenantTransaction> {
    /// As [`TenantTransaction::watch`]: fires when anything in the tenant is changed after this transaction.
    ///
    /// # Errors
    ///
    /// Its own.
    pub fn watch(&self) -> Result<KvFuture<()>> {
        self.on.watch()
    }

    /// As [`TenantTransaction::watch_record`].
    ///
    /// # Errors
    ///
    /// Its own.
    pub fn watch_record<K: TypedKey + ?Sized>(&self, key: &K) -> Result<KvFuture<()>>
    where
        T::Key: Borrow<K>,
    {
        self.on.watch_record(T::NAME, &key.to_primary_key()?)
    }
}
