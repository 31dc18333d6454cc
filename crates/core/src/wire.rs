//! The wire form of a record: protobuf, by field id, so that any language reads a record with a `.proto` file.
//!
//! | type | protobuf |
//! |---|---|
//! | bool, enum | varint (`bool`, `uint32`) |
//! | int, timestamp (microseconds since 1970), date (days since 1970-01-01) | zigzag varint (`sint64`) |
//! | float | fixed 64-bit (`double`) |
//! | string, json (as text), decimal (as text) | length-delimited (`string`) |
//! | bytes, uuid (16 bytes) | length-delimited (`bytes`) |
//! | list | the element's form again and again, each with the field's id; lists in lists are messages with the inner list as field 1 |
//! | struct | length-delimited (a message) |
//!
//! A field that is there is written even if its value is a default, so that nothing and zero stay apart; an empty list is written as field 0x7fe of
//! nothing else: see [`EMPTY_LISTS`]. Fields of unknown ids are kept as they are.
//!
//! The functions are those of `prost`, which are hidden from its documentation: this is the one module that names them, and its tests pin the bytes.

use bytes::{Buf, BufMut, Bytes};
use jiff::Timestamp;
use jiff::civil::Date;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use rust_decimal::Decimal;
use serde_json::Value as Json;
use uuid::Uuid;

use crate::error::{Code, Error, Result, shown};
use crate::limits::{FIELD_ID_MAX, TYPE_DEPTH_MAX};
use crate::value::{Field, FieldType, Name, Value, parse_decimal};

/// The field that lists the ids of the lists that are there and empty: one above the highest id.
pub(crate) const EMPTY_LISTS: u32 = FIELD_ID_MAX + 1;

/// The first day that dates count from.
const EPOCH: Date = Date::constant(1970, 1, 1);

/// A field that this schema does not know, as it was found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unknown {
    bytes: Vec<u8>,
}

/// Writes fields in the order of their ids, and what was unknown behind them.
pub(crate) fn encode(values: &[(Name, Value)], fields: &[Field], unknown: &[Unknown]) -> Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(64);
    encode_fields(values, fields, &mut buffer)?;
    for field in unknown {
        buffer.extend_from_slice(&field.bytes);
    }
    Ok(buffer)
}

fn encode_fields(values: &[(Name, Value)], fields: &[Field], buffer: &mut Vec<u8>) -> Result<()> {
    let mut ordered: Vec<(&Field, &Value)> = Vec::with_capacity(values.len());
    for (name, value) in values {
        if let Some(field) = fields.iter().find(|field| field.name == *name) {
            ordered.push((field, value));
        }
    }
    ordered.sort_by_key(|(field, _)| field.id);
    let mut empty_lists = Vec::new();
    for (field, value) in ordered {
        match value {
            Value::List(elements) if elements.is_empty() => empty_lists.push(field.id),
            value => encode_value(field.id, value, &field.field_type, buffer)?,
        }
    }
    for id in empty_lists {
        encode_key(EMPTY_LISTS, WireType::Varint, buffer);
        encode_varint(u64::from(id), buffer);
    }
    Ok(())
}

fn encode_value(id: u32, value: &Value, field_type: &FieldType, buffer: &mut Vec<u8>) -> Result<()> {
    let varint = |number: u64, buffer: &mut Vec<u8>| {
        encode_key(id, WireType::Varint, buffer);
        encode_varint(number, buffer);
    };
    let delimited = |bytes: &[u8], buffer: &mut Vec<u8>| {
        encode_key(id, WireType::LengthDelimited, buffer);
        encode_varint(bytes.len() as u64, buffer);
        buffer.put_slice(bytes);
    };
    match (value, field_type) {
        (Value::Bool(value), _) => varint(u64::from(*value), buffer),
        (Value::Int(value), _) => varint(zigzag(*value), buffer),
        (Value::Timestamp(value), _) => varint(zigzag(value.as_microsecond()), buffer),
        (Value::Date(value), _) => varint(zigzag(days_of(*value)), buffer),
        (Value::Float(value), _) => {
            encode_key(id, WireType::SixtyFourBit, buffer);
            buffer.put_f64_le(*value);
        }
        (Value::Enum(_) | Value::String(_), FieldType::Enum(values)) => {
            let name = value.as_name().unwrap_or_default();
            let Some(value) = values.iter().find(|value| *value.name == *name) else {
                return Err(Error::new(
                    Code::RecordInvalid,
                    format!("there is no enum value {}", shown(name)),
                ));
            };
            varint(u64::from(value.id), buffer);
        }
        (Value::String(_) | Value::Enum(_), _) => {
            delimited(value.as_name().unwrap_or_default().as_bytes(), buffer)
        }
        (Value::Bytes(value), _) => delimited(value, buffer),
        (Value::Uuid(value), _) => delimited(value.as_bytes(), buffer),
        (Value::Decimal(value), _) => delimited(value.to_string().as_bytes(), buffer),
        (Value::Json(value), _) => delimited(value.to_string().as_bytes(), buffer),
        (Value::Struct(values), FieldType::Struct(fields)) => {
            let mut message = Vec::new();
            encode_fields(values, fields, &mut message)?;
            delimited(&message, buffer);
        }
        (Value::List(elements), FieldType::List(element_type)) => {
            for element in elements {
                match element {
                    Value::List(_) => {
                        let field = Field {
                            id: 1,
                            name: Name::from(""),
                            field_type: (**element_type).clone(),
                            is_optional: true,
                            constraints: None,
                        };
                        let mut message = Vec::new();
                        encode_fields(&[(Name::from(""), element.clone())], &[field], &mut message)?;
                        delimited(&message, buffer);
                    }
                    element => encode_value(id, element, element_type, buffer)?,
                }
            }
        }
        (value, field_type) => {
            let detail = format!("a {} where a {} belongs", value.type_name(), field_type.name());
            return Err(Error::new(Code::RecordInvalid, detail));
        }
    }
    Ok(())
}

