//! The write-ahead log: what makes a commit durable.
//!
//! Records stand in *segments*, files of fixed size that are filled with zeros before use, so that a sync has only data to write. Every
//! opening of the database begins a new segment; what a crash left unfinished at the end of an old one is never written over. A segment
//! goes once the map holds all of its batches; one is kept to be used again.

mod record;
mod recovery;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenantry_kv::env::{Directory, File};
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{Error, ErrorCode, Result, Version};

use crate::seam::Batch;
use record::{Content, HEADER_SIZE, Place, Record};

pub(crate) use recovery::{Recovered, recover};

const SPARE_NAME: &str = "log-spare";
const ZEROS: usize = 1 << 20;
/// The end of a segment, kept free for its seal: damage to the last records does not reach it.
const SEAL_ROOM_BYTES: u64 = 4 << 10;
/// The seal stands at the end of each sector of its room: one that is readable is enough.
const SEAL_STEP_BYTES: u64 = 512;
/// The least a segment has room for.
const SEGMENT_SIZE_BYTES_MIN: u64 = SEAL_ROOM_BYTES + 4 * HEADER_SIZE as u64;

fn segment_name(segment: u64) -> String {
    format!("log-{segment:016x}")
}

fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// The segments that are no longer written to, shared with whoever cuts the log.
pub(crate) struct Closed {
    directory: Arc<dyn Directory>,
    segment_size_bytes: u64,
    segments: Mutex<ClosedSegments>,
}

#[derive(Default)]
struct ClosedSegments {
    /// Number and last sequence of each, ascending.
    closed: VecDeque<(u64, u64)>,
    has_spare: bool,
}

impl Closed {
    fn lock(&self) -> MutexGuard<'_, ClosedSegments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the segments whose records the map holds durably: those with a sequence of at most `applied`.
    ///
    /// # Errors
    ///
    /// 1510.
    pub(crate) fn cut(&self, applied: u64) -> Result<()> {
        let mut state = self.lock();
        let mut has_changed = false;
        let applied = if is_active(Fault::LogCutTooEarly) { u64::MAX } else { applied };
        while let Some((segment, last)) = state.closed.front().copied()
            && last <= applied
        {
            let name = segment_name(segment);
            let is_regular = self.directory.open(&name, false)?.len()? == self.segment_size_bytes;
            if is_regular && !state.has_spare {
                self.directory.rename(&name, SPARE_NAME)?;
                state.has_spare = true;
            } else {
                self.directory.remove(&name)?;
            }
            state.closed.pop_front();
            has_changed = true;
        }
        if has_changed { self.directory.sync() } else { Ok(()) }
    }

    /// Makes a segment ready ahead of its use, if none is.
    ///
    /// # Errors
    ///
    /// 10002, 1510.
    pub(crate) fn prepare_spare(&self) -> Result<()> {
        if self.lock().has_spare {
            return Ok(());
        }
        let file = self.directory.open("log-preparing", true)?;
        fill(&*file, self.segment_size_bytes)?;
        let mut state = self.lock();
        if state.has_spare {
            return self.directory.remove("log-preparing");
        }
        self.directory.rename("log-preparing", SPARE_NAME)?;
        self.directory.sync()?;
        state.has_spare = true;
        Ok(())
    }

    /// How many bytes of closed segments there are.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.lock().closed.len() as u64 * self.segment_size_bytes
    }
}

/// Fills `file` with zeros up to `size_bytes`, durably.
fn fill(file: &dyn File, size_bytes: u64) -> Result<()> {
    let zeros = vec![0; ZEROS];
    let mut at = 0;
    while at < size_bytes {
        let step = (size_bytes - at).min(ZEROS as u64);
        file.write_at(at, &zeros[..step as usize])?;
        at += step;
    }
    file.sync_data()
}

/// The log, from its writer's side.
pub(crate) struct Log {
    closed: Arc<Closed>,
    file: Arc<dyn File>,
    segment: u64,
    offset: u64,
    size_bytes: u64,
    next_sequence: u64,
    /// Everything up to this sequence is on disk.
    durable: u64,
    /// The highest version ceiling written.
    ceiling: Version,
    /// Whether a record is written that is not on disk yet.
    is_dirty: bool,
    poisoned: Option<Error>,
    bytes_written: Arc<AtomicU64>,
}

