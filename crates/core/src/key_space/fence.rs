//! The fence around a tenant: whatever a transaction on it asks of the engine passes here, and names keys of the tenant alone.
//!
//! Keys are made from the tenant's handle and bounds are clamped before; the fence is there for the day on which one of these is wrong. What would go past it reaches no engine: a
//! read fails with 10023, and a write lets the commit fail.

use bytes::Bytes;
use tenantry_kv::seeded_faults::is_unclamped;
use tenantry_kv::tuple::prefix_end;
use tenantry_kv::{
    ConflictKind, ConflictReport, Error, ErrorCode, Isolation, KeyRange, KeySelector, KvFuture, MutationType,
    RangeBatch, RangeRequest, ReadTransaction, Result, Transaction, TransactionOption, TransactionRef,
    Version, Versionstamp, WriteTransaction,
};

/// A key that no engine takes: a write to it is the transaction's deferred error (2004).
const ILLEGAL_KEY: &[u8] = b"\xff\xff/outside the tenant";

/// An engine's transaction that names no key without a prefix.
#[derive(Debug)]
pub(crate) struct Fence {
    transaction: TransactionRef,
    prefix: Bytes,
}

impl Fence {
    pub(crate) fn new(transaction: TransactionRef, prefix: Bytes) -> Fence {
        Fence { transaction, prefix }
    }

    fn has(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix) || is_unclamped()
    }

    /// Whether a range lies within, which may end where the tenant does.
    fn has_range(&self, begin: &[u8], end: &[u8]) -> bool {
        let has_end =
            || end.starts_with(&self.prefix) || prefix_end(&self.prefix).is_some_and(|last| end == &last[..]);
        (begin.starts_with(&self.prefix) && has_end()) || is_unclamped()
    }

    /// Whether a selector is nothing but a bound: the key itself, or the one behind it.
    fn is_bound(selector: &KeySelector) -> bool {
        selector.offset == 1
    }

    fn refuse_write(&self) {
        self.transaction.set(ILLEGAL_KEY, b"");
    }
}

/// It says nothing of the key: it would be another's.
fn outside() -> Error {
    Error::new(ErrorCode::OUTSIDE_SUBSPACE, "an operation on a tenant named a key that is not the tenant's")
}

fn refused<T: Send + 'static>() -> KvFuture<T> {
    KvFuture::ready(Err(outside()))
}

impl ReadTransaction for Fence {
    fn get(&self, key: &[u8], isolation: Isolation) -> KvFuture<Option<Bytes>> {
        match self.has(key) {
            true => self.transaction.get(key, isolation),
            false => refused(),
        }
    }

    fn get_many(&self, keys: &[Bytes], isolation: Isolation) -> Vec<KvFuture<Option<Bytes>>> {
        match keys.iter().all(|key| self.has(key)) {
            true => self.transaction.get_many(keys, isolation),
            false => keys.iter().map(|key| self.get(key, isolation)).collect(),
        }
    }

    /// A selector could walk into a neighbour: there are range reads instead.
    fn get_key(&self, _selector: &KeySelector, _isolation: Isolation) -> KvFuture<Bytes> {
        refused()
    }

    fn get_range(&self, request: &RangeRequest, isolation: Isolation) -> KvFuture<RangeBatch> {
        let is_bounded = Fence::is_bound(&request.begin) && Fence::is_bound(&request.end);
        match is_bounded && self.has_range(&request.begin.key, &request.end.key) {
            true => self.transaction.get_range(request, isolation),
            false => refused(),
        }
    }

    fn read_version(&self) -> KvFuture<Version> {
        self.transaction.read_version()
    }

    fn estimated_range_size_bytes(&self, begin: &[u8], end: &[u8]) -> KvFuture<u64> {
        match self.has_range(begin, end) {
            true => self.transaction.estimated_range_size_bytes(begin, end),
            false => refused(),
        }
    }

    fn range_split_points(&self, begin: &[u8], end: &[u8], chunk_size_bytes: u64) -> KvFuture<Vec<Bytes>> {
        match self.has_range(begin, end) {
            true => self.transaction.range_split_points(begin, end, chunk_size_bytes),
            false => refused(),
        }
    }
}

impl WriteTransaction for Fence {
    fn set(&self, key: &[u8], value: &[u8]) {
        match self.has(key) {
            true => self.transaction.set(key, value),
            false => self.refuse_write(),
        }
    }

    fn clear(&self, key: &[u8]) {
        match self.has(key) {
            true => self.transaction.clear(key),
            false => self.refuse_write(),
        }
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) {
        match self.has_range(begin, end) {
            true => self.transaction.clear_range(begin, end),
            false => self.refuse_write(),
        }
    }

    fn atomic(&self, mutation: MutationType, key: &[u8], operand: &[u8]) {
        // The place of a stamp in a key: it must not be that of the prefix.
        let place = match (mutation, key.last_chunk::<4>()) {
            (MutationType::SetVersionstampedKey, Some(place)) => u32::from_le_bytes(*place) as usize,
            _ => usize::MAX,
        };
        match self.has(key) && (place >= self.prefix.len() || is_unclamped()) {
            true => self.transaction.atomic(mutation, key, operand),
            false => self.refuse_write(),
        }
    }

    fn add_conflict_range(&self, begin: &[u8], end: &[u8], kind: ConflictKind) -> Result<()> {
        match self.has_range(begin, end) {
            true => self.transaction.add_conflict_range(begin, end, kind),
            false => Err(outside()),
        }
    }
}

impl Transaction for Fence {
    fn set_option(&self, option: TransactionOption) -> Result<()> {
        self.transaction.set_option(option)
    }

    fn set_read_version(&self, version: Version) {
        self.transaction.set_read_version(version);
    }

