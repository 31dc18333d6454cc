//! Deletes the records that a filter asks for.

use serde_json::{Value as Json, json};

use super::type_of;
use crate::access::Action;
use crate::error::{Code, Error, Result};
use crate::expression::Filter;
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::limits::PAGE_ROWS_MAX;
use crate::query::Query;

/// Deletes the records of a type for which a condition holds, a bounded number in each step. What others write meanwhile may be deleted or not. Its result is `{"deleted"}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeleteWhere;

impl DeleteWhere {
    /// Deletes the records of a type for which a condition holds, in CEL or built; "true" for all.
    pub fn parameters(record_type: &str, filter: impl Into<Filter>) -> Json {
        json!({ "type": record_type, "where": filter.into().to_string() })
    }
}

impl JobKind for DeleteWhere {
    fn name(&self) -> &'static str {
        "delete-where"
    }

    fn check(&self, parameters: &Json) -> Result<()> {
        type_of(parameters)?;
        filter_of(parameters).map(|_| ())
    }

    fn actions(&self) -> &'static [Action] {
        &[Action::Read, Action::Delete]
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let transaction = step.tenant()?;
            let rows_max = step.size().min(PAGE_ROWS_MAX);
            let filter = filter_of(step.parameters())?;
            let mut query = Query::of(type_of(step.parameters())?).filter(filter).rows_max(rows_max);
            // The cursor is the token of the query.
            if !step.cursor().is_empty() {
                query.after = Some(String::from_utf8_lossy(step.cursor()).into_owned());
            }
            let page = transaction.delete_where(&query).await?;
            let deleted = step.done() + page.deleted;
            Ok(match page.next {
                Some(token) => StepOutcome::more(token.into_bytes(), deleted),
                None => StepOutcome::finished(json!({ "deleted": deleted }), deleted),
            })
        })
    }
}

fn filter_of(parameters: &Json) -> Result<&str> {
    let asks = "name the condition: {\"where\": \"rating < 5.0\"}, \"true\" for all records";
    parameters["where"].as_str().ok_or_else(|| Error::new(Code::JobInvalid, asks))
}
