//! Reads.

use std::borrow::Borrow;

use futures_util::{Stream, StreamExt};

use super::on::Reads;
use super::{Records, TypedPage, Versioned, check_query, check_type};
use crate::error::Result;
use crate::expression::Filter;
use crate::query::{Aggregation, Groups, Measure, Query};
use crate::tenant::Tenant;
use crate::typed::{TypedKey, TypedRecord};
use crate::value::Value;

impl<T: TypedRecord, On: Reads> Records<T, On> {
    /// The record of a key, if there is one.
    ///
    /// # Errors
    ///
    /// 20029; as [`TenantTransaction::get`](crate::TenantTransaction::get).
    pub async fn get<K: TypedKey + ?Sized>(&self, key: &K) -> Result<Option<T>>
    where
        T::Key: Borrow<K>,
    {
        self.on.get(T::NAME, &key.to_primary_key()?).await?.map(T::from_record).transpose()
    }

    /// The record of a key with its version, if there is one.
    ///
    /// # Errors
    ///
    /// As [`get`](Records::get).
    pub async fn get_versioned<K: TypedKey + ?Sized>(&self, key: &K) -> Result<Option<Versioned<T>>>
    where
        T::Key: Borrow<K>,
    {
        let Some(record) = self.on.get(T::NAME, &key.to_primary_key()?).await? else { return Ok(None) };
        let version = record.version();
        Ok(Some(Versioned { record: T::from_record(record)?, version }))
    }

    /// The records of some keys, in their order; `None` where there is none.
    ///
    /// # Errors
    ///
    /// 20029; as [`TenantTransaction::get_many`](crate::TenantTransaction::get_many).
    pub async fn get_many<K: TypedKey>(&self, keys: &[K]) -> Result<Vec<Option<T>>>
    where
        T::Key: Borrow<K>,
    {
        let keys = keys.iter().map(TypedKey::to_primary_key).collect::<Result<Vec<_>>>()?;
        let records = self.on.get_many(T::NAME, &keys).await?.into_iter();
        records.map(|record| record.map(T::from_record).transpose()).collect()
    }

    /// Whether there is a record of a key.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::exists`](crate::TenantTransaction::exists).
    pub async fn exists<K: TypedKey + ?Sized>(&self, key: &K) -> Result<bool>
    where
        T::Key: Borrow<K>,
    {
        self.on.exists(T::NAME, &key.to_primary_key()?).await
    }

    /// One page of the records that a query asks for: [`Query::all`].
    ///
    /// # Errors
    ///
    /// 20042 for a query for another type, or for some fields alone; 20029; as [`TenantTransaction::query`](crate::TenantTransaction::query).
    pub async fn query(&self, query: &Query) -> Result<TypedPage<T>> {
        check_query::<T>(query)?;
        let page = self.on.query(query).await?;
        let versions = page.records.iter().map(crate::record::Record::version).collect();
        let records = page.records.into_iter().map(T::from_record).collect::<Result<_>>()?;
        Ok(TypedPage { records, versions, stop: page.stop, next: page.next, explanation: page.explanation })
    }

    /// Computes measures over groups of records: [`Aggregation::all`].
    ///
    /// # Errors
    ///
    /// 20042 for another type; as [`TenantTransaction::aggregate`](crate::TenantTransaction::aggregate).
    pub async fn aggregate(&self, aggregation: &Aggregation) -> Result<Groups> {
        check_type::<T>(&aggregation.record_type)?;
        self.on.aggregate(aggregation).await
    }

    /// How many records there are.
    ///
    /// # Errors
    ///
    /// As [`aggregate`](Records::aggregate).
    pub async fn count(&self) -> Result<u64> {
        self.counted(Aggregation::all::<T>()).await
    }

    /// For how many records a condition holds, in CEL or built.
    ///
    /// # Errors
    ///
    /// As [`aggregate`](Records::aggregate).
    pub async fn count_where(&self, filter: impl Into<Filter>) -> Result<u64> {
        self.counted(Aggregation::all::<T>().filter(filter)).await
    }

    async fn counted(&self, aggregation: Aggregation) -> Result<u64> {
        let aggregation = aggregation.measure(Measure::Count);
        let groups = self.on.aggregate(&aggregation).await?;
        let counted = groups.groups.first().and_then(|group| group.measures.first().cloned().flatten());
        Ok(match counted {
            Some(Value::Int(count)) => count.unsigned_abs(),
            _ => 0,
        })
    }
}

impl<T: TypedRecord> Records<T, Tenant> {
    /// The records of a query, page after page, as [`Tenant::stream`].
    ///
    /// # Errors
    ///
    /// 20042 for a query for another type, or for some fields alone. An item is an error where a page fails or a record does not fit the struct (20029).
    pub fn stream(&self, query: Query) -> Result<impl Stream<Item = Result<T>> + Send + use<T>> {
        check_query::<T>(&query)?;
        Ok(self.on.stream(query).map(|record| T::from_record(record?)))
    }
}
