//! Entries beside the records that contribute them.

use bytes::Bytes;
use futures_util::future::try_join_all;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{EngineError, Isolation, RangeRequest};

use super::report::FaultKind;
use crate::error::{Code, Error, Result};
use crate::expiry::expiring_key;
use crate::index_form;
use crate::key_form;
use crate::key_space::behind;
use crate::messages::CheckCursor;
use crate::record::{PrimaryKey, Record, RecordKeys};
use crate::record_scan::StoredRecord;
use crate::schema::{Index, IndexKind, RecordType};
use crate::tenant::{Stored, TenantTransaction};
use crate::wire;

/// What a step reads of records at most, and what it keeps of the entries that are due, in bytes.
pub(super) const SIZE_BYTES_MAX: usize = 1_000_000;
/// How many records of entries are read side by side.
const LOADED_TOGETHER_MAX: usize = 32;

impl TenantTransaction {
    /// The value of an entry as it was before it was sealed; one that does not open as it is, which equals none that a record contributes.
    pub(super) async fn readable_entry(&self, index: &Index, key: &Bytes, value: Bytes) -> Result<Bytes> {
        match self.opened_entry(index, key, value.clone()).await {
            Err(error) if error.code() == Code::SealBroken => Ok(value),
            opened => opened,
        }
    }

    /// Looks at the records of some entries. Returns whether these were the last.
    pub(super) async fn check_entries(
        &self,
        record_type: &RecordType,
        index: &Index,
        repairs: bool,
        cursor: &mut CheckCursor,
        rows_max: usize,
    ) -> Result<bool> {
        let prefix = self.tenant().keys.index(index.id)?;
        let begin = match &cursor.after {
            Some(after) => behind(&behind(&prefix, after), &[0]),
            None => prefix.clone(),
        };
        let request = RangeRequest::new(begin, behind(&prefix, &[index_form::BEHIND_ALL])).limit(rows_max);
        let batch = self.engine_range_at(&request, Isolation::Snapshot).await?;
        let mut size_bytes = 0;
        for rows in batch.rows.chunks(LOADED_TOGETHER_MAX) {
            // What was read is looked at before more is.
            if size_bytes > SIZE_BYTES_MAX {
                return Ok(false);
            }
            let reads = rows.iter().map(|row| async {
                let value = self.readable_entry(index, &row.key, row.value.clone()).await?;
                let keys = self.record_of(record_type, index, &row.key, &value)?;
                let looked = match &keys {
                    Some(keys) => self.look(record_type, keys).await?,
                    None => Looked::Gone,
                };
                Ok::<_, Error>((keys, looked))
            });
            for (row, (keys, looked)) in rows.iter().zip(try_join_all(reads).await?) {
                let is_contributed = match &looked {
                    Looked::At(stored) => {
                        size_bytes += stored.size_bytes;
                        match self.contributed(record_type, index, &stored.record) {
                            Ok(contributed) => contributed.contains_key(&row.key),
                            Err(error) => is_damage(&error).then_some(true).ok_or(error)?,
                        }
                    }
                    Looked::Gone => false,
                    // Nobody knows, and it was told of the record.
                    Looked::Unreadable => true,
                };
                // What stands in it is looked at from the record's side.
                if !is_contributed && !cursor.is_told(&row.key) {
                    self.note_dangling(record_type, index, keys.as_ref(), &row.key, repairs, cursor).await?;
                }
                cursor.entries += 1;
                cursor.after = Some(row.key.slice(prefix.len()..));
            }
        }
        Ok(!batch.more && batch.rows.len() < rows_max)
    }

    /// Tells of an entry whose record does not contribute it, and removes it.
    async fn note_dangling(
        &self,
        record_type: &RecordType,
        index: &Index,
        keys: Option<&RecordKeys>,
        entry: &Bytes,
        repairs: bool,
        cursor: &mut CheckCursor,
    ) -> Result<()> {
        let name = keys.map_or_else(String::new, |keys| key_name(record_type, &keys.packed));
        cursor.found(record_type, &index.name, FaultKind::Dangling, &name);
        if repairs {
            // A record that comes to contribute it before the commit keeps it.
            if let Some(keys) = keys {
                self.load(record_type, keys, Isolation::Serializable).await?;
            }
            self.fenced_transaction().get(entry, Isolation::Serializable).await?;
            self.mend_index(entry, None)?;
            cursor.repaired += 1;
        }
        Ok(())
    }

    /// Looks at the record of some keys.
    pub(super) async fn look(&self, record_type: &RecordType, keys: &RecordKeys) -> Result<Looked> {
        let own_key = |record: &Record| {
            self.record_keys(record_type, &record.primary_key(record_type)?.elements(record_type)?)
        };
        match self.load(record_type, keys, Isolation::Snapshot).await {
            Ok(None) => Ok(Looked::Gone),
            Ok(Some(stored)) => Ok(match own_key(&stored.record) {
                Ok(own) if own.packed == keys.packed => Looked::At(stored),
                _ => Looked::Unreadable,
            }),
            Err(error) if is_damage(&error) => Ok(Looked::Unreadable),
            Err(error) => Err(error),
        }
    }

    /// The record that an entry names; none if it names none.
    pub(super) fn record_of(
        &self,
        record_type: &RecordType,
        index: &Index,
        key: &Bytes,
        value: &Bytes,
    ) -> Result<Option<RecordKeys>> {
        let entry = key.slice(self.tenant().keys.index(index.id)?.len()..);
        let elements = match index.kind {
            IndexKind::Version => tuple::unpack(value).ok(),
            IndexKind::TimeToLive { .. } => expiring_key(record_type, index, &entry).ok(),
            _ => tuple::unpack(&entry).ok().and_then(|elements| {
                // Only where the key has the index's own columns alone is the rest in the value.
                let in_value = match elements.len() == index_form::own_elements(index) {
                    true => tuple::unpack(value).ok()?,
                    false => Vec::new(),
                };
                index_form::primary_key(record_type, index, &elements, &in_value).ok()
            }),
        };
        match elements.filter(|elements| elements.len() == record_type.primary_key.len()) {
            Some(elements) => self.record_keys(record_type, &elements).map(Some),
            None => Ok(None),
        }
    }
}

/// What a look at a record came to.
pub(super) enum Looked {
    At(Stored),
    Gone,
    /// Nobody knows what it contributes.
    Unreadable,
}

/// Whether an error says that a record cannot be read, rather than that nothing can.
pub(super) fn is_damage(error: &Error) -> bool {
    // Without the key nobody knows.
    error.engine_error().is_none() && error.code() != Code::TenantSealed
}

/// A record as it lies in the store, as an index looks at it.
pub(super) fn whole_record(record_type: &RecordType, stored: &StoredRecord) -> Result<Record> {
    let (values, unknown) = wire::decode(&stored.payload, &record_type.fields)?;
    Ok(Record { values, unknown, version: Some(stored.version), is_read: true, ..Record::default() })
}

/// A primary key as people read it; the bytes of what is none.
pub(super) fn key_name(record_type: &RecordType, packed: &Bytes) -> String {
    let elements = tuple::unpack(packed).unwrap_or_default();
    let value = |(name, element): (&String, &Element)| {
        key_form::value(element, &record_type.field(name).ok()?.field_type)
    };
    let is_whole = elements.len() == record_type.primary_key.len();
    let values = record_type.primary_key.iter().zip(&elements).map(value).collect::<Option<Vec<_>>>();
    match values.filter(|_| is_whole) {
        Some(values) => PrimaryKey { values }.to_string(),
        None => packed.escape_ascii().to_string(),
    }
}
