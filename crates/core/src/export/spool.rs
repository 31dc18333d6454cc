//! What a scan has found, put aside until it is known to be the state at one version.
//!
//! The rows of the chunks come in the order of their keys and are appended to one run, the *base*, which is never written again. What the change log says of keys that were read
//! already, the *patches*, comes in any order: it is collected in a table in memory, which becomes a run when it is full; sixteen runs become one run of the level
//! above. So whatever the number of changes, each is written a few times, and the readers at the end are few. Reading merges: a patch goes before the base, a newer patch before an
//! older one.

use std::collections::BTreeMap;

use bytes::Bytes;
use tenantry_kv::env::Env;

use super::area::{Area, AreaOptions};
use super::runs::{Merge, Row, Run, RunReader, RunWriter};
use crate::error::Result;

/// How many runs of a level become one of the next.
const FAN_IN: usize = 16;
/// What a row of the table takes besides its bytes, about.
const ROW_OVERHEAD_BYTES: usize = 96;

pub(crate) struct Spool {
    base: Area,
    writer: RunWriter,
    patches: Area,
    /// The newest patches.
    table: BTreeMap<Bytes, Option<Bytes>>,
    table_size_bytes: usize,
    table_size_bytes_max: usize,
    /// The runs of each level, the oldest first; those of a lower level are newer than those of a higher one.
    levels: Vec<Vec<Run>>,
}

impl Spool {
    pub(crate) fn new(env: &Env, options: &AreaOptions) -> Spool {
        // Half for the base; of the rest a half for the table and one for the runs that are made of it.
        let part = |part: usize| AreaOptions {
            memory_size_bytes_max: options.memory_size_bytes_max / part,
            ..options.clone()
        };
        Spool {
            base: Area::new(env, part(2)),
            writer: RunWriter::default(),
            patches: Area::new(env, part(4)),
            table: BTreeMap::new(),
            table_size_bytes: 0,
            table_size_bytes_max: options.memory_size_bytes_max / 4,
            levels: Vec::new(),
        }
    }

    /// How many bytes were put aside.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.base.len() + self.patches.len() + self.table_size_bytes as u64
    }

    /// A row of a chunk: behind all rows that were appended before.
    pub(crate) fn append(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.writer.push(&mut self.base, key, Some(value))
    }

    /// A later change of a row that may have been appended.
    pub(crate) fn patch(&mut self, key: Bytes, value: Option<Bytes>) -> Result<()> {
        self.table_size_bytes += ROW_OVERHEAD_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len);
        let key_size_bytes = key.len();
        if let Some(old) = self.table.insert(key, value) {
            self.table_size_bytes -= ROW_OVERHEAD_BYTES + key_size_bytes + old.map_or(0, |old| old.len());
        }
        if self.table_size_bytes > self.table_size_bytes_max { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let begin = self.patches.len();
        let mut writer = RunWriter::default();
        for (key, value) in std::mem::take(&mut self.table) {
            writer.push(&mut self.patches, &key, value.as_deref())?;
        }
        writer.close(&mut self.patches)?;
        self.table_size_bytes = 0;
        self.add_run(0, Run { begin, end: self.patches.len() });
        let mut level = 0;
        while self.levels[level].len() >= FAN_IN {
            let merged = self.merge(level)?;
            level += 1;
            self.add_run(level, merged);
        }
        Ok(())
    }

    fn add_run(&mut self, level: usize, run: Run) {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        self.levels[level].push(run);
    }

    fn merge(&mut self, level: usize) -> Result<Run> {
        let begin = self.patches.len();
        let mut merge = Merge::new(std::mem::take(&mut self.levels[level]));
        let mut writer = RunWriter::default();
        while let Some((key, value)) = merge.next(&self.patches)? {
            writer.push(&mut self.patches, &key, value.as_deref())?;
        }
        writer.close(&mut self.patches)?;
        Ok(Run { begin, end: self.patches.len() })
    }

    /// Everything that is there, in the order of the keys.
    pub(crate) fn finish(mut self) -> Result<Spooled> {
        self.writer.close(&mut self.base)?;
        let base = RunReader::new(Run { begin: 0, end: self.base.len() });
        let patches = Merge::new(self.levels.into_iter().rev().flatten());
        Ok(Spooled {
            base: Ahead { reader: base, row: None, is_over: false },
            base_area: self.base,
            patches: Ahead { reader: patches, row: None, is_over: false },
            patches_area: self.patches,
            table: self.table,
        })
    }
}

/// A reader with its next row.
struct Ahead<R> {
    reader: R,
    row: Option<Row>,
    is_over: bool,
}

impl<R> Ahead<R> {
    /// Reads the next row, unless it is there already, and returns its key.
    fn peek(&mut self, next: impl FnOnce(&mut R) -> Result<Option<Row>>) -> Result<Option<&Bytes>> {
        if self.row.is_none() && !self.is_over {
            self.row = next(&mut self.reader)?;
            self.is_over = self.row.is_none();
        }
        Ok(self.row.as_ref().map(|(key, _)| key))
    }
}

/// What was put aside, on its way out.
pub(crate) struct Spooled {
    base: Ahead<RunReader>,
    base_area: Area,
    patches: Ahead<Merge>,
    patches_area: Area,
    table: BTreeMap<Bytes, Option<Bytes>>,
}

impl Spooled {
    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<(Bytes, Bytes)>> {
        loop {
            let base = self.base.peek(|reader| reader.next(&self.base_area))?;
            let patch = self.patches.peek(|reader| reader.next(&self.patches_area))?;
            let table = self.table.first_key_value().map(|(key, _)| key);
            let Some(key) = [base, patch, table].into_iter().flatten().min().cloned() else {
                return Ok(None);
            };
            // All that have the key go on; the newest one counts.
            let base = self.base.row.take_if(|row| row.0 == key);
            let patch = self.patches.row.take_if(|row| row.0 == key);
            let value = match (self.table.remove(&key), patch, base) {
                (Some(value), _, _) | (None, Some((_, value)), _) | (None, None, Some((_, value))) => value,
                (None, None, None) => None,
            };
            if let Some(value) = value {
                return Ok(Some((key, value)));
            }
        }
    }
}
