//! Looks whether a tenant is sound.

use prost::Message;
use serde_json::{Value as Json, json};

use super::check;
use crate::access::Action;
use crate::error::{Code, Error, Result};
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::messages::{VerifyCursor, VerifyFault, read};
use crate::verify;

/// Looks at every key of a tenant: whether it is one that the layer writes, whether records, numbers and entries of the change log can be read, and whether the indexes agree with the records
/// ([`Check`](super::Check)). Its result is `{"sound", "keys", "records", "raw_keys", "numbers", "index_keys", "log_entries", "faults_total", "faults": [{"key", "fault"}], "indexes"}`: the first ten
/// faults with the hexadecimal digits of their keys behind the tenant's prefix, and the result of the check.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verify;

impl JobKind for Verify {
    fn name(&self) -> &'static str {
        "verify"
    }

    fn check(&self, parameters: &Json) -> Result<()> {
        match parameters.as_object() {
            Some(members) if members.is_empty() => Ok(()),
            _ => Err(Error::new(Code::JobInvalid, "it takes no parameters: write {}")),
        }
    }

    fn actions(&self) -> &'static [Action] {
        &[Action::Maintain]
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let mut cursor: VerifyCursor = read(step.cursor(), "the cursor of a verification")?;
            let is_at_end = verify::step(step.tenant()?, &mut cursor, step.size()).await?;
            let done = cursor.keys + cursor.records + cursor.log_entries;
            let done = done + cursor.check.as_ref().map_or(0, |check| check.records + check.entries);
            Ok(match is_at_end {
                true => StepOutcome::finished(result(&cursor), done),
                false => StepOutcome::more(cursor.encode_to_vec(), done),
            })
        })
    }
}

fn result(cursor: &VerifyCursor) -> Json {
    let check = cursor.check.clone().unwrap_or_default();
    let fault = |fault: &VerifyFault| json!({ "key": fault.key, "fault": fault.fault });
    let of_indexes = check.missing + check.dangling + check.wrong + check.duplicate;
    json!({
        "sound": cursor.faults_total + of_indexes == 0,
        "keys": cursor.keys,
        "records": cursor.records,
        "raw_keys": cursor.raw_keys,
        "numbers": cursor.numbers,
        "index_keys": cursor.index_keys,
        "log_entries": cursor.log_entries,
        "faults_total": cursor.faults_total,
        "faults": cursor.faults.iter().map(fault).collect::<Vec<_>>(),
        "indexes": check::result(&check),
    })
}
