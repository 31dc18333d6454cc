//! The binding against a client library that the tests build themselves: no cluster is needed.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test"
)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pollster::block_on;
use tenantry_foundationdb::{CLIENT_THREADS_MAX, ClientOptions, FoundationDbEngine};
use tenantry_kv::{
    DatabaseOption, Engine, Error, ErrorCode, Isolation, RangeRequest, TransactionOption, TransactionRef,
};

/// The library, which `cargo test` builds beside the tests.
fn library() -> String {
    let tests = std::env::current_exe().unwrap();
    let folder: PathBuf = tests.parent().unwrap().parent().unwrap().join("examples");
    folder.join(libloading::library_filename("fake_fdb_c")).to_str().unwrap().to_owned()
}

fn options() -> ClientOptions {
    let mut options = ClientOptions::default();
    options.library_path = Some(library());
    options
}

fn open() -> FoundationDbEngine {
    FoundationDbEngine::open(None, &options(), tenantry_env::system()).unwrap()
}

/// Live futures, transactions and databases; cancelled futures; commits that took effect.
fn counts() -> [i64; 5] {
    // SAFETY: the library is the one built beside the tests, and has this function with this type.
    unsafe {
        let library = libloading::Library::new(library()).unwrap();
        let count: libloading::Symbol<extern "C" fn(i32) -> i64> = library.get(b"fake_count").unwrap();
        std::array::from_fn(|which| count(which as i32))
    }
}

/// How many transactions each network thread has begun.
fn transactions_of_threads(threads: i32) -> Vec<i64> {
    // SAFETY: as in `counts`.
    unsafe {
        let library = libloading::Library::new(library()).unwrap();
        let count: libloading::Symbol<extern "C" fn(i32) -> i64> =
            library.get(b"fake_transactions_of").unwrap();
        (0..threads).map(|thread| count(thread)).collect()
    }
}

fn get(transaction: &TransactionRef, key: &str) -> Result<Option<tenantry_kv::Bytes>, Error> {
    block_on(transaction.get(key.as_bytes(), Isolation::Serializable))
}

/// Waits for what happens on another thread.
fn eventually(mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One test for all: they share the library's counters.
#[test]
fn futures_become_rust_futures() {
    let engine = open();
    let transaction = engine.begin().unwrap();

    // Ready at once: no box, no callback.
    assert!(transaction.get(b"ready", Isolation::Snapshot).is_ready());
    assert_eq!(get(&transaction, "ready").unwrap().unwrap(), "now");
    assert_eq!(get(&transaction, "absent").unwrap(), None);
    assert_eq!(get(&transaction, "late").unwrap().unwrap(), "then");

    // Errors, known ones and those that only the library has words for.
    assert_eq!(get(&transaction, "error 1007").unwrap_err().code(), ErrorCode::TRANSACTION_TOO_OLD);
    let unknown = get(&transaction, "error 1234").unwrap_err();
    assert_eq!((unknown.code().number(), unknown.detail()), (1234, Some("the library's own words")));

    // Every kind of answer.
    assert_eq!(block_on(transaction.read_version()).unwrap(), 7);
    assert_eq!(block_on(transaction.approximate_size_bytes()).unwrap(), 11);
    assert_eq!(block_on(transaction.estimated_range_size_bytes(b"a", b"b")).unwrap(), 13);
    assert_eq!(block_on(transaction.versionstamp()).unwrap().as_bytes(), b"0123456789");
    assert_eq!(block_on(transaction.range_split_points(b"a", b"b", 1)).unwrap(), ["first", "second"]);
    let batch = block_on(transaction.get_range(&RangeRequest::new("a", "b"), Isolation::Snapshot)).unwrap();
    let rows: Vec<_> = batch.rows.iter().map(|row| (row.key.as_ref(), row.value.as_ref())).collect();
    assert_eq!(rows, [(&b"first"[..], &b"one"[..]), (b"second", b"two")]);
    assert!(batch.more);

    // Many at once, from several threads.
    let engine = Arc::new(engine);
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let engine = engine.clone();
            std::thread::spawn(move || {
                let transaction = engine.begin().unwrap();
                let futures: Vec<_> =
                    (0..50).map(|_| transaction.get(b"late", Isolation::Snapshot)).collect();
                for future in futures {
                    assert_eq!(block_on(future).unwrap().unwrap(), "then");
                }
            })
        })
        .collect();
    readers.into_iter().for_each(|reader| reader.join().unwrap());

    // What a transaction's last handle left under way still answers.
    let orphan = engine.begin().unwrap().get(b"late", Isolation::Snapshot);
    assert_eq!(block_on(orphan).unwrap().unwrap(), "then");

    // A read that is dropped is cancelled, whether it was waited for or not.
    let before = counts();
    drop(transaction.get(b"never", Isolation::Snapshot));
    let mut waited_for = Box::pin(transaction.get(b"never", Isolation::Snapshot));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(waited_for.as_mut().poll(&mut context).is_pending());
    drop(waited_for);
    assert_eq!(counts()[3], before[3] + 2);

    // A commit that nobody waits for happens all the same, and what it needs is released afterwards.
    let committing = engine.begin().unwrap();
    drop(committing.commit());
    let mut waited_for = Box::pin(engine.begin().unwrap().commit());
    assert!(waited_for.as_mut().poll(&mut context).is_pending());
    drop(waited_for);
    drop(committing);
    eventually(|| counts()[4] == before[4] + 2);
    assert_eq!(counts()[3], before[3] + 2, "no commit was cancelled");

    // on_error resets what is to be retried, and keeps what was said.
    transaction.set(b"k", b"v");
    assert!(transaction.has_writes());
    let conflict = Error::new(ErrorCode::NOT_COMMITTED, "somebody was faster");
    block_on(transaction.on_error(&conflict)).unwrap();
    assert!(!transaction.has_writes());
    let lasting = Error::new(ErrorCode::KEY_TOO_LARGE, "the key has 10,001 bytes");
    let told = block_on(transaction.on_error(&lasting)).unwrap_err();
    assert_eq!((told.code(), told.detail()), (lasting.code(), lasting.detail()));

    // A watch outlives its transaction.
    let watch = engine.begin().unwrap().watch(b"k");
    block_on(watch).unwrap();

    // Refused options.
    let refused = transaction.set_option(TransactionOption::IdempotencyId(vec![1])).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::INVALID_OPTION);
    let default = DatabaseOption::TransactionDefault(TransactionOption::AccessSystemKeys);
    assert_eq!(engine.set_option(default).unwrap_err().code(), ErrorCode::INVALID_OPTION);
    engine.set_option(DatabaseOption::TransactionDefault(TransactionOption::LockAware)).unwrap();

    // No cluster file, and a path that is none.
    let missing = FoundationDbEngine::open(Some("/missing"), &options(), tenantry_env::system()).unwrap_err();
    assert_eq!(missing.code(), ErrorCode::NO_CLUSTER_FILE);
    assert!(missing.to_string().contains("/missing"), "{missing}");
    let zero = FoundationDbEngine::open(Some("a\0b"), &options(), tenantry_env::system()).unwrap_err();
    assert_eq!(zero.code(), ErrorCode::INVALID_OPTION_VALUE);

    // One set of options a process.
    let mut others = options();
    others.knobs.push("some_knob=1".to_owned());
    let refused = FoundationDbEngine::open(None, &others, tenantry_env::system()).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::INVALID_OPTION);

    // Nothing is left behind.
    drop((transaction, engine));
    eventually(|| counts()[..3] == [0, 0, 0]);

    tenantry_foundationdb::stop_network();
    let stopped = FoundationDbEngine::open(None, &options(), tenantry_env::system()).unwrap_err();
    assert_eq!(stopped.code(), ErrorCode::ENGINE_STOPPED);
}

