//! Slots: keys that tell whether a commit of unknown outcome happened.
//!
//! Under the runner's prefix P, for each runner an owner id of 16 random bytes:
//!
//! ```text
//! P 00 <owner>                    lease: when it ends, microseconds since 1970, 8 bytes little-endian
//! P 01 <owner> <index, 4 bytes>   slot: the nonce of the last attempt that took effect, 16 bytes
//! ```
//!
//! Slots are reused by the transactions of a runner, so that they leave no garbage while it runs; what a process leaves behind is
//! removed by another runner once its lease is a day old. A slot exists from its first lease on: one that is absent afterwards
//! was removed, and the outcome it would tell is not to be known any more.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::Runner;
use crate::conflict_range::{ConflictKind, key_after};
use crate::engine::{Isolation, TransactionRef};
use crate::env::Env;
use crate::error::{Error, ErrorCode, Result};
use crate::range::RangeRequest;

const LEASE_US: i64 = 24 * 3_600 * 1_000_000;
const LEASE_RENEWAL_US: i64 = 3_600 * 1_000_000;
/// How many abandoned owners one lease renewal looks at.
const OWNERS_SCANNED_MAX: usize = 100;

/// How long to wait before the engine is asked again what became of a commit.
const SETTLE_DELAY: Duration = Duration::from_millis(10);

/// What an attempt writes into its slot.
pub(super) type Nonce = [u8; 16];

/// Whether an attempt of unknown outcome took effect.
pub(super) enum Settled {
    Committed,
    NotCommitted,
}

/// The slots of one runner.
pub(super) struct SlotPool {
    prefix: Bytes,
    owner: [u8; 16],
    env: Env,
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    free: Vec<u32>,
    created: u32,
    lease_end_us: i64,
}

impl SlotPool {
    pub(super) fn new(prefix: Bytes, env: &Env) -> SlotPool {
        let mut owner = [0; 16];
        env.entropy.fill(&mut owner);
        SlotPool { prefix, owner, env: env.clone(), state: Mutex::default() }
    }

    /// Takes a slot that no other running transaction has.
    pub(super) async fn lease(self: &Arc<Self>, runner: &Runner) -> Result<SlotLease> {
        self.renew(runner).await?;
        let reused = self.state().free.pop();
        let index = match reused {
            Some(index) => index,
            None => {
                let index = {
                    let mut state = self.state();
                    state.created += 1;
                    state.created - 1
                };
                let key = self.slot_key(index);
                let nonce = self.nonce();
                let (key, nonce) = (&key, &nonce);
                self.idempotently(runner, |transaction| async move {
                    // Read with a conflict: a commit of unknown outcome that arrives late must not write over a slot in use.
                    if transaction.get(key, Isolation::Serializable).await?.is_none() {
                        transaction.set(key, nonce);
                    }
                    Ok(())
                })
                .await?;
                index
            }
        };
        Ok(SlotLease { key: self.slot_key(index), index, pool: self.clone() })
    }

    /// Extends the runner's lease when it is about to need it, and removes what runners of long ago have left behind.
    async fn renew(&self, runner: &Runner) -> Result<()> {
        let now_us = self.env.clock.wall_us();
        if self.state().lease_end_us - now_us > LEASE_US - LEASE_RENEWAL_US {
            return Ok(());
        }
        let lease_end_us = now_us + LEASE_US;
        let lease_key = self.key(0, &self.owner);
        let owners = RangeRequest::new(self.key(0, &[]), self.key(1, &[])).limit(OWNERS_SCANNED_MAX);
        self.idempotently(runner, |transaction| {
            let (owners, lease_key) = (&owners, &lease_key);
            async move {
                for row in transaction.get_range(owners, Isolation::Snapshot).await?.rows {
                    let end_us = row.value.as_ref().try_into().map_or(0, i64::from_le_bytes);
                    if end_us < now_us {
                        let owner = &row.key[self.prefix.len() + 1..];
                        // The lease is read with a conflict: an owner that renews it meanwhile keeps its slots.
                        transaction.get(&row.key, Isolation::Serializable).await?;
                        transaction.clear(&row.key);
                        transaction.clear_range(&self.key(1, owner), &self.owner_end(owner));
                    }
                }
                transaction.set(lease_key, &lease_end_us.to_le_bytes());
                Ok(())
            }
        })
        .await?;
        self.state().lease_end_us = lease_end_us;
        Ok(())
    }

