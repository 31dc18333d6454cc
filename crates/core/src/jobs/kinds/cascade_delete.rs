//! Deletes a record with all that its deletion takes along.

use prost::Message;
use serde_json::{Value as Json, json};

use super::type_of;
use crate::access::Action;
use crate::error::{Code, Error, Result};
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::messages::{CascadeCursor, read};
use crate::record::PrimaryKey;
use crate::tenant::{CascadeStep, Cascaded};
use crate::value::Value;

/// Deletes a record with all that refers to it, by the references of the schema, those before it: see [`Tenant::delete_cascading`](crate::Tenant::delete_cascading). Its
/// result is `{"deleted", "changed", "refusal"}`; with a refusal the record is still there, and what was deleted before is not.
#[derive(Clone, Copy, Debug, Default)]
pub struct CascadeDelete;

impl CascadeDelete {
    /// Deletes the record of a key.
    pub fn parameters(record_type: &str, key: &PrimaryKey) -> Json {
        json!({ "type": record_type, "key": key.values.iter().map(Value::to_json).collect::<Vec<_>>() })
    }
}

impl JobKind for CascadeDelete {
    fn name(&self) -> &'static str {
        "cascade-delete"
    }

    fn check(&self, parameters: &Json) -> Result<()> {
        type_of(parameters)?;
        let asks = "name the record's key as a list: {\"key\": [7]}";
        if parameters["key"].is_array() { Ok(()) } else { Err(Error::new(Code::JobInvalid, asks)) }
    }

    fn actions(&self) -> &'static [Action] {
        &[Action::Delete]
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let cursor: CascadeCursor = read(step.cursor(), "the cursor of a deletion")?;
            let transaction = step.tenant()?;
            let name = type_of(step.parameters())?;
            let key = PrimaryKey::from_json(&step.parameters()["key"], transaction.record_type(name)?)?;
            let finished = |Cascaded { deleted, changed }: Cascaded, refusal: Option<Error>| {
                let refusal = refusal.map(|error| error.to_string());
                let result = json!({ "deleted": deleted, "changed": changed, "refusal": refusal });
                StepOutcome::finished(result, deleted + changed)
            };
            Ok(match transaction.cascade(name, &key, cursor, step.size()).await? {
                CascadeStep::More(next) => {
                    let done = next.deleted + next.changed;
                    StepOutcome::more(next.encode_to_vec(), done)
                }
                CascadeStep::Done(done) => finished(done, None),
                CascadeStep::Refused(done, error) => finished(done, Some(error)),
            })
        })
    }
}
