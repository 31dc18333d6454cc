//! What the engine counts, for the layers above.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A histogram whose buckets double: bucket `i` counts values from `2^(i-1)` to `2^i - 1`, bucket 0 zeros.
#[derive(Debug)]
pub(crate) struct AtomicHistogram {
    buckets: [AtomicU64; 40],
    sum: AtomicU64,
}

impl Default for AtomicHistogram {
    fn default() -> AtomicHistogram {
        AtomicHistogram { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

impl AtomicHistogram {
    pub(crate) fn record(&self, value: u64) {
        let bucket = (64 - value.leading_zeros() as usize).min(self.buckets.len() - 1);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn read(&self) -> Histogram {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        Histogram { buckets, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// A histogram whose buckets double: bucket `i` counts values from `2^(i-1)` to `2^i - 1`, bucket 0 zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many values fell into each bucket.
    pub buckets: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// A value that the share `quantile` (0 to 1) of all values does not pass, exact to a factor of two.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = (self.count() as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return (1u64 << bucket) - 1;
            }
        }
        0
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The live counters.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
            pub(crate) log_bytes_written: Arc<AtomicU64>,
            pub(crate) map_bytes_written: Arc<AtomicU64>,
            pub(crate) batch_transactions: AtomicHistogram,
            pub(crate) sync_us: AtomicHistogram,
        }

        /// What the engine has counted since it was opened, and where it stands.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Bytes written to the log.
            pub log_bytes_written: u64,
            /// Bytes written to the map's files.
            pub map_bytes_written: u64,
            /// Transactions per batch.
            pub batch_transactions: Histogram,
            /// Microseconds per sync of the log.
            pub sync_us: Histogram,
            /// The newest version that can be read.
            pub version_readable: i64,
            /// The oldest version that can be read.
            pub version_oldest: i64,
            /// The newest version that the map holds.
            pub version_applied: i64,
            /// Bytes of recent writes in memory.
            pub window_size_bytes: u64,
            /// Keys and cleared ranges in the window.
            pub window_entries: u64,
            /// Keys and ranges that the conflict check remembers.
            pub resolver_entries: u64,
            /// Bytes of log files whose batches the map does not hold yet.
            pub log_size_bytes: u64,
            /// Files of the map.
            pub map_tables: u64,
            /// Bytes of the map's files.
            pub map_size_bytes: u64,
            /// Bytes of the map in memory.
            pub map_cached_bytes: u64,
            /// Watches that are outstanding.
            pub watches: u64,
        }

        impl Counters {
            pub(crate) fn read(&self) -> Stats {
                Stats {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    log_bytes_written: self.log_bytes_written.load(Ordering::Relaxed),
                    map_bytes_written: self.map_bytes_written.load(Ordering::Relaxed),
                    batch_transactions: self.batch_transactions.read(),
                    sync_us: self.sync_us.read(),
                    ..Stats::default()
                }
            }
        }
    };
}

counters! {
    /// Transactions that committed with writes.
    commits,
    /// Reads of a key or of a selector.
    reads,
    /// Batches of ranges.
    range_reads,
    /// Transactions refused with 1020.
    conflicts,
    /// Commits and reads refused with 1007.
    too_old,
    /// Commits refused for want of disk space.
    disk_full,
    /// Versions that left the window before their time, because memory was short.
    early_evictions,
    /// Times that writers waited for the map.
    write_stalls,
    /// Watches that fired.
    watches_fired,
    /// Changes applied to the map.
    map_changes,
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
