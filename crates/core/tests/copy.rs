//! A read-only database changes for nobody; a copy is equal to its source, goes on where it was interrupted, and what is written in it stands behind what was copied.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;

use common::{item, note};
use pollster::block_on;
use tenantry_core::{Code, Copier, CopyPhase, Database, PrimaryKey, Query};
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_kv::{Engine, Isolation};

fn engine() -> Arc<dyn Engine> {
    Arc::new(ReferenceEngine::new(manual_env()))
}

fn begin(source: &Database, target: &Arc<dyn Engine>) -> Result<Copier, Code> {
    block_on(Copier::begin(source, target.clone(), manual_env(), "moved")).map_err(|error| error.code())
}

fn open(target: &Arc<dyn Engine>) -> Result<Database, Code> {
    block_on(Database::open(target.clone(), manual_env(), "moved")).map_err(|error| error.code())
}

/// Three tenants with records of several steps, a counter, raw keys and a deleted tenant.
fn source() -> Database {
    let database = common::database();
    for name in ["acme", "gone", "globex", "initech"] {
        let tenant = block_on(database.create_tenant(name, "shop")).unwrap();
        for begin in (0..200).step_by(20) {
            block_on(tenant.run(|transaction| async move {
                for number in begin..begin + 20 {
                    transaction.insert("item", &item(name, number, &"title ".repeat(400))).await?;
                }
                transaction.add_to_counter("items", 20)
            }))
            .unwrap();
        }
    }
    block_on(database.delete_tenant("gone")).unwrap();
    database
}

#[test]
fn a_read_only_database_changes_for_nobody() {
    let database = source();
    let tenant = block_on(database.tenant("acme")).unwrap();
    assert!(!block_on(database.state()).unwrap().is_read_only);
    block_on(database.set_read_only("moving house")).unwrap();
    let state = block_on(database.state()).unwrap();
    assert_eq!((state.is_read_only, state.reason.as_str()), (true, "moving house"));

    let refused = block_on(tenant.insert("note", &note(1, "a"))).unwrap_err();
    assert_eq!(refused.code(), Code::DatabaseReadOnly);
    assert!(refused.to_string().contains("moving house"), "{refused}");
    let codes = [
        block_on(tenant.run(|transaction| async move { transaction.add_to_counter("n", 1) })).unwrap_err(),
        block_on(database.create_tenant("new", "shop")).unwrap_err(),
        block_on(database.delete_tenant("acme")).unwrap_err(),
        block_on(database.erase()).unwrap_err(),
    ];
    assert!(codes.iter().all(|error| error.code() == Code::DatabaseReadOnly), "{codes:?}");
    assert_eq!(block_on(tenant.query(&Query::of("item").rows_max(5))).unwrap().records.len(), 5);

    block_on(database.set_writable()).unwrap();
    block_on(tenant.insert("note", &note(1, "a"))).unwrap();
    let long = block_on(database.set_read_only(&"x".repeat(1_001))).unwrap_err();
    assert_eq!(long.code(), Code::LimitPassed);
}

/// A writer that began before the database became read-only does not commit after.
#[test]
fn nothing_under_way_slips_past_the_change_of_state() {
    let database = source();
    let tenant = block_on(database.tenant("acme")).unwrap();
    let mut attempts = 0;
    let refused = block_on(tenant.run(|transaction| {
        attempts += 1;
        let (database, attempt) = (database.clone(), attempts);
        async move {
            transaction.insert("note", &note(1, "late")).await?;
            if attempt == 1 {
                transaction.read_version().await?;
                database.set_read_only("now").await?;
            }
            Ok::<_, tenantry_core::Error>(())
        }
    }))
    .unwrap_err();
    assert_eq!((refused.code(), attempts), (Code::DatabaseReadOnly, 2));
}

