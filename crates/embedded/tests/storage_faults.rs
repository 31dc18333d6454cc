//! A disk that loses power, tears writes, forgets renames, fills up, fails to sync and flips bits.
//!
//! The disk is in memory. What was written and not synced is kept apart; at a power cut any part of it may have reached the disk, in 512-byte sectors, in
//! any order. Names behave the same: until their directory is synced, files made, renamed and removed may be as before.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pollster::block_on;
use tenantry_embedded::{Durability, EmbeddedEngine, Settings};
use tenantry_kv::env::{Directory, Env, File, LockGuard, Storage};
use tenantry_kv::{Engine, Error, ErrorCode, Isolation, MutationType, RangeRequest, Result};

const SECTOR_BYTES: usize = 512;

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A file: what is certainly on disk, and what was done to it since.
#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// Writes and lengths since the last sync.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Default)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync of the directory, in their order. A rename is one change: file systems with a journal keep both sides or none.
    pending_names: Vec<Vec<(String, Option<usize>)>>,
    is_locked: bool,
    writes: u64,
    syncs: u64,
    /// Everything fails from this write on: the power is gone.
    power_ends_at: Option<u64>,
    /// This sync fails, once.
    sync_fails_at: Option<u64>,
    /// How many bytes fit.
    size_bytes_max: Option<usize>,
}

#[derive(Clone, Default)]
struct SimulatedStorage(Arc<Mutex<Disk>>);

fn lost() -> Error {
    Error::new(ErrorCode::IO_ERROR, "the power is gone")
}

impl SimulatedStorage {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// What the disk holds after a power cut now.
    fn crash(&self, seed: &mut u64) -> SimulatedStorage {
        let disk = self.disk();
        let mut names = disk.durable_names.clone();
        // A journalled file system: the changes of names reach the disk in their order, up to some point.
        let survive = split_mix(seed) as usize % (disk.pending_names.len() + 1);
        for (name, inode) in disk.pending_names[..survive].iter().flatten() {
            match inode {
                Some(inode) => names.insert(name.clone(), *inode),
                None => names.remove(name),
            };
        }
        let mut inodes = Vec::new();
        for inode in &disk.inodes {
            let mut bytes = inode.durable.clone();
            for change in &inode.pending {
                match change {
                    Change::Length(length) if split_mix(seed).is_multiple_of(2) => bytes.resize(*length, 0),
                    Change::Length(_) => {}
                    Change::Write(offset, data) => {
                        for (index, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                            if split_mix(seed).is_multiple_of(2) {
                                let at = offset + index * SECTOR_BYTES;
                                if bytes.len() < at + sector.len() {
                                    bytes.resize(at + sector.len(), 0);
                                }
                                bytes[at..at + sector.len()].copy_from_slice(sector);
                            }
                        }
                    }
                }
            }
            inodes.push(Inode { durable: bytes.clone(), current: bytes, pending: Vec::new() });
        }
        let next = Disk { inodes, names: names.clone(), durable_names: names, ..Disk::default() };
        SimulatedStorage(Arc::new(Mutex::new(next)))
    }
}

impl Disk {
    fn check_power(&self) -> Result<()> {
        match self.power_ends_at.is_some_and(|end| self.writes >= end) {
            true => Err(lost()),
            false => Ok(()),
        }
    }

    fn write(&mut self) -> Result<()> {
        self.writes += 1;
        self.check_power()
    }

    fn change_names(&mut self, changes: &[(&str, Option<usize>)]) {
        for (name, inode) in changes {
            match inode {
                Some(inode) => self.names.insert((*name).to_owned(), *inode),
                None => self.names.remove(*name),
            };
        }
        self.pending_names.push(changes.iter().map(|(name, inode)| ((*name).to_owned(), *inode)).collect());
    }
}

impl Storage for SimulatedStorage {
    fn open_directory(&self, _path: &str) -> Result<Arc<dyn Directory>> {
        Ok(Arc::new(self.clone()))
    }

