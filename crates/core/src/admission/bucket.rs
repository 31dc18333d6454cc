//! Token buckets, which may go into debt: what a transaction costs is known behind it.

use std::time::Duration;

use super::lease::WHOLE_PPM;

/// A bucket holds what comes in this time, and at least one: limits hold over ten seconds within a few percent.
const BURST: Duration = Duration::from_millis(250);
/// What a unit is counted in.
const PER_UNIT: i128 = 1_000_000;

/// A rate, and what of it is left.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// Units in a second, of all processes.
    rate: u64,
    /// This process's part of it, in millionths.
    share_ppm: u64,
    /// In millionths of a unit.
    level: i128,
    filled: Duration,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: u64, share_ppm: u64, now: Duration) -> Bucket {
        let mut bucket = Bucket { rate, share_ppm, level: 0, filled: now };
        bucket.level = bucket.capacity();
        bucket
    }

    /// The units that come in a second, in millionths.
    fn per_second(&self) -> i128 {
        i128::from(self.rate) * i128::from(self.share_ppm) * PER_UNIT / i128::from(WHOLE_PPM)
    }

    fn capacity(&self) -> i128 {
        (self.per_second() * BURST.as_millis() as i128 / 1_000).max(PER_UNIT)
    }

    pub(super) fn fill(&mut self, now: Duration) {
        let elapsed_us = now.saturating_sub(self.filled).as_micros() as i128;
        self.filled = now;
        let more = self.per_second() * elapsed_us / 1_000_000;
        self.level = (self.level + more).min(self.capacity().max(self.level));
    }

    /// Another rate, or another part of it. What is there stays, if there is room for it.
    pub(super) fn change(&mut self, rate: u64, share_ppm: u64, now: Duration) {
        self.fill(now);
        (self.rate, self.share_ppm) = (rate, share_ppm);
        self.level = self.level.min(self.capacity());
    }

    /// Whether there is one unit, or all that the bucket ever holds.
    pub(super) fn has_some(&self) -> bool {
        self.level >= PER_UNIT
    }

    pub(super) fn take(&mut self, units: u64) {
        self.level -= i128::from(units) * PER_UNIT;
    }

    pub(super) fn give_back(&mut self, units: u64) {
        self.level = (self.level + i128::from(units) * PER_UNIT).min(self.capacity());
    }

    /// How long until a transaction can go in behind others that take so many units. None for never, as things stand.
    pub(super) fn wait(&self, units_before: u64) -> Option<Duration> {
        let missing = (i128::from(units_before) + 1) * PER_UNIT - self.level;
        if missing <= 0 {
            return Some(Duration::ZERO);
        }
        let per_second = self.per_second();
        if per_second == 0 {
            return None;
        }
        let wait_us = (missing * 1_000_000).div_euclid(per_second) + 1;
        Some(Duration::from_micros(u64::try_from(wait_us).unwrap_or(u64::MAX / 2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Whoever takes all that it can gets the rate, whatever a transaction costs.
    #[test]
    fn a_bucket_gives_its_rate() {
        for (rate, cost) in [(1, 1), (7, 3), (1_000, 1), (1_000, 40), (1_000_000_000, 5_000_000)] {
            for share_ppm in [WHOLE_PPM, WHOLE_PPM / 4] {
                let mut bucket = Bucket::new(rate, share_ppm, Duration::ZERO);
                let (mut now, mut taken) = (Duration::ZERO, 0);
                for _ in 0..40_000 {
                    bucket.fill(now);
                    while bucket.has_some() {
                        bucket.take(cost);
                        taken += cost;
                    }
                    now += MILLISECOND;
                }
                let expected = rate * 40 * share_ppm / WHOLE_PPM;
                let burst = (rate / 4).max(1) + cost;
                assert!(taken <= expected + burst, "{rate} {cost}: {taken} of {expected}");
                assert!(taken + cost + rate / 500 + 1 >= expected, "{rate} {cost}: {taken} of {expected}");
            }
        }
    }

    #[test]
    fn the_wait_is_as_long_as_it_says() {
        let mut bucket = Bucket::new(10, WHOLE_PPM, Duration::ZERO);
        bucket.take(25);
        let wait = bucket.wait(0).unwrap();
        bucket.fill(wait - MILLISECOND);
        assert!(!bucket.has_some());
        bucket.fill(wait);
        assert!(bucket.has_some());
        bucket.change(10, 0, wait);
        assert_eq!(bucket.wait(0), Some(Duration::ZERO));
        bucket.take(1);
        assert_eq!(bucket.wait(0), None);
    }
}
