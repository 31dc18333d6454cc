//! The manifest: the file that says which tables the map consists of.
//!
//! ```text
//! "TMF1" | payload | XXH3 of the payload, u64
//! payload  applied version, i64 | applied sequence, u64 | number of the next table, u64 | number of recent tables, u32 | the tables
//!          | number of levels, u32 | for each: number of tables, u32 | the tables
//! table    number, u64 | size, u64 | offset of its directory, u64 | entries, u64 | has cleared ranges, u16 | begin | end, each behind its length, u16
//! ```
//!
//! It is written whole, under another name first: at any moment the directory holds one whole manifest.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tenantry_kv::{ErrorCode, KeyRange, Result};
use twox_hash::XxHash3_64;

use super::levels::Levels;
use super::table::{Reader, Table, TableInfo, Tables, put_string};
use crate::map::Applied;

const NAME: &str = "map";
const NEXT_NAME: &str = "map-next";
const MAGIC: &[u8; 4] = b"TMF1";

/// What the directory's manifest says; `None` if there is none.
///
/// # Errors
///
/// 10001 when it is damaged; 1510.
pub(super) fn read(tables: &Arc<Tables>) -> Result<Option<Levels>> {
    let file = match tables.directory.open(NAME, false) {
        Ok(file) => file,
        Err(error) if error.code() == ErrorCode::STORAGE_NOT_FOUND => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
    file.read_at(0, &mut bytes)?;
    let bytes = Bytes::from(bytes);
    decode(&bytes, tables).map(Some).ok_or_else(|| tables.damaged(NAME, 0, "the manifest is damaged"))
}

/// Writes what says `levels` beside the manifest, and makes the tables' names durable. Until [`take_effect`] the manifest is the one before.
///
/// # Errors
///
/// 10002, 1510.
pub(super) fn prepare(tables: &Tables, levels: &Levels) -> Result<()> {
    let bytes = encode(levels, tables.next_number.load(Ordering::Acquire));
    let directory = &tables.directory;
    // Never over what a crash left under this name.
    directory.remove(NEXT_NAME)?;
    let file = directory.open(NEXT_NAME, true)?;
    file.write_at(0, &bytes)?;
    file.sync_data()?;
    tables.bytes_written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    directory.sync()
}

/// Makes what was prepared the manifest. If it fails, either may be.
///
/// # Errors
///
/// 1510.
pub(super) fn take_effect(tables: &Tables) -> Result<()> {
    tables.directory.rename(NEXT_NAME, NAME)?;
    tables.directory.sync()
}

fn encode(levels: &Levels, next_number: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&levels.applied.version.to_le_bytes());
    bytes.extend_from_slice(&levels.applied.sequence.to_le_bytes());
    bytes.extend_from_slice(&next_number.to_le_bytes());
    put_tables(&mut bytes, &levels.recent);
    bytes.extend_from_slice(&(levels.sorted.len() as u32).to_le_bytes());
    levels.sorted.iter().for_each(|level| put_tables(&mut bytes, level));
    let checksum = XxHash3_64::oneshot(&bytes[MAGIC.len()..]);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn put_tables(bytes: &mut Vec<u8>, tables: &[Arc<Table>]) {
    bytes.extend_from_slice(&(tables.len() as u32).to_le_bytes());
    for table in tables {
        let TableInfo { number, size_bytes, directory_offset, entries, clears, range } = &table.info;
        for number in [number, size_bytes, directory_offset, entries] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&u16::from(*clears).to_le_bytes());
        put_string(bytes, &range.begin);
        put_string(bytes, &range.end);
    }
}

fn decode(bytes: &Bytes, tables: &Arc<Tables>) -> Option<Levels> {
    let (body, checksum) = bytes.split_last_chunk::<8>()?;
    let payload = body.strip_prefix(MAGIC)?;
    (XxHash3_64::oneshot(payload) == u64::from_le_bytes(*checksum)).then_some(())?;
    let payload = bytes.slice(MAGIC.len()..body.len());
    let mut reader = Reader { bytes: &payload, at: 0 };
    let applied = Applied { version: reader.u64()?.cast_signed(), sequence: reader.u64()? };
    tables.next_number.fetch_max(reader.u64()?, Ordering::AcqRel);
    let recent = take_tables(&mut reader, tables)?;
    let levels = reader.u32()?;
    let sorted: Vec<_> = (0..levels).map(|_| take_tables(&mut reader, tables)).collect::<Option<_>>()?;
    (reader.at == payload.len()).then_some(Levels { applied, recent, sorted })
}

fn take_tables(reader: &mut Reader<'_>, tables: &Arc<Tables>) -> Option<Vec<Arc<Table>>> {
    let count = reader.u32()?;
    let mut taken = Vec::new();
    for _ in 0..count {
        let info = TableInfo {
            number: reader.u64()?,
            size_bytes: reader.u64()?,
            directory_offset: reader.u64()?,
            entries: reader.u64()?,
            clears: reader.u16()? != 0,
            range: KeyRange { begin: reader.string()?, end: reader.string()? },
        };
        taken.push(Arc::new(Table::new(info, tables.clone())));
    }
    Some(taken)
}
