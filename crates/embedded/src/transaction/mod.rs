//! A transaction of the embedded engine.
//!
//! Reads are answered at once, from the transaction's own writes and the snapshot, without allocating a future; only a read version that
//! the user set into the future makes one wait. All state stands behind one lock, which is never held while somebody waits.

mod options;
mod overlay;
mod reads;
mod sizes;
mod state;
mod view;

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tenantry_kv::limits::{
    METADATA_VERSION_KEY, RETRY_DELAY_MS_INITIAL, RETRY_DELAY_RESOURCE_CONSTRAINED_MS_MAX,
};
use tenantry_kv::{
    ConflictKind, ConflictReport, Error, ErrorCode, Isolation, KeyRange, KeySelector, KvFuture, MutationType,
    RangeBatch, RangeRequest, ReadTransaction, Result, Transaction, TransactionOption, Version, Versionstamp,
    VersionstampOffset, WriteTransaction,
};

use crate::reply::promise;
use crate::seam::{CommitRequest, Gate, Refused, Verdict};
pub(crate) use options::Defaults;
use state::{PendingWatch, Phase, State, over_long};

/// A transaction of the embedded engine.
#[derive(Clone)]
pub(crate) struct EmbeddedTransaction {
    gate: Arc<dyn Gate>,
    defaults: Arc<Mutex<Defaults>>,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for EmbeddedTransaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        formatter.debug_struct("EmbeddedTransaction").field("phase", &state.phase).finish_non_exhaustive()
    }
}

impl EmbeddedTransaction {
    pub(crate) fn new(gate: Arc<dyn Gate>, defaults: Arc<Mutex<Defaults>>) -> EmbeddedTransaction {
        let options = defaults.lock().unwrap_or_else(PoisonError::into_inner).options.clone();
        let state = State::new(options, gate.env().clock.monotonic());
        EmbeddedTransaction { gate, defaults, state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.gate.env().clock.monotonic()
    }

    /// Locks the state for a read that makes sense so far.
    fn begin_read(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.check_deferred()?;
        // Without a timeout nothing here depends on the time, and a look at the clock costs as much as a small read.
        let now = if state.options.timeout.is_some() { self.now() } else { Duration::ZERO };
        state.check_phase(now)?;
        state.has_read = true;
        Ok(state)
    }

    /// Makes sure that there is a read version that may be read at. `Err(None)`: it has to be waited for.
    fn ensure_version(&self, state: &mut State) -> std::result::Result<Version, Option<Error>> {
        if state.is_version_unproven {
            return Err(None);
        }
        if let Some(version) = state.read_version {
            return Ok(version);
        }
        let is_lock_aware = state.options.is_lock_aware || state.options.is_read_lock_aware;
        match self.gate.read_version(is_lock_aware).into_ready() {
            Ok(Ok(version)) => {
                state.read_version = Some(version);
                Ok(version)
            }
            Ok(Err(error)) => Err(Some(error)),
            Err(_) => Err(Some(Error::new(ErrorCode::INTERNAL_ERROR, "a read version was not ready"))),
        }
    }

    /// Runs `read` now if the read version is there, otherwise when it is.
    fn with_version<T: Send + 'static>(
        &self,
        mut state: MutexGuard<'_, State>,
        read: impl FnOnce(&EmbeddedTransaction, &mut State) -> Result<T> + Send + 'static,
    ) -> KvFuture<T> {
        match self.ensure_version(&mut state) {
            Ok(_) => {
                let result = read(self, &mut state);
                KvFuture::ready(remember(&mut state, result))
            }
            Err(Some(error)) => KvFuture::ready(remember(&mut state, Err(error))),
            Err(None) => {
                let (version, generation) = (state.read_version.unwrap_or_default(), state.generation);
                drop(state);
                let transaction = self.clone();
                KvFuture::pending(async move {
                    let arrived = transaction.gate.await_version(version).await;
                    let mut state = transaction.lock();
                    if state.generation != generation || state.phase == Phase::Cancelled {
                        return Err(ErrorCode::TRANSACTION_CANCELLED.into());
                    }
                    if let Err(error) = arrived {
                        return remember(&mut state, Err(error));
                    }
                    state.is_version_unproven = false;
                    let result = read(&transaction, &mut state);
                    remember(&mut state, result)
                })
            }
        }
    }

