//! Everything of a tenant.

use serde_json::json;
use tenantry_kv::MutationType;

use super::*;
use crate::error::Code;
use crate::jobs::{Check, Count, Rewrite, Verify};
use crate::{Condition, Export, Query, RawRange};

fn finished(
    tenant: &Tenant,
    kind: &dyn crate::jobs::JobKind,
    parameters: &serde_json::Value,
) -> serde_json::Value {
    let database = tenant.database();
    let id = block_on(database.create_job(kind, Some(tenant), parameters)).unwrap();
    block_on(Worker::new(database, JobKinds::standard()).run_until_idle()).unwrap();
    let job = block_on(database.job(id)).unwrap();
    job.result.unwrap_or_else(|| unreachable!("{:?}", job.error))
}

/// Where the secret stands in the values of a tenant.
fn leaks(world: &World, tenant: &Tenant) -> usize {
    let rows = world.rows(tenant.keys.everything());
    let secret = SECRET.as_bytes();
    rows.iter().filter(|(_, value)| value.windows(secret.len()).any(|part| part == secret)).count()
}

#[test]
fn nothing_of_what_is_stored_can_be_read_beside_the_layer() {
    let world = World::new();
    let plain = world.tenant("plain");
    fill(&plain);
    // Records, covering entries, raw values, the idempotent result, the log.
    assert!(leaks(&world, &plain) >= 8, "{}", leaks(&world, &plain));
    let sealed = world.sealed("sealed");
    fill(&sealed);
    assert_eq!(leaks(&world, &sealed), 0);
    // The same keys, and as many: but for the data key.
    let keys = |tenant: &Tenant| {
        let rows = world.rows(tenant.keys.everything());
        rows.iter().map(|(key, _)| tenant.keys.relative(key).len()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&sealed).len(), keys(&plain).len() + 1);
}

#[test]
fn everything_reads_as_it_was_written() {
    let world = World::new();
    let sealed = world.sealed("sealed");
    fill(&sealed);
    // As another process sees it, without what this one knows.
    let database = world.another_process(Some(world.keyring(1)));
    let tenant = &block_on(database.tenant("sealed")).unwrap();
    let found = get(tenant, "note", 1).unwrap().unwrap();
    assert_eq!(found, note(1, 10));
    assert_eq!(get(tenant, "note", 2).unwrap(), None);
    assert_eq!(get(tenant, "memo", 1).unwrap().unwrap(), noise(1, 200_000));
    let covered = Query::of("note").filter("title == \"title 1\"").select(["text"]);
    let page = block_on(tenant.query(&covered)).unwrap();
    assert!(page.explanation.paths[0].is_covering, "{:?}", page.explanation);
    assert_eq!(page.records[0].get("text"), found.get("text"));
    let by_mark = block_on(tenant.query(&Query::of("note").filter("mark == 1"))).unwrap();
    assert_eq!(by_mark.records, std::slice::from_ref(&found));
    let (rows, counter) = block_on(tenant.read_only(|reader| async move {
        let page = reader.raw_range(&RawRange::all()).await?;
        assert_eq!(reader.raw_get(b"plain").await?.unwrap(), SECRET);
        Ok::<_, crate::Error>((page.rows, reader.counter("c").await?))
    }))
    .unwrap();
    assert_eq!(counter, 7);
    let values: Vec<&[u8]> = rows.iter().map(|(_, value)| &value[..]).collect();
    assert_eq!(values, [&b""[..], SECRET.as_bytes(), SECRET.as_bytes()]);
    let again = block_on(tenant.run_idempotent(b"key", b"request", |_| async move {
        Err::<String, _>(crate::Error::new(Code::QueryInvalid, "not again"))
    }));
    let again = again.unwrap();
    assert_eq!((again.value.as_str(), again.is_repeated), (SECRET, true));
    // Conditions look at what is inside.
    let version = found.version().unwrap();
    let matches = format!("text.startsWith(\"{SECRET}\")");
    block_on(tenant.put_if("note", &note(1, 600), Condition::Matches(&matches))).unwrap();
    let stale = block_on(tenant.put_if("note", &note(1, 600), Condition::HasVersion(version))).unwrap_err();
    assert_eq!(stale.code(), Code::ConditionFailed);
    let many = [PrimaryKey::of(1), PrimaryKey::of(9)];
    let found = block_on(tenant.read(|transaction| {
        let many = many.clone();
        async move { transaction.get_many("note", &many).await }
    }));
    assert_eq!(found.unwrap(), [Some(note(1, 600)), None]);
    let changed = block_on(tenant.changed_after("note", "changes", &[], None, 10)).unwrap();
    assert_eq!(changed, [note(1, 600)]);
}

