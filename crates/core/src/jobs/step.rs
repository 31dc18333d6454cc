//! One step of a job: the kind's work and the job's bookkeeping in one transaction, if the worker still has the job.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value as Json;
use tenantry_kv::runner::Runner;
use tenantry_kv::{ErrorCode, Transaction, TransactionOption, TransactionRef};
use uuid::Uuid;

use super::job::Job;
use super::kind::{JobKind, JobStep, Next};
use super::store::{self, Change, StoredJob};
use crate::admission::Class;
use crate::database::Database;
use crate::error::{Code, Error, Kind, Result};
use crate::limits::{JOB_BACK_OFF_MS_INITIAL, JOB_BACK_OFF_MS_MAX, JOB_FAILURES_MAX, JOB_STEP_SIZE_MAX};
use crate::messages::{JobDefinition, JobLease, JobStateKind, JobStatus};
use crate::tenant::{Tenant, TenantTransaction};
use crate::tenant_state::TenantState;

/// A step that took less lets the next one do more.
const QUICK: Duration = Duration::from_millis(100);
/// A step that took more lets the next one do less.
const SLOW: Duration = Duration::from_secs(1);

/// A job that a worker has.
pub(super) struct Held {
    pub(super) id: Uuid,
    pub(super) kind: Arc<dyn JobKind>,
    pub(super) definition: JobDefinition,
    pub(super) parameters: Arc<Json>,
    pub(super) tenant: Option<Tenant>,
    pub(super) token: u64,
    /// How many steps of it were done since it was taken, and when that was.
    pub(super) steps: u32,
    pub(super) taken: Duration,
    /// The most that a step of it can do, as far as is known.
    pub(super) size_max: u32,
}

/// What a step made of a job.
pub(super) enum Stepped {
    /// There is more to do, and the worker still has the job.
    Goes(Box<Job>),
    /// There is more to do; the job was given back.
    Released(Box<Job>),
    Ended(Box<Job>),
    /// The state of its tenant forbids it: the job was given back, and waits for another state.
    Parked(Box<Job>),
    /// Somebody else has the job.
    Lost,
}

/// Who steps, and how.
pub(super) struct Stepper<'a> {
    pub(super) database: &'a Database,
    pub(super) owner: Uuid,
    pub(super) lease: Duration,
    pub(super) runner: Runner,
}

/// Background work goes behind everybody else's.
pub(super) fn in_background(transaction: &dyn Transaction) -> Result<()> {
    Ok(transaction.set_option(TransactionOption::PriorityBatch)?)
}

