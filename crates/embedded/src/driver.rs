//! The two threads of an engine: the committer, which runs the sequencer, and the keeper, which brings the map up behind the window.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tenantry_kv::env::{Directory, ThreadHandle};
use tenantry_kv::{Error, ErrorCode, Result};

use crate::log::Closed;
use crate::reply::Sender;
use crate::seam::Refused;
use crate::sequencer::{Sequencer, Shared, Waiting};
use crate::settings::{Durability, Settings};
use crate::stats::count;

/// How often either thread looks around when nothing happens.
const TICK: Duration = Duration::from_millis(100);
/// How long a batch may wait for the map when there is little of it.
const APPLY_AFTER: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Queue {
    commits: Vec<Waiting>,
    errands: Vec<(Errand, Sender<Result<()>>)>,
    is_closed: bool,
}

/// What the committer can be asked for beside commits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Errand {
    /// To bring everything acknowledged to disk.
    Sync,
    /// To do its housekeeping.
    Tick,
}

/// What the threads share with the engine.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    settings: Settings,
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// Signalled when the map has taken something, and when there is something for it to take.
    map_moved: Condvar,
    map_turn: Mutex<()>,
    is_keeper_needed: AtomicBool,
    is_closing: AtomicBool,
    threads: Mutex<Vec<Box<dyn ThreadHandle>>>,
}

/// What the keeper of a durable engine looks after beside the map.
pub(crate) struct Files {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) closed: Arc<Closed>,
}

impl Driver {
    fn new(shared: Arc<Shared>, settings: Settings) -> Driver {
        Driver {
            shared,
            settings,
            queue: Mutex::default(),
            arrived: Condvar::new(),
            map_moved: Condvar::new(),
            map_turn: Mutex::new(()),
            is_keeper_needed: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            threads: Mutex::default(),
        }
    }

    /// A driver without threads: the work of both is done by whoever holds the stepper.
    pub(crate) fn stepped(
        shared: Arc<Shared>,
        settings: Settings,
        sequencer: Sequencer,
        files: Option<Files>,
    ) -> (Arc<Driver>, Stepper) {
        let driver = Arc::new(Driver::new(shared, settings));
        let committer = Committer::new(driver.clone(), sequencer);
        let keeper = Keeper::new(driver.clone(), files);
        (driver, Stepper { committer, keeper })
    }

    /// Starts both threads.
    ///
    /// # Errors
    ///
    /// 1510 when the operating system has no more threads.
    pub(crate) fn start(
        shared: Arc<Shared>,
        settings: Settings,
        sequencer: Sequencer,
        files: Option<Files>,
    ) -> Result<Arc<Driver>> {
        let driver = Arc::new(Driver::new(shared.clone(), settings));
        let threads = &shared.env.threads;
        let committer = Committer::new(driver.clone(), sequencer);
        let committer = threads.spawn("tenantry-commit", Box::new(move || committer.run()))?;
        driver.lock_threads().push(committer);
        let keeper = Keeper::new(driver.clone(), files);
        match threads.spawn("tenantry-keeper", Box::new(move || keeper.run())) {
            Ok(keeper) => driver.lock_threads().push(keeper),
            Err(error) => {
                driver.close();
                return Err(error);
            }
        }
        Ok(driver)
    }

    /// Hands a commit to the committer.
    pub(crate) fn commit(&self, waiting: Waiting) {
        let refused = {
            let mut queue = self.lock();
            if queue.is_closed {
                Some((waiting, Error::new(ErrorCode::ENGINE_STOPPED, "the database is closed")))
            } else if queue.commits.len() >= self.settings.queue_transactions_max {
                let detail = format!("{} commits wait already; wait for some of them", queue.commits.len());
                Some((waiting, Error::new(ErrorCode::PROXY_MEMORY_LIMIT_EXCEEDED, detail)))
            } else {
                queue.commits.push(waiting);
                None
            }
        };
        match refused {
            None => self.arrived.notify_one(),
            Some((waiting, error)) => (waiting.done)(Err(Refused { error, conflicting: Vec::new() })),
        }
    }

    /// Asks the committer for something.
    pub(crate) fn request(&self, errand: Errand, sender: Sender<Result<()>>) {
        {
            let mut queue = self.lock();
            if queue.is_closed {
                drop(queue);
                return sender.send(Err(Error::new(ErrorCode::ENGINE_STOPPED, "the database is closed")));
            }
            queue.errands.push((errand, sender));
        }
        self.arrived.notify_one();
    }

    /// Lets what waits finish and ends both threads.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.is_closing.store(true, Ordering::SeqCst);
        self.arrived.notify_all();
        self.map_moved.notify_all();
        for thread in std::mem::take(&mut *self.lock_threads()) {
            thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_threads(&self) -> MutexGuard<'_, Vec<Box<dyn ThreadHandle>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.shared.env.clock.monotonic()
    }

    /// Waits until something has arrived, or for a tick.
    fn wait(&self) {
        let queue = self.lock();
        if queue.commits.is_empty() && queue.errands.is_empty() && !queue.is_closed {
            drop(self.arrived.wait_timeout(queue, TICK));
        }
    }

