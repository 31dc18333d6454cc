//! A short campaign with every test run.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use tenantry_sim::{Profile, Scale, campaign};

fn quick(profile: Profile, seeds: u64) {
    let found = campaign(profile, 0..seeds, Scale::default());
    println!(
        "{profile}: {} commits, {} conflicts, {} crashes",
        found.total.commits, found.total.conflicts, found.total.crashes
    );
    assert!(found.failures.is_empty(), "{:?}", found.failures);
    assert!(found.total.rare_paths.len() >= 10, "{:?}", found.total.rare_paths);
    assert!(found.total.commits > seeds * 50 && found.total.conflicts > 0, "{:?}", found.total);
}

#[test]
fn a_calm_world_is_serializable() {
    quick(Profile::Calm, 40);
}

#[test]
fn power_cuts_lose_nothing() {
    quick(Profile::Power, 60);
}

#[test]
fn damage_is_told_or_harmless() {
    quick(Profile::Media, 40);
}
