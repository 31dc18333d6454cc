//! The state of the map: which tables there are, and which stand above which.

use std::sync::Arc;

use bytes::Bytes;
use tenantry_kv::{KeyRange, Result};

use super::block::Block;
use super::cursor::{Cursor, Reads};
use super::filter;
use super::table::{Held, Table};
use crate::map::Applied;

/// All tables at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Levels {
    pub(super) applied: Applied,
    /// Tables that came lately, the newest first. They overlap.
    pub(super) recent: Vec<Arc<Table>>,
    /// Below them, newer above older, tables in the order of their keys, without overlap.
    pub(super) sorted: Vec<Vec<Arc<Table>>>,
}

impl Levels {
    /// Runs of tables without overlap, the newest first.
    pub(super) fn runs(&self) -> impl Iterator<Item = &[Arc<Table>]> {
        self.recent.iter().map(std::slice::from_ref).chain(self.sorted.iter().map(Vec::as_slice))
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.recent.iter().chain(self.sorted.iter().flatten())
    }

    /// What the newest table that says anything about `key` says.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let hash = filter::hash(key);
        for run in self.runs() {
            if let Some(said) = look(run, key, hash, |_| {})? {
                return Ok(said);
            }
        }
        Ok(None)
    }

    /// Cursors over the runs that meet the range, the newest first.
    pub(super) fn cursors(&self, begin: &[u8], end: Option<&[u8]>, reads: Reads) -> Vec<Cursor<'_>> {
        self.runs()
            .map(|run| overlapping(run, begin, end))
            .filter(|run| !run.is_empty())
            .map(|run| Cursor::new(run, reads))
            .collect()
    }

    pub(super) fn recent_size_bytes(&self) -> u64 {
        self.recent.iter().map(|table| table.info.size_bytes).sum()
    }

    /// Takes out every table that says nothing about keys outside one of these ranges, which a newer table clears.
    pub(super) fn remove_inside(&mut self, cleared: &[KeyRange]) {
        if cleared.is_empty() {
            return;
        }
        let stays = |table: &Arc<Table>| {
            let range = &table.info.range;
            let index = cleared.partition_point(|cleared| cleared.end <= range.begin);
            cleared.get(index).is_none_or(|cleared| range.begin < cleared.begin || cleared.end < range.end)
        };
        self.recent.retain(stays);
        self.sorted.iter_mut().for_each(|level| level.retain(stays));
    }
}

/// What a run says about `key`: its value, that it is absent, or nothing. `opened` is shown the block that was looked into.
pub(super) fn look<'a>(
    run: &'a [Arc<Table>],
    key: &[u8],
    hash: u64,
    opened: impl FnOnce(Opened<'a>),
) -> Result<Option<Option<Bytes>>> {
    let index = run.partition_point(|table| table.info.range.end.as_ref() <= key);
    let Some(table) = run.get(index).filter(|table| table.info.range.begin.as_ref() <= key) else {
        return Ok(None);
    };
    let directory = table.directory()?;
    let mut said = None;
    if directory.may_contain(hash)
        && let Some(index) = directory.block_of(key)
    {
        let block = table.block(&directory, index)?;
        said = block.find(key).map(|entry| block.value(entry));
        opened(Opened { directory: table.directory()?, index, block });
    }
    Ok(said.or_else(|| directory.cleared_around(key).map(|_| None)))
}

/// A block that was looked into, and where it stands.
pub(super) struct Opened<'a> {
    directory: Held<'a>,
    index: usize,
    block: Block,
}

impl Opened<'_> {
    /// Whether `key` would stand in this block.
    fn is_of(&self, key: &[u8]) -> bool {
        self.directory.is_block_of(self.index, key)
    }

    fn look(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let said = self.block.find(key).map(|entry| self.block.value(entry));
        said.or_else(|| self.directory.cleared_around(key).map(|_| None))
    }
}

/// Looks for several keys. In each run it keeps the block that it looked into last, where the next key stands as a rule if they come in their order.
pub(super) struct Finder<'a> {
    runs: Vec<(&'a [Arc<Table>], Option<Opened<'a>>)>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(levels: &'a Levels) -> Finder<'a> {
        Finder { runs: levels.runs().map(|run| (run, None)).collect() }
    }

    /// As [`Levels::get`].
    pub(super) fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>> {
        let mut hash = None;
        for (run, last) in &mut self.runs {
            let said = match last {
                Some(opened) if opened.is_of(key) => opened.look(key),
                last => {
                    let hash = *hash.get_or_insert_with(|| filter::hash(key));
                    look(run, key, hash, |opened| *last = Some(opened))?
                }
            };
            if let Some(said) = said {
                return Ok(said);
            }
        }
        Ok(None)
    }
}

/// The tables of a run that meet the range.
pub(super) fn overlapping<'a>(run: &'a [Arc<Table>], begin: &[u8], end: Option<&[u8]>) -> &'a [Arc<Table>] {
    let first = run.partition_point(|table| table.info.range.end.as_ref() <= begin);
    let last = match end {
        Some(end) => run.partition_point(|table| table.info.range.begin.as_ref() < end),
        None => run.len(),
    };
    &run[first..last.max(first)]
}
