//! The retry runner: a closure run as a transaction, until it has taken effect exactly once.
//!
//! A commit has three outcomes: committed, not committed, unknown. Running a transaction again after an unknown outcome could
//! apply it twice. On an engine that can answer "unknown", the runner therefore gives every running transaction a
//! *slot*: a key that each attempt reads (as a conflict range) and writes a fresh nonce to. After an unknown
//! outcome the runner settles the matter with a transaction of its own that reads the slot: the attempt's nonce means committed.
//! Any other value is overwritten, which makes a late arrival of the attempt conflict: from then on "not committed" is a
//! fact, and the closure runs again.
//!
//! ```
//! use std::sync::Arc;
//! use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
//! use tenantry_kv::runner::Runner;
//! use tenantry_kv::{Error, Isolation};
//!
//! # pollster::block_on(async {
//! let env = manual_env();
//! let runner = Runner::new(Arc::new(ReferenceEngine::new(env.clone())), env, "slots/");
//! let visits = runner
//!     .run(|transaction| async move {
//!         let visits = transaction.get(b"visits", Isolation::Serializable).await?.map_or(0, |value| value[0]) + 1;
//!         transaction.set(b"visits", &[visits]);
//!         Ok::<_, Error>(visits)
//!     })
//!     .await?;
//! assert_eq!(visits, 1);
//! # Ok::<_, Error>(())
//! # }).unwrap();
//! ```

mod attempt;
mod slot;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::engine::{Engine, TransactionRef, Version};
use crate::env::Env;
use crate::error::{EngineError, Error, ErrorCode};
use crate::options::TransactionOption;
use attempt::{Outcome, Work};
use slot::SlotPool;

/// How long and how often a transaction is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// How long a transaction may take with all its attempts. Default 30 seconds; zero for no deadline.
    pub deadline: Duration,
    /// How many attempts it may make (its budget). Default 10,000.
    pub attempts_max: u32,
    /// The bound on the back-off between attempts. Default one second.
    pub retry_delay_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            deadline: Duration::from_secs(30),
            attempts_max: 10_000,
            retry_delay_max: Duration::from_millis(crate::limits::RETRY_DELAY_MS_MAX_DEFAULT),
        }
    }
}

/// What a transaction brought, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completed<T> {
    /// What the closure returned in the attempt that took effect.
    pub value: T,
    /// The commit version; `None` for a read-only transaction, and where the commit was known only from its slot.
    pub version: Option<Version>,
    /// How many attempts were made.
    pub attempts: u32,
}

/// Runs closures as transactions. Cheap to clone; clones share their slots.
#[derive(Clone, Debug)]
pub struct Runner {
    engine: Arc<dyn Engine>,
    env: Env,
    policy: RetryPolicy,
    slots: Option<Arc<SlotPool>>,
    /// Whether a transaction may as well take effect twice.
    is_idempotent: bool,
}

impl Runner {
    /// A runner with the default policy, whose slots lie under `slot_prefix`. No other data may lie there. On an engine that
    /// always knows its outcomes nothing is ever written there.
    pub fn new(engine: Arc<dyn Engine>, env: Env, slot_prefix: impl Into<Bytes>) -> Runner {
        let protects = engine.profile().commits_can_be_unknown;
        let slots = protects.then(|| Arc::new(SlotPool::new(slot_prefix.into(), &env)));
        Runner { engine, env, policy: RetryPolicy::default(), slots, is_idempotent: false }
    }

    /// A runner for work that may take effect twice: after an unknown outcome it simply runs the closure again.
    pub fn for_idempotent_work(engine: Arc<dyn Engine>, env: Env) -> Runner {
        Runner { engine, env, policy: RetryPolicy::default(), slots: None, is_idempotent: true }
    }

    /// The same runner with another policy.
    #[must_use]
    pub fn with_policy(mut self, policy: RetryPolicy) -> Runner {
        self.policy = policy;
        self
    }

    /// How long and how often a transaction is tried.
    pub fn policy(&self) -> &RetryPolicy {
        &self.policy
    }

