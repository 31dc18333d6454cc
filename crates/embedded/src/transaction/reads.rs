//! The read side: point reads, selectors and ranges, with the conflict ranges they leave.

use bytes::Bytes;
use tenantry_kv::limits::{METADATA_VERSION_KEY, RANGE_REPLY_SIZE_BYTES_MAX};
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{
    Error, ErrorCode, Isolation, KeyRange, KeySelector, KeyValue, RangeBatch, RangeRequest, Result,
    StreamingMode,
};

use super::overlay::{Found, KeyState};
use super::state::{State, over_long};
use super::view::View;
use crate::seam::Snapshots;
use tenantry_kv::key_after;

/// What a row counts towards a byte limit beside its key and value.
const ROW_OVERHEAD_BYTES: usize = 8;

/// A key selector with `or_equal` taken into its key.
#[derive(Clone, Debug)]
struct Base {
    key: Bytes,
    offset: i64,
}

/// What a selector resolved to.
struct Resolved {
    key: Bytes,
    /// It ran before the first key.
    reached_begin: bool,
    /// It ran more than one step behind the last key.
    passed_end: bool,
}

impl Base {
    fn of(selector: &KeySelector) -> Base {
        Base { key: selector.normalised_key(), offset: i64::from(selector.offset) }
    }
}

impl State {
    /// What is answered without looking at the snapshot, if that is possible.
    pub(super) fn get_locally(&self, key: &[u8], isolation: Isolation) -> Option<Result<Option<Bytes>>> {
        if key.len() > over_long(key) {
            return Some(Ok(None));
        }
        if !self.sees_own_writes(isolation == Isolation::Snapshot) {
            return None;
        }
        if !self.options.bypasses_unreadable && self.overlay.is_in_unreadable_range(key) {
            return Some(Err(ErrorCode::ACCESSED_UNREADABLE.into()));
        }
        match self.overlay.find(key) {
            Found::Unmodified | Found::Key(KeyState::Pending(_)) => None,
            Found::Cleared => Some(Ok(None)),
            Found::Key(KeyState::Unreadable { .. }) if !self.options.bypasses_unreadable => {
                Some(Err(ErrorCode::ACCESSED_UNREADABLE.into()))
            }
            Found::Key(state) => Some(Ok(state.value(None))),
        }
    }

    pub(super) fn check_get(&self, key: &[u8]) -> Result<()> {
        if key < self.options.read_end() || key == METADATA_VERSION_KEY {
            return Ok(());
        }
        Err(super::state::outside(key, self.options.read_end()))
    }

    /// Reads a key from the snapshot and through the own writes on it.
    pub(super) fn get(
        &mut self,
        snapshots: &dyn Snapshots,
        key: &[u8],
        isolation: Isolation,
    ) -> Result<Option<Bytes>> {
        let version = self.read_version.unwrap_or_default();
        let below = snapshots.get(key, version)?;
        let value = match self.sees_own_writes(isolation == Isolation::Snapshot) {
            true => match self.overlay.find(key) {
                Found::Key(state) => state.value(below.as_ref()),
                Found::Cleared => None,
                Found::Unmodified => below,
            },
            false => below,
        };
        self.conflict_on_get(key, isolation);
        Ok(value)
    }

    /// Adds the conflict range of a point read.
    pub(super) fn conflict_on_get(&mut self, key: &[u8], isolation: Isolation) {
        let is_serializable =
            isolation == Isolation::Serializable || is_active(Fault::SnapshotReadInConflictSet);
        if is_serializable
            && !is_active(Fault::ReadNotInConflictSet)
            && key.len() <= over_long(key)
            && !(self.options.read_your_writes && self.overlay.is_determined(key))
        {
            self.add_read_conflict(KeyRange::of_key(key));
        }
    }

    pub(super) fn check_selector(&self, selector: &KeySelector) -> Result<()> {
        super::state::check_end(&selector.key, self.options.read_end())
    }

    pub(super) fn get_key(
        &mut self,
        snapshots: &dyn Snapshots,
        selector: &KeySelector,
        isolation: Isolation,
    ) -> Result<Bytes> {
        let base = Base::of(selector);
        let resolved = self.resolve(snapshots, &base, isolation)?;
        if isolation == Isolation::Serializable {
            let range = match base.offset <= 0 {
                true => KeyRange { begin: resolved.key.clone(), end: base.key },
                false => KeyRange { begin: base.key, end: key_after(&resolved.key) },
            };
            self.add_read_conflict(range);
        }
        Ok(resolved.key)
    }

    fn view<'a>(&'a self, snapshots: &'a dyn Snapshots, isolation: Isolation) -> View<'a> {
        View {
            snapshots,
            version: self.read_version.unwrap_or_default(),
            overlay: self.sees_own_writes(isolation == Isolation::Snapshot).then_some(&self.overlay),
        }
    }

