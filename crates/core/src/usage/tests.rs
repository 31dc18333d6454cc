use std::sync::Arc;
use std::time::Duration;

use pollster::block_on;
use tenantry_kv::conformance::reference::{ManualClock, manual_env_with_clock};
use tenantry_kv::{Isolation, MutationType};

use super::*;
use crate::jobs::{JobKinds, Reconcile, Worker};
use crate::{Code, Database, Error, Limit, PrimaryKey, Query, Record, SchemaDefinition};

const SCHEMA: &str = r#"
    name = "s"
    [types.note]
    primary_key = ["id"]
    fields = { id = "int", text = "string", at = { type = "timestamp", optional = true }, parent = { type = "int", optional = true } }
    indexes.expiry = { kind = "time_to_live", fields = ["at"], after_s = 60 }
    indexes.by_parent = { fields = ["parent"] }
    references.parent = { fields = ["parent"], to = "note", on_delete = "cascade" }
    [types.pair]
    primary_key = ["left", "right"]
    fields = { left = "string", right = "int" }
"#;

fn database() -> (Database, Arc<ManualClock>) {
    let (env, clock) = manual_env_with_clock();
    let engine = crate::test_engine::engine(&env);
    let database = block_on(Database::open(engine, env, &crate::test_engine::name("t"))).unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    (database, clock)
}