    fn get_checked(&self, key: &[u8], isolation: Isolation) -> Result<KvFuture<Option<Bytes>>> {
        let mut state = self.begin_read()?;
        state.check_get(key)?;
        if let Some(local) = state.get_locally(key, isolation) {
            if local.is_ok() {
                state.conflict_on_get(key, isolation);
            }
            return Ok(KvFuture::ready(remember(&mut state, local)));
        }
        if let Ok(_version) = self.ensure_version(&mut state) {
            let result = state.get(self.gate.snapshots(), key, isolation);
            return Ok(KvFuture::ready(remember(&mut state, result)));
        }
        let key = Bytes::copy_from_slice(key);
        Ok(self.with_version(state, move |transaction, state| {
            state.get(transaction.gate.snapshots(), &key, isolation)
        }))
    }
}

impl EmbeddedTransaction {
    /// Reads keys with one look. `None` where each has to be asked for by itself: there are own writes, the read version is still to come, or a key is not allowed.
    fn get_together(&self, keys: &[Bytes], isolation: Isolation) -> Option<Result<Vec<Option<Bytes>>>> {
        let mut state = self.begin_read().ok()?;
        let is_plain = |key: &Bytes| state.check_get(key).is_ok() && key.len() <= over_long(key);
        if !state.overlay.is_empty() || !keys.iter().all(is_plain) {
            return None;
        }
        let version = self.ensure_version(&mut state).ok()?;
        keys.iter().for_each(|_| self.gate.count_read(false));
        let values = self.gate.snapshots().get_many(keys, version);
        if values.is_ok() {
            keys.iter().for_each(|key| state.conflict_on_get(key, isolation));
        }
        Some(remember(&mut state, values))
    }
}

/// Keeps the first error of an accepted read: the commit will fail with it.
fn remember<T>(state: &mut State, result: Result<T>) -> Result<T> {
    if let Err(error) = &result {
        state.failed_read.get_or_insert_with(|| error.clone());
    }
    result
}

fn flatten<T>(result: Result<KvFuture<T>>) -> KvFuture<T> {
    result.unwrap_or_else(KvFuture::error)
}

impl ReadTransaction for EmbeddedTransaction {
    fn get(&self, key: &[u8], isolation: Isolation) -> KvFuture<Option<Bytes>> {
        self.gate.count_read(false);
        flatten(self.get_checked(key, isolation))
    }

    fn get_many(&self, keys: &[Bytes], isolation: Isolation) -> Vec<KvFuture<Option<Bytes>>> {
        match self.get_together(keys, isolation) {
            Some(Ok(values)) => values.into_iter().map(|value| KvFuture::ready(Ok(value))).collect(),
            Some(Err(error)) => keys.iter().map(|_| KvFuture::error(error.clone())).collect(),
            None => keys.iter().map(|key| self.get(key, isolation)).collect(),
        }
    }

    fn get_key(&self, selector: &KeySelector, isolation: Isolation) -> KvFuture<Bytes> {
        self.gate.count_read(false);
        let begun = self.begin_read().and_then(|state| state.check_selector(selector).map(|()| state));
        let selector = selector.clone();
        flatten(begun.map(|state| {
            self.with_version(state, move |transaction, state| {
                state.get_key(transaction.gate.snapshots(), &selector, isolation)
            })
        }))
    }

    fn get_range(&self, request: &RangeRequest, isolation: Isolation) -> KvFuture<RangeBatch> {
        self.gate.count_read(true);
        if let Err(error) = reads::check_request(request) {
            return KvFuture::error(error);
        }
        let begun = self.begin_read().and_then(|state| {
            state.check_selector(&request.begin)?;
            state.check_selector(&request.end)?;
            Ok(state)
        });
        let request = request.clone();
        flatten(begun.map(|state| {
            self.with_version(state, move |transaction, state| {
                state.get_range(transaction.gate.snapshots(), &request, isolation)
            })
        }))
    }

    fn read_version(&self) -> KvFuture<Version> {
        flatten(self.begin_read().map(|mut state| match state.read_version {
            Some(version) => KvFuture::ready(Ok(version)),
            None => match self.ensure_version(&mut state) {
                Ok(version) => KvFuture::ready(Ok(version)),
                Err(error) => KvFuture::error(error.unwrap_or_else(|| ErrorCode::INTERNAL_ERROR.into())),
            },
        }))
    }

    fn estimated_range_size_bytes(&self, begin: &[u8], end: &[u8]) -> KvFuture<u64> {
        KvFuture::ready(self.begin_read().map(drop).and_then(|()| sizes::estimate(&*self.gate, begin, end)))
    }

    fn range_split_points(&self, begin: &[u8], end: &[u8], chunk_size_bytes: u64) -> KvFuture<Vec<Bytes>> {
        let bound = self.begin_read().map(|state| state.options.read_end());
        KvFuture::ready(
            bound.and_then(|bound| sizes::split_points(&*self.gate, begin, end, chunk_size_bytes, bound)),
        )
    }
}

