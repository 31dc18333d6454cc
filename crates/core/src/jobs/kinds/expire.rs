//! Deletes the records whose time has come.

use prost::Message;
use serde_json::{Value as Json, json};

use crate::access::Action;
use crate::error::Result;
use crate::expiry::Expired;
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::limits::EXPIRY_ROWS_MAX;
use crate::messages::{ExpiryCursor, read};

/// Deletes the records of a tenant whose time has come, by its time-to-live indexes. Its result is `{"expired", "refused", "first_refusal"}`: see [`Expired`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Expire;

impl JobKind for Expire {
    fn name(&self) -> &'static str {
        "expire"
    }

    fn check(&self, _parameters: &Json) -> Result<()> {
        Ok(())
    }

    fn actions(&self) -> &'static [Action] {
        &[Action::Maintain, Action::Delete]
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let cursor: ExpiryCursor = read(step.cursor(), "the cursor of a sweep")?;
            let page = step.tenant()?.expire(cursor, step.size().min(EXPIRY_ROWS_MAX)).await?;
            let done = page.so_far.expired + page.so_far.refused;
            if !page.is_at_end {
                return Ok(StepOutcome::more(page.so_far.encode_to_vec(), done));
            }
            let Expired { expired, refused, first_refusal } = page.so_far.into();
            let result = json!({ "expired": expired, "refused": refused, "first_refusal": first_refusal });
            Ok(StepOutcome::finished(result, done))
        })
    }
}
