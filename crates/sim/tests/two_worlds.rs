//! What an attacker is told does not depend on anybody else.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use tenantry_sim::two_worlds;

#[test]
fn an_attacker_is_told_the_same_whoever_lives_beside() {
    let report = two_worlds(0..300);
    println!("{} scripts, {} lines", report.scripts, report.lines);
    assert_eq!(report.differences, []);
    assert_eq!(report.scripts, 300);
    assert!(report.lines > 300 * 20, "{}", report.lines);
}
