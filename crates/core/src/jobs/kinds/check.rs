//! Checks the indexes of a tenant against its records, and repairs them if it is to.

use prost::Message;
use serde_json::{Value as Json, json};

use crate::access::Action;
use crate::check::{Bounds, Checked};
use crate::error::{Code, Error, Result};
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::messages::{CheckCursor, StoredFault, read};

/// Reads the records of a tenant, looks for what they refer to, compares the indexes with them, and repairs the indexes if it is told to. Its result is `{"records", "entries",
/// "missing", "dangling", "wrong", "duplicate", "unreadable", "dangling_references", "repaired", "faults": [{"index", "fault", "key"}], "unchecked"}`: how many there were of
/// each fault, and the first hundred of them. A fault is "missing", "dangling", "wrong", "duplicate", "unreadable" or "dangling reference"; its index is that of the fault, or the
/// reference, or the record type; its key is that of the record, or the columns of the group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Check;

impl Check {
    /// Checks the indexes of one record type, or of all, and repairs them or only tells.
    pub fn parameters(record_type: Option<&str>, repairs: bool) -> Json {
        json!({ "type": record_type, "repair": repairs })
    }
}

impl JobKind for Check {
    fn name(&self) -> &'static str {
        "check"
    }

    fn check(&self, parameters: &Json) -> Result<()> {
        let is_type = parameters["type"].is_null() || parameters["type"].is_string();
        let is_repair = parameters["repair"].is_null() || parameters["repair"].is_boolean();
        match is_type && is_repair {
            true => Ok(()),
            false => Err(Error::new(
                Code::JobInvalid,
                "write {\"type\": \"film\", \"repair\": true}, or leave either out",
            )),
        }
    }

    fn actions(&self) -> &'static [Action] {
        &[Action::Maintain]
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let cursor: CheckCursor = read(step.cursor(), "the cursor of a check")?;
            let parameters = step.parameters();
            let repairs = parameters["repair"].as_bool().unwrap_or(false);
            let record_type = parameters["type"].as_str();
            let checked = Checked { record_type, repairs, bounds: Bounds::default() };
            let (stands, is_at_end) = step.tenant()?.check_indexes(&checked, cursor, step.size()).await?;
            let done = stands.records + stands.entries;
            Ok(match is_at_end {
                true => StepOutcome::finished(result(&stands), done),
                false => StepOutcome::more(stands.encode_to_vec(), done),
            })
        })
    }
}

pub(super) fn result(stands: &CheckCursor) -> Json {
    let fault = |fault: &StoredFault| json!({ "index": fault.index, "fault": fault.fault, "key": fault.key });
    json!({
        "records": stands.records,
        "entries": stands.entries,
        "missing": stands.missing,
        "dangling": stands.dangling,
        "wrong": stands.wrong,
        "duplicate": stands.duplicate,
        "unreadable": stands.unreadable,
        "dangling_references": stands.dangling_references,
        "repaired": stands.repaired,
        "faults": stands.faults.iter().map(fault).collect::<Vec<_>>(),
        "unchecked": stands.unchecked,
    })
}
