//! Records, their keys and their versions.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde_json::Value as Json;
use tenantry_kv::Versionstamp;
use tenantry_kv::tuple::Element;

use crate::error::{Code, Error, Result, limit, shown};
use crate::key_form;
use crate::key_space::behind;
use crate::limits::TYPE_DEPTH_MAX;
use crate::schema::RecordType;
use crate::validation::{check_record, check_values};
use crate::value::{FieldType, Name, Reading, Value};
use crate::violation::Path;
use crate::wire::Unknown;

/// A record: named values. What is missing is missing.
///
/// ```
/// use tenantry_core::Record;
///
/// let film = Record::new().with("title", "Heat").with("rating", 8.2);
/// assert_eq!(film.get("title"), Some(&"Heat".into()));
/// assert_eq!(film.get("director"), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub(crate) values: Vec<(Name, Value)>,
    pub(crate) unknown: Vec<Unknown>,
    pub(crate) version: Option<RecordVersion>,
    /// The paths of optional fields that were set to null: no default takes their place.
    pub(crate) nulls: Vec<Box<str>>,
    /// Whether it was read from a database: what its optional fields lack they lack on purpose.
    pub(crate) is_read: bool,
}

/// Two records are equal when their values are, whatever the order of their fields.
impl PartialEq for Record {
    fn eq(&self, other: &Record) -> bool {
        self.values.len() == other.values.len()
            && self.values.iter().all(|(name, value)| other.get(name) == Some(value))
            && self.unknown == other.unknown
    }
}

impl Record {
    /// A record without values.
    pub fn new() -> Record {
        Record::default()
    }

    /// The same with a value more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Record {
        self.set(name, value);
        self
    }

    /// Sets a value.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        self.nulls.retain(|known| **known != *name);
        match self.values.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, slot)) => *slot = value,
            None => self.values.push((name.into(), value)),
        }
    }

    /// Takes a value out for good: the default of an optional field is not written in its place.
    pub fn set_null(&mut self, name: &str) {
        self.remove(name);
        self.nulls.push(name.into());
    }

    /// Sets a value unless there is one.
    pub(crate) fn set_if_absent(&mut self, name: &Name, value: Value) {
        if self.get(name).is_none() {
            self.values.push((name.clone(), value));
        }
    }

    /// The same with some fields alone, in the schema's order.
    pub(crate) fn selected(mut self, names: &[String], record_type: &RecordType) -> Record {
        let mut selected = Record::new();
        for field in record_type.fields.iter().filter(|field| names.iter().any(|name| **name == *field.name))
        {
            if let Some(place) = self.values.iter().position(|(name, _)| *name == field.name) {
                selected.values.push(self.values.swap_remove(place));
            }
        }
        selected
    }

    /// Takes a value out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let place = self.values.iter().position(|(known, _)| **known == *name)?;
        Some(self.values.remove(place).1)
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(known, _)| **known == *name).map(|(_, value)| value)
    }

    /// The fields that are there, in the schema's order for a record that was read.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (&**name, value))
    }

    /// When it was written; `None` for a record that was not read from a database, or that this very transaction wrote.
    pub fn version(&self) -> Option<RecordVersion> {
        self.version
    }

    /// Reads a record from JSON.
    ///
    /// # Errors
    ///
    /// 20032 naming every field that does not fit. Where the rest breaks rules, they are named as well, and it is 20037; a record that only breaks rules is
    /// refused when it is written, or by [`check`](Record::check).
    pub fn from_json(json: &Json, record_type: &RecordType) -> Result<Record> {
        let Some(object) = json.as_object() else {
            return Err(Error::new(Code::RecordInvalid, "a record is an object: {\"field\": value}"));
        };
        let mut reading = Reading::of(&record_type.name);
        let (values, fits) =
            reading.fitting_fields(object, &record_type.fields, &Path::RECORD, TYPE_DEPTH_MAX);
        if !fits {
            check_values(&values, &record_type.fields, &mut reading.violations);
            Error::of_violations(reading.violations)?;
        }
        Ok(Record { values, nulls: reading.nulls, ..Record::default() })
    }

    /// The record in JSON.
    pub fn to_json(&self) -> Json {
        Json::Object(self.values.iter().map(|(name, value)| (name.to_string(), value.to_json())).collect())
    }

    /// Fails unless the record fits the type. A missing field that has a default counts as there.
    ///
    /// # Errors
    ///
    /// 20037 with [every violation](Error::violations); 20032 if none of them is a rule's, but all of the form.
    pub fn check(&self, record_type: &RecordType) -> Result<()> {
        check_record(&self.values, &record_type.name, &record_type.fields, &record_type.checks)
    }

    /// The record's primary key.
    ///
    /// # Errors
    ///
    /// 20032 when a field of it is missing or of another type.
    pub fn primary_key(&self, record_type: &RecordType) -> Result<PrimaryKey> {
        let values = record_type.primary_key.iter().map(|name| {
            self.get(name).cloned().ok_or_else(|| {
                Error::new(
                    Code::RecordInvalid,
                    format!("the field {} of the primary key is missing", shown(name)),
                )
            })
        });
        Ok(PrimaryKey { values: values.collect::<Result<_>>()? })
    }

    /// The elements of some columns.
    pub(crate) fn elements(&self, columns: &[String], record_type: &RecordType) -> Result<Vec<Element>> {
        let element = |name: &String| key_form::element(self.get(name), &record_type.field(name)?.field_type);
        columns.iter().map(element).collect()
    }
}