/// Reads what [`encode`] wrote: the fields in the schema's order, and those it does not know.
pub(crate) fn decode(payload: &[u8], fields: &[Field]) -> Result<(Vec<(Name, Value)>, Vec<Unknown>)> {
    decode_fields(payload, fields, TYPE_DEPTH_MAX + 1)
}

fn decode_fields(
    payload: &[u8],
    fields: &[Field],
    depth_left: usize,
) -> Result<(Vec<(Name, Value)>, Vec<Unknown>)> {
    let Some(depth_left) = depth_left.checked_sub(1) else { return Err(damaged("it is nested too deep")) };
    let mut rest = payload;
    let mut found = Found { fields, values: Vec::with_capacity(fields.len()), last: 0 };
    let mut unknown = Vec::new();
    while !rest.is_empty() {
        let start = rest;
        let (id, wire_type) = decode_key(&mut rest).map_err(|error| damaged(&error.to_string()))?;
        if id == EMPTY_LISTS && wire_type == WireType::Varint {
            let list = decode_varint(&mut rest).map_err(|error| damaged(&error.to_string()))?;
            match u32::try_from(list).ok().and_then(|id| found.place(id)) {
                Some(place) => found.set(place, Value::List(Vec::new())),
                None => unknown.push(Unknown { bytes: start[..start.len() - rest.len()].to_vec() }),
            }
            continue;
        }
        let raw = decode_raw(wire_type, &mut rest)?;
        let Some(place) = found.place(id) else {
            unknown.push(Unknown { bytes: start[..start.len() - rest.len()].to_vec() });
            continue;
        };
        match &fields[place].field_type {
            FieldType::List(element) => found.push(place, decode_element(raw, element, depth_left)?),
            field_type => found.set(place, decode_value(raw, field_type, depth_left)?),
        }
    }
    Ok((found.values, unknown))
}

/// The values of a message so far, in the schema's order. It is that of the ids as a rule, which is the one that they are written in: then each goes behind the last.
struct Found<'a> {
    fields: &'a [Field],
    values: Vec<(Name, Value)>,
    /// Where the field of the last value stands in the schema.
    last: usize,
}

impl Found<'_> {
    /// Where the field of an id stands in the schema.
    fn place(&self, id: u32) -> Option<usize> {
        let is_it = |field: &Field| field.id == id;
        let behind = self.fields[self.last..].iter().position(is_it).map(|place| self.last + place);
        behind.or_else(|| self.fields[..self.last].iter().position(is_it))
    }

    /// The value of a field, or where it belongs.
    fn slot(&mut self, place: usize) -> std::result::Result<&mut Value, usize> {
        let name = &self.fields[place].name;
        if place > self.last {
            return Err(self.values.len());
        }
        if let Some(at) = self.values.iter().rposition(|(known, _)| known == name) {
            return Ok(&mut self.values[at].1);
        }
        let is_before =
            |(known, _): &&(Name, Value)| self.fields[..place].iter().any(|field| field.name == *known);
        Err(self.values.iter().take_while(is_before).count())
    }

    fn set(&mut self, place: usize, value: Value) {
        match self.slot(place) {
            Ok(slot) => *slot = value,
            Err(at) => self.insert(at, place, value),
        }
    }

    /// Adds an element to a list.
    fn push(&mut self, place: usize, element: Value) {
        match self.slot(place) {
            Ok(Value::List(elements)) => elements.push(element),
            Ok(slot) => *slot = Value::List(vec![element]),
            Err(at) => self.insert(at, place, Value::List(vec![element])),
        }
    }

    fn insert(&mut self, at: usize, place: usize, value: Value) {
        let named = (self.fields[place].name.clone(), value);
        match at == self.values.len() {
            true => self.values.push(named),
            false => self.values.insert(at, named),
        }
        self.last = self.last.max(place);
    }
}

