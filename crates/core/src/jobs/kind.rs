//! What a kind of job is, and which there are.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value as Json;
use tenantry_kv::TransactionRef;

use super::kinds;
use crate::access::Action;
use crate::database::Database;
use crate::error::{Code, Error, Result};
use crate::tenant::TenantTransaction;

/// What one step of a job brings.
pub type StepFuture<'a> = Pin<Box<dyn Future<Output = Result<StepOutcome>> + Send + 'a>>;

/// A kind of job: how one step of it is done.
///
/// A step may run several times before it takes effect: what it does outside its transaction has to bear that. It belongs to a short transaction, so it should do about
/// [`JobStep::size`] units of work and be done well within a second; the worker makes that size fit.
pub trait JobKind: Send + Sync {
    /// The kind's name, which never changes.
    fn name(&self) -> &'static str;

    /// Fails for parameters that make no sense. Called when a job is created.
    ///
    /// # Errors
    ///
    /// 20101, or whatever says what is wrong.
    fn check(&self, parameters: &Json) -> Result<()>;

    /// What the holder of a grant needs to create a job of the kind, besides [`Action::ManageJobs`]: the steps themselves know no grant. A kind that does not say needs
    /// [`Action::ManageDatabase`].
    fn actions(&self) -> &'static [Action] {
        &[Action::ManageDatabase]
    }

    /// Does one step: a piece of work in the step's transaction, and where to go on.
    ///
    /// An error undoes what the step did. It is tried again, with a smaller size where the engine asks for a retry or a limit is passed, and otherwise after a back-off;
    /// an error of the kinds *Invalid*, *NotFound* and *Corrupt* ends the job at once.
    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a>;
}

/// What a step works with.
#[derive(Clone)]
pub struct JobStep {
    pub(super) database: Database,
    pub(super) transaction: TransactionRef,
    pub(super) tenant: Option<TenantTransaction>,
    pub(super) parameters: Arc<Json>,
    pub(super) cursor: Bytes,
    pub(super) size: u32,
    pub(super) done: u64,
}

impl fmt::Debug for JobStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JobStep { parameters, size, done, .. } = self;
        write!(formatter, "JobStep {{ parameters: {parameters}, size: {size}, done: {done} }}")
    }
}

impl JobStep {
    /// The step's transaction on the job's tenant.
    ///
    /// # Errors
    ///
    /// 20101 for a job of the whole database.
    pub fn tenant(&self) -> Result<&TenantTransaction> {
        let none = || Error::new(Code::JobInvalid, "this kind of job needs a tenant: create it with one");
        self.tenant.as_ref().ok_or_else(none)
    }

    /// The database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The step's transaction on the engine, for the layer's own kinds.
    pub(crate) fn transaction(&self) -> &TransactionRef {
        &self.transaction
    }

    /// What the job was told.
    pub fn parameters(&self) -> &Json {
        &self.parameters
    }

    /// Where the step before ended; empty for the first one.
    pub fn cursor(&self) -> &Bytes {
        &self.cursor
    }

    /// About how many units this step should do; at least 1.
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// How many units were done before.
    pub fn done(&self) -> u64 {
        self.done
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq)]
pub struct StepOutcome {
    pub(super) done: u64,
    pub(super) total: Option<u64>,
    pub(super) next: Next,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    More(Bytes),
    Finished(Json),
}

impl StepOutcome {
    /// There is more to do, from `cursor` on; `done` units are done in all.
    pub fn more(cursor: impl Into<Bytes>, done: u64) -> StepOutcome {
        StepOutcome { done, total: None, next: Next::More(cursor.into()) }
    }

    /// It is all done, `done` units, and this is what it brought.
    pub fn finished(result: Json, done: u64) -> StepOutcome {
        StepOutcome { done, total: Some(done), next: Next::Finished(result) }
    }

    /// The same, and tells how many units there are in all, or about.
    #[must_use]
    pub fn of(mut self, total: u64) -> StepOutcome {
        self.total = Some(total);
        self
    }
}

/// The kinds of jobs that a worker knows. Jobs of other kinds are left to others.
#[derive(Clone, Default)]
pub struct JobKinds(BTreeMap<&'static str, Arc<dyn JobKind>>);

impl fmt::Debug for JobKinds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl JobKinds {
    /// No kind.
    pub fn none() -> JobKinds {
        JobKinds::default()
    }

    /// The kinds that come with this library.
    pub fn standard() -> JobKinds {
        kinds::all().into_iter().fold(JobKinds::none(), JobKinds::with)
    }

    /// The same with a kind more; it takes the place of one of the same name.
    #[must_use]
    pub fn with(mut self, kind: Arc<dyn JobKind>) -> JobKinds {
        self.0.insert(kind.name(), kind);
        self
    }

    /// The kind of a name.
    ///
    /// # Errors
    ///
    /// 20102 naming those that there are.
    pub fn kind(&self, name: &str) -> Result<&Arc<dyn JobKind>> {
        self.0.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.0.keys().copied().collect();
            let detail = format!("{}; known are {}", crate::error::shown(name), known.join(", "));
            Error::new(Code::JobKindUnknown, detail)
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
