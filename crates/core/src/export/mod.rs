//! Export: the records of a tenant, as they are at one version, however long it takes and whoever writes meanwhile.
//!
//! A transaction reads for five seconds. An export that takes longer goes through the tenant in chunks ([`crate::consistent_scan`]), and what it has read can change before it has
//! read the rest: nothing can be handed out until all is read. So an export has two halves. In the first, every step puts aside what it found (`spool`): the rows of its chunk, and what
//! the change log says of rows that were read before. With the last step the whole is the state at that step's version. In the second, it is handed out, in the order of the
//! types and primary keys. What is put aside is in memory up to a bound, then in files that vanish with the export.
//!
//! ```
//! use tenantry_core::{Export, Query};
//! # use std::sync::Arc;
//! # use tenantry_core::{Database, Record, SchemaDefinition};
//! # use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
//! # pollster::block_on(async {
//! # let env = manual_env();
//! # let database = Database::open(Arc::new(ReferenceEngine::new(env.clone())), env, "main").await?;
//! # database.apply_schema(&SchemaDefinition::from_toml(r#"
//! #     name = "films"
//! #     [types.film]
//! #     primary_key = ["title"]
//! #     fields = { title = "string", rating = { type = "float", optional = true } }
//! # "#)?).await?;
//! # let tenant = database.create_tenant("acme", "films").await?;
//! # tenant.insert("film", &Record::new().with("title", "Heat").with("rating", 8.2)).await?;
//! let films = tenant.export(Export::of(Query::of("film").filter("rating > 8.0"))).await?;
//! assert!(films.version() > 0);
//! for exported in films {
//!     let exported = exported?;
//!     assert_eq!((exported.record_type(), exported.to_json()["title"].as_str()), ("film", Some("Heat")));
//! }
//! # Ok::<_, tenantry_core::Error>(())
//! # }).unwrap();
//! ```

pub(crate) mod area;
mod exported;
mod runs;
pub(crate) mod spool;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use self::area::AreaOptions;
use self::spool::Spool;
use crate::access::Operation;
use crate::consistent_scan::{ConsistentScan, Found, FoundPage, NextStep, Region};
use crate::database::Schema;
use crate::error::{Code, Error, Result, limit, shown};
use crate::expression::{Expression, ParsedFilters};
use crate::limits::{EXPORT_MEMORY_SIZE_BYTES_DEFAULT, EXPORT_MEMORY_SIZE_BYTES_MIN};
use crate::query::{self, Query};
use crate::record::RecordVersion;
use crate::schema::RecordType;
use crate::tenant::{Permit, Tenant};
use crate::value::Field;
use crate::wire;

pub use exported::{Exported, ExportedRecord};

/// The rows of the first step.
const STEP_ROWS_INITIAL: usize = 1_000;
/// The most rows of a step.
const STEP_ROWS_MAX: usize = 20_000;
/// A step that takes less may be longer next time, one that takes more has to be shorter.
const STEP_TIMES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));

/// What is exported, and where it may be put aside meanwhile.
///
/// ```
/// use tenantry_core::{Export, Query};
///
/// let export = Export::of(Query::of("film").select(["title"])).directory("/var/tmp");
/// assert_eq!(export.queries.len(), 1);
/// assert!(Export::everything().queries.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Export {
    /// A type each, with condition, parameters and chosen fields; the bounds of pages mean nothing here, and the order is always that of the primary keys. None for all types.
    pub queries: Vec<Query>,
    /// A directory for what does not fit into memory. By default there is none, and an export that needs one fails with 20060.
    pub directory: Option<String>,
    /// How much of what is put aside stays in memory, in bytes. Default 64,000,000.
    pub memory_size_bytes_max: usize,
}

impl Export {
    /// The records that a query asks for.
    pub fn of(query: Query) -> Export {
        Export { queries: vec![query], ..Export::everything() }
    }

    /// The records of all types, in the order of the schema.
    pub fn everything() -> Export {
        Export {
            queries: Vec::new(),
            directory: None,
            memory_size_bytes_max: EXPORT_MEMORY_SIZE_BYTES_DEFAULT,
        }
    }

    /// The same, and the records that another query asks for, which is for another type.
    #[must_use]
    pub fn and(mut self, query: Query) -> Export {
        self.queries.push(query);
        self
    }

    /// The same, with a directory for what does not fit into memory.
    #[must_use]
    pub fn directory(mut self, path: impl Into<String>) -> Export {
        self.directory = Some(path.into());
        self
    }

    /// The same, with another bound on what stays in memory.
    #[must_use]
    pub fn memory_size_bytes_max(mut self, size_bytes: usize) -> Export {
        self.memory_size_bytes_max = size_bytes;
        self
    }

    fn area_options(&self) -> AreaOptions {
        AreaOptions { directory: self.directory.clone(), memory_size_bytes_max: self.memory_size_bytes_max }
    }
}

