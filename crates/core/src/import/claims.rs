//! What a row stands for that another row may stand for as well: its primary key, and its values in unique indexes. Rows with a claim in common are written in
//! their order; all others may be written at a time.

use tenantry_kv::tuple;
use twox_hash::XxHash3_64;

use crate::error::Result;
use crate::index_form;
use crate::key_form;
use crate::record::Record;
use crate::schema::{Index, IndexKind, MissingRule, RecordType};

/// What the claims of a type's rows are made of.
pub(super) struct Claims {
    unique: Vec<Index>,
}

impl Claims {
    pub(super) fn new(record_type: &RecordType) -> Claims {
        Claims { unique: unique_indexes(record_type).cloned().collect() }
    }

    /// The claims of a record, as hashes: two records that have none in common have neither a key nor a unique value in common. A record whose key cannot be made has none: it is
    /// refused.
    pub(super) fn of(&self, record: &Record, record_type: &RecordType) -> Vec<u64> {
        let mut claims = Vec::with_capacity(1 + self.unique.len());
        let key = record.elements(&record_type.primary_key, record_type).and_then(|key| key_form::pack(&key));
        claims.extend(key.map(|packed| XxHash3_64::oneshot(&packed)));
        for index in &self.unique {
            // Where the entry cannot be made, the record is refused.
            drop(add_entries(index, record, &mut claims));
        }
        claims
    }
}

fn add_entries(index: &Index, record: &Record, claims: &mut Vec<u64>) -> Result<()> {
    for row in index_form::rows(&index.columns, &record.values)? {
        let is_missing = |(column, element): (_, _)| index_form::is_missing(column, element);
        let may_be_many = matches!(index.kind, IndexKind::Value { unique: Some(MissingRule::Distinct) });
        if may_be_many && index.columns.iter().zip(&row).any(is_missing) {
            continue;
        }
        // The index's number keeps the values of several apart.
        claims.push(XxHash3_64::oneshot_with_seed(u64::from(index.id), &tuple::pack(&row)?));
    }
    Ok(())
}

/// The indexes whose values may stand once.
pub(super) fn unique_indexes(record_type: &RecordType) -> impl Iterator<Item = &Index> {
    record_type.indexes.iter().filter(|index| matches!(index.kind, IndexKind::Value { unique: Some(_) }))
}
