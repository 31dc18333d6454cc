//! A job as its users see it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value as Json;
use uuid::Uuid;

use super::store::StoredJob;
use crate::error::{Code, Error, Result, shown};
use crate::messages::{JobStateKind, StoredFailure};

/// The identity of a job. Ids sort by the time of their creation, to the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub(super) Uuid);

impl fmt::Display for JobId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl FromStr for JobId {
    type Err = Error;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<JobId> {
        let not_found = |_| Error::new(Code::JobNotFound, format!("{} is no id of a job", shown(text)));
        Uuid::try_parse(text).map(JobId).map_err(not_found)
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobState {
    /// Nobody works on it: it is new, it has failed and will be tried again, or others have their turn.
    Waiting,
    /// A worker has it.
    Running,
    /// It came to its end.
    Done,
    /// It failed too often, or in a way that no repetition mends.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl JobState {
    /// Whether nothing will happen to it any more.
    pub fn has_ended(self) -> bool {
        matches!(self, JobState::Done | JobState::Failed | JobState::Cancelled)
    }

    /// The state in a word, for people and programs.
    pub fn name(self) -> &'static str {
        match self {
            JobState::Waiting => "waiting",
            JobState::Running => "running",
            JobState::Done => "done",
            JobState::Failed => "failed",
            JobState::Cancelled => "cancelled",
        }
    }

    /// The state of a [name](JobState::name).
    pub fn from_name(name: &str) -> Option<JobState> {
        let all =
            [JobState::Waiting, JobState::Running, JobState::Done, JobState::Failed, JobState::Cancelled];
        all.into_iter().find(|state| state.name() == name)
    }

    fn of(stored: JobStateKind) -> JobState {
        match stored {
            JobStateKind::Waiting => JobState::Waiting,
            JobStateKind::Running => JobState::Running,
            JobStateKind::Done => JobState::Done,
            JobStateKind::Failed => JobState::Failed,
            JobStateKind::Cancelled => JobState::Cancelled,
        }
    }
}

/// The error that a job met last.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobFailure {
    /// Its [number](Error::number).
    pub number: i32,
    /// Its [tag](Error::tag).
    pub tag: String,
    /// What was wrong; cut after [`JOB_ERROR_SIZE_BYTES_MAX`](crate::limits::JOB_ERROR_SIZE_BYTES_MAX) bytes.
    pub message: String,
}

impl From<StoredFailure> for JobFailure {
    fn from(stored: StoredFailure) -> JobFailure {
        JobFailure { number: stored.number, tag: stored.tag, message: stored.message }
    }
}

/// A job. All moments are microseconds since 1970; 0 stands for one that has not come.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Job {
    /// Its identity.
    pub id: JobId,
    /// What kind of work it is.
    pub kind: String,
    /// What the kind was told.
    pub parameters: Json,
    /// The name of the tenant that it works on; none for one of the whole database.
    pub tenant: Option<String>,
    /// How it stands.
    pub state: JobState,
    /// How much is done, in units of the kind.
    pub done: u64,
    /// How much there is to do, if the kind knows.
    pub total: Option<u64>,
    /// How many steps have succeeded.
    pub steps: u64,
    /// How much the next step will try to do, in units of the kind.
    pub step_size: u32,
    /// How often it has failed since the last step that succeeded.
    pub failures: u32,
    /// How often it has failed at all.
    pub failures_total: u32,
    /// When it was created.
    pub created_us: i64,
    /// When a worker first took it.
    pub started_us: i64,
    /// When a worker last had a hand in it.
    pub updated_us: i64,
    /// When it ended.
    pub ended_us: i64,
    /// From when on somebody may take it: the end of its back-off, or of the lease on it.
    pub due_us: i64,
    /// How long all its steps took together, in microseconds.
    pub working_us: u64,
    /// The worker that has it.
    pub owner: Option<Uuid>,
    /// The fencing token: how often a worker has taken it.
    pub token: u64,
    /// Whether it will be cancelled at its next step.
    pub is_cancelling: bool,
    /// What it brought, once it is done.
    pub result: Option<Json>,
    /// The error that it met last.
    pub error: Option<JobFailure>,
}

impl Job {
    pub(super) fn of(stored: StoredJob) -> Result<Job> {
        let StoredJob { id, definition, status, lease } = stored;
        let state = JobState::of(status.state());
        let json = |text: &str| {
            serde_json::from_str(text).map_err(|error| {
                Error::new(Code::StoredDataInvalid, format!("the job {id} holds no JSON: {error}"))
            })
        };
        Ok(Job {
            id: JobId(id),
            parameters: json(&definition.parameters)?,
            tenant: (definition.tenant != 0).then_some(definition.tenant_name),
            state,
            done: status.done,
            total: status.total,
            steps: status.steps,
            step_size: status.step_size,
            failures: status.failures,
            failures_total: status.failures_total,
            created_us: definition.created_us,
            started_us: status.started_us,
            updated_us: status.updated_us,
            ended_us: status.ended_us,
            due_us: status.due_us,
            working_us: status.working_us,
            owner: Uuid::from_slice(&lease.owner).ok(),
            token: lease.token,
            is_cancelling: status.is_cancelling && !state.has_ended(),
            result: (!status.result.is_empty()).then(|| json(&status.result)).transpose()?,
            error: status.error.map(JobFailure::from),
            kind: definition.kind,
        })
    }

    /// How many units a second it does while somebody works on it; none before there is something to tell it by.
    pub fn rate(&self) -> Option<f64> {
        let is_known = self.working_us > 0 && self.done > 0;
        is_known.then(|| self.done as f64 * 1e6 / self.working_us as f64)
    }

    /// How long the rest takes at this rate, waits aside; none when it has ended, or it is not known how much there is to do.
    pub fn remaining(&self) -> Option<Duration> {
        let rest = self.total.filter(|_| !self.state.has_ended())?.saturating_sub(self.done);
        Duration::try_from_secs_f64(rest as f64 / self.rate()?).ok()
    }
}
