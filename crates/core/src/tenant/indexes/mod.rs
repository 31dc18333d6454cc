//! Indexes, kept in step with the records.
//!
//! Every kind of index says what a record contributes to it ([`Maintainer`]); what a change writes is the difference between what the old record contributed
//! and what the new one does. So an index that a change does not touch costs nothing, and a kind is added by one more file and one line in [`maintainer`].
//!
//! An entry's key is the index's columns and, behind them, those of the primary key that are not among them. An entry that no other record may have has the
//! columns alone in its key and the rest of the primary key in its value, so that the check is one point read. What an index covers stands in the
//! entry's value.

mod amount;
mod contributions;
mod count;
mod extremes;
mod rank;
mod ranked_set;
mod sum;
mod text;
mod time_to_live;
mod value;
mod version;

use std::collections::BTreeMap;

use bytes::Bytes;
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{Isolation, MutationType};

use super::transaction::{TenantTransaction, read_size_bytes, write_size_bytes};
use crate::error::{Code, Error, Result, shown};
use crate::index_form;
use crate::index_hash::IndexHashes;
use crate::key_space::{TenantKeys, behind};
use crate::record::{Record, RecordVersion};
use crate::schema::{Index, IndexKind, RecordType};
use crate::value::FieldType;

pub(crate) use amount::Amount;
pub(crate) use contributions::Contribution;
pub(super) use contributions::Stamped;
use contributions::{Contributions, Write};
use ranked_set::RankChange;
pub(crate) use ranked_set::{Place, RankedSet};
pub(crate) use time_to_live::expiry_us;

/// A record as an index looks at it.
pub(super) struct Subject<'a> {
    pub(super) keys: &'a TenantKeys,
    pub(super) record_type: &'a RecordType,
    pub(super) index: &'a Index,
    pub(super) record: &'a Record,
    pub(super) hashes: IndexHashes<'a>,
    /// When the record was written; `None` for one that this transaction writes.
    pub(super) version: Option<RecordVersion>,
    /// The incarnation of what this transaction writes.
    pub(super) incarnation: u32,
}

/// A kind of index.
trait Maintainer: Sync {
    /// Adds what a record contributes. Two records of the same values and primary key contribute the same.
    fn contribute(&self, subject: &Subject<'_>, contributions: &mut Contributions) -> Result<()>;
}

/// Every kind there is.
fn maintainer(kind: &IndexKind) -> Option<&'static dyn Maintainer> {
    match kind {
        IndexKind::Value { .. } => Some(&value::Values),
        IndexKind::Count => Some(&count::Counts),
        IndexKind::Sum => Some(&sum::Sums),
        IndexKind::Min | IndexKind::Max => Some(&extremes::Extremes),
        IndexKind::Version => Some(&version::Versions),
        IndexKind::TimeToLive { .. } => Some(&time_to_live::TimesToLive),
        IndexKind::Text { .. } => Some(&text::Texts),
        IndexKind::Rank => Some(&rank::Ranks),
    }
}

/// What a change of a record writes into the indexes.
#[derive(Default)]
pub(super) struct IndexChanges {
    writes: Vec<Write>,
    stamped: Vec<Stamped>,
    ranks: Vec<RankChange>,
    /// What the reads before them make the engine count.
    checked_size_bytes: usize,
}

impl IndexChanges {
    /// What the changes, and the looks at unique entries before them, make the engine count.
    pub(super) fn size_bytes(&self) -> usize {
        let written: usize = self.writes.iter().map(Write::size_bytes).sum();
        let stamped: usize = self.stamped.iter().map(Stamped::size_bytes).sum();
        written + stamped + self.checked_size_bytes
    }

