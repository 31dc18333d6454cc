//! Jobs: leases and fencing, retries, fairness, cancelling.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::note;
use pollster::block_on;
use serde_json::{Value as Json, json};
use tenantry_core::jobs::{
    Count, Job, JobFilter, JobId, JobKind, JobKinds, JobState, JobStep, Rewrite, StepFuture, StepOutcome,
    Worked, Worker,
};
use tenantry_core::limits::{JOB_FAILURES_MAX, JOB_PARAMETERS_SIZE_BYTES_MAX};
use tenantry_core::{Code, Copier, CopyPhase, Database, Error, SchemaDefinition, Tenant};
use tenantry_kv::MutationType;
use tenantry_kv::conformance::reference::{ManualClock, ReferenceEngine, manual_env_with_clock};

/// Adds one to a key in each of its steps, and fails for good when a step is done twice.
#[derive(Default)]
struct Steps {
    /// Whether a step stops once in the middle, after its writes.
    pauses: AtomicBool,
}

impl Steps {
    fn parameters(name: &str, steps: u64) -> Json {
        json!({ "name": name, "steps": steps })
    }
}

impl JobKind for Steps {
    fn name(&self) -> &'static str {
        "steps"
    }

    fn check(&self, parameters: &Json) -> Result<(), Error> {
        match parameters["steps"].is_u64() {
            true => Ok(()),
            false => Err(Error::new(Code::JobInvalid, "how many steps?")),
        }
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let transaction = step.tenant()?;
            let name = step.parameters()["name"].as_str().unwrap_or_default();
            let index = step.cursor().first().copied().unwrap_or(0);
            let key = [name.as_bytes(), b"/", &[index]].concat();
            if transaction.raw_get(&key).await?.is_some() {
                return Err(Error::new(Code::StoredDataInvalid, format!("step {index} is done twice")));
            }
            transaction.raw_set(&key, b"")?;
            transaction.raw_atomic(MutationType::Add, name.as_bytes(), &1_u64.to_le_bytes())?;
            if self.pauses.swap(false, Ordering::SeqCst) {
                pause().await;
            }
            let done = u64::from(index) + 1;
            match done == step.parameters()["steps"].as_u64().unwrap_or(0) {
                true => Ok(StepOutcome::finished(json!({ "steps": done }), done)),
                false => Ok(StepOutcome::more(vec![index + 1], done)),
            }
        })
    }
}

/// Is not ready the first time.
fn pause() -> impl Future<Output = ()> {
    let mut has_paused = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut has_paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// A kind made of a closure.
struct Does<F>(F);

impl<F: Fn(&JobStep) -> Result<StepOutcome, Error> + Send + Sync> JobKind for Does<F> {
    fn name(&self) -> &'static str {
        "does"
    }

    fn check(&self, _: &Json) -> Result<(), Error> {
        Ok(())
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        let outcome = (self.0)(&step);
        Box::pin(async move { outcome })
    }
}

struct World {
    database: Database,
    clock: Arc<ManualClock>,
    steps: Arc<Steps>,
}

impl World {
    fn new() -> World {
        let (env, clock) = manual_env_with_clock();
        let engine = common::engine::engine(&env);
        World::on(engine, env, clock)
    }

    /// With an engine that answers at once: what is polled once goes as far as it can.
    fn polled_by_hand() -> World {
        let (env, clock) = manual_env_with_clock();
        let engine = Arc::new(ReferenceEngine::new(env.clone()));
        World::on(engine, env, clock)
    }

    fn on(
        engine: Arc<dyn tenantry_kv::Engine>,
        env: tenantry_kv::env::Env,
        clock: Arc<ManualClock>,
    ) -> World {
        let database = block_on(Database::open(engine, env, &common::engine::name("test"))).unwrap();
        block_on(database.apply_schema(&SchemaDefinition::from_toml(common::SCHEMA).unwrap())).unwrap();
        World { database, clock, steps: Arc::default() }
    }

    fn tenant(&self, name: &str) -> Tenant {
        block_on(self.database.create_tenant(name, "shop")).unwrap()
    }

    fn worker(&self) -> Worker {
        Worker::new(&self.database, JobKinds::standard().with(self.steps.clone()))
    }

