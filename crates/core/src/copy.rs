//! The state of a database, and the copy of one into another: from one engine to the other and back.
//!
//! A database that is *read-only* answers everybody and changes for nobody: every transaction that writes reads the state with a conflict, so that none that began before
//! commits after. Such a database can be copied: byte for byte below its root, in steps that each are a short transaction and note how far they came. A copy that was interrupted goes
//! on there. At the end both sides are read and hashed; then every tenant of the copy gets its next incarnation, so that what is written there stands behind what was copied,
//! whatever versions the other engine is at.
//!
//! ```
//! use tenantry_core::{CopyPhase, Copier};
//! # use std::sync::Arc;
//! # use tenantry_core::{Database, Record, SchemaDefinition};
//! # use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
//! # pollster::block_on(async {
//! # let env = manual_env();
//! # let engine = || Arc::new(ReferenceEngine::new(env.clone()));
//! # let source = Database::open(engine(), env.clone(), "main").await?;
//! source.set_read_only("it moves to another engine").await?;
//! let target = engine();
//! let mut copier = Copier::begin(&source, target.clone(), env.clone(), "main").await?;
//! while copier.step().await? != CopyPhase::Done {}
//! assert_eq!(copier.source_hash(), copier.target_hash());
//! let copied = Database::open(target, env, "main").await?;
//! assert_eq!(copied.uuid(), source.uuid());
//! # Ok::<_, tenantry_core::Error>(())
//! # }).unwrap();
//! ```

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use tenantry_kv::env::Env;
use tenantry_kv::{
    Engine, Isolation, KeyRange, KeyValue, RangeRequest, StreamingMode, Transaction, key_after,
};
use uuid::Uuid;

use crate::access::Operation;
use crate::database::{Database, new_uuid};
use crate::error::{Code, Error, Result};
use crate::key_space::{CATALOG_TENANT, behind};
use crate::limits::REASON_SIZE_BYTES_MAX;
use crate::messages::{CopyProgress, DatabaseHeader, StateKind, StoredState, TenantHeader, read};

/// About how many bytes one step takes along.
const STEP_SIZE_BYTES: usize = 1_000_000;
/// How many tenants one step opens.
const STEP_TENANTS: usize = 500;

/// What may be done with a database.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseState {
    /// Whether nobody may change it.
    pub is_read_only: bool,
    /// Why, in the words of whoever made it so.
    pub reason: String,
    /// Since when, in microseconds since 1970; 0 if it was never changed.
    pub since_us: i64,
}

impl Database {
    /// Makes the database read-only: from the return of this call on nothing changes in it.
    ///
    /// # Errors
    ///
    /// 20060 for a reason over 1,000 bytes; 20004 for the target of a copy.
    pub async fn set_read_only(&self, reason: &str) -> Result<()> {
        self.authorize(Operation::ChangeState).await?;
        self.set_state(StateKind::ReadOnly, reason).await
    }

    /// Lets the database change again.
    ///
    /// # Errors
    ///
    /// 20004 for the target of a copy.
    pub async fn set_writable(&self) -> Result<()> {
        self.authorize(Operation::ChangeState).await?;
        self.set_state(StateKind::Open, "").await
    }

    /// What may be done with the database.
    ///
    /// # Errors
    ///
    /// The engine's own.
    pub async fn state(&self) -> Result<DatabaseState> {
        self.authorize(Operation::ViewDatabase).await?;
        let inner = &self.inner;
        let state = inner.runner.read(|transaction| async move { inner.state(&*transaction).await }).await?;
        Ok(DatabaseState {
            is_read_only: state.kind() != StateKind::Open,
            reason: state.reason,
            since_us: state.since_us,
        })
    }

    async fn set_state(&self, kind: StateKind, reason: &str) -> Result<()> {
        if reason.len() > REASON_SIZE_BYTES_MAX {
            return Err(crate::error::limit("the bytes of a reason", reason.len(), REASON_SIZE_BYTES_MAX));
        }
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                let before = inner.state(&*transaction).await?;
                if before.kind() == StateKind::Copying {
                    let detail = "run the copy again, it goes on where it was";
                    return Err(Error::new(Code::DatabaseIncomplete, detail));
                }
                if before.kind() != kind || before.reason != reason {
                    let state = StoredState {
                        kind: kind as i32,
                        reason: reason.to_owned(),
                        since_us: inner.env.clock.wall_us(),
                        id: new_uuid(&inner.env).as_bytes().to_vec(),
                    };
                    transaction.set(&inner.keys.database_state()?, &state.encode_to_vec());
                }
                Ok(())
            })
            .await
    }
}

