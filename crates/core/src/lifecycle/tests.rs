//! Deletion, the way back, and what a purge leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pollster::block_on;
use serde_json::json;
use tenantry_kv::conformance::reference::{ManualClock, manual_env_with_clock};
use tenantry_kv::{Isolation, RangeRequest, Subspace};

use crate::jobs::{Count, Expire, Job, JobFilter, JobKinds, JobState, Worked, Worker};
use crate::{
    Code, Database, Error, PrimaryKey, Record, Result, SchemaDefinition, Suspension, Tenant, TenantOptions,
    TenantState,
};

const SCHEMA: &str = r#"
    name = "s"
    [types.note]
    primary_key = ["id"]
    fields = { id = "int", text = "string" }
    indexes.by_text = { fields = ["text"] }
    indexes.words = { fields = ["text"], kind = "text" }
    indexes.by_rank = { fields = ["id"], kind = "rank" }
"#;
const GRACE: Duration = Duration::from_secs(7 * 24 * 3_600);

struct World {
    database: Database,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> World {
        let (env, clock) = manual_env_with_clock();
        let engine = crate::test_engine::engine(&env);
        let database = block_on(Database::open(engine, env, &crate::test_engine::name("t"))).unwrap();
        block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
        World { database, clock }
    }

    fn tenant(&self, name: &str) -> Tenant {
        block_on(self.database.create_tenant(name, "s")).unwrap()
    }

    fn worker(&self) -> Worker {
        Worker::new(&self.database, JobKinds::standard())
    }

    /// Every key of a range with its value.
    fn dump(&self, range: tenantry_kv::KeyRange) -> BTreeMap<Bytes, Bytes> {
        let transaction = self.database.engine().begin().unwrap();
        let mut rows = BTreeMap::new();
        let mut next = Some(RangeRequest::new(range.begin, range.end));
        while let Some(request) = next {
            let batch = block_on(transaction.get_range(&request, Isolation::Snapshot)).unwrap();
            next = request.after(&batch);
            rows.extend(batch.rows.into_iter().map(|row| (row.key, row.value)));
        }
        rows
    }

    /// What the database has outside of the tenants and the catalog's log.
    fn beside(&self) -> BTreeMap<Bytes, Bytes> {
        let root = self.database.inner.keys.root().clone();
        let mut rows = self.dump(Subspace::new(root.clone()).keys());
        let data = Subspace::new(root).child(&[9.into()]).unwrap().keys();
        rows.retain(|key, _| !data.contains(key));
        rows
    }

    fn of_tenant(&self, tenant: &Tenant) -> BTreeMap<Bytes, Bytes> {
        self.dump(tenant.keys.everything())
    }

    fn purges(&self) -> Vec<Job> {
        let page = block_on(self.database.jobs(&JobFilter::all(), None, 100)).unwrap();
        page.jobs.into_iter().filter(|job| job.kind == "purge").collect()
    }
}

fn note(id: i64) -> Record {
    Record::new().with("id", id).with("text", format!("some words of {id}"))
}

/// Something of every kind that a tenant has.
fn fill(tenant: &Tenant, records: i64) {
    for begin in (0..records).step_by(50) {
        block_on(tenant.run(|transaction| async move {
            for id in begin..(begin + 50).min(records) {
                transaction.put("note", &note(id)).await?;
                transaction.raw_set(&id.to_be_bytes(), b"v")?;
            }
            transaction.add_to_sharded_counter("c", 1, 8)?;
            transaction.next_in_sequence("s").await
        }))
        .unwrap();
    }
    let retention = Duration::from_secs(60);
    block_on(tenant.run_idempotent_bytes(b"key", b"request", retention, |transaction| async move {
        transaction.raw_set(b"once", b"1")?;
        Ok::<_, Error>(Bytes::new())
    }))
    .unwrap();
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.unwrap_err().code()
}

