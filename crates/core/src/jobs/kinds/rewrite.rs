//! Writes every record of a type in the form that this build gives to it.

use serde_json::{Value as Json, json};
use tenantry_kv::Isolation;

use super::type_of;
use crate::error::Result;
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::record::Record;
use crate::record_scan::read_chunk;
use crate::wire;

/// What a step reads at most, in bytes: what it may write is about three times that.
const SIZE_BYTES_MAX: usize = 1_000_000;

/// Reads every record of a type and writes those again, unchanged, whose stored form is not the one that this build gives to them. Its result is `{"records", "rewritten"}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rewrite;

impl Rewrite {
    /// Rewrites the records of a type.
    pub fn parameters(record_type: &str) -> Json {
        json!({ "type": record_type })
    }
}

impl JobKind for Rewrite {
    fn name(&self) -> &'static str {
        "rewrite"
    }

    fn check(&self, parameters: &Json) -> Result<()> {
        type_of(parameters).map(|_| ())
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let transaction = step.tenant()?;
            // Whoever writes a record that this step only looks at is in nobody's way.
            transaction.set_isolation(Isolation::Snapshot);
            let name = type_of(step.parameters())?;
            let record_type = transaction.record_type(name)?;
            let (mut rewritten, after) = read_cursor(step.cursor());
            let after = (!step.cursor().is_empty()).then_some(after);
            let chunk = read_chunk(transaction, record_type.id, after, step.size(), SIZE_BYTES_MAX).await?;
            for stored in &chunk.records {
                let (values, unknown) = wire::decode(&stored.payload, &record_type.fields)?;
                if wire::encode(&values, &record_type.fields, &unknown)? != stored.payload {
                    let record = Record { values, unknown, is_read: true, ..Record::default() };
                    transaction.put(name, &record).await?;
                    rewritten += 1;
                }
            }
            let done = step.done() + chunk.records.len() as u64;
            Ok(match chunk.records.last().filter(|_| chunk.has_more) {
                Some(last) => StepOutcome::more([&rewritten.to_be_bytes()[..], &last.key].concat(), done),
                None => StepOutcome::finished(json!({ "records": done, "rewritten": rewritten }), done),
            })
        })
    }
}

/// How many were rewritten, in eight bytes, and the key to go on behind.
fn read_cursor(cursor: &[u8]) -> (u64, &[u8]) {
    cursor.split_first_chunk::<8>().map_or((0, &[][..]), |(count, key)| (u64::from_be_bytes(*count), key))
}
