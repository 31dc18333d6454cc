//! What is read of a tenant: the state at one version as a sequence of changes, each of which says what its key has.

use std::collections::BTreeSet;

use bytes::Bytes;
use tenantry_kv::Isolation;

use crate::consistent_scan::{ConsistentScan, Found, NextStep, Region};
use crate::error::{Code, Error, Result};
use crate::key_space::{TenantKeys, behind};
use crate::messages::{ArchiveChange, ArchivePart};
use crate::schema::SchemaDefinition;
use crate::tenant::TenantTransaction;

/// What one step read.
pub(crate) struct Piece {
    /// Of rows that were read before: to be applied in this order, and before the chunk.
    pub(crate) changes: Vec<ArchiveChange>,
    /// Further rows, behind all that were read before.
    pub(crate) chunk: Vec<ArchiveChange>,
    pub(crate) version: i64,
    pub(crate) next: NextStep,
}

/// All of a tenant that a stream has, in its order.
pub(crate) fn regions(schema: &SchemaDefinition) -> Vec<Region> {
    let mut ids: Vec<u32> = schema.types.iter().map(|record_type| record_type.id).collect();
    ids.sort_unstable();
    let records = ids.into_iter().map(Region::Records);
    records.chain([Region::Raw, Region::Counters, Region::Sequences]).collect()
}

/// Reads a piece behind the cursor of the one before, of about so many rows.
pub(crate) async fn read_piece(transaction: &TenantTransaction, cursor: &[u8], rows: usize) -> Result<Piece> {
    let scan = ConsistentScan::new(regions(&transaction.schema().definition), cursor)?;
    let page = scan.step(transaction, rows).await?;
    let chunk_begin = page.chunk_begin;
    let (mut changes, mut chunk, mut touched) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (index, found) in page.changes.into_iter().enumerate() {
        let into = if index < chunk_begin { &mut changes } else { &mut chunk };
        match found {
            Found::Put { region, key, value, .. } => into.push(change(region, key, Some(value))),
            Found::Delete { region, key, .. } => into.push(change(region, key, None)),
            Found::DeleteRange { begin, end } => {
                into.push(ArchiveChange { end: Some(end), ..change(Region::Raw, begin, None) });
            }
            // What an operation has made of a value is there to be read. What was applied of the log may lie before that, but then what follows is applied as well.
            Found::Atomic { region, key, .. } => drop(touched.insert((region, key))),
        }
    }
    let keys = &transaction.tenant().keys;
    let mut reading = Vec::with_capacity(touched.len());
    for (region, key) in touched {
        let value =
            transaction.engine_transaction().get(&engine_key(keys, region, &key)?, Isolation::Snapshot);
        reading.push((region, key, value));
    }
    for (region, key, value) in reading {
        let value = match (region, value.await?) {
            (Region::Raw, Some(value)) => {
                Some(transaction.opened_raw(&engine_key(keys, region, &key)?, value).await?)
            }
            (_, value) => value,
        };
        changes.push(change(region, key, value));
    }
    Ok(Piece { changes, chunk, version: page.version, next: page.next })
}

fn change(region: Region, key: Bytes, value: Option<Bytes>) -> ArchiveChange {
    let (part, type_id) = match region {
        Region::Records(type_id) => (ArchivePart::Record, type_id),
        Region::Raw => (ArchivePart::Raw, 0),
        Region::Counters => (ArchivePart::Counter, 0),
        Region::Sequences => (ArchivePart::Sequence, 0),
    };
    ArchiveChange { part: part as i32, type_id, key, value, end: None }
}

/// Where a key lies that an atomic operation can change.
fn engine_key(keys: &TenantKeys, region: Region, key: &Bytes) -> Result<Bytes> {
    let damaged = |what: &str| Error::new(Code::StoredDataInvalid, what.to_owned());
    let name = |bytes: &[u8]| {
        let name = std::str::from_utf8(bytes).map(str::to_owned);
        name.map_err(|_| damaged("a name in the change log is not UTF-8"))
    };
    match region {
        Region::Records(_) => Err(damaged("the change log changes a record by an atomic operation")),
        Region::Raw => Ok(behind(&keys.raw()?, key)),
        Region::Sequences => keys.sequence(&name(key)?),
        Region::Counters => match key.iter().position(|byte| *byte == 0) {
            None => keys.counter(&name(key)?),
            Some(place) => {
                let shard = <[u8; 2]>::try_from(&key[place + 1..])
                    .map_err(|_| damaged("a counter's shard in the change log has not two bytes"))?;
                keys.counter_shard(&name(&key[..place])?, u16::from_be_bytes(shard))
            }
        },
    }
}
