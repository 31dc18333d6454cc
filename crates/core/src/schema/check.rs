//! From the file's form to a schema: ids are given, and every rule is checked.

use super::define_index::define_index;
use super::source::{Entries, FieldSource, SchemaSource, TypeSource, ValuesSource};
use super::{RecordType, SchemaDefinition, check_count, constraints, invalid, references};
use crate::error::{Result, limit, shown};
use crate::limits::{
    COLUMNS_MAX, ENUM_VALUES_MAX, FIELD_ID_MAX, FIELDS_MAX, INDEXES_MAX, NAME_SIZE_BYTES_MAX,
    RECORD_TYPES_MAX, TYPE_DEPTH_MAX,
};
use crate::value::{Constraints, EnumValue, Field, FieldType};

pub(super) fn define(source: SchemaSource) -> Result<SchemaDefinition> {
    check_name("schema", &source.name)?;
    constraints::check_pattern_count(&source)?;
    let Entries(types) = source.types;
    if types.is_empty() {
        return Err(invalid("a schema has at least one record type: add [types.NAME]".to_owned()));
    }
    check_count("the record types of a schema", types.len(), RECORD_TYPES_MAX)?;
    let ids = give_ids("record type", types.iter().map(|(name, given)| (name.as_str(), given.id)), u32::MAX)?;
    // Index ids are unique in the schema: those given come first.
    let indexes = types.iter().flat_map(|(_, given)| &given.indexes.0);
    let index_ids = give_ids("index", indexes.map(|(name, given)| (name.as_str(), given.id)), u32::MAX)?;
    let mut index_ids = index_ids.into_iter();
    let mut defined = Vec::new();
    let mut reference_sources = Vec::new();
    for ((name, mut given), id) in types.into_iter().zip(ids) {
        reference_sources.push(std::mem::take(&mut given.references));
        defined.push(define_type(name, given, id, &mut index_ids)?);
    }
    references::define(reference_sources, &mut defined)?;
    Ok(SchemaDefinition { name: source.name, types: defined })
}

fn define_type(
    name: String,
    source: TypeSource,
    id: u32,
    index_ids: &mut impl Iterator<Item = u32>,
) -> Result<RecordType> {
    check_name("record type", &name)?;
    let mut fields_left = FIELDS_MAX;
    let fields = define_fields(source.fields, &name, TYPE_DEPTH_MAX, &mut fields_left)?;
    check_columns(&format!("the primary key of {}", shown(&name)), &source.primary_key, &fields)?;
    for column in &source.primary_key {
        if fields.iter().any(|field| *field.name == **column && field.is_optional) {
            let detail = format!(
                "the field {} of {} is in the primary key and cannot be optional",
                shown(column),
                shown(&name)
            );
            return Err(invalid(detail));
        }
    }
    let Entries(indexes) = source.indexes;
    check_count("the indexes of a record type", indexes.len(), INDEXES_MAX)?;
    let mut defined = Vec::new();
    for (index_name, index) in indexes {
        check_name("index", &index_name)?;
        // The ids were given in this very order.
        let id = index_ids.next().unwrap_or_default();
        defined.push(define_index(id, index_name, index, &name, &fields)?);
    }
    let checks = constraints::define_checks(source.checks, &fields, &name)?;
    let primary_key = source.primary_key;
    // The references come when all types are there.
    Ok(RecordType { id, name, fields, primary_key, indexes: defined, checks, references: Vec::new() })
}

pub(super) fn check_columns(what: &str, columns: &[String], fields: &[Field]) -> Result<()> {
    if columns.is_empty() {
        return Err(invalid(format!("{what} names no field")));
    }
    check_count(&format!("the fields of {what}"), columns.len(), COLUMNS_MAX)?;
    for (index, column) in columns.iter().enumerate() {
        let Some(field) = fields.iter().find(|field| *field.name == **column) else {
            let known: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
            return Err(invalid(format!(
                "{what} names the field {}; there are {}",
                shown(column),
                known.join(", ")
            )));
        };
        if !field.field_type.has_key_form() {
            let detail =
                format!("{what} names {}: a {} has no order", shown(column), field.field_type.name());
            return Err(invalid(detail));
        }
        if columns[..index].contains(column) {
            return Err(invalid(format!("{what} names {} twice", shown(column))));
        }
    }
    Ok(())
}

