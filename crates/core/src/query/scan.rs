//! The scan of one path.

use std::collections::BTreeSet;

use bytes::Bytes;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{KeyRange, KeyValue, KvFuture, RangeRequest};

use super::plan::{Request, ScanPlan, Word};
use crate::error::{Code, Error, Result, shown};
use crate::index_form;
use crate::key_space::{behind, clamp};
use crate::record::{Record, RecordKeys, frame};
use crate::schema::{Index, IndexKind, RecordType};
use crate::tenant::TenantTransaction;
use crate::wire;

/// The number of part 0 at the end of its key: the integer zero of a tuple.
const PART_0: u8 = 0x14;

/// What a query read so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reads {
    /// Entries and records of the paths.
    pub(super) entries: usize,
    pub(super) keys: usize,
    pub(super) size_bytes: usize,
}

/// An entry of a path: where it lies, and the record it stands for.
pub(super) struct Entry {
    /// The entry's key, behind the path's prefix; for the primary key without the part.
    pub(super) at: Bytes,
    pub(super) keys: RecordKeys,
    /// The word, where a scan is of all words that begin in some way.
    pub(super) word: Option<String>,
    contents: Contents,
}

enum Contents {
    /// Part 0 of the record.
    Part(Bytes),
    /// All that the query wants of it.
    Covered(Record),
    /// It is to be read by its key.
    Key,
}

/// A record on its way.
pub(super) type Load = Option<KvFuture<Option<Bytes>>>;