#[test]
fn jobs_and_exports_work_on_a_sealed_tenant() {
    let world = World::new();
    let tenant = world.sealed("sealed");
    fill(&tenant);
    let exported: Vec<_> = block_on(tenant.export(Export::of(Query::of("note")))).unwrap().collect();
    let exported = exported.into_iter().map(|record| record.unwrap().to_json()).collect::<Vec<_>>();
    assert_eq!(exported, [note(1, 10).to_json()]);
    assert_eq!(finished(&tenant, &Count, &Count::parameters("note"))["count"], 1);
    let checked = finished(&tenant, &Check, &Check::parameters(None, true));
    assert_eq!(checked["faults"], json!([]), "{checked}");
    assert_eq!(finished(&tenant, &Rewrite, &Rewrite::parameters("note"))["rewritten"], 0);
    // A new data key makes a record one to be written again, without the job of its own.
    block_on(tenant.rotate_data_key()).unwrap();
    assert_eq!(finished(&tenant, &Rewrite, &Rewrite::parameters("note"))["rewritten"], 1);
    assert_eq!(finished(&tenant, &Rewrite, &Rewrite::parameters("note"))["rewritten"], 0);
    assert_eq!(get(&tenant, "note", 1).unwrap(), Some(note(1, 10)));
}

#[test]
fn a_clone_of_a_sealed_tenant_is_sealed_and_both_are_sound() {
    let world = World::new();
    let tenant = world.sealed("sealed");
    fill(&tenant);
    block_on(world.database.clone_tenant("sealed", "copy")).unwrap();
    block_on(Worker::new(&world.database, JobKinds::standard()).run_until_idle()).unwrap();
    let copy = block_on(world.database.tenant("copy")).unwrap();
    assert_eq!(leaks(&world, &copy), 0);
    let keys = [&tenant, &copy].map(|tenant| block_on(tenant.sealing()).unwrap().unwrap().key_id);
    assert_ne!(keys[0], keys[1]);
    assert_eq!(get(&copy, "note", 1).unwrap(), Some(note(1, 10)));
    for tenant in [&tenant, &copy] {
        assert_eq!(finished(tenant, &Verify, &json!({}))["sound"], true);
    }
    // What one is shredded of, the other keeps.
    block_on(tenant.shred()).unwrap();
    assert_eq!(get(&copy, "note", 1).unwrap(), Some(note(1, 10)));
    // A raw value that does not open is told.
    let key = [&copy.keys.raw().unwrap()[..], b"plain"].concat();
    world.set(&key, b"in clear");
    let found = finished(&copy, &Verify, &json!({}));
    assert_eq!((&found["sound"], &found["faults_total"]), (&json!(false), &json!(1)), "{found}");
    let batch = [("many".to_owned(), TenantOptions::new().sealed(true))];
    let refused = block_on(world.database.create_tenants("s", &batch)).unwrap().refused;
    assert_eq!(refused[0].error.code(), Code::SealRefused);
}

/// A covering entry that does not open is a fault, and a repair seals it.
#[test]
fn a_check_finds_and_mends_sealed_entries() {
    let world = World::new();
    let tenant = world.sealed("sealed");
    for id in 1..=3 {
        block_on(tenant.put("note", &note(id, 10))).unwrap();
    }
    let entries = |index: u32| world.rows(tenant_range(&tenant, index));
    let ids: Vec<u32> = {
        let schema = block_on(tenant.schema()).unwrap();
        let indexes = &schema.definition.record_type("note").unwrap().indexes;
        indexes.iter().filter(|index| !index.covering.is_empty()).map(|index| index.id).collect()
    };
    for id in &ids {
        let rows = entries(*id);
        assert_eq!(rows.len(), 3);
        // The value of another entry, and a byte that flipped.
        world.set(&rows[0].0, &rows[1].1);
        let mut flipped = rows[2].1.to_vec();
        *flipped.last_mut().unwrap() ^= 1;
        world.set(&rows[2].0, &flipped);
    }
    let covered = Query::of("note").filter("title == \"title 1\"").select(["text"]);
    let error = block_on(tenant.query(&covered)).unwrap_err();
    assert_eq!(error.code(), Code::SealBroken);
    assert!(error.to_string().contains("by_title"), "{error}");
    let found = finished(&tenant, &Check, &Check::parameters(None, false));
    assert_eq!(found["wrong"], 4, "{found}");
    let repaired = finished(&tenant, &Check, &Check::parameters(None, true));
    assert_eq!(repaired["repaired"], 4, "{repaired}");
    let found = finished(&tenant, &Check, &Check::parameters(None, false));
    assert_eq!(found["faults"], json!([]), "{found}");
    assert!(block_on(tenant.query(&covered)).unwrap().records[0].get("text").is_some());
}

fn tenant_range(tenant: &Tenant, index: u32) -> KeyRange {
    tenantry_kv::Subspace::new(tenant.keys.index(index).unwrap()).keys()
}

#[test]
fn the_engine_computes_with_no_sealed_value() {
    let world = World::new();
    let tenant = world.sealed("sealed");
    for mutation in [MutationType::Add, MutationType::CompareAndClear, MutationType::AppendIfFits] {
        let error =
            block_on(tenant.run(|transaction| async move { transaction.raw_atomic(mutation, b"k", &[1]) }));
        assert_eq!(error.unwrap_err().code(), Code::SealedValueAtomic);
    }
    let set = |size: usize| {
        block_on(tenant.run(|transaction| async move { transaction.raw_set(b"k", &vec![1; size]) }))
    };
    set(99_900).unwrap();
    assert_eq!(set(99_901).unwrap_err().code(), Code::LimitPassed);
    let stamped =
        block_on(tenant.run(|transaction| async move {
            transaction.raw_set_versionstamped(b"", b"", &vec![1; 99_900])
        }));
    stamped.unwrap();
}
