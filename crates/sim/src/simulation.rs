//! One seed: clients on the shipped engine on a simulated disk, through crashes, to a verdict.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tenantry_embedded::{EmbeddedEngine, MapSettings, Settings, Stepper};
use tenantry_kv::env::{Buggify, Env, ThreadHandle, Threads};
use tenantry_kv::runner::Runner;
use tenantry_kv::{Engine, Error, ErrorCode, Isolation, RangeRequest, Result};

use crate::disk::{Activity, SimulatedDisk};
use crate::executor::Executor;
use crate::history::{Ended, History, number_of_marker};
use crate::layer;
use crate::oracle;
use crate::random::{SeededRandomness, Stream};
use crate::time::SimulatedTime;
use crate::unreliable::UnreliableEngine;
use crate::workload::{self, Mix, Shared, Tally};

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Nothing but conflicts: the engine runs to the end.
    Calm,
    /// Power cuts: what was not synced is at risk. Nothing that was acknowledged may be lost, and opening never fails.
    Power,
    /// Synced data is damaged, reads and syncs fail, the disk is full. Never wrong data; a typed error instead.
    Media,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 3] = [Profile::Calm, Profile::Power, Profile::Media];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Calm => "calm",
            Profile::Power => "power",
            Profile::Media => "media",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How large a run is. A failure is made smaller with these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Random transactions in all.
    pub transactions: u64,
    /// The most clients.
    pub clients_max: u64,
    /// The most lives: one more than crashes.
    pub lives_max: u64,
}

impl Default for Scale {
    fn default() -> Scale {
        Scale { transactions: 200, clients_max: 16, lives_max: 5 }
    }
}

/// What a run exercised.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// A number that is the same for the same run.
    pub trace: u64,
    /// Transactions that committed, that were refused for a conflict, and whose reads were too old.
    pub commits: u64,
    /// 1020.
    pub conflicts: u64,
    /// 1007.
    pub too_old: u64,
    /// Crashes, and those that came while a recovery was under way.
    pub crashes: u64,
    /// Crashes during a recovery.
    pub double_crashes: u64,
    /// Crashes by what the engine was doing.
    pub crashed_in: BTreeMap<Activity, u64>,
    /// Changes of the disk by what the engine was doing.
    pub activities: BTreeMap<Activity, u64>,
    /// Recoveries that found something to replay or to check.
    pub recoveries: u64,
    /// Damage that was told by a typed error, and damage that hurt nothing.
    pub damage_named: u64,
    /// Damage of what nobody needs.
    pub damage_harmless: u64,
    /// Watches that fired.
    pub watches_fired: u64,
    /// Points that took their rare path.
    pub rare_paths: BTreeMap<&'static str, u64>,
}

/// Points of the engine that take their rare path when the seed armed them: a quarter of the points, a quarter of the times.
pub(crate) struct SeededBuggify {
    seed: u64,
    is_on: bool,
    state: std::sync::Mutex<BTreeMap<&'static str, (Stream, u64)>>,
}

impl SeededBuggify {
    fn new(seed: u64, is_on: bool) -> SeededBuggify {
        SeededBuggify { seed, is_on, state: std::sync::Mutex::default() }
    }

    fn fired(&self) -> BTreeMap<&'static str, u64> {
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.iter().map(|(site, (_, fired))| (*site, *fired)).collect()
    }
}

impl Buggify for SeededBuggify {
    fn fires(&self, site: &'static str) -> bool {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (stream, fired) = state.entry(site).or_insert_with(|| (Stream::new(self.seed, site), 0));
        let is_armed = self.is_on && Stream::new(self.seed, site).percent(25);
        let fires = is_armed && stream.percent(25);
        *fired += u64::from(fires);
        fires
    }
}

struct NoThreads;

