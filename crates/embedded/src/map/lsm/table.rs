//! Tables: sorted runs of entries in files that are written once.
//!
//! ```text
//! file      data blocks | directory, each a sealed part
//! directory number of blocks, u32 | for each: its offset, u64, its sealed size, u32, length of its first key, u16, the key
//!           number of cleared ranges, u32 | for each: length of begin, u16, begin, length of end, u16, end
//!           length of the filter, u32 | filter
//! ```
//!
//! An entry says what a key is, or that it is absent; a cleared range says that everything older in it is gone. The entries of a table stand above its own
//! cleared ranges. Where the directory stands says the manifest.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use tenantry_kv::env::{Directory, File};
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{Error, ErrorCode, KeyRange, Result, key_after};

use super::block::{Block, BlockBuilder, CHECKSUM_SIZE, seal, unseal};
use super::filter;
use crate::settings::MapSettings;

/// How many bytes are collected before they are written, and read at once where everything is read.
const CHUNK_SIZE: usize = 256 << 10;
/// How much of a table is written before it is brought to disk, so that a sync of the log never waits for a whole table.
const SYNC_AFTER_BYTES: u64 = 2 << 20;
/// How many files are kept open.
const OPEN_FILES_MAX: usize = 256;
const CACHE_SHARDS: usize = 16;
/// What the cache keeps beside the bytes of a part.
const CACHED_OVERHEAD_BYTES: u64 = 96;
/// This share of the memory is for directories that stay there.
const PINNED_FRACTION: usize = 4;
/// The place of a directory in the cache.
const DIRECTORY_PLACE: u64 = u64::MAX;

pub(super) const NAME_PREFIX: &str = "table-";

fn name_of(number: u64) -> String {
    format!("{NAME_PREFIX}{number:016x}")
}

/// The number in the name of a table's file.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(NAME_PREFIX).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// What the manifest says of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableInfo {
    pub(super) number: u64,
    /// The length of the file.
    pub(super) size_bytes: u64,
    pub(super) directory_offset: u64,
    pub(super) entries: u64,
    /// Whether it has cleared ranges.
    pub(super) clears: bool,
    /// Everything it says anything about lies in here.
    pub(super) range: KeyRange,
}

/// A part of a table in memory.
#[derive(Clone)]
enum Part {
    Block(Block),
    Directory(Arc<BlockDirectory>),
}

#[derive(Clone)]
struct PartWeighter;

impl Weighter<(u64, u64), Part> for PartWeighter {
    fn weight(&self, _place: &(u64, u64), part: &Part) -> u64 {
        let size = match part {
            Part::Block(block) => block.size_bytes(),
            Part::Directory(directory) => directory.size_bytes(),
        };
        size as u64 + CACHED_OVERHEAD_BYTES
    }
}

/// A hash of numbers, without a secret: places are the engine's own, and the same run is to do the same each time.
#[derive(Clone, Default)]
struct PlaceHash;

impl BuildHasher for PlaceHash {
    type Hasher = PlaceHasher;

    fn build_hasher(&self) -> PlaceHasher {
        PlaceHasher(0)
    }
}

struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // The finisher of SplitMix64: every bit of the number reaches every bit of the hash.
        let mut mixed = self.0.rotate_left(5) ^ number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = mixed ^ (mixed >> 31);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Where tables are, and what of them is in memory.
pub(super) struct Tables {
    pub(super) directory: Arc<dyn Directory>,
    /// What errors call the directory.
    pub(super) path: String,
    pub(super) settings: MapSettings,
    pub(super) bytes_written: Arc<AtomicU64>,
    /// The number that the next table gets. None is used twice, not even after a failure.
    pub(super) next_number: AtomicU64,
    pinned_bytes: Arc<AtomicU64>,
    pinned_bytes_max: u64,
    parts: Cache<(u64, u64), Part, PartWeighter, PlaceHash>,
    files: Cache<u64, Arc<dyn File>, quick_cache::UnitWeighter, PlaceHash>,
}

