//! redb's file with a checksum on every block.
//!
//! redb does not verify its pages when it reads them. This adapter stands between redb and the file: it cuts redb's address space
//! into blocks of 4,096 bytes and stores each with sixteen more, so that damage is found at the first physical read.
//!
//! ```text
//! physical block, 4,112 bytes:  payload 4,096 | generation u64 | checksum u64 (XXH3 of payload, generation and block number)
//! physical blocks 0 and 1:      block 0 of redb's space (its header, rewritten in place), written in turn; the valid one with
//!                               the greater generation counts, so that a torn write of it leaves the other
//! physical block n + 1:         block n of redb's space, n >= 1, with generation 0
//! ```
//!
//! A block that was never written is all zeros on disk and reads as an error, since redb reads only what it wrote.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::StorageBackend;
use tenantry_kv::env::File;
use tenantry_kv::{Error, ErrorCode, Result};
use twox_hash::XxHash3_64;

/// The bytes of a block that redb sees.
const PAYLOAD_SIZE: usize = 4_096;
/// The bytes of a block on disk.
pub(crate) const PHYSICAL_SIZE: usize = PAYLOAD_SIZE + 16;

/// A file of checksummed blocks.
pub(crate) struct BlockFile {
    file: Arc<dyn File>,
    name: String,
    /// The length of redb's space in bytes.
    length: AtomicU64,
    /// The newest valid header block and its generation.
    header: Mutex<Option<(Vec<u8>, u64)>>,
    bytes_written: Arc<AtomicU64>,
}

impl BlockFile {
    /// Opens the file, which `name` names in errors. Bytes written are added to `bytes_written`.
    pub(crate) fn open(file: Arc<dyn File>, name: &str, bytes_written: Arc<AtomicU64>) -> Result<BlockFile> {
        let blocks = file.len()? / PHYSICAL_SIZE as u64;
        let length = AtomicU64::new(blocks.saturating_sub(1) * PAYLOAD_SIZE as u64);
        let opened =
            BlockFile { file, name: name.to_owned(), length, header: Mutex::new(None), bytes_written };
        if blocks >= 2 {
            *opened.header.lock().unwrap_or_else(PoisonError::into_inner) = opened.read_header()?;
        }
        Ok(opened)
    }

    fn read_header(&self) -> Result<Option<(Vec<u8>, u64)>> {
        let mut best: Option<(Vec<u8>, u64)> = None;
        let mut written = false;
        for slot in 0..2 {
            let mut physical = vec![0; PHYSICAL_SIZE];
            self.file.read_at(slot * PHYSICAL_SIZE as u64, &mut physical)?;
            written |= physical.iter().any(|byte| *byte != 0);
            if let Some(generation) = verify(&physical, 0)
                && best.as_ref().is_none_or(|(_, newest)| generation > *newest)
            {
                physical.truncate(PAYLOAD_SIZE);
                best = Some((physical, generation));
            }
        }
        if best.is_none() && written {
            return Err(self.damaged(0, "neither copy of the header block is valid"));
        }
        Ok(best)
    }

    fn damaged(&self, block: u64, what: &str) -> Error {
        let offset = if block == 0 { 0 } else { (block + 1) * PHYSICAL_SIZE as u64 };
        let detail = format!(
            "{}: block {block} at byte {offset}: {what}; restore the database from a backup",
            self.name
        );
        Error::new(ErrorCode::STORAGE_CORRUPT, detail)
    }

    /// Reads `count` whole blocks from `first` on.
    fn read_blocks(&self, first: u64, count: usize, written_only: bool) -> Result<Vec<u8>> {
        let mut payload = Vec::with_capacity(count * PAYLOAD_SIZE);
        let mut first = first;
        let mut count = count;
        if first == 0 && count > 0 {
            match &*self.header.lock().unwrap_or_else(PoisonError::into_inner) {
                Some((header, _)) => payload.extend_from_slice(header),
                None => payload.resize(PAYLOAD_SIZE, 0),
            }
            first = 1;
            count -= 1;
        }
        if count == 0 {
            return Ok(payload);
        }
        let mut physical = vec![0; count * PHYSICAL_SIZE];
        self.file.read_at((first + 1) * PHYSICAL_SIZE as u64, &mut physical)?;
        for (index, block) in physical.chunks_exact(PHYSICAL_SIZE).enumerate() {
            let number = first + index as u64;
            let is_valid = verify(block, number).is_some();
            if !is_valid && (written_only || block.iter().any(|byte| *byte != 0)) {
                return Err(self.damaged(number, "its checksum does not match"));
            }
            payload.extend_from_slice(&block[..PAYLOAD_SIZE]);
        }
        Ok(payload)
    }