impl Threads for NoThreads {
    fn spawn(&self, name: &str, _body: Box<dyn FnOnce() + Send>) -> Result<Box<dyn ThreadHandle>> {
        Err(Error::new(ErrorCode::IO_ERROR, format!("the simulation starts no thread: {name}")))
    }
}

fn env(
    disk: &SimulatedDisk,
    time: &SimulatedTime,
    randomness: &Arc<SeededRandomness>,
    buggify: &Arc<SeededBuggify>,
) -> Env {
    Env {
        clock: Arc::new(time.clone()),
        timer: Arc::new(time.clone()),
        randomness: randomness.clone(),
        entropy: randomness.clone(),
        storage: Arc::new(disk.clone()),
        threads: Arc::new(NoThreads),
        buggify: buggify.clone(),
    }
}

fn settings(random: &mut Stream) -> Settings {
    let mut map = MapSettings::default();
    map.block_size_bytes = *random.pick(&[64, 256, 4_096]);
    map.table_size_bytes = *random.pick(&[1 << 10, 4 << 10, 32 << 20]);
    map.recent_size_bytes = *random.pick(&[1 << 10, 8 << 10, 64 << 20]);
    map.level_size_bytes = *random.pick(&[1 << 10, 8 << 10, 256 << 20]);
    let mut settings = Settings::default();
    settings.map = map;
    settings.log_segment_size_bytes = 64 << 10;
    settings.log_size_bytes_max = 64 << 10;
    settings.cache_size_bytes = 1 << 20;
    settings.window_size_bytes_max = *random.pick(&[1 << 20, 256 << 20]);
    settings.free_space_reserve_bytes = 0;
    settings.batch_transactions_max = *random.pick(&[1, 2, 4_096]);
    settings
}

/// An opened engine, and who does its work.
struct Opened {
    engine: Arc<EmbeddedEngine>,
    stepper: Stepper,
}

struct Simulation {
    seed: u64,
    profile: Profile,
    scale: Scale,
    disk: SimulatedDisk,
    time: SimulatedTime,
    randomness: Arc<SeededRandomness>,
    buggify: Arc<SeededBuggify>,
    history: Rc<RefCell<History>>,
    tally: Rc<RefCell<Tally>>,
    settings: Settings,
    scheduling: Stream,
    faults: Stream,
    report: Report,
}

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// All clients are done.
    Done,
    /// The power went, or the engine stopped for another fault of the disk.
    Stopped,
}

/// Runs one seed.
///
/// # Errors
///
/// What did not hold, in words.
pub fn run(seed: u64, profile: Profile, scale: Scale) -> std::result::Result<Report, String> {
    let mut knobs = Stream::new(seed, "knobs");
    let mut simulation = Simulation {
        seed,
        profile,
        scale,
        disk: SimulatedDisk::default(),
        time: SimulatedTime::default(),
        randomness: Arc::new(SeededRandomness::new(seed)),
        buggify: Arc::new(SeededBuggify::new(seed, knobs.percent(80))),
        history: Rc::default(),
        tally: Rc::default(),
        settings: settings(&mut knobs),
        scheduling: Stream::new(seed, "scheduling"),
        faults: Stream::new(seed, "faults"),
        report: Report::default(),
    };
    simulation.run(&mut knobs)?;
    let tally = simulation.tally.borrow();
    simulation.report.commits = tally.commits;
    simulation.report.conflicts = tally.conflicts;
    simulation.report.too_old = tally.too_old;
    simulation.report.watches_fired = tally.watches_fired;
    simulation.report.rare_paths = simulation.buggify.fired();
    Ok(simulation.report.clone())
}

