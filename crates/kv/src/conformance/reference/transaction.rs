//! A transaction of the reference engine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::replay::{Cell, Operation, commit, undetermined, unreadable_ranges, view};
use super::{ActiveWatch, Fault, Shared, WatchSignal};
use crate::atomic::MutationType;
use crate::conflict_range::{ConflictKind, ConflictReport, KeyRange, key_after};
use crate::engine::{Isolation, ReadTransaction, Transaction, Version, WriteTransaction};
use crate::error::{Error, ErrorCode, Result};
use crate::future::KvFuture;
use crate::limits::{
    CONFLICT_RANGE_OVERHEAD_BYTES, KEY_SIZE_BYTES_MAX, KEY_SIZE_RAW_ACCESS_BYTES_MAX, METADATA_VERSION_KEY,
    MUTATION_OVERHEAD_BYTES, RETRY_DELAY_MS_INITIAL, RETRY_DELAY_MS_MAX_DEFAULT,
    RETRY_DELAY_RESOURCE_CONSTRAINED_MS_MAX, SYSTEM_KEY_SIZE_BYTES_MAX, SYSTEM_SPACE_END,
    TRANSACTION_SIZE_BYTES_MAX, TRANSACTION_TAGS_MAX, USER_SPACE_END, VALUE_SIZE_BYTES_MAX,
};
use crate::options::TransactionOption;
use crate::range::{KeyValue, RangeBatch, RangeRequest, StreamingMode};
use crate::selector::KeySelector;
use crate::versionstamp::{Versionstamp, VersionstampOffset};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    CommitStarted,
    Cancelled,
}

/// A value that somebody waits for until the transaction's fate is known.
struct Promise<T> {
    value: Option<Result<T>>,
    waker: Option<std::task::Waker>,
}

type Shareable<T> = Arc<Mutex<Promise<T>>>;

fn promise<T: Clone + Send + 'static>() -> (Shareable<T>, KvFuture<T>) {
    let shared: Shareable<T> = Arc::new(Mutex::new(Promise { value: None, waker: None }));
    let waiting = shared.clone();
    let future = KvFuture::pending(std::future::poll_fn(move |context| {
        let mut promise = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match &promise.value {
            Some(value) => Poll::Ready(value.clone()),
            None => {
                promise.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }));
    (shared, future)
}

fn fulfil<T>(promise: &Shareable<T>, value: Result<T>) {
    let mut promise = promise.lock().unwrap_or_else(PoisonError::into_inner);
    promise.value.get_or_insert(value);
    if let Some(waker) = promise.waker.take() {
        waker.wake();
    }
}

struct Watch {
    key: Bytes,
    expected: Option<Bytes>,
    place: WatchPlace,
    promise: Shareable<Arc<ActiveWatchFuture>>,
}

/// A counted place among the watches.
struct WatchPlace(Arc<Shared>);

impl Drop for WatchPlace {
    fn drop(&mut self) {
        self.0.lock().watches_taken -= 1;
    }
}

/// An active watch, from its waiter's side.
struct ActiveWatchFuture {
    signal: Arc<Mutex<WatchSignal>>,
    _place: WatchPlace,
}

#[derive(Clone)]
struct Options {
    timeout: Option<Duration>,
    retry_limit: i64,
    max_retry_delay: Duration,
    size_limit: usize,
    snapshot_read_your_writes: i32,
    read_your_writes: bool,
    read_end: &'static [u8],
    write_end: &'static [u8],
    key_size_max: usize,
    reports_conflicts: bool,
    bypasses_unreadable: bool,
    tags: usize,
    identifier: Option<String>,
}

struct State {
    generation: u64,
    phase: Phase,
    started: Duration,
    retries: i64,
    backoff: Duration,
    options: Options,
    deferred: Option<Error>,
    failed_read: Option<Error>,
    read_version: Option<Version>,
    has_read: bool,
    operations: Vec<Operation>,
    read_conflicts: Vec<KeyRange>,
    write_conflicts: Vec<KeyRange>,
    skips_next_conflict: bool,
    has_written: bool,
    reports_stamped: bool,
    committed: Option<Versionstamp>,
    stamped: Vec<Bytes>,
    conflicting: Vec<KeyRange>,
    stamps: Vec<Shareable<Versionstamp>>,
    watches: Vec<Watch>,
}

/// A transaction of the reference engine.
pub(super) struct ReferenceTransaction {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

impl fmt::Debug for ReferenceTransaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ReferenceTransaction")
    }
}

fn default_options(shared: &Shared) -> Options {
    let store = shared.lock();
    let mut options = Options {
        timeout: None,
        retry_limit: -1,
        max_retry_delay: Duration::from_millis(RETRY_DELAY_MS_MAX_DEFAULT),
        size_limit: TRANSACTION_SIZE_BYTES_MAX,
        snapshot_read_your_writes: i32::from(store.has_snapshot_read_your_writes),
        read_your_writes: true,
        read_end: USER_SPACE_END,
        write_end: USER_SPACE_END,
        key_size_max: KEY_SIZE_BYTES_MAX,
        reports_conflicts: false,
        bypasses_unreadable: false,
        tags: 0,
        identifier: None,
    };
    for option in &store.defaults {
        // They were checked when they became defaults.
        let _ = options.apply(option, true);
    }
    options
}

