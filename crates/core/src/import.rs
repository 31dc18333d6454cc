//! Import: rows from elsewhere become records, or are refused with the reason.
//!
//! What the rows lack is declared in a mapping, in TOML: which column a field comes from, how a date is written, which tenant a row without one goes to.
//! Nothing is done silently: a column that no field takes, a value that does not fit, a row without a key are each a rejection.
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

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};
use jiff::civil::Date;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value as Json};

use crate::database::Database;
use crate::error::{Code, Error, Kind, Result, limit, shown};
use crate::limits::{SCHEMA_FILE_SIZE_BYTES_MAX, TYPE_DEPTH_MAX};
use crate::record::Record;
use crate::schema::{RecordType, SchemaDefinition};
use crate::tenant::{Condition, Tenant, TenantTransaction};
use crate::validation::check_values;
use crate::value::{Field, FieldType, Reading, parse_date};
use crate::violation::{Path, missing_field};

/// How many tenants are written to at a time.
const TENANTS_SIDE_BY_SIDE: usize = 32;
/// How many rows go into one transaction, and about how many bytes.
const TRANSACTION_ROWS_MAX: usize = 200;
const TRANSACTION_SIZE_BYTES: usize = 400_000;

/// How rows become records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ImportMapping {
    /// The column that names the tenant.
    pub tenant_field: Option<String>,
    /// The tenant of the rows that name none. Without it they are refused.
    pub tenant_default: Option<String>,
    /// Columns that are left out.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// The fields that come from elsewhere than a column of their own name, or in another form.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldMapping>,
}

/// Where a field comes from, and in what form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldMapping {
    /// The column. By default the one of the field's name.
    pub from: Option<String>,
    /// How a date is written, in the words of `strftime`: `%b %d %Y` for "Jun 12 1998".
    pub date_format: Option<String>,
    /// The first date that is taken.
    pub earliest: Option<String>,
    /// The last date that is taken.
    pub latest: Option<String>,
    /// Whether a number is taken for a text.
    pub number_as_text: bool,
}

/// `"Column"`, or `{ from = "Column", ... }`.
impl<'de> Deserialize<'de> for FieldMapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<FieldMapping, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            from: Option<String>,
            date_format: Option<String>,
            earliest: Option<String>,
            latest: Option<String>,
            #[serde(default)]
            number_as_text: bool,
        }
        struct MappingVisitor;
        impl<'de> Visitor<'de> for MappingVisitor {
            type Value = FieldMapping;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("the name of a column, or a table")
            }

            fn visit_str<E>(self, column: &str) -> std::result::Result<FieldMapping, E> {
                Ok(FieldMapping { from: Some(column.to_owned()), ..FieldMapping::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> std::result::Result<FieldMapping, A::Error> {
                let Full { from, date_format, earliest, latest, number_as_text } =
                    Full::deserialize(MapAccessDeserializer::new(entries))?;
                Ok(FieldMapping { from, date_format, earliest, latest, number_as_text })
            }
        }
        deserializer.deserialize_any(MappingVisitor)
    }
}

impl ImportMapping {
    /// Reads a mapping in TOML.
    ///
    /// # Errors
    ///
    /// 20071 saying what is wrong and where; 20060 for a file that is too large.
    pub fn from_toml(text: &str) -> Result<ImportMapping> {
        if text.len() > SCHEMA_FILE_SIZE_BYTES_MAX {
            return Err(limit("the bytes of an import mapping", text.len(), SCHEMA_FILE_SIZE_BYTES_MAX));
        }
        let invalid = |detail: String| Error::new(Code::ImportMappingInvalid, detail);
        let mapping: ImportMapping =
            toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
        for (name, field) in &mapping.fields {
            for bound in [&field.earliest, &field.latest].into_iter().flatten() {
                if parse_date(bound).is_none() {
                    return Err(invalid(format!(
                        "{} of the field {} is no date like 1998-06-12",
                        shown(bound),
                        shown(name)
                    )));
                }
            }
        }
        Ok(mapping)
    }

