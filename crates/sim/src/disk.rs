//! A disk that loses power, tears writes, forgets names, fills up, fails to sync and damages what it holds.
//!
//! What was written and not synced is kept apart. At a power cut each pending change of a file is, page by page of 4 KiB, kept, dropped, or torn at its
//! sectors of 512 bytes; later changes may reach the disk without earlier ones. Names are those of a file system with a journal: of the changes since the
//! directory was synced some first ones survive, in their order, a rename whole or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tenantry_kv::env::{Directory, File, LockGuard, Storage};
use tenantry_kv::{Error, ErrorCode, Result};

use crate::random::Stream;

const PAGE_SIZE: usize = 4_096;
const SECTOR_SIZE: usize = 512;

#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    current: Vec<u8>,
    pending: Vec<Change>,
    /// What was on the disk before the last sync.
    former: Vec<u8>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// What the engine was doing when the disk was last written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Activity {
    /// Nothing yet.
    #[default]
    Nothing,
    /// Appending to the log.
    Log,
    /// Growing the log by a file.
    Growth,
    /// Removing or reusing files of the log that the map holds.
    Cut,
    /// Writing tables of the map or its manifest.
    Checkpoint,
    /// Merging tables of the map.
    Compaction,
    /// Reading everything back after a stop.
    Recovery,
    /// Such a reading that found in the log what the map did not have.
    Replay,
}

impl Activity {
    /// All that a campaign has to come to.
    pub const ALL: [Activity; 7] = [
        Activity::Log,
        Activity::Growth,
        Activity::Cut,
        Activity::Checkpoint,
        Activity::Compaction,
        Activity::Recovery,
        Activity::Replay,
    ];
}

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    /// What stood under a name before something else was renamed to it.
    former_names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Vec<(String, Option<usize>)>>,
    is_locked: bool,
    /// Changes of anything so far: writes, syncs, names.
    operations: u64,
    power_ends_at: Option<u64>,
    syncs: u64,
    sync_fails_at: Option<u64>,
    power_ends_at_sync: Option<u64>,
    reads: u64,
    read_fails_at: Option<u64>,
    size_bytes_max: Option<usize>,
    activity: Activity,
    is_recovering: bool,
    /// Whether a table was read in this turn of the upkeep: what is written then is a merge.
    has_read_table: bool,
    seen: BTreeMap<Activity, u64>,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

fn io_error(what: &str) -> Error {
    Error::new(ErrorCode::IO_ERROR, what.to_owned())
}