impl Options {
    fn apply(&mut self, option: &TransactionOption, is_fresh: bool) -> Result<()> {
        use TransactionOption as Set;
        option.validate()?;
        let ms = |value: i64| Duration::from_millis(value.unsigned_abs());
        match option {
            Set::ReadYourWritesDisable if !is_fresh => return Err(ErrorCode::CLIENT_INVALID_OPERATION.into()),
            Set::ReadYourWritesDisable => self.read_your_writes = false,
            Set::AccessSystemKeys => (self.read_end, self.write_end) = (SYSTEM_SPACE_END, SYSTEM_SPACE_END),
            Set::ReadSystemKeys => self.read_end = SYSTEM_SPACE_END,
            Set::RawAccess => {}
            Set::DebugTransactionIdentifier(new) => match &self.identifier {
                Some(old) if old != new => return Err(ErrorCode::CLIENT_INVALID_OPERATION.into()),
                _ => self.identifier = Some(new.clone()),
            },
            Set::TimeoutMs(value) => self.timeout = (*value > 0).then(|| ms(*value)),
            Set::RetryLimit(value) => self.retry_limit = *value,
            Set::MaxRetryDelayMs(value) => self.max_retry_delay = ms(*value),
            Set::SizeLimitBytes(value) => self.size_limit = usize::try_from(*value).unwrap_or_default(),
            Set::SnapshotReadYourWritesEnable => self.snapshot_read_your_writes += 1,
            Set::SnapshotReadYourWritesDisable => self.snapshot_read_your_writes -= 1,
            Set::ReportConflictingKeys => self.reports_conflicts = true,
            Set::BypassUnreadable => self.bypasses_unreadable = true,
            Set::Tag(_) | Set::AutoThrottleTag(_) if self.tags == TRANSACTION_TAGS_MAX => {
                return Err(ErrorCode::TOO_MANY_TAGS.into());
            }
            Set::Tag(_) | Set::AutoThrottleTag(_) => self.tags += 1,
            _ => {}
        }
        if matches!(option, Set::RawAccess | Set::AccessSystemKeys | Set::ReadSystemKeys) {
            self.key_size_max = KEY_SIZE_RAW_ACCESS_BYTES_MAX;
        }
        Ok(())
    }
}

impl State {
    fn fresh(options: Options, started: Duration) -> State {
        State {
            generation: 0,
            phase: Phase::Open,
            started,
            retries: 0,
            backoff: Duration::from_millis(RETRY_DELAY_MS_INITIAL),
            options,
            deferred: None,
            failed_read: None,
            read_version: None,
            has_read: false,
            operations: Vec::new(),
            read_conflicts: Vec::new(),
            write_conflicts: Vec::new(),
            skips_next_conflict: false,
            has_written: false,
            reports_stamped: false,
            committed: None,
            stamped: Vec::new(),
            conflicting: Vec::new(),
            stamps: Vec::new(),
            watches: Vec::new(),
        }
    }

    fn abandon(&mut self, error: &Error) {
        self.stamps.drain(..).for_each(|stamp| fulfil(&stamp, Err(error.clone())));
        self.watches.drain(..).for_each(|watch| fulfil(&watch.promise, Err(error.clone())));
    }

    fn renew(&mut self, options: Options) {
        self.abandon(&ErrorCode::TRANSACTION_CANCELLED.into());
        *self = State {
            generation: self.generation + 1,
            retries: self.retries,
            backoff: self.backoff,
            ..State::fresh(options, self.started)
        };
    }

    fn sees_own(&self, isolation: Isolation) -> bool {
        self.options.read_your_writes
            && (isolation == Isolation::Serializable || self.options.snapshot_read_your_writes > 0)
    }

    fn size(&self) -> usize {
        let operation = |operation: &Operation| {
            let (Operation::Set { key: a, value: b }
            | Operation::Clear { begin: a, end: b }
            | Operation::Atomic { key: a, operand: b, .. }) = operation;
            a.len() + b.len() + MUTATION_OVERHEAD_BYTES
        };
        let range = |range: &KeyRange| range.begin.len() + range.end.len() + CONFLICT_RANGE_OVERHEAD_BYTES;
        self.operations.iter().map(operation).sum::<usize>()
            + self.read_conflicts.iter().map(range).sum::<usize>()
            + self.write_conflicts.iter().map(range).sum::<usize>()
    }
}

fn longest(key: &[u8]) -> usize {
    if key.starts_with(USER_SPACE_END) { SYSTEM_KEY_SIZE_BYTES_MAX } else { KEY_SIZE_RAW_ACCESS_BYTES_MAX }
}

fn cut(key: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&key[..key.len().min(longest(key) + 1)])
}

/// What a selector resolved to, and whether it ran off either end.
struct Resolved {
    key: Bytes,
    reached_begin: bool,
    passed_end: bool,
}

