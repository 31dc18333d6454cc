//! The engine as its users see it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tenantry_kv::env::{Env, LockGuard};
use tenantry_kv::limits::{WATCHES_MAX_DEFAULT, WATCHES_MAX_MAX};
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{
    DatabaseOption, Engine, EngineProfile, Error, ErrorCode, KvFuture, Result, TransactionRef, Version,
};

use crate::disk::Disk;
use crate::driver::{Driver, Errand, Files, Stepper};
use crate::log::{Closed, Log};
use crate::map::MemoryMap;
use crate::reply::promise;
use crate::seam::{CommitRequest, Done, Gate, Snapshots, WatchTicket};
use crate::sequencer::{LOCK_KEY, Sequencer, Shared, Waiting};
use crate::settings::Settings;
use crate::stats::{Counters, Stats, count};
use crate::store::Store;
use crate::transaction::{Defaults, EmbeddedTransaction};
use crate::versions::Versions;
use crate::watches::Watches;

/// How long a read waits for a version that lies in the future, before 1009.
const FUTURE_VERSION_PATIENCE: Duration = Duration::from_secs(1);
const FUTURE_VERSION_POLL: Duration = Duration::from_millis(5);

/// A database inside this process.
///
/// Dropping the last handle closes it; [`close`](EmbeddedEngine::close) does so at once.
pub struct EmbeddedEngine {
    core: Arc<Core>,
    driver: Arc<Driver>,
    is_durable: bool,
    defaults: Arc<Mutex<Defaults>>,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
    closed_segments: Option<Arc<Closed>>,
}

/// What transactions need of the engine.
struct Core {
    shared: Arc<Shared>,
    driver: std::sync::OnceLock<std::sync::Weak<Driver>>,
    watches_taken: Arc<AtomicUsize>,
    watches_max: AtomicUsize,
    is_closed: AtomicBool,
}

impl EmbeddedEngine {
    /// Opens the database in the directory at `path`, or creates it there, and recovers from whatever stopped it last.
    ///
    /// # Errors
    ///
    /// 2006 for a setting out of bounds; 10003 when another process has it open, with its name; 10005 when the directory holds something
    /// else; 10001 when a file is damaged, naming it; 10002, 1510.
    pub fn open(path: &str, settings: Settings, env: Env) -> Result<EmbeddedEngine> {
        settings.validate()?;
        EmbeddedEngine::start(Parts::on_disk(path, settings, env)?)
    }

    /// A database in memory, gone when it is closed.
    ///
    /// # Errors
    ///
    /// 2006 for a setting out of bounds; 1510 when there are no more threads.
    pub fn in_memory(settings: Settings, env: Env) -> Result<EmbeddedEngine> {
        EmbeddedEngine::start(Parts::in_memory(settings, env)?)
    }

    /// As [`open`](EmbeddedEngine::open), but without threads: nothing is committed and no file is looked after but by the stepper. For simulators; every size among the
    /// settings may be as small as one.
    ///
    /// # Errors
    ///
    /// As [`open`](EmbeddedEngine::open).
    pub fn open_stepped(path: &str, settings: Settings, env: Env) -> Result<(EmbeddedEngine, Stepper)> {
        settings.validate_smallest()?;
        let parts = Parts::on_disk(path, settings, env)?;
        let (driver, stepper) =
            Driver::stepped(parts.shared.clone(), parts.settings, parts.sequencer, parts.files);
        let engine = EmbeddedEngine::assemble(parts.shared, driver, parts.lock, parts.closed_segments);
        Ok((engine, stepper))
    }

    fn start(parts: Parts) -> Result<EmbeddedEngine> {
        let driver = Driver::start(parts.shared.clone(), parts.settings, parts.sequencer, parts.files)?;
        Ok(EmbeddedEngine::assemble(parts.shared, driver, parts.lock, parts.closed_segments))
    }

    fn assemble(
        shared: Arc<Shared>,
        driver: Arc<Driver>,
        lock: Option<Box<dyn LockGuard>>,
        closed_segments: Option<Arc<Closed>>,
    ) -> EmbeddedEngine {
        let core = Core {
            shared,
            driver: std::sync::OnceLock::new(),
            watches_taken: Arc::default(),
            watches_max: AtomicUsize::new(WATCHES_MAX_DEFAULT),
            is_closed: AtomicBool::new(false),
        };
        let _ = core.driver.set(Arc::downgrade(&driver));
        EmbeddedEngine {
            core: Arc::new(core),
            driver,
            is_durable: closed_segments.is_some(),
            defaults: Arc::default(),
            lock: Mutex::new(lock),
            closed_segments,
        }
    }

