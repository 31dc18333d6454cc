//! What is written for fields that a record comes without.

use std::borrow::Cow;

use jiff::Timestamp;
use tenantry_kv::env::Env;

use crate::database::new_uuid;
use crate::record::Record;
use crate::schema::RecordType;
use crate::value::{DefaultValue, Field, FieldType, Name, Value};
use crate::violation::Path;

/// The record with the default of every field that it lacks. Optional fields stay missing where they are null by intent: set so, or read so from the database.
pub(crate) fn filled<'a>(record: &'a Record, record_type: &RecordType, env: &Env) -> Cow<'a, Record> {
    if !have_defaults(&record_type.fields) {
        return Cow::Borrowed(record);
    }
    let filler = Filler { record, env };
    let mut values = record.values.clone();
    filler.fill(&mut values, &record_type.fields, &Path::RECORD);
    Cow::Owned(Record { values, ..record.clone() })
}

/// The present moment as a timestamp field holds it.
pub(crate) fn now(env: &Env) -> Timestamp {
    Timestamp::from_microsecond(env.clock.wall_us()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn have_defaults(fields: &[Field]) -> bool {
    fields.iter().any(|field| field.default_value().is_some() || type_has_defaults(&field.field_type))
}

fn type_has_defaults(field_type: &FieldType) -> bool {
    match field_type {
        FieldType::List(element) => type_has_defaults(element),
        FieldType::Struct(fields) => have_defaults(fields),
        _ => false,
    }
}

struct Filler<'a> {
    record: &'a Record,
    env: &'a Env,
}

impl Filler<'_> {
    fn fill(&self, values: &mut Vec<(Name, Value)>, fields: &[Field], path: &Path<'_>) {
        for field in fields {
            let path = path.field(&field.name);
            let is_missing = !values.iter().any(|(name, _)| *name == field.name);
            if let Some(default) = field.default_value()
                && is_missing
                && !(field.is_optional && self.is_null(&path))
            {
                values.push((field.name.clone(), self.value(default)));
            }
            if type_has_defaults(&field.field_type)
                && let Some((_, value)) = values.iter_mut().find(|(name, _)| *name == field.name)
            {
                self.fill_value(value, &field.field_type, &path);
            }
        }
    }

    fn fill_value(&self, value: &mut Value, field_type: &FieldType, path: &Path<'_>) {
        match (value, field_type) {
            (Value::Struct(values), FieldType::Struct(fields)) => self.fill(values, fields, path),
            (Value::List(elements), FieldType::List(element)) => {
                for (index, value) in elements.iter_mut().enumerate() {
                    self.fill_value(value, element, &path.element(index));
                }
            }
            _ => {}
        }
    }

    fn is_null(&self, path: &Path<'_>) -> bool {
        if self.record.is_read {
            return true;
        }
        !self.record.nulls.is_empty() && {
            let path = path.to_string();
            self.record.nulls.iter().any(|null| **null == path)
        }
    }

    fn value(&self, default: &DefaultValue) -> Value {
        match default {
            DefaultValue::Literal(value) => value.clone(),
            DefaultValue::Now => Value::Timestamp(now(self.env)),
            DefaultValue::NewUuid => Value::Uuid(new_uuid(self.env)),
        }
    }
}
