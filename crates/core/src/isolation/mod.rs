//! Isolation, proven: whose every key of a database is, by a decoder that was written apart from the code that makes keys; and a million operations of tenants that do what they can to
//! reach each other, each compared with a model of its tenant alone. `docs/isolation.md` has the argument.

mod layout;
mod prove;
mod report;
mod scan;
#[cfg(test)]
mod tests;
mod tuple_reader;

pub use layout::{KeyKind, KeyOwner};
pub use prove::{Proof, ProofOptions};
pub use report::{Attributed, Finding, KeyCount};