impl Tables {
    pub(super) fn new(
        directory: Arc<dyn Directory>,
        path: &str,
        cache_size_bytes: usize,
        settings: MapSettings,
        bytes_written: Arc<AtomicU64>,
    ) -> Result<Tables> {
        let options = |items: usize, weight: u64, shards: usize| {
            OptionsBuilder::new()
                .shards(shards)
                .estimated_items_capacity(items)
                .weight_capacity(weight)
                .build()
                .map_err(|error| Error::new(ErrorCode::INTERNAL_ERROR, error.to_string()))
        };
        let pinned_bytes_max = cache_size_bytes / PINNED_FRACTION;
        let cache_size_bytes = cache_size_bytes - pinned_bytes_max;
        let items = cache_size_bytes / settings.block_size_bytes.max(1) + 1;
        Ok(Tables {
            directory,
            path: path.to_owned(),
            bytes_written,
            next_number: AtomicU64::new(1),
            pinned_bytes: Arc::default(),
            pinned_bytes_max: pinned_bytes_max as u64,
            parts: Cache::with_options(
                options(items, cache_size_bytes as u64, CACHE_SHARDS)?,
                PartWeighter,
                PlaceHash,
                DefaultLifecycle::default(),
            ),
            files: Cache::with_options(
                options(OPEN_FILES_MAX, OPEN_FILES_MAX as u64, 1)?,
                quick_cache::UnitWeighter,
                PlaceHash,
                DefaultLifecycle::default(),
            ),
            settings,
        })
    }

    /// How many bytes of tables are in memory.
    pub(super) fn cached_bytes(&self) -> u64 {
        self.parts.weight() + self.pinned_bytes.load(Ordering::Relaxed)
    }

    /// Room for a directory that stays in memory as long as its table, if there is any.
    fn pin(&self, size_bytes: usize) -> Option<PinnedBytes> {
        let size_bytes = size_bytes as u64;
        let fits = |pinned: u64| Some(pinned + size_bytes).filter(|pinned| *pinned <= self.pinned_bytes_max);
        self.pinned_bytes.try_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(PinnedBytes { size_bytes, counted: self.pinned_bytes.clone() })
    }

    pub(super) fn damaged(&self, name: &str, offset: u64, what: &str) -> Error {
        let detail =
            format!("{}/{name}: at byte {offset}: {what}; restore the database from a backup", self.path);
        Error::new(ErrorCode::STORAGE_CORRUPT, detail)
    }
}

/// The places of a table's blocks, its cleared ranges and its filter.
pub(super) struct BlockDirectory {
    payload: Bytes,
    blocks: Vec<BlockPlace>,
    cleared: Vec<KeyRange>,
    filter: Bytes,
}

struct BlockPlace {
    offset: u64,
    sealed_size: u32,
    /// Where its first key stands in the payload.
    key_at: u32,
    key_size: u16,
}

impl BlockDirectory {
    fn parse(payload: Bytes) -> Option<BlockDirectory> {
        let mut reader = Reader { bytes: &payload, at: 0 };
        let count = reader.u32()?;
        let mut blocks = Vec::with_capacity((count as usize).min(payload.len() / 14));
        for _ in 0..count {
            let (offset, sealed_size, key_size) = (reader.u64()?, reader.u32()?, reader.u16()?);
            let key_at = u32::try_from(reader.at).ok()?;
            reader.take(usize::from(key_size))?;
            blocks.push(BlockPlace { offset, sealed_size, key_at, key_size });
        }
        let count = reader.u32()?;
        let mut cleared = Vec::with_capacity((count as usize).min(payload.len() / 4));
        for _ in 0..count {
            let begin = reader.string()?;
            let end = reader.string()?;
            cleared.push(KeyRange { begin, end });
        }
        let filter_size = reader.u32()? as usize;
        let filter_at = reader.at;
        reader.take(filter_size)?;
        (reader.at == payload.len()).then_some(())?;
        Some(BlockDirectory { filter: payload.slice(filter_at..), payload, blocks, cleared })
    }

