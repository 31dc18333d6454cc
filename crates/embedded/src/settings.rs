//! What can be set.

use std::time::Duration;

use tenantry_kv::{Error, ErrorCode, Result};

/// When a commit counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When its data is on disk. The default.
    #[default]
    Synced,
    /// When it is written to the log, which is brought to disk within the interval: a crash of the machine (not of the process) can
    /// lose the last commits, whole and from the end.
    Relaxed {
        /// How long a commit may wait for the disk.
        interval: Duration,
    },
}

/// The settings of an embedded engine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// When a commit counts as done.
    pub durability: Durability,
    /// The memory for pages of the map, in bytes. Default 128 MiB; at least 1 MiB.
    pub cache_size_bytes: usize,
    /// The memory for recent versions, in bytes. Default 320 MiB; at least 1 MiB. At this bound the oldest versions leave before their five
    /// seconds are over, and writers wait for the map.
    pub window_size_bytes_max: usize,
    /// The size of one file of the log, in bytes. Default 16 MiB; from 64 KiB to 1 GiB.
    pub log_segment_size_bytes: u64,
    /// How much of the log may wait for the map before it is written out at once, in bytes. Default 48 MiB.
    pub log_size_bytes_max: u64,
    /// Writes are refused while the disk has less room than this, in bytes. Default 128 MiB.
    pub free_space_reserve_bytes: u64,
    /// The most transactions that one batch takes. Default 4,096; from 1 to 65,535.
    pub batch_transactions_max: usize,
    /// The most commits that wait for their batch; a further one is refused with 1042. Default 100,000.
    pub queue_transactions_max: usize,
    /// The sizes of the map's parts.
    pub map: MapSettings,
}

/// The sizes of the parts of the map, a log-structured merge tree.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapSettings {
    /// The size of a block, the unit of reading, in bytes. Default 4 KiB; from 64 bytes to 1 MiB.
    pub block_size_bytes: usize,
    /// The size of a table of the first level, in bytes; deeper levels have larger ones. Default 32 MiB; at least 1 KiB.
    pub table_size_bytes: u64,
    /// How many bytes of recent tables there may be before they go into the first level. Default 64 MiB; at least 1 KiB.
    pub recent_size_bytes: u64,
    /// The size of the first level, in bytes; each one below may be eight times as large. Default 256 MiB; at least 1 KiB.
    pub level_size_bytes: u64,
}

impl Default for MapSettings {
    fn default() -> MapSettings {
        MapSettings {
            block_size_bytes: 4 << 10,
            table_size_bytes: 32 << 20,
            recent_size_bytes: 64 << 20,
            level_size_bytes: 256 << 20,
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            durability: Durability::Synced,
            cache_size_bytes: 128 << 20,
            window_size_bytes_max: 320 << 20,
            log_segment_size_bytes: 16 << 20,
            log_size_bytes_max: 48 << 20,
            free_space_reserve_bytes: 128 << 20,
            batch_transactions_max: 4_096,
            queue_transactions_max: 100_000,
            map: MapSettings::default(),
        }
    }
}

impl Settings {
    /// Checks every bound.
    ///
    /// # Errors
    ///
    /// 2006 naming the setting, its value and its bounds.
    pub fn validate(&self) -> Result<()> {
        self.validate_from(true)
    }

    /// As [`validate`](Settings::validate), but every size may be as small as one: what is too small to be of use shall still do no harm. For simulators.
    pub(crate) fn validate_smallest(&self) -> Result<()> {
        self.validate_from(false)
    }

    fn validate_from(&self, is_for_use: bool) -> Result<()> {
        let bounded = |name: &str, value: u64, low: u64, high: u64| {
            let low = if is_for_use { low } else { 1 };
            if (low..=high).contains(&value) {
                return Ok(());
            }
            let detail = format!("the setting {name} is {value}: it has to lie between {low} and {high}");
            Err(Error::new(ErrorCode::INVALID_OPTION_VALUE, detail))
        };
        let any = u64::MAX;
        bounded("cache_size_bytes", self.cache_size_bytes as u64, 1 << 20, any)?;
        bounded("window_size_bytes_max", self.window_size_bytes_max as u64, 1 << 20, any)?;
        bounded("log_segment_size_bytes", self.log_segment_size_bytes, 64 << 10, 1 << 30)?;
        bounded("batch_transactions_max", self.batch_transactions_max as u64, 1, 65_535)?;
        bounded("queue_transactions_max", self.queue_transactions_max as u64, 1, any)?;
        bounded("map.block_size_bytes", self.map.block_size_bytes as u64, 64, 1 << 20)?;
        bounded("map.table_size_bytes", self.map.table_size_bytes, 1 << 10, 1 << 40)?;
        bounded("map.recent_size_bytes", self.map.recent_size_bytes, 1 << 10, any)?;
        bounded("map.level_size_bytes", self.map.level_size_bytes, 1 << 10, any)
    }
}
