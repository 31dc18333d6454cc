//! Power cuts, failed syncs and full disks: nothing that was acknowledged is lost.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::panic, reason = "a test")]

mod simulated;

use std::time::Duration;

use pollster::block_on;
use simulated::{Model, SimulatedStorage, commit, env, everything, open, settings, split_mix, submit};
use tenantry_embedded::{Durability, EmbeddedEngine, Stepper};
use tenantry_kv::{Engine, ErrorCode, Isolation};

/// What the store holds has to be what the transactions up to some number left, and no acknowledged one may be missing.
fn check(engine: &EmbeddedEngine, seed: u64, acknowledged: u64) -> u64 {
    check_state(everything(engine).unwrap(), seed, acknowledged)
}

fn check_state(mut found: Model, seed: u64, acknowledged: u64) -> u64 {
    let reached = found.number();
    let count = found
        .0
        .remove(b"count".as_slice())
        .map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()));
    assert_eq!(count, reached, "seed {seed}: transactions missing in the middle, or applied twice");
    assert!(reached >= acknowledged, "seed {seed}: {acknowledged} acknowledged, {reached} found");
    let mut expected = Model::default();
    (1..=reached).for_each(|number| expected.step(number, seed));
    let differing: Vec<String> = found
        .0
        .keys()
        .chain(expected.0.keys())
        .filter(|key| found.0.get(*key) != expected.0.get(*key))
        .take(12)
        .map(|key| {
            let shown = |model: &Model| model.0.get(key).map(|value| (value.len(), value.first().copied()));
            format!("{}: found {:?}, expected {:?}", key.escape_ascii(), shown(&found), shown(&expected))
        })
        .collect();
    assert!(
        differing.is_empty(),
        "seed {seed}: the state is not that after transaction {reached}: {differing:#?}"
    );
    reached
}

#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    let (mut cuts, mut recovered_unknown) = (0, 0);
    for seed in 0..40u64 {
        let mut random = seed;
        let mut storage = SimulatedStorage::default();
        let (mut acknowledged, mut number) = (0, 0);
        for _life in 0..5 {
            let end = split_mix(&mut random) % 900;
            {
                let mut disk = storage.disk();
                disk.power_ends_at = Some(disk.writes + end);
            }
            // One life in four with the engine's own threads; the others go through the same steps without waiting for a thread's turn.
            let is_threaded = split_mix(&mut random).is_multiple_of(4);
            let opened = match is_threaded {
                true => open(&storage).map(|engine| (engine, None)),
                false => EmbeddedEngine::open_stepped("simulated", settings(), env(&storage))
                    .map(|(engine, stepper)| (engine, Some(stepper))),
            };
            if let Ok((engine, mut stepper)) = opened {
                number = check_powered(&engine, seed, acknowledged).unwrap_or(number);
                for next in number + 1..number + 400 {
                    let committed = submit(&engine, next, seed).and_then(|committing| {
                        if let Some(stepper) = &mut stepper {
                            stepper.step_committer();
                            if next.is_multiple_of(8) {
                                stepper.step_keeper();
                            }
                        }
                        block_on(committing)
                    });
                    match committed {
                        Ok(()) => acknowledged = next,
                        Err(error) => {
                            assert!(
                                error.may_have_committed() || error.code() == ErrorCode::ENGINE_STOPPED,
                                "seed {seed}: {error:?}"
                            );
                            break;
                        }
                    }
                }
                stepper.into_iter().for_each(Stepper::finish);
                engine.close();
            }
            cuts += 1;
            storage = storage.crash(&mut random);
            // With power, everything has to be there.
            let engine = open(&storage).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            number = check(&engine, seed, acknowledged);
            recovered_unknown += u64::from(number > acknowledged);
            acknowledged = number;
            if split_mix(&mut random).is_multiple_of(2) {
                engine.close();
            } else {
                // And once more without a clean end.
                drop(engine);
                storage = storage.crash(&mut random);
            }
        }
    }
    println!("{cuts} power cuts, {recovered_unknown} with a transaction of unknown outcome recovered");
    assert!(cuts == 200 && recovered_unknown > 0);
}

