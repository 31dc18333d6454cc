//! Where the tests have their databases.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use tenantry::{Database, block_on};

static DATABASES: AtomicU64 = AtomicU64::new(0);

/// An empty database: in memory, or, when TENANTRY_TEST_FDB_CLUSTER_FILE names a cluster file, in that cluster. There each has a name that no other has, and stays
/// behind: the cluster is one that may be erased.
pub fn database() -> Database {
    block_on(tenantry::open(&cluster_url().unwrap_or_else(|| "memory:".to_owned()))).unwrap()
}

/// The URL of a database in the cluster that is not there yet, if there is a cluster. TENANTRY_TEST_FDB_THREADS says how many network threads there are.
pub fn cluster_url() -> Option<String> {
    let path = std::env::var("TENANTRY_TEST_FDB_CLUSTER_FILE").ok()?;
    let time = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    let threads = std::env::var("TENANTRY_TEST_FDB_THREADS").unwrap_or_else(|_| "1".to_owned());
    let name = format!("test-{}-{number}-{}", std::process::id(), time.as_micros());
    Some(format!("fdb:{path}?threads={threads}&name={name}"))
}

/// Whether the databases are in a cluster.
pub fn is_cluster() -> bool {
    std::env::var("TENANTRY_TEST_FDB_CLUSTER_FILE").is_ok()
}
