//! The engine from outside: what it commits, it keeps, in memory and on disk.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::sync::Arc;

use pollster::block_on;
use tenantry_embedded::{EmbeddedEngine, Settings};
use tenantry_kv::{
    Bytes, DatabaseOption, Engine, ErrorCode, Isolation, MutationType, RangeRequest, TransactionOption,
    TransactionRef, Versionstamp,
};

const SERIALIZABLE: Isolation = Isolation::Serializable;

fn memory() -> EmbeddedEngine {
    EmbeddedEngine::in_memory(Settings::default(), tenantry_env::system()).unwrap()
}

fn get(transaction: &TransactionRef, key: &str) -> Option<Bytes> {
    block_on(transaction.get(key.as_bytes(), SERIALIZABLE)).unwrap()
}

#[test]
fn a_commit_is_seen_by_the_next_transaction_and_not_by_an_older_one() {
    let engine = memory();
    let older = engine.begin().unwrap();
    assert_eq!(get(&older, "a"), None);
    let writer = engine.begin().unwrap();
    writer.set(b"a", b"1");
    writer.atomic(MutationType::Add, b"n", &[7]);
    writer.atomic(MutationType::SetVersionstampedKey, b"s0123456789\x01\0\0\0", b"stamped");
    let stamp = writer.versionstamp();
    block_on(writer.commit()).unwrap();
    let stamp: Versionstamp = block_on(stamp).unwrap();
    assert_eq!(stamp.version(), writer.committed_version().unwrap());
    assert_eq!(get(&older, "a"), None);
    let newer = engine.begin().unwrap();
    assert_eq!(get(&newer, "a").as_deref(), Some(b"1".as_slice()));
    assert_eq!(get(&newer, "n").as_deref(), Some([7].as_slice()));
    let rows = block_on(newer.get_range(&RangeRequest::new("s", "t"), SERIALIZABLE)).unwrap().rows;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].key, [b"s", stamp.as_bytes().as_slice()].concat());
    older.set(b"b", b"2");
    assert_eq!(block_on(older.commit()).unwrap_err().code(), ErrorCode::NOT_COMMITTED);
}

#[test]
fn a_reopened_database_has_everything() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().to_str().unwrap();
    for round in 0..3u32 {
        let engine = EmbeddedEngine::open(path, Settings::default(), tenantry_env::system()).unwrap();
        let transaction = engine.begin().unwrap();
        for earlier in 0..round {
            assert_eq!(get(&transaction, &format!("key {earlier}")).unwrap(), earlier.to_be_bytes()[..]);
        }
        assert_eq!(get(&transaction, "gone"), None);
        transaction.set(format!("key {round}").as_bytes(), &round.to_be_bytes());
        transaction.set(b"gone", b"soon");
        block_on(transaction.commit()).unwrap();
        let transaction = engine.begin().unwrap();
        transaction.clear_range(b"g", b"h");
        block_on(transaction.commit()).unwrap();
        let error = EmbeddedEngine::open(path, Settings::default(), tenantry_env::system()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DATABASE_IN_USE);
        #[allow(clippy::disallowed_methods, reason = "the test is the owner")]
        let owner = std::process::id();
        assert!(error.to_string().contains(&format!("process {owner}")), "{error}");
    }
}

#[test]
fn a_watch_fires_on_a_change_made_elsewhere() {
    let engine = Arc::new(memory());
    let transaction = engine.begin().unwrap();
    let watch = transaction.watch(b"k");
    block_on(transaction.commit()).unwrap();
    assert_eq!(engine.stats().watches, 1);
    let writer = engine.begin().unwrap();
    writer.set(b"k", b"v");
    block_on(writer.commit()).unwrap();
    block_on(watch).unwrap();
    assert_eq!(engine.stats().watches, 0);
}

#[test]
fn threads_that_add_to_one_counter_lose_nothing() {
    let engine = Arc::new(memory());
    let runner = tenantry_kv::runner::Runner::new(engine.clone(), tenantry_env::system(), "slots/");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    block_on(runner.run(|transaction| async move {
                        let count = transaction.get(b"count", SERIALIZABLE).await?;
                        let count =
                            count.map_or(0, |value| u64::from_le_bytes(value.as_ref().try_into().unwrap()));
                        transaction.set(b"count", &(count + 1).to_le_bytes());
                        Ok::<_, tenantry_kv::Error>(())
                    }))
                    .unwrap();
                }
            });
        }
    });
    let transaction = engine.begin().unwrap();
    assert_eq!(get(&transaction, "count").unwrap(), 800u64.to_le_bytes()[..]);
    assert!(engine.stats().conflicts > 0, "the threads met");
}

/// Where FoundationDB leaves open when a mistake is told, this engine tells it at once.
#[test]
fn mistakes_in_options_and_watches_are_told_at_once() {
    let engine = memory();
    let error = engine.set_option(DatabaseOption::MaxWatches(1_000_001)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_OPTION_VALUE);
    let transaction = engine.begin().unwrap();
    for length in [0, 15, 256] {
        let error = transaction.set_option(TransactionOption::IdempotencyId(vec![0; length])).unwrap_err();
        assert_eq!(error.code(), ErrorCode::INVALID_OPTION, "{length}");
    }
    engine.set_option(DatabaseOption::MaxWatches(1)).unwrap();
    let first = transaction.watch(b"k");
    assert_eq!(block_on(transaction.watch(b"l")).unwrap_err().code(), ErrorCode::TOO_MANY_WATCHES);
    // The place is free again once the watch is gone.
    drop(first);
    transaction.reset();
    let transaction = engine.begin().unwrap();
    let mut watch = transaction.watch(b"l");
    block_on(transaction.commit()).unwrap();
    assert!(block_on(std::future::poll_fn(|context| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut watch).poll(context).is_pending())
    })));
}
