//! Compaction: tables are merged so that reads have few to look at, and what is gone goes.
//!
//! Recent tables of about the same size are merged with each other; once they are many bytes together they go into the first level, which is sorted. A level
//! that outgrows its size gives the table that costs least to the next one, which may be eight times as large.

use std::sync::Arc;

use bytes::Bytes;
use tenantry_kv::{KeyRange, Result};

use super::cursor::{Cursor, Reads, merge};
use super::levels::{Levels, overlapping};
use super::table::{Table, TableWriter, Tables};
use crate::settings::MapSettings;

/// How many recent tables of about the same size are merged.
const RECENT_MERGED: usize = 4;
/// How many recent tables there are at most, whatever their size.
const RECENT_MAX: usize = 12;
/// How much larger a level may be than the one above it.
const LEVEL_RATIO: u64 = 8;

/// What is to be merged, and where it goes.
#[derive(Debug)]
pub(super) struct Job {
    /// Runs, the newest first.
    runs: Vec<Vec<Arc<Table>>>,
    target: Target,
    /// Whether nothing older lies below: then what is absent need not be said.
    is_lowest: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// In place of the recent tables from this one on.
    Recent(usize),
    Level(usize),
}

/// What most needs to be done, if anything does.
pub(super) fn choose(levels: &Levels, settings: &MapSettings) -> Option<Job> {
    if levels.recent_size_bytes() > settings.recent_size_bytes || levels.recent.len() > RECENT_MAX {
        return Some(into_level(levels, levels.recent.iter().map(|table| vec![table.clone()]).collect(), 0));
    }
    if let Some(count) = similar(levels) {
        let runs: Vec<Vec<Arc<Table>>> =
            levels.recent[..count].iter().map(|table| vec![table.clone()]).collect();
        let below = levels.recent[count..].iter().chain(levels.sorted.iter().flatten());
        let is_lowest = !meets(below, &range_of(runs.iter().flatten()));
        return Some(Job { runs, target: Target::Recent(0), is_lowest });
    }
    let mut size_max = settings.level_size_bytes;
    for (index, level) in levels.sorted.iter().enumerate() {
        if level.iter().map(|table| table.info.size_bytes).sum::<u64>() > size_max {
            let below = levels.sorted.get(index + 1).map_or(&[][..], Vec::as_slice);
            let cost = |table: &&Arc<Table>| {
                let range = &table.info.range;
                let met = overlapping(below, &range.begin, Some(&range.end));
                // Per byte of its own, in thousandths.
                let met: u64 = met.iter().map(|table| table.info.size_bytes).sum();
                met.saturating_mul(1_000) / table.info.size_bytes.max(1)
            };
            let table = level.iter().min_by_key(cost)?;
            return Some(into_level(levels, vec![vec![table.clone()]], index + 1));
        }
        size_max = size_max.saturating_mul(LEVEL_RATIO);
    }
    None
}

/// How many of the newest recent tables are of about the same size: each no larger than the newer ones together.
fn similar(levels: &Levels) -> Option<usize> {
    let mut newer = 0;
    let mut count = 0;
    for table in &levels.recent {
        if count > 0 && table.info.size_bytes > newer {
            break;
        }
        newer += table.info.size_bytes;
        count += 1;
    }
    (count >= RECENT_MERGED).then_some(count)
}

fn into_level(levels: &Levels, mut runs: Vec<Vec<Arc<Table>>>, target: usize) -> Job {
    let range = range_of(runs.iter().flatten());
    let below = levels.sorted.get(target).map_or(&[][..], Vec::as_slice);
    let met = overlapping(below, &range.begin, Some(&range.end));
    if !met.is_empty() {
        runs.push(met.to_vec());
    }
    let range = range_of(runs.iter().flatten());
    let is_lowest = !meets(levels.sorted.iter().skip(target + 1).flatten(), &range);
    Job { runs, target: Target::Level(target), is_lowest }
}

fn range_of<'a>(tables: impl Iterator<Item = &'a Arc<Table>>) -> KeyRange {
    tables
        .map(|table| table.info.range.clone())
        .reduce(|left, right| KeyRange { begin: left.begin.min(right.begin), end: left.end.max(right.end) })
        .unwrap_or_else(|| KeyRange::new(Bytes::new(), Bytes::new()))
}

fn meets<'a>(mut tables: impl Iterator<Item = &'a Arc<Table>>, range: &KeyRange) -> bool {
    tables.any(|table| table.info.range.begin < range.end && range.begin < table.info.range.end)
}

impl Job {
    pub(super) fn inputs(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.runs.iter().flatten()
    }

