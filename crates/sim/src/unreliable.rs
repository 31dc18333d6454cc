//! An engine on a bad day: a wrapper over any engine that answers as a cluster does when machines fail.
//!
//! Reads end with 1007, 1009 or 1037 now and then, read versions with 1037, or with 1051 or 1213 where a cluster throttles, commits with 1020, or with 1021, 1031 or 1039: the outcome is then unknown, and the transaction has committed or has
//! not. Everything takes its time. With no faults it is the engine that it wraps.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tenantry_kv::env::Timer;
use tenantry_kv::{
    ConflictKind, ConflictReport, DatabaseOption, Engine, EngineProfile, Error, ErrorCode, Isolation,
    KeyRange, KeySelector, KvFuture, MutationType, RangeBatch, RangeRequest, ReadTransaction, Result,
    Transaction, TransactionOption, TransactionRef, Version, Versionstamp, WriteTransaction,
};

use crate::random::Stream;

struct Faults {
    random: Mutex<Stream>,
    /// How many of a hundred operations fail.
    percent: u64,
    /// How many of a hundred answers take their time.
    delay_percent: u64,
    timer: Arc<dyn Timer>,
    /// How many operations there were, where the bad day has good hours.
    operations: Option<AtomicU64>,
}

/// How many operations the bad hours of a day have, and the good ones after them.
const BAD_HOURS: u64 = 3_000;

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike(&self) -> bool {
        let is_good_hour = self.operations.as_ref().is_some_and(|operations| {
            let number = operations.fetch_add(1, Ordering::Relaxed);
            (number / BAD_HOURS) % 2 == 1
        });
        self.percent > 0 && !is_good_hour && self.lock().percent(self.percent)
    }
}

/// The wrapper.
#[derive(Clone)]
pub struct UnreliableEngine {
    inner: Arc<dyn Engine>,
    faults: Arc<Faults>,
}

impl UnreliableEngine {
    /// Wraps an engine; `percent` of a hundred operations fail, in an order that the seed decides.
    pub fn new(inner: Arc<dyn Engine>, timer: Arc<dyn Timer>, seed: u64, percent: u64) -> UnreliableEngine {
        let random = Mutex::new(Stream::new(seed, "unreliable engine"));
        let faults = Faults { random, percent, delay_percent: percent, timer, operations: None };
        UnreliableEngine { inner, faults: Arc::new(faults) }
    }

    /// As [`new`](UnreliableEngine::new), with good hours in which nothing fails: so that transactions of hundreds of operations, which could go on failing for ever, come to
    /// their end.
    pub fn with_good_hours(
        inner: Arc<dyn Engine>,
        timer: Arc<dyn Timer>,
        seed: u64,
        percent: u64,
    ) -> UnreliableEngine {
        let random = Mutex::new(Stream::new(seed, "unreliable engine"));
        let operations = Some(AtomicU64::new(0));
        let faults = Faults { random, percent, delay_percent: percent, timer, operations };
        UnreliableEngine { inner, faults: Arc::new(faults) }
    }

    /// Wraps an engine that never fails and never has an answer at once: a cluster on a good day.
    pub fn distant(inner: Arc<dyn Engine>, timer: Arc<dyn Timer>, seed: u64) -> UnreliableEngine {
        let random = Mutex::new(Stream::new(seed, "unreliable engine"));
        let faults = Faults { random, percent: 0, delay_percent: 100, timer, operations: None };
        UnreliableEngine { inner, faults: Arc::new(faults) }
    }
}

impl fmt::Debug for UnreliableEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UnreliableEngine({:?})", self.inner)
    }
}

impl Engine for UnreliableEngine {
    fn begin(&self) -> Result<TransactionRef> {
        let inner = self.inner.begin()?;
        Ok(Arc::new(UnreliableTransaction { inner, faults: self.faults.clone(), failed: Arc::default() }))
    }

    fn set_option(&self, option: DatabaseOption) -> Result<()> {
        self.inner.set_option(option)
    }

    fn profile(&self) -> EngineProfile {
        let mut profile = self.inner.profile();
        profile.commits_can_be_unknown |= self.faults.percent > 0;
        profile
    }
}

struct UnreliableTransaction {
    inner: TransactionRef,
    faults: Arc<Faults>,
    /// The first failure of a read since the last reset: the commit ends with it.
    failed: Arc<Mutex<Option<Error>>>,
}

