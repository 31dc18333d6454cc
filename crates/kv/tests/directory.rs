//! The directory layer: byte for byte what FoundationDB's bindings write, and its rules.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pollster::block_on;
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_kv::directory::DirectoryLayer;
use tenantry_kv::env::Randomness;
use tenantry_kv::{Engine, ErrorCode, Isolation, RangeRequest, Subspace, TransactionRef};

/// 0, 1, 2, ...
#[derive(Default)]
struct Counting(AtomicU64);

impl Randomness for Counting {
    fn next_u64(&self, _purpose: &'static str) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

fn start() -> (ReferenceEngine, DirectoryLayer) {
    (ReferenceEngine::new(manual_env()), DirectoryLayer::new(Arc::new(Counting::default())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn stored(transaction: &TransactionRef) -> String {
    let request = RangeRequest::new("", b"\xff".as_slice());
    let batch = block_on(transaction.get_range(&request, Isolation::Snapshot)).unwrap();
    assert!(!batch.more);
    batch.rows.iter().fold(String::new(), |mut text, row| {
        writeln!(text, "{} {}", hex(&row.key), hex(&row.value)).unwrap();
        text
    })
}

/// `data/directory_keys.txt` is what the Python binding of FoundationDB 7.3.79 leaves behind for these very steps, its random numbers being counted up.
#[test]
fn the_keys_are_those_of_foundationdbs_bindings() {
    let (engine, directories) = start();
    let transaction = engine.begin().unwrap();
    block_on(async {
        directories.create_or_open(&*transaction, &["tenantry", "main"], b"tenantry").await?;
        for index in 0..40 {
            directories.create(&*transaction, &["many", &index.to_string()], b"").await?;
        }
        directories.create(&*transaction, &["part"], b"partition").await?;
        directories.create(&*transaction, &["part", "in", "side"], b"x").await?;
        directories.move_to(&*transaction, &["many", "7"], &["moved"]).await?;
        assert!(directories.remove(&*transaction, &["many", "8"]).await?);
        assert!(!directories.remove(&*transaction, &["many", "8"]).await?);
        directories.move_to(&*transaction, &["part", "in", "side"], &["part", "up"]).await?;
        assert_eq!(directories.list(&*transaction, &["part"]).await?, ["in", "up"]);
        Ok::<_, tenantry_kv::Error>(())
    })
    .unwrap();
    assert_eq!(stored(&transaction), include_str!("data/directory_keys.txt"));
}

#[test]
fn what_is_not_possible_is_refused_by_name() {
    let (engine, directories) = start();
    let transaction = engine.begin().unwrap();
    block_on(async {
        let directory = directories.create(&*transaction, &["a", "b"], b"layer").await.unwrap();
        directories.create(&*transaction, &["p"], b"partition").await.unwrap();
        let code = |result: tenantry_kv::Result<_>| {
            result.map(|_: tenantry_kv::directory::Directory| ()).unwrap_err().code()
        };
        assert_eq!(
            code(directories.create(&*transaction, &["a", "b"], b"").await),
            ErrorCode::DIRECTORY_EXISTS
        );
        assert_eq!(
            code(directories.open(&*transaction, &["a", "c"], b"").await),
            ErrorCode::DIRECTORY_NOT_FOUND
        );
        assert_eq!(
            code(directories.open(&*transaction, &["a", "b"], b"other").await),
            ErrorCode::DIRECTORY_LAYER_MISMATCH
        );
        assert_eq!(code(directories.open(&*transaction, &[], b"").await), ErrorCode::DIRECTORY_INVALID);
        assert_eq!(
            code(directories.create(&*transaction, &["x"; 65], b"").await),
            ErrorCode::DIRECTORY_INVALID
        );
        let long = "x".repeat(2_000);
        assert_eq!(
            code(directories.create(&*transaction, &[&long], b"").await),
            ErrorCode::DIRECTORY_INVALID
        );
        let into_itself = directories.move_to(&*transaction, &["a"], &["a", "b", "c"]).await;
        assert_eq!(code(into_itself), ErrorCode::DIRECTORY_INVALID);
        let onto = directories.move_to(&*transaction, &["a", "b"], &["a"]).await;
        assert_eq!(code(onto), ErrorCode::DIRECTORY_EXISTS);
        let nowhere = directories.move_to(&*transaction, &["a", "b"], &["no", "where"]).await;
        assert_eq!(code(nowhere), ErrorCode::DIRECTORY_NOT_FOUND);
        let other_partition = directories.move_to(&*transaction, &["a", "b"], &["p", "b"]).await;
        assert_eq!(code(other_partition), ErrorCode::DIRECTORY_INVALID);
        let manual = directories.create_with_prefix(&*transaction, &["m"], b"", "mine".into()).await;
        assert_eq!(code(manual), ErrorCode::DIRECTORY_INVALID);
        assert!(directories.open(&*transaction, &["p"], b"").await.unwrap().subspace().is_err());
        assert!(directories.remove(&*transaction, &[]).await.is_err());

        let manual = directories.clone().with_manual_prefixes();
        let own = manual.create_with_prefix(&*transaction, &["m"], b"", "mine".into()).await.unwrap();
        assert_eq!(&own.subspace().unwrap().prefix()[..], b"mine");
        for taken in ["mine", "mi", "mine2"] {
            let again = manual.create_with_prefix(&*transaction, &["n"], b"", taken.into()).await;
            assert_eq!(code(again), ErrorCode::DIRECTORY_INVALID, "{taken}");
        }

        // FoundationDB's binding tester: a chosen prefix was put behind that of the layer's contents, where the bindings take it as it is.
        let contents = Subspace::new(b"contents".as_slice());
        let elsewhere =
            DirectoryLayer::at(Subspace::new(b"nodes".as_slice()), contents, Arc::new(Counting::default()));
        let elsewhere = elsewhere.with_manual_prefixes();
        let own = elsewhere.create_with_prefix(&*transaction, &["m"], b"", "outside".into()).await.unwrap();
        assert_eq!(&own.subspace().unwrap().prefix()[..], b"outside");
        let none = elsewhere.create_with_prefix(&*transaction, &["n"], b"", "".into()).await;
        assert_eq!(code(none), ErrorCode::DIRECTORY_INVALID);

        let key = directory.subspace().unwrap().pack(&[1.into()]).unwrap();
        transaction.set(&key, b"data");
        assert!(directories.remove(&*transaction, &["a"]).await.unwrap());
        assert_eq!(transaction.get(&key, Isolation::Snapshot).await.unwrap(), None);
        assert!(!directories.exists(&*transaction, &["a", "b"]).await.unwrap());
    });
}

#[test]
fn directories_of_a_newer_layer_are_left_alone() {
    let (engine, directories) = start();
    let transaction = engine.begin().unwrap();
    block_on(directories.create(&*transaction, &["a"], b"")).unwrap();
    let version = b"\xfe\x01\xfe\x00\x01version\x00";
    transaction.set(version, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let error = block_on(directories.open(&*transaction, &["a"], b"")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DIRECTORY_VERSION);
}

/// Many transactions take prefixes at the same time: no two get the same, and few conflict.
#[test]
fn prefixes_are_taken_side_by_side() {
    let engine = ReferenceEngine::new(manual_env());
    let directories = DirectoryLayer::new(manual_env().randomness);
    let mut prefixes = std::collections::BTreeSet::new();
    let (mut created, mut conflicts) = (0, 0);
    block_on(directories.create(&*engine.begin().unwrap(), &["first"], b"")).unwrap();
    for round in 0..40 {
        let transactions: Vec<TransactionRef> = (0..5).map(|_| engine.begin().unwrap()).collect();
        let mut opened = Vec::new();
        for (index, transaction) in transactions.iter().enumerate() {
            // The root's own entries differ, so only the allocator can make them conflict.
            let name = format!("{round}-{index}");
            opened.push(block_on(directories.create(&**transaction, &[&name], b"")).unwrap());
        }
        for (transaction, directory) in transactions.iter().zip(opened) {
            match block_on(transaction.commit()) {
                Ok(()) => {
                    created += 1;
                    assert!(prefixes.insert(directory.subspace().unwrap().prefix().clone()), "{directory:?}");
                }
                Err(error) => {
                    assert_eq!(error.code(), ErrorCode::NOT_COMMITTED);
                    conflicts += 1;
                }
            }
        }
    }
    assert!(created > 150 && conflicts < 50, "{created} created, {conflicts} conflicts");
}
