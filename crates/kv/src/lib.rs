//! The contract: an ordered, transactional key-value store with FoundationDB's semantics, and the layers that need nothing
//! else.
//!
//! An [`Engine`] hands out [`Transaction`]s. A transaction reads one consistent state of the store, collects its writes, and
//! commits all of them or none; the result of all committed transactions is as if they had run one after another, in the order
//! of their commits (strict serializability). What exactly an engine owes is a list of numbered rules in
//! `docs/contract.md`; the `conformance` suite checks each of them on any engine.
//!
//! # Choosing an API
//!
//! - [`runner`]: run a closure as a transaction, with retry that takes effect exactly once. What applications want.
//! - [`Transaction`]: the bare operations, for layers and engines.
//! - [`mod@tuple`], [`Subspace`], [`directory`]: build keys that sort like the values in them, and give applications their own
//!   parts of the key space.
//!
//! **Architecture invariant:** nothing in this crate names an executor, a clock, a file or a source of randomness. They come
//! in through [`Env`](env::Env).
#![forbid(unsafe_code)]

mod atomic;
mod conflict_range;
pub mod conformance;
pub mod directory;
mod engine;
pub mod env;
mod error;
mod future;
pub mod limits;
mod options;
mod range;
pub mod runner;
#[doc(hidden)]
pub mod seeded_faults;
mod selector;
mod subspace;
pub mod tuple;
mod versionstamp;

pub use atomic::MutationType;
pub use bytes::Bytes;
pub use conflict_range::{ConflictKind, ConflictReport, KeyRange, key_after};
pub use engine::{
    Engine, EngineProfile, Isolation, ReadTransaction, Transaction, TransactionRef, Version, WriteTransaction,
};
pub use error::{EngineError, Error, ErrorCode, ErrorKind, Result};
pub use future::KvFuture;
pub use options::{DatabaseOption, TransactionOption};
pub use range::{KeyValue, RangeBatch, RangeRequest, StreamingMode};
pub use selector::KeySelector;
pub use subspace::Subspace;
pub use versionstamp::{Versionstamp, VersionstampOffset};