    fn with(&self, kind: impl JobKind + 'static) -> (Worker, Arc<dyn JobKind>) {
        let kind: Arc<dyn JobKind> = Arc::new(kind);
        (Worker::new(&self.database, JobKinds::none().with(kind.clone())), kind)
    }

    fn create(&self, tenant: &Tenant, name: &str, steps: u64) -> JobId {
        let parameters = Steps::parameters(name, steps);
        block_on(self.database.create_job(&*self.steps, Some(tenant), &parameters)).unwrap()
    }

    fn job(&self, id: JobId) -> Job {
        block_on(self.database.job(id)).unwrap()
    }

    /// How often a step of the job of this name took effect.
    fn effects(&self, tenant: &Tenant, name: &str) -> u64 {
        let read = tenant.read(|transaction| async move { transaction.raw_get(name.as_bytes()).await });
        let bytes = block_on(read).unwrap();
        bytes.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()))
    }
}

fn poll<F: Future + ?Sized>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn worked(worker: &mut Worker) -> Worked {
    block_on(worker.run_one_step()).unwrap()
}

#[test]
fn a_job_runs_to_its_end() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let id = world.create(&tenant, "a", 20);
    let new = world.job(id);
    assert_eq!((new.state, new.done, new.tenant.as_deref()), (JobState::Waiting, 0, Some("acme")));
    let mut worker = world.worker();
    assert_eq!(block_on(worker.run_until_idle()).unwrap(), 20);
    let job = world.job(id);
    assert_eq!((job.state, job.done, job.steps, job.failures_total), (JobState::Done, 20, 20, 0));
    assert_eq!((job.result, job.error, job.owner), (Some(json!({ "steps": 20 })), None, None));
    assert_eq!(world.effects(&tenant, "a"), 20);
    assert_eq!(worked(&mut worker), Worked::Idle { next_us: None });
}

#[test]
fn a_worker_whose_job_was_taken_over_can_do_nothing_with_it() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let id = world.create(&tenant, "a", 3);
    let (mut first, mut second) = (world.worker(), world.worker());
    assert!(matches!(worked(&mut first), Worked::Step(_)));
    let held = world.job(id);
    assert_eq!((held.state, held.owner, held.token), (JobState::Running, Some(first.owner()), 1));
    // Nobody else gets it before the lease runs out.
    assert_eq!(worked(&mut second), Worked::Idle { next_us: Some(held.due_us) });

    // The first stops in the middle of a step, with its writes made; the second takes the job and does the same step.
    world.steps.pauses.store(true, Ordering::SeqCst);
    let mut stopped = pin!(first.run_one_step());
    assert!(poll(&mut stopped).is_pending());
    world.clock.advance(Duration::from_secs(11));
    assert!(matches!(worked(&mut second), Worked::Step(_)));
    let taken = world.job(id);
    assert_eq!((taken.owner, taken.token, taken.steps), (Some(second.owner()), 2, 2));
    assert_eq!((taken.failures, taken.failures_total), (0, 1));
    // The first wakes up: its commit conflicts, and then it sees that the job is no longer its own.
    assert_eq!(block_on(stopped).unwrap(), Worked::Lost(id));
    assert_eq!(world.effects(&tenant, "a"), 2);
    assert!(matches!(worked(&mut second), Worked::Ended(_)));
    assert_eq!(world.effects(&tenant, "a"), 3);
    assert_eq!(world.job(id).error.unwrap().tag, "JobAbandoned");
}

#[test]
fn another_worker_goes_on_where_one_was_dropped() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let id = world.create(&tenant, "a", 5);
    let mut first = world.worker();
    assert!(matches!(worked(&mut first), Worked::Step(_)));
    world.steps.pauses.store(true, Ordering::SeqCst);
    {
        let mut dropped = pin!(first.run_one_step());
        assert!(poll(&mut dropped).is_pending());
    }
    drop(first);
    assert_eq!(block_on(world.worker().run_until_idle()).unwrap(), 4);
    assert_eq!((world.job(id).state, world.effects(&tenant, "a")), (JobState::Done, 5));
}

