//! Records beside the entries that they contribute, in both directions.

use bytes::Bytes;
use futures_util::future::try_join_all;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{Isolation, RangeRequest};

use super::has_entries;
use super::report::FaultKind;
use crate::error::{Error, Result};
use crate::expiry::expiring_key;
use crate::index_form;
use crate::key_form;
use crate::key_space::behind;
use crate::messages::CheckCursor;
use crate::record::{PrimaryKey, Record, RecordKeys};
use crate::record_scan::{StoredRecord, read_chunk};
use crate::schema::{Index, IndexKind, RecordType};
use crate::tenant::{Contribution, TenantTransaction};
use crate::wire;

/// What a step reads of records at most, and what it keeps of the entries that are due, in bytes.
pub(super) const SIZE_BYTES_MAX: usize = 1_000_000;
/// How many records of entries are read side by side.
const LOADED_TOGETHER_MAX: usize = 32;

/// An entry that a record contributes.
struct Due<'a> {
    index: &'a Index,
    keys: RecordKeys,
    key: Bytes,
    value: Bytes,
    is_exclusive: bool,
}

impl TenantTransaction {
    /// Looks for what some records contribute. Returns whether these were the last.
    pub(super) async fn check_records(
        &self,
        record_type: &RecordType,
        repairs: bool,
        cursor: &mut CheckCursor,
        rows_max: usize,
    ) -> Result<bool> {
        self.set_isolation(Isolation::Snapshot);
        let chunk =
            read_chunk(self, record_type.id, cursor.after.as_deref(), rows_max, SIZE_BYTES_MAX).await?;
        let (mut due, mut size_bytes) = (Vec::new(), 0);
        for stored in &chunk.records {
            let record = whole_record(record_type, stored)?;
            let key = record.primary_key(record_type)?;
            let keys = self.record_keys(record_type, &key.elements(record_type)?)?;
            for index in record_type.indexes.iter().filter(|index| has_entries(index)) {
                for (entry, contribution) in self.contributed(record_type, index, &record)? {
                    let Contribution::Entry { value, is_exclusive } = contribution else { continue };
                    size_bytes += entry.len() + value.len();
                    due.push(Due { index, keys: keys.clone(), key: entry, value, is_exclusive });
                }
            }
            if size_bytes > SIZE_BYTES_MAX {
                self.check_due(record_type, std::mem::take(&mut due), repairs, cursor).await?;
                size_bytes = 0;
            }
        }
        self.check_due(record_type, due, repairs, cursor).await?;
        cursor.records += chunk.records.len() as u64;
        cursor.after = chunk.records.last().map(|stored| stored.key.clone());
        Ok(!chunk.has_more)
    }

    async fn check_due(
        &self,
        record_type: &RecordType,
        due: Vec<Due<'_>>,
        repairs: bool,
        cursor: &mut CheckCursor,
    ) -> Result<()> {
        let reads: Vec<_> = due.iter().map(|due| self.get_key(&due.key, Isolation::Snapshot)).collect();
        for (due, read) in due.iter().zip(reads) {
            if read.await?.as_ref() != Some(&due.value) {
                self.note_unequal_entry(record_type, due, repairs, cursor).await?;
            }
        }
        Ok(())
    }

    /// Tells of an entry that is not there or not as its record contributes it, and repairs it.
    async fn note_unequal_entry(
        &self,
        record_type: &RecordType,
        due: &Due<'_>,
        repairs: bool,
        cursor: &mut CheckCursor,
    ) -> Result<()> {
        // Once more: another record may have got the entry by a repair of this step. With a conflict only if something is written for it.
        let isolation = if repairs { Isolation::Serializable } else { Isolation::Snapshot };
        let kind = match self.fenced_transaction().get(&due.key, isolation).await? {
            None => FaultKind::Missing,
            Some(value)
                if due.is_exclusive && self.is_held(record_type, due.index, &due.key, &value).await? =>
            {
                FaultKind::Duplicate
            }
            Some(_) => FaultKind::Wrong,
        };
        cursor.found(record_type, due.index, kind, &key_name(record_type, &due.keys));
        if !repairs && kind == FaultKind::Wrong {
            cursor.tell(&due.key);
        }
        if repairs && kind != FaultKind::Duplicate {
            // Whoever changes the record before the commit knows better what it contributes.
            self.load(record_type, &due.keys, Isolation::Serializable).await?;
            self.mend_index(&due.key, Some(&due.value))?;
            cursor.repaired += 1;
        }
        Ok(())
    }

    /// Whether an entry's own record contributes it just so.
    async fn is_held(
        &self,
        record_type: &RecordType,
        index: &Index,
        key: &Bytes,
        value: &Bytes,
    ) -> Result<bool> {
        let Some(keys) = self.record_of(record_type, index, key, value)? else { return Ok(false) };
        let Some(stored) = self.load(record_type, &keys, Isolation::Snapshot).await? else {
            return Ok(false);
        };
        let contributed = self.contributed(record_type, index, &stored.record)?;
        let holds = |contribution: &Contribution| matches!(contribution, Contribution::Entry { value: due, .. } if due == value);
        Ok(contributed.get(key).is_some_and(holds))
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
                let keys = self.record_of(record_type, index, &row.key, &row.value)?;
                let stored = match &keys {
                    Some(keys) => self.load(record_type, keys, Isolation::Snapshot).await?,
                    None => None,
                };
                Ok::<_, Error>((keys, stored))
            });
            for (row, (keys, stored)) in rows.iter().zip(try_join_all(reads).await?) {
                let contributed = match &stored {
                    Some(stored) => self.contributed(record_type, index, &stored.record)?,
                    None => Default::default(),
                };
                size_bytes += stored.map_or(0, |stored| stored.size_bytes);
                // What stands in it is looked at from the record's side.
                if !contributed.contains_key(&row.key) && !cursor.is_told(&row.key) {
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
        let name = keys.map_or_else(String::new, |keys| key_name(record_type, keys));
        cursor.found(record_type, index, FaultKind::Dangling, &name);
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

    /// The record that an entry names; none if it names none.
    fn record_of(
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
                let in_value = match elements.len() == index.columns.len() {
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

/// A record as it lies in the store, as an index looks at it.
pub(super) fn whole_record(record_type: &RecordType, stored: &StoredRecord) -> Result<Record> {
    let (values, unknown) = wire::decode(&stored.payload, &record_type.fields)?;
    Ok(Record { values, unknown, version: Some(stored.version), is_read: true, ..Record::default() })
}

/// A primary key as people read it.
fn key_name(record_type: &RecordType, keys: &RecordKeys) -> String {
    let elements = tuple::unpack(&keys.packed).unwrap_or_default();
    let value = |(name, element): (&String, &Element)| {
        key_form::value(element, &record_type.field(name).ok()?.field_type)
    };
    let values = record_type.primary_key.iter().zip(&elements).map(value).collect::<Option<Vec<_>>>();
    values.map(|values| PrimaryKey { values }.to_string()).unwrap_or_default()
}