/// What is exported of one type.
#[derive(Clone, Debug)]
struct Part {
    record_type: RecordType,
    filter: Option<Expression>,
    /// Whether the filter keeps back records that are not to be counted either.
    has_policy: bool,
    selected: Vec<String>,
}

/// The parts that an export has in a schema.
#[derive(Clone, Debug)]
struct Plan {
    schema: Arc<Schema>,
    parts: Vec<Part>,
}

impl Plan {
    fn new(export: &Export, tenant: &Tenant, schema: &Arc<Schema>) -> Result<Plan> {
        let everything: Vec<Query>;
        let queries = match export.queries.is_empty() {
            true => {
                let types = &schema.definition.types;
                everything = types.iter().map(|record_type| Query::of(&record_type.name)).collect();
                &everything
            }
            false => &export.queries,
        };
        let mut parts: Vec<Part> = Vec::with_capacity(queries.len());
        for query in queries {
            let part = Part::new(query, tenant, schema)?;
            if parts.iter().any(|other| other.record_type.id == part.record_type.id) {
                let detail = format!("the export names the type {} twice", shown(&query.record_type));
                return Err(Error::new(Code::QueryInvalid, detail));
            }
            parts.push(part);
        }
        Ok(Plan { schema: schema.clone(), parts })
    }

    fn is_for(&self, schema: &Schema) -> bool {
        (self.schema.uuid, self.schema.version) == (schema.uuid, schema.version)
    }

    fn regions(&self) -> Vec<Region> {
        self.parts.iter().map(|part| Region::Records(part.record_type.id)).collect()
    }
}

impl Part {
    fn new(query: &Query, tenant: &Tenant, schema: &Schema) -> Result<Part> {
        let Permit { record_type, policy } =
            tenant.permit_in(Operation::Export, schema, &query.record_type)?;
        if !query.order.is_empty() || query.after.is_some() {
            let detail = "an export has the order of the primary keys, and no pages: leave out the order and the token";
            return Err(Error::new(Code::QueryInvalid, detail));
        }
        for name in &query.selected {
            record_type.field(name)?;
        }
        let (asked, parameters) = (query.filter.as_ref(), &query.parameters);
        let asked = query::compile(&ParsedFilters::default(), asked, parameters, record_type)?;
        Ok(Part {
            record_type: record_type.clone(),
            filter: match &policy {
                None => asked,
                Some(policy) => Some(policy.and(asked)),
            },
            has_policy: policy.is_some(),
            selected: query.selected.clone(),
        })
    }

    /// Whether a record of this payload is exported.
    fn takes(&self, payload: &Bytes) -> Result<bool> {
        let Some(filter) = &self.filter else { return Ok(true) };
        let (values, _) = wire::decode(payload, &self.record_type.fields)?;
        Ok(filter.holds(&values))
    }

    /// The fields that are exported, in the order of the schema.
    fn fields(&self) -> Vec<&Field> {
        let is_selected = |field: &&Field| {
            self.selected.is_empty() || self.selected.iter().any(|name| **name == *field.name)
        };
        self.record_type.fields.iter().filter(is_selected).collect()
    }
}

/// The first half of an export, step by step: see [`Tenant::export`], which does all of them.
pub struct Exporter {
    tenant: Tenant,
    export: Export,
    plan: Plan,
    cursor: Bytes,
    spool: Spool,
    step_rows: usize,
    rows: u64,
    version: Option<i64>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Exporter({:?}, {} rows)", self.tenant, self.rows)
    }
}

impl Exporter {
    /// Prepares an export.
    ///
    /// # Errors
    ///
    /// 20010, 20023 and 20024 for a tenant, type or field that does not exist; 20040, 20041 and 20044 for a condition that is none; 20042 for an order or a type that is named
    /// twice; 20060 for a bound on the memory under 64,000 bytes.
    pub async fn new(tenant: &Tenant, export: Export) -> Result<Exporter> {
        if export.memory_size_bytes_max < EXPORT_MEMORY_SIZE_BYTES_MIN {
            let (found, least) = (export.memory_size_bytes_max, EXPORT_MEMORY_SIZE_BYTES_MIN);
            return Err(limit("the least bytes that an export keeps in memory", found, least));
        }
        let plan = Plan::new(&export, tenant, &tenant.schema().await?)?;
        let spool = Spool::new(&tenant.database.inner.env, &export.area_options());
        Ok(Exporter {
            tenant: tenant.patient(),
            export,
            plan,
            cursor: Bytes::new(),
            spool,
            step_rows: STEP_ROWS_INITIAL,
            rows: 0,
            version: None,
        })
    }

    /// How many rows were read so far: records, and changes of them meanwhile.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many bytes were put aside so far.
    pub fn size_bytes(&self) -> u64 {
        self.spool.size_bytes()
    }

