//! What a Rust type has to know to stand in a field.

use super::definition::{Definition, deeper};
use super::elements::merged_elements;
use super::fields::Place;
use super::misfit::Misfit;
use crate::error::Result;
use crate::value::Value;

/// A Rust type whose values stand in fields of records.
///
/// `bool`, `i8` to `i64`, `u8` to `u64`, `f64`, `String`, `Vec<u8>` and `Bytes`, `Uuid`, `Timestamp`, `Date`, `Decimal`, `Json`, and `Vec` of these. Structs, enums
/// without data and newtypes are made one with `#[derive(Value)]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the type of a field",
    label = "no type of a field",
    note = "there are bool, i8 to i64, u8 to u64, f64, String, Vec<u8>, Bytes, Uuid, Timestamp, Date, Decimal and Json, Vec<T> of these, and what has #[derive(Value)]",
    note = "a field that may be missing is an Option<T>"
)]
pub trait TypedValue: Sized {
    /// Whether its values can have parts that it does not know, as structs have.
    #[doc(hidden)]
    const HAS_FIELDS: bool = false;

    /// The type in a schema. `depth_left` is how deep types may still be nested.
    ///
    /// # Errors
    ///
    /// 20022 for rules that contradict each other, 20060 for types that are nested too deep.
    fn definition(depth_left: usize) -> Result<Definition>;

    /// The value as records have it.
    ///
    /// # Errors
    ///
    /// A [`Misfit`] for one that no record holds, such as an integer from 2^63 on.
    fn to_value(&self) -> Result<Value, Misfit>;

    /// The value out of a record.
    ///
    /// # Errors
    ///
    /// A [`Misfit`] for one that this type does not hold.
    fn from_value(value: Value) -> Result<Self, Misfit>;

    /// A value that takes the place of another, with those parts of that one which this type does not know.
    #[doc(hidden)]
    fn merged(_old: Value, new: Value) -> Value {
        new
    }

    /// Notes the optional parts that are missing although they have a default.
    #[doc(hidden)]
    fn note_nulls(&self, _place: Place<'_>, _nulls: &mut Vec<Box<str>>) {}

    /// What a list of the type is: `Vec<u8>` is bytes.
    #[doc(hidden)]
    fn list_definition(depth_left: usize) -> Result<Definition> {
        Ok(Definition::list_of(Self::definition(deeper(depth_left)?)?))
    }

    #[doc(hidden)]
    fn list_to_value(list: &[Self]) -> Result<Value, Misfit> {
        let values = list.iter().enumerate();
        let values = values.map(|(index, value)| value.to_value().map_err(|misfit| misfit.in_element(index)));
        values.collect::<Result<_, _>>().map(Value::List)
    }

    #[doc(hidden)]
    fn list_from_value(value: Value) -> Result<Vec<Self>, Misfit> {
        let Value::List(values) = value else {
            return Err(unfit(&value, "a list"));
        };
        let values = values.into_iter().enumerate();
        values
            .map(|(index, value)| Self::from_value(value).map_err(|misfit| misfit.in_element(index)))
            .collect()
    }
}

/// A value of another type than the one that is asked for.
pub(super) fn unfit(value: &Value, takes: &str) -> Misfit {
    Misfit::new(format!("holds a value of type {}: the Rust type takes {takes}", value.type_name()))
}

/// The name of an enum's value.
#[doc(hidden)]
pub fn name_of(value: &Value) -> Result<&str, Misfit> {
    value.as_name().ok_or_else(|| unfit(value, "an enum"))
}

impl<T: TypedValue> TypedValue for Vec<T> {
    const HAS_FIELDS: bool = T::HAS_FIELDS;

    fn definition(depth_left: usize) -> Result<Definition> {
        T::list_definition(depth_left)
    }

    fn to_value(&self) -> Result<Value, Misfit> {
        T::list_to_value(self)
    }

    fn from_value(value: Value) -> Result<Vec<T>, Misfit> {
        T::list_from_value(value)
    }

    fn merged(old: Value, new: Value) -> Value {
        match (old, new) {
            (Value::List(old), Value::List(new)) if T::HAS_FIELDS => {
                Value::List(merged_elements::<T>(old, new))
            }
            (_, new) => new,
        }
    }

    fn note_nulls(&self, place: Place<'_>, nulls: &mut Vec<Box<str>>) {
        for (index, element) in self.iter().enumerate() {
            element.note_nulls(place.element(index), nulls);
        }
    }
}

/// The type of a struct's field: a [`TypedValue`], or an `Option` of one for a field that may be missing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the type of a field",
    label = "no type of a field",
    note = "there are bool, i8 to i64, u8 to u64, f64, String, Vec<u8>, Bytes, Uuid, Timestamp, Date, Decimal and Json, Vec<T> of these, and what has #[derive(Value)]",
    note = "a field that may be missing is an Option<T>"
)]
pub trait TypedField: Sized {
    /// Whether the field may be missing.
    const IS_OPTIONAL: bool;

    /// As [`TypedValue::definition`].
    ///
    /// # Errors
    ///
    /// As there.
    fn definition(depth_left: usize) -> Result<Definition>;

    /// The value, if it is there.
    ///
    /// # Errors
    ///
    /// As [`TypedValue::to_value`].
    fn to_field(&self) -> Result<Option<Value>, Misfit>;

    /// The field out of what a record has.
    ///
    /// # Errors
    ///
    /// As [`TypedValue::from_value`]; for one that is missing and may not be.
    fn from_field(value: Option<Value>) -> Result<Self, Misfit>;

    /// As [`TypedValue::merged`].
    #[doc(hidden)]
    fn merged(old: Value, new: Value) -> Value;

    /// As [`TypedValue::note_nulls`].
    #[doc(hidden)]
    fn note_nulls(&self, place: Place<'_>, has_default: bool, nulls: &mut Vec<Box<str>>);
}

impl<T: TypedValue> TypedField for T {
    const IS_OPTIONAL: bool = false;

    fn definition(depth_left: usize) -> Result<Definition> {
        T::definition(depth_left)
    }

    fn to_field(&self) -> Result<Option<Value>, Misfit> {
        self.to_value().map(Some)
    }

    fn from_field(value: Option<Value>) -> Result<T, Misfit> {
        value.map_or_else(
            || Err(Misfit::new("is missing: the Rust type has it in every record (else it is an Option)")),
            T::from_value,
        )
    }

    fn merged(old: Value, new: Value) -> Value {
        T::merged(old, new)
    }

    fn note_nulls(&self, place: Place<'_>, _has_default: bool, nulls: &mut Vec<Box<str>>) {
        T::note_nulls(self, place, nulls);
    }
}

impl<T: TypedValue> TypedField for Option<T> {
    const IS_OPTIONAL: bool = true;

    fn definition(depth_left: usize) -> Result<Definition> {
        T::definition(depth_left)
    }

    fn to_field(&self) -> Result<Option<Value>, Misfit> {
        self.as_ref().map(T::to_value).transpose()
    }

    fn from_field(value: Option<Value>) -> Result<Option<T>, Misfit> {
        value.map(T::from_value).transpose()
    }

    fn merged(old: Value, new: Value) -> Value {
        T::merged(old, new)
    }

    fn note_nulls(&self, place: Place<'_>, has_default: bool, nulls: &mut Vec<Box<str>>) {
        match self {
            Some(value) => value.note_nulls(place, nulls),
            None if has_default => nulls.push(place.to_string().into()),
            None => {}
        }
    }
}
