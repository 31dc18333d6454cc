//! Several workers, each on a thread of its own, share the jobs of a database, as several processes on a cluster do.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod common;

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tenantry::jobs::{JobId, JobKind, JobKinds, JobState, JobStep, StepFuture, StepOutcome, Worker};
use tenantry::{Database, MutationType, Result, SchemaDefinition, Tenant, block_on};

const THREADS: usize = 4;
const TENANTS: usize = 5;
const JOBS: usize = 4;
const STEPS: u8 = 12;

/// Adds one, without looking.
struct AddsOne;

impl JobKind for AddsOne {
    fn name(&self) -> &'static str {
        "adds one"
    }

    fn check(&self, _: &Json) -> Result<()> {
        Ok(())
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let name = step.parameters()["name"].as_str().unwrap_or_default();
            step.tenant()?.raw_atomic(MutationType::Add, name.as_bytes(), &1_u64.to_le_bytes())?;
            let index = step.cursor().first().copied().unwrap_or(0) + 1;
            Ok(match index == STEPS {
                true => StepOutcome::finished(json!(null), u64::from(index)),
                false => StepOutcome::more(vec![index], u64::from(index)),
            })
        })
    }
}

fn create(database: &Database) -> Vec<(Tenant, String, JobId)> {
    let mut jobs = Vec::new();
    for number in 0..TENANTS {
        let tenant = block_on(database.create_tenant(&format!("tenant {number}"), "s")).unwrap();
        for job in 0..JOBS {
            let name = format!("job {job}");
            let id =
                block_on(database.create_job(&AddsOne, Some(&tenant), &json!({ "name": name }))).unwrap();
            jobs.push((tenant.clone(), name, id));
        }
    }
    jobs
}

#[test]
fn workers_on_several_threads_do_every_step_of_every_job_once() {
    let database = common::database();
    let schema = "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }\n";
    block_on(database.apply_schema(&SchemaDefinition::from_toml(schema).unwrap())).unwrap();
    let jobs = create(&database);
    let steps: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let mut worker = Worker::new(&database, JobKinds::none().with(Arc::new(AddsOne)));
                scope.spawn(move || block_on(worker.run_until_idle()).unwrap())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(steps >= (jobs.len() as u64) * u64::from(STEPS));
    for (tenant, name, id) in jobs {
        let job = block_on(database.job(id)).unwrap();
        assert_eq!((job.state, job.steps, job.failures_total), (JobState::Done, u64::from(STEPS), 0));
        let name = &name;
        let read = tenant.read(|transaction| async move { transaction.raw_get(name.as_bytes()).await });
        let bytes = block_on(read).unwrap().unwrap();
        assert_eq!(u64::from_le_bytes(bytes[..].try_into().unwrap()), u64::from(STEPS));
    }
}
