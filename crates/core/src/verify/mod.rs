//! Whether a tenant is sound: every key of it is one that the layer writes, and every value can be read.
//!
//! The keys are gone through once in their order, and told by the part of the tenant that they lie in. Then the records are put together and decoded, type by type, and the entries
//! of the change log. Indexes are left to the check of indexes (`crate::check`), which comes last.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{Isolation, RangeRequest, Versionstamp, key_after};

use crate::change_log::{LogPosition, read_after};
use crate::check::{Bounds, Checked};
use crate::error::{Kind, Result};
use crate::key_form;
use crate::key_space::behind;
use crate::limits::{VERIFY_FAULT_SIZE_BYTES_MAX, VERIFY_FAULTS_MAX};
use crate::messages::{IdempotencyRecord, TenantHeader, VerifyCursor, VerifyFault, VerifyStage};
use crate::record::Record;
use crate::record_scan::read_chunk;
use crate::tenant::TenantTransaction;
use crate::wire;

/// What a step reads at most, in bytes.
const SIZE_BYTES_MAX: usize = 2_000_000;

/// Does a step, of about `size` keys; true when all was looked at.
pub(crate) async fn step(
    transaction: &TenantTransaction,
    cursor: &mut VerifyCursor,
    size: usize,
) -> Result<bool> {
    transaction.set_isolation(Isolation::Snapshot);
    match cursor.stage() {
        VerifyStage::Keys => keys(transaction, cursor, size).await?,
        VerifyStage::Records => records(transaction, cursor, size).await?,
        VerifyStage::Log => log(transaction, cursor).await?,
        VerifyStage::Indexes => {
            let checked = Checked { record_type: None, repairs: false, bounds: Bounds::default() };
            let stands = cursor.check.take().unwrap_or_default();
            match transaction.check_indexes(&checked, stands.clone(), size).await {
                Ok((stands, is_at_end)) => {
                    cursor.check = Some(stands);
                    return Ok(is_at_end);
                }
                // What cannot be read cannot be compared. It is told already, if it is a record.
                Err(error) if error.kind() == Kind::Corrupt => {
                    cursor.check = Some(stands);
                    note(
                        cursor,
                        b"",
                        &format!("the indexes were not compared any further: {}", error.detail()),
                    );
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(false)
}

async fn keys(transaction: &TenantTransaction, cursor: &mut VerifyCursor, size: usize) -> Result<()> {
    let space = &transaction.tenant().keys;
    let everything = space.everything();
    let prefix = everything.begin.clone();
    let begin = match cursor.after.is_empty() {
        true => everything.begin,
        false => key_after(&behind(&prefix, &cursor.after)),
    };
    let known = Known::of(transaction);
    let mut size_bytes = 0;
    let mut next = Some(RangeRequest::new(begin, everything.end).limit(size));
    let mut rows = 0;
    while let Some(request) = next {
        let batch = transaction.engine_range(&request).await?;
        for row in &batch.rows {
            let key = row.key.slice(prefix.len()..);
            size_bytes += row.key.len() + row.value.len();
            if let Err(fault) = known.look(&key, &row.value, cursor) {
                note(cursor, &key, &fault);
            } else if let ([0x14], Some(Err(error))) = (&key[..], seal(transaction)) {
                // Whether what it says of its seal is what was written with the tenant's key.
                if error.kind() == Kind::Corrupt {
                    note(cursor, &key, error.detail());
                }
            } else if key.starts_with(&[0x15, 7]) {
                match transaction.opened_raw(&row.key, row.value.clone()).await {
                    Err(error) if error.kind() == Kind::Corrupt => note(cursor, &key, error.detail()),
                    opened => drop(opened?),
                }
            }
            cursor.after = key;
        }
        rows += batch.rows.len();
        cursor.keys += batch.rows.len() as u64;
        let is_full = size_bytes >= SIZE_BYTES_MAX;
        next = request.after(&batch);
        if is_full && next.is_some() {
            return Ok(());
        }
    }
    if rows < size {
        cursor.after = Bytes::new();
        cursor.set_stage(VerifyStage::Records);
    }
    Ok(())
}

/// Whether a sealed tenant's seal holds.
fn seal(transaction: &TenantTransaction) -> Option<Result<u32>> {
    transaction.sealer().map(|sealer| sealer.generation())
}

/// The types and indexes that the schema has.
struct Known {
    types: BTreeSet<i64>,
    indexes: BTreeSet<i64>,
}

impl Known {
    fn of(transaction: &TenantTransaction) -> Known {
        let types = &transaction.schema().definition.types;
        let indexes = types.iter().flat_map(|record_type| record_type.indexes.iter());
        Known {
            types: types.iter().map(|record_type| i64::from(record_type.id)).collect(),
            indexes: indexes.map(|index| i64::from(index.id)).collect(),
        }
    }

    /// What is wrong with a row, if anything is. Records, entries of indexes and of the log are looked at as a whole later.
    fn look(&self, key: &[u8], value: &[u8], cursor: &mut VerifyCursor) -> Result<(), String> {
        let part = match key {
            [0x14, ..] => 0,
            [0x15, part, ..] => *part,
            _ => return Err("it lies in no part of a tenant".to_owned()),
        };
        if part == 7 {
            cursor.raw_keys += 1;
            return Ok(());
        }
        let elements = tuple::unpack(&Bytes::copy_from_slice(key)).map_err(|error| error.to_string())?;
        match (part, &elements[1..]) {
            (0, []) => TenantHeader::decode(value).map(drop).map_err(|error| error.to_string()),
            (1, [Element::Int(id), _, ..]) if self.types.contains(id) => Ok(()),
            (1, _) => Err("the schema has no such record type".to_owned()),
            (2 | 3, [Element::Int(id), ..]) if self.indexes.contains(id) => {
                cursor.index_keys += 1;
                Ok(())
            }
            (2 | 3, _) => Err("the schema has no such index".to_owned()),
            (4, [Element::Int(0)]) => eight_or("the head of the log", value.len() == 10),
            (4, [Element::Int(1), Element::Int(_), Element::Int(_), Element::Versionstamp { .. }]) => Ok(()),
            (5, [Element::Int(0), Element::Bytes(_)]) => {
                IdempotencyRecord::decode(value).map(drop).map_err(|error| error.to_string())
            }
            (5, [Element::Int(1), Element::Int(_), Element::Bytes(_)]) => Ok(()),
            (
                6,
                [Element::Int(0), Element::String(_)]
                | [Element::Int(0), Element::String(_), Element::Int(_)],
            )
            | (6, [Element::Int(1), Element::String(_)]) => {
                cursor.numbers += 1;
                eight_or("a counter or sequence", value.len() == 8)
            }
            // Other parts of the layer keep what is theirs there.
            (0 | 8, [_, ..]) => Ok(()),
            _ => Err("it is no key that is written in this part of a tenant".to_owned()),
        }
    }
}

fn eight_or(what: &str, is_right: bool) -> Result<(), String> {
    if is_right { Ok(()) } else { Err(format!("{what} has a value of another length")) }
}

/// The records of a type from the cursor on, put together and decoded.
async fn records(transaction: &TenantTransaction, cursor: &mut VerifyCursor, size: usize) -> Result<()> {
    let schema = transaction.schema().clone();
    let Some(record_type) =
        schema.definition.types.iter().filter(|it| it.id >= cursor.type_id).min_by_key(|it| it.id)
    else {
        cursor.after = Bytes::new();
        cursor.set_stage(VerifyStage::Log);
        return Ok(());
    };
    if record_type.id > cursor.type_id {
        (cursor.type_id, cursor.after) = (record_type.id, Bytes::new());
    }
    let after = Some(&cursor.after[..]).filter(|after| !after.is_empty());
    let chunk = match read_chunk(transaction, record_type.id, after, size, SIZE_BYTES_MAX).await {
        Ok(chunk) => chunk,
        // A record that cannot be put together hides those behind it in its type.
        Err(error) if error.kind() == Kind::Corrupt => {
            let at = behind(&record_type.id.to_be_bytes(), &cursor.after);
            note(
                cursor,
                &at,
                &format!("a record of {} behind this one: {}", record_type.name, error.detail()),
            );
            (cursor.type_id, cursor.after) = (record_type.id + 1, Bytes::new());
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    for stored in &chunk.records {
        cursor.records += 1;
        let decoded = wire::decode(&stored.payload, &record_type.fields).and_then(|(values, unknown)| {
            let record = Record { values, unknown, is_read: true, ..Record::default() };
            key_form::pack(&record.elements(&record_type.primary_key, record_type)?)
        });
        match decoded {
            Ok(key) if key == stored.key => {}
            Ok(_) => note(cursor, &stored.key, &format!("a record of {} has another key", record_type.name)),
            Err(error) => note(cursor, &stored.key, &format!("{}: {}", record_type.name, error.detail())),
        }
    }
    match chunk.records.last().filter(|_| chunk.has_more) {
        Some(last) => cursor.after = last.key.clone(),
        None => (cursor.type_id, cursor.after) = (record_type.id + 1, Bytes::new()),
    }
    Ok(())
}

/// The entries of the log behind the cursor.
async fn log(transaction: &TenantTransaction, cursor: &mut VerifyCursor) -> Result<()> {
    let stamp = <[u8; 10]>::try_from(&cursor.after[..]).unwrap_or_default();
    let after = LogPosition { incarnation: cursor.incarnation, stamp: Versionstamp::from_bytes(stamp) };
    let engine = &**transaction.engine_transaction();
    let buckets = transaction.header().log_buckets;
    let page = read_after(
        engine,
        &transaction.tenant().keys,
        buckets,
        after,
        SIZE_BYTES_MAX / 2,
        transaction.sealer(),
    )
    .await;
    let is_at_end = match page {
        Ok(page) => {
            cursor.log_entries += page.entries.len() as u64;
            if let Some(last) = page.entries.last() {
                cursor.incarnation = last.position.incarnation;
                cursor.after = Bytes::copy_from_slice(last.position.stamp.as_bytes());
            }
            page.is_at_end
        }
        Err(error) if error.kind() == Kind::Corrupt => {
            let at = cursor.after.clone();
            note(cursor, &at, &format!("an entry of the change log behind this one: {}", error.detail()));
            true
        }
        Err(error) => return Err(error),
    };
    if is_at_end {
        cursor.after = Bytes::new();
        cursor.set_stage(VerifyStage::Indexes);
    }
    Ok(())
}

fn note(cursor: &mut VerifyCursor, key: &[u8], what: &str) {
    cursor.faults_total += 1;
    if cursor.faults.len() < VERIFY_FAULTS_MAX {
        let mut fault = what.to_owned();
        fault.truncate(fault.floor_char_boundary(VERIFY_FAULT_SIZE_BYTES_MAX));
        let key =
            key.iter().take(VERIFY_FAULT_SIZE_BYTES_MAX / 2).map(|byte| format!("{byte:02x}")).collect();
        cursor.faults.push(VerifyFault { key, fault });
    }
}
