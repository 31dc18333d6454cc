//! The scan.

use bytes::Bytes;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{KeyValue, RangeRequest};

use super::plan::Plan;
use super::{Explanation, Order, Page, Query, token};
use crate::error::{Code, Error, Result};
use crate::expression::Expression;
use crate::index_form;
use crate::key_form;
use crate::key_space::behind;
use crate::limits::{PAGE_SIZE_BYTES, SCANNED_MAX, SORTED_MAX};
use crate::record::{Record, RecordKeys};
use crate::schema::RecordType;
use crate::tenant::TenantTransaction;

/// How many entries one step of a scan takes.
const STEP_ROWS_MAX: usize = 500;

/// An entry of the path: where it lies, and the record it stands for.
struct Entry {
    position: Bytes,
    keys: RecordKeys,
    /// Part 0 of the record, if the path holds it.
    part: Option<Bytes>,
}

pub(super) async fn run(
    transaction: &TenantTransaction,
    query: &Query,
    record_type: &RecordType,
    filter: Option<&Expression>,
    plan: &Plan<'_>,
    position: Option<Bytes>,
) -> Result<Page> {
    transaction.issue_pending();
    let mut scan = Scan::new(transaction, record_type, plan)?;
    let mut page = Page {
        records: Vec::new(),
        next: None,
        explanation: Explanation {
            index: plan.index.map(|index| index.name.clone()),
            bounds: plan.bounds.clone(),
            is_reverse: plan.is_reverse,
            is_filtered: filter.is_some(),
            is_sorted: plan.is_sorted,
            scanned: 0,
        },
    };
    let last = match plan.is_sorted {
        true => sorted(&mut scan, query, filter, position, &mut page).await?,
        false => in_order(&mut scan, query, filter, position, &mut page).await?,
    };
    page.next = last.map(|position| token::seal(transaction, query, plan, &position)).transpose()?;
    Ok(page)
}

/// Takes records as they come. Returns the position to go on after.
async fn in_order(
    scan: &mut Scan<'_>,
    query: &Query,
    filter: Option<&Expression>,
    position: Option<Bytes>,
    page: &mut Page,
) -> Result<Option<Bytes>> {
    if let Some(position) = position {
        scan.skip_to(&position);
    }
    let mut size_bytes = 0;
    let mut last = None;
    // One more than the page holds, to know whether there are more; where the filter drops much, more and more at a time.
    let mut step = (query.rows_max + 1).min(STEP_ROWS_MAX);
    let buggify = &scan.transaction.tenant().database.inner.env.buggify;
    let scanned_max = if buggify.fires("query: a page ends early") { 1 } else { SCANNED_MAX };
    if buggify.fires("query: one entry at a time") {
        step = 1;
    }
    loop {
        let entries = scan.step(step).await?;
        let loads = scan.load(&entries)?;
        for (entry, load) in entries.iter().zip(loads) {
            if page.records.len() == query.rows_max
                || size_bytes >= PAGE_SIZE_BYTES
                || page.explanation.scanned >= scanned_max
            {
                return Ok(last);
            }
            page.explanation.scanned += 1;
            last = Some(entry.position.clone());
            let (record, bytes) = scan.record(entry, load).await?;
            if filter.is_none_or(|filter| filter.holds(&record.values)) {
                page.records.push(record);
                size_bytes += bytes;
            }
        }
        if scan.is_exhausted {
            return Ok(None);
        }
        step = (step * 2).min(STEP_ROWS_MAX);
    }
}

/// Looks at every record and keeps the first of the order. Returns the position to go on after.
async fn sorted(
    scan: &mut Scan<'_>,
    query: &Query,
    filter: Option<&Expression>,
    position: Option<Bytes>,
    page: &mut Page,
) -> Result<Option<Bytes>> {
    let mut kept: Vec<(Bytes, Record)> = Vec::new();
    let mut has_more = false;
    while !scan.is_exhausted {
        let entries = scan.step(STEP_ROWS_MAX).await?;
        page.explanation.scanned += entries.len();
        if page.explanation.scanned > SORTED_MAX {
            let columns: Vec<&str> = query.order.iter().map(|column| column.field.as_str()).collect();
            let detail = format!(
                "it would have to sort more than {SORTED_MAX} records: declare an index on {}, or narrow the filter",
                columns.join(", ")
            );
            return Err(Error::new(Code::IndexNeeded, detail));
        }
        let loads = scan.load(&entries)?;
        for (entry, load) in entries.iter().zip(loads) {
            let (record, _) = scan.record(entry, load).await?;
            if !filter.is_none_or(|filter| filter.holds(&record.values)) {
                continue;
            }
            let place = sort_key(&record, &query.order, scan.record_type, &entry.keys.packed)?;
            if position.as_ref().is_none_or(|position| place > *position) {
                kept.push((place, record));
            }
        }
        // Never more than twice the page in memory.
        if kept.len() > 2 * query.rows_max || scan.is_exhausted {
            kept.sort_by(|one, other| one.0.cmp(&other.0));
            has_more |= kept.len() > query.rows_max;
            kept.truncate(query.rows_max);
        }
    }
    let last = kept.last().map(|(place, _)| place.clone()).filter(|_| has_more);
    page.records = kept.into_iter().map(|(_, record)| record).collect();
    Ok(last)
}

