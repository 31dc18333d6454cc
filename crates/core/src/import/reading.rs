//! Rows become records that are addressed to tenants, without a look at the database.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;
use tenantry_kv::env::Env;

use super::claims::Claims;
use super::mapping::{FieldMapping, ImportMapping};
use super::{Destination, ImportRow, RowContents};
use crate::defaults;
use crate::error::{Code, Error, Result, shown};
use crate::limits::TYPE_DEPTH_MAX;
use crate::record::Record;
use crate::schema::RecordType;
use crate::validation::check_values;
use crate::value::{Field, FieldType, INFINITIES, Reading};
use crate::violation::{Path, missing_field};

/// What a row takes in memory besides its texts, about.
const ROW_OVERHEAD_BYTES: usize = 200;

/// Reads rows for one import: what takes time before a row comes to its transaction. Cheap to clone, for threads of the caller's own.
#[derive(Clone)]
pub struct RowReader {
    inner: Arc<Inner>,
}

struct Inner {
    record_type: RecordType,
    mapping: ImportMapping,
    destination: Destination,
    /// Of each field: the column it comes from, and in what form.
    sources: Vec<(String, Option<FieldMapping>)>,
    claims: Claims,
    env: Env,
}

/// A row that was read: a record on its way to a tenant, or the reason why it is none.
#[derive(Clone, Debug)]
pub struct ReadRow {
    pub(super) line: u64,
    pub(super) outcome: Result<(String, Addressed)>,
}

impl ReadRow {
    /// The line of the file that it begins on.
    pub fn line(&self) -> u64 {
        self.line
    }
}

/// A record on its way into a tenant.
#[derive(Clone, Debug)]
pub(super) struct Addressed {
    pub(super) line: u64,
    pub(super) record: Record,
    pub(super) size_bytes: usize,
    /// What no two rows may be written with at a time.
    pub(super) claims: Vec<u64>,
}

impl fmt::Debug for RowReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RowReader({:?})", self.inner.record_type.name)
    }
}

impl RowReader {
    pub(super) fn new(
        record_type: &RecordType,
        mapping: ImportMapping,
        destination: Destination,
        env: &Env,
    ) -> RowReader {
        let source = |field: &Field| {
            let (column, mapping) = mapping.source_of(field);
            (column.to_owned(), mapping.cloned())
        };
        let inner = Inner {
            record_type: record_type.clone(),
            sources: record_type.fields.iter().map(source).collect(),
            mapping,
            destination,
            claims: Claims::new(record_type),
            env: env.clone(),
        };
        RowReader { inner: Arc::new(inner) }
    }

    /// Reads a row.
    pub fn read(&self, row: ImportRow) -> ReadRow {
        let ImportRow { line, contents } = row;
        let outcome = contents.and_then(|contents| self.inner.read(line, &contents));
        ReadRow { line, outcome }
    }
}

fn refused(detail: String) -> Error {
    Error::new(Code::ImportRowInvalid, detail)
}

impl Inner {
    fn read(&self, line: u64, contents: &RowContents) -> Result<(String, Addressed)> {
        let tenant_field = match &self.destination {
            Destination::Column { field, .. } => Some(field.as_str()),
            Destination::Tenant(_) => None,
        };
        for column in contents.columns() {
            let is_known = tenant_field == Some(column)
                || self.sources.iter().any(|(source, _)| source == column)
                || self.mapping.ignore.iter().any(|ignored| ignored == column);
            if !is_known {
                let detail =
                    format!("no field takes the column {}: map it, or list it under ignore", shown(column));
                return Err(refused(detail));
            }
        }
        let tenant = self.tenant(contents, tenant_field)?;
        let (record, size_bytes) = self.record(contents)?;
        // Now, so that the key is known by which rows are kept in their order.
        let record = match defaults::filled(&record, &self.record_type, &self.env) {
            Cow::Borrowed(_) => record,
            Cow::Owned(filled) => filled,
        };
        let claims = self.claims.of(&record, &self.record_type);
        Ok((tenant, Addressed { line, record, size_bytes, claims }))
    }

    fn tenant(&self, contents: &RowContents, tenant_field: Option<&str>) -> Result<String> {
        match (&self.destination, tenant_field) {
            (Destination::Tenant(name), _) => Ok(name.clone()),
            (_, Some(field)) => match (contents.text(field)?, &self.mapping.tenant_default) {
                (Some(name), _) => Ok(name),
                (None, Some(name)) => Ok(name.clone()),
                (None, None) => {
                    let detail = format!(
                        "the column {} names no tenant, and the mapping no tenant_default",
                        shown(field)
                    );
                    Err(refused(detail))
                }
            },
            (_, None) => Err(refused("no column names the tenant".to_owned())),
        }
    }