/// The values of a primary key, in its order.
#[derive(Clone, Debug, PartialEq)]
pub struct PrimaryKey {
    /// One value for each field of the key.
    pub values: Vec<Value>,
}

impl PrimaryKey {
    /// The key of a type whose primary key is one field.
    pub fn of(value: impl Into<Value>) -> PrimaryKey {
        PrimaryKey { values: vec![value.into()] }
    }

    /// Reads a key from a text: the value itself for a key of one field, a JSON list for a longer one.
    ///
    /// # Errors
    ///
    /// 20033 for a list of another length or a value of another type.
    pub fn parse(text: &str, record_type: &RecordType) -> Result<PrimaryKey> {
        if let [name] = &record_type.primary_key[..] {
            let field = record_type.field(name)?;
            return Ok(PrimaryKey { values: vec![parse_text(text, &field.field_type, name)?] });
        }
        let asks = |_| Error::new(Code::KeyInvalid, key_list(record_type));
        let json = crate::json::parse_json(text).map_err(asks)?;
        PrimaryKey::from_json(&json, record_type)
    }

    /// Reads a key from the JSON list of its values.
    ///
    /// # Errors
    ///
    /// 20033 for what is no list, for one of another length or a value of another type.
    pub fn from_json(json: &Json, record_type: &RecordType) -> Result<PrimaryKey> {
        let Some(elements) = json.as_array().filter(|list| list.len() == record_type.primary_key.len())
        else {
            return Err(Error::new(Code::KeyInvalid, key_list(record_type)));
        };
        let pairs = record_type.primary_key.iter().zip(elements);
        let read = pairs.map(|(name, json)| {
            Value::from_json(json, &record_type.field(name)?.field_type, name)
                .map_err(|error| Error::new(Code::KeyInvalid, error.detail()))
        });
        Ok(PrimaryKey { values: read.collect::<Result<_>>()? })
    }

    /// The elements of the key.
    pub(crate) fn elements(&self, record_type: &RecordType) -> Result<Vec<Element>> {
        if self.values.len() != record_type.primary_key.len() {
            let detail = format!(
                "the key of {} has {} values ({}), not {}",
                shown(&record_type.name),
                record_type.primary_key.len(),
                record_type.primary_key.join(", "),
                self.values.len()
            );
            return Err(Error::new(Code::KeyInvalid, detail));
        }
        let pairs = record_type.primary_key.iter().zip(&self.values);
        pairs
            .map(|(name, value)| key_form::element(Some(value), &record_type.field(name)?.field_type))
            .collect()
    }
}

impl fmt::Display for PrimaryKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.values[..] {
            [value] => formatter.write_str(&shown(&value.to_string())),
            values => {
                let shown: Vec<String> = values.iter().map(|value| shown(&value.to_string())).collect();
                write!(formatter, "[{}]", shown.join(", "))
            }
        }
    }
}

/// What a key is asked to be.
fn key_list(record_type: &RecordType) -> String {
    format!(
        "the key of {} is a JSON list: [{}]",
        shown(&record_type.name),
        record_type.primary_key.join(", ")
    )
}

/// A value of a type from a text that holds nothing else.
fn parse_text(text: &str, field_type: &FieldType, name: &str) -> Result<Value> {
    let json = match field_type {
        FieldType::Bool | FieldType::Int | FieldType::Float => {
            crate::json::parse_json(text).map_err(|_| {
                Error::new(
                    Code::KeyInvalid,
                    format!("the field {} takes a {}, not {}", shown(name), field_type.name(), shown(text)),
                )
            })?
        }
        _ => Json::String(text.to_owned()),
    };
    Value::from_json(&json, field_type, name).map_err(|error| Error::new(Code::KeyInvalid, error.detail()))
}

