//! Admission: which transaction runs now, and which one waits.
//!
//! Every transaction on a tenant passes here before it begins. At most so many run at a time in this process, and of one tenant; those that wait are taken by weighted
//! fair queueing over the tenants, so that a tenant with a thousand requests waits behind its own. A tenant with a rate has token buckets besides ([`bucket`]). Where nothing waits and no rate
//! holds, all this costs two atomic additions.
//!
//! Nothing here spawns or sleeps by itself: whoever waits is woken by whoever ends, or by its own timer. The state is this process's; what several processes
//! share are the tenants' rates, by leases ([`lease`]).

mod account;
mod bucket;
mod effective;
mod fair_queue;
mod lease;
mod limits;
mod settings;
mod statistics;
mod waiting;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tenantry_kv::env::{Clock, Env, Timer};

use crate::error::{Code, Error, Result};
pub(crate) use account::Account;
use account::Accounts;
pub(crate) use effective::Effective;
use fair_queue::FairQueue;
pub(crate) use lease::{Demand, Granted, WHOLE_PPM, share_out};
pub use limits::{Limit, TenantLimits};
pub use settings::PoolSettings;
use statistics::Statistics;
pub use statistics::{PoolStatistics, TimeHistogram};
use waiting::Waiter;
pub(crate) use waiting::{Event, Queued};

/// Who waits behind whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// As usual.
    Normal,
    /// Behind those, but for one in sixteen.
    Batch,
    /// A step of a job: as batch, and no rate holds it. Whoever began the job decided that it be done; it is paced by its worker.
    Background,
    /// For repairs: it waits for nobody.
    Immediate,
}

/// What a transaction has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) operations: u64,
    pub(crate) size_bytes: u64,
}

impl Cost {
    pub(crate) fn add(&mut self, other: Cost) {
        self.operations = self.operations.saturating_add(other.operations);
        self.size_bytes = self.size_bytes.saturating_add(other.size_bytes);
    }
}

/// The admission of one process to one database.
pub(crate) struct Admission {
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    /// How many run.
    in_flight: AtomicUsize,
    /// How many wait.
    waiting: AtomicUsize,
    /// Whether somebody waits who could run if there were a place.
    is_crowded: AtomicBool,
    transactions_max: AtomicUsize,
    transactions_per_tenant_max: AtomicUsize,
    accounts: Mutex<Accounts>,
    queue: Mutex<FairQueue>,
    statistics: Statistics,
}