    /// The record, and about how many bytes it takes.
    fn record(&self, contents: &RowContents) -> Result<(Record, usize)> {
        let fields = &self.record_type.fields;
        let mut record = Record::new();
        record.is_read = self.mapping.exact;
        let mut size_bytes = ROW_OVERHEAD_BYTES;
        let mut reading = Reading::of(&self.record_type.name);
        for (field, (column, mapping)) in fields.iter().zip(&self.sources) {
            let is_null = contents.is_null(column, field);
            if is_null {
                record.set_null(&field.name);
            }
            let Some(json) = contents.json(column, field)? else {
                if field.is_required() || (is_null && !field.is_optional) {
                    missing_field(&Path::RECORD.field(&field.name), &mut reading.violations);
                }
                continue;
            };
            size_bytes += json_size_bytes(&json);
            let json = match mapping {
                Some(mapping) => Cow::Owned(mapping.read(json.into_owned(), column)?),
                None => json,
            };
            let path = Path::RECORD.field(&field.name);
            let value = reading.value(&json, &field.field_type, &path, TYPE_DEPTH_MAX);
            record.values.extend(value.map(|value| (field.name.clone(), value)));
        }
        record.nulls.append(&mut reading.nulls);
        if !reading.violations.is_empty() {
            check_values(&record.values, fields, &mut reading.violations);
            Error::of_violations(reading.violations)?;
        }
        Ok((record, size_bytes))
    }
}

/// About how many bytes a value takes.
fn json_size_bytes(json: &Json) -> usize {
    16 + match json {
        Json::String(text) => text.len(),
        Json::Array(elements) => elements.iter().map(json_size_bytes).sum(),
        Json::Object(object) => object.iter().map(|(key, value)| key.len() + json_size_bytes(value)).sum(),
        _ => 8,
    }
}

impl RowContents {
    fn columns(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            RowContents::Json(object) => Box::new(object.keys().map(String::as_str)),
            RowContents::Text { columns, .. } => Box::new(columns.iter().map(String::as_str)),
        }
    }

    /// A column as text; `None` if it is missing, null or empty.
    fn text(&self, column: &str) -> Result<Option<String>> {
        match self {
            RowContents::Json(object) => match object.get(column) {
                None | Some(Json::Null) => Ok(None),
                Some(Json::String(text)) => Ok(Some(text.clone())),
                Some(_) => {
                    Err(refused(format!("the column {} names the tenant and is no text", shown(column))))
                }
            },
            RowContents::Text { .. } => {
                Ok(self.cell(column).filter(|text| !text.is_empty()).map(str::to_owned))
            }
        }
    }

    /// Whether the row says that there is nothing. In a json field null is a value.
    fn is_null(&self, column: &str, field: &Field) -> bool {
        match self {
            RowContents::Json(object) => {
                field.field_type != FieldType::Json && object.get(column).is_some_and(Json::is_null)
            }
            RowContents::Text { .. } => false,
        }
    }

    fn cell(&self, column: &str) -> Option<&str> {
        match self {
            RowContents::Json(_) => None,
            RowContents::Text { columns, cells } => {
                let place = columns.iter().position(|name| name == column)?;
                cells.get(place)?.as_deref()
            }
        }
    }

    /// A column as JSON for a field; `None` if it is missing.
    fn json(&self, column: &str, field: &Field) -> Result<Option<Cow<'_, Json>>> {
        if let RowContents::Json(object) = self {
            let found = object.get(column);
            return Ok(found.filter(|_| !self.is_null(column, field)).map(Cow::Borrowed));
        }
        let Some(text) = self.cell(column) else { return Ok(None) };
        let field_type = &field.field_type;
        if text.is_empty() && !matches!(field_type, FieldType::String | FieldType::Bytes) {
            return Ok(None);
        }
        let reads_as_json = match field_type {
            FieldType::Float => !INFINITIES.contains(&text),
            FieldType::Bool
            | FieldType::Int
            | FieldType::Json
            | FieldType::List(_)
            | FieldType::Struct(_) => true,
            _ => false,
        };
        if !reads_as_json {
            return Ok(Some(Cow::Owned(Json::String(text.to_owned()))));
        }
        let json = crate::json::parse_json(text).map_err(|_| {
            let (column, text) = (shown(column), shown(text));
            refused(format!("the column {column} holds {text}, not a {}", field_type.name()))
        })?;
        Ok(Some(Cow::Owned(json)))
    }
}