    /// Fails when the mapping names fields that the type does not have.
    ///
    /// # Errors
    ///
    /// 20071 with the names there are.
    pub fn check(&self, record_type: &RecordType) -> Result<()> {
        self.fields.iter().try_for_each(|(name, mapping)| {
            let field = record_type
                .field(name)
                .map_err(|error| Error::new(Code::ImportMappingInvalid, error.detail()))?;
            let is_date = field.field_type == FieldType::Date;
            if !is_date
                && (mapping.date_format.is_some() || mapping.earliest.is_some() || mapping.latest.is_some())
            {
                let detail =
                    format!("the field {} is a {}, not a date", shown(name), field.field_type.name());
                return Err(Error::new(Code::ImportMappingInvalid, detail));
            }
            Ok(())
        })
    }

    fn source_of<'a>(&'a self, field: &'a Field) -> (&'a str, Option<&'a FieldMapping>) {
        let mapping = self.fields.get(&*field.name);
        (mapping.and_then(|mapping| mapping.from.as_deref()).unwrap_or(&field.name), mapping)
    }
}

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
    /// Texts by column; an empty one is missing, any other is read as the field's type.
    Text(Vec<(String, String)>),
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
#[derive(Debug)]
pub struct Importer {
    database: Database,
    definition: SchemaDefinition,
    record_type: String,
    mapping: ImportMapping,
    destination: Destination,
    replaces: bool,
    tenants: BTreeMap<String, Tenant>,
    used: BTreeSet<String>,
    report: ImportReport,
}

/// A row on its way into a tenant.
struct Addressed {
    line: u64,
    record: Record,
    size_bytes: usize,
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
        let mut tenants = BTreeMap::new();
        let schema = match &destination {
            Destination::Tenant(name) => {
                let tenant = database.tenant(name).await?;
                let schema = tenant.schema().await?;
                tenants.insert(name.clone(), tenant);
                schema
            }
            Destination::Column { schema, .. } => database.schema(schema).await?,
        };
        mapping.check(schema.definition.record_type(record_type)?)?;
        Ok(Importer {
            database: database.clone(),
            definition: schema.definition.clone(),
            record_type: record_type.to_owned(),
            mapping,
            destination,
            replaces,
            tenants,
            used: BTreeSet::new(),
            report: ImportReport::default(),
        })
    }

    /// What has been done so far.
    pub fn report(&self) -> &ImportReport {
        &self.report
    }

    /// Imports some rows and returns those that were refused, by line. Rows of one tenant are written in their order, a few hundred in a transaction; many
    /// tenants are written side by side.
    ///
    /// # Errors
    ///
    /// The engine's own: what was written before stays written. A row that does not fit is no error but a rejection.
    pub async fn write(&mut self, rows: Vec<ImportRow>) -> Result<Vec<Rejection>> {
        self.report.rows_read += rows.len() as u64;
        let mut rejections = Vec::new();
        let mut by_tenant: BTreeMap<String, Vec<Addressed>> = BTreeMap::new();
        for row in rows {
            let line = row.line;
            match self.convert(row) {
                Ok((tenant, addressed)) => by_tenant.entry(tenant).or_default().push(addressed),
                Err(reason) => rejections.push(Rejection { line, reason }),
            }
        }
        let mut work = Vec::new();
        for (name, rows) in by_tenant {
            match self.tenant(&name).await {
                Ok(tenant) => {
                    self.used.insert(name);
                    work.push((tenant, rows));
                }
                // A name that cannot be a tenant's; anything else ends the import.
                Err(error) if error.kind() != Kind::Engine => {
                    rejections.extend(
                        rows.into_iter().map(|row| Rejection { line: row.line, reason: error.clone() }),
                    );
                }
                Err(error) => return Err(error),
            }
        }
        let (record_type, replaces) = (self.record_type.as_str(), self.replaces);
        let mut written = stream::iter(work)
            .map(|(tenant, rows)| async move { write_tenant(&tenant, record_type, replaces, rows).await })
            .buffer_unordered(TENANTS_SIDE_BY_SIDE);
        while let Some(outcome) = written.next().await {
            let (imported, refused) = outcome?;
            self.report.rows_imported += imported;
            rejections.extend(refused);
        }
        drop(written);
        self.report.rows_rejected += rejections.len() as u64;
        self.report.tenants = self.used.len() as u64;
        rejections.sort_by_key(|rejection| rejection.line);
        Ok(rejections)
    }

    async fn tenant(&mut self, name: &str) -> Result<Tenant> {
        if let Some(tenant) = self.tenants.get(name) {
            return Ok(tenant.clone());
        }
        let tenant = match (self.database.tenant(name).await, &self.destination) {
            (Ok(tenant), _) => tenant,
            (Err(error), Destination::Column { schema, .. }) if error.code() == Code::TenantNotFound => {
                let tenant = self.database.create_tenant(name, schema).await?;
                self.report.tenants_created += 1;
                tenant
            }
            (Err(error), _) => return Err(error),
        };
        self.tenants.insert(name.to_owned(), tenant.clone());
        Ok(tenant)
    }

    fn convert(&self, row: ImportRow) -> Result<(String, Addressed)> {
        let contents = row.contents?;
        let record_type = self.definition.record_type(&self.record_type)?;
        let refused = |detail: String| Error::new(Code::ImportRowInvalid, detail);
        let tenant_field = match &self.destination {
            Destination::Column { field, .. } => Some(field.as_str()),
            Destination::Tenant(_) => None,
        };
        let cells = Cells(contents);
        for column in cells.columns() {
            let is_known = tenant_field == Some(column)
                || self.mapping.ignore.iter().any(|ignored| ignored == column)
                || record_type.fields.iter().any(|field| self.mapping.source_of(field).0 == column);
            if !is_known {
                let detail =
                    format!("no field takes the column {}: map it, or list it under ignore", shown(column));
                return Err(refused(detail));
            }
        }
        let tenant = match (&self.destination, tenant_field) {
            (Destination::Tenant(name), _) => name.clone(),
            (_, Some(field)) => match (cells.text(field)?, &self.mapping.tenant_default) {
                (Some(name), _) => name,
                (None, Some(name)) => name.clone(),
                (None, None) => {
                    let detail = format!(
                        "the column {} names no tenant, and the mapping no tenant_default",
                        shown(field)
                    );
                    return Err(refused(detail));
                }
            },
            (_, None) => return Err(refused("no column names the tenant".to_owned())),
        };
        let mut record = Record::new();
        let mut size_bytes = 0;
        let mut reading = Reading::of(&record_type.name);
        for field in &record_type.fields {
            let (column, mapping) = self.mapping.source_of(field);
            let is_null = cells.is_null(column);
            if is_null {
                record.set_null(&field.name);
            }
            let Some(json) = cells.json(column, field)? else {
                if field.is_required() || (is_null && !field.is_optional) {
                    missing_field(&Path::RECORD.field(&field.name), &mut reading.violations);
                }
                continue;
            };
            size_bytes += 16 + json.as_str().map_or(8, str::len);
            let json = mapping.map_or(Ok(json.clone()), |mapping| mapping.read(json, column))?;
            let path = Path::RECORD.field(&field.name);
            let value = reading.value(&json, &field.field_type, &path, TYPE_DEPTH_MAX);
            record.values.extend(value.map(|value| (field.name.clone(), value)));
        }
        record.nulls.append(&mut reading.nulls);
        if !reading.violations.is_empty() {
            check_values(&record.values, &record_type.fields, &mut reading.violations);
            Error::of_violations(reading.violations)?;
        }
        record.check(record_type)?;
        Ok((tenant, Addressed { line: row.line, record, size_bytes }))
    }
}

