//! A deletion that takes thousands along, on the embedded engine: workers that die, and a writer on a thread of its own.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tenantry::jobs::{CascadeDelete, JobKinds, Worked, Worker};
use tenantry::{Code, Error, PrimaryKey, Query, Record, SchemaDefinition, Tenant, block_on};

const SCHEMA: &str = r#"
name = "s"
[types.account]
primary_key = ["id"]
fields = { id = "int" }
[types.order]
primary_key = ["id"]
fields = { id = "int", account = "int" }
indexes.by_account = { fields = ["account"] }
references.account = { fields = ["account"], to = "account", on_delete = "cascade" }
[types.line]
primary_key = ["order", "number"]
fields = { order = "int", number = "int" }
references.order = { fields = ["order"], to = "order", on_delete = "cascade" }
"#;
const ORDERS: i64 = 500;
const LINES: i64 = 9;

fn put_order(tenant: &Tenant, id: i64, account: i64) -> Result<(), Error> {
    block_on(tenant.run(|transaction| async move {
        transaction.put("order", &Record::new().with("id", id).with("account", account)).await?;
        for number in 0..LINES {
            transaction.put("line", &Record::new().with("order", id).with("number", number)).await?;
        }
        Ok(())
    }))
}

fn count(tenant: &Tenant, record_type: &str) -> usize {
    let page = block_on(tenant.query(&Query::of(record_type).rows_max(10_000))).unwrap();
    assert!(page.next.is_none());
    page.records.len()
}

#[test]
fn thousands_go_with_one_record_step_by_step() {
    let database = common::database();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    let tenant = block_on(database.create_tenant("acme", "s")).unwrap();
    for id in [1, 2] {
        block_on(tenant.insert("account", &Record::new().with("id", id))).unwrap();
    }
    (0..ORDERS).for_each(|id| put_order(&tenant, id, 1).unwrap());
    put_order(&tenant, 1_000_000, 2).unwrap();
    let error = block_on(tenant.delete("account", &PrimaryKey::of(1))).unwrap_err();
    assert_eq!(error.code(), Code::CascadeTooLarge);
    let parameters = CascadeDelete::parameters("account", &PrimaryKey::of(1));
    let id = block_on(database.create_job(&CascadeDelete, Some(&tenant), &parameters)).unwrap();
    let (is_over, added) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|scope| {
        let (tenant, is_over, added) = (&tenant, &is_over, &added);
        scope.spawn(move || {
            // Up to the moment when the account is gone.
            while !is_over.load(Ordering::Relaxed) && added.load(Ordering::Relaxed) < 200 {
                match put_order(tenant, 2_000 + added.load(Ordering::Relaxed), 1) {
                    Ok(()) => drop(added.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => {
                        assert_eq!(error.code(), Code::ReferenceNotFound, "{error}");
                        break;
                    }
                }
            }
        });
        let (mut workers, mut has_ended) = (0, false);
        while !has_ended {
            // Each is gone behind a few steps, and its lease is over at once.
            let mut worker = Worker::new(&database, JobKinds::standard()).with_lease(Duration::ZERO);
            let mut steps = 0;
            while steps < 3 && !has_ended {
                match block_on(worker.run_one_step()).unwrap() {
                    Worked::Ended(_) => has_ended = true,
                    Worked::Idle { .. } => std::thread::yield_now(),
                    _ => steps += 1,
                }
            }
            workers += 1;
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(workers > 3, "{workers}");
    });
    let result = block_on(database.job(id)).unwrap().result.unwrap();
    assert!(result["refusal"].is_null());
    let all = 1 + (ORDERS + added.load(Ordering::Relaxed)) * (1 + LINES);
    assert_eq!(result["deleted"].as_i64(), Some(all));
    // Nothing hangs on what is gone: of the other account there is one order.
    assert_eq!(
        (count(&tenant, "account"), count(&tenant, "order"), count(&tenant, "line")),
        (1, 1, LINES as usize)
    );
}