/// Bytes that sort as the order asks; the primary key makes them unique.
fn sort_key(record: &Record, order: &[Order], record_type: &RecordType, primary_key: &[u8]) -> Result<Bytes> {
    let mut bytes = Vec::new();
    for column in order {
        let field = record_type.field(&column.field)?;
        let packed = tuple::pack(&[key_form::element(record.get(&column.field), &field.field_type)?])?;
        match column.is_descending {
            false => bytes.extend_from_slice(&packed),
            true => bytes.extend(packed.iter().map(|byte| !byte)),
        }
    }
    bytes.extend_from_slice(primary_key);
    Ok(bytes.into())
}

struct Scan<'a> {
    transaction: &'a TenantTransaction,
    record_type: &'a RecordType,
    plan: &'a Plan<'a>,
    /// The prefix of the path's keys.
    prefix: Bytes,
    begin: Bytes,
    end: Bytes,
    is_exhausted: bool,
}

/// A record on its way.
type Load = Option<tenantry_kv::KvFuture<Option<Bytes>>>;

impl<'a> Scan<'a> {
    fn new(
        transaction: &'a TenantTransaction,
        record_type: &'a RecordType,
        plan: &'a Plan<'a>,
    ) -> Result<Scan<'a>> {
        let keys = &transaction.tenant().keys;
        let prefix = match plan.index {
            Some(index) => keys.index(index.id)?,
            None => keys.records(record_type.id)?,
        };
        let (begin, end) = (behind(&prefix, &plan.begin), behind(&prefix, &plan.end));
        let is_exhausted = begin >= end;
        Ok(Scan { transaction, record_type, plan, prefix, begin, end, is_exhausted })
    }

    /// Goes on behind a position. One outside the scan leaves it as it is, so that no token reaches further than its query.
    fn skip_to(&mut self, position: &[u8]) {
        let key = behind(&self.prefix, position);
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

    /// The next entries.
    async fn step(&mut self, rows_max: usize) -> Result<Vec<Entry>> {
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
            entries.extend(self.entry(row)?);
        }
        Ok(entries)
    }

    /// The entry of a row; none for the further parts of a record.
    fn entry(&self, row: KeyValue) -> Result<Option<Entry>> {
        let relative = row.key.slice(self.prefix.len()..);
        let Some(index) = self.plan.index else {
            let mut elements = tuple::unpack(&relative)?;
            if elements.pop() != Some(Element::Int(0)) {
                return Ok(None);
            }
            let keys = self.transaction.record_keys(self.record_type, &elements)?;
            // The position is the record, not its part.
            return Ok(Some(Entry { position: keys.packed.clone(), keys, part: Some(row.value) }));
        };
        let key = tuple::unpack(&relative)?;
        let elements = index_form::primary_key(self.record_type, index, &key, &tuple::unpack(&row.value)?)?;
        let keys = self.transaction.record_keys(self.record_type, &elements)?;
        Ok(Some(Entry { position: relative, keys, part: None }))
    }

    /// Begins to read the records of entries, side by side.
    fn load(&self, entries: &[Entry]) -> Result<Vec<Load>> {
        let load = |entry: &Entry| match entry.part {
            Some(_) => Ok(None),
            None => Ok(Some(self.transaction.get_key(&entry.keys.part(0)?, self.transaction.isolation()))),
        };
        entries.iter().map(load).collect()
    }

    async fn record(&self, entry: &Entry, load: Load) -> Result<(Record, usize)> {
        let bytes = match (&entry.part, load) {
            (Some(part), _) => part.clone(),
            (None, Some(load)) => load.await?.ok_or_else(|| {
                Error::new(Code::StoredDataInvalid, "an index entry stands for a record that is not there")
            })?,
            (None, None) => Bytes::new(),
        };
        let stored = self
            .transaction
            .assemble(self.record_type, &entry.keys, &bytes, self.transaction.isolation())
            .await?;
        Ok((stored.record, stored.size_bytes))
    }
}