impl Simulation {
    fn run(&mut self, knobs: &mut Stream) -> std::result::Result<(), String> {
        let lives = match self.profile {
            Profile::Calm => 1 + knobs.below(2).min(self.scale.lives_max - 1),
            _ => 1 + knobs.below(self.scale.lives_max),
        };
        for life in 0..lives {
            let mut mix = Mix::new(
                &mut Stream::new(self.seed, &format!("mix {life}")),
                self.scale.transactions / lives,
            );
            mix.clients = mix.clients.min(self.scale.clients_max);
            let is_last = life + 1 == lives;
            let mut opened = self.open()?;
            self.plan_faults(is_last);
            let ended = self.live(&mut opened, &mix, life)?;
            self.note(self.disk.operations());
            let stopped = ended == Life::Stopped;
            if stopped || (self.profile != Profile::Calm && !is_last && self.faults.percent(50)) {
                self.crash(Some(opened))?;
                continue;
            }
            let Opened { engine, stepper } = opened;
            stepper.finish();
            drop(engine);
            if !self.disk.has_power() {
                // It went during the last steps.
                self.crash(None)?;
                continue;
            }
            self.disk.keep_power();
            if self.profile == Profile::Media && self.faults.percent(70) {
                return self.damage();
            }
        }
        self.disk.heal();
        let mut opened = self.open()?;
        self.check(&mut opened)?;
        opened.stepper.finish();
        Ok(())
    }

