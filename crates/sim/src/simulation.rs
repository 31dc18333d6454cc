//! One seed: clients on the shipped engine on a simulated disk, through crashes, to a verdict.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tenantry_embedded::{EmbeddedEngine, Settings, Stepper};
use tenantry_kv::env::{Env, ThreadHandle, Threads};
use tenantry_kv::runner::Runner;
use tenantry_kv::{Engine, Error, ErrorCode, Result};

use crate::disk::{Activity, Damage, SimulatedDisk};
use crate::executor::Executor;
use crate::finding::{Oracle, Verdict};
use crate::history::History;
use crate::inspection::{everything, invariants, resolve};
use crate::knobs::{self, SeededBuggify};
use crate::layer;
use crate::oracle;
use crate::random::{SeededRandomness, Stream};
use crate::scale::{Part, Scale};
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

/// What a run exercised.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// A number that is the same for the same run: of every step, the disk's changes, and what the database held.
    pub trace: u64,
    /// Transactions that committed.
    pub commits: u64,
    /// Those that were refused for a conflict, 1020.
    pub conflicts: u64,
    /// Those whose reads were too old, 1007.
    pub too_old: u64,
    /// Crashes, second ones included.
    pub crashes: u64,
    /// Crashes during a recovery, or in the first work behind it.
    pub second_crashes: u64,
    /// Crashes by what the engine was doing.
    pub crashed_in: BTreeMap<Activity, u64>,
    /// Second crashes by what the engine was doing.
    pub second_crashed_in: BTreeMap<Activity, u64>,
    /// What the engine did with the disk, and how often.
    pub activities: BTreeMap<Activity, u64>,
    /// How often the database was opened.
    pub openings: u64,
    /// Damage that was told when the database was opened.
    pub damage_told: u64,
    /// Damage that the scrub found.
    pub damage_scrubbed: u64,
    /// Damage of what nobody needs.
    pub damage_harmless: u64,
    /// Watches that fired.
    pub watches_fired: u64,
    /// Points that took their rare path.
    pub rare_paths: BTreeMap<&'static str, u64>,
}

/// How many steps a life may take: far more than one needs that comes to an end.
const STEPS_MAX: u64 = 2_000_000;

struct NoThreads;

impl Threads for NoThreads {
    fn spawn(&self, name: &str, _body: Box<dyn FnOnce() + Send>) -> Result<Box<dyn ThreadHandle>> {
        Err(Error::new(ErrorCode::IO_ERROR, format!("the simulation starts no thread: {name}")))
    }
}

