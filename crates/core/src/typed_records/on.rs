//! What a handle stands on: the operations that tenants, transactions and readers have in common.
#![allow(
    async_fn_in_trait,
    reason = "nobody else can implement these, and the futures of those who do are as they are"
)]

use serde_json::Value as Json;

use crate::delete_where::DeletedPage;
use crate::error::Result;
use crate::query::{Aggregation, Groups, Page, Query};
use crate::record::{PrimaryKey, Record, RecordVersion};
use crate::tenant::{Condition, Tenant, TenantReader, TenantTransaction};
use crate::value::Value;

/// What can read.
pub trait Reads {
    async fn get(&self, record_type: &str, key: &PrimaryKey) -> Result<Option<Record>>;
    async fn get_many(&self, record_type: &str, keys: &[PrimaryKey]) -> Result<Vec<Option<Record>>>;
    async fn exists(&self, record_type: &str, key: &PrimaryKey) -> Result<bool>;
    async fn query(&self, query: &Query) -> Result<Page>;
    async fn aggregate(&self, aggregation: &Aggregation) -> Result<Groups>;
    async fn changed_after(
        &self,
        record_type: &str,
        index: &str,
        group: &[Option<Value>],
        after: Option<RecordVersion>,
        rows_max: usize,
    ) -> Result<Vec<Record>>;
    async fn rank_of(&self, record_type: &str, index: &str, key: &PrimaryKey) -> Result<Option<u64>>;
    async fn rank_of_value(
        &self,
        record_type: &str,
        index: &str,
        group: &[Option<Value>],
        values: &[Option<Value>],
    ) -> Result<u64>;
    async fn ranked(
        &self,
        record_type: &str,
        index: &str,
        group: &[Option<Value>],
        from_position: u64,
        rows_max: usize,
    ) -> Result<Vec<Record>>;
    async fn rank_count(&self, record_type: &str, index: &str, group: &[Option<Value>]) -> Result<u64>;
}

/// What can write as well.
pub trait Writes: Reads {
    async fn insert_new(&self, record_type: &str, record: &Record) -> Result<()>;
    async fn put_if(&self, record_type: &str, record: &Record, condition: Condition<'_>) -> Result<()>;
    async fn update_if(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        condition: Condition<'_>,
        change: impl FnMut(&mut Record) -> Result<()>,
    ) -> Result<Record>;
    async fn merge_patch_if(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        patch: &Json,
        condition: Condition<'_>,
    ) -> Result<Record>;
    async fn delete_if(&self, record_type: &str, key: &PrimaryKey, condition: Condition<'_>) -> Result<bool>;
    async fn delete_where(&self, query: &Query) -> Result<DeletedPage>;
}

macro_rules! reads {
    ($($on:ty),*) => {
        $(impl Reads for $on {
            async fn get(&self, record_type: &str, key: &PrimaryKey) -> Result<Option<Record>> {
                <$on>::get(self, record_type, key).await
            }

            async fn get_many(&self, record_type: &str, keys: &[PrimaryKey]) -> Result<Vec<Option<Record>>> {
                <$on>::get_many(self, record_type, keys).await
            }

            async fn exists(&self, record_type: &str, key: &PrimaryKey) -> Result<bool> {
                <$on>::exists(self, record_type, key).await
            }

            async fn query(&self, query: &Query) -> Result<Page> {
                <$on>::query(self, query).await
            }

            async fn aggregate(&self, aggregation: &Aggregation) -> Result<Groups> {
                <$on>::aggregate(self, aggregation).await
            }

            async fn changed_after(
                &self,
                record_type: &str,
                index: &str,
                group: &[Option<Value>],
                after: Option<RecordVersion>,
                rows_max: usize,
            ) -> Result<Vec<Record>> {
                <$on>::changed_after(self, record_type, index, group, after, rows_max).await
            }

            async fn rank_of(&self, record_type: &str, index: &str, key: &PrimaryKey) -> Result<Option<u64>> {
                <$on>::rank_of(self, record_type, index, key).await
            }

            async fn rank_of_value(
                &self,
                record_type: &str,
                index: &str,
                group: &[Option<Value>],
                values: &[Option<Value>],
            ) -> Result<u64> {
                <$on>::rank_of_value(self, record_type, index, group, values).await
            }

            async fn ranked(
                &self,
                record_type: &str,
                index: &str,
                group: &[Option<Value>],
                from_position: u64,
                rows_max: usize,
            ) -> Result<Vec<Record>> {
                <$on>::ranked(self, record_type, index, group, from_position, rows_max).await
            }

            async fn rank_count(&self, record_type: &str, index: &str, group: &[Option<Value>]) -> Result<u64> {
                <$on>::rank_count(self, record_type, index, group).await
            }
        })*
    };
}

reads!(Tenant, TenantTransaction, TenantReader);

macro_rules! writes {
    ($($on:ty),*) => {
        $(impl Writes for $on {
            async fn insert_new(&self, record_type: &str, record: &Record) -> Result<()> {
                <$on>::insert_new(self, record_type, record).await
            }

            async fn put_if(&self, record_type: &str, record: &Record, condition: Condition<'_>) -> Result<()> {
                <$on>::put_if(self, record_type, record, condition).await
            }

            async fn update_if(
                &self,
                record_type: &str,
                key: &PrimaryKey,
                condition: Condition<'_>,
                change: impl FnMut(&mut Record) -> Result<()>,
            ) -> Result<Record> {
                <$on>::update_if(self, record_type, key, condition, change).await
            }

            async fn merge_patch_if(
                &self,
                record_type: &str,
                key: &PrimaryKey,
                patch: &Json,
                condition: Condition<'_>,
            ) -> Result<Record> {
                <$on>::merge_patch_if(self, record_type, key, patch, condition).await
            }

            async fn delete_if(
                &self,
                record_type: &str,
                key: &PrimaryKey,
                condition: Condition<'_>,
            ) -> Result<bool> {
                <$on>::delete_if(self, record_type, key, condition).await
            }

            async fn delete_where(&self, query: &Query) -> Result<DeletedPage> {
                <$on>::delete_where(self, query).await
            }
        })*
    };
}

writes!(Tenant, TenantTransaction);
