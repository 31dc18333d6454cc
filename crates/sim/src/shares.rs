//! Many tenants on one engine that can do so much and no more, in virtual time: who gets what of it.
//!
//! The engine that ships runs on a simulated disk; what it can do is bounded by a server that does one transaction after the other, each for the same time, in the order in which they
//! come to it. So whoever has let a thousand transactions in has them wait there, in nobody's order but their own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tenantry_core::{Database, Error, PoolSettings, Result, SchemaDefinition, Tenant, TenantLimits};
use tenantry_embedded::{EmbeddedEngine, Settings, Stepper};
use tenantry_kv::env::{Clock, Env, Timer};

use crate::disk::SimulatedDisk;
use crate::executor::Executor;
use crate::knobs::SeededBuggify;
use crate::random::{SeededRandomness, Stream};
use crate::simulation;
use crate::time::SimulatedTime;

const SCHEMA: &str = "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }\n";

/// The engine, its world, and time.
struct World {
    env: Env,
    time: SimulatedTime,
    engine: Arc<EmbeddedEngine>,
    stepper: Stepper,
    random: Stream,
}

/// What a run asks of the tenants' transactions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShareScale {
    /// The seed.
    pub seed: u64,
    /// How many tenants there are.
    pub tenants: u64,
    /// How many transactions the engine does in a second.
    pub capacity_per_second: u64,
    /// How much of an equal part of that each tenant asks for, in percent.
    pub load_percent: u64,
    /// How many times an equal part of it one more tenant asks for; none for no such tenant.
    pub abuser_times: u64,
    /// How many transactions run at a time; the rest waits for its turn.
    pub transactions_max: usize,
    /// How long it goes on.
    pub seconds: u64,
}

impl ShareScale {
    /// A thousand tenants that ask for nearly all that there is.
    pub fn thousand_tenants(seed: u64) -> ShareScale {
        ShareScale {
            seed,
            tenants: 1_000,
            capacity_per_second: 1_000,
            load_percent: 95,
            abuser_times: 0,
            transactions_max: 4,
            seconds: 10,
        }
    }
}

/// What the tenants got.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShareReport {
    /// How long the transactions of all but the abuser took, from when they were asked for, sorted.
    pub latencies: Vec<Duration>,
    /// How many of these were turned away.
    pub refused: u64,
    /// How many transactions of the abuser were done.
    pub abuser_done: u64,
    /// How many of these were turned away.
    pub abuser_refused: u64,
}

impl ShareReport {
    /// The time within which so many of a hundred were done.
    pub fn percentile(&self, percent: usize) -> Duration {
        let place = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(place).copied().unwrap_or_default()
    }
}

/// Does one thing after the other, each for the same time.
struct Server {
    time: SimulatedTime,
    service: Duration,
    free_at: Mutex<Duration>,
}

impl Server {
    async fn serve(&self) -> Result<()> {
        let now = self.time.monotonic();
        let done_at = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            *free_at = now.max(*free_at) + self.service;
            *free_at
        };
        Ok(self.time.sleep(done_at - now).await?)
    }
}

impl World {
    fn new(seed: u64) -> Result<World> {
        let (disk, time) = (SimulatedDisk::default(), SimulatedTime::default());
        let randomness = Arc::new(SeededRandomness::new(seed));
        let buggify = Arc::new(SeededBuggify::new(seed, false));
        let env = simulation::env(&disk, &time, &randomness, &buggify);
        let mut settings = Settings::default();
        settings.free_space_reserve_bytes = 0;
        // The simulated disk copies a file with each sync.
        settings.log_segment_size_bytes = 64 << 10;
        let (engine, stepper) = EmbeddedEngine::open_stepped("shares", settings, env.clone())?;
        let random = Stream::new(seed, "shares");
        Ok(World { env, time, engine: Arc::new(engine), stepper, random })
    }

    /// Lets tasks and the engine go on until nobody can.
    fn settle(&mut self, executor: &mut Executor<'_>) {
        loop {
            if executor.has_woken() {
                executor.step(&mut self.random);
            } else if self.stepper.has_work() {
                self.stepper.step_committer();
            } else {
                return;
            }
        }
    }

    /// Lets time pass up to a moment, and everybody do what it is time for.
    fn run_until(&mut self, executor: &mut Executor<'_>, until: Duration) {
        self.settle(executor);
        while self.time.monotonic() < until {
            let left = until - self.time.monotonic();
            let step = self.time.until_next().map_or(left, |next| next.min(left));
            self.time.advance(step.max(Duration::from_micros(1)));
            self.stepper.step_keeper();
            self.settle(executor);
        }
    }