    /// The engine that the transactions run on.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Runs `body` as a transaction and commits it, again and again until it has taken effect exactly once.
    ///
    /// `body` gets a fresh transaction each time, must not commit it, and should keep no clone of it. It must have no effect
    /// outside the transaction that may not happen more than once.
    ///
    /// # Errors
    ///
    /// - What `body` returned, unless [`EngineError::engine_error`] finds an engine error in it that asks for a retry.
    /// - 10011 when the deadline has passed and 10010 when the attempts are used up, with the last error in the detail and, if that was a conflict, what it was
    ///   about in [`Error::conflicts`]. The transaction has *not* taken effect.
    /// - 10012 when an attempt's outcome was unknown and could not be found out: its slot is gone, or the engine did not answer
    ///   within the deadline once more.
    /// - On an engine that otherwise knows every outcome, 1021 when it stopped in the middle of the commit.
    /// - The engine's own errors that no retry mends.
    pub async fn run<T, E, F, Fut>(&self, body: F) -> Result<T, E>
    where
        F: FnMut(TransactionRef) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + EngineError,
    {
        self.run_completed(body).await.map(|completed| completed.value)
    }

    /// As [`run`](Runner::run), and tells the commit version and the number of attempts.
    ///
    /// # Errors
    ///
    /// As [`run`](Runner::run).
    pub async fn run_completed<T, E, F, Fut>(&self, mut body: F) -> Result<Completed<T>, E>
    where
        F: FnMut(TransactionRef) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + EngineError,
    {
        let started = self.env.clock.monotonic();
        let slot = match &self.slots {
            Some(pool) => Some(pool.lease(self).await?),
            None => None,
        };
        let mut transaction = self.begin()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            // The first attempt is seldom the last one.
            let reports_conflicts = attempts > 1 || self.policy.attempts_max == 1;
            let work = Work { runner: self, slot: slot.as_ref(), reports_conflicts };
            let error = match work.attempt(&transaction, &mut body).await {
                Outcome::Committed { value, version } => return Ok(Completed { value, version, attempts }),
                Outcome::Failed(error) => return Err(error),
                Outcome::Again { transaction: next, error } => {
                    transaction = next;
                    error
                }
            };
            self.check_budget(started, attempts, &error)?;
        }
    }

    /// Runs `body` for its reads alone: nothing it writes is committed.
    ///
    /// # Errors
    ///
    /// As [`run`](Runner::run), but for unknown outcomes, which there are none.
    pub async fn read<T, E, F, Fut>(&self, mut body: F) -> Result<T, E>
    where
        F: FnMut(TransactionRef) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + EngineError,
    {
        let started = self.env.clock.monotonic();
        let transaction = self.begin()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match body(transaction.clone()).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Some(cause) = error.engine_error().cloned() else { return Err(error) };
            if transaction.on_error(&cause).await.is_err() {
                return Err(error);
            }
            self.check_budget(started, attempts, &cause)?;
        }
    }

    fn begin(&self) -> Result<TransactionRef, Error> {
        let transaction = self.engine.begin()?;
        let delay_ms = i64::try_from(self.policy.retry_delay_max.as_millis()).unwrap_or(i64::from(i32::MAX));
        transaction.set_option(TransactionOption::MaxRetryDelayMs(delay_ms.min(i64::from(i32::MAX))))?;
        Ok(transaction)
    }

    fn check_budget(&self, started: Duration, attempts: u32, last: &Error) -> Result<(), Error> {
        let elapsed = self.env.clock.monotonic().saturating_sub(started);
        if !self.policy.deadline.is_zero() && elapsed >= self.policy.deadline {
            let detail = format!(
                "not committed after {attempts} attempts in {} ms (deadline {} ms); the last one ended with: {last}",
                elapsed.as_millis(),
                self.policy.deadline.as_millis()
            );
            let error = Error::new(ErrorCode::RETRY_DEADLINE_PASSED, detail);
            return Err(error.with_conflicts(last.conflicts().to_vec()));
        }
        if attempts >= self.policy.attempts_max {
            let detail = format!("not committed after {attempts} attempts; the last one ended with: {last}");
            let error = Error::new(ErrorCode::RETRY_BUDGET_EXHAUSTED, detail);
            return Err(error.with_conflicts(last.conflicts().to_vec()));
        }
        Ok(())
    }
}
