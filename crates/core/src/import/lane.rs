//! The rows of one tenant on their way, in their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::batch::Batch;
use super::reading::Addressed;
use crate::tenant::Tenant;

/// About how many bytes of rows go into one transaction.
const BATCH_SIZE_BYTES: usize = 1_000_000;
/// How many rows are looked at for one transaction, for each that it takes: the others wait for rows before them.
const LOOKS_PER_ROW: usize = 4;

/// A row with its place in the order of all.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) number: u64,
    pub(super) row: Addressed,
}

/// The rows of a tenant.
pub(super) struct Lane {
    pub(super) tenant: Tenant,
    /// Whether it ever had a row.
    pub(super) is_used: bool,
    /// Those that wait, in their order.
    waiting: VecDeque<Queued>,
    /// The claims of those that are being written, each with the number of its rows.
    held: BTreeMap<u64, u32>,
    /// How many transactions are running.
    running: usize,
}

impl Lane {
    pub(super) fn new(tenant: Tenant) -> Lane {
        Lane { tenant, is_used: false, waiting: VecDeque::new(), held: BTreeMap::new(), running: 0 }
    }

    /// The rows that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The number of the first row that waits.
    pub(super) fn first(&self) -> Option<u64> {
        self.waiting.front().map(|queued| queued.number)
    }

    pub(super) fn push(&mut self, queued: Queued) {
        self.waiting.push_back(queued);
    }

    /// Takes rows for a transaction: the first ones, but for those that have a claim in common with a row before them that is being written, or waits for one that is. None if there are
    /// no such rows. Of a lane that is serial one transaction runs at a time, and its rows are taken as they come.
    pub(super) fn take(&mut self, rows_max: usize, is_serial: bool) -> Option<Batch> {
        if is_serial && self.running > 0 {
            return None;
        }
        let (mut rows, mut passed) = (Vec::new(), Vec::new());
        let mut blocked = BTreeSet::new();
        let mut size_bytes = 0;
        let mut looks = rows_max.saturating_mul(LOOKS_PER_ROW);
        while rows.len() < rows_max && looks > 0 {
            looks -= 1;
            let Some(queued) = self.waiting.pop_front() else { break };
            let claims = &queued.row.claims;
            if claims.iter().any(|claim| self.held.contains_key(claim) || blocked.contains(claim)) {
                blocked.extend(claims.iter().copied());
                passed.push(queued);
                continue;
            }
            size_bytes += queued.row.size_bytes;
            // At least one, whatever its size.
            if size_bytes > BATCH_SIZE_BYTES && !rows.is_empty() {
                self.waiting.push_front(queued);
                break;
            }
            rows.push(queued);
        }
        passed.into_iter().rev().for_each(|queued| self.waiting.push_front(queued));
        if rows.is_empty() {
            return None;
        }
        for claim in rows.iter().flat_map(|queued| &queued.row.claims) {
            *self.held.entry(*claim).or_default() += 1;
        }
        self.running += 1;
        Some(Batch::new(rows, is_serial))
    }

    /// A transaction has ended: `rows` are those that it had.
    pub(super) fn release(&mut self, rows: &[Queued]) {
        self.running -= 1;
        for claim in rows.iter().flat_map(|queued| &queued.row.claims) {
            if let Some(count) = self.held.get_mut(claim) {
                *count -= 1;
                if *count == 0 {
                    self.held.remove(claim);
                }
            }
        }
    }

    /// Rows that were taken and have to go again.
    pub(super) fn put_back(&mut self, rows: impl IntoIterator<Item = Queued>) {
        self.waiting.extend(rows);
        self.waiting.make_contiguous().sort_by_key(|queued| queued.number);
    }
}
