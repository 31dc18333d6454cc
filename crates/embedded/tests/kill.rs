//! A process that is killed under load, again and again: every acknowledged transaction is whole afterwards, and no other is there by half.
//!
//! More rounds, over a million records that are there before, in release; and fewer, with the log as long as it gets:
//!
//! ```sh
//! TENANTRY_KILL_ROUNDS=200 TENANTRY_KILL_RECORDS=1000000 cargo test --release -p tenantry-embedded --test kill -- --nocapture
//! TENANTRY_KILL_ROUNDS=20 TENANTRY_KILL_RECORDS=1000000 TENANTRY_KILL_ACKNOWLEDGED=20000 cargo test --release -p tenantry-embedded --test kill -- --nocapture
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that runs its own process again"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use pollster::block_on;
use tenantry_embedded::{EmbeddedEngine, Settings};
use tenantry_kv::{Engine, Isolation, MutationType, RangeRequest};

/// Where the child finds its database. Only a process that has this is a child.
const CHILD_PATH: &str = "TENANTRY_KILL_TEST_PATH";
const ROUNDS: &str = "TENANTRY_KILL_ROUNDS";
const RECORDS: &str = "TENANTRY_KILL_RECORDS";
/// After how many acknowledgements a round ends at the latest.
const ACKNOWLEDGED: &str = "TENANTRY_KILL_ACKNOWLEDGED";
/// Whether this round has the settings that an application has.
const USUAL_SETTINGS: &str = "TENANTRY_KILL_TEST_USUAL_SETTINGS";
const WRITERS: u64 = 4;
const KEYS_PER_TRANSACTION: u8 = 5;

fn settings(are_usual: bool) -> Settings {
    let mut settings = Settings::default();
    settings.free_space_reserve_bytes = 0;
    if !are_usual {
        // Small enough that the log changes files and the map is written in every round.
        settings.log_segment_size_bytes = 256 << 10;
        settings.log_size_bytes_max = 512 << 10;
    }
    settings
}

fn open(path: &str, settings_are_usual: bool) -> EmbeddedEngine {
    EmbeddedEngine::open(path, settings(settings_are_usual), tenantry_env::system()).unwrap()
}

fn key(writer: u64, number: u64, part: u8) -> Vec<u8> {
    format!("t/{writer}/{number:08}/{part}").into_bytes()
}

/// The child: writes and tells until it is killed.
#[test]
#[ignore = "the killed process itself, started by the test below"]
fn killed_process() {
    let Ok(path) = std::env::var(CHILD_PATH) else { return };
    let engine = Arc::new(open(&path, std::env::var(USUAL_SETTINGS).is_ok()));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let engine = engine.clone();
            std::thread::spawn(move || {
                let last = format!("last/{writer}");
                let mut number = block_on(engine.begin().unwrap().get(last.as_bytes(), Isolation::Snapshot))
                    .unwrap()
                    .map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()));
                loop {
                    number += 1;
                    let transaction = engine.begin().unwrap();
                    for part in 0..KEYS_PER_TRANSACTION {
                        transaction
                            .set(&key(writer, number, part), &vec![part; 200 + (number % 7) as usize * 100]);
                    }
                    transaction.set(last.as_bytes(), &number.to_le_bytes());
                    transaction.atomic(MutationType::Add, b"committed", &1u64.to_le_bytes());
                    if number.is_multiple_of(50) {
                        // Old ones go, so that clears are recovered too.
                        transaction.clear_range(&key(writer, number - 49, 0), &key(writer, number - 40, 0));
                    }
                    block_on(transaction.commit()).unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "acknowledged {writer} {number}").unwrap();
                    out.flush().unwrap();
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| drop(writer.join()));
}

