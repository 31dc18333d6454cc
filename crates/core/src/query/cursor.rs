//! The records of a plan, one after another, each with the place to go on behind it.

use std::cmp::Ordering;
use std::collections::VecDeque;

use bytes::Bytes;
use prost::Message;
use tenantry_kv::tuple;

use super::plan::{Plan, Request, Shape, SortColumn};
use super::scan::{Entry, Reads, Scan};
use crate::error::Result;
use crate::expression::Expression;
use crate::index_form;
use crate::key_space::behind;
use crate::record::Record;
use crate::tenant::TenantTransaction;

/// Where a plan has come to: one place for each of its scans.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Position {
    #[prost(message, repeated, tag = "1")]
    places: Vec<Place>,
}

#[derive(Clone, PartialEq, Message)]
struct Place {
    /// The last entry that was taken; none yet, if it is absent.
    #[prost(bytes = "bytes", optional, tag = "1")]
    at: Option<Bytes>,
    #[prost(bool, tag = "2")]
    is_done: bool,
}

/// A record that a plan came to.
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) size_bytes: usize,
    /// Sorts as the order asks, and then by the primary key. Empty where the path gives the order.
    pub(super) sort_key: Bytes,
    at: Bytes,
    /// Whether an earlier entry of the same scan stands for it.
    is_repeated: bool,
}

pub(super) struct Cursor<'a> {
    branches: Vec<BranchCursor<'a>>,
    is_merged: bool,
    /// What the records are to be sorted by; nothing where they come as they are.
    order: Option<&'a [SortColumn]>,
    pub(super) reads: Reads,
    /// How many entries are behind it.
    pub(super) behind: usize,
}

struct BranchCursor<'a> {
    source: Source<'a>,
    condition: Option<&'a Expression>,
    waiting: VecDeque<Found>,
    at: Option<Bytes>,
    /// What is behind us as soon as nothing waits any more: entries that only one side of an intersection has, and how many they are.
    passed: Option<Bytes>,
    passed_count: usize,
    is_done: bool,
}

enum Source<'a> {
    Scan(Scan<'a>),
    Both(Box<Both<'a>>),
}

/// Two scans whose entries come in the order of the primary key.
struct Both<'a> {
    one: Scan<'a>,
    other: Scan<'a>,
    of_one: VecDeque<Entry>,
    of_other: VecDeque<Entry>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(
        transaction: &'a TenantTransaction,
        request: &'a Request<'a, '_>,
        plan: &'a Plan<'a>,
        position: Option<&Position>,
    ) -> Result<Cursor<'a>> {
        let scan = |plan| Scan::new(transaction, request, plan);
        let branch = |source, condition| BranchCursor {
            source,
            condition,
            waiting: VecDeque::new(),
            at: None,
            passed: None,
            passed_count: 0,
            is_done: false,
        };
        let mut branches = match &plan.shape {
            Shape::Scan(plan) => vec![branch(Source::Scan(scan(plan)?), None)],
            Shape::Union { branches, .. } => {
                let open = branches
                    .iter()
                    .map(|part| Ok(branch(Source::Scan(scan(&part.scan)?), Some(&part.condition))));
                open.collect::<Result<_>>()?
            }
            Shape::Intersection(one, other) => {
                let (one, other) = (scan(one)?, scan(other)?);
                let both = Both { one, other, of_one: VecDeque::new(), of_other: VecDeque::new() };
                vec![branch(Source::Both(Box::new(both)), None)]
            }
        };
        for (branch, place) in branches.iter_mut().zip(position.iter().flat_map(|position| &position.places))
        {
            branch.is_done = place.is_done;
            if let Some(at) = &place.at {
                branch.go_behind(at);
            }
        }
        branches.iter_mut().filter(|branch| !branch.is_done).for_each(BranchCursor::settle);
        let is_merged = matches!(plan.shape, Shape::Union { is_merged: true, .. });
        Ok(Cursor {
            branches,
            is_merged,
            order: (is_merged || plan.is_sorted).then_some(&request.order[..]),
            reads: Reads::default(),
            behind: 0,
        })
    }

    /// Where the cursor has come to.
    pub(super) fn position(&self) -> Position {
        let place = |branch: &BranchCursor<'_>| {
            let passed = branch.passed.as_ref().filter(|_| branch.waiting.is_empty());
            Place { at: passed.or(branch.at.as_ref()).cloned(), is_done: branch.is_done }
        };
        Position { places: self.branches.iter().map(place).collect() }
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.branches.iter().all(|branch| branch.is_done)
    }

    /// Reads on until there is something to take, or one step has been made.
    pub(super) async fn fill(&mut self, rows_max: usize) -> Result<()> {
        for branch in &mut self.branches {
            if !branch.is_done && branch.waiting.is_empty() {
                branch.fill(rows_max, self.order, &mut self.reads).await?;
                self.behind += branch.take_passed();
                // In a merge every branch has to show its first record.
                if !self.is_merged {
                    return Ok(());
                }
            } else if !branch.is_done && !self.is_merged {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next record that is there. `None` if there is more to be read first, or nothing left. What several branches have is shown once.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let place = match self.is_merged {
            false => self.branches.iter().position(|branch| !branch.is_done)?,
            true => {
                if self.branches.iter().any(|branch| !branch.is_done && branch.waiting.is_empty()) {
                    return None;
                }
                let fronts = self.branches.iter().enumerate();
                let fronts = fronts.filter_map(|(place, branch)| Some((place, branch.waiting.front()?)));
                fronts.min_by(|(_, one), (_, other)| one.sort_key.cmp(&other.sort_key))?.0
            }
        };
        let (earlier, rest) = self.branches.split_at_mut(place);
        let branch = rest.first_mut()?;
        let found = branch.waiting.pop_front()?;
        branch.at = Some(found.at.clone());
        branch.settle();
        self.behind += 1 + branch.take_passed();
        let holds = |condition: &Expression| condition.holds(&found.record.values);
        // A branch looks at more than its condition says, and what fits another branch alone is shown there.
        let is_elsewhere = found.is_repeated
            || !branch.condition.is_none_or(holds)
            || earlier.iter().any(|earlier| earlier.condition.is_some_and(holds));
        Some(if is_elsewhere { Taken::Elsewhere } else { Taken::Record(found) })
    }
}

/// What came next.
pub(super) enum Taken {
    Record(Found),
    /// A record that another entry shows, or another branch.
    Elsewhere,
}

impl BranchCursor<'_> {
    fn go_behind(&mut self, at: &Bytes) {
        self.at = Some(at.clone());
        match &mut self.source {
            Source::Scan(scan) => scan.skip_behind(at),
            Source::Both(both) => {
                let next = behind(at, &[0]);
                both.one.skip_to_key(&next);
                both.other.skip_to_key(&next);
            }
        }
    }

    /// How many entries without a record are behind us since it was asked last. Those behind a record that waits are not yet: a page that ended with them would stand
    /// where it began.
    fn take_passed(&mut self) -> usize {
        if self.waiting.is_empty() { std::mem::take(&mut self.passed_count) } else { 0 }
    }

    /// Reads on.
    async fn fill(&mut self, rows_max: usize, order: Option<&[SortColumn]>, reads: &mut Reads) -> Result<()> {
        let is_both = matches!(self.source, Source::Both(_));
        let (entries, scan) = match &mut self.source {
            Source::Scan(scan) => (scan.step(rows_max, reads).await?, &*scan),
            Source::Both(both) => {
                let entries;
                let count;
                (entries, self.passed, count) = both.step(rows_max, reads).await?;
                self.passed_count += count;
                (entries, &both.one)
            }
        };
        let loads = scan.load(&entries, reads)?;
        for (mut entry, load) in entries.into_iter().zip(loads) {
            let packed = entry.keys.packed.clone();
            let at = if is_both { packed.clone() } else { entry.at.clone() };
            let word = entry.word.take();
            let (record, size_bytes) = scan.record(entry, load, reads).await?;
            let sort_key =
                order.map(|order| sort_key(&record, order, &packed)).transpose()?.unwrap_or_default();
            let is_repeated = word.is_some_and(|word| scan.has_lesser_word(&word, &record));
            self.waiting.push_back(Found { record, size_bytes, sort_key, at, is_repeated });
        }
        self.settle();
        Ok(())
    }

    fn settle(&mut self) {
        let is_exhausted = match &self.source {
            Source::Scan(scan) => scan.is_exhausted,
            Source::Both(both) => both.is_exhausted(),
        };
        self.is_done = is_exhausted && self.waiting.is_empty();
    }
}