enum Raw<'a> {
    Varint(u64),
    Fixed(u64),
    Delimited(&'a [u8]),
}

fn decode_raw<'a>(wire_type: WireType, rest: &mut &'a [u8]) -> Result<Raw<'a>> {
    match wire_type {
        WireType::Varint => {
            Ok(Raw::Varint(decode_varint(rest).map_err(|error| damaged(&error.to_string()))?))
        }
        WireType::SixtyFourBit if rest.len() >= 8 => Ok(Raw::Fixed(rest.get_u64_le())),
        WireType::LengthDelimited => {
            let length = decode_varint(rest).map_err(|error| damaged(&error.to_string()))?;
            let Some((bytes, behind)) =
                usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length))
            else {
                return Err(damaged("a field is longer than the record"));
            };
            *rest = behind;
            Ok(Raw::Delimited(bytes))
        }
        _ => Err(damaged("a field has a wire type that is not written here")),
    }
}

fn decode_element(raw: Raw<'_>, field_type: &FieldType, depth_left: usize) -> Result<Value> {
    match (field_type, raw) {
        (FieldType::List(_), Raw::Delimited(message)) => {
            let field = Field {
                id: 1,
                name: Name::from(""),
                field_type: field_type.clone(),
                is_optional: true,
                constraints: None,
            };
            let (mut values, _) = decode_fields(message, &[field], depth_left)?;
            Ok(values.pop().map_or(Value::List(Vec::new()), |(_, value)| value))
        }
        (_, raw) => decode_value(raw, field_type, depth_left),
    }
}

fn decode_value(raw: Raw<'_>, field_type: &FieldType, depth_left: usize) -> Result<Value> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| damaged("a text is not UTF-8"));
    Ok(match (field_type, raw) {
        (FieldType::Bool, Raw::Varint(number)) => Value::Bool(number != 0),
        (FieldType::Int, Raw::Varint(number)) => Value::Int(unzigzag(number)),
        (FieldType::Timestamp, Raw::Varint(number)) => Value::Timestamp(timestamp_of(unzigzag(number))?),
        (FieldType::Date, Raw::Varint(number)) => Value::Date(date_of(unzigzag(number))?),
        (FieldType::Float, Raw::Fixed(bits)) => Value::Float(f64::from_bits(bits)),
        (FieldType::Enum(values), Raw::Varint(number)) => {
            match values.iter().find(|value| u64::from(value.id) == number) {
                Some(value) => Value::Enum(value.name.clone()),
                None => return Err(damaged(&format!("there is no enum value with the id {number}"))),
            }
        }
        (FieldType::String, Raw::Delimited(bytes)) => Value::String(text(bytes)?),
        (FieldType::Bytes, Raw::Delimited(bytes)) => Value::Bytes(Bytes::copy_from_slice(bytes)),
        (FieldType::Uuid, Raw::Delimited(bytes)) => {
            Value::Uuid(Uuid::from_slice(bytes).map_err(|_| damaged("a UUID has not 16 bytes"))?)
        }
        (FieldType::Decimal, Raw::Delimited(bytes)) => {
            Value::Decimal(parse_decimal(&text(bytes)?).ok_or_else(|| damaged("a decimal is no number"))?)
        }
        (FieldType::Json, Raw::Delimited(bytes)) => {
            let json: Json =
                serde_json::from_slice(bytes).map_err(|error| damaged(&format!("JSON: {error}")))?;
            Value::Json(json)
        }
        (FieldType::Struct(fields), Raw::Delimited(bytes)) => {
            Value::Struct(decode_fields(bytes, fields, depth_left)?.0)
        }
        (field_type, _) => {
            return Err(damaged(&format!("a field of type {} has another's wire type", field_type.name())));
        }
    })
}

/// The days since 1970-01-01.
pub(crate) fn days_of(date: Date) -> i64 {
    i64::from((date - EPOCH).get_days())
}

pub(crate) fn date_of(days: i64) -> Result<Date> {
    let span = i32::try_from(days).ok().and_then(|days| jiff::Span::new().try_days(days).ok());
    span.and_then(|span| EPOCH.checked_add(span).ok()).ok_or_else(|| damaged("a date is out of range"))
}

