//! The engine on a live cluster: everything that the embedded engine passes.
//!
//! These tests run when TENANTRY_TEST_FDB_CLUSTER_FILE names a cluster file, and say so when they do not. **They erase everything in that cluster.**
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test"
)]

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pollster::block_on;
use tenantry_foundationdb::{ClientOptions, FoundationDbEngine};
use tenantry_kv::conformance::random::{self, Tally};
use tenantry_kv::conformance::{Subject, rules};
use tenantry_kv::runner::Runner;
use tenantry_kv::{
    Engine, Error, ErrorCode, Isolation, MutationType, RangeRequest, StreamingMode, TransactionOption,
};

const CLUSTER_FILE: &str = "TENANTRY_TEST_FDB_CLUSTER_FILE";
const LIBRARY: &str = "TENANTRY_FDB_LIBRARY";
/// In percent, how often the client library misbehaves at the places where it can.
const BUGGIFY: &str = "TENANTRY_TEST_FDB_BUGGIFY";

/// How many network threads the client library has.
const THREADS: &str = "TENANTRY_TEST_FDB_THREADS";

/// The tests of this file use the whole cluster, one after the other.
static TURN: Mutex<()> = Mutex::new(());

/// The cluster file and this test's turn; `None`, said plainly, where there is no cluster.
fn cluster(test: &str) -> Option<(String, MutexGuard<'static, ()>)> {
    match std::env::var(CLUSTER_FILE) {
        Ok(path) => Some((path, TURN.lock().unwrap_or_else(PoisonError::into_inner))),
        Err(_) => {
            // Past the test harness, which keeps what a passing test prints to itself.
            let _ = writeln!(std::io::stderr(), "{test} did not run: {CLUSTER_FILE} names no cluster file");
            None
        }
    }
}

fn options() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.library_path = std::env::var(LIBRARY).ok();
    if let Ok(threads) = std::env::var(THREADS) {
        options.client_threads = threads.parse().unwrap();
    }
    // Misbehaviour is switched on for all tests of the process if it is for one: a process has one set of options.
    if let Ok(percent) = std::env::var(BUGGIFY) {
        let percent = percent.parse().unwrap();
        options.buggify_percent = Some((100, percent));
    }
    options
}

fn open(cluster_file: &str) -> FoundationDbEngine {
    FoundationDbEngine::open(Some(cluster_file), &options(), tenantry_env::system()).unwrap()
}

/// Like [`cluster`], for a test that tries nothing again, and so cannot pass where the client library misbehaves.
fn well_behaved_cluster(test: &str) -> Option<(String, MutexGuard<'static, ()>)> {
    if std::env::var(BUGGIFY).is_ok() {
        let _ = writeln!(std::io::stderr(), "{test} did not run: {BUGGIFY} is set");
        return None;
    }
    cluster(test)
}

/// An engine on an empty, unlocked cluster.
fn emptied(cluster_file: &str) -> FoundationDbEngine {
    let engine = open(cluster_file);
    let transaction = engine.begin().unwrap();
    block_on(async {
        loop {
            transaction.set_option(TransactionOption::AccessSystemKeys).unwrap();
            transaction.set_option(TransactionOption::LockAware).unwrap();
            transaction.clear(b"\xff/dbLocked");
            transaction.clear_range(b"", b"\xff");
            match transaction.commit().await {
                Ok(()) => break,
                Err(error) => transaction.on_error(&error).await.unwrap(),
            }
        }
    });
    engine
}

#[derive(Debug)]
struct Live(FoundationDbEngine);

impl Subject for Live {
    fn engine(&self) -> &dyn Engine {
        &self.0
    }

    fn make_too_old(&self) -> bool {
        std::thread::sleep(Duration::from_millis(7_000));
        true
    }
}

/// A cluster whose versions do not become too old while it is looked at: five seconds pass in no other way than by waiting.
#[derive(Debug)]
struct Unaged(FoundationDbEngine);

impl Subject for Unaged {
    fn engine(&self) -> &dyn Engine {
        &self.0
    }

