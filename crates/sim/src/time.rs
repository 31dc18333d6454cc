//! Time that moves only when the simulator moves it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tenantry_kv::KvFuture;
use tenantry_kv::env::{Clock, Timer};

/// The clock, and who waits for it.
#[derive(Clone, Default)]
pub(crate) struct SimulatedTime(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: Duration,
    sleepers: Vec<(Duration, Waker)>,
}

impl SimulatedTime {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the clock on and wakes whom it is time for.
    pub(crate) fn advance(&self, by: Duration) {
        let due: Vec<Waker> = {
            let mut state = self.lock();
            state.now += by;
            let now = state.now;
            let (due, rest) = std::mem::take(&mut state.sleepers).into_iter().partition(|(at, _)| *at <= now);
            state.sleepers = rest;
            let due: Vec<(Duration, Waker)> = due;
            due.into_iter().map(|(_, waker)| waker).collect()
        };
        due.into_iter().for_each(Waker::wake);
    }

    /// How long until the next sleeper wakes.
    pub(crate) fn until_next(&self) -> Option<Duration> {
        let state = self.lock();
        state.sleepers.iter().map(|(at, _)| at.saturating_sub(state.now)).min()
    }
}

impl Clock for SimulatedTime {
    fn monotonic(&self) -> Duration {
        self.lock().now
    }

    fn wall_us(&self) -> i64 {
        // 2020-01-01T00:00:00Z, and on.
        1_577_836_800_000_000 + i64::try_from(self.monotonic().as_micros()).unwrap_or(i64::MAX / 2)
    }
}

impl Timer for SimulatedTime {
    fn sleep(&self, duration: Duration) -> KvFuture<()> {
        let time = self.clone();
        let until = time.monotonic() + duration;
        KvFuture::pending(std::future::poll_fn(move |context| {
            let mut state = time.lock();
            if state.now >= until {
                return Poll::Ready(Ok(()));
            }
            state.sleepers.push((until, context.waker().clone()));
            Poll::Pending
        }))
    }
}
