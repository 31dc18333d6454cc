//! The judge: replays a history in the order of its versionstamps and says what does not fit.
//!
//! 1. Every read is what the model says at the transaction's read version, its own writes included.
//! 2. What a writer read with a conflict is unchanged just before its own commit: nothing it relied on, phantoms included, moved in between.
//! 3. What was acknowledged before a transaction had its read version is visible to it.
//! 4. Every refusal for a conflict is justified by a write, after the read version, into something that was read.
//! 5. The final state is the model's.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use tenantry_kv::{ErrorCode, KeySelector, KeyValue};

use crate::finding::{Oracle, Verdict};
use crate::history::{Ended, History, Operation, Recorded};

pub(crate) type State = BTreeMap<Bytes, Bytes>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Before a writer's commit: are its reads still true?
    Before,
    Apply,
    /// A reader at its version.
    Read,
}

/// Judges a history, and returns the state that it leaves.
pub(crate) fn judge(history: &History) -> Verdict<State> {
    let mut steps: Vec<((i64, u32), Step, usize)> = Vec::new();
    for (number, recorded) in history.transactions.iter().enumerate() {
        steps.push(((recorded.read_version, u32::MAX), Step::Read, number));
        if let Ended::Committed(stamp) = recorded.ended {
            if stamp.version() <= recorded.read_version {
                return Err(Oracle::RealTime.says(format!(
                    "transaction {number} committed at {}, not after its read version {}",
                    stamp.version(),
                    recorded.read_version
                )));
            }
            let at = (stamp.version(), u32::from(stamp.order()));
            steps.push((at, Step::Before, number));
            steps.push((at, Step::Apply, number));
        }
    }
    steps.sort();
    let mut state = State::new();
    let mut last = None;
    for (at, step, number) in steps {
        let recorded = &history.transactions[number];
        match step {
            Step::Before => check_reads(&state, recorded, true).map_err(|what| {
                Oracle::Commits.says(format!("transaction {number}, just before its commit: {what}"))
            })?,
            Step::Read => check_reads(&state, recorded, false).map_err(|what| {
                let version = recorded.read_version;
                Oracle::Reads.says(format!("transaction {number}, at version {version}: {what}"))
            })?,
            Step::Apply => {
                if last == Some(at) {
                    let what = format!("transaction {number} has the stamp of another: {at:?}");
                    return Err(Oracle::Durability.says(what));
                }
                last = Some(at);
                recorded.operations.iter().for_each(|operation| apply(&mut state, operation));
            }
        }
    }
    check_real_time(history)?;
    check_conflicts(history)?;
    Ok(state)
}

fn apply(state: &mut State, operation: &Operation) {
    match operation {
        Operation::Set { key, value } => drop(state.insert(key.clone(), value.clone())),
        Operation::ClearRange { begin, end } if begin < end => {
            let gone: Vec<Bytes> = rows(state, begin, end).map(|(key, _)| key.clone()).collect();
            gone.iter().for_each(|key| drop(state.remove(key)));
        }
        Operation::Atomic { mutation, key, operand } => {
            match mutation.apply(state.get(key), operand) {
                Some(value) => drop(state.insert(key.clone(), value)),
                None => drop(state.remove(key)),
            };
        }
        _ => {}
    }
}

fn rows<'a>(
    state: &'a State,
    begin: &Bytes,
    end: &Bytes,
) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> {
    let end = end.max(begin);
    state.range::<[u8], _>((Bound::Included(begin.as_ref()), Bound::Excluded(end.as_ref())))
}

/// Whether the reads of a transaction are those of `state`; with `is_commit` only those that it conflicts on.
fn check_reads(state: &State, recorded: &Recorded, is_commit: bool) -> Result<(), String> {
    let mut own = state.clone();
    for operation in &recorded.operations {
        match operation {
            Operation::Get { key, is_snapshot, found } if !(is_commit && *is_snapshot) => {
                if own.get(key) != found.as_ref() {
                    return Err(format!("{key:?} was read as {found:?}, it is {:?}", own.get(key)));
                }
            }
            Operation::Range { begin, end, reverse, is_snapshot, rows: found, more }
                if !(is_commit && *is_snapshot) =>
            {
                let mut expected: Vec<KeyValue> = rows(&own, begin, end)
                    .map(|(key, value)| KeyValue { key: key.clone(), value: value.clone() })
                    .collect();
                if *reverse {
                    expected.reverse();
                }
                if *more {
                    expected.truncate(found.len());
                }
                if expected != *found {
                    return Err(format!(
                        "the range {begin:?} to {end:?} was read as {found:?}, it is {expected:?}"
                    ));
                }
            }
            Operation::Selector { selector, is_snapshot, found } if !(is_commit && *is_snapshot) => {
                let expected = selected(&own, selector);
                if expected.as_ref() != Some(found).filter(|found| is_modelled(found)) {
                    return Err(format!("{selector:?} was resolved to {found:?}, it is {expected:?}"));
                }
            }
            operation => apply(&mut own, operation),
        }
    }
    Ok(())
}

