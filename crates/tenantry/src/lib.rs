//! Tenantry: a multi-tenant record database.
//!
//! A database holds tenants. A tenant has typed records with secondary indexes, counters and sequences, a key-value space of its own, and a change log; a
//! transaction on it is ACID, strictly serializable, and cannot reach another tenant. It runs on an embedded engine inside the process, or on a FoundationDB cluster.
//!
//! ```
//! use tenantry::{Query, Record, SchemaDefinition};
//!
//! # tenantry::block_on(async {
//! let database = tenantry::open("memory:").await?;
//! let schema = SchemaDefinition::from_toml(r#"
//!     name = "films"
//!     [types.film]
//!     primary_key = ["title"]
//!     fields = { title = "string", rating = { type = "float", optional = true } }
//!     indexes = { by_rating = { fields = ["rating"] } }
//! "#)?;
//! database.apply_schema(&schema).await?;
//! let studio = database.create_tenant("studio", "films").await?;
//!
//! studio.run(|transaction| async move {
//!     transaction.insert("film", &Record::new().with("title", "Heat").with("rating", 8.2)).await?;
//!     transaction.add_to_counter("films", 1)
//! })
//! .await?;
//!
//! let best = studio.query(&Query::of("film").order_by_descending("rating").rows_max(1)).await?;
//! assert_eq!(best.records[0].get("title"), Some(&"Heat".into()));
//! # Ok::<_, tenantry::Error>(())
//! # }).unwrap();
//! ```
//!
//! # URLs
//!
//! - `file:./data`: the embedded engine in a directory, durable: a commit returns after the data is on disk.
//! - `memory:`: the embedded engine in memory, gone with the process.
//! - `fdb:` and `fdb:/path/to/fdb.cluster`: a FoundationDB cluster, of release 7.1 or later, by the default cluster file or another. FoundationDB's client library is loaded
//!   when such a URL is opened. `fdb:/path/to/fdb.cluster?name=shop&threads=2` is another database than `main`, and two network threads.
//!
//! # The allocator
//!
//! A transaction is many small pieces of memory that one thread makes and another frees. With mimalloc in place of glibc's allocator, which the command line has, imports are
//! a third faster, durable inserts by many clients a quarter, and pages a fifth: `#[global_allocator] static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;`.
//!
//! # Where to look
//!
//! - [`open`] and [`Options`]: a database by URL.
//! - [`Database`]: schemas and tenants. [`Tenant`]: records, queries, transactions. [`TenantTransaction`]: everything that one transaction can do.
//! - [`Query`]: filter, order, pages. [`SchemaDefinition`]: what a schema file says. [`Importer`]: rows from elsewhere.
//! - [`engine`]: the errors of the engine underneath, for error types of one's own. The engine itself is in no part of this library: a tenant's handle is the only way to its data.
#![forbid(unsafe_code)]

mod keys;
mod options;
mod url;

/// A type of bytes fields, and what the key-value space gives.
pub use bytes::Bytes;
/// The types of timestamp and date fields.
pub use jiff::{Timestamp, civil::Date};
pub use keys::KeyFiles;
pub use options::{Database, Options, open};
pub use pollster::block_on;
/// The type of decimal fields.
pub use rust_decimal::Decimal;
/// The type of json fields, and what patches and parameters from JSON are.
pub use serde_json::Value as Json;
pub use tenantry_core::{
    Action, Aggregation, Applied, ArchiveFrame, ArchiveHasher, ArchiveImporter, ArchiveInfo, ArchiveReader,
    Archiver, Cascaded, Check, Code, Column, Condition, Constraints, ContentHash, ContentOptions, Copier,
    CopyPhase, CreatedTenants, DatabaseState, DatabaseStatistics, DefaultValue, DeletedPage, Destination,
    EnumValue, Error, Expired, Explanation, Export, Exported, ExportedRecord, Exporter, Expression,
    FORMAT_VERSION, Field, FieldMapping, FieldType, Filter, Grant, GrantedTenant, Group, Groups, HourUsage,
    Idempotent, ImportMapping, ImportReport, ImportRow, ImportedTenant, Importer, Index, IndexCondition,
    IndexKind, Kind, Language, Limit, Measure, MissingRule, Name, NamedCheck, OnDelete, Operation, Order,
    Page, PathExplanation, Pattern, PoolSettings, PoolStatistics, PrimaryKey, Priority, Query, RawPage,
    RawRange, ReadRow, Reconciled, Record, RecordType, RecordVersion, Records, Reference, RefusedTenant,
    Rejection, Result, Role, RowContents, RowPolicy, RowReader, RunOptions, Schema, SchemaDefinition,
    SealingStatus, SequenceBlocks, StopReason, Suspension, Tenant, TenantFilter, TenantInfo, TenantLimits,
    TenantOptions, TenantPage, TenantQuota, TenantReader, TenantState, TenantTransaction, TenantUsage, Term,
    TimeHistogram, Token, Tokenizer, TypedKey, TypedPage, TypedRecord, TypedValue, Value, Versioned,
    Violation, field, limits, parameter, parse_json, value,
};
pub use tenantry_core::{isolation, jobs, sealing, typed};
/// A struct as a record type (`Record`), a struct, an enum or a newtype as the value of a field (`Value`).
pub use tenantry_derive::{Record, Value};
pub use tenantry_embedded::{Durability, Settings, Stats};
pub use tenantry_foundationdb::{
    ClientOptions, ClusterReport, Stats as ClusterStats, stop_network as stop_foundationdb_network,
};
/// What an engine says: its errors, its figures, what became of a transaction.
///
/// It names no engine and no transaction of one: raw access to keys is the crate `tenantry-core`'s, behind its door `engine_access`.
///
/// ```compile_fail
/// # fn never(database: &tenantry::Database) {
/// database.engine();
/// # }
/// ```
///
/// ```compile_fail
/// # fn never(tenant: &tenantry::Tenant) {
/// let keys = &tenant.keys;
/// # }
/// ```
///
/// ```compile_fail
/// # fn never(transaction: &tenantry::TenantTransaction) {
/// transaction.engine_transaction();
/// # }
/// ```
///
/// ```compile_fail
/// use tenantry::engine::Engine;
/// ```
pub mod engine {
    pub use tenantry_kv::runner::Completed;
    pub use tenantry_kv::{EngineProfile, Error, ErrorCode, ErrorKind, Version, Versionstamp, limits};
}
pub use tenantry_kv::{EngineError, Isolation, KvFuture, MutationType};
/// The type of uuid fields.
pub use uuid::Uuid;

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The program on the page about structs runs.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/derive.md")]
struct DerivePage;