fn tenant() -> (Tenant, Arc<ManualClock>) {
    let (database, clock) = database();
    (block_on(database.create_tenant("acme", "s")).unwrap(), clock)
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn note(id: i64, text_size: usize) -> Record {
    // Long ones are compressed: it counts what they are.
    Record::new().with("id", id).with("text", "ab".repeat(text_size))
}

/// What there is, by a look at every record.
fn counted(tenant: &Tenant) -> (u64, u64) {
    let schema = block_on(tenant.schema()).unwrap();
    let mut found = (0, 0);
    for record_type in &schema.definition.types {
        let query = Query::of(&record_type.name).rows_max(10_000);
        for record in block_on(tenant.query(&query)).unwrap().records {
            let key = record.elements(&record_type.primary_key, record_type).unwrap();
            let payload = crate::wire::encode(&record.values, &record_type.fields, &record.unknown).unwrap();
            found.0 += 1;
            found.1 += (crate::key_form::pack(&key).unwrap().len() + payload.len()) as u64;
        }
    }
    found
}

fn usage(tenant: &Tenant) -> TenantUsage {
    block_on(tenant.usage(0)).unwrap()
}

fn reconcile(tenant: &Tenant) -> serde_json::Value {
    let id =
        block_on(tenant.database().create_job(&Reconcile, Some(tenant), &serde_json::json!({}))).unwrap();
    block_on(Worker::new(tenant.database(), JobKinds::standard()).run_until_idle()).unwrap();
    block_on(tenant.database().job(id)).unwrap().result.unwrap()
}

async fn change(tenant: &Tenant, random: &mut Random) -> Result<()> {
    let id = random.below(40) as i64;
    let size = [0, 3, 400, 60_000][random.below(4) as usize];
    let parent = random.below(40) as i64;
    let (choice, right) = (random.below(9), random.below(9) as i64);
    tenant
        .run(|transaction| async move {
            let pair = Record::new().with("left", "l".repeat(id as usize)).with("right", right);
            match choice {
                0 => transaction.put("note", &note(id, size)).await,
                1 => transaction.insert("note", &note(id, size).with("parent", parent)).await,
                2 => transaction.put("pair", &pair).await,
                3 => transaction.delete("note", &PrimaryKey::of(id)).await.map(drop),
                4 => {
                    let text = serde_json::json!({ "text": "t".repeat(size) });
                    transaction.merge_patch("note", &PrimaryKey::of(id), &text).await.map(drop)
                }
                5 => {
                    transaction.delete_where(&Query::of("pair").filter(format!("right == {right}"))).await?;
                    transaction.put("pair", &pair).await
                }
                // The same record again and again.
                6 => {
                    transaction.put("note", &note(id, size)).await?;
                    transaction.delete("note", &PrimaryKey::of(id)).await?;
                    transaction.insert("note", &note(id, 7)).await
                }
                7 => {
                    let at =
                        crate::Value::Timestamp(crate::wire::timestamp_of(1_577_836_800_000_000).unwrap());
                    transaction.put("note", &note(id, size).with("at", at)).await
                }
                _ => transaction
                    .delete_if("note", &PrimaryKey::of(id), crate::Condition::Exists)
                    .await
                    .map(drop),
            }
        })
        .await
}

#[test]
fn meters_of_records_are_exact() {
    let mut refused = 0;
    for seed in 1..=6 {
        let (tenant, clock) = tenant();
        let mut random = Random(seed);
        for step in 0..250 {
            refused += u32::from(block_on(change(&tenant, &mut random)).is_err());
            if step % 60 == 59 {
                clock.advance(Duration::from_secs(100));
                block_on(tenant.expire()).unwrap();
                block_on(tenant.delete_cascading("note", &PrimaryKey::of(random.below(40) as i64))).unwrap();
            }
            if step % 25 == 0 {
                let usage = usage(&tenant);
                assert_eq!(
                    (usage.records, usage.record_size_bytes),
                    counted(&tenant),
                    "seed {seed}, step {step}"
                );
            }
        }
        assert!(usage(&tenant).records > 5);
        let off = reconcile(&tenant)["off"].clone();
        assert_eq!(off, serde_json::json!({ "records": 0, "record_bytes": 0, "raw_bytes": 0 }));
    }
    assert!(refused > 50, "{refused}: what is refused has to count for nothing");
}

/// Writers beside every step of a recount: what it puts right is what was wrong, to the byte.
#[test]
fn a_recount_beside_writers_puts_right_what_was_wrong() {
    for seed in 1..=8 {
        let (tenant, _) = tenant();
        let mut random = Random(seed);
        for _ in 0..60 {
            let _ = block_on(change(&tenant, &mut random));
        }
        let wrong = Totals { records: 100 - 9 * seed as i64, record_bytes: -12_345, raw_bytes: 99 };
        block_on(tenant.run(|transaction| async move {
            let key = transaction.tenant().keys.meter_totals()?;
            transaction.engine_transaction().atomic(MutationType::Add, &key, &wrong.to_operand());
            transaction.raw_set(b"key", b"value")?;
            transaction.raw_set(b"key", b"another")
        }))
        .unwrap();
        let (mut cursor, mut steps) = (bytes::Bytes::new(), 0);
        let done = loop {
            for _ in 0..random.below(4) {
                let _ = block_on(change(&tenant, &mut random));
            }
            steps += 1;
            let (from, rows_max) = (&cursor, 1 + random.below(6) as usize);
            let step = tenant.run(|transaction| async move {
                let step = transaction.reconcile(from, rows_max).await?;
                Ok::<_, Error>(step)
            });
            match block_on(step).unwrap() {
                ReconcileStep::More(next, _) => cursor = next,
                ReconcileStep::Done(done) => break done,
            }
        };
        assert!(steps > 5, "{steps}");
        assert_eq!((done.records_off, done.record_size_bytes_off), (-wrong.records, -wrong.record_bytes));
        // Two sets of one key, of which one is there.
        assert_eq!((done.raw_size_bytes, done.raw_is_exact), (10, true));
        assert_eq!(done.raw_size_bytes_off, -99 - 8);
        let usage = usage(&tenant);
        assert_eq!((usage.records, usage.record_size_bytes), counted(&tenant), "seed {seed}");
        assert_eq!(usage.raw_size_bytes, 10);
    }
}

#[test]
fn what_is_consumed_stands_in_its_hour() {
    let (tenant, clock) = tenant();
    let long = "x".repeat(2_500);
    block_on(tenant.put("note", &Record::new().with("id", 1).with("text", noise(2_500)))).unwrap();
    let first = usage(&tenant).hours;
    assert_eq!((first.len(), first[0].begin_us), (1, 1_577_836_800_000_000));
    // A put looks whether the record is there: both are one operation. The change is of more than 2,500 bytes.
    assert_eq!((first[0].operations, first[0].write_units), (1, 3));
    assert_eq!(first[0].read_units, 1);
    clock.advance(Duration::from_secs(3_600));
    for _ in 0..3 {
        block_on(tenant.get("note", &PrimaryKey::of(1))).unwrap().unwrap();
    }
    block_on(tenant.run(|transaction| {
        let long = &long;
        async move { transaction.raw_set(b"k", long.as_bytes()) }
    }))
    .unwrap();
    let hours = usage(&tenant).hours;
    assert_eq!((hours.len(), hours[0]), (2, first[0]));
    // The three gets, two looks of this test at the usage (each of which is an operation), and the set.
    assert_eq!((hours[1].operations, hours[1].read_units, hours[1].write_units), (3 + 1 + 1, 3, 3));
    assert!(hours[1].read_size_bytes > 3 * 1_900 && hours[1].write_size_bytes > 2_500);
    assert_eq!(block_on(tenant.usage(hours[1].begin_us)).unwrap().hours.len(), 1);
    // What is older than 35 days goes.
    clock.advance(Duration::from_secs(35 * 24 * 3_600));
    block_on(tenant.run(|transaction| async move { transaction.raw_set(b"k", b"") })).unwrap();
    let hours = usage(&tenant).hours;
    assert_eq!(hours.iter().map(|hour| hour.write_units).collect::<Vec<_>>(), [3, 1], "{hours:?}");
}

/// Text that cannot be compressed.
fn noise(size: usize) -> String {
    let mut random = Random(9);
    (0..size).map(|_| char::from(b' ' + random.below(94) as u8)).collect()
}

#[test]
fn readers_bring_what_they_read_once_in_a_while() {
    let (tenant, clock) = tenant();
    let stored = || {
        let read = tenant.read(|transaction| async move {
            let range = transaction.tenant().keys.meter_hours()?.tuples();
            let request = RangeRequest::new(range.begin, range.end);
            let batch = transaction.engine_transaction().get_range(&request, Isolation::Snapshot).await?;
            let hours = batch.rows.iter().map(|row| Consumed::from_bytes(Some(&row.value)));
            hours.collect::<Result<Vec<_>>>()
        });
        block_on(read).unwrap().into_iter().map(|hour| hour.operations).sum::<u64>()
    };
    let get = || block_on(tenant.get("note", &PrimaryKey::of(1))).unwrap();
    (0..10).for_each(|_| drop(get()));
    assert_eq!(stored(), 0);
    clock.advance(Duration::from_secs(6));
    get();
    // Ten gets, a look, and the get that brought them.
    assert_eq!(stored(), 12);
    get();
    assert_eq!(stored(), 12);
    block_on(tenant.flush_meters()).unwrap();
    // A look, a get, and a look.
    assert_eq!(stored(), 12 + 3);
    // None of it is in the change log.
    let head = tenant.read(|transaction| async move {
        let key = transaction.tenant().keys.log_head()?;
        Ok::<_, Error>(transaction.engine_transaction().get(&key, Isolation::Snapshot).await?)
    });
    assert_eq!(block_on(head).unwrap(), None);
}

#[test]
fn a_full_tenant_can_delete_and_nothing_else() {
    let (tenant, _) = tenant();
    block_on(tenant.set_limits(&TenantLimits::none().with(Limit::Records, 3))).unwrap();
    for id in 0..3 {
        block_on(tenant.put("note", &note(id, 10))).unwrap();
    }
    let error = block_on(tenant.put("note", &note(3, 10))).unwrap_err();
    assert_eq!(error.code(), Code::QuotaExceeded);
    assert!(error.detail().contains('3') && error.retry_after().is_none(), "{error}");
    // What is there may change, and one may go for another.
    block_on(tenant.put("note", &note(2, 100))).unwrap();
    block_on(tenant.run(|transaction| async move {
        transaction.delete("note", &PrimaryKey::of(0)).await?;
        transaction.insert("note", &note(7, 1)).await
    }))
    .unwrap();
    let stored = usage(&tenant).record_size_bytes;
    block_on(tenant.set_limits(&TenantLimits::none().with(Limit::StoredBytes, stored + 50))).unwrap();
    let error = block_on(tenant.put("note", &note(2, 200))).unwrap_err();
    assert_eq!(error.code(), Code::QuotaExceeded);
    let raw = |value: &'static [u8]| {
        block_on(tenant.run(|transaction| async move { transaction.raw_set(b"k", value) }))
    };
    assert_eq!(raw(&[7; 60]).unwrap_err().code(), Code::QuotaExceeded);
    // To write the same few bytes again and again is not to store more: the engine is asked.
    for _ in 0..50 {
        raw(b"1").unwrap();
    }
    assert!(usage(&tenant).raw_size_bytes > 50);
    assert!(block_on(tenant.delete("note", &PrimaryKey::of(2))).unwrap());
    raw(&[7; 60]).unwrap();
    assert_eq!(reconcile(&tenant)["raw_bytes"], 61);
    assert_eq!(usage(&tenant).raw_size_bytes, 61);
}