impl Stepper<'_> {
    pub(super) fn now_us(&self) -> i64 {
        self.database.inner.env.clock.wall_us()
    }

    fn lease_end_us(&self) -> i64 {
        self.now_us().saturating_add(i64::try_from(self.lease.as_micros()).unwrap_or(i64::MAX))
    }

    /// Gives a lease to this worker.
    pub(super) fn take(&self, status: &mut JobStatus, lease: &mut JobLease) {
        lease.owner = self.owner.as_bytes().to_vec();
        lease.expires_us = self.lease_end_us();
        status.set_state(JobStateKind::Running);
        status.due_us = lease.expires_us;
        status.updated_us = self.now_us();
    }

    /// Gives a job back, to be taken again from `due_us` on.
    fn release(&self, status: &mut JobStatus, lease: &mut JobLease, due_us: i64) {
        lease.owner = Vec::new();
        lease.expires_us = 0;
        status.set_state(JobStateKind::Waiting);
        status.due_us = due_us;
        status.updated_us = self.now_us();
    }

    /// Does a step of at most so many units as turn out to fit into a transaction.
    pub(super) async fn step(&self, held: &mut Held, releases: bool) -> Result<Stepped> {
        loop {
            let size = AtomicU32::new(held.size_max);
            let result = self.attempt(held, releases, &size).await;
            let size = size.into_inner();
            match result {
                Err(error) if is_too_large(&error) && size > 1 => held.size_max = size - size.div_ceil(4),
                result => return result,
            }
        }
    }

    /// Runs the transaction of a step until it has taken effect. Every attempt after the first does half as much; `size` tells what the last one did at most.
    async fn attempt(&self, held: &Held, releases: bool, size: &AtomicU32) -> Result<Stepped> {
        let shift = AtomicU32::new(0);
        let once = |transaction: TransactionRef, tenant: Option<TenantTransaction>| {
            let shift = shift.fetch_add(1, Ordering::Relaxed).min(31);
            self.once(held, transaction, tenant, releases, shift, size)
        };
        match &held.tenant {
            Some(tenant) => {
                let body = |running: TenantTransaction| {
                    once(running.engine_transaction().clone(), Some(running.clone()))
                };
                let done = tenant.run_prepared(&self.runner, Class::Background, in_background, body).await;
                done.map(|completed| completed.value)
            }
            None => {
                let body = |transaction: TransactionRef| {
                    let prepared = in_background(&*transaction);
                    let work = once(transaction, None);
                    async move {
                        prepared?;
                        work.await
                    }
                };
                self.runner.run(body).await
            }
        }
    }

    async fn once(
        &self,
        held: &Held,
        transaction: TransactionRef,
        tenant: Option<TenantTransaction>,
        releases: bool,
        shift: u32,
        size: &AtomicU32,
    ) -> Result<Stepped> {
        let inner = &self.database.inner;
        let started = inner.env.clock.monotonic();
        inner.check_writable(&*transaction).await?;
        let Some((mut status, mut lease)) = self.still_held(held, &*transaction).await? else {
            return Ok(Stepped::Lost);
        };
        let change = Change { inner, transaction: &*transaction, id: held.id, definition: &held.definition };
        if status.is_cancelling {
            return end(&change, status, lease, JobStateKind::Cancelled);
        }
        let step_size = (status.step_size.clamp(1, held.size_max) >> shift).max(1);
        size.store(step_size, Ordering::Relaxed);
        let step = JobStep {
            database: self.database.clone(),
            transaction: transaction.clone(),
            tenant,
            parameters: held.parameters.clone(),
            cursor: status.cursor.clone(),
            size: step_size,
            done: status.done,
        };
        let outcome = held.kind.step(step).await?;
        let took = inner.env.clock.monotonic().saturating_sub(started);
        (status.done, status.total) = (outcome.done, outcome.total.or(status.total));
        status.steps += 1;
        status.failures = 0;
        status.working_us += u64::try_from(took.as_micros()).unwrap_or(0);
        status.step_size = next_size(step_size, took, shift);
        match outcome.next {
            Next::Finished(result) => {
                status.result = store::stored_result(&result)?;
                end(&change, status, lease, JobStateKind::Done)
            }
            Next::More(cursor) => {
                status.cursor = store::checked_cursor(cursor)?;
                let due_us = status.due_us;
                match releases {
                    true => self.release(&mut status, &mut lease, self.now_us()),
                    false => self.take(&mut status, &mut lease),
                }
                change.write(due_us, &status, &lease)?;
                let job = Box::new(job(&change, status, lease)?);
                Ok(if releases { Stepped::Released(job) } else { Stepped::Goes(job) })
            }
        }
    }

    /// How the job stands, if this worker still has it: read with a conflict, so that nobody else gets it while this transaction runs.
    async fn still_held(
        &self,
        held: &Held,
        transaction: &dyn Transaction,
    ) -> Result<Option<(JobStatus, JobLease)>> {
        let inner = &self.database.inner;
        let reading =
            store::Reading::begin(inner, transaction, held.id, tenantry_kv::Isolation::Serializable)?;
        let Some(StoredJob { status, lease, .. }) = reading.job().await? else { return Ok(None) };
        let is_held = lease.owner == self.owner.as_bytes() && lease.token == held.token;
        Ok(is_held.then_some((status, lease)))
    }

    /// Notes that a step failed: it will be tried again after a back-off, or the job has failed.
    pub(super) async fn fail(&self, held: &Held, error: &Error) -> Result<Stepped> {
        let inner = &self.database.inner;
        self.runner
            .run(|transaction| async move {
                in_background(&*transaction)?;
                inner.check_writable(&*transaction).await?;
                let Some((mut status, mut lease)) = self.still_held(held, &*transaction).await? else {
                    return Ok(Stepped::Lost);
                };
                let change =
                    Change { inner, transaction: &*transaction, id: held.id, definition: &held.definition };
                note_failure(&mut status, error);
                if status.is_cancelling {
                    return end(&change, status, lease, JobStateKind::Cancelled);
                }
                if is_final(error) || status.failures >= JOB_FAILURES_MAX {
                    return end(&change, status, lease, JobStateKind::Failed);
                }
                let before_us = status.due_us;
                let due_us = self.now_us() + self.back_off_us(status.failures);
                self.release(&mut status, &mut lease, due_us);
                change.write(before_us, &status, &lease)?;
                Ok(Stepped::Released(Box::new(job(&change, status, lease)?)))
            })
            .await
    }

    /// Gives a job back whose step was refused for the state of its tenant. That is no failure: it waits until the state changes. A tenant that is gone for good ends it.
    pub(super) async fn park(&self, held: &Held, tenant: &Tenant, error: &Error) -> Result<Stepped> {
        let inner = &self.database.inner;
        self.runner
            .run(|transaction| async move {
                in_background(&*transaction)?;
                inner.check_writable(&*transaction).await?;
                let Some((mut status, mut lease)) = self.still_held(held, &*transaction).await? else {
                    return Ok(Stepped::Lost);
                };
                let change =
                    Change { inner, transaction: &*transaction, id: held.id, definition: &held.definition };
                if status.is_cancelling {
                    return end(&change, status, lease, JobStateKind::Cancelled);
                }
                let state = match inner.header(&*transaction, tenant.info.id, &tenant.keys).await {
                    Ok(header) => TenantState::stored(header.state)?,
                    Err(gone) if gone.code() == Code::TenantNotFound => {
                        note_failure(&mut status, &gone);
                        return end(&change, status, lease, JobStateKind::Failed);
                    }
                    Err(error) => return Err(error),
                };
                status.error = Some(store::stored_failure(error));
                let before_us = status.due_us;
                self.release(&mut status, &mut lease, self.now_us());
                change.write(before_us, &status, &lease)?;
                if state != TenantState::Active {
                    change.park(status.due_us)?;
                }
                Ok(Stepped::Parked(Box::new(job(&change, status, lease)?)))
            })
            .await
    }

    /// The wait after so many failures in a row: doubled each time, and up to a fifth longer, so that jobs that failed together do not come back together.
    fn back_off_us(&self, failures: u32) -> i64 {
        let doubled = JOB_BACK_OFF_MS_INITIAL.saturating_mul(1 << failures.saturating_sub(1).min(20));
        let back_off_us = doubled.min(JOB_BACK_OFF_MS_MAX) * 1_000;
        let more_us = self.database.inner.env.randomness.next_u64("jobs: back-off") % (back_off_us / 5);
        i64::try_from(back_off_us + more_us).unwrap_or(i64::MAX)
    }
}

