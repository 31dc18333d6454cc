//! Range reads: what is asked for and what comes back.

use bytes::Bytes;

use crate::selector::KeySelector;

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

impl KeyValue {
    /// A row from its two parts.
    pub fn new(key: impl Into<Bytes>, value: impl Into<Bytes>) -> KeyValue {
        KeyValue { key: key.into(), value: value.into() }
    }
}

/// How much of a range one batch should bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamingMode {
    /// Everything, in as few batches as the engine can.
    #[default]
    WantAll,
    /// Batches that grow with `iteration`, which starts at 1.
    Iterator {
        /// The number of this batch, from 1.
        iteration: u32,
    },
    /// The whole range at once; needs a row or a byte limit.
    Exact,
    /// A few rows (256 bytes).
    Small,
    /// Some rows (1,000 bytes).
    Medium,
    /// Many rows (4,096 bytes).
    Large,
    /// As much as is good for one client's throughput (80,000 bytes).
    Serial,
}

impl StreamingMode {
    /// The byte limit that the mode stands for; `None` for [`StreamingMode::Exact`], which has none.
    pub fn target_bytes(self) -> Option<usize> {
        const ITERATIONS: [usize; 10] = [4096, 6144, 9216, 13824, 20736, 31104, 46656, 69984, 80000, 120000];
        Some(match self {
            StreamingMode::Exact => return None,
            StreamingMode::Small => 256,
            StreamingMode::Medium => 1_000,
            StreamingMode::Large => 4_096,
            StreamingMode::Serial | StreamingMode::WantAll => 80_000,
            StreamingMode::Iterator { iteration } => {
                ITERATIONS[(iteration.max(1) as usize - 1).min(ITERATIONS.len() - 1)]
            }
        })
    }
}

/// A range read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RangeRequest {
    /// Where the range begins (the key that it resolves to is the first one).
    pub begin: KeySelector,
    /// Where the range ends (the key that it resolves to is no longer in it).
    pub end: KeySelector,
    /// The most rows to return; 0 for no limit.
    pub limit: usize,
    /// About how many bytes to return; 0 for no limit beside the mode's.
    pub target_bytes: usize,
    /// How much one batch should bring.
    pub mode: StreamingMode,
    /// Whether the rows come in descending order; limits then count from the end.
    pub reverse: bool,
}

impl RangeRequest {
    /// All rows from `begin` (inclusive) to `end` (exclusive).
    pub fn new(begin: impl Into<Bytes>, end: impl Into<Bytes>) -> RangeRequest {
        RangeRequest::between(
            KeySelector::first_greater_or_equal(begin),
            KeySelector::first_greater_or_equal(end),
        )
    }

    /// All rows from the key that `begin` resolves to up to, and without, the key that `end` resolves to.
    pub fn between(begin: KeySelector, end: KeySelector) -> RangeRequest {
        RangeRequest { begin, end, limit: 0, target_bytes: 0, mode: StreamingMode::WantAll, reverse: false }
    }

    /// The same request for at most `limit` rows.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> RangeRequest {
        self.limit = limit;
        self
    }

    /// The same request in descending order.
    #[must_use]
    pub fn reverse(mut self, reverse: bool) -> RangeRequest {
        self.reverse = reverse;
        self
    }

    /// The same request in another streaming mode.
    #[must_use]
    pub fn mode(mut self, mode: StreamingMode) -> RangeRequest {
        self.mode = mode;
        self
    }

    /// The same request with a byte target.
    #[must_use]
    pub fn target_bytes(mut self, target_bytes: usize) -> RangeRequest {
        self.target_bytes = target_bytes;
        self
    }

    /// The request for what follows `batch`, or `None` if there is nothing more to ask for.
    pub fn after(&self, batch: &RangeBatch) -> Option<RangeRequest> {
        let last = batch.rows.last().filter(|_| batch.more)?;
        let mut next = self.clone();
        if self.limit > 0 {
            next.limit = self.limit.checked_sub(batch.rows.len()).filter(|left| *left > 0)?;
        }
        if self.reverse {
            next.end = KeySelector::first_greater_or_equal(last.key.clone());
        } else {
            next.begin = KeySelector::first_greater_than(last.key.clone());
        }
        if let StreamingMode::Iterator { iteration } = self.mode {
            next.mode = StreamingMode::Iterator { iteration: iteration.saturating_add(1) };
        }
        Some(next)
    }
}

/// What a range read returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeBatch {
    /// The rows, in the order that was asked for.
    pub rows: Vec<KeyValue>,
    /// Whether a limit stopped the read: there may be more rows. True also when the last row returned was the last there is.
    pub more: bool,
}