#[test]
fn a_deleted_tenant_comes_back_as_it_was() {
    let world = World::new();
    let database = &world.database;
    let tenant = world.tenant("acme");
    fill(&tenant, 60);
    block_on(database.suspend_tenant("acme", Suspension::ReadOnly, "the bill")).unwrap();
    let before = world.of_tenant(&tenant);
    let deleted = block_on(database.delete_tenant("acme")).unwrap();
    assert_eq!((deleted.state, deleted.id), (TenantState::Deleted, tenant.info().id));
    assert_eq!(deleted.purge_due_us, Some(deleted.since_us + GRACE.as_micros() as i64));
    // It is gone for everybody, and its name is free.
    assert_eq!(code(block_on(database.tenant("acme"))), Code::TenantNotFound);
    assert_eq!(code(block_on(tenant.get("note", &PrimaryKey::of(1)))), Code::TenantNotFound);
    assert_eq!(code(block_on(tenant.put("note", &note(1)))), Code::TenantNotFound);
    assert_eq!(code(block_on(tenant.schema())), Code::TenantNotFound);
    assert!(block_on(database.tenants(None, 10)).unwrap().tenants.is_empty());
    let second = world.tenant("acme");
    assert!(second.info().id > tenant.info().id);
    assert_eq!(code(block_on(database.undelete_tenant("acme", None, None))), Code::TenantExists);
    assert_eq!(code(block_on(database.undelete_tenant("acme", None, Some("a\0")))), Code::TenantNameInvalid);
    assert_eq!(code(block_on(database.undelete_tenant("nobody", None, None))), Code::TenantNotFound);
    assert_eq!(code(block_on(database.undelete_tenant("acme", Some(77), None))), Code::TenantNotFound);
    assert_eq!(code(block_on(database.purge_tenant("acme", None, false))), Code::TenantGraceRuns);
    let back = block_on(database.undelete_tenant("acme", None, Some("acme again"))).unwrap();
    assert_eq!(
        (back.state, back.reason.as_str(), back.id, back.purge_due_us),
        (TenantState::ReadOnly, "the bill", deleted.id, None)
    );
    assert_eq!(world.of_tenant(&tenant), before);
    assert!(block_on(tenant.exists("note", &PrimaryKey::of(1))).unwrap());
    assert_eq!(code(block_on(tenant.put("note", &note(1)))), Code::TenantReadOnly);
    // It can be deleted and brought back again; long after, nobody purges it.
    block_on(database.delete_tenant("acme again")).unwrap();
    block_on(database.undelete_tenant("acme again", None, None)).unwrap();
    world.clock.advance(2 * GRACE);
    block_on(world.worker().run_until_idle()).unwrap();
    assert_eq!((world.of_tenant(&tenant), world.purges().len()), (before, 0));
    let long = block_on(database.delete_tenant_with_grace("acme", GRACE * 1_000));
    assert_eq!(code(long), Code::LimitPassed);
}

#[test]
fn deleted_tenants_of_one_name_are_told_apart() {
    let world = World::new();
    let database = &world.database;
    let mut ids = Vec::new();
    for name in ["b", "acme", "acme", "acmé", "acme"] {
        let tenant = world.tenant(name);
        block_on(database.delete_tenant(name)).unwrap();
        ids.push((name, tenant.info().id));
    }
    assert_eq!(code(block_on(database.undelete_tenant("acme", None, None))), Code::TenantAmbiguous);
    assert_eq!(code(block_on(database.purge_tenant("acme", None, true))), Code::TenantAmbiguous);
    let expected = [ids[1], ids[2], ids[4], ids[3], ids[0]];
    for rows_max in 1..7 {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = block_on(database.deleted_tenants(after.as_deref(), rows_max)).unwrap();
            listed.extend(page.tenants.into_iter().map(|info| (info.name, info.id)));
            after = page.after;
            if after.is_none() {
                break;
            }
        }
        let listed: Vec<(&str, u64)> = listed.iter().map(|(name, id)| (name.as_str(), *id)).collect();
        assert_eq!(listed, expected, "{rows_max}");
    }
    let back = block_on(database.undelete_tenant("acme", Some(ids[2].1), None)).unwrap();
    assert_eq!((back.id, back.name.as_str()), (ids[2].1, "acme"));
}

