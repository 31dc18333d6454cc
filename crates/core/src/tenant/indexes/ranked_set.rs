//! Ranked sets: elements in the order of their bytes, with the position of each and the element at each position in a logarithmic number of keys.
//!
//! A skip list. Level 0 has every element; a higher level has those whose hash ends in a zero nibble more, a sixteenth of the level below, and before them
//! the level's begin. Each member of a level, and the begin, has the number of elements from it (with it) up to the next member. A begin that counts
//! nothing has no key, so that an empty set has none.
//!
//! What a change of an element does on a level, where *before* is the last member before it, or the begin:
//!
//! - The element is no member: one is added to *before*, or taken from it, without reading the count.
//! - The element becomes a member: the count of *before* is split. It is read, and so are the counts below from *before* to the element.
//! - A member goes: its count is read, and added to *before*.
//!
//! Two transactions must not commit side by side if one has made untrue what the other one went by. *Before* is found by a snapshot read, so that those who
//! only add do not conflict on its count. What they go by is that it is still the last one:
//!
//! - nobody became a member behind it: everything behind *before* up to the element is a read conflict range, and a new member is a write in it;
//! - it is still there: its own key cannot be in that range, since every addition writes it. A member that goes is therefore also a write conflict on the
//!   key right behind its own (a zero byte more), which is the first key of that range.
//!
//! A split reads the count of *before*, and so conflicts with everybody who added to it and committed first. Who adds to it and commits later is either
//! before the new member, and right to add to *before*, or behind it, and has it in its range. A member that goes reads its own count the same way, and
//! conflicts by the key behind its own with those who add to it later; whoever adds to *before* need not know of it. The elements that a split counts lie in pieces:
//! on level 0 from the last member of level 1 on, on level 1 from the last member of level 2 up to that one, and so on. An element that comes or goes writes
//! in the piece where it lies: its own entry, or the count of the member before it.
//!
//! All reads of a change come before its writes, and the writes are made at once, so that a change is whole or not there.

use bytes::Bytes;
use tenantry_kv::tuple::Element;
use tenantry_kv::{ConflictKind, Isolation, KeyValue, MutationType, RangeRequest, TransactionRef, key_after};
use twox_hash::XxHash3_64;

use super::super::transaction::{read_size_bytes, write_size_bytes};
use crate::error::{Code, Error, Result};
use crate::key_form;
use crate::key_space::{TenantKeys, behind};

/// Level 0 and those above it: the last one has one of about a million elements.
const LEVELS: usize = 6;
/// How many bits of the hash decide on a level.
const LEVEL_BITS: u32 = 4;
/// How many keys a walk to a position reads at a time: what lies between two members of the level above, on average.
const STEP_ROWS: usize = 16;

/// An element's place: the set and the element.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(super) index: u32,
    /// The packed columns of the group.
    pub(crate) group: Bytes,
    /// The packed columns behind the group's and what else there is of the primary key.
    pub(crate) element: Bytes,
}

impl Place {
    pub(crate) fn new(index: u32, group: &[Element], element: Bytes) -> Result<Place> {
        Ok(Place { index, group: key_form::pack(group)?, element })
    }
}

/// An element that comes or goes.
pub(super) struct RankChange {
    pub(super) place: Place,
    pub(super) is_insert: bool,
}

impl RankChange {
    /// What it makes the engine count, if the keys of the neighbours are no longer than its own.
    pub(super) fn size_bytes(&self, keys: &TenantKeys) -> Result<usize> {
        let begin = keys.rank_level(self.place.index, &self.place.group, 1)?;
        let key = begin.len() + self.place.element.len() + 1;
        let entry = read_size_bytes(key) + write_size_bytes(key, key + 1);
        let level = read_size_bytes(key) + 2 * write_size_bytes(key, COUNT_SIZE_BYTES);
        let membership = 4 * read_size_bytes(key) + 2 * write_size_bytes(key, key + 1);
        Ok(entry + (LEVELS - 1) * level + member_levels(&self.place.element) * membership)
    }
}

const COUNT_SIZE_BYTES: usize = 8;

/// How many levels above level 0 have the element.
fn member_levels(element: &[u8]) -> usize {
    let zeros = XxHash3_64::oneshot(element).trailing_zeros();
    (zeros / LEVEL_BITS).min(LEVELS as u32 - 1) as usize
}

/// What a change writes, once everything has been read.
enum LevelWrite {
    Add {
        key: Bytes,
        change: i64,
        is_begin: bool,
    },
    Set(Bytes, u64),
    Clear(Bytes),
    /// Who went by the member of this key has to conflict.
    Gone(Bytes),
}

/// One set in a transaction.
pub(crate) struct RankedSet<'a> {
    transaction: &'a TransactionRef,
    /// What the keys of each level begin with; behind it stands the element, or nothing for the begin.
    levels: Vec<Bytes>,
}