    /// Commits what may as well be committed twice, so that an unknown outcome needs no care.
    async fn idempotently<Fut>(&self, runner: &Runner, work: impl Fn(TransactionRef) -> Fut) -> Result<()>
    where
        Fut: Future<Output = Result<()>>,
    {
        let mut transaction = runner.begin()?;
        for _ in 0..runner.policy.attempts_max {
            let result = match work(transaction.clone()).await {
                Ok(()) => transaction.commit().await,
                Err(error) => Err(error),
            };
            let Err(error) = result else { return Ok(()) };
            if transaction.on_error(&error).await.is_err() {
                if !error.may_have_committed() {
                    return Err(error);
                }
                self.env.timer.sleep(SETTLE_DELAY).await?;
                transaction = runner.begin()?;
            }
        }
        Err(Error::new(ErrorCode::RETRY_BUDGET_EXHAUSTED, "the slot of a transaction could not be written"))
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 16];
        self.env.entropy.fill(&mut nonce);
        nonce
    }

    fn slot_key(&self, index: u32) -> Bytes {
        let mut rest = self.owner.to_vec();
        rest.extend_from_slice(&index.to_be_bytes());
        self.key(1, &rest)
    }

    fn owner_end(&self, owner: &[u8]) -> Bytes {
        let mut rest = owner.to_vec();
        rest.extend_from_slice(&[0xff; 5]);
        self.key(1, &rest)
    }

    fn key(&self, part: u8, rest: &[u8]) -> Bytes {
        [&self.prefix[..], &[part], rest].concat().into()
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        // Nothing that holds this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SlotPool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SlotPool").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// A slot while a transaction runs.
pub(super) struct SlotLease {
    key: Bytes,
    index: u32,
    pool: Arc<SlotPool>,
}

impl SlotLease {
    /// Makes `transaction` tell by the slot whether it took effect.
    pub(super) fn arm(&self, transaction: &TransactionRef) -> Result<Nonce> {
        let nonce = self.pool.nonce();
        transaction.add_conflict_range(&self.key, &key_after(&self.key), ConflictKind::Read)?;
        transaction.set(&self.key, &nonce);
        Ok(nonce)
    }

    /// Finds out whether the attempt with `nonce` took effect, and makes sure that it does not do so later.
    pub(super) async fn settle(&self, runner: &Runner, nonce: Nonce, error: &Error) -> Result<Settled> {
        let started = self.pool.env.clock.monotonic();
        let mut fences = Vec::new();
        let mut transaction = runner.begin()?;
        loop {
            let fence = self.pool.nonce();
            let step = match self.settle_once(&transaction, nonce, fence, &mut fences).await {
                Ok(settled) => return Ok(settled),
                Err(step) => step,
            };
            if step.code() == ErrorCode::OUTCOME_NOT_KNOWABLE {
                return Err(step);
            }
            let elapsed = self.pool.env.clock.monotonic().saturating_sub(started);
            let patience = runner.policy.deadline;
            if !patience.is_zero() && elapsed >= patience {
                return Err(not_knowable(
                    error,
                    &format!("the engine did not tell within {} ms: {step}", elapsed.as_millis()),
                ));
            }
            if transaction.on_error(&step).await.is_err() {
                if !step.may_have_committed() {
                    return Err(not_knowable(error, &format!("the engine does not tell: {step}")));
                }
                self.pool.env.timer.sleep(SETTLE_DELAY).await?;
                transaction = runner.begin()?;
            }
        }
    }

    async fn settle_once(
        &self,
        transaction: &TransactionRef,
        nonce: Nonce,
        fence: Nonce,
        fences: &mut Vec<Nonce>,
    ) -> Result<Settled> {
        let Some(found) = transaction.get(&self.key, Isolation::Serializable).await? else {
            return Err(not_knowable(&ErrorCode::COMMIT_UNKNOWN_RESULT.into(), "its slot was removed"));
        };
        if found == nonce[..] {
            return Ok(Settled::Committed);
        }
        // A fence of this very settling is there: the attempt can no longer commit past it.
        if fences.iter().any(|fence| found == fence[..]) {
            return Ok(Settled::NotCommitted);
        }
        fences.push(fence);
        transaction.set(&self.key, &fence);
        transaction.commit().await?;
        Ok(Settled::NotCommitted)
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        self.pool.state().free.push(self.index);
    }
}

fn not_knowable(error: &Error, why: &str) -> Error {
    Error::new(
        ErrorCode::OUTCOME_NOT_KNOWABLE,
        format!(
            "the commit ended with {error} and what became of it could not be found out: {why}; read the data before running it again"
        ),
    )
}