pub(crate) fn env(
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
    /// How many tenants there are.
    tenants: usize,
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
/// What did not hold.
pub fn run(seed: u64, profile: Profile, scale: Scale) -> Verdict<Report> {
    let mut knobs = Stream::new(seed, "knobs");
    let has_rare_paths = knobs.percent(80) && scale.has(Part::RarePaths);
    let mut simulation = Simulation {
        seed,
        profile,
        scale,
        disk: SimulatedDisk::default(),
        time: SimulatedTime::default(),
        randomness: Arc::new(SeededRandomness::new(seed)),
        buggify: Arc::new(SeededBuggify::new(seed, has_rare_paths)),
        history: Rc::default(),
        tally: Rc::default(),
        tenants: 2 + knobs.below(3) as usize,
        settings: knobs::settings(&mut Stream::new(seed, "settings"), scale.has(Part::SmallSettings)),
        scheduling: Stream::new(seed, "scheduling"),
        faults: Stream::new(seed, "faults"),
        report: Report::default(),
    };
    simulation.run(&mut knobs)?;
    simulation.gather();
    let tally = simulation.tally.borrow();
    simulation.report.commits = tally.commits;
    simulation.report.conflicts = tally.conflicts;
    simulation.report.too_old = tally.too_old;
    simulation.report.watches_fired = tally.watches_fired;
    simulation.report.rare_paths = simulation.buggify.fired();
    Ok(simulation.report.clone())
}

impl Simulation {
    fn run(&mut self, knobs: &mut Stream) -> Verdict {
        let lives = match self.profile {
            Profile::Calm => 1 + knobs.below(2).min(self.scale.lives_max - 1),
            _ => 1 + knobs.below(self.scale.lives_max),
        };
        for life in 0..lives {
            let mut random = Stream::new(self.seed, &format!("mix {life}"));
            let mix = Mix::new(&mut random, self.scale.transactions / lives, &self.scale);
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
            let is_damaged = self.profile == Profile::Media && self.faults.percent(70);
            if is_damaged && self.scale.has(Part::Damage) {
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
    fn open(&mut self) -> Verdict<Opened> {
        let mut opened = self.open_once();
        let refusals = [ErrorCode::DISK_FULL, ErrorCode::IO_ERROR, ErrorCode::ENGINE_STOPPED];
        if self.profile == Profile::Media
            && opened.as_ref().is_err_and(|error| refusals.contains(&error.code()))
        {
            // Told by name; and once there is room and the disk does its work again, nothing is amiss.
            self.disk.heal();
            opened = self.open_once();
        }
        let opened = opened
            .map_err(|error| Oracle::Opening.says(format!("the database could not be opened: {error}")))?;
        self.report.openings += 1;
        if opened.engine.stats().window_entries > 0 {
            // The log held what the map did not have.
            *self.report.activities.entry(Activity::Replay).or_default() += 1;
        }
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
                let (sync, read) = (1 + self.faults.below(200), 1 + self.faults.below(200));
                let room_bytes = self.faults.below(200_000) as usize;
                if self.faults.percent(30) && self.scale.has(Part::FailedSyncs) {
                    self.disk.fail_sync_after(sync);
                }
                if self.faults.percent(20) && self.scale.has(Part::FailedReads) {
                    self.disk.fail_read_after(read);
                }
                if self.faults.percent(20) && self.scale.has(Part::FullDisks) {
                    self.disk.limit_size(self.disk.used_bytes() + room_bytes);
                }
            }
        }
    }

    /// Lets clients run until they are done, the power goes, or the engine stops.
    fn live(&mut self, opened: &mut Opened, mix: &Mix, life: u64) -> Verdict<Life> {
        let mut extras = Stream::new(self.seed, &format!("extras {life}"));
        // Whoever has a runner has to bear a cluster's bad days.
        let is_bad = extras.percent(50) && self.scale.has(Part::BadDays);
        let percent = if is_bad { 1 + extras.below(15) } else { 0 };
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
        let is_set_up = is_set_up.replace(false);
        let stream = |what: &str, index: u64| Stream::new(self.seed, &format!("{what} {life} {index}"));
        for client in 0..mix.clients {
            let transactions = mix.transactions / mix.clients + 1;
            let random = stream("client", client);
            executor.spawn(workload::random_client(shared.clone(), mix.clone(), random, transactions));
        }
        let rounds = self.scale.transactions / 40;
        let counting = extras.below(3);
        for client in 0..counting {
            if self.scale.has(Part::Counters) {
                executor.spawn(workload::counting_client(shared.clone(), rounds));
            }
            // On a full disk the ring and the accounts may not be there.
            if is_set_up && self.scale.has(Part::Invariants) {
                let random = stream("invariant", client);
                executor.spawn(workload::invariant_client(shared.clone(), random, rounds));
            }
        }
        // On a disk that may refuse everything nobody could promise to wake them.
        let (has_watches, watched) = (extras.percent(50), 1 + extras.below(3));
        if has_watches && self.profile != Profile::Media && self.scale.has(Part::Watches) {
            for key in 0..watched {
                // What earlier lives wrote counts from the start.
                executor.spawn(workload::watching_client(shared.clone(), key, 3));
            }
            executor.spawn(workload::waking_client(shared.clone(), watched, stream("waking", 0), 3));
        }
        let (has_records, writing) = (extras.percent(40), 1 + extras.below(3));
        for client in 0..if has_records && self.scale.has(Part::Records) { writing } else { 0 } {
            let (engine, env) = (unreliable.clone(), self.env());
            let (random, tally) = (stream("layer", client), self.tally.clone());
            executor.spawn(layer::client(engine, env, random, rounds, tally, self.tenants));
        }
        let ended = self.drive(&mut executor, opened)?;
        if let Some(finding) = &self.tally.borrow().broken {
            return Err(finding.clone());
        }
        Ok(ended)
    }

    /// Lets tasks, the engine's work and time take turns.
    fn drive(&mut self, executor: &mut Executor<'_>, opened: &mut Opened) -> Verdict<Life> {
        let (mut idle, mut steps) = (0, 0);
        while !executor.is_empty() {
            steps += 1;
            if steps > STEPS_MAX {
                return Err(Oracle::Watches.says("the clients come to no end: somebody tries again for ever"));
            }
            if !self.disk.has_power() {
                return Ok(Life::Stopped);
            }
            let roll = self.scheduling.below(100);
            let has_woken = executor.has_woken();
            if roll < 3 {
                self.disk.begin_upkeep();
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
                self.disk.begin_upkeep();
                opened.stepper.step_keeper();
                idle += 1;
            }
            // Mostly a little; now and then so much that snapshots grow old.
            let by = match self.scheduling.below(1_000) {
                0 if self.scale.has(Part::TimeJumps) => 1_000_000 * self.scheduling.below(6),
                roll if roll < 300 => self.scheduling.below(2_000),
                _ => 0,
            };
            self.time.advance(Duration::from_micros(by));
            if idle > 5_000 {
                let what = "some task waits for ever: a wake-up or an answer is missing";
                return Err(Oracle::Watches.says(what));
            }
        }
        match opened.engine.begin() {
            Ok(_) if self.disk.has_power() => Ok(Life::Done),
            _ => Ok(Life::Stopped),
        }
    }

    /// The power goes now, or has gone; and, half of the times, once more while the database recovers or in the first work behind that.
    fn crash(&mut self, opened: Option<Opened>) -> Verdict {
        self.cut_power(false);
        drop(opened);
        let (is_second, after) = (self.faults.percent(50), 1 + self.faults.below(40));
        let mut was_recovering = false;
        if is_second && self.scale.has(Part::SecondCrashes) {
            self.disk.end_power_after(after);
            if let Ok(mut opened) = self.open_once() {
                for _ in 0..self.faults.below(20) {
                    self.disk.begin_upkeep();
                    opened.stepper.step_keeper();
                    opened.stepper.step_committer();
                }
            }
            was_recovering = self.cut_power(true) == Activity::Recovery;
        }
        let mut opened = self.open()?;
        if was_recovering && opened.engine.stats().window_entries > 0 {
            *self.report.crashed_in.entry(Activity::Replay).or_default() += 1;
        }
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

    /// What the engine was doing when the power went.
    fn cut_power(&mut self, is_second: bool) -> Activity {
        let activity = self.disk.activity();
        self.report.crashes += 1;
        *self.report.crashed_in.entry(activity).or_default() += 1;
        if is_second {
            self.report.second_crashes += 1;
            *self.report.second_crashed_in.entry(activity).or_default() += 1;
        }
        self.gather();
        self.disk = self.disk.crash(&mut self.faults);
        activity
    }

    /// Takes over what the disk has counted.
    fn gather(&mut self) {
        for (activity, count) in self.disk.take_seen() {
            *self.report.activities.entry(activity).or_default() += count;
        }
    }

    /// Damages what is on the disk, and sees that it is told or harmless, and that the scrub overlooks nothing.
    fn damage(&mut self) -> Verdict {
        self.disk.heal();
        let count = 1 + self.faults.below(3);
        let damage = self.disk.damage(&mut self.faults, count);
        let mut opened = match self.open_once() {
            Ok(opened) => opened,
            Err(error) => {
                self.report.damage_told += 1;
                return self.typed(&error, &damage);
            }
        };
        let scrubbed = opened.engine.scrub();
        match (self.dump(&mut opened)?, scrubbed) {
            (Err(error), Ok(_)) => {
                Err(Oracle::Damage
                    .says(format!("{damage}: a read ended with {error}, the scrub saw nothing")))
            }
            (Err(error), Err(found)) => {
                self.report.damage_scrubbed += 1;
                self.typed(&error, &damage)?;
                self.typed(&found, &damage)
            }
            (Ok(rows), scrubbed) => {
                self.judge(&rows).map_err(|finding| {
                    Oracle::Damage.says(format!("{damage}: it was read as good data: {finding}"))
                })?;
                match scrubbed {
                    Err(error) => {
                        self.report.damage_scrubbed += 1;
                        self.typed(&error, &damage)
                    }
                    Ok(_) if damage.is_in_table => {
                        Err(Oracle::Damage.says(format!("{damage}: the scrub did not find it")))
                    }
                    Ok(_) => {
                        self.report.damage_harmless += 1;
                        Ok(())
                    }
                }
            }
        }
    }

    fn typed(&self, error: &Error, damage: &Damage) -> Verdict {
        let codes = [
            ErrorCode::STORAGE_CORRUPT,
            ErrorCode::FORMAT_UNSUPPORTED,
            ErrorCode::IO_ERROR,
            // The keeper met the damage first, and said so.
            ErrorCode::ENGINE_STOPPED,
        ];
        match codes.contains(&error.code()) {
            true => Ok(()),
            false => Err(Oracle::Damage.says(format!("{damage}: it was told as {error}"))),
        }
    }

    /// Everything that the database holds.
    fn dump(&mut self, opened: &mut Opened) -> Verdict<Result<Vec<(Bytes, Bytes)>>> {
        let found = Rc::new(RefCell::new(Ok(Vec::new())));
        let mut executor = Executor::default();
        let (engine, kept) = (opened.engine.clone(), found.clone());
        executor.spawn(async move { *kept.borrow_mut() = everything(&*engine).await });
        self.drive(&mut executor, opened)?;
        drop(executor);
        Ok(found.replace(Err(ErrorCode::OPERATION_CANCELLED.into())))
    }

    /// Holds what the database has against the history.
    fn check(&mut self, opened: &mut Opened) -> Verdict {
        let rows = self
            .dump(opened)?
            .map_err(|error| Oracle::Opening.says(format!("the database cannot be read: {error}")))?;
        self.judge(&rows)?;
        let found = Rc::new(RefCell::new(Ok(())));
        let mut executor = Executor::default();
        let (engine, env, kept) = (opened.engine.clone(), self.env(), found.clone());
        let (tally, tenants) = (self.tally.borrow().clone(), self.tenants);
        executor.spawn(async move { *kept.borrow_mut() = invariants(engine, env, &tally, tenants).await });
        self.drive(&mut executor, opened)?;
        drop(executor);
        found.replace(Ok(()))
    }

    fn judge(&mut self, rows: &[(Bytes, Bytes)]) -> Verdict {
        for byte in rows.iter().flat_map(|(key, value)| key.iter().chain(value)) {
            self.note(u64::from(*byte));
        }
        let mut history = self.history.borrow_mut();
        resolve(&mut history, rows)?;
        let state = oracle::judge(&history)?;
        let found: BTreeMap<&Bytes, &Bytes> =
            rows.iter().filter(|(key, _)| key.starts_with(b"k")).map(|(key, value)| (key, value)).collect();
        let expected: BTreeMap<&Bytes, &Bytes> = state.iter().collect();
        match found == expected {
            true => Ok(()),
            false => Err(Oracle::FinalState
                .says(format!("the database holds {found:?}, its history leaves {expected:?}"))),
        }
    }
}