    /// What the engine has counted, and where it stands.
    pub fn stats(&self) -> Stats {
        let shared = &self.core.shared;
        let mut stats = shared.counters.read();
        stats.version_readable = shared.versions().readable();
        stats.version_oldest = shared.store.oldest();
        stats.version_applied = shared.store.applied().map_or(0, |applied| applied.version);
        stats.window_size_bytes = shared.store.size_bytes();
        stats.window_entries = shared.store.entries() as u64;
        stats.resolver_entries = shared.resolver_entries.load(Ordering::Relaxed);
        stats.log_size_bytes = self.closed_segments.as_ref().map_or(0, |closed| closed.size_bytes());
        let map = shared.store.map_figures();
        stats.map_tables = map.tables;
        stats.map_size_bytes = map.size_bytes;
        stats.map_cached_bytes = map.cached_bytes;
        stats.watches = self.core.watches_taken.load(Ordering::Relaxed) as u64;
        stats
    }

    /// Does the housekeeping that is otherwise done ten times a second: among other things the oldest readable version follows the clock.
    /// For tests that move the clock.
    ///
    /// # Errors
    ///
    /// 10004.
    pub fn tick(&self) -> KvFuture<()> {
        let (sender, receiver) = promise();
        self.driver.request(Errand::Tick, sender);
        KvFuture::pending(async move {
            receiver.await.unwrap_or_else(|| Err(ErrorCode::OPERATION_CANCELLED.into()))
        })
    }

    /// Brings every commit acknowledged so far to disk. Without relaxed durability they are there already.
    ///
    /// # Errors
    ///
    /// 10004, 1510.
    pub fn sync(&self) -> KvFuture<()> {
        let (sender, receiver) = promise();
        self.driver.request(Errand::Sync, sender);
        KvFuture::pending(async move {
            receiver.await.unwrap_or_else(|| Err(ErrorCode::OPERATION_CANCELLED.into()))
        })
    }

    /// Reads every row that the map holds and verifies every checksum on the way. The number of rows. Reads and writes go on.
    ///
    /// # Errors
    ///
    /// 10001 naming the place of the first damage.
    pub fn scrub(&self) -> Result<u64> {
        self.core.shared.store.check()
    }

    /// Closes the database: what has been handed in is committed, the map is brought up to date, files are freed. Later operations fail
    /// with 10004. Closing twice does nothing.
    pub fn close(&self) {
        if self.core.is_closed.swap(true, Ordering::SeqCst) {
            return;
        }
        self.driver.close();
        let shared = &self.core.shared;
        shared.stop(&Error::new(ErrorCode::ENGINE_STOPPED, "the database is closed"));
        // The files may be another process's from now on: no transaction that is still around may read them.
        shared.store.raise_oldest(Version::MAX);
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The parts of an engine, put together but not running.
struct Parts {
    shared: Arc<Shared>,
    settings: Settings,
    sequencer: Sequencer,
    files: Option<Files>,
    lock: Option<Box<dyn LockGuard>>,
    closed_segments: Option<Arc<Closed>>,
}

impl Parts {
    fn on_disk(path: &str, settings: Settings, env: Env) -> Result<Parts> {
        let counters = Arc::new(Counters::default());
        let owner = owner(&env);
        let Disk { directory, log, map, recovered, lock } =
            Disk::open(path, &owner, &settings, &env, &counters)?;
        let applied = map.applied()?;
        let last_batch = recovered.batches.last().map_or(0, |(_, batch)| batch.version);
        let mut last = applied.version.max(last_batch).max(recovered.ceiling);
        if is_active(Fault::VersionsRestartLower) {
            last = applied.version.max(last_batch) / 2;
        }
        let store = Store::new(map, applied.version, counters.clone());
        for (sequence, batch) in recovered.batches {
            store.enter(sequence, Arc::new(batch));
        }
        let closed = log.closed();
        let (shared, sequencer) = prepare(store, last, Some(log), &settings, env, counters)?;
        let files = Some(Files { directory, closed: closed.clone() });
        Ok(Parts { shared, settings, sequencer, files, lock: Some(lock), closed_segments: Some(closed) })
    }

    fn in_memory(settings: Settings, env: Env) -> Result<Parts> {
        settings.validate()?;
        let counters = Arc::new(Counters::default());
        let store = Store::new(Box::new(MemoryMap::default()), 0, counters.clone());
        let (shared, sequencer) = prepare(store, 0, None, &settings, env, counters)?;
        Ok(Parts { shared, settings, sequencer, files: None, lock: None, closed_segments: None })
    }
}

fn prepare(
    store: Store,
    last: Version,
    log: Option<Log>,
    settings: &Settings,
    env: Env,
    counters: Arc<Counters>,
) -> Result<(Arc<Shared>, Sequencer)> {
    let is_locked = store.get(LOCK_KEY, last.max(store.oldest()))?.is_some();
    let versions = Versions::new(last, env.clock.monotonic(), last);
    let shared = Arc::new(Shared {
        env,
        store,
        versions: Mutex::new(versions),
        watches: Arc::new(Watches::default()),
        counters,
        is_locked: AtomicBool::new(is_locked),
        is_disk_full: AtomicBool::new(false),
        stopped: Mutex::new(None),
        resolver_entries: std::sync::atomic::AtomicU64::new(0),
    });
    let mut sequencer = Sequencer::new(shared.clone(), log, settings.durability);
    // The first ceiling is on disk before the first transaction begins.
    sequencer.tick();
    shared.check_running()?;
    Ok((shared, sequencer))
}

/// Who has the database open, for the one that finds it locked.
fn owner(env: &Env) -> String {
    format!("since {} (microseconds since 1970)", env.clock.wall_us())
}

impl Drop for EmbeddedEngine {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for EmbeddedEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("EmbeddedEngine").field("is_durable", &self.is_durable).finish_non_exhaustive()
    }
}

impl Engine for EmbeddedEngine {
    fn begin(&self) -> Result<TransactionRef> {
        self.core.shared.check_running()?;
        Ok(Arc::new(EmbeddedTransaction::new(self.core.clone(), self.defaults.clone())))
    }

