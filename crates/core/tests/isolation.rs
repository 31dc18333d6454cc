//! What a tenant holds is its own: tokens, keys of requests and errors are worth nothing to another one, nor to its own successor.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;

use common::{item, note};
use pollster::block_on;
use tenantry_core::{Code, Copier, CopyPhase, Database, Error, PrimaryKey, Query, SchemaDefinition, Tenant};
use tenantry_kv::Engine;
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_kv::env::Env;

fn query() -> Query {
    Query::of("note").filter("id >= 0").rows_max(2)
}

fn fill(tenant: &Tenant) {
    for id in 0..5 {
        block_on(tenant.put("note", &note(id, "text"))).unwrap();
    }
}

fn token(tenant: &Tenant) -> String {
    block_on(tenant.query(&query())).unwrap().next.unwrap()
}

fn open(engine: &Arc<dyn Engine>, env: &Env, name: &str) -> Database {
    block_on(Database::open(engine.clone(), env.clone(), name)).unwrap()
}

/// A database with a filled tenant, moved; the moved one, and the tenant before.
fn moved() -> (Database, Tenant) {
    let env = manual_env();
    let engine: Arc<dyn Engine> = Arc::new(ReferenceEngine::new(env.clone()));
    let source = open(&engine, &env, "before");
    block_on(source.apply_schema(&SchemaDefinition::from_toml(common::SCHEMA).unwrap())).unwrap();
    let tenant = block_on(source.create_tenant("acme", "shop")).unwrap();
    fill(&tenant);
    (open_moved(&source, &engine, &env), tenant)
}

fn open_moved(source: &Database, engine: &Arc<dyn Engine>, env: &Env) -> Database {
    block_on(async {
        source.set_read_only("").await?;
        let mut copier = Copier::begin(source, engine.clone(), env.clone(), "after").await?;
        while copier.step().await? != CopyPhase::Done {}
        Ok::<_, Error>(())
    })
    .unwrap();
    open(engine, env, "after")
}

#[test]
fn a_token_is_worth_nothing_to_another_tenant_and_the_error_names_none() {
    let database = common::database();
    let tenants =
        ["acme", "acme corp", "b"].map(|name| block_on(database.create_tenant(name, "shop")).unwrap());
    tenants.iter().for_each(fill);
    let tokens = [0, 1].map(|place: usize| token(&tenants[place]));
    let errors = tokens.map(|token| block_on(tenants[2].query(&query().after(token))).unwrap_err());
    for error in &errors {
        assert_eq!(error.code(), Code::TokenOfAnotherTenant);
        assert!(!error.to_string().contains("acme"), "{error}");
        assert!(!error.to_string().contains(&tenants[0].info().uuid.to_string()), "{error}");
    }
    assert_eq!(errors[0].to_string(), errors[1].to_string());
    // Nor does it tell whether the other one is still there.
    let token = token(&tenants[0]);
    let before = block_on(tenants[2].query(&query().after(token.clone()))).unwrap_err();
    block_on(database.delete_tenant("acme")).unwrap();
    let after = block_on(tenants[2].query(&query().after(token))).unwrap_err();
    assert_eq!(before.to_string(), after.to_string());
}

#[test]
fn a_token_does_not_outlive_its_tenant() {
    let database = common::database();
    let first = block_on(database.create_tenant("acme", "shop")).unwrap();
    fill(&first);
    let token = token(&first);
    block_on(database.delete_tenant("acme")).unwrap();
    let second = block_on(database.create_tenant("acme", "shop")).unwrap();
    fill(&second);
    let error = block_on(second.query(&query().after(token))).unwrap_err();
    assert_eq!(error.code(), Code::TokenOfAnotherTenant);
    // The handle of the one that is gone opens nothing of the one that has its name.
    assert_eq!(block_on(first.get("note", &PrimaryKey::of(1))).unwrap_err().code(), Code::TenantNotFound);
    assert_eq!(block_on(first.put("note", &note(9, "late"))).unwrap_err().code(), Code::TenantNotFound);
    assert_eq!(block_on(second.query(&query())).unwrap().records.len(), 2);
}