    fn exists(&self, _path: &str) -> Result<bool> {
        Ok(!self.disk().names.is_empty())
    }
}

impl Directory for SimulatedStorage {
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn File>> {
        let mut disk = self.disk();
        disk.check_power()?;
        let inode = match (disk.names.get(name), create) {
            (Some(inode), _) => *inode,
            (None, false) => return Err(Error::new(ErrorCode::STORAGE_NOT_FOUND, name.to_owned())),
            (None, true) => {
                disk.write()?;
                disk.inodes.push(Inode::default());
                let inode = disk.inodes.len() - 1;
                disk.change_names(&[(name, Some(inode))]);
                inode
            }
        };
        Ok(Arc::new(SimulatedFile { storage: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut disk = self.disk();
        disk.write()?;
        let Some(inode) = disk.names.get(from).copied() else {
            return Err(Error::new(ErrorCode::STORAGE_NOT_FOUND, from.to_owned()));
        };
        disk.change_names(&[(to, Some(inode)), (from, None)]);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut disk = self.disk();
        disk.write()?;
        disk.change_names(&[(name, None)]);
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>> {
        let disk = self.disk();
        disk.check_power()?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn sync(&self) -> Result<()> {
        let mut disk = self.disk();
        disk.write()?;
        disk.durable_names = disk.names.clone();
        disk.pending_names.clear();
        Ok(())
    }

    fn lock(&self, _name: &str, owner: &str) -> Result<Box<dyn LockGuard>> {
        let mut disk = self.disk();
        if disk.is_locked {
            return Err(Error::new(ErrorCode::DATABASE_IN_USE, owner.to_owned()));
        }
        disk.is_locked = true;
        Ok(Box::new(SimulatedLock(self.clone())))
    }

    fn free_bytes(&self) -> Result<u64> {
        let disk = self.disk();
        let used: usize = disk.names.values().map(|inode| disk.inodes[*inode].current.len()).sum();
        Ok(disk.size_bytes_max.map_or(1 << 40, |most| most.saturating_sub(used) as u64))
    }
}

struct SimulatedLock(SimulatedStorage);

impl LockGuard for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.0.disk().is_locked = false;
    }
}

struct SimulatedFile {
    storage: SimulatedStorage,
    inode: usize,
}

impl SimulatedFile {
    fn check_room(&self, disk: &Disk, length: usize) -> Result<()> {
        let used: usize = disk.names.values().map(|inode| disk.inodes[*inode].current.len()).sum();
        let grows = length.saturating_sub(disk.inodes[self.inode].current.len());
        match disk.size_bytes_max.is_some_and(|most| used + grows > most) {
            true => Err(Error::new(ErrorCode::DISK_FULL, "no space left on the simulated disk")),
            false => Ok(()),
        }
    }
}

impl File for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let disk = self.storage.disk();
        disk.check_power()?;
        let at = offset as usize;
        match disk.inodes[self.inode].current.get(at..at + buffer.len()) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => return Err(Error::new(ErrorCode::IO_ERROR, "a read past the end of the file")),
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut disk = self.storage.disk();
        let at = offset as usize;
        self.check_room(&disk, at + bytes.len())?;
        // The write during which the power goes may reach the disk in part.
        let powered = disk.write();
        let inode = &mut disk.inodes[self.inode];
        inode.pending.push(Change::Write(at, bytes.to_vec()));
        powered?;
        if inode.current.len() < at + bytes.len() {
            inode.current.resize(at + bytes.len(), 0);
        }
        inode.current[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        let disk = self.storage.disk();
        disk.check_power()?;
        Ok(disk.inodes[self.inode].current.len() as u64)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let mut disk = self.storage.disk();
        self.check_room(&disk, length as usize)?;
        disk.write()?;
        let inode = &mut disk.inodes[self.inode];
        inode.pending.push(Change::Length(length as usize));
        inode.current.resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        let mut disk = self.storage.disk();
        disk.write()?;
        disk.syncs += 1;
        if disk.sync_fails_at == Some(disk.syncs) {
            return Err(Error::new(ErrorCode::IO_ERROR, "the simulated disk could not sync"));
        }
        let inode = &mut disk.inodes[self.inode];
        inode.durable = inode.current.clone();
        inode.pending.clear();
        Ok(())
    }
}

fn env(storage: &SimulatedStorage) -> Env {
    Env { storage: Arc::new(storage.clone()), ..tenantry_env::system() }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.log_segment_size_bytes = 64 << 10;
    settings.log_size_bytes_max = 96 << 10;
    settings.cache_size_bytes = 1 << 20;
    settings.window_size_bytes_max = 1 << 20;
    settings.free_space_reserve_bytes = 0;
    settings
}

fn open(storage: &SimulatedStorage) -> Result<EmbeddedEngine> {
    EmbeddedEngine::open("simulated", settings(), env(storage))
}

/// The state after each transaction: what a prefix of them left.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model(BTreeMap<Vec<u8>, Vec<u8>>);

/// One transaction of the workload, a function of its number alone.
fn apply(
    number: u64,
    seed: u64,
    mut set: impl FnMut(Vec<u8>, Vec<u8>),
    mut clear: impl FnMut(Vec<u8>, Vec<u8>),
) {
    let mut random = seed ^ number.wrapping_mul(0x1234_5678_9abc_def1);
    set(b"number".to_vec(), number.to_le_bytes().to_vec());
    for _ in 0..1 + split_mix(&mut random) % 6 {
        let key = format!("k{:03}", split_mix(&mut random) % 300).into_bytes();
        if split_mix(&mut random).is_multiple_of(12) {
            let end = format!("k{:03}", split_mix(&mut random) % 300).into_bytes();
            clear(key.clone().min(end.clone()), key.max(end));
        } else {
            let length = split_mix(&mut random) as usize % 900;
            set(key, vec![number as u8; length]);
        }
    }
}

impl Model {
    fn step(&mut self, number: u64, seed: u64) {
        let model = std::cell::RefCell::new(std::mem::take(&mut self.0));
        apply(
            number,
            seed,
            |key, value| drop(model.borrow_mut().insert(key, value)),
            |begin, end| model.borrow_mut().retain(|key, _| *key < begin || *key >= end),
        );
        self.0 = model.into_inner();
    }

    fn number(&self) -> u64 {
        self.0.get(b"number".as_slice()).map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()))
    }
}

