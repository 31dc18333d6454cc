//! Random queries: over random schemas with indexes of every kind and random records, every query by every index that can serve it, by a look at all records,
//! and at several page sizes gives what a model says that knows neither keys nor plans.
//!
//! A seed is a world: a schema, up to a few dozen records, or some hundred in one of fifty, and [`WORLD_QUERIES`] queries.

mod answers;
mod ask;
mod check;
mod condition;
mod deletions;
mod indexes;
mod shape;
mod tally;
mod values;
mod words;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use self::tally::QueryTally;
use self::world::World;
use crate::finding::{Finding, Oracle, Verdict};
use crate::random::Stream;

/// How many queries a world is asked.
pub const WORLD_QUERIES: u64 = 40;

/// Runs the worlds of some seeds. A world that fails is in the tally with what did not hold.
pub fn query_worlds(seeds: impl Iterator<Item = u64>) -> QueryTally {
    let mut tally = QueryTally::default();
    for seed in seeds {
        let mut own = QueryTally { worlds: 1, ..QueryTally::default() };
        let ran = catch_unwind(AssertUnwindSafe(|| run(seed, &mut own)));
        let verdict = ran.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Oracle::Panic.says(text.unwrap_or_else(|| "a panic without a word".to_owned())))
        });
        own.failures.extend(verdict.err().map(|finding: Finding| (seed, finding)));
        tally.add(own);
    }
    tally
}

fn run(seed: u64, tally: &mut QueryTally) -> Verdict {
    let mut world = World::new(seed).map_err(|error| Oracle::Records.says(format!("the world: {error}")))?;
    let mut random = Stream::new(seed, "queries");
    let told = |world: &World, what: &str| {
        Oracle::Records.says(format!("{what}\nthe schema: {}", world.schema_text()))
    };
    for number in 0..WORLD_QUERIES {
        check::check(&mut world, &mut random, tally)
            .map_err(|what| told(&world, &format!("query {number}: {what}")))?;
    }
    answers::check(&mut world, tally).map_err(|what| told(&world, &what))?;
    let mut random = Stream::new(seed, "deletions");
    deletions::check(&mut world, &mut random, tally).map_err(|what| told(&world, &what))
}
