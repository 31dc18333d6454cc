//! Values and their types.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::Value as Json;
use uuid::Uuid;

use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::{JSON_DEPTH_MAX, TYPE_DEPTH_MAX};

/// A name that many values share.
pub type Name = Arc<str>;

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldType {
    /// True or false.
    Bool,
    /// A 64-bit integer.
    Int,
    /// A double-precision number; no NaN.
    Float,
    /// Unicode text.
    String,
    /// Any bytes; base64 in JSON.
    Bytes,
    /// A UUID.
    Uuid,
    /// A moment, in microseconds; RFC 3339 in JSON.
    Timestamp,
    /// A day of the calendar; `YYYY-MM-DD` in JSON.
    Date,
    /// A decimal number with up to 28 digits; a string or a number in JSON.
    Decimal,
    /// Any JSON.
    Json,
    /// One of the named values, stored by its id.
    Enum(Vec<EnumValue>),
    /// A list of one type.
    List(Box<FieldType>),
    /// Fields of its own.
    Struct(Vec<Field>),
}

/// A value that an enum can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumValue {
    /// Its number on disk, from 1.
    pub id: u32,
    /// Its name.
    pub name: Name,
}

/// A named, typed field of a record type or struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its number on disk, from 1, never used again.
    pub id: u32,
    /// Its name.
    pub name: Name,
    /// What it holds.
    pub field_type: FieldType,
    /// Whether it may be missing.
    pub is_optional: bool,
}

impl FieldType {
    /// The type's name in a schema.
    pub fn name(&self) -> &'static str {
        match self {
            FieldType::Bool => "bool",
            FieldType::Int => "int",
            FieldType::Float => "float",
            FieldType::String => "string",
            FieldType::Bytes => "bytes",
            FieldType::Uuid => "uuid",
            FieldType::Timestamp => "timestamp",
            FieldType::Date => "date",
            FieldType::Decimal => "decimal",
            FieldType::Json => "json",
            FieldType::Enum(_) => "enum",
            FieldType::List(_) => "list",
            FieldType::Struct(_) => "struct",
        }
    }

    /// Whether its values have an order and can stand in keys.
    pub fn has_key_form(&self) -> bool {
        !matches!(self, FieldType::Json | FieldType::List(_) | FieldType::Struct(_))
    }
}

/// A value. In a record, what is missing is missing: there is no null.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number; never NaN.
    Float(f64),
    /// Text.
    String(String),
    /// Bytes.
    Bytes(Bytes),
    /// A UUID.
    Uuid(Uuid),
    /// A moment, to the microsecond.
    Timestamp(Timestamp),
    /// A day.
    Date(Date),
    /// A decimal number.
    Decimal(Decimal),
    /// JSON.
    Json(Json),
    /// The name of an enum's value.
    Enum(Name),
    /// Values of one type.
    List(Vec<Value>),
    /// Named values.
    Struct(Vec<(Name, Value)>),
}

macro_rules! from {
    ($($source:ty => |$value:ident| $made:expr;)*) => {
        $(impl From<$source> for Value {
            fn from($value: $source) -> Value {
                $made
            }
        })*
    };
}

from! {
    bool => |value| Value::Bool(value);
    i64 => |value| Value::Int(value);
    i32 => |value| Value::Int(i64::from(value));
    u32 => |value| Value::Int(i64::from(value));
    f64 => |value| Value::Float(value);
    &str => |value| Value::String(value.to_owned());
    String => |value| Value::String(value);
    Bytes => |value| Value::Bytes(value);
    Uuid => |value| Value::Uuid(value);
    Timestamp => |value| Value::Timestamp(value);
    Date => |value| Value::Date(value);
    Decimal => |value| Value::Decimal(value);
    Vec<Value> => |value| Value::List(value);
}

