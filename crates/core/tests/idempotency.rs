//! Transactions that take effect once for a key of the caller's.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::SCHEMA;
use pollster::block_on;
use tenantry_core::{Code, Database, Error, Idempotent, Result, SchemaDefinition, Tenant};
use tenantry_kv::conformance::reference::{ManualClock, manual_env_with_clock};

const HOUR: Duration = Duration::from_secs(3_600);

fn world() -> (Database, Tenant, Arc<ManualClock>) {
    let (env, clock) = manual_env_with_clock();
    let engine = common::engine::engine(&env);
    let database = block_on(Database::open(engine, env, &common::engine::name("test"))).unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    let tenant = block_on(database.create_tenant("acme", "shop")).unwrap();
    (database, tenant, clock)
}

/// Takes a number of a sequence, once for the key.
fn order(tenant: &Tenant, key: &str, fingerprint: &str) -> Result<Idempotent<i64>> {
    block_on(tenant.run_idempotent(key.as_bytes(), fingerprint.as_bytes(), |transaction| async move {
        transaction.next_in_sequence("order").await
    }))
}

fn value(result: Result<Idempotent<i64>>) -> (i64, bool) {
    let done = result.unwrap();
    (done.value, done.is_repeated)
}

#[test]
fn a_repeat_returns_the_first_result() {
    let (database, tenant, _) = world();
    let other = block_on(database.create_tenant("other", "shop")).unwrap();
    assert_eq!(value(order(&tenant, "a", "one")), (1, false));
    assert_eq!(value(order(&tenant, "b", "one")), (2, false));
    for _ in 0..3 {
        assert_eq!(value(order(&tenant, "a", "one")), (1, true));
    }
    let error = order(&tenant, "a", "another").unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::IdempotencyKeyReused, tenantry_core::Kind::Refused));
    // Another tenant knows nothing of it, nor has a key that begins with another one.
    assert_eq!(value(order(&other, "a", "another")), (1, false));
    assert_eq!(value(order(&tenant, "a\0", "another")), (3, false));
    assert_eq!(value(order(&tenant, "a", "one")), (1, true));
    // A result of another type.
    let text =
        block_on(tenant.run_idempotent(b"a", b"one", |_| async { Ok::<String, Error>(String::new()) }));
    assert_eq!(text.unwrap_err().code(), Code::IdempotencyKeyReused);
}

#[test]
fn a_failed_transaction_is_not_kept() {
    let (database, tenant, _) = world();
    let run = |fails: bool| {
        block_on(tenant.run_idempotent(b"k", b"f", |transaction| async move {
            let number = transaction.next_in_sequence("order").await?;
            match fails {
                true => Err(Error::new(Code::ConditionFailed, "not yet")),
                false => Ok(number),
            }
        }))
    };
    assert_eq!(run(true).unwrap_err().code(), Code::ConditionFailed);
    assert_eq!(value(run(false)), (1, false));
    assert_eq!(value(run(true)), (1, true));
    // One that changes nothing but what is kept of it needs a database that may change.
    block_on(database.set_read_only("a test")).unwrap();
    let result = block_on(tenant.run_idempotent(b"n", b"f", |_| async { Ok::<_, Error>(1i64) }));
    assert_eq!(result.unwrap_err().code(), Code::DatabaseReadOnly);
    assert_eq!(value(order(&tenant, "k", "f")), (1, true));
}

#[test]
fn two_at_a_time_take_effect_once() {
    let (_, tenant, _) = world();
    let runs = AtomicUsize::new(0);
    let done = block_on(tenant.run_idempotent(b"k", b"f", |transaction| {
        let (tenant, runs) = (&tenant, &runs);
        async move {
            transaction.add_to_counter("effects", 1)?;
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                let first = tenant.run_idempotent(b"k", b"f", |transaction| async move {
                    transaction.add_to_counter("effects", 1)?;
                    Ok::<_, Error>("theirs".to_owned())
                });
                assert!(!first.await?.is_repeated);
            }
            Ok::<_, Error>("mine".to_owned())
        }
    }))
    .unwrap();
    assert_eq!((done.value.as_str(), done.is_repeated, runs.load(Ordering::Relaxed)), ("theirs", true, 1));
    let effects = block_on(tenant.read_only(|reader| async move { reader.counter("effects").await }));
    assert_eq!(effects, Ok(1));
}

