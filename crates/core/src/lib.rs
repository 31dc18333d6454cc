//! The record layer: tenants, schemas, records, indexes and queries on any engine of the [contract](tenantry_kv).
//!
//! A [`Database`] holds schemas and [`Tenant`]s. A tenant is a key space of its own: what runs on it cannot name, read, watch or conflict with a key outside
//! it. Its records follow the schema; every transaction that changes it leaves one entry in its change log.
//!
//! ```
//! use std::sync::Arc;
//! use tenantry_core::{Database, PrimaryKey, Query, Record, SchemaDefinition};
//! use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
//!
//! # pollster::block_on(async {
//! let env = manual_env();
//! let database = Database::open(Arc::new(ReferenceEngine::new(env.clone())), env, "main").await?;
//! let schema = SchemaDefinition::from_toml(r#"
//!     name = "films"
//!     [types.film]
//!     primary_key = ["title"]
//!     fields = { title = "string", rating = { type = "float", optional = true } }
//!     indexes = { by_rating = { fields = ["rating"] } }
//! "#)?;
//! database.apply_schema(&schema).await?;
//! let acme = database.create_tenant("acme", "films").await?;
//! acme.insert("film", &Record::new().with("title", "Heat").with("rating", 8.2)).await?;
//!
//! let page = acme.query(&Query::of("film").filter("rating > 8.0")).await?;
//! assert_eq!(page.records[0].get("title"), Some(&"Heat".into()));
//! assert_eq!(page.explanation.index.as_deref(), Some("by_rating"));
//! assert!(acme.delete("film", &PrimaryKey::of("Heat")).await?);
//! # Ok::<_, tenantry_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! **Architecture invariant:** this crate knows the contract alone, no engine; it names no executor, clock, file or source of randomness; and key bytes are
//! put together in one module, from a tenant's handle.
#![forbid(unsafe_code)]

mod access;
mod admission;
mod archive;
mod change_log;
mod changes;
mod check;
mod cipher;
mod compression;
mod consistent_scan;
mod copy;
mod database;
mod defaults;
mod delete_where;
pub mod engine_access;
mod error;
mod expiry;
mod export;
mod expression;
mod ids;
mod import;
mod index_form;
mod index_hash;
pub mod isolation;
pub mod jobs;
mod json;
mod key_form;
mod key_space;
mod lifecycle;
pub mod limits;
mod merge_patch;
mod messages;
mod meters;
mod names;
mod query;
mod rank;
mod record;
mod record_scan;
mod schema;
pub mod sealing;
mod tenant;
mod tenant_state;
#[cfg(test)]
#[path = "../tests/common/engine.rs"]
mod test_engine;
mod text;
pub mod typed;
mod typed_records;
mod usage;
mod validation;
mod value;
mod verify;
mod violation;
mod wire;

pub use access::{Action, Grant, GrantedTenant, Operation, Role, RowPolicy};
pub use admission::{Limit, PoolSettings, PoolStatistics, TenantLimits, TimeHistogram};
pub use archive::{
    ArchiveFrame, ArchiveHasher, ArchiveImporter, ArchiveInfo, ArchiveReader, Archiver, ContentHash,
    ContentOptions, ImportedTenant,
};
pub use copy::{Copier, CopyPhase, DatabaseState};
pub use database::{Applied, Database, DatabaseStatistics, FORMAT_VERSION, Schema, TenantInfo};
pub use delete_where::DeletedPage;
pub use error::{Code, Error, Kind, Result};
pub use expiry::Expired;
pub use export::{Export, Exported, ExportedRecord, Exporter};
pub use expression::{Expression, Filter, Term, field, parameter, value};
pub use import::{
    Destination, FieldMapping, ImportMapping, ImportReport, ImportRow, Importer, ReadRow, Rejection,
    RowContents, RowReader,
};
pub use json::parse_json;
pub use lifecycle::{CreatedTenants, RefusedTenant, Suspension, TenantFilter, TenantOptions, TenantPage};
pub use query::{
    Aggregation, Explanation, Group, Groups, Measure, Order, Page, PathExplanation, Query, StopReason,
};
pub use record::{PrimaryKey, Record, RecordVersion};
pub use schema::{
    Column, Condition as IndexCondition, Index, IndexKind, MissingRule, OnDelete, RecordType, Reference,
    SchemaDefinition,
};
pub use tenant::{
    Cascaded, Condition, Idempotent, Priority, RawPage, RawRange, RunOptions, SealingStatus, SequenceBlocks,
    Tenant, TenantReader, TenantTransaction,
};
pub use tenant_state::TenantState;
pub use text::{Language, Token, Tokenizer};
pub use typed::{SchemaBuilder, TypedKey, TypedRecord, TypedValue};
pub use typed_records::{Records, TypedPage, Versioned};
pub use usage::{HourUsage, Reconciled, TenantQuota, TenantUsage};
pub use value::{
    Check, Constraints, DefaultValue, EnumValue, Field, FieldType, Name, NamedCheck, Pattern, Value,
};
pub use violation::Violation;
