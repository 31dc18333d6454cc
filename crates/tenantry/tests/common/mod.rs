//! Where the tests have their databases.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use tenantry::{Database, Options, block_on};

static DATABASES: AtomicU64 = AtomicU64::new(0);

/// An empty database: in memory, or, when TENANTRY_TEST_FDB_CLUSTER_FILE names a cluster file, in that cluster. There each has a name that no other has, and stays
/// behind: the cluster is one that may be erased.
pub fn database() -> Database {
    let Ok(path) = std::env::var("TENANTRY_TEST_FDB_CLUSTER_FILE") else {
        return block_on(tenantry::open("memory:")).unwrap();
    };
    let time = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let number = DATABASES.fetch_add(1, Ordering::Relaxed);
    let name = format!("test-{}-{number}-{}", std::process::id(), time.as_micros());
    block_on(Options::new().name(name).open(&format!("fdb:{path}"))).unwrap()
}
