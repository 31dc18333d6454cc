//! The FoundationDB engine: the contract of `tenantry-kv` on a cluster of release 7.1 or later.
//!
//! FoundationDB's client library, libfdb_c, is loaded when the first engine is opened: a program that contains this crate builds and starts without it. The library's highest
//! API version decides: 730 where it has that, else 710.
//!
//! ```
//! use tenantry_foundationdb::{ClientOptions, FoundationDbEngine};
//!
//! let mut options = ClientOptions::default();
//! options.library_path = Some("/nowhere/libfdb_c.so".to_owned());
//! let error = FoundationDbEngine::open(None, &options, tenantry_env::system()).unwrap_err();
//! assert_eq!(error.tag(), "ClientLibraryUnusable");
//! assert!(error.to_string().contains("/nowhere/libfdb_c.so"));
//! ```
//!
//! - [`FoundationDbEngine`]: handles to a cluster, one for each network thread.
//! - [`ClientOptions`]: how the library is found and run. One set of them a process.
//! - [`ClusterReport`]: what the cluster and the library are.
//! - [`stop_network`]: ends the library's threads; happens by itself when the process ends.
//!
//! A cluster that does not answer fails transactions with 1031 after their timeout, which has a default. A commit whose outcome is unknown says so
//! (1021, 1031, 1039): the runner of `tenantry-kv` makes it exactly once all the same.
#![deny(unsafe_op_in_unsafe_fn)]

#[allow(unsafe_code, reason = "the binding to a C library; every block says why it is sound")]
mod binding;
mod counts;
mod engine;
mod handles;
mod options;
mod report;
mod transaction;

pub use counts::Stats;
pub use engine::FoundationDbEngine;
pub use options::{CLIENT_THREADS_MAX, ClientOptions};
pub use report::ClusterReport;

/// Stops the client library's network, and waits until its thread has ended. Whatever is under way in this process never completes, and no engine can be opened any
/// more. Without this call it happens when the process ends; a program that keeps an engine to its very end does well to call it as the last thing in `main`.
pub fn stop_network() {
    binding::stop();
}
