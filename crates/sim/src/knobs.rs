//! What a seed sets: the engine's settings, down to one, and the points that take their rare path.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tenantry_embedded::{MapSettings, Settings};
use tenantry_kv::env::Buggify;

use crate::random::Stream;

/// The settings of a seed: each the usual one, a small one, or one.
pub(crate) fn settings(random: &mut Stream, are_small: bool) -> Settings {
    let usual = MapSettings::default();
    let mut map = usual.clone();
    map.block_size_bytes = *random.pick(&[1, 64, 256, usual.block_size_bytes]);
    map.table_size_bytes = *random.pick(&[1, 1 << 10, 4 << 10, usual.table_size_bytes]);
    map.recent_size_bytes = *random.pick(&[1, 1 << 10, 8 << 10, usual.recent_size_bytes]);
    map.level_size_bytes = *random.pick(&[1, 1 << 10, 8 << 10, usual.level_size_bytes]);
    let mut settings = Settings::default();
    settings.map = map;
    settings.log_segment_size_bytes = *random.pick(&[1, 4 << 10, 64 << 10, 64 << 10]);
    settings.log_size_bytes_max = *random.pick(&[1, 64 << 10]);
    settings.cache_size_bytes = *random.pick(&[1, 16 << 10, 1 << 20]);
    settings.window_size_bytes_max = *random.pick(&[1, 16 << 10, 1 << 20, 256 << 20]);
    settings.batch_transactions_max = *random.pick(&[1, 2, 4_096]);
    settings.queue_transactions_max = *random.pick(&[1, 100_000, 100_000, 100_000]);
    if !are_small {
        settings = Settings::default();
        settings.log_segment_size_bytes = 64 << 10;
    }
    // The simulated disk is as large as the seed says.
    settings.free_space_reserve_bytes = 0;
    settings
}

/// Points that take their rare path when the seed armed them: a quarter of the points, a quarter of the times.
pub(crate) struct SeededBuggify {
    seed: u64,
    is_on: bool,
    state: Mutex<BTreeMap<&'static str, (Stream, u64)>>,
}

impl SeededBuggify {
    pub(crate) fn new(seed: u64, is_on: bool) -> SeededBuggify {
        SeededBuggify { seed, is_on, state: Mutex::default() }
    }

    /// How often each point that was passed took its rare path.
    pub(crate) fn fired(&self) -> BTreeMap<&'static str, u64> {
        self.lock().iter().map(|(site, (_, fired))| (*site, *fired)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, (Stream, u64)>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buggify for SeededBuggify {
    fn fires(&self, site: &'static str) -> bool {
        let mut state = self.lock();
        let (stream, fired) = state.entry(site).or_insert_with(|| (Stream::new(self.seed, site), 0));
        let is_armed = self.is_on && Stream::new(self.seed, site).percent(25);
        let fires = is_armed && stream.percent(25);
        *fired += u64::from(fires);
        fires
    }
}
