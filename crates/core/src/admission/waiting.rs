//! Those that wait, and how they are told.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::task::AtomicWaker;

use super::{Account, Admission, Admitted, Class, Cost, throttled};
use crate::error::{Error, Result};

/// How long a waiter sleeps at least.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// How long it sleeps at most before it looks whether its tenant's lease is due.
const SLEEP_MAX: Duration = Duration::from_millis(250);

/// A transaction that waits.
pub(super) struct Waiter {
    pub(super) class: Class,
    /// What it was charged for when it was let in.
    charge: OnceLock<Cost>,
    is_taken: AtomicBool,
    waker: AtomicWaker,
}

impl Waiter {
    pub(super) fn new(class: Class) -> Waiter {
        Waiter { class, charge: OnceLock::new(), is_taken: AtomicBool::new(false), waker: AtomicWaker::new() }
    }

    /// Lets it in.
    pub(super) fn admit(&self, charge: Cost) {
        // Once: it leaves the queue with this.
        let _ = self.charge.set(charge);
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// What it was charged for, if it was let in.
    pub(super) fn charge(&self) -> Option<Cost> {
        self.charge.get().copied()
    }
}

/// What came of a wait.
pub(crate) enum Event<'a> {
    Admitted(Admitted<'a>),
    /// The lease on the tenant's rates is due: whoever hears of it renews it, and waits on.
    LeaseDue,
}

/// A transaction in the queue. Dropping it leaves the queue.
pub(crate) struct Queued<'a> {
    admission: &'a Admission,
    account: &'a Arc<Account>,
    waiter: Arc<Waiter>,
    arrived: Duration,
    deadline: Duration,
}

impl<'a> Queued<'a> {
    pub(super) fn new(
        admission: &'a Admission,
        account: &'a Arc<Account>,
        waiter: Arc<Waiter>,
        arrived: Duration,
        deadline: Duration,
    ) -> Queued<'a> {
        Queued { admission, account, waiter, arrived, deadline }
    }

    pub(super) fn waiter(&self) -> &Arc<Waiter> {
        &self.waiter
    }

    /// Waits until something happens.
    ///
    /// # Errors
    ///
    /// 20141 when it has waited for as long as it may.
    pub(crate) async fn wait(&self) -> Result<Event<'a>> {
        loop {
            if let Some(charge) = self.take_charge() {
                let now = self.admission.clock.monotonic();
                return Ok(Event::Admitted(self.admission.permit(
                    self.account,
                    self.waiter.class,
                    Some(charge),
                    self.arrived,
                    now,
                )));
            }
            let now = self.admission.clock.monotonic();
            let until = {
                let mut queue = self.admission.lock();
                self.admission.pump_at(&mut queue, now);
                if self.waiter.charge().is_some() {
                    continue;
                }
                if queue.lease_is_due(self.account, now) {
                    return Ok(Event::LeaseDue);
                }
                if now >= self.deadline {
                    self.admission.refused(&mut queue, self.account);
                    self.admission.statistics.timed_out();
                    let wait = queue.wait_for_rate(self.account, &self.waiter, now);
                    return Err(self.late(now, wait));
                }
                let wait =
                    queue.wait_for_rate(self.account, &self.waiter, now).filter(|wait| !wait.is_zero());
                let is_leased = queue.is_leased(self.account);
                let look = if is_leased { SLEEP_MAX } else { Duration::MAX };
                wait.unwrap_or(Duration::MAX).min(look).min(self.deadline - now)
            };
            let sleep = self.admission.timer.sleep(until.max(SLEEP_MIN));
            let woken = poll_fn(|context| {
                self.waiter.waker.register(context.waker());
                if self.waiter.charge().is_some() { Poll::Ready(()) } else { Poll::Pending }
            });
            match select(pin!(woken), sleep).await {
                Either::Left(_) => {}
                Either::Right((slept, _)) => slept?,
            }
        }
    }

    fn late(&self, now: Duration, wait: Option<Duration>) -> Error {
        let waited = now.saturating_sub(self.arrived);
        match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => throttled("the tenant's rate is used up", wait),
            None => throttled(
                &format!("it waited {} ms for its turn behind other transactions", waited.as_millis()),
                waited / 2,
            ),
        }
    }

    /// What the waiter was charged for, once.
    fn take_charge(&self) -> Option<Cost> {
        self.waiter.charge().filter(|_| !self.waiter.is_taken.swap(true, Ordering::SeqCst))
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.waiter.is_taken.load(Ordering::SeqCst) {
            return;
        }
        let left = {
            let mut queue = self.admission.lock();
            self.waiter.charge().is_none() && queue.remove(self.account, &self.waiter)
        };
        if left {
            self.admission.waiting.fetch_sub(1, Ordering::SeqCst);
        } else if let Some(charge) = self.take_charge() {
            // It was let in just now, and nobody wants it any more.
            let now = self.admission.clock.monotonic();
            drop(self.admission.permit(self.account, self.waiter.class, Some(charge), self.arrived, now));
        }
    }
}
