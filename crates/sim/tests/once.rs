//! What is to happen once happens once on an engine whose commits answer "unknown" after they committed and after they did not.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::sync::Arc;

use pollster::block_on;
use tenantry_core::{Database, Error, SchemaDefinition, Tenant};
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_sim::UnreliableEngine;

const SCHEMA: &str = r#"
    name = "notes"
    [types.note]
    primary_key = ["id"]
    fields = { id = "int", text = "string" }
"#;

/// The same tenant, through the engine as it is and through one that fails in so many of a hundred operations.
fn tenants(seed: u64, percent: u64) -> (Tenant, Tenant) {
    let env = manual_env();
    let reference = Arc::new(ReferenceEngine::new(env.clone()));
    let database = block_on(Database::open(reference.clone(), env.clone(), "main")).unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    let plain = block_on(database.create_tenant("acme", "notes")).unwrap();
    let engine = Arc::new(UnreliableEngine::new(reference, env.timer.clone(), seed, percent));
    let unsure = block_on(async {
        loop {
            if let Ok(database) = Database::open(engine.clone(), env.clone(), "main").await
                && let Ok(tenant) = database.tenant("acme").await
            {
                return tenant;
            }
        }
    });
    (plain, unsure)
}

/// A client that repeats its request after every error, whatever it says.
#[test]
fn a_request_with_a_key_takes_effect_once_however_often_it_is_repeated() {
    let mut errors = 0;
    for seed in 0..20 {
        let (plain, unsure) = tenants(seed, 20);
        for request in 0..15i64 {
            let key = request.to_be_bytes();
            let ask = async || {
                unsure
                    .run_idempotent(&key, b"pay", |transaction| async move {
                        transaction.add_to_counter("paid", 1)?;
                        transaction.next_in_sequence("receipt").await
                    })
                    .await
            };
            let first = block_on(async {
                loop {
                    match ask().await {
                        Ok(done) => return done.value,
                        Err::<_, Error>(_) => errors += 1,
                    }
                }
            });
            assert_eq!(first, request + 1);
            let again = plain.run_idempotent(&key, b"pay", |_| async { Ok::<i64, Error>(-1) });
            let again = block_on(again).unwrap();
            assert_eq!((again.value, again.is_repeated), (first, true));
        }
        let paid = block_on(plain.read_only(|reader| async move { reader.counter("paid").await }));
        assert_eq!(paid, Ok(15), "seed {seed}");
    }
    println!("{errors} requests were repeated after an error");
}

#[test]
fn no_number_of_a_block_is_given_twice() {
    for seed in 0..20 {
        let (plain, unsure) = tenants(seed, 25);
        let handles = [
            unsure.sequence_blocks("n", 4).unwrap(),
            unsure.sequence_blocks("n", 1).unwrap(),
            plain.sequence_blocks("n", 3).unwrap(),
        ];
        let mut given = BTreeSet::new();
        for round in 0..60 {
            if let Ok(number) = block_on(handles[round % 3].next()) {
                assert!(given.insert(number), "seed {seed}: {number} twice");
            }
        }
        assert!(given.len() > 40);
    }
}