impl WriteTransaction for EmbeddedTransaction {
    fn set(&self, key: &[u8], value: &[u8]) {
        self.lock().void(|state| state.set(key, value));
    }

    fn clear(&self, key: &[u8]) {
        self.lock().void(|state| state.clear(key));
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) {
        self.lock().void(|state| state.clear_range(begin, end));
    }

    fn atomic(&self, mutation: MutationType, key: &[u8], operand: &[u8]) {
        self.lock().void(|state| state.atomic(mutation, key, operand));
    }

    fn add_conflict_range(&self, begin: &[u8], end: &[u8], kind: ConflictKind) -> Result<()> {
        state::check_order(begin, end)?;
        self.lock().void(|state| state.add_conflict_range(begin, end, kind));
        Ok(())
    }
}

impl Transaction for EmbeddedTransaction {
    fn set_option(&self, option: TransactionOption) -> Result<()> {
        if let TransactionOption::IdempotencyId(_) = option {
            option.validate()?;
        }
        let mut state = self.lock();
        state.void(|state| {
            if option == TransactionOption::NextWriteNoWriteConflictRange {
                state.skips_next_write_conflict = true;
                return Ok(());
            }
            let is_fresh = !state.has_read && !state.has_written;
            state.options.apply(&option, is_fresh)
        });
        Ok(())
    }

    fn set_read_version(&self, version: Version) {
        self.lock().void(|state| {
            if state.read_version.is_some() {
                return Err(ErrorCode::READ_VERSION_ALREADY_SET.into());
            }
            if version <= 0 {
                let detail = format!("read version {version}: versions are greater than 0");
                return Err(Error::new(ErrorCode::VERSION_INVALID, detail));
            }
            state.read_version = Some(version);
            state.is_version_unproven = true;
            Ok(())
        });
    }

    fn commit(&self) -> KvFuture<()> {
        let mut state = self.lock();
        if let Err(error) = self.check_commit(&state) {
            // A second commit is refused and leaves the first alone; a commit that was refused has been called all the same.
            if state.phase == Phase::Open {
                state.phase = Phase::CommitStarted;
                state.abandon(&error);
            }
            return KvFuture::error(error);
        }
        if state.is_version_unproven && state.has_written {
            return self.commit_when_proven(state);
        }
        state.phase = Phase::CommitStarted;
        if !state.has_written {
            return KvFuture::ready(self.commit_read_only(&mut state));
        }
        self.commit_writes(state)
    }

    fn committed_version(&self) -> Result<Version> {
        Ok(self.lock().committed.map_or(-1, |stamp| stamp.version()))
    }

    fn versionstamp(&self) -> KvFuture<Versionstamp> {
        let mut state = self.lock();
        let checked = state.check_deferred().and_then(|()| state.check_phase(self.now()));
        if let Err(error) = checked {
            return KvFuture::error(error);
        }
        let (sender, receiver) = promise();
        state.stamp_waiters.push(sender);
        KvFuture::pending(async move {
            receiver.await.unwrap_or_else(|| Err(ErrorCode::TRANSACTION_CANCELLED.into()))
        })
    }

    fn watch(&self, key: &[u8]) -> KvFuture<()> {
        flatten(self.prepare_watch(key))
    }

    fn on_error(&self, error: &Error) -> KvFuture<()> {
        match self.prepare_retry(error) {
            Ok(wait) if wait.is_zero() => KvFuture::ready(Ok(())),
            Ok(wait) => self.gate.env().timer.sleep(wait),
            Err(error) => KvFuture::error(error),
        }
    }

    fn reset(&self) {
        let options = self.defaults.lock().unwrap_or_else(PoisonError::into_inner).options.clone();
        let now = self.now();
        let mut state = self.lock();
        state.renew(options);
        state.started = now;
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
        // Also when it is cancelled or committed: nothing is asked of the database.
        KvFuture::ready(state.check_deferred().map(|()| state.size_bytes() as u64))
    }

    fn conflict_ranges(&self, report: ConflictReport) -> KvFuture<Vec<KeyRange>> {
        let state = self.lock();
        let ranges = match report {
            ConflictReport::Read => {
                if let Some(error) = &state.failed_read {
                    return KvFuture::error(error.clone());
                }
                state.read_conflicts.clone()
            }
            ConflictReport::Conflicting => state.conflicting.clone(),
            ConflictReport::Write => {
                let stamped = state.committed.map(|stamp| stamped_keys(&state, stamp));
                let stamped = stamped.unwrap_or_else(|| match state.stamped_keys.is_empty() {
                    true => Vec::new(),
                    false => state.overlay.unreadable_ranges().to_vec(),
                });
                state.write_conflicts.iter().cloned().chain(stamped).collect()
            }
        };
        KvFuture::ready(Ok(KeyRange::merged(ranges)))
    }
}

