//! What a pool of connections tells of itself, for the places that transactions have here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The bounds of OpenTelemetry's histograms of times in a pool, in microseconds.
const BOUNDS_US: [u64; 9] =
    [1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 10_000_000];

#[derive(Default)]
pub(super) struct Statistics {
    wait_time: Times,
    use_time: Times,
    timeouts: AtomicU64,
}

/// A histogram that many add to.
#[derive(Default)]
struct Times {
    sum_us: AtomicU64,
    counts: [AtomicU64; BOUNDS_US.len() + 1],
}

impl Times {
    fn add(&self, time: Duration) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        // Nearly all are in the first.
        let place = BOUNDS_US.iter().position(|bound| time_us <= *bound).unwrap_or(BOUNDS_US.len());
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        if time_us > 0 {
            self.sum_us.fetch_add(time_us, Ordering::Relaxed);
        }
    }

    fn snapshot(&self) -> TimeHistogram {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        TimeHistogram {
            count: counts.iter().sum(),
            sum_us: self.sum_us.load(Ordering::Relaxed),
            bounds_us: BOUNDS_US.to_vec(),
            counts,
        }
    }
}

impl Statistics {
    pub(super) fn waited(&self, time: Duration) {
        self.wait_time.add(time);
    }

    pub(super) fn used(&self, time: Duration) {
        self.use_time.add(time);
    }

    pub(super) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    /// All but what is counted elsewhere.
    pub(super) fn snapshot(&self) -> PoolStatistics {
        PoolStatistics {
            used: 0,
            max: 0,
            pending_requests: 0,
            timeouts: self.timeouts.load(Ordering::Relaxed),
            wait_time: self.wait_time.snapshot(),
            use_time: self.use_time.snapshot(),
        }
    }
}

/// The places that transactions on tenants have in this process, in the words of OpenTelemetry's metrics of database client connections: a transaction that runs uses a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatistics {
    /// `db.client.connection.count` in the state `used`: how many transactions run.
    pub used: usize,
    /// `db.client.connection.max`: how many may run.
    pub max: usize,
    /// `db.client.connection.pending_requests`: how many wait.
    pub pending_requests: usize,
    /// `db.client.connection.timeouts`: how many waited too long.
    pub timeouts: u64,
    /// `db.client.connection.wait_time`: how long transactions waited before they ran.
    pub wait_time: TimeHistogram,
    /// `db.client.connection.use_time`: how long they ran.
    pub use_time: TimeHistogram,
}

/// How many times were how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeHistogram {
    /// How many there were.
    pub count: u64,
    /// Their sum, in microseconds.
    pub sum_us: u64,
    /// The upper bounds of the buckets, in microseconds; the last bucket has none.
    pub bounds_us: Vec<u64>,
    /// How many are in each bucket.
    pub counts: Vec<u64>,
}

impl PoolStatistics {
    /// `db.client.connection.count` in the state `idle`: how many more may run.
    pub fn idle(&self) -> usize {
        self.max.saturating_sub(self.used)
    }
}
