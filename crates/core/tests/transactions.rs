//! The pieces of a transaction: read-only handles, options, hooks, what a conflict was about, what is left of the limits.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{item, note, tenant};
use pollster::block_on;
use tenantry_core::{Code, Error, PrimaryKey, Priority, Query, RawRange, Result, RunOptions, Tenant};
use tenantry_kv::ErrorCode;

fn key(number: i64) -> PrimaryKey {
    PrimaryKey { values: vec!["eu".into(), number.into()] }
}

#[test]
fn a_reader_reads_one_moment() {
    let tenant = tenant();
    block_on(tenant.insert("item", &item("eu", 1, "a"))).unwrap();
    block_on(tenant.run(|transaction| async move {
        transaction.raw_set(b"k", b"v")?;
        transaction.add_to_counter("c", 3)
    }))
    .unwrap();
    block_on(tenant.read_only(|reader| {
        let tenant = &tenant;
        async move {
            let version = reader.read_version().await?;
            tenant.put("item", &item("eu", 1, "b")).await?;
            let found = reader.get("item", &key(1)).await?.unwrap();
            assert_eq!(found.get("title"), Some(&"a".into()));
            assert_eq!(reader.get_many("item", &[key(1), key(2)]).await?, [Some(found), None]);
            assert!(reader.exists("item", &key(1)).await? && !reader.exists("item", &key(2)).await?);
            assert_eq!(reader.query(&Query::of("item").filter("title == \"a\"")).await?.records.len(), 1);
            assert_eq!(reader.counter("c").await?, 3);
            assert_eq!(reader.raw_get(b"k").await?.as_deref(), Some(&b"v"[..]));
            assert_eq!(reader.raw_range(&RawRange::all()).await?.rows.len(), 1);
            assert_eq!((reader.read_version().await?, reader.schema().version), (version, 1));
            Ok::<_, Error>(())
        }
    }))
    .unwrap();
}

#[test]
fn hooks_run_around_the_commit_of_the_last_attempt() {
    let tenant = tenant();
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let attempts = AtomicUsize::new(0);
    let completed = block_on(tenant.run_completed(|transaction| {
        let (tenant, attempts, log) = (&tenant, &attempts, log.clone());
        async move {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            let note_of = |what: &str| {
                let (log, what) = (log.clone(), format!("{what} {attempt}"));
                move || log.lock().unwrap().push(what)
            };
            let (before, later, after) = (note_of("before"), note_of("later"), note_of("after"));
            transaction.before_commit(move |transaction| async move {
                before();
                transaction.raw_set(b"by a hook", b"v")?;
                transaction.before_commit(move |_| async move {
                    later();
                    Ok(())
                })
            })?;
            let log = log.clone();
            transaction.after_commit(move |version| {
                after();
                log.lock().unwrap().push(format!("version {}", version.unwrap()));
            })?;
            transaction.get("note", &PrimaryKey::of(1)).await?;
            if attempt == 0 {
                tenant.put("note", &note(1, "theirs")).await?;
            }
            transaction.put("note", &note(1, "mine")).await
        }
    }))
    .unwrap();
    let expected = ["before 0", "later 0", "before 1", "later 1", "after 1"];
    let version = format!("version {}", completed.version.unwrap());
    assert_eq!(*log.lock().unwrap(), [&expected[..], &[&version[..]]].concat());
    let found = block_on(tenant.read_only(|reader| async move { reader.raw_get(b"by a hook").await }));
    assert_eq!(found.unwrap().as_deref(), Some(&b"v"[..]));
}

#[test]
fn a_hook_that_fails_ends_the_transaction_and_none_runs_after_it() {
    let tenant = tenant();
    let ran = Arc::new(AtomicUsize::new(0));
    let result: Result<()> = block_on(tenant.run(|transaction| {
        let ran = ran.clone();
        async move {
            transaction.raw_set(b"k", b"v")?;
            transaction.before_commit(|_| async {
                Err(Error::new(Code::ConditionFailed, "the hook's own reason"))
            })?;
            // It holds the transaction that holds it.
            let held = transaction.clone();
            transaction.after_commit(move |_| {
                let _ = &held;
                ran.fetch_add(1, Ordering::Relaxed);
            })
        }
    }));
    assert_eq!((result.unwrap_err().code(), ran.load(Ordering::Relaxed)), (Code::ConditionFailed, 0));
    assert_eq!(Arc::strong_count(&ran), 1, "the hooks are gone");
    assert_eq!(block_on(tenant.read_only(|reader| async move { reader.raw_get(b"k").await })), Ok(None));
    // Without writes there is no version; a hook that asks for hooks without end meets the limit.
    let seen = Arc::new(Mutex::new(Some(7)));
    block_on(tenant.run(|transaction| {
        let seen = seen.clone();
        async move { transaction.after_commit(move |version| *seen.lock().unwrap() = version) }
    }))
    .unwrap();
    assert_eq!(*seen.lock().unwrap(), None);
    let endless: Result<()> = block_on(tenant.run(|transaction| async move {
        for _ in 0..101 {
            transaction.before_commit(|_| async { Ok(()) })?;
        }
        Ok(())
    }));
    assert_eq!(endless.unwrap_err().code(), Code::LimitPassed);
}

