//! The engine on a bad day keeps the contract on a good one.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use pollster::block_on;
use tenantry_core::{Code, Database, PrimaryKey, Record, SchemaDefinition};
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_kv::conformance::{Subject, rules};
use tenantry_kv::directory::DirectoryLayer;
use tenantry_kv::env::Randomness;
use tenantry_kv::{Engine, Isolation, RangeRequest};
use tenantry_sim::UnreliableEngine;

#[derive(Debug)]
struct Unreliable(UnreliableEngine);

impl Subject for Unreliable {
    fn engine(&self) -> &dyn Engine {
        &self.0
    }
}

#[test]
fn without_faults_every_rule_is_kept() {
    let failures = block_on(rules::run(&|| {
        let env = manual_env();
        let reference = Arc::new(ReferenceEngine::new(env.clone()));
        Box::new(Unreliable(UnreliableEngine::new(reference, env.timer, 1, 0)))
    }));
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn from_afar_every_rule_is_kept() {
    let failures = block_on(rules::run(&|| {
        let env = manual_env();
        let reference = Arc::new(ReferenceEngine::new(env.clone()));
        Box::new(Unreliable(UnreliableEngine::distant(reference, env.timer, 1)))
    }));
    assert!(failures.is_empty(), "{failures:?}");
}

/// Where a tenant's header has to be waited for, the one that was known goes for it until it is there: nothing that was done with another may count.
#[test]
fn what_was_done_with_a_header_that_has_changed_does_not_count() {
    let env = manual_env();
    let reference = Arc::new(ReferenceEngine::new(env.clone()));
    let engine: Arc<dyn Engine> = Arc::new(UnreliableEngine::distant(reference, env.timer.clone(), 7));
    let open = || block_on(Database::open(engine.clone(), env.clone(), "main")).unwrap();
    let (database, other) = (open(), open());
    let schema = r#"
        name = "notes"
        [types.note]
        primary_key = ["id"]
        fields = { id = "int" }
    "#;
    block_on(database.apply_schema(&SchemaDefinition::from_toml(schema).unwrap())).unwrap();
    let tenant = block_on(database.create_tenant("acme", "notes")).unwrap();
    let note = |id: i64| Record::new().with("id", id);
    block_on(tenant.insert("note", &note(1))).unwrap();
    assert!(block_on(tenant.get("note", &PrimaryKey::of(1))).unwrap().is_some());

    // Somebody writes the header, with a field that nobody reads yet: the work is done again, once.
    let uuid = tenant.info().uuid;
    let transaction = engine.begin().unwrap();
    let all =
        block_on(transaction.get_range(&RangeRequest::new("", vec![0xfe]), Isolation::Snapshot)).unwrap();
    let is_header = |row: &&tenantry_kv::KeyValue| {
        row.key.ends_with(&[0x14]) && row.value.windows(16).any(|part| part == uuid.as_bytes())
    };
    let header = all.rows.iter().find(is_header).unwrap();
    transaction.set(&header.key, &[&header.value[..], &[0x98, 0x06, 1]].concat());
    block_on(transaction.commit()).unwrap();
    let mut attempts = 0;
    block_on(tenant.run(|transaction| {
        attempts += 1;
        async move { transaction.insert("note", &Record::new().with("id", 2)).await }
    }))
    .unwrap();
    assert_eq!(attempts, 2);
    assert!(block_on(tenant.get("note", &PrimaryKey::of(2))).unwrap().is_some());

    // Somebody deletes the tenant: who knew its header does not take it for empty.
    block_on(other.delete_tenant("acme")).unwrap();
    let gone = block_on(tenant.get("note", &PrimaryKey::of(1))).unwrap_err();
    assert_eq!(gone.code(), Code::TenantNotFound);
    assert_eq!(block_on(tenant.insert("note", &note(3))).unwrap_err().code(), Code::TenantNotFound);
}

/// Draws a number twice, then the next, the one behind it and so on.
struct Draws {
    from: u64,
    drawn: AtomicU64,
}

fn draws(from: u64) -> DirectoryLayer {
    DirectoryLayer::new(Arc::new(Draws { from, drawn: AtomicU64::new(0) }))
}

impl Randomness for Draws {
    fn next_u64(&self, _purpose: &'static str) -> u64 {
        self.from + self.drawn.fetch_add(1, Ordering::Relaxed).saturating_sub(1)
    }
}

/// FoundationDB's binding tester found one prefix given to two directories: two tasks that created them in one transaction had drawn the same candidate, and each had looked
/// whether it was free before the other had taken it.
#[test]
fn two_tasks_in_one_transaction_are_given_different_prefixes() {
    let env = manual_env();
    let reference = Arc::new(ReferenceEngine::new(env.clone()));
    let engine = UnreliableEngine::distant(reference, env.timer, 3);
    let transaction = engine.begin().unwrap();
    // The version is written by whoever comes first: it is not what this is about.
    block_on(draws(40).create(&*transaction, &["first"], b"")).unwrap();
    let directories = draws(5);
    let mut tasks = [
        Box::pin(directories.create(&*transaction, &["one"], b"")),
        Box::pin(directories.create(&*transaction, &["two"], b"")),
    ];
    let mut context = Context::from_waker(Waker::noop());
    let mut prefixes: Vec<Option<tenantry_kv::Bytes>> = vec![None, None];
    while prefixes.iter().any(Option::is_none) {
        for (task, prefix) in tasks.iter_mut().zip(&mut prefixes) {
            if prefix.is_none()
                && let Poll::Ready(created) = task.as_mut().poll(&mut context)
            {
                *prefix = Some(created.unwrap().subspace().unwrap().prefix().clone());
            }
        }
    }
    assert_ne!(prefixes[0], prefixes[1]);
}