impl SimulatedDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many changes there have been.
    pub(crate) fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Ends the power after so many more changes. The last one may reach the disk in part.
    pub(crate) fn end_power_after(&self, operations: u64) {
        let mut state = self.lock();
        state.power_ends_at = Some(state.operations + operations);
    }

    /// Ends the power during a sync, after so many others: when most is at risk.
    pub(crate) fn end_power_in_sync_after(&self, syncs: u64) {
        let mut state = self.lock();
        state.power_ends_at_sync = Some(state.syncs + syncs);
    }

    /// Takes back when the power was to end.
    pub(crate) fn keep_power(&self) {
        let mut state = self.lock();
        (state.power_ends_at, state.power_ends_at_sync) = (None, None);
    }

    /// Whether there is power.
    pub(crate) fn has_power(&self) -> bool {
        let state = self.lock();
        state.power_ends_at.is_none_or(|end| state.operations < end)
    }

    /// Lets a sync fail, once, after so many others.
    pub(crate) fn fail_sync_after(&self, syncs: u64) {
        let mut state = self.lock();
        state.sync_fails_at = Some(state.syncs + syncs);
    }

    /// Lets a read fail, once, after so many others.
    pub(crate) fn fail_read_after(&self, reads: u64) {
        let mut state = self.lock();
        state.read_fails_at = Some(state.reads + reads);
    }

    /// How many bytes fit.
    pub(crate) fn limit_size(&self, size_bytes_max: usize) {
        self.lock().size_bytes_max = Some(size_bytes_max);
    }

    /// Takes back every fault that was planned.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        (state.size_bytes_max, state.sync_fails_at, state.read_fails_at) = (None, None, None);
    }

    /// The bytes in use.
    pub(crate) fn used_bytes(&self) -> usize {
        self.lock().used()
    }

    /// Says that what follows is a recovery, or is no more.
    pub(crate) fn set_recovering(&self, is_recovering: bool) {
        self.lock().is_recovering = is_recovering;
    }

    /// What was going on when the disk was last changed.
    pub(crate) fn activity(&self) -> Activity {
        self.lock().activity
    }

    /// Says that the map and the files are looked after from here on.
    pub(crate) fn begin_upkeep(&self) {
        self.lock().has_read_table = false;
    }

    /// How often each activity changed the disk since this was asked last.
    pub(crate) fn take_seen(&self) -> BTreeMap<Activity, u64> {
        std::mem::take(&mut self.lock().seen)
    }

    /// The disk after a power cut now.
    pub(crate) fn crash(&self, random: &mut Stream) -> SimulatedDisk {
        let state = self.lock();
        let mut names = state.durable_names.clone();
        let survive = random.below(state.pending_names.len() as u64 + 1) as usize;
        for (name, inode) in state.pending_names[..survive].iter().flatten() {
            match inode {
                Some(inode) => names.insert(name.clone(), *inode),
                None => names.remove(name),
            };
        }
        // Whether unsynced data mostly stays, mostly goes or is mixed: each disk has its habits.
        let kept_percent = *random.pick(&[0, 20, 50, 80, 100]);
        let sectors_kept_percent = *random.pick(&[50, 90]);
        let crash = |inode: &Inode| inode.crashed(kept_percent, sectors_kept_percent, random);
        let inodes = state.inodes.iter().map(crash).collect();
        let former_names = state.former_names.clone();
        let next =
            State { inodes, names: names.clone(), durable_names: names, former_names, ..State::default() };
        SimulatedDisk(Arc::new(Mutex::new(next)))
    }

    /// Damages synced data in so many places: flips a bit, zeroes a sector, puts a sector of one place into another, takes a sector back to what it was before the last
    /// sync, or a name to the file it had before.
    pub(crate) fn damage(&self, random: &mut Stream, count: u64) -> Damage {
        let mut state = self.lock();
        let contents = |state: &State| -> BTreeMap<String, Vec<u8>> {
            let tables = state.names.iter().filter(|(name, _)| name.starts_with("table-"));
            tables.map(|(name, inode)| (name.clone(), state.inodes[*inode].current.clone())).collect()
        };
        // An old file in the place of a new one takes what the new one says with it: nothing else is damaged then.
        if random.percent(10)
            && let Some(what) = state.bring_former_file_back(random)
        {
            return Damage { what, is_in_table: false };
        }
        let before = contents(&state);
        let done: Vec<String> = (0..count).filter_map(|_| state.damage(random)).collect();
        let is_in_table = before != contents(&state);
        Damage { what: done.join(", "), is_in_table }
    }
}

/// What was damaged.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    what: String,
    /// Whether a table of the map is not what it was.
    pub(crate) is_in_table: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "after damage ({})", self.what)
    }
}

impl Inode {
    fn crashed(&self, kept_percent: u64, sectors_kept_percent: u64, random: &mut Stream) -> Inode {
        let mut bytes = self.durable.clone();
        let put = |bytes: &mut Vec<u8>, at: usize, data: &[u8]| {
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[at..at + data.len()].copy_from_slice(data);
        };
        for change in &self.pending {
            match change {
                Change::Length(length) if random.percent(kept_percent) => bytes.resize(*length, 0),
                Change::Length(_) => {}
                Change::Write(offset, data) => {
                    let mut at = *offset;
                    let end = offset + data.len();
                    while at < end {
                        let page_end = ((at / PAGE_SIZE + 1) * PAGE_SIZE).min(end);
                        let fate = random.below(100);
                        if fate < kept_percent * 3 / 4 {
                            put(&mut bytes, at, &data[at - offset..page_end - offset]);
                        } else if fate >= 75 {
                            // Torn.
                            let mut sector = at;
                            while sector < page_end {
                                let sector_end = ((sector / SECTOR_SIZE + 1) * SECTOR_SIZE).min(page_end);
                                if random.percent(sectors_kept_percent) {
                                    put(&mut bytes, sector, &data[sector - offset..sector_end - offset]);
                                }
                                sector = sector_end;
                            }
                        }
                        at = page_end;
                    }
                }
            }
        }
        Inode { durable: bytes.clone(), current: bytes, pending: Vec::new(), former: self.former.clone() }
    }
}