impl Value {
    /// The type's name in a schema.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Uuid(_) => "uuid",
            Value::Timestamp(_) => "timestamp",
            Value::Date(_) => "date",
            Value::Decimal(_) => "decimal",
            Value::Json(_) => "json",
            Value::Enum(_) => "enum",
            Value::List(_) => "list",
            Value::Struct(_) => "struct",
        }
    }

    /// The text of a string, or of an enum's value.
    pub(crate) fn as_name(&self) -> Option<&str> {
        match self {
            Value::String(value) => Some(value),
            Value::Enum(value) => Some(value),
            _ => None,
        }
    }

    /// The value in JSON: what [`from_json`](Value::from_json) reads.
    pub fn to_json(&self) -> Json {
        match self {
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::String(value) => Json::String(value.clone()),
            Value::Enum(value) => Json::String(value.to_string()),
            Value::Bytes(value) => Json::String(BASE64.encode(value)),
            Value::Uuid(value) => Json::String(value.to_string()),
            Value::Timestamp(value) => Json::String(value.to_string()),
            Value::Date(value) => Json::String(value.to_string()),
            Value::Decimal(value) => Json::String(value.to_string()),
            Value::Json(value) => value.clone(),
            Value::List(values) => Json::Array(values.iter().map(Value::to_json).collect()),
            Value::Struct(fields) => {
                Json::Object(fields.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect())
            }
        }
    }

    /// Reads a value of a type from JSON. Nothing is bent: a number is no string, `1.5` no integer, an integer is a float only if it is one exactly.
    ///
    /// # Errors
    ///
    /// 20032 naming the field, the value and what the type takes.
    pub fn from_json(json: &Json, field_type: &FieldType, name: &str) -> Result<Value> {
        Value::from_json_within(json, field_type, name, TYPE_DEPTH_MAX)
    }

    fn from_json_within(json: &Json, field_type: &FieldType, name: &str, depth_left: usize) -> Result<Value> {
        if depth_left == 0 {
            return Err(limit(
                &format!("the depth of the field {}", shown(name)),
                TYPE_DEPTH_MAX + 1,
                TYPE_DEPTH_MAX,
            ));
        }
        let misfit = |takes: &str| {
            let found = shown_json(json);
            Error::new(Code::RecordInvalid, format!("the field {} takes {takes}, not {found}", shown(name)))
        };
        let text = |takes: &str| json.as_str().ok_or_else(|| misfit(takes));
        Ok(match field_type {
            FieldType::Bool => Value::Bool(json.as_bool().ok_or_else(|| misfit("true or false"))?),
            FieldType::Int => {
                let takes = "an integer from -2^63 to 2^63-1";
                let number = json.as_number().ok_or_else(|| misfit(takes))?;
                Value::Int(number.as_i64().ok_or_else(|| misfit(takes))?)
            }
            FieldType::Float => {
                let number = json.as_number().ok_or_else(|| misfit("a number"))?;
                Value::Float(
                    exact_float(&number.to_string())
                        .ok_or_else(|| misfit("a number that a float can hold"))?,
                )
            }
            FieldType::String => Value::String(text("a string")?.to_owned()),
            FieldType::Bytes => {
                let takes = "bytes as base64";
                Value::Bytes(BASE64.decode(text(takes)?).map_err(|_| misfit(takes))?.into())
            }
            FieldType::Uuid => {
                let takes = "a UUID like \"67e55044-10b1-426f-9247-bb680e5fe0c8\"";
                Value::Uuid(Uuid::try_parse(text(takes)?).map_err(|_| misfit(takes))?)
            }
            FieldType::Timestamp => {
                let takes = "a timestamp like \"1998-06-12T20:15:00Z\"";
                Value::Timestamp(parse_timestamp(text(takes)?).ok_or_else(|| misfit(takes))?)
            }
            FieldType::Date => {
                let takes = "a date like \"1998-06-12\"";
                Value::Date(parse_date(text(takes)?).ok_or_else(|| misfit(takes))?)
            }
            FieldType::Decimal => {
                let takes = "a decimal number of up to 28 digits, like \"12.50\"";
                let digits = match json {
                    Json::String(digits) => digits.clone(),
                    Json::Number(number) => number.to_string(),
                    _ => return Err(misfit(takes)),
                };
                Value::Decimal(parse_decimal(&digits).ok_or_else(|| misfit(takes))?)
            }
            FieldType::Json => Value::Json(json.clone()),
            FieldType::Enum(values) => {
                let names = || values.iter().map(|value| shown(&value.name)).collect::<Vec<_>>().join(", ");
                let found = text(&format!("one of {}", names()))?;
                match values.iter().find(|value| *value.name == *found) {
                    Some(value) => Value::Enum(value.name.clone()),
                    None => return Err(misfit(&format!("one of {}", names()))),
                }
            }
            FieldType::List(element) => {
                let elements = json.as_array().ok_or_else(|| misfit("a list"))?;
                let read = elements.iter().enumerate().map(|(index, json)| {
                    Value::from_json_within(json, element, &format!("{name}[{index}]"), depth_left - 1)
                });
                Value::List(read.collect::<Result<_>>()?)
            }
            FieldType::Struct(fields) => {
                let object = json.as_object().ok_or_else(|| misfit("an object"))?;
                Value::Struct(fields_from_json(object, fields, &format!("{name}."), depth_left - 1)?)
            }
        })
    }

    /// Fails unless the value is of the type.
    ///
    /// # Errors
    ///
    /// 20032 naming the field and both types.
    pub fn check(&self, field_type: &FieldType, name: &str) -> Result<()> {
        let misfit = || {
            let detail = format!(
                "the field {} is of type {}, the value of type {}",
                shown(name),
                field_type.name(),
                self.type_name()
            );
            Err(Error::new(Code::RecordInvalid, detail))
        };
        match (self, field_type) {
            (Value::Float(value), FieldType::Float) if value.is_nan() => {
                Err(Error::new(Code::RecordInvalid, format!("the field {} takes no NaN", shown(name))))
            }
            (Value::Timestamp(value), FieldType::Timestamp) if value.subsec_nanosecond() % 1_000 != 0 => {
                let detail = format!("the field {} holds whole microseconds, not {value}", shown(name));
                Err(Error::new(Code::RecordInvalid, detail))
            }
            (Value::Json(json), FieldType::Json) if is_nested_deeper(json, JSON_DEPTH_MAX) => {
                let detail =
                    format!("the field {} takes JSON of a depth up to {JSON_DEPTH_MAX}", shown(name));
                Err(Error::new(Code::RecordInvalid, detail))
            }
            (Value::Enum(_) | Value::String(_), FieldType::Enum(values)) => {
                let found = self.as_name().unwrap_or_default();
                match values.iter().any(|value| *value.name == *found) {
                    true => Ok(()),
                    false => Value::from_json(&Json::String(found.to_owned()), field_type, name).map(|_| ()),
                }
            }
            (Value::List(elements), FieldType::List(element)) => {
                elements.iter().try_for_each(|value| value.check(element, name))
            }
            (Value::Struct(values), FieldType::Struct(fields)) => {
                check_fields(values, fields, &format!("{name}."))
            }
            _ if self.type_name() == field_type.name() => Ok(()),
            _ => misfit(),
        }
    }
}

