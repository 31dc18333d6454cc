//! Counts the records of a type, exactly, at one version.

use serde_json::{Value as Json, json};

use super::type_of;
use crate::access::Action;
use crate::consistent_scan::{ConsistentScan, Found, NextStep, Region};
use crate::error::{Code, Error, Result};
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::messages::Before;

/// Counts the records of a type, exactly, as they are at one version. Its result is `{"count", "version"}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count;

impl Count {
    /// Counts the records of a type.
    pub fn parameters(record_type: &str) -> Json {
        json!({ "type": record_type })
    }
}

impl JobKind for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn check(&self, parameters: &Json) -> Result<()> {
        type_of(parameters).map(|_| ())
    }

    fn actions(&self) -> &'static [Action] {
        &[Action::Read]
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let transaction = step.tenant()?;
            let type_id = transaction.record_type(type_of(step.parameters())?)?.id;
            let scan = ConsistentScan::new(vec![Region::Records(type_id)], step.cursor())?;
            let page = scan.step(transaction, step.size()).await?;
            let mut count = i64::try_from(step.done()).unwrap_or(i64::MAX);
            for change in &page.changes {
                count += match change {
                    Found::Put { before: Before::Absent, .. } => 1,
                    Found::Put { before: Before::Present, .. } => 0,
                    Found::Put { before: Before::Unknown, .. } => {
                        let detail = "an older build changes the tenant meanwhile: its entries in the change log do not say what is new";
                        return Err(Error::new(Code::JobInvalid, detail));
                    }
                    Found::Delete { .. } => -1,
                    Found::DeleteRange { .. } | Found::Atomic { .. } => 0,
                };
            }
            let count = u64::try_from(count)
                .map_err(|_| Error::new(Code::StoredDataInvalid, "fewer than no records were counted"))?;
            Ok(match page.next {
                NextStep::More(cursor) => StepOutcome::more(cursor, count),
                NextStep::Restart => StepOutcome::more("", 0),
                NextStep::Done => {
                    StepOutcome::finished(json!({ "count": count, "version": page.version }), count)
                }
            })
        })
    }
}