impl fmt::Debug for UnreliableTransaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UnreliableTransaction({:?})", self.inner)
    }
}

impl UnreliableTransaction {
    fn failed(&self) -> MutexGuard<'_, Option<Error>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A read, or a failure in its place.
    fn read<T: Send + 'static>(&self, answer: KvFuture<T>) -> KvFuture<T> {
        let codes = [ErrorCode::TRANSACTION_TOO_OLD, ErrorCode::FUTURE_VERSION, ErrorCode::PROCESS_BEHIND];
        self.or_one_of(&codes, answer)
    }

    fn or_one_of<T: Send + 'static>(&self, codes: &[ErrorCode], answer: KvFuture<T>) -> KvFuture<T> {
        if !self.faults.strike() {
            return self.delayed(answer);
        }
        let error = Error::from(*self.faults.lock().pick(codes));
        self.failed().get_or_insert_with(|| error.clone());
        KvFuture::error(error)
    }

    /// The answer, later.
    fn delayed<T: Send + 'static>(&self, answer: KvFuture<T>) -> KvFuture<T> {
        if self.faults.delay_percent == 0 || !self.faults.lock().percent(self.faults.delay_percent) {
            return answer;
        }
        let delay = Duration::from_micros(self.faults.lock().below(50_000));
        let sleep = self.faults.timer.sleep(delay);
        KvFuture::pending(async move {
            sleep.await?;
            // Others go on meanwhile, also where time does not pass.
            let mut has_yielded = false;
            std::future::poll_fn(|context| {
                if std::mem::replace(&mut has_yielded, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            answer.await
        })
    }

    /// Ends the commit with an unknown outcome, whatever it was.
    fn unknown(&self, committing: Option<KvFuture<()>>) -> KvFuture<()> {
        let codes = [
            ErrorCode::COMMIT_UNKNOWN_RESULT,
            ErrorCode::COMMIT_UNKNOWN_RESULT,
            ErrorCode::TRANSACTION_TIMED_OUT,
            ErrorCode::CLUSTER_VERSION_CHANGED,
        ];
        let code = *self.faults.lock().pick(&codes);
        KvFuture::pending(async move {
            if let Some(committing) = committing {
                committing.await?;
            }
            Err(code.into())
        })
    }
}

impl ReadTransaction for UnreliableTransaction {
    fn get(&self, key: &[u8], isolation: Isolation) -> KvFuture<Option<Bytes>> {
        self.read(self.inner.get(key, isolation))
    }

    fn get_key(&self, selector: &KeySelector, isolation: Isolation) -> KvFuture<Bytes> {
        self.read(self.inner.get_key(selector, isolation))
    }

    fn get_range(&self, request: &RangeRequest, isolation: Isolation) -> KvFuture<RangeBatch> {
        self.read(self.inner.get_range(request, isolation))
    }

    fn read_version(&self) -> KvFuture<Version> {
        let codes =
            [ErrorCode::PROCESS_BEHIND, ErrorCode::TAG_THROTTLED, ErrorCode::BATCH_TRANSACTION_THROTTLED];
        self.or_one_of(&codes, self.inner.read_version())
    }

    fn estimated_range_size_bytes(&self, begin: &[u8], end: &[u8]) -> KvFuture<u64> {
        self.inner.estimated_range_size_bytes(begin, end)
    }

    fn range_split_points(&self, begin: &[u8], end: &[u8], chunk_size_bytes: u64) -> KvFuture<Vec<Bytes>> {
        self.inner.range_split_points(begin, end, chunk_size_bytes)
    }
}

impl WriteTransaction for UnreliableTransaction {
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

impl Transaction for UnreliableTransaction {
    fn set_option(&self, option: TransactionOption) -> Result<()> {
        self.inner.set_option(option)
    }

    fn set_read_version(&self, version: Version) {
        self.inner.set_read_version(version);
    }

    fn commit(&self) -> KvFuture<()> {
        if let Some(error) = self.failed().clone() {
            return KvFuture::error(error);
        }
        if !self.faults.strike() || !self.inner.has_writes() {
            return self.delayed(self.inner.commit());
        }
        let fate = self.faults.lock().below(4);
        match fate {
            0 => KvFuture::error(ErrorCode::NOT_COMMITTED),
            1 => self.unknown(None),
            _ => self.unknown(Some(self.inner.commit())),
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
        *self.failed() = None;
        self.inner.on_error(error)
    }

    fn reset(&self) {
        *self.failed() = None;
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
