//! Fair shares, in virtual time: one tenant that asks for a hundred times its part changes little for the others; weights are kept; processes share a rate.
#![allow(clippy::unwrap_used, reason = "a test")]

use tenantry_sim::{ShareScale, off_percent, run_shared_rate, run_shares, run_weights};

#[test]
fn one_of_a_thousand_tenants_cannot_slow_down_the_others() {
    let quiet = ShareScale::thousand_tenants(1);
    let mut abused = quiet.clone();
    abused.abuser_times = 100;
    // All that comes goes to the engine at once, which takes it in the order in which it comes.
    let mut unfair = abused.clone();
    unfair.transactions_max = 100_000;
    let (quiet, abused, unfair) =
        (run_shares(&quiet).unwrap(), run_shares(&abused).unwrap(), run_shares(&unfair).unwrap());
    let p99 = [&quiet, &abused, &unfair].map(|report| report.percentile(99));
    println!(
        "p99 of the others: {:?} without the abuser, {:?} with it, {:?} without fair shares; the abuser: {} done, {} turned away",
        p99[0], p99[1], p99[2], abused.abuser_done, abused.abuser_refused
    );
    assert!(quiet.latencies.len() > 9_000, "{}", quiet.latencies.len());
    assert!(p99[1] <= 2 * p99[0], "{p99:?}");
    assert!(p99[2] > 2 * p99[0], "without fair shares it would be as good: {p99:?}");
    // Nobody starves: all that the others asked for was done, the longest within a second; the abuser has its part and what is left.
    assert_eq!((abused.refused, quiet.refused), (0, 0));
    assert!(abused.percentile(100).as_secs() < 1, "{:?}", abused.percentile(100));
    assert!(abused.abuser_done > 100, "{}", abused.abuser_done);
}

#[test]
fn weights_are_kept_within_a_tenth() {
    let weights = [100, 100, 200, 400, 50];
    let parts = run_weights(3, &weights, 10).unwrap();
    println!("{parts:?} transactions for the weights {weights:?}");
    assert!(parts.iter().sum::<u64>() > 9_500, "{parts:?}");
    for (tenant, off) in off_percent(&parts, &weights) {
        assert!(off < 10.0, "tenant {tenant} is off by {off} %: {parts:?}");
    }
}

#[test]
fn processes_share_a_rate() {
    for (seed, processes) in [
        (1, vec![(0, 8)]),
        (2, vec![(0, 8), (0, 8)]),
        (3, vec![(0, 8), (5, 20)]),
        (4, vec![(0, 4), (2, 4), (9, 16)]),
    ] {
        let rate = 200;
        let report = run_shared_rate(seed, rate, &processes, 30).unwrap();
        let spans = report.in_ten_seconds();
        let (least, most) = (spans.iter().min().unwrap(), spans.iter().max().unwrap());
        println!(
            "{processes:?}: {least} to {most} operations in ten seconds of {}; each {:?}",
            10 * rate,
            report.done
        );
        assert!(*most <= 11 * rate, "{most} of {}", 10 * rate);
        assert!(*least >= 9 * rate, "{least} of {}", 10 * rate);
        // None of them is left out.
        for done in &report.done {
            assert!(*done > 10 * rate / processes.len() as u64, "{:?}", report.done);
        }
    }
}
