//! The state of a transaction, behind its lock.

use std::time::Duration;

use bytes::Bytes;
use tenantry_kv::limits::{
    CONFLICT_RANGE_OVERHEAD_BYTES, KEY_SIZE_RAW_ACCESS_BYTES_MAX, METADATA_VERSION_KEY,
    MUTATION_OVERHEAD_BYTES, RETRY_DELAY_MS_INITIAL, SYSTEM_KEY_SIZE_BYTES_MAX, USER_SPACE_END,
    VALUE_SIZE_BYTES_MAX,
};
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{
    ConflictKind, Error, ErrorCode, KeyRange, MutationType, Result, Version, Versionstamp, VersionstampOffset,
};

use super::options::Options;
use super::overlay::{Overlay, point};
use crate::reply::Sender;
use crate::seam::{Mutation, WatchTicket};
use tenantry_kv::key_after;

/// Where a transaction is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Commit was called: nothing more is allowed, whatever came of it.
    CommitStarted,
    Cancelled,
}

/// A watch that waits for the commit.
pub(super) struct PendingWatch {
    pub(super) key: Bytes,
    pub(super) expected: Option<Bytes>,
    pub(super) ticket: WatchTicket,
    /// Whether the transaction itself changed the key afterwards by an operation whose result it does not know.
    pub(super) fires_at_commit: bool,
    pub(super) sender: Sender<Result<tenantry_kv::KvFuture<()>>>,
}

pub(super) struct State {
    /// Counts resets: what was begun before the last one is cancelled.
    pub(super) generation: u64,
    pub(super) phase: Phase,
    pub(super) options: Options,
    pub(super) started: Duration,
    pub(super) retries: i64,
    pub(super) backoff: Duration,
    /// The first error of a void operation.
    pub(super) deferred: Option<Error>,
    /// The first error of a read that was accepted.
    pub(super) failed_read: Option<Error>,
    pub(super) read_version: Option<Version>,
    /// Whether the read version was given, and it is not sure yet that it may be read.
    pub(super) is_version_unproven: bool,
    pub(super) has_read: bool,
    pub(super) overlay: Overlay,
    pub(super) mutations: Vec<Mutation>,
    pub(super) mutation_bytes: usize,
    pub(super) read_conflicts: Vec<KeyRange>,
    pub(super) write_conflicts: Vec<KeyRange>,
    pub(super) conflict_bytes: usize,
    pub(super) skips_next_write_conflict: bool,
    pub(super) has_written: bool,
    pub(super) committed: Option<Versionstamp>,
    pub(super) conflicting: Vec<KeyRange>,
    pub(super) stamped_keys: Vec<Bytes>,
    pub(super) watches: Vec<PendingWatch>,
    pub(super) stamp_waiters: Vec<Sender<Result<Versionstamp>>>,
}

impl State {
    pub(super) fn new(options: Options, started: Duration) -> State {
        State {
            generation: 0,
            phase: Phase::Open,
            options,
            started,
            retries: 0,
            backoff: Duration::from_millis(RETRY_DELAY_MS_INITIAL),
            deferred: None,
            failed_read: None,
            read_version: None,
            is_version_unproven: false,
            has_read: false,
            overlay: Overlay::default(),
            mutations: Vec::new(),
            mutation_bytes: 0,
            read_conflicts: Vec::new(),
            write_conflicts: Vec::new(),
            conflict_bytes: 0,
            skips_next_write_conflict: false,
            has_written: false,
            committed: None,
            conflicting: Vec::new(),
            stamped_keys: Vec::new(),
            watches: Vec::new(),
            stamp_waiters: Vec::new(),
        }
    }

    /// Makes the transaction new, with these options; what is left of the old one is cancelled.
    pub(super) fn renew(&mut self, options: Options) {
        let fresh = State {
            generation: self.generation + 1,
            retries: self.retries,
            backoff: self.backoff,
            ..State::new(options, self.started)
        };
        std::mem::replace(self, fresh).abandon(&ErrorCode::TRANSACTION_CANCELLED.into());
    }

    /// Tells everybody who waits for the commit that it does not come.
    pub(super) fn abandon(&mut self, error: &Error) {
        for watch in self.watches.drain(..) {
            watch.sender.send(Err(error.clone()));
        }
        for waiter in self.stamp_waiters.drain(..) {
            waiter.send(Err(error.clone()));
        }
    }

    /// Fails an operation that the transaction's phase or time does not allow.
    pub(super) fn check_phase(&self, now: Duration) -> Result<()> {
        match self.phase {
            Phase::CommitStarted => return Err(ErrorCode::USED_DURING_COMMIT.into()),
            Phase::Cancelled => return Err(ErrorCode::TRANSACTION_CANCELLED.into()),
            Phase::Open => {}
        }
        self.check_time(now)
    }

