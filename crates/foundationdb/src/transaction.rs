//! Transactions on a cluster: the contract over the library's calls.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tenantry_kv::{
    ConflictKind, ConflictReport, Error, Isolation, KeyRange, KeySelector, KvFuture, MutationType,
    RangeBatch, RangeRequest, ReadTransaction, Result, Transaction, TransactionOption, Version, Versionstamp,
    WriteTransaction,
};

use crate::binding::{Pending, RawRange, RawTransaction};
use crate::counts::Counts;
use crate::engine::Defaults;
use crate::options::{encoded, streaming_mode};

/// The special keys under which a transaction's conflict ranges stand (FoundationDB's documentation, "Special keys").
const READ_CONFLICTS: &[u8] = b"\xff\xff/transaction/read_conflict_range/";
const WRITE_CONFLICTS: &[u8] = b"\xff\xff/transaction/write_conflict_range/";
const CONFLICTING: &[u8] = b"\xff\xff/transaction/conflicting_keys/";

/// A transaction on a cluster.
pub(crate) struct FoundationDbTransaction {
    raw: Arc<RawTransaction>,
    defaults: Arc<Defaults>,
    counts: Arc<Counts>,
    has_writes: Arc<AtomicBool>,
}

impl fmt::Debug for FoundationDbTransaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("FoundationDbTransaction")
    }
}

impl FoundationDbTransaction {
    pub(crate) fn new(raw: RawTransaction, defaults: Arc<Defaults>, counts: Arc<Counts>) -> Result<Self> {
        defaults.apply(&raw)?;
        Ok(FoundationDbTransaction { raw: Arc::new(raw), defaults, counts, has_writes: Arc::default() })
    }

    fn wrote(&self) {
        self.has_writes.store(true, Ordering::Release);
    }
}

/// The operation as the contract's future: ready at once where the library has the answer already.
fn future<T>(pending: Pending<T>) -> KvFuture<T>
where
    Pending<T>: Future<Output = Result<T>> + Send + 'static,
    T: crate::binding::Answer,
{
    match pending.try_take() {
        Some(result) => KvFuture::ready(result),
        None => KvFuture::pending(pending),
    }
}

fn is_snapshot(isolation: Isolation) -> bool {
    isolation == Isolation::Snapshot
}

fn selector(selector: &KeySelector) -> (&[u8], bool, i32) {
    (&selector.key, selector.or_equal, selector.offset)
}

