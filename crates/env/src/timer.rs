//! Sleeping: one thread, started by the first sleep, wakes all sleepers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tenantry_kv::env::Timer;
use tenantry_kv::{KvFuture, Result};

#[derive(Default)]
pub(crate) struct SystemTimer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    sleepers: Mutex<Sleepers>,
    changed: Condvar,
}

#[derive(Default)]
struct Sleepers {
    /// By the moment to wake at and a number that tells equal moments apart.
    wakers: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    is_running: bool,
    is_closed: bool,
}

impl Timer for SystemTimer {
    fn sleep(&self, duration: Duration) -> KvFuture<()> {
        if duration.is_zero() {
            return KvFuture::ready(Ok(()));
        }
        KvFuture::pending(Sleep { at: Instant::now() + duration, number: None, shared: self.shared.clone() })
    }
}

impl Drop for SystemTimer {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Sleepers> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut sleepers = self.lock();
        while !(sleepers.is_closed && sleepers.wakers.is_empty()) {
            let now = Instant::now();
            let later = sleepers.wakers.split_off(&(now, u64::MAX));
            let due = std::mem::replace(&mut sleepers.wakers, later);
            if !due.is_empty() {
                drop(sleepers);
                due.into_values().for_each(Waker::wake);
                sleepers = self.lock();
                continue;
            }
            let wait = sleepers.wakers.keys().next().map(|(at, _)| at.saturating_duration_since(now));
            sleepers = match wait {
                Some(wait) => {
                    self.changed.wait_timeout(sleepers, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(sleepers).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

struct Sleep {
    at: Instant,
    number: Option<u64>,
    shared: Arc<Shared>,
}

impl Future for Sleep {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        if Instant::now() >= self.at {
            return Poll::Ready(Ok(()));
        }
        let shared = self.shared.clone();
        let mut sleepers = shared.lock();
        if !sleepers.is_running {
            sleepers.is_running = true;
            let shared = shared.clone();
            let spawned =
                std::thread::Builder::new().name("tenantry-timer".to_owned()).spawn(move || shared.run());
            if spawned.is_err() {
                // Without a timer thread the sleep is cut short rather than endless.
                sleepers.is_running = false;
                return Poll::Ready(Ok(()));
            }
        }
        let number = self.number.unwrap_or_else(|| {
            sleepers.next += 1;
            sleepers.next
        });
        self.number = Some(number);
        sleepers.wakers.insert((self.at, number), context.waker().clone());
        drop(sleepers);
        shared.changed.notify_one();
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.shared.lock().wakers.remove(&(self.at, number));
        }
    }
}