/// Whether a key is one of those that the history tells everything about.
fn is_modelled(key: &[u8]) -> bool {
    key.starts_with(b"k")
}

/// The key that a selector finds, if it is one that the model knows of.
fn selected(state: &State, selector: &KeySelector) -> Option<Bytes> {
    let bound = match selector.or_equal {
        true => Bound::Excluded(selector.key.as_ref()),
        false => Bound::Included(selector.key.as_ref()),
    };
    let at_or_behind = state.range::<[u8], _>((Bound::Unbounded, invert(bound))).count() as i64;
    let index = at_or_behind + i64::from(selector.offset) - 1;
    state.keys().nth(usize::try_from(index).ok()?).cloned()
}

/// The end of what lies before a bound.
fn invert(begin: Bound<&[u8]>) -> Bound<&[u8]> {
    match begin {
        Bound::Included(key) => Bound::Excluded(key),
        Bound::Excluded(key) => Bound::Included(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// What was acknowledged before somebody had a read version lies at or below it.
fn check_real_time(history: &History) -> Verdict {
    let mut events: Vec<(u64, bool, i64, usize)> = Vec::new();
    for (number, recorded) in history.transactions.iter().enumerate() {
        events.push((recorded.read_at, true, recorded.read_version, number));
        if let Ended::Committed(stamp) = recorded.ended {
            events.push((recorded.ended_at, false, stamp.version(), number));
        }
    }
    events.sort();
    let mut acknowledged = (0, 0);
    for (_, is_read, version, number) in events {
        if !is_read {
            acknowledged = acknowledged.max((version, number));
        } else if version < acknowledged.0 {
            return Err(Oracle::RealTime.says(format!(
                "transaction {number} reads at {version}, though transaction {} was acknowledged before at {}",
                acknowledged.1, acknowledged.0
            )));
        }
    }
    Ok(())
}

/// Every 1020 has a write into something that was read.
fn check_conflicts(history: &History) -> Verdict {
    for (number, recorded) in history.transactions.iter().enumerate() {
        // What lies beyond the modelled keys may have been written by somebody the history does not know.
        let looks_beyond = |operation: &Operation| matches!(operation, Operation::Selector { is_snapshot: false, found, .. } if !is_modelled(found));
        if recorded.ended != Ended::Failed(ErrorCode::NOT_COMMITTED)
            || recorded.operations.iter().any(looks_beyond)
        {
            continue;
        }
        let is_justified = history.transactions.iter().any(|other| {
            let counts = match other.ended {
                Ended::Committed(stamp) => stamp.version() > recorded.read_version,
                Ended::Open | Ended::Unknown => true,
                // It had been let in, and then there was no room, or the disk failed, or the power.
                Ended::Failed(code) => code == ErrorCode::DISK_FULL || code == ErrorCode::OPERATION_CANCELLED,
                Ended::ReadOnly => false,
            };
            let reads = || recorded.operations.iter().filter_map(read_range);
            let mut writes = other.operations.iter().filter_map(write_range);
            counts && writes.any(|write| reads().any(|read| read.0 < write.1 && write.0 < read.1))
        });
        if !is_justified {
            return Err(Oracle::Conflicts.says(format!(
                "transaction {number} was refused for a conflict, but nobody wrote what it read: {:?}",
                recorded.operations
            )));
        }
    }
    Ok(())
}

fn read_range(operation: &Operation) -> Option<(Bytes, Bytes)> {
    match operation {
        Operation::Get { key, is_snapshot: false, .. } => Some((key.clone(), after(key))),
        Operation::Range { begin, end, is_snapshot: false, .. } => Some((begin.clone(), end.clone())),
        Operation::AddReadConflict { begin, end } => Some((begin.clone(), end.clone())),
        Operation::Selector { selector, is_snapshot: false, found } => {
            Some((selector.key.clone().min(found.clone()), after(&selector.key.clone().max(found.clone()))))
        }
        _ => None,
    }
}

fn write_range(operation: &Operation) -> Option<(Bytes, Bytes)> {
    match operation {
        Operation::Set { key, .. } | Operation::Atomic { key, .. } => Some((key.clone(), after(key))),
        Operation::ClearRange { begin, end } | Operation::AddWriteConflict { begin, end } => {
            Some((begin.clone(), end.clone()))
        }
        _ => None,
    }
}

fn after(key: &Bytes) -> Bytes {
    [key.as_ref(), &[0]].concat().into()
}
