//! The embedded engine: FoundationDB's semantics inside one process, durable or in memory.
//!
//! A transaction reads the store at its read version through its own writes (`transaction`) and hands what it wrote to the
//! sequencer (`sequencer`), which gives every batch of transactions the next version, refuses those that conflict (`resolver`), appends
//! the batch to the log (`log`), syncs once, enters it into the version window (`window`) and acknowledges it. The map on disk (`map`)
//! follows behind the window. Two threads do the work (`driver`).
//!
//! ```
//! use tenantry_embedded::{EmbeddedEngine, Settings};
//! use tenantry_kv::{Engine, Isolation};
//!
//! # pollster::block_on(async {
//! let engine = EmbeddedEngine::in_memory(Settings::default(), tenantry_env::system())?;
//! let transaction = engine.begin()?;
//! transaction.set(b"greeting", b"hello");
//! transaction.commit().await?;
//!
//! let transaction = engine.begin()?;
//! let greeting = transaction.get(b"greeting", Isolation::Serializable).await?;
//! assert_eq!(greeting.as_deref(), Some(b"hello".as_slice()));
//! # Ok::<_, tenantry_kv::Error>(())
//! # }).unwrap();
//! ```
#![forbid(unsafe_code)]

mod disk;
mod driver;
mod engine;
mod key;
mod log;
mod map;
mod reply;
mod resolver;
mod seam;
mod sequencer;
mod settings;
mod stats;
mod store;
mod transaction;
mod versions;
mod watches;
mod window;

pub use driver::Stepper;
pub use engine::EmbeddedEngine;
pub use settings::{Durability, MapSettings, Settings};
pub use stats::{Histogram, Stats};
