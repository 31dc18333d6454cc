//! Fills a new tenant with what another one has.

use prost::Message;
use serde_json::{Value as Json, json};

use crate::archive::{fill, source};
use crate::consistent_scan::NextStep;
use crate::error::{Code, Error, Result};
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::messages::{CloneCursor, read};
use crate::tenant::{Tenant, TenantTransaction};
use crate::tenant_state::Pass;

/// Fills a new tenant with what another one has at one version, and makes it a tenant like any other: [`Database::clone_tenant`](crate::Database::clone_tenant) creates it. A job of the whole database.
/// Its result is `{"rows", "version"}`: how many rows were written, those that changed meanwhile more than once, and the version of the source that the new tenant is equal to.
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneTenant;

impl JobKind for CloneTenant {
    fn name(&self) -> &'static str {
        "clone"
    }

    fn check(&self, parameters: &Json) -> Result<()> {
        match (parameters["source"].as_u64(), parameters["target"].as_u64()) {
            (Some(source @ 1..), Some(target @ 1..)) if source != target => Ok(()),
            _ => Err(Error::new(
                Code::JobInvalid,
                "name two tenants by their ids: {\"source\": 1, \"target\": 2}",
            )),
        }
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(clone_step(step))
    }
}

async fn clone_step(step: JobStep) -> Result<StepOutcome> {
    let database = step.database();
    let engine = step.transaction();
    let id = |name: &str| step.parameters()[name].as_u64().unwrap_or(0);
    let from = database.tenant_with_id(&**engine, id("source")).await?.with_pass(Pass::Operator);
    let to = database.tenant_with_id(&**engine, id("target")).await?.with_pass(Pass::Fill);
    let target_id = to.info.id;
    let from = begin(from, &step, false).await?;
    let to = begin(to, &step, true).await?;
    let mut cursor: CloneCursor = read(step.cursor(), "the cursor of a clone")?;
    let (schema, other) = (from.schema(), to.schema());
    if (schema.uuid, schema.version) != (other.uuid, other.version) {
        let detail =
            "the tenant that is cloned has got another schema: delete the new one and clone it again";
        return Err(Error::new(Code::JobInvalid, detail));
    }
    let piece = source::read_piece(&from, &cursor.scan, step.size()).await?;
    from.check_header().await?;
    if piece.next == NextStep::Restart {
        fill::clear(&to)?;
        to.check_header().await?;
        return Ok(StepOutcome::more("", 0));
    }
    fill::apply_all(&to, &piece.changes).await?;
    fill::apply_all(&to, &piece.chunk).await?;
    cursor.rows += (piece.changes.len() + piece.chunk.len()) as u64;
    to.check_header().await?;
    to.finish().await?;
    Ok(match piece.next {
        NextStep::More(scan) => {
            cursor.scan = scan;
            StepOutcome::more(cursor.encode_to_vec(), cursor.rows)
        }
        _ => {
            fill::complete(database, &**engine, target_id).await?;
            let result = json!({ "rows": cursor.rows, "version": piece.version });
            StepOutcome::finished(result, cursor.rows)
        }
    })
}

async fn begin(tenant: Tenant, step: &JobStep, commits: bool) -> Result<TenantTransaction> {
    TenantTransaction::begin(tenant, step.transaction().clone(), commits).await
}
