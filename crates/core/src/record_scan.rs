//! Records as they lie in the store, in pieces: for whoever reads all of a type.

use bytes::Bytes;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{KeyRange, RangeRequest, StreamingMode, key_after};

use crate::error::{Code, Error, Result};
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
    /// The payload, put together from all parts.
    pub(crate) payload: Bytes,
}

/// A part of the records of a type.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chunk {
    /// In the order of their keys.
    pub(crate) records: Vec<StoredRecord>,
    /// Whether there are more behind the last one.
    pub(crate) has_more: bool,
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

    fn close(self) -> Result<StoredRecord> {
        if self.parts != self.further_parts {
            let detail = format!("a record has {} of its {} further parts", self.parts, self.further_parts);
            return Err(Error::new(Code::StoredDataInvalid, detail));
        }
        let payload = match self.format {
            Format::Plain => self.packed.into(),
            format => format.payload(&self.packed)?.into_owned().into(),
        };
        Ok(StoredRecord { key: self.key, version: self.version, format: self.format, payload })
    }
}

/// Reads the records of a type behind the packed key `after`: at most `rows_max`, and no more once they have `size_bytes_max` bytes, but at least one.
///
/// They are read at the isolation of the transaction. What it wrote itself must not be among them: its stamp is still to come.
pub(crate) async fn read_chunk(
    transaction: &TenantTransaction,
    type_id: u32,
    after: Option<&[u8]>,
    rows_max: usize,
    size_bytes_max: usize,
) -> Result<Chunk> {
    let prefix = transaction.tenant().keys.records(type_id)?;
    let KeyRange { begin, end } = clamp::records_range(&prefix, after);
    let mut chunk = Chunk::default();
    let mut open: Option<Open> = None;
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
            let is_first = tuple::unpack(&relative)?.last() == Some(&Element::Int(0));
            size_bytes += row.key.len() + if is_first { row.value.len() } else { 0 };
            match &mut open {
                Some(open) if !is_first && relative.starts_with(&open.key) => {
                    open.packed.extend_from_slice(&row.value);
                    open.parts += 1;
                    continue;
                }
                _ if !is_first => {
                    return Err(Error::new(Code::StoredDataInvalid, "a part of a record has no first part"));
                }
                _ => {}
            }
            if let Some(whole) = open.take() {
                chunk.records.push(whole.close()?);
                if chunk.records.len() >= rows_max || size_bytes >= size_bytes_max {
                    chunk.has_more = true;
                    return Ok(chunk);
                }
            }
            // Part 0 is one byte at the end of the key.
            let begun = Open::new(relative.slice(..relative.len() - 1), &row.value)?;
            size_bytes += begun.rest_size_bytes;
            open = Some(begun);
        }
        next = batch.rows.last().filter(|_| batch.more).map(|last| from(key_after(&last.key)));
    }
    if let Some(last) = open {
        chunk.records.push(last.close()?);
    }
    Ok(chunk)
}
