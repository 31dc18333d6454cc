//! Many seeds, and what they exercised together.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::disk::Activity;
use crate::simulation::{Profile, Report, Scale, run};

/// What a campaign found and exercised.
#[derive(Clone, Debug, Default)]
pub struct Campaign {
    /// How many seeds ran.
    pub seeds: u64,
    /// Those that failed: seed, profile, and what did not hold.
    pub failures: Vec<(u64, Profile, String)>,
    /// How many seeds changed the disk in each activity, and how many crashed in it.
    pub seeds_with: BTreeMap<Activity, u64>,
    /// Crashes by what the engine was doing.
    pub crashed_in: BTreeMap<Activity, u64>,
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
        for (activity, count) in other.crashed_in {
            *self.crashed_in.entry(activity).or_default() += count;
        }
        self.sum(&other.total);
    }

    fn sum(&mut self, report: &Report) {
        let total = &mut self.total;
        total.commits += report.commits;
        total.conflicts += report.conflicts;
        total.too_old += report.too_old;
        total.crashes += report.crashes;
        total.double_crashes += report.double_crashes;
        total.recoveries += report.recoveries;
        total.damage_named += report.damage_named;
        total.damage_harmless += report.damage_harmless;
        total.watches_fired += report.watches_fired;
        for (site, fired) in &report.rare_paths {
            *total.rare_paths.entry(site).or_default() += fired;
        }
    }
}

/// Runs a seed; a panic is a failure like any other.
pub fn run_caught(seed: u64, profile: Profile, scale: Scale) -> Result<Report, String> {
    match catch_unwind(AssertUnwindSafe(|| run(seed, profile, scale))) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
            Err(format!("a panic: {text}"))
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
                let what = format!("it took another course the second time: {again:?}, not {}", report.trace);
                campaign.failures.push((seed, profile, what));
            }
        }
        for activity in report.activities.keys() {
            *campaign.seeds_with.entry(*activity).or_default() += 1;
        }
        for (activity, count) in &report.crashed_in {
            *campaign.crashed_in.entry(*activity).or_default() += count;
        }
        campaign.sum(&report);
    }
    campaign
}

/// The smallest scale found at which a seed still fails, and what it says there: fewer transactions, clients and lives.
pub fn minimise(seed: u64, profile: Profile, scale: Scale) -> (Scale, String) {
    let mut best = scale;
    let mut what = run_caught(seed, profile, scale).err().unwrap_or_default();
    loop {
        let smaller = [
            Scale { transactions: best.transactions / 2, ..best },
            Scale { transactions: best.transactions * 3 / 4, ..best },
            Scale { transactions: best.transactions.saturating_sub(1), ..best },
            Scale { clients_max: best.clients_max / 2, ..best },
            Scale { clients_max: best.clients_max.saturating_sub(1), ..best },
            Scale { lives_max: best.lives_max.saturating_sub(1), ..best },
        ];
        let found = smaller
            .into_iter()
            .filter(|scale| {
                *scale != best && scale.transactions > 0 && scale.clients_max > 0 && scale.lives_max > 0
            })
            .find_map(|scale| run_caught(seed, profile, scale).err().map(|what| (scale, what)));
        match found {
            Some((scale, found)) => (best, what) = (scale, found),
            None => return (best, what),
        }
    }
}
