//! The conformance suite on the embedded engine, in memory and on disk.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::sync::Arc;
use std::time::Duration;

use pollster::block_on;
use tenantry_embedded::{EmbeddedEngine, Settings};
use tenantry_kv::Engine;
use tenantry_kv::conformance::random::{self, Tally};
use tenantry_kv::conformance::{Subject, rules};
use tenantry_kv::env::{Clock, Env};

/// The system's clock, which a test can move on.
struct MovableClock {
    system: Arc<dyn Clock>,
    ahead: std::sync::Mutex<Duration>,
}

impl Clock for MovableClock {
    fn monotonic(&self) -> Duration {
        self.system.monotonic() + *self.ahead.lock().unwrap()
    }

    fn wall_us(&self) -> i64 {
        self.system.wall_us()
    }
}

#[derive(Debug)]
struct Embedded {
    engine: EmbeddedEngine,
    clock: Handle,
    _temporary: Option<tempfile::TempDir>,
}

struct Handle(Arc<MovableClock>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Handle")
    }
}

impl Embedded {
    fn open(on_disk: bool) -> Embedded {
        let system = tenantry_env::system();
        let clock =
            Arc::new(MovableClock { system: system.clock.clone(), ahead: std::sync::Mutex::default() });
        let env = Env { clock: clock.clone(), ..system };
        let mut settings = Settings::default();
        settings.log_segment_size_bytes = 64 << 10;
        settings.free_space_reserve_bytes = 0;
        let temporary = on_disk.then(|| tempfile::tempdir().unwrap());
        let engine = match &temporary {
            Some(temporary) => EmbeddedEngine::open(temporary.path().to_str().unwrap(), settings, env),
            None => EmbeddedEngine::in_memory(settings, env),
        };
        Embedded { engine: engine.unwrap(), clock: Handle(clock), _temporary: temporary }
    }
}

impl Subject for Embedded {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }

    fn make_too_old(&self) -> bool {
        let newest = self.engine.stats().version_readable;
        *self.clock.0.ahead.lock().unwrap() += Duration::from_secs(6);
        block_on(self.engine.tick()).unwrap();
        assert!(self.engine.stats().version_oldest > newest);
        true
    }
}

fn check_random(on_disk: bool, seeds: std::ops::Range<u64>) {
    let mut tally = Tally::default();
    for seed in seeds {
        match block_on(random::run(&Embedded::open(on_disk), seed, 400)) {
            Ok(run) => tally.add(run),
            Err(difference) => panic!("{difference}"),
        }
    }
    println!("on disk: {on_disk}: {tally:?}");
    assert!(tally.conflicts > 0 && tally.too_old > 0, "{tally:?}");
}

#[test]
fn random_transactions_agree_with_the_reference_in_memory() {
    check_random(false, 0..300);
}

#[test]
fn random_transactions_agree_with_the_reference_on_disk() {
    check_random(true, 1_000..1_030);
}

#[test]
fn every_rule_is_kept_in_memory() {
    let failures = block_on(rules::run(&|| Box::new(Embedded::open(false))));
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_rule_is_kept_on_disk() {
    let failures = block_on(rules::run(&|| Box::new(Embedded::open(true))));
    assert!(failures.is_empty(), "{failures:#?}");
}