#[test]
fn a_token_is_good_for_one_incarnation() {
    let (after, tenant) = moved();
    let token = token(&tenant);
    let moved = block_on(after.tenant("acme")).unwrap();
    assert_eq!(moved.info().uuid, tenant.info().uuid);
    let error = block_on(moved.query(&query().after(token.clone()))).unwrap_err();
    assert_eq!(error.code(), Code::TokenExpired);
    assert_eq!(block_on(tenant.query(&query().after(token))).unwrap().records.len(), 2);
}

#[test]
fn a_request_is_repeated_in_its_tenant_and_wherever_that_moves_and_nowhere_else() {
    let env = manual_env();
    let engine: Arc<dyn Engine> = Arc::new(ReferenceEngine::new(env.clone()));
    let database = open(&engine, &env, "before");
    block_on(database.apply_schema(&SchemaDefinition::from_toml(common::SCHEMA).unwrap())).unwrap();
    let count = |tenant: &Tenant| {
        block_on(tenant.run_idempotent(b"order 7", b"the same", |transaction| async move {
            transaction.next_in_sequence("orders").await
        }))
        .map(|done| (done.value, done.is_repeated))
        .map_err(|error: Error| error.code())
    };
    let [acme, other] = ["acme", "other"].map(|name| block_on(database.create_tenant(name, "shop")).unwrap());
    assert_eq!(count(&acme), Ok((1, false)));
    assert_eq!(count(&acme), Ok((1, true)));
    assert_eq!(count(&other), Ok((1, false)));
    // Another request under the key is refused in the tenant that has it, and there alone.
    let differs = |tenant: &Tenant| {
        let done = tenant.run_idempotent(b"order 8", b"another", |_| async move { Ok::<_, Error>(0) });
        block_on(done).map(|done| done.is_repeated).map_err(|error| error.code())
    };
    let first = acme.run_idempotent(b"order 8", b"the first", |_| async move { Ok::<_, Error>(0) });
    block_on(first).unwrap();
    assert_eq!(differs(&acme), Err(Code::IdempotencyKeyReused));
    assert_eq!(differs(&other), Ok(false));
    // What it did moves with the tenant, so it is not done again there; a new tenant of the name has done nothing.
    let after = open_moved(&database, &engine, &env);
    assert_eq!(count(&block_on(after.tenant("acme")).unwrap()), Ok((1, true)));
    block_on(after.delete_tenant("acme")).unwrap();
    assert_eq!(count(&block_on(after.create_tenant("acme", "shop")).unwrap()), Ok((1, false)));
}

/// What a transaction conflicted on is told in words, and nobody is handed the bytes of a key.
#[test]
fn an_error_holds_no_key_of_the_engine() {
    use tenantry_kv::EngineError;
    let database = common::database();
    let tenant = block_on(database.create_tenant("acme", "shop")).unwrap();
    block_on(tenant.put("item", &item("eu", 1, "first"))).unwrap();
    let mut options = tenantry_core::RunOptions::default();
    options.retries_max = 0;
    let other = tenant.clone();
    let error = block_on(tenant.run_with(&options, |transaction| {
        let other = other.clone();
        async move {
            transaction.get("item", &common_key()).await?;
            other.put("item", &item("eu", 1, "second")).await?;
            transaction.put("item", &item("eu", 2, "third")).await
        }
    }))
    .unwrap_err();
    let engine = error.engine_error().unwrap();
    assert!(engine.conflicts().is_empty(), "{:?}", engine.conflicts());
    assert!(error.to_string().contains("the record \"item\" [\"eu\", 1]"), "{error}");
}

fn common_key() -> PrimaryKey {
    PrimaryKey { values: vec!["eu".into(), 1.into()] }
}
