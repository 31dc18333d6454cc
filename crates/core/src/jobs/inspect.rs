//! Looking at jobs, and cancelling them.

use std::collections::BTreeMap;

use tenantry_kv::tuple::Element;
use tenantry_kv::{Isolation, KvFuture, RangeRequest, Transaction};
use uuid::Uuid;

use super::job::{Job, JobId, JobState};
use super::store::{self, Change, Reading, StoredJob};
use crate::access::Operation;
use crate::database::Database;
use crate::error::{Code, Error, Result, limit};
use crate::limits::JOBS_PAGE_ROWS_MAX;
use crate::messages::{JobDefinition, JobLease, JobStateKind, JobStatus, read};
use crate::tenant_state::TenantState;

/// How many rows one page looks at before it ends early.
const SCANNED_MAX: usize = 6_000;

/// Which jobs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobFilter {
    /// Those of the tenant with this name alone.
    pub tenant: Option<String>,
    /// Those in this state alone.
    pub state: Option<JobState>,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobPage {
    /// The jobs, the newest first.
    pub jobs: Vec<Job>,
    /// The job to go on after, if there may be more.
    pub after: Option<JobId>,
}

impl JobFilter {
    /// Every job.
    pub fn all() -> JobFilter {
        JobFilter::default()
    }

    fn takes(&self, job: &Job) -> bool {
        self.state.is_none_or(|state| state == job.state)
            && self.tenant.as_ref().is_none_or(|tenant| Some(tenant) == job.tenant.as_ref())
    }
}

impl Database {
    /// A job.
    ///
    /// # Errors
    ///
    /// 20100.
    pub async fn job(&self, id: JobId) -> Result<Job> {
        let inner = &self.inner;
        let stored = inner
            .runner
            .read(|transaction| async move {
                let reading = Reading::begin(inner, &*transaction, id.0, Isolation::Snapshot)?;
                let stored = reading.job().await?.ok_or_else(|| store::not_found(id.0))?;
                self.authorize_job(&*transaction, Operation::ViewJobs, id, &stored.definition).await?;
                Ok::<_, Error>(stored)
            })
            .await?;
        Job::of(stored)
    }

    /// Fires when a job has changed since now: a step, its end.
    ///
    /// # Errors
    ///
    /// The engine's own; the future's too: 1032 when too many watches are outstanding.
    pub async fn watch_job(&self, id: JobId) -> Result<KvFuture<()>> {
        if self.grant().is_some() {
            self.job(id).await?;
        }
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                Ok::<_, Error>(transaction.watch(&inner.keys.job(id.0, store::STATUS)?))
            })
            .await
    }

    /// A page of the jobs, the newest first, after one. It may end before it is full, where a filter drops much.
    ///
    /// # Errors
    ///
    /// 20060 for a page of none or of more than [`JOBS_PAGE_ROWS_MAX`].
    pub async fn jobs(&self, filter: &JobFilter, after: Option<JobId>, rows_max: usize) -> Result<JobPage> {
        if rows_max == 0 || rows_max > JOBS_PAGE_ROWS_MAX {
            return Err(limit("the jobs of a page (at least one)", rows_max, JOBS_PAGE_ROWS_MAX));
        }
        let only = self.authorize_listing(filter).await?;
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move {
                let jobs = inner.keys.jobs()?;
                let mut range = jobs.tuples();
                if let Some(after) = after {
                    range.end = inner.keys.job(after.0, store::DEFINITION)?;
                }
                let mut page = JobPage { jobs: Vec::new(), after: None };
                let mut parts = BTreeMap::new();
                let mut scanned = 0;
                let mut next = Some(RangeRequest::new(range.begin, range.end).reverse(true));
                while let Some(request) = next {
                    let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
                    for row in &batch.rows {
                        let (id, part) = place(&jobs.unpack(&row.key)?)?;
                        parts.insert(part, row.value.clone());
                        scanned += 1;
                        if part != store::DEFINITION {
                            continue;
                        }
                        let mut part = |part| parts.remove(&part).unwrap_or_default();
                        let definition = read::<JobDefinition>(&part(store::DEFINITION), "a job")?;
                        let is_granted = only.is_none_or(|tenant| tenant == definition.tenant);
                        let job = Job::of(StoredJob {
                            id,
                            definition,
                            status: read::<JobStatus>(&part(store::STATUS), "how a job stands")?,
                            lease: read::<JobLease>(&part(store::LEASE), "the lease of a job")?,
                        })?;
                        let id = job.id;
                        if is_granted && filter.takes(&job) {
                            page.jobs.push(job);
                        }
                        if page.jobs.len() == rows_max || scanned >= SCANNED_MAX {
                            page.after = Some(id);
                            return Ok(page);
                        }
                    }
                    next = request.after(&batch);
                }
                Ok(page)
            })
            .await
    }

    /// Cancels a job: at once if nobody has it, otherwise at its next step. What it did stays done.
    ///
    /// # Errors
    ///
    /// 20100; 20103 for a job that has ended otherwise; 20003, 20004 for a database that may not change.
    pub async fn cancel_job(&self, id: JobId) -> Result<Job> {
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                inner.check_writable(&*transaction).await?;
                let StoredJob { definition, mut status, lease, .. } =
                    store::load(inner, &*transaction, id.0).await?;
                self.authorize_job(&*transaction, Operation::CancelJob, id, &definition).await?;
                match status.state() {
                    JobStateKind::Cancelled => return Ok(()),
                    JobStateKind::Done | JobStateKind::Failed => {
                        let ended = if status.state() == JobStateKind::Done { "done" } else { "failed" };
                        return Err(Error::new(Code::JobEnded, format!("the job {id} is {ended}")));
                    }
                    JobStateKind::Waiting | JobStateKind::Running => {}
                }
                let change = Change { inner, transaction: &*transaction, id: id.0, definition: &definition };
                let is_held = !lease.owner.is_empty() && lease.expires_us > inner.env.clock.wall_us();
                match is_held {
                    false => change.end(status, lease, JobStateKind::Cancelled).map(|_| ()),
                    true => {
                        status.is_cancelling = true;
                        change.write(status.due_us, &status, &lease)
                    }
                }
            })
            .await?;
        self.job(id).await
    }
}

