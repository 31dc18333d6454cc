//! One attempt: run the closure, commit, and find out what became of it.

use std::future::Future;

use super::Runner;
use super::slot::{Nonce, Settled, SlotLease};
use crate::conflict_range::ConflictReport;
use crate::engine::{TransactionRef, Version};
use crate::error::{EngineError, Error, ErrorCode};
use crate::options::TransactionOption;
use crate::seeded_faults::{Fault, is_active};

/// What became of an attempt.
pub(super) enum Outcome<T, E> {
    /// It took effect.
    Committed { value: T, version: Option<Version> },
    /// It did not, and another one would not either.
    Failed(E),
    /// It did not, and `transaction` is ready for another one.
    Again { transaction: TransactionRef, error: Error },
}

/// What an attempt works with.
pub(super) struct Work<'a> {
    pub(super) runner: &'a Runner,
    pub(super) slot: Option<&'a SlotLease>,
    /// Whether to ask the engine what a conflict was about.
    pub(super) reports_conflicts: bool,
}

impl Work<'_> {
    pub(super) async fn attempt<T, E, F, Fut>(
        &self,
        transaction: &TransactionRef,
        body: &mut F,
    ) -> Outcome<T, E>
    where
        F: FnMut(TransactionRef) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + EngineError,
    {
        if self.reports_conflicts
            && let Err(error) = transaction.set_option(TransactionOption::ReportConflictingKeys)
        {
            return Outcome::Failed(error.into());
        }
        let value = match body(transaction.clone()).await {
            Ok(value) => value,
            Err(error) => {
                let Some(cause) = error.engine_error().cloned() else { return Outcome::Failed(error) };
                return match transaction.on_error(&cause).await {
                    Ok(()) => Outcome::Again { transaction: transaction.clone(), error: cause },
                    Err(_) => Outcome::Failed(error),
                };
            }
        };
        if self.runner.env.buggify.fires("runner: an attempt begins again") {
            let error = Error::from(ErrorCode::NOT_COMMITTED);
            return match transaction.on_error(&error).await {
                Ok(()) => Outcome::Again { transaction: transaction.clone(), error },
                Err(error) => Outcome::Failed(error.into()),
            };
        }
        let armed = match self.slot.filter(|_| transaction.has_writes()) {
            Some(slot) => match slot.arm(transaction) {
                Ok(nonce) => Some((slot, nonce)),
                Err(error) => return Outcome::Failed(error.into()),
            },
            None => None,
        };
        let Err(mut error) = transaction.commit().await else {
            let version = transaction.committed_version().ok().filter(|version| *version >= 0);
            return Outcome::Committed { value, version };
        };
        if error.may_have_committed()
            && !is_active(Fault::RetryForgetsUnknownOutcome)
            && let Some((slot, nonce)) = armed
        {
            return self.settle(slot, nonce, value, error).await;
        }
        let may_run_again = self.runner.is_idempotent || is_active(Fault::RetryForgetsUnknownOutcome);
        if error.may_have_committed() && !may_run_again && transaction.has_writes() {
            // Nothing can tell what became of it, and running it again could apply it twice.
            return Outcome::Failed(error.into());
        }
        if self.reports_conflicts && error.code() == ErrorCode::NOT_COMMITTED {
            // Before on_error, which forgets them. What cannot be told is left out.
            let ranges = transaction.conflict_ranges(ConflictReport::Conflicting).await;
            error = error.with_conflicts(ranges.unwrap_or_default());
        }
        match transaction.on_error(&error).await {
            Ok(()) => Outcome::Again { transaction: transaction.clone(), error },
            Err(error) => Outcome::Failed(error.into()),
        }
    }

    async fn settle<T, E: From<Error>>(
        &self,
        slot: &SlotLease,
        nonce: Nonce,
        value: T,
        error: Error,
    ) -> Outcome<T, E> {
        match slot.settle(self.runner, nonce, &error).await {
            Ok(Settled::Committed) => Outcome::Committed { value, version: None },
            // A new transaction rather than on_error: after a time-out (1031) the old one cannot be used any more.
            Ok(Settled::NotCommitted) => match self.runner.begin() {
                Ok(transaction) => Outcome::Again { transaction, error },
                Err(error) => Outcome::Failed(error.into()),
            },
            Err(error) => Outcome::Failed(error.into()),
        }
    }
}
