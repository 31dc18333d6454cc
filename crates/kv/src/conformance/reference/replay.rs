//! What a list of operations makes of a state: by doing them one after another.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Fault;
use crate::atomic::MutationType;
use crate::conflict_range::{KeyRange, key_after};
use crate::limits::APPEND_IF_FITS_BYTES_MAX;
use crate::versionstamp::{Versionstamp, VersionstampOffset};

/// An operation as it was issued.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Set { key: Bytes, value: Bytes },
    Clear { begin: Bytes, end: Bytes },
    Atomic { mutation: MutationType, key: Bytes, operand: Bytes, unreadable: Option<KeyRange> },
}

/// A key in the transaction's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Absent,
    Value(Bytes),
    Unreadable(Bytes),
}

fn apply(fault: Option<Fault>, mutation: MutationType, old: Option<&Bytes>, operand: &[u8]) -> Option<Bytes> {
    match (fault, mutation, old) {
        (Some(Fault::AddKeepsOldLength), MutationType::Add, Some(old)) => {
            let mut padded = operand.to_vec();
            padded.resize(old.len(), 0);
            mutation.apply(Some(old), &padded)
        }
        (Some(Fault::AndOnAbsentGivesZeros), MutationType::BitAnd, None)
        | (Some(Fault::MinOnAbsentGivesZero), MutationType::Min, None) => Some(vec![0; operand.len()].into()),
        _ => mutation.apply(old, operand),
    }
}

/// The operations with appends to one key, one right after the other, made one.
fn joined(operations: &[Operation]) -> Vec<Operation> {
    let mut result: Vec<Operation> = Vec::new();
    for operation in operations {
        if let (
            Some(Operation::Atomic {
                mutation: MutationType::AppendIfFits, key: last, operand: whole, ..
            }),
            Operation::Atomic { mutation: MutationType::AppendIfFits, key, operand, .. },
        ) = (result.last_mut(), operation)
            && last == key
            && whole.len() + operand.len() <= APPEND_IF_FITS_BYTES_MAX
        {
            *whole = [whole.as_ref(), operand.as_ref()].concat().into();
            continue;
        }
        result.push(operation.clone());
    }
    result
}

/// What the transaction sees of the keys that exist in the snapshot or that it wrote itself.
pub(super) fn view(
    snapshot: &BTreeMap<Bytes, Bytes>,
    operations: &[Operation],
    fault: Option<Fault>,
) -> BTreeMap<Bytes, Cell> {
    let mut cells: BTreeMap<Bytes, Cell> =
        snapshot.iter().map(|(key, value)| (key.clone(), Cell::Value(value.clone()))).collect();
    for operation in joined(operations) {
        match operation {
            Operation::Set { key, value } => {
                let cell = match cells.get(&key) {
                    Some(Cell::Unreadable(_)) => Cell::Unreadable(value),
                    _ => Cell::Value(value),
                };
                cells.insert(key, cell);
            }
            Operation::Clear { begin, end } => {
                if fault != Some(Fault::OwnClearNotSeen) || KeyRange::of_key(&begin).end == end {
                    for (_, cell) in cells.range_mut(begin..end) {
                        *cell = Cell::Absent;
                    }
                }
            }
            Operation::Atomic { mutation: MutationType::SetVersionstampedKey, .. } => {}
            Operation::Atomic { mutation: MutationType::SetVersionstampedValue, key, operand, .. } => {
                cells.insert(key, Cell::Unreadable(operand));
            }
            Operation::Atomic { mutation, key, operand, .. } => {
                let cell = match cells.get(&key) {
                    Some(Cell::Unreadable(old)) => {
                        apply(fault, mutation, Some(old), &operand).map_or(Cell::Absent, Cell::Unreadable)
                    }
                    Some(Cell::Value(old)) => {
                        apply(fault, mutation, Some(old), &operand).map_or(Cell::Absent, Cell::Value)
                    }
                    _ => apply(fault, mutation, None, &operand).map_or(Cell::Absent, Cell::Value),
                };
                cells.insert(key, cell);
            }
        }
    }
    cells
}

