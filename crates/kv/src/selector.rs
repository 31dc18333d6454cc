//! Key selectors: "the third key after this one", resolved by the engine.

use bytes::Bytes;

use crate::conflict_range::key_after;

/// A description of a key by its place among the keys that exist.
///
/// Normalised (`or_equal` makes `key` the next key), an offset of at least 1 is the offset-th key that is not less than `key`; an
/// offset of at most 0 is the (1 - offset)-th key less than it, counting backwards. Off the beginning is the empty key, off the
/// end the end of the readable space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySelector {
    /// The key that the selector counts from.
    pub key: Bytes,
    /// Whether the base is `key` itself or the key before.
    pub or_equal: bool,
    /// How many keys to go from there.
    pub offset: i32,
}

impl KeySelector {
    /// A selector from its three parts.
    pub fn new(key: impl Into<Bytes>, or_equal: bool, offset: i32) -> KeySelector {
        KeySelector { key: key.into(), or_equal, offset }
    }

    /// The last key less than `key`.
    pub fn last_less_than(key: impl Into<Bytes>) -> KeySelector {
        KeySelector::new(key, false, 0)
    }

    /// The last key less than or equal to `key`.
    pub fn last_less_or_equal(key: impl Into<Bytes>) -> KeySelector {
        KeySelector::new(key, true, 0)
    }

    /// The first key greater than `key`.
    pub fn first_greater_than(key: impl Into<Bytes>) -> KeySelector {
        KeySelector::new(key, true, 1)
    }

    /// The first key greater than or equal to `key`.
    pub fn first_greater_or_equal(key: impl Into<Bytes>) -> KeySelector {
        KeySelector::new(key, false, 1)
    }

    /// The selector `count` keys further on (or back, if negative). Saturates.
    #[must_use]
    pub fn plus(mut self, count: i32) -> KeySelector {
        self.offset = self.offset.saturating_add(count);
        self
    }

    /// The key that the selector counts from once `or_equal` is taken into it.
    pub fn normalised_key(&self) -> Bytes {
        if self.or_equal { key_after(&self.key) } else { self.key.clone() }
    }
}