/// A row or byte limit in the library's terms: 0 is none, and what an `int` cannot say is as good as none.
fn limit(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

impl ReadTransaction for FoundationDbTransaction {
    fn get(&self, key: &[u8], isolation: Isolation) -> KvFuture<Option<Bytes>> {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        future(self.raw.get(key, is_snapshot(isolation)))
    }

    fn get_key(&self, wanted: &KeySelector, isolation: Isolation) -> KvFuture<Bytes> {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        let (key, or_equal, offset) = selector(wanted);
        future(self.raw.get_key(key, or_equal, offset, is_snapshot(isolation)))
    }

    fn get_range(&self, request: &RangeRequest, isolation: Isolation) -> KvFuture<RangeBatch> {
        self.counts.range_reads.fetch_add(1, Ordering::Relaxed);
        let (mode, iteration) = streaming_mode(request.mode);
        let range = RawRange {
            begin: selector(&request.begin),
            end: selector(&request.end),
            limit: limit(request.limit),
            target_bytes: limit(request.target_bytes),
            mode,
            iteration,
            reverse: request.reverse,
        };
        future(self.raw.get_range(&range, is_snapshot(isolation)))
    }

    fn read_version(&self) -> KvFuture<Version> {
        future(self.raw.read_version())
    }

    fn estimated_range_size_bytes(&self, begin: &[u8], end: &[u8]) -> KvFuture<u64> {
        future(self.raw.estimated_range_size_bytes(begin, end))
    }

    fn range_split_points(&self, begin: &[u8], end: &[u8], chunk_size_bytes: u64) -> KvFuture<Vec<Bytes>> {
        let chunk_size_bytes = i64::try_from(chunk_size_bytes).unwrap_or(i64::MAX);
        future(self.raw.range_split_points(begin, end, chunk_size_bytes))
    }
}

impl WriteTransaction for FoundationDbTransaction {
    fn set(&self, key: &[u8], value: &[u8]) {
        self.wrote();
        self.raw.set(key, value);
    }

    fn clear(&self, key: &[u8]) {
        self.wrote();
        self.raw.clear(key);
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) {
        self.wrote();
        self.raw.clear_range(begin, end);
    }

    fn atomic(&self, mutation: MutationType, key: &[u8], operand: &[u8]) {
        self.wrote();
        self.raw.atomic(mutation.code(), key, operand);
    }

    fn add_conflict_range(&self, begin: &[u8], end: &[u8], kind: ConflictKind) -> Result<()> {
        if kind == ConflictKind::Write && begin < end {
            self.wrote();
        }
        // FDB_CONFLICT_RANGE_TYPE_READ and _WRITE.
        let code = match kind {
            ConflictKind::Read => 0,
            ConflictKind::Write => 1,
        };
        self.raw.add_conflict_range(begin, end, code)
    }
}

impl Transaction for FoundationDbTransaction {
    fn set_option(&self, option: TransactionOption) -> Result<()> {
        set_option(&self.raw, &option)
    }

    fn set_read_version(&self, version: Version) {
        self.raw.set_read_version(version);
    }

    fn commit(&self) -> KvFuture<()> {
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        future(self.raw.commit())
    }

    fn committed_version(&self) -> Result<Version> {
        self.raw.committed_version()
    }

    fn versionstamp(&self) -> KvFuture<Versionstamp> {
        future(self.raw.versionstamp())
    }

    fn watch(&self, key: &[u8]) -> KvFuture<()> {
        future(self.raw.watch(key))
    }

    fn on_error(&self, error: &Error) -> KvFuture<()> {
        let error = error.clone();
        let retried = self.raw.on_error(error.code().number());
        let (raw, defaults, has_writes) = (self.raw.clone(), self.defaults.clone(), self.has_writes.clone());
        KvFuture::pending(async move {
            match retried.await {
                Ok(()) => {
                    has_writes.store(false, Ordering::Release);
                    defaults.apply(&raw)
                }
                // The library knows the code alone: what else was said is not lost.
                Err(failed) if failed.code() == error.code() => Err(error),
                Err(failed) => Err(failed),
            }
        })
    }

    fn reset(&self) {
        self.raw.reset();
        self.has_writes.store(false, Ordering::Release);
        // An option that the library accepted before is accepted again; if not, the transaction has it as its deferred error.
        let _ = self.defaults.apply(&self.raw);
    }

    fn cancel(&self) {
        self.raw.cancel();
    }

    fn has_writes(&self) -> bool {
        self.has_writes.load(Ordering::Acquire)
    }

    fn approximate_size_bytes(&self) -> KvFuture<u64> {
        future(self.raw.approximate_size_bytes())
    }

    fn conflict_ranges(&self, report: ConflictReport) -> KvFuture<Vec<KeyRange>> {
        let prefix = match report {
            ConflictReport::Read => READ_CONFLICTS,
            ConflictReport::Write => WRITE_CONFLICTS,
            ConflictReport::Conflicting => CONFLICTING,
        };
        let raw = self.raw.clone();
        KvFuture::pending(async move {
            let mut boundaries = Vec::new();
            let (mut begin, end) = (prefix.to_vec(), [prefix, b"\xff\xff"].concat());
            loop {
                let (mode, iteration) = streaming_mode(tenantry_kv::StreamingMode::WantAll);
                let range = RawRange {
                    begin: (&begin, false, 1),
                    end: (&end, false, 1),
                    limit: 0,
                    target_bytes: 0,
                    mode,
                    iteration,
                    reverse: false,
                };
                let batch = raw.get_range(&range, false).await?;
                let last = batch.rows.last().map(|row| row.key.clone());
                boundaries.extend(batch.rows);
                match last {
                    Some(last) if batch.more => begin = tenantry_kv::key_after(&last).to_vec(),
                    _ => break,
                }
            }
            Ok(ranges_of(prefix, &boundaries))
        })
    }
}

/// Sets an option of a transaction.
pub(crate) fn set_option(raw: &RawTransaction, option: &TransactionOption) -> Result<()> {
    encoded(option).iter().try_for_each(|(code, value)| raw.set_option(*code, value.as_deref()))
}

/// The ranges that rows of special keys stand for: a row with "1" begins a range, one with "0" ends it.
fn ranges_of(prefix: &[u8], boundaries: &[tenantry_kv::KeyValue]) -> Vec<KeyRange> {
    let mut ranges = Vec::new();
    let mut begun: Option<Bytes> = None;
    for row in boundaries {
        let key = row.key.slice(prefix.len().min(row.key.len())..);
        match (row.value.as_ref(), begun.take()) {
            (b"1", None) => begun = Some(key),
            (b"1", Some(begin)) => begun = Some(begin),
            (_, Some(begin)) => ranges.push(KeyRange::new(begin, key)),
            (_, None) => {}
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use tenantry_kv::KeyValue;

    use super::*;

    #[test]
    fn boundaries_become_ranges() {
        let row = |key: &str, value: &str| KeyValue::new(format!("p/{key}"), value.to_owned());
        let rows = [row("a", "1"), row("b", "0"), row("c", "1"), row("d", "0")];
        let range = |begin: &'static str, end: &'static str| KeyRange::new(begin, end);
        assert_eq!(ranges_of(b"p/", &rows), [range("a", "b"), range("c", "d")]);
        assert_eq!(ranges_of(b"p/", &[]), []);
    }
}
