//! Deletions in several steps beside the same deletion in one, beside writers, and in the hands of workers that die.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pollster::block_on;
use tenantry_kv::conformance::reference::{ManualClock, manual_env_with_clock};

use super::*;
use crate::jobs::{CascadeDelete, JobKinds, JobState, Worked, Worker};
use crate::query::Query;
use crate::{Database, Record, SchemaDefinition, Tenant, Value};

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
[types.invoice]
primary_key = ["id"]
fields = { id = "int", account = "int", order = "int" }
indexes = { by_account = { fields = ["account"] }, by_order = { fields = ["order"] } }
references.account = { fields = ["account"], to = "account", on_delete = "cascade" }
references.order = { fields = ["order"], to = "order", on_delete = "restrict" }
[types.note]
primary_key = ["id"]
fields = { id = "int", account = { type = "int", optional = true } }
indexes.by_account = { fields = ["account"] }
references.account = { fields = ["account"], to = "account", on_delete = "set_null" }
[types.node]
primary_key = ["id"]
[types.node.fields]
id = "int"
parent = { type = "int", optional = true }
second = { type = "int", optional = true }
friend = { type = "int", optional = true }
guard = { type = "int", optional = true }
[types.node.indexes]
by_parent = { fields = ["parent"] }
by_second = { fields = ["second"] }
by_friend = { fields = ["friend"] }
by_guard = { fields = ["guard"] }
[types.node.references]
parent = { fields = ["parent"], to = "node", on_delete = "cascade" }
second = { fields = ["second"], to = "node", on_delete = "cascade" }
friend = { fields = ["friend"], to = "node", on_delete = "set_null" }
guard = { fields = ["guard"], to = "node", on_delete = "restrict" }
"#;
const TYPES: [&str; 6] = ["account", "order", "line", "invoice", "note", "node"];

fn database() -> (Database, Arc<ManualClock>) {
    let (env, clock) = manual_env_with_clock();
    let engine = crate::test_engine::engine(&env);
    let database = block_on(Database::open(engine, env, &crate::test_engine::name("t"))).unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    (database, clock)
}

fn tenant() -> Tenant {
    block_on(database().0.create_tenant("acme", "s")).unwrap()
}

fn record(fields: &[(&str, i64)]) -> Record {
    fields.iter().fold(Record::new(), |record, (name, value)| record.with(name, *value))
}

fn put_all(tenant: &Tenant, records: &[(&str, Record)]) {
    for records in records.chunks(200) {
        let put = tenant.run(|transaction| async move {
            for (record_type, record) in records {
                transaction.put(record_type, record).await?;
            }
            Ok::<_, Error>(())
        });
        block_on(put).unwrap();
    }
}

/// Everything that there is.
fn all(tenant: &Tenant) -> BTreeMap<&'static str, Vec<BTreeMap<String, i64>>> {
    let read = |record_type: &&'static str| {
        let page = block_on(tenant.query(&Query::of(*record_type).rows_max(10_000))).unwrap();
        assert!(page.next.is_none());
        let values = page.records.iter().map(|record| {
            let int = |value: &Value| match value {
                Value::Int(value) => *value,
                other => panic!("{other:?}"),
            };
            record.values.iter().map(|(name, value)| (name.to_string(), int(value))).collect()
        });
        (*record_type, values.collect())
    };
    TYPES.iter().map(read).collect()
}

fn count(tenant: &Tenant, record_type: &str) -> usize {
    all(tenant)[record_type].len()
}

/// No record refers to one that is not there.
fn assert_whole(tenant: &Tenant) {
    let all = all(tenant);
    let ids = |record_type: &str| all[record_type].iter().map(|record| record["id"]).collect::<BTreeSet<_>>();
    let (accounts, orders, nodes) = (ids("account"), ids("order"), ids("node"));
    for record in all.values().flatten() {
        for (name, value) in record {
            let target = match name.as_str() {
                "account" => &accounts,
                "order" => &orders,
                "parent" | "second" | "friend" | "guard" => &nodes,
                _ => continue,
            };
            assert!(target.contains(value), "{record:?}");
        }
    }
}