fn define_fields(
    Entries(sources): Entries<FieldSource>,
    path: &str,
    depth_left: usize,
    fields_left: &mut usize,
) -> Result<Vec<Field>> {
    if sources.is_empty() {
        return Err(invalid(format!("{} has no fields", shown(path))));
    }
    match fields_left.checked_sub(sources.len()) {
        Some(left) => *fields_left = left,
        None => return Err(limit("the fields of a record type", FIELDS_MAX + 1, FIELDS_MAX)),
    }
    let ids = give_ids("field", sources.iter().map(|(name, given)| (name.as_str(), given.id)), FIELD_ID_MAX)?;
    let mut fields = Vec::new();
    for ((name, source), id) in sources.into_iter().zip(ids) {
        check_name("field", &name)?;
        let path = format!("{path}.{name}");
        let is_optional = source.optional;
        let (field_type, constraints) = define_type_of(source, &path, depth_left, fields_left)?;
        fields.push(Field { id, field_type, name: name.into(), is_optional, constraints });
    }
    Ok(fields)
}

fn define_type_of(
    source: FieldSource,
    path: &str,
    depth_left: usize,
    fields_left: &mut usize,
) -> Result<(FieldType, Option<Box<Constraints>>)> {
    let Some(depth_left) = depth_left.checked_sub(1) else {
        return Err(limit(&format!("the depth of {}", shown(path)), TYPE_DEPTH_MAX + 1, TYPE_DEPTH_MAX));
    };
    let FieldSource { type_name, values, of, fields, constraints, .. } = source;
    let mut of_elements = None;
    let extra = |what: &str, is_there: bool, belongs: &str| match is_there && type_name != belongs {
        true => Err(invalid(format!(
            "{} is of type {}: \"{what}\" belongs to {belongs}",
            shown(path),
            shown(&type_name)
        ))),
        false => Ok(()),
    };
    extra("values", values.is_some(), "enum")?;
    extra("of", of.is_some(), "list")?;
    extra("fields", fields.is_some(), "struct")?;
    let field_type = match type_name.as_str() {
        "bool" => FieldType::Bool,
        "int" => FieldType::Int,
        "float" => FieldType::Float,
        "string" => FieldType::String,
        "bytes" => FieldType::Bytes,
        "uuid" => FieldType::Uuid,
        "timestamp" => FieldType::Timestamp,
        "date" => FieldType::Date,
        "decimal" => FieldType::Decimal,
        "json" => FieldType::Json,
        "enum" => FieldType::Enum(define_values(values, path)?),
        "list" => match of {
            Some(element) => {
                check_element(&element, path)?;
                let path = format!("{path}[]");
                let (element, constraints) = define_type_of(*element, &path, depth_left, fields_left)?;
                of_elements = constraints;
                FieldType::List(Box::new(element))
            }
            None => {
                return Err(invalid(format!(
                    "the list {} needs \"of\": the type of its elements",
                    shown(path)
                )));
            }
        },
        "struct" => match fields {
            Some(fields) => FieldType::Struct(define_fields(fields, path, depth_left, fields_left)?),
            None => return Err(invalid(format!("the struct {} needs \"fields\"", shown(path)))),
        },
        other => {
            let known = "bool, int, float, string, bytes, uuid, timestamp, date, decimal, json, enum, list and struct";
            return Err(invalid(format!("{} has the type {}; there are {known}", shown(path), shown(other))));
        }
    };
    let constraints = constraints::define(constraints, &field_type, of_elements, path)?;
    Ok((field_type, constraints))
}

