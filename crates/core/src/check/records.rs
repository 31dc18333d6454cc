//! Records, and what each of them claims: entries in indexes, and the records that it refers to.

use bytes::Bytes;
use tenantry_kv::Isolation;
use tenantry_kv::tuple::Element;

use super::entries::{Looked, SIZE_BYTES_MAX, is_damage, key_name, whole_record};
use super::has_entries;
use super::report::FaultKind;
use crate::error::{Code, Error, Result};
use crate::messages::CheckCursor;
use crate::record::RecordKeys;
use crate::record_scan::{StoredRecord, read_damaged_chunk};
use crate::schema::{Index, RecordType, Reference};
use crate::tenant::{Contribution, TenantTransaction};

/// An entry that a record contributes.
struct Due<'a> {
    index: &'a Index,
    keys: RecordKeys,
    key: Bytes,
    value: Bytes,
    is_exclusive: bool,
}

/// A record that another one refers to.
struct Target<'a> {
    reference: &'a Reference,
    /// The packed primary key of the one that refers to it.
    from: Bytes,
    key: Bytes,
}

/// What some records claim.
#[derive(Default)]
struct Claims<'a> {
    entries: Vec<Due<'a>>,
    targets: Vec<Target<'a>>,
    size_bytes: usize,
}

impl TenantTransaction {
    /// Looks at some records: whether they can be read, and for what they claim. Returns whether these were the last.
    pub(super) async fn check_records(
        &self,
        record_type: &RecordType,
        repairs: bool,
        cursor: &mut CheckCursor,
        rows_max: usize,
    ) -> Result<bool> {
        self.set_isolation(Isolation::Snapshot);
        let after = cursor.after.as_deref();
        let chunk = read_damaged_chunk(self, record_type.id, after, rows_max, SIZE_BYTES_MAX).await?;
        for unreadable in &chunk.unreadable {
            cursor.found_unreadable(record_type, &key_name(record_type, &unreadable.key));
        }
        let mut claims = Claims::default();
        for stored in &chunk.records {
            match self.claim(record_type, stored, &mut claims) {
                Err(error) if is_damage(&error) => {
                    cursor.found_unreadable(record_type, &key_name(record_type, &stored.key));
                }
                other => other?,
            }
            if claims.size_bytes > SIZE_BYTES_MAX {
                self.check_claims(record_type, std::mem::take(&mut claims), repairs, cursor).await?;
            }
        }
        self.check_claims(record_type, claims, repairs, cursor).await?;
        cursor.records += (chunk.records.len() + chunk.unreadable.len()) as u64;
        cursor.after = chunk.last;
        Ok(!chunk.has_more)
    }

    /// Adds what a record claims; nothing, if it cannot be read.
    fn claim<'a>(
        &self,
        record_type: &'a RecordType,
        stored: &StoredRecord,
        claims: &mut Claims<'a>,
    ) -> Result<()> {
        let record = whole_record(record_type, stored)?;
        let keys = self.record_keys(record_type, &record.primary_key(record_type)?.elements(record_type)?)?;
        if keys.packed != stored.key {
            return Err(Error::new(Code::StoredDataInvalid, "a record has the key of another one"));
        }
        let (mut entries, mut targets, mut size_bytes) = (Vec::new(), Vec::new(), 0);
        for index in record_type.indexes.iter().filter(|index| has_entries(index)) {
            for (key, contribution) in self.contributed(record_type, index, &record)? {
                let Contribution::Entry { value, is_exclusive } = contribution else { continue };
                if self.is_being_built(index, &key)? {
                    continue;
                }
                size_bytes += key.len() + value.len();
                entries.push(Due { index, keys: keys.clone(), key, value, is_exclusive });
            }
        }
        for reference in &record_type.references {
            let elements = record.elements(&reference.columns, record_type)?;
            if elements.contains(&Element::Nil) {
                continue;
            }
            let target = self.record_keys(self.record_type(&reference.to)?, &elements)?;
            let key = target.part(0)?;
            size_bytes += key.len() + keys.packed.len();
            targets.push(Target { reference, from: keys.packed.clone(), key });
        }
        claims.entries.extend(entries);
        claims.targets.extend(targets);
        claims.size_bytes += size_bytes;
        Ok(())
    }

    /// Compares what some records claim with what there is.
    async fn check_claims(
        &self,
        record_type: &RecordType,
        claims: Claims<'_>,
        repairs: bool,
        cursor: &mut CheckCursor,
    ) -> Result<()> {
        let get = |key: &Bytes| self.get_key(key, Isolation::Snapshot);
        let reads: Vec<_> = claims.entries.iter().map(|due| get(&due.key)).collect();
        let looks: Vec<_> = claims.targets.iter().map(|target| get(&target.key)).collect();
        for (due, read) in claims.entries.iter().zip(reads) {
            let found = match read.await? {
                Some(value) => Some(self.readable_entry(due.index, &due.key, value).await?),
                None => None,
            };
            if found.as_ref() != Some(&due.value) {
                self.note_unequal_entry(record_type, due, repairs, cursor).await?;
            }
        }
        for (target, look) in claims.targets.iter().zip(looks) {
            if look.await?.is_none() {
                let name = key_name(record_type, &target.from);
                cursor.found(record_type, &target.reference.name, FaultKind::DanglingReference, &name);
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
        let found = match self.fenced_transaction().get(&due.key, isolation).await? {
            Some(value) => Some(self.readable_entry(due.index, &due.key, value).await?),
            None => None,
        };
        let kind = match found {
            None => FaultKind::Missing,
            Some(value)
                if due.is_exclusive && self.is_held(record_type, due.index, &due.key, &value).await? =>
            {
                FaultKind::Duplicate
            }
            Some(_) => FaultKind::Wrong,
        };
        cursor.found(record_type, &due.index.name, kind, &key_name(record_type, &due.keys.packed));
        if !repairs && kind == FaultKind::Wrong {
            cursor.tell(&due.key);
        }
        if repairs && kind != FaultKind::Duplicate {
            // Whoever changes the record before the commit knows better what it contributes.
            self.load(record_type, &due.keys, Isolation::Serializable).await?;
            let stored = self.sealed_entry(due.index, &due.key, due.value.clone())?;
            self.mend_index(&due.key, Some(&stored))?;
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
        let stored = match self.look(record_type, &keys).await? {
            Looked::At(stored) => stored,
            Looked::Gone => return Ok(false),
            // What may be its own is left to it.
            Looked::Unreadable => return Ok(true),
        };
        let contributed = self.contributed(record_type, index, &stored.record)?;
        let holds = |contribution: &Contribution| matches!(contribution, Contribution::Entry { value: due, .. } if due == value);
        Ok(contributed.get(key).is_some_and(holds))
    }
}
