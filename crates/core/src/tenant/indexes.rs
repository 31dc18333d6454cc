//! Index entries, kept in step with the records.
//!
//! An entry's key is the index's columns and, behind them, those of the primary key that are not among them; its value is empty. An entry of a unique
//! index whose columns are all there has the columns alone in its key and those of the primary key in its value, so that the check is one point read.

use bytes::Bytes;
use tenantry_kv::Isolation;
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::tuple::{self, Element};

use super::transaction::{TenantTransaction, read_size_bytes, write_size_bytes};
use crate::error::{Code, Error, Result, shown};
use crate::key_form;
use crate::key_space::behind;
use crate::record::Record;
use crate::schema::{Index, RecordType};

/// An entry of an index.
#[derive(PartialEq)]
struct Entry {
    key: Bytes,
    value: Bytes,
    /// Whether no other record may have this key.
    is_exclusive: bool,
}

/// The old and the new entry of every index that changes.
pub(super) struct IndexChanges(Vec<(Option<Entry>, Option<Entry>)>);

impl IndexChanges {
    /// What the changes, and the looks at unique entries before them, make the engine count.
    pub(super) fn size_bytes(&self) -> usize {
        let entries = self.0.iter().flat_map(|(old, new)| [old, new]).flatten();
        let size = |entry: &Entry| {
            // A clear names the end of its range in place of a value.
            let written = write_size_bytes(entry.key.len(), entry.value.len().max(entry.key.len() + 1));
            written + if entry.is_exclusive { read_size_bytes(entry.key.len()) } else { 0 }
        };
        entries.map(size).sum()
    }
}

impl TenantTransaction {
    /// What a change of a record changes in the indexes, once every unique index allows it. Nothing is written yet, so that a refused change leaves nothing
    /// behind.
    pub(super) async fn index_changes(
        &self,
        record_type: &RecordType,
        old: Option<&Record>,
        new: Option<&Record>,
    ) -> Result<IndexChanges> {
        let mut changed = Vec::new();
        for index in &record_type.indexes {
            let old = old.map(|record| self.entry(record_type, index, record)).transpose()?;
            let new = new.map(|record| self.entry(record_type, index, record)).transpose()?;
            if old != new {
                changed.push((index, old, new));
            }
        }
        let isolation = match is_active(Fault::UniqueCheckOnSnapshot) {
            true => Isolation::Snapshot,
            false => Isolation::Serializable,
        };
        // The reads first, side by side; the record is written only if all of them allow it.
        let checks: Vec<_> = changed
            .iter()
            .filter_map(|(index, old, new)| {
                let entry = new.as_ref().filter(|entry| entry.is_exclusive)?;
                let is_own = old.as_ref().is_some_and(|old| old.key == entry.key);
                (!is_own).then(|| (*index, self.transaction.get(&entry.key, isolation)))
            })
            .collect();
        for (index, check) in checks {
            if check.await?.is_some() {
                let columns = index.columns.iter().map(|column| {
                    let value = new.and_then(|record| record.get(column));
                    format!("{column} = {}", shown(&value.map(ToString::to_string).unwrap_or_default()))
                });
                let detail = format!(
                    "the index {} of {} has {} already",
                    shown(&index.name),
                    shown(&record_type.name),
                    columns.collect::<Vec<_>>().join(", ")
                );
                return Err(Error::new(Code::UniqueViolation, detail));
            }
        }
        Ok(IndexChanges(changed.into_iter().map(|(_, old, new)| (old, new)).collect()))
    }

    /// Replaces the entries of the old record by those of the new one.
    pub(super) fn change_indexes(&self, IndexChanges(changes): IndexChanges) {
        for (old, new) in changes {
            if let Some(old) = old.filter(|_| !is_active(Fault::IndexEntryNotRemoved)) {
                self.transaction.clear(&old.key);
            }
            if let Some(new) = new {
                self.transaction.set(&new.key, &new.value);
            }
        }
    }

    fn entry(&self, record_type: &RecordType, index: &Index, record: &Record) -> Result<Entry> {
        let columns = record.elements(&index.columns, record_type)?;
        let rest: Vec<String> = rest_of_key(record_type, index).cloned().collect();
        let rest = record.elements(&rest, record_type)?;
        let prefix = self.tenant.keys.index(index.id)?;
        let is_exclusive = index.is_unique && !columns.contains(&Element::Nil);
        if is_exclusive {
            let key = behind(&prefix, &key_form::pack(&columns)?);
            return Ok(Entry { key, value: tuple::pack(&rest)?, is_exclusive });
        }
        let packed = behind(&key_form::pack(&columns)?, &key_form::pack(&rest)?);
        Ok(Entry { key: behind(&prefix, &packed), value: Bytes::new(), is_exclusive })
    }
}

/// The columns of the primary key that an index does not have among its own.
pub(crate) fn rest_of_key<'a>(
    record_type: &'a RecordType,
    index: &'a Index,
) -> impl Iterator<Item = &'a String> {
    record_type.primary_key.iter().filter(|column| !index.columns.contains(column))
}

/// The primary key that an entry stands for.
pub(crate) fn primary_key_of(
    record_type: &RecordType,
    index: &Index,
    columns_and_rest: &[u8],
    value: &[u8],
) -> Result<Vec<Element>> {
    let mut elements = tuple::unpack(columns_and_rest)?;
    if elements.len() == index.columns.len() {
        elements.extend(tuple::unpack(value)?);
    }
    let order: Vec<&String> = index.columns.iter().chain(rest_of_key(record_type, index)).collect();
    let key = record_type.primary_key.iter().map(|column| {
        let place = order.iter().position(|name| *name == column);
        place.and_then(|place| elements.get(place).cloned())
    });
    key.collect::<Option<_>>().ok_or_else(|| {
        Error::new(
            Code::StoredDataInvalid,
            format!("an entry of the index {} is too short", shown(&index.name)),
        )
    })
}
