//! One page of a plan's records.

use std::time::Duration;

use bytes::Bytes;

use super::cursor::{Cursor, Found, Position, Taken};
use super::plan::{Plan, Request};
use super::scan::Reads;
use super::{Query, StopReason};
use crate::error::{Code, Error, Result};
use crate::limits::SORTED_MAX;
use crate::record::Record;
use crate::tenant::TenantTransaction;

/// How many entries one step of a scan takes.
const STEP_ROWS_MAX: usize = 500;

/// The records of a page, and why there are no more.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) records: Vec<Record>,
    pub(super) stop: StopReason,
    pub(super) place: Option<Place>,
    pub(super) reads: Reads,
    /// How many entries are behind it.
    pub(super) looked_at: usize,
}

/// What to go on behind.
pub(super) enum Place {
    /// Where the plan has come to.
    Position(Position),
    /// The last record of an order that is made in memory.
    SortKey(Bytes),
}

/// When a page ends before it is full.
pub(super) struct Bounds {
    entries_max: usize,
    size_bytes_max: usize,
    /// On the monotonic clock.
    ends_at: Option<Duration>,
}

impl Bounds {
    fn of(transaction: &TenantTransaction, query: &Query) -> Bounds {
        let env = &transaction.tenant().database.inner.env;
        let entries_max = if env.buggify.fires("query: a page ends early") { 1 } else { query.scanned_max };
        let ends_at = query.time_limit.map(|limit| env.clock.monotonic().saturating_add(limit));
        Bounds { entries_max, size_bytes_max: query.size_bytes_max, ends_at }
    }
}

/// Takes records as they come.
pub(super) async fn in_order(
    transaction: &TenantTransaction,
    query: &Query,
    request: &Request<'_, '_>,
    plan: &Plan<'_>,
    position: Option<Position>,
) -> Result<Rows> {
    let mut cursor = Cursor::new(transaction, request, plan, position.as_ref())?;
    let env = &transaction.tenant().database.inner.env;
    let bounds = Bounds::of(transaction, query);
    // One more than the page holds, to know whether there are more; where the filter drops much, more and more at a time.
    let mut step = (query.rows_max + 1).min(STEP_ROWS_MAX);
    if env.buggify.fires("query: one entry at a time") {
        step = 1;
    }
    let mut rows = Rows::default();
    let mut size_bytes = 0;
    while !cursor.is_exhausted() {
        cursor.fill(step).await?;
        loop {
            // Asked before the next one is taken, and never before the first: every page gets on.
            let stop = match () {
                () if rows.records.len() == query.rows_max => Some(StopReason::Rows),
                () if cursor.behind == 0 => None,
                () if size_bytes >= bounds.size_bytes_max => Some(StopReason::SizeBytes),
                () if cursor.behind >= bounds.entries_max => Some(StopReason::Scanned),
                () if bounds.ends_at.is_some_and(|at| env.clock.monotonic() >= at) => Some(StopReason::Time),
                () => None,
            };
            if let Some(stop) = stop.filter(|_| !cursor.is_exhausted()) {
                rows.stop = stop;
                rows.place = Some(Place::Position(cursor.position()));
                (rows.reads, rows.looked_at) = (cursor.reads, cursor.behind);
                return Ok(rows);
            }
            let Some(taken) = cursor.take() else { break };
            if let Taken::Record(found) = taken
                && request.filter.is_none_or(|filter| filter.holds(&found.record.values))
            {
                size_bytes += found.size_bytes;
                rows.records.push(found.record);
            }
        }
        step = (step * 2).min(STEP_ROWS_MAX);
    }
    (rows.reads, rows.looked_at) = (cursor.reads, cursor.behind);
    Ok(rows)
}

/// Looks at every record and keeps the first of the order.
pub(super) async fn sorted(
    transaction: &TenantTransaction,
    query: &Query,
    request: &Request<'_, '_>,
    plan: &Plan<'_>,
    behind: Option<Bytes>,
) -> Result<Rows> {
    let mut cursor = Cursor::new(transaction, request, plan, None)?;
    let mut kept: Vec<Found> = Vec::new();
    let mut has_more = false;
    while !cursor.is_exhausted() {
        cursor.fill(STEP_ROWS_MAX).await?;
        if cursor.reads.entries > SORTED_MAX {
            return Err(needs_index(request));
        }
        while let Some(taken) = cursor.take() {
            let Taken::Record(found) = taken else { continue };
            let is_behind = behind.as_ref().is_none_or(|behind| found.sort_key > *behind);
            if is_behind && request.filter.is_none_or(|filter| filter.holds(&found.record.values)) {
                kept.push(found);
            }
        }
        // Never more than twice the page in memory.
        if kept.len() > 2 * query.rows_max || cursor.is_exhausted() {
            kept.sort_by(|one, other| one.sort_key.cmp(&other.sort_key));
            has_more |= kept.len() > query.rows_max;
            kept.truncate(query.rows_max);
        }
    }
    let place = kept.last().map(|last| Place::SortKey(last.sort_key.clone())).filter(|_| has_more);
    let stop = if place.is_some() { StopReason::Rows } else { StopReason::Exhausted };
    let records = kept.into_iter().map(|found| found.record).collect();
    Ok(Rows { records, stop, place, reads: cursor.reads, looked_at: cursor.behind })
}

/// The error that names the index to add.
fn needs_index(request: &Request<'_, '_>) -> Error {
    let columns = request.order.iter().map(|sorted| &sorted.column).map(|column| {
        format!(
            "{:?}",
            if column.is_descending { format!("{}:desc", column.text) } else { column.text.clone() }
        )
    });
    let equal = request.equal_fields();
    let fields: Vec<String> = equal.iter().map(|name| format!("{name:?}")).chain(columns).collect();
    let name = request.order.iter().map(|sorted| sorted.column.text.as_str()).collect::<Vec<_>>().join("_");
    let detail = format!(
        "it would have to sort more than {SORTED_MAX} records: add the index by_{name} = {{ fields = [{}] }} to {}, or narrow the filter",
        fields.join(", "),
        request.record_type.name
    );
    Error::new(Code::IndexNeeded, detail)
}