/// What a copy does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyPhase {
    /// It copies.
    Copying,
    /// It reads both sides again.
    Comparing,
    /// It gives the tenants their next incarnation.
    Opening,
    /// Nothing: the copy is complete.
    Done,
}

/// The copy of a database into another engine.
pub struct Copier {
    source: Database,
    target: Database,
    progress: CopyProgress,
    phase: CopyPhase,
    /// How far the comparison has come, and what both sides hash to so far.
    compared: Comparison,
}

#[derive(Default)]
struct Comparison {
    after: Bytes,
    rows: u64,
    source: blake3::Hasher,
    target: blake3::Hasher,
}

impl fmt::Debug for Copier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Copier({:?}, {} rows)", self.phase, self.progress.rows)
    }
}

impl Copier {
    /// Begins the copy of `source` into the database `name` of `engine`, or takes up one that was interrupted.
    ///
    /// # Errors
    ///
    /// 20005 when the source is not read-only; 20006 when the target has a schema or a tenant already; 20008 when the target is the copy of another database, or the source was
    /// opened since.
    pub async fn begin(source: &Database, engine: Arc<dyn Engine>, env: Env, name: &str) -> Result<Copier> {
        source.authorize(Operation::CopyDatabase).await?;
        let state_id = source.read_only_id().await?;
        let target = Database::open_in_any_state(engine, env, name).await?;
        let begun = CopyProgress {
            source_uuid: source.uuid().as_bytes().to_vec(),
            source_state_id: state_id,
            ..CopyProgress::default()
        };
        let progress = target.begin_copy(&begun).await?;
        let phase = if progress.is_equal { CopyPhase::Opening } else { CopyPhase::Copying };
        Ok(Copier { source: source.clone(), target, progress, phase, compared: Comparison::default() })
    }

    /// How many keys have been copied, by this process and those before it.
    pub fn rows(&self) -> u64 {
        self.progress.rows
    }

    /// How many bytes of keys and values these are.
    pub fn size_bytes(&self) -> u64 {
        self.progress.size_bytes
    }

    /// How many keys of both sides have been compared.
    pub fn rows_compared(&self) -> u64 {
        self.compared.rows
    }

    /// The hash (BLAKE3) of the keys and values of the source that have been compared so far, in order, each behind its length.
    pub fn source_hash(&self) -> String {
        self.compared.source.finalize().to_hex().to_string()
    }

    /// The same of the target.
    pub fn target_hash(&self) -> String {
        self.compared.target.finalize().to_hex().to_string()
    }

    /// Does one step, and returns what comes next.
    ///
    /// # Errors
    ///
    /// 20005 and 20008 when the source was opened meanwhile; 20008 when somebody else copies into the same target; 20007 when both sides are not equal, naming
    /// the first keys that differ; the engines' own. After every one of them the copy can be taken up again.
    pub async fn step(&mut self) -> Result<CopyPhase> {
        match self.phase {
            CopyPhase::Copying => self.copy_step().await?,
            CopyPhase::Comparing => self.compare_step().await?,
            CopyPhase::Opening => self.open_step().await?,
            CopyPhase::Done => {}
        }
        Ok(self.phase)
    }

    async fn copy_step(&mut self) -> Result<()> {
        let rows = self.source.rows_after(&self.progress.after, Some(&self.progress.source_state_id)).await?;
        let Some(last) = rows.last() else {
            self.phase = CopyPhase::Comparing;
            return Ok(());
        };
        let mut next = self.progress.clone();
        next.after = last.key.clone();
        next.rows += rows.len() as u64;
        next.size_bytes += rows.iter().map(|row| (row.key.len() + row.value.len()) as u64).sum::<u64>();
        self.target.write_copied(&self.progress, &next, &rows).await?;
        self.progress = next;
        Ok(())
    }

    async fn compare_step(&mut self) -> Result<()> {
        let source =
            self.source.rows_after(&self.compared.after, Some(&self.progress.source_state_id)).await?;
        let target = self.target.rows_after(&self.compared.after, None).await?;
        // Engines cut their batches where they like: what both have brought is compared.
        let common = source.len().min(target.len());
        if let Some((left, right)) = source.iter().zip(&target).find(|(left, right)| left != right) {
            return Err(differs(Some(left), Some(right)));
        }
        if common == 0 {
            if source.len() != target.len() {
                return Err(differs(source.first(), target.first()));
            }
            let mut next = self.progress.clone();
            next.is_equal = true;
            self.target.write_copied(&self.progress, &next, &[]).await?;
            self.progress = next;
            self.phase = CopyPhase::Opening;
            return Ok(());
        }
        for (hasher, rows) in [(&mut self.compared.source, &source), (&mut self.compared.target, &target)] {
            for row in &rows[..common] {
                for part in [&row.key, &row.value] {
                    hasher.update(&(part.len() as u64).to_le_bytes());
                    hasher.update(part);
                }
            }
        }
        self.compared.after = source[common - 1].key.clone();
        self.compared.rows += common as u64;
        Ok(())
    }

