//! Looking at a database from outside: everything in it, what became of each transaction, and whether the invariants of whole workloads hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tenantry_embedded::EmbeddedEngine;
use tenantry_kv::env::Env;
use tenantry_kv::{Engine, Error, ErrorCode, Isolation, RangeRequest, Result, Versionstamp};

use crate::finding::{Oracle, Verdict};
use crate::history::{Ended, History, number_of_marker};
use crate::layer;
use crate::workload::{self, Tally};

/// Everything that the database holds.
pub(crate) async fn everything(engine: &dyn Engine) -> Result<Vec<(Bytes, Bytes)>> {
    let transaction = engine.begin()?;
    let mut rows = Vec::new();
    let mut next = Some(RangeRequest::new("", vec![0xff]));
    while let Some(request) = next {
        let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
        rows.extend(batch.rows.iter().map(|row| (row.key.clone(), row.value.clone())));
        next = request.after(&batch);
    }
    Ok(rows)
}

/// Learns from the markers what became of transactions, and sees that what was acknowledged is there and what was refused is not.
pub(crate) fn resolve(history: &mut History, rows: &[(Bytes, Bytes)]) -> Verdict {
    let mut stamps = BTreeMap::new();
    for (key, value) in rows.iter().filter(|(key, _)| key.starts_with(b"m")) {
        let strange = || Oracle::Durability.says(format!("a strange marker: {key:?} holds {value:?}"));
        let number = number_of_marker(key).ok_or_else(strange)?;
        let stamp: [u8; 10] = value[..].try_into().map_err(|_| strange())?;
        stamps.insert(number, Versionstamp::from_bytes(stamp));
    }
    for (number, recorded) in history.transactions.iter_mut().enumerate() {
        match (recorded.ended, stamps.get(&number)) {
            (Ended::Committed(stamp), Some(found)) if stamp == *found => {}
            (Ended::Committed(stamp), found) => {
                return Err(Oracle::Durability.says(format!(
                    "transaction {number} was acknowledged with {stamp:?}; there is {found:?}"
                )));
            }
            (Ended::Open | Ended::Unknown, Some(found)) => recorded.ended = Ended::Committed(*found),
            // Not there after a recovery: it never will be.
            (Ended::Open | Ended::Unknown, None) => {
                recorded.ended = Ended::Failed(ErrorCode::OPERATION_CANCELLED);
            }
            (ended, Some(_)) => {
                let what = format!("transaction {number} ended with {ended:?} and is there");
                return Err(Oracle::Durability.says(what));
            }
            (_, None) => {}
        }
    }
    Ok(())
}

/// Whether the ring, the accounts, the counter and the records are whole.
pub(crate) async fn invariants(
    engine: Arc<EmbeddedEngine>,
    env: Env,
    tally: &Tally,
    tenants: usize,
) -> Verdict {
    let unreadable = |error: Error| Oracle::Opening.says(error.to_string());
    let transaction = engine.begin().map_err(unreadable)?;
    if transaction.get(b"r0", Isolation::Snapshot).await.map_err(unreadable)?.is_some()
        && let Some(finding) = workload::broken(&transaction).await.map_err(unreadable)?
    {
        return Err(finding);
    }
    let counter = workload::counter(&transaction).await.map_err(unreadable)? as u64;
    if !(tally.counted..=tally.counted + tally.counting).contains(&counter) {
        let (counted, counting) = (tally.counted, tally.counting);
        return Err(Oracle::Counter.says(format!(
            "the counter says {counter}; {counted} increments were acknowledged, {counting} are in doubt"
        )));
    }
    layer::check(engine, env, tenants).await
}
