//! Many seeds, and what they exercised together.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::disk::Activity;
use crate::finding::{Finding, Oracle};
use crate::scale::Scale;
use crate::simulation::{Profile, Report, run};

/// What a campaign found and exercised.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    /// How many seeds ran.
    pub seeds: u64,
    /// Those that failed: seed, profile, and what did not hold.
    pub failures: Vec<(u64, Profile, Finding)>,
    /// How many seeds did each thing with the disk.
    pub seeds_with: BTreeMap<Activity, u64>,
    /// How many seeds were run twice, to the same trace.
    pub repeated: u64,
    /// The sums of what the runs report.
    pub total: Report,
}

impl Campaign {
    /// Adds what another part of the campaign found.
    pub fn add(&mut self, other: Campaign) {
        self.seeds += other.seeds;
        self.failures.extend(other.failures);
        self.repeated += other.repeated;
        for (activity, count) in other.seeds_with {
            *self.seeds_with.entry(activity).or_default() += count;
        }
        self.sum(&other.total);
    }

    fn sum(&mut self, report: &Report) {
        let total = &mut self.total;
        total.commits += report.commits;
        total.conflicts += report.conflicts;
        total.too_old += report.too_old;
        total.crashes += report.crashes;
        total.second_crashes += report.second_crashes;
        total.openings += report.openings;
        total.damage_told += report.damage_told;
        total.damage_scrubbed += report.damage_scrubbed;
        total.damage_harmless += report.damage_harmless;
        total.watches_fired += report.watches_fired;
        for (site, fired) in &report.rare_paths {
            *total.rare_paths.entry(site).or_default() += fired;
        }
        let pairs = [
            (&mut total.activities, &report.activities),
            (&mut total.crashed_in, &report.crashed_in),
            (&mut total.second_crashed_in, &report.second_crashed_in),
        ];
        for (total, counts) in pairs {
            for (activity, count) in counts {
                *total.entry(*activity).or_default() += count;
            }
        }
    }
}

/// Runs a seed; a panic is a failure like any other.
pub fn run_caught(seed: u64, profile: Profile, scale: Scale) -> Result<Report, Finding> {
    match catch_unwind(AssertUnwindSafe(|| run(seed, profile, scale))) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
            Err(Oracle::Panic.says(text))
        }
    }
}

/// Runs some seeds of a profile. One of fifty runs twice and has to take the same course.
pub fn campaign(profile: Profile, seeds: impl Iterator<Item = u64>, scale: Scale) -> Campaign {
    let mut campaign = Campaign::default();
    for seed in seeds {
        campaign.seeds += 1;
        let report = match run_caught(seed, profile, scale) {
            Ok(report) => report,
            Err(what) => {
                campaign.failures.push((seed, profile, what));
                continue;
            }
        };
        if seed.is_multiple_of(50) {
            campaign.repeated += 1;
            let again = run_caught(seed, profile, scale).map(|again| again.trace);
            if again != Ok(report.trace) {
                let what = format!("the second time it was {again:?}, not {:016x}", report.trace);
                campaign.failures.push((seed, profile, Oracle::Course.says(what)));
            }
        }
        for activity in report.activities.keys() {
            *campaign.seeds_with.entry(*activity).or_default() += 1;
        }
        campaign.sum(&report);
    }
    campaign
}

/// The smallest scale found at which a seed still fails, and what it says there: fewer transactions, clients, lives, kinds of operations and of faults. `None` when it
/// does not fail.
pub fn minimise(seed: u64, profile: Profile, scale: Scale) -> Option<(Scale, Finding)> {
    let fails = |scale: Scale| run_caught(seed, profile, scale).err().map(|finding| (scale, finding));
    let mut best = fails(scale)?;
    while let Some(smaller) = best.0.smaller().find_map(fails) {
        best = smaller;
    }
    Some(best)
}
