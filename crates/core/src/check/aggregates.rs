//! Counts, sums and extremes, added up anew from all records of a type, in one transaction.
//!
//! What is kept in memory is bounded: where an index has more amounts than that, the first of them are compared, and a further step adds up the next.

use std::collections::BTreeMap;
use std::collections::btree_map::IntoIter;
use std::iter::Peekable;

use bytes::Bytes;
use tenantry_kv::{ConflictKind, Isolation, RangeRequest, key_after, tuple};

use super::Checked;
use super::entries::{SIZE_BYTES_MAX, whole_record};
use super::report::FaultKind;
use crate::error::Result;
use crate::index_form;
use crate::key_space::behind;
use crate::messages::CheckCursor;
use crate::record_scan::read_chunk;
use crate::schema::{Index, IndexKind, RecordType};
use crate::tenant::{Amount, Contribution, TenantTransaction, no_amount};

/// How many records are read at a time.
const ROWS_TOGETHER: usize = 1_000;
/// What an amount takes in memory beside its key.
const AMOUNT_OVERHEAD_BYTES: usize = 100;

/// What the records contribute together, of a part of the keys.
struct Due {
    amounts: BTreeMap<Bytes, Amount>,
    size_bytes: usize,
    /// The first key that has no room any more.
    end: Bytes,
}

impl Due {
    fn add(&mut self, key: Bytes, amount: &Amount, size_bytes_max: usize) {
        if key >= self.end {
            return;
        }
        if let Some(so_far) = self.amounts.get_mut(&key) {
            *so_far = so_far.plus(amount);
            return;
        }
        self.size_bytes += key.len() + AMOUNT_OVERHEAD_BYTES;
        self.amounts.insert(key, amount.clone());
        // The last give way, but never the only one.
        while self.size_bytes > size_bytes_max && self.amounts.len() > 1 {
            let Some((last, _)) = self.amounts.pop_last() else { break };
            self.size_bytes -= last.len() + AMOUNT_OVERHEAD_BYTES;
            self.end = last;
        }
    }
}

/// An amount that is not what it should be.
struct Unequal {
    key: Bytes,
    kind: FaultKind,
    due: Option<Amount>,
    stored: Option<Bytes>,
}

/// What is due beside what is stored, both in the order of their keys.
struct Comparison {
    due: Peekable<IntoIter<Bytes, Amount>>,
    unequal: Vec<Unequal>,
    unequal_max: usize,
    /// How many stored ones were compared, and the last key of either side.
    rows: u64,
    last: Option<Bytes>,
}

impl Comparison {
    /// Takes the next stored one. Returns whether there was room for what is wrong with it.
    fn compare(&mut self, key: &Bytes, value: &Bytes) -> bool {
        while let Some((due_key, due)) = self.due.next_if(|(due_key, _)| due_key < key) {
            if !self.note(due_key, FaultKind::Missing, Some(due), None) {
                return false;
            }
        }
        let due = self.due.next_if(|(due_key, _)| due_key == key).map(|(_, due)| due);
        let has_room = match &due {
            Some(amount) if amount.to_bytes() == value[..] => {
                self.last = Some(key.clone());
                true
            }
            Some(_) => self.note(key.clone(), FaultKind::Wrong, due, Some(value.clone())),
            None => self.note(key.clone(), FaultKind::Dangling, None, Some(value.clone())),
        };
        self.rows += u64::from(has_room);
        has_room
    }

    /// Takes what is due behind everything that is stored.
    fn finish(&mut self) -> bool {
        while let Some((key, due)) = self.due.next() {
            if !self.note(key, FaultKind::Missing, Some(due), None) {
                return false;
            }
        }
        true
    }

    fn note(&mut self, key: Bytes, kind: FaultKind, due: Option<Amount>, stored: Option<Bytes>) -> bool {
        if self.unequal.len() >= self.unequal_max {
            return false;
        }
        self.last = Some(key.clone());
        self.unequal.push(Unequal { key, kind, due, stored });
        true
    }
}

