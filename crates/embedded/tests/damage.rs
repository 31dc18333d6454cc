//! Damage to what was on disk: named, or harmless, and never read as good data. What no read meets, the scrub finds.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::panic, reason = "a test")]

mod simulated;

use pollster::block_on;
use simulated::{Model, SimulatedStorage, commit, env, everything, open, settings, split_mix};
use tenantry_embedded::EmbeddedEngine;
use tenantry_kv::{Engine, ErrorCode, Isolation};

/// The state after so many transactions.
fn state(transactions: u64, seed: u64) -> Model {
    let mut expected = Model::default();
    (1..=transactions).for_each(|number| expected.step(number, seed));
    expected
}

/// Changes bytes of a file on disk.
fn change(storage: &SimulatedStorage, name: &str, change: impl FnOnce(&mut [u8])) {
    let mut disk = storage.disk();
    let inode = disk.names[name];
    let inode = &mut disk.inodes[inode];
    change(&mut inode.current);
    inode.durable = inode.current.clone();
}

#[test]
fn a_flipped_bit_is_named_or_harmless() {
    let seed = 7;
    let storage = SimulatedStorage::default();
    let engine = open(&storage).unwrap();
    (1..=300).for_each(|number| commit(&engine, number, seed).unwrap());
    engine.close();
    drop(engine);
    let names: Vec<String> = storage.disk().names.keys().cloned().collect();
    let mut random = 1;
    let (mut named, mut harmless) = (0, 0);
    for name in &names {
        for _ in 0..25 {
            let damaged = storage.crash(&mut random);
            {
                let mut disk = damaged.disk();
                let inode = disk.names[name];
                let length = disk.inodes[inode].current.len();
                if length == 0 {
                    continue;
                }
                let at = split_mix(&mut random) as usize % length;
                let bit = 1 << (split_mix(&mut random) % 8);
                disk.inodes[inode].current[at] ^= bit;
                disk.inodes[inode].durable[at] ^= bit;
            }
            let read = open(&damaged).and_then(|engine| {
                let found = everything(&engine);
                engine.close();
                found
            });
            match read {
                Ok(mut found) => {
                    found.0.remove(b"count".as_slice());
                    assert!(found == state(300, seed), "a bit flipped in {name} was read as good data");
                    harmless += 1;
                }
                Err(error) => {
                    let kind = error.code();
                    assert!(
                        matches!(
                            kind,
                            ErrorCode::STORAGE_CORRUPT
                                | ErrorCode::FORMAT_UNSUPPORTED
                                | ErrorCode::CHECKSUM_FAILED
                        ),
                        "{name}: {error:?}"
                    );
                    assert!(error.detail().is_some_and(|detail| !detail.is_empty()), "{error:?}");
                    named += 1;
                }
            }
        }
    }
    println!("of {} bits flipped in {names:?}, {named} were named and {harmless} harmless", named + harmless);
    assert!(named > 10);
}

/// A database of some thousand rows in one table, and the table's name.
fn with_table() -> (SimulatedStorage, String) {
    let storage = SimulatedStorage::default();
    let engine = open(&storage).unwrap();
    let transaction = engine.begin().unwrap();
    for number in 0..4_000 {
        transaction.set(format!("key{number:06}").as_bytes(), &[7; 50]);
    }
    block_on(transaction.commit()).unwrap();
    engine.close();
    let tables: Vec<String> =
        storage.disk().names.keys().filter(|name| name.starts_with("table-")).cloned().collect();
    assert_eq!(tables.len(), 1, "{tables:?}");
    (storage, tables[0].clone())
}

/// Nobody reads the last rows: what happens to them on the disk is told by a scrub, with the file and the byte, and by nothing else.
#[test]
fn a_scrub_finds_what_no_read_meets() {
    const BLOCK: usize = 4 << 10;
    let (storage, table) = with_table();
    let inode = storage.disk().names[&table];
    let length = storage_size(&storage, inode);
    // A flipped bit, zeros, a block that was written to the wrong place, and one that is still what it was before.
    type Damage = fn(&mut [u8], usize);
    let damages: [(&str, Damage); 4] = [
        ("a flipped bit", |bytes, at| bytes[at + 100] ^= 4),
        ("zeros", |bytes, at| bytes[at..at + 512].fill(0)),
        ("a block of another place", |bytes, at| bytes.copy_within(0..BLOCK, at)),
        ("a stale block", |bytes, at| bytes[at..at + BLOCK].copy_from_slice(&[0x5a; BLOCK])),
    ];
    for (what, damage) in damages {
        let damaged = storage.crash(&mut 1);
        change(&damaged, &table, |bytes| damage(bytes, length / 2 / BLOCK * BLOCK));
        let engine = open(&damaged).unwrap();
        for number in 0..500 {
            let key = format!("key{number:06}");
            let value = block_on(engine.begin().unwrap().get(key.as_bytes(), Isolation::Snapshot)).unwrap();
            assert_eq!(value.as_deref(), Some(&[7; 50][..]), "{what}");
        }
        let error = engine.scrub().unwrap_err();
        assert_eq!(error.code(), ErrorCode::STORAGE_CORRUPT, "{what}");
        let detail = error.detail().unwrap();
        assert!(detail.contains(&table) && detail.contains("byte"), "{what}: {detail}");
        engine.close();
    }
    let engine = open(&storage).unwrap();
    assert_eq!(engine.scrub().unwrap(), 4_000);
}

