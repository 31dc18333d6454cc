//! The form of a schema file, the same in TOML and JSON.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value as Json, json};

use super::SchemaDefinition;
use crate::error::shown;
use crate::value::{Field, FieldType};

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
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IndexSource {
    pub(super) id: Option<u32>,
    pub(super) fields: Vec<String>,
    #[serde(default)]
    pub(super) unique: bool,
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
                let full = FullField::deserialize(MapAccessDeserializer::new(entries))?;
                let FullField { id, type_name, optional, values, of, fields } = full;
                Ok(FieldSource { id, type_name, optional, values, of, fields })
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
        let indexes = record_type.indexes.iter().map(|index| {
            let written = json!({ "id": index.id, "fields": index.columns, "unique": index.is_unique });
            (index.name.clone(), written)
        });
        let written = json!({
            "id": record_type.id,
            "primary_key": record_type.primary_key,
            "fields": write_fields(&record_type.fields),
            "indexes": indexes.collect::<Map<_, _>>(),
        });
        (record_type.name.clone(), written)
    });
    json!({ "name": schema.name, "types": types.collect::<Map<_, _>>() })
}

fn write_fields(fields: &[Field]) -> Json {
    let written = fields.iter().map(|field| {
        let mut written = write_type(&field.field_type);
        written.insert("id".to_owned(), Json::from(field.id));
        if field.is_optional {
            written.insert("optional".to_owned(), Json::Bool(true));
        }
        (field.name.to_string(), Json::Object(written))
    });
    Json::Object(written.collect())
}

fn write_type(field_type: &FieldType) -> Map<String, Json> {
    let mut written = Map::new();
    written.insert("type".to_owned(), Json::from(field_type.name()));
    match field_type {
        FieldType::Enum(values) => {
            let values = values.iter().map(|value| (value.name.to_string(), Json::from(value.id)));
            written.insert("values".to_owned(), Json::Object(values.collect()));
        }
        FieldType::List(element) => {
            written.insert("of".to_owned(), Json::Object(write_type(element)));
        }
        FieldType::Struct(fields) => {
            written.insert("fields".to_owned(), write_fields(fields));
        }
        _ => {}
    }
    written
}
