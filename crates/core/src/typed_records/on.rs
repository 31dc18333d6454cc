//! What a handle stands on: the operations that tenants, transactions and readers have in common.
#![allow(
    async_fn_in_trait,
    reason = "nobody else can implement these, and the futures of those who do are as they are"
)]

use serde_json::Value as Json;

use crate::delete_where::DeletedPage;
use crate::error::Result;
use crate::query::{Aggregation, Groups, Page, Query};
use crate::record::{PrimaryKey, Record};
use crate::tenant::{Condition, Tenant, TenantReader, TenantTransaction};

/// What can read.
pub trait Reads {
    async fn get(&self, record_type: &str, key: &PrimaryKey) -> Result<Option<Record>>;
    async fn get_many(&self, record_type: &str, keys: &[PrimaryKey]) -> Result<Vec<Option<Record>>>;
    async fn exists(&self, record_type: &str, key: &PrimaryKey) -> Result<bool>;
    async fn query(&self, query: &Query) -> Result<Page>;
    async fn aggregate(&self, aggregation: &Aggregation) -> Result<Groups>;
}

/// What can write as well.
pub trait Writes: Reads {
    async fn insert_new(&self, record_type: &str, record: &Record) -> Result<()>;
    async fn put_if(&self, record_type: &str, record: &Record, condition: Condition<'_>) -> Result<()>;
    async fn update(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        change: impl FnMut(&mut Record) -> Result<()>,
    ) -> Result<Record>;
    async fn merge_patch(&self, record_type: &str, key: &PrimaryKey, patch: &Json) -> Result<Record>;
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

            async fn update(
                &self,
                record_type: &str,
                key: &PrimaryKey,
                change: impl FnMut(&mut Record) -> Result<()>,
            ) -> Result<Record> {
                <$on>::update(self, record_type, key, change).await
            }

            async fn merge_patch(&self, record_type: &str, key: &PrimaryKey, patch: &Json) -> Result<Record> {
                <$on>::merge_patch(self, record_type, key, patch).await
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
