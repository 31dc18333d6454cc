//! The transactions of an import: which rows go into the next one, and what becomes of the rows of one that has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tenantry_kv::env::{Clock, Env};
use tenantry_kv::runner::Completed;
use tenantry_kv::{EngineError, ErrorCode};

use super::batch::{Batch, Verdict};
use super::claims::unique_indexes;
use super::lane::{Lane, Queued};
use super::pace::{Ending, Pace};
use super::reading::Addressed;
use super::{ImportReport, Rejection};
use crate::error::{Error, Result};
use crate::limits::{IMPORT_WAITING_ROWS_MAX, IMPORT_WAITING_SIZE_BYTES_MAX};
use crate::schema::RecordType;
use crate::tenant::{Condition, Tenant};

/// How many transactions in a row may fail, of those that fewer rows may help, before the import ends.
const TROUBLES_MAX: u32 = 8;

type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// A transaction that has ended.
struct Ended {
    lane: String,
    batch: Batch,
    took: Duration,
    outcome: Result<Completed<Vec<Verdict>>>,
}

/// The rows on their way.
pub(super) struct Work {
    pub(super) report: ImportReport,
    record_type: Arc<str>,
    replaces: bool,
    /// Whether rows can depend on others in a way that claims do not tell.
    is_serial: bool,
    clock: Arc<dyn Clock>,
    lanes: BTreeMap<String, Lane>,
    /// The lanes with rows that wait, by the number of the first one.
    order: BTreeMap<u64, String>,
    waiting_rows: usize,
    waiting_size_bytes: usize,
    running: FuturesUnordered<Running>,
    /// The number of the first row of each transaction that runs.
    running_firsts: BTreeSet<u64>,
    next_number: u64,
    pace: Pace,
    troubles: u32,
    refused: BTreeMap<u64, Rejection>,
    failed: Option<Error>,
}

impl Work {
    pub(super) fn new(record_type: &RecordType, replaces: bool, env: &Env) -> Work {
        // A record that refers to one of its own type needs that to be there before; one that is replaced frees its unique values for those behind it.
        let refers_to_itself =
            record_type.references.iter().any(|reference| reference.to == record_type.name);
        let frees_values = replaces && unique_indexes(record_type).next().is_some();
        Work {
            report: ImportReport::default(),
            record_type: record_type.name.as_str().into(),
            replaces,
            is_serial: refers_to_itself || frees_values,
            clock: env.clock.clone(),
            lanes: BTreeMap::new(),
            order: BTreeMap::new(),
            waiting_rows: 0,
            waiting_size_bytes: 0,
            running: FuturesUnordered::new(),
            running_firsts: BTreeSet::new(),
            next_number: 0,
            pace: Pace::new(),
            troubles: 0,
            refused: BTreeMap::new(),
            failed: None,
        }
    }

    pub(super) fn is_open(&self, name: &str) -> bool {
        self.lanes.contains_key(name)
    }

    /// Makes a lane for the rows of a tenant.
    pub(super) fn open(&mut self, name: &str, tenant: Tenant) {
        self.lanes.insert(name.to_owned(), Lane::new(tenant));
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// Adds a row to a lane that was opened.
    pub(super) fn push(&mut self, name: &str, row: Addressed) {
        let number = self.number();
        let Some(lane) = self.lanes.get_mut(name) else { return };
        self.waiting_rows += 1;
        self.waiting_size_bytes += row.size_bytes;
        if lane.first().is_none() {
            self.order.insert(number, name.to_owned());
        }
        if !mem::replace(&mut lane.is_used, true) {
            self.report.tenants += 1;
        }
        lane.push(Queued { number, row });
    }

    /// Notes that the next row is refused.
    pub(super) fn refuse_next(&mut self, line: u64, reason: Error) {
        let number = self.number();
        self.refuse(number, line, reason);
    }

    fn refuse(&mut self, number: u64, line: u64, reason: Error) {
        self.report.rows_rejected += 1;
        self.refused.insert(number, Rejection { line, reason });
    }

    /// Ends the import.
    pub(super) fn fail(&mut self, error: Error) -> Error {
        self.failed.get_or_insert(error).clone()
    }

    pub(super) fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Whether no row waits and no transaction runs.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting_rows == 0 && self.running.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting_rows >= IMPORT_WAITING_ROWS_MAX
            || self.waiting_size_bytes >= IMPORT_WAITING_SIZE_BYTES_MAX
    }

    /// Rows that were refused, and before which nothing is under way any more.
    pub(super) fn take_rejections(&mut self) -> Vec<Rejection> {
        let first_waiting = self.order.first_key_value().map(|(number, _)| *number);
        let first_running = self.running_firsts.first().copied();
        let settled = match self.failed {
            Some(_) => self.next_number,
            None => first_waiting.into_iter().chain(first_running).min().unwrap_or(self.next_number),
        };
        let later = self.refused.split_off(&settled);
        mem::replace(&mut self.refused, later).into_values().collect()
    }

