//! The map of a durable database: a log-structured merge tree in files that are written once.
//!
//! Every [`Change`] becomes a sorted table; tables are merged in the background (`compaction`), and the manifest says which tables count. Nothing is ever written
//! over: a crash leaves the manifest before or after a step, each with all its tables. Every part of a file has a checksum that is bound to its place.

mod block;
mod compaction;
mod cursor;
mod filter;
mod levels;
mod manifest;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use bytes::Bytes;
use tenantry_kv::Result;
use tenantry_kv::env::Directory;

use super::{Applied, Change, Figures, OrderedMap, Visit};
use crate::settings::MapSettings;
use cursor::{Reads, merge};
use levels::{Finder, Levels};
use table::{TableWriter, Tables};

/// An ordered map in the tables of a directory.
pub(crate) struct LsmMap {
    tables: Arc<Tables>,
    levels: ArcSwap<Levels>,
    /// Held by whoever makes a new state.
    writing: Mutex<()>,
}

impl LsmMap {
    /// Opens the map in `directory`, which errors call `path`. With `creates`, one that is not there is created.
    ///
    /// # Errors
    ///
    /// 10001 when it is damaged or missing; 10002, 1510.
    pub(crate) fn open(
        directory: Arc<dyn Directory>,
        path: &str,
        creates: bool,
        cache_size_bytes: usize,
        settings: MapSettings,
        bytes_written: Arc<AtomicU64>,
    ) -> Result<LsmMap> {
        let tables = Arc::new(Tables::new(directory, path, cache_size_bytes, settings, bytes_written)?);
        let levels = match manifest::read(&tables)? {
            Some(levels) => levels,
            None if creates => {
                manifest::prepare(&tables, &Levels::default())?;
                manifest::take_effect(&tables)?;
                Levels::default()
            }
            None => return Err(tables.damaged("map", 0, "the manifest is missing")),
        };
        // The name of the manifest that was read here counts from now on: see the log's recovery.
        tables.directory.sync()?;
        remove_leftovers(&tables, &levels)?;
        Ok(LsmMap { tables, levels: ArcSwap::from_pointee(levels), writing: Mutex::new(()) })
    }

    /// Makes `next` the state, on disk first.
    fn install(&self, next: Levels) -> Result<()> {
        if let Err(error) = manifest::prepare(&self.tables, &next) {
            // Most likely there was no room: what was written for it is not left lying there.
            supersede(&next, &self.levels.load());
            return Err(error);
        }
        manifest::take_effect(&self.tables)?;
        let next = Arc::new(next);
        let old = self.levels.swap(next.clone());
        supersede(&old, &next);
        Ok(())
    }
}

/// Supersedes the tables of `old` that `kept` does not have.
fn supersede(old: &Levels, kept: &Levels) {
    for table in old.tables() {
        if !kept.tables().any(|kept| Arc::ptr_eq(kept, table)) {
            table.supersede();
        }
    }
}

/// Removes the tables that a crash or a failure left without a manifest that names them.
fn remove_leftovers(tables: &Tables, levels: &Levels) -> Result<()> {
    for name in tables.directory.list()? {
        let Some(number) = table::number_of(&name) else { continue };
        tables.next_number.fetch_max(number + 1, Ordering::AcqRel);
        if !levels.tables().any(|table| table.info.number == number) {
            tables.directory.remove(&name)?;
        }
    }
    Ok(())
}

