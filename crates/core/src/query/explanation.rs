//! How a query was answered, for people and programs.

use std::fmt;

use serde_json::{Value as Json, json};

use super::execute::Rows;
use super::plan::{Plan, Request, ScanPlan, Shape};

/// How a query was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// `scan`, `union` or `intersection`.
    pub plan: &'static str,
    /// The paths of the plan: one, but for a union or an intersection.
    pub paths: Vec<PathExplanation>,
    /// The index of the first path; `None` for the primary key.
    pub index: Option<String>,
    /// Whether each record is checked against the filter.
    pub is_filtered: bool,
    /// Whether the order was made in memory.
    pub is_sorted: bool,
    /// How many entries were looked at.
    pub scanned: usize,
    /// How many keys were read for that: entries, records, and further parts of entries.
    pub keys_read: usize,
    /// How many bytes they have.
    pub size_bytes_read: usize,
    /// How many records the page has.
    pub rows_returned: usize,
    /// What a look at the first entries said, where the plan was chosen by it.
    pub statistics: Vec<String>,
    /// The other plans, and why they were not taken.
    pub others: Vec<String>,
}

/// One path of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathExplanation {
    /// The index; `None` for the primary key.
    pub index: Option<String>,
    /// The conditions that bound the scan, as text.
    pub bounds: Vec<String>,
    /// Whether the scan runs from the end.
    pub is_reverse: bool,
    /// Whether the entries hold all that is asked for, so that no record is read.
    pub is_covering: bool,
}

impl PathExplanation {
    fn of(scan: &ScanPlan<'_>) -> PathExplanation {
        PathExplanation {
            index: scan.index.map(|index| index.name.clone()),
            bounds: scan.bounds.clone(),
            is_reverse: scan.is_reverse,
            is_covering: scan.index.is_some() && scan.is_covering,
        }
    }
}

impl Explanation {
    pub(super) fn of(plan: &Plan<'_>, request: &Request<'_, '_>, rows: &Rows) -> Explanation {
        let paths: Vec<PathExplanation> = plan.scans().into_iter().map(PathExplanation::of).collect();
        Explanation {
            plan: match plan.shape {
                Shape::Scan(_) => "scan",
                Shape::Union { .. } => "union",
                Shape::Intersection(..) => "intersection",
            },
            index: paths.first().and_then(|path| path.index.clone()),
            paths,
            is_filtered: request.filter.is_some(),
            is_sorted: plan.is_sorted,
            scanned: rows.looked_at,
            keys_read: rows.reads.keys,
            size_bytes_read: rows.reads.size_bytes,
            rows_returned: rows.records.len(),
            statistics: plan.statistics.clone(),
            others: plan.others.clone(),
        }
    }

    /// Takes out whatever tells of records that are not on the page.
    pub(super) fn hide_counts(&mut self) {
        (self.scanned, self.keys_read, self.size_bytes_read) = (self.rows_returned, 0, 0);
        (self.statistics, self.others) = (Vec::new(), Vec::new());
    }

    /// The explanation in JSON.
    pub fn to_json(&self) -> Json {
        let path = |path: &PathExplanation| {
            json!({
                "index": path.index,
                "bounds": path.bounds,
                "reverse": path.is_reverse,
                "covering": path.is_covering,
            })
        };
        json!({
            "text": self.to_string(),
            "plan": self.plan,
            "index": self.index,
            "paths": self.paths.iter().map(path).collect::<Vec<_>>(),
            "filtered": self.is_filtered,
            "sorted_in_memory": self.is_sorted,
            "entries_scanned": self.scanned,
            "keys_read": self.keys_read,
            "bytes_read": self.size_bytes_read,
            "rows_returned": self.rows_returned,
            "statistics": self.statistics,
            "others": self.others,
        })
    }
}

impl fmt::Display for PathExplanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.index {
            Some(index) => write!(formatter, "index {index}")?,
            None => write!(formatter, "primary key")?,
        }
        match self.bounds.is_empty() {
            true => write!(formatter, ", all entries")?,
            false => write!(formatter, ", {}", self.bounds.join(" and "))?,
        }
        if self.is_reverse {
            write!(formatter, ", from the end")?;
        }
        if self.is_covering {
            write!(formatter, ", entries alone")?;
        }
        Ok(())
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plan != "scan" {
            write!(formatter, "{} of ", self.plan)?;
        }
        for (place, path) in self.paths.iter().enumerate() {
            let between = if place == 0 { "" } else { "; and " };
            write!(formatter, "{between}{path}")?;
        }
        if self.is_filtered {
            write!(formatter, ", each record checked")?;
        }
        if self.is_sorted {
            write!(formatter, ", sorted in memory")?;
        }
        write!(formatter, "; {} entries looked at", self.scanned)
    }
}