#[test]
fn results_are_kept_for_their_retention_and_no_longer() {
    let (_, tenant, clock) = world();
    let keep = |key: &'static [u8], retention: Duration| {
        let body = |_| async { Ok::<_, Error>(Bytes::from_static(b"result")) };
        block_on(tenant.run_idempotent_bytes(key, b"f", retention, body)).map(|done| done.is_repeated)
    };
    let remove = || block_on(tenant.remove_expired_idempotency_records()).unwrap();
    assert_eq!(value(order(&tenant, "day", "f")), (1, false));
    assert_eq!(keep(b"hour", HOUR), Ok(false));
    assert_eq!(keep(b"month", 30 * 24 * HOUR), Ok(false));
    clock.advance(HOUR - Duration::from_micros(1));
    assert_eq!((keep(b"hour", HOUR), remove()), (Ok(true), 0));
    clock.advance(Duration::from_micros(1));
    assert_eq!(keep(b"hour", HOUR), Ok(false));
    assert_eq!((keep(b"hour", HOUR), remove()), (Ok(true), 0));
    clock.advance(23 * HOUR - Duration::from_micros(1));
    assert_eq!(value(order(&tenant, "day", "f")), (1, true));
    clock.advance(Duration::from_micros(1));
    // The use of another key removed the hour's by the way, so that the day's alone is left to go.
    assert_eq!(keep(b"new", 30 * 24 * HOUR), Ok(false));
    assert_eq!(remove(), 0);
    // With another fingerprint, even.
    assert_eq!(value(order(&tenant, "day", "other")), (2, false));
    assert_eq!(keep(b"month", HOUR), Ok(true));
    clock.advance(60 * 24 * HOUR);
    assert_eq!((remove(), remove()), (3, 0));
    assert_eq!(keep(b"month", HOUR), Ok(false));
    assert_eq!(keep(b"x", 30 * 24 * HOUR + HOUR).unwrap_err().code(), Code::LimitPassed);
}

#[test]
fn many_expired_ones_are_removed_a_few_at_a_time() {
    let (_, tenant, clock) = world();
    for number in 0..250u32 {
        assert_eq!(value(order(&tenant, &format!("k{number}"), "f")), (i64::from(number) + 1, false));
    }
    clock.advance(48 * HOUR);
    let removed: Vec<usize> =
        (0..4).map(|_| block_on(tenant.remove_expired_idempotency_records()).unwrap()).collect();
    assert_eq!(removed, [100, 100, 50, 0]);
}

#[test]
fn keys_and_results_have_bounds() {
    let (_, tenant, _) = world();
    let run = |key: &[u8], size: usize| {
        let body = |_| async move { Ok::<_, Error>(Bytes::from(vec![7; size])) };
        block_on(tenant.run_idempotent_bytes(key, &[0; 1_000_000], HOUR, body))
            .map(|done| done.value.len())
            .map_err(|error| error.code())
    };
    assert_eq!(run(&[0xff; 255], 90_000), Ok(90_000));
    assert_eq!(run(&[0xff; 255], 1), Ok(90_000));
    assert_eq!(run(&[0; 1], 0), Ok(0));
    assert_eq!(run(&[], 1), Err(Code::LimitPassed));
    assert_eq!(run(&[0; 256], 1), Err(Code::LimitPassed));
    assert_eq!(run(b"large", 90_001), Err(Code::LimitPassed));
    assert_eq!(run(b"large", 5), Ok(5));
}