impl State {
    /// Gives a name back to the file that it stood for before. What was done, or `None` where no name ever stood for two.
    fn bring_former_file_back(&mut self, random: &mut Stream) -> Option<String> {
        let former: Vec<(String, usize)> =
            self.former_names.iter().map(|(name, inode)| (name.clone(), *inode)).collect();
        let (name, inode) = former.get(random.below(former.len() as u64) as usize)?.clone();
        self.names.insert(name.clone(), inode);
        self.durable_names = self.names.clone();
        Some(format!("the former file {name}"))
    }

    /// Damages one place. What was done, or `None` on an empty disk.
    fn damage(&mut self, random: &mut Stream) -> Option<String> {
        let files: Vec<(String, usize)> = self
            .names
            .iter()
            .filter(|(_, inode)| !self.inodes[**inode].current.is_empty())
            .map(|(name, inode)| (name.clone(), *inode))
            .collect();
        let (name, inode) = files.get(random.below(files.len() as u64) as usize)?.clone();
        let Inode { current: bytes, former, .. } = &mut self.inodes[inode];
        let length = bytes.len();
        let sectors = length.div_ceil(SECTOR_SIZE) as u64;
        // Where something ends is where damage is most easily taken for something else.
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) / SECTOR_SIZE;
        let sector = if random.percent(30) { last } else { random.below(sectors) as usize };
        let at = sector * SECTOR_SIZE;
        let end = (at + SECTOR_SIZE).min(length);
        let what = match random.below(4) {
            0 => {
                let bit = random.below(length as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
                format!("bit {bit} of {name}")
            }
            1 => {
                bytes[at..end].fill(0);
                format!("zeros at byte {at} of {name}")
            }
            2 => {
                let from = random.below(sectors) as usize * SECTOR_SIZE;
                let size = (end - at).min(length - from);
                bytes.copy_within(from..from + size, at);
                format!("byte {from} at byte {at} of {name}")
            }
            _ => {
                let stale = former.get(at..end).map(<[u8]>::to_vec).unwrap_or_default();
                bytes[at..at + stale.len()].copy_from_slice(&stale);
                bytes[at + stale.len()..end].fill(0);
                format!("a stale sector at byte {at} of {name}")
            }
        };
        let inode = &mut self.inodes[inode];
        inode.durable = inode.current.clone();
        Some(what)
    }

    fn used(&self) -> usize {
        self.names.values().map(|inode| self.inodes[*inode].current.len()).sum()
    }

    fn check_power(&self) -> Result<()> {
        match self.power_ends_at.is_some_and(|end| self.operations >= end) {
            true => Err(io_error("the power is gone")),
            false => Ok(()),
        }
    }

    fn operate(&mut self, name: &str) -> Result<()> {
        self.check_power()?;
        self.operations += 1;
        self.activity = match name {
            _ if self.is_recovering => Activity::Recovery,
            name if name.starts_with("table-") && self.has_read_table => Activity::Compaction,
            "map-next" | "map" if self.activity == Activity::Compaction => Activity::Compaction,
            name if name.starts_with("table-") || name.starts_with("map") => Activity::Checkpoint,
            "log-growing" | "log-preparing" => Activity::Growth,
            name if name.starts_with("log-") => Activity::Log,
            _ => self.activity,
        };
        *self.seen.entry(self.activity).or_default() += 1;
        self.check_power()
    }

    fn cut(&mut self, name: &str) {
        if name.starts_with("log-0") && !self.is_recovering {
            self.activity = Activity::Cut;
            *self.seen.entry(Activity::Cut).or_default() += 1;
        }
    }

    fn change_names(&mut self, changes: &[(&str, Option<usize>)]) {
        for (name, inode) in changes {
            match inode {
                Some(inode) => {
                    if let Some(former) = self.names.insert((*name).to_owned(), *inode) {
                        self.former_names.insert((*name).to_owned(), former);
                    }
                }
                None => drop(self.names.remove(*name)),
            }
        }
        self.pending_names.push(changes.iter().map(|(name, inode)| ((*name).to_owned(), *inode)).collect());
    }
}

impl Storage for SimulatedDisk {
    fn open_directory(&self, _path: &str) -> Result<Arc<dyn Directory>> {
        Ok(Arc::new(self.clone()))
    }

    fn exists(&self, _path: &str) -> Result<bool> {
        Ok(!self.lock().names.is_empty())
    }
}

