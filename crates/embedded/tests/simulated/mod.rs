//! A disk that loses power, tears writes, forgets renames, fills up, fails to sync and flips bits; and a workload whose state after each transaction is known.
//!
//! The disk is in memory. What was written and not synced is kept apart; at a power cut any part of it may have reached the disk, in 512-byte sectors, in
//! any order. Names behave the same: until their directory is synced, files made, renamed and removed may be as before.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use pollster::block_on;
use tenantry_embedded::{EmbeddedEngine, Settings};
use tenantry_kv::env::{Directory, Env, File, LockGuard, Storage};
use tenantry_kv::{Engine, Error, ErrorCode, Isolation, KvFuture, MutationType, RangeRequest, Result};

pub(crate) const SECTOR_BYTES: usize = 512;

pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A file: what is certainly on disk, and what was done to it since.
#[derive(Clone, Default)]
pub(crate) struct Inode {
    pub(crate) durable: Vec<u8>,
    pub(crate) current: Vec<u8>,
    /// Writes and lengths since the last sync.
    pub(crate) pending: Vec<Change>,
}

#[derive(Clone)]
pub(crate) enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) inodes: Vec<Inode>,
    pub(crate) names: BTreeMap<String, usize>,
    pub(crate) durable_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync of the directory, in their order. A rename is one change: file systems with a journal keep both sides or none.
    pub(crate) pending_names: Vec<Vec<(String, Option<usize>)>>,
    pub(crate) is_locked: bool,
    pub(crate) writes: u64,
    pub(crate) syncs: u64,
    /// Everything fails from this write on: the power is gone.
    pub(crate) power_ends_at: Option<u64>,
    /// This sync fails, once.
    pub(crate) sync_fails_at: Option<u64>,
    /// How many bytes fit.
    pub(crate) size_bytes_max: Option<usize>,
}

#[derive(Clone, Default)]
pub(crate) struct SimulatedStorage(Arc<Mutex<Disk>>);

pub(crate) fn lost() -> Error {
    Error::new(ErrorCode::IO_ERROR, "the power is gone")
}

impl SimulatedStorage {
    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// What the disk holds after a power cut now.
    pub(crate) fn crash(&self, seed: &mut u64) -> SimulatedStorage {
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
    pub(crate) fn check_power(&self) -> Result<()> {
        match self.power_ends_at.is_some_and(|end| self.writes >= end) {
            true => Err(lost()),
            false => Ok(()),
        }
    }

    pub(crate) fn write(&mut self) -> Result<()> {
        self.writes += 1;
        self.check_power()
    }

    pub(crate) fn change_names(&mut self, changes: &[(&str, Option<usize>)]) {
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

pub(crate) struct SimulatedLock(SimulatedStorage);

impl LockGuard for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.0.disk().is_locked = false;
    }
}

pub(crate) struct SimulatedFile {
    storage: SimulatedStorage,
    inode: usize,
}

impl SimulatedFile {
    pub(crate) fn check_room(&self, disk: &Disk, length: usize) -> Result<()> {
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

pub(crate) fn env(storage: &SimulatedStorage) -> Env {
    Env { storage: Arc::new(storage.clone()), ..tenantry_env::system() }
}

pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.log_segment_size_bytes = 64 << 10;
    settings.log_size_bytes_max = 96 << 10;
    settings.cache_size_bytes = 1 << 20;
    settings.window_size_bytes_max = 1 << 20;
    settings.free_space_reserve_bytes = 0;
    settings
}

pub(crate) fn open(storage: &SimulatedStorage) -> Result<EmbeddedEngine> {
    EmbeddedEngine::open("simulated", settings(), env(storage))
}

/// The state after each transaction: what a prefix of them left.
#[derive(Clone, Default, PartialEq, Debug)]
pub(crate) struct Model(pub(crate) BTreeMap<Vec<u8>, Vec<u8>>);

/// One transaction of the workload, a function of its number alone.
pub(crate) fn apply(
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
    pub(crate) fn step(&mut self, number: u64, seed: u64) {
        let model = std::cell::RefCell::new(std::mem::take(&mut self.0));
        apply(
            number,
            seed,
            |key, value| drop(model.borrow_mut().insert(key, value)),
            |begin, end| model.borrow_mut().retain(|key, _| *key < begin || *key >= end),
        );
        self.0 = model.into_inner();
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.get(b"number".as_slice()).map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()))
    }
}

/// Hands a transaction in; its commit is under way.
pub(crate) fn submit(engine: &EmbeddedEngine, number: u64, seed: u64) -> Result<KvFuture<()>> {
    let transaction = engine.begin()?;
    apply(
        number,
        seed,
        |key, value| transaction.set(&key, &value),
        |begin, end| transaction.clear_range(&begin, &end),
    );
    transaction.atomic(MutationType::Add, b"count", &1u64.to_le_bytes());
    Ok(transaction.commit())
}

pub(crate) fn commit(engine: &EmbeddedEngine, number: u64, seed: u64) -> Result<()> {
    block_on(submit(engine, number, seed)?)
}

pub(crate) fn everything(engine: &EmbeddedEngine) -> Result<Model> {
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