impl<'a> RankedSet<'a> {
    pub(crate) fn new(
        transaction: &'a TransactionRef,
        keys: &TenantKeys,
        index: u32,
        group: &[u8],
    ) -> Result<RankedSet<'a>> {
        let mut levels = vec![behind(&keys.index(index)?, group)];
        for level in 1..LEVELS {
            levels.push(keys.rank_level(index, group, level as u32)?);
        }
        Ok(RankedSet { transaction, levels })
    }

    fn level(&self, level: usize) -> &[u8] {
        self.levels.get(level).map_or(&[], |begin| begin)
    }

    fn key(&self, level: usize, element: &[u8]) -> Bytes {
        behind(self.level(level), element)
    }

    /// Puts an element in, or takes it out. One that is there already, or is not there, changes nothing. Returns by how much the engine may count more than was
    /// expected.
    pub(super) async fn change(&self, element: &[u8], is_insert: bool) -> Result<usize> {
        let entry = self.key(0, element);
        let is_there = self.transaction.get(&entry, Isolation::Serializable).await?.is_some();
        if is_there == is_insert {
            return Ok(0);
        }
        let before = self.members_before(element).await?;
        let members = member_levels(element);
        let mut writes = Vec::new();
        // How many elements there are from the member before on the level up to this one.
        let mut counted = 0;
        for level in 1..LEVELS {
            let (Some(last), key) = (before.get(level), self.key(level, element)) else { continue };
            let last_key = self.key(level, last);
            if level > members {
                let change = if is_insert { 1 } else { -1 };
                writes.push(LevelWrite::Add { key: last_key, change, is_begin: last.is_empty() });
            } else if is_insert {
                let until = before.get(level - 1).filter(|_| level > 1).map_or(element, |below| below);
                counted += self.count_between(level - 1, last, until).await?;
                let whole = self.count(&last_key).await?;
                let rest = whole.checked_sub(counted).ok_or_else(damaged)?;
                match last.is_empty() && counted == 0 {
                    true => writes.push(LevelWrite::Clear(last_key)),
                    false => writes.push(LevelWrite::Set(last_key, counted)),
                }
                writes.push(LevelWrite::Set(key, rest + 1));
            } else {
                let others = self.count(&key).await?.checked_sub(1).ok_or_else(damaged)?;
                let change = i64::try_from(others).map_err(|_| damaged())?;
                writes.push(LevelWrite::Add { key: last_key, change, is_begin: last.is_empty() });
                writes.push(LevelWrite::Gone(key.clone()));
                writes.push(LevelWrite::Clear(key));
            }
        }
        self.write(&entry, is_insert, writes)?;
        let longer = before.iter().map(|last| last.len().saturating_sub(element.len()));
        const TIMES_IN_RANGES_AND_WRITES: usize = 12;
        Ok(longer.sum::<usize>() * TIMES_IN_RANGES_AND_WRITES)
    }

    /// For each level the last member before an element, empty for the begin. Level 0 has none. Conflicts with whoever changes that.
    async fn members_before(&self, element: &[u8]) -> Result<Vec<Bytes>> {
        let reads: Vec<_> = (1..LEVELS)
            .map(|level| {
                let (begin, end) = (self.key(level, &[]), self.key(level, element));
                let request = RangeRequest::new(begin, end).limit(1).reverse(true);
                self.transaction.get_range(&request, Isolation::Snapshot)
            })
            .collect();
        let mut members = vec![Bytes::new()];
        for (level, read) in (1..LEVELS).zip(reads) {
            let last = read.await?.rows.into_iter().next();
            let member = last.map(|row| row.key.slice(self.level(level).len()..)).unwrap_or_default();
            let begin = key_after(&self.key(level, &member));
            let end = key_after(&self.key(level, element));
            self.transaction.add_conflict_range(&begin, &end, ConflictKind::Read)?;
            members.push(member);
        }
        Ok(members)
    }

    /// How many elements there are between two members of a level, or two elements on level 0.
    async fn count_between(&self, level: usize, from: &[u8], until: &[u8]) -> Result<u64> {
        let rows = self.rows(level, from, until, Isolation::Serializable).await?;
        match level {
            0 => Ok(rows.len() as u64),
            _ => rows.iter().map(|row| count_of(&row.value)).sum(),
        }
    }

    async fn count(&self, key: &[u8]) -> Result<u64> {
        match self.transaction.get(key, Isolation::Serializable).await? {
            Some(value) => count_of(&value),
            None => Ok(0),
        }
    }

    fn write(&self, entry: &[u8], is_insert: bool, writes: Vec<LevelWrite>) -> Result<()> {
        match is_insert {
            true => self.transaction.set(entry, &[]),
            false => self.transaction.clear(entry),
        }
        for write in writes {
            match write {
                LevelWrite::Set(key, count) => self.transaction.set(&key, &count.to_le_bytes()),
                LevelWrite::Clear(key) => self.transaction.clear(&key),
                LevelWrite::Gone(key) => {
                    let behind = key_after(&key);
                    self.transaction.add_conflict_range(&behind, &key_after(&behind), ConflictKind::Write)?;
                }
                LevelWrite::Add { key, change, is_begin } if change != 0 => {
                    self.transaction.atomic(MutationType::Add, &key, &change.to_le_bytes());
                    if is_begin && change < 0 {
                        let zero = [0; COUNT_SIZE_BYTES];
                        self.transaction.atomic(MutationType::CompareAndClear, &key, &zero);
                    }
                }
                LevelWrite::Add { .. } => {}
            }
        }
        Ok(())
    }

    /// How many elements are less than `bound`.
    pub(crate) async fn rank(&self, bound: &[u8], isolation: Isolation) -> Result<u64> {
        let mut from = Bytes::new();
        let mut rank = 0;
        for level in (1..LEVELS).rev() {
            let rows = self.rows(level, &from, bound, isolation).await?;
            // What the last one counts goes on behind the bound.
            if let Some((last, passed)) = rows.split_last() {
                for row in passed {
                    rank += count_of(&row.value)?;
                }
                from = last.key.slice(self.level(level).len()..);
            }
        }
        Ok(rank + self.rows(0, &from, bound, isolation).await?.len() as u64)
    }

    /// Whether there is the element.
    pub(crate) async fn contains(&self, element: &[u8], isolation: Isolation) -> Result<bool> {
        Ok(self.transaction.get(&self.key(0, element), isolation).await?.is_some())
    }

    /// How many elements there are.
    pub(crate) async fn count_all(&self, isolation: Isolation) -> Result<u64> {
        let rows = self.rows(LEVELS - 1, &[], BEHIND_ALL, isolation).await?;
        rows.iter().map(|row| count_of(&row.value)).sum()
    }

    /// The elements from a position on.
    pub(crate) async fn at(
        &self,
        position: u64,
        rows_max: usize,
        isolation: Isolation,
    ) -> Result<Vec<Bytes>> {
        let mut from = Bytes::new();
        let mut left = position;
        for level in (1..LEVELS).rev() {
            match self.walk(level, &from, &mut left, isolation).await? {
                Some(member) => from = member,
                None => return Ok(Vec::new()),
            }
        }
        let skipped = usize::try_from(left).map_err(|_| damaged())?;
        let limit = skipped.saturating_add(rows_max);
        let (begin, end) = (self.key(0, &from), self.key(0, BEHIND_ALL));
        let rows = self.read(begin, end, limit, isolation).await?;
        let begin = self.level(0).len();
        Ok(rows.into_iter().skip(skipped).map(|row| row.key.slice(begin..)).collect())
    }

    /// The member of a level whose elements have the one that is `left` behind `from`; `left` becomes its distance from that member.
    async fn walk(
        &self,
        level: usize,
        from: &[u8],
        left: &mut u64,
        isolation: Isolation,
    ) -> Result<Option<Bytes>> {
        let mut begin = self.key(level, from);
        loop {
            let end = self.key(level, BEHIND_ALL);
            let rows = self.read(begin, end, STEP_ROWS, isolation).await?;
            for row in &rows {
                let count = count_of(&row.value)?;
                if *left < count {
                    return Ok(Some(row.key.slice(self.level(level).len()..)));
                }
                *left -= count;
            }
            match rows.last() {
                Some(last) if rows.len() == STEP_ROWS => begin = key_after(&last.key),
                _ => return Ok(None),
            }
        }
    }

    async fn rows(
        &self,
        level: usize,
        from: &[u8],
        until: &[u8],
        isolation: Isolation,
    ) -> Result<Vec<KeyValue>> {
        self.read(self.key(level, from), self.key(level, until), usize::MAX, isolation).await
    }

    async fn read(
        &self,
        mut begin: Bytes,
        end: Bytes,
        rows_max: usize,
        isolation: Isolation,
    ) -> Result<Vec<KeyValue>> {
        let mut rows: Vec<KeyValue> = Vec::new();
        while begin < end && rows.len() < rows_max {
            // Without a limit: 0.
            let limit = if rows_max == usize::MAX { 0 } else { rows_max - rows.len() };
            let request = RangeRequest::new(begin.clone(), end.clone()).limit(limit);
            let batch = self.transaction.get_range(&request, isolation).await?;
            rows.extend(batch.rows);
            match rows.last() {
                Some(last) if batch.more => begin = key_after(&last.key),
                _ => break,
            }
        }
        Ok(rows)
    }
}

/// Behind every element.
const BEHIND_ALL: &[u8] = &[0xff];

fn count_of(value: &[u8]) -> Result<u64> {
    Ok(u64::from_le_bytes(value.try_into().map_err(|_| damaged())?))
}

fn damaged() -> Error {
    Error::new(Code::StoredDataInvalid, "the counts of a rank index do not fit its entries")
}

#[path = "ranked_set_compare.rs"]
mod compare;
#[cfg(test)]
#[path = "ranked_set_tests.rs"]
mod tests;
