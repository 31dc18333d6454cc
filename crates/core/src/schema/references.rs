//! References: fields that name a record of another type, or of the same.

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::check::{check_columns, check_name};
use super::source::Entries;
use super::{IndexKind, RecordType, SchemaDefinition, check_count, invalid};
use crate::error::{Result, shown};
use crate::limits::REFERENCES_MAX;

/// Fields that hold the primary key of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reference {
    /// Its name, which stands in errors.
    pub name: String,
    /// The fields, in the order of the other type's primary key.
    pub columns: Vec<String>,
    /// The type that they refer to.
    pub to: String,
    /// What becomes of the record when the one that it refers to is deleted.
    pub on_delete: OnDelete,
    /// The index that finds those that refer to a record; the primary key does where it is `None`.
    pub(crate) found_by: Option<u32>,
}

/// What becomes of a record when the one that it refers to is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDelete {
    /// The other one cannot be deleted as long as this one is there.
    #[default]
    Restrict,
    /// It is deleted as well.
    Cascade,
    /// Its fields are set to null.
    SetNull,
}

impl OnDelete {
    /// The word in a schema.
    pub fn name(self) -> &'static str {
        match self {
            OnDelete::Restrict => "restrict",
            OnDelete::Cascade => "cascade",
            OnDelete::SetNull => "set_null",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReferenceSource {
    fields: Vec<String>,
    to: String,
    #[serde(default)]
    on_delete: OnDelete,
}

/// Gives the types their references, once all types are there.
pub(super) fn define(sources: Vec<Entries<ReferenceSource>>, types: &mut [RecordType]) -> Result<()> {
    for (place, Entries(sources)) in sources.into_iter().enumerate() {
        let what = format!("the references of {}", shown(&types[place].name));
        check_count(&what, sources.len(), REFERENCES_MAX)?;
        let mut defined: Vec<Reference> = Vec::new();
        for (name, source) in sources {
            check_name("reference", &name)?;
            let reference = define_one(name, source, &types[place], types)?;
            let same = |other: &&Reference| other.columns == reference.columns && other.to == reference.to;
            if let Some(same) = defined.iter().find(same) {
                let names = format!("{} and {}", shown(&same.name), shown(&reference.name));
                let child = shown(&types[place].name);
                return Err(invalid(format!(
                    "the references {names} of {child} are the same fields to the same type"
                )));
            }
            defined.push(reference);
        }
        types[place].references = defined;
    }
    Ok(())
}

fn define_one(
    name: String,
    source: ReferenceSource,
    child: &RecordType,
    types: &[RecordType],
) -> Result<Reference> {
    let ReferenceSource { fields: columns, to, on_delete } = source;
    let what = format!("the reference {} of {}", shown(&name), shown(&child.name));
    let Some(target) = types.iter().find(|target| target.name == to) else {
        let known: Vec<&str> = types.iter().map(|known| known.name.as_str()).collect();
        return Err(invalid(format!("{what} is to {}; there are {}", shown(&to), known.join(", "))));
    };
    check_columns(&what, &columns, &child.fields)?;
    if columns.len() != target.primary_key.len() {
        let key = target.primary_key.join(", ");
        let detail =
            format!("{what} has {} fields, the primary key of {} is {key}", columns.len(), shown(&to));
        return Err(invalid(detail));
    }
    for (column, key_column) in columns.iter().zip(&target.primary_key) {
        let (own, other) = (child.field(column)?, target.field(key_column)?);
        if own.field_type != other.field_type {
            let detail = format!(
                "{what}: {} is of type {}, {} of {} is of type {}{}",
                shown(column),
                own.field_type.name(),
                shown(key_column),
                shown(&to),
                other.field_type.name(),
                if own.field_type.name() == other.field_type.name() { " with other values" } else { "" }
            );
            return Err(invalid(detail));
        }
        if on_delete == OnDelete::SetNull && !own.is_optional {
            let detail = format!("{what} cannot be set to null: {} is not optional", shown(column));
            return Err(invalid(detail));
        }
    }
    let found_by = found_by(&what, &columns, child)?;
    Ok(Reference { name, columns, to, on_delete, found_by })
}

/// The way from a record to those that refer to it: the primary key, if it begins with the fields, or an index that does and has every record.
fn found_by(what: &str, columns: &[String], child: &RecordType) -> Result<Option<u32>> {
    if child.primary_key.starts_with(columns) {
        return Ok(None);
    }
    let index = child.indexes.iter().find(|index| {
        let begins = index.columns.len() >= columns.len()
            && index.columns.iter().zip(columns).all(|(column, name)| column.field() == Some(name));
        // One on the elements of a list lacks the records whose list is empty.
        let has_all = index.condition.is_none() && index.columns.iter().all(|column| !column.is_each);
        // A hash is of all columns together.
        let is_found = !index.is_hashed || index.columns.len() == columns.len();
        matches!(index.kind, IndexKind::Value { .. }) && begins && has_all && is_found
    });
    match index {
        Some(index) => Ok(Some(index.id)),
        None => {
            let quoted: Vec<String> = columns.iter().map(|column| format!("\"{column}\"")).collect();
            Err(invalid(format!(
                "{what} needs an index that begins with its fields and has every record; add under [types.{}.indexes]: by_{} = {{ fields = [{}] }}",
                child.name,
                columns.join("_"),
                quoted.join(", ")
            )))
        }
    }
}

pub(super) fn write(references: &[Reference]) -> Json {
    let written = references.iter().map(|reference| {
        let Reference { name, columns, to, on_delete, .. } = reference;
        (name.clone(), json!({ "fields": columns, "to": to, "on_delete": on_delete.name() }))
    });
    Json::Object(written.collect::<Map<_, _>>())
}

impl SchemaDefinition {
    /// The references to a type, each with the type that has it.
    pub(crate) fn references_to<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a RecordType, &'a Reference)> {
        self.types.iter().flat_map(move |child| {
            child
                .references
                .iter()
                .filter(move |reference| reference.to == name)
                .map(move |reference| (child, reference))
        })
    }
}
