//! The read side of a transaction, for who is to read alone.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tenantry_kv::Isolation;

use super::raw::{RawPage, RawRange};
use super::transaction::TenantTransaction;
use crate::database::Schema;
use crate::error::Result;
use crate::record::{PrimaryKey, Record};

/// Reads of one tenant at one moment: see [`Tenant::read_only`](super::Tenant::read_only). It has no operation that writes. Cheap to clone.
///
/// ```compile_fail
/// # async fn never(reader: tenantry_core::TenantReader) {
/// reader.raw_set(b"key", b"value");
/// # }
/// ```
#[derive(Clone)]
pub struct TenantReader(TenantTransaction);

impl fmt::Debug for TenantReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TenantReader({:?})", self.0.tenant)
    }
}

impl TenantReader {
    pub(super) fn new(transaction: TenantTransaction) -> TenantReader {
        // Nobody writes, so nobody has to know whether what was read has changed.
        transaction.set_isolation(Isolation::Snapshot);
        TenantReader(transaction)
    }

    /// The transaction, for the reads of other modules.
    pub(crate) fn transaction(&self) -> &TenantTransaction {
        &self.0
    }

    /// As [`TenantTransaction::schema`].
    pub fn schema(&self) -> &Arc<Schema> {
        self.0.schema()
    }

    /// As [`TenantTransaction::read_version`].
    ///
    /// # Errors
    ///
    /// The engine's own.
    pub async fn read_version(&self) -> Result<i64> {
        self.0.read_version().await
    }

    /// As [`TenantTransaction::get`].
    ///
    /// # Errors
    ///
    /// Its own.
    pub async fn get(&self, record_type: &str, key: &PrimaryKey) -> Result<Option<Record>> {
        self.0.get(record_type, key).await
    }

    /// As [`TenantTransaction::get_many`].
    ///
    /// # Errors
    ///
    /// Its own.
    pub async fn get_many(&self, record_type: &str, keys: &[PrimaryKey]) -> Result<Vec<Option<Record>>> {
        self.0.get_many(record_type, keys).await
    }

    /// As [`TenantTransaction::exists`].
    ///
    /// # Errors
    ///
    /// Its own.
    pub async fn exists(&self, record_type: &str, key: &PrimaryKey) -> Result<bool> {
        self.0.exists(record_type, key).await
    }

    /// As [`TenantTransaction::counter`].
    ///
    /// # Errors
    ///
    /// Its own.
    pub async fn counter(&self, name: &str) -> Result<i64> {
        self.0.counter(name).await
    }

    /// As [`TenantTransaction::raw_get`].
    ///
    /// # Errors
    ///
    /// Its own.
    pub async fn raw_get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.0.raw_get(key).await
    }

    /// As [`TenantTransaction::raw_range`].
    ///
    /// # Errors
    ///
    /// Its own.
    pub async fn raw_range(&self, range: &RawRange) -> Result<RawPage> {
        self.0.raw_range(range).await
    }
}