impl Both<'_> {
    fn is_exhausted(&self) -> bool {
        (self.one.is_exhausted && self.of_one.is_empty())
            || (self.other.is_exhausted && self.of_other.is_empty())
    }

    /// The entries that both have, from one step of each; the last key that is behind us although only one of them has it; and how many such there are.
    async fn step(
        &mut self,
        rows_max: usize,
        reads: &mut Reads,
    ) -> Result<(Vec<Entry>, Option<Bytes>, usize)> {
        if self.of_one.is_empty() {
            self.of_one.extend(self.one.step(rows_max, reads).await?);
        }
        if self.of_other.is_empty() {
            self.of_other.extend(self.other.step(rows_max, reads).await?);
        }
        let (mut both, mut passed, mut count) = (Vec::new(), None, 0);
        while let (Some(one), Some(other)) = (self.of_one.front(), self.of_other.front()) {
            let lesser = match one.keys.packed.cmp(&other.keys.packed) {
                Ordering::Equal => {
                    self.of_other.pop_front();
                    both.extend(self.of_one.pop_front());
                    passed = None;
                    continue;
                }
                Ordering::Less => &mut self.of_one,
                Ordering::Greater => &mut self.of_other,
            };
            passed = lesser.pop_front().map(|entry| entry.keys.packed);
            count += 1;
        }
        // Whoever has nothing left begins at what the other one has.
        match (self.of_one.front(), self.of_other.front()) {
            (None, Some(other)) => self.one.skip_to_key(&other.keys.packed),
            (Some(one), None) => self.other.skip_to_key(&one.keys.packed),
            _ => {}
        }
        Ok((both, passed, count))
    }
}

/// Bytes that sort as the order asks; the primary key makes them unique.
fn sort_key(record: &Record, order: &[SortColumn], primary_key: &[u8]) -> Result<Bytes> {
    let elements = order.iter().map(|sorted| {
        let value = sorted.column.expression.value(&record.values);
        index_form::element(&sorted.column, value.as_deref())
    });
    Ok(behind(&tuple::pack(&elements.collect::<Result<Vec<_>>>()?)?, primary_key))
}
