//! New jobs.

use prost::Message;
use serde_json::Value as Json;
use tenantry_kv::Transaction;
use uuid::Uuid;

use super::job::JobId;
use super::kind::JobKind;
use super::store;
use crate::access::Operation;
use crate::database::{Database, Inner};
use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::{JOB_PARAMETERS_SIZE_BYTES_MAX, JOB_STEP_SIZE_INITIAL, JOBS_UNFINISHED_MAX};
use crate::messages::{JobDefinition, JobLease, JobStatus};
use crate::tenant::{Tenant, TenantTransaction};
use crate::tenant_state::{Pass, check_begin};

impl Database {
    /// Creates a job of a tenant, or of the whole database. Whoever runs a [`Worker`](super::Worker) that knows the kind takes it.
    ///
    /// # Errors
    ///
    /// 20010 when the tenant has been deleted; 20101 for parameters over their limit, and what the kind has against them; 20060 for a tenant with too many jobs that have not ended; 20003, 20004 for a database that
    /// may not change.
    pub async fn create_job(
        &self,
        kind: &dyn JobKind,
        tenant: Option<&Tenant>,
        parameters: &Json,
    ) -> Result<JobId> {
        match tenant {
            None => self.authorize(Operation::ManageAllJobs).await?,
            Some(tenant) => {
                self.authorize_tenant(Operation::CreateJob, &tenant.info.name).await?;
                self.access.check_more_actions(Operation::CreateJob, kind.actions())?;
                // It may be created while the tenant is suspended: then it waits.
                let asking = tenant.clone().with_pass(Pass::Operator);
                asking.read(|transaction| async move { transaction.authorize_job(kind) }).await?;
            }
        }
        let inner = &self.inner;
        let id = new_id(inner);
        let definition = &define(inner, kind, tenant, parameters)?;
        inner
            .runner
            .run(|transaction| async move {
                inner.check_writable(&*transaction).await?;
                if let Some(tenant) = tenant {
                    // With a conflict: none is left behind by a tenant that goes.
                    let header = inner.header(&*transaction, tenant.info.id, &tenant.keys).await?;
                    check_begin(&header, tenant.info.id, Pass::Operator)?;
                }
                enqueue(inner, &*transaction, id, definition).await
            })
            .await?;
        Ok(JobId(id))
    }
}

impl TenantTransaction {
    /// Creates a job of this tenant, in this transaction: it is there if and only if the transaction commits.
    ///
    /// # Errors
    ///
    /// As [`Database::create_job`].
    pub async fn create_job(&self, kind: &dyn JobKind, parameters: &Json) -> Result<JobId> {
        self.authorize_job(kind)?;
        let tenant = self.tenant();
        let inner = &tenant.database.inner;
        let id = new_id(inner);
        let definition = define(inner, kind, Some(tenant), parameters)?;
        inner.check_writable(&**self.engine_transaction()).await?;
        enqueue(inner, &**self.engine_transaction(), id, &definition).await?;
        Ok(JobId(id))
    }

    /// Fails unless a job of a kind may be created. Its steps are done by whoever works on jobs and know no grant: so it takes all that the kind does, in the whole tenant.
    fn authorize_job(&self, kind: &dyn JobKind) -> Result<()> {
        self.authorize(Operation::CreateJob)?;
        self.tenant().database.access.check_more_actions(Operation::CreateJob, kind.actions())
    }
}

/// An id that sorts by the time (UUID version 7).
pub(super) fn new_id(inner: &Inner) -> Uuid {
    let mut random = [0; 10];
    inner.env.entropy.fill(&mut random);
    let milliseconds = u64::try_from(inner.env.clock.wall_us() / 1_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid()
}

pub(super) fn define(
    inner: &Inner,
    kind: &dyn JobKind,
    tenant: Option<&Tenant>,
    parameters: &Json,
) -> Result<JobDefinition> {
    kind.check(parameters)?;
    let text = parameters.to_string();
    if text.len() > JOB_PARAMETERS_SIZE_BYTES_MAX {
        let detail = format!(
            "the parameters of {} have {} bytes, the limit is {JOB_PARAMETERS_SIZE_BYTES_MAX}",
            shown(kind.name()),
            text.len()
        );
        return Err(Error::new(Code::JobInvalid, detail));
    }
    Ok(JobDefinition {
        kind: kind.name().to_owned(),
        parameters: text,
        tenant: tenant.map_or(0, |tenant| tenant.info.id),
        tenant_name: tenant.map(|tenant| tenant.info.name.clone()).unwrap_or_default(),
        created_us: inner.env.clock.wall_us(),
    })
}

pub(super) async fn enqueue(
    inner: &Inner,
    transaction: &dyn Transaction,
    id: Uuid,
    definition: &JobDefinition,
) -> Result<()> {
    let unfinished = inner.keys.jobs_unfinished(definition.tenant)?;
    let count = store::count(transaction, &unfinished).await?;
    if count >= JOBS_UNFINISHED_MAX {
        return Err(limit(
            "the jobs of a tenant that have not ended (run a worker, or cancel some)",
            count + 1,
            JOBS_UNFINISHED_MAX,
        ));
    }
    store::add(transaction, &unfinished, 1);
    transaction.set(&inner.keys.job(id, store::DEFINITION)?, &definition.encode_to_vec());
    let status =
        JobStatus { due_us: definition.created_us, step_size: JOB_STEP_SIZE_INITIAL, ..JobStatus::default() };
    let change = store::Change { inner, transaction, id, definition };
    change.write(status.due_us, &status, &JobLease::default())
}