impl Log {
    /// Goes on behind what was recovered, in a new segment.
    ///
    /// # Errors
    ///
    /// 10002, 1510.
    pub(crate) fn begin(
        directory: Arc<dyn Directory>,
        recovered: &Recovered,
        segment_size_bytes: u64,
        bytes_written: Arc<AtomicU64>,
    ) -> Result<Log> {
        let names = directory.list()?;
        let closed = ClosedSegments {
            closed: recovered.segments.iter().copied().collect(),
            has_spare: names.iter().any(|name| name == SPARE_NAME),
        };
        let closed = Arc::new(Closed {
            directory: directory.clone(),
            segment_size_bytes,
            segments: Mutex::new(closed),
        });
        let segment = recovered.next_segment;
        let size_bytes = segment_size_bytes.max(SEGMENT_SIZE_BYTES_MIN);
        let (file, size_bytes) = open_segment(&closed, segment, size_bytes)?;
        let mut log = Log {
            closed,
            file,
            segment,
            offset: 0,
            size_bytes,
            next_sequence: recovered.next_sequence,
            durable: recovered.next_sequence - 1,
            ceiling: recovered.ceiling,
            is_dirty: false,
            poisoned: None,
            bytes_written,
        };
        log.write(Content::SegmentStart(log.ceiling))?;
        log.sync()?;
        Ok(log)
    }

    /// The closed segments.
    pub(crate) fn closed(&self) -> Arc<Closed> {
        self.closed.clone()
    }