/// The account 1 with so many orders of so many lines each, and another account.
fn shop(orders: i64, lines: i64) -> Vec<(&'static str, Record)> {
    let mut records = vec![("account", record(&[("id", 1)])), ("account", record(&[("id", 2)]))];
    for order in 0..orders {
        records.push(("order", record(&[("id", order), ("account", 1)])));
        records.extend((0..lines).map(|number| ("line", record(&[("order", order), ("number", number)]))));
    }
    records.push(("order", record(&[("id", 1_000_000), ("account", 2)])));
    records.push(("line", record(&[("order", 1_000_000), ("number", 1)])));
    records
}

/// A deletion in steps of so many records. `inside` is called in each attempt of a step, before its commit, with the number of the attempt and whether it is the last one;
/// `behind` after each. Returns the number of the steps, and the refusal if there is one.
fn delete(
    tenant: &Tenant,
    (record_type, id): (&str, i64),
    records_max: usize,
    mut inside: impl FnMut(usize, bool),
    mut behind: impl FnMut(u64),
) -> (Cascaded, u64, Option<Error>) {
    let mut cursor = CascadeCursor::default();
    for steps in 1..2_000 {
        let (from, attempts, inside) = (&cursor, &Cell::new(0), &RefCell::new(&mut inside));
        let step = tenant.run(|transaction| async move {
            let key = PrimaryKey::of(id);
            let step = transaction.cascade(record_type, &key, from.clone(), records_max).await?;
            attempts.set(attempts.get() + 1);
            inside.borrow_mut()(attempts.get(), matches!(step, CascadeStep::Done(_)));
            Ok::<_, Error>(step)
        });
        match block_on(step).unwrap() {
            CascadeStep::More(next) => cursor = next,
            CascadeStep::Done(done) => return (done, steps, None),
            CascadeStep::Refused(done, error) => return (done, steps, Some(error)),
        }
        behind(steps);
    }
    unreachable!("it comes to an end")
}

fn plainly(tenant: &Tenant, what: (&str, i64), records_max: usize) -> (Cascaded, u64, Option<Error>) {
    delete(tenant, what, records_max, |_, _| {}, |_| {})
}

#[test]
fn five_thousand_on_two_levels_go_and_leave_none_alone() {
    let tenant = tenant();
    let mut records = shop(50, 99);
    records.extend((0..30).map(|id| ("note", record(&[("id", id), ("account", 1)]))));
    put_all(&tenant, &records);
    let error = block_on(tenant.delete("account", &PrimaryKey::of(1))).unwrap_err();
    assert_eq!(error.code(), Code::CascadeTooLarge);
    assert!(error.detail().contains("delete_cascading"), "{error}");
    let (done, steps, refusal) = delete(
        &tenant,
        ("account", 1),
        300,
        |_, _| {},
        |steps| {
            if steps % 4 == 1 {
                assert_whole(&tenant);
                assert!(all(&tenant)["account"].len() == 2, "the record itself goes last");
            }
        },
    );
    assert_eq!((done, refusal.is_none()), (Cascaded { deleted: 5_001, changed: 30 }, true));
    assert!((17..60).contains(&steps), "{steps}");
    assert_whole(&tenant);
    let left = all(&tenant);
    let counts = TYPES.map(|record_type| left[record_type].len());
    assert_eq!(counts, [1, 1, 1, 0, 30, 0]);
    assert!(left["note"].iter().all(|note| !note.contains_key("account")));
    let gone = block_on(tenant.delete_cascading("account", &PrimaryKey::of(1))).unwrap();
    assert_eq!(gone, Cascaded::default());
    assert_eq!(block_on(tenant.delete_cascading("account", &PrimaryKey::of(2))).unwrap().deleted, 3);
}

