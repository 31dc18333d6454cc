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

    /// Whether this is FoundationDB's client library, which goes ways of its own where the contract leaves them open; they are not compared
    /// (`ReadYourWrites.actor.cpp` of its release 7.3):
    ///
    /// - A key that the transaction's own compare-and-clear leaves absent still counts for the offsets of that transaction's key selectors.
    /// - What a range between key selectors adds to the conflict ranges where it is empty or a selector leads off the keys depends on what the transaction has read
    ///   before.
    /// - A range between key selectors that is empty or ends at its limit need not come to a key that is unreadable.
    /// - `read_your_writes_disable` is not refused after a read that told nothing, such as one of an empty range.
    /// - The first key that a versionstamped key could become is cut out of the conflict ranges like a key that was set.
    /// - Without read-your-writes, a selector that leads off the end adds the system's own keys up to the one it comes to.
    fn is_client_library(&self) -> bool {
        false
    }
}
