//! Workers: who does the steps of jobs. A worker starts no task and no thread: whoever calls it drives it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tenantry_kv::Isolation;
use tenantry_kv::runner::RetryPolicy;
use uuid::Uuid;

use super::job::{Job, JobId};
use super::kind::{JobKind, JobKinds};
use super::kinds::Purge;
use super::purges;
use super::queue::{self, Picked};
use super::retention;
use super::step::{self, Held, Stepped, Stepper};
use super::store::{Change, Reading, StoredJob};
use crate::access::Operation;
use crate::database::{Database, new_uuid};
use crate::error::{Code, Error, Result};
use crate::limits::{
    JOB_FAILURES_MAX, JOB_LEASE_MS_DEFAULT, JOB_STEP_SIZE_MAX, JOB_TURN_STEPS_MAX, JOBS_ENDED_MAX,
};
use crate::messages::JobStateKind;
use crate::tenant_state::is_of_state;

/// How long a worker keeps a job before it looks for the next.
const TURN: Duration = Duration::from_secs(1);
/// How long a worker waits at most before it looks again whether there is something to do.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a worker does not look whether deleted tenants are to be purged.
const PURGE_INTERVAL: Duration = Duration::from_secs(10);

/// Does steps of jobs, one after another, fairly over the tenants.
///
/// Any number of workers, in any number of processes, share the jobs of a database. One that stops in the middle keeps its job until its lease runs out; then another takes it
/// and goes on behind the last step that was committed.
pub struct Worker {
    database: Database,
    kinds: JobKinds,
    owner: Uuid,
    lease: Duration,
    /// The tenant whose job was taken last.
    after: u64,
    held: Option<Held>,
    /// Why the last step was refused, if that was for the state of the job's tenant.
    refusal: Option<Error>,
    /// When it last looked for deleted tenants whose grace is over.
    purges_seen: Option<Duration>,
    /// Whether others took the job before that it looked at last.
    collides: bool,
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Worker({}, {:?})", self.owner, self.kinds)
    }
}

/// What a worker did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Worked {
    /// A step of the job.
    Step(Box<Job>),
    /// A step of the job, which failed and will be tried again.
    Failed(Box<Job>),
    /// The job has ended.
    Ended(Box<Job>),
    /// Nothing: the state of the job's tenant forbids it. The job waits, without a failure, until that state changes; its error says why.
    Suspended(Box<Job>),
    /// It found that another worker had the job that it took for its own.
    Lost(JobId),
    /// Nothing: there is no job that it can take now.
    Idle {
        /// From when on there may be one, in microseconds since 1970; none if every job of its kinds has ended.
        next_us: Option<i64>,
    },
}

/// What came of taking a job.
enum Taken {
    Held(Box<Held>),
    Ended(Box<Job>),
    /// Somebody else has it, it waits, or it has ended.
    NotFree,
}

impl Worker {
    /// A worker for jobs of some kinds.
    pub fn new(database: &Database, kinds: JobKinds) -> Worker {
        let env = &database.inner.env;
        let owner = new_uuid(env);
        // Somewhere, so that workers that begin together do not all take the same job.
        let after = env.randomness.next_u64("jobs: first tenant") % (1 << 32);
        let lease = Duration::from_millis(JOB_LEASE_MS_DEFAULT);
        Worker {
            database: database.clone(),
            kinds,
            owner,
            lease,
            after,
            held: None,
            refusal: None,
            purges_seen: None,
            collides: false,
        }
    }