    /// The keys of the entries that are written. But for unique indexes, no two records have one in common.
    pub(super) fn entry_keys(&self) -> impl Iterator<Item = &Bytes> {
        self.writes.iter().filter_map(|write| match write {
            Write::Set(key, _) => Some(key),
            Write::Clear(_) | Write::Add { .. } => None,
        })
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
        let mut changes = IndexChanges::default();
        let mut exclusive: Vec<(&Index, Bytes)> = Vec::new();
        for index in &record_type.indexes {
            let contributed = |record: Option<&Record>, is_new: bool| match record {
                Some(record) => self.contributions(record_type, index, record, is_new),
                None => Ok(Contributions::default()),
            };
            let (old, new) = (contributed(old, false)?, contributed(new, true)?);
            exclusive.extend(new.exclusive_beside(&old).map(|key| (index, key.clone())));
            for change in new.rank_changes(&old) {
                changes.checked_size_bytes += change.size_bytes(&self.tenant.keys)?;
                changes.ranks.push(change);
            }
            let (writes, stamped) = new.replacing(old);
            for write in writes {
                changes.writes.push(match write {
                    Write::Set(key, value) => {
                        let value = self.sealed_entry(index, &key, value)?;
                        Write::Set(key, value)
                    }
                    write => write,
                });
            }
            changes.stamped.extend(stamped);
        }
        let isolation = match is_active(Fault::UniqueCheckOnSnapshot) {
            true => Isolation::Snapshot,
            false => Isolation::Serializable,
        };
        // The reads first, side by side; the record is written only if all of them allow it.
        let checks: Vec<_> = exclusive.iter().map(|(_, key)| self.transaction.get(key, isolation)).collect();
        for ((index, key), check) in exclusive.iter().zip(checks) {
            changes.checked_size_bytes += read_size_bytes(key.len());
            if check.await?.is_some() {
                return Err(violation(record_type, index, new));
            }
        }
        Ok(changes)
    }

    fn contributions(
        &self,
        record_type: &RecordType,
        index: &Index,
        record: &Record,
        is_new: bool,
    ) -> Result<Contributions> {
        let mut contributions = Contributions::default();
        let holds =
            index.condition.as_ref().is_none_or(|condition| condition.expression.holds(&record.values));
        if let Some(maintainer) = maintainer(&index.kind).filter(|_| holds) {
            let subject = Subject {
                keys: &self.tenant.keys,
                record_type,
                index,
                record,
                hashes: self.index_hashes(),
                version: record.version.filter(|_| !is_new),
                incarnation: self.header.incarnation,
            };
            maintainer.contribute(&subject, &mut contributions)?;
        }
        Ok(contributions)
    }

    /// The place of a record in a rank index; `None` for a record that is not in it.
    pub(crate) fn place(
        &self,
        record_type: &RecordType,
        index: &Index,
        record: &Record,
    ) -> Result<Option<Place>> {
        Ok(self.contributions(record_type, index, record, false)?.place().cloned())
    }

    /// Changes ranked sets, one element after the other: what each reads has to be as the one before left it. A transaction in which somebody stopped in the
    /// middle of this does not commit.
    async fn change_ranks(&self, changes: &[RankChange]) -> Result<()> {
        let alone = self.ranks.lock().await;
        self.lock().ranks_under_way += 1;
        for RankChange { place, is_insert } in changes {
            let set = RankedSet::new(&self.transaction, &self.tenant.keys, place.index, &place.group)?;
            let more_size_bytes = set.change(&place.element, *is_insert).await?;
            if more_size_bytes > 0 {
                self.count_bookkeeping(more_size_bytes)?;
            }
        }
        self.lock().ranks_under_way -= 1;
        drop(alone);
        Ok(())
    }

    /// What a record that was read contributes to an index, by key: entries and amounts. Of a rank index the entry, but no counts.
    pub(crate) fn contributed(
        &self,
        record_type: &RecordType,
        index: &Index,
        record: &Record,
    ) -> Result<BTreeMap<Bytes, Contribution>> {
        let contributions = self.contributions(record_type, index, record, false)?;
        let place = contributions.place().cloned();
        let mut entries = contributions.into_entries();
        if let Some(Place { group, element, .. }) = place {
            let key = behind(&behind(&self.tenant.keys.index(index.id)?, &group), &element);
            entries.insert(key, Contribution::Entry { value: Bytes::new(), is_exclusive: false });
        }
        Ok(entries)
    }