    /// What it writes at most.
    pub(super) fn size_bytes(&self) -> u64 {
        self.inputs().map(|table| table.info.size_bytes).sum()
    }

    /// A single table that nothing has to be merged with, on its way down.
    fn is_move(&self) -> bool {
        matches!(self.target, Target::Level(_))
            && self.inputs().count() == 1
            && !(self.is_lowest && self.inputs().any(|table| table.info.clears))
    }

    /// Merges, and gives the state with the outcome in its place. The tables are on disk, their names not yet.
    ///
    /// # Errors
    ///
    /// 10001 when a table is damaged; 10002, 1510.
    pub(super) fn run(&self, levels: &Levels, tables: &Arc<Tables>) -> Result<Levels> {
        let mut next = levels.clone();
        let outcome = match self.is_move() {
            true => self.inputs().cloned().collect(),
            false => {
                let mut output = Output::new(self, tables)?;
                let cursors = self.runs.iter().map(|run| Cursor::new(run, Reads::InBulk)).collect();
                let merged = merge(cursors, b"", None, false, &mut |key, value| {
                    if value.is_some() || !self.is_lowest {
                        output.add(key, value.as_deref())?;
                    }
                    Ok(true)
                });
                if let Err(error) = merged.and_then(|()| output.end_table(None)) {
                    output.done.iter().for_each(|table| table.supersede());
                    return Err(error);
                }
                output.done
            }
        };
        let is_input = |table: &Arc<Table>| self.inputs().any(|input| Arc::ptr_eq(input, table));
        next.recent.retain(|table| !is_input(table));
        next.sorted.iter_mut().for_each(|level| level.retain(|table| !is_input(table)));
        match self.target {
            Target::Recent(at) => drop(next.recent.splice(at..at, outcome)),
            Target::Level(level) => {
                if next.sorted.len() <= level {
                    next.sorted.resize_with(level + 1, Vec::new);
                }
                let level = &mut next.sorted[level];
                level.extend(outcome);
                level.sort_by(|left, right| left.info.range.begin.cmp(&right.info.range.begin));
            }
        }
        Ok(next)
    }
}

/// Writes the outcome of a merge as tables of some size.
struct Output<'a> {
    tables: &'a Arc<Tables>,
    /// The size at which a table ends; recent tables are never cut, since each is a run of its own.
    size_bytes_max: u64,
    /// What the merged tables cleared and is still to be said, ascending and disjoint.
    cleared: Vec<KeyRange>,
    writer: Option<TableWriter>,
    done: Vec<Arc<Table>>,
}

impl<'a> Output<'a> {
    fn new(job: &Job, tables: &'a Arc<Tables>) -> Result<Output<'a>> {
        let size_bytes_max = match job.target {
            Target::Recent(_) => u64::MAX,
            // Fewer, larger tables further down.
            Target::Level(level) => tables.settings.table_size_bytes << level.min(5),
        };
        let mut cleared = Vec::new();
        for table in job.inputs().filter(|table| table.info.clears && !job.is_lowest) {
            cleared.extend_from_slice(table.directory()?.cleared());
        }
        Ok(Output {
            tables,
            size_bytes_max,
            cleared: KeyRange::merged(cleared),
            writer: None,
            done: Vec::new(),
        })
    }

    fn writer(&mut self) -> Result<&mut TableWriter> {
        match &mut self.writer {
            Some(writer) => Ok(writer),
            writer => Ok(writer.insert(TableWriter::begin(self.tables)?)),
        }
    }

    fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        if self.writer.as_ref().is_some_and(|writer| writer.size_bytes() >= self.size_bytes_max) {
            self.end_table(Some(key))?;
        }
        self.writer()?.add(key, value)
    }

    /// Ends the table, with what is cleared below `end`.
    fn end_table(&mut self, end: Option<&[u8]>) -> Result<()> {
        let cleared = match end {
            None => std::mem::take(&mut self.cleared),
            Some(end) => {
                let whole = self.cleared.partition_point(|range| range.end.as_ref() <= end);
                let mut below: Vec<KeyRange> = self.cleared.drain(..whole).collect();
                if let Some(cut) = self.cleared.first_mut().filter(|range| range.begin.as_ref() < end) {
                    let end = Bytes::copy_from_slice(end);
                    below.push(KeyRange { begin: cut.begin.clone(), end: end.clone() });
                    cut.begin = end;
                }
                below
            }
        };
        if self.writer.is_none() && cleared.is_empty() {
            return Ok(());
        }
        self.writer()?;
        if let Some(writer) = self.writer.take() {
            self.done.push(Arc::new(writer.finish(&cleared)?));
        }
        Ok(())
    }
}
