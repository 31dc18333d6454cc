//! Records as they lie in the store, in pieces: for whoever reads all of a type.

use std::borrow::Cow;

use bytes::Bytes;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{EngineError, KeyRange, RangeRequest, StreamingMode, key_after};

use crate::error::{Code, Error, Result};
use crate::key_space::behind;
use crate::key_space::clamp;
use crate::record::RecordVersion;
use crate::record::frame::{self, Format};
use crate::tenant::TenantTransaction;

/// A record as it lies in the store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredRecord {
    /// The packed primary key.
    pub(crate) key: Bytes,
    /// When it was written.
    pub(crate) version: RecordVersion,
    /// What held the payload.
    pub(crate) format: Format,
    pub(crate) further_parts: u16,
    /// With which data key it was sealed, if it was.
    pub(crate) generation: Option<u32>,
    /// The payload, put together from all parts.
    pub(crate) payload: Bytes,
}

/// A record that cannot be put together.
#[derive(Debug)]
pub(crate) struct UnreadableRecord {
    /// What its rows begin with, behind the type's prefix: the packed primary key if it is one.
    pub(crate) key: Bytes,
    pub(crate) error: Error,
}

/// A part of the records of a type.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// In the order of their keys.
    pub(crate) records: Vec<StoredRecord>,
    /// What lies between them and is no record.
    pub(crate) unreadable: Vec<UnreadableRecord>,
    /// The key of the last one, readable or not.
    pub(crate) last: Option<Bytes>,
    /// Whether there are more behind the last one.
    pub(crate) has_more: bool,
}

impl Chunk {
    /// Fails where it was not the record's fault that it could not be read.
    fn add(&mut self, key: Bytes, record: Result<StoredRecord>) -> Result<()> {
        self.last = Some(key.clone());
        match record {
            Ok(record) => self.records.push(record),
            Err(error) if error.engine_error().is_some() || error.code() == Code::TenantSealed => {
                return Err(error);
            }
            Err(error) => self.unreadable.push(UnreadableRecord { key, error }),
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.records.len() + self.unreadable.len()
    }
}

/// A record of which parts may still be missing.
struct Open {
    key: Bytes,
    version: RecordVersion,
    further_parts: u16,
    parts: u16,
    format: Format,
    /// What holds the payload.
    packed: Vec<u8>,
    /// How much longer the payload is than the first part.
    rest_size_bytes: usize,
}

impl Open {
    fn new(key: Bytes, part: &[u8]) -> Result<Open> {
        let frame = frame::read(part)?;
        Ok(Open {
            key,
            version: frame.version,
            further_parts: frame.further_parts,
            parts: 0,
            format: frame.format,
            packed: frame.first.to_vec(),
            rest_size_bytes: frame.payload_size_bytes()?.saturating_sub(frame.first.len()),
        })
    }