    fn set_option(&self, option: DatabaseOption) -> Result<()> {
        match option {
            DatabaseOption::MaxWatches(count) => {
                let bounded = usize::try_from(count).ok().filter(|count| *count <= WATCHES_MAX_MAX);
                let Some(count) = bounded else {
                    let detail =
                        format!("max_watches is {count}: it has to lie between 0 and {WATCHES_MAX_MAX}");
                    return Err(Error::new(ErrorCode::INVALID_OPTION_VALUE, detail));
                };
                self.core.watches_max.store(count, Ordering::Relaxed);
                Ok(())
            }
            option => self.defaults.lock().unwrap_or_else(PoisonError::into_inner).set(option),
        }
    }

    fn profile(&self) -> EngineProfile {
        EngineProfile::new("embedded", false, self.is_durable)
    }
}

impl Gate for Core {
    fn snapshots(&self) -> &dyn Snapshots {
        &self.shared.store
    }

    fn read_version(&self, is_lock_aware: bool) -> KvFuture<Version> {
        if self.shared.is_locked.load(Ordering::Acquire) && !is_lock_aware {
            return KvFuture::error(ErrorCode::DATABASE_LOCKED);
        }
        let now = self.shared.env.clock.monotonic();
        let version = self.shared.versions().read_version(now);
        KvFuture::ready(self.shared.check_running().map(|()| version))
    }

    fn await_version(&self, version: Version) -> KvFuture<()> {
        let shared = self.shared.clone();
        let is_there = move || {
            let now = shared.env.clock.monotonic();
            shared.versions().read_version(now) >= version
        };
        if is_there() {
            return KvFuture::ready(Ok(()));
        }
        let env = self.shared.env.clone();
        let started = env.clock.monotonic();
        KvFuture::pending(async move {
            while !is_there() {
                if env.clock.monotonic().saturating_sub(started) >= FUTURE_VERSION_PATIENCE {
                    return Err(ErrorCode::FUTURE_VERSION.into());
                }
                env.timer.sleep(FUTURE_VERSION_POLL).await?;
            }
            Ok(())
        })
    }

    fn count_read(&self, is_range: bool) {
        let counters = &self.shared.counters;
        count(if is_range { &counters.range_reads } else { &counters.reads });
    }

    fn commit(&self, request: CommitRequest, done: Done) {
        match self.driver.get().and_then(std::sync::Weak::upgrade) {
            Some(driver) => driver.commit(Waiting { request, done }),
            None => {
                let error = Error::new(ErrorCode::ENGINE_STOPPED, "the database is closed");
                done(Err(crate::seam::Refused { error, conflicting: Vec::new() }));
            }
        }
    }

    fn env(&self) -> &Env {
        &self.shared.env
    }

    fn watch_ticket(&self) -> Result<WatchTicket> {
        let places_max = self.watches_max.load(Ordering::Relaxed);
        WatchTicket::take(&self.watches_taken, places_max).ok_or_else(|| {
            let detail =
                format!("{places_max} watches are outstanding: drop some, or raise the option max_watches");
            Error::new(ErrorCode::TOO_MANY_WATCHES, detail)
        })
    }

    fn watch(&self, ticket: WatchTicket, key: Bytes, expected: Option<Bytes>) -> KvFuture<()> {
        let shared = self.shared.clone();
        self.shared.watches.add(ticket, key.clone(), expected, move || {
            let newest = shared.versions().readable();
            shared.store.get(&key, newest)
        })
    }
}
