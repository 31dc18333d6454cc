//! Jobs: work that is longer than a transaction.
//!
//! A job is a chain of short transactions. Each of its steps does a piece of work and moves the job's cursor on in one transaction, so that the effect of a
//! step happens exactly once, whatever stops in the middle. [`Worker`]s in any number of processes share the jobs of a database: whoever has a job holds its lease, and every
//! step's transaction reads the lease with a conflict and finds in it the worker and the token that grows with each take-over. Two workers never both act.
//!
//! ```
//! use std::sync::Arc;
//! use tenantry_core::jobs::{Count, JobKinds, JobState, Worker};
//! # use tenantry_core::{Database, Record, SchemaDefinition};
//! # use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
//! # pollster::block_on(async {
//! # let env = manual_env();
//! # let database = Database::open(Arc::new(ReferenceEngine::new(env.clone())), env, "main").await?;
//! # database.apply_schema(&SchemaDefinition::from_toml(r#"
//! #     name = "films"
//! #     [types.film]
//! #     primary_key = ["title"]
//! #     fields = { title = "string" }
//! # "#)?).await?;
//! # let acme = database.create_tenant("acme", "films").await?;
//! # acme.insert("film", &Record::new().with("title", "Heat")).await?;
//! let id = database.create_job(&Count, Some(&acme), &Count::parameters("film")).await?;
//! Worker::new(&database, JobKinds::standard()).run_until_idle().await?;
//! let job = database.job(id).await?;
//! assert_eq!(job.state, JobState::Done);
//! assert_eq!(job.result.unwrap()["count"], 1);
//! # Ok::<_, tenantry_core::Error>(())
//! # }).unwrap();
//! ```

mod clones;
mod create;
mod inspect;
mod job;
mod kind;
mod kinds;
mod purges;
mod queue;
mod retention;
mod step;
mod store;
mod worker;

pub use inspect::{JobFilter, JobPage};
pub use job::{Job, JobFailure, JobId, JobState};
pub use kind::{JobKind, JobKinds, JobStep, StepFuture, StepOutcome};
pub use kinds::{
    CascadeDelete, Check, CloneTenant, Count, DeleteWhere, Expire, ForgetResults, Purge, Reconcile, Reseal,
    Rewrite, Verify,
};
pub use worker::{Worked, Worker};