    fn is_client_library(&self) -> bool {
        true
    }
}

#[test]
fn every_rule_is_kept() {
    let Some((cluster_file, _turn)) = well_behaved_cluster("every_rule_is_kept") else { return };
    let failures = block_on(rules::run(&|| Box::new(Live(emptied(&cluster_file)))));
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The same random transactions, interleaved, on the cluster and on the reference engine: every answer, conflict and outcome is the same.
#[test]
fn random_transactions_agree_with_the_reference() {
    let Some((cluster_file, _turn)) = well_behaved_cluster("random_transactions_agree_with_the_reference")
    else {
        return;
    };
    let mut tally = Tally::default();
    let seeds: u64 = std::env::var("TENANTRY_TEST_FDB_SEEDS").map_or(200, |text| text.parse().unwrap());
    for seed in 0..seeds {
        match block_on(random::run(&Unaged(emptied(&cluster_file)), seed, 400)) {
            Ok(run) => tally.add(run),
            Err(difference) => panic!("{difference}"),
        }
    }
    println!("{tally:?}");
    assert!(tally.conflicts > 0 && tally.unreadable > 0, "{tally:?}");
}

#[test]
fn the_cluster_says_what_it_is() {
    let Some((cluster_file, _turn)) = cluster("the_cluster_says_what_it_is") else { return };
    let report = block_on(open(&cluster_file).report()).unwrap();
    println!("{report:#?}");
    assert!(report.is_available && !report.is_locked && report.processes > 0);
    assert!(!report.server_versions.is_empty() && !report.client_version.is_empty());
    assert!([710, 730].contains(&report.api_version));
}

/// A range is read to its end in whatever batches come, forwards and backwards.
#[test]
fn a_range_of_many_batches_is_read_whole() {
    let Some((cluster_file, _turn)) = well_behaved_cluster("a_range_of_many_batches_is_read_whole") else {
        return;
    };
    let engine = emptied(&cluster_file);
    block_on(async {
        for begin in (0..20_000u32).step_by(2_000) {
            let transaction = engine.begin().unwrap();
            for number in begin..begin + 2_000 {
                transaction.set(&number.to_be_bytes(), &[7; 100]);
            }
            transaction.commit().await.unwrap();
        }
        let transaction = engine.begin().unwrap();
        for reverse in [false, true] {
            for mode in
                [StreamingMode::WantAll, StreamingMode::Iterator { iteration: 1 }, StreamingMode::Serial]
            {
                let mut next = Some(RangeRequest::new("", "\u{7f}").mode(mode).reverse(reverse));
                let (mut keys, mut batches) = (Vec::new(), 0);
                while let Some(request) = next {
                    let batch = transaction.get_range(&request, Isolation::Snapshot).await.unwrap();
                    keys.extend(
                        batch.rows.iter().map(|row| u32::from_be_bytes(row.key[..].try_into().unwrap())),
                    );
                    next = request.after(&batch);
                    batches += 1;
                }
                if reverse {
                    keys.reverse();
                }
                assert!(keys.into_iter().eq(0..20_000));
                assert!(batches > 1);
            }
        }
    });
}

/// Ten thousand increments by eight threads, by an operation that tells nothing when it is applied twice. With TENANTRY_TEST_FDB_BUGGIFY the client library
/// answers "unknown" to commits of both kinds.
#[test]
fn every_increment_counts_once() {
    let Some((cluster_file, _turn)) = cluster("every_increment_counts_once") else { return };
    let engine = Arc::new(emptied(&cluster_file));
    let attempts = Arc::new(AtomicU64::new(0));
    let runner = Runner::new(engine.clone(), tenantry_env::system(), "slots/");
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (runner, attempts) = (runner.clone(), attempts.clone());
            std::thread::spawn(move || {
                for _ in 0..1_250 {
                    let completed = block_on(runner.run_completed(|transaction| async move {
                        transaction.atomic(MutationType::Add, b"counter", &1u64.to_le_bytes());
                        Ok::<_, Error>(())
                    }))
                    .unwrap();
                    attempts.fetch_add(u64::from(completed.attempts), Ordering::Relaxed);
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let transaction = engine.begin().unwrap();
    let counted = loop {
        match block_on(transaction.get(b"counter", Isolation::Snapshot)) {
            Ok(value) => break u64::from_le_bytes(value.unwrap()[..].try_into().unwrap()),
            Err(error) => block_on(transaction.on_error(&error)).unwrap(),
        }
    };
    println!("10,000 increments in {} attempts", attempts.load(Ordering::Relaxed));
    assert_eq!(counted, 10_000);
}

#[test]
fn a_watch_fires() {
    let Some((cluster_file, _turn)) = well_behaved_cluster("a_watch_fires") else { return };
    let engine = emptied(&cluster_file);
    block_on(async {
        let transaction = engine.begin().unwrap();
        let watch = transaction.watch(b"watched");
        transaction.commit().await.unwrap();
        let writer = engine.begin().unwrap();
        writer.set(b"watched", b"changed");
        writer.commit().await.unwrap();
        drop((transaction, writer));
        watch.await.unwrap();
    });
}

/// A commit through one handle is in every read version that another one is given afterwards, and wakes its watches.
#[test]
fn what_one_handle_commits_the_others_see() {
    let Some((cluster_file, _turn)) = well_behaved_cluster("what_one_handle_commits_the_others_see") else {
        return;
    };
    let engine = emptied(&cluster_file);
    let threads = engine.client_threads();
    block_on(async {
        // Until every handle is connected.
        for _ in 0..200 {
            let transaction = engine.begin().unwrap();
            while let Err(error) = transaction.read_version().await {
                transaction.on_error(&error).await.unwrap();
            }
        }
        // The number of transactions in a round has nothing in common with that of the handles: each meets each.
        for round in 0..500u32 {
            let watching = engine.begin().unwrap();
            let watch = (round % 10 == 0).then(|| watching.watch(b"k"));
            watching.commit().await.unwrap();
            let writer = engine.begin().unwrap();
            writer.set(b"k", &round.to_be_bytes());
            writer.commit().await.unwrap();
            let committed = writer.committed_version().unwrap();
            for _ in 0..=threads {
                let reader = engine.begin().unwrap();
                let seen = reader.get(b"k", Isolation::Serializable).await.unwrap();
                assert_eq!(seen.as_deref(), Some(&round.to_be_bytes()[..]));
                assert!(reader.read_version().await.unwrap() >= committed);
                if threads % 2 == 1 {
                    drop(engine.begin().unwrap());
                }
            }
            if let Some(watch) = watch {
                watch.await.unwrap();
            }
        }
    });
}

/// All of this file again in a process whose client library has two network threads: it cannot be given another number in this one.
#[test]
fn everything_holds_with_two_threads() {
    if std::env::var(THREADS).is_ok() {
        return;
    }
    let Some((_, _turn)) = cluster("everything_holds_with_two_threads") else { return };
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--test-threads=1", "--nocapture"])
        .env(THREADS, "2")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A cluster file that names a place where nobody listens: the transaction fails within its time, typed.
#[test]
fn a_dead_cluster_is_unavailable_within_the_deadline() {
    let Some((_, _turn)) = cluster("a_dead_cluster_is_unavailable_within_the_deadline") else { return };
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("fdb.cluster");
    std::fs::write(&path, "nobody:there@127.0.0.1:1").unwrap();
    let engine = open(path.to_str().unwrap());
    let started = Instant::now();
    let transaction = engine.begin().unwrap();
    transaction.set_option(TransactionOption::TimeoutMs(500)).unwrap();
    let error = block_on(transaction.get(b"k", Isolation::Serializable)).unwrap_err();
    assert_eq!(
        (error.code(), error.kind()),
        (ErrorCode::TRANSACTION_TIMED_OUT, tenantry_kv::ErrorKind::Unavailable)
    );
    assert!(started.elapsed() < Duration::from_secs(20));
}
