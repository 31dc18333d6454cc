//! A tenant from a stream.

use std::fmt;

use prost::Message;

use super::fill;
use super::format::{ArchiveReader, Frame};
use super::progress;
use crate::access::Operation;
use crate::database::Database;
use crate::error::{Code, Error, Result, shown};
use crate::lifecycle::{NewTenant, TenantOptions};
use crate::messages::{ArchiveBlock, ArchiveHeader, ArchiveProgress};
use crate::names::check_name;
use crate::schema::SchemaDefinition;
use crate::tenant::{Tenant, TenantTransaction};
use crate::tenant_state::{Pass, TenantState};

/// Makes a new tenant of a stream, piece by piece.
///
/// Until the stream is complete the tenant is in the state [`Filling`](TenantState::Filling), and nobody else reads or writes it. An import that was interrupted goes on when the same stream is fed
/// again, from its begin, to an importer of the same name: what is there already is compared by its hash and passed over.
pub struct ArchiveImporter {
    database: Database,
    name: String,
    reader: ArchiveReader,
    target: Option<Target>,
    rows: u64,
}

struct Target {
    tenant: Tenant,
    progress: ArchiveProgress,
    is_complete: bool,
}

/// What an import made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportedTenant {
    /// The tenant, which is active.
    pub tenant: Tenant,
    /// How many rows of the stream were written, by this importer.
    pub rows: u64,
    /// How many frames it passed over because an import before had written them.
    pub frames_before: u64,
}

impl fmt::Debug for ArchiveImporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ArchiveImporter({:?}, {} rows)", self.name, self.rows)
    }
}

impl ArchiveImporter {
    /// An import into a tenant of a name, which does not exist, or is being filled from the same stream.
    pub fn new(database: &Database, name: &str) -> ArchiveImporter {
        ArchiveImporter {
            database: database.clone(),
            name: name.to_owned(),
            reader: ArchiveReader::new(),
            target: None,
            rows: 0,
        }
    }

