//! Records as Rust structs: what `#[derive(Record)]` and `#[derive(Value)]` of the crate `tenantry` implement, and what they build on.
//!
//! A struct says of itself what a schema file says of a record type ([`TypedRecord::definition`]), in the same words, and is read by the same code: a schema
//! out of structs ([`SchemaDefinition::builder`](crate::SchemaDefinition::builder)) equals the one that TOML or JSON would give.
//!
//! **Architecture invariant:** nothing here decides how a record is stored. The schema of the tenant does: a struct only says what its fields are called, and
//! how their values are taken out of a [`Record`](crate::Record) and put into one.

mod definition;
mod elements;
mod fields;
mod key;
mod misfit;
mod numbers;
mod record;
mod scalars;
mod schema;
mod value;

pub use definition::{Definition, TypeDefinition};
pub use fields::{Fields, Merging, Place, merge_structs};
pub use key::TypedKey;
pub use misfit::Misfit;
pub use record::TypedRecord;
pub use schema::SchemaBuilder;
pub use value::{TypedField, TypedValue, name_of};

// What generated code names.
#[doc(hidden)]
pub use crate::error::Result;
#[doc(hidden)]
pub use crate::value::Value;