/// Fails for what belongs to fields alone.
fn check_element(element: &FieldSource, path: &str) -> Result<()> {
    let words = [
        ("id", element.id.is_some()),
        ("optional", element.optional),
        ("default", element.constraints.default.is_some()),
    ];
    match words.iter().find(|(_, is_there)| *is_there) {
        Some((word, _)) => {
            let detail =
                format!("\"of\" of the list {} has {}: that belongs to fields", shown(path), shown(word));
            Err(invalid(detail))
        }
        None => Ok(()),
    }
}

fn define_values(values: Option<ValuesSource>, path: &str) -> Result<Vec<EnumValue>> {
    let values: Vec<(String, Option<u32>)> = match values {
        Some(ValuesSource::Names(names)) => names.into_iter().map(|name| (name, None)).collect(),
        Some(ValuesSource::Ids(Entries(ids))) => ids.into_iter().map(|(name, id)| (name, Some(id))).collect(),
        None => Vec::new(),
    };
    if values.is_empty() {
        return Err(invalid(format!("the enum {} needs \"values\"", shown(path))));
    }
    check_count(&format!("the values of {}", shown(path)), values.len(), ENUM_VALUES_MAX)?;
    for (index, (name, _)) in values.iter().enumerate() {
        check_name("enum value", name)?;
        if values[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(invalid(format!("the enum {} has the value {} twice", shown(path), shown(name))));
        }
    }
    let ids = give_ids("enum value", values.iter().map(|(name, id)| (name.as_str(), *id)), u32::MAX)?;
    Ok(values.into_iter().zip(ids).map(|((name, _), id)| EnumValue { id, name: name.into() }).collect())
}

/// The ids that the file gives, and the lowest free ones for the rest, in the order of the file.
fn give_ids<'a>(
    what: &str,
    given: impl Iterator<Item = (&'a str, Option<u32>)>,
    most: u32,
) -> Result<Vec<u32>> {
    let given: Vec<(&str, Option<u32>)> = given.collect();
    let mut taken = std::collections::BTreeSet::new();
    for (name, id) in &given {
        let Some(id) = id else { continue };
        if *id == 0 || *id > most {
            return Err(invalid(format!(
                "the {what} {} has the id {id}: ids go from 1 to {most}",
                shown(name)
            )));
        }
        if !taken.insert(*id) {
            return Err(invalid(format!(
                "the {what} {} has the id {id}, which another {what} has",
                shown(name)
            )));
        }
    }
    let mut free = (1..=most).filter(|id| !taken.contains(id));
    let mut ids = Vec::with_capacity(given.len());
    for (name, id) in &given {
        match id.or_else(|| free.next()) {
            Some(id) => ids.push(id),
            None => return Err(invalid(format!("there is no id left for the {what} {}", shown(name)))),
        }
    }
    Ok(ids)
}

/// Names are letters, digits and underscores, so that they stand in expressions; those of schemas and enum values may hold more.
pub(super) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_SIZE_BYTES_MAX {
        let detail = format!(
            "the {what} {} has {} bytes: names have 1 to {NAME_SIZE_BYTES_MAX}",
            shown(name),
            name.len()
        );
        return Err(invalid(detail));
    }
    if what == "enum value" {
        return match name.chars().any(char::is_control) {
            true => Err(invalid(format!("the enum value {} holds control characters", shown(name)))),
            false => Ok(()),
        };
    }
    let is_identifier = name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
        && !name.starts_with(|character: char| character.is_ascii_digit());
    match is_identifier || (what == "schema" && is_schema_name(name)) {
        true => Ok(()),
        false => Err(invalid(format!(
            "the {what} {} cannot be named so: names are letters a-z, digits and underscores, and begin with no digit",
            shown(name)
        ))),
    }
}

