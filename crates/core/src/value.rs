//! Values and their types.

mod constraints;

use std::borrow::Cow;
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

pub use constraints::{Check, Constraints, DefaultValue, NamedCheck, Pattern};

use crate::error::{Code, Error, Result, shown};
use crate::limits::TYPE_DEPTH_MAX;
use crate::violation::{Path, Violations, missing_field, rule};

/// The words for the floats that are no numbers in JSON.
pub(crate) const INFINITIES: [&str; 2] = ["Infinity", "-Infinity"];

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
    /// A double-precision number; no NaN. The infinite ones are "Infinity" and "-Infinity" in JSON.
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
    /// The rules for its values besides their type, if there are any.
    pub constraints: Option<Box<Constraints>>,
}

impl Field {
    /// What is written when a record comes without the field.
    pub fn default_value(&self) -> Option<&DefaultValue> {
        self.constraints.as_deref().and_then(|constraints| constraints.default.as_ref())
    }

    /// Whether every record has to come with it.
    pub fn is_required(&self) -> bool {
        !self.is_optional && self.default_value().is_none()
    }
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

    /// The values of an enum, for people.
    pub(crate) fn names(&self) -> String {
        match self {
            FieldType::Enum(values) => {
                let names: Vec<String> = values.iter().map(|value| shown(&value.name)).collect();
                format!("one of {}", names.join(", "))
            }
            other => other.name().to_owned(),
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
            Value::Float(value) if value.is_infinite() => Json::from(INFINITIES[usize::from(*value < 0.0)]),
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
    /// 20032 naming each field that does not fit, its value and what the type takes.
    pub fn from_json(json: &Json, field_type: &FieldType, name: &str) -> Result<Value> {
        let mut reading = Reading::of("");
        let value = reading.value(json, field_type, &Path::Root(name), TYPE_DEPTH_MAX);
        Error::of_violations(reading.violations)?;
        value.ok_or_else(|| {
            Error::new(Code::RecordInvalid, format!("the field {} cannot be read", shown(name)))
        })
    }
}

/// Values that are read from JSON, with everything that does not fit.
pub(crate) struct Reading<'a> {
    pub(crate) violations: Violations<'a>,
    /// The paths of optional fields that have a default and are null: they stay so.
    pub(crate) nulls: Vec<Box<str>>,
}

impl<'a> Reading<'a> {
    pub(crate) fn of(record_type: &'a str) -> Reading<'a> {
        Reading { violations: Violations::of(record_type), nulls: Vec::new() }
    }

    /// The value, unless it or a part of it does not fit.
    pub(crate) fn value(
        &mut self,
        json: &Json,
        field_type: &FieldType,
        path: &Path<'_>,
        depth_left: usize,
    ) -> Option<Value> {
        if self.violations.is_cut() {
            return None;
        }
        let Some(depth_left) = depth_left.checked_sub(1) else {
            let detail =
                format!("the field {} is nested deeper than {TYPE_DEPTH_MAX}", shown(&path.to_string()));
            self.violations.add(path, rule::TYPE, TYPE_DEPTH_MAX.to_string(), detail);
            return None;
        };
        let takes = match field_type {
            FieldType::List(element) => match json.as_array() {
                Some(elements) => return self.elements(elements, element, path, depth_left),
                None => "a list".into(),
            },
            FieldType::Struct(fields) => match json.as_object() {
                Some(object) => return self.fields(object, fields, path, depth_left).map(Value::Struct),
                None => "an object".into(),
            },
            field_type => match scalar(json, field_type) {
                Ok(value) => return Some(value),
                Err(takes) => takes,
            },
        };
        let detail =
            format!("the field {} takes {takes}, not {}", shown(&path.to_string()), shown_json(json));
        self.violations.add(path, rule::TYPE, takes, detail);
        None
    }

    fn elements(
        &mut self,
        elements: &[Json],
        field_type: &FieldType,
        path: &Path<'_>,
        depth_left: usize,
    ) -> Option<Value> {
        let mut read = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            // The rest is looked at all the same, for what does not fit there.
            read.extend(self.value(element, field_type, &path.element(index), depth_left));
        }
        (read.len() == elements.len()).then_some(Value::List(read))
    }

    /// The fields of an object, unless one of them does not fit.
    fn fields(
        &mut self,
        object: &serde_json::Map<String, Json>,
        fields: &[Field],
        path: &Path<'_>,
        depth_left: usize,
    ) -> Option<Vec<(Name, Value)>> {
        let (values, fits) = self.fitting_fields(object, fields, path, depth_left);
        fits.then_some(values)
    }

