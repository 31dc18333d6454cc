//! The simulator has teeth: each fault that was seeded into the code is found within two hundred seeds of a profile.
//!
//! `cargo test --release -p tenantry-sim --features seeded-faults --test seeded_faults`
#![cfg(feature = "seeded-faults")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use tenantry_kv::seeded_faults::{Fault, activate};
use tenantry_sim::{Profile, Scale, run_caught};

const SEEDS: u64 = 200;

/// The first seed that finds the fault, where, and by what.
fn found(fault: Fault) -> Option<(Profile, u64, String)> {
    activate(Some(fault));
    let found = Profile::ALL.into_iter().find_map(|profile| {
        (0..SEEDS).find_map(|seed| {
            run_caught(seed, profile, Scale::default()).err().map(|what| (profile, seed, what))
        })
    });
    activate(None);
    found
}

#[test]
fn every_seeded_fault_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut survivors = Vec::new();
    for fault in Fault::ALL {
        match found(fault) {
            Some((profile, seed, what)) => {
                let what: String = what.chars().take(100).collect();
                println!("{fault:?}: seed {seed}, profile {profile}: {what}");
            }
            None => survivors.push(fault),
        }
    }
    assert!(survivors.is_empty(), "not found: {survivors:?}");
}
