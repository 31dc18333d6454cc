//! Jobs on an engine on a bad day: what a step does happens once, whatever the commits answer and whoever stops in the middle.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pollster::block_on;
use tenantry_core::jobs::{
    JobId, JobKind, JobKinds, JobState, JobStep, StepFuture, StepOutcome, Worked, Worker,
};
use tenantry_core::{Database, Error, Result, SchemaDefinition, Tenant, parse_json};
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env_with_clock};
use tenantry_kv::{Engine, MutationType};
use tenantry_sim::UnreliableEngine;

const JOBS: usize = 3;
const STEPS: u8 = 12;
const WORKERS: usize = 3;

/// Adds one, without looking.
struct AddsOne;

impl JobKind for AddsOne {
    fn name(&self) -> &'static str {
        "adds one"
    }

    fn check(&self, _: &serde_json::Value) -> Result<()> {
        Ok(())
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let transaction = step.tenant()?;
            let name = step.parameters()["name"].as_str().unwrap_or_default();
            transaction.raw_atomic(MutationType::Add, name.as_bytes(), &1_u64.to_le_bytes())?;
            // A read, which can fail.
            transaction.raw_get(b"something else").await?;
            let index = step.cursor().first().copied().unwrap_or(0) + 1;
            match index == STEPS {
                true => Ok(StepOutcome::finished(parse_json("{}")?, u64::from(index))),
                false => Ok(StepOutcome::more(vec![index], u64::from(index))),
            }
        })
    }
}

type Working = Pin<Box<dyn Future<Output = (Worker, Result<Worked>)>>>;

fn working(mut worker: Worker) -> Working {
    Box::pin(async move {
        let worked = worker.run_one_step().await;
        (worker, worked)
    })
}

/// What is seen of a run, to know that it was a bad day.
#[derive(Default)]
struct Seen {
    lost: u32,
    dropped: u32,
    taken: u64,
}

fn run(seed: u64, seen: &mut Seen) {
    let (env, clock) = manual_env_with_clock();
    let reference = Arc::new(ReferenceEngine::new(env.clone()));
    let quiet: Arc<dyn Engine> = reference.clone();
    let setting_up = block_on(Database::open(quiet, env.clone(), "main")).unwrap();
    let schema = "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }\n";
    block_on(setting_up.apply_schema(&SchemaDefinition::from_toml(schema).unwrap())).unwrap();
    let tenant = block_on(setting_up.create_tenant("acme", "s")).unwrap();

    let unreliable: Arc<dyn Engine> = Arc::new(UnreliableEngine::new(reference, env.timer.clone(), seed, 12));
    let database = block_on(Database::open(unreliable, env, "main")).unwrap();
    let there = block_on(database.tenant("acme")).unwrap();
    let jobs: Vec<(String, JobId)> = (0..JOBS)
        .map(|number| {
            let name = format!("job {number}");
            let parameters = parse_json(&format!("{{\"name\":\"{name}\"}}")).unwrap();
            let id = block_on(database.create_job(&AddsOne, Some(&there), &parameters)).unwrap();
            (name, id)
        })
        .collect();

    let worker = || Worker::new(&database, JobKinds::none().with(Arc::new(AddsOne)));
    let mut state = seed;
    let mut below = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut workers: Vec<Working> = (0..WORKERS).map(|_| working(worker())).collect();
    for _ in 0..600 {
        let chosen = below(WORKERS as u64) as usize;
        match workers[chosen].as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready((again, worked)) => {
                if let Ok(Worked::Idle { .. }) = worked {
                    clock.advance(Duration::from_secs(2));
                }
                seen.lost += u32::from(matches!(worked, Ok(Worked::Lost(_))));
                workers[chosen] = working(again);
            }
            Poll::Pending if below(60) == 0 => {
                seen.dropped += 1;
                workers[chosen] = working(worker());
            }
            // Long enough for a lease to run out while somebody is in the middle of a step.
            Poll::Pending if below(40) == 0 => clock.advance(Duration::from_secs(11)),
            Poll::Pending => {}
        }
    }
    drop(workers);
    while let Err(error) = block_on(worker().run_until_idle()) {
        assert!(error.to_string().contains("not committed"), "{error}");
    }
    for (name, id) in &jobs {
        let job = block_on(setting_up.job(*id)).unwrap();
        assert_eq!(job.state, JobState::Done, "seed {seed}: {job:?}");
        assert_eq!((job.steps, effects(&tenant, name)), (u64::from(STEPS), u64::from(STEPS)), "seed {seed}");
        seen.taken += job.token;
    }
}

fn effects(tenant: &Tenant, name: &str) -> u64 {
    let read = tenant.read(|transaction| async move { transaction.raw_get(name.as_bytes()).await });
    let bytes: std::result::Result<_, Error> = block_on(read);
    bytes.unwrap().map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()))
}

#[test]
fn every_step_takes_effect_once_on_an_engine_on_a_bad_day() {
    let mut seen = Seen::default();
    for seed in 1..=40 {
        run(seed, &mut seen);
    }
    let Seen { lost, dropped, taken } = seen;
    assert!(lost > 10 && dropped > 40, "{lost} lost, {dropped} dropped");
    assert!(taken > 40 * JOBS as u64 * 3, "taken {taken} times");
}
