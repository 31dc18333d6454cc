//! How large a run is and what is left out of it. A failure is made smaller with these.

use std::fmt;
use std::str::FromStr;

/// Something that a seed does or suffers, and that a run can be without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Point reads.
    Gets,
    /// Range reads.
    Ranges,
    /// Key selectors.
    Selectors,
    /// Sets.
    Sets,
    /// Clears of one key.
    Clears,
    /// Clears of ranges.
    RangeClears,
    /// Atomic operations.
    Atomics,
    /// Conflict ranges for reads that were not made.
    ReadConflicts,
    /// Conflict ranges for writes that were not made.
    WriteConflicts,
    /// Clients that count.
    Counters,
    /// Clients that move money and turn the ring.
    Invariants,
    /// Clients that watch.
    Watches,
    /// Clients that write records.
    Records,
    /// Points that take their rare path.
    RarePaths,
    /// Retryable errors as on a cluster's bad day.
    BadDays,
    /// Settings that are not the default's.
    SmallSettings,
    /// Moments in which time jumps.
    TimeJumps,
    /// Crashes during a recovery.
    SecondCrashes,
    /// A sync that fails.
    FailedSyncs,
    /// A read that fails.
    FailedReads,
    /// A disk that fills up.
    FullDisks,
    /// Damage to what was synced.
    Damage,
}

impl Part {
    /// All of them: first those of the clients, then those of the world.
    pub const ALL: [Part; 22] = [
        Part::Gets,
        Part::Ranges,
        Part::Selectors,
        Part::Sets,
        Part::Clears,
        Part::RangeClears,
        Part::Atomics,
        Part::ReadConflicts,
        Part::WriteConflicts,
        Part::Counters,
        Part::Invariants,
        Part::Watches,
        Part::Records,
        Part::RarePaths,
        Part::BadDays,
        Part::SmallSettings,
        Part::TimeJumps,
        Part::SecondCrashes,
        Part::FailedSyncs,
        Part::FailedReads,
        Part::FullDisks,
        Part::Damage,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Part::Gets => "gets",
            Part::Ranges => "ranges",
            Part::Selectors => "selectors",
            Part::Sets => "sets",
            Part::Clears => "clears",
            Part::RangeClears => "range-clears",
            Part::Atomics => "atomics",
            Part::ReadConflicts => "read-conflicts",
            Part::WriteConflicts => "write-conflicts",
            Part::Counters => "counters",
            Part::Invariants => "invariants",
            Part::Watches => "watches",
            Part::Records => "records",
            Part::RarePaths => "rare-paths",
            Part::BadDays => "bad-days",
            Part::SmallSettings => "small-settings",
            Part::TimeJumps => "time-jumps",
            Part::SecondCrashes => "second-crashes",
            Part::FailedSyncs => "failed-syncs",
            Part::FailedReads => "failed-reads",
            Part::FullDisks => "full-disks",
            Part::Damage => "damage",
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        Part::ALL.into_iter().find(|part| part.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Part::ALL.iter().map(|part| part.name()).collect();
            format!("write one of {}", names.join(", "))
        })
    }
}

/// A set of parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts(u32);

impl Parts {
    /// Whether a part is in it.
    pub fn has(self, part: Part) -> bool {
        self.0 & (1 << part as u32) != 0
    }

    /// The set with a further part.
    #[must_use]
    pub fn with(self, part: Part) -> Parts {
        Parts(self.0 | (1 << part as u32))
    }
}

impl FromIterator<Part> for Parts {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Parts {
        parts.into_iter().fold(Parts::default(), Parts::with)
    }
}

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Random transactions in all.
    pub transactions: u64,
    /// The most clients.
    pub clients_max: u64,
    /// The most lives: one more than crashes.
    pub lives_max: u64,
    /// What the run is without.
    pub without: Parts,
}

impl Default for Scale {
    fn default() -> Scale {
        Scale { transactions: 200, clients_max: 16, lives_max: 5, without: Parts::default() }
    }
}

impl Scale {
    pub(crate) fn has(&self, part: Part) -> bool {
        !self.without.has(part)
    }

    /// Those that are a step smaller, the largest step first.
    pub(crate) fn smaller(self) -> impl Iterator<Item = Scale> {
        let scale = self;
        let sizes = [
            Scale { transactions: scale.transactions / 2, ..scale },
            Scale { transactions: scale.transactions * 3 / 4, ..scale },
            Scale { transactions: scale.transactions.saturating_sub(1), ..scale },
            Scale { clients_max: scale.clients_max / 2, ..scale },
            Scale { clients_max: scale.clients_max.saturating_sub(1), ..scale },
            Scale { lives_max: scale.lives_max.saturating_sub(1), ..scale },
        ];
        let parts =
            Part::ALL.into_iter().rev().map(move |part| Scale { without: scale.without.with(part), ..scale });
        sizes.into_iter().chain(parts).filter(move |smaller| {
            *smaller != scale && smaller.transactions > 0 && smaller.clients_max > 0 && smaller.lives_max > 0
        })
    }
}

/// The words of the command line that ask for this scale; nothing for the default.
impl fmt::Display for Scale {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usual = Scale::default();
        for (name, value, usual) in [
            ("transactions", self.transactions, usual.transactions),
            ("clients-max", self.clients_max, usual.clients_max),
            ("lives-max", self.lives_max, usual.lives_max),
        ] {
            if value != usual {
                write!(formatter, " --{name} {value}")?;
            }
        }
        for part in Part::ALL.into_iter().filter(|part| self.without.has(*part)) {
            write!(formatter, " --without {}", part.name())?;
        }
        Ok(())
    }
}
