//! The store: the window over the map, as one state that can be read at any recent version.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{Error, ErrorCode, KeyValue, Result, Version};

use crate::key::Key;
use crate::map::{Applied, Change, Figures, OrderedMap};
use crate::seam::{Batch, ScanLimit, Snapshots, Write};
use crate::stats::{Counters, count};
use crate::window::{Excerpt, Known, Window};

/// How many keys of the window one step of a scan looks at beyond what it was asked for.
const EXCERPT_STEPS_EXTRA: usize = 16;
const EXCERPT_STEPS_MAX: usize = 1_024;
/// What a write takes in memory beside its bytes: in the batch, in the window and in the resolver.
const WRITE_OVERHEAD_BYTES: u64 = 320;
/// About how many bytes of writes one change of the map takes.
const CHANGE_SIZE_BYTES: u64 = 48 << 20;

/// The window and the map.
pub(crate) struct Store {
    window: Window,
    map: Box<dyn OrderedMap>,
    /// No version below this one can be read. Raised before the map takes on what is not newer.
    oldest: AtomicI64,
    pending: Mutex<VecDeque<Pending>>,
    /// The last sequence number of the log that is on disk. What is behind it stays out of the map: a power cut could take it from the log alone.
    durable: AtomicU64,
    size_bytes: AtomicU64,
    counters: Arc<Counters>,
}

/// A batch that the map does not have yet.
struct Pending {
    sequence: u64,
    batch: Arc<Batch>,
    size_bytes: u64,
}

impl Store {
    /// A store over `map`, whose oldest readable version is `oldest`.
    pub(crate) fn new(map: Box<dyn OrderedMap>, oldest: Version, counters: Arc<Counters>) -> Store {
        Store {
            window: Window::default(),
            map,
            oldest: AtomicI64::new(oldest),
            pending: Mutex::default(),
            durable: AtomicU64::new(u64::MAX),
            size_bytes: AtomicU64::new(0),
            counters,
        }
    }

    /// Enters a batch into the window.
    pub(crate) fn enter(&self, sequence: u64, batch: Arc<Batch>) {
        let size_bytes = batch_size_bytes(&batch);
        self.window.enter(&batch);
        self.size_bytes.fetch_add(size_bytes, Ordering::Relaxed);
        self.lock().push_back(Pending { sequence, batch, size_bytes });
    }

    /// Says up to which sequence number the log is on disk. Until this is called all of it is taken to be.
    pub(crate) fn set_durable(&self, sequence: u64) {
        self.durable.store(sequence, Ordering::Release);
    }

    /// The oldest version that can be read.
    pub(crate) fn oldest(&self) -> Version {
        self.oldest.load(Ordering::SeqCst)
    }

    /// Raises the oldest version that can be read.
    pub(crate) fn raise_oldest(&self, version: Version) {
        self.oldest.fetch_max(version, Ordering::SeqCst);
    }

