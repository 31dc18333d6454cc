//! Meters on an engine on a bad day: whatever the commits answer, each transaction is counted once.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use pollster::block_on;
use tenantry_core::{Database, Error, PrimaryKey, Query, Record, SchemaDefinition};
use tenantry_kv::Engine;
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_sim::UnreliableEngine;

const SCHEMA: &str = "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }\n";

/// What was done, as far as whoever did it was told.
#[derive(Default)]
struct Done {
    units: u64,
    failed: u32,
    /// How many ended so that nobody can tell.
    unknown: u32,
}

fn run(seed: u64, done: &mut Done) {
    let env = manual_env();
    let reference = Arc::new(ReferenceEngine::new(env.clone()));
    let quiet: Arc<dyn Engine> = reference.clone();
    let setting_up = block_on(Database::open(quiet, env.clone(), "main")).unwrap();
    block_on(setting_up.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    let calm = block_on(setting_up.create_tenant("acme", "s")).unwrap();
    let unreliable: Arc<dyn Engine> = Arc::new(UnreliableEngine::new(reference, env.timer.clone(), seed, 25));
    let Ok(database) = block_on(Database::open(unreliable, env, "main")) else { return };
    let Ok(tenant) = block_on(database.tenant("acme")) else { return };
    let mut state = seed;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut units = 0;
    for _ in 0..150 {
        let (id, deletes) = (below(20) as i64, below(3) == 0);
        let written = block_on(tenant.run(|transaction| async move {
            if deletes && transaction.delete("note", &PrimaryKey::of(id)).await? {
                transaction.raw_set(b"last", &id.to_le_bytes())?;
                return Ok::<_, Error>(2);
            }
            transaction.put("note", &Record::new().with("id", id)).await?;
            Ok(1)
        }));
        match written {
            Ok(written) => units += written,
            Err(error) => {
                done.failed += 1;
                done.unknown += u32::from(error.is_outcome_unknown());
            }
        }
    }
    let records = block_on(calm.query(&Query::of("note").rows_max(100))).unwrap().records;
    let usage = block_on(calm.usage(0)).unwrap();
    assert_eq!(usage.records, records.len() as u64, "seed {seed}");
    let counted: u64 = usage.hours.iter().map(|hour| hour.write_units).sum();
    if done.unknown == 0 {
        assert_eq!(counted, units, "seed {seed}");
    }
    done.units += units;
}

#[test]
fn each_transaction_is_counted_once() {
    let mut done = Done::default();
    for seed in 1..=15 {
        run(seed, &mut done);
    }
    assert!(done.units > 1_500 && done.unknown == 0, "{} units, {} unknown", done.units, done.unknown);
}
