//! Schemas: the record types of a tenant, their fields, primary keys and indexes.
//!
//! A schema is written in TOML or JSON and means the same in both. What it names gets ids, in the order of the file unless the file gives them; on
//! disk there are ids alone.
//!
//! ```
//! use tenantry_core::SchemaDefinition;
//!
//! let schema = SchemaDefinition::from_toml(r#"
//!     name = "films"
//!
//!     [types.film]
//!     primary_key = ["title", "release_date"]
//!
//!     [types.film.fields]
//!     title = "string"
//!     release_date = "date"
//!     rating = { type = "float", optional = true }
//!     genre = { type = "enum", values = ["Comedy", "Drama"], optional = true }
//!
//!     [types.film.indexes]
//!     by_rating = { fields = ["rating"] }
//! "#)?;
//! let film = schema.record_type("film")?;
//! assert_eq!(film.index("by_rating")?.columns[0].field(), Some("rating"));
//! assert!(SchemaDefinition::from_json(&schema.to_json().to_string())? == schema);
//! # Ok::<_, tenantry_core::Error>(())
//! ```

mod check;
mod constraints;
mod define_index;
mod expressions;
mod index;
mod proto;
mod references;
mod source;

use serde_json::Value as Json;

use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::{SCHEMA_FILE_SIZE_BYTES_MAX, SCHEMA_SIZE_BYTES_MAX};
use crate::value::{Field, NamedCheck};

pub use index::{Column, Condition, Index, IndexKind, MissingRule};
pub use references::{OnDelete, Reference};

/// What a schema file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaDefinition {
    /// The schema's name.
    pub name: String,
    /// Its record types, in the order of the file.
    pub types: Vec<RecordType>,
}

/// A kind of record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordType {
    /// Its number on disk, from 1.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its fields, in the order of the file.
    pub fields: Vec<Field>,
    /// The names of the fields that tell records apart, in their order.
    pub primary_key: Vec<String>,
    /// Its indexes.
    pub indexes: Vec<Index>,
    /// What has to hold of every record, besides the rules of its fields.
    pub checks: Vec<NamedCheck>,
    /// The records that its records refer to.
    pub references: Vec<Reference>,
}

impl SchemaDefinition {
    /// Reads a schema in TOML.
    ///
    /// # Errors
    ///
    /// 20022 saying what is wrong and where; 20060 for a file or a part of it that is too large.
    pub fn from_toml(text: &str) -> Result<SchemaDefinition> {
        check_size(text)?;
        let source =
            toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
        check::define(source)
    }

    /// Reads a schema in JSON.
    ///
    /// # Errors
    ///
    /// As [`from_toml`](SchemaDefinition::from_toml).
    pub fn from_json(text: &str) -> Result<SchemaDefinition> {
        check_size(text)?;
        let source = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
        check::define(source)
    }

    /// The schema in JSON, with every id.
    pub fn to_json(&self) -> Json {
        source::write(self)
    }

    /// The record type of a name.
    ///
    /// # Errors
    ///
    /// 20023 with the names there are.
    pub fn record_type(&self, name: &str) -> Result<&RecordType> {
        self.types.iter().find(|record_type| record_type.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.types.iter().map(|record_type| record_type.name.as_str()).collect();
            let detail = format!(
                "{} in the schema {}; there are {}",
                shown(name),
                shown(&self.name),
                known.join(", ")
            );
            Error::new(Code::TypeNotFound, detail)
        })
    }

    /// The bytes that are stored.
    pub(crate) fn to_stored(&self) -> Result<Vec<u8>> {
        let stored = self.to_json().to_string().into_bytes();
        match stored.len() <= SCHEMA_SIZE_BYTES_MAX {
            true => Ok(stored),
            false => Err(limit("the bytes of the stored schema", stored.len(), SCHEMA_SIZE_BYTES_MAX)),
        }
    }
}

impl RecordType {
    /// The field of a name.
    ///
    /// # Errors
    ///
    /// 20024 with the names there are.
    pub fn field(&self, name: &str) -> Result<&Field> {
        self.fields.iter().find(|field| *field.name == *name).ok_or_else(|| {
            let known: Vec<&str> = self.fields.iter().map(|field| &*field.name).collect();
            let detail =
                format!("{} in the type {}; there are {}", shown(name), shown(&self.name), known.join(", "));
            Error::new(Code::FieldNotFound, detail)
        })
    }

    /// The index of a name.
    ///
    /// # Errors
    ///
    /// 20042 with the names there are.
    pub fn index(&self, name: &str) -> Result<&Index> {
        self.indexes.iter().find(|index| index.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.indexes.iter().map(|index| index.name.as_str()).collect();
            let detail = format!(
                "the type {} has no index {}; it has {}",
                shown(&self.name),
                shown(name),
                known.join(", ")
            );
            Error::new(Code::QueryInvalid, detail)
        })
    }
}

fn check_size(text: &str) -> Result<()> {
    match text.len() <= SCHEMA_FILE_SIZE_BYTES_MAX {
        true => Ok(()),
        false => Err(limit("the bytes of a schema file", text.len(), SCHEMA_FILE_SIZE_BYTES_MAX)),
    }
}

fn check_count(what: &str, found: usize, most: usize) -> Result<()> {
    if found <= most { Ok(()) } else { Err(limit(what, found, most)) }
}

fn invalid(detail: String) -> Error {
    Error::new(Code::SchemaInvalid, detail)
}