/// The keys of one record.
#[derive(Clone)]
pub(crate) struct RecordKeys {
    /// The key without the number of the part.
    pub(crate) prefix: Bytes,
    /// The packed primary key.
    pub(crate) packed: Bytes,
}

impl RecordKeys {
    /// The keys of the record of a packed primary key, behind what all records of its type begin with.
    pub(crate) fn behind(records: &[u8], packed: &[u8]) -> RecordKeys {
        let prefix = behind(records, packed);
        let packed = prefix.slice(records.len()..);
        RecordKeys { prefix, packed }
    }

    pub(crate) fn part(&self, part: u16) -> Result<Bytes> {
        Ok(tenantry_kv::tuple::pack_after(&self.prefix, &[Element::Int(i64::from(part))])?)
    }
}

/// When a record was written: unique for every change in the database, and increasing with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordVersion {
    /// Counts how often the tenant moved to another database: versions compare across moves.
    pub incarnation: u32,
    /// The stamp of the transaction.
    pub stamp: Versionstamp,
    /// The place of the change in the transaction.
    pub ordinal: u16,
}

impl RecordVersion {
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes[4..14].copy_from_slice(self.stamp.as_bytes());
        bytes[14..].copy_from_slice(&self.ordinal.to_be_bytes());
        bytes
    }
}

impl RecordVersion {
    /// What [`to_bytes`](RecordVersion::to_bytes) wrote.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> RecordVersion {
        let (mut incarnation, mut stamp, mut ordinal) = ([0; 4], [0; 10], [0; 2]);
        incarnation.copy_from_slice(&bytes[..4]);
        stamp.copy_from_slice(&bytes[4..14]);
        ordinal.copy_from_slice(&bytes[14..]);
        RecordVersion {
            incarnation: u32::from_be_bytes(incarnation),
            stamp: Versionstamp::from_bytes(stamp),
            ordinal: u16::from_be_bytes(ordinal),
        }
    }
}

impl fmt::Display for RecordVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl FromStr for RecordVersion {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) writes: 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<RecordVersion> {
        let number = match text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            true => u128::from_str_radix(text, 16).ok(),
            false => None,
        };
        let Some(number) = number else {
            return Err(Error::new(
                Code::ConditionFailed,
                format!("{} is no record version: 32 hexadecimal digits", shown(text)),
            ));
        };
        Ok(RecordVersion::from_bytes(number.to_be_bytes()))
    }
}

/// A record as stored: the format, incarnation (4 bytes), stamp (10), ordinal (2), number of further parts (2), first bytes of what holds the payload; then one key for each
/// further part, which holds bytes of it alone. All numbers are big-endian.
pub(crate) mod frame {
    use super::*;
    use crate::compression;
    use crate::limits::{RECORD_PART_SIZE_BYTES, RECORD_SIZE_BYTES_MAX};
    use crate::messages::RecordChange;

    /// Where the stamp stands.
    pub(crate) const STAMP_POSITION: usize = 5;
    pub(crate) const SIZE_BYTES: usize = 19;
    /// What a record of the greatest size needs.
    pub(crate) const FURTHER_PARTS_MAX: u16 = (RECORD_SIZE_BYTES_MAX / RECORD_PART_SIZE_BYTES) as u16 + 1;

    /// What holds the payload. The numbers stand in the frame, and in the change log.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u8)]
    pub(crate) enum Format {
        /// The payload as it is.
        Plain = 1,
        /// One zstd frame.
        Zstd = 2,
        /// What `Plain` holds, sealed.
        SealedPlain = 3,
        /// What `Zstd` holds, sealed.
        SealedZstd = 4,
    }

    impl Format {
        const ALL: [Format; 4] = [Format::Plain, Format::Zstd, Format::SealedPlain, Format::SealedZstd];

        fn of(byte: u8) -> Option<Format> {
            Format::ALL.into_iter().find(|format| *format as u8 == byte)
        }

        pub(crate) fn is_sealed(self) -> bool {
            matches!(self, Format::SealedPlain | Format::SealedZstd)
        }

        /// The format of what is held once the seal is off.
        pub(crate) fn opened(self) -> Format {
            match self {
                Format::Plain | Format::SealedPlain => Format::Plain,
                Format::Zstd | Format::SealedZstd => Format::Zstd,
            }
        }

        /// The format of what is held once it is sealed.
        pub(crate) fn sealed(self) -> Format {
            match self {
                Format::Plain | Format::SealedPlain => Format::SealedPlain,
                Format::Zstd | Format::SealedZstd => Format::SealedZstd,
            }
        }

