//! A schema out of structs.

use serde_json::{Map, Value as Json, json};

use super::record::TypedRecord;
use crate::error::{Code, Error, Result, shown};
use crate::schema::SchemaDefinition;

/// A schema whose record types are structs: see [`SchemaDefinition::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct SchemaBuilder {
    name: String,
    types: Map<String, Json>,
    failed: Option<Error>,
}

impl SchemaDefinition {
    /// A schema out of structs with `#[derive(Record)]`, in their order. It equals the one that a file with the same words gives.
    pub fn builder(name: impl Into<String>) -> SchemaBuilder {
        SchemaBuilder { name: name.into(), types: Map::new(), failed: None }
    }
}

impl SchemaBuilder {
    /// The same with one more record type. What is wrong with it is told at the end.
    pub fn with<T: TypedRecord>(mut self) -> SchemaBuilder {
        if self.failed.is_none()
            && let Err(error) = self.add::<T>()
        {
            self.failed = Some(error);
        }
        self
    }

    fn add<T: TypedRecord>(&mut self) -> Result<()> {
        let definition = T::definition()?;
        let name = definition.name().to_owned();
        if self.types.contains_key(&name) {
            let detail =
                format!("two structs are the record type {}: one of them needs another name", shown(&name));
            return Err(Error::new(Code::SchemaInvalid, detail));
        }
        self.types.insert(name, definition.into_table());
        Ok(())
    }

    /// The schema.
    ///
    /// # Errors
    ///
    /// As [`SchemaDefinition::from_json`]; what was wrong with one of the types.
    pub fn finish(self) -> Result<SchemaDefinition> {
        match self.failed {
            Some(error) => Err(error),
            None => {
                let file = json!({ "name": self.name, "types": self.types });
                SchemaDefinition::from_json(&file.to_string())
            }
        }
    }
}