/// The ranges that a versionstamped key makes unreadable, as later clears have left them.
pub(super) fn unreadable_ranges(operations: &[Operation]) -> Vec<KeyRange> {
    let mut ranges: Vec<KeyRange> = Vec::new();
    for operation in operations {
        match operation {
            Operation::Atomic { unreadable: Some(range), .. } => ranges.push(range.clone()),
            Operation::Clear { begin, end } => {
                let cut = |range: KeyRange| {
                    let left = KeyRange::new(range.begin.clone(), range.end.clone().min(begin.clone()));
                    let right = KeyRange::new(range.begin.max(end.clone()), range.end);
                    [left, right]
                };
                ranges = ranges.into_iter().flat_map(cut).filter(|range| !range.is_empty()).collect();
            }
            _ => {}
        }
    }
    ranges
}

/// Whether the transaction itself decided what `key` is, so that reading it cannot conflict.
fn is_determined(operations: &[Operation], at: &[u8]) -> bool {
    let (mut is_determined, mut is_touched) = (false, false);
    for operation in operations {
        match operation {
            Operation::Set { key, .. } if key == at => (is_determined, is_touched) = (true, true),
            Operation::Clear { begin, end } if begin.as_ref() <= at && at < end.as_ref() => {
                (is_determined, is_touched) = (true, true);
            }
            Operation::Atomic { mutation: MutationType::SetVersionstampedKey, .. } => {}
            Operation::Atomic { mutation, key, .. } if key == at => {
                if *mutation == MutationType::SetVersionstampedValue && !is_touched {
                    is_determined = true;
                }
                is_touched = true;
            }
            _ => {}
        }
    }
    is_determined
}

/// The parts of `range` that the transaction did not decide itself.
pub(super) fn undetermined(operations: &[Operation], range: &KeyRange) -> Vec<KeyRange> {
    // Between two neighbouring boundaries every key has the same answer.
    let mut boundaries = vec![range.begin.clone(), range.end.clone()];
    for operation in operations {
        match operation {
            Operation::Set { key, .. } | Operation::Atomic { key, .. } => {
                boundaries.extend([key.clone(), key_after(key)]);
            }
            Operation::Clear { begin, end } => boundaries.extend([begin.clone(), end.clone()]),
        }
    }
    boundaries.retain(|boundary| range.begin <= *boundary && *boundary <= range.end);
    boundaries.sort();
    boundaries.dedup();
    boundaries
        .windows(2)
        .filter(|pair| !is_determined(operations, &pair[0]))
        .map(|pair| KeyRange::new(pair[0].clone(), pair[1].clone()))
        .collect()
}

/// What the operations make of the newest state at the commit; the keys that got the stamp.
pub(super) fn commit(
    state: &mut BTreeMap<Bytes, Bytes>,
    operations: &[Operation],
    stamp: Versionstamp,
    fault: Option<Fault>,
) -> Vec<Bytes> {
    let mut stamped = Vec::new();
    let fill = |bytes: &Bytes| match VersionstampOffset::parse(bytes) {
        Ok(offset) => Bytes::from(offset.fill(stamp.as_bytes())),
        Err(_) => bytes.clone(),
    };
    for operation in joined(operations) {
        match operation {
            Operation::Set { key, value } => {
                state.insert(key, value);
            }
            Operation::Clear { begin, end } => {
                let gone: Vec<Bytes> = state.range(begin..end).map(|(key, _)| key.clone()).collect();
                gone.iter().for_each(|key| drop(state.remove(key)));
            }
            Operation::Atomic { mutation: MutationType::SetVersionstampedKey, key, operand, .. } => {
                stamped.push(fill(&key));
                state.insert(fill(&key), operand);
            }
            Operation::Atomic { mutation: MutationType::SetVersionstampedValue, key, operand, .. } => {
                state.insert(key, fill(&operand));
            }
            Operation::Atomic { mutation, key, operand, .. } => {
                match apply(fault, mutation, state.get(&key), &operand) {
                    Some(value) => state.insert(key, value),
                    None => state.remove(&key),
                };
            }
        }
    }
    stamped
}
