//! The rows of one transaction.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::lane::Queued;
use crate::error::{Code, Error, Kind, Result};
use crate::tenant::{Condition, TenantTransaction};

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is a record.
    Written,
    /// It is not, and why.
    Refused(Error),
    /// The transaction had no room for it.
    Left,
}

/// Rows that are written together.
pub(super) struct Batch {
    pub(super) rows: Vec<Queued>,
    /// The places of rows that can be written at a time, one such group after the other.
    waves: Vec<Vec<usize>>,
}

impl Batch {
    /// Rows in their order. Those with a claim in common are written one after another, and all of them so if `is_serial`.
    pub(super) fn new(rows: Vec<Queued>, is_serial: bool) -> Batch {
        let mut waves: Vec<Vec<usize>> = Vec::new();
        // The wave behind the last row of a claim.
        let mut behind: BTreeMap<u64, usize> = BTreeMap::new();
        for (place, queued) in rows.iter().enumerate() {
            let claims = &queued.row.claims;
            let wave = match is_serial {
                true => place,
                false => claims.iter().filter_map(|claim| behind.get(claim)).max().copied().unwrap_or(0),
            };
            if !is_serial {
                behind.extend(claims.iter().map(|claim| (*claim, wave + 1)));
            }
            if waves.len() <= wave {
                waves.resize_with(wave + 1, Vec::new);
            }
            waves[wave].push(place);
        }
        Batch { rows, waves }
    }

    /// The number of the first row.
    pub(super) fn first(&self) -> Option<u64> {
        self.rows.first().map(|queued| queued.number)
    }

    /// Writes the rows until the transaction is full, and tells what became of each.
    pub(super) async fn write(
        &self,
        transaction: &TenantTransaction,
        record_type: &str,
        condition: Condition<'_>,
    ) -> Result<Vec<Verdict>> {
        let mut progress = Progress { verdicts: vec![Verdict::Left; self.rows.len()], ..Progress::default() };
        // Whether the engine is far away: then the rows of a wave wait for it side by side. One that answers at once is not worth the room that each would take.
        let mut is_distant = None;
        for wave in &self.waves {
            let mut waiting = FuturesUnordered::new();
            for place in wave {
                if progress.is_full {
                    break;
                }
                let record = &self.rows[*place].row.record;
                let writing =
                    async move { (*place, transaction.put_if(record_type, record, condition).await) };
                if is_distant == Some(false) {
                    let (place, outcome) = writing.await;
                    progress.take(place, outcome)?;
                    continue;
                }
                let mut writing: Pin<Box<_>> = Box::pin(writing);
                match poll_fn(|context| Poll::Ready(writing.as_mut().poll(context))).await {
                    Poll::Ready((place, outcome)) => {
                        is_distant.get_or_insert(false);
                        progress.take(place, outcome)?;
                    }
                    Poll::Pending => {
                        is_distant = Some(true);
                        waiting.push(writing);
                    }
                }
            }
            while let Some((place, outcome)) = waiting.next().await {
                progress.take(place, outcome)?;
            }
        }
        Ok(progress.verdicts)
    }
}

#[derive(Default)]
struct Progress {
    verdicts: Vec<Verdict>,
    has_written: bool,
    is_full: bool,
}

impl Progress {
    fn take(&mut self, place: usize, outcome: Result<()>) -> Result<()> {
        match outcome {
            Ok(()) => {
                self.has_written = true;
                self.verdicts[place] = Verdict::Written;
            }
            // Not the row's fault: it goes into another transaction, and is refused only if that one cannot take it either.
            Err(error) if error.code() == Code::LimitPassed && self.has_written => self.is_full = true,
            // A refused record leaves nothing behind, so the others go on.
            Err(error) if error.kind() != Kind::Engine => self.verdicts[place] = Verdict::Refused(error),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
