//! Where the tests of this crate have their databases: on the reference engine, or, when TENANTRY_TEST_FDB_CLUSTER_FILE names a cluster file, in that cluster. There each has a
//! name that no other has, and stays behind: the cluster is one that may be erased. The clock is the test's even there: a closure's deadlines and back-offs pass at once.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenantry_foundationdb::{ClientOptions, FoundationDbEngine};
use tenantry_kv::Engine;
use tenantry_kv::conformance::reference::ReferenceEngine;
use tenantry_kv::env::Env;

static DATABASES: AtomicU64 = AtomicU64::new(0);

fn cluster_file() -> Option<String> {
    std::env::var("TENANTRY_TEST_FDB_CLUSTER_FILE").ok()
}

/// Whether the databases are in a cluster, whose time and conflicts nobody holds in his hand.
pub fn is_cluster() -> bool {
    cluster_file().is_some()
}

/// An engine without the databases that a test makes.
pub fn engine(env: &Env) -> Arc<dyn Engine> {
    let Some(cluster_file) = cluster_file() else { return Arc::new(ReferenceEngine::new(env.clone())) };
    let mut options = ClientOptions::default();
    options.library_path = std::env::var("TENANTRY_FDB_LIBRARY").ok();
    if let Ok(threads) = std::env::var("TENANTRY_TEST_FDB_THREADS") {
        options.client_threads = threads.parse().unwrap();
    }
    Arc::new(FoundationDbEngine::open(Some(&cluster_file), &options, tenantry_env::system()).unwrap())
}

/// The name of a database that is not there yet.
pub fn name(name: &str) -> String {
    if !is_cluster() {
        return name.to_owned();
    }
    let time = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{number}-{}", std::process::id(), time.as_micros())
}
