//! Removes what is left of a deleted tenant.

use prost::Message;
use serde_json::{Value as Json, json};

use crate::error::{Code, Error, Result};
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::lifecycle::purge::{self, Purged};
use crate::messages::{PurgeCursor, read};

/// Removes everything of a deleted tenant, once its grace is over: jobs, marks, all its keys, and at last its header and its entry in the catalog. A job of the whole database. Its
/// result is `{"purged", "keys", "size_bytes", "jobs", "marks", "keys_left"}`; `purged` is false for a tenant that is not deleted (any more), and `keys_left` is what the last step
/// found under the tenant's prefix when it removed the header: none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Purge;

impl Purge {
    /// Purges the tenant of an id; `is_forced` does not wait for the end of its grace.
    pub fn parameters(tenant_id: u64, is_forced: bool) -> Json {
        json!({ "id": tenant_id, "now": is_forced })
    }
}

impl JobKind for Purge {
    fn name(&self) -> &'static str {
        "purge"
    }

    fn check(&self, parameters: &Json) -> Result<()> {
        let is_flag = parameters["now"].is_null() || parameters["now"].is_boolean();
        match parameters["id"].as_u64() {
            Some(1..) if is_flag => Ok(()),
            _ => Err(Error::new(Code::JobInvalid, "name the deleted tenant: {\"id\": 7, \"now\": true}")),
        }
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let parameters = step.parameters();
            let id = parameters["id"].as_u64().unwrap_or(0);
            let is_forced = parameters["now"].as_bool().unwrap_or(false);
            let cursor: PurgeCursor = read(step.cursor(), "the cursor of a purge")?;
            let transaction = &**step.transaction();
            let purged =
                purge::step(step.database(), transaction, id, is_forced, cursor, step.size()).await?;
            Ok(match purged {
                Purged::More(cursor) => StepOutcome::more(cursor.encode_to_vec(), done(&cursor)),
                Purged::Done(cursor) => StepOutcome::finished(result(&cursor), done(&cursor)),
                Purged::Not => StepOutcome::finished(json!({ "purged": false }), 0),
            })
        })
    }
}

fn done(cursor: &PurgeCursor) -> u64 {
    cursor.keys + cursor.jobs + cursor.marks
}

fn result(cursor: &PurgeCursor) -> Json {
    json!({
        "purged": true,
        "keys": cursor.keys,
        "size_bytes": cursor.size_bytes,
        "jobs": cursor.jobs,
        "marks": cursor.marks,
        "keys_left": 0,
    })
}