/// Three workers, moved on at random: whole steps, steps that stop in the middle and go on later or are dropped, and a clock that lets leases run out. Whatever the order, each
/// step of each job takes effect once.
#[test]
fn workers_in_any_order_do_every_step_once() {
    let mut lost = 0;
    for seed in 1..=150_u64 {
        let mut state = seed;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let world = World::polled_by_hand();
        let tenants = [world.tenant("one"), world.tenant("two")];
        let jobs: Vec<(usize, String, JobId)> = (0..4)
            .map(|number| {
                let (tenant, name) = (number % 2, format!("job {number}"));
                let id = world.create(&tenants[tenant], &name, 6);
                (tenant, name, id)
            })
            .collect();
        // A job that is given up after eight interruptions in a row would be no fault here: the clock is moved less often than that.
        for _ in 0..12 {
            let (mut first, mut second, mut third) = (world.worker(), world.worker(), world.worker());
            world.steps.pauses.store(below(2) == 0, Ordering::SeqCst);
            let mut stopped = pin!(first.run_one_step());
            let is_done = poll(&mut stopped).is_ready();
            if below(2) == 0 {
                world.clock.advance(Duration::from_secs(11));
            }
            for _ in 0..below(4) {
                worked(&mut second);
            }
            world.steps.pauses.store(false, Ordering::SeqCst);
            if !is_done && below(2) == 0 {
                lost += u64::from(matches!(block_on(stopped).unwrap(), Worked::Lost(_)));
            }
            for _ in 0..below(3) {
                worked(&mut third);
            }
            if below(3) == 0 {
                world.clock.advance(Duration::from_secs(11));
            }
        }
        block_on(world.worker().run_until_idle()).unwrap();
        for (tenant, name, id) in &jobs {
            let job = world.job(*id);
            assert_eq!(job.state, JobState::Done, "seed {seed}: {job:?}");
            assert_eq!((job.steps, world.effects(&tenants[*tenant], name)), (6, 6), "seed {seed}");
        }
    }
    assert!(lost > 15, "{lost} take-overs of a worker that went on");
}

#[test]
fn a_job_is_cancelled_at_once_or_at_its_next_step() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let (waiting, running) = (world.create(&tenant, "a", 5), world.create(&tenant, "b", 5));
    let mut worker = world.worker();
    // Which of the two comes first depends on their ids.
    let Worked::Step(job) = worked(&mut worker) else { unreachable!("it has more to do") };
    let (waiting, running) = if job.id == running { (waiting, running) } else { (running, waiting) };
    assert_eq!(block_on(world.database.cancel_job(waiting)).unwrap().state, JobState::Cancelled);
    let cancelling = block_on(world.database.cancel_job(running)).unwrap();
    assert_eq!((cancelling.state, cancelling.is_cancelling), (JobState::Running, true));
    assert!(matches!(worked(&mut worker), Worked::Ended(job) if job.state == JobState::Cancelled));
    assert_eq!(worked(&mut worker), Worked::Idle { next_us: None });
    let job = world.job(running);
    assert_eq!((job.state, job.steps, job.is_cancelling, job.owner), (JobState::Cancelled, 1, false, None));
    // Again is no error; what has ended otherwise cannot be cancelled.
    assert_eq!(block_on(world.database.cancel_job(running)).unwrap().state, JobState::Cancelled);
    let done = world.create(&tenant, "c", 1);
    block_on(worker.run_until_idle()).unwrap();
    assert_eq!(block_on(world.database.cancel_job(done)).unwrap_err().code(), Code::JobEnded);
    let unknown: JobId = "00000000-0000-7000-8000-000000000001".parse().unwrap();
    assert_eq!(block_on(world.database.cancel_job(unknown)).unwrap_err().code(), Code::JobNotFound);
}

/// A worker that is cancelled while it is in the middle of a step does not commit the step.
#[test]
fn a_step_under_way_is_not_committed_after_the_job_was_cancelled() {
    let world = World::polled_by_hand();
    let tenant = world.tenant("acme");
    let id = world.create(&tenant, "a", 5);
    let mut worker = world.worker();
    world.steps.pauses.store(true, Ordering::SeqCst);
    let mut stopped = pin!(worker.run_one_step());
    assert!(poll(&mut stopped).is_pending());
    block_on(world.database.cancel_job(id)).unwrap();
    assert!(matches!(block_on(stopped).unwrap(), Worked::Ended(_)));
    assert_eq!((world.job(id).state, world.effects(&tenant, "a")), (JobState::Cancelled, 0));
}