    /// What waits, at most a batch of it.
    fn next_batch(&self) -> (Vec<Waiting>, Vec<(Errand, Sender<Result<()>>)>, bool) {
        let mut queue = self.lock();
        let buggify = &self.shared.env.buggify;
        if !queue.is_closed && buggify.fires("committer: takes nothing yet") {
            return (Vec::new(), Vec::new(), false);
        }
        let is_small = buggify.fires("committer: a batch of one");
        let transactions_max = if is_small { 1 } else { self.settings.batch_transactions_max };
        let commits = match queue.commits.len() > transactions_max {
            true => {
                let rest = queue.commits.split_off(transactions_max);
                std::mem::replace(&mut queue.commits, rest)
            }
            false => std::mem::take(&mut queue.commits),
        };
        (commits, std::mem::take(&mut queue.errands), queue.is_closed)
    }

    /// Slows writers down while the window is twice its bound.
    fn wait_for_map(&self) {
        if self.is_map_behind() {
            count(&self.shared.counters.write_stalls);
        }
        while self.is_map_behind() {
            self.is_keeper_needed.store(true, Ordering::SeqCst);
            self.map_moved.notify_all();
            let turn = self.map_turn.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.map_moved.wait_timeout(turn, Duration::from_millis(10)));
        }
    }

    /// Whether writers have to wait for the map. On a full disk it does not move: the commits are refused instead.
    fn is_map_behind(&self) -> bool {
        self.shared.store.size_bytes() > 2 * self.settings.window_size_bytes_max as u64
            && self.shared.check_running().is_ok()
            && !self.shared.is_disk_full.load(Ordering::Acquire)
    }
}

/// The work of both threads, done a piece at a time by its holder, who decides what comes when: a simulator.
pub struct Stepper {
    committer: Committer,
    keeper: Keeper,
}

impl fmt::Debug for Stepper {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Stepper")
    }
}

impl Stepper {
    /// Whether a commit or a request waits.
    pub fn has_work(&self) -> bool {
        let queue = self.committer.driver.lock();
        !queue.commits.is_empty() || !queue.errands.is_empty()
    }

    /// Takes what waits through one batch, and does the housekeeping that is due. Nothing while the map is too far behind.
    pub fn step_committer(&mut self) {
        match self.committer.driver.is_map_behind() {
            true => self.committer.let_map_go_on(),
            false => drop(self.committer.turn()),
        }
    }

    /// Looks after the map and the files once.
    pub fn step_keeper(&mut self) {
        self.keeper.turn_or_stop();
    }

    /// Ends as a clean close does: what waits is committed, the log is synced, the map brought up to date.
    pub fn finish(mut self) {
        self.committer.driver.lock().is_closed = true;
        while self.has_work() {
            while self.committer.driver.is_map_behind() {
                self.committer.let_map_go_on();
                self.keeper.turn_or_stop();
            }
            self.committer.turn();
        }
        self.committer.finish();
        self.keeper.finish();
    }
}

/// The thread that runs the sequencer.
struct Committer {
    driver: Arc<Driver>,
    sequencer: Sequencer,
    ticked_at: Duration,
}

impl Committer {
    fn new(driver: Arc<Driver>, mut sequencer: Sequencer) -> Committer {
        sequencer.tick();
        let ticked_at = driver.now();
        Committer { driver, sequencer, ticked_at }
    }

    fn run(mut self) {
        let _abort = AbortOnPanic;
        loop {
            self.driver.wait();
            if self.driver.is_map_behind() {
                self.let_map_go_on();
            }
            self.driver.wait_for_map();
            if self.turn() {
                break;
            }
        }
        self.finish();
    }

    /// The map takes what is on disk in the log: with relaxed durability that is brought there now.
    fn let_map_go_on(&mut self) {
        if let Durability::Relaxed { .. } = self.driver.settings.durability
            && let Err(error) = self.sequencer.sync()
        {
            self.driver.shared.stop(&error);
        }
    }

    /// Takes a batch through its steps; true when the database is closed and nothing waits any more.
    fn turn(&mut self) -> bool {
        let (commits, errands, is_closed) = self.driver.next_batch();
        if commits.is_empty() && errands.is_empty() && is_closed {
            return true;
        }
        if !commits.is_empty() {
            self.sequencer.commit(commits);
        }
        for (errand, sender) in errands {
            sender.send(match errand {
                Errand::Sync => self.sequencer.sync(),
                Errand::Tick => {
                    self.sequencer.tick();
                    self.driver.shared.check_running()
                }
            });
        }
        let leaves_out = self.driver.shared.env.buggify.fires("committer: no mark behind the batch");
        if self.driver.lock().commits.is_empty() && !leaves_out {
            self.sequencer.mark();
        }
        let now = self.driver.now();
        if now.saturating_sub(self.ticked_at) >= TICK {
            self.sequencer.tick();
            self.ticked_at = now;
        }
        false
    }

    fn finish(&mut self) {
        if let Err(error) = self.sequencer.finish() {
            self.driver.shared.stop(&error);
        }
    }
}

