//! A slice of the random queries with every test run.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use tenantry_sim::{WORLD_QUERIES, query_worlds};

#[test]
fn every_path_gives_the_same_rows() {
    let worlds = 12;
    let found = query_worlds(0..worlds);
    println!("{found}");
    assert!(found.failures.is_empty(), "{:?}", found.failures);
    assert_eq!((found.worlds, found.queries), (worlds, worlds * WORLD_QUERIES));
    assert_eq!(found.checks, worlds);
    assert!(found.bad_days > 0 && found.cascades > worlds, "{found}");
    assert!(found.indexes.contains_key("time_to_live"), "{found}");
    assert!(found.rows > found.queries && found.plans.len() >= 5, "{found}");
}

/// What a seed says is what it says again.
#[test]
fn a_seed_decides_everything() {
    let ran = || query_worlds(7..8).to_string();
    assert_eq!(ran(), ran());
}
