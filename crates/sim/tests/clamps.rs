//! Each clamp that keeps a tenant within its own keys, removed alone, is caught: by the proof of isolation, or by the two worlds.
//!
//! `cargo test -p tenantry-sim --features seeded-faults --test clamps`
#![cfg(feature = "seeded-faults")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pollster::block_on;
use tenantry_core::Database;
use tenantry_core::isolation::ProofOptions;
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_kv::seeded_faults::{Fault, activate};
use tenantry_sim::{CountingEngine, two_worlds};

const SEEDS: u64 = 6;
const OPERATIONS: u64 = 1_200;
const SCRIPTS: u64 = 40;
/// Many times what a proof asks of the engine: without a clamp it may go on for ever.
const BUDGET: u64 = 5_000_000;

/// What the proof of a seed says against isolation, if anything.
fn proof_finds(seed: u64) -> Option<String> {
    let env = manual_env();
    let engine = CountingEngine::with_budget(Arc::new(ReferenceEngine::new(env.clone())), BUDGET);
    let database = block_on(Database::open(Arc::new(engine.clone()), env, "proof")).unwrap();
    let mut options = ProofOptions::default();
    (options.operations, options.tenants, options.seed) = (OPERATIONS, 3, seed);
    let proof = catch_unwind(AssertUnwindSafe(|| block_on(database.prove_isolation(&options, |_| {}))));
    match proof {
        Err(_) => Some("it panicked".to_owned()),
        _ if engine.budget_left() == 0 => Some("it does not end".to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        Ok(Ok(proof)) if proof.is_proven() => None,
        Ok(Ok(proof)) => {
            let mut told = proof.mismatches_told.iter();
            let mut keys = proof.attributed.findings.iter().chain(&proof.moved.findings);
            let first = told.next().or_else(|| keys.next()).map(|finding| finding.what.clone());
            Some(first.unwrap_or_default())
        }
    }
}

fn with<T>(fault: Fault, work: impl FnOnce() -> T) -> T {
    activate(Some(fault));
    let result = work();
    activate(None);
    result
}

fn short(text: &str) -> String {
    text.chars().take(160).collect()
}

#[test]
fn every_clamp_is_missed_when_it_is_gone() {
    std::panic::set_hook(Box::new(|_| {}));
    assert_eq!((0..SEEDS).find_map(proof_finds), None);
    let mut survivors = Vec::new();
    for fault in Fault::CLAMPS {
        let by_proof = with(fault, || (0..SEEDS).find_map(|seed| proof_finds(seed).map(|what| (seed, what))));
        let by_worlds = with(fault, || two_worlds(0..SCRIPTS).differences.into_iter().next());
        let is_found = by_proof.is_some() || by_worlds.is_some();
        match by_proof {
            Some((seed, what)) => println!("{fault:?}: the proof, seed {seed}: {}", short(&what)),
            None => println!("{fault:?}: not the proof"),
        }
        if let Some(difference) = by_worlds {
            println!("{fault:?}: two worlds, {}", short(&difference.to_string()));
        }
        if !is_found {
            survivors.push(fault);
        }
    }
    assert!(survivors.is_empty(), "not found: {survivors:?}");
}

/// The older faults that let tenants meet are found by both as well.
#[test]
fn tenants_that_share_a_prefix_are_found() {
    std::panic::set_hook(Box::new(|_| {}));
    assert!(with(Fault::TenantPrefixShared, || proof_finds(0)).is_some());
    assert!(!with(Fault::TenantPrefixShared, || two_worlds(0..5)).differences.is_empty());
}