    /// Runs something to its end.
    fn complete<T>(&mut self, future: impl Future<Output = T>) -> Result<T> {
        let found = RefCell::new(None);
        let mut executor = Executor::default();
        executor.spawn(async { *found.borrow_mut() = Some(future.await) });
        while !executor.is_empty() {
            let until = self.time.monotonic() + Duration::from_millis(10);
            self.run_until(&mut executor, until);
        }
        drop(executor);
        found
            .into_inner()
            .ok_or_else(|| tenantry_kv::Error::from(tenantry_kv::ErrorCode::INTERNAL_ERROR).into())
    }

    fn open(&mut self) -> Result<Database> {
        let (engine, env) = (self.engine.clone(), self.env.clone());
        self.complete(async {
            let database = Database::open(engine, env, "shares").await?;
            database.apply_schema(&SchemaDefinition::from_toml(SCHEMA)?).await?;
            Ok(database)
        })?
    }

    fn server(&self, capacity_per_second: u64) -> Arc<Server> {
        let service = Duration::from_micros(1_000_000 / capacity_per_second.max(1));
        Arc::new(Server { time: self.time.clone(), service, free_at: Mutex::default() })
    }
}

/// One transaction, as any tenant's.
async fn transact(tenant: &Tenant, server: &Arc<Server>, number: u64) -> Result<()> {
    let server = server.clone();
    tenant
        .run(|transaction| {
            let server = server.clone();
            async move {
                server.serve().await?;
                transaction.raw_set(&number.to_le_bytes(), b"")
            }
        })
        .await
}

/// Runs tenants that each ask for their part at random moments, whatever became of what they asked for before; and perhaps one that asks for much more.
///
/// # Errors
///
/// The engine's own.
pub fn run_shares(scale: &ShareScale) -> Result<ShareReport> {
    let mut world = World::new(scale.seed)?;
    let database = world.open()?;
    let mut settings = PoolSettings::default();
    settings.transactions_max = scale.transactions_max;
    world.complete(database.set_pool_settings(settings))??;
    let mut tenants = Vec::new();
    for number in 0..=scale.tenants {
        let name = format!("t{number}");
        tenants.push(world.complete(database.create_tenant(&name, "s"))??);
    }
    let server = world.server(scale.capacity_per_second);
    let begin = world.time.monotonic();
    let arrivals = arrivals(scale, &mut world.random, begin);
    let report = RefCell::new(ShareReport::default());
    let mut executor = Executor::default();
    for (number, (at, index)) in (0..).zip(arrivals) {
        world.run_until(&mut executor, at);
        let (tenant, server, report) = (&tenants[index], &server, &report);
        let (time, is_abuser) = (world.time.clone(), index as u64 == scale.tenants);
        executor.spawn(async move {
            let done = transact(tenant, server, number).await;
            let mut report = report.borrow_mut();
            match (is_abuser, done.is_ok()) {
                (true, true) => report.abuser_done += 1,
                (true, false) => report.abuser_refused += 1,
                (false, true) => report.latencies.push(time.monotonic() - at),
                (false, false) => report.refused += 1,
            }
        });
    }
    // What is under way comes to its end, or is turned away.
    while !executor.is_empty() {
        let until = world.time.monotonic() + Duration::from_millis(100);
        world.run_until(&mut executor, until);
    }
    drop(executor);
    let mut report = report.into_inner();
    report.latencies.sort_unstable();
    Ok(report)
}

/// When each tenant asks for something: by its place among the tenants, in the order of time.
fn arrivals(scale: &ShareScale, random: &mut Stream, begin: Duration) -> Vec<(Duration, usize)> {
    let end_us = scale.seconds * 1_000_000;
    let mut arrivals = Vec::new();
    for index in 0..=scale.tenants {
        let percent = if index == scale.tenants { 100 * scale.abuser_times } else { scale.load_percent };
        if percent == 0 {
            continue;
        }
        // On the average, one in so many microseconds.
        let gap_us = 100_000_000 * scale.tenants / (scale.capacity_per_second * percent);
        let mut at_us = random.below(2 * gap_us);
        while at_us < end_us {
            arrivals.push((begin + Duration::from_micros(at_us), index as usize));
            at_us += random.below(2 * gap_us) + 1;
        }
    }
    arrivals.sort_unstable();
    arrivals
}

/// A tenant of which several clients always have a transaction under way, and how many were done of each.
struct Busy {
    tenant: Tenant,
    clients: usize,
    done: Rc<Cell<u64>>,
}

impl Busy {
    fn new(tenant: Tenant, clients: usize) -> Busy {
        Busy { tenant, clients, done: Rc::default() }
    }