/// Relaxed durability may lose the last transactions, but only the last, and none that a sync covered.
#[test]
fn power_cuts_under_relaxed_durability_lose_only_the_end() {
    let mut relaxed = settings();
    relaxed.durability = Durability::Relaxed { interval: Duration::from_millis(2) };
    let (mut lost, mut kept) = (0, 0);
    for seed in 100..130u64 {
        let mut random = seed;
        let mut storage = SimulatedStorage::default();
        let (mut synced, mut number) = (0, 0);
        for _life in 0..4 {
            let engine = EmbeddedEngine::open("simulated", relaxed.clone(), env(&storage))
                .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            let end = 20 + split_mix(&mut random) % 900;
            {
                let mut disk = storage.disk();
                disk.power_ends_at = Some(disk.writes + end);
            }
            let mut told = number;
            for next in number + 1..number + 300 {
                if commit(&engine, next, seed).is_err() {
                    break;
                }
                told = next;
                if split_mix(&mut random).is_multiple_of(20) && block_on(engine.sync()).is_ok() {
                    synced = next;
                }
            }
            engine.close();
            drop(engine);
            storage = storage.crash(&mut random);
            let engine = open(&storage).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            number = check(&engine, seed, synced);
            lost += told.saturating_sub(number);
            kept += number;
            synced = number;
            engine.close();
        }
    }
    println!("{lost} acknowledged transactions were lost at the end, {kept} kept");
    assert!(lost > 0 && kept > 0, "a control: without a sync for each, some are lost");
}

/// As [`check`], unless the power goes first.
fn check_powered(engine: &EmbeddedEngine, seed: u64, acknowledged: u64) -> Option<u64> {
    Some(check_state(everything(engine).ok()?, seed, acknowledged))
}

#[test]
fn a_failed_sync_stops_the_engine_and_is_never_tried_again() {
    for seed in 0..20u64 {
        let storage = SimulatedStorage::default();
        let engine = open(&storage).unwrap();
        let mut random = seed;
        {
            let mut disk = storage.disk();
            disk.sync_fails_at = Some(disk.syncs + 1 + split_mix(&mut random) % 40);
        }
        let mut acknowledged = 0;
        let mut error = None;
        for number in 1..300 {
            match commit(&engine, number, seed) {
                Ok(()) => acknowledged = number,
                Err(found) => {
                    error = Some(found);
                    break;
                }
            }
        }
        let error = error.expect("a sync failed");
        assert!(error.may_have_committed() || error.code() == ErrorCode::ENGINE_STOPPED, "{error:?}");
        let later = commit(&engine, 1_000, seed).unwrap_err();
        assert!(matches!(later.code(), ErrorCode::ENGINE_STOPPED | ErrorCode::IO_ERROR), "{later:?}");
        engine.close();
        drop(engine);
        let storage = storage.crash(&mut random);
        check(&open(&storage).unwrap(), seed, acknowledged);
    }
}

