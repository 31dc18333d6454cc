//! Writes.

use std::borrow::Borrow;

use serde_json::Value as Json;

use super::on::Writes;
use super::{Records, check_query};
use crate::delete_where::DeletedPage;
use crate::error::Result;
use crate::query::Query;
use crate::record::Record;
use crate::tenant::{Condition, Tenant};
use crate::typed::{TypedKey, TypedRecord};

impl<T: TypedRecord, On: Writes> Records<T, On> {
    /// Writes a record that must not exist yet.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::insert`](crate::TenantTransaction::insert).
    pub async fn insert(&self, record: &T) -> Result<()> {
        self.put_if(record, Condition::IsAbsent).await
    }

    /// Writes a record whose key the caller knows to be new: nothing is read of it. A record that is there after all is written over, and its index entries stay
    /// behind.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::insert_new`](crate::TenantTransaction::insert_new).
    pub async fn insert_new(&self, record: &T) -> Result<()> {
        self.on.insert_new(T::NAME, &record.to_record()?).await
    }

    /// Writes a record, whether or not it exists. Fields that the struct does not have are gone from it: [`update`](Records::update) keeps them.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::put`](crate::TenantTransaction::put).
    pub async fn put(&self, record: &T) -> Result<()> {
        self.put_if(record, Condition::Always).await
    }

    /// Writes a record that has to be there already, as [`put`](Records::put).
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::replace`](crate::TenantTransaction::replace).
    pub async fn replace(&self, record: &T) -> Result<()> {
        self.put_if(record, Condition::Exists).await
    }

    /// Writes a record if a condition holds: it is absent, has a version, or an expression holds for it.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::put_if`](crate::TenantTransaction::put_if).
    pub async fn put_if(&self, record: &T, condition: Condition<'_>) -> Result<()> {
        self.on.put_if(T::NAME, &record.to_record()?, condition).await
    }

    /// Reads a record, lets `change` change it, writes it, and returns it as it was written. Fields that the struct does not have stay as they are. `change` is called
    /// once for each attempt.
    ///
    /// # Errors
    ///
    /// 20029; as [`TenantTransaction::update`](crate::TenantTransaction::update).
    pub async fn update<K: TypedKey + ?Sized>(
        &self,
        key: &K,
        change: impl FnMut(&mut T) -> Result<()>,
    ) -> Result<T>
    where
        T::Key: Borrow<K>,
    {
        self.update_if(key, Condition::Exists, change).await
    }

    /// As [`update`](Records::update), if a condition holds.
    ///
    /// # Errors
    ///
    /// 20029; as [`TenantTransaction::update_if`](crate::TenantTransaction::update_if).
    pub async fn update_if<K: TypedKey + ?Sized>(
        &self,
        key: &K,
        condition: Condition<'_>,
        mut change: impl FnMut(&mut T) -> Result<()>,
    ) -> Result<T>
    where
        T::Key: Borrow<K>,
    {
        let change = |record: &mut Record| {
            let mut typed = T::from_record(record.clone())?;
            change(&mut typed)?;
            typed.put_into(record)
        };
        T::from_record(self.on.update_if(T::NAME, &key.to_primary_key()?, condition, change).await?)
    }

    /// Changes a record by a merge patch (RFC 7396), and returns it as it was written.
    ///
    /// # Errors
    ///
    /// 20029; as [`TenantTransaction::merge_patch`](crate::TenantTransaction::merge_patch).
    pub async fn merge_patch<K: TypedKey + ?Sized>(&self, key: &K, patch: &Json) -> Result<T>
    where
        T::Key: Borrow<K>,
    {
        self.merge_patch_if(key, patch, Condition::Exists).await
    }

    /// As [`merge_patch`](Records::merge_patch), if a condition holds.
    ///
    /// # Errors
    ///
    /// 20029; as [`TenantTransaction::merge_patch_if`](crate::TenantTransaction::merge_patch_if).
    pub async fn merge_patch_if<K: TypedKey + ?Sized>(
        &self,
        key: &K,
        patch: &Json,
        condition: Condition<'_>,
    ) -> Result<T>
    where
        T::Key: Borrow<K>,
    {
        T::from_record(self.on.merge_patch_if(T::NAME, &key.to_primary_key()?, patch, condition).await?)
    }

    /// Deletes the record of a key; false when there was none.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::delete`](crate::TenantTransaction::delete).
    pub async fn delete<K: TypedKey + ?Sized>(&self, key: &K) -> Result<bool>
    where
        T::Key: Borrow<K>,
    {
        self.delete_if(key, Condition::Always).await
    }

    /// Deletes the record of a key if a condition holds.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::delete_if`](crate::TenantTransaction::delete_if).
    pub async fn delete_if<K: TypedKey + ?Sized>(&self, key: &K, condition: Condition<'_>) -> Result<bool>
    where
        T::Key: Borrow<K>,
    {
        self.on.delete_if(T::NAME, &key.to_primary_key()?, condition).await
    }

    /// Deletes the records of one page of a query.
    ///
    /// # Errors
    ///
    /// 20042 for a query for another type; as [`TenantTransaction::delete_where`](crate::TenantTransaction::delete_where).
    pub async fn delete_where(&self, query: &Query) -> Result<DeletedPage> {
        check_query::<T>(query)?;
        self.on.delete_where(query).await
    }
}

impl<T: TypedRecord> Records<T, Tenant> {
    /// Deletes all records that a query asks for, in as many transactions as it takes, as [`Tenant::delete_all_where`].
    ///
    /// # Errors
    ///
    /// 20042 for a query for another type; as there.
    pub async fn delete_all_where(&self, query: &Query) -> Result<u64> {
        check_query::<T>(query)?;
        self.on.delete_all_where(query).await
    }
}
