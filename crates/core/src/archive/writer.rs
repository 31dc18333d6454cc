//! Writing a stream.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::format::{ArchiveReader, Chain, FORMAT, MAGIC};
use super::source::{Piece, read_piece};
use crate::access::Operation;
use crate::consistent_scan::NextStep;
use crate::database::Schema;
use crate::error::{Code, Error, Result};
use crate::messages::{ArchiveBlock, ArchiveChange, ArchiveHeader};
use crate::tenant::Tenant;
use crate::tenant_state::Pass;

/// The rows of the first step, and the most of one.
const STEP_ROWS: (usize, usize) = (1_000, 20_000);
/// A step that takes less may be longer next time, one that takes more has to be shorter.
const STEP_TIMES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// A frame is closed when its rows have so many bytes.
const FRAME_SIZE_BYTES: usize = 500_000;

/// Writes a tenant as a stream, step by step.
///
/// ```
/// use tenantry_core::{ArchiveImporter, Archiver, ContentOptions};
/// # use std::sync::Arc;
/// # use tenantry_core::{Database, Record, SchemaDefinition};
/// # use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
/// # pollster::block_on(async {
/// # let env = manual_env();
/// # let database = Database::open(Arc::new(ReferenceEngine::new(env.clone())), env, "main").await?;
/// # database.apply_schema(&SchemaDefinition::from_toml(r#"
/// #     name = "films"
/// #     [types.film]
/// #     primary_key = ["title"]
/// #     fields = { title = "string" }
/// # "#)?).await?;
/// # let acme = database.create_tenant("acme", "films").await?;
/// # acme.insert("film", &Record::new().with("title", "Heat")).await?;
/// let mut archiver = Archiver::new(&acme).await?;
/// let mut stream = Vec::new();
/// while let Some(bytes) = archiver.step().await? {
///     stream.extend_from_slice(&bytes);
/// }
///
/// let mut importer = ArchiveImporter::new(&database, "acme again");
/// importer.feed(&stream).await?;
/// let imported = importer.finish().await?;
/// let options = ContentOptions::default();
/// assert_eq!(imported.tenant.content_hash(&options).await?.hash, acme.content_hash(&options).await?.hash);
/// # Ok::<_, tenantry_core::Error>(())
/// # }).unwrap();
/// ```
pub struct Archiver {
    tenant: Tenant,
    schema: std::sync::Arc<Schema>,
    chain: Chain,
    cursor: Bytes,
    step_rows: usize,
    rows: u64,
    has_header: bool,
    version: Option<i64>,
}

impl fmt::Debug for Archiver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Archiver({:?}, {} rows)", self.tenant, self.rows)
    }
}

impl Archiver {
    /// A new stream of a tenant; also of one that is suspended.
    ///
    /// # Errors
    ///
    /// 20010.
    pub async fn new(tenant: &Tenant) -> Result<Archiver> {
        tenant.authorize(Operation::ArchiveTenant)?;
        let tenant = tenant.clone().with_pass(Pass::Operator);
        let schema = tenant.schema().await?;
        Ok(Archiver {
            tenant,
            schema,
            chain: Chain::begin(),
            cursor: Bytes::new(),
            step_rows: STEP_ROWS.0,
            rows: 0,
            has_header: false,
            version: None,
        })
    }

    /// Goes on with a stream of which a part was written: `written` has read all of that part. What lies behind [`ArchiveReader::resumable_size_bytes`] is to be cut off first.
    ///
    /// # Errors
    ///
    /// 20164 for the stream of another tenant, or one from before the tenant moved or got another schema: begin a new one; 20010.
    pub async fn resume(tenant: &Tenant, written: &ArchiveReader) -> Result<Archiver> {
        let mut archiver = Archiver::new(tenant).await?;
        let (Some(header), Some(point)) = (&written.header, &written.point) else { return Ok(archiver) };
        if **header != archiver.header().await? {
            let detail = "it is the stream of another tenant, or its schema, name, labels or plan changed since: begin a new one";
            return Err(Error::new(Code::ArchiveOfAnotherTenant, detail));
        }
        (archiver.chain, archiver.cursor, archiver.has_header) = (point.chain, point.cursor.clone(), true);
        if written.is_complete() {
            archiver.version = Some(0);
        }
        Ok(archiver)
    }

    #[cfg(test)]
    pub(super) fn step_rows(&mut self, rows: usize) {
        self.step_rows = rows;
    }