    /// Sets or clears a key of an index, to mend it; the value as it is stored. No record changes, so that the change log says nothing of it.
    pub(crate) fn mend_index(&self, key: &Bytes, value: Option<&[u8]>) -> Result<()> {
        self.count_bookkeeping(entry_size_bytes(key, value.map_or(0, <[u8]>::len)))?;
        match value {
            Some(value) => self.transaction.set(key, value),
            None => self.transaction.clear(key),
        }
        Ok(())
    }

    /// Adds to an amount of an index, to mend it. What is stored takes the width of what is added; zero leaves no key.
    pub(crate) fn mend_amount(&self, key: &Bytes, change: &Amount) -> Result<()> {
        let operand = change.to_bytes();
        self.count_bookkeeping(2 * entry_size_bytes(key, operand.len()))?;
        self.transaction.atomic(MutationType::Add, key, &operand);
        self.transaction.atomic(MutationType::CompareAndClear, key, &vec![0; operand.len()]);
        Ok(())
    }

    /// Replaces what the old record contributed by what the new one does. Returns what is written with the transaction's stamp.
    pub(super) async fn change_indexes(&self, changes: IndexChanges) -> Result<Vec<Stamped>> {
        if !changes.ranks.is_empty() {
            self.change_ranks(&changes.ranks).await?;
        }
        if is_active(Fault::IndexWrittenOutside)
            && let Ok(outside) = self.tenant.database.inner.engine.begin()
        {
            for write in &changes.writes {
                if let Write::Set(key, value) = write {
                    outside.set(key, value);
                }
            }
            drop(outside.commit());
        }
        for write in changes.writes {
            match write {
                Write::Set(key, value) => self.transaction.set(&key, &value),
                Write::Clear(_) if is_active(Fault::IndexEntryNotRemoved) => {}
                Write::Clear(key) => self.transaction.clear(&key),
                Write::Add { key, operand, can_reach_zero } => {
                    self.transaction.atomic(MutationType::Add, &key, &operand);
                    if can_reach_zero {
                        // A group without records has no key.
                        let zero = vec![0; operand.len()];
                        self.transaction.atomic(MutationType::CompareAndClear, &key, &zero);
                    }
                }
            }
        }
        Ok(changes.stamped)
    }
}

/// The amount of a group without records, as wide as the one of a key, which is relative to the index.
pub(crate) fn no_amount(index: &Index, entry: &Bytes) -> Amount {
    let is_sum = || tuple::unpack(entry).is_ok_and(|elements| elements.last() == Some(&Element::Int(1)));
    match (&index.kind, index.columns.last().map(|column| &column.field_type)) {
        (IndexKind::Sum, Some(FieldType::Decimal)) if is_sum() => Amount::decimal(0.into()),
        (IndexKind::Sum, _) if is_sum() => Amount::integer(0),
        _ => Amount::count(0),
    }
}

fn violation(record_type: &RecordType, index: &Index, record: Option<&Record>) -> Error {
    let columns = index.columns.iter().map(|column| {
        let value = record.and_then(|record| column.expression.value(&record.values));
        format!("{} = {}", column.text, shown(&value.map(|value| value.to_string()).unwrap_or_default()))
    });
    let detail = format!(
        "the index {} of {} has {} already",
        shown(&index.name),
        shown(&record_type.name),
        columns.collect::<Vec<_>>().join(", ")
    );
    Error::new(Code::UniqueViolation, detail)
}

/// What the write of an entry makes the engine count.
fn entry_size_bytes(key: &Bytes, value_size_bytes: usize) -> usize {
    // A clear names the end of its range in place of a value.
    write_size_bytes(key.len(), value_size_bytes.max(key.len() + 1))
}

/// The elements of the primary key that an entry of `subject`'s index has behind its own columns.
fn rest_elements(subject: &Subject<'_>) -> Result<Vec<Element>> {
    let rest: Vec<String> = index_form::rest_of_key(subject.record_type, subject.index).cloned().collect();
    subject.record.elements(&rest, subject.record_type)
}