fn options(retries_max: u32) -> RunOptions {
    let mut options = RunOptions::default();
    options.retries_max = retries_max;
    options
}

#[test]
fn options_out_of_bounds_are_refused_and_others_run() {
    let tenant = tenant();
    let run = |change: fn(&mut RunOptions)| {
        let mut options = RunOptions::default();
        change(&mut options);
        let tenant = &tenant;
        block_on(async {
            tenant.run_with(&options, |transaction| async move { transaction.raw_set(b"k", b"v") }).await
        })
        .map(|completed| completed.attempts)
    };
    let bad: [fn(&mut RunOptions); 5] = [
        |options| options.deadline = Duration::ZERO,
        |options| options.deadline = Duration::from_secs(3_601),
        |options| options.tags = vec!["t".to_owned(); 6],
        |options| options.tags = vec![String::new()],
        |options| options.tags = vec!["t".repeat(256)],
    ];
    for change in bad {
        assert_eq!(run(change).map_err(|error: Error| error.code()), Err(Code::LimitPassed));
    }
    let good: [fn(&mut RunOptions); 4] = [
        |options| options.priority = Priority::Batch,
        |options| options.priority = Priority::Immediate,
        |options| options.tags = vec!["a".to_owned(), "b".to_owned()],
        |options| options.deadline = Duration::from_secs(3_600),
    ];
    for change in good {
        assert_eq!(run(change), Ok(1));
    }
}

/// Runs a transaction whose reads another one writes into, until its retries are used up; the error.
fn conflicted<Fut>(tenant: &Tenant, retries: u32, disturb: impl Fn(u32) -> Fut, what: &str) -> Error
where
    Fut: Future<Output = Result<()>>,
{
    let attempts = AtomicUsize::new(0);
    let disturb = &disturb;
    let result: Result<_> = block_on(tenant.run_with(&options(retries), |transaction| {
        let attempt = attempts.fetch_add(1, Ordering::Relaxed) as u32;
        async move {
            match what {
                "record" => transaction.get("item", &key(7)).await.map(|_| ()),
                "query" => {
                    let query = Query::of("item").filter("title.startsWith(\"t\")");
                    transaction.query(&query).await.map(|_| ())
                }
                "raw" => transaction.raw_get(b"k\xff").await.map(|_| ()),
                "counter" => transaction.counter("c").await.map(|_| ()),
                _ => transaction.next_in_sequence("s").await.map(|_| ()),
            }?;
            disturb(attempt).await?;
            transaction.raw_set(b"written", b"v")
        }
    }));
    assert_eq!(attempts.load(Ordering::Relaxed), retries as usize + 1);
    result.unwrap_err()
}

#[test]
fn the_last_conflict_is_told_in_words() {
    let tenant = tenant();
    let tenant = &tenant;
    for (what, expected) in [
        ("record", "the record \"item\" [\"eu\", 7]"),
        ("query", "the index \"by_title\" of \"item\""),
        ("raw", "the raw key \"k\\\\xff\""),
        ("counter", "the counter \"c\""),
        ("sequence", "the sequence \"s\""),
    ] {
        for retries in [0, 2] {
            let disturb = |attempt: u32| async move {
                tenant
                    .run(|transaction| async move {
                        transaction.put("item", &item("eu", 7, &format!("t {what} {attempt}"))).await?;
                        transaction.raw_set(b"k\xff", &attempt.to_le_bytes())?;
                        transaction.add_to_counter("c", 1)?;
                        transaction.next_in_sequence("s").await.map(|_| ())
                    })
                    .await
            };
            let error = conflicted(tenant, retries, disturb, what);
            assert_eq!(error.number(), ErrorCode::RETRY_BUDGET_EXHAUSTED.number());
            let text = error.to_string();
            assert!(text.contains("1020") && text.contains("it conflicted on "), "{what}: {text}");
            assert!(text.contains(expected), "{what}: {text}");
        }
    }
}

#[test]
fn what_is_left_of_the_limits_is_told_before_they_are_passed() {
    let tenant = tenant();
    block_on(tenant.run(|transaction| async move {
        assert_eq!((transaction.size_bytes(), transaction.size_bytes_left()), (0, 9_000_000));
        assert_eq!(transaction.changes_left(), 50_000);
        let mut count = 0;
        let needed = {
            transaction.raw_set(&[0], &[7; 100_000])?;
            transaction.size_bytes()
        };
        while transaction.size_bytes_left() >= needed {
            count += 1;
            transaction.raw_set(&[count], &[7; 100_000])?;
        }
        assert_eq!(transaction.size_bytes() + transaction.size_bytes_left(), 9_000_000);
        assert_eq!(transaction.changes_left(), 50_000 - 1 - usize::from(count));
        let refused = transaction.raw_set(&[255], &[7; 100_000]);
        assert_eq!(refused.unwrap_err().code(), Code::LimitPassed);
        Ok::<_, Error>(())
    }))
    .unwrap();
}