impl OrderedMap for LsmMap {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.levels.load().get(key)
    }

    fn get_many(
        &self,
        keys: &mut dyn Iterator<Item = &[u8]>,
        found: &mut dyn FnMut(usize, Bytes),
    ) -> Result<()> {
        let levels = self.levels.load();
        let mut finder = Finder::new(&levels);
        for (place, key) in keys.enumerate() {
            if let Some(value) = finder.get(key)? {
                found(place, value);
            }
        }
        Ok(())
    }

    fn scan(&self, begin: &[u8], end: &[u8], reverse: bool, visit: Visit<'_>) -> Result<()> {
        if begin >= end {
            return Ok(());
        }
        let levels = self.levels.load_full();
        let cursors = levels.cursors(begin, Some(end), Reads::Cached);
        merge(cursors, begin, Some(end), reverse, &mut |key, value| {
            Ok(value.is_none_or(|value| visit(key, value)))
        })
    }

    fn apply(&self, change: &Change) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = (**self.levels.load()).clone();
        next.applied = change.applied;
        next.remove_inside(&change.cleared);
        if !change.keys.is_empty() || !change.cleared.is_empty() {
            let mut writer = TableWriter::begin(&self.tables)?;
            for (key, value) in &change.keys {
                writer.add(key, value.as_deref())?;
            }
            next.recent.insert(0, Arc::new(writer.finish(&change.cleared)?));
        }
        self.install(next)
    }

    fn maintain(&self, room_bytes: u64) -> Result<bool> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let levels = self.levels.load_full();
        let Some(job) = compaction::choose(&levels, &self.tables.settings) else { return Ok(false) };
        if job.size_bytes() > room_bytes {
            return Ok(false);
        }
        self.install(job.run(&levels, &self.tables)?)?;
        Ok(true)
    }

    fn applied(&self) -> Result<Applied> {
        Ok(self.levels.load().applied)
    }

    fn check(&self) -> Result<u64> {
        let levels = self.levels.load_full();
        for table in levels.tables() {
            table.verify()?;
        }
        let mut rows = 0;
        merge(levels.cursors(b"", None, Reads::InBulk), b"", None, false, &mut |_, value| {
            rows += u64::from(value.is_some());
            Ok(true)
        })?;
        Ok(rows)
    }

    fn figures(&self) -> Figures {
        let levels = self.levels.load();
        Figures {
            tables: levels.tables().count() as u64,
            size_bytes: levels.tables().map(|table| table.info.size_bytes).sum(),
            cached_bytes: self.tables.cached_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tenantry_kv::KeyRange;
    use tenantry_kv::env::{File, LockGuard};

    use super::*;
    use crate::map::MemoryMap;

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ (mixed >> 31)) % bound
        }

        fn key(&mut self) -> Bytes {
            let number = self.below(400);
            let length = 3 + self.below(2) as usize * 3;
            Bytes::from(format!("{number:06}").into_bytes()).slice(6 - length..)
        }

        fn change(&mut self, step: u64) -> Change {
            let mut change =
                Change { applied: Applied { version: step as i64, sequence: step }, ..Change::default() };
            let mut bounds: Vec<Bytes> = (0..self.below(3) * 2 * self.below(2)).map(|_| self.key()).collect();
            bounds.sort();
            bounds.dedup();
            for pair in bounds.chunks_exact(2) {
                change.cleared.push(KeyRange { begin: pair[0].clone(), end: pair[1].clone() });
            }
            for _ in 0..self.below(40) {
                let value =
                    (self.below(4) > 0).then(|| Bytes::from(vec![step as u8; self.below(200) as usize]));
                change.keys.insert((&self.key()).into(), value);
            }
            change
        }
    }

    fn settings(random: &mut Random) -> MapSettings {
        MapSettings {
            block_size_bytes: 64 << random.below(5),
            table_size_bytes: 1 << (10 + random.below(3)),
            recent_size_bytes: 1 << (10 + random.below(6)),
            level_size_bytes: 1 << (10 + random.below(6)),
        }
    }

    /// A directory whose syncs do nothing: these tests cut no power, and a busy disk would make them wait for minutes.
    struct Unsynced<T>(T);

    impl Directory for Unsynced<Arc<dyn Directory>> {
        fn open(&self, name: &str, create: bool) -> Result<Arc<dyn File>> {
            Ok(Arc::new(Unsynced(self.0.open(name, create)?)))
        }

        fn rename(&self, from: &str, to: &str) -> Result<()> {
            self.0.rename(from, to)
        }

        fn remove(&self, name: &str) -> Result<()> {
            self.0.remove(name)
        }

        fn list(&self) -> Result<Vec<String>> {
            self.0.list()
        }

        fn sync(&self) -> Result<()> {
            Ok(())
        }

        fn lock(&self, name: &str, owner: &str) -> Result<Box<dyn LockGuard>> {
            self.0.lock(name, owner)
        }

        fn free_bytes(&self) -> Result<u64> {
            self.0.free_bytes()
        }
    }

    impl File for Unsynced<Arc<dyn File>> {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
            self.0.read_at(offset, buffer)
        }

        fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
            self.0.write_at(offset, bytes)
        }

        fn len(&self) -> Result<u64> {
            self.0.len()
        }

        fn set_len(&self, length: u64) -> Result<()> {
            self.0.set_len(length)
        }

        fn sync_data(&self) -> Result<()> {
            Ok(())
        }
    }

    fn open(path: &std::path::Path, settings: MapSettings) -> Result<LsmMap> {
        let path = path.to_str().unwrap();
        let directory = tenantry_env::system().storage.open_directory(path)?;
        let directory: Arc<dyn Directory> = Arc::new(Unsynced(directory));
        LsmMap::open(directory, path, true, 20_000, settings, Arc::default())
    }

    fn rows(
        map: &dyn OrderedMap,
        begin: &[u8],
        end: &[u8],
        reverse: bool,
        rows_max: usize,
    ) -> Vec<(Bytes, Bytes)> {
        let mut rows = Vec::new();
        map.scan(begin, end, reverse, &mut |key, value| {
            rows.push((Bytes::copy_from_slice(key), value));
            rows.len() < rows_max
        })
        .unwrap();
        rows
    }

    /// Everything that the map says is what a plain ordered map says, whatever has been merged and reopened in between.
    #[test]
    fn it_says_what_a_plain_map_says() {
        let mut deepest = 0;
        for seed in 0..40 {
            let mut random = Random(seed);
            let temporary = tempfile::tempdir().unwrap();
            let settings = settings(&mut random);
            let mut map = open(temporary.path(), settings.clone()).unwrap();
            let model = MemoryMap::default();
            for step in 1..60 {
                let change = random.change(step);
                map.apply(&change).unwrap();
                model.apply(&change).unwrap();
                while random.below(3) > 0 && map.maintain(u64::MAX).unwrap() {}
                if random.below(10) == 0 {
                    map = open(temporary.path(), settings.clone()).unwrap();
                }
                assert_eq!(map.applied().unwrap(), change.applied);
                for _ in 0..10 {
                    let key = random.key();
                    assert_eq!(
                        map.get(&key).unwrap(),
                        model.get(&key).unwrap(),
                        "seed {seed} step {step} {key:?}"
                    );
                }
                let mut keys: Vec<Bytes> = (0..30).map(|_| random.key()).collect();
                if random.below(4) > 0 {
                    keys.sort();
                }
                let mut values = vec![None; keys.len()];
                map.get_many(&mut keys.iter().map(|key| &key[..]), &mut |place, value| {
                    values[place] = Some(value)
                })
                .unwrap();
                for (key, value) in keys.iter().zip(values) {
                    assert_eq!(value, model.get(key).unwrap(), "seed {seed} step {step} {key:?} {keys:?}");
                }
                let (begin, end, reverse) = (random.key(), random.key(), random.below(2) == 0);
                let rows_max = 1 + random.below(80) as usize;
                assert_eq!(
                    rows(&map, &begin, &end, reverse, rows_max),
                    rows(&model, &begin, &end, reverse, rows_max),
                    "seed {seed} step {step} {begin:?} {end:?} {reverse}"
                );
                deepest = deepest.max(map.levels.load().sorted.len());
            }
            while map.maintain(u64::MAX).unwrap() {}
            assert_eq!(
                rows(&map, b"", b"\xff", false, usize::MAX),
                rows(&model, b"", b"\xff", false, usize::MAX)
            );
            assert_eq!(map.check().unwrap(), model.check().unwrap());
            // Nothing is left lying about.
            let figures = map.figures();
            let names = tenantry_env::system()
                .storage
                .open_directory(temporary.path().to_str().unwrap())
                .unwrap()
                .list();
            assert_eq!(
                names.unwrap().iter().filter(|name| table::number_of(name).is_some()).count() as u64,
                figures.tables
            );
        }
        assert!(deepest >= 3, "{deepest}");
    }

    /// A range clear of everything costs a table, not a look at what goes.
    #[test]
    fn tables_inside_a_cleared_range_go_at_once() {
        let temporary = tempfile::tempdir().unwrap();
        let map =
            open(temporary.path(), MapSettings { recent_size_bytes: 1 << 10, ..MapSettings::default() })
                .unwrap();
        let keys = (0..1_000u32).map(|number| {
            ((&Bytes::from(number.to_be_bytes().to_vec())).into(), Some(Bytes::from_static(b"v")))
        });
        map.apply(&Change { keys: keys.collect(), ..Change::default() }).unwrap();
        while map.maintain(u64::MAX).unwrap() {}
        let all = KeyRange::new(Bytes::new(), Bytes::from_static(b"\xff"));
        map.apply(&Change { cleared: vec![all], ..Change::default() }).unwrap();
        assert_eq!(map.figures().tables, 1);
        assert_eq!(rows(&map, b"", b"\xff", true, 1), []);
        assert_eq!(map.check().unwrap(), 0);
    }

    #[test]
    fn a_flipped_bit_is_named_or_harmless() {
        let temporary = tempfile::tempdir().unwrap();
        let map = open(temporary.path(), MapSettings::default()).unwrap();
        let keys = (0..500u32).map(|number| {
            ((&Bytes::from(number.to_be_bytes().to_vec())).into(), Some(Bytes::from(vec![7; 40])))
        });
        map.apply(&Change { keys: keys.collect(), ..Change::default() }).unwrap();
        drop(map);
        let mut random = Random(1);
        let storage = tenantry_env::system().storage;
        let directory = storage.open_directory(temporary.path().to_str().unwrap()).unwrap();
        let names = directory.list().unwrap();
        assert_eq!(names.len(), 2);
        for name in names {
            let file = directory.open(&name, false).unwrap();
            for _ in 0..200 {
                let bit = random.below(file.len().unwrap() * 8);
                let mut byte = [0];
                file.read_at(bit / 8, &mut byte).unwrap();
                file.write_at(bit / 8, &[byte[0] ^ (1 << (bit % 8))]).unwrap();
                let found = open(temporary.path(), MapSettings::default()).and_then(|map| map.check());
                assert_eq!(
                    found.unwrap_err().code(),
                    tenantry_kv::ErrorCode::STORAGE_CORRUPT,
                    "{name} bit {bit}"
                );
                file.write_at(bit / 8, &byte).unwrap();
            }
        }
        assert_eq!(open(temporary.path(), MapSettings::default()).unwrap().check().unwrap(), 500);
    }
}
