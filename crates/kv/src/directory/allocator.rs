//! The high-contention allocator: short numbers that many transactions can take at a time.
//!
//! Numbers come out of a window that moves up as it fills: each transaction counts itself into the window with an atomic ADD, draws candidates at random
//! in it, and claims the first free one with a write conflict on that candidate alone. The keys and the steps are those of FoundationDB's
//! bindings (`bindings/python/fdb/directory_impl.py`, 7.3), so that all of them can allocate from one directory at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::atomic::MutationType;
use crate::conflict_range::ConflictKind;
use crate::engine::{Isolation, Transaction};
use crate::env::Randomness;
use crate::error::{Error, ErrorCode, Result};
use crate::future::KvFuture;
use crate::options::TransactionOption;
use crate::range::{RangeBatch, RangeRequest};
use crate::subspace::Subspace;
use crate::tuple::Element;

/// Held while operations are issued that belong together: several tasks may allocate in one transaction. Never held while something is waited for.
static ISSUING: Mutex<()> = Mutex::new(());

fn issuing() -> MutexGuard<'static, ()> {
    ISSUING.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Allocator {
    counters: Subspace,
    recent: Subspace,
}

impl Allocator {
    pub(super) fn new(subspace: &Subspace) -> Result<Allocator> {
        Ok(Allocator {
            counters: subspace.child(&[Element::Int(0)])?,
            recent: subspace.child(&[Element::Int(1)])?,
        })
    }

    /// A number that no other transaction gets.
    pub(super) async fn allocate(
        &self,
        transaction: &dyn Transaction,
        randomness: &dyn Randomness,
    ) -> Result<i64> {
        loop {
            let start = self.window_start(transaction).await?;
            let (start, size) = self.enter_window(transaction, start).await?;
            if let Some(number) = self.claim(transaction, randomness, start, size).await? {
                return Ok(number);
            }
        }
    }

    async fn window_start(&self, transaction: &dyn Transaction) -> Result<i64> {
        self.window_start_of(self.newest_counter(transaction).await?)
    }

    fn newest_counter(&self, transaction: &dyn Transaction) -> KvFuture<RangeBatch> {
        let range = self.counters.tuples();
        let request = RangeRequest::new(range.begin, range.end).limit(1).reverse(true);
        transaction.get_range(&request, Isolation::Snapshot)
    }

    fn window_start_of(&self, newest: RangeBatch) -> Result<i64> {
        match newest.rows.first() {
            None => Ok(0),
            Some(row) => match self.counters.unpack(&row.key)?.first() {
                Some(Element::Int(start)) => Ok(*start),
                _ => Err(damaged(&row.key)),
            },
        }
    }

    /// Counts the transaction into the window, moving it up while it is half full.
    async fn enter_window(&self, transaction: &dyn Transaction, mut start: i64) -> Result<(i64, i64)> {
        let mut has_moved = false;
        loop {
            let counter = self.counters.pack(&[Element::Int(start)])?;
            let recent = self.recent.pack(&[Element::Int(start)])?;
            let counting = {
                let _issuing = issuing();
                if has_moved {
                    transaction.clear_range(self.counters.prefix(), &counter);
                    transaction.set_option(TransactionOption::NextWriteNoWriteConflictRange)?;
                    transaction.clear_range(self.recent.prefix(), &recent);
                }
                transaction.atomic(MutationType::Add, &counter, &1i64.to_le_bytes());
                transaction.get(&counter, Isolation::Snapshot)
            };
            let count = match counting.await? {
                None => 0,
                Some(count) => i64::from_le_bytes(count[..].try_into().map_err(|_| damaged(&counter))?),
            };
            let size = window_size(start);
            if count.saturating_mul(2) < size {
                return Ok((start, size));
            }
            start = start.checked_add(size).ok_or_else(|| damaged(&counter))?;
            has_moved = true;
        }
    }

    /// Draws candidates until one is free; `None` when the window has moved meanwhile.
    async fn claim(
        &self,
        transaction: &dyn Transaction,
        randomness: &dyn Randomness,
        start: i64,
        size: i64,
    ) -> Result<Option<i64>> {
        loop {
            let candidate = start + (randomness.next_u64("directory") % size as u64) as i64;
            let key = self.recent.pack(&[Element::Int(candidate)])?;
            // Whoever else draws this candidate in the same transaction finds it set.
            let (newest, taken) = {
                let _issuing = issuing();
                let newest = self.newest_counter(transaction);
                let taken = transaction.get(&key, Isolation::Serializable);
                transaction.set_option(TransactionOption::NextWriteNoWriteConflictRange)?;
                transaction.set(&key, b"");
                (newest, taken)
            };
            let (newest, taken) = (self.window_start_of(newest.await?)?, taken.await?);
            if newest > start {
                return Ok(None);
            }
            if taken.is_none() {
                let end = [&key[..], &[0]].concat();
                transaction.add_conflict_range(&key, &end, ConflictKind::Write)?;
                return Ok(Some(candidate));
            }
        }
    }
}

fn window_size(start: i64) -> i64 {
    match start {
        ..255 => 64,
        255..65_535 => 1_024,
        _ => 8_192,
    }
}

fn damaged(key: &Bytes) -> Error {
    let detail = format!("the allocator's key {} does not hold what it should", key.escape_ascii());
    Error::new(ErrorCode::STORAGE_CORRUPT, detail)
}