#[test]
fn plans_and_own_limits_hold_together() {
    let (database, clock) = database();
    let tenant = block_on(database.create_tenant("acme", "s")).unwrap();
    assert_eq!(block_on(database.plan("small")).unwrap_err().code(), Code::PlanNotFound);
    block_on(database.set_tenant_plan("acme", Some("small"))).unwrap();
    assert_eq!(block_on(tenant.quota()).unwrap().effective, TenantLimits::none());
    block_on(tenant.get("note", &PrimaryKey::of(1))).unwrap();
    let plan = TenantLimits::none().with(Limit::Records, 1).with(Limit::Watches, 1);
    block_on(database.set_plan("small", &plan)).unwrap();
    clock.advance(Duration::from_secs(2));
    block_on(tenant.put("note", &note(1, 1))).unwrap();
    assert_eq!(block_on(tenant.put("note", &note(2, 1))).unwrap_err().code(), Code::QuotaExceeded);
    let watch = block_on(tenant.watch()).unwrap();
    assert_eq!(block_on(tenant.watch()).err().unwrap().code(), Code::QuotaExceeded);
    drop(watch);
    drop(block_on(tenant.watch()).unwrap());
    // Another process changes the plan: it holds here after two seconds.
    let inner = &database.inner;
    let other = block_on(Database::open(inner.engine.clone(), inner.env.clone(), database.name())).unwrap();
    block_on(other.set_plan("small", &TenantLimits::none().with(Limit::Records, 2))).unwrap();
    assert!(block_on(tenant.put("note", &note(2, 1))).is_err());
    clock.advance(Duration::from_secs(2));
    block_on(tenant.put("note", &note(2, 1))).unwrap();
    block_on(tenant.set_limits(&TenantLimits::none().without(Limit::Records))).unwrap();
    block_on(tenant.put("note", &note(3, 1))).unwrap();
    let quota = block_on(tenant.quota()).unwrap();
    assert_eq!((quota.plan.as_deref(), quota.effective.get(Limit::Records)), (Some("small"), None));
    assert_eq!(block_on(database.plans()).unwrap().len(), 1);
    block_on(tenant.set_limits(&TenantLimits::none())).unwrap();
    block_on(database.set_tenant_plan("acme", None)).unwrap();
    assert_eq!(block_on(tenant.quota()).unwrap(), TenantQuota::default());
    let error = block_on(tenant.set_limits(&TenantLimits::none().with(Limit::Weight, 0))).unwrap_err();
    assert_eq!(error.code(), Code::LimitsInvalid);
}