#[test]
fn a_job_that_fails_is_tried_again_later_and_later_and_then_given_up() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let (mut worker, kind) = world.with(Does(move |_: &JobStep| {
        counted.fetch_add(1, Ordering::SeqCst);
        Err(Error::new(Code::ConditionFailed, "not yet"))
    }));
    let id = block_on(world.database.create_job(&*kind, Some(&tenant), &json!({}))).unwrap();
    let mut wait_us = 1_000_000;
    for failures in 1..JOB_FAILURES_MAX {
        assert!(matches!(worked(&mut worker), Worked::Failed(_)));
        let job = world.job(id);
        assert_eq!((job.state, job.failures, job.owner), (JobState::Waiting, failures, None));
        let waits_us = job.due_us - job.updated_us;
        assert!((wait_us..wait_us * 6 / 5).contains(&waits_us), "{failures}: {waits_us}");
        assert_eq!(worked(&mut worker), Worked::Idle { next_us: Some(job.due_us) });
        world.clock.advance(Duration::from_micros(waits_us as u64));
        wait_us *= 2;
    }
    assert!(matches!(worked(&mut worker), Worked::Ended(_)));
    let job = world.job(id);
    let error = job.error.unwrap();
    assert_eq!((job.state, job.failures), (JobState::Failed, JOB_FAILURES_MAX));
    assert_eq!((error.number, error.tag.as_str()), (20_035, "ConditionFailed"));
    assert!(error.message.contains("not yet"), "{}", error.message);
    assert_eq!((calls.load(Ordering::SeqCst), job.result), (JOB_FAILURES_MAX, None));
}

#[test]
fn what_no_repetition_mends_is_not_repeated_and_a_success_counts_anew() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let (mut worker, kind) =
        world.with(Does(|_: &JobStep| Err(Error::new(Code::TypeNotFound, "\"film\" is no type"))));
    let id = block_on(world.database.create_job(&*kind, Some(&tenant), &json!({}))).unwrap();
    assert!(matches!(worked(&mut worker), Worked::Ended(_)));
    assert_eq!((world.job(id).state, world.job(id).failures), (JobState::Failed, 1));

    // Every second call fails, and it comes to its end all the same.
    let calls = AtomicU32::new(0);
    let (mut worker, kind) =
        world.with(Does(move |step: &JobStep| match calls.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => Err(Error::new(Code::ConditionFailed, "not yet")),
            _ if step.done() == 20 => Ok(StepOutcome::finished(json!({}), 20)),
            _ => Ok(StepOutcome::more("on", step.done() + 1)),
        }));
    let id = block_on(world.database.create_job(&*kind, Some(&tenant), &json!({}))).unwrap();
    block_on(worker.run_until_idle()).unwrap();
    let job = world.job(id);
    assert_eq!((job.state, job.failures, job.failures_total), (JobState::Done, 0, 21));
}

#[test]
fn a_step_that_is_too_large_is_made_smaller() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let (mut worker, kind) = world.with(Does(|step: &JobStep| match (step.size(), step.done()) {
        (size, _) if size > 30 => Err(Error::new(Code::LimitPassed, "too much at a time")),
        (_, done) if done >= 1_000 => Ok(StepOutcome::finished(json!({}), done)),
        (size, done) => Ok(StepOutcome::more("on", done + size as u64)),
    }));
    let id = block_on(world.database.create_job(&*kind, Some(&tenant), &json!({}))).unwrap();
    let steps = block_on(worker.run_until_idle()).unwrap();
    let job = world.job(id);
    assert_eq!((job.state, job.failures_total), (JobState::Done, 0));
    // Never far from what fits.
    assert!((1_000 / 30..1_000 / 15).contains(&steps), "{steps}");

    // One that is too large however small it is fails.
    let (mut worker, kind) = world.with(Does(|_: &JobStep| Err(Error::new(Code::LimitPassed, "never"))));
    let id = block_on(world.database.create_job(&*kind, Some(&tenant), &json!({}))).unwrap();
    block_on(worker.run_until_idle()).unwrap();
    assert_eq!(world.job(id).state, JobState::Failed);
}