fn stamped_keys(state: &State, stamp: Versionstamp) -> Vec<KeyRange> {
    let fill = |key: &Bytes| VersionstampOffset::parse(key).map(|offset| offset.fill(stamp.as_bytes()));
    state.stamped_keys.iter().filter_map(|key| fill(key).ok()).map(|key| KeyRange::of_key(&key)).collect()
}

impl EmbeddedTransaction {
    fn check_commit(&self, state: &State) -> Result<()> {
        state.check_phase(self.now())?;
        state.check_deferred()?;
        if let Some(error) = &state.failed_read {
            return Err(error.clone());
        }
        if state.has_written && state.size_bytes() > state.options.size_limit_bytes {
            let detail = format!(
                "the transaction has about {} bytes of writes and conflict ranges, at most {} are allowed; split it",
                state.size_bytes(),
                state.options.size_limit_bytes
            );
            return Err(Error::new(ErrorCode::TRANSACTION_TOO_LARGE, detail));
        }
        if state.has_written && state.options.is_read_lock_aware && !state.options.is_lock_aware {
            let detail = "a transaction that may only read a locked database writes nothing";
            return Err(Error::new(ErrorCode::TRANSACTION_READ_ONLY, detail));
        }
        Ok(())
    }

    fn commit_when_proven(&self, state: MutexGuard<'_, State>) -> KvFuture<()> {
        let (version, generation) = (state.read_version.unwrap_or_default(), state.generation);
        drop(state);
        let transaction = self.clone();
        KvFuture::pending(async move {
            let arrived = transaction.gate.await_version(version).await;
            let commit = {
                let mut state = transaction.lock();
                if state.generation != generation {
                    return Err(ErrorCode::TRANSACTION_CANCELLED.into());
                }
                if let Err(error) = arrived {
                    state.phase = Phase::CommitStarted;
                    state.abandon(&error);
                    return Err(error);
                }
                state.is_version_unproven = false;
                drop(state);
                transaction.commit()
            };
            commit.await
        })
    }

    /// A transaction that writes nothing commits at once, and its watches become active.
    fn commit_read_only(&self, state: &mut State) -> Result<()> {
        for watch in std::mem::take(&mut state.watches) {
            let active = self.gate.watch(watch.ticket, watch.key, watch.expected);
            watch.sender.send(Ok(active));
        }
        for waiter in std::mem::take(&mut state.stamp_waiters) {
            waiter.send(Err(ErrorCode::NO_COMMIT_VERSION.into()));
        }
        Ok(())
    }

    fn commit_writes(&self, mut state: MutexGuard<'_, State>) -> KvFuture<()> {
        let request = CommitRequest {
            read_version: state.read_version,
            mutations: std::mem::take(&mut state.mutations),
            read_conflicts: KeyRange::merged(state.read_conflicts.clone()),
            write_conflicts: state.write_conflicts.clone(),
            reports_conflicts: state.options.reports_conflicts,
            is_lock_aware: state.options.is_lock_aware,
        };
        let (generation, started, timeout) = (state.generation, state.started, state.options.timeout);
        drop(state);
        let (sender, receiver) = promise();
        let transaction = self.clone();
        let done = move |verdict: Verdict| sender.send(transaction.finish_commit(generation, verdict));
        self.gate.commit(request, Box::new(done));
        let answer =
            async move { receiver.await.unwrap_or_else(|| Err(ErrorCode::COMMIT_UNKNOWN_RESULT.into())) };
        let Some(timeout) = timeout else { return KvFuture::pending(answer) };
        let left = (started + timeout).saturating_sub(self.now());
        let timer = self.gate.env().timer.sleep(left);
        KvFuture::pending(async move {
            let (mut answer, mut timer) = (pin!(answer), pin!(timer));
            std::future::poll_fn(move |context| {
                if let Poll::Ready(result) = answer.as_mut().poll(context) {
                    return Poll::Ready(result);
                }
                timer.as_mut().poll(context).map(|_| Err(ErrorCode::TRANSACTION_TIMED_OUT.into()))
            })
            .await
        })
    }