#[test]
fn a_transaction_has_the_size_that_its_tenant_may_write() {
    let (tenant, _) = tenant();
    block_on(tenant.set_limits(&TenantLimits::none().with(Limit::TransactionBytes, 10_000))).unwrap();
    block_on(tenant.put("note", &note(1, 5))).unwrap();
    let error =
        block_on(tenant.put("note", &Record::new().with("id", 2).with("text", noise(9_000)))).unwrap_err();
    assert_eq!(error.code(), Code::LimitPassed);
    assert!(error.detail().contains("10000"), "{error}");
    let left =
        block_on(tenant.run(|transaction| async move { Ok::<_, Error>(transaction.size_bytes_left()) }));
    assert_eq!(left.unwrap(), 10_000);
}

#[test]
fn a_rate_slows_down_long_work_and_turns_away_who_would_wait_too_long() {
    let (tenant, clock) = tenant();
    block_on(tenant.run(|transaction| async move {
        for id in 0..100 {
            transaction.insert_new("note", &note(id, 1)).await?;
        }
        Ok::<_, Error>(())
    }))
    .unwrap();
    let now = || tenant.database().inner.env.clock.monotonic();
    let get = || block_on(tenant.get("note", &PrimaryKey::of(1)));
    block_on(tenant.set_limits(&TenantLimits::none().with(Limit::OperationsPerSecond, 10))).unwrap();
    get().unwrap();
    let begun = now();
    for _ in 0..50 {
        get().unwrap();
    }
    let took = now() - begun;
    assert!(took > Duration::from_millis(4_500) && took < Duration::from_millis(5_600), "{took:?}");
    // One transaction of a hundred reads is paid behind it.
    block_on(tenant.read(|transaction| async move {
        for id in 0..100 {
            transaction.get("note", &PrimaryKey::of(id)).await?;
        }
        Ok::<_, Error>(())
    }))
    .unwrap();
    let error = get().unwrap_err();
    let retry_after = error.retry_after().unwrap();
    assert_eq!(error.code(), Code::Throttled);
    assert!(retry_after > Duration::from_secs(8) && retry_after < Duration::from_secs(11), "{error}");
    clock.advance(retry_after + Duration::from_millis(50));
    get().unwrap();
    let begun = now();
    let query = Query::of("note").filter("id < 90").rows_max(15);
    assert_eq!(block_on(tenant.delete_all_where(&query)).unwrap(), 90);
    let took = now() - begun;
    assert!(took > Duration::from_secs(7), "{took:?}");
    assert_eq!(usage(&tenant).hours[0].throttled, 1);
}
