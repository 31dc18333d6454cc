//! The types that a schema has by themselves.

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::Value as Json;
use uuid::Uuid;

use super::definition::Definition;
use super::misfit::Misfit;
use super::value::{TypedValue, unfit};
use crate::error::Result;
use crate::value::Value;

macro_rules! scalar {
    ($($type:ty => $variant:ident, $name:literal;)*) => {
        $(impl TypedValue for $type {
            fn definition(_: usize) -> Result<Definition> {
                Ok(Definition::of($name))
            }

            fn to_value(&self) -> Result<Value, Misfit> {
                Ok(Value::$variant(self.clone()))
            }

            fn from_value(value: Value) -> Result<$type, Misfit> {
                match value {
                    Value::$variant(value) => Ok(value),
                    value => Err(unfit(&value, $name)),
                }
            }
        })*
    };
}

scalar! {
    bool => Bool, "bool";
    f64 => Float, "float";
    String => String, "string";
    Bytes => Bytes, "bytes";
    Uuid => Uuid, "uuid";
    Timestamp => Timestamp, "timestamp";
    Date => Date, "date";
    Decimal => Decimal, "decimal";
    Json => Json, "json";
}