/// The thread that looks after the map and the files.
struct Keeper {
    driver: Arc<Driver>,
    files: Option<Files>,
    applied_at: Duration,
    commits_seen: u64,
}

impl Keeper {
    fn new(driver: Arc<Driver>, files: Option<Files>) -> Keeper {
        let applied_at = driver.now();
        Keeper { driver, files, applied_at, commits_seen: 0 }
    }

    fn run(mut self) {
        let _abort = AbortOnPanic;
        let driver = self.driver.clone();
        while !driver.is_closing.load(Ordering::SeqCst) {
            self.turn_or_stop();
            let turn = driver.map_turn.lock().unwrap_or_else(PoisonError::into_inner);
            if !driver.is_keeper_needed.swap(false, Ordering::SeqCst) {
                drop(driver.map_moved.wait_timeout(turn, TICK));
            }
        }
        self.finish();
    }

    /// A full disk refuses writes until there is room; the map is as it was. Anything else that fails stops the engine.
    fn turn_or_stop(&mut self) {
        match self.turn() {
            Ok(()) => {}
            Err(error) if error.code() == ErrorCode::DISK_FULL => {
                self.driver.shared.is_disk_full.store(true, Ordering::Release);
            }
            Err(error) => self.driver.shared.stop(&error),
        }
    }

    /// A clean end leaves nothing to replay.
    fn finish(&mut self) {
        let shared = self.driver.shared.clone();
        if shared.check_running().is_ok() && !shared.is_disk_full.load(Ordering::Acquire) {
            let newest = shared.versions().readable();
            shared.store.raise_oldest(newest);
            if let Err(error) = self.apply() {
                shared.stop(&error);
            }
        }
    }

    fn turn(&mut self) -> Result<()> {
        let room_bytes = self.check_free_space()?;
        let shared = self.driver.shared.clone();
        shared.check_running()?;
        if shared.env.buggify.fires("keeper: looks away") {
            return Ok(());
        }
        let is_full = || shared.is_disk_full.load(Ordering::Acquire);
        if let Some(files) = &self.files
            && !is_full()
        {
            files.closed.prepare_spare()?;
        }
        self.evict_early();
        // The map is not written while the disk might fill under it: what waits is in memory and in the log.
        if self.is_due() && !is_full() {
            self.apply()?;
        }
        // One piece at a time: what has become due meanwhile goes first.
        let is_late = shared.env.buggify.fires("keeper: merges later");
        if !is_full() && !is_late && shared.store.maintain(room_bytes)? {
            self.driver.is_keeper_needed.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Refuses writes while there is less room than the reserve and what waits in memory for the map. The room beyond that, in bytes.
    fn check_free_space(&mut self) -> Result<u64> {
        let Some(files) = &self.files else { return Ok(u64::MAX) };
        let needed =
            self.driver.settings.free_space_reserve_bytes + 2 * self.driver.shared.store.size_bytes();
        let free_bytes = files.directory.free_bytes()?;
        self.driver.shared.is_disk_full.store(free_bytes < needed, Ordering::Release);
        Ok(free_bytes.saturating_sub(needed))
    }

    /// At the memory bound the oldest versions leave before their time.
    fn evict_early(&self) {
        let store = &self.driver.shared.store;
        let limit = self.driver.settings.window_size_bytes_max as u64;
        let size = store.size_bytes();
        if self.driver.shared.env.buggify.fires("keeper: versions leave early") {
            store.raise_oldest(self.driver.shared.versions().readable());
        }
        if size > limit
            && let Some(version) = store.version_to_free(size - limit / 2)
            && version > store.oldest()
        {
            count(&self.driver.shared.counters.early_evictions);
            let newest = self.driver.shared.versions().readable();
            store.raise_oldest(version.min(newest));
        }
    }

    fn is_due(&mut self) -> bool {
        let shared = &self.driver.shared;
        if !shared.store.has_due() {
            return false;
        }
        let commits = shared.counters.commits.load(Ordering::Relaxed);
        let is_idle = commits == self.commits_seen;
        self.commits_seen = commits;
        let log_bytes = self.files.as_ref().map_or(0, |files| files.closed.size_bytes());
        is_idle
            || shared.env.buggify.fires("keeper: the map is brought up early")
            || shared.store.size_bytes() > self.driver.settings.window_size_bytes_max as u64 / 4
            || log_bytes > self.driver.settings.log_size_bytes_max / 2
            || self.driver.now().saturating_sub(self.applied_at) >= APPLY_AFTER
    }

    fn apply(&mut self) -> Result<()> {
        while let Some(applied) = self.driver.shared.store.apply_due()? {
            if let Some(files) = &self.files {
                files.closed.cut(applied.sequence)?;
            }
            self.driver.map_moved.notify_all();
        }
        self.applied_at = self.driver.now();
        Ok(())
    }
}

/// A panic in commit or in the map's upkeep leaves state half changed, in memory and for everybody: the process ends rather than go on
/// from there. On disk nothing is half: the next opening recovers.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