    /// How many rows were written: of the tenant, and of what became of them meanwhile.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The version that the stream is of, once its last step was written.
    pub fn version(&self) -> Option<i64> {
        self.version.filter(|version| *version != 0)
    }

    async fn header(&self) -> Result<ArchiveHeader> {
        let info = self.tenant.database.tenant_info(self.tenant.info.id).await?;
        Ok(ArchiveHeader {
            format: FORMAT,
            tenant_uuid: info.uuid.as_bytes().to_vec(),
            name: info.name,
            created_us: info.created_us,
            labels: info.labels,
            plan: info.plan.unwrap_or_default(),
            schema_uuid: self.schema.uuid.as_bytes().to_vec(),
            schema_version: self.schema.version,
            schema: String::from_utf8_lossy(&self.schema.definition.to_stored()?).into_owned(),
        })
    }

    /// What comes next of the stream; none behind its end. What one call gives is a step: whoever keeps the stream keeps all of it.
    ///
    /// # Errors
    ///
    /// 20010; 20164 when the tenant got another schema meanwhile: begin a new stream; 20090; the engine's own. Another call goes on.
    pub async fn step(&mut self) -> Result<Option<Vec<u8>>> {
        if self.version.is_some() {
            return Ok(None);
        }
        let mut stream = Vec::new();
        if !self.has_header {
            stream.extend_from_slice(MAGIC);
            let header = self.header().await?;
            self.chain.header(&header, &mut stream)?;
            self.has_header = true;
            return Ok(Some(stream));
        }
        let piece = self.read().await?;
        let mut chain = self.chain;
        self.rows += (piece.changes.len() + piece.chunk.len()) as u64;
        let mut blocks = frames(piece.changes, false);
        blocks.extend(frames(piece.chunk, true));
        let mut last = blocks.pop().unwrap_or_default();
        for block in blocks {
            chain.block(&block, &mut stream)?;
        }
        last.version = piece.version;
        let cursor = match piece.next {
            NextStep::More(cursor) => cursor,
            NextStep::Done => {
                last.is_last = true;
                Bytes::new()
            }
            NextStep::Restart => {
                last = ArchiveBlock { restarts: true, version: piece.version, ..ArchiveBlock::default() };
                Bytes::new()
            }
        };
        last.cursor = Some(cursor.clone());
        chain.block(&last, &mut stream)?;
        (self.chain, self.cursor) = (chain, cursor);
        self.version = last.is_last.then_some(piece.version);
        Ok(Some(stream))
    }

    async fn read(&mut self) -> Result<Piece> {
        self.tenant.authorize(Operation::ArchiveTenant)?;
        let clock = &self.tenant.database.inner.env.clock;
        let begun = clock.monotonic();
        let rows_max = &AtomicUsize::new(self.step_rows.saturating_mul(2));
        let (cursor, schema) = (&self.cursor, &self.schema);
        let piece = self
            .tenant
            .read(|transaction| async move {
                // A step that was too much for one transaction is tried again with half of it.
                let rows = (rows_max.load(Ordering::Relaxed) / 2).max(1);
                rows_max.store(rows, Ordering::Relaxed);
                let found = transaction.schema();
                if (found.uuid, found.version) != (schema.uuid, schema.version) {
                    let detail = "the tenant has got another schema: begin a new stream";
                    return Err(Error::new(Code::ArchiveOfAnotherTenant, detail));
                }
                read_piece(&transaction, cursor, rows).await
            })
            .await?;
        let took = clock.monotonic().saturating_sub(begun);
        let rows = rows_max.load(Ordering::Relaxed);
        self.step_rows = match took {
            took if took < STEP_TIMES.0 => (rows * 2).min(STEP_ROWS.1),
            took if took > STEP_TIMES.1 => (rows / 2).max(1),
            _ => rows,
        };
        Ok(piece)
    }
}

/// Changes in frames of a bounded size.
fn frames(changes: Vec<ArchiveChange>, is_chunk: bool) -> Vec<ArchiveBlock> {
    let (mut blocks, mut size_bytes): (Vec<ArchiveBlock>, usize) = (Vec::new(), usize::MAX);
    for change in changes {
        if size_bytes >= FRAME_SIZE_BYTES {
            blocks.push(ArchiveBlock { is_chunk, ..ArchiveBlock::default() });
            size_bytes = 0;
        }
        size_bytes += change.encoded_len();
        if let Some(block) = blocks.last_mut() {
            block.changes.push(change);
        }
    }
    blocks
}
