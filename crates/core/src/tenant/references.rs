//! References between records: a write finds what it refers to, and a deletion takes along, or sets to null, what refers to it.
//!
//! The record that is referred to is read with a conflict by whoever writes a reference to it, and the place where those that refer to it are found by whoever
//! deletes it: of two that run at a time, one comes too late.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use futures_util::future::try_join_all;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{Isolation, KvFuture, RangeRequest};

use super::records::{Prepared, PreparedWrite, Stored};
use super::transaction::{TenantTransaction, read_size_bytes};
use crate::access::hidden;
use crate::error::{Code, Error, Result, shown};
use crate::index_form;
use crate::key_form;
use crate::key_space::behind;
use crate::limits::{CASCADE_RECORDS_MAX, CASCADE_SIZE_BYTES_MAX};
use crate::record::{PrimaryKey, Record, RecordKeys};
use crate::schema::{OnDelete, RecordType, Reference};
use crate::value::Value;
use crate::violation::Violation;

/// How many records are read side by side: what they take in memory is known only then.
const LOADED_TOGETHER_MAX: usize = 32;

/// A look at what a record refers to, under way.
pub(super) struct Look<'a> {
    reference: &'a Reference,
    target: (&'a RecordType, RecordKeys),
    key: Bytes,
    reading: KvFuture<Option<Bytes>>,
}

impl Look<'_> {
    /// What it makes the engine count.
    pub(super) fn size_bytes(&self) -> usize {
        read_size_bytes(self.key.len())
    }
}

/// A record that a deletion deletes or changes.
struct Affected<'a> {
    record_type: &'a RecordType,
    keys: RecordKeys,
    stored: Stored,
    is_deleted: bool,
    /// The fields that are set to null, if it is not deleted.
    nulls: BTreeSet<&'a str>,
}

/// All that a deletion deletes or changes, by the prefix of the record's keys.
pub(super) struct DeletePlan<'a> {
    affected: BTreeMap<Bytes, Affected<'a>>,
    /// Those that are deleted, in the order in which they were found: the record itself comes first.
    deleted: Vec<Bytes>,
    size_bytes: usize,
}

impl DeletePlan<'_> {
    /// How many records it deletes or changes.
    pub(super) fn len(&self) -> usize {
        self.affected.len()
    }

    /// Whether it deletes the record of these keys.
    pub(super) fn deletes(&self, prefix: &Bytes) -> bool {
        self.affected.get(prefix).is_some_and(|affected| affected.is_deleted)
    }

    /// How many it deletes, the record itself among them.
    pub(super) fn deleted(&self) -> usize {
        self.deleted.len()
    }
}

/// A record that was found, and the error that it makes of a deletion.
pub(super) struct Obstacle<'a> {
    pub(super) record_type: &'a RecordType,
    pub(super) keys: RecordKeys,
    pub(super) error: Error,
}