/// A table of an earlier state under the name of a later one: its blocks are whole, and it is not what the manifest says.
#[test]
fn a_scrub_finds_a_table_of_another_time() {
    let (first, first_table) = with_table();
    let storage = SimulatedStorage::default();
    let engine = open(&storage).unwrap();
    for round in 0..2 {
        let transaction = engine.begin().unwrap();
        for number in 0..4_000 {
            transaction.set(format!("key{number:06}").as_bytes(), &[round; 50]);
        }
        block_on(transaction.commit()).unwrap();
    }
    engine.close();
    let inode = first.disk().names[&first_table];
    let stale = first.disk().inodes[inode].current.clone();
    let names: Vec<String> =
        storage.disk().names.keys().filter(|name| name.starts_with("table-")).cloned().collect();
    for name in names.iter().filter(|name| **name != first_table) {
        let damaged = storage.crash(&mut 1);
        change(&damaged, name, |bytes| {
            let length = stale.len().min(bytes.len());
            bytes[..length].copy_from_slice(&stale[..length]);
        });
        let found = open(&damaged).and_then(|engine| {
            let found = engine.scrub();
            engine.close();
            found
        });
        assert_eq!(found.unwrap_err().code(), ErrorCode::STORAGE_CORRUPT, "{name}");
    }
}

/// On a full disk a clean end leaves in the log what the map has no room for. A sector of zeros at the end of that looked like a write that a crash had cut short,
/// and what had been acknowledged was gone without a word: seed 1030524 of the simulator's profile media.
#[test]
fn the_end_of_a_log_that_the_map_does_not_hold_is_told() {
    let storage = SimulatedStorage::default();
    let mut settings = settings();
    settings.log_segment_size_bytes = 64 << 10;
    let (engine, mut stepper) = EmbeddedEngine::open_stepped("simulated", settings, env(&storage)).unwrap();
    let transactions = 12;
    for number in 1..=transactions {
        let committing = {
            let transaction = engine.begin().unwrap();
            transaction.set(b"number", &u64::to_le_bytes(number));
            transaction.commit()
        };
        stepper.step_committer();
        block_on(committing).unwrap();
    }
    // Full: the map is not written.
    let inodes: Vec<usize> = storage.disk().names.values().copied().collect();
    let used: usize = inodes.into_iter().map(|inode| storage_size(&storage, inode)).sum();
    storage.disk().size_bytes_max = Some(used);
    stepper.step_keeper();
    stepper.finish();
    drop(engine);
    storage.disk().size_bytes_max = None;
    let whole = open(&storage.crash(&mut 1)).map(|engine| last(&engine)).unwrap();
    assert_eq!(whole, transactions);
    let (mut told, mut harmless) = (0, 0);
    let logs: Vec<(String, usize)> = storage
        .disk()
        .names
        .iter()
        .filter(|(name, _)| name.starts_with("log-0"))
        .map(|(name, inode)| (name.clone(), *inode))
        .collect();
    for (name, inode) in logs {
        for at in (0..storage_size(&storage, inode)).step_by(512) {
            let damaged = storage.crash(&mut 1);
            change(&damaged, &name, |bytes| bytes[at..at + 512].fill(0));
            match open(&damaged) {
                Ok(engine) => {
                    assert_eq!(last(&engine), transactions, "zeros at byte {at} of {name}");
                    harmless += 1;
                }
                Err(error) => {
                    assert_eq!(error.code(), ErrorCode::STORAGE_CORRUPT);
                    told += 1;
                }
            }
        }
    }
    println!("{told} told, {harmless} harmless");
    assert!(told >= 2 && harmless > 50, "{told} {harmless}");
}

fn storage_size(storage: &SimulatedStorage, inode: usize) -> usize {
    storage.disk().inodes[inode].current.len()
}

fn last(engine: &EmbeddedEngine) -> u64 {
    let value = block_on(engine.begin().unwrap().get(b"number", Isolation::Snapshot)).unwrap();
    u64::from_le_bytes(value.unwrap()[..].try_into().unwrap())
}