    async fn open_step(&mut self) -> Result<()> {
        match self.target.open_tenants(&self.progress).await? {
            Some(next) => self.progress = next,
            None => {
                self.target.complete_copy(&self.source, &self.progress).await?;
                self.phase = CopyPhase::Done;
            }
        }
        Ok(())
    }
}

fn differs(source: Option<&KeyValue>, target: Option<&KeyValue>) -> Error {
    let shown = |row: Option<&KeyValue>| match row {
        Some(row) => format!("{:?} with {} bytes", row.key, row.value.len()),
        None => "nothing more".to_owned(),
    };
    let detail = format!("the source has {}, the copy {}", shown(source), shown(target));
    Error::new(Code::CopyDiffers, detail)
}

/// Steps of a copy, each a transaction.
impl Database {
    /// The id of the state that makes this database read-only.
    async fn read_only_id(&self) -> Result<Vec<u8>> {
        let inner = &self.inner;
        let state = inner.runner.read(|transaction| async move { inner.state(&*transaction).await }).await?;
        match state.kind() {
            StateKind::ReadOnly => Ok(state.id),
            _ => Err(Error::new(
                Code::CopySourceWritable,
                "make it read-only first, with \"tenantry database read-only\"",
            )),
        }
    }

    /// What comes after a key, as far as one step goes; keys behind the root. Fails if the database is no longer in the state with `state_id`.
    async fn rows_after(&self, after: &Bytes, state_id: Option<&Vec<u8>>) -> Result<Vec<KeyValue>> {
        let inner = &self.inner;
        let root = inner.keys.root().clone();
        let begin = if after.is_empty() { root.clone() } else { key_after(&behind(&root, after)) };
        inner
            .runner
            .read(|transaction| {
                let (root, begin) = (root.clone(), begin.clone());
                async move {
                    if let Some(id) = state_id {
                        let state = inner.state(&*transaction).await?;
                        if state.kind() != StateKind::ReadOnly || state.id != *id {
                            return Err(opened_since());
                        }
                    }
                    let mut rows: Vec<KeyValue> = Vec::new();
                    let mut size_bytes = 0;
                    for KeyRange { begin: from, end } in inner.keys.copied()? {
                        let from = from.max(begin.clone());
                        let mut next =
                            (from < end).then(|| RangeRequest::new(from, end).mode(StreamingMode::Serial));
                        while let Some(request) = next {
                            let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
                            for row in &batch.rows {
                                size_bytes += row.key.len() + row.value.len();
                                rows.push(KeyValue {
                                    key: row.key.slice(root.len()..),
                                    value: row.value.clone(),
                                });
                            }
                            if size_bytes >= STEP_SIZE_BYTES {
                                return Ok(rows);
                            }
                            next = request.after(&batch);
                        }
                    }
                    Ok(rows)
                }
            })
            .await
    }