impl Database {
    /// Fails unless an operation on a job is allowed: one of another tenant is not there.
    async fn authorize_job(
        &self,
        transaction: &dyn Transaction,
        operation: Operation,
        id: JobId,
        definition: &JobDefinition,
    ) -> Result<()> {
        if self.grant().is_none() {
            return Ok(());
        }
        let now_us = self.inner.env.clock.wall_us();
        let tenant = match definition.tenant {
            0 => Err(Error::new(Code::TenantNotFound, "")),
            tenant => self.tenant_with_id(transaction, tenant).await,
        };
        // Its name may be another one's by now, on which the grant is.
        let tenant = tenant.and_then(|tenant| match tenant.info.state {
            TenantState::Deleted => Err(Error::new(Code::TenantNotFound, "")),
            _ => Ok(tenant),
        });
        match tenant {
            Ok(tenant) if self.access.covers_name(&tenant.info.name) => {
                let keys = &tenant.keys;
                let header = self.inner.header(transaction, tenant.info.id, keys).await?;
                self.check_tenant(transaction, &tenant.info, &header).await?;
                self.access.authorize(operation, now_us)
            }
            // Of the whole database, or of a tenant that there is no more.
            Err(error) if error.code() == Code::TenantNotFound && self.access.covers_all() => {
                self.access.authorize(Operation::ManageAllJobs, now_us)
            }
            Err(error) if error.code() != Code::TenantNotFound => Err(error),
            _ => Err(store::not_found(id.0)),
        }
    }

    /// Fails unless jobs may be listed; returns the id of the tenant whose jobs alone are, if a grant says so.
    async fn authorize_listing(&self, filter: &JobFilter) -> Result<Option<u64>> {
        match &filter.tenant {
            _ if self.grant().is_none() => Ok(None),
            None => self.authorize(Operation::ManageAllJobs).await.map(|()| None),
            Some(name) => {
                self.authorize_tenant(Operation::ViewJobs, name).await?;
                self.find_tenant(name).await.map(|info| Some(info.id))
            }
        }
    }
}

/// The id and the part that a key behind R 3 0 names.
fn place(elements: &[Element]) -> Result<(Uuid, u32)> {
    match elements {
        [Element::Uuid(id), Element::Int(part)] => Ok((*id, u32::try_from(*part).unwrap_or(u32::MAX))),
        _ => Err(Error::new(Code::StoredDataInvalid, "the key of a job has no id and part")),
    }
}
