//! Cursors: one over the tables of a level, and the merge of several.

use std::sync::Arc;

use bytes::Bytes;
use tenantry_kv::{KeyRange, Result};

use super::block::Block;
use super::table::{Held, Table};

/// How blocks are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// One at a time, through the cache.
    Cached,
    /// Many at a time, past the cache: for who reads everything once.
    InBulk,
}

/// A position in tables that follow each other, without overlap.
pub(super) struct Cursor<'a> {
    tables: &'a [Arc<Table>],
    reads: Reads,
    /// Whether any of the tables has cleared ranges.
    clears: bool,
    table: usize,
    directory: Option<Held<'a>>,
    block_index: usize,
    /// `None`: at the end.
    block: Option<Block>,
    entry: usize,
    /// Blocks read ahead, with the place of the first: table and block.
    ahead: ((usize, usize), Vec<Block>),
}

impl<'a> Cursor<'a> {
    pub(super) fn new(tables: &'a [Arc<Table>], reads: Reads) -> Cursor<'a> {
        Cursor {
            tables,
            reads,
            clears: tables.iter().any(|table| table.info.clears),
            table: usize::MAX,
            directory: None,
            block_index: 0,
            block: None,
            entry: 0,
            ahead: ((0, 0), Vec::new()),
        }
    }

    pub(super) fn key(&self) -> Option<&[u8]> {
        self.block.as_ref().map(|block| block.key(self.entry))
    }

    /// The value here; `None` where the key is absent.
    pub(super) fn value(&self) -> Option<Bytes> {
        self.block.as_ref().and_then(|block| block.value(self.entry))
    }

    /// To the first entry whose key is not below `key`.
    pub(super) fn seek(&mut self, key: &[u8]) -> Result<()> {
        let table = self.tables.partition_point(|table| table.info.range.end.as_ref() <= key);
        if !self.enter_table(table)? {
            return Ok(());
        }
        let block = self.directory.as_ref().and_then(|directory| directory.block_of(key)).unwrap_or(0);
        self.enter_block(block)?;
        self.entry = self.block.as_ref().map_or(0, |block| block.lower_bound(key));
        self.settle_forward()
    }

    /// To the last entry whose key is below `key`; `None`: to the very last.
    pub(super) fn seek_back(&mut self, key: Option<&[u8]>) -> Result<()> {
        let is_below = |begin: &[u8]| key.is_none_or(|key| begin < key);
        let below = self.tables.partition_point(|table| is_below(&table.info.range.begin));
        let Some(table) = below.checked_sub(1) else {
            self.block = None;
            return Ok(());
        };
        self.enter_table(table)?;
        let below = |directory: &Held<'_>| key.map_or(directory.len(), |key| directory.blocks_below(key));
        match self.directory.as_ref().map_or(0, below).checked_sub(1) {
            Some(block) => {
                self.enter_block(block)?;
                let entries = |block: &Block| key.map_or(block.len(), |key| block.lower_bound(key));
                let below = self.block.as_ref().map_or(0, entries);
                match below.checked_sub(1) {
                    Some(entry) => {
                        self.entry = entry;
                        Ok(())
                    }
                    None => self.settle_back(),
                }
            }
            None => {
                self.block_index = 0;
                self.settle_back()
            }
        }
    }

    pub(super) fn next(&mut self) -> Result<()> {
        self.entry += 1;
        match self.block.as_ref().is_some_and(|block| self.entry < block.len()) {
            true => Ok(()),
            false => self.settle_forward(),
        }
    }

    pub(super) fn previous(&mut self) -> Result<()> {
        match self.entry.checked_sub(1) {
            Some(entry) => {
                self.entry = entry;
                Ok(())
            }
            None => self.settle_back(),
        }
    }

    /// The range around `key` that these tables clear.
    pub(super) fn cleared_around(&self, key: &[u8]) -> Result<Option<KeyRange>> {
        if !self.clears {
            return Ok(None);
        }
        let table = self.tables.partition_point(|table| table.info.range.end.as_ref() <= key);
        match self.tables.get(table) {
            Some(table) if table.info.clears && table.info.range.begin.as_ref() <= key => {
                Ok(table.directory()?.cleared_around(key).cloned())
            }
            _ => Ok(None),
        }
    }

    /// Goes to a table, before its first block; false if there is no such table.
    fn enter_table(&mut self, table: usize) -> Result<bool> {
        if self.table != table || self.directory.is_none() {
            self.table = table;
            self.directory = self.tables.get(table).map(|table| table.directory()).transpose()?;
        }
        self.block = None;
        Ok(self.directory.is_some())
    }

    /// How many blocks the table has.
    fn blocks(&self) -> usize {
        self.directory.as_ref().map_or(0, |directory| directory.len())
    }

    /// Goes into a block; to the end if the table has no such block.
    fn enter_block(&mut self, index: usize) -> Result<()> {
        self.block_index = index;
        self.entry = 0;
        self.block = match (&self.directory, self.tables.get(self.table)) {
            (Some(directory), Some(table)) if index < directory.len() => Some(match self.reads {
                Reads::Cached => table.block(directory, index)?,
                Reads::InBulk => {
                    let ((at_table, first), blocks) = &self.ahead;
                    let is_there = *at_table == self.table && (*first..first + blocks.len()).contains(&index);
                    if !is_there {
                        self.ahead = ((self.table, index), table.read_blocks(directory, index)?);
                    }
                    let ((_, first), blocks) = &self.ahead;
                    blocks[index - first].clone()
                }
            }),
            _ => None,
        };
        Ok(())
    }

    /// Goes on to the next entry from a place behind the entries of a block.
    fn settle_forward(&mut self) -> Result<()> {
        loop {
            if self.block.as_ref().is_some_and(|block| self.entry < block.len()) {
                return Ok(());
            }
            if self.block_index + 1 < self.blocks() {
                self.enter_block(self.block_index + 1)?;
            } else {
                if !self.enter_table(self.table + 1)? {
                    return Ok(());
                }
                self.enter_block(0)?;
            }
        }
    }

    /// Goes back to the last entry of the block before, or of the table before.
    fn settle_back(&mut self) -> Result<()> {
        loop {
            if let Some(index) = self.block_index.checked_sub(1) {
                self.enter_block(index)?;
            } else {
                let Some(table) = self.table.checked_sub(1) else {
                    self.block = None;
                    return Ok(());
                };
                self.enter_table(table)?;
                match self.blocks().checked_sub(1) {
                    Some(index) => self.enter_block(index)?,
                    None => {
                        self.block_index = 0;
                        continue;
                    }
                }
            }
            if let Some(last) = self.block.as_ref().and_then(|block| block.len().checked_sub(1)) {
                self.entry = last;
                return Ok(());
            }
        }
    }
}

/// Receives keys in order with their value, or `None` for one that is said to be absent; false ends the merge.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], Option<Bytes>) -> Result<bool>;

/// Visits what cursors, the newest first, make of the keys from `begin` up to `end`, ascending or descending.
pub(super) fn merge(
    mut cursors: Vec<Cursor<'_>>,
    begin: &[u8],
    end: Option<&[u8]>,
    reverse: bool,
    visit: Visit<'_>,
) -> Result<()> {
    for cursor in &mut cursors {
        if reverse { cursor.seek_back(end)? } else { cursor.seek(begin)? }
    }
    let mut same = Vec::with_capacity(cursors.len());
    loop {
        let mut first: Option<(usize, &[u8])> = None;
        for (index, cursor) in cursors.iter().enumerate() {
            let Some(key) = cursor.key() else { continue };
            let order = first.map_or(std::cmp::Ordering::Less, |(_, least)| match reverse {
                false => key.cmp(least),
                true => least.cmp(key),
            });
            match order {
                std::cmp::Ordering::Less => {
                    first = Some((index, key));
                    same.clear();
                }
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Greater => continue,
            }
            same.push(index);
        }
        let Some((newest, key)) = first else { return Ok(()) };
        let is_inside = if reverse { key >= begin } else { end.is_none_or(|end| key < end) };
        if !is_inside {
            return Ok(());
        }
        let mut hidden = None;
        for cursor in &cursors[..newest] {
            hidden = cursor.cleared_around(key)?;
            if hidden.is_some() {
                break;
            }
        }
        if let Some(range) = hidden {
            // The whole range is gone from here down: past it at once, without a look at what was in it.
            for cursor in &mut cursors[newest..] {
                match (reverse, cursor.key()) {
                    (false, Some(key)) if key < range.end.as_ref() && key >= range.begin.as_ref() => {
                        cursor.seek(&range.end)?
                    }
                    (true, Some(key)) if key >= range.begin.as_ref() && key < range.end.as_ref() => {
                        cursor.seek_back(Some(&range.begin))?
                    }
                    _ => {}
                }
            }
            continue;
        }
        if !visit(key, cursors[newest].value())? {
            return Ok(());
        }
        for index in &same {
            match reverse {
                false => cursors[*index].next()?,
                true => cursors[*index].previous()?,
            }
        }
    }
}