#[test]
fn a_hundred_jobs_of_one_tenant_do_not_keep_the_one_of_another_waiting() {
    let world = World::new();
    let (many, few, last) = (world.tenant("many"), world.tenant("few"), world.tenant("last"));
    for number in 0..100 {
        world.create(&many, &format!("{number}"), 20);
    }
    let (one, other) = (world.create(&few, "one", 20), world.create(&last, "other", 20));
    let mut worker = world.worker();
    let mut steps = 0;
    while !(world.job(one).state.has_ended() && world.job(other).state.has_ended()) {
        worked(&mut worker);
        steps += 1;
    }
    // Three tenants take turns of eight steps: twenty steps of each are three turns.
    assert!(steps <= 3 * 3 * 8, "{steps} steps");
    assert_eq!((world.effects(&few, "one"), world.effects(&last, "other")), (20, 20));
}

#[test]
fn a_job_is_created_with_the_transaction_that_creates_it() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let steps = &*world.steps;
    let failed = block_on(tenant.run(|transaction| async move {
        transaction.create_job(steps, &Steps::parameters("a", 1)).await?;
        Err::<(), _>(Error::new(Code::ConditionFailed, "no"))
    }));
    assert_eq!(failed.unwrap_err().code(), Code::ConditionFailed);
    assert!(block_on(world.database.jobs(&JobFilter::all(), None, 10)).unwrap().jobs.is_empty());
    let id = block_on(tenant.run(|transaction| async move {
        transaction.raw_set(b"k", b"v")?;
        transaction.create_job(steps, &Steps::parameters("a", 1)).await
    }))
    .unwrap();
    block_on(world.worker().run_until_idle()).unwrap();
    assert_eq!(world.job(id).state, JobState::Done);
}

#[test]
fn jobs_that_cannot_be_are_refused() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let create = |parameters: &Json| {
        block_on(world.database.create_job(&*world.steps, Some(&tenant), parameters)).unwrap_err()
    };
    assert_eq!(create(&json!({})).code(), Code::JobInvalid);
    let long = "x".repeat(JOB_PARAMETERS_SIZE_BYTES_MAX);
    assert_eq!(create(&json!({ "steps": 1, "name": long })).code(), Code::JobInvalid);
    let page = |rows| block_on(world.database.jobs(&JobFilter::all(), None, rows)).unwrap_err().code();
    assert_eq!((page(0), page(1_001)), (Code::LimitPassed, Code::LimitPassed));
    assert_eq!("7".parse::<JobId>().unwrap_err().code(), Code::JobNotFound);
    // A cursor that is too long fails the job.
    let (mut worker, kind) = world.with(Does(|_: &JobStep| Ok(StepOutcome::more(vec![0; 20_001], 1))));
    let id = block_on(world.database.create_job(&*kind, Some(&tenant), &json!({}))).unwrap();
    block_on(worker.run_until_idle()).unwrap();
    assert_eq!(world.job(id).error.unwrap().tag, "LimitPassed");
}

#[test]
fn jobs_are_listed_from_the_newest_and_by_tenant_and_state() {
    let world = World::new();
    let (one, two) = (world.tenant("one"), world.tenant("two"));
    let mut ids = Vec::new();
    for number in 0..7 {
        world.clock.advance(Duration::from_millis(2));
        ids.push(world.create(if number % 2 == 0 { &one } else { &two }, &format!("{number}"), 1));
    }
    ids.reverse();
    for rows_max in [1, 2, 3, 7, 100] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = block_on(world.database.jobs(&JobFilter::all(), after, rows_max)).unwrap();
            assert!(page.jobs.len() <= rows_max);
            listed.extend(page.jobs.iter().map(|job| job.id));
            after = page.after;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(listed, ids);
    }
    worked(&mut world.worker());
    let count = |tenant: Option<&str>, state| {
        let mut filter = JobFilter::all();
        (filter.tenant, filter.state) = (tenant.map(str::to_owned), state);
        block_on(world.database.jobs(&filter, None, 100)).unwrap().jobs.len()
    };
    assert_eq!((count(Some("one"), None), count(Some("two"), None), count(Some("three"), None)), (4, 3, 0));
    assert_eq!((count(None, Some(JobState::Done)), count(None, Some(JobState::Waiting))), (1, 6));
}

#[test]
fn what_a_worker_does_not_know_is_left_to_others() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let id = world.create(&tenant, "a", 1);
    let mut stranger = Worker::new(&world.database, JobKinds::standard());
    assert_eq!(worked(&mut stranger), Worked::Idle { next_us: None });
    let foreground = block_on(stranger.run_job(id, |_| {}));
    assert_eq!(foreground.unwrap_err().code(), Code::JobKindUnknown);
    assert!(matches!(worked(&mut world.worker()), Worked::Ended(_)));
}