#[test]
fn a_copy_is_equal_to_its_source_and_later_than_it() {
    let source = source();
    let target = engine();
    assert_eq!(begin(&source, &target).unwrap_err(), Code::CopySourceWritable);
    block_on(source.set_read_only("")).unwrap();

    // Interrupted after every step: each begins anew from what stands in the target.
    let mut steps = 0;
    let hashes = loop {
        let mut copier = begin(&source, &target).unwrap();
        let mut phase = block_on(copier.step()).unwrap();
        steps += 1;
        if phase != CopyPhase::Copying {
            // A comparison is begun again by every process: this one runs to the end of it.
            while phase == CopyPhase::Comparing {
                phase = block_on(copier.step()).unwrap();
            }
            if copier.rows_compared() > 0 {
                assert_eq!(copier.rows_compared(), copier.rows());
                assert_eq!(open(&target).unwrap_err(), Code::DatabaseIncomplete);
                let hashes = (copier.source_hash(), copier.target_hash());
                while block_on(begin(&source, &target).unwrap().step()).unwrap() != CopyPhase::Done {}
                break hashes;
            }
        }
        assert_eq!(open(&target).unwrap_err(), Code::DatabaseIncomplete);
    };
    assert!(steps > 2, "{steps}");
    assert_eq!(hashes.0, hashes.1);

    let copied = open(&target).unwrap();
    assert_eq!((copied.uuid(), copied.name()), (source.uuid(), "moved"));
    let names = |database: &Database| -> Vec<String> {
        let page = block_on(database.tenants(None, 100)).unwrap();
        page.tenants.into_iter().map(|tenant| tenant.name).collect()
    };
    assert_eq!(names(&copied), ["acme", "globex", "initech"]);
    for name in names(&copied) {
        let (from, to) = (block_on(source.tenant(&name)).unwrap(), block_on(copied.tenant(&name)).unwrap());
        let all = Query::of("item").rows_max(1_000);
        let (before, after) = (block_on(from.query(&all)).unwrap(), block_on(to.query(&all)).unwrap());
        assert_eq!(before.records.len(), 200);
        assert_eq!(before.records, after.records);
        let counted = block_on(to.read(|transaction| async move {
            transaction.set_isolation(Isolation::Snapshot);
            transaction.counter("items").await
        }));
        assert_eq!(counted.unwrap(), 200);

        // Versions compare across the move, although the other engine has only just begun to count.
        let key = PrimaryKey { values: vec![name.as_str().into(), 7.into()] };
        let before = block_on(to.get("item", &key)).unwrap().unwrap().version().unwrap();
        block_on(to.put("item", &item(&name, 7, "changed"))).unwrap();
        let after = block_on(to.get("item", &key)).unwrap().unwrap().version().unwrap();
        assert!(after > before && after.incarnation == before.incarnation + 1, "{before:?} {after:?}");
    }
    // Ids are not used again, not even those of tenants that were deleted before the move.
    let ids: Vec<u64> =
        block_on(copied.tenants(None, 100)).unwrap().tenants.iter().map(|tenant| tenant.id).collect();
    let added = block_on(copied.create_tenant("hooli", "shop")).unwrap();
    assert!(ids.iter().all(|id| *id < added.info().id));
    assert!(block_on(source.state()).unwrap().is_read_only);
}

#[test]
fn what_cannot_be_copied_is_refused_by_name() {
    let database = source();
    block_on(database.set_read_only("")).unwrap();

    // A target with something in it.
    let used = engine();
    let other = open(&used).unwrap();
    block_on(other.apply_schema(&database_schema())).unwrap();
    assert_eq!(begin(&database, &used).unwrap_err(), Code::CopyTargetNotEmpty);

    // A source that was opened in between, even if it is read-only again.
    let target = engine();
    let mut copier = begin(&database, &target).unwrap();
    block_on(copier.step()).unwrap();
    block_on(database.set_writable()).unwrap();
    assert_eq!(block_on(copier.step()).unwrap_err().code(), Code::CopyInterrupted);
    block_on(database.set_read_only("")).unwrap();
    assert_eq!(block_on(copier.step()).unwrap_err().code(), Code::CopyInterrupted);
    assert_eq!(begin(&database, &target).unwrap_err(), Code::CopyInterrupted);

    // The target of another database's copy. (The environments of tests all draw the same ids.)
    let env = manual_env();
    env.entropy.fill(&mut [0; 8]);
    let another = block_on(Database::open(Arc::new(ReferenceEngine::new(env.clone())), env, "test")).unwrap();
    block_on(another.apply_schema(&database_schema())).unwrap();
    block_on(another.set_read_only("")).unwrap();
    assert_eq!(begin(&another, &target).unwrap_err(), Code::CopyInterrupted);

    // Two at once: the slower one is told.
    let target = engine();
    let (mut first, mut second) = (begin(&another, &target).unwrap(), begin(&another, &target).unwrap());
    block_on(first.step()).unwrap();
    assert_eq!(block_on(second.step()).unwrap_err().code(), Code::CopyInterrupted);
}

/// A copy whose keys were changed by somebody else is never opened.
#[test]
fn a_copy_that_differs_is_named() {
    let database = source();
    block_on(database.set_read_only("")).unwrap();
    let target = engine();
    let mut copier = begin(&database, &target).unwrap();
    while block_on(copier.step()).unwrap() == CopyPhase::Copying {}
    let transaction = target.begin().unwrap();
    let rows = block_on(transaction.get_range(
        &tenantry_kv::RangeRequest::new("", vec![0xfe]).limit(1).reverse(true),
        Isolation::Snapshot,
    ));
    transaction.set(&rows.unwrap().rows[0].key, b"damaged");
    block_on(transaction.commit()).unwrap();
    let told = loop {
        match block_on(copier.step()) {
            Ok(phase) => assert_eq!(phase, CopyPhase::Comparing),
            Err(error) => break error,
        }
    };
    assert_eq!(told.code(), Code::CopyDiffers);
    assert_eq!(open(&target).unwrap_err(), Code::DatabaseIncomplete);
}

fn database_schema() -> tenantry_core::SchemaDefinition {
    tenantry_core::SchemaDefinition::from_toml(common::SCHEMA).unwrap()
}
