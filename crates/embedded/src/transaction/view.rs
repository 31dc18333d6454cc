//! The transaction's view: the snapshot with its own writes over it, scanned in order.

use bytes::Bytes;
use tenantry_kv::{ErrorCode, KeyValue, Result, Version};

use super::overlay::{KeyState, Overlay};
use crate::seam::{ScanLimit, Snapshots};

/// How many rows of the snapshot one step of a scan asks for at least and at most.
const STEP_ROWS_MIN: usize = 8;
const STEP_ROWS_MAX: usize = 1_000;
const STEP_BYTES: usize = 1 << 20;

/// What is looked at, and as of when.
pub(super) struct View<'a> {
    pub(super) snapshots: &'a dyn Snapshots,
    pub(super) version: Version,
    /// `None` for a read that sees the database alone.
    pub(super) overlay: Option<&'a Overlay>,
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// There is nothing more in the range.
    Exhausted,
    /// The visitor had enough.
    Stopped,
}

/// Receives rows; false ends the scan.
pub(super) type Visit<'a> = &'a mut dyn FnMut(KeyValue) -> bool;

impl View<'_> {
    /// Visits the rows from `begin` to `end` (exclusive), ascending or descending. `rows_hint` says about how many will be wanted.
    ///
    /// # Errors
    ///
    /// 1036 when the scan comes to an unreadable key; the snapshot's own.
    pub(super) fn scan(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        rows_hint: usize,
        visit: Visit<'_>,
    ) -> Result<Ended> {
        if begin >= end {
            return Ok(Ended::Exhausted);
        }
        let Some(overlay) = self.overlay.filter(|overlay| !overlay.is_empty()) else {
            return self.scan_gap(begin, end, reverse, rows_hint, &Overlay::default(), visit);
        };
        // An unreadable key counts only if the scan gets that far.
        let wall = overlay.first_unreadable(begin, end, reverse);
        let (from, to) = match &wall {
            Some(wall) if reverse => (wall.end.as_ref().max(begin), end),
            Some(wall) => (begin, wall.begin.as_ref().min(end)),
            None => (begin, end),
        };
        match self.scan_readable(from, to, reverse, rows_hint, overlay, visit)? {
            Ended::Exhausted if wall.is_some() => Err(ErrorCode::ACCESSED_UNREADABLE.into()),
            ended => Ok(ended),
        }
    }

    /// Scans gaps between cleared ranges against the snapshot, and cleared ranges in the overlay alone.
    fn scan_readable(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        rows_hint: usize,
        overlay: &Overlay,
        visit: Visit<'_>,
    ) -> Result<Ended> {
        let mut parts: Vec<(Bytes, Bytes, bool)> = Vec::new();
        let mut from = Bytes::copy_from_slice(begin);
        for range in overlay.cleared_in(begin, end) {
            parts.push((from, range.begin.clone(), false));
            parts.push((range.begin, range.end.clone(), true));
            from = range.end;
        }
        parts.push((from, Bytes::copy_from_slice(end), false));
        if reverse {
            parts.reverse();
        }
        for (from, to, is_cleared) in parts {
            if from >= to {
                continue;
            }
            let ended = match is_cleared {
                true => self.visit_own(&from, &to, reverse, overlay, visit),
                false => self.scan_gap(&from, &to, reverse, rows_hint, overlay, visit)?,
            };
            if ended == Ended::Stopped {
                return Ok(ended);
            }
        }
        Ok(Ended::Exhausted)
    }

    /// Visits the transaction's own keys in a range of which the snapshot has nothing.
    fn visit_own(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        overlay: &Overlay,
        visit: Visit<'_>,
    ) -> Ended {
        let mut keys = overlay.keys_in(begin, end);
        while let Some((key, state)) = if reverse { keys.next_back() } else { keys.next() } {
            if let Some(value) = state.value(None)
                && !visit(KeyValue { key: key.clone(), value })
            {
                return Ended::Stopped;
            }
        }
        Ended::Exhausted
    }

    /// Scans a range without cleared parts: steps through the snapshot and merges the transaction's own keys in.
    fn scan_gap(
        &self,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        rows_hint: usize,
        overlay: &Overlay,
        visit: Visit<'_>,
    ) -> Result<Ended> {
        let (mut begin, mut end) = (Bytes::copy_from_slice(begin), Bytes::copy_from_slice(end));
        let mut rows = Vec::new();
        let mut step_rows = rows_hint.clamp(STEP_ROWS_MIN, STEP_ROWS_MAX);
        loop {
            rows.clear();
            let limit = ScanLimit { rows_max: step_rows, bytes_target: STEP_BYTES };
            let has_more = self.snapshots.scan(&begin, &end, reverse, self.version, limit, &mut rows)?;
            let last = rows.last().map(|row| row.key.clone()).filter(|_| has_more);
            // The step covers the range up to its last row, or all of it.
            let (from, to) = match (&last, reverse) {
                (None, _) => (begin.clone(), end.clone()),
                (Some(last), false) => (begin.clone(), tenantry_kv::key_after(last)),
                (Some(last), true) => (last.clone(), end.clone()),
            };
            if merge(rows.drain(..), overlay, &from, &to, reverse, visit) == Ended::Stopped {
                return Ok(Ended::Stopped);
            }
            if last.is_none() {
                return Ok(Ended::Exhausted);
            }
            if reverse {
                end = from
            } else {
                begin = to
            }
            step_rows = (step_rows * 2).min(STEP_ROWS_MAX);
        }
    }
}

/// Visits rows of the snapshot and own keys of the same range in one order.
fn merge(
    rows: impl Iterator<Item = KeyValue>,
    overlay: &Overlay,
    begin: &[u8],
    end: &[u8],
    reverse: bool,
    visit: Visit<'_>,
) -> Ended {
    let keys = overlay.keys_in(begin, end);
    let own: Box<dyn Iterator<Item = (&Bytes, &KeyState)>> =
        if reverse { Box::new(keys.rev()) } else { Box::new(keys) };
    let mut own = own.peekable();
    for row in rows {
        while let Some((key, state)) =
            own.next_if(|(key, _)| if reverse { **key > row.key } else { **key < row.key })
        {
            if let Some(value) = state.value(None)
                && !visit(KeyValue { key: key.clone(), value })
            {
                return Ended::Stopped;
            }
        }
        let row = match own.next_if(|(key, _)| **key == row.key) {
            None => row,
            Some((_, state)) => match state.value(Some(&row.value)) {
                Some(value) => KeyValue { key: row.key, value },
                None => continue,
            },
        };
        if !visit(row) {
            return Ended::Stopped;
        }
    }
    for (key, state) in own {
        if let Some(value) = state.value(None)
            && !visit(KeyValue { key: key.clone(), value })
        {
            return Ended::Stopped;
        }
    }
    Ended::Exhausted
}
