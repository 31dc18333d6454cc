//! Deleted tenants whose grace is over get a job that purges them. Whoever works on jobs looks for them from time to time.

use tenantry_kv::tuple::Element;
use tenantry_kv::{Isolation, KeyRange, RangeRequest, Transaction};
use uuid::Uuid;

use super::create;
use super::job::JobId;
use super::kinds::Purge;
use super::store::Reading;
use crate::access::Operation;
use crate::database::{Database, Inner};
use crate::error::{Code, Error, Result, shown};
use crate::key_space::behind;
use crate::messages::JobStateKind;
use crate::tenant_state::TenantState;

/// How many tenants get a job at a time.
const SCHEDULED_MAX: usize = 100;
/// When it is looked again whether a tenant is gone, and its job did not fail: an hour.
const LOOK_AGAIN_US: i64 = 3_600_000_000;

impl Database {
    /// Creates the job that purges a deleted tenant: now if `is_forced`, otherwise when its grace is over. Where several deleted tenants had the name, `id` says which.
    ///
    /// # Errors
    ///
    /// 20010 when no deleted tenant had that name; 20017 when several had it; 20019 when its grace is not over; as [`create_job`](Database::create_job).
    pub async fn purge_tenant(&self, name: &str, id: Option<u64>, is_forced: bool) -> Result<JobId> {
        self.authorize(Operation::ManageDeletedTenants).await?;
        let tenant = self.deleted_tenant(name, id).await?;
        let is_due = tenant.purge_due_us.is_none_or(|due_us| due_us <= self.inner.env.clock.wall_us());
        if !is_due && !is_forced {
            let detail = format!("{}: purge it without waiting, or bring it back", shown(name));
            return Err(Error::new(Code::TenantGraceRuns, detail));
        }
        self.create_job(&Purge, None, &Purge::parameters(tenant.id, is_forced)).await
    }
}

/// Creates the jobs of those that are due, and returns how many there were.
pub(super) async fn schedule(database: &Database) -> Result<usize> {
    let inner = &database.inner;
    let now_us = inner.env.clock.wall_us();
    let due = inner.keys.purges_due()?;
    let end = behind(&due.pack(&[Element::Int(now_us)])?, &[0xff]);
    let due = &due;
    let range = &KeyRange::new(due.tuples().begin, end);
    let ids = inner
        .runner
        .read(|transaction| async move {
            let request = RangeRequest::new(range.begin.clone(), range.end.clone()).limit(SCHEDULED_MAX);
            let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
            batch.rows.iter().map(|row| id_of(&due.unpack(&row.key)?)).collect::<Result<Vec<u64>>>()
        })
        .await?;
    for id in &ids {
        let job = create::new_id(inner);
        let definition = &create::define(inner, &Purge, None, &Purge::parameters(*id, false))?;
        inner
            .runner
            .run(|transaction| async move {
                let mut tenant = match inner.stored_tenant(&*transaction, *id).await {
                    Ok(tenant) => tenant,
                    // Somebody else's purge was quicker.
                    Err(error) if error.code() == Code::TenantNotFound => return Ok(()),
                    Err(error) => return Err(error),
                };
                let is_deleted = TenantState::stored(tenant.header.state)? == TenantState::Deleted;
                if !is_deleted || tenant.entry.look_us > now_us {
                    return Ok(());
                }
                if !is_under_way(inner, &*transaction, &tenant.entry.purge_job).await? {
                    create::enqueue(inner, &*transaction, job, definition).await?;
                    tenant.entry.purge_job = job.as_bytes().to_vec();
                }
                let before = inner.keys.purge_due(tenant.entry.look_us, *id)?;
                tenant.entry.look_us = now_us.saturating_add(LOOK_AGAIN_US);
                let sets = vec![(inner.keys.purge_due(tenant.entry.look_us, *id)?, bytes::Bytes::new())];
                inner.write_tenant(&*transaction, &tenant, sets, &[before]).await.map(drop)
            })
            .await?;
    }
    Ok(ids.len())
}

/// Whether there is a job of an id that has not ended.
async fn is_under_way(inner: &Inner, transaction: &dyn Transaction, job: &[u8]) -> Result<bool> {
    let Ok(job) = Uuid::from_slice(job) else { return Ok(false) };
    let reading = Reading::begin(inner, transaction, job, Isolation::Serializable)?;
    let found = reading.job().await?;
    Ok(found.is_some_and(|job| matches!(job.status.state(), JobStateKind::Waiting | JobStateKind::Running)))
}

fn id_of(elements: &[Element]) -> Result<u64> {
    match elements {
        [_, Element::Int(id)] => Ok(u64::try_from(*id).unwrap_or(0)),
        _ => Err(Error::new(Code::StoredDataInvalid, "the key of a purge has no time and tenant")),
    }
}
