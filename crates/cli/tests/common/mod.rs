//! Where the tests of the command line have their databases.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test"
)]

use std::path::Path;

/// The URL of the database that a test calls by this path: a directory, or, when TENANTRY_TEST_FDB_CLUSTER_FILE names a cluster file, a database of that cluster whose name is the path in
/// the test's temporary directory. It stays behind: the cluster is one that may be erased. TENANTRY_TEST_FDB_THREADS says how many network threads a command has.
pub fn url(path: &Path) -> String {
    match std::env::var("TENANTRY_TEST_FDB_CLUSTER_FILE") {
        Err(_) => format!("file:{}", path.display()),
        Ok(cluster_file) => {
            let threads = std::env::var("TENANTRY_TEST_FDB_THREADS").unwrap_or_else(|_| "1".to_owned());
            format!("fdb:{cluster_file}?threads={threads}&name={}-{}", path.display(), std::process::id())
        }
    }
}

/// Whether the databases are in a cluster.
pub fn is_cluster() -> bool {
    std::env::var("TENANTRY_TEST_FDB_CLUSTER_FILE").is_ok()
}