#[test]
fn a_job_in_the_foreground_waits_for_who_has_it() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let id = world.create(&tenant, "a", 30);
    world.create(&tenant, "b", 30);
    let mut other = world.worker();
    while !matches!(worked(&mut other), Worked::Step(job) if job.id == id) {}
    let (mut seen, before) = (Vec::new(), world.effects(&tenant, "b"));
    let job = block_on(world.worker().run_job(id, |job| seen.push((job.state, job.done)))).unwrap();
    assert_eq!((job.state, world.effects(&tenant, "a")), (JobState::Done, 30));
    assert!(seen.is_sorted_by_key(|(_, done)| *done) && seen.len() >= 29, "{seen:?}");
    assert_eq!(world.effects(&tenant, "b"), before);
}

#[test]
fn the_jobs_of_a_tenant_that_was_deleted_wait_and_go_with_it() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let (never, begun) = (world.create(&tenant, "a", 9), world.create(&tenant, "b", 9));
    let mut worker = world.worker();
    worked(&mut worker);
    block_on(world.database.delete_tenant("acme")).unwrap();
    block_on(worker.run_until_idle()).unwrap();
    for id in [never, begun] {
        let job = world.job(id);
        assert_eq!((job.state, job.failures_total), (JobState::Waiting, 0));
    }
    block_on(world.database.undelete_tenant("acme", None, None)).unwrap();
    block_on(worker.run_until_idle()).unwrap();
    assert_eq!((world.effects(&tenant, "a"), world.effects(&tenant, "b")), (9, 9));
    let late = world.create(&tenant, "c", 9);
    worked(&mut worker);
    block_on(world.database.delete_tenant("acme")).unwrap();
    let purge = block_on(world.database.purge_tenant("acme", None, true)).unwrap();
    let purged = block_on(Worker::new(&world.database, JobKinds::standard()).run_job(purge, |_| ())).unwrap();
    assert_eq!(purged.result.unwrap()["jobs"], json!(3));
    for id in [never, begun, late] {
        assert_eq!(block_on(world.database.job(id)).unwrap_err().code(), Code::JobNotFound);
    }
    // The worker that was at it has it no more, and nobody makes another one.
    block_on(worker.run_until_idle()).unwrap();
    let refused = block_on(world.database.create_job(&Count, Some(&tenant), &Count::parameters("note")));
    assert_eq!(refused.unwrap_err().code(), Code::TenantNotFound);
}

#[test]
fn nothing_is_done_in_a_database_that_is_read_only() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let (id, other) = (world.create(&tenant, "a", 3), world.create(&tenant, "b", 3));
    let mut worker = world.worker();
    worked(&mut worker);
    let before = [world.job(id), world.job(other)];
    block_on(world.database.set_read_only("a copy")).unwrap();
    for _ in 0..2 {
        assert_eq!(block_on(worker.run_one_step()).unwrap_err().code(), Code::DatabaseReadOnly);
    }
    assert_eq!(block_on(world.database.cancel_job(id)).unwrap_err().code(), Code::DatabaseReadOnly);
    assert_eq!([world.job(id), world.job(other)], before);
    block_on(world.database.set_writable()).unwrap();
    block_on(worker.run_until_idle()).unwrap();
    assert_eq!((world.effects(&tenant, "a"), world.effects(&tenant, "b")), (3, 3));
}

#[test]
fn jobs_that_ended_long_ago_are_removed() {
    let world = World::new();
    let tenant = world.tenant("acme");
    let old = world.create(&tenant, "a", 1);
    block_on(world.worker().run_until_idle()).unwrap();
    world.clock.advance(Duration::from_secs(29 * 24 * 3_600));
    let newer = world.create(&tenant, "b", 1);
    block_on(world.worker().run_until_idle()).unwrap();
    assert_eq!(world.job(old).state, JobState::Done);
    world.clock.advance(Duration::from_secs(2 * 24 * 3_600));
    world.create(&tenant, "c", 1);
    block_on(world.worker().run_until_idle()).unwrap();
    assert_eq!(block_on(world.database.job(old)).unwrap_err().code(), Code::JobNotFound);
    assert_eq!(world.job(newer).state, JobState::Done);
}

