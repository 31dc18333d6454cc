//! Which version comes next. Versions advance with the clock by a million a second, and with every batch; they never repeat, not even
//! across restarts, because none is issued past a ceiling that the log holds.

use std::time::Duration;

use tenantry_kv::Version;
use tenantry_kv::limits::VERSIONS_PER_SECOND;
use tenantry_kv::seeded_faults::{Fault, is_active};

/// How far ahead of the newest version the ceiling is set.
pub(crate) const CEILING_STEP: Version = 60 * VERSIONS_PER_SECOND;

/// The state of the version clock.
#[derive(Debug)]
pub(crate) struct Versions {
    /// The version that the clock's zero stands for.
    base: Version,
    /// The highest version ever issued, as a read version or for a batch.
    issued: Version,
    /// The newest version whose batch is durable and visible, and so the newest that can be read.
    readable: Version,
    /// How many batches have a version but are not visible yet.
    in_flight: usize,
    /// No version above this one may be issued.
    ceiling: Version,
}

impl Versions {
    /// A clock that goes on after `last`, at the moment `now`, with a durable `ceiling`.
    pub(crate) fn new(last: Version, now: Duration, ceiling: Version) -> Versions {
        let base = last + 1 - ticks(now);
        Versions { base, issued: last, readable: last, in_flight: 0, ceiling: ceiling.max(last) }
    }

    /// The version for the next batch, or `None` if the ceiling has to be raised first.
    pub(crate) fn begin_batch(&mut self, now: Duration) -> Option<Version> {
        let version = (self.base + ticks(now)).max(self.issued + 1);
        if version > self.ceiling {
            return None;
        }
        self.issued = version;
        self.in_flight += 1;
        Some(version)
    }

    /// The batch with `version` is durable and visible.
    pub(crate) fn end_batch(&mut self, version: Version) {
        self.in_flight -= 1;
        self.readable = self.readable.max(version);
    }

    /// A version to read at: everything acknowledged is in it. While no batch is in flight it follows the clock, and no batch will
    /// get it or an older one.
    pub(crate) fn read_version(&mut self, now: Duration) -> Version {
        if self.in_flight == 0 {
            let version = (self.base + ticks(now)).min(self.ceiling).max(self.issued);
            self.issued = version;
            self.readable = version;
        }
        if is_active(Fault::ReadVersionBehind) && self.readable % 4 == 0 {
            return self.readable - 1_000;
        }
        self.readable
    }

    /// The newest version that can be read.
    pub(crate) fn readable(&self) -> Version {
        self.readable
    }

    /// The ceiling to persist before more versions can be issued, if that is due soon.
    pub(crate) fn ceiling_due(&self, now: Duration) -> Option<Version> {
        let version = (self.base + ticks(now)).max(self.issued);
        (version + CEILING_STEP / 2 > self.ceiling).then(|| version + CEILING_STEP)
    }

    /// The log holds `ceiling`.
    pub(crate) fn raise_ceiling(&mut self, ceiling: Version) {
        self.ceiling = self.ceiling.max(ceiling);
    }
}

fn ticks(now: Duration) -> Version {
    // 2^63 microseconds are 292,000 years.
    Version::try_from(now.as_micros()).unwrap_or(Version::MAX / 2) * (VERSIONS_PER_SECOND / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_batch_gets_a_version_that_was_read_at() {
        let at = Duration::from_micros;
        let mut versions = Versions::new(100, at(50), 1_000);
        let read = versions.read_version(at(60));
        assert_eq!(read, 111);
        let batch = versions.begin_batch(at(60)).unwrap();
        assert_eq!(batch, 112, "later than what was read at, although the clock stands still");
        assert_eq!(versions.read_version(at(70)), 111, "a batch in flight is not visible");
        let second = versions.begin_batch(at(55)).unwrap();
        assert_eq!(second, 113, "the clock may go back");
        versions.end_batch(batch);
        assert_eq!(versions.read_version(at(80)), 112);
        versions.end_batch(second);
        assert_eq!(versions.read_version(at(80)), 131);
    }

    #[test]
    fn nothing_is_issued_past_the_ceiling() {
        let at = Duration::from_micros;
        let mut versions = Versions::new(100, at(0), 110);
        assert_eq!(versions.read_version(at(50)), 110);
        assert_eq!(versions.begin_batch(at(50)), None);
        let ceiling = versions.ceiling_due(at(50)).unwrap();
        versions.raise_ceiling(ceiling);
        assert_eq!(versions.begin_batch(at(50)), Some(151));
    }
}