    /// Those fields of an object that fit, and whether these are all.
    pub(crate) fn fitting_fields(
        &mut self,
        object: &serde_json::Map<String, Json>,
        fields: &[Field],
        path: &Path<'_>,
        depth_left: usize,
    ) -> (Vec<(Name, Value)>, bool) {
        let mut fits = true;
        for name in object.keys() {
            if !fields.iter().any(|field| *field.name == **name) {
                unknown_field(&path.field(name), fields, &mut self.violations);
                fits = false;
            }
        }
        let mut values = Vec::with_capacity(object.len());
        for field in fields {
            let path = path.field(&field.name);
            let has_default = field.default_value().is_some();
            match object.get(&*field.name) {
                Some(Json::Null) if field.field_type == FieldType::Json => {
                    values.push((field.name.clone(), Value::Json(Json::Null)));
                }
                Some(Json::Null) if field.is_optional && has_default => {
                    self.nulls.push(path.to_string().into());
                }
                None if !field.is_required() => {}
                Some(Json::Null) if field.is_optional => {}
                None | Some(Json::Null) => {
                    missing_field(&path, &mut self.violations);
                    fits = false;
                }
                Some(json) => match self.value(json, &field.field_type, &path, depth_left) {
                    Some(value) => values.push((field.name.clone(), value)),
                    None => fits = false,
                },
            }
        }
        (values, fits)
    }
}

pub(crate) fn unknown_field(path: &Path<'_>, fields: &[Field], violations: &mut Violations<'_>) {
    let known = fields.iter().map(|field| &*field.name).collect::<Vec<_>>().join(", ");
    let detail = format!("there is no field {}; there are {known}", shown(&path.to_string()));
    violations.add(path, rule::UNKNOWN, known, detail);
}

/// A value that has no parts; what the type takes if it is none.
fn scalar(json: &Json, field_type: &FieldType) -> Result<Value, Cow<'static, str>> {
    let text = |takes: &'static str| json.as_str().ok_or(Cow::Borrowed(takes));
    Ok(match field_type {
        FieldType::Bool => Value::Bool(json.as_bool().ok_or("true or false")?),
        FieldType::Int => {
            let number = json.as_number().and_then(serde_json::Number::as_i64);
            Value::Int(number.ok_or("an integer from -2^63 to 2^63-1")?)
        }
        FieldType::Float => {
            match json.as_str() {
                Some("Infinity") => return Ok(Value::Float(f64::INFINITY)),
                Some("-Infinity") => return Ok(Value::Float(f64::NEG_INFINITY)),
                _ => {}
            }
            let number = json.as_number().ok_or("a number")?;
            Value::Float(exact_float(&number.to_string()).ok_or("a number that a float can hold")?)
        }
        FieldType::String => Value::String(text("a string")?.to_owned()),
        FieldType::Bytes => {
            let takes = "bytes as base64";
            Value::Bytes(BASE64.decode(text(takes)?).map_err(|_| takes)?.into())
        }
        FieldType::Uuid => {
            let takes = "a UUID like \"67e55044-10b1-426f-9247-bb680e5fe0c8\"";
            Value::Uuid(Uuid::try_parse(text(takes)?).map_err(|_| takes)?)
        }
        FieldType::Timestamp => {
            let takes = "a timestamp like \"1998-06-12T20:15:00Z\"";
            Value::Timestamp(parse_timestamp(text(takes)?).ok_or(takes)?)
        }
        FieldType::Date => {
            let takes = "a date like \"1998-06-12\"";
            Value::Date(parse_date(text(takes)?).ok_or(takes)?)
        }
        FieldType::Decimal => {
            let takes = "a decimal number of up to 28 digits, like \"12.50\"";
            let digits = match json {
                Json::String(digits) => digits.clone(),
                Json::Number(number) => number.to_string(),
                _ => return Err(takes.into()),
            };
            Value::Decimal(parse_decimal(&digits).ok_or(takes)?)
        }
        FieldType::Json => Value::Json(json.clone()),
        FieldType::Enum(values) => {
            let found = json.as_str().and_then(|name| values.iter().find(|value| *value.name == *name));
            Value::Enum(found.ok_or_else(|| field_type.names())?.name.clone())
        }
        FieldType::List(_) | FieldType::Struct(_) => return Err("a value without parts".into()),
    })
}

/// A value in an explanation: texts in quotes, and cut.
pub(crate) fn shown_value(value: &Value) -> String {
    match value {
        Value::String(_) | Value::Enum(_) => shown(&value.to_string()),
        value => value.to_string(),
    }
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
