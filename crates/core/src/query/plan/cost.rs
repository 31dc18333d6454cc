//! What a plan costs, in entries read. The figures only have to put plans into an order.

use tenantry_kv::{Isolation, RangeRequest};

use super::text::Word;
use super::{Request, ScanPlan};
use crate::error::Result;
use crate::key_space::behind;
use crate::schema::RecordType;
use crate::tenant::TenantTransaction;

/// The records of a type, where nothing is known.
const RECORDS: f64 = 10_000.0;
/// What a column that is bound to one value leaves of them, and a range, and a condition that no bound settles.
const EQUAL_LEAVES: f64 = 0.02;
const RANGE_LEAVES: f64 = 0.25;
const CONDITION_LEAVES: f64 = 0.1;
/// An entry of an index, and the record that it stands for, beside a record that is scanned by its key.
const ENTRY_COST: f64 = 0.5;
const LOAD_COST: f64 = 2.0;
/// What it costs to hold and sort a record.
const SORT_COST: f64 = 0.2;
/// How many entries of a path are looked at to learn how many there are.
const LOOKED_AT_MAX: usize = 100;

/// What a look at some paths said.
#[derive(Default)]
pub(super) struct Measured(Vec<Found>);

struct Found {
    index_id: u32,
    word: Option<Word>,
    name: String,
    entries: usize,
}

impl Measured {
    fn of(&self, scan: &ScanPlan<'_>) -> Option<&Found> {
        let id = scan.index.map_or(0, |index| index.id);
        self.0.iter().find(|found| found.index_id == id && found.word == scan.word)
    }

    /// Whether there is more than was looked at.
    pub(super) fn is_large(&self, scan: &ScanPlan<'_>) -> bool {
        self.of(scan).is_some_and(|found| found.entries >= LOOKED_AT_MAX)
    }

    /// For people.
    pub(super) fn shown(&self) -> Vec<String> {
        let shown = |found: &Found| match found.entries >= LOOKED_AT_MAX {
            true => format!("{}: {LOOKED_AT_MAX} entries or more", found.name),
            false => format!("{}: {} entries", found.name, found.entries),
        };
        self.0.iter().map(shown).collect()
    }
}

/// Looks at the first entries of the paths that are bound, if there are several and none is the one record.
pub(super) async fn measure(
    transaction: &TenantTransaction,
    record_type: &RecordType,
    paths: &[ScanPlan<'_>],
) -> Result<Measured> {
    let bound: Vec<&ScanPlan<'_>> = paths.iter().filter(|scan| scan.is_bound()).collect();
    if bound.len() < 2 || bound.iter().any(|scan| scan.is_one) {
        return Ok(Measured::default());
    }
    let mut looks = Vec::with_capacity(bound.len());
    for scan in &bound {
        let keys = &transaction.tenant().keys;
        let prefix = match scan.index {
            Some(index) => keys.index(index.id)?,
            None => keys.records(record_type.id)?,
        };
        let request = RangeRequest::new(behind(&prefix, &scan.begin), behind(&prefix, &scan.end));
        looks.push(transaction.engine_range_at(&request.limit(LOOKED_AT_MAX), Isolation::Snapshot));
    }
    let mut measured = Measured::default();
    for (scan, look) in bound.iter().zip(looks) {
        let batch = look.await?;
        // A batch that ends early for its bytes has as much as was asked for.
        let entries = if batch.more { LOOKED_AT_MAX } else { batch.rows.len() };
        let index_id = scan.index.map_or(0, |index| index.id);
        measured.0.push(Found { index_id, word: scan.word.clone(), name: scan.name(), entries });
    }
    Ok(measured)
}

/// What a scan costs, with the records that it stands for, until the page is full.
pub(super) fn of_scan(
    request: &Request<'_, '_>,
    scan: &ScanPlan<'_>,
    conditions: usize,
    measured: &Measured,
) -> f64 {
    let per_entry = match scan.index {
        None => 1.0,
        Some(_) if scan.is_covering => ENTRY_COST,
        Some(_) => ENTRY_COST + LOAD_COST,
    };
    let mut entries = if scan.is_one { 1.0 } else { RECORDS * leaves(scan) };
    if let Some(found) = measured.of(scan) {
        entries = match found.entries >= LOOKED_AT_MAX {
            true => entries.max(LOOKED_AT_MAX as f64),
            false => found.entries as f64,
        };
    }
    let open = conditions.saturating_sub(scan.settled) as i32;
    if scan.gives_order {
        let until_full = request.rows_max as f64 / CONDITION_LEAVES.powi(open);
        return per_entry * entries.min(until_full).max(1.0);
    }
    entries.max(1.0) * (per_entry + SORT_COST)
}

fn leaves(scan: &ScanPlan<'_>) -> f64 {
    let range = if scan.has_range { RANGE_LEAVES } else { 1.0 };
    EQUAL_LEAVES.powi(i32::try_from(scan.equal_columns).unwrap_or(i32::MAX)) * range
}

/// What it costs to go through two large indexes side by side: entries, and the few records that both have.
pub(super) fn of_intersection(request: &Request<'_, '_>, is_sorted: bool) -> f64 {
    let both = RECORDS * EQUAL_LEAVES * EQUAL_LEAVES;
    let records = if is_sorted { both } else { both.min(request.rows_max as f64) };
    2.0 * RECORDS * EQUAL_LEAVES * ENTRY_COST * (records / both) + records * LOAD_COST
}
