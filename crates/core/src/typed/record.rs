//! A record as a struct.

use super::definition::TypeDefinition;
use super::fields::Fields;
use super::key::TypedKey;
use super::misfit::Misfit;
use crate::error::{Code, Result};
use crate::record::Record;

/// A struct that is a record: `#[derive(Record)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no record type",
    label = "no record type",
    note = "a struct is made one with #[derive(Record)]"
)]
pub trait TypedRecord: Sized {
    /// The record type's name in the schema.
    const NAME: &'static str;

    /// The primary key: the type of its field, or a tuple of those of its fields.
    type Key: TypedKey;

    /// What a schema file says of the type.
    ///
    /// # Errors
    ///
    /// 20022 for rules that contradict each other, 20060 for types that are nested too deep.
    fn definition() -> Result<TypeDefinition>;

    /// The record's primary key.
    fn key(&self) -> Self::Key;

    /// Takes the struct's fields out of those of a record.
    ///
    /// # Errors
    ///
    /// A [`Misfit`] for a value that the struct does not hold.
    fn take(fields: &mut Fields) -> Result<Self, Misfit>;

    /// Puts the struct's fields into those of a record.
    ///
    /// # Errors
    ///
    /// A [`Misfit`] for a value that no record holds.
    fn put(&self, fields: &mut Fields) -> Result<(), Misfit>;

    /// The struct out of a record. Fields that it does not have are left out.
    ///
    /// # Errors
    ///
    /// 20029 naming record type, field and value for a record that the struct does not hold: an integer out of the range of its Rust type, an unknown value of an
    /// enum, a missing field.
    fn from_record(record: Record) -> Result<Self> {
        Self::take(&mut Fields::of_record(record))
            .map_err(|misfit| misfit.into_error(Code::RustTypeDiffers, Self::NAME))
    }

    /// The record with the struct's fields and no others. `None` is an answer: the default of an optional field does not take its place.
    ///
    /// # Errors
    ///
    /// 20032 for a value that no record holds, such as an integer from 2^63 on.
    fn to_record(&self) -> Result<Record> {
        let mut record = Record::new();
        self.put_into(&mut record)?;
        Ok(record)
    }

    /// Puts the struct's fields into a record. Other fields, also those in structs, stay as they are.
    ///
    /// # Errors
    ///
    /// As [`to_record`](TypedRecord::to_record); the record is as it was then.
    fn put_into(&self, record: &mut Record) -> Result<()> {
        let mut fields = Fields::of_record(record.clone());
        self.put(&mut fields).map_err(|misfit| misfit.into_error(Code::RecordInvalid, Self::NAME))?;
        fields.into_record(record);
        Ok(())
    }
}
