//! An engine that counts the keys that are read: a wrapper over any engine, for assertions about how much a read takes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tenantry_kv::{
    ConflictKind, ConflictReport, DatabaseOption, Engine, EngineProfile, Error, Isolation, KeyRange,
    KeySelector, KvFuture, MutationType, RangeBatch, RangeRequest, ReadTransaction, Result, Transaction,
    TransactionOption, TransactionRef, Version, Versionstamp, WriteTransaction,
};

/// The wrapper. Its clones count together.
#[derive(Clone)]
pub struct CountingEngine {
    inner: Arc<dyn Engine>,
    keys_read: Arc<AtomicU64>,
}

impl CountingEngine {
    /// Wraps an engine.
    pub fn new(inner: Arc<dyn Engine>) -> CountingEngine {
        CountingEngine { inner, keys_read: Arc::default() }
    }

    /// How many keys were read since it was asked before: one for each point read, whether the key is there or not, and each row of a range.
    pub fn take_keys_read(&self) -> u64 {
        self.keys_read.swap(0, Ordering::Relaxed)
    }
}

impl fmt::Debug for CountingEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CountingEngine({:?})", self.inner)
    }
}

impl Engine for CountingEngine {
    fn begin(&self) -> Result<TransactionRef> {
        let inner = self.inner.begin()?;
        Ok(Arc::new(CountingTransaction { inner, keys_read: self.keys_read.clone() }))
    }

    fn set_option(&self, option: DatabaseOption) -> Result<()> {
        self.inner.set_option(option)
    }

    fn profile(&self) -> EngineProfile {
        self.inner.profile()
    }
}

struct CountingTransaction {
    inner: TransactionRef,
    keys_read: Arc<AtomicU64>,
}

impl fmt::Debug for CountingTransaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CountingTransaction({:?})", self.inner)
    }
}

impl ReadTransaction for CountingTransaction {
    fn get(&self, key: &[u8], isolation: Isolation) -> KvFuture<Option<Bytes>> {
        self.keys_read.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key, isolation)
    }

    fn get_key(&self, selector: &KeySelector, isolation: Isolation) -> KvFuture<Bytes> {
        self.keys_read.fetch_add(1, Ordering::Relaxed);
        self.inner.get_key(selector, isolation)
    }

    fn get_range(&self, request: &RangeRequest, isolation: Isolation) -> KvFuture<RangeBatch> {
        let (answer, keys_read) = (self.inner.get_range(request, isolation), self.keys_read.clone());
        KvFuture::pending(async move {
            let batch = answer.await?;
            keys_read.fetch_add(batch.rows.len() as u64, Ordering::Relaxed);
            Ok(batch)
        })
    }

    fn read_version(&self) -> KvFuture<Version> {
        self.inner.read_version()
    }

    fn estimated_range_size_bytes(&self, begin: &[u8], end: &[u8]) -> KvFuture<u64> {
        self.inner.estimated_range_size_bytes(begin, end)
    }

    fn range_split_points(&self, begin: &[u8], end: &[u8], chunk_size_bytes: u64) -> KvFuture<Vec<Bytes>> {
        self.inner.range_split_points(begin, end, chunk_size_bytes)
    }
}

impl WriteTransaction for CountingTransaction {
    fn set(&self, key: &[u8], value: &[u8]) {
        self.inner.set(key, value);
    }

    fn clear(&self, key: &[u8]) {
        self.inner.clear(key);
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) {
        self.inner.clear_range(begin, end);
    }

    fn atomic(&self, mutation: MutationType, key: &[u8], operand: &[u8]) {
        self.inner.atomic(mutation, key, operand);
    }

    fn add_conflict_range(&self, begin: &[u8], end: &[u8], kind: ConflictKind) -> Result<()> {
        self.inner.add_conflict_range(begin, end, kind)
    }
}

impl Transaction for CountingTransaction {
    fn set_option(&self, option: TransactionOption) -> Result<()> {
        self.inner.set_option(option)
    }

    fn set_read_version(&self, version: Version) {
        self.inner.set_read_version(version);
    }

    fn commit(&self) -> KvFuture<()> {
        self.inner.commit()
    }

    fn committed_version(&self) -> Result<Version> {
        self.inner.committed_version()
    }

    fn versionstamp(&self) -> KvFuture<Versionstamp> {
        self.inner.versionstamp()
    }

    fn watch(&self, key: &[u8]) -> KvFuture<()> {
        self.inner.watch(key)
    }

    fn on_error(&self, error: &Error) -> KvFuture<()> {
        self.inner.on_error(error)
    }

    fn reset(&self) {
        self.inner.reset();
    }

    fn cancel(&self) {
        self.inner.cancel();
    }

    fn has_writes(&self) -> bool {
        self.inner.has_writes()
    }

    fn approximate_size_bytes(&self) -> KvFuture<u64> {
        self.inner.approximate_size_bytes()
    }

    fn conflict_ranges(&self, report: ConflictReport) -> KvFuture<Vec<KeyRange>> {
        self.inner.conflict_ranges(report)
    }
}