    fn commit(&self) -> KvFuture<()> {
        self.transaction.commit()
    }

    fn committed_version(&self) -> Result<Version> {
        self.transaction.committed_version()
    }

    fn versionstamp(&self) -> KvFuture<Versionstamp> {
        self.transaction.versionstamp()
    }

    fn watch(&self, key: &[u8]) -> KvFuture<()> {
        match self.has(key) {
            true => self.transaction.watch(key),
            false => refused(),
        }
    }

    fn on_error(&self, error: &Error) -> KvFuture<()> {
        self.transaction.on_error(error)
    }

    fn reset(&self) {
        self.transaction.reset();
    }

    fn cancel(&self) {
        self.transaction.cancel();
    }

    fn has_writes(&self) -> bool {
        self.transaction.has_writes()
    }

    fn approximate_size_bytes(&self) -> KvFuture<u64> {
        self.transaction.approximate_size_bytes()
    }

    fn conflict_ranges(&self, report: ConflictReport) -> KvFuture<Vec<KeyRange>> {
        self.transaction.conflict_ranges(report)
    }
}

#[cfg(test)]
mod tests {

    use pollster::block_on;
    use tenantry_kv::Engine;
    use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};

    use super::*;

    const PREFIX: &[u8] = b"t\xff";
    /// Before, a part of the prefix, behind, and where the prefix would be in the middle.
    const OUTSIDE: [&[u8]; 6] = [b"", b"a", b"t", b"u", b"u\0", b"xt\xff"];

    fn fence(engine: &ReferenceEngine) -> Fence {
        Fence::new(engine.begin().unwrap(), Bytes::from_static(PREFIX))
    }

    fn engine() -> ReferenceEngine {
        let engine = ReferenceEngine::new(manual_env());
        let transaction = engine.begin().unwrap();
        for key in OUTSIDE {
            transaction.set(key, b"another's");
        }
        transaction.set(b"t\xffown", b"own");
        block_on(transaction.commit()).unwrap();
        engine
    }

    #[test]
    fn reads_of_keys_outside_are_refused() {
        let engine = engine();
        let isolation = Isolation::Serializable;
        let fence = fence(&engine);
        for key in OUTSIDE {
            assert_eq!(block_on(fence.get(key, isolation)).unwrap_err().code(), ErrorCode::OUTSIDE_SUBSPACE);
            assert!(block_on(fence.watch(key)).is_err());
            assert!(
                block_on(fence.get_range(&RangeRequest::new(key, b"t\xffz".as_slice()), isolation)).is_err()
            );
            assert!(block_on(fence.estimated_range_size_bytes(key, b"t\xffz")).is_err());
            assert!(block_on(fence.range_split_points(key, b"t\xffz", 10)).is_err());
            // Where the tenant ends, its ranges may end.
            let to = RangeRequest::new(PREFIX, key);
            assert_eq!(block_on(fence.get_range(&to, isolation)).is_ok(), key == b"u", "{key:?}");
            for kind in [ConflictKind::Read, ConflictKind::Write] {
                assert!(fence.add_conflict_range(key, b"t\xffz", kind).is_err());
            }
        }
        let mut request = RangeRequest::new(PREFIX, b"u".as_slice());
        assert_eq!(block_on(fence.get_range(&request, isolation)).unwrap().rows.len(), 1);
        assert_eq!(block_on(fence.get(b"t\xffown", isolation)).unwrap().unwrap(), "own");
        for offset in [-3, 0, 2, 1_000] {
            request.end.offset = offset;
            assert!(block_on(fence.get_range(&request, isolation)).is_err(), "{offset}");
        }
        let selector = KeySelector::first_greater_or_equal(PREFIX);
        assert!(block_on(fence.get_key(&selector, isolation)).is_err());
    }

    /// A write, by its number.
    fn write(fence: &Fence, kind: usize, key: &[u8]) {
        let stamped = |place: u32| [b"t\xff123456789012345678", &place.to_le_bytes()[..]].concat();
        match kind {
            0 => fence.set(key, b"mine"),
            1 => fence.clear(key),
            2 => fence.clear_range(key, b"t\xffz"),
            3 => fence.clear_range(b"t\xff", key),
            4 => fence.atomic(MutationType::Add, key, &[1]),
            5 => fence.atomic(MutationType::SetVersionstampedKey, &[key, &[0; 14][..]].concat(), b""),
            // A stamp that stands where the prefix does.
            _ => fence.atomic(MutationType::SetVersionstampedKey, &stamped(1), b""),
        }
    }

    #[test]
    fn a_write_outside_is_never_committed_nor_what_came_with_it() {
        let engine = engine();
        let rows = |engine: &ReferenceEngine| {
            let everything = RangeRequest::new("", b"\xff".as_slice());
            block_on(engine.begin().unwrap().get_range(&everything, Isolation::Snapshot)).unwrap().rows
        };
        let before = rows(&engine);
        assert_eq!(before.len(), OUTSIDE.len() + 1);
        for kind in 0..7 {
            for key in OUTSIDE.into_iter().filter(|key| kind != 3 || *key != b"u") {
                let fence = fence(&engine);
                fence.set(b"t\xffnew", b"new");
                write(&fence, kind, key);
                assert!(block_on(fence.commit()).is_err(), "{kind} {key:?}");
            }
        }
        assert_eq!(rows(&engine), before);
        for kind in [0, 4, 1, 2] {
            let fence = fence(&engine);
            write(&fence, kind, b"t\xffnew");
            block_on(fence.commit()).unwrap();
        }
        assert_eq!(rows(&engine).len(), OUTSIDE.len(), "the tenant's own range was cleared");
    }
}
