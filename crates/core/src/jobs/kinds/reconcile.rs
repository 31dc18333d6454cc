//! Counts anew what a tenant stores.

use serde_json::{Value as Json, json};

use crate::access::Action;
use crate::error::Result;
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::usage::{ReconcileStep, Reconciled};

/// Counts anew what a tenant stores, at one version, and puts its meters right. Its result is `{"records", "record_bytes", "raw_bytes", "raw_is_exact", "off": {"records", "record_bytes",
/// "raw_bytes"}, "version"}`: see [`Reconciled`](crate::Reconciled).
#[derive(Clone, Copy, Debug, Default)]
pub struct Reconcile;

impl JobKind for Reconcile {
    fn name(&self) -> &'static str {
        "reconcile"
    }

    fn check(&self, _parameters: &Json) -> Result<()> {
        Ok(())
    }

    fn actions(&self) -> &'static [Action] {
        &[Action::Maintain]
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            Ok(match step.tenant()?.reconcile(step.cursor(), step.size()).await? {
                ReconcileStep::More(cursor, seen) => StepOutcome::more(cursor, seen),
                ReconcileStep::Done(done) => StepOutcome::finished(result(&done), step.done()),
            })
        })
    }
}

fn result(done: &Reconciled) -> Json {
    json!({
        "records": done.records,
        "record_bytes": done.record_size_bytes,
        "raw_bytes": done.raw_size_bytes,
        "raw_is_exact": done.raw_is_exact,
        "off": {
            "records": done.records_off,
            "record_bytes": done.record_size_bytes_off,
            "raw_bytes": done.raw_size_bytes_off,
        },
        "version": done.version,
    })
}
