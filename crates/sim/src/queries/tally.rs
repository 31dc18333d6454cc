//! What the queries exercised.

use std::collections::BTreeMap;
use std::fmt;

use crate::finding::Finding;

/// What some seeds exercised, and what did not hold.
#[derive(Clone, Debug, Default)]
pub struct QueryTally {
    /// How many databases there were, each with a schema and records of its own.
    pub worlds: u64,
    /// How many different queries were asked.
    pub queries: u64,
    /// How many records they have together.
    pub rows: u64,
    /// How many pages were read for them.
    pub pages: u64,
    /// Plans by kind; one can be of several.
    pub plans: BTreeMap<&'static str, u64>,
    /// How often an index of each kind was used or asked.
    pub indexes: BTreeMap<&'static str, u64>,
    /// How many deletions of records there were that others may refer to.
    pub cascades: u64,
    /// How many worlds were checked at their end.
    pub checks: u64,
    /// How many of these were written through an engine on a bad day.
    pub bad_days: u64,
    /// The seeds that failed, and what did not hold.
    pub failures: Vec<(u64, Finding)>,
}

impl QueryTally {
    /// Adds what others exercised.
    pub fn add(&mut self, other: QueryTally) {
        self.worlds += other.worlds;
        self.queries += other.queries;
        self.rows += other.rows;
        self.pages += other.pages;
        self.cascades += other.cascades;
        self.checks += other.checks;
        self.bad_days += other.bad_days;
        for (total, counts) in [(&mut self.plans, other.plans), (&mut self.indexes, other.indexes)] {
            for (name, count) in counts {
                *total.entry(name).or_default() += count;
            }
        }
        self.failures.extend(other.failures);
    }

    /// The plans and the kinds of indexes that nothing exercised.
    pub fn missing(&self) -> Vec<String> {
        let plans = PLANS.iter().filter(|plan| !self.plans.contains_key(**plan));
        let indexes = INDEXES.iter().filter(|index| !self.indexes.contains_key(**index));
        plans
            .map(|plan| format!("no plan was: {plan}"))
            .chain(indexes.map(|index| format!("no index was used of the kind {index}")))
            .chain((self.cascades == 0).then(|| "nothing was deleted that others refer to".to_owned()))
            .chain((self.bad_days == 0).then(|| "no world had a bad day".to_owned()))
            .collect()
    }
}

const PLANS: [&str; 8] = [
    "scan of the primary key",
    "scan of an index",
    "union",
    "intersection",
    "sorted in memory",
    "from the end",
    "covered by an index",
    "chosen by a look at the entries",
];
const INDEXES: [&str; 14] = [
    "value",
    "value, unique",
    "value, elements of a list",
    "value, covering",
    "value, sparse",
    "value, hashed",
    "text",
    "rank",
    "count",
    "sum",
    "min",
    "max",
    "version",
    "time_to_live",
];

impl fmt::Display for QueryTally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} queries over {} schemas, {} records found, {} pages read",
            self.queries, self.worlds, self.rows, self.pages
        )?;
        writeln!(
            formatter,
            "{} worlds checked at their end, {} with a bad day, {} deletions with all that refers",
            self.checks, self.bad_days, self.cascades
        )?;
        for (what, counts) in [("plan", &self.plans), ("index", &self.indexes)] {
            for (name, count) in counts {
                writeln!(formatter, "{what} {name}: {count}")?;
            }
        }
        write!(formatter, "{} failures", self.failures.len())
    }
}
