//! The second half of an export: the records, one after another, as values, JSON or texts.

use std::fmt;
use std::sync::Arc;

use bytes::Buf;
use futures_util::Stream;
use serde_json::{Map, Value as Json};

use super::spool::Spooled;
use super::{Part, Plan};
use crate::error::{Code, Error, Result};
use crate::record::{Record, RecordVersion};
use crate::value::{Field, FieldType, Name, Value};
use crate::wire;

/// The records of an export, in the order of the types and, in each, of the primary keys.
pub struct Exported {
    version: i64,
    plan: Arc<Plan>,
    spooled: Spooled,
    is_over: bool,
}

impl fmt::Debug for Exported {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Exported(at {})", self.version)
    }
}

impl Exported {
    pub(super) fn new(version: i64, plan: Plan, spooled: Spooled) -> Exported {
        Exported { version, plan: Arc::new(plan), spooled, is_over: false }
    }

    /// The version at which all the records are.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The types that are exported, in their order, whether or not there are records of them, each with the names of the fields that are.
    pub fn columns(&self) -> Vec<(&str, Vec<&str>)> {
        let mut columns = Vec::with_capacity(self.plan.parts.len());
        for part in &self.plan.parts {
            let names = part.fields().into_iter().map(|field| &*field.name).collect();
            columns.push((&*part.record_type.name, names));
        }
        columns
    }

    /// The same as a stream, every item of which is ready.
    pub fn into_stream(self) -> impl Stream<Item = Result<ExportedRecord>> + Send {
        futures_util::stream::iter(self)
    }

    fn read(&mut self) -> Result<Option<ExportedRecord>> {
        let Some((mut key, mut value)) = self.spooled.next()? else { return Ok(None) };
        let damaged = || Error::new(Code::StoredDataInvalid, "what an export put aside holds something else");
        let place = key.try_get_u16().map_err(|_| damaged())?;
        let place = usize::from(place);
        let part = self.plan.parts.get(place).ok_or_else(damaged)?;
        let mut version = [0; 16];
        value.try_copy_to_slice(&mut version).map_err(|_| damaged())?;
        let (values, unknown) = wire::decode(&value, &part.record_type.fields)?;
        let version = Some(RecordVersion::from_bytes(version));
        let mut record = Record { values, unknown, version, nulls: Vec::new(), is_read: true };
        if !part.selected.is_empty() {
            record = record.selected(&part.selected, &part.record_type);
        }
        Ok(Some(ExportedRecord { record, place, plan: self.plan.clone() }))
    }
}

/// An item is an error where what was put aside cannot be read; it is the last one.
impl Iterator for Exported {
    type Item = Result<ExportedRecord>;

    fn next(&mut self) -> Option<Result<ExportedRecord>> {
        if self.is_over {
            return None;
        }
        let next = self.read().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A record of an export.
#[derive(Clone)]
pub struct ExportedRecord {
    record: Record,
    plan: Arc<Plan>,
    /// The place of its part in the plan.
    place: usize,
}

impl fmt::Debug for ExportedRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ExportedRecord({:?}, {:?})", self.record_type(), self.record)
    }
}

impl ExportedRecord {
    fn part(&self) -> &Part {
        &self.plan.parts[self.place]
    }

    /// The name of its type.
    pub fn record_type(&self) -> &str {
        &self.part().record_type.name
    }

    /// The record; with its version, unless some fields alone were asked for.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The record alone.
    pub fn into_record(self) -> Record {
        self.record
    }

    /// The record in JSON, as an import reads it: an optional field that is missing is left out, or null where an import would take a default for it.
    pub fn to_json(&self) -> Json {
        object(&self.record.values, self.part().fields())
    }

    /// The record as texts, one for each field that is exported: what an import reads out of the cells of a .csv file. `None` for what is missing.
    ///
    /// Texts, enums, bytes (base64), UUIDs, moments, dates and decimals are as they are; everything else is JSON.
    pub fn to_texts(&self) -> Vec<Option<String>> {
        let text = |field: &Field| {
            let value = self.record.get(&field.name)?;
            Some(match (json(value, &field.field_type), &field.field_type) {
                // A string in a json field keeps its quotes.
                (Json::String(text), field_type) if *field_type != FieldType::Json => text,
                (json, _) => json.to_string(),
            })
        };
        self.part().fields().into_iter().map(text).collect()
    }
}

/// Fields in the order of the schema.
fn object<'a>(values: &[(Name, Value)], fields: impl IntoIterator<Item = &'a Field>) -> Json {
    let mut object = Map::with_capacity(values.len());
    for field in fields {
        match values.iter().find(|(name, _)| *name == field.name) {
            Some((_, value)) => drop(object.insert(field.name.to_string(), json(value, &field.field_type))),
            // Of a json field null would be a value.
            None if field.is_optional
                && field.default_value().is_some()
                && field.field_type != FieldType::Json =>
            {
                object.insert(field.name.to_string(), Json::Null);
            }
            None => {}
        }
    }
    Json::Object(object)
}

fn json(value: &Value, field_type: &FieldType) -> Json {
    match (value, field_type) {
        (Value::Struct(values), FieldType::Struct(fields)) => object(values, fields),
        (Value::List(elements), FieldType::List(element)) => {
            Json::Array(elements.iter().map(|value| json(value, element)).collect())
        }
        (value, _) => value.to_json(),
    }
}