fn commit(engine: &EmbeddedEngine, number: u64, seed: u64) -> Result<()> {
    let transaction = engine.begin()?;
    apply(
        number,
        seed,
        |key, value| transaction.set(&key, &value),
        |begin, end| transaction.clear_range(&begin, &end),
    );
    transaction.atomic(MutationType::Add, b"count", &1u64.to_le_bytes());
    block_on(transaction.commit())
}

fn everything(engine: &EmbeddedEngine) -> Result<Model> {
    let transaction = engine.begin()?;
    let mut found = BTreeMap::new();
    let mut next = Some(RangeRequest::new("", "\u{7f}"));
    while let Some(request) = next {
        let batch = block_on(transaction.get_range(&request, Isolation::Snapshot))?;
        found.extend(batch.rows.iter().map(|row| (row.key.to_vec(), row.value.to_vec())));
        next = request.after(&batch);
    }
    Ok(Model(found))
}

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
            if let Ok(engine) = open(&storage) {
                number = check_powered(&engine, seed, acknowledged).unwrap_or(number);
                for next in number + 1..number + 400 {
                    match commit(&engine, next, seed) {
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
                    let mut expected = Model::default();
                    (1..=300).for_each(|number| expected.step(number, seed));
                    assert!(found == expected, "a bit flipped in {name} was read as good data");
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