    /// Makes an empty database the target of a copy, or returns how far the copy has come that it is the target of.
    async fn begin_copy(&self, begun: &CopyProgress) -> Result<CopyProgress> {
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                let progress_key = inner.keys.copy_progress()?;
                if let Some(bytes) = transaction.get(&progress_key, Isolation::Serializable).await? {
                    let progress: CopyProgress = read(&bytes, "the progress of a copy")?;
                    if progress.source_uuid != begun.source_uuid {
                        let source = Uuid::from_slice(&progress.source_uuid).unwrap_or_default();
                        let detail = format!(
                            "it holds a part of the database {source}, which is not the one to copy from"
                        );
                        return Err(Error::new(Code::CopyInterrupted, detail));
                    }
                    if progress.source_state_id != begun.source_state_id {
                        return Err(opened_since());
                    }
                    return Ok(progress);
                }
                inner.check_writable(&*transaction).await?;
                let catalog_header = inner.keys.tenant_keys(CATALOG_TENANT)?.header()?;
                for range in inner.keys.copied()? {
                    // Of a new database there is the catalog's header alone.
                    let first = RangeRequest::new(range.begin, range.end).limit(2);
                    let rows = transaction.get_range(&first, Isolation::Serializable).await?.rows;
                    if rows.iter().any(|row| row.key != catalog_header) {
                        let detail = "copy into another database, or into an empty cluster or directory";
                        return Err(Error::new(Code::CopyTargetNotEmpty, detail));
                    }
                }
                let state = StoredState {
                    kind: StateKind::Copying as i32,
                    reason: "a copy".to_owned(),
                    since_us: inner.env.clock.wall_us(),
                    id: new_uuid(&inner.env).as_bytes().to_vec(),
                };
                transaction.set(&inner.keys.database_state()?, &state.encode_to_vec());
                transaction.set(&progress_key, &begun.encode_to_vec());
                Ok(begun.clone())
            })
            .await
    }

    /// Checks that nobody else took the copy on from `expected`, and notes `next`.
    async fn go_on(
        &self,
        transaction: &dyn Transaction,
        expected: &CopyProgress,
        next: &CopyProgress,
    ) -> Result<()> {
        let key = self.inner.keys.copy_progress()?;
        let found = transaction.get(&key, Isolation::Serializable).await?;
        if found.is_none_or(|found| found != expected.encode_to_vec()) {
            return Err(Error::new(
                Code::CopyInterrupted,
                "another process copies into the same database: let one of them run alone",
            ));
        }
        transaction.set(&key, &next.encode_to_vec());
        Ok(())
    }

    async fn write_copied(
        &self,
        expected: &CopyProgress,
        next: &CopyProgress,
        rows: &[KeyValue],
    ) -> Result<()> {
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                self.go_on(&*transaction, expected, next).await?;
                for row in rows {
                    transaction.set(&behind(inner.keys.root(), &row.key), &row.value);
                }
                Ok(())
            })
            .await
    }

    /// Gives some tenants their next incarnation. `None` when all have it.
    async fn open_tenants(&self, progress: &CopyProgress) -> Result<Option<CopyProgress>> {
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                let entries = inner.keys.tenant_entries()?;
                let mut ids = vec![CATALOG_TENANT];
                let range = entries.keys();
                let mut next = Some(RangeRequest::new(range.begin, range.end));
                while let Some(request) = next {
                    let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
                    for row in &batch.rows {
                        let id = entries.unpack(&row.key)?.first().and_then(|element| element.as_int());
                        let id = id.and_then(|id| u64::try_from(id).ok()).ok_or_else(|| {
                            Error::new(Code::StoredDataInvalid, "the key of a tenant's entry has no id")
                        })?;
                        ids.push(id);
                    }
                    next = request.after(&batch);
                }
                let done = usize::try_from(progress.tenants).unwrap_or(usize::MAX).min(ids.len());
                let due = &ids[done..ids.len().min(done + STEP_TENANTS)];
                if due.is_empty() {
                    return Ok(None);
                }
                for id in due {
                    let key = inner.keys.tenant_keys(*id)?.header()?;
                    let Some(bytes) = transaction.get(&key, Isolation::Serializable).await? else {
                        let detail = format!("the tenant {id} has no header");
                        return Err(Error::new(Code::StoredDataInvalid, detail));
                    };
                    let mut header: TenantHeader = read(&bytes, "a tenant's header")?;
                    header.incarnation += 1;
                    transaction.set(&key, &header.encode_to_vec());
                }
                let mut next = progress.clone();
                next.tenants += due.len() as u64;
                self.go_on(&*transaction, progress, &next).await?;
                Ok(Some(next))
            })
            .await
    }

    /// Makes the copy a database: the same as its source, and open.
    async fn complete_copy(&self, source: &Database, progress: &CopyProgress) -> Result<()> {
        let from = &source.inner;
        let header = from
            .runner
            .read(|transaction| async move {
                match transaction.get(&from.keys.database_header()?, Isolation::Snapshot).await? {
                    Some(bytes) => read::<DatabaseHeader>(&bytes, "the database's header"),
                    None => Err(Error::new(Code::StoredDataInvalid, "the database has no header")),
                }
            })
            .await?;
        let inner = &self.inner;
        let header = DatabaseHeader { name: self.name().to_owned(), ..header };
        let header = &header;
        inner
            .runner
            .run(|transaction| async move {
                self.go_on(&*transaction, progress, progress).await?;
                transaction.set(&inner.keys.database_header()?, &header.encode_to_vec());
                transaction.clear(&inner.keys.database_state()?);
                transaction.clear(&inner.keys.copy_progress()?);
                Ok(())
            })
            .await
    }
}

fn opened_since() -> Error {
    Error::new(
        Code::CopyInterrupted,
        "the source was open for changes since the copy began: begin anew, into an empty database",
    )
}
