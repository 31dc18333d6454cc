//! How transactions on a tenant are run: options, hooks, and what a conflict was about.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tenantry_kv::runner::{Completed, RetryPolicy, Runner};
use tenantry_kv::{EngineError, Transaction, TransactionOption};

use super::Tenant;
use super::conflicts::described;
use super::reader::TenantReader;
use super::transaction::TenantTransaction;
use crate::admission::Class;
use crate::error::{Error, Result, limit};
use crate::limits::{TRANSACTION_DEADLINE_MAX, TRANSACTION_TAGS_MAX};

/// Who goes first when the engine has more to do than it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Priority {
    /// Behind everybody else: work that may take its time.
    Batch,
    /// As usual.
    #[default]
    Normal,
    /// Before everybody else: for repairs alone.
    Immediate,
}

/// How a transaction is run.
///
/// ```
/// use std::time::Duration;
/// use tenantry_core::{Priority, RunOptions};
///
/// let mut options = RunOptions::default();
/// options.priority = Priority::Batch;
/// options.deadline = Duration::from_secs(5);
/// options.tags.push("import".to_owned());
/// assert_eq!(options.retries_max, 9_999);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunOptions {
    /// Default: normal.
    pub priority: Priority,
    /// How long it may take with all its attempts. Default 30 seconds; at most an hour.
    pub deadline: Duration,
    /// How often it may be tried again. Default 9,999.
    pub retries_max: u32,
    /// What an engine may throttle by: at most five, of up to 255 bytes.
    pub tags: Vec<String>,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        let policy = RetryPolicy::default();
        RunOptions {
            priority: Priority::Normal,
            deadline: policy.deadline,
            retries_max: policy.attempts_max - 1,
            tags: Vec::new(),
        }
    }
}

impl RunOptions {
    fn policy(&self) -> RetryPolicy {
        let mut policy = RetryPolicy::default();
        policy.deadline = self.deadline;
        policy.attempts_max = self.retries_max.saturating_add(1);
        policy
    }

    fn class(&self) -> Class {
        match self.priority {
            Priority::Batch => Class::Batch,
            Priority::Normal => Class::Normal,
            Priority::Immediate => Class::Immediate,
        }
    }

    fn check(&self) -> Result<()> {
        if self.deadline.is_zero() || self.deadline > TRANSACTION_DEADLINE_MAX {
            let (found, most) =
                (self.deadline.as_secs() as usize, TRANSACTION_DEADLINE_MAX.as_secs() as usize);
            return Err(limit("the seconds of a transaction's deadline (more than none)", found, most));
        }
        if self.tags.len() > TRANSACTION_TAGS_MAX {
            return Err(limit("the tags of a transaction", self.tags.len(), TRANSACTION_TAGS_MAX));
        }
        let most = tenantry_kv::limits::TRANSACTION_TAG_SIZE_BYTES_MAX;
        match self.tags.iter().find(|tag| tag.is_empty() || tag.len() > most) {
            Some(tag) => Err(limit("the bytes of a tag (at least one)", tag.len(), most)),
            None => Ok(()),
        }
    }

    /// Each attempt needs them anew.
    fn apply(&self, transaction: &dyn Transaction) -> Result<()> {
        match self.priority {
            Priority::Batch => transaction.set_option(TransactionOption::PriorityBatch)?,
            Priority::Normal => {}
            Priority::Immediate => transaction.set_option(TransactionOption::PrioritySystemImmediate)?,
        }
        for tag in &self.tags {
            transaction.set_option(TransactionOption::Tag(tag.clone().into_bytes()))?;
        }
        Ok(())
    }
}