impl Directory for SimulatedDisk {
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn File>> {
        let mut state = self.lock();
        state.check_power()?;
        let inode = match (state.names.get(name), create) {
            (Some(inode), _) => *inode,
            (None, false) => return Err(Error::new(ErrorCode::STORAGE_NOT_FOUND, name.to_owned())),
            (None, true) => {
                state.operate(name)?;
                state.inodes.push(Inode::default());
                let inode = state.inodes.len() - 1;
                state.change_names(&[(name, Some(inode))]);
                inode
            }
        };
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode, name: name.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut state = self.lock();
        state.operate(to)?;
        state.cut(from);
        let Some(inode) = state.names.get(from).copied() else {
            return Err(Error::new(ErrorCode::STORAGE_NOT_FOUND, from.to_owned()));
        };
        state.change_names(&[(to, Some(inode)), (from, None)]);
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut state = self.lock();
        state.operate(name)?;
        state.cut(name);
        state.change_names(&[(name, None)]);
        Ok(())
    }

    fn list(&self) -> Result<Vec<String>> {
        let state = self.lock();
        state.check_power()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn sync(&self) -> Result<()> {
        let mut state = self.lock();
        state.operate("")?;
        state.durable_names = state.names.clone();
        state.pending_names.clear();
        Ok(())
    }

    fn lock(&self, _name: &str, owner: &str) -> Result<Box<dyn LockGuard>> {
        let mut state = SimulatedDisk::lock(self);
        if state.is_locked {
            return Err(Error::new(ErrorCode::DATABASE_IN_USE, owner.to_owned()));
        }
        state.is_locked = true;
        Ok(Box::new(SimulatedLock(self.clone())))
    }

    fn free_bytes(&self) -> Result<u64> {
        let state = SimulatedDisk::lock(self);
        Ok(state.size_bytes_max.map_or(1 << 40, |most| most.saturating_sub(state.used()) as u64))
    }
}

struct SimulatedLock(SimulatedDisk);

impl LockGuard for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.0.lock().is_locked = false;
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
    name: String,
}

impl SimulatedFile {
    fn check_room(&self, state: &State, length: usize) -> Result<()> {
        let grows = length.saturating_sub(state.inodes[self.inode].current.len());
        match state.size_bytes_max.is_some_and(|most| state.used() + grows > most) {
            true => Err(Error::new(ErrorCode::DISK_FULL, "no space left on the simulated disk")),
            false => Ok(()),
        }
    }
}

impl File for SimulatedFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let mut state = self.disk.lock();
        state.check_power()?;
        state.reads += 1;
        state.has_read_table |= self.name.starts_with("table-");
        if state.read_fails_at == Some(state.reads) {
            return Err(io_error("the simulated disk could not read"));
        }
        let at = offset as usize;
        match state.inodes[self.inode].current.get(at..at + buffer.len()) {
            Some(bytes) => buffer.copy_from_slice(bytes),
            None => return Err(io_error("a read past the end of the file")),
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut state = self.disk.lock();
        state.check_power()?;
        let at = offset as usize;
        self.check_room(&state, at + bytes.len())?;
        // The write during which the power goes may reach the disk in part.
        let powered = state.operate(&self.name);
        let inode = &mut state.inodes[self.inode];
        inode.pending.push(Change::Write(at, bytes.to_vec()));
        if inode.current.len() < at + bytes.len() {
            inode.current.resize(at + bytes.len(), 0);
        }
        inode.current[at..at + bytes.len()].copy_from_slice(bytes);
        powered
    }

    fn len(&self) -> Result<u64> {
        let state = self.disk.lock();
        state.check_power()?;
        Ok(state.inodes[self.inode].current.len() as u64)
    }

    fn set_len(&self, length: u64) -> Result<()> {
        let mut state = self.disk.lock();
        self.check_room(&state, length as usize)?;
        state.operate(&self.name)?;
        let inode = &mut state.inodes[self.inode];
        inode.pending.push(Change::Length(length as usize));
        inode.current.resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        let mut state = self.disk.lock();
        // A sync during which the power goes did not happen.
        state.operate(&self.name)?;
        state.syncs += 1;
        if state.power_ends_at_sync == Some(state.syncs) {
            state.power_ends_at = Some(state.operations);
            state.check_power()?;
        }
        if state.sync_fails_at == Some(state.syncs) {
            return Err(io_error("the simulated disk could not sync"));
        }
        let inode = &mut state.inodes[self.inode];
        if inode.durable != inode.current {
            inode.former = std::mem::replace(&mut inode.durable, inode.current.clone());
        }
        inode.pending.clear();
        Ok(())
    }
}