/// What the deletion of a record would be.
pub(super) enum Outlook<'a> {
    Fits(DeletePlan<'a>),
    /// More than were asked for are deleted or changed. The plan has a part of them; those that refer to this record, which is to be deleted, were too many.
    TooMany(Obstacle<'a>, DeletePlan<'a>),
    /// This record stays and forbids it.
    Restricted(Obstacle<'a>),
}

impl TenantTransaction {
    /// Begins to look for what a record refers to, where that is not what the old one did: that is there, for it is not deleted without this one.
    pub(super) fn look_for_references<'a>(
        &'a self,
        record_type: &'a RecordType,
        keys: &RecordKeys,
        old: Option<&Record>,
        new: &Record,
    ) -> Result<Vec<Look<'a>>> {
        let mut looks = Vec::new();
        for reference in &record_type.references {
            let elements = new.elements(&reference.columns, record_type)?;
            let before = old.map(|old| old.elements(&reference.columns, record_type)).transpose()?;
            if elements.contains(&Element::Nil) || before.as_ref() == Some(&elements) {
                continue;
            }
            let target_type = self.record_type(&reference.to)?;
            let target = self.record_keys(target_type, &elements)?;
            // A record may refer to itself from the first.
            if target.prefix != keys.prefix {
                let key = target.part(0)?;
                let reading = self.get_key(&key, Isolation::Serializable);
                looks.push(Look { reference, target: (target_type, target), key, reading });
            }
        }
        Ok(looks)
    }

    /// Fails unless everything that was looked for is there.
    pub(super) async fn check_references(
        &self,
        record_type: &RecordType,
        looks: Vec<Look<'_>>,
        record: &Record,
    ) -> Result<()> {
        let mut violations = Vec::new();
        for Look { reference, target: (target_type, keys), reading, .. } in looks {
            // One that is not seen is not there.
            if let Some(part) = reading.await?
                && self.shows_stored(target_type, &keys, &part).await?
            {
                continue;
            }
            let values = reference.columns.iter().map(|column| record.get(column).cloned());
            let key = PrimaryKey { values: values.flatten().collect() };
            violations.push(Violation {
                record_type: record_type.name.clone(),
                field: reference.columns.join(", "),
                rule: "references",
                limit: reference.to.clone(),
                detail: format!(
                    "the reference {} names the {} {key}, which is not there",
                    shown(&reference.name),
                    shown(&reference.to)
                ),
            });
        }
        match violations.is_empty() {
            true => Ok(()),
            false => Err(Error::with_violations(Code::ReferenceNotFound, violations, false)),
        }
    }

    /// Whether the deletion of a record of the type can have an effect on others.
    pub(crate) fn is_referred_to(&self, record_type: &RecordType) -> bool {
        self.schema().definition.references_to(&record_type.name).next().is_some()
    }

    /// Deletes a record that is there, and what follows from that.
    pub(super) async fn delete_with_children(
        &self,
        record_type: &RecordType,
        keys: &RecordKeys,
        old: &Stored,
    ) -> Result<()> {
        match self.plan_delete(record_type, keys, old, CASCADE_RECORDS_MAX).await? {
            Outlook::Fits(plan) => self.delete_planned(plan).await,
            Outlook::TooMany(obstacle, _) | Outlook::Restricted(obstacle) => Err(obstacle.error),
        }
    }

    /// Finds everything that the deletion of a record deletes or changes besides it: `others_max` records at the most. Nothing is written.
    pub(super) async fn plan_delete<'a>(
        &'a self,
        record_type: &'a RecordType,
        keys: &RecordKeys,
        old: &Stored,
        others_max: usize,
    ) -> Result<Outlook<'a>> {
        let root = Affected {
            record_type,
            keys: keys.clone(),
            stored: old.clone(),
            is_deleted: true,
            nulls: BTreeSet::new(),
        };
        let mut plan = DeletePlan {
            affected: BTreeMap::from([(keys.prefix.clone(), root)]),
            deleted: vec![keys.prefix.clone()],
            size_bytes: 0,
        };
        let mut queue = VecDeque::from([keys.prefix.clone()]);
        while let Some(prefix) = queue.pop_front() {
            let Some(target) = plan.affected.get(&prefix) else { continue };
            let (target_type, target_keys) = (target.record_type, target.keys.clone());
            let key = target.stored.record.primary_key(target_type)?;
            for (child_type, reference) in self.schema().definition.references_to(&target_type.name) {
                if reference.on_delete == OnDelete::Restrict {
                    continue;
                }
                let children = self.children(child_type, reference, &key, others_max + 2).await?;
                match self.affect(&mut plan, child_type, reference, children, others_max).await? {
                    Some(found) => queue.extend(found),
                    None => {
                        let record_type = target_type;
                        let (keys, error) = (target_keys, too_many(&plan, others_max));
                        return Ok(Outlook::TooMany(Obstacle { record_type, keys, error }, plan));
                    }
                }
            }
        }
        Ok(match self.restricting(&plan).await? {
            Some(obstacle) => Outlook::Restricted(obstacle),
            None => Outlook::Fits(plan),
        })
    }

    /// Takes children into the plan; returns those that are deleted and were not to be before, or nothing if they are too many.
    async fn affect<'a>(
        &self,
        plan: &mut DeletePlan<'a>,
        child_type: &'a RecordType,
        reference: &'a Reference,
        children: Vec<RecordKeys>,
        others_max: usize,
    ) -> Result<Option<Vec<Bytes>>> {
        let unknown = children.iter().filter(|keys| !plan.affected.contains_key(&keys.prefix));
        let unknown: Vec<RecordKeys> = unknown.cloned().collect();
        if plan.affected.len() - 1 + unknown.len() > others_max {
            return Ok(None);
        }
        for chunk in unknown.chunks(LOADED_TOGETHER_MAX) {
            let loads = chunk.iter().map(|keys| self.load(child_type, keys, Isolation::Serializable));
            for (keys, stored) in chunk.iter().zip(try_join_all(loads).await?) {
                let stored = stored.ok_or_else(|| {
                    let detail =
                        format!("an index of {} has a record that is not there", shown(&child_type.name));
                    Error::new(Code::StoredDataInvalid, detail)
                })?;
                plan.size_bytes += stored.size_bytes;
                let (keys, nulls) = (RecordKeys::clone(keys), BTreeSet::new());
                let affected = Affected { record_type: child_type, keys, stored, is_deleted: false, nulls };
                plan.affected.insert(affected.keys.prefix.clone(), affected);
            }
            if plan.size_bytes > CASCADE_SIZE_BYTES_MAX {
                return Ok(None);
            }
        }
        let mut found = Vec::new();
        for keys in children {
            let Some(child) = plan.affected.get_mut(&keys.prefix) else { continue };
            match reference.on_delete {
                OnDelete::Cascade if !child.is_deleted => {
                    child.is_deleted = true;
                    plan.deleted.push(keys.prefix.clone());
                    found.push(keys.prefix);
                }
                OnDelete::SetNull => child.nulls.extend(reference.columns.iter().map(String::as_str)),
                _ => {}
            }
        }
        Ok(Some(found))
    }

    /// The record that stays there and forbids one of the deletions, if there is one.
    async fn restricting<'a>(&'a self, plan: &DeletePlan<'a>) -> Result<Option<Obstacle<'a>>> {
        for prefix in &plan.deleted {
            let Some(target) = plan.affected.get(prefix) else { continue };
            let key = target.stored.record.primary_key(target.record_type)?;
            for (child_type, reference) in self.schema().definition.references_to(&target.record_type.name) {
                if reference.on_delete != OnDelete::Restrict {
                    continue;
                }
                // Of one more than are deleted, one is not.
                let children = self.children(child_type, reference, &key, plan.deleted.len() + 1).await?;
                let stays = |keys: &&RecordKeys| {
                    plan.affected.get(&keys.prefix).is_none_or(|affected| !affected.is_deleted)
                };
                let Some(child) = children.iter().find(stays) else { continue };
                let stored = self.load(child_type, child, Isolation::Serializable).await?;
                if !self.can_name(child_type, stored.as_ref().map(|stored| &stored.record))? {
                    let (record_type, keys) = (child_type, child.clone());
                    return Ok(Some(Obstacle { record_type, keys, error: hidden() }));
                }
                let child_key = match stored {
                    Some(stored) => stored.record.primary_key(child_type)?.to_string(),
                    None => String::new(),
                };
                let detail = format!(
                    "the {} {key} cannot be deleted: the {} {child_key} refers to it by {}, which is to restrict that",
                    shown(&target.record_type.name),
                    shown(&child_type.name),
                    shown(&reference.name)
                );
                let error = Error::new(Code::ReferenceRestricts, detail);
                return Ok(Some(Obstacle { record_type: child_type, keys: child.clone(), error }));
            }
        }
        Ok(None)
    }

    /// Takes the reference out of a record, which then stays.
    pub(super) async fn set_null(
        &self,
        record_type: &RecordType,
        reference: &Reference,
        keys: &RecordKeys,
        stored: &Stored,
    ) -> Result<()> {
        let nulls = reference.columns.iter().map(String::as_str).collect();
        let new = without(&stored.record, &nulls, record_type)?;
        self.replace_record(record_type, keys, Some(stored), Some(&new)).await
    }

    /// The records that refer to a key, found with a conflict: no more than `rows_max`.
    pub(super) async fn children(
        &self,
        child_type: &RecordType,
        reference: &Reference,
        key: &PrimaryKey,
        rows_max: usize,
    ) -> Result<Vec<RecordKeys>> {
        let index = reference.found_by.and_then(|id| child_type.indexes.iter().find(|index| index.id == id));
        let keys = &self.tenant.keys;
        let (prefix, elements) = match index {
            Some(index) => {
                let pairs = index.columns.iter().zip(&key.values);
                let elements = pairs.map(|(column, value)| index_form::element(column, Some(value)));
                let elements = elements.collect::<Result<Vec<_>>>()?;
                let elements = match index.is_hashed {
                    true => vec![self.index_hashes().element(index, &elements)?],
                    false => elements,
                };
                (keys.index(index.id)?, elements)
            }
            None => {
                // Part 0 of what this transaction wrote.
                self.issue_pending();
                let pairs = reference.columns.iter().zip(&key.values);
                let element = |(column, value): (&String, &Value)| {
                    key_form::element(Some(value), &child_type.field(column)?.field_type)
                };
                (keys.records(child_type.id)?, pairs.map(element).collect::<Result<Vec<_>>>()?)
            }
        };
        let mut begin = tuple::pack_after(&prefix, &elements)?;
        let end = behind(&begin, &[index_form::BEHIND_ALL]);
        let mut children = Vec::new();
        loop {
            let request = RangeRequest::new(begin.clone(), end.clone()).limit(rows_max - children.len());
            let batch = self.transaction.get_range(&request, Isolation::Serializable).await?;
            for row in &batch.rows {
                let mut elements = tuple::unpack(&row.key.slice(prefix.len()..))?;
                if let Some(index) = index {
                    let value = self.opened_entry(index, &row.key, row.value.clone()).await?;
                    elements =
                        index_form::primary_key(child_type, index, &elements, &tuple::unpack(&value)?)?;
                } else if elements.pop() != Some(Element::Int(0)) {
                    continue;
                }
                children.push(self.record_keys(child_type, &elements)?);
            }
            match batch.rows.last() {
                Some(last) if batch.more && children.len() < rows_max => begin = behind(&last.key, &[0]),
                _ => return Ok(children),
            }
        }
    }

    /// Does what was planned, or nothing of it.
    pub(super) async fn delete_planned(&self, plan: DeletePlan<'_>) -> Result<()> {
        let mut writes: Vec<(RecordKeys, PreparedWrite)> = Vec::new();
        let mut changes = Vec::new();
        let mut entries = BTreeSet::new();
        let is_too_wide = plan.len() > 1 && !self.has_changes();
        let root = plan.deleted.first().cloned();
        let (mut others, mut last): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for (prefix, affected) in plan.affected {
            if Some(&prefix) == root.as_ref() { last.push(affected) } else { others.push(affected) }
        }
        for Affected { record_type, keys, stored, is_deleted, nulls } in others.into_iter().chain(last) {
            let new = match is_deleted {
                true => None,
                false => Some(without(&stored.record, &nulls, record_type)?),
            };
            let Prepared { change, write } =
                self.prepare(record_type, &keys, Some(&stored), new.as_ref()).await?;
            // Two records that become equal where a unique index allows one: neither is written yet.
            if write.entry_keys().any(|key| !entries.insert(key.clone())) {
                let detail = format!(
                    "two of {} would become equal without what they refer to",
                    shown(&record_type.name)
                );
                return Err(Error::new(Code::UniqueViolation, detail));
            }
            changes.push(change);
            writes.push((keys, write));
        }
        let ordinals = self.changes(changes).map_err(|error| match error.code() {
            Code::LimitPassed if is_too_wide => {
                Error::new(Code::CascadeTooLarge, format!("{}: {WAY_OUT}", error.detail()))
            }
            _ => error,
        })?;
        for ((keys, write), ordinal) in writes.into_iter().zip(ordinals) {
            self.write_prepared(&keys, write, ordinal).await?;
        }
        Ok(())
    }
}

/// What to do where one transaction is too small.
const WAY_OUT: &str = "delete_cascading (the job cascade-delete) takes several, as does delete_all_where for those that refer to it";

fn too_many(plan: &DeletePlan<'_>, others_max: usize) -> Error {
    let root = plan.deleted.first().and_then(|prefix| plan.affected.get(prefix));
    let name = root.map(|root| match root.stored.record.primary_key(root.record_type) {
        Ok(key) => format!("{} {key}", shown(&root.record_type.name)),
        Err(_) => shown(&root.record_type.name),
    });
    let detail = format!(
        "the deletion of {} would delete or change more than {others_max} other records, or more than {CASCADE_SIZE_BYTES_MAX} bytes of them, in one transaction: {WAY_OUT}",
        name.unwrap_or_default()
    );
    Error::new(Code::CascadeTooLarge, detail)
}

/// The record without some fields, if it fits its type so.
fn without(record: &Record, nulls: &BTreeSet<&str>, record_type: &RecordType) -> Result<Record> {
    let mut record = record.clone();
    record.version = None;
    for name in nulls {
        record.remove(name);
    }
    record.check(record_type)?;
    Ok(record)
}