    /// The same worker that keeps a job for `lease` after its last sign of life; at least a millisecond. A step that takes longer may be lost to another worker, and done
    /// again.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Worker {
        self.lease = lease.max(Duration::from_millis(1));
        self
    }

    /// The worker's identity, which stands in the leases that it has.
    pub fn owner(&self) -> Uuid {
        self.owner
    }

    /// Does one step of some job.
    ///
    /// When the future is dropped in the middle, the step has taken effect or has not, and the job is free when its lease runs out.
    ///
    /// # Errors
    ///
    /// 20003, 20004 while the database may not change; the engine's own, when not even a failure can be noted. What goes wrong in a job is noted in the job.
    pub async fn run_one_step(&mut self) -> Result<Worked> {
        self.database.authorize(Operation::ManageAllJobs).await?;
        let held = match self.held.take() {
            Some(held) => held,
            None => match self.next_job().await? {
                Ok(held) => *held,
                Err(worked) => return Ok(worked),
            },
        };
        let releases = held.steps + 1 >= JOB_TURN_STEPS_MAX
            || self.database.inner.env.clock.monotonic().saturating_sub(held.taken) >= TURN;
        self.step(held, releases).await
    }

    /// Works until every job of its kinds has ended, whoever ended it: it waits for back-offs, and for the leases of others. Returns how many steps it did.
    ///
    /// # Errors
    ///
    /// As [`run_one_step`](Worker::run_one_step).
    pub async fn run_until_idle(&mut self) -> Result<u64> {
        let mut steps = 0;
        loop {
            match self.run_one_step().await? {
                Worked::Idle { next_us: None } => return Ok(steps),
                Worked::Idle { next_us: Some(next_us) } => self.wait(next_us).await?,
                _ => steps += 1,
            }
        }
    }

    /// Works on one job until it has ended, and returns it. `progress` is told after each step how it stands.
    ///
    /// # Errors
    ///
    /// 20100; 20102 for a job of a kind that this worker does not know; 20010, 20013 to 20015 when the state of its tenant forbids it, and the job waits; as [`run_one_step`](Worker::run_one_step).
    pub async fn run_job(&mut self, id: JobId, mut progress: impl FnMut(&Job)) -> Result<Job> {
        self.database.authorize(Operation::ManageAllJobs).await?;
        loop {
            let job = self.database.job(id).await?;
            progress(&job);
            if job.state.has_ended() {
                return Ok(job);
            }
            self.kinds.kind(&job.kind)?;
            match self.take(id.0).await? {
                Taken::Ended(job) => return Ok(*job),
                Taken::NotFree => self.wait(job.due_us).await?,
                Taken::Held(held) => {
                    self.held = Some(*held);
                    while let Some(held) = self.held.take() {
                        match self.step(held, false).await? {
                            Worked::Step(job) | Worked::Failed(job) | Worked::Ended(job) => progress(&job),
                            Worked::Suspended(job) => {
                                progress(&job);
                                if let Some(refusal) = self.refusal.take() {
                                    return Err(refusal);
                                }
                            }
                            Worked::Lost(_) | Worked::Idle { .. } => {}
                        }
                    }
                }
            }
        }
    }

    /// Waits until a moment, but not for long: others may give a job back before.
    async fn wait(&self, until_us: i64) -> Result<()> {
        let env = &self.database.inner.env;
        let rest = u64::try_from(until_us - env.clock.wall_us()).unwrap_or(0).max(1_000);
        Ok(env.timer.sleep(Duration::from_micros(rest).min(LOOK_INTERVAL)).await?)
    }

    fn stepper(&self) -> Stepper<'_> {
        let mut policy = RetryPolicy::default();
        // Whoever tries for longer than its lease tries in vain.
        policy.deadline = self.lease;
        let runner = self.database.inner.runner.clone().with_policy(policy);
        Stepper { database: &self.database, owner: self.owner, lease: self.lease, runner }
    }

    /// The next job in turn, taken; or what came instead.
    async fn next_job(&mut self) -> Result<Result<Box<Held>, Worked>> {
        self.look_for_purges().await?;
        loop {
            match queue::pick(&self.database.inner, &self.kinds, self.after, self.collides).await? {
                Picked::None { next_us } => return Ok(Err(Worked::Idle { next_us })),
                Picked::Job { id, tenant } => {
                    let taken = self.take(id).await?;
                    self.collides = matches!(taken, Taken::NotFree);
                    match taken {
                        // Another one was quicker: perhaps there is more of the same tenant.
                        Taken::NotFree => continue,
                        Taken::Held(held) => {
                            self.after = tenant;
                            return Ok(Ok(held));
                        }
                        Taken::Ended(job) => {
                            self.after = tenant;
                            return Ok(Err(Worked::Ended(job)));
                        }
                    }
                }
            }
        }
    }

    /// Gives jobs to deleted tenants whose grace is over, once in a while.
    async fn look_for_purges(&mut self) -> Result<()> {
        let now = self.database.inner.env.clock.monotonic();
        let is_time = self.purges_seen.is_none_or(|seen| now.saturating_sub(seen) >= PURGE_INTERVAL);
        if is_time && self.kinds.has(Purge.name()) {
            // As many as there are: the next look is some time away.
            while purges::schedule(&self.database).await? > 0 {}
            self.purges_seen = Some(now);
        }
        Ok(())
    }

    /// Takes a job, if it is free: the fencing token grows, so that whoever had it before can do nothing with it any more.
    async fn take(&self, id: Uuid) -> Result<Taken> {
        let stepper = &self.stepper();
        let taken = stepper
            .runner
            .run(|transaction| async move {
                let inner = &self.database.inner;
                step::in_background(&*transaction)?;
                inner.check_writable(&*transaction).await?;
                let reading = Reading::begin(inner, &*transaction, id, Isolation::Serializable)?;
                let Some(StoredJob { definition, mut status, mut lease, .. }) = reading.job().await? else {
                    return Ok(Taken::NotFree);
                };
                let has_ended = !matches!(status.state(), JobStateKind::Waiting | JobStateKind::Running);
                if has_ended || status.due_us > stepper.now_us() {
                    return Ok(Taken::NotFree);
                }
                let change = Change { inner, transaction: &*transaction, id, definition: &definition };
                let ended = |status, lease, state| match step::end(&change, status, lease, state)? {
                    Stepped::Ended(job) => Ok(Taken::Ended(job)),
                    _ => Ok(Taken::NotFree),
                };
                if status.is_cancelling {
                    return ended(status, lease, JobStateKind::Cancelled);
                }
                if !lease.owner.is_empty() {
                    let detail = "a worker stopped in the middle of a step and its lease ran out";
                    step::note_failure(&mut status, &Error::new(Code::JobAbandoned, detail));
                    if status.failures >= JOB_FAILURES_MAX {
                        return ended(status, lease, JobStateKind::Failed);
                    }
                }
                let tenant = match definition.tenant {
                    0 => None,
                    tenant => match self.database.tenant_with_id(&*transaction, tenant).await {
                        Ok(tenant) => Some(tenant),
                        Err(error) if error.code() == Code::TenantNotFound => {
                            step::note_failure(&mut status, &error);
                            return ended(status, lease, JobStateKind::Failed);
                        }
                        Err(error) => return Err(error),
                    },
                };
                let parameters = serde_json::from_str(&definition.parameters).map_err(|error| {
                    Error::new(Code::StoredDataInvalid, format!("the job {id} holds no JSON: {error}"))
                })?;
                let due_us = status.due_us;
                lease.token += 1;
                stepper.take(&mut status, &mut lease);
                if status.started_us == 0 {
                    status.started_us = status.updated_us;
                }
                change.write(due_us, &status, &lease)?;
                Ok(Taken::Held(Box::new(Held {
                    id,
                    kind: self.kinds.kind(&definition.kind)?.clone(),
                    parameters: Arc::new(parameters),
                    tenant,
                    token: lease.token,
                    steps: 0,
                    taken: inner.env.clock.monotonic(),
                    size_max: JOB_STEP_SIZE_MAX,
                    definition,
                })))
            })
            .await?;
        if let Taken::Ended(_) = taken {
            self.tidy().await;
        }
        Ok(taken)
    }

    /// One step of a job that this worker has, and what is to be noted of it.
    async fn step(&mut self, mut held: Held, releases: bool) -> Result<Worked> {
        let stepper = self.stepper();
        let id = JobId(held.id);
        let worked = match stepper.step(&mut held, releases).await {
            Ok(Stepped::Goes(job)) => {
                held.steps += 1;
                self.held = Some(held);
                return Ok(Worked::Step(job));
            }
            Ok(Stepped::Released(job)) => Worked::Step(job),
            Ok(Stepped::Ended(job)) => Worked::Ended(job),
            Ok(Stepped::Parked(job)) => Worked::Suspended(job),
            Ok(Stepped::Lost) => Worked::Lost(id),
            // The job can do nothing for it.
            Err(error) if matches!(error.code(), Code::DatabaseReadOnly | Code::DatabaseIncomplete) => {
                return Err(error);
            }
            Err(error) => {
                let tenant = held.tenant.as_ref().filter(|_| is_of_state(&error));
                let noted = match tenant {
                    Some(tenant) => stepper.park(&held, tenant, &error).await?,
                    None => stepper.fail(&held, &error).await?,
                };
                match noted {
                    Stepped::Ended(job) => Worked::Ended(job),
                    Stepped::Goes(job) | Stepped::Released(job) => Worked::Failed(job),
                    Stepped::Parked(job) => {
                        self.refusal = Some(error);
                        Worked::Suspended(job)
                    }
                    Stepped::Lost => Worked::Lost(id),
                }
            }
        };
        if let Worked::Ended(_) = worked {
            self.tidy().await;
        }
        Ok(worked)
    }

    /// Removes what is kept for too long. Where that fails, whoever ends the next job does it.
    async fn tidy(&self) {
        let _ = retention::trim(&self.database.inner, JOBS_ENDED_MAX).await;
    }
}
