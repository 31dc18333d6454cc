//! What did not hold, and which of the judge's rules says so.

use std::fmt;

/// A rule of the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Oracle {
    /// Every read is what the model says at the transaction's read version.
    Reads,
    /// What a writer read is still so just before its own commit.
    Commits,
    /// What was acknowledged before a transaction began is visible to it.
    RealTime,
    /// Every refusal for a conflict is justified.
    Conflicts,
    /// What was acknowledged is there, once, and what was refused is not.
    Durability,
    /// The final state is the model's.
    FinalState,
    /// The ring is one ring.
    Ring,
    /// The accounts keep their sum.
    Bank,
    /// The counter counts each increment once.
    Counter,
    /// A watch fires, an answer comes: nobody waits for ever.
    Watches,
    /// Indexes say what records say, and tenants see their own alone.
    Records,
    /// A database that was not damaged opens and can be read.
    Opening,
    /// Damage is told by a typed error or hurts nothing.
    Damage,
    /// The same seed takes the same course.
    Course,
    /// Nothing panics.
    Panic,
}

impl Oracle {
    /// Those that judge the product, not the simulator.
    pub const ALL: [Oracle; 13] = [
        Oracle::Reads,
        Oracle::Commits,
        Oracle::RealTime,
        Oracle::Conflicts,
        Oracle::Durability,
        Oracle::FinalState,
        Oracle::Ring,
        Oracle::Bank,
        Oracle::Counter,
        Oracle::Watches,
        Oracle::Records,
        Oracle::Opening,
        Oracle::Damage,
    ];

    pub(crate) fn says(self, what: impl Into<String>) -> Finding {
        Finding { oracle: self, what: what.into() }
    }
}

/// What did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule says so.
    pub oracle: Oracle,
    /// What did not hold, in words.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.oracle, self.what)
    }
}

/// A verdict.
pub(crate) type Verdict<T = ()> = Result<T, Finding>;