    fn size_bytes(&self) -> usize {
        self.payload.len()
            + self.blocks.len() * size_of::<BlockPlace>()
            + self.cleared.len() * size_of::<KeyRange>()
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    fn first_key(&self, block: &BlockPlace) -> &[u8] {
        let at = block.key_at as usize;
        &self.payload[at..at + usize::from(block.key_size)]
    }

    /// How many blocks begin with a key below `key`.
    pub(super) fn blocks_below(&self, key: &[u8]) -> usize {
        self.blocks.partition_point(|block| self.first_key(block) < key)
    }

    /// The block in which `key` would stand.
    pub(super) fn block_of(&self, key: &[u8]) -> Option<usize> {
        self.blocks.partition_point(|block| self.first_key(block) <= key).checked_sub(1)
    }

    /// Whether `key` would stand in this block of the table and in no other.
    pub(super) fn is_block_of(&self, index: usize, key: &[u8]) -> bool {
        let is_behind = |block: &BlockPlace| self.first_key(block) > key;
        // Behind the last block, the table's own end would have to be asked.
        self.blocks.get(index + 1).is_some_and(is_behind)
            && self.blocks.get(index).is_some_and(|block| !is_behind(block))
    }

    pub(super) fn may_contain(&self, hash: u64) -> bool {
        filter::may_contain(&self.filter, hash)
    }

    pub(super) fn cleared(&self) -> &[KeyRange] {
        &self.cleared
    }

    /// The cleared range around `key`.
    pub(super) fn cleared_around(&self, key: &[u8]) -> Option<&KeyRange> {
        let index = self.cleared.partition_point(|range| range.end.as_ref() <= key);
        self.cleared.get(index).filter(|range| range.begin.as_ref() <= key)
    }
}

/// Reads little-endian fields; `None` past the end.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a Bytes,
    pub(super) at: usize,
}

impl Reader<'_> {
    pub(super) fn take(&mut self, size: usize) -> Option<&[u8]> {
        let end = self.at.checked_add(size)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string behind its length, a slice of what is read.
    pub(super) fn string(&mut self) -> Option<Bytes> {
        let size = usize::from(self.u16()?);
        let at = self.at;
        self.take(size)?;
        Some(self.bytes.slice(at..at + size))
    }
}

/// Appends a string behind its length.
pub(super) fn put_string(bytes: &mut Vec<u8>, string: &[u8]) {
    bytes.extend_from_slice(&(string.len() as u16).to_le_bytes());
    bytes.extend_from_slice(string);
}

/// A table. The last one to let go of a superseded one removes its file.
pub(super) struct Table {
    pub(super) info: TableInfo,
    tables: Arc<Tables>,
    is_superseded: AtomicBool,
    /// The directory, where there is room to keep it: the cache would be asked for it with every read.
    pinned: OnceLock<(Arc<BlockDirectory>, PinnedBytes)>,
}

impl Table {
    pub(super) fn new(info: TableInfo, tables: Arc<Tables>) -> Table {
        Table { info, tables, is_superseded: AtomicBool::new(false), pinned: OnceLock::new() }
    }

    /// Says that no later state of the map has this table.
    pub(super) fn supersede(&self) {
        self.is_superseded.store(true, Ordering::Release);
    }

    fn file(&self) -> Result<Arc<dyn File>> {
        let number = self.info.number;
        if let Some(file) = self.tables.files.get(&number) {
            return Ok(file);
        }
        let opened =
            self.tables.directory.open(&name_of(number), false).map_err(|error| match error.code() {
                ErrorCode::STORAGE_NOT_FOUND => self.damaged(0, "the file is missing"),
                _ => error,
            })?;
        self.tables.files.insert(number, opened.clone());
        Ok(opened)
    }

    fn damaged(&self, offset: u64, what: &str) -> Error {
        self.tables.damaged(&name_of(self.info.number), offset, what)
    }

    fn read(&self, offset: u64, size: usize) -> Result<Bytes> {
        if offset.checked_add(size as u64).is_none_or(|end| end > self.info.size_bytes) {
            return Err(self.damaged(offset, "the file is shorter than the manifest says"));
        }
        let mut bytes = vec![0; size];
        self.file()?.read_at(offset, &mut bytes)?;
        Ok(bytes.into())
    }

    fn unsealed(&self, sealed: &Bytes, offset: u64) -> Result<Bytes> {
        unseal(sealed, self.info.number, offset)
            .ok_or_else(|| self.damaged(offset, "its checksum does not match"))
    }

    fn parsed(&self, sealed: &Bytes, offset: u64) -> Result<Block> {
        Block::parse(self.unsealed(sealed, offset)?)
            .ok_or_else(|| self.damaged(offset, "a block makes no sense"))
    }

    fn read_directory(&self) -> Result<BlockDirectory> {
        let offset = self.info.directory_offset;
        let size = usize::try_from(self.info.size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let payload = self.unsealed(&self.read(offset, size)?, offset)?;
        BlockDirectory::parse(payload).ok_or_else(|| self.damaged(offset, "its directory makes no sense"))
    }

    pub(super) fn directory(&self) -> Result<Held<'_>> {
        match self.pinned.get() {
            Some((directory, _)) => Ok(Held::Pinned(directory)),
            None => self.find_directory().map(Held::Shared),
        }
    }

