//! The door to the engine under a database, past every tenant's fence: for tools that look at stored bytes, for tests that damage them, and for measurements.
//!
//! `tenantry` does not re-export it: whoever uses the product's library reaches a tenant's data by the tenant's handle alone.

use std::sync::Arc;

use tenantry_kv::Engine;

use crate::database::Database;

/// The engine underneath. A transaction begun on it sees and changes every tenant's keys, and what it writes stands in no change log.
pub fn engine(database: &Database) -> &Arc<dyn Engine> {
    database.engine()
}
