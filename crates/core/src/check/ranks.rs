//! The levels of ranked sets, each compared with the one below, from the lowest on: what a member counts is what lies below it up to the next member.
//!
//! A piece between two members is compared at one version, so that a step may end behind any of them. The repair of a member reads its piece with a conflict; whoever
//! went by a member that goes has to conflict, as where a record takes it along.

use bytes::Bytes;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{ConflictKind, Isolation, RangeRequest, key_after};

use super::aggregates::group_name;
use super::report::FaultKind;
use crate::error::Result;
use crate::index_form::BEHIND_ALL;
use crate::key_form;
use crate::key_space::behind;
use crate::messages::CheckCursor;
use crate::schema::{Index, RecordType};
use crate::tenant::{RankedSet, TenantTransaction};

/// Where a check of a rank index stands: a group, a level of it, and the member from which on it is compared.
struct Stands {
    group: Bytes,
    level: usize,
    from: Bytes,
}

impl Stands {
    fn at_begin(group: Bytes) -> Stands {
        Stands { group, level: 1, from: Bytes::new() }
    }

    fn pack(&self) -> Result<Bytes> {
        let (group, from) = (Element::Bytes(self.group.clone()), Element::Bytes(self.from.clone()));
        Ok(tuple::pack(&[group, (self.level as i64).into(), from])?)
    }

    fn unpack(packed: &Bytes) -> Option<Stands> {
        match &tuple::unpack(packed).ok()?[..] {
            [Element::Bytes(group), Element::Int(level), Element::Bytes(from)] => {
                let level = usize::try_from(*level).ok()?;
                Some(Stands { group: group.clone(), level, from: from.clone() })
            }
            _ => None,
        }
    }
}

impl TenantTransaction {
    /// Compares a part of a level with the one below it. Returns whether it was the last.
    pub(super) async fn check_ranks(
        &self,
        record_type: &RecordType,
        index: &Index,
        repairs: bool,
        cursor: &mut CheckCursor,
        rows_max: usize,
    ) -> Result<bool> {
        let stands = match cursor.after.as_ref().and_then(Stands::unpack) {
            Some(stands) => Some(stands),
            None => self.next_group(index, None).await?.map(Stands::at_begin),
        };
        let Some(Stands { group, level, from }) = stands else { return Ok(true) };
        let set = RankedSet::new(self.fenced_transaction(), &self.tenant().keys, index.id, &group)?;
        let mut compared = set.compare_level(level, &from, rows_max, Isolation::Snapshot).await?;
        if repairs && !compared.faults.is_empty() {
            compared = set.compare_level(level, &from, rows_max, Isolation::Serializable).await?;
        }
        for fault in &compared.faults {
            let kind = match (fault.due, fault.is_stored) {
                (Some(_), false) => FaultKind::Missing,
                (Some(_), true) => FaultKind::Wrong,
                (None, _) => FaultKind::Dangling,
            };
            let name = group_name(index, &behind(&group, &fault.element));
            cursor.found(record_type, &index.name, kind, &format!("level {level}: {name}"));
            if repairs {
                let due = fault.due.map(u64::to_le_bytes);
                self.mend_index(&fault.key, due.as_ref().map(|bytes| &bytes[..]))?;
                if due.is_none() {
                    let key = key_after(&fault.key);
                    let transaction = self.fenced_transaction();
                    transaction.add_conflict_range(&key, &key_after(&key), ConflictKind::Write)?;
                }
                cursor.repaired += 1;
            }
        }
        let next = match compared.next {
            Some(from) => Some(Stands { group, level, from }),
            None if set.has_level(level + 1) => Some(Stands { group, level: level + 1, from: Bytes::new() }),
            None => self.next_group(index, Some(&group)).await?.map(Stands::at_begin),
        };
        cursor.after = next.as_ref().map(Stands::pack).transpose()?;
        Ok(next.is_none())
    }

    /// The first group behind another one, or of all: of those that have entries, or counts.
    async fn next_group(&self, index: &Index, group: Option<&Bytes>) -> Result<Option<Bytes>> {
        let keys = &self.tenant().keys;
        let mut first: Option<Bytes> = None;
        for prefix in [keys.index(index.id)?, keys.rank_sets(index.id)?] {
            let end = behind(&prefix, &[BEHIND_ALL]);
            let mut begin = match group {
                Some(group) => behind(&behind(&prefix, group), &[BEHIND_ALL]),
                None => prefix.clone(),
            };
            while begin < end {
                let request = RangeRequest::new(begin, end.clone()).limit(1);
                let batch = self.engine_range_at(&request, Isolation::Snapshot).await?;
                let Some(row) = batch.rows.into_iter().next() else { break };
                let elements = tuple::unpack(&row.key.slice(prefix.len()..)).unwrap_or_default();
                if let Some(columns) = elements.get(..index.group_columns) {
                    let found = key_form::pack(columns)?;
                    first = Some(first.map_or(found.clone(), |first| first.min(found)));
                    break;
                }
                // No key of a set: the entries were looked at before.
                begin = key_after(&row.key);
            }
        }
        Ok(first)
    }
}