impl ReferenceTransaction {
    pub(super) fn new(shared: Arc<Shared>) -> ReferenceTransaction {
        let state = State::fresh(default_options(&shared), shared.env.clock.monotonic());
        ReferenceTransaction { shared, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_time(&self, state: &State) -> Result<()> {
        let elapsed = self.shared.env.clock.monotonic().saturating_sub(state.started);
        match state.options.timeout {
            Some(timeout) if elapsed >= timeout => Err(ErrorCode::TRANSACTION_TIMED_OUT.into()),
            _ => Ok(()),
        }
    }

    fn check_deferred(&self, state: &State) -> Result<()> {
        match &state.deferred {
            Some(error) if !self.shared.has(Fault::DeferredErrorForgotten) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn check_open(&self, state: &State) -> Result<()> {
        self.check_deferred(state)?;
        match state.phase {
            Phase::CommitStarted if !self.shared.has(Fault::UsableAfterCommit) => {
                return Err(ErrorCode::USED_DURING_COMMIT.into());
            }
            Phase::Cancelled => return Err(ErrorCode::TRANSACTION_CANCELLED.into()),
            _ => {}
        }
        self.check_time(state)
    }

    fn version(&self, state: &mut State) -> Result<Version> {
        let newest = self.shared.read_version();
        let version = *state.read_version.get_or_insert(newest);
        if version < self.shared.oldest() && !self.shared.has(Fault::OldReadVersionAccepted) {
            return Err(ErrorCode::TRANSACTION_TOO_OLD.into());
        }
        if version > newest {
            // As if it had waited its second.
            return Err(ErrorCode::FUTURE_VERSION.into());
        }
        Ok(version)
    }

    /// Everything that a read of this kind sees.
    fn cells(&self, state: &mut State, isolation: Isolation) -> Result<BTreeMap<Bytes, Cell>> {
        let version = self.version(state)?;
        let snapshot = self.shared.lock().snapshot(version);
        let operations: &[Operation] = if state.sees_own(isolation) { &state.operations } else { &[] };
        Ok(view(&snapshot, operations, self.shared.fault))
    }

    fn unreadable(&self, state: &State, isolation: Isolation) -> Vec<KeyRange> {
        if state.sees_own(isolation) { unreadable_ranges(&state.operations) } else { Vec::new() }
    }

    /// The rows from `begin` to `end`, walked in one direction until `enough` says so. Fails at an unreadable key that it comes to.
    fn walk(
        &self,
        state: &mut State,
        isolation: Isolation,
        (begin, end): (&[u8], &[u8]),
        reverse: bool,
        mut enough: impl FnMut(KeyValue) -> bool,
    ) -> Result<()> {
        if begin >= end {
            return Ok(());
        }
        let mut cells = self.cells(state, isolation)?;
        let whole = KeyRange::new(Bytes::copy_from_slice(begin), Bytes::copy_from_slice(end));
        // An unreadable range is met at its nearer end, whether or not a key lies there.
        for range in self.unreadable(state, isolation) {
            if range.intersects(&whole) {
                let inside = KeyRange {
                    begin: range.begin.max(whole.begin.clone()),
                    end: range.end.min(whole.end.clone()),
                };
                let doomed: Vec<Bytes> = cells
                    .range(inside.begin.clone()..inside.end.clone())
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in doomed {
                    cells.insert(key, Cell::Unreadable(Bytes::new()));
                }
                let nearer = if reverse { last_key_before(&inside) } else { inside.begin };
                cells.insert(nearer, Cell::Unreadable(Bytes::new()));
            }
        }
        let mut range: Vec<(Bytes, Cell)> =
            cells.range(whole.begin..whole.end).map(|(k, c)| (k.clone(), c.clone())).collect();
        if reverse {
            range.reverse();
        }
        for (key, cell) in range {
            let value = match cell {
                Cell::Absent => continue,
                Cell::Value(value) if value.is_empty() && self.shared.has(Fault::EmptyIsAbsent) => continue,
                Cell::Value(value) => value,
                Cell::Unreadable(_) if self.shared.has(Fault::UnreadableReadAsAbsent) => continue,
                Cell::Unreadable(_) => return Err(ErrorCode::ACCESSED_UNREADABLE.into()),
            };
            if enough(KeyValue { key, value }) {
                break;
            }
        }
        Ok(())
    }

    fn resolve(&self, state: &mut State, isolation: Isolation, selector: &KeySelector) -> Result<Resolved> {
        let key = selector.normalised_key();
        let end = state.options.read_end;
        let forward = selector.offset > 0;
        let mut wanted = if forward { i64::from(selector.offset) } else { 1 - i64::from(selector.offset) };
        if selector.offset < 0 && self.shared.has(Fault::SelectorOffByOne) {
            wanted += 1;
        }
        let (mut found, mut last) = (0, None);
        let range = if forward { (key.as_ref(), end) } else { (b"".as_slice(), key.as_ref()) };
        self.walk(state, isolation, range, !forward, |row| {
            found += 1;
            last = Some(row.key);
            found == wanted
        })?;
        Ok(match last.filter(|_| found == wanted) {
            Some(key) => Resolved { key, reached_begin: false, passed_end: false },
            None if forward => Resolved {
                key: Bytes::from_static(end),
                reached_begin: false,
                passed_end: found < wanted - 1,
            },
            None => Resolved { key: Bytes::new(), reached_begin: true, passed_end: false },
        })
    }

    fn conflict(&self, state: &mut State, isolation: Isolation, range: KeyRange) {
        if isolation == Isolation::Snapshot && !self.shared.has(Fault::SnapshotReadConflicts) {
            return;
        }
        if range.is_empty() {
            return;
        }
        let parts = match state.options.read_your_writes && !self.shared.has(Fault::OwnWriteConflicts) {
            true => undetermined(&state.operations, &range),
            false => vec![range],
        };
        state.read_conflicts.extend(parts);
    }

    fn try_get(&self, state: &mut State, key: &[u8], isolation: Isolation) -> Result<Option<Bytes>> {
        if key.len() > longest(key) {
            return Ok(None);
        }
        let unreadable = self.unreadable(state, isolation);
        if unreadable.iter().any(|range| range.contains(key))
            && !state.options.bypasses_unreadable
            && !self.shared.has(Fault::UnreadableReadAsAbsent)
        {
            return Err(ErrorCode::ACCESSED_UNREADABLE.into());
        }
        let is_local =
            state.sees_own(isolation) && undetermined(&state.operations, &KeyRange::of_key(key)).is_empty();
        let cells = match is_local {
            true => view(&BTreeMap::new(), &state.operations, self.shared.fault),
            false => self.cells(state, isolation)?,
        };
        let value = match cells.get(key) {
            Some(Cell::Unreadable(value)) if state.options.bypasses_unreadable => Some(value.clone()),
            Some(Cell::Unreadable(_)) if !self.shared.has(Fault::UnreadableReadAsAbsent) => {
                return Err(ErrorCode::ACCESSED_UNREADABLE.into());
            }
            Some(Cell::Value(value)) if !(value.is_empty() && self.shared.has(Fault::EmptyIsAbsent)) => {
                Some(value.clone())
            }
            _ => None,
        };
        if !self.shared.has(Fault::GetAddsNoConflict) {
            self.conflict(state, isolation, KeyRange::of_key(key));
        }
        Ok(value)
    }

    fn try_range(
        &self,
        state: &mut State,
        request: &RangeRequest,
        isolation: Isolation,
    ) -> Result<RangeBatch> {
        let (begin, end) = (request.begin.normalised_key(), request.end.normalised_key());
        let (begin_offset, end_offset) = (request.begin.offset, request.end.offset);
        if begin_offset >= end_offset && begin >= end {
            return Ok(RangeBatch::default());
        }
        let from = match begin_offset {
            // A selector for "this key or the next" needs no look behind an unreadable key.
            1 => Resolved { key: begin.clone(), reached_begin: false, passed_end: false },
            _ => self.resolve(state, isolation, &request.begin)?,
        };
        let to = match end_offset {
            1 => Resolved {
                key: end.clone().min(Bytes::from_static(state.options.read_end)),
                reached_begin: false,
                passed_end: false,
            },
            _ => self.resolve(state, isolation, &request.end)?,
        };
        let given = (request.target_bytes > 0).then_some(request.target_bytes);
        let bytes_max = request.mode.target_bytes().into_iter().chain(given).min().unwrap_or(usize::MAX);
        let mut batch = RangeBatch::default();
        let mut bytes = 0;
        self.walk(state, isolation, (&from.key, &to.key), request.reverse, |row| {
            bytes += 8 + row.key.len() + row.value.len();
            batch.rows.push(row);
            batch.more = (request.limit > 0 && batch.rows.len() >= request.limit) || bytes >= bytes_max;
            batch.more
        })?;
        let mut low = batch.rows.iter().map(|row| row.key.clone()).min();
        let mut high = batch.rows.iter().map(|row| row.key.clone()).max();
        if self.shared.has(Fault::RangeConflictsOnFirstRowAlone) && batch.more {
            high = high.and(low.clone());
        }
        let (mut first, mut last) = match (request.reverse, begin < end) {
            (false, true) if end_offset > 0 && batch.more => (begin.clone(), begin.clone()),
            (true, true) if begin_offset <= 1 && batch.more => (end.clone(), end.clone()),
            (_, true) => (begin.clone(), end.clone()),
            (_, false) => (end.clone(), begin.clone()),
        };
        // A limit takes back the edge that the read did not come to; the edge that it began at would still be moved by a key beyond it.
        if (from.reached_begin || to.reached_begin) && begin_offset <= 0 && !(request.reverse && batch.more) {
            first = Bytes::new();
        }
        if (from.passed_end || to.passed_end) && end_offset > 0 && (request.reverse || !batch.more) {
            last = Bytes::from_static(state.options.read_end);
        }
        if let (Some(low), Some(high)) = (low.take(), high.take()) {
            if request.reverse || begin_offset <= 0 {
                first = first.min(low);
            }
            if last <= high && (!request.reverse || end_offset > 0) {
                last = key_after(&high);
            }
        }
        self.conflict(state, isolation, KeyRange { begin: first, end: last });
        if self.shared.has(Fault::MoreFalseAtExactLimit) && batch.rows.len() == request.limit {
            batch.more = false;
        }
        Ok(batch)
    }

    /// Runs a read: refused ones are not remembered, failed ones fail the commit.
    fn read<T>(
        &self,
        check: impl FnOnce(&State) -> Result<()>,
        work: impl FnOnce(&Self, &mut State) -> Result<T>,
    ) -> KvFuture<T> {
        let mut state = self.lock();
        if let Err(error) = self.check_open(&state).and_then(|()| check(&state)) {
            return KvFuture::error(error);
        }
        state.has_read = true;
        let result = work(self, &mut state);
        if let Err(error) = &result {
            state.failed_read.get_or_insert_with(|| error.clone());
        }
        KvFuture::ready(result)
    }

    fn void(&self, work: impl FnOnce(&mut State) -> Result<()>) {
        let mut state = self.lock();
        if state.deferred.is_some() {
            return;
        }
        let result = match state.phase {
            Phase::CommitStarted => Err(ErrorCode::USED_DURING_COMMIT.into()),
            _ => work(&mut state),
        };
        state.deferred = result.err();
    }
}

/// The greatest key that is surely in the range: its end without the trailing zero, or as near to the end as a key can be written down.
fn last_key_before(range: &KeyRange) -> Bytes {
    match range.end.split_last() {
        Some((0, rest)) if rest >= range.begin.as_ref() => Bytes::copy_from_slice(rest),
        Some((last, rest)) if *last > 0 => {
            let mut key = rest.to_vec();
            key.push(last - 1);
            key.resize(rest.len() + 64, 0xff);
            Bytes::from(key).max(range.begin.clone())
        }
        _ => range.begin.clone(),
    }
}

fn check_write_key(state: &State, key: &[u8]) -> Result<()> {
    if key >= state.options.write_end {
        return Err(ErrorCode::KEY_OUTSIDE_LEGAL_RANGE.into());
    }
    check_key_size(state, key)
}

fn check_key_size(state: &State, key: &[u8]) -> Result<()> {
    let limit =
        if key.starts_with(USER_SPACE_END) { SYSTEM_KEY_SIZE_BYTES_MAX } else { state.options.key_size_max };
    if key.len() > limit { Err(ErrorCode::KEY_TOO_LARGE.into()) } else { Ok(()) }
}

fn check_value(value: &[u8]) -> Result<()> {
    if value.len() > VALUE_SIZE_BYTES_MAX { Err(ErrorCode::VALUE_TOO_LARGE.into()) } else { Ok(()) }
}

fn check_end(key: &[u8], bound: &[u8]) -> Result<()> {
    if key > bound { Err(ErrorCode::KEY_OUTSIDE_LEGAL_RANGE.into()) } else { Ok(()) }
}

fn check_order(begin: &[u8], end: &[u8]) -> Result<()> {
    if begin > end { Err(ErrorCode::INVERTED_RANGE.into()) } else { Ok(()) }
}

fn push(state: &mut State, operation: Operation, conflict: Option<KeyRange>, adds_conflict: bool) {
    state.has_written = true;
    if adds_conflict {
        state.write_conflicts.extend(conflict);
    }
    state.operations.push(operation);
}

impl ReadTransaction for ReferenceTransaction {
    fn get(&self, key: &[u8], isolation: Isolation) -> KvFuture<Option<Bytes>> {
        let check = |state: &State| match key < state.options.read_end || key == METADATA_VERSION_KEY {
            true => Ok(()),
            false => Err(ErrorCode::KEY_OUTSIDE_LEGAL_RANGE.into()),
        };
        self.read(check, |this, state| this.try_get(state, key, isolation))
    }

    fn get_key(&self, selector: &KeySelector, isolation: Isolation) -> KvFuture<Bytes> {
        self.read(
            |state| check_end(&selector.key, state.options.read_end),
            |this, state| {
                let resolved = this.resolve(state, isolation, selector)?;
                let key = selector.normalised_key();
                let range = match selector.offset <= 0 {
                    true => KeyRange { begin: resolved.key.clone(), end: key },
                    false => KeyRange { begin: key, end: key_after(&resolved.key) },
                };
                this.conflict(state, isolation, range);
                Ok(resolved.key)
            },
        )
    }

    fn get_range(&self, request: &RangeRequest, isolation: Isolation) -> KvFuture<RangeBatch> {
        match request.mode {
            StreamingMode::Exact if request.limit == 0 && request.target_bytes == 0 => {
                return KvFuture::error(ErrorCode::EXACT_MODE_WITHOUT_LIMITS);
            }
            StreamingMode::Iterator { iteration: 0 } => {
                return KvFuture::error(ErrorCode::CLIENT_INVALID_OPERATION);
            }
            _ => {}
        }
        let check = |state: &State| {
            check_end(&request.begin.key, state.options.read_end)?;
            check_end(&request.end.key, state.options.read_end)
        };
        self.read(check, |this, state| this.try_range(state, request, isolation))
    }

    fn read_version(&self) -> KvFuture<Version> {
        self.read(
            |_| Ok(()),
            |this, state| Ok(*state.read_version.get_or_insert_with(|| this.shared.read_version())),
        )
    }

    fn estimated_range_size_bytes(&self, begin: &[u8], end: &[u8]) -> KvFuture<u64> {
        self.read(
            |_| check_order(begin, end).and_then(|()| check_end(end, SYSTEM_SPACE_END)),
            |this, _| {
                let newest = this.shared.lock().snapshot(Version::MAX);
                let range = newest.range(Bytes::copy_from_slice(begin)..Bytes::copy_from_slice(end));
                Ok(range.map(|(key, value)| (key.len() + value.len()) as u64).sum())
            },
        )
    }

    fn range_split_points(&self, begin: &[u8], end: &[u8], _chunk_size_bytes: u64) -> KvFuture<Vec<Bytes>> {
        self.read(
            |state| {
                check_order(begin, end)?;
                check_end(end, state.options.read_end)
            },
            |_, _| {
                let mut points = vec![Bytes::copy_from_slice(begin), Bytes::copy_from_slice(end)];
                points.dedup();
                Ok(points)
            },
        )
    }
}

impl WriteTransaction for ReferenceTransaction {
    fn set(&self, key: &[u8], value: &[u8]) {
        self.void(|state| {
            let adds = !std::mem::take(&mut state.skips_next_conflict);
            if key == METADATA_VERSION_KEY && state.options.write_end == USER_SPACE_END {
                return Err(ErrorCode::CLIENT_INVALID_OPERATION.into());
            }
            check_write_key(state, key)?;
            check_value(value)?;
            let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            push(state, Operation::Set { key: key.clone(), value }, Some(KeyRange::of_key(&key)), adds);
            Ok(())
        });
    }

    fn clear(&self, key: &[u8]) {
        self.void(|state| {
            let adds = !std::mem::take(&mut state.skips_next_conflict);
            check_end(&key_after(key), state.options.write_end)?;
            if key.len() <= longest(key) {
                let range = KeyRange::of_key(key);
                let operation = Operation::Clear { begin: range.begin.clone(), end: range.end.clone() };
                push(state, operation, Some(range), adds);
            }
            Ok(())
        });
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) {
        let forgets = self.shared.has(Fault::ClearRangeAddsNoConflict);
        self.void(|state| {
            let adds = !std::mem::take(&mut state.skips_next_conflict);
            check_end(begin, state.options.write_end)?;
            check_end(end, state.options.write_end)?;
            check_order(begin, end)?;
            let range = KeyRange { begin: cut(begin), end: cut(end) };
            if !range.is_empty() {
                let operation = Operation::Clear { begin: range.begin.clone(), end: range.end.clone() };
                push(state, operation, Some(range), adds && !forgets);
            }
            Ok(())
        });
    }

    fn atomic(&self, mutation: MutationType, key: &[u8], operand: &[u8]) {
        self.void(|state| {
            let adds = !std::mem::take(&mut state.skips_next_conflict);
            if key == METADATA_VERSION_KEY {
                if mutation != MutationType::SetVersionstampedValue || operand != [0; 14] {
                    return Err(ErrorCode::CLIENT_INVALID_OPERATION.into());
                }
            } else {
                check_write_key(state, key)?;
            }
            check_key_size(state, key)?;
            check_value(operand)?;
            let unreadable = match mutation {
                MutationType::SetVersionstampedKey => {
                    let offset = VersionstampOffset::parse(key)?;
                    let low = Versionstamp::new(state.read_version.unwrap_or(0), 0);
                    let end =
                        key_after(&offset.fill(&[0xff; 10])).min(Bytes::from_static(state.options.read_end));
                    Some(KeyRange::new(offset.fill(low.as_bytes()), end))
                }
                MutationType::SetVersionstampedValue => VersionstampOffset::parse(operand).map(|_| None)?,
                _ => None,
            };
            let conflict = (mutation != MutationType::SetVersionstampedKey).then(|| KeyRange::of_key(key));
            state.reports_stamped |= unreadable.is_some() && adds;
            let (key, operand) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(operand));
            push(state, Operation::Atomic { mutation, key, operand, unreadable }, conflict, adds);
            Ok(())
        });
    }

    fn add_conflict_range(&self, begin: &[u8], end: &[u8], kind: ConflictKind) -> Result<()> {
        check_order(begin, end)?;
        let mut reads = None;
        self.void(|state| {
            let bound = match kind {
                ConflictKind::Read => state.options.read_end,
                ConflictKind::Write => state.options.write_end,
            };
            if !(kind == ConflictKind::Read && begin == METADATA_VERSION_KEY) {
                check_end(begin, bound)?;
                check_end(end, bound)?;
            }
            let range = KeyRange { begin: cut(begin), end: cut(end) };
            match kind {
                _ if range.is_empty() => {}
                ConflictKind::Read => reads = Some(range),
                ConflictKind::Write => {
                    state.has_written = true;
                    state.write_conflicts.push(range);
                }
            }
            Ok(())
        });
        if let Some(range) = reads {
            self.conflict(&mut self.lock(), Isolation::Serializable, range);
        }
        Ok(())
    }
}

impl Transaction for ReferenceTransaction {
    fn set_option(&self, option: TransactionOption) -> Result<()> {
        if matches!(option, TransactionOption::IdempotencyId(_)) {
            option.validate()?;
        }
        self.void(|state| {
            if option == TransactionOption::NextWriteNoWriteConflictRange {
                state.skips_next_conflict = true;
                return Ok(());
            }
            let is_fresh = !state.has_read && !state.has_written;
            state.options.apply(&option, is_fresh)
        });
        Ok(())
    }

    fn set_read_version(&self, version: Version) {
        self.void(|state| {
            if state.read_version.is_some() {
                return Err(ErrorCode::READ_VERSION_ALREADY_SET.into());
            }
            if version <= 0 {
                return Err(ErrorCode::VERSION_INVALID.into());
            }
            state.read_version = Some(version);
            Ok(())
        });
    }

    fn commit(&self) -> KvFuture<()> {
        let mut state = self.lock();
        let checked = self.check_open(&state).and_then(|()| state.failed_read.clone().map_or(Ok(()), Err));
        let result = checked.and_then(|()| self.try_commit(&mut state));
        if state.phase == Phase::Open {
            state.phase = Phase::CommitStarted;
        }
        if let Err(error) = &result {
            let stamps = std::mem::take(&mut state.stamps);
            stamps.iter().for_each(|stamp| fulfil(stamp, Err(ErrorCode::TRANSACTION_INVALID_VERSION.into())));
            state.abandon(error);
        }
        KvFuture::ready(result)
    }

    fn committed_version(&self) -> Result<Version> {
        Ok(self.lock().committed.map_or(-1, |stamp| stamp.version()))
    }

    fn versionstamp(&self) -> KvFuture<Versionstamp> {
        let mut state = self.lock();
        if let Err(error) = self.check_open(&state) {
            return KvFuture::error(error);
        }
        let (promise, future) = promise();
        state.stamps.push(promise);
        future
    }

    fn watch(&self, key: &[u8]) -> KvFuture<()> {
        {
            let state = self.lock();
            let checked = self.check_open(&state).and_then(|()| match () {
                () if !state.options.read_your_writes => Err(ErrorCode::WATCHES_DISABLED.into()),
                () if key >= state.options.read_end && key != METADATA_VERSION_KEY => {
                    Err(ErrorCode::KEY_OUTSIDE_LEGAL_RANGE.into())
                }
                () => check_key_size(&state, key),
            });
            if let Err(error) = checked {
                return KvFuture::error(error);
            }
        }
        let place = {
            let mut store = self.shared.lock();
            if store.watches_taken >= store.watches_max {
                return KvFuture::error(ErrorCode::TOO_MANY_WATCHES);
            }
            store.watches_taken += 1;
            WatchPlace(self.shared.clone())
        };
        let expected = match self.get(key, Isolation::Serializable).into_ready() {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => return KvFuture::error(error),
            Err(_) => return KvFuture::error(ErrorCode::INTERNAL_ERROR),
        };
        let (promise, active) = promise();
        self.lock().watches.push(Watch { key: Bytes::copy_from_slice(key), expected, place, promise });
        KvFuture::pending(async move {
            let active = active.await?;
            std::future::poll_fn(move |context| {
                let mut signal = active.signal.lock().unwrap_or_else(PoisonError::into_inner);
                if signal.has_fired {
                    return Poll::Ready(Ok(()));
                }
                signal.waker = Some(context.waker().clone());
                Poll::Pending
            })
            .await
        })
    }

    fn on_error(&self, error: &Error) -> KvFuture<()> {
        let mut state = self.lock();
        if state.phase == Phase::Cancelled {
            return KvFuture::error(ErrorCode::TRANSACTION_CANCELLED);
        }
        if let Err(error) = self.check_time(&state) {
            return KvFuture::error(error);
        }
        state.retries += 1;
        let limit = state.options.retry_limit;
        if !error.is_retried_by_on_error() || (limit != -1 && state.retries > limit) {
            state.phase = Phase::Cancelled;
            state.abandon(&ErrorCode::TRANSACTION_CANCELLED.into());
            return KvFuture::error(match error.code() {
                ErrorCode::SUCCESS => ErrorCode::CLIENT_INVALID_OPERATION.into(),
                ErrorCode::END_OF_STREAM => ErrorCode::TRANSACTION_CANCELLED.into(),
                _ => error.clone(),
            });
        }
        let wait = match error.code() {
            ErrorCode::TRANSACTION_TOO_OLD | ErrorCode::FUTURE_VERSION => {
                Duration::from_millis(RETRY_DELAY_MS_INITIAL).min(state.options.max_retry_delay)
            }
            code => {
                let bound = match code {
                    ErrorCode::PROXY_MEMORY_LIMIT_EXCEEDED | ErrorCode::GRV_PROXY_MEMORY_LIMIT_EXCEEDED => {
                        Duration::from_millis(RETRY_DELAY_RESOURCE_CONSTRAINED_MS_MAX)
                    }
                    _ => state.options.max_retry_delay,
                };
                let current = state.backoff.min(bound);
                state.backoff = (current * 2).min(bound);
                let share = (self.shared.env.randomness.next_u64("reference back-off") >> 11) as f64
                    / (1u64 << 53) as f64;
                current.mul_f64(share)
            }
        };
        let kept = state.options.clone();
        let mut options = default_options(&self.shared);
        (options.timeout, options.max_retry_delay) = (kept.timeout, kept.max_retry_delay);
        if !self.shared.has(Fault::RetryLimitForgotten) {
            options.retry_limit = kept.retry_limit;
        }
        state.renew(options);
        drop(state);
        self.shared.env.timer.sleep(wait)
    }

    fn reset(&self) {
        let options = default_options(&self.shared);
        let mut state = self.lock();
        state.renew(options);
        state.started = self.shared.env.clock.monotonic();
        state.retries = 0;
        state.backoff = Duration::from_millis(RETRY_DELAY_MS_INITIAL);
    }

    fn cancel(&self) {
        let mut state = self.lock();
        state.phase = Phase::Cancelled;
        state.abandon(&ErrorCode::TRANSACTION_CANCELLED.into());
    }

    fn has_writes(&self) -> bool {
        self.lock().has_written
    }

    fn approximate_size_bytes(&self) -> KvFuture<u64> {
        let state = self.lock();
        KvFuture::ready(self.check_deferred(&state).map(|()| state.size() as u64))
    }

    fn conflict_ranges(&self, report: ConflictReport) -> KvFuture<Vec<KeyRange>> {
        let state = self.lock();
        let ranges = match report {
            ConflictReport::Read => match &state.failed_read {
                Some(error) => return KvFuture::error(error.clone()),
                None => state.read_conflicts.clone(),
            },
            ConflictReport::Conflicting => state.conflicting.clone(),
            ConflictReport::Write => {
                let mut ranges = state.write_conflicts.clone();
                match state.committed {
                    Some(_) => ranges.extend(state.stamped.iter().map(|key| KeyRange::of_key(key))),
                    None if state.reports_stamped => ranges.extend(unreadable_ranges(&state.operations)),
                    None => {}
                }
                ranges
            }
        };
        KvFuture::ready(Ok(KeyRange::merged(ranges)))
    }
}

impl ReferenceTransaction {
    fn try_commit(&self, state: &mut State) -> Result<()> {
        if !state.has_written {
            if self.shared.has(Fault::ReadOnlyConflicts) {
                self.check_conflicts(state)?;
            }
            self.activate_watches(state);
            let stamps = std::mem::take(&mut state.stamps);
            stamps.iter().for_each(|stamp| fulfil(stamp, Err(ErrorCode::NO_COMMIT_VERSION.into())));
            return Ok(());
        }
        if state.size() > state.options.size_limit {
            return Err(ErrorCode::TRANSACTION_TOO_LARGE.into());
        }
        self.version(state)?;
        self.check_conflicts(state)?;
        let newest = self.shared.read_version();
        let mut store = self.shared.lock();
        let version = newest + 1;
        store.newest = version;
        let order = if self.shared.has(Fault::StampsRepeat) {
            Versionstamp::new(7, 7)
        } else {
            Versionstamp::new(version, 0)
        };
        let mut snapshot = (*store.snapshot(Version::MAX)).clone();
        state.stamped = commit(&mut snapshot, &state.operations, order, self.shared.fault);
        store.snapshots.insert(version, Arc::new(snapshot));
        let mut writes = state.write_conflicts.clone();
        writes.extend(state.stamped.iter().map(|key| KeyRange::of_key(key)));
        store.commits.push((version, writes));
        store.fire_watches();
        drop(store);
        state.committed = Some(match self.shared.has(Fault::StampsRepeat) {
            true => Versionstamp::new(7, 7),
            false => Versionstamp::new(version, 0),
        });
        let stamps = std::mem::take(&mut state.stamps);
        let stamp = state.committed.unwrap_or(order);
        stamps.iter().for_each(|promise| fulfil(promise, Ok(stamp)));
        self.activate_watches(state);
        Ok(())
    }

    fn check_conflicts(&self, state: &mut State) -> Result<()> {
        let read_version = state.read_version.unwrap_or(Version::MAX);
        let reads = match self.shared.has(Fault::WritesConflictWithWrites) {
            true => state.read_conflicts.iter().chain(&state.write_conflicts).cloned().collect(),
            false => state.read_conflicts.clone(),
        };
        // What is reported are whole ranges of the merged ones.
        let reads = KeyRange::merged(reads);
        let mut store = self.shared.lock();
        let later = store.commits.iter().filter(|(version, _)| *version > read_version);
        let writes: Vec<&KeyRange> = later.flat_map(|(_, writes)| writes).collect();
        let hits: Vec<KeyRange> =
            reads.into_iter().filter(|read| writes.iter().any(|write| write.intersects(read))).collect();
        if hits.is_empty() {
            return Ok(());
        }
        if self.shared.has(Fault::RefusedWritesConflict) {
            let version = store.newest + 1;
            store.newest = version;
            store.commits.push((version, state.write_conflicts.clone()));
        }
        if state.options.reports_conflicts {
            state.conflicting = hits;
        }
        Err(ErrorCode::NOT_COMMITTED.into())
    }

    fn activate_watches(&self, state: &mut State) {
        for watch in std::mem::take(&mut state.watches) {
            let signal: Arc<Mutex<WatchSignal>> = Arc::default();
            let active = Arc::new(ActiveWatchFuture { signal: signal.clone(), _place: watch.place });
            fulfil(&watch.promise, Ok(active));
            if self.shared.has(Fault::WatchesLost) {
                continue;
            }
            let mut store = self.shared.lock();
            store.watches.push(ActiveWatch { key: watch.key, expected: watch.expected, signal });
            store.fire_watches();
        }
    }
}