    pub(super) fn check_time(&self, now: Duration) -> Result<()> {
        match self.options.timeout {
            Some(timeout) if now.saturating_sub(self.started) >= timeout => {
                let detail =
                    format!("the transaction is older than its timeout of {} ms", timeout.as_millis());
                Err(Error::new(ErrorCode::TRANSACTION_TIMED_OUT, detail))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn check_deferred(&self) -> Result<()> {
        self.deferred.clone().map_or(Ok(()), Err)
    }

    /// Runs a void operation, also when the transaction is cancelled: its error is kept as the deferred one, unless there is one already.
    pub(super) fn void(&mut self, work: impl FnOnce(&mut State) -> Result<()>) {
        if self.deferred.is_some() {
            return;
        }
        let result = match self.phase {
            Phase::CommitStarted => Err(ErrorCode::USED_DURING_COMMIT.into()),
            _ => work(self),
        };
        if let Err(error) = result {
            self.deferred = Some(error);
        }
    }

    /// Whether reads of this kind see the transaction's own writes.
    pub(super) fn sees_own_writes(&self, is_snapshot: bool) -> bool {
        self.options.read_your_writes && (!is_snapshot || self.options.snapshot_read_your_writes > 0)
    }

    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let adds_conflict = self.take_write_conflict();
        if key == METADATA_VERSION_KEY && !self.options.writes_system_keys {
            let detail = "this key takes versionstamped values only";
            return Err(Error::new(ErrorCode::CLIENT_INVALID_OPERATION, detail));
        }
        self.check_write_key(key)?;
        self.check_key_size(key)?;
        check_value_size(value)?;
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        if self.options.read_your_writes {
            self.overlay.set(key.clone(), value.clone());
        }
        if adds_conflict {
            self.add_write_conflict(KeyRange { begin: key.clone(), end: key_after(&key) });
        }
        self.push(Mutation::Set { key, value });
        Ok(())
    }

    pub(super) fn clear(&mut self, key: &[u8]) -> Result<()> {
        let adds_conflict = self.take_write_conflict();
        self.check_write_key(key)?;
        if key.len() > over_long(key) {
            return Ok(());
        }
        let (begin, end) = point(key);
        self.clear_checked(begin, end, adds_conflict);
        Ok(())
    }

    pub(super) fn clear_range(&mut self, begin: &[u8], end: &[u8]) -> Result<()> {
        let adds_conflict = self.take_write_conflict();
        check_end(begin, self.options.write_end())?;
        check_end(end, self.options.write_end())?;
        check_order(begin, end)?;
        let (begin, end) = (cut(begin), cut(end));
        if begin < end {
            self.clear_checked(begin, end, adds_conflict);
        }
        Ok(())
    }

    fn clear_checked(&mut self, begin: Bytes, end: Bytes, adds_conflict: bool) {
        if self.options.read_your_writes {
            self.overlay.clear(begin.clone(), end.clone());
        }
        if adds_conflict && !is_active(Fault::ClearNotInWriteSet) {
            self.add_write_conflict(KeyRange { begin: begin.clone(), end: end.clone() });
        }
        self.push(Mutation::ClearRange { begin, end });
    }

    pub(super) fn atomic(&mut self, mutation: MutationType, key: &[u8], operand: &[u8]) -> Result<()> {
        let adds_conflict = self.take_write_conflict();
        if key == METADATA_VERSION_KEY {
            if mutation != MutationType::SetVersionstampedValue || operand != [0; 14] {
                let detail = "this key takes versionstamped values of fourteen zero bytes only";
                return Err(Error::new(ErrorCode::CLIENT_INVALID_OPERATION, detail));
            }
        } else {
            self.check_write_key(key)?;
        }
        self.check_key_size(key)?;
        check_value_size(operand)?;
        let (key, operand) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(operand));
        for watch in &mut self.watches {
            watch.fires_at_commit |= watch.key == key;
        }
        if mutation == MutationType::SetVersionstampedKey {
            let range = self.stamped_range(&key)?;
            if adds_conflict {
                self.stamped_keys.push(key.clone());
            }
            if self.options.read_your_writes {
                self.overlay.make_unreadable(range);
            }
        } else {
            if mutation == MutationType::SetVersionstampedValue {
                VersionstampOffset::parse(&operand)?;
            }
            if adds_conflict {
                self.add_write_conflict(KeyRange { begin: key.clone(), end: key_after(&key) });
            }
            if self.options.read_your_writes {
                self.overlay.atomic(mutation, key.clone(), operand.clone());
            }
        }
        self.push(Mutation::Atomic { mutation, key, operand });
        Ok(())
    }

    /// Where a key with a stamp may come to lie.
    fn stamped_range(&self, key: &[u8]) -> Result<KeyRange> {
        let offset = VersionstampOffset::parse(key)?;
        let lowest = Versionstamp::new(self.read_version.unwrap_or(0), 0);
        let low = offset.fill(lowest.as_bytes());
        let high = offset.fill(&[0xff; 10]);
        let end = key_after(&high).min(Bytes::from_static(self.options.read_end()));
        Ok(KeyRange::new(low, end))
    }

    pub(super) fn add_conflict_range(&mut self, begin: &[u8], end: &[u8], kind: ConflictKind) -> Result<()> {
        let bound = match kind {
            ConflictKind::Read => self.options.read_end(),
            ConflictKind::Write => self.options.write_end(),
        };
        let is_metadata = begin == METADATA_VERSION_KEY && end == key_after(METADATA_VERSION_KEY).as_ref();
        if !(kind == ConflictKind::Read && is_metadata) {
            check_end(begin, bound)?;
            check_end(end, bound)?;
        }
        let range = KeyRange { begin: cut(begin), end: cut(end) };
        if range.is_empty() {
            return Ok(());
        }
        match kind {
            ConflictKind::Read => self.add_read_conflict(range),
            ConflictKind::Write => {
                self.has_written = true;
                self.add_write_conflict(range);
            }
        }
        Ok(())
    }

    /// Adds a range that was read, without the parts that the transaction itself decided.
    pub(super) fn add_read_conflict(&mut self, range: KeyRange) {
        if range.is_empty() {
            return;
        }
        if !self.options.read_your_writes || self.overlay.is_empty() {
            self.push_read_conflict(range);
            return;
        }
        let mut parts = Vec::new();
        self.overlay.undetermined(&range, &mut parts);
        for part in parts {
            self.push_read_conflict(part);
        }
    }

    fn push_read_conflict(&mut self, range: KeyRange) {
        if self.read_conflicts.last() == Some(&range) {
            return;
        }
        self.conflict_bytes += range.begin.len() + range.end.len() + CONFLICT_RANGE_OVERHEAD_BYTES;
        self.read_conflicts.push(range);
    }

    fn add_write_conflict(&mut self, range: KeyRange) {
        self.conflict_bytes += range.begin.len() + range.end.len() + CONFLICT_RANGE_OVERHEAD_BYTES;
        self.write_conflicts.push(range);
    }

    fn take_write_conflict(&mut self) -> bool {
        !std::mem::take(&mut self.skips_next_write_conflict)
    }

    fn push(&mut self, mutation: Mutation) {
        let (Mutation::Set { key: first, value: second }
        | Mutation::ClearRange { begin: first, end: second }
        | Mutation::Atomic { key: first, operand: second, .. }) = &mutation;
        self.mutation_bytes += first.len() + second.len() + MUTATION_OVERHEAD_BYTES;
        self.has_written = true;
        self.mutations.push(mutation);
    }

    /// About how many bytes count towards the size limit.
    pub(super) fn size_bytes(&self) -> usize {
        self.mutation_bytes + self.conflict_bytes
    }

    fn check_write_key(&self, key: &[u8]) -> Result<()> {
        if key < self.options.write_end() { Ok(()) } else { Err(outside(key, self.options.write_end())) }
    }

    pub(super) fn check_key_size(&self, key: &[u8]) -> Result<()> {
        let limit = self.options.key_size_max(key);
        if key.len() <= limit {
            return Ok(());
        }
        let detail =
            format!("the key has {} bytes, at most {limit} are allowed; use a shorter one", key.len());
        Err(Error::new(ErrorCode::KEY_TOO_LARGE, detail))
    }
}

fn check_value_size(value: &[u8]) -> Result<()> {
    if value.len() <= VALUE_SIZE_BYTES_MAX {
        return Ok(());
    }
    let detail = format!(
        "the value has {} bytes, at most {VALUE_SIZE_BYTES_MAX} are allowed; split it over several keys",
        value.len()
    );
    Err(Error::new(ErrorCode::VALUE_TOO_LARGE, detail))
}

/// Fails for a range's end behind `bound`.
pub(super) fn check_end(key: &[u8], bound: &[u8]) -> Result<()> {
    if key <= bound { Ok(()) } else { Err(outside(key, bound)) }
}

/// Fails for an inverted range.
pub(super) fn check_order(begin: &[u8], end: &[u8]) -> Result<()> {
    if begin <= end {
        return Ok(());
    }
    let detail = format!("begin {} is greater than end {}", abbreviated(begin), abbreviated(end));
    Err(Error::new(ErrorCode::INVERTED_RANGE, detail))
}

pub(super) fn outside(key: &[u8], bound: &[u8]) -> Error {
    let detail = format!("key {} is not below {}", abbreviated(key), bound.escape_ascii());
    Error::new(ErrorCode::KEY_OUTSIDE_LEGAL_RANGE, detail)
}

fn abbreviated(key: &[u8]) -> String {
    let shown = key[..key.len().min(64)].escape_ascii();
    if key.len() > 64 { format!("{shown}... ({} bytes)", key.len()) } else { shown.to_string() }
}

/// The length up to which a key of this kind can exist at all.
pub(super) fn over_long(key: &[u8]) -> usize {
    if key.starts_with(USER_SPACE_END) { SYSTEM_KEY_SIZE_BYTES_MAX } else { KEY_SIZE_RAW_ACCESS_BYTES_MAX }
}

/// `key`, cut to one byte more than a key can have: nothing lies between the two.
fn cut(key: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&key[..key.len().min(over_long(key) + 1)])
}
