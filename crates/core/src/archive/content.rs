//! What a tenant holds, as one hash: equal for two tenants if and only if they have the same records, raw keys, counters and sequences under the same schema.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::format::{ArchiveFrame, Frame};
use super::source::{Piece, read_piece};
use crate::access::Operation;
use crate::consistent_scan::NextStep;
use crate::database::Database;
use crate::error::{Code, Error, Result, limit};
use crate::export::area::AreaOptions;
use crate::export::spool::Spool;
use crate::limits::{ARCHIVE_CLEARS_MAX, EXPORT_MEMORY_SIZE_BYTES_DEFAULT, EXPORT_MEMORY_SIZE_BYTES_MIN};
use crate::messages::{ArchiveChange, ArchivePart};
use crate::tenant::Tenant;
use crate::tenant_state::Pass;

/// How many rows a step of a hash reads at first, and at most.
const STEP_ROWS: (usize, usize) = (1_000, 20_000);

/// What a hash may put aside, and where: it reads the tenant as an export does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentOptions {
    /// A directory for what does not fit into memory. Without one, a tenant that needs one fails with 20060.
    pub directory: Option<String>,
    /// How much stays in memory, in bytes. Default 64,000,000.
    pub memory_size_bytes_max: usize,
}

impl Default for ContentOptions {
    fn default() -> ContentOptions {
        ContentOptions { directory: None, memory_size_bytes_max: EXPORT_MEMORY_SIZE_BYTES_DEFAULT }
    }
}

/// What a tenant, or a stream of one, holds at a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentHash {
    /// BLAKE3 over the schema and every row in its order; versions of records are no part of it.
    pub hash: [u8; 32],
    /// The version in the database that it was read from.
    pub version: i64,
    /// How many records, raw keys, counters and sequences there are.
    pub rows: u64,
    /// Their keys and values, in bytes.
    pub size_bytes: u64,
}

impl ContentHash {
    /// The hash in 64 digits.
    pub fn to_hex(&self) -> String {
        blake3::Hash::from_bytes(self.hash).to_hex().to_string()
    }
}

impl Tenant {
    /// The hash of what the tenant holds at one version, however long it takes and whoever writes meanwhile; also while it is suspended.
    ///
    /// # Errors
    ///
    /// 20010; 20060 for what does not fit into memory, without a directory; 20090; the engine's own, and those of the directory.
    pub async fn content_hash(&self, options: &ContentOptions) -> Result<ContentHash> {
        self.authorize(Operation::ArchiveTenant)?;
        let tenant = &self.clone().with_pass(Pass::Operator);
        loop {
            let schema = tenant.schema().await?;
            let mut content = Content::new(&tenant.database, options)?;
            content.begin(&String::from_utf8_lossy(&schema.definition.to_stored()?));
            let (mut cursor, mut step_rows) = (Bytes::new(), STEP_ROWS.0);
            loop {
                let rows_max = &AtomicUsize::new(step_rows.saturating_mul(2));
                let cursor_of = &cursor;
                let (piece, found) = tenant
                    .read(|transaction| async move {
                        let rows = (rows_max.load(Ordering::Relaxed) / 2).max(1);
                        rows_max.store(rows, Ordering::Relaxed);
                        let piece = read_piece(&transaction, cursor_of, rows).await?;
                        Ok::<_, Error>((piece, transaction.schema().clone()))
                    })
                    .await?;
                step_rows = rows_max.load(Ordering::Relaxed).saturating_mul(2).min(STEP_ROWS.1);
                let is_other = (found.uuid, found.version) != (schema.uuid, schema.version);
                if is_other || piece.next == NextStep::Restart {
                    break;
                }
                content.take_piece(&piece)?;
                match piece.next {
                    NextStep::More(next) => cursor = next,
                    _ => return content.finish(piece.version),
                }
            }
        }
    }
}

/// The hash of what a stream holds, without a tenant: what an import of it would give.
pub struct ArchiveHasher {
    content: Content,
    version: Option<i64>,
}

impl fmt::Debug for ArchiveHasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ArchiveHasher({:?})", self.version)
    }
}

impl ArchiveHasher {
    /// One that puts aside as the database does.
    ///
    /// # Errors
    ///
    /// 20060 for a bound on the memory under 64,000 bytes.
    pub fn new(database: &Database, options: &ContentOptions) -> Result<ArchiveHasher> {
        Ok(ArchiveHasher { content: Content::new(database, options)?, version: None })
    }

    /// Takes the next frame of the stream.
    ///
    /// # Errors
    ///
    /// 20160; 20060 for what does not fit into memory; those of the directory.
    pub fn take(&mut self, frame: &ArchiveFrame) -> Result<()> {
        match &frame.0 {
            Frame::Header(header) => self.content.begin(&header.schema),
            Frame::Block(block) if block.restarts => self.content.restart(),
            Frame::Block(block) => {
                match block.is_chunk {
                    true => self.content.append(&block.changes)?,
                    false => self.content.patch(&block.changes)?,
                }
                self.version = block.is_last.then_some(block.version);
            }
        }
        Ok(())
    }