#[test]
fn a_full_disk_refuses_writes_and_reads_go_on() {
    let storage = SimulatedStorage::default();
    let mut settings = settings();
    settings.free_space_reserve_bytes = 256 << 10;
    storage.disk().size_bytes_max = Some(3 << 20);
    let engine = EmbeddedEngine::open("simulated", settings.clone(), env(&storage)).unwrap();
    let mut number = 0;
    let error = loop {
        let transaction = engine.begin().unwrap();
        transaction.set(format!("key{number:06}").as_bytes(), &[7; 2_000]);
        match block_on(transaction.commit()) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 10_000, "three megabytes hold twenty");
    };
    assert_eq!(error.code(), ErrorCode::DISK_FULL, "{error:?}");
    let read =
        |key: &str| block_on(engine.begin().unwrap().get(key.as_bytes(), Isolation::Serializable)).unwrap();
    assert_eq!(read("key000000").unwrap(), vec![7; 2_000]);
    assert!(read(&format!("key{:06}", number - 1)).is_some());
    assert!(engine.stats().disk_full > 0);
    // Room again: writes go on.
    storage.disk().size_bytes_max = Some(64 << 20);
    let mut is_written = false;
    for _ in 0..200 {
        block_on(engine.tick()).unwrap();
        let transaction = engine.begin().unwrap();
        transaction.set(b"after", b"room");
        match block_on(transaction.commit()) {
            Ok(()) => {
                is_written = true;
                break;
            }
            Err(error) => assert_eq!(error.code(), ErrorCode::DISK_FULL),
        }
        block_on(tenantry_env::system().timer.sleep(Duration::from_millis(20))).unwrap();
    }
    assert!(is_written, "writes are still refused with room on the disk");
    engine.close();
    drop(engine);
    let engine = EmbeddedEngine::open("simulated", settings, env(&storage)).unwrap();
    let count = everything(&engine).unwrap().0.len();
    assert_eq!(count, number + 1);
}

/// A process was killed when its last record, and the mark behind it, were in the operating system's memory alone. The next one read them, began a new
/// segment behind them, and lost power: the disk had the new segment and not what it went on from, and the database could not be opened any more.
#[test]
fn what_a_recovery_has_read_survives_a_power_cut_behind_it() {
    for seed in 0..30u64 {
        let mut random = seed;
        let storage = SimulatedStorage::default();
        let (engine, mut stepper) =
            EmbeddedEngine::open_stepped("simulated", settings(), env(&storage)).unwrap();
        let transaction = engine.begin().unwrap();
        transaction.set(b"key", &[7; 3_000]);
        let commit = transaction.commit();
        stepper.step_committer();
        block_on(commit).unwrap();
        // Killed: nothing more is written, and nothing is lost of what was.
        drop((engine, stepper, transaction));
        let reopened = EmbeddedEngine::open_stepped("simulated", settings(), env(&storage)).unwrap();
        let storage = storage.crash(&mut random);
        drop(reopened);
        let engine = open(&storage).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let transaction = engine.begin().unwrap();
        let value = block_on(transaction.get(b"key", Isolation::Serializable)).unwrap();
        assert_eq!(value.as_deref(), Some(&[7; 3_000][..]), "seed {seed}");
    }
}

/// With relaxed durability the map took what the log had not brought to disk; a power cut then left a map that was ahead of its log, and the database could not be opened.
#[test]
fn the_map_is_never_ahead_of_a_relaxed_log() {
    let mut relaxed = settings();
    relaxed.durability = Durability::Relaxed { interval: Duration::from_secs(60) };
    for seed in 0..20u64 {
        let mut random = seed;
        let storage = SimulatedStorage::default();
        let (engine, mut stepper) =
            EmbeddedEngine::open_stepped("simulated", relaxed.clone(), env(&storage)).unwrap();
        // More than the window holds, so that the map is asked to take it.
        for number in 1..1_000 + seed {
            let committing = submit(&engine, number, seed).unwrap();
            // A writer that has to wait for the map lets the log be synced first: otherwise both would wait.
            for _ in 0..10 {
                stepper.step_committer();
                if number.is_multiple_of(20) || stepper.has_work() {
                    stepper.step_keeper();
                }
            }
            assert!(!stepper.has_work(), "seed {seed}: transaction {number} waits for ever");
            block_on(committing).unwrap();
        }
        assert!(engine.stats().early_evictions > 0);
        let storage = storage.crash(&mut random);
        drop((engine, stepper));
        let engine = open(&storage).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        check(&engine, seed, 0);
        engine.close();
    }
}