    fn note(&mut self, number: u64) {
        self.report.trace = (self.report.trace ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(7);
    }

    fn env(&self) -> Env {
        env(&self.disk, &self.time, &self.randomness, &self.buggify)
    }

    fn open_once(&self) -> Result<Opened> {
        self.disk.set_recovering(true);
        let opened = EmbeddedEngine::open_stepped("simulated", self.settings.clone(), self.env());
        self.disk.set_recovering(false);
        opened.map(|(engine, stepper)| Opened { engine: Arc::new(engine), stepper })
    }

    /// Opens the database; with power, and without damage, that never fails.
    fn open(&mut self) -> std::result::Result<Opened, String> {
        let mut opened = self.open_once();
        let refusals = [ErrorCode::DISK_FULL, ErrorCode::IO_ERROR, ErrorCode::ENGINE_STOPPED];
        if self.profile == Profile::Media
            && opened.as_ref().is_err_and(|error| refusals.contains(&error.code()))
        {
            // Told by name; and once there is room and the disk does its work again, nothing is amiss.
            self.disk.heal();
            opened = self.open_once();
        }
        let opened = opened.map_err(|error| format!("the database could not be opened: {error}"))?;
        self.report.recoveries += 1;
        Ok(opened)
    }

    fn plan_faults(&mut self, is_last: bool) {
        match self.profile {
            Profile::Calm => {}
            Profile::Power if is_last => {}
            Profile::Power => {
                let bound = *self.faults.pick(&[20, 200, 2_000]);
                let after = 1 + self.faults.below(bound);
                match self.faults.percent(50) {
                    true => self.disk.end_power_in_sync_after(1 + after / 3),
                    false => self.disk.end_power_after(after),
                }
            }
            Profile::Media => {
                if self.faults.percent(30) {
                    let after = 1 + self.faults.below(200);
                    self.disk.fail_sync_after(after);
                }
                if self.faults.percent(20) {
                    let after = 1 + self.faults.below(200);
                    self.disk.fail_read_after(after);
                }
                if self.faults.percent(20) {
                    let room = self.faults.below(200_000) as usize;
                    self.disk.limit_size(self.disk.used_bytes() + room);
                }
            }
        }
    }

    /// Lets clients run until they are done, the power goes, or the engine stops.
    fn live(&mut self, opened: &mut Opened, mix: &Mix, life: u64) -> std::result::Result<Life, String> {
        let mut extras = Stream::new(self.seed, &format!("extras {life}"));
        // Whoever has a runner has to bear a cluster's bad days.
        let percent = if extras.percent(50) { 1 + extras.below(15) } else { 0 };
        let unreliable: Arc<dyn Engine> = Arc::new(UnreliableEngine::new(
            opened.engine.clone(),
            Arc::new(self.time.clone()),
            self.seed ^ life,
            percent,
        ));
        let shared = Rc::new(Shared {
            engine: opened.engine.clone(),
            history: self.history.clone(),
            runner: Runner::new(unreliable.clone(), self.env(), "s/"),
            tally: self.tally.clone(),
        });
        let mut executor = Executor::default();
        let (setting_up, is_set_up) = (shared.clone(), Rc::new(RefCell::new(false)));
        let kept = is_set_up.clone();
        executor
            .spawn(async move { *kept.borrow_mut() = workload::set_up(&setting_up.runner).await.is_ok() });
        if self.drive(&mut executor, opened)? == Life::Stopped {
            return Ok(Life::Stopped);
        }
        let is_set_up = is_set_up.take_or(false);
        let stream = |what: &str, index: u64| Stream::new(self.seed, &format!("{what} {life} {index}"));
        for client in 0..mix.clients {
            let transactions = mix.transactions / mix.clients + 1;
            let random = stream("client", client);
            executor.spawn(workload::random_client(shared.clone(), mix.clone(), random, transactions));
        }
        let rounds = self.scale.transactions / 40;
        for client in 0..extras.below(3) {
            executor.spawn(workload::counting_client(shared.clone(), rounds));
            // On a full disk the ring and the accounts may not be there.
            if is_set_up {
                executor.spawn(workload::invariant_client(
                    shared.clone(),
                    stream("invariant", client),
                    rounds,
                ));
            }
        }
        // On a disk that may refuse everything nobody could promise to wake them.
        if self.profile != Profile::Media && extras.percent(50) {
            let watched = 1 + extras.below(3);
            for key in 0..watched {
                // What earlier lives wrote counts from the start.
                executor.spawn(workload::watching_client(shared.clone(), key, 3));
            }
            executor.spawn(workload::waking_client(shared.clone(), watched, stream("waking", 0), 3));
        }
        if extras.percent(40) {
            for client in 0..1 + extras.below(3) {
                let (engine, env) = (unreliable.clone(), self.env());
                let (random, tally) = (stream("layer", client), self.tally.clone());
                executor.spawn(layer::client(engine, env, random, rounds, tally));
            }
        }
        let ended = self.drive(&mut executor, opened)?;
        if let Some(what) = &self.tally.borrow().broken {
            return Err(what.clone());
        }
        Ok(ended)
    }

    /// Lets tasks, the engine's work and time take turns.
    fn drive(
        &mut self,
        executor: &mut Executor<'_>,
        opened: &mut Opened,
    ) -> std::result::Result<Life, String> {
        let mut idle = 0;
        while !executor.is_empty() {
            if !self.disk.has_power() {
                return Ok(Life::Stopped);
            }
            let roll = self.scheduling.below(100);
            let has_woken = executor.has_woken();
            if roll < 3 {
                opened.stepper.step_keeper();
                self.note(1);
            } else if opened.stepper.has_work() && (roll < 30 || !has_woken) {
                opened.stepper.step_committer();
                self.note(2);
                idle += 1;
            } else if has_woken {
                let task = executor.step(&mut self.scheduling).unwrap_or_default();
                self.note(3 + task as u64);
                idle = 0;
            } else {
                // Nobody can go on: time passes.
                let until = self.time.until_next().unwrap_or(Duration::from_millis(50));
                self.time.advance(until.max(Duration::from_micros(1)));
                opened.stepper.step_committer();
                opened.stepper.step_keeper();
                idle += 1;
            }
            // Mostly a little; now and then so much that snapshots grow old.
            let by = match self.scheduling.below(1_000) {
                0 => 1_000_000 * self.scheduling.below(6),
                roll if roll < 300 => self.scheduling.below(2_000),
                _ => 0,
            };
            self.time.advance(Duration::from_micros(by));
            if idle > 5_000 {
                return Err("some task waits for ever: a wake-up or an answer is missing".to_owned());
            }
        }
        match opened.engine.begin() {
            Ok(_) if self.disk.has_power() => Ok(Life::Done),
            _ => Ok(Life::Stopped),
        }
    }

    /// The power goes now, or has gone; and, a third of the times, once more while the database recovers.
    fn crash(&mut self, opened: Option<Opened>) -> std::result::Result<(), String> {
        self.cut_power();
        drop(opened);
        if self.faults.percent(50) {
            let after = 1 + self.faults.below(40);
            self.disk.end_power_after(after);
            if let Ok(mut opened) = self.open_once() {
                for _ in 0..self.faults.below(20) {
                    opened.stepper.step_keeper();
                    opened.stepper.step_committer();
                }
                self.cut_power();
            } else {
                self.cut_power();
            }
            self.report.double_crashes += 1;
        }
        let mut opened = self.open()?;
        self.check(&mut opened)?;
        match self.faults.percent(50) {
            true => opened.stepper.finish(),
            false => {
                // Killed: the operating system brings everything to the disk.
                drop(opened);
            }
        }
        Ok(())
    }

    fn cut_power(&mut self) {
        let activity = self.disk.activity();
        self.report.crashes += 1;
        *self.report.crashed_in.entry(activity).or_default() += 1;
        for (activity, count) in self.disk.seen() {
            *self.report.activities.entry(activity).or_default() += count;
        }
        self.disk = self.disk.crash(&mut self.faults);
    }

    /// Damages what is on the disk, and sees that it is told or harmless.
    fn damage(&mut self) -> std::result::Result<(), String> {
        self.disk.heal();
        let done: Vec<String> =
            (0..1 + self.faults.below(3)).filter_map(|_| self.disk.damage(&mut self.faults)).collect();
        let mut opened = match self.open_once() {
            Ok(opened) => opened,
            Err(error) => return self.named(&error, &done),
        };
        match self.dump(&mut opened)? {
            Err(error) => self.named(&error, &done),
            Ok(rows) => {
                self.judge(&rows).map_err(|what| format!("after damage ({}): {what}", done.join(", ")))?;
                match opened.engine.scrub() {
                    Ok(_) => self.report.damage_harmless += 1,
                    Err(error) => self.named(&error, &done)?,
                }
                Ok(())
            }
        }
    }

    fn named(&mut self, error: &Error, done: &[String]) -> std::result::Result<(), String> {
        let codes = [
            ErrorCode::STORAGE_CORRUPT,
            ErrorCode::FORMAT_UNSUPPORTED,
            ErrorCode::IO_ERROR,
            // The keeper met the damage first, and said so.
            ErrorCode::ENGINE_STOPPED,
        ];
        if !codes.contains(&error.code()) {
            return Err(format!("damage ({}) was told as {error}", done.join(", ")));
        }
        self.report.damage_named += 1;
        Ok(())
    }

    /// Everything that the database holds.
    fn dump(&mut self, opened: &mut Opened) -> std::result::Result<Result<Vec<(Bytes, Bytes)>>, String> {
        let found = Rc::new(RefCell::new(Ok(Vec::new())));
        let mut executor = Executor::default();
        let (engine, kept) = (opened.engine.clone(), found.clone());
        executor.spawn(async move { *kept.borrow_mut() = everything(&*engine).await });
        self.drive(&mut executor, opened)?;
        drop(executor);
        Ok(found.take_or(Err(ErrorCode::OPERATION_CANCELLED.into())))
    }

    /// Holds what the database has against the history.
    fn check(&mut self, opened: &mut Opened) -> std::result::Result<(), String> {
        let rows = self.dump(opened)?.map_err(|error| format!("it cannot be read: {error}"))?;
        self.judge(&rows)?;
        let found = Rc::new(RefCell::new(Ok(())));
        let mut executor = Executor::default();
        let (engine, env, kept) = (opened.engine.clone(), self.env(), found.clone());
        let tally = self.tally.borrow().clone();
        executor.spawn(async move { *kept.borrow_mut() = invariants(engine, env, &tally).await });
        self.drive(&mut executor, opened)?;
        drop(executor);
        found.take_or(Ok(()))
    }

    fn judge(&mut self, rows: &[(Bytes, Bytes)]) -> std::result::Result<(), String> {
        let mut history = self.history.borrow_mut();
        resolve(&mut history, rows)?;
        let state = oracle::judge(&history)?;
        let found: BTreeMap<&Bytes, &Bytes> =
            rows.iter().filter(|(key, _)| key.starts_with(b"k")).map(|(key, value)| (key, value)).collect();
        let expected: BTreeMap<&Bytes, &Bytes> = state.iter().collect();
        match found == expected {
            true => Ok(()),
            false => Err(format!("the database holds {found:?}, its history leaves {expected:?}")),
        }
    }
}

/// Takes what is in a shared place.
trait TakeOr<T> {
    fn take_or(&self, other: T) -> T;
}

impl<T> TakeOr<T> for RefCell<T> {
    fn take_or(&self, other: T) -> T {
        self.replace(other)
    }
}

async fn everything(engine: &dyn Engine) -> Result<Vec<(Bytes, Bytes)>> {
    let transaction = engine.begin()?;
    let mut rows = Vec::new();
    let mut next = Some(RangeRequest::new("", vec![0xff]));
    while let Some(request) = next {
        let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
        rows.extend(batch.rows.iter().map(|row| (row.key.clone(), row.value.clone())));
        next = request.after(&batch);
    }
    Ok(rows)
}

/// Learns from the markers what became of transactions, and sees that what was acknowledged is there and what was refused is not.
fn resolve(history: &mut History, rows: &[(Bytes, Bytes)]) -> std::result::Result<(), String> {
    let mut stamps = BTreeMap::new();
    for (key, value) in rows.iter().filter(|(key, _)| key.starts_with(b"m")) {
        let number = number_of_marker(key).ok_or_else(|| format!("a strange key: {key:?}"))?;
        let stamp: [u8; 10] = value[..].try_into().map_err(|_| format!("a strange stamp: {value:?}"))?;
        stamps.insert(number, tenantry_kv::Versionstamp::from_bytes(stamp));
    }
    for (number, recorded) in history.transactions.iter_mut().enumerate() {
        match (recorded.ended, stamps.get(&number)) {
            (Ended::Committed(stamp), Some(found)) if stamp == *found => {}
            (Ended::Committed(stamp), found) => {
                return Err(format!(
                    "transaction {number} was acknowledged with {stamp:?}; there is {found:?}"
                ));
            }
            (Ended::Open | Ended::Unknown, Some(found)) => recorded.ended = Ended::Committed(*found),
            // Not there after a recovery: it never will be.
            (Ended::Open | Ended::Unknown, None) => {
                recorded.ended = Ended::Failed(ErrorCode::OPERATION_CANCELLED);
            }
            (ended, Some(_)) => {
                return Err(format!("transaction {number} ended with {ended:?} and is there"));
            }
            (_, None) => {}
        }
    }
    Ok(())
}

async fn invariants(engine: Arc<EmbeddedEngine>, env: Env, tally: &Tally) -> std::result::Result<(), String> {
    let words = |error: Error| error.to_string();
    let transaction = engine.begin().map_err(words)?;
    if transaction.get(b"r0", Isolation::Snapshot).await.map_err(words)?.is_some()
        && let Some(what) = workload::broken(&transaction).await.map_err(words)?
    {
        return Err(what);
    }
    let counter = workload::counter(&transaction).await.map_err(words)? as u64;
    if !(tally.counted..=tally.counted + tally.counting).contains(&counter) {
        let (counted, counting) = (tally.counted, tally.counting);
        return Err(format!(
            "the counter says {counter}; {counted} increments were acknowledged, {counting} are in doubt"
        ));
    }
    layer::check(engine, env).await
}