/// Writers go on between the steps of a count; it tells what there was at one version.
#[test]
fn a_count_is_of_one_version() {
    let world = World::new();
    let tenant = world.tenant("acme");
    for id in 0..300 {
        block_on(tenant.put("note", &note(id, "old"))).unwrap();
    }
    let id = block_on(world.database.create_job(&Count, Some(&tenant), &Count::parameters("note"))).unwrap();
    let mut worker = world.worker();
    let (mut state, mut there) = (7_u64, (0..300).collect::<std::collections::BTreeSet<i64>>());
    let job = loop {
        for _ in 0..10 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = (state >> 33) as i64 % 600;
            match (state >> 20) % 3 {
                0 => {
                    block_on(tenant.delete("note", &tenantry_core::PrimaryKey::of(key))).unwrap();
                    there.remove(&key);
                }
                _ => {
                    block_on(tenant.put("note", &note(key, "new"))).unwrap();
                    there.insert(key);
                }
            }
        }
        if let Worked::Ended(job) = worked(&mut worker) {
            break job;
        }
    };
    assert!(job.steps > 2, "{} steps", job.steps);
    assert_eq!(
        (job.id, job.done, &job.result.unwrap()["count"]),
        (id, there.len() as u64, &json!(there.len()))
    );
}

#[test]
fn records_in_their_present_form_are_left_alone() {
    let world = World::new();
    let tenant = world.tenant("acme");
    for id in 0..250 {
        block_on(tenant.put("note", &note(id, "text"))).unwrap();
    }
    let version = |id: i64| {
        let key = tenantry_core::PrimaryKey::of(id);
        block_on(tenant.get("note", &key)).unwrap().unwrap().version()
    };
    let before = version(7);
    let id =
        block_on(world.database.create_job(&Rewrite, Some(&tenant), &Rewrite::parameters("note"))).unwrap();
    block_on(world.worker().run_until_idle()).unwrap();
    let job = world.job(id);
    assert_eq!((job.done, job.result), (250, Some(json!({ "records": 250, "rewritten": 0 }))));
    assert_eq!(version(7), before);
    let wrong = block_on(world.database.create_job(&Rewrite, Some(&tenant), &json!({}))).unwrap_err();
    assert_eq!(wrong.code(), Code::JobInvalid);
}

/// A job that was begun in one engine is finished in the other. A count begins anew there: the versions of one engine say nothing in the other.
#[test]
fn a_copy_takes_the_jobs_along() {
    let world = World::new();
    let tenant = world.tenant("acme");
    for id in 0..300 {
        block_on(tenant.put("note", &note(id, "old"))).unwrap();
    }
    let id = world.create(&tenant, "a", 5);
    let count =
        block_on(world.database.create_job(&Count, Some(&tenant), &Count::parameters("note"))).unwrap();
    let mut worker = world.worker();
    while [id, count].iter().any(|id| world.job(*id).steps == 0) {
        worked(&mut worker);
        // Whoever holds the one for good lets go of it.
        worker = world.worker();
    }
    let begun = world.job(count).steps;
    block_on(world.database.set_read_only("it moves")).unwrap();
    let (env, clock) = manual_env_with_clock();
    let engine = Arc::new(ReferenceEngine::new(env.clone()));
    let mut copier = block_on(Copier::begin(&world.database, engine.clone(), env.clone(), "copy")).unwrap();
    while block_on(copier.step()).unwrap() != CopyPhase::Done {}
    let copy = block_on(Database::open(engine, env, "copy")).unwrap();
    clock.advance(Duration::from_secs(60));
    let mut worker = Worker::new(&copy, JobKinds::standard().with(world.steps.clone()));
    block_on(worker.run_until_idle()).unwrap();
    let there = block_on(copy.tenant("acme")).unwrap();
    let (job, counted) = (block_on(copy.job(id)).unwrap(), block_on(copy.job(count)).unwrap());
    assert_eq!((job.state, job.steps, world.effects(&there, "a")), (JobState::Done, 5, 5));
    assert_eq!((counted.state, &counted.result.unwrap()["count"]), (JobState::Done, &json!(300)));
    assert!(counted.steps > begun + 1, "{} steps, {begun} before", counted.steps);
}
