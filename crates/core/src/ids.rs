//! Identifiers that sort by the time at which they were made: UUIDs of version 7 (RFC 9562), from the clock and the entropy of `Env`.

use std::sync::{Mutex, PoisonError};

use tenantry_kv::env::Env;
use uuid::{Builder, Uuid, Variant, Version};

/// The bits behind the milliseconds that count within one of them.
const COUNTER_BITS: u32 = 12;
/// What is drawn for the counter at the begin of a millisecond: half of it is left to count.
const COUNTER_START_MASK: u64 = (1 << (COUNTER_BITS - 1)) - 1;
/// The milliseconds of a version 7 have 48 bits.
const MILLISECONDS_MAX: i64 = (1 << 48) - 1;

/// Gives identifiers of which each is greater than the one before, whatever the clock does.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// Milliseconds and counter of the last one.
    last: Mutex<u64>,
}

impl Ids {
    pub(crate) fn next(&self, env: &Env) -> Uuid {
        let mut random = [0; 10];
        env.entropy.fill(&mut random);
        let milliseconds = (env.clock.wall_us() / 1_000).clamp(0, MILLISECONDS_MAX) as u64;
        let drawn = u64::from(u16::from_be_bytes([random[8], random[9]])) & COUNTER_START_MASK;
        let begin = milliseconds << COUNTER_BITS | drawn;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Within a millisecond, and while the clock is behind, they count on, if need be into the next millisecond.
        let next = if begin >> COUNTER_BITS > *last >> COUNTER_BITS { begin } else { *last + 1 };
        *last = next;
        drop(last);
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&(next >> COUNTER_BITS).to_be_bytes()[2..]);
        bytes[6..8].copy_from_slice(&((next & ((1 << COUNTER_BITS) - 1)) as u16).to_be_bytes());
        bytes[8..].copy_from_slice(&random[..8]);
        // The builder sets the bits of version and variant: four above the counter, two of what was drawn.
        Builder::from_bytes(bytes).with_version(Version::SortRand).with_variant(Variant::RFC4122).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenantry_kv::conformance::reference::manual_env_with_clock;

    use super::*;

    #[test]
    fn each_is_greater_than_the_one_before() {
        let (env, clock) = manual_env_with_clock();
        let began = env.clock.wall_us() / 1_000;
        let ids = Ids::default();
        let mut last = Uuid::nil();
        for round in 0..20_000 {
            // Mostly many in one millisecond, more than the counter holds.
            if round % 9_000 == 8_999 {
                clock.advance(Duration::from_millis(3));
            }
            let id = ids.next(&env);
            assert!(id > last, "{id} after {last}");
            assert_eq!((id.get_version(), id.get_variant()), (Some(Version::SortRand), Variant::RFC4122));
            last = id;
        }
        let ahead = (last.as_u128() >> 80) as i64 - began;
        assert!((6..20).contains(&ahead), "{ahead}");
        // Two databases that start at the same moment give different ones.
        assert_ne!(Ids::default().next(&env), Ids::default().next(&env));
    }
}