/// Notes an error in how a job stands.
pub(super) fn note_failure(status: &mut JobStatus, error: &Error) {
    status.failures += 1;
    status.failures_total += 1;
    status.step_size = (status.step_size / 2).max(1);
    status.error = Some(store::stored_failure(error));
}

/// Writes the end of a job.
pub(super) fn end(
    change: &Change<'_>,
    status: JobStatus,
    lease: JobLease,
    state: JobStateKind,
) -> Result<Stepped> {
    let (status, lease) = change.end(status, lease, state)?;
    Ok(Stepped::Ended(Box::new(job(change, status, lease)?)))
}

fn job(change: &Change<'_>, status: JobStatus, lease: JobLease) -> Result<Job> {
    Job::of(StoredJob { id: change.id, definition: change.definition.clone(), status, lease })
}

/// Half as much again after a quick step, half as much after a slow one.
fn next_size(size: u32, took: Duration, retries: u32) -> u32 {
    let next = match took {
        took if took > SLOW => size / 2,
        took if took < QUICK && retries == 0 => size.saturating_add(size.div_ceil(2)),
        _ => size,
    };
    next.clamp(1, JOB_STEP_SIZE_MAX)
}

/// Whether a smaller step may do.
fn is_too_large(error: &Error) -> bool {
    error.code() == Code::LimitPassed || error.number() == ErrorCode::TRANSACTION_TOO_LARGE.number()
}

/// Whether no repetition mends it.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), Kind::Invalid | Kind::NotFound | Kind::Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_when_quick_and_shrink_when_slow() {
        let millis = Duration::from_millis;
        assert_eq!(next_size(100, millis(5), 0), 150);
        assert_eq!(next_size(100, millis(5), 1), 100);
        assert_eq!(next_size(100, millis(500), 0), 100);
        assert_eq!(next_size(100, millis(1_500), 0), 50);
        assert_eq!(next_size(1, millis(1_500), 0), 1);
        assert_eq!(next_size(1, millis(5), 0), 2);
        assert_eq!(next_size(JOB_STEP_SIZE_MAX, millis(5), 0), JOB_STEP_SIZE_MAX);
    }
}
