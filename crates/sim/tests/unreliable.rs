//! The engine on a bad day keeps the contract on a good one.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use tenantry_kv::Engine;
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_kv::conformance::{Subject, rules};
use tenantry_sim::UnreliableEngine;

#[derive(Debug)]
struct Unreliable(UnreliableEngine);

impl Subject for Unreliable {
    fn engine(&self) -> &dyn Engine {
        &self.0
    }
}

#[test]
fn without_faults_every_rule_is_kept() {
    let failures = pollster::block_on(rules::run(&|| {
        let env = manual_env();
        let reference = Arc::new(ReferenceEngine::new(env.clone()));
        Box::new(Unreliable(UnreliableEngine::new(reference, env.timer, 1, 0)))
    }));
    assert!(failures.is_empty(), "{failures:?}");
}
