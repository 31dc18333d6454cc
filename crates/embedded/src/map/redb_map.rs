//! The map of a durable database: a redb B-tree in a file of checksummed blocks, with a checksum on every value.
//!
//! redb keeps its handle dead after an I/O error and panics on some kinds of damage. Both end here: every call goes through one
//! boundary that turns them into typed errors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use bytes::Bytes;
use redb::{Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};
use tenantry_kv::env::File;
use tenantry_kv::{Error, ErrorCode, KeyRange, Result};
use twox_hash::XxHash3_64;

use super::block_file::BlockFile;
use super::{Applied, Change, OrderedMap, Visit};

const DATA: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("data");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const META_VERSION: &str = "applied version";
const META_SEQUENCE: &str = "applied sequence";
/// How many keys one step of a range clear removes.
const CLEAR_STEP_KEYS: usize = 20_000;
const CHECKSUM_SIZE: usize = 8;

type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// An ordered map in a redb file.
pub(crate) struct RedbMap {
    database: Database,
    /// The newest state, ready to be read: opening a read transaction for every read would cost as much as the read.
    newest: ArcSwap<Table>,
    name: String,
}

impl RedbMap {
    /// Opens or creates the map in `file`, which `name` names in errors.
    ///
    /// # Errors
    ///
    /// 10001 when the file is damaged; 1510.
    pub(crate) fn open(
        file: Arc<dyn File>,
        name: &str,
        cache_size_bytes: usize,
        bytes_written: Arc<AtomicU64>,
    ) -> Result<RedbMap> {
        let blocks = BlockFile::open(file, name, bytes_written)?;
        let database = guard(name, || {
            let database = Builder::new().set_cache_size(cache_size_bytes).create_with_backend(blocks)?;
            let transaction = begin(&database)?;
            transaction.open_table(DATA)?;
            transaction.open_table(META)?;
            transaction.commit()?;
            Ok(database)
        })?;
        let table = guard(name, || newest(&database))?;
        Ok(RedbMap { database, newest: ArcSwap::from_pointee(table), name: name.to_owned() })
    }

    fn guard<T>(&self, work: impl FnOnce() -> Result<T, Failure>) -> Result<T> {
        guard(&self.name, work)
    }

    fn refresh(&self) -> Result<(), Failure> {
        self.newest.store(Arc::new(newest(&self.database)?));
        Ok(())
    }

    /// Removes the keys of `range` in steps, each a transaction of its own.
    fn clear(&self, range: &KeyRange) -> Result<(), Failure> {
        loop {
            let transaction = begin(&self.database)?;
            let is_done = {
                let mut table = transaction.open_table(DATA)?;
                let step_end = {
                    let mut keys = table.range::<&[u8]>(range.begin.as_ref()..range.end.as_ref())?;
                    keys.nth(CLEAR_STEP_KEYS).transpose()?.map(|(key, _)| key.value().to_vec())
                };
                let end = step_end.as_deref().unwrap_or(&range.end);
                table.retain_in::<&[u8], _>(range.begin.as_ref()..end, |_, _| false)?;
                step_end.is_none()
            };
            transaction.commit()?;
            self.refresh()?;
            if is_done {
                return Ok(());
            }
        }
    }
}

