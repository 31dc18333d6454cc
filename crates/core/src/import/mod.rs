//! Import: rows from elsewhere become records, or are refused with the reason.
//!
//! What the rows lack is declared in a mapping, in TOML: which column a field comes from, how a date is written, which tenant a row without one goes to.
//! Nothing is done silently: a column that no field takes, a value that does not fit, a row without a key are each a rejection.
//!
//! The way of a row: a [`RowReader`] makes it a record (`reading`), wherever the caller likes; the [`Importer`] puts it into the lane of its tenant (`lane`), takes rows from there for
//! transactions (`batch`), of which many run at a time, and learns from each how large they should be (`pace`). Rows that stand for the same thing (`claims`) are written in their order.
//! What a row ends as is what it would have ended as, had all of them been written one after another.
//!
//! ```
//! use tenantry_core::ImportMapping;
//!
//! let mapping = ImportMapping::from_toml(r#"
//!     tenant_default = "unknown"
//!     ignore = ["Notes"]
//!     [fields]
//!     title = { from = "Title", number_as_text = true }
//!     released = { from = "Release Date", date_format = "%b %d %Y", latest = "2020-12-31" }
//! "#)?;
//! assert_eq!(mapping.tenant_default.as_deref(), Some("unknown"));
//! # Ok::<_, tenantry_core::Error>(())
//! ```

mod batch;
mod claims;
mod lane;
mod mapping;
mod pace;
mod reading;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use self::work::Work;
use crate::access::Operation;
use crate::database::Database;
use crate::error::{Code, Error, Kind, Result};
use crate::tenant::Tenant;

pub use mapping::{FieldMapping, ImportMapping};
pub use reading::{ReadRow, RowReader};

/// A row from elsewhere.
#[derive(Clone, Debug)]
pub struct ImportRow {
    /// The line of the file that it begins on, from 1.
    pub line: u64,
    /// What it holds, or why it holds nothing.
    pub contents: Result<RowContents>,
}

/// What a row holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RowContents {
    /// Typed values by column.
    Json(Map<String, Json>),
    /// Texts by column, `None` where there is none. An empty text is one for a string or bytes, and missing for every other type; any other is read as the field's type.
    Text {
        /// The names of the columns, which many rows share.
        columns: Arc<[String]>,
        /// As many texts.
        cells: Vec<Option<String>>,
    },
}

/// A row that was not imported.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rejection {
    /// The line of the file that it begins on.
    pub line: u64,
    /// Why.
    pub reason: Error,
}

/// What an import has done so far.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Rows that were handed in.
    pub rows_read: u64,
    /// Rows that are records now.
    pub rows_imported: u64,
    /// Rows that are not; each stands in a list of rejections that was handed out.
    pub rows_rejected: u64,
    /// The tenants that rows went to.
    pub tenants: u64,
    /// Those of them that were created.
    pub tenants_created: u64,
}

/// Where rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Into one tenant.
    Tenant(String),
    /// Into the tenants that a column names, created with a schema where they are missing.
    Column {
        /// The column.
        field: String,
        /// The schema of new tenants.
        schema: String,
    },
}

/// An import that is under way.
///
/// [`write`](Importer::write) takes some rows and returns when all of them are written or refused. It is faster to keep many transactions running: [`submit`](Importer::submit) takes rows
/// that a [`RowReader`] has read, [`advance`](Importer::advance) waits until a transaction has ended, [`take_rejections`](Importer::take_rejections) tells what was refused, and
/// [`finish`](Importer::finish) waits for all. Transactions get on while one of these is awaited.
pub struct Importer {
    database: Database,
    destination: Destination,
    reader: RowReader,
    work: Work,
}

impl fmt::Debug for Importer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Importer({:?}, {:?}, {:?})", self.reader, self.destination, self.work.report)
    }
}