pub(crate) fn timestamp_of(microseconds: i64) -> Result<Timestamp> {
    Timestamp::from_microsecond(microseconds).map_err(|_| damaged("a timestamp is out of range"))
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

fn damaged(what: &str) -> Error {
    Error::new(Code::StoredDataInvalid, format!("a record cannot be read: {what}"))
}

/// A decimal without trailing zeros, as the key form wants it.
pub(crate) fn normalised(decimal: Decimal) -> Decimal {
    decimal.normalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::SchemaDefinition;
    use crate::{Record, parse_json};

    const SCHEMA: &str = r#"
        name = "s"
        [types.all]
        primary_key = ["i"]
        [types.all.fields]
        b = "bool"
        i = "int"
        f = "float"
        s = "string"
        y = "bytes"
        u = "uuid"
        t = "timestamp"
        d = "date"
        n = "decimal"
        j = "json"
        e = { type = "enum", values = { x = 3 } }
        l = { type = "list", of = "int" }
        ll = { type = "list", of = { type = "list", of = "string" } }
        st = { type = "struct", fields = { a = "int", z = { type = "list", of = "bool" } } }
        o = { type = "list", of = "int", optional = true }
    "#;

    /// The bytes that other languages read: to change them is to change the format.
    #[test]
    fn the_bytes_are_these() {
        let schema = SchemaDefinition::from_toml(SCHEMA).unwrap();
        let all = schema.record_type("all").unwrap();
        let json = parse_json(
            r#"{"b":true,"i":-1,"f":1.5,"s":"é","y":"AP8=","u":"00000000-0000-0000-0000-000000000001","t":"1970-01-01T00:00:00.000001Z","d":"1969-12-31",
                "n":"1.50","j":{"k":[null]},"e":"x","l":[1,2],"ll":[["a"],[]],"st":{"a":0,"z":[]},"o":[]}"#,
        )
        .unwrap();
        let record = Record::from_json(&json, all).unwrap();
        let bytes = encode(&record.values, &all.fields, &[]).unwrap();
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let expected = [
            "0801",
            "1001",
            "19000000000000f83f",
            "2202c3a9",
            "2a0200ff",
            "321000000000000000000000000000000001",
            "3802",
            "4001",
            "4a04312e3530",
            "520c7b226b223a5b6e756c6c5d7d",
            "5803",
            "6002",
            "6004",
            "6a030a0161",
            "6a0480800101",
            "7206080080800102",
            "8080010f",
        ];
        assert_eq!(hex, expected.concat());
        let (values, unknown) = decode(&bytes, &all.fields).unwrap();
        assert_eq!(Record { values, unknown, ..Record::default() }, record);
    }

    #[test]
    fn fields_of_another_schema_are_kept() {
        let schema = SchemaDefinition::from_toml(SCHEMA).unwrap();
        let all = schema.record_type("all").unwrap();
        let bytes = [&[0x10, 2][..], &[0xa2, 0x06, 3, 1, 2, 3]].concat();
        let (values, unknown) = decode(&bytes, &all.fields).unwrap();
        assert_eq!((values.len(), unknown.len()), (1, 1));
        assert_eq!(encode(&values, &all.fields, &unknown).unwrap(), bytes);
    }

    /// Other writers may put fields in any order, and a schema need not have its fields in the order of their ids.
    #[test]
    fn values_come_in_the_schemas_order() {
        let schema = SchemaDefinition::from_toml(SCHEMA).unwrap();
        let all = schema.record_type("all").unwrap();
        let pieces: [&[u8]; 5] =
            [&[0x10, 2], &[0x22, 1, b'x'], &[0x60, 2], &[0x40, 1], &[0x80, 0x80, 0x01, 0x0f]];
        let in_order = decode(&pieces.concat(), &all.fields).unwrap().0;
        let names =
            |values: &[(Name, Value)]| values.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&in_order), ["i", "s", "d", "l", "o"]);
        for order in [[4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [1, 0, 3, 4, 2]] {
            let bytes = order.map(|place: usize| pieces[place]).concat();
            assert_eq!(decode(&bytes, &all.fields).unwrap().0, in_order);
        }
        let twice = decode(&[0x60, 2, 0x10, 2, 0x60, 4, 0x10, 4], &all.fields).unwrap().0;
        assert_eq!(
            twice,
            [("i".into(), Value::Int(2)), ("l".into(), Value::List(vec![Value::Int(1), Value::Int(2)]))]
        );
        let backwards: Vec<Field> = all.fields.iter().rev().cloned().collect();
        let found = decode(&pieces.concat(), &backwards).unwrap().0;
        assert_eq!(names(&found), ["o", "l", "d", "s", "i"]);
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let schema = SchemaDefinition::from_toml(SCHEMA).unwrap();
            let _ = decode(&bytes, &schema.types[0].fields);
        }
    }
}