/// How an arrival went.
pub(crate) enum Arrival<'a> {
    Admitted(Admitted<'a>),
    Queued(Queued<'a>),
}

impl Admission {
    pub(crate) fn new(env: &Env) -> Admission {
        let settings = PoolSettings::default();
        Admission {
            clock: env.clock.clone(),
            timer: env.timer.clone(),
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            is_crowded: AtomicBool::new(false),
            transactions_max: AtomicUsize::new(settings.transactions_max),
            transactions_per_tenant_max: AtomicUsize::new(settings.transactions_per_tenant_max),
            accounts: Mutex::default(),
            queue: Mutex::new(FairQueue::new(settings)),
            statistics: Statistics::default(),
        }
    }

    /// The account of a tenant: one for all its handles.
    pub(crate) fn account(&self, tenant: u64) -> Arc<Account> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).of(tenant)
    }

    fn lock(&self) -> MutexGuard<'_, FairQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how many run and wait.
    pub(crate) fn set_settings(&self, settings: PoolSettings) -> Result<()> {
        settings.check()?;
        let mut queue = self.lock();
        self.transactions_max.store(settings.transactions_max, Ordering::SeqCst);
        self.transactions_per_tenant_max.store(settings.transactions_per_tenant_max, Ordering::SeqCst);
        queue.set_settings(settings);
        self.pump(&mut queue);
        Ok(())
    }

    pub(crate) fn statistics(&self) -> PoolStatistics {
        PoolStatistics {
            used: self.in_flight.load(Ordering::Relaxed),
            max: self.transactions_max.load(Ordering::Relaxed),
            pending_requests: self.waiting.load(Ordering::Relaxed),
            ..self.statistics.snapshot()
        }
    }

    /// Lets a transaction in, or puts it into the queue.
    ///
    /// # Errors
    ///
    /// 20141 when too many wait already, or when it would wait for its rate longer than it may.
    pub(crate) fn arrive<'a>(
        &'a self,
        account: &'a Arc<Account>,
        class: Class,
        wait_max: Option<Duration>,
    ) -> Result<Arrival<'a>> {
        let now = self.clock.monotonic();
        if class == Class::Immediate {
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            account.in_flight.fetch_add(1, Ordering::SeqCst);
            return Ok(Arrival::Admitted(self.permit(account, class, None, now, now)));
        }
        let is_crowded = self.is_crowded.load(Ordering::SeqCst);
        if !is_crowded && !account.is_limited() && self.take_slot(account) {
            return Ok(Arrival::Admitted(self.permit(account, class, None, now, now)));
        }
        self.enqueue(account, class, wait_max, now)
    }

    fn enqueue<'a>(
        &'a self,
        account: &'a Arc<Account>,
        class: Class,
        wait_max: Option<Duration>,
        now: Duration,
    ) -> Result<Arrival<'a>> {
        let mut queue = self.lock();
        let wait_max = wait_max.map_or(Duration::MAX, |most| most.min(queue.settings().queue_deadline));
        let deadline = now.saturating_add(wait_max);
        let waiter = Arc::new(Waiter::new(class));
        if let Err(full) = queue.push(account, waiter.clone()) {
            self.refused(&mut queue, account);
            return Err(full);
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.pump_at(&mut queue, now);
        if let Some(charge) = waiter.charge() {
            return Ok(Arrival::Admitted(self.permit(account, class, Some(charge), now, now)));
        }
        let queued = Queued::new(self, account, waiter, now, deadline);
        if let Some(wait) = queue.wait_for_rate(account, queued.waiter(), now)
            && wait > wait_max
        {
            // It would wait in vain.
            self.refused(&mut queue, account);
            drop(queue);
            return Err(throttled("the tenant's rate is used up", wait));
        }
        Ok(Arrival::Queued(queued))
    }

    fn refused(&self, queue: &mut FairQueue, account: &Account) {
        account.reads.throttled.fetch_add(1, Ordering::Relaxed);
        queue.note_held(account);
    }

    /// Takes a place among those that run, without anybody's rate.
    fn take_slot(&self, account: &Account) -> bool {
        let of_tenant = self.transactions_per_tenant_max.load(Ordering::Relaxed);
        if !take(&self.in_flight, self.transactions_max.load(Ordering::Relaxed)) {
            return false;
        }
        if take(&account.in_flight, of_tenant) {
            return true;
        }
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        false
    }

    fn permit<'a>(
        &'a self,
        account: &'a Arc<Account>,
        class: Class,
        charge: Option<Cost>,
        arrived: Duration,
        now: Duration,
    ) -> Admitted<'a> {
        self.statistics.waited(now.saturating_sub(arrived));
        Admitted { admission: self, account, class, charge, begun: now, ended: None, cost: Cost::default() }
    }

    /// Lets in whoever can be.
    fn pump(&self, queue: &mut FairQueue) {
        let now = self.clock.monotonic();
        self.pump_at(queue, now);
    }

    fn pump_at(&self, queue: &mut FairQueue, now: Duration) {
        queue.unblock(now);
        while queue.has_ready() && take(&self.in_flight, self.transactions_max.load(Ordering::SeqCst)) {
            let of_tenant = self.transactions_per_tenant_max.load(Ordering::SeqCst);
            match queue.next(now, of_tenant) {
                Some(waiter) => {
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    waiter.wake();
                }
                None => {
                    self.in_flight.fetch_sub(1, Ordering::SeqCst);
                    break;
                }
            }
        }
        self.is_crowded.store(queue.has_ready(), Ordering::SeqCst);
    }

    /// The limits that hold for a tenant from now on. `None` for one that has none.
    pub(crate) fn set_limits(&self, account: &Arc<Account>, limits: Option<&Effective>) {
        let mut queue = self.lock();
        let now = self.clock.monotonic();
        account.set_limited(limits.is_some_and(Effective::holds_at_admission));
        queue.set_limits(account, limits, now);
        self.pump_at(&mut queue, now);
    }

    /// What this process needs of a tenant's rates, if its lease on them is to be renewed now: for whoever asks first.
    pub(crate) fn demand(&self, account: &Account) -> Option<Demand> {
        if !account.is_limited() {
            return None;
        }
        self.lock().demand(account, self.clock.monotonic())
    }

    /// Notes the part of a tenant's rates that this process has from now on.
    pub(crate) fn set_lease(&self, account: &Account, granted: Granted) {
        let mut queue = self.lock();
        let now = self.clock.monotonic();
        queue.set_lease(account, granted, now);
        self.pump_at(&mut queue, now);
    }

    /// The lease on a tenant's rates could not be renewed: what is left of it holds. Without any, the process has `alone`.
    pub(crate) fn lease_failed(&self, account: &Account, alone: Granted, retry_after: Duration) {
        let is_kept = self.lock().keep_lease(account, retry_after, self.clock.monotonic());
        if !is_kept {
            self.set_lease(account, alone);
        }
    }

    fn end(&self, permit: &Admitted<'_>, now: Duration) {
        self.statistics.used(now.saturating_sub(permit.begun));
        permit.account.in_flight.fetch_sub(1, Ordering::SeqCst);
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if permit.charge.is_none() && !permit.account.is_limited() && self.waiting.load(Ordering::SeqCst) == 0
        {
            return;
        }
        let mut queue = self.lock();
        queue.settle(permit, now);
        self.pump_at(&mut queue, now);
    }
}

/// Counts one more, if there is room for it.
fn take(count: &AtomicUsize, most: usize) -> bool {
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| (count < most).then_some(count + 1))
        .is_ok()
}

/// An error that says when to come again.
fn throttled(why: &str, retry_after: Duration) -> Error {
    let retry_after = retry_after.max(Duration::from_millis(1));
    let detail = format!("{why}: try again in {} ms", retry_after.as_millis());
    Error::new(Code::Throttled, detail).with_retry_after(retry_after)
}

/// The right to run a transaction. Dropping it lets the next one in.
pub(crate) struct Admitted<'a> {
    admission: &'a Admission,
    account: &'a Arc<Account>,
    class: Class,
    /// What it was charged for, before it was known; none if it came in without a look at the queue.
    charge: Option<Cost>,
    begun: Duration,
    ended: Option<Duration>,
    cost: Cost,
}

impl Admitted<'_> {
    /// The transaction is over and has cost so much, with all its attempts. Returns the present moment.
    pub(crate) fn close(mut self, cost: Cost) -> Duration {
        let now = self.admission.clock.monotonic();
        (self.cost, self.ended) = (cost, Some(now));
        now
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        let now = self.ended.unwrap_or_else(|| self.admission.clock.monotonic());
        self.admission.end(self, now);
    }
}

#[cfg(test)]
mod tests;
