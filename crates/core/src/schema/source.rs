//! The form of a schema file, the same in TOML and JSON.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value as Json, json};

use super::SchemaDefinition;
use super::constraints::{self, ConstraintsSource, Literal};
use super::index::{Column, Index, IndexKind, MissingRule};
use super::references::{self, ReferenceSource};
use crate::error::shown;
use crate::value::{Constraints, Field, FieldType};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SchemaSource {
    pub(super) name: String,
    pub(super) types: Entries<TypeSource>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TypeSource {
    pub(super) id: Option<u32>,
    pub(super) primary_key: Vec<String>,
    pub(super) fields: Entries<FieldSource>,
    #[serde(default)]
    pub(super) indexes: Entries<IndexSource>,
    #[serde(default)]
    pub(super) checks: Entries<String>,
    #[serde(default)]
    pub(super) references: Entries<ReferenceSource>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IndexSource {
    pub(super) id: Option<u32>,
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) group: Vec<ColumnSource>,
    #[serde(default)]
    pub(super) fields: Vec<ColumnSource>,
    pub(super) of: Option<ColumnSource>,
    #[serde(default)]
    pub(super) covering: Vec<String>,
    #[serde(rename = "where")]
    pub(super) condition: Option<String>,
    #[serde(default)]
    pub(super) unique: bool,
    #[serde(default)]
    pub(super) hashed: bool,
    /// What a unique index makes of missing values: `distinct` or `equal`.
    pub(super) missing: Option<String>,
    pub(super) language: Option<String>,
    /// The rules by which texts are cut into words; the newest, if absent.
    pub(super) tokenizer_version: Option<u32>,
    pub(super) after_s: Option<u64>,
}

/// `"field"`, `"expression:desc"`, or a table that says it in words.
#[derive(Default)]
pub(super) struct ColumnSource {
    pub(super) text: String,
    pub(super) is_each: bool,
    /// `asc` or `desc`.
    pub(super) order: Option<String>,
    /// Where those that lack the value stand: `first` or `last`.
    pub(super) missing: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FullColumn {
    field: Option<String>,
    each: Option<String>,
    order: Option<String>,
    missing: Option<String>,
}

impl<'de> Deserialize<'de> for ColumnSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ColumnSource, D::Error> {
        struct ColumnVisitor;
        impl<'de> Visitor<'de> for ColumnVisitor {
            type Value = ColumnSource;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a field or an expression, or a table with \"field\" or \"each\"")
            }

            fn visit_str<E>(self, text: &str) -> Result<ColumnSource, E> {
                Ok(ColumnSource { text: text.to_owned(), ..ColumnSource::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<ColumnSource, A::Error> {
                let full = FullColumn::deserialize(MapAccessDeserializer::new(entries))?;
                let FullColumn { field, each, order, missing } = full;
                let (text, is_each) = match (field, each) {
                    (Some(text), None) => (text, false),
                    (None, Some(text)) => (text, true),
                    _ => return Err(de::Error::custom("a column has either \"field\" or \"each\"")),
                };
                Ok(ColumnSource { text, is_each, order, missing })
            }
        }
        deserializer.deserialize_any(ColumnVisitor)
    }
}

/// `"string"`, or `{ type = "string", ... }`.
#[derive(Default)]
pub(super) struct FieldSource {
    pub(super) id: Option<u32>,
    pub(super) type_name: String,
    pub(super) optional: bool,
    pub(super) values: Option<ValuesSource>,
    pub(super) of: Option<Box<FieldSource>>,
    pub(super) fields: Option<Entries<FieldSource>>,
    pub(super) constraints: ConstraintsSource,
}

/// The values of an enum: names, or names with their ids.
#[derive(serde::Deserialize)]
#[serde(untagged)]
pub(super) enum ValuesSource {
    Names(Vec<String>),
    Ids(Entries<u32>),
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct FullField {
    id: Option<u32>,
    #[serde(rename = "type")]
    type_name: String,
    #[serde(default)]
    optional: bool,
    values: Option<ValuesSource>,
    of: Option<Box<FieldSource>>,
    fields: Option<Entries<FieldSource>>,
    default: Option<Literal>,
    min: Option<Literal>,
    max: Option<Literal>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    pattern: Option<String>,
    check: Option<String>,
}

impl From<FullField> for FieldSource {
    fn from(full: FullField) -> FieldSource {
        let FullField { default, min, max, min_length, max_length, pattern, check, .. } = full;
        let constraints = ConstraintsSource { default, min, max, min_length, max_length, pattern, check };
        let FullField { id, type_name, optional, values, of, fields, .. } = full;
        FieldSource { id, type_name, optional, values, of, fields, constraints }
    }
}

impl<'de> Deserialize<'de> for FieldSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FieldSource, D::Error> {
        struct FieldVisitor;
        impl<'de> Visitor<'de> for FieldVisitor {
            type Value = FieldSource;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a type, or a table with a type")
            }

            fn visit_str<E>(self, type_name: &str) -> Result<FieldSource, E> {
                Ok(FieldSource { type_name: type_name.to_owned(), ..FieldSource::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<FieldSource, A::Error> {
                FullField::deserialize(MapAccessDeserializer::new(entries)).map(FieldSource::from)
            }
        }
        deserializer.deserialize_any(FieldVisitor)
    }
}

/// Named things in the order of the file, each name once.
pub(super) struct Entries<T>(pub(super) Vec<(String, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Entries<T> {
        Entries(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries<T>, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a table of names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Entries<T>, A::Error> {
                let mut read: Vec<(String, T)> = Vec::new();
                while let Some(name) = entries.next_key::<String>()? {
                    if read.iter().any(|(earlier, _)| *earlier == name) {
                        return Err(de::Error::custom(format!("the name {} stands twice", shown(&name))));
                    }
                    read.push((name, entries.next_value()?));
                }
                Ok(Entries(read))
            }
        }
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

/// The schema in the form that is read, with every id.
pub(super) fn write(schema: &SchemaDefinition) -> Json {
    let types = schema.types.iter().map(|record_type| {
        let indexes =
            record_type.indexes.iter().map(|index| (index.name.clone(), Json::Object(write_index(index))));
        let mut written = json!({
            "id": record_type.id,
            "primary_key": record_type.primary_key,
            "fields": write_fields(&record_type.fields),
            "indexes": indexes.collect::<Map<_, _>>(),
        });
        if !record_type.checks.is_empty() {
            let checks = record_type.checks.iter();
            let checks = checks.map(|checked| (checked.name.clone(), Json::from(checked.check.text())));
            written["checks"] = Json::Object(checks.collect());
        }
        if !record_type.references.is_empty() {
            written["references"] = references::write(&record_type.references);
        }
        (record_type.name.clone(), written)
    });
    json!({ "name": schema.name, "types": types.collect::<Map<_, _>>() })
}

fn write_index(index: &Index) -> Map<String, Json> {
    let mut written = Map::new();
    let mut put = |name: &str, value: Json| written.insert(name.to_owned(), value);
    put("id", Json::from(index.id));
    put("kind", Json::from(index.kind.name()));
    let (group, rest) = index.columns.split_at(index.group_columns.min(index.columns.len()));
    let list = |columns: &[Column]| Json::Array(columns.iter().map(write_column).collect());
    if !group.is_empty() {
        put("group", list(group));
    }
    match (&index.kind, rest) {
        (IndexKind::Sum | IndexKind::Min | IndexKind::Max, [of]) => put("of", write_column(of)),
        (_, []) => None,
        (_, rest) => put("fields", list(rest)),
    };
    if !index.covering.is_empty() {
        put("covering", Json::from(index.covering.clone()));
    }
    if let Some(condition) = &index.condition {
        put("where", Json::from(condition.text.clone()));
    }
    if index.is_hashed {
        put("hashed", Json::Bool(true));
    }
    match &index.kind {
        IndexKind::Value { unique: Some(rule) } => {
            put("unique", Json::Bool(true));
            put("missing", Json::from(if *rule == MissingRule::Equal { "equal" } else { "distinct" }));
        }
        IndexKind::Text { tokenizer } => {
            put("tokenizer_version", Json::from(tokenizer.version));
            if let Some(language) = tokenizer.language {
                put("language", Json::from(language.name()));
            }
        }
        IndexKind::TimeToLive { after_s } => {
            put("after_s", Json::from(*after_s));
        }
        _ => {}
    }
    written
}

/// The short form where it says everything.
fn write_column(column: &Column) -> Json {
    let is_usual = column.are_missing_last == column.is_descending;
    if is_usual && !column.is_each && !column.text.contains(':') {
        let direction = if column.is_descending { ":desc" } else { "" };
        return Json::from(format!("{}{direction}", column.text));
    }
    let mut written = Map::new();
    let what = if column.is_each { "each" } else { "field" };
    written.insert(what.to_owned(), Json::from(column.text.clone()));
    written.insert("order".to_owned(), Json::from(if column.is_descending { "desc" } else { "asc" }));
    written.insert("missing".to_owned(), Json::from(if column.are_missing_last { "last" } else { "first" }));
    Json::Object(written)
}

fn write_fields(fields: &[Field]) -> Json {
    let written = fields.iter().map(|field| {
        let mut written = write_type(&field.field_type, field.constraints.as_deref());
        written.insert("id".to_owned(), Json::from(field.id));
        if field.is_optional {
            written.insert("optional".to_owned(), Json::Bool(true));
        }
        (field.name.to_string(), Json::Object(written))
    });
    Json::Object(written.collect())
}

fn write_type(field_type: &FieldType, constraints: Option<&Constraints>) -> Map<String, Json> {
    let mut written = Map::new();
    written.insert("type".to_owned(), Json::from(field_type.name()));
    match field_type {
        FieldType::Enum(values) => {
            let values = values.iter().map(|value| (value.name.to_string(), Json::from(value.id)));
            written.insert("values".to_owned(), Json::Object(values.collect()));
        }
        FieldType::List(element) => {
            let constraints = constraints.and_then(|constraints| constraints.elements.as_deref());
            written.insert("of".to_owned(), Json::Object(write_type(element, constraints)));
        }
        FieldType::Struct(fields) => {
            written.insert("fields".to_owned(), write_fields(fields));
        }
        _ => {}
    }
    if let Some(constraints) = constraints {
        constraints::write(constraints, &mut written);
    }
    written
}
