//! The conformance suite: what makes an engine an engine.
//!
//! - [`mod@reference`] is the contract in its plainest form: a slow engine that is obviously right, and can be made wrong on purpose.
//! - [`mod@rules`] checks the contract rule by rule.
//! - [`mod@random`] runs interleaved random transactions on an engine and on the reference and compares every answer.

pub mod random;
pub mod reference;
pub mod rules;

use std::fmt;

use crate::engine::Engine;

/// An engine under test.
pub trait Subject: Send + Sync + fmt::Debug {
    /// The engine. It holds nothing when a check begins.
    fn engine(&self) -> &dyn Engine;

    /// Makes every read version handed out so far too old (five seconds pass). False if that cannot be had.
    fn make_too_old(&self) -> bool {
        false
    }
}