    fn write_blocks(&self, first: u64, payload: &[u8]) -> Result<()> {
        let (mut first, mut payload) = (first, payload);
        if first == 0 && !payload.is_empty() {
            let (header, rest) = payload.split_at(PAYLOAD_SIZE);
            let mut current = self.header.lock().unwrap_or_else(PoisonError::into_inner);
            let generation = current.as_ref().map_or(0, |(_, generation)| *generation) + 1;
            let mut physical = Vec::with_capacity(PHYSICAL_SIZE);
            seal(&mut physical, header, 0, generation);
            self.write_physical((generation % 2) * PHYSICAL_SIZE as u64, &physical)?;
            *current = Some((header.to_vec(), generation));
            (first, payload) = (1, rest);
        }
        if payload.is_empty() {
            return Ok(());
        }
        let mut physical = Vec::with_capacity(payload.len() / PAYLOAD_SIZE * PHYSICAL_SIZE);
        for (index, block) in payload.chunks_exact(PAYLOAD_SIZE).enumerate() {
            seal(&mut physical, block, first + index as u64, 0);
        }
        self.write_physical((first + 1) * PHYSICAL_SIZE as u64, &physical)
    }

    fn write_physical(&self, offset: u64, physical: &[u8]) -> Result<()> {
        self.bytes_written.fetch_add(physical.len() as u64, Ordering::Relaxed);
        self.file.write_at(offset, physical)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let end = offset + out.len() as u64;
        if end > self.length.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorCode::IO_ERROR,
                format!("{}: a read past the end, at byte {offset}", self.name),
            ));
        }
        let first = offset / PAYLOAD_SIZE as u64;
        let count = end.div_ceil(PAYLOAD_SIZE as u64) - first;
        let payload = self.read_blocks(first, count as usize, true)?;
        let skip = (offset - first * PAYLOAD_SIZE as u64) as usize;
        out.copy_from_slice(&payload[skip..skip + out.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let end = offset + data.len() as u64;
        let first = offset / PAYLOAD_SIZE as u64;
        let count = (end.div_ceil(PAYLOAD_SIZE as u64) - first) as usize;
        let skip = (offset - first * PAYLOAD_SIZE as u64) as usize;
        if skip == 0 && data.len() == count * PAYLOAD_SIZE {
            return self.write_blocks(first, data);
        }
        let mut payload = self.read_blocks(first, count, false)?;
        payload[skip..skip + data.len()].copy_from_slice(data);
        self.write_blocks(first, &payload)
    }
}

/// Appends `payload` as a physical block.
fn seal(physical: &mut Vec<u8>, payload: &[u8], number: u64, generation: u64) {
    let start = physical.len();
    physical.extend_from_slice(payload);
    physical.extend_from_slice(&generation.to_le_bytes());
    let checksum = checksum(&physical[start..], number);
    physical.extend_from_slice(&checksum.to_le_bytes());
}

/// The generation of a physical block, if it is the one that belongs at `number`.
fn verify(physical: &[u8], number: u64) -> Option<u64> {
    let (sealed, found) = physical.split_last_chunk::<8>()?;
    if checksum(sealed, number) != u64::from_le_bytes(*found) {
        return None;
    }
    let (_, generation) = sealed.split_last_chunk::<8>()?;
    Some(u64::from_le_bytes(*generation))
}

fn checksum(sealed: &[u8], number: u64) -> u64 {
    // The place is the seed, so that a block that was written to the wrong place is found.
    XxHash3_64::oneshot_with_seed(number.wrapping_add(0x7465_6e61_6e74_7279), sealed)
}

impl fmt::Debug for BlockFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BlockFile({})", self.name)
    }
}

fn to_io(error: Error) -> io::Error {
    let kind =
        if error.code() == ErrorCode::DISK_FULL { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
    io::Error::new(kind, error)
}

impl StorageBackend for BlockFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.length.load(Ordering::Acquire))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        BlockFile::read(self, offset, out).map_err(to_io)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let blocks = length.div_ceil(PAYLOAD_SIZE as u64);
        let physical = if length == 0 { 0 } else { (blocks + 1) * PHYSICAL_SIZE as u64 };
        self.file.set_len(physical).map_err(to_io)?;
        self.length.store(blocks * PAYLOAD_SIZE as u64, Ordering::Release);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(to_io)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        BlockFile::write(self, offset, data).map_err(to_io)
    }
}