impl TenantTransaction {
    /// Compares what is stored of an index with what the records contribute, as much as a step can. Returns whether it is done.
    ///
    /// The cursor is the first key that is to be compared.
    pub(super) async fn check_amounts(
        &self,
        record_type: &RecordType,
        index: &Index,
        checked: &Checked<'_>,
        cursor: &mut CheckCursor,
    ) -> Result<bool> {
        self.set_isolation(Isolation::Snapshot);
        let clock = &self.tenant().database.inner.env.clock;
        let begun = clock.monotonic();
        let is_late = || clock.monotonic().saturating_sub(begun) >= checked.bounds.time_max;
        if cursor.has_unreadable(record_type) {
            cursor.skip(record_type, index, "a record cannot be read");
            return Ok(true);
        }
        let prefix = self.tenant().keys.index(index.id)?;
        let begin = behind(&prefix, cursor.after.as_deref().unwrap_or_default());
        let size_bytes_max = checked.bounds.amounts_size_bytes_max;
        let Some(due) = self.amounts_due(record_type, index, &begin, size_bytes_max, &is_late).await? else {
            cursor.skip(record_type, index, "more records than can be added up in one transaction");
            return Ok(true);
        };
        let mut comparison = Comparison {
            due: due.amounts.into_iter().peekable(),
            unequal: Vec::new(),
            unequal_max: checked.bounds.repairs_max.max(1),
            rows: 0,
            last: None,
        };
        let mut next = Some(RangeRequest::new(begin, due.end.clone()));
        let mut is_whole = true;
        while let Some(request) = next {
            let batch = self.engine_range_at(&request, Isolation::Snapshot).await?;
            is_whole = batch.rows.iter().all(|row| comparison.compare(&row.key, &row.value));
            next = request.after(&batch).filter(|_| is_whole);
            if next.is_some() && is_late() {
                (is_whole, next) = (false, None);
            }
        }
        is_whole = is_whole && comparison.finish();
        cursor.entries += comparison.rows;
        cursor.after = match (is_whole, &comparison.last) {
            (false, Some(last)) => Some(key_after(last).slice(prefix.len()..)),
            _ => Some(due.end.slice(prefix.len()..)),
        };
        self.note_unequal(record_type, index, comparison.unequal, checked.repairs, cursor)?;
        Ok(is_whole && due.end == behind(&prefix, &[index_form::BEHIND_ALL]))
    }

    /// What the records contribute together from a key on; none if these are too many.
    async fn amounts_due(
        &self,
        record_type: &RecordType,
        index: &Index,
        begin: &Bytes,
        size_bytes_max: usize,
        is_late: &(impl Fn() -> bool + Sync),
    ) -> Result<Option<Due>> {
        let end = behind(&self.tenant().keys.index(index.id)?, &[index_form::BEHIND_ALL]);
        let mut due = Due { amounts: BTreeMap::new(), size_bytes: 0, end };
        let mut after = None::<Bytes>;
        loop {
            let chunk =
                read_chunk(self, record_type.id, after.as_deref(), ROWS_TOGETHER, SIZE_BYTES_MAX).await?;
            for stored in &chunk.records {
                let record = whole_record(record_type, stored)?;
                for (key, contribution) in self.contributed(record_type, index, &record)? {
                    match contribution {
                        Contribution::Amount(amount) if key >= *begin => {
                            due.add(key, &amount, size_bytes_max);
                        }
                        _ => {}
                    }
                }
            }
            match chunk.records.last().filter(|_| chunk.has_more) {
                Some(_) if is_late() => return Ok(None),
                Some(last) => after = Some(last.key.clone()),
                None => break,
            }
        }
        // A sum of zero has no key.
        due.amounts.retain(|_, amount| !amount.is_zero());
        Ok(Some(due))
    }

    /// Tells what is not as it should be, and repairs it.
    ///
    /// A repair adds what is lacking, as the writers of records do, and reads nothing with a conflict: whatever they add between the version at which this
    /// transaction reads and its commit is in the records as well as in the stored amount. Only another repair would add the same once more.
    fn note_unequal(
        &self,
        record_type: &RecordType,
        index: &Index,
        unequal: Vec<Unequal>,
        repairs: bool,
        cursor: &mut CheckCursor,
    ) -> Result<()> {
        let prefix = self.tenant().keys.index(index.id)?;
        if repairs && !unequal.is_empty() {
            self.exclude_other_repairs(&prefix)?;
        }
        for Unequal { key, kind, due, stored } in unequal {
            let entry = key.slice(prefix.len()..);
            cursor.found(record_type, &index.name, kind, &group_name(index, &entry));
            if repairs {
                let nothing = no_amount(index, &entry);
                let stored = nothing.wrapping(stored.as_deref().unwrap_or_default());
                self.mend_amount(&key, &due.unwrap_or(nothing).plus(&stored.negated()))?;
                cursor.repaired += 1;
            }
        }
        Ok(())
    }

    /// Of two transactions that repair amounts of an index, one comes too late.
    fn exclude_other_repairs(&self, prefix: &Bytes) -> Result<()> {
        // No amount has this key.
        let key = behind(prefix, &[index_form::BEHIND_ALL]);
        for kind in [ConflictKind::Read, ConflictKind::Write] {
            self.fenced_transaction().add_conflict_range(&key, &key_after(&key), kind)?;
        }
        Ok(())
    }
}

/// The group of an amount as people read it.
pub(super) fn group_name(index: &Index, entry: &Bytes) -> String {
    let elements = tuple::unpack(entry).unwrap_or_default();
    let columns = match index.kind {
        IndexKind::Count | IndexKind::Sum => &index.columns[..index.group_columns.min(index.columns.len())],
        _ => &index.columns[..],
    };
    let shown = columns.iter().zip(&elements).map(|(column, element)| {
        index_form::value(column, element).map_or_else(|| "null".to_owned(), |value| value.to_string())
    });
    shown.collect::<Vec<_>>().join(", ")
}