        /// The payload out of what holds it, whose seal is off.
        pub(crate) fn payload(self, bytes: &[u8]) -> Result<Cow<'_, [u8]>> {
            match self {
                Format::Plain => Ok(Cow::Borrowed(bytes)),
                Format::Zstd => compression::decompressed(bytes).map(Cow::Owned),
                Format::SealedPlain | Format::SealedZstd => {
                    Err(Error::new(Code::SealBroken, "a sealed record where none is sealed"))
                }
            }
        }
    }

    /// What holds a payload, in the format that takes less room; not sealed.
    pub(crate) fn pack(payload: Vec<u8>) -> (Format, Vec<u8>) {
        match compression::compressed(&payload) {
            Some(compressed) => (Format::Zstd, compressed),
            None => (Format::Plain, payload),
        }
    }

    /// The payload of a record put that the change log has.
    pub(crate) fn logged_payload(change: &RecordChange) -> Result<Bytes> {
        if change.format == 0 {
            return Ok(change.payload.clone());
        }
        let format = u8::try_from(change.format).ok().and_then(Format::of).ok_or_else(|| {
            let detail = format!(
                "the change log has a record in the format {}, this build reads 1 to 4",
                change.format
            );
            Error::new(Code::StoredDataInvalid, detail)
        })?;
        match format {
            Format::Plain => Ok(change.payload.clone()),
            format => Ok(format.payload(&change.payload)?.into_owned().into()),
        }
    }

    /// What part 0 says.
    pub(crate) struct Frame<'a> {
        pub(crate) format: Format,
        pub(crate) version: RecordVersion,
        pub(crate) further_parts: u16,
        /// The first bytes of what holds the payload.
        pub(crate) first: &'a [u8],
    }

    impl Frame<'_> {
        /// How many bytes the payload has, or a few more.
        pub(crate) fn payload_size_bytes(&self) -> Result<usize> {
            match self.format {
                Format::Plain => {
                    Ok(self.first.len() + usize::from(self.further_parts) * RECORD_PART_SIZE_BYTES)
                }
                Format::Zstd => compression::size_bytes(self.first),
                // Behind the generation.
                Format::SealedPlain | Format::SealedZstd => {
                    let size = self.first.get(4..).and_then(|rest| rest.first_chunk::<4>());
                    Ok(size.map_or(0, |size| u32::from_be_bytes(*size) as usize))
                }
            }
        }
    }

    /// Part 0 with room for the stamp.
    pub(crate) fn write(
        format: Format,
        incarnation: u32,
        ordinal: u16,
        further_parts: u16,
        first: &[u8],
    ) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SIZE_BYTES + first.len() + 4);
        bytes.push(format as u8);
        bytes.extend_from_slice(&incarnation.to_be_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&ordinal.to_be_bytes());
        bytes.extend_from_slice(&further_parts.to_be_bytes());
        bytes.extend_from_slice(first);
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Frame<'_>> {
        let damaged = |what: &str| Error::new(Code::StoredDataInvalid, format!("a record's frame {what}"));
        let Some((head, first)) = bytes.split_at_checked(SIZE_BYTES) else {
            return Err(damaged("is too short"));
        };
        let Some(format) = Format::of(head[0]) else {
            return Err(damaged(&format!("has the format {}, this build reads 1 to 4", head[0])));
        };
        let number = |from: usize| u16::from_be_bytes([head[from], head[from + 1]]);
        let mut stamp = [0; 10];
        stamp.copy_from_slice(&head[STAMP_POSITION..STAMP_POSITION + 10]);
        let version = RecordVersion {
            incarnation: u32::from_be_bytes([head[1], head[2], head[3], head[4]]),
            stamp: Versionstamp::from_bytes(stamp),
            ordinal: number(15),
        };
        let further_parts = number(17);
        if further_parts > FURTHER_PARTS_MAX {
            return Err(damaged(&format!(
                "counts {further_parts} further parts, the limit is {FURTHER_PARTS_MAX}"
            )));
        }
        Ok(Frame { format, version, further_parts, first })
    }
}

/// Fails for a payload over the limit.
pub(crate) fn check_payload(size_bytes: usize) -> Result<()> {
    use crate::limits::RECORD_SIZE_BYTES_MAX;
    match size_bytes <= RECORD_SIZE_BYTES_MAX {
        true => Ok(()),
        false => Err(limit("the bytes of a record", size_bytes, RECORD_SIZE_BYTES_MAX)),
    }
}
