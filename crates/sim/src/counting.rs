//! An engine that counts the keys that are read: a wrapper over any engine, for assertions about how much a read takes, and to bring work to an end that has none.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use tenantry_kv::{
    ConflictKind, ConflictReport, DatabaseOption, Engine, EngineProfile, Error, ErrorCode, Isolation,
    KeyRange, KeySelector, KvFuture, MutationType, RangeBatch, RangeRequest, ReadTransaction, Result,
    Transaction, TransactionOption, TransactionRef, Version, Versionstamp, WriteTransaction,
};

/// The wrapper. Its clones count together.
#[derive(Clone)]
pub struct CountingEngine {
    inner: Arc<dyn Engine>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    keys_read: AtomicU64,
    /// How much there may still be of transactions, reads, rows and commits.
    rest: AtomicI64,
}

impl Counts {
    /// Takes from what there may still be.
    fn spend(&self, amount: usize) -> Result<()> {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        match self.rest.fetch_sub(amount, Ordering::Relaxed) > 0 {
            true => Ok(()),
            // No error that asks for another attempt.
            false => Err(Error::new(ErrorCode::INTERNAL_ERROR, "the work does not end")),
        }
    }
}

impl CountingEngine {
    /// Wraps an engine.
    pub fn new(inner: Arc<dyn Engine>) -> CountingEngine {
        CountingEngine::with_budget(inner, u64::MAX)
    }

    /// Wraps an engine that fails for good (4100) once there were so many transactions, reads, rows and commits together: whatever goes on for ever ends.
    pub fn with_budget(inner: Arc<dyn Engine>, budget: u64) -> CountingEngine {
        let rest = AtomicI64::new(i64::try_from(budget).unwrap_or(i64::MAX));
        CountingEngine { inner, counts: Arc::new(Counts { keys_read: AtomicU64::new(0), rest }) }
    }

    /// How much of the budget is left; nothing when it was passed.
    pub fn budget_left(&self) -> u64 {
        u64::try_from(self.counts.rest.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// How many keys were read since it was asked before: one for each point read, whether the key is there or not, and each row of a range.
    pub fn take_keys_read(&self) -> u64 {
        self.counts.keys_read.swap(0, Ordering::Relaxed)
    }
}

impl fmt::Debug for CountingEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CountingEngine({:?})", self.inner)
    }
}

impl Engine for CountingEngine {
    fn begin(&self) -> Result<TransactionRef> {
        self.counts.spend(1)?;
        let inner = self.inner.begin()?;
        Ok(Arc::new(CountingTransaction { inner, counts: self.counts.clone() }))
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
    counts: Arc<Counts>,
}

impl fmt::Debug for CountingTransaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CountingTransaction({:?})", self.inner)
    }
}

impl ReadTransaction for CountingTransaction {
    fn get(&self, key: &[u8], isolation: Isolation) -> KvFuture<Option<Bytes>> {
        self.counts.keys_read.fetch_add(1, Ordering::Relaxed);
        match self.counts.spend(1) {
            Ok(()) => self.inner.get(key, isolation),
            Err(error) => KvFuture::ready(Err(error)),
        }
    }

    fn get_key(&self, selector: &KeySelector, isolation: Isolation) -> KvFuture<Bytes> {
        self.counts.keys_read.fetch_add(1, Ordering::Relaxed);
        match self.counts.spend(1) {
            Ok(()) => self.inner.get_key(selector, isolation),
            Err(error) => KvFuture::ready(Err(error)),
        }
    }

    fn get_range(&self, request: &RangeRequest, isolation: Isolation) -> KvFuture<RangeBatch> {
        if let Err(error) = self.counts.spend(1) {
            return KvFuture::ready(Err(error));
        }
        let (answer, counts) = (self.inner.get_range(request, isolation), self.counts.clone());
        KvFuture::pending(async move {
            let batch = answer.await?;
            counts.keys_read.fetch_add(batch.rows.len() as u64, Ordering::Relaxed);
            counts.spend(batch.rows.len())?;
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
        match self.counts.spend(1) {
            Ok(()) => self.inner.commit(),
            Err(error) => KvFuture::ready(Err(error)),
        }
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
