//! The conformance suite: what makes an engine an engine.
//!
//! - [`reference`] is the contract in its plainest form: a slow engine that is obviously right, and can be made wrong on purpose.

pub mod reference;
