//! Removes what is kept of transactions that took effect once, when its time is over.

use serde_json::{Value as Json, json};

use crate::access::Action;
use crate::error::Result;
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::limits::IDEMPOTENCY_SWEEP_ROWS_MAX;

/// Removes the results of idempotency keys whose retention is over, of one tenant. Its result is `{"removed"}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForgetResults;

impl JobKind for ForgetResults {
    fn name(&self) -> &'static str {
        "forget-results"
    }

    fn check(&self, _parameters: &Json) -> Result<()> {
        Ok(())
    }

    fn actions(&self) -> &'static [Action] {
        &[Action::Maintain]
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let rows_max = step.size().min(IDEMPOTENCY_SWEEP_ROWS_MAX);
            let removed = step.tenant()?.remove_expired_idempotency_records(rows_max).await?;
            let total = step.done() + removed as u64;
            Ok(match removed == rows_max {
                true => StepOutcome::more("more", total),
                false => StepOutcome::finished(json!({ "removed": total }), total),
            })
        })
    }
}
