//! A level of a ranked set beside the one below it.

use std::collections::BTreeMap;

use bytes::Bytes;
use tenantry_kv::{Isolation, KeyValue, RangeRequest, key_after};

use super::{BEHIND_ALL, LEVELS, RankedSet, count_of, member_levels};
use crate::error::Result;

/// A part of a level, compared.
pub(crate) struct ComparedLevel {
    pub(crate) faults: Vec<LevelFault>,
    /// The member to go on from; none at the level's end.
    pub(crate) next: Option<Bytes>,
}

/// A member that does not count what is below it, that should be there, or that should not.
pub(crate) struct LevelFault {
    pub(crate) key: Bytes,
    /// Empty for the begin.
    pub(crate) element: Bytes,
    pub(crate) due: Option<u64>,
    pub(crate) is_stored: bool,
}

impl RankedSet<'_> {
    pub(crate) fn has_level(&self, level: usize) -> bool {
        level < LEVELS
    }

    /// Compares a level with the one below, from a member or the begin on, over about so many rows of the level below.
    pub(crate) async fn compare_level(
        &self,
        level: usize,
        from: &[u8],
        rows_max: usize,
        isolation: Isolation,
    ) -> Result<ComparedLevel> {
        let (mut due, next) = self.due(level, from, rows_max, isolation).await?;
        let end = self.key(level, next.as_deref().unwrap_or(BEHIND_ALL));
        let stored = self.read(self.key(level, from), end, usize::MAX, isolation).await?;
        let mut faults = Vec::new();
        for KeyValue { key, value } in stored {
            let element = key.slice(self.level(level).len()..);
            let due = due.remove(&element);
            if due.is_none() || count_of(&value).ok() != due {
                faults.push(LevelFault { key, element, due, is_stored: true });
            }
        }
        for (element, count) in due {
            let key = self.key(level, &element);
            faults.push(LevelFault { key, element, due: Some(count), is_stored: false });
        }
        Ok(ComparedLevel { faults, next })
    }

    /// What the members of a level have to count, of whole pieces alone, and the first member behind them.
    async fn due(
        &self,
        level: usize,
        from: &[u8],
        rows_max: usize,
        isolation: Isolation,
    ) -> Result<(BTreeMap<Bytes, u64>, Option<Bytes>)> {
        let below = level.saturating_sub(1);
        let (mut begin, end) = (self.key(below, from), self.key(below, BEHIND_ALL));
        let mut due = BTreeMap::new();
        let mut member = Bytes::copy_from_slice(from);
        let mut counted = 0_u64;
        let mut rows = 0;
        loop {
            let request = RangeRequest::new(begin, end.clone()).limit(rows_max.max(1));
            let batch = self.transaction.get_range(&request, isolation).await?;
            for row in &batch.rows {
                let element = row.key.slice(self.level(below).len()..);
                if element != member && !element.is_empty() && member_levels(&element) >= level {
                    close(&mut due, std::mem::replace(&mut member, element), std::mem::take(&mut counted));
                }
                // What cannot be read was told of the level below.
                counted += if below == 0 { 1 } else { count_of(&row.value).unwrap_or(0) };
                rows += 1;
            }
            match batch.rows.last().filter(|_| batch.more) {
                None => break,
                Some(_) if rows >= rows_max && member != *from => return Ok((due, Some(member))),
                Some(last) => begin = key_after(&last.key),
            }
        }
        close(&mut due, member, counted);
        Ok((due, None))
    }
}

/// A member counts itself at least; a begin that counts nothing has no key.
fn close(due: &mut BTreeMap<Bytes, u64>, member: Bytes, counted: u64) {
    if counted > 0 {
        due.insert(member, counted);
    }
}
