//! The account of a tenant in this process: what is counted without the queue's lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Effective;
use crate::error::{Code, Error, Result};
use crate::messages::TenantHeader;

/// How many accounts are kept before those that nobody has a use for are dropped.
const ACCOUNTS_KEPT: usize = 10_000;

/// What this process knows of a tenant's consumption.
#[derive(Default)]
pub(crate) struct Account {
    pub(super) tenant: u64,
    pub(super) in_flight: AtomicUsize,
    watches: AtomicUsize,
    is_limited: AtomicBool,
    /// What is read and not in the meters yet.
    pub(crate) reads: Reads,
    has_known: AtomicBool,
    known: Mutex<Option<Known>>,
    /// The last hour that this process counted something in.
    hour: AtomicI64,
}

/// The limits that hold, and what they were made from.
struct Known {
    header: Arc<TenantHeader>,
    plan_epoch: u64,
    effective: Arc<Effective>,
}

/// What was read since it was last brought into the meters.
#[derive(Default)]
pub(crate) struct Reads {
    pub(crate) operations: AtomicU64,
    pub(crate) units: AtomicU64,
    pub(crate) size_bytes: AtomicU64,
    /// Transactions that were turned away.
    pub(crate) throttled: AtomicU64,
    /// When that was, in milliseconds of the clock.
    pub(crate) flushed_ms: AtomicU64,
}

impl Account {
    pub(super) fn is_limited(&self) -> bool {
        self.is_limited.load(Ordering::Relaxed)
    }

    pub(super) fn set_limited(&self, is_limited: bool) {
        self.is_limited.store(is_limited, Ordering::Relaxed);
    }

    /// The limits that were made from this header, while the plans are as they were.
    pub(crate) fn known_limits(&self, header: &Arc<TenantHeader>, plan_epoch: u64) -> Option<Arc<Effective>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref()?;
        (Arc::ptr_eq(&known.header, header) && known.plan_epoch == plan_epoch)
            .then(|| known.effective.clone())
    }

    /// Notes the limits of a header; none for a tenant without. Tells whether they are others than before.
    pub(crate) fn note_limits(
        &self,
        header: &Arc<TenantHeader>,
        plan_epoch: u64,
        effective: Option<&Arc<Effective>>,
    ) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = known.as_ref().map(|known| &known.effective) != effective;
        self.has_known.store(effective.is_some(), Ordering::Relaxed);
        *known = effective.map(|effective| Known {
            header: header.clone(),
            plan_epoch,
            effective: effective.clone(),
        });
        is_new
    }

    /// Whether limits were noted.
    pub(crate) fn has_known_limits(&self) -> bool {
        self.has_known.load(Ordering::Relaxed)
    }

    /// Whether nothing was counted in this hour yet.
    pub(crate) fn is_first_of_hour(&self, hour: i64) -> bool {
        self.hour.swap(hour, Ordering::Relaxed) != hour
    }

    /// Counts a watch, unless there are as many as may be.
    ///
    /// # Errors
    ///
    /// 20140.
    pub(crate) fn take_watch(self: &Arc<Account>, most: Option<u64>) -> Result<WatchPermit> {
        let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        match super::take(&self.watches, most) {
            true => Ok(WatchPermit(self.clone())),
            false => {
                let detail = format!(
                    "the tenant has {most} watches outstanding in this process, and may have no more"
                );
                Err(Error::new(Code::QuotaExceeded, detail))
            }
        }
    }
}

/// A watch that is outstanding.
pub(crate) struct WatchPermit(Arc<Account>);

impl Drop for WatchPermit {
    fn drop(&mut self) {
        self.0.watches.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The accounts of all tenants that were opened.
#[derive(Default)]
pub(super) struct Accounts {
    accounts: BTreeMap<u64, Arc<Account>>,
    /// With how many the unused ones are dropped next.
    sweep_at: usize,
}

impl Accounts {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }

    pub(super) fn of(&mut self, tenant: u64) -> Arc<Account> {
        if let Some(account) = self.accounts.get(&tenant) {
            return account.clone();
        }
        if self.accounts.len() >= self.sweep_at.max(ACCOUNTS_KEPT) {
            // One that is limited stays: whoever closes and opens a tenant shall not find a full bucket.
            self.accounts.retain(|_, account| Arc::strong_count(account) > 1 || account.has_known_limits());
            self.sweep_at = 2 * self.accounts.len();
        }
        let account = Arc::new(Account { tenant, ..Account::default() });
        self.accounts.insert(tenant, account.clone());
        account
    }
}