pub(super) struct Scan<'a> {
    transaction: &'a TenantTransaction,
    record_type: &'a RecordType,
    /// The fields that are asked for; `None` for all.
    wanted: Option<&'a BTreeSet<String>>,
    plan: &'a ScanPlan<'a>,
    /// The prefix of the path's keys.
    prefix: Bytes,
    /// What the keys of all records begin with.
    records: Bytes,
    /// Whether an entry's key ends with the whole primary key, so that it need not be taken apart.
    ends_with_key: bool,
    begin: Bytes,
    end: Bytes,
    pub(super) is_exhausted: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        transaction: &'a TenantTransaction,
        request: &'a Request<'a, '_>,
        plan: &'a ScanPlan<'a>,
    ) -> Result<Scan<'a>> {
        let record_type = request.record_type;
        let keys = &transaction.tenant().keys;
        let records = keys.records(record_type.id)?;
        let prefix = match plan.index {
            Some(index) => keys.index(index.id)?,
            None => records.clone(),
        };
        let ends_with_key = plan.index.is_some_and(|index| {
            !index.is_unique()
                && index_form::rest_of_key(record_type, index).count() == record_type.primary_key.len()
        });
        let KeyRange { begin, end } = clamp::path_range(&prefix, &plan.begin, &plan.end);
        let is_exhausted = begin >= end;
        Ok(Scan {
            transaction,
            record_type,
            wanted: request.wanted.as_ref(),
            plan,
            prefix,
            records,
            ends_with_key,
            begin,
            end,
            is_exhausted,
        })
    }

    /// Goes on behind an entry. One outside the scan leaves it as it is, so that no token reaches further than its query.
    pub(super) fn skip_behind(&mut self, at: &[u8]) {
        let key = behind(&self.prefix, at);
        if key < self.begin || key >= self.end {
            return;
        }
        match self.plan.is_reverse {
            true => self.end = key,
            // Behind the entry and, for a record, behind its further parts.
            false => self.begin = behind(&key, &[0xff]),
        }
        self.is_exhausted = self.begin >= self.end;
    }

    /// Goes on at the entry of a primary key, or behind where it would be. For an index that is bound in all columns, forwards.
    pub(super) fn skip_to_key(&mut self, packed_key: &[u8]) {
        let key = behind(&behind(&self.prefix, &self.plan.begin), packed_key);
        if key > self.begin && key < self.end {
            self.begin = key;
        }
    }

    /// The next entries.
    pub(super) async fn step(&mut self, rows_max: usize, reads: &mut Reads) -> Result<Vec<Entry>> {
        if self.is_exhausted {
            return Ok(Vec::new());
        }
        let request = RangeRequest::new(self.begin.clone(), self.end.clone())
            .limit(rows_max)
            .reverse(self.plan.is_reverse);
        let batch = self.transaction.engine_range(&request).await?;
        match batch.rows.last().filter(|_| batch.more) {
            None => self.is_exhausted = true,
            Some(last) if self.plan.is_reverse => self.end = last.key.clone(),
            Some(last) => self.begin = behind(&last.key, &[0]),
        }
        let mut entries = Vec::with_capacity(batch.rows.len());
        for row in batch.rows {
            reads.keys += 1;
            reads.size_bytes += row.key.len() + row.value.len();
            entries.extend(self.entry(row).await?);
        }
        reads.entries += entries.len();
        Ok(entries)
    }

    /// The entry of a row; none for the further parts of a record.
    async fn entry(&self, row: KeyValue) -> Result<Option<Entry>> {
        let relative = clamp::relative(&self.prefix, &row.key);
        let Some(index) = self.plan.index else {
            return Ok(self.record_of_row(row));
        };
        if self.ends_with_key && !self.plan.is_covering && self.plan.word.is_none() {
            let packed = &relative[tuple::skip(&relative, index_form::own_elements(index))?..];
            let keys = RecordKeys::behind(&self.records, packed);
            return Ok(Some(Entry { at: relative, keys, word: None, contents: Contents::Key }));
        }
        let elements = tuple::unpack(&relative)?;
        let mut in_value = match index.kind {
            // The positions of the word.
            IndexKind::Text { .. } => Vec::new(),
            _ => tuple::unpack(&self.transaction.opened_entry(index, &row.key, row.value).await?)?,
        };
        let carried = if index.covering.is_empty() { None } else { in_value.pop() };
        let key = index_form::primary_key(self.record_type, index, &elements, &in_value)?;
        let contents = match (self.plan.is_covering, carried) {
            (true, Some(Element::Bytes(carried))) => {
                Contents::Covered(self.covered(index, &elements, &key, &carried)?)
            }
            _ => Contents::Key,
        };
        let keys = match self.ends_with_key {
            true => {
                let packed = &relative[tuple::skip(&relative, index_form::own_elements(index))?..];
                RecordKeys::behind(&self.records, packed)
            }
            false => self.transaction.record_keys(self.record_type, &key)?,
        };
        let word = match (&self.plan.word, elements.into_iter().nth(index.group_columns)) {
            (Some(Word::Begin(_)), Some(Element::String(word))) => Some(word),
            _ => None,
        };
        Ok(Some(Entry { at: relative, keys, word, contents }))
    }

    /// The record of a part 0, which its key ends with as its number.
    fn record_of_row(&self, row: KeyValue) -> Option<Entry> {
        const {
            assert!(
                frame::FURTHER_PARTS_MAX < PART_0 as u16,
                "the last byte of a further part's key is its number"
            )
        };
        let prefix = match row.key.split_last() {
            Some((&PART_0, _)) => row.key.slice(..row.key.len() - 1),
            _ => return None,
        };
        let packed = clamp::relative(&self.prefix, &prefix);
        // The place is the record, not its part.
        let keys = RecordKeys { prefix, packed: packed.clone() };
        Some(Entry { at: packed, keys, word: None, contents: Contents::Part(row.value) })
    }

    /// Whether the record has been there with a lesser word already. Its words tell, so that no page has to remember what others had.
    pub(super) fn has_lesser_word(&self, word: &str, record: &Record) -> bool {
        let (Some(Word::Begin(begin)), Some(index)) = (&self.plan.word, self.plan.index) else {
            return false;
        };
        let (IndexKind::Text { tokenizer }, Some(column)) = (&index.kind, index.columns.last()) else {
            return false;
        };
        let mut is_found = false;
        index_form::each_text(column, &record.values, |text| {
            tokenizer.each(text, |other| {
                is_found = is_found || (other.starts_with(begin) && *other < *word);
                !is_found
            });
        });
        is_found
    }

    /// What an entry holds of its record.
    fn covered(
        &self,
        index: &Index,
        elements: &[Element],
        key: &[Element],
        carried: &[u8],
    ) -> Result<Record> {
        let is_wanted = |name: &str| self.wanted.is_none_or(|wanted| wanted.contains(name));
        let mut record =
            Record { values: wire::decode(carried, &self.record_type.fields)?.0, ..Record::new() };
        for (name, element) in self.record_type.primary_key.iter().zip(key) {
            if !is_wanted(name) {
                continue;
            }
            let field = self.record_type.field(name)?;
            if let Some(value) = crate::key_form::value(element, &field.field_type) {
                record.set_if_absent(&field.name, value);
            }
        }
        // From a hash nothing is read: such an entry carries what it stands for.
        let columns = if index.is_hashed { &[][..] } else { &index.columns[..] };
        for (column, element) in columns.iter().zip(elements) {
            if let Some(name) = column.field().filter(|name| is_wanted(name))
                && let Some(value) = index_form::value(column, element)
            {
                record.set_if_absent(&self.record_type.field(name)?.name, value);
            }
        }
        Ok(record)
    }

    /// Begins to read the records of entries, side by side.
    pub(super) fn load(&self, entries: &[Entry], reads: &mut Reads) -> Result<Vec<Load>> {
        let is_wanted = |entry: &&Entry| matches!(entry.contents, Contents::Key);
        let keys = entries.iter().filter(is_wanted).map(|entry| entry.keys.part(0));
        let keys: Vec<Bytes> = keys.collect::<Result<_>>()?;
        reads.keys += keys.len();
        let mut loads = self.transaction.get_keys(&keys, self.transaction.isolation()).into_iter();
        Ok(entries.iter().map(|entry| is_wanted(&entry).then(|| loads.next()).flatten()).collect())
    }

    /// The record of an entry, and about how many bytes it has.
    pub(super) async fn record(
        &self,
        entry: Entry,
        load: Load,
        reads: &mut Reads,
    ) -> Result<(Record, usize)> {
        let bytes = match (entry.contents, load) {
            (Contents::Covered(record), _) => return Ok((record, entry.at.len())),
            (Contents::Part(part), _) => part,
            (Contents::Key, Some(load)) => {
                let part = load.await?.ok_or_else(|| self.dangling())?;
                reads.size_bytes += part.len();
                part
            }
            (Contents::Key, None) => return Err(self.dangling()),
        };
        let isolation = self.transaction.isolation();
        let stored = self.transaction.assemble(self.record_type, &entry.keys, &bytes, isolation).await?;
        Ok((stored.record, stored.size_bytes))
    }

    fn dangling(&self) -> Error {
        let index = self.plan.index.map_or("primary key", |index| index.name.as_str());
        let detail = format!("an entry of {} stands for a record that is not there", shown(index));
        Error::new(Code::StoredDataInvalid, detail)
    }
}
