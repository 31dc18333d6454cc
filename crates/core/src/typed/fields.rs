//! The fields of a record or struct, while they are taken out or put in.

use std::fmt;

use super::misfit::Misfit;
use super::value::{TypedField, unfit};
use crate::record::{Record, RecordVersion};
use crate::value::{Name, Value};
use crate::violation::Path;

/// The values of a record or of a struct in it.
#[derive(Debug, Default)]
pub struct Fields {
    values: Vec<(Name, Value)>,
    nulls: Vec<Box<str>>,
    version: Option<RecordVersion>,
}

impl Fields {
    /// None.
    pub fn new() -> Fields {
        Fields::default()
    }

    /// Those of a struct.
    ///
    /// # Errors
    ///
    /// A [`Misfit`] for what is no struct.
    pub fn of_struct(value: Value) -> Result<Fields, Misfit> {
        match value {
            Value::Struct(values) => Ok(Fields { values, ..Fields::default() }),
            value => Err(unfit(&value, "a struct")),
        }
    }

    pub(super) fn of_record(record: Record) -> Fields {
        Fields { version: record.version, values: record.values, nulls: record.nulls }
    }

    /// Takes a field out.
    ///
    /// # Errors
    ///
    /// A [`Misfit`] for a value that the type does not hold, or that is missing.
    pub fn take<F: TypedField>(&mut self, name: &str) -> Result<F, Misfit> {
        let place = self.values.iter().position(|(known, _)| **known == *name);
        // What order the rest has is nobody's concern.
        let value = place.map(|place| self.values.swap_remove(place).1);
        F::from_field(value).map_err(|misfit| misfit.in_field(name))
    }

    /// Puts a field in, in the place of what was there. Where that holds parts which the type does not know, they stay.
    ///
    /// # Errors
    ///
    /// A [`Misfit`] for a value that no record holds.
    pub fn set<F: TypedField>(&mut self, name: &str, field: &F, has_default: bool) -> Result<(), Misfit> {
        let value = field.to_field().map_err(|misfit| misfit.in_field(name))?;
        field.note_nulls(Place(Path::RECORD.field(name)), has_default, &mut self.nulls);
        let place = self.values.iter().position(|(known, _)| **known == *name);
        match (place, value) {
            (Some(place), Some(value)) => {
                let slot = &mut self.values[place].1;
                let old = std::mem::replace(slot, Value::Bool(false));
                *slot = F::merged(old, value);
            }
            (Some(place), None) => drop(self.values.remove(place)),
            (None, Some(value)) => self.values.push((name.into(), value)),
            (None, None) => {}
        }
        Ok(())
    }

    /// The version of the record that they are of.
    pub fn version(&self) -> Option<RecordVersion> {
        self.version
    }

    /// The struct that they make.
    pub fn into_struct(self) -> Value {
        Value::Struct(self.values)
    }

    pub(super) fn into_record(self, record: &mut Record) {
        record.values = self.values;
        record.nulls = self.nulls;
    }
}

/// How the new value of a field takes the place of the old one.
pub type Merging = (&'static str, fn(Value, Value) -> Value);

/// A struct in the place of another, with those fields of that one which are not among `known`.
#[doc(hidden)]
pub fn merge_structs(old: Value, new: Value, known: &[Merging]) -> Value {
    match (old, new) {
        (Value::Struct(old), Value::Struct(mut new)) => {
            for (name, old) in old {
                let merging = known.iter().find(|(known, _)| *known == &*name);
                let slot = new.iter_mut().find(|(known, _)| *known == name);
                match (merging, slot) {
                    (Some((_, merged)), Some((_, slot))) => {
                        let new = std::mem::replace(slot, Value::Bool(false));
                        *slot = merged(old, new);
                    }
                    (Some(_), None) | (None, Some(_)) => {}
                    (None, None) => new.push((name, old)),
                }
            }
            Value::Struct(new)
        }
        (_, new) => new,
    }
}

/// Where a value stands in a record.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Place<'a>(Path<'a>);

impl<'a> Place<'a> {
    /// A field in it.
    pub fn field(&'a self, name: &'a str) -> Place<'a> {
        Place(self.0.field(name))
    }

    /// An element in it.
    pub fn element(&'a self, index: usize) -> Place<'a> {
        Place(self.0.element(index))
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