    fn spawn(&self, executor: &mut Executor<'_>, server: Option<Arc<Server>>, time: &SimulatedTime) {
        for _ in 0..self.clients {
            let (tenant, server, done) = (self.tenant.clone(), server.clone(), self.done.clone());
            let time = time.clone();
            executor.spawn(async move {
                loop {
                    let did = match &server {
                        Some(server) => transact(&tenant, server, done.get()).await,
                        None => set(&tenant, done.get()).await,
                    };
                    match did {
                        Ok(()) => done.set(done.get() + 1),
                        // As a client does that was told when to come again.
                        Err(error) => {
                            let wait = error.retry_after().unwrap_or(Duration::from_millis(10));
                            if time.sleep(wait).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            });
        }
    }
}

async fn set(tenant: &Tenant, number: u64) -> Result<()> {
    tenant.run(|transaction| async move { transaction.raw_set(&number.to_le_bytes(), b"") }).await
}

/// Runs tenants of some weights that all want more than there is, and returns how many transactions were done of each.
///
/// # Errors
///
/// The engine's own.
pub fn run_weights(seed: u64, weights: &[u64], seconds: u64) -> Result<Vec<u64>> {
    let mut world = World::new(seed)?;
    let database = world.open()?;
    let mut settings = PoolSettings::default();
    settings.transactions_max = 4;
    world.complete(database.set_pool_settings(settings))??;
    let server = world.server(1_000);
    let mut busy = Vec::new();
    for (number, weight) in weights.iter().enumerate() {
        let name = format!("t{number}");
        let tenant = world.complete(database.create_tenant(&name, "s"))??;
        let limits = TenantLimits::none().with(tenantry_core::Limit::Weight, *weight);
        world.complete(tenant.set_limits(&limits))??;
        busy.push(Busy::new(tenant, 8));
    }
    let mut executor = Executor::default();
    for busy in &busy {
        busy.spawn(&mut executor, Some(server.clone()), &world.time);
    }
    // The first transaction of each brings its weight along.
    let begin = world.time.monotonic() + Duration::from_secs(1);
    world.run_until(&mut executor, begin);
    let before: Vec<u64> = busy.iter().map(|busy| busy.done.get()).collect();
    world.run_until(&mut executor, begin + Duration::from_secs(seconds));
    Ok(busy.iter().zip(before).map(|(busy, before)| busy.done.get() - before).collect())
}

/// What several processes did of a tenant whose rate they share.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SharedRate {
    /// How many operations all of them did in each tenth of a second.
    pub done_per_tenth: Vec<u64>,
    /// How many each process did.
    pub done: Vec<u64>,
}

impl SharedRate {
    /// How many operations were done in each span of ten seconds.
    pub fn in_ten_seconds(&self) -> Vec<u64> {
        self.done_per_tenth.windows(100).map(|window| window.iter().sum()).collect()
    }
}

/// Runs several handles of a database, as processes have them, on a tenant with a rate of so many operations in a second. Each begins at a second of its own, with so many clients that always want more.
///
/// # Errors
///
/// The engine's own.
pub fn run_shared_rate(seed: u64, rate: u64, processes: &[(u64, usize)], seconds: u64) -> Result<SharedRate> {
    let mut world = World::new(seed)?;
    let database = world.open()?;
    let tenant = world.complete(database.create_tenant("acme", "s"))??;
    let limits = TenantLimits::none().with(tenantry_core::Limit::OperationsPerSecond, rate);
    world.complete(tenant.set_limits(&limits))??;
    let mut busy = Vec::new();
    for (_, clients) in processes {
        let handle = world.open()?;
        busy.push(Busy::new(world.complete(handle.tenant("acme"))??, *clients));
    }
    let mut executor = Executor::default();
    let mut report = SharedRate::default();
    let begin = world.time.monotonic();
    let mut before = 0;
    for tenth in 0..10 * seconds {
        for (busy, (second, _)) in busy.iter().zip(processes) {
            if tenth == 10 * second {
                busy.spawn(&mut executor, None, &world.time);
            }
        }
        world.run_until(&mut executor, begin + Duration::from_millis(100 * (tenth + 1)));
        let total = busy.iter().map(|busy| busy.done.get()).sum::<u64>();
        report.done_per_tenth.push(total - before);
        before = total;
    }
    drop(executor);
    report.done = busy.iter().map(|busy| busy.done.get()).collect();
    Ok::<_, Error>(report)
}

/// By how much the parts are off what is due to them by their weights, in percent, at the most.
pub fn off_percent(parts: &[u64], weights: &[u64]) -> BTreeMap<usize, f64> {
    let (total, weight): (u64, u64) = (parts.iter().sum(), weights.iter().sum());
    let off = |(part, own): (&u64, &u64)| {
        let due = total as f64 * *own as f64 / weight as f64;
        100.0 * (*part as f64 - due).abs() / due
    };
    parts.iter().zip(weights).map(off).enumerate().collect()
}