#[test]
fn what_was_acknowledged_survives_twenty_kills() {
    let setting = |name: &str, usual: u64| std::env::var(name).map_or(usual, |text| text.parse().unwrap());
    let rounds = u32::try_from(setting(ROUNDS, 20)).unwrap();
    let acknowledged_max = setting(ACKNOWLEDGED, 200);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db").to_str().unwrap().to_owned();
    fill(&path, setting(RECORDS, 0));
    let randomness = tenantry_env::system().randomness;
    let mut acknowledged: BTreeMap<u64, u64> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let settings_are_usual = round % 2 == 1;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed_process", "--ignored", "--nocapture"])
            .env(CHILD_PATH, &path)
            .envs(settings_are_usual.then_some((USUAL_SETTINGS, "1")))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        // Killed as soon as so many were acknowledged, in the middle of others.
        let kill_at = 1 + randomness.next_u64("kill") % acknowledged_max;
        let mut told = 0;
        for line in lines.lines().map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            // The last line may be cut by the kill: what was not told whole was not acknowledged.
            if let ["acknowledged", writer, number] = words[..]
                && let (Ok(writer), Ok(number)) = (writer.parse(), number.parse())
            {
                acknowledged.insert(writer, number);
                told += 1;
                if told == kill_at {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        let opening = std::time::Instant::now();
        let engine = open(&path, settings_are_usual);
        longest = longest.max(opening.elapsed());
        check(&engine, &acknowledged, round);
    }
    assert!(acknowledged.values().sum::<u64>() > u64::from(rounds), "{acknowledged:?}");
    println!(
        "{rounds} kills; acknowledged by writer: {acknowledged:?}; the longest recovery took {longest:?}"
    );
}

/// Records that are there before, so that there is something to recover.
fn fill(path: &str, records: u64) {
    let engine = open(path, true);
    for begin in (0..records).step_by(5_000) {
        let transaction = engine.begin().unwrap();
        for number in begin..(begin + 5_000).min(records) {
            transaction.set(format!("before/{number:012}").as_bytes(), &[7; 100]);
        }
        block_on(transaction.commit()).unwrap();
    }
}

fn check(engine: &EmbeddedEngine, acknowledged: &BTreeMap<u64, u64>, round: u32) {
    let transaction = engine.begin().unwrap();
    let read = |key: &[u8]| block_on(transaction.get(key, Isolation::Snapshot)).unwrap();
    let number = |key: &[u8]| read(key).map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()));
    let mut total = 0;
    for writer in 0..WRITERS {
        let last = number(format!("last/{writer}").as_bytes());
        let told = acknowledged.get(&writer).copied().unwrap_or(0);
        assert!(last >= told, "round {round}: writer {writer} was told {told}, the database ends at {last}");
        // At most one transaction was under way in each round; the number is where it got to.
        assert!(last <= told + u64::from(round) + 1, "round {round}: {last} after {told}");
        total += last;
        let mut parts: BTreeMap<u64, u8> = BTreeMap::new();
        let begin = format!("t/{writer}/");
        let end = format!("t/{writer}0");
        let mut next = Some(RangeRequest::new(begin, end));
        while let Some(request) = next {
            let batch = block_on(transaction.get_range(&request, Isolation::Snapshot)).unwrap();
            for row in &batch.rows {
                let text = std::str::from_utf8(&row.key).unwrap();
                let words: Vec<&str> = text.split('/').collect();
                let (number, part): (u64, u8) = (words[2].parse().unwrap(), words[3].parse().unwrap());
                assert_eq!(row.value, vec![part; 200 + (number % 7) as usize * 100], "{text}");
                *parts.entry(number).or_default() += 1;
            }
            next = request.after(&batch);
        }
        for number in 1..=last {
            let is_cleared = number % 50 != 0 && (number - 1) % 50 < 9 && last >= (number - 1) / 50 * 50 + 50;
            let expected = if is_cleared { None } else { Some(&KEYS_PER_TRANSACTION) };
            assert_eq!(
                parts.get(&number),
                expected,
                "round {round}: transaction {number} of writer {writer}"
            );
        }
        assert_eq!(parts.range(last + 1..).next(), None, "round {round}: half a transaction behind the last");
    }
    assert_eq!(number(b"committed"), total, "round {round}");
}

/// A second process is told who has the database.
#[test]
fn a_second_process_is_told_the_owner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db").to_str().unwrap().to_owned();
    let engine = open(&path, false);
    let refused = EmbeddedEngine::open(&path, settings(false), tenantry_env::system()).unwrap_err();
    assert_eq!(refused.code(), tenantry_kv::ErrorCode::DATABASE_IN_USE);
    assert!(refused.detail().unwrap().contains(&std::process::id().to_string()), "{refused}");
    engine.close();
    drop(engine);
    drop(open(&path, false));
}