    /// About how many bytes the window takes.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Relaxed)
    }

    /// How many keys and cleared ranges the window holds.
    pub(crate) fn entries(&self) -> usize {
        self.window.len()
    }

    /// The version up to which batches would have to leave, for the window to shrink by `excess_bytes`.
    pub(crate) fn version_to_free(&self, excess_bytes: u64) -> Option<Version> {
        let mut freed = 0;
        let pending = self.lock();
        pending.iter().find_map(|pending| {
            freed += pending.size_bytes;
            (freed >= excess_bytes).then_some(pending.batch.version)
        })
    }

    /// Whether a batch that nobody needs in the window any more waits for the map.
    pub(crate) fn has_due(&self) -> bool {
        let oldest = self.oldest();
        let is_due =
            |pending: &Pending| pending.batch.version <= oldest || is_active(Fault::MapAheadOfReaders);
        self.lock().front().is_some_and(is_due)
    }

    /// How far the map has come.
    ///
    /// # Errors
    ///
    /// The map's own.
    pub(crate) fn applied(&self) -> Result<Applied> {
        self.map.applied()
    }

    /// Brings the map up to the oldest readable version, or a part of the way there. How far it has come, or `None` if nothing was due.
    ///
    /// # Errors
    ///
    /// 10002, 1510, 10001: the map may be unable to go on.
    pub(crate) fn apply_due(&self) -> Result<Option<Applied>> {
        let oldest = self.oldest();
        let durable = self.durable.load(Ordering::Acquire);
        let mut change = Change::default();
        let mut size_bytes = 0;
        let due = {
            let pending = self.lock();
            let due = pending.iter().take_while(|pending| {
                let is_old = pending.batch.version <= oldest || is_active(Fault::MapAheadOfReaders);
                let is_due = is_old && pending.sequence <= durable && size_bytes < CHANGE_SIZE_BYTES;
                size_bytes += if is_due { pending.size_bytes } else { 0 };
                is_due
            });
            let due: Vec<_> = due.map(|pending| (pending.sequence, pending.batch.clone())).collect();
            drop(pending);
            due.iter().for_each(|(sequence, batch)| change.add(batch, *sequence));
            due.len()
        };
        if due == 0 {
            return Ok(None);
        }
        self.map.apply(&change)?;
        self.window.raise_floor(change.applied.version);
        self.window.forget(change.keys.keys().chain(&change.covered), change.applied.version);
        self.window.forget_clears(change.applied.version);
        self.lock().drain(..due);
        self.size_bytes.fetch_sub(size_bytes, Ordering::Relaxed);
        count(&self.counters.map_changes);
        Ok(Some(change.applied))
    }

    /// Does a piece of the map's upkeep; false if there is none to do, or none that `room_bytes` of the disk suffice for.
    ///
    /// # Errors
    ///
    /// As [`apply_due`](Store::apply_due).
    pub(crate) fn maintain(&self, room_bytes: u64) -> Result<bool> {
        self.map.maintain(room_bytes)
    }

    /// What the map takes.
    pub(crate) fn map_figures(&self) -> Figures {
        self.map.figures()
    }

    /// Verifies everything that the map holds. The number of rows.
    ///
    /// # Errors
    ///
    /// 10001, 1510.
    pub(crate) fn check(&self) -> Result<u64> {
        self.map.check()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_readable(&self, version: Version) -> Result<()> {
        let oldest = self.oldest();
        if version >= oldest || is_active(Fault::TooOldCheckSkipped) {
            return Ok(());
        }
        count(&self.counters.too_old);
        let detail = format!(
            "read version {version} is older than {oldest}, the oldest that is kept; make the transaction shorter"
        );
        Err(Error::new(ErrorCode::TRANSACTION_TOO_OLD, detail))
    }

    /// One step of a scan: visits the rows of the part of the range that an excerpt of the window covers.
    fn scan_excerpt(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        excerpt: &Excerpt,
        visit: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<bool> {
        let mut merge = Merge { excerpt, reverse, next: 0, visit, is_stopped: false };
        // The map is asked only for what lies between the cleared ranges: it may still hold millions of keys inside them.
        let mut gaps = Vec::with_capacity(excerpt.cleared.len() + 1);
        let mut from = begin;
        for range in &excerpt.cleared {
            gaps.push((from, range.begin.as_ref()));
            from = range.end.as_ref();
        }
        gaps.push((from, end));
        if reverse {
            gaps.reverse();
        }
        for (from, to) in gaps {
            if from < to {
                self.map.scan(from, to, reverse, &mut |key, value| merge.row(key, value))?;
            }
            if merge.is_stopped {
                return Ok(false);
            }
        }
        merge.rest();
        Ok(!merge.is_stopped)
    }
}

/// Merges rows of the map, in order, with the keys of an excerpt.
struct Merge<'a> {
    excerpt: &'a Excerpt,
    reverse: bool,
    next: usize,
    visit: &'a mut dyn FnMut(&[u8], Bytes) -> bool,
    is_stopped: bool,
}