impl FieldMapping {
    fn read(&self, json: Json, column: &str) -> Result<Json> {
        let refused = |detail: String| Err(Error::new(Code::ImportRowInvalid, detail));
        if self.number_as_text
            && let Json::Number(number) = &json
        {
            return Ok(Json::String(number.to_string()));
        }
        let Json::String(text) = &json else { return Ok(json) };
        let date = match &self.date_format {
            Some(format) => match Date::strptime(format, text) {
                Ok(date) => Some(date),
                Err(_) => {
                    return refused(format!(
                        "the column {} holds {}, not a date like {format}",
                        shown(column),
                        shown(text)
                    ));
                }
            },
            None => parse_date(text).filter(|_| self.earliest.is_some() || self.latest.is_some()),
        };
        let Some(date) = date else { return Ok(json) };
        let bound = |text: &Option<String>| text.as_deref().and_then(parse_date);
        if bound(&self.earliest).is_some_and(|earliest| date < earliest)
            || bound(&self.latest).is_some_and(|latest| date > latest)
        {
            let from = self.earliest.as_deref().unwrap_or("any date");
            let to = self.latest.as_deref().unwrap_or("any date");
            return refused(format!(
                "the column {} holds {date}, which the mapping does not take: from {from} to {to}",
                shown(column)
            ));
        }
        Ok(Json::String(date.to_string()))
    }
}