    fn find_directory(&self) -> Result<Arc<BlockDirectory>> {
        let place = (self.info.number, DIRECTORY_PLACE);
        if let Some(Part::Directory(directory)) = self.tables.parts.get(&place) {
            return Ok(directory);
        }
        let directory = Arc::new(self.read_directory()?);
        if let Some(bytes) = self.tables.pin(directory.size_bytes()) {
            let _ = self.pinned.set((directory.clone(), bytes));
            return Ok(directory);
        }
        self.tables.parts.insert(place, Part::Directory(directory.clone()));
        Ok(directory)
    }

    pub(super) fn block(&self, directory: &BlockDirectory, index: usize) -> Result<Block> {
        let BlockPlace { offset, sealed_size, .. } = directory.blocks[index];
        let place = (self.info.number, offset);
        if let Some(Part::Block(block)) = self.tables.parts.get(&place) {
            return Ok(block);
        }
        let block = self.parsed(&self.read(offset, sealed_size as usize)?, offset)?;
        self.tables.parts.insert(place, Part::Block(block.clone()));
        Ok(block)
    }

    /// Reads blocks from `first` on past the cache, as many as one read should bring.
    pub(super) fn read_blocks(&self, directory: &BlockDirectory, first: usize) -> Result<Vec<Block>> {
        let blocks = &directory.blocks[first..];
        let begin = blocks[0].offset;
        let end_of = |block: &BlockPlace| block.offset + u64::from(block.sealed_size);
        let count = blocks.partition_point(|block| end_of(block) - begin <= CHUNK_SIZE as u64).max(1);
        let size = usize::try_from(end_of(&blocks[count - 1]) - begin).unwrap_or(usize::MAX);
        let bytes = self.read(begin, size)?;
        let parse = |block: &BlockPlace| {
            let at = (block.offset - begin) as usize;
            self.parsed(&bytes.slice(at..at + block.sealed_size as usize), block.offset)
        };
        blocks[..count].iter().map(parse).collect()
    }

    /// Reads and verifies every part of the file.
    pub(super) fn verify(&self) -> Result<()> {
        let directory = self.read_directory()?;
        let (mut block, mut entries) = (0, 0);
        while block < directory.len() {
            let blocks = self.read_blocks(&directory, block)?;
            entries += blocks.iter().map(|block| block.len() as u64).sum::<u64>();
            block += blocks.len();
        }
        match entries == self.info.entries {
            true => Ok(()),
            false => {
                let what = format!("it holds {entries} entries, not {}", self.info.entries);
                Err(self.damaged(0, &what))
            }
        }
    }
}

/// A directory in memory: its table's own, or the cache's.
pub(super) enum Held<'a> {
    Pinned(&'a BlockDirectory),
    Shared(Arc<BlockDirectory>),
}

impl Deref for Held<'_> {
    type Target = BlockDirectory;

    fn deref(&self) -> &BlockDirectory {
        match self {
            Held::Pinned(directory) => directory,
            Held::Shared(directory) => directory,
        }
    }
}

/// Bytes that are counted as pinned until this is dropped.
struct PinnedBytes {
    size_bytes: u64,
    counted: Arc<AtomicU64>,
}

impl Drop for PinnedBytes {
    fn drop(&mut self) {
        self.counted.fetch_sub(self.size_bytes, Ordering::AcqRel);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if self.is_superseded.load(Ordering::Acquire) {
            self.tables.files.remove(&self.info.number);
            // What stays is removed when the database is opened again.
            let _ = self.tables.directory.remove(&name_of(self.info.number));
        }
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt(formatter)
    }
}

/// Writes a table, from its lowest key to its highest.
pub(super) struct TableWriter {
    tables: Arc<Tables>,
    file: Arc<dyn File>,
    number: u64,
    block: BlockBuilder,
    /// The first key of the block that is being built.
    block_key: Vec<u8>,
    /// What is to be written, and where.
    buffer: Vec<u8>,
    written: u64,
    synced: u64,
    /// The directory so far: its blocks.
    places: Vec<u8>,
    blocks: u32,
    hashes: Vec<u64>,
    first_key: Option<Bytes>,
    last_key: Vec<u8>,
    is_finished: bool,
}