    /// Takes in what became of the commit. Runs on a thread of the engine.
    fn finish_commit(&self, generation: u64, verdict: Verdict) -> Result<()> {
        let mut state = self.lock();
        if state.generation != generation {
            // Reset meanwhile: whoever waited was told so.
            return match verdict {
                Ok(_) => Err(ErrorCode::TRANSACTION_CANCELLED.into()),
                Err(refused) => Err(refused.error),
            };
        }
        match verdict {
            Ok(committed) => {
                state.committed = Some(committed.stamp);
                for waiter in std::mem::take(&mut state.stamp_waiters) {
                    waiter.send(Ok(committed.stamp));
                }
                let watches = std::mem::take(&mut state.watches);
                // A write after commit() had been called poisons what was under way.
                let result = state.check_deferred();
                drop(state);
                for watch in watches {
                    let active = match watch.fires_at_commit {
                        true => KvFuture::ready(Ok(())),
                        false => self.gate.watch(watch.ticket, watch.key, watch.expected),
                    };
                    watch.sender.send(Ok(active));
                }
                result
            }
            Err(Refused { error, conflicting }) => {
                state.conflicting = conflicting;
                for waiter in std::mem::take(&mut state.stamp_waiters) {
                    waiter.send(Err(ErrorCode::TRANSACTION_INVALID_VERSION.into()));
                }
                state.abandon(&error);
                Err(error)
            }
        }
    }

    fn prepare_watch(&self, key: &[u8]) -> Result<KvFuture<()>> {
        {
            let state = self.begin_read()?;
            if !state.options.read_your_writes {
                return Err(ErrorCode::WATCHES_DISABLED.into());
            }
            if key != METADATA_VERSION_KEY {
                state.check_get(key)?;
            }
            state.check_key_size(key)?;
        }
        let ticket = self.gate.watch_ticket()?;
        let value = self.get_checked(key, Isolation::Serializable)?;
        let (sender, receiver) = promise();
        let active = async move {
            match receiver.await {
                Some(Ok(active)) => active.await,
                Some(Err(error)) => Err(error),
                None => Err(ErrorCode::TRANSACTION_CANCELLED.into()),
            }
        };
        let key = Bytes::copy_from_slice(key);
        let watch = |expected| PendingWatch { key, expected, ticket, fires_at_commit: false, sender };
        match value.into_ready() {
            Ok(value) => {
                let value = value?;
                self.lock().watches.push(watch(value));
                Ok(KvFuture::pending(active))
            }
            Err(pending) => {
                let transaction = self.clone();
                Ok(KvFuture::pending(async move {
                    let value = pending.await?;
                    transaction.lock().watches.push(watch(value));
                    active.await
                }))
            }
        }
    }

    /// Makes the transaction ready for another attempt and says how long to wait before it, or fails for good.
    fn prepare_retry(&self, error: &Error) -> Result<Duration> {
        let now = self.now();
        let draw = self.gate.env().randomness.next_u64("transaction back-off");
        let defaults = self.defaults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut state = self.lock();
        if state.phase == Phase::Cancelled {
            return Err(ErrorCode::TRANSACTION_CANCELLED.into());
        }
        state.check_time(now)?;
        let code = error.code();
        state.retries += 1;
        let is_limited = state.options.retry_limit != -1 && state.retries > state.options.retry_limit;
        if is_limited || !error.is_retried_by_on_error() {
            state.phase = Phase::Cancelled;
            state.abandon(&ErrorCode::TRANSACTION_CANCELLED.into());
            return Err(match code {
                ErrorCode::SUCCESS => ErrorCode::CLIENT_INVALID_OPERATION.into(),
                ErrorCode::END_OF_STREAM => ErrorCode::TRANSACTION_CANCELLED.into(),
                _ => error.clone(),
            });
        }
        let wait = match code {
            // Time alone mends these.
            ErrorCode::TRANSACTION_TOO_OLD | ErrorCode::FUTURE_VERSION => {
                Duration::from_millis(RETRY_DELAY_MS_INITIAL).min(state.options.max_retry_delay)
            }
            _ => {
                let is_constrained = matches!(
                    code,
                    ErrorCode::PROXY_MEMORY_LIMIT_EXCEEDED | ErrorCode::GRV_PROXY_MEMORY_LIMIT_EXCEEDED
                );
                let bound = match is_constrained {
                    true => Duration::from_millis(RETRY_DELAY_RESOURCE_CONSTRAINED_MS_MAX),
                    false => state.options.max_retry_delay,
                };
                let current = state.backoff.min(bound);
                state.backoff = (current * 2).min(bound);
                current.mul_f64((draw >> 11) as f64 / (1u64 << 53) as f64)
            }
        };
        let options = state.options.after_on_error(&defaults);
        state.renew(options);
        Ok(wait)
    }
}