#[test]
fn another_worker_goes_on_where_one_died() {
    let (database, clock) = database();
    let tenant = block_on(database.create_tenant("acme", "s")).unwrap();
    put_all(&tenant, &shop(120, 9));
    let parameters = CascadeDelete::parameters("account", &PrimaryKey::of(1));
    let id = block_on(database.create_job(&CascadeDelete, Some(&tenant), &parameters)).unwrap();
    let mut workers = 0;
    // Each does two steps, keeps the job, and is gone.
    loop {
        let mut worker = Worker::new(&database, JobKinds::standard()).with_lease(Duration::from_secs(10));
        workers += 1;
        let steps: Vec<Worked> = (0..2).map(|_| block_on(worker.run_one_step()).unwrap()).collect();
        assert_whole(&tenant);
        if steps.iter().any(|step| matches!(step, Worked::Ended(_))) {
            break;
        }
        clock.advance(Duration::from_secs(11));
    }
    let job = block_on(database.job(id)).unwrap();
    assert_eq!(job.state, JobState::Done);
    let expected = serde_json::json!({ "deleted": 1_201, "changed": 0, "refusal": null });
    assert_eq!(job.result.unwrap(), expected);
    assert!(workers > 2, "{workers}");
    assert_eq!((count(&tenant, "order"), count(&tenant, "line")), (1, 1));
    let invalid = serde_json::json!({ "type": "account", "key": 1 });
    let error = block_on(database.create_job(&CascadeDelete, Some(&tenant), &invalid)).unwrap_err();
    assert_eq!(error.code(), Code::JobInvalid);
}

/// Children that come between the steps, and in the middle of the last one, before its commit.
#[test]
fn what_comes_meanwhile_goes_as_well() {
    let tenant = tenant();
    put_all(&tenant, &shop(20, 20));
    let new = Cell::new(2_000);
    let add = || {
        let id = new.replace(new.get() + 1);
        put_all(
            &tenant,
            &[
                ("order", record(&[("id", id), ("account", 1)])),
                ("line", record(&[("order", id), ("number", 0)])),
            ],
        );
    };
    let (disturbed, conflicts) = (Cell::new(0), Cell::new(0));
    let (done, _, refusal) = delete(
        &tenant,
        ("account", 1),
        50,
        |attempt, is_last| {
            conflicts.set(conflicts.get() + usize::from(attempt > 1));
            if is_last && disturbed.get() < 3 {
                disturbed.set(disturbed.get() + 1);
                add();
            }
        },
        |steps| {
            if steps % 3 == 0 && steps < 20 {
                add();
            }
        },
    );
    assert!(refusal.is_none() && disturbed.get() == 3 && conflicts.get() >= 3);
    let added = new.get() - 2_000;
    assert!(added >= 5);
    assert_eq!(done.deleted as i64, 1 + 20 * 21 + 2 * added);
    assert_whole(&tenant);
    assert_eq!((count(&tenant, "account"), count(&tenant, "order"), count(&tenant, "line")), (1, 1, 1));
}

#[test]
fn what_forbids_it_goes_before_or_ends_it() {
    let tenant = tenant();
    let mut records = shop(300, 3);
    // Each forbids the deletion of an order, and goes with the account.
    records
        .extend((0..1_200).map(|id| ("invoice", record(&[("id", id), ("account", 1), ("order", id % 300)]))));
    put_all(&tenant, &records);
    put_all(&tenant, &[("invoice", record(&[("id", 5_000), ("account", 2), ("order", 299)]))]);
    let (done, _, refusal) = plainly(&tenant, ("account", 1), 100);
    let error = refusal.unwrap();
    assert_eq!(error.code(), Code::ReferenceRestricts);
    assert!(
        error.detail().contains("the \"order\" \"299\" cannot be deleted: the \"invoice\" \"5000\""),
        "{error}"
    );
    assert!(done.deleted > 0);
    assert_whole(&tenant);
    assert_eq!(count(&tenant, "account"), 2);
    let error = block_on(tenant.delete_cascading("account", &PrimaryKey::of(1))).unwrap_err();
    assert_eq!(error.code(), Code::ReferenceRestricts);
    assert!(block_on(tenant.delete("invoice", &PrimaryKey::of(5_000))).unwrap());
    let (rest, _, refusal) = plainly(&tenant, ("account", 1), 100);
    assert!(refusal.is_none());
    assert_eq!(done.deleted + rest.deleted, 1 + 300 * 4 + 1_200);
    assert_eq!((count(&tenant, "account"), count(&tenant, "invoice"), count(&tenant, "order")), (1, 0, 1));
}