struct Cells(RowContents);

impl Cells {
    fn columns(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match &self.0 {
            RowContents::Json(object) => Box::new(object.keys().map(String::as_str)),
            RowContents::Text(cells) => Box::new(cells.iter().map(|(name, _)| name.as_str())),
        }
    }

    /// A column as text; `None` if it is missing, null or empty.
    fn text(&self, column: &str) -> Result<Option<String>> {
        match &self.0 {
            RowContents::Json(object) => match object.get(column) {
                None | Some(Json::Null) => Ok(None),
                Some(Json::String(text)) => Ok(Some(text.clone())),
                Some(_) => {
                    let detail = format!("the column {} names the tenant and is no text", shown(column));
                    Err(Error::new(Code::ImportRowInvalid, detail))
                }
            },
            RowContents::Text(_) => Ok(self.cell(column).map(str::to_owned)),
        }
    }

    fn is_null(&self, column: &str) -> bool {
        matches!(&self.0, RowContents::Json(object) if object.get(column).is_some_and(Json::is_null))
    }

    fn cell(&self, column: &str) -> Option<&str> {
        match &self.0 {
            RowContents::Json(_) => None,
            RowContents::Text(cells) => cells
                .iter()
                .find(|(name, _)| name == column)
                .map(|(_, text)| text.as_str())
                .filter(|text| !text.is_empty()),
        }
    }

    /// A column as JSON for a field; `None` if it is missing.
    fn json(&self, column: &str, field: &Field) -> Result<Option<Json>> {
        if let RowContents::Json(object) = &self.0 {
            return Ok(object.get(column).filter(|json| !json.is_null()).cloned());
        }
        let Some(text) = self.cell(column) else { return Ok(None) };
        let reads_as_json = matches!(
            field.field_type,
            FieldType::Bool
                | FieldType::Int
                | FieldType::Float
                | FieldType::Json
                | FieldType::List(_)
                | FieldType::Struct(_)
        );
        match reads_as_json {
            true => crate::json::parse_json(text).map(Some).map_err(|_| {
                let detail = format!(
                    "the column {} holds {}, not a {}",
                    shown(column),
                    shown(text),
                    field.field_type.name()
                );
                Error::new(Code::ImportRowInvalid, detail)
            }),
            false => Ok(Some(Json::String(text.to_owned()))),
        }
    }
}

/// Writes the rows of one tenant, in transactions of a bounded size.
async fn write_tenant(
    tenant: &Tenant,
    record_type: &str,
    replaces: bool,
    rows: Vec<Addressed>,
) -> Result<(u64, Vec<Rejection>)> {
    let mut imported = 0;
    let mut rejections = Vec::new();
    let mut begin = 0;
    while begin < rows.len() {
        let mut size_bytes = 0;
        let fits = rows[begin..].iter().take(TRANSACTION_ROWS_MAX).take_while(|row| {
            size_bytes += row.size_bytes;
            size_bytes <= TRANSACTION_SIZE_BYTES
        });
        // At least one, whatever its size.
        let end = begin + fits.count().max(1);
        let batch = &rows[begin..end];
        let (taken, refused) = tenant
            .run(|transaction| async move { write_batch(&transaction, record_type, replaces, batch).await })
            .await?;
        imported += (taken - refused.len()) as u64;
        rejections.extend(refused);
        begin += taken;
    }
    Ok((imported, rejections))
}

/// Writes rows until the transaction is full; how many were taken, and which of them were refused.
async fn write_batch(
    transaction: &TenantTransaction,
    record_type: &str,
    replaces: bool,
    batch: &[Addressed],
) -> Result<(usize, Vec<Rejection>)> {
    let condition = if replaces { Condition::Always } else { Condition::IsAbsent };
    let mut rejections = Vec::new();
    for (taken, row) in batch.iter().enumerate() {
        match transaction.put_if(record_type, &row.record, condition).await {
            Ok(()) => {}
            // Not the row's fault: it begins the next transaction, and is refused only if that one cannot take it either.
            Err(error) if error.code() == Code::LimitPassed && taken > 0 => return Ok((taken, rejections)),
            // A refused record leaves nothing behind, so the others go on.
            Err(error) if error.kind() != Kind::Engine => {
                rejections.push(Rejection { line: row.line, reason: error })
            }
            Err(error) => return Err(error),
        }
    }
    Ok((batch.len(), rejections))
}
