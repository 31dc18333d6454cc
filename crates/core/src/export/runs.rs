//! Sorted runs of rows in an area: blocks with a checksum, and several runs read as one.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use bytes::Bytes;
use twox_hash::XxHash3_64;

use super::area::Area;
use crate::error::{Code, Error, Result};

/// A block is closed when it has so many bytes.
const BLOCK_SIZE_BYTES: usize = 128 << 10;
/// Length of the block (4 bytes) and its checksum (8).
const HEAD_SIZE_BYTES: usize = 12;
/// Length of a key and length of a value, plus one, 4 bytes each; the latter is zero for a row that is gone.
const ROW_HEAD_SIZE_BYTES: usize = 8;

/// What a key has; `None` if it is gone.
pub(super) type Row = (Bytes, Option<Bytes>);

/// Rows in the order of their keys, somewhere in an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) begin: u64,
    pub(super) end: u64,
}

/// Writes rows at the end of an area. They come in the order of their keys.
#[derive(Default)]
pub(super) struct RunWriter {
    block: Vec<u8>,
}

impl RunWriter {
    pub(super) fn push(&mut self, area: &mut Area, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let size = |size: usize| u32::try_from(size).map_err(|_| damaged("a row is too long"));
        self.block.extend_from_slice(&size(key.len())?.to_le_bytes());
        self.block.extend_from_slice(&size(value.map_or(0, |value| value.len() + 1))?.to_le_bytes());
        self.block.extend_from_slice(key);
        self.block.extend_from_slice(value.unwrap_or_default());
        if self.block.len() >= BLOCK_SIZE_BYTES { self.close(area) } else { Ok(()) }
    }

    /// Writes what is left.
    pub(super) fn close(&mut self, area: &mut Area) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let size_bytes = u32::try_from(self.block.len()).map_err(|_| damaged("a block is too long"))?;
        let mut head = [0; HEAD_SIZE_BYTES];
        head[..4].copy_from_slice(&size_bytes.to_le_bytes());
        head[4..].copy_from_slice(&XxHash3_64::oneshot(&self.block).to_le_bytes());
        area.append(&head)?;
        area.append(&self.block)?;
        self.block.clear();
        Ok(())
    }
}

/// Reads a run.
pub(super) struct RunReader {
    run: Run,
    block: Bytes,
}

impl RunReader {
    pub(super) fn new(run: Run) -> RunReader {
        RunReader { run, block: Bytes::new() }
    }

    pub(super) fn next(&mut self, area: &Area) -> Result<Option<Row>> {
        if self.block.is_empty() {
            if self.run.begin >= self.run.end {
                return Ok(None);
            }
            self.read_block(area)?;
        }
        let mut take = |size: usize| match size <= self.block.len() {
            true => Ok(self.block.split_to(size)),
            false => Err(damaged("a row is cut")),
        };
        let head = take(ROW_HEAD_SIZE_BYTES)?;
        let key = take(number(&head[..4]))?;
        let value = number(&head[4..]).checked_sub(1).map(take).transpose()?;
        Ok(Some((key, value)))
    }

    fn read_block(&mut self, area: &Area) -> Result<()> {
        let mut head = [0; HEAD_SIZE_BYTES];
        area.read_at(self.run.begin, &mut head)?;
        let size_bytes = number(&head[..4]);
        let begin = self.run.begin + HEAD_SIZE_BYTES as u64;
        let end = begin + size_bytes as u64;
        if size_bytes == 0 || end > self.run.end {
            return Err(damaged("a block has a length that it cannot have"));
        }
        let mut block = vec![0; size_bytes];
        area.read_at(begin, &mut block)?;
        if XxHash3_64::oneshot(&block).to_le_bytes() != head[4..] {
            return Err(damaged("a checksum does not match"));
        }
        self.run.begin = end;
        self.block = block.into();
        Ok(())
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.try_into().map_or(0, u32::from_le_bytes) as usize
}

fn damaged(what: &str) -> Error {
    Error::new(Code::StoredDataInvalid, format!("what an export put aside cannot be read: {what}"))
}

/// Several runs as one: of rows with the same key the one of the newest run.
#[derive(Default)]
pub(super) struct Merge {
    /// The newest last.
    readers: Vec<RunReader>,
    heads: BinaryHeap<Head>,
    is_begun: bool,
}

struct Head {
    row: Row,
    /// The place of its run: a greater one is newer.
    age: usize,
}

/// The least key comes first, of equal ones that of the newest run.
impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        other.row.0.cmp(&self.row.0).then(self.age.cmp(&other.age))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl Merge {
    /// The runs from the oldest to the newest.
    pub(super) fn new(runs: impl IntoIterator<Item = Run>) -> Merge {
        Merge { readers: runs.into_iter().map(RunReader::new).collect(), ..Merge::default() }
    }

    /// The next row, gone ones included.
    pub(super) fn next(&mut self, area: &Area) -> Result<Option<Row>> {
        if !self.is_begun {
            self.is_begun = true;
            (0..self.readers.len()).try_for_each(|age| self.advance(age, area))?;
        }
        let Some(first) = self.heads.pop() else { return Ok(None) };
        self.advance(first.age, area)?;
        while let Some(older) = self.heads.peek().filter(|head| head.row.0 == first.row.0) {
            let age = older.age;
            self.heads.pop();
            self.advance(age, area)?;
        }
        Ok(Some(first.row))
    }

    fn advance(&mut self, age: usize, area: &Area) -> Result<()> {
        if let Some(row) = self.readers[age].next(area)? {
            self.heads.push(Head { row, age });
        }
        Ok(())
    }
}