/// Reads the fields of an object.
pub(crate) fn fields_from_json(
    object: &serde_json::Map<String, Json>,
    fields: &[Field],
    path: &str,
    depth_left: usize,
) -> Result<Vec<(Name, Value)>> {
    for name in object.keys() {
        if !fields.iter().any(|field| *field.name == **name) {
            let known = fields.iter().map(|field| &*field.name).collect::<Vec<_>>().join(", ");
            let detail = format!("there is no field {}; there are {known}", shown(&format!("{path}{name}")));
            return Err(Error::new(Code::RecordInvalid, detail));
        }
    }
    let mut values = Vec::with_capacity(object.len());
    for field in fields {
        match object.get(&*field.name) {
            None | Some(Json::Null)
                if field.field_type == FieldType::Json && object.contains_key(&*field.name) =>
            {
                values.push((field.name.clone(), Value::Json(Json::Null)));
            }
            None | Some(Json::Null) if field.is_optional => {}
            None | Some(Json::Null) => return Err(missing(&format!("{path}{}", field.name))),
            Some(json) => {
                let name = format!("{path}{}", field.name);
                values.push((
                    field.name.clone(),
                    Value::from_json_within(json, &field.field_type, &name, depth_left)?,
                ));
            }
        }
    }
    Ok(values)
}