    /// `prefix` is what the type's keys begin with.
    async fn close(self, transaction: &TenantTransaction, prefix: &[u8]) -> Result<StoredRecord> {
        if self.parts != self.further_parts {
            let detail = format!("a record has {} of its {} further parts", self.parts, self.further_parts);
            return Err(Error::new(Code::StoredDataInvalid, detail));
        }
        let generation = self.format.is_sealed().then(|| {
            let begin = self.packed.first_chunk::<4>();
            begin.map_or(0, |generation| u32::from_be_bytes(*generation))
        });
        let incarnation = self.version.incarnation;
        let key = behind(prefix, &self.key);
        let packed = Cow::Owned(self.packed);
        let packed = transaction.opened_record(&key, self.format, incarnation, packed).await?;
        let payload = match self.format.opened() {
            Format::Plain => packed.into_owned().into(),
            format => format.payload(&packed)?.into_owned().into(),
        };
        Ok(StoredRecord {
            key: self.key,
            version: self.version,
            format: self.format,
            further_parts: self.further_parts,
            generation,
            payload,
        })
    }
}

async fn closed(open: Result<Open>, transaction: &TenantTransaction, prefix: &[u8]) -> Result<StoredRecord> {
    open?.close(transaction, prefix).await
}

/// Reads the records of a type behind the packed key `after`: at most `rows_max`, and no more once they have `size_bytes_max` bytes, but at least one. One that is damaged
/// is an error.
///
/// They are read at the isolation of the transaction. What it wrote itself must not be among them: its stamp is still to come.
pub(crate) async fn read_chunk(
    transaction: &TenantTransaction,
    type_id: u32,
    after: Option<&[u8]>,
    rows_max: usize,
    size_bytes_max: usize,
) -> Result<Chunk> {
    let chunk = read_damaged_chunk(transaction, type_id, after, rows_max, size_bytes_max).await?;
    let Chunk { unreadable, .. } = &chunk;
    match unreadable.first() {
        Some(UnreadableRecord { error, .. }) => Err(error.clone()),
        None => Ok(chunk),
    }
}

/// As [`read_chunk`], for whoever goes on behind what is damaged.
pub(crate) async fn read_damaged_chunk(
    transaction: &TenantTransaction,
    type_id: u32,
    after: Option<&[u8]>,
    rows_max: usize,
    size_bytes_max: usize,
) -> Result<Chunk> {
    let prefix = transaction.tenant().keys.records(type_id)?;
    let KeyRange { begin, end } = clamp::records_range(&prefix, after);
    let mut chunk = Chunk::default();
    let mut open: Option<(Bytes, Result<Open>)> = None;
    let mut size_bytes = 0;
    // Rows, not records: further parts are rows as well, so the limit begins anew with each batch.
    let from = |begin: Bytes| {
        let request = RangeRequest::new(begin, end.clone());
        request.mode(StreamingMode::Serial).limit(rows_max.saturating_add(1))
    };
    let mut next = Some(from(begin));
    while let Some(request) = next {
        let batch = transaction.engine_range(&request).await?;
        for row in &batch.rows {
            let relative = clamp::relative(&prefix, &row.key);
            let number = tuple::unpack(&relative).ok().and_then(|mut elements| elements.pop());
            let is_first = number == Some(Element::Int(0));
            size_bytes += row.key.len() + if is_first { row.value.len() } else { 0 };
            match &mut open {
                Some((key, record)) if !is_first && relative.starts_with(key) => {
                    if let Ok(record) = record {
                        record.packed.extend_from_slice(&row.value);
                        record.parts += 1;
                    }
                    continue;
                }
                _ => {}
            }
            if let Some((key, whole)) = open.take() {
                chunk.add(key, closed(whole, transaction, &prefix).await)?;
                if chunk.len() >= rows_max || size_bytes >= size_bytes_max {
                    chunk.has_more = true;
                    return Ok(chunk);
                }
            }
            let (key, begun) = match is_first {
                // Part 0 is one byte at the end of the key.
                true => {
                    let key = relative.slice(..relative.len() - 1);
                    (key.clone(), Open::new(key, &row.value))
                }
                false => (key_of_part(&relative, number), Err(without_first_part())),
            };
            size_bytes += begun.as_ref().map_or(0, |begun| begun.rest_size_bytes);
            open = Some((key, begun));
        }
        next = batch.rows.last().filter(|_| batch.more).map(|last| from(key_after(&last.key)));
    }
    if let Some((key, last)) = open {
        chunk.add(key, closed(last, transaction, &prefix).await)?;
    }
    Ok(chunk)
}

fn without_first_part() -> Error {
    Error::new(Code::StoredDataInvalid, "a part of a record has no first part")
}

/// The key of the record that a further part is of; that of the row, if it is no such part.
fn key_of_part(relative: &Bytes, number: Option<Element>) -> Bytes {
    let number_size_bytes =
        number.and_then(|number| tuple::pack(&[number]).ok()).map_or(0, |packed| packed.len());
    relative.slice(..relative.len().saturating_sub(number_size_bytes))
}
