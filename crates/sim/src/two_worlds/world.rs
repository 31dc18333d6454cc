//! A world: the engine that ships on a simulated disk and clock, the attacker, and a victim or none.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::join;
use tenantry_core::{Database, Error, Result, SchemaDefinition, Tenant};
use tenantry_embedded::{EmbeddedEngine, Settings, Stepper};
use tenantry_kv::ErrorCode;

use super::Beside;
use super::attacker::act;
use super::script::script;
use super::victim::{SCHEMA, Stolen, steal, work};
use crate::counting::CountingEngine;
use crate::disk::SimulatedDisk;
use crate::knobs::SeededBuggify;
use crate::random::{SeededRandomness, Stream};
use crate::simulation::env;
use crate::time::SimulatedTime;

/// How often a future may be polled, and the engine gone on with, before it is given up.
const STEPS_MAX: usize = 100_000;
/// How much a world asks of the engine (transactions, reads, rows, commits) before it is told that it does not end.
const BUDGET: u64 = 200_000;
/// The most transactions of a victim beside a step of the attacker's.
const TRANSACTIONS_MAX: u64 = 3;

pub(super) struct World {
    seed: u64,
    time: SimulatedTime,
    stepper: Stepper,
    database: Database,
    attacker: Tenant,
    victim: Option<Tenant>,
    stolen: Stolen,
    /// What the victim does.
    random: Stream,
}

impl World {
    pub(super) fn new(seed: u64, beside: Beside) -> Result<World> {
        let (disk, time) = (SimulatedDisk::default(), SimulatedTime::default());
        let randomness = Arc::new(SeededRandomness::new(seed));
        let buggify = Arc::new(SeededBuggify::new(seed, false));
        let env = env(&disk, &time, &randomness, &buggify);
        let mut settings = Settings::default();
        settings.log_segment_size_bytes = 1 << 20;
        settings.free_space_reserve_bytes = 0;
        let (engine, mut stepper) = EmbeddedEngine::open_stepped("worlds", settings, env.clone())?;
        let mut random = beside.stream(seed);
        let created = async {
            let engine = CountingEngine::with_budget(Arc::new(engine), BUDGET);
            let database = Database::open(Arc::new(engine), env, "worlds").await?;
            database.apply_schema(&SchemaDefinition::from_toml(SCHEMA)?).await?;
            let attacker = database.create_tenant("attacker", "shared").await?;
            let victim = database.create_tenant(beside.name(), "shared").await?;
            let transactions = 5 + random.below(30);
            work(&victim, &mut random, transactions).await?;
            let stolen = steal(&victim).await?;
            let victim = match beside {
                Beside::One | Beside::Another => Some(victim),
                Beside::Gone => {
                    database.delete_tenant(beside.name()).await?;
                    None
                }
            };
            Ok::<_, Error>((database, attacker, victim, stolen))
        };
        let (database, attacker, victim, stolen) = complete(&time, &mut stepper, created)?;
        Ok(World { seed, time, stepper, database, attacker, victim, stolen, random })
    }

    /// Plays the script of the seed; what the attacker is told.
    pub(super) fn play(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for step in script(self.seed) {
            let transactions = self.random.below(TRANSACTIONS_MAX + 1);
            let told = act(&self.database, &self.attacker, &self.stolen, &step);
            let (victim, random) = (&self.victim, &mut self.random);
            let beside = async {
                match victim {
                    Some(victim) => work(victim, random, transactions).await,
                    None => Ok(()),
                }
            };
            let (told, worked) =
                complete(&self.time, &mut self.stepper, async { Ok(join(told, beside).await) })?;
            worked?;
            lines.push(format!("{step:?}: {}", told?));
        }
        Ok(lines)
    }
}

/// Lets the engine go on where there are no threads, until an answer is there.
fn complete<T>(
    time: &SimulatedTime,
    stepper: &mut Stepper,
    future: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..STEPS_MAX {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            return answer;
        }
        if !stepper.has_work() {
            time.advance(time.until_next().unwrap_or(Duration::from_millis(1)));
            stepper.step_keeper();
        }
        stepper.step_committer();
    }
    let error = tenantry_kv::Error::new(ErrorCode::TRANSACTION_TIMED_OUT, "an answer never came");
    Err(error.into())
}