    /// Writes a batch. It is on disk after the next [`sync`](Log::sync). Its sequence number.
    ///
    /// # Errors
    ///
    /// 10002, 1510; 10004 ever after.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<u64> {
        self.write(Content::Batch(Cow::Borrowed(batch)))
    }

    /// Writes a version ceiling.
    ///
    /// # Errors
    ///
    /// As [`append`](Log::append).
    pub(crate) fn append_ceiling(&mut self, ceiling: Version) -> Result<u64> {
        self.ceiling = self.ceiling.max(ceiling);
        self.write(Content::Ceiling(ceiling))
    }

    /// Brings everything written to disk. A mark behind it tells a later recovery that it was there: damage to the last record is then told
    /// from a write that a crash cut short.
    ///
    /// # Errors
    ///
    /// 1510; 10004 ever after: a failed sync is never tried again, since the operating system may have dropped what it could not write.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.check()?;
        if let Err(error) = self.file.sync_data() {
            return Err(self.poison(error));
        }
        self.durable = self.next_sequence - 1;
        self.is_dirty = false;
        Ok(())
    }

    /// Everything up to this sequence number is on disk.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// Writes a mark, to be called when there is nothing else to write. It need not be synced.
    ///
    /// # Errors
    ///
    /// As [`append`](Log::append).
    pub(crate) fn mark(&mut self) -> Result<()> {
        // A mark in a segment of its own would mark nothing that matters.
        if self.offset + HEADER_SIZE as u64 <= self.end() {
            self.write(Content::Mark)?;
        }
        Ok(())
    }

    /// Says at the far end of the segment that everything written is on disk: nothing more is written after this. Damage to the last records, and to the marks right
    /// behind them, is then told from a write that a crash cut short. Asks the disk for no room.
    ///
    /// # Errors
    ///
    /// As [`sync`](Log::sync).
    pub(crate) fn seal(&mut self) -> Result<()> {
        self.check()?;
        let room = self.end() / 8 * 8;
        if self.is_dirty || self.offset > room || is_active(Fault::LogNotSealed) {
            return Ok(());
        }
        let mut bytes = vec![0; (self.size_bytes - room) as usize / 8 * 8];
        for end in (SEAL_STEP_BYTES..=bytes.len() as u64).step_by(SEAL_STEP_BYTES as usize) {
            let begin = end - HEADER_SIZE as u64;
            let record =
                Record { sequence: self.next_sequence, durable: self.durable, content: Content::Mark };
            let seal = record.encode(Place { segment: self.segment, offset: room + begin });
            bytes[begin as usize..end as usize].copy_from_slice(&seal);
        }
        self.offset = self.size_bytes;
        self.file.write_at(room, &bytes)?;
        self.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.sync_data()
    }

    /// Makes sure that a batch can be written without asking the disk for space. Nothing is written if it fails.
    ///
    /// # Errors
    ///
    /// 10002 when there is no room for another segment: the log goes on when there is; 1510 and 10004 as [`append`](Log::append).
    pub(crate) fn reserve(&mut self, batch: &Batch) -> Result<()> {
        self.reserve_bytes(record::encoded_size(batch) as u64 + 8)
    }

    /// As [`reserve`](Log::reserve), for a ceiling.
    pub(crate) fn reserve_for_ceiling(&mut self) -> Result<()> {
        self.reserve_bytes(HEADER_SIZE as u64 + 64)
    }

    fn reserve_bytes(&mut self, size: u64) -> Result<()> {
        self.check()?;
        match self.make_room(size) {
            Err(error) if error.code() != ErrorCode::DISK_FULL => Err(self.poison(error)),
            made => made,
        }
    }

    fn make_room(&mut self, size: u64) -> Result<()> {
        if self.offset + size > self.end() && self.offset > 0 { self.roll(size) } else { Ok(()) }
    }

    /// Where the segment's room for records ends.
    fn end(&self) -> u64 {
        self.size_bytes.saturating_sub(SEAL_ROOM_BYTES)
    }

    fn check(&self) -> Result<()> {
        match &self.poisoned {
            None => Ok(()),
            Some(error) => Err(Error::new(
                ErrorCode::ENGINE_STOPPED,
                format!("the log stopped at: {error}; close the database, mend the cause, and open it again"),
            )),
        }
    }

    fn poison(&mut self, error: Error) -> Error {
        self.poisoned = Some(error.clone());
        error
    }

    fn write(&mut self, content: Content<'_>) -> Result<u64> {
        self.check()?;
        let size = match &content {
            Content::Batch(batch) => record::encoded_size(batch) as u64 + 8,
            _ => HEADER_SIZE as u64 + 8,
        };
        if !matches!(content, Content::Mark) {
            self.make_room(size).map_err(|error| self.poison(error))?;
        }
        let sequence = self.next_sequence;
        let record = Record { sequence, durable: self.durable, content };
        let bytes = record.encode(Place { segment: self.segment, offset: self.offset });
        if let Err(error) = self.file.write_at(self.offset, &bytes) {
            return Err(self.poison(error));
        }
        self.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.offset += bytes.len() as u64;
        self.next_sequence += 1;
        self.is_dirty = true;
        Ok(sequence)
    }

    /// Goes on in a new segment that has room for a record of `size` bytes.
    fn roll(&mut self, size: u64) -> Result<()> {
        // The old segment first: nothing in a later one may be on disk before it.
        if self.is_dirty {
            self.file.sync_data()?;
            self.durable = self.next_sequence - 1;
        }
        let size_bytes =
            (size + HEADER_SIZE as u64 + 16 + SEAL_ROOM_BYTES).max(self.closed.segment_size_bytes);
        let (file, size_bytes) = open_segment(&self.closed, self.segment + 1, size_bytes)?;
        self.closed.lock().closed.push_back((self.segment, self.next_sequence - 1));
        self.segment += 1;
        self.file = file;
        self.offset = 0;
        self.size_bytes = size_bytes;
        self.write(Content::SegmentStart(self.ceiling))?;
        Ok(())
    }
}

/// A file of zeros, or of what an earlier segment left, for `segment`; its name durable in the directory.
fn open_segment(closed: &Closed, segment: u64, size_bytes: u64) -> Result<(Arc<dyn File>, u64)> {
    let name = segment_name(segment);
    let mut state = closed.lock();
    if state.has_spare && size_bytes <= closed.segment_size_bytes {
        closed.directory.rename(SPARE_NAME, &name)?;
        state.has_spare = false;
        let file = closed.directory.open(&name, false)?;
        closed.directory.sync()?;
        let size_bytes = file.len()?;
        return Ok((file, size_bytes));
    }
    drop(state);
    // Under another name until it is whole, so that a crash leaves no half segment.
    let temporary = "log-growing";
    let file = closed.directory.open(temporary, true)?;
    fill(&*file, size_bytes)?;
    closed.directory.rename(temporary, &name)?;
    closed.directory.sync()?;
    Ok((file, size_bytes))
}