impl TableWriter {
    /// Begins a file.
    ///
    /// # Errors
    ///
    /// 10002, 1510.
    pub(super) fn begin(tables: &Arc<Tables>) -> Result<TableWriter> {
        let number = tables.next_number.fetch_add(1, Ordering::AcqRel);
        let file = tables.directory.open(&name_of(number), true)?;
        file.set_len(0)?;
        Ok(TableWriter {
            tables: tables.clone(),
            file,
            number,
            block: BlockBuilder::default(),
            block_key: Vec::new(),
            buffer: Vec::new(),
            written: 0,
            synced: 0,
            places: Vec::new(),
            blocks: 0,
            hashes: Vec::new(),
            first_key: None,
            last_key: Vec::new(),
            is_finished: false,
        })
    }

    /// About how long the file is.
    pub(super) fn size_bytes(&self) -> u64 {
        self.written + (self.buffer.len() + self.block.size_bytes()) as u64
    }

    /// Adds an entry behind the others.
    ///
    /// # Errors
    ///
    /// 10002, 1510.
    pub(super) fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        if self.block.is_empty() {
            self.block_key.clear();
            self.block_key.extend_from_slice(key);
        }
        self.block.add(key, value);
        self.hashes.push(filter::hash(key));
        self.first_key.get_or_insert_with(|| Bytes::copy_from_slice(key));
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        match self.block.size_bytes() >= self.tables.settings.block_size_bytes {
            true => self.end_block(),
            false => Ok(()),
        }
    }

    fn end_block(&mut self) -> Result<()> {
        let (start, offset) = (self.buffer.len(), self.written + self.buffer.len() as u64);
        self.block.finish(&mut self.buffer);
        seal(&mut self.buffer, start, self.number, offset);
        self.places.extend_from_slice(&offset.to_le_bytes());
        self.places.extend_from_slice(&((self.buffer.len() - start) as u32).to_le_bytes());
        put_string(&mut self.places, &self.block_key);
        self.blocks += 1;
        if self.buffer.len() >= CHUNK_SIZE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_at(self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.tables.bytes_written.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
        self.buffer.clear();
        if self.written - self.synced >= SYNC_AFTER_BYTES {
            self.file.sync_data()?;
            self.synced = self.written;
        }
        Ok(())
    }

    /// Ends the table, with the ranges that it clears (ascending, disjoint), and brings it to disk. Its name is durable after the next sync of the directory.
    ///
    /// # Errors
    ///
    /// 10002, 1510.
    pub(super) fn finish(mut self, cleared: &[KeyRange]) -> Result<Table> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        let (start, offset) = (self.buffer.len(), self.written + self.buffer.len() as u64);
        self.buffer.extend_from_slice(&self.blocks.to_le_bytes());
        self.buffer.append(&mut self.places);
        self.buffer.extend_from_slice(&(cleared.len() as u32).to_le_bytes());
        for range in cleared {
            put_string(&mut self.buffer, &range.begin);
            put_string(&mut self.buffer, &range.end);
        }
        let filter = filter::build(&self.hashes);
        self.buffer.extend_from_slice(&(filter.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(&filter);
        seal(&mut self.buffer, start, self.number, offset);
        self.flush()?;
        if !is_active(Fault::TableNotSynced) {
            self.file.sync_data()?;
        }
        debug_assert!(self.written - offset > CHECKSUM_SIZE as u64);
        let ends = self.first_key.as_ref().map(|first| (first.clone(), key_after(&self.last_key)));
        let ranges = cleared.iter().map(|range| (range.begin.clone(), range.end.clone())).chain(ends);
        let range = ranges.reduce(|(begin, end), (from, to)| (begin.min(from), end.max(to))).map_or_else(
            || KeyRange::new(Bytes::new(), Bytes::new()),
            |(begin, end)| KeyRange { begin, end },
        );
        let info = TableInfo {
            number: self.number,
            size_bytes: self.written,
            directory_offset: offset,
            entries: self.hashes.len() as u64,
            clears: !cleared.is_empty(),
            range,
        };
        self.tables.files.insert(self.number, self.file.clone());
        self.is_finished = true;
        Ok(Table::new(info, self.tables.clone()))
    }
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        if !self.is_finished {
            // What stays is removed when the database is opened again.
            let _ = self.tables.directory.remove(&name_of(self.number));
        }
    }
}
