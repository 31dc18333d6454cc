//! The check of records and indexes: what cannot be read, what refers to nothing, what is missing in an index, leads nowhere or says something wrong; and the repair of
//! the indexes.
//!
//! For each type there are four stages. First its records are read, and what each contributes to the indexes, and refers to, is looked for. Then the entries of each index
//! are read, and the record of each is looked at. Then the counts, sums and extremes are added up anew, those of an index in one transaction, and last the levels of ranked sets are compared with what is below them. Every step reads at one
//! version, so that whoever writes meanwhile makes no fault. The repair of an entry reads what it rests on once more, with a conflict; that of an amount adds the
//! difference, which is right whatever others add meanwhile.

mod aggregates;
mod entries;
mod ranks;
mod records;
mod report;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::error::Result;
use crate::limits::{CHECK_AMOUNTS_SIZE_BYTES_MAX, CHECK_RECOUNT_TIME_MAX, CHECK_REPAIRS_MAX};
use crate::messages::CheckCursor;
use crate::schema::{Index, IndexKind, RecordType};
use crate::tenant::TenantTransaction;

/// What is checked.
pub(crate) struct Checked<'a> {
    /// This type alone.
    pub(crate) record_type: Option<&'a str>,
    /// Whether what is found is repaired.
    pub(crate) repairs: bool,
    pub(crate) bounds: Bounds,
}

/// What a step that adds up may take.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    /// What the amounts that are kept in memory take.
    pub(crate) amounts_size_bytes_max: usize,
    /// How long records are read: the engine gives a transaction five seconds.
    pub(crate) time_max: Duration,
    pub(crate) repairs_max: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            amounts_size_bytes_max: CHECK_AMOUNTS_SIZE_BYTES_MAX,
            time_max: CHECK_RECOUNT_TIME_MAX,
            repairs_max: CHECK_REPAIRS_MAX,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Records,
    Entries,
    Amounts,
    Ranks,
}

/// A piece of the work, in the order in which it is done.
struct Place<'a> {
    record_type: &'a RecordType,
    stage: Stage,
    /// None for the stage of records.
    index: Option<&'a Index>,
}

impl Place<'_> {
    fn order(&self) -> (u32, u32, u32) {
        (self.record_type.id, self.stage as u32, self.index.map_or(0, |index| index.id))
    }
}

impl TenantTransaction {
    /// Does a step of a check, of about so many records or entries; the cursor of the first is empty. Returns how it stands, and whether it is at its end.
    pub(crate) async fn check_indexes(
        &self,
        checked: &Checked<'_>,
        mut cursor: CheckCursor,
        rows_max: usize,
    ) -> Result<(CheckCursor, bool)> {
        let places = self.places(checked)?;
        let stands = (cursor.type_id, cursor.stage, cursor.index_id);
        let Some(number) = places.iter().position(|place| place.order() >= stands) else {
            return Ok((cursor, true));
        };
        let place = &places[number];
        if place.order() != stands {
            cursor.after = None;
            (cursor.type_id, cursor.stage, cursor.index_id) = place.order();
        }
        let is_done = match (place.stage, place.index) {
            (Stage::Entries, Some(index)) => {
                self.check_entries(place.record_type, index, checked.repairs, &mut cursor, rows_max).await?
            }
            (Stage::Amounts, Some(index)) => {
                self.check_amounts(place.record_type, index, checked, &mut cursor).await?
            }
            (Stage::Ranks, Some(index)) => {
                self.check_ranks(place.record_type, index, checked.repairs, &mut cursor, rows_max).await?
            }
            _ => self.check_records(place.record_type, checked.repairs, &mut cursor, rows_max).await?,
        };
        if !is_done {
            return Ok((cursor, false));
        }
        let Some(next) = places.get(number + 1) else { return Ok((cursor, true)) };
        cursor.after = None;
        (cursor.type_id, cursor.stage, cursor.index_id) = next.order();
        Ok((cursor, false))
    }

    fn places(&self, checked: &Checked<'_>) -> Result<Vec<Place<'_>>> {
        let types: Vec<&RecordType> = match checked.record_type {
            Some(name) => vec![self.record_type(name)?],
            None => self.schema().definition.types.iter().collect(),
        };
        let mut places = Vec::new();
        for record_type in types {
            places.push(Place { record_type, stage: Stage::Records, index: None });
            places.extend(record_type.indexes.iter().map(|index| {
                let stage = if has_entries(index) { Stage::Entries } else { Stage::Amounts };
                Place { record_type, stage, index: Some(index) }
            }));
            let ranks = record_type.indexes.iter().filter(|index| index.kind == IndexKind::Rank);
            places.extend(ranks.map(|index| Place { record_type, stage: Stage::Ranks, index: Some(index) }));
        }
        places.sort_by_key(Place::order);
        Ok(places)
    }
}

/// Whether an index has an entry for each record, or several.
fn has_entries(index: &Index) -> bool {
    !has_amounts(index)
}

/// Whether an index adds up amounts.
fn has_amounts(index: &Index) -> bool {
    matches!(index.kind, IndexKind::Count | IndexKind::Sum | IndexKind::Min | IndexKind::Max)
}