impl OrderedMap for RedbMap {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.guard(|| {
            let table = self.newest.load();
            let Some(stored) = table.get(key)? else { return Ok(None) };
            Ok(Some(verified(&self.name, key, stored.value())?))
        })
    }

    fn scan(&self, begin: &[u8], end: &[u8], reverse: bool, visit: Visit<'_>) -> Result<()> {
        if begin >= end {
            return Ok(());
        }
        self.guard(|| {
            let table = self.newest.load_full();
            let mut range = table.range::<&[u8]>(begin..end)?;
            while let Some(row) = if reverse { range.next_back() } else { range.next() } {
                let (key, stored) = row?;
                let value = verified(&self.name, key.value(), stored.value())?;
                if !visit(key.value(), value) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn apply(&self, change: &Change) -> Result<()> {
        self.guard(|| {
            for range in &change.cleared {
                self.clear(range)?;
            }
            let transaction = begin(&self.database)?;
            {
                let mut table = transaction.open_table(DATA)?;
                let mut stored = Vec::new();
                for (key, value) in &change.keys {
                    match value {
                        Some(value) => {
                            stored.clear();
                            stored.extend_from_slice(&checksum(key, value).to_le_bytes());
                            stored.extend_from_slice(value);
                            table.insert(key.as_ref(), stored.as_slice())?;
                        }
                        None => drop(table.remove(key.as_ref())?),
                    }
                }
                let mut meta = transaction.open_table(META)?;
                meta.insert(META_VERSION, change.applied.version.cast_unsigned())?;
                meta.insert(META_SEQUENCE, change.applied.sequence)?;
            }
            transaction.commit()?;
            self.refresh()
        })
    }

    fn applied(&self) -> Result<Applied> {
        self.guard(|| {
            let meta = self.database.begin_read()?.open_table(META)?;
            let number =
                |name| -> Result<u64, Failure> { Ok(meta.get(name)?.map_or(0, |stored| stored.value())) };
            Ok(Applied { version: number(META_VERSION)?.cast_signed(), sequence: number(META_SEQUENCE)? })
        })
    }

    fn check(&self) -> Result<u64> {
        self.guard(|| {
            // A fresh read transaction, and every value through its checksum: all pages that hold data are read.
            let table = newest(&self.database)?;
            let mut rows = 0;
            for row in table.range::<&[u8]>(..)? {
                let (key, stored) = row?;
                verified(&self.name, key.value(), stored.value())?;
                rows += 1;
            }
            Ok(rows)
        })
    }
}

fn begin(database: &Database) -> Result<redb::WriteTransaction, Failure> {
    let mut transaction = database.begin_write()?;
    transaction
        .set_durability(Durability::Immediate)
        .map_err(|error| Failure::Redb(Box::new(error.into())))?;
    // Two phases and the saved allocator state: reopening after a crash reads a page or two, whatever the size of the file.
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

fn newest(database: &Database) -> Result<Table, Failure> {
    Ok(database.begin_read()?.open_table(DATA)?)
}

fn checksum(key: &[u8], value: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(key), value)
}

fn verified(name: &str, key: &[u8], stored: &[u8]) -> Result<Bytes, Failure> {
    let (found, value) = stored.split_at(CHECKSUM_SIZE.min(stored.len()));
    if found != checksum(key, value).to_le_bytes() {
        let detail = format!(
            "{name}: the value of key {} does not match its checksum; restore the database from a backup",
            key.escape_ascii()
        );
        return Err(Failure::Ours(Error::new(ErrorCode::STORAGE_CORRUPT, detail)));
    }
    Ok(Bytes::copy_from_slice(value))
}

/// What can go wrong behind the boundary.
enum Failure {
    Ours(Error),
    Redb(Box<redb::Error>),
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Failure {
                Failure::Redb(Box::new(error.into()))
            }
        })*
    };
}
from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError
);

/// The boundary: a panic or an error of redb comes out as a typed error.
fn guard<T>(name: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Failure::Ours(error))) => Err(error),
        Ok(Err(Failure::Redb(error))) => Err(typed(name, *error)),
        Err(_) => Err(Error::new(
            ErrorCode::STORAGE_CORRUPT,
            format!("{name}: the stored structure makes no sense; restore the database from a backup"),
        )),
    }
}

fn typed(name: &str, error: redb::Error) -> Error {
    match error {
        redb::Error::Io(error) => match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(error) => Error::new(ErrorCode::IO_ERROR, format!("{name}: {error}")),
        },
        redb::Error::Corrupted(what) => Error::new(
            ErrorCode::STORAGE_CORRUPT,
            format!("{name}: {what}; restore the database from a backup"),
        ),
        redb::Error::PreviousIo => Error::new(
            ErrorCode::ENGINE_STOPPED,
            format!("{name}: an earlier disk operation failed; close the database and open it again"),
        ),
        error => Error::new(ErrorCode::IO_ERROR, format!("{name}: {error}")),
    }
}