impl<'a> Merge<'a> {
    fn peek(&self) -> Option<&'a (Key, Option<Bytes>)> {
        let keys = &self.excerpt.keys;
        let index = if self.reverse { keys.len().checked_sub(self.next + 1)? } else { self.next };
        keys.get(index)
    }

    /// Visits the window's keys that come before `key`; true if the window knows `key` itself.
    fn advance(&mut self, key: Option<&[u8]>) -> bool {
        while let Some((known, value)) = self.peek() {
            if let Some(key) = key {
                let order = if self.reverse { key.cmp(known) } else { (**known).cmp(key) };
                match order {
                    std::cmp::Ordering::Greater => return false,
                    std::cmp::Ordering::Equal => return true,
                    std::cmp::Ordering::Less => {}
                }
            }
            self.next += 1;
            if let Some(value) = value
                && !(self.visit)(known, value.clone())
            {
                self.is_stopped = true;
                return false;
            }
        }
        false
    }

    fn row(&mut self, key: &[u8], value: Bytes) -> bool {
        let is_known = self.advance(Some(key));
        if self.is_stopped {
            return false;
        }
        if is_known {
            return true;
        }
        self.is_stopped = !(self.visit)(key, value);
        !self.is_stopped
    }

    fn rest(&mut self) {
        self.advance(None);
    }
}

impl Snapshots for Store {
    fn get(&self, key: &[u8], version: Version) -> Result<Option<Bytes>> {
        self.check_readable(version)?;
        let value = match self.window.get(key, version) {
            Known::State(value) => value,
            Known::Unknown => self.map.get(key)?,
        };
        // Once more: the map may have gone past the version between the two looks.
        self.check_readable(version)?;
        Ok(value)
    }

    fn get_many(&self, keys: &[Bytes], version: Version) -> Result<Vec<Option<Bytes>>> {
        self.check_readable(version)?;
        let mut values = vec![None; keys.len()];
        let mut unknown = Vec::with_capacity(keys.len());
        for (place, (key, value)) in keys.iter().zip(&mut values).enumerate() {
            match self.window.get(key, version) {
                Known::State(known) => *value = known,
                Known::Unknown => unknown.push(place),
            }
        }
        self.map.get_many(&mut unknown.iter().map(|place| &keys[*place][..]), &mut |at, value| {
            values[unknown[at]] = Some(value);
        })?;
        // Once more: the map may have gone past the version between the looks.
        self.check_readable(version)?;
        Ok(values)
    }

    fn scan(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        version: Version,
        limit: ScanLimit,
        rows: &mut Vec<KeyValue>,
    ) -> Result<bool> {
        let (mut begin, mut end) = (Bytes::copy_from_slice(begin), Bytes::copy_from_slice(end));
        let (mut rows_left, mut bytes) = (limit.rows_max, 0);
        while begin < end && rows_left > 0 {
            self.check_readable(version)?;
            let steps_max = rows_left.saturating_add(EXCERPT_STEPS_EXTRA).min(EXCERPT_STEPS_MAX);
            let excerpt = self.window.excerpt(&begin, &end, reverse, version, steps_max);
            let (from, to) = match (&excerpt.reaches, reverse) {
                (Some(reaches), false) => (begin.clone(), reaches.clone()),
                (Some(reaches), true) => (reaches.clone(), end.clone()),
                (None, _) => (begin.clone(), end.clone()),
            };
            let before = rows.len();
            let exhausted = self.scan_excerpt(&from, &to, reverse, &excerpt, &mut |key, value| {
                bytes += key.len() + value.len();
                rows.push(KeyValue { key: Bytes::copy_from_slice(key), value });
                rows_left -= 1;
                rows_left > 0 && bytes < limit.bytes_target
            });
            // The rows read so far are good only if the map did not go past the version meanwhile.
            if let Err(error) = self.check_readable(version) {
                rows.truncate(before);
                return Err(error);
            }
            if !exhausted? {
                return Ok(true);
            }
            if excerpt.reaches.is_none() {
                return Ok(false);
            }
            if reverse { end = from } else { begin = to }
        }
        Ok(begin < end)
    }
}

fn batch_size_bytes(batch: &Batch) -> u64 {
    let size = |write: &Write| match write {
        Write::Set { key: first, value: second } | Write::ClearRange { begin: first, end: second } => {
            first.len() as u64 + second.len() as u64 + WRITE_OVERHEAD_BYTES
        }
    };
    batch.writes.iter().map(size).sum()
}
