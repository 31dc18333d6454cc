//! Seals everything of a tenant with its newest data key.

use prost::Message;
use serde_json::{Value as Json, json};

use crate::error::Result;
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::messages::{ResealCursor, read};

/// Goes through everything that a sealed tenant stores, and seals with the newest data key what is in clear or sealed with an older one; the change log too. At the end the header says that
/// everything is sealed, and the older data keys are removed. Its result is `{"resealed", "generation"}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reseal;

impl JobKind for Reseal {
    fn name(&self) -> &'static str {
        "reseal"
    }

    fn check(&self, _parameters: &Json) -> Result<()> {
        Ok(())
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let mut cursor: ResealCursor = read(step.cursor(), "the cursor of a job that seals")?;
            let done = step.tenant()?.reseal(&mut cursor, step.size()).await?;
            let looked_at = step.done() + done.looked_at;
            Ok(match done.is_finished {
                false => StepOutcome::more(cursor.encode_to_vec(), looked_at),
                true => {
                    let result = json!({ "resealed": cursor.resealed, "generation": cursor.generation });
                    StepOutcome::finished(result, looked_at)
                }
            })
        })
    }
}