#[test]
fn a_record_that_comes_to_hang_on_another_one_stays() {
    let tenant = tenant();
    let mut records = vec![("node", record(&[("id", 1)])), ("node", record(&[("id", 9)]))];
    records.push(("node", record(&[("id", 2), ("parent", 1)])));
    records.extend((100..400).map(|id| ("node", record(&[("id", id), ("parent", 2)]))));
    put_all(&tenant, &records);
    // The first step goes down to 2, for its children are too many.
    let (done, _, refusal) = delete(
        &tenant,
        ("node", 1),
        50,
        |_, _| {},
        |steps| {
            if steps == 2 {
                put_all(&tenant, &[("node", record(&[("id", 2), ("parent", 9)]))]);
            }
        },
    );
    assert!(refusal.is_none());
    let left = count(&tenant, "node");
    assert!(left > 200 && done.deleted as usize == 303 - left, "{left} {done:?}");
    assert_whole(&tenant);
    assert!(all(&tenant)["node"].iter().any(|node| node["id"] == 2));
}

#[test]
fn chains_are_taken_from_their_ends_and_circles_whole() {
    let tenant = tenant();
    let node = |id: i64, parent: i64| ("node", record(&[("id", id), ("parent", parent)]));
    let mut chain = vec![("node", record(&[("id", 0)]))];
    chain.extend((1..400).map(|id| node(id, id - 1)));
    for records_max in [300, 45] {
        put_all(&tenant, &chain);
        let (done, steps, refusal) = plainly(&tenant, ("node", 0), records_max);
        assert!(refusal.is_none() && steps < 60, "{steps}");
        assert_eq!((done.deleted, count(&tenant, "node")), (400, 0));
    }
    let circle = |length: i64| -> Vec<(&str, Record)> {
        // All are there before the first refers to the last.
        let mut records: Vec<_> = (0..length).map(|id| ("node", record(&[("id", id)]))).collect();
        records.extend((0..length).map(|id| node(id, (id + 1) % length)));
        records
    };
    put_all(&tenant, &circle(200));
    let (done, steps, refusal) = plainly(&tenant, ("node", 0), 12);
    assert!(refusal.is_none() && steps < 30, "{steps}");
    assert_eq!((done.deleted, count(&tenant, "node")), (200, 0));
    put_all(&tenant, &circle(1_100));
    let (done, steps, refusal) = plainly(&tenant, ("node", 0), 400);
    let error = refusal.unwrap();
    assert!(error.code() == Code::CascadeTooLarge && error.detail().contains("circle"), "{error} {steps}");
    assert_eq!((done.deleted, count(&tenant, "node")), (0, 1_100));
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Graphs of every shape: what a deletion in one transaction does, or refuses, steps of every size do in the end.
#[test]
fn steps_end_where_one_transaction_does() {
    let (mut whole, mut refused, mut many) = (0, 0, 0);
    for seed in 1..=150 {
        let mut random = Random(seed);
        let size = 4 + random.below(40) as i64;
        let mut graph: Vec<_> = (0..size).map(|id| ("node", record(&[("id", id)]))).collect();
        for id in 0..size {
            let mut node = record(&[("id", id)]);
            // Mostly trees, with some circles.
            let target = |random: &mut Random| match random.below(12) {
                0 => random.below(size as u64) as i64,
                _ => random.below(id.max(1) as u64) as i64,
            };
            for (name, chance) in [("parent", 80), ("second", 20), ("friend", 30), ("guard", 8)] {
                if id > 0 && random.below(100) < chance {
                    node.set(name, target(&mut random));
                }
            }
            graph.push(("node", node));
        }
        let (one, steps) = (tenant(), tenant());
        put_all(&one, &graph);
        put_all(&steps, &graph);
        let expected = block_on(one.delete("node", &PrimaryKey::of(0)));
        let records_max = 1 + random.below(7) as usize;
        let (done, taken, refusal) =
            delete(&steps, ("node", 0), records_max, |_, _| {}, |_| assert_whole(&steps));
        match (expected, refusal) {
            (Ok(_), None) => {
                assert_eq!(all(&one), all(&steps), "seed {seed}");
                assert_eq!(done.deleted as usize, size as usize - count(&one, "node"), "seed {seed}");
                whole += 1;
                many += usize::from(taken > 3);
            }
            (Err(error), Some(refusal)) => {
                assert_eq!(
                    (error.code(), refusal.code()),
                    (Code::ReferenceRestricts, Code::ReferenceRestricts)
                );
                refused += 1;
            }
            (expected, refusal) => panic!("seed {seed}: {expected:?}, but in steps {refusal:?}"),
        }
        assert_whole(&steps);
    }
    assert!(whole > 50 && refused > 20 && many > 30, "{whole} {refused} {many}");
}
