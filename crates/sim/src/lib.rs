//! A deterministic simulator of Tenantry: one seed decides everything, and every history is checked.
//!
//! The engine that ships runs on a simulated disk and a simulated clock, without threads: the simulator decides who goes on next, when a batch is committed, when
//! the map is looked after, and when the power goes. What the clients did and were told is then judged: see [`run`] and `docs/simulation.md`.
//!
//! ```
//! use tenantry_sim::{Profile, Scale, run};
//!
//! let first = run(7, Profile::Power, Scale::default()).unwrap();
//! let second = run(7, Profile::Power, Scale::default()).unwrap();
//! assert_eq!(first.trace, second.trace);
//! ```
#![forbid(unsafe_code)]

mod campaign;
mod counting;
mod disk;
mod executor;
mod finding;
mod history;
mod inspection;
#[cfg(test)]
mod key_store;
mod knobs;
mod layer;
mod oracle;
mod queries;
mod random;
mod scale;
mod shares;
mod simulation;
mod time;
mod two_worlds;
mod unreliable;
mod workload;

pub use campaign::{Campaign, campaign, minimise, run_caught};
pub use counting::CountingEngine;
pub use disk::Activity;
pub use finding::{Finding, Oracle};
pub use queries::{QueryTally, WORLD_QUERIES, query_worlds};
pub use scale::{Part, Parts, Scale};
pub use shares::{
    ShareReport, ShareScale, SharedRate, off_percent, run_shared_rate, run_shares, run_weights,
};
pub use simulation::{Profile, Report, run};
pub use two_worlds::{Difference, TwoWorldsReport, two_worlds};
pub use unreliable::UnreliableEngine;
