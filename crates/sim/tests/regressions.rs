//! What campaigns found, each with a seed that met it. With the feature `seeded-faults` the old fault is put back, to see that the seed still meets it.
#![allow(clippy::unwrap_used, reason = "a test")]

use tenantry_kv::seeded_faults::Fault;
use tenantry_sim::{Profile, Scale, run_caught};

#[track_caller]
fn regression(seed: u64, profile: Profile, fault: Fault) {
    if let Err(finding) = run_caught(seed, profile, Scale::default()) {
        unreachable!("seed {seed}, profile {profile}: {finding}");
    }
    #[cfg(feature = "seeded-faults")]
    {
        tenantry_kv::seeded_faults::activate(Some(fault));
        let found = run_caught(seed, profile, Scale::default());
        tenantry_kv::seeded_faults::activate(None);
        assert!(found.is_err(), "seed {seed} does not meet {fault:?} any more: find another");
    }
    #[cfg(not(feature = "seeded-faults"))]
    let _ = fault;
}

/// A recovery trusted what a killed process had written and not synced; a power cut behind it took that back, and the database could not be opened any more.
#[test]
fn a_recovery_brings_to_disk_what_it_has_read() {
    regression(0, Profile::Power, Fault::RecoverySkipsSync);
}

/// On a full disk a clean end leaves in the log what the map has no room for. A zeroed sector at its end looked like a write that a crash had cut short, and an
/// acknowledged transaction was gone without a word.
#[test]
fn the_end_of_a_log_is_told_from_a_write_that_was_cut_short() {
    regression(2917, Profile::Media, Fault::LogNotSealed);
}

/// The seal stood in one place, and two zeroed sectors took it and the last record: an acknowledged transaction was gone without a word. It stands in eight sectors now.
#[test]
fn a_seal_outlives_a_sector() {
    regression(9002853, Profile::Media, Fault::LogNotSealed);
}
