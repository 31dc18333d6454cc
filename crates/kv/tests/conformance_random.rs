//! The random comparison has teeth: it passes on the reference engine itself and fails on wrong ones.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use pollster::block_on;
use tenantry_kv::Engine;
use tenantry_kv::conformance::Subject;
use tenantry_kv::conformance::random::{self, Tally};
use tenantry_kv::conformance::reference::{Fault, ManualClock, ReferenceEngine, manual_env_with_clock};

#[derive(Debug)]
struct Reference {
    engine: ReferenceEngine,
    clock: Arc<ManualClock>,
}

impl Reference {
    fn new(fault: Option<Fault>) -> Reference {
        let (env, clock) = manual_env_with_clock();
        Reference { engine: ReferenceEngine::with_fault(env, fault), clock }
    }
}

impl Subject for Reference {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }

    fn make_too_old(&self) -> bool {
        self.clock.advance(Duration::from_secs(6));
        true
    }
}

#[test]
fn the_reference_agrees_with_itself() {
    let mut tally = Tally::default();
    for seed in 0..20 {
        match block_on(random::run(&Reference::new(None), seed, 400)) {
            Ok(run) => tally.add(run),
            Err(difference) => panic!("{difference}"),
        }
    }
    println!("{tally:?}");
    assert!(tally.conflicts > 0 && tally.too_old > 0 && tally.unreadable > 0, "{tally:?}");
}

#[test]
fn it_finds_what_is_wrong() {
    // What the random transactions do not touch: watches, options and the retry loop have checks of their own.
    let beyond =
        [Fault::WatchesLost, Fault::RetryLimitForgotten, Fault::UsableAfterCommit, Fault::StampsRepeat];
    for fault in Fault::ALL.into_iter().filter(|fault| !beyond.contains(fault)) {
        let found =
            (0..40).any(|seed| block_on(random::run(&Reference::new(Some(fault)), seed, 400)).is_err());
        assert!(found, "{fault:?} was not noticed");
    }
}