/// A schema's name may hold dashes and dots too.
fn is_schema_name(name: &str) -> bool {
    let is_legal =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.');
    name.chars().all(is_legal) && name.starts_with(|character: char| character.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use crate::error::Code;
    use crate::schema::SchemaDefinition;

    const BASE: &str = "name = \"s\"\n[types.t]\nprimary_key = [\"a\"]\n[types.t.fields]\na = \"int\"\n";

    fn refused(text: &str) -> String {
        let error = SchemaDefinition::from_toml(text).unwrap_err();
        assert!(matches!(error.code(), Code::SchemaInvalid | Code::LimitPassed), "{error}");
        error.detail().to_owned()
    }

    #[test]
    fn ids_are_given_in_the_order_of_the_file_around_those_it_gives() {
        let text = format!(
            "{BASE}z = {{ type = \"string\", id = 2 }}\nb = \"bool\"\n[types.t.indexes]\ni = {{ fields = [\"z\"] }}\n"
        );
        let schema = SchemaDefinition::from_toml(&text).unwrap();
        let ids: Vec<(u32, &str)> =
            schema.types[0].fields.iter().map(|field| (field.id, &*field.name)).collect();
        assert_eq!(ids, [(1, "a"), (2, "z"), (3, "b")]);
        let again = SchemaDefinition::from_json(&schema.to_json().to_string()).unwrap();
        assert_eq!(again, schema);
    }

    #[test]
    fn every_rule_is_named() {
        let cases = [
            ("name = \"s\"\n[types]\n", "at least one record type"),
            ("name = \"\"\n[types.t]\nprimary_key=[\"a\"]\nfields={a=\"int\"}", "0 bytes"),
            ("name = \"s\"\n[types.t]\nprimary_key=[]\nfields={a=\"int\"}", "names no field"),
            ("name = \"s\"\n[types.t]\nprimary_key=[\"b\"]\nfields={a=\"int\"}", "\"b\"; there are a"),
            ("name = \"s\"\n[types.t]\nprimary_key=[\"a\",\"a\"]\nfields={a=\"int\"}", "twice"),
            ("name = \"s\"\n[types.t]\nprimary_key=[\"a\"]\nfields={a=\"json\"}", "has no order"),
            (
                "name = \"s\"\n[types.t]\nprimary_key=[\"a\"]\nfields={a={type=\"int\",optional=true}}",
                "cannot be optional",
            ),
            (
                "name = \"s\"\n[types.t]\nprimary_key=[\"a\"]\nfields={a=\"integer\"}",
                "has the type \"integer\"",
            ),
            ("name = \"s\"\n[types.t]\nprimary_key=[\"a\"]\nfields={a=\"enum\"}", "needs \"values\""),
            (
                "name = \"s\"\n[types.t]\nprimary_key=[\"a\"]\nfields={a={type=\"int\",of=\"int\"}}",
                "belongs to list",
            ),
            ("name = \"s\"\n[types.t]\nprimary_key=[\"a\"]\nfields={a={type=\"int\",id=0}}", "ids go from 1"),
            ("name = \"s\"\n[types.t]\nprimary_key=[\"a\"]\nfields={\"a b\"=\"int\"}", "cannot be named so"),
            ("name = \"s\"\n[types.t]\nprimary_key=[\"a\"]\nfields={a=\"int\"}\nspeed=1", "unknown field"),
            ("name = \"s\"\n[types.t", "expected"),
        ];
        for (text, part) in cases {
            let detail = refused(text);
            assert!(detail.contains(part), "{text}\n{detail}");
        }
        let deep = format!(
            "name = \"s\"\n[types.t]\nprimary_key=[\"a\"]\n[types.t.fields]\na=\"int\"\nb={}\"int\"{}",
            "{type=\"list\",of=".repeat(9),
            "}".repeat(9)
        );
        assert!(refused(&deep).contains("depth"));
        refused(&format!("name = {}", "[".repeat(100_000)));
        refused(&format!("name = {}1{}", "{a=".repeat(10_000), "}".repeat(10_000)));
        assert!(SchemaDefinition::from_json(&"{\"name\":".repeat(50_000)).is_err());
        assert!(refused(&" ".repeat(1_000_001)).contains("1000001"));
        let twice = r#"{"name":"s","types":{"t":{"primary_key":["a"],"fields":{"a":"int","a":"bool"}}}}"#;
        assert!(SchemaDefinition::from_json(twice).unwrap_err().detail().contains("twice"));
    }
}