    fn resolve(&self, snapshots: &dyn Snapshots, base: &Base, isolation: Isolation) -> Result<Resolved> {
        let end = self.options.read_end();
        let forward = base.offset > 0;
        let wanted = if forward { base.offset } else { 1 - base.offset };
        let mut found = 0;
        let mut last = None;
        let mut visit = |row: KeyValue| {
            found += 1;
            last = Some(row.key);
            found < wanted
        };
        let view = self.view(snapshots, isolation);
        let hint = usize::try_from(wanted).unwrap_or(usize::MAX);
        if forward {
            view.scan(&base.key, end, false, hint, &mut visit)?;
        } else {
            view.scan(b"", &base.key[..], true, hint, &mut visit)?;
        }
        match last.filter(|_| found == wanted) {
            Some(key) => Ok(Resolved { key, reached_begin: false, passed_end: false }),
            None if forward => Ok(Resolved {
                key: Bytes::from_static(end),
                reached_begin: false,
                passed_end: found < wanted - 1,
            }),
            None => Ok(Resolved { key: Bytes::new(), reached_begin: true, passed_end: false }),
        }
    }

    pub(super) fn get_range(
        &mut self,
        snapshots: &dyn Snapshots,
        request: &RangeRequest,
        isolation: Isolation,
    ) -> Result<RangeBatch> {
        let (begin, end) = (Base::of(&request.begin), Base::of(&request.end));
        if begin.offset >= end.offset && begin.key >= end.key {
            return Ok(RangeBatch::default());
        }
        let from = self.resolve_edge(snapshots, &begin, isolation)?;
        let to = self.resolve_edge(snapshots, &end, isolation)?;
        let reached_begin = from.reached_begin || to.reached_begin;
        let passed_end = from.passed_end || to.passed_end;
        let (from, to) = (from.key, to.key);
        let batch = self.read_rows(snapshots, request, &from, &to, isolation)?;
        if isolation == Isolation::Serializable && !is_active(Fault::RangeReadNotInConflictSet) {
            let edges = Edges { begin, end, reached_begin, passed_end };
            let range = edges.conflict_range(&batch, request.reverse, self.options.read_end());
            self.add_read_conflict(range);
        }
        Ok(batch)
    }

    /// Resolves an end of a range read. "The first key from k on" needs no look: the rows from it on are those from k on.
    fn resolve_edge(&self, snapshots: &dyn Snapshots, base: &Base, isolation: Isolation) -> Result<Resolved> {
        if base.offset != 1 {
            return self.resolve(snapshots, base, isolation);
        }
        let key = base.key.clone().min(Bytes::from_static(self.options.read_end()));
        Ok(Resolved { key, reached_begin: false, passed_end: false })
    }

    fn read_rows(
        &self,
        snapshots: &dyn Snapshots,
        request: &RangeRequest,
        from: &[u8],
        to: &[u8],
        isolation: Isolation,
    ) -> Result<RangeBatch> {
        let rows_max = if request.limit == 0 { usize::MAX } else { request.limit };
        let given = (request.target_bytes > 0).then_some(request.target_bytes);
        let bytes_max = request.mode.target_bytes().into_iter().chain(given).min().unwrap_or(usize::MAX);
        let mut batch = RangeBatch::default();
        let mut bytes = 0;
        self.view(snapshots, isolation).scan(from, to, request.reverse, rows_max, &mut |row| {
            bytes += ROW_OVERHEAD_BYTES + row.key.len() + row.value.len();
            batch.rows.push(row);
            batch.more = batch.rows.len() >= rows_max
                || bytes >= bytes_max.min(RANGE_REPLY_SIZE_BYTES_MAX.max(bytes_max));
            !batch.more
        })?;
        Ok(batch)
    }
}

/// Fails a range request whose parameters make no sense.
pub(super) fn check_request(request: &RangeRequest) -> Result<()> {
    match request.mode {
        StreamingMode::Exact if request.limit == 0 && request.target_bytes == 0 => {
            Err(ErrorCode::EXACT_MODE_WITHOUT_LIMITS.into())
        }
        StreamingMode::Iterator { iteration: 0 } => {
            Err(Error::new(ErrorCode::CLIENT_INVALID_OPERATION, "iterations are counted from 1"))
        }
        _ => Ok(()),
    }
}

/// The two ends of a range read.
struct Edges {
    begin: Base,
    end: Base,
    reached_begin: bool,
    passed_end: bool,
}

impl Edges {
    /// What the read conflicts on.
    fn conflict_range(&self, batch: &RangeBatch, reverse: bool, read_end: &'static [u8]) -> KeyRange {
        let (low, high) = match reverse {
            false => (batch.rows.first(), batch.rows.last()),
            true => (batch.rows.last(), batch.rows.first()),
        };
        let (first_base, last_base) = (&self.begin.key, &self.end.key);
        let (mut begin, mut end) = match (reverse, first_base < last_base) {
            (false, true) if self.end.offset > 0 && batch.more => (first_base.clone(), first_base.clone()),
            (true, true) if self.begin.offset <= 1 && batch.more => (last_base.clone(), last_base.clone()),
            (_, true) => (first_base.clone(), last_base.clone()),
            (_, false) => (last_base.clone(), first_base.clone()),
        };
        // A limit takes back the edge that the read did not come to; the edge that it began at would still be moved by a key beyond it.
        if self.reached_begin && self.begin.offset <= 0 && !(reverse && batch.more) {
            begin = Bytes::new();
        }
        if self.passed_end && self.end.offset > 0 && (reverse || !batch.more) {
            end = Bytes::from_static(read_end);
        }
        if let (Some(low), Some(high)) = (low, high) {
            if reverse || self.begin.offset <= 0 {
                begin = begin.min(low.key.clone());
            }
            if end <= high.key && (!reverse || self.end.offset > 0) {
                end = key_after(&high.key);
            }
        }
        KeyRange { begin, end }
    }
}