impl Importer {
    /// Prepares an import of rows of a type. With `replaces`, a row whose key exists replaces the record instead of being refused.
    ///
    /// # Errors
    ///
    /// 20010 or 20020 when the tenant or the schema does not exist, 20023, 20071.
    pub async fn new(
        database: &Database,
        destination: Destination,
        record_type: &str,
        mapping: ImportMapping,
        replaces: bool,
    ) -> Result<Importer> {
        let operation = if replaces { Operation::ImportReplacing } else { Operation::Import };
        database.access.authorize_type(operation, record_type, database.inner.env.clock.wall_us())?;
        let mut opened = None;
        let schema = match &destination {
            Destination::Tenant(name) => opened.insert(database.tenant(name).await?).schema().await?,
            Destination::Column { schema, .. } => database.schema(schema).await?,
        };
        let record_type = schema.definition.record_type(record_type)?;
        mapping.check(record_type)?;
        let env = &database.inner.env;
        let mut work = Work::new(record_type, replaces, env);
        if let (Destination::Tenant(name), Some(tenant)) = (&destination, opened) {
            work.open(name, tenant.patient());
        }
        let reader = RowReader::new(record_type, mapping, destination.clone(), env);
        Ok(Importer { database: database.clone(), destination, reader, work })
    }

    /// What reads the rows of this import.
    pub fn reader(&self) -> RowReader {
        self.reader.clone()
    }

    /// What has been done so far.
    pub fn report(&self) -> &ImportReport {
        &self.work.report
    }

    /// Imports some rows and returns those that were refused, by line.
    ///
    /// # Errors
    ///
    /// The engine's own, and those of a database that cannot be written: what was written before stays written. A row that does not fit is no error but a rejection.
    pub async fn write(&mut self, rows: Vec<ImportRow>) -> Result<Vec<Rejection>> {
        let read = rows.into_iter().map(|row| self.reader.read(row)).collect();
        self.submit(read).await?;
        self.finish().await?;
        Ok(self.take_rejections())
    }

    /// Takes rows that are to be written in this order, after those that were taken before. None of them needs to be written when it returns.
    ///
    /// # Errors
    ///
    /// As [`write`](Importer::write). After an error nothing more is taken.
    pub async fn submit(&mut self, rows: Vec<ReadRow>) -> Result<()> {
        self.work.check()?;
        let mut unusable: BTreeMap<String, Error> = BTreeMap::new();
        for ReadRow { line, outcome } in rows {
            self.work.report.rows_read += 1;
            let (name, row) = match outcome {
                Ok(addressed) => addressed,
                Err(reason) => {
                    self.work.refuse_next(line, reason);
                    continue;
                }
            };
            if let Some(reason) = unusable.get(&name) {
                self.work.refuse_next(line, reason.clone());
                continue;
            }
            if !self.work.is_open(&name) {
                match self.tenant(&name).await {
                    Ok(tenant) => self.work.open(&name, tenant.patient()),
                    // A name that cannot be a tenant's; anything else ends the import.
                    Err(error) if error.kind() != Kind::Engine => {
                        self.work.refuse_next(line, error.clone());
                        unusable.insert(name, error);
                        continue;
                    }
                    Err(error) => return Err(self.work.fail(error)),
                }
            }
            self.work.push(&name, row);
        }
        self.work.start();
        Ok(())
    }

    /// Whether so many rows wait that no more should be taken before some are written.
    pub fn is_full(&self) -> bool {
        self.work.is_full()
    }

    /// Whether every row that was taken is written or refused.
    pub fn is_idle(&self) -> bool {
        self.work.is_idle()
    }

    /// Waits until a transaction has ended; false if no row is left. May be dropped before it is ready.
    ///
    /// # Errors
    ///
    /// As [`write`](Importer::write), once all transactions that were running have ended.
    pub async fn advance(&mut self) -> Result<bool> {
        self.work.advance(false).await
    }

    /// Waits until every row that was taken is written or refused.
    ///
    /// # Errors
    ///
    /// As [`advance`](Importer::advance).
    pub async fn finish(&mut self) -> Result<()> {
        while self.work.advance(true).await? {}
        Ok(())
    }

    /// The rows that were refused and are not told yet, by line: those before which everything is written or refused. After an error, all there are.
    pub fn take_rejections(&mut self) -> Vec<Rejection> {
        self.work.take_rejections()
    }

    async fn tenant(&mut self, name: &str) -> Result<Tenant> {
        match (self.database.tenant(name).await, &self.destination) {
            (Err(error), Destination::Column { schema, .. }) if error.code() == Code::TenantNotFound => {
                let tenant = self.database.create_tenant(name, schema).await?;
                self.work.report.tenants_created += 1;
                Ok(tenant)
            }
            (found, _) => found,
        }
    }
}