/// The whole database is compared: of the tenant nothing is left, of the others everything.
#[test]
fn a_purge_leaves_nothing_of_the_tenant_and_everything_of_others() {
    let world = World::new();
    let database = &world.database;
    let (before, neighbour) = (world.tenant("a"), world.tenant("z"));
    fill(&before, 40);
    fill(&neighbour, 40);
    // The id in the middle.
    let tenant = world.tenant("acme");
    let after = world.tenant("b");
    fill(&after, 40);
    for info in [&before, &neighbour, &after] {
        block_on(database.create_job(&Count, Some(info), &Count::parameters("note"))).unwrap();
    }
    let untouched = world.beside();
    for _ in 0..5 {
        fill(&tenant, 300);
        world.clock.advance(Duration::from_secs(25));
    }
    // Marks of a long time, of the tenant and of those beside it.
    let marking = database.engine().begin().unwrap();
    let mut of_others = Vec::new();
    for bucket in 100..150 {
        for tenant in [&before, &tenant, &neighbour, &after] {
            let key = database.inner.keys.changed_in(bucket, tenant.info().id).unwrap();
            if tenant.info().name != "acme" || bucket % 3 == 0 {
                marking.set(&key, b"");
            }
            if tenant.info().name != "acme" {
                of_others.push(key);
            }
        }
    }
    block_on(marking.commit()).unwrap();
    let mut worker = world.worker();
    let count =
        |tenant| block_on(database.create_job(&Count, Some(tenant), &Count::parameters("note"))).unwrap();
    let ended: Vec<_> = (0..3).map(|_| count(&tenant)).collect();
    for id in &ended {
        block_on(worker.run_job(*id, |_| ())).unwrap();
    }
    let waiting: Vec<_> = (0..150).map(|_| count(&tenant)).collect();
    block_on(database.delete_tenant_with_grace("acme", Duration::ZERO)).unwrap();
    let others = [&before, &neighbour, &after].map(|tenant| world.of_tenant(tenant));
    let keys = world.of_tenant(&tenant);
    let purge = block_on(database.purge_tenant("acme", None, false)).unwrap();
    let done = block_on(worker.run_job(purge, |_| ())).unwrap();
    assert_eq!(done.state, JobState::Done, "{:?}", done.error);
    let result = done.result.unwrap();
    let header = tenant.keys.header().unwrap();
    let size_bytes: usize =
        keys.iter().filter(|(key, _)| **key != header).map(|(key, value)| key.len() + value.len()).sum();
    assert_eq!(
        result,
        json!({ "purged": true, "keys": keys.len(), "size_bytes": size_bytes, "jobs": 153,
            "marks": result["marks"], "keys_left": 0 })
    );
    // Sixteen, and those of what it wrote above: each time in another stretch, unless versions pass by themselves.
    let marks = result["marks"].as_u64().unwrap();
    let is_cluster = crate::test_engine::is_cluster();
    assert!(if is_cluster { (17..=21).contains(&marks) } else { marks == 21 }, "{result}");
    let beside = world.beside();
    assert!(of_others.iter().all(|key| beside.contains_key(key)));
    assert!(world.of_tenant(&tenant).is_empty());
    assert_eq!([&before, &neighbour, &after].map(|tenant| world.of_tenant(tenant)), others);
    for id in ended.iter().chain(&waiting) {
        assert_eq!(code(block_on(database.job(*id))), Code::JobNotFound);
    }
    // But for the purge's own job and the marks of what happened since, the catalog is as if the tenant had never been.
    let keys = &database.inner.keys;
    let marks = keys.changes().unwrap().keys();
    // Slots are no tenant's.
    let slots = keys.runner_slots().unwrap();
    let mut left = world.beside();
    left.retain(|key, value| {
        let is_of_purge = String::from_utf8_lossy(value).contains("purge");
        untouched.get(key) != Some(value) && !marks.contains(key) && !is_of_purge && !key.starts_with(&slots)
    });
    let names: Vec<String> = left.keys().map(|key| format!("{key:?}")).collect();
    let purge_keys = Subspace::new(
        keys.jobs()
            .unwrap()
            .pack(&[tenantry_kv::tuple::Element::Uuid(purge.to_string().parse().unwrap())])
            .unwrap(),
    )
    .keys();
    let allowed = [keys.jobs_ended().unwrap()];
    left.retain(|key, _| {
        !purge_keys.contains(key) && !allowed.contains(key) && !keys.job_ends().unwrap().keys().contains(key)
    });
    assert!(left.is_empty(), "{left:?} of {names:?}");
    let id = i64::try_from(tenant.info().id).unwrap();
    for key in world.beside().keys().filter(|key| marks.contains(key)) {
        let elements = keys.changes().unwrap().unpack(key).unwrap();
        assert_ne!(elements[1].as_int(), Some(id), "{elements:?}");
    }
    assert_eq!(code(block_on(database.deleted_tenant("acme", None))), Code::TenantNotFound);
    assert_eq!(code(block_on(tenant.put("note", &note(1)))), Code::TenantNotFound);
}

#[test]
fn a_purge_begins_when_the_grace_is_over_and_then_there_is_no_way_back() {
    let world = World::new();
    let database = &world.database;
    let (tenant, kept) = (world.tenant("acme"), world.tenant("kept"));
    fill(&tenant, 400);
    fill(&kept, 40);
    block_on(database.delete_tenant("acme")).unwrap();
    let mut worker = world.worker();
    block_on(worker.run_until_idle()).unwrap();
    world.clock.advance(GRACE - Duration::from_secs(60));
    block_on(worker.run_until_idle()).unwrap();
    assert!(world.purges().is_empty());
    world.clock.advance(Duration::from_secs(61));
    // A few steps: it has begun and is not done.
    for _ in 0..6 {
        assert!(matches!(block_on(worker.run_one_step()).unwrap(), Worked::Step(_)));
    }
    assert!(world.of_tenant(&tenant).contains_key(&tenant.keys.header().unwrap()));
    assert_eq!(code(block_on(database.undelete_tenant("acme", None, None))), Code::TenantPurging);
    assert_eq!(code(block_on(tenant.put("note", &note(1)))), Code::TenantNotFound);
    // Another worker, which looks as well, makes no second job of it.
    block_on(world.worker().run_until_idle()).unwrap();
    let jobs = world.purges();
    assert_eq!((jobs.len(), &jobs[0].result.as_ref().unwrap()["purged"]), (1, &json!(true)));
    assert!(world.of_tenant(&tenant).is_empty());
    assert!(block_on(kept.exists("note", &PrimaryKey::of(1))).unwrap());
    let again = block_on(database.create_job(
        &crate::jobs::Purge,
        None,
        &crate::jobs::Purge::parameters(tenant.info().id, true),
    ))
    .unwrap();
    let job = block_on(worker.run_job(again, |_| ())).unwrap();
    assert_eq!(job.result.unwrap(), json!({ "purged": false }));
}