    /// Reads some more, in a transaction of its own. False when everything is read.
    ///
    /// # Errors
    ///
    /// 20060 when what is put aside does not fit into memory and there is no directory; 20010 when the tenant has been deleted; 20090; the engine's own, and those of the directory. A
    /// further step goes on, or begins anew where what was put aside cannot be used any more.
    pub async fn step(&mut self) -> Result<bool> {
        if self.version.is_some() {
            return Ok(false);
        }
        let clock = &self.tenant.database.inner.env.clock;
        let begun = clock.monotonic();
        // A step that was too much for one transaction is tried again with half of it.
        let rows_max = &AtomicUsize::new(self.step_rows.saturating_mul(2));
        let (plan, cursor) = (&self.plan, &self.cursor);
        let found = self
            .tenant
            .read(|transaction| async move {
                let rows = (rows_max.load(Ordering::Relaxed) / 2).max(1);
                rows_max.store(rows, Ordering::Relaxed);
                if !plan.is_for(transaction.schema()) {
                    return Ok((transaction.schema().clone(), None));
                }
                let page = ConsistentScan::new(plan.regions(), cursor)?.step(&transaction, rows).await?;
                Ok::<_, Error>((plan.schema.clone(), Some(page)))
            })
            .await?;
        let took = clock.monotonic().saturating_sub(begun);
        let rows = rows_max.load(Ordering::Relaxed);
        self.step_rows = match took {
            took if took < STEP_TIMES.0 => (rows * 2).min(STEP_ROWS_MAX),
            took if took > STEP_TIMES.1 => (rows / 2).max(1),
            _ => rows,
        };
        match found {
            (_, Some(page)) if page.next == NextStep::Restart => {
                self.restart(self.plan.schema.clone()).map(|()| true)
            }
            (schema, Some(page)) => match self.take(page) {
                // What was put aside of the page cannot be told from what was not: from the begin, if there is another step.
                Err(error) => self.restart(schema).and(Err(error)),
                has_more => has_more,
            },
            (schema, None) => self.restart(schema).map(|()| true),
        }
    }

    fn restart(&mut self, schema: Arc<Schema>) -> Result<()> {
        self.plan = Plan::new(&self.export, &self.tenant, &schema)?;
        self.spool = Spool::new(&self.tenant.database.inner.env, &self.export.area_options());
        (self.cursor, self.rows) = (Bytes::new(), 0);
        Ok(())
    }

    fn take(&mut self, page: FoundPage) -> Result<bool> {
        for (index, change) in page.changes.into_iter().enumerate() {
            let (region, key, put) = match change {
                Found::Put { region, key, value, version: Some(version), .. } => {
                    (region, key, Some((version, value)))
                }
                Found::Delete { region, key, .. } => (region, key, None),
                // Of records there is nothing else.
                _ => continue,
            };
            let parts = self.plan.parts.iter().enumerate();
            let Some((place, part)) =
                parts.into_iter().find(|(_, part)| region == Region::Records(part.record_type.id))
            else {
                continue;
            };
            let mut value = None;
            if let Some((version, payload)) = put
                && part.takes(&payload)?
            {
                value = Some(put_aside(version, &payload));
            }
            self.rows += u64::from(value.is_some() || !part.has_policy);
            let key = spool_key(place, &key);
            match (index < page.chunk_begin, value) {
                (true, value) => self.spool.patch(key, value)?,
                (false, Some(value)) => self.spool.append(&key, &value)?,
                (false, None) => {}
            }
        }
        match page.next {
            NextStep::More(cursor) => self.cursor = cursor,
            NextStep::Done | NextStep::Restart => self.version = Some(page.version),
        }
        Ok(self.version.is_none())
    }

    /// The second half: the records, one after another.
    ///
    /// # Errors
    ///
    /// 20042 when not everything is read yet: [`step`](Exporter::step) has to return false first.
    pub fn finish(self) -> Result<Exported> {
        let Some(version) = self.version else {
            return Err(Error::new(
                Code::QueryInvalid,
                "the export has not read everything yet: step on until it has",
            ));
        };
        Ok(Exported::new(version, self.plan, self.spool.finish()?))
    }
}

/// The key of a record among those of other types.
fn spool_key(place: usize, key: &[u8]) -> Bytes {
    let place = u16::try_from(place).unwrap_or(u16::MAX).to_be_bytes();
    [&place[..], key].concat().into()
}

/// What is put aside of a record.
fn put_aside(version: RecordVersion, payload: &[u8]) -> Bytes {
    [&version.to_bytes()[..], payload].concat().into()
}

impl Tenant {
    /// Exports records, as they are at one version. It takes as long as it takes, blocks no writer and conflicts with none; it comes to an end if it reads
    /// the tenant's change log faster than others write it.
    ///
    /// Everything is read before the first record is handed out: [`Exporter`] does it step by step, for whoever wants to see how it gets on.
    ///
    /// # Errors
    ///
    /// As [`Exporter::new`] and [`Exporter::step`].
    pub async fn export(&self, export: Export) -> Result<Exported> {
        let mut exporter = Exporter::new(self, export).await?;
        while exporter.step().await? {}
        exporter.finish()
    }
}