    /// Takes what comes next of the stream, of whatever length.
    ///
    /// # Errors
    ///
    /// 20160 for a stream that was damaged, 20161 for one that this build does not read; 20011 when a tenant of the name exists, 20163 when it is being filled from another stream; 20021 when a
    /// schema of the archive's name exists and says something else; 20012, 20016 for a name or labels that cannot be a tenant's; 20003, 20004 for a database that may not change; the engine's own.
    pub async fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        self.reader.feed(bytes);
        while let Some(frame) = self.reader.next_frame()? {
            match frame.0 {
                Frame::Header(header) => self.begin(&header).await?,
                Frame::Block(block) => self.take(&block).await?,
            }
        }
        Ok(())
    }

    /// How many rows were written.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The tenant, once the stream was fed whole.
    ///
    /// # Errors
    ///
    /// 20162 when its end is missing: the tenant stays as it is, and the import can be gone on with.
    pub async fn finish(self) -> Result<ImportedTenant> {
        self.reader.check_complete()?;
        let incomplete = || Error::new(Code::ArchiveIncomplete, "it has no header");
        let target = self.target.filter(|target| target.is_complete).ok_or_else(incomplete)?;
        let tenant = self.database.tenant(&self.name).await?;
        Ok(ImportedTenant { tenant, rows: self.rows, frames_before: target.progress.frames_before })
    }

    /// Creates the tenant, or finds how far an import before this one has come.
    async fn begin(&mut self, header: &ArchiveHeader) -> Result<()> {
        self.database.authorize(Operation::ImportTenant).await?;
        check_name("tenant", &self.name)?;
        let damaged =
            |error: Error| Error::new(Code::ArchiveDamaged, format!("its schema: {}", error.detail()));
        let definition = SchemaDefinition::from_json(&header.schema).map_err(damaged)?;
        self.database.apply_schema(&definition).await?;
        let schema = self.database.schema(&definition.name).await?;
        let mut options = TenantOptions::new();
        options.labels.clone_from(&header.labels);
        options.plan = Some(header.plan.clone()).filter(|plan| !plan.is_empty());
        options.check()?;
        let (database, name, options) = (&self.database, &self.name, &options);
        let inner = &database.inner;
        let uuid = crate::database::new_uuid(&inner.env);
        let stream = self.reader.chain().0.to_vec();
        let begun = &ArchiveProgress {
            stream: stream.clone(),
            frames: 1,
            chain: stream,
            ..ArchiveProgress::default()
        };
        let schema = &schema;
        let (info, progress) = inner
            .runner
            .run(|transaction| async move {
                match inner.tenant_named(&*transaction, name).await {
                    Ok(info) => {
                        let found = progress::load(inner, &*transaction, info.id).await?;
                        let exists = || Error::new(Code::TenantExists, shown(name));
                        let mut found = found.filter(|_| info.state == TenantState::Filling).ok_or_else(exists)?;
                        if found.stream != begun.stream {
                            let detail = "the tenant is being filled from another stream: feed that one, or delete the tenant";
                            return Err(Error::new(Code::ArchiveDiffers, detail));
                        }
                        let before = found.clone();
                        found.frames_before = found.frames;
                        progress::go_on(inner, &*transaction, info.id, &before, &found).await?;
                        Ok((info, found))
                    }
                    Err(error) if error.code() == Code::TenantNotFound => {
                        let new = NewTenant {
                            name,
                            schema: (&schema.definition.name, schema.uuid.as_bytes(), schema.version),
                            options,
                            uuid: uuid.as_bytes(),
                            created_us: inner.env.clock.wall_us(),
                            state: TenantState::Filling,
                        };
                        let info = database.add_tenant(&*transaction, &new).await?;
                        transaction.set(&inner.keys.archive_progress(info.id)?, &begun.encode_to_vec());
                        Ok((info, begun.clone()))
                    }
                    Err(error) => Err(error),
                }
            })
            .await?;
        let tenant = Tenant::new(database.clone(), info)?.with_pass(Pass::Fill);
        self.target = Some(Target { tenant, progress, is_complete: false });
        Ok(())
    }

    /// Applies a frame, unless it was applied before.
    async fn take(&mut self, block: &ArchiveBlock) -> Result<()> {
        let (frame, chain) = (self.reader.frames(), self.reader.chain());
        let Some(target) = &mut self.target else {
            return Err(Error::new(Code::ArchiveDamaged, "its header is not its first frame"));
        };
        if frame <= target.progress.frames {
            if frame == target.progress.frames && chain.0 != target.progress.chain[..] {
                let detail = "the stream is not the one that the tenant was filled from so far: feed that one, or delete the tenant";
                return Err(Error::new(Code::ArchiveDiffers, detail));
            }
            return Ok(());
        }
        let mut from = usize::try_from(target.progress.changes).unwrap_or(usize::MAX);
        loop {
            let next = &ArchiveProgress {
                frames: frame,
                chain: chain.0.to_vec(),
                changes: 0,
                ..target.progress.clone()
            };
            let (reached, noted) = write(target, block, from, next).await?;
            self.rows += (reached - from) as u64;
            target.progress = noted;
            from = reached;
            if from == block.changes.len() {
                break;
            }
        }
        target.is_complete = block.is_last;
        Ok(())
    }
}

/// One transaction of a frame: how far it came, and what it noted of that.
async fn write(
    target: &Target,
    block: &ArchiveBlock,
    from: usize,
    whole: &ArchiveProgress,
) -> Result<(usize, ArchiveProgress)> {
    let tenant = &target.tenant;
    let (database, id, expected) = (&tenant.database, tenant.info.id, &target.progress);
    tenant
        .run(|transaction: TenantTransaction| async move {
            let engine = &**transaction.engine_transaction();
            if block.restarts {
                fill::clear(&transaction)?;
            }
            let reached = fill::apply(&transaction, &block.changes, from).await.map_err(of_stream)?;
            let is_whole = reached == block.changes.len();
            let noted = match is_whole {
                true => whole.clone(),
                false => ArchiveProgress { changes: reached as u64, ..expected.clone() },
            };
            progress::go_on(&database.inner, engine, id, expected, &noted).await?;
            if is_whole && block.is_last {
                fill::complete(database, engine, id).await?;
            }
            Ok::<_, Error>((reached, noted))
        })
        .await
}

/// What a row of a stream is refused for is the stream's fault.
fn of_stream(error: Error) -> Error {
    match error.code() {
        Code::Engine | Code::ArchiveDamaged | Code::ArchiveFormat => error,
        _ => Error::new(Code::ArchiveDamaged, format!("a row cannot be written: {error}")),
    }
}