#[test]
fn a_purge_that_was_cancelled_is_taken_up_again() {
    let world = World::new();
    let database = &world.database;
    let tenant = world.tenant("acme");
    fill(&tenant, 60);
    block_on(database.delete_tenant_with_grace("acme", Duration::ZERO)).unwrap();
    let mut worker = world.worker();
    assert!(matches!(block_on(worker.run_one_step()).unwrap(), Worked::Step(_)));
    let id = world.purges()[0].id;
    block_on(database.cancel_job(id)).unwrap();
    block_on(worker.run_until_idle()).unwrap();
    assert_eq!(block_on(database.job(id)).unwrap().state, JobState::Cancelled);
    assert!(!world.of_tenant(&tenant).is_empty());
    world.clock.advance(Duration::from_secs(3_700));
    block_on(worker.run_until_idle()).unwrap();
    assert!(world.of_tenant(&tenant).is_empty());
    assert_eq!(world.purges().len(), 2);
}

#[test]
fn nobody_who_began_before_a_deletion_commits_after_it() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let database = &world.database;
    let mut attempts = 0;
    let result: Result<()> = block_on(tenant.run(|transaction| {
        attempts += 1;
        async move {
            transaction.put("note", &note(1)).await?;
            database.delete_tenant_with_grace("acme", Duration::ZERO).await?;
            let job = database.purge_tenant("acme", None, true).await?;
            Worker::new(database, JobKinds::standard()).run_job(job, |_| ()).await?;
            Ok(())
        }
    }));
    assert_eq!((code(result), attempts), (Code::TenantNotFound, 1));
    assert!(world.of_tenant(&tenant).is_empty());
    assert_eq!(code(block_on(database.create_job(&Expire, Some(&tenant), &json!({})))), Code::TenantNotFound);
}

#[test]
fn a_batch_creates_each_tenant_or_says_why_not() {
    let world = World::new();
    let database = &world.database;
    world.tenant("t0003");
    let named = |number: i32| (format!("t{number:04}"), TenantOptions::new().label("n", number.to_string()));
    let mut batch: Vec<(String, TenantOptions)> = (0..1_200).map(named).collect();
    batch[7].0 = "t0005".to_owned();
    batch[9].0 = "a\0".to_owned();
    batch[11].1 = TenantOptions::new().label("", "");
    let outcome = block_on(database.create_tenants("s", &batch)).unwrap();
    let refused: Vec<(usize, Code)> =
        outcome.refused.iter().map(|refused| (refused.index, refused.error.code())).collect();
    let expected = [
        (3, Code::TenantExists),
        (7, Code::TenantExists),
        (9, Code::TenantNameInvalid),
        (11, Code::TenantLabelInvalid),
    ];
    assert_eq!((refused.as_slice(), outcome.created), (&expected[..], 1_196));
    let page = block_on(database.tenants(None, 10_000)).unwrap();
    assert_eq!(page.tenants.len(), 1_197);
    let ids: std::collections::BTreeSet<u64> = page.tenants.iter().map(|info| info.id).collect();
    assert_eq!(ids.len(), 1_197);
    let some = block_on(database.tenant("t0500")).unwrap();
    assert_eq!(some.info().labels["n"], "500");
    block_on(some.put("note", &note(1))).unwrap();
    let other = block_on(database.tenant("t0501")).unwrap();
    assert!(!block_on(other.exists("note", &PrimaryKey::of(1))).unwrap());
    // Who comes later gets a later id.
    assert!(world.tenant("late").info().id > *ids.last().unwrap());
    let again = block_on(database.create_tenants("s", &batch)).unwrap();
    assert_eq!((again.created, again.refused.len()), (0, 1_200));
    assert_eq!(code(block_on(database.create_tenants("no", &batch))), Code::SchemaNotFound);
    let many = vec![batch[0].clone(); 10_001];
    assert_eq!(code(block_on(database.create_tenants("s", &many))), Code::LimitPassed);
    assert_eq!(block_on(database.create_tenants("s", &[])).unwrap().created, 0);
}