    /// Starts transactions that have enough rows.
    pub(super) fn start(&mut self) {
        self.start_with(self.is_full());
    }

    /// Starts as many transactions as may run: with few rows as well, or only where there are enough.
    fn start_with(&mut self, few_are_enough: bool) {
        while self.running.len() < self.pace.transactions() && self.start_one(few_are_enough) {}
    }

    fn start_one(&mut self, few_are_enough: bool) -> bool {
        let rows = self.pace.rows();
        let mut taken = None;
        for (number, name) in &self.order {
            let Some(lane) = self.lanes.get_mut(name) else { continue };
            if (few_are_enough || lane.len() >= rows)
                && let Some(batch) = lane.take(rows, self.is_serial)
            {
                taken = Some((*number, name.clone(), batch));
                break;
            }
        }
        let Some((number, name, batch)) = taken else { return false };
        self.order.remove(&number);
        self.waiting_rows -= batch.rows.len();
        self.waiting_size_bytes -= batch.rows.iter().map(|queued| queued.row.size_bytes).sum::<usize>();
        self.running_firsts.extend(batch.first());
        if let Some(lane) = self.lanes.get(&name) {
            self.order.extend(lane.first().map(|first| (first, name.clone())));
            self.running.push(self.run(name, lane.tenant.clone(), batch));
        }
        true
    }

    fn run(&self, lane: String, tenant: Tenant, batch: Batch) -> Running {
        let (record_type, clock) = (self.record_type.clone(), self.clock.clone());
        let condition = if self.replaces { Condition::Always } else { Condition::IsAbsent };
        Box::pin(async move {
            let begun = clock.monotonic();
            let (rows, name) = (&batch, &*record_type);
            let outcome = tenant
                .run_completed(|transaction| async move { rows.write(&transaction, name, condition).await })
                .await;
            let took = clock.monotonic().saturating_sub(begun);
            Ended { lane, batch, took, outcome }
        })
    }

    /// Waits until a transaction has ended; false if there is none, and no row that waits.
    pub(super) async fn advance(&mut self, few_are_enough: bool) -> Result<bool> {
        if self.failed.is_none() {
            self.start_with(few_are_enough || self.is_full());
            if self.running.is_empty() {
                self.start_with(true);
            }
            let Some(ended) = self.running.next().await else { return Ok(false) };
            self.settle(ended);
        }
        // What was begun is brought to its end, so that the report is true.
        while self.failed.is_some()
            && let Some(ended) = self.running.next().await
        {
            self.settle(ended);
        }
        self.check().map(|()| true)
    }

    fn settle(&mut self, ended: Ended) {
        let Ended { lane: name, batch, took, outcome } = ended;
        if let Some(first) = batch.first() {
            self.running_firsts.remove(&first);
        }
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.release(&batch.rows);
        }
        let rows = batch.rows.len();
        match outcome {
            Ok(Completed { value: verdicts, attempts, .. }) => {
                let mut left = Vec::new();
                for (queued, verdict) in batch.rows.into_iter().zip(verdicts) {
                    match verdict {
                        Verdict::Written => self.report.rows_imported += 1,
                        Verdict::Refused(reason) => self.refuse(queued.number, queued.row.line, reason),
                        Verdict::Left => left.push(queued),
                    }
                }
                self.troubles = 0;
                self.pace.learn(Ending { rows, left: left.len(), attempts, took });
                self.put_back(&name, left);
            }
            Err(error) if rows > 1 && self.troubles < TROUBLES_MAX && fewer_rows_may_help(&error) => {
                self.troubles += 1;
                self.pace.slow_down(rows);
                self.put_back(&name, batch.rows);
            }
            Err(error) => drop(self.fail(error)),
        }
    }

    fn put_back(&mut self, name: &str, rows: Vec<Queued>) {
        let Some(lane) = self.lanes.get_mut(name).filter(|_| !rows.is_empty()) else { return };
        if let Some(first) = lane.first() {
            self.order.remove(&first);
        }
        self.waiting_rows += rows.len();
        self.waiting_size_bytes += rows.iter().map(|queued| queued.row.size_bytes).sum::<usize>();
        lane.put_back(rows);
        self.order.extend(lane.first().map(|first| (first, name.to_owned())));
    }
}

/// Whether the transaction was too much for the engine, and has certainly not taken effect.
fn fewer_rows_may_help(error: &Error) -> bool {
    matches!(
        error.engine_error().map(tenantry_kv::Error::code),
        Some(
            ErrorCode::TRANSACTION_TOO_LARGE
                | ErrorCode::TRANSACTION_TOO_OLD
                | ErrorCode::RETRY_BUDGET_EXHAUSTED
                | ErrorCode::RETRY_DEADLINE_PASSED
        )
    )
}
