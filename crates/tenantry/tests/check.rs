//! The check of indexes on the embedded engine, beside writers on threads of their own.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value as Json;
use tenantry::jobs::{Check, JobKinds, Worker};
use tenantry::{Database, Isolation, PrimaryKey, Query, Record, SchemaDefinition, Tenant, block_on};
use tenantry_kv::RangeRequest;

const RECORDS: i64 = 300;
const SCHEMA: &str = r#"
name = "s"
[types.task]
primary_key = ["id"]
fields = { id = "int", account = "string", points = "int", email = "string" }
[types.task.indexes]
by_account = { fields = ["account"], covering = ["points"] }
by_email = { fields = ["email"], unique = true }
words = { kind = "text", fields = ["email"] }
changes = { kind = "version" }
per_account = { kind = "count", group = ["account"] }
points = { kind = "sum", group = ["account"], of = "points" }
most = { kind = "max", of = "points" }
"#;

fn task(id: i64, points: i64) -> Record {
    let account = ["north", "south", "east"][(points % 3) as usize];
    Record::new()
        .with("id", id)
        .with("account", account)
        .with("points", points)
        .with("email", format!("{id}@x.org"))
}

fn check(database: &Database, tenant: &Tenant, repairs: bool) -> Json {
    let parameters = Check::parameters(None, repairs);
    let id = block_on(database.create_job(&Check, Some(tenant), &parameters)).unwrap();
    block_on(Worker::new(database, JobKinds::standard()).run_until_idle()).unwrap();
    block_on(database.job(id)).unwrap().result.unwrap()
}

fn numbers(result: &Json) -> [u64; 5] {
    ["missing", "dangling", "wrong", "duplicate", "repaired"].map(|name| result[name].as_u64().unwrap())
}

/// Removes every key that has a text in it; returns how many.
fn damage(database: &Database, text: &str) -> u64 {
    let transaction = tenantry_core::engine_access::engine(database).begin().unwrap();
    let mut next = Some(RangeRequest::new(vec![0], vec![0xfe]));
    let mut damaged = 0;
    while let Some(request) = next {
        let batch = block_on(transaction.get_range(&request, Isolation::Snapshot)).unwrap();
        for row in batch.rows.iter().filter(|row| row.key.windows(text.len()).any(|it| it == text.as_bytes()))
        {
            transaction.clear(&row.key);
            damaged += 1;
        }
        next = request.after(&batch);
    }
    block_on(transaction.commit()).unwrap();
    damaged
}

#[test]
fn a_check_beside_writers_tells_of_damage_alone() {
    let database = common::database();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    let tenant = block_on(database.create_tenant("acme", "s")).unwrap();
    for id in 0..RECORDS {
        block_on(tenant.insert("task", &task(id, id))).unwrap();
    }
    let is_over = AtomicBool::new(false);
    let mended = std::thread::scope(|scope| {
        for writer in 0..2 {
            let (tenant, is_over) = (&tenant, &is_over);
            scope.spawn(move || {
                let mut number = writer;
                while !is_over.load(Ordering::Relaxed) {
                    // Some records of each account stay as they are.
                    let id = 30 + number * 7 % (RECORDS - 30);
                    match number % 3 {
                        0 => drop(block_on(tenant.delete("task", &PrimaryKey::of(id))).unwrap()),
                        _ => block_on(tenant.put("task", &task(id, number % 1_000))).unwrap(),
                    }
                    number += 2;
                }
            });
        }
        for round in 0..40 {
            let result = check(&database, &tenant, round % 2 == 1);
            assert_eq!(numbers(&result), [0; 5], "{result}");
        }
        // The entries of one account, its count and its sum are gone.
        let damaged = damage(&database, "north");
        let mended = check(&database, &tenant, true);
        assert!(damaged > 3, "{damaged}");
        is_over.store(true, Ordering::Relaxed);
        mended
    });
    let [missing, dangling, wrong, duplicate, repaired] = numbers(&mended);
    assert!(missing + wrong > 0 && repaired == missing + wrong && dangling + duplicate == 0, "{mended}");
    for fault in mended["faults"].as_array().unwrap() {
        let index = fault["index"].as_str().unwrap();
        assert!(["task.by_account", "task.per_account", "task.points"].contains(&index), "{fault}");
    }
    assert_eq!(numbers(&check(&database, &tenant, false)), [0; 5]);
    let found = |filter: &str| -> Vec<Record> {
        block_on(tenant.query(&Query::of("task").filter(filter).rows_max(1_000))).unwrap().records
    };
    // By the index, and by looking at every record.
    let mut scanned = found("id >= 0");
    scanned.retain(|record| record.get("account") == Some(&"north".into()));
    assert!(!scanned.is_empty());
    assert_eq!(found("account == \"north\""), scanned);
}