/// Runs one of the ignored tests below in a process of its own, where the library is loaded afresh.
fn in_a_process(test: &str, variables: &[(&str, &str)]) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn every_start_in_a_process_of_its_own() {
    in_a_process("a_library_that_is_too_old_is_named", &[("FAKE_FDB_API_VERSION", "630")]);
    in_a_process("an_older_library_is_used_at_its_version", &[("FAKE_FDB_API_VERSION", "720")]);
    in_a_process("a_refused_option_is_named_and_may_be_corrected", &[]);
    in_a_process("a_process_that_just_ends_stops_the_network", &[]);
    in_a_process("several_threads_have_handles_of_their_own", &[]);
    in_a_process("threads_that_open_at_once_share_one_start", &[]);
    in_a_process("engines_that_open_at_once_have_all_threads_each", &[]);
    in_a_process("a_handle_that_is_not_connected_gets_no_transactions", &[("FAKE_FDB_DISCONNECTED", "1")]);
    let refused = "a_number_of_threads_that_the_library_refuses_is_named";
    in_a_process(refused, &[("FAKE_FDB_THREADS_MAX", "1")]);
    in_a_process(refused, &[("FAKE_FDB_THREADS_MAX", "0")]);
    in_a_process("threads_that_do_not_start_are_told_once_and_for_all", &[("FAKE_FDB_COPIES_FAIL", "1")]);
}

#[test]
#[ignore = "in a process of its own, started by a test above"]
fn a_library_that_is_too_old_is_named() {
    let error = FoundationDbEngine::open(None, &options(), tenantry_env::system()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::CLIENT_LIBRARY_UNUSABLE);
    assert!(error.to_string().contains("630") && error.to_string().contains("fake_fdb_c"), "{error}");
}

#[test]
#[ignore = "in a process of its own, started by a test above"]
fn an_older_library_is_used_at_its_version() {
    assert_eq!(open().api_version(), 710);
}

#[test]
#[ignore = "in a process of its own, started by a test above"]
fn a_refused_option_is_named_and_may_be_corrected() {
    let mut wrong = options();
    wrong.knobs.push("bad".to_owned());
    let error = FoundationDbEngine::open(None, &wrong, tenantry_env::system()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_OPTION_VALUE);
    assert!(error.to_string().contains("knob"), "{error}");
    assert_eq!(get(&open().begin().unwrap(), "late").unwrap().unwrap(), "then");
}

