//! The conformance suite: what makes an engine an engine.
//!
//! - [`mod@reference`] is the contract in its plainest form: a slow engine that is obviously right, and can be made wrong on purpose.
//! - [`mod@rules`] checks the contract rule by rule.
//! - [`mod@random`] runs interleaved random transactions on an engine and on the reference and compares every answer.

pub mod random;
pub mod reference;
pub mod rules;

use std::fmt;

use crate::engine::{Engine, Isolation, TransactionRef};
use crate::error::Result;
use crate::range::{RangeBatch, RangeRequest};

/// Reads a range to its end or to its limit, in as many batches as the engine makes of it.
async fn read_all(
    transaction: &TransactionRef,
    request: &RangeRequest,
    isolation: Isolation,
) -> Result<RangeBatch> {
    let mut read = RangeBatch::default();
    let mut next = Some(request.clone());
    while let Some(request) = next {
        let mut batch = transaction.get_range(&request, isolation).await?;
        next = request.after(&batch);
        read.more = batch.more;
        read.rows.append(&mut batch.rows);
    }
    Ok(read)
}

/// An engine under test.
pub trait Subject: Send + Sync + fmt::Debug {
    /// The engine. It holds nothing when a check begins.
    fn engine(&self) -> &dyn Engine;

    /// Makes every read version handed out so far too old (five seconds pass). False if that cannot be had.
    fn make_too_old(&self) -> bool {
        false
    }
}