impl Tenant {
    /// As [`run`](Tenant::run), and tells the commit version and the number of attempts.
    ///
    /// # Errors
    ///
    /// As [`run`](Tenant::run).
    pub async fn run_completed<T, E, F, Fut>(&self, body: F) -> Result<Completed<T>, E>
    where
        F: FnMut(TenantTransaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + From<tenantry_kv::Error> + EngineError,
    {
        self.run_prepared(&self.database.inner.runner, Class::Normal, |_| Ok(()), body).await
    }

    /// As [`run_completed`](Tenant::run_completed), with options.
    ///
    /// # Errors
    ///
    /// 20060 for options out of bounds; as [`run`](Tenant::run). 10010 and 10011, when the retries or the time are used up, tell what the last attempt conflicted on.
    pub async fn run_with<T, E, F, Fut>(&self, options: &RunOptions, body: F) -> Result<Completed<T>, E>
    where
        F: FnMut(TenantTransaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + From<tenantry_kv::Error> + EngineError,
    {
        options.check()?;
        let runner = self.database.inner.runner.clone().with_policy(options.policy());
        self.run_prepared(&runner, options.class(), |transaction| options.apply(transaction), body).await
    }

    /// As [`run_completed`](Tenant::run_completed), with another runner, and with options that `prepare` sets before anything is read.
    pub(crate) async fn run_prepared<T, E, F, Fut>(
        &self,
        runner: &Runner,
        class: Class,
        prepare: impl Fn(&dyn Transaction) -> Result<()>,
        body: F,
    ) -> Result<Completed<T>, E>
    where
        F: FnMut(TenantTransaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + From<tenantry_kv::Error> + EngineError,
    {
        let permit = self.admit(class, runner).await?;
        let cost = Mutex::default();
        // Each attempt's future makes the body's own once the transaction has begun: shared between them, never at the same time.
        let body = Mutex::new(body);
        let latest: Mutex<Option<TenantTransaction>> = Mutex::new(None);
        let result: Result<_, E> = runner
            .run_completed(|transaction| {
                let (body, latest, cost, tenant) = (&body, &latest, &cost, self.clone());
                let prepared = prepare(&*transaction);
                async move {
                    prepared?;
                    let running = TenantTransaction::begin(tenant, transaction, true).await?;
                    let earlier = lock(latest).replace(running.clone());
                    earlier.iter().for_each(TenantTransaction::drop_hooks);
                    earlier.iter().for_each(|earlier| earlier.close_usage(cost, false));
                    let work = start(body, running.clone());
                    let value = work.await;
                    // First: what the body made of a header that is not the tenant's counts for nothing, errors included.
                    running.check_header().await?;
                    let value = value?;
                    running.run_before_commit().await?;
                    running.finish().await?;
                    Ok(value)
                }
            })
            .await;
        let latest = lock(&latest).take();
        // What may have been committed is not counted again: rather too little than too much.
        let may_have_committed = result
            .as_ref()
            .err()
            .is_none_or(|error| error.engine_error().is_some_and(tenantry_kv::Error::may_have_committed));
        latest.iter().for_each(|latest| latest.close_usage(&cost, may_have_committed));
        let now = permit.close(*lock(&cost));
        self.maintain(now).await;
        match result {
            Ok(completed) => {
                latest.iter().for_each(|transaction| transaction.run_after_commit(completed.version));
                Ok(completed)
            }
            Err(error) => {
                latest.iter().for_each(TenantTransaction::drop_hooks);
                let cause = latest.and_then(|transaction| described(&transaction, error.engine_error()?));
                Err(cause.map_or(error, |cause| Error::from(cause).into()))
            }
        }
    }

    /// Runs `body` for its reads alone: it is given what can read and nothing else, and a change of mind does not compile.
    ///
    /// # Errors
    ///
    /// As [`read`](Tenant::read).
    pub async fn read_only<T, E, F, Fut>(&self, mut body: F) -> Result<T, E>
    where
        F: FnMut(TenantReader) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + From<tenantry_kv::Error> + EngineError,
    {
        self.read(|transaction| body(TenantReader::new(transaction))).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls the body: what it gives is polled without the lock.
pub(super) fn start<F: FnMut(TenantTransaction) -> Fut, Fut>(
    body: &Mutex<F>,
    transaction: TenantTransaction,
) -> Fut {
    let mut body = lock(body);
    body(transaction)
}