#[test]
#[ignore = "in a process of its own, started by a test above"]
fn a_process_that_just_ends_stops_the_network() {
    std::mem::forget(open());
}

fn with_threads(threads: u32) -> ClientOptions {
    let mut options = options();
    options.client_threads = threads;
    options
}

fn refusal(options: &ClientOptions) -> Error {
    FoundationDbEngine::open(None, options, tenantry_env::system()).unwrap_err()
}

#[test]
#[ignore = "in a process of its own, started by a test above"]
fn several_threads_have_handles_of_their_own() {
    for threads in [0, CLIENT_THREADS_MAX + 1, u32::MAX] {
        let error = refusal(&with_threads(threads));
        assert_eq!(error.code(), ErrorCode::INVALID_OPTION_VALUE);
        assert!(error.to_string().contains(&threads.to_string()), "{error}");
    }
    let engine = FoundationDbEngine::open(None, &with_threads(3), tenantry_env::system()).unwrap();
    assert_eq!((counts()[2], engine.client_threads()), (3, 3));
    // All handles but the first have asked for a read version.
    assert_eq!(transactions_of_threads(3), [0, 1, 1]);
    for _ in 0..30 {
        assert_eq!(get(&engine.begin().unwrap(), "ready").unwrap().unwrap(), "now");
    }
    assert_eq!(transactions_of_threads(3), [10, 11, 11]);
    // A watch is where its transaction is.
    let watches: Vec<_> = (0..3).map(|_| engine.begin().unwrap().watch(b"k")).collect();
    assert_eq!(transactions_of_threads(3), [11, 12, 12]);
    watches.into_iter().for_each(|watch| block_on(watch).unwrap());

    // The first one decides.
    for threads in [1, 2] {
        let error = refusal(&with_threads(threads));
        assert_eq!(error.code(), ErrorCode::INVALID_OPTION);
        assert!(error.to_string().contains(&format!("3 network threads, not {threads}")), "{error}");
    }
    drop(FoundationDbEngine::open(None, &with_threads(3), tenantry_env::system()).unwrap());
    drop(engine);
    eventually(|| counts()[2] == 0);
}

/// The library gives its threads to handles in turn, whoever opens them: engines that open at a time once had several handles on one thread and none on another.
#[test]
#[ignore = "in a process of its own, started by a test above"]
fn engines_that_open_at_once_have_all_threads_each() {
    let openers: Vec<_> = (0..6)
        .map(|_| {
            std::thread::spawn(|| {
                FoundationDbEngine::open(None, &with_threads(4), tenantry_env::system()).unwrap()
            })
        })
        .collect();
    let engines: Vec<_> = openers.into_iter().map(|opener| opener.join().unwrap()).collect();
    for engine in &engines {
        let before = transactions_of_threads(4);
        (0..4).for_each(|_| drop(engine.begin().unwrap()));
        let begun: Vec<i64> =
            transactions_of_threads(4).iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(begun, [1; 4]);
    }
}

/// A handle that has no read version yet fails what it is asked: it is asked for nothing but that.
#[test]
#[ignore = "in a process of its own, started by a test above"]
fn a_handle_that_is_not_connected_gets_no_transactions() {
    let engine = FoundationDbEngine::open(None, &with_threads(2), tenantry_env::system()).unwrap();
    for _ in 0..10 {
        drop(engine.begin().unwrap());
    }
    let [first, second] = transactions_of_threads(2)[..] else { unreachable!() };
    // Of the other one, the versions that it was asked for, one after the other.
    assert!(first == 10 && (1..=10).contains(&second), "{first} {second}");
    assert_eq!(counts()[1], 1, "what failed is gone");
}

#[test]
#[ignore = "in a process of its own, started by a test above"]
fn a_number_of_threads_that_the_library_refuses_is_named() {
    let error = refusal(&with_threads(2));
    let is_known = std::env::var("FAKE_FDB_THREADS_MAX").unwrap() == "1";
    let code = if is_known { ErrorCode::INVALID_OPTION_VALUE } else { ErrorCode::INVALID_OPTION };
    assert_eq!(error.code(), code);
    assert!(error.to_string().contains("client_threads_per_version"), "{error}");
}

/// The library does not set its network up twice: what it said the first time is what there is to say.
#[test]
#[ignore = "in a process of its own, started by a test above"]
fn threads_that_do_not_start_are_told_once_and_for_all() {
    let mut options = with_threads(2);
    options.temporary_directory = Some("/no/such/folder".to_owned());
    let first = refusal(&options);
    assert_eq!(first.code(), ErrorCode::CLIENT_LIBRARY_UNUSABLE);
    assert!(first.to_string().contains("/no/such/folder"), "{first}");
    for options in [options, with_threads(1)] {
        assert_eq!(refusal(&options).to_string(), first.to_string());
    }
}

#[test]
#[ignore = "in a process of its own, started by a test above"]
fn threads_that_open_at_once_share_one_start() {
    let openers: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| assert_eq!(get(&open().begin().unwrap(), "late").unwrap().unwrap(), "then"))
        })
        .collect();
    openers.into_iter().for_each(|opener| opener.join().unwrap());
}