    /// The hash, once the last frame was taken.
    ///
    /// # Errors
    ///
    /// 20162 before that.
    pub fn finish(self) -> Result<ContentHash> {
        let Some(version) = self.version else {
            return Err(Error::new(Code::ArchiveIncomplete, "its last frame is missing"));
        };
        self.content.finish(version)
    }
}

/// The rows in their order, put aside until all are there.
pub(crate) struct Content {
    database: Database,
    area: AreaOptions,
    spool: Spool,
    /// Ranges of raw keys that went, with the number of the change that made them go: rows of an earlier number in them are gone.
    clears: Vec<(Bytes, Bytes, u64)>,
    changes: u64,
    schema: String,
}

impl Content {
    fn new(database: &Database, options: &ContentOptions) -> Result<Content> {
        if options.memory_size_bytes_max < EXPORT_MEMORY_SIZE_BYTES_MIN {
            let (found, least) = (options.memory_size_bytes_max, EXPORT_MEMORY_SIZE_BYTES_MIN);
            return Err(limit("the least bytes that a hash keeps in memory", found, least));
        }
        let area = AreaOptions {
            directory: options.directory.clone(),
            memory_size_bytes_max: options.memory_size_bytes_max,
        };
        let spool = Spool::new(&database.inner.env, &area);
        Ok(Content {
            database: database.clone(),
            area,
            spool,
            clears: Vec::new(),
            changes: 0,
            schema: String::new(),
        })
    }

    fn begin(&mut self, schema: &str) {
        schema.clone_into(&mut self.schema);
    }

    fn restart(&mut self) {
        self.spool = Spool::new(&self.database.inner.env, &self.area);
        self.clears.clear();
    }

    fn take_piece(&mut self, piece: &Piece) -> Result<()> {
        self.patch(&piece.changes)?;
        self.append(&piece.chunk)
    }

    fn append(&mut self, rows: &[ArchiveChange]) -> Result<()> {
        self.changes += 1;
        for row in rows {
            let Some(value) = &row.value else {
                return Err(Error::new(Code::ArchiveDamaged, "a chunk of rows holds a row without a value"));
            };
            self.spool.append(&row_key(row), &numbered(self.changes, value))?;
        }
        Ok(())
    }

    fn patch(&mut self, changes: &[ArchiveChange]) -> Result<()> {
        for change in changes {
            self.changes += 1;
            match &change.end {
                Some(end) => {
                    let begin = row_key(change);
                    let end = row_key(&ArchiveChange { key: end.clone(), ..change.clone() });
                    if self.clears.len() >= ARCHIVE_CLEARS_MAX {
                        return Err(limit(
                            "the ranges of raw keys that are cleared while a tenant is read",
                            self.clears.len() + 1,
                            ARCHIVE_CLEARS_MAX,
                        ));
                    }
                    self.clears.push((begin, end, self.changes));
                }
                None => {
                    let value = change.value.as_ref().map(|value| numbered(self.changes, value));
                    self.spool.patch(row_key(change), value)?;
                }
            }
        }
        Ok(())
    }

    fn finish(self, version: i64) -> Result<ContentHash> {
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(self.schema.as_bytes());
        let mut clears = self.clears;
        clears.sort();
        let (mut rows, mut size_bytes) = (0, 0);
        let mut covering: Vec<(Bytes, u64)> = Vec::new();
        let mut clears = clears.into_iter().peekable();
        let mut spooled = self.spool.finish()?;
        while let Some((key, value)) = spooled.next()? {
            // The ranges that the key lies in: those that begin before it, and do not end before it.
            while let Some((_, end, number)) = clears.next_if(|(begin, ..)| *begin <= key) {
                covering.push((end, number));
            }
            covering.retain(|(end, _)| key < *end);
            let Some((number, value)) = value.split_first_chunk::<8>() else {
                return Err(Error::new(Code::StoredDataInvalid, "what a hash put aside is cut"));
            };
            let number = u64::from_le_bytes(*number);
            if covering.iter().any(|(_, cleared)| *cleared > number) {
                continue;
            }
            rows += 1;
            size_bytes += (key.len() + value.len()) as u64;
            add(&key);
            add(value);
        }
        Ok(ContentHash { hash: *hasher.finalize().as_bytes(), version, rows, size_bytes })
    }
}

/// Where a row stands among the others: as the scan reads them.
fn row_key(change: &ArchiveChange) -> Bytes {
    let part = match ArchivePart::try_from(change.part) {
        Ok(ArchivePart::Record) => 0_u8,
        Ok(ArchivePart::Raw) => 1,
        Ok(ArchivePart::Counter) => 2,
        Ok(ArchivePart::Sequence) => 3,
        Err(_) => u8::MAX,
    };
    [&[part][..], &change.type_id.to_be_bytes(), &change.key].concat().into()
}

fn numbered(number: u64, value: &[u8]) -> Bytes {
    [&number.to_le_bytes()[..], value].concat().into()
}