/// Fails unless the values are those that the fields ask for.
pub(crate) fn check_fields(values: &[(Name, Value)], fields: &[Field], path: &str) -> Result<()> {
    for (index, (name, value)) in values.iter().enumerate() {
        let Some(field) = fields.iter().find(|field| *field.name == **name) else {
            let known = fields.iter().map(|field| &*field.name).collect::<Vec<_>>().join(", ");
            let detail = format!("there is no field {}; there are {known}", shown(&format!("{path}{name}")));
            return Err(Error::new(Code::RecordInvalid, detail));
        };
        if values[..index].iter().any(|(earlier, _)| earlier == name) {
            let detail = format!("the field {} is given twice", shown(&format!("{path}{name}")));
            return Err(Error::new(Code::RecordInvalid, detail));
        }
        value.check(&field.field_type, &format!("{path}{name}"))?;
    }
    match fields
        .iter()
        .find(|field| !field.is_optional && !values.iter().any(|(name, _)| *name == field.name))
    {
        Some(field) => Err(missing(&format!("{path}{}", field.name))),
        None => Ok(()),
    }
}

/// Whether lists and objects are nested deeper than so many.
fn is_nested_deeper(json: &Json, depth_left: usize) -> bool {
    match (json, depth_left) {
        (Json::Array(_) | Json::Object(_), 0) => true,
        (Json::Array(elements), depth) => elements.iter().any(|json| is_nested_deeper(json, depth - 1)),
        (Json::Object(fields), depth) => fields.values().any(|json| is_nested_deeper(json, depth - 1)),
        _ => false,
    }
}

fn missing(name: &str) -> Error {
    Error::new(Code::RecordInvalid, format!("the field {} is missing and not optional", shown(name)))
}

fn shown_json(json: &Json) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 60;
    let text = match json {
        Json::Array(_) => return "a list".to_owned(),
        Json::Object(_) => return "an object".to_owned(),
        other => other.to_string(),
    };
    match text.chars().count() > SHOWN_CHARACTERS_MAX {
        true => format!("{}...", text.chars().take(SHOWN_CHARACTERS_MAX).collect::<String>()),
        false => text,
    }
}

/// A float, unless the digits are an integer that it cannot hold exactly, or overflow.
fn exact_float(digits: &str) -> Option<f64> {
    let value: f64 = digits.parse().ok()?;
    if let Ok(integer) = digits.parse::<i128>()
        && value as i128 != integer
    {
        return None;
    }
    value.is_finite().then_some(value)
}

/// A date in its one form.
pub(crate) fn parse_date(text: &str) -> Option<Date> {
    let date = Date::from_str(text).ok()?;
    (date.to_string() == text).then_some(date)
}

/// A moment with at most microseconds.
pub(crate) fn parse_timestamp(text: &str) -> Option<Timestamp> {
    let timestamp = Timestamp::from_str(text).ok()?;
    (timestamp.subsec_nanosecond() % 1_000 == 0).then_some(timestamp)
}

/// A decimal with all the digits it is written with.
pub(crate) fn parse_decimal(text: &str) -> Option<Decimal> {
    Decimal::from_str_exact(text)
        .ok()
        .or_else(|| Decimal::from_scientific(text).ok().filter(|_| text.len() <= 32))
}

impl fmt::Display for Value {
    /// Text for people: strings without quotes, everything else as in JSON.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::String(value) => formatter.write_str(value),
            Value::Enum(value) => formatter.write_str(value),
            other => match other.to_json() {
                Json::String(text) => formatter.write_str(&text),
                json => write!(formatter, "{json}"),
            },
        }
    }
}
