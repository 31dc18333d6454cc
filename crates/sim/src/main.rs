//! The simulator's command line.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a face: it prints, starts threads and looks at the clock; the simulation does not"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};
use tenantry_sim::{
    Activity, Campaign, Finding, Oracle, Part, Profile, QueryTally, Report, Scale, WORLD_QUERIES, campaign,
    minimise, query_worlds, run_caught, two_worlds,
};

/// Runs Tenantry's engine on a simulated disk and clock, and judges every history.
#[derive(Debug, Parser)]
#[command(name = "tenantry-sim", version)]
struct Arguments {
    /// How many random transactions a seed runs
    #[arg(long, global = true, default_value_t = Scale::default().transactions)]
    transactions: u64,
    /// The most clients
    #[arg(long, global = true, default_value_t = Scale::default().clients_max)]
    clients_max: u64,
    /// The most lives: one more than crashes
    #[arg(long, global = true, default_value_t = Scale::default().lives_max)]
    lives_max: u64,
    /// What a run is to be without; may be given several times
    #[arg(long, global = true, value_name = "PART")]
    without: Vec<Part>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one seed; for a failure print the smallest run that fails too, and the command that repeats it
    Run {
        /// The seed
        #[arg(long)]
        seed: u64,
        /// What may go wrong
        #[arg(long, value_enum)]
        profile: ProfileWord,
    },
    /// Run many seeds of every profile
    Campaign {
        /// How many seeds of the profile calm
        #[arg(long, default_value_t = 2_000)]
        calm: u64,
        /// How many seeds of the profile power
        #[arg(long, default_value_t = 1_000)]
        power: u64,
        /// How many seeds of the profile media
        #[arg(long, default_value_t = 500)]
        media: u64,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// How many threads run seeds side by side
        #[arg(long, default_value_t = 2)]
        threads: u64,
    },
    /// Ask random queries over random schemas and records: by every index, by a look at all records, at several page sizes
    Queries {
        /// How many queries at least; every seed asks as many
        #[arg(long, default_value_t = 20_000)]
        count: u64,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// How many threads run seeds side by side
        #[arg(long, default_value_t = 2)]
        threads: u64,
    },
    /// Play scripts of an attacker beside different victims: what it is told must be the same
    TwoWorlds {
        /// How many scripts
        #[arg(long, default_value_t = 3_000)]
        count: u64,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        first: u64,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileWord {
    /// Nothing but conflicts
    Calm,
    /// Power cuts
    Power,
    /// Damage and failures of the disk
    Media,
}

impl From<ProfileWord> for Profile {
    fn from(word: ProfileWord) -> Profile {
        match word {
            ProfileWord::Calm => Profile::Calm,
            ProfileWord::Power => Profile::Power,
            ProfileWord::Media => Profile::Media,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let scale = Scale {
        transactions: arguments.transactions.max(1),
        clients_max: arguments.clients_max.max(1),
        lives_max: arguments.lives_max.max(1),
        without: arguments.without.into_iter().collect(),
    };
    match arguments.command {
        Command::Run { seed, profile } => run_one(seed, profile.into(), scale),
        Command::Queries { count, first, threads } => ask(count, first, threads.max(1)),
        Command::TwoWorlds { count, first } => play(count, first),
        Command::Campaign { calm, power, media, first, threads } => {
            let started = Instant::now();
            let mut all = Campaign::default();
            for (profile, seeds) in [(Profile::Calm, calm), (Profile::Power, power), (Profile::Media, media)]
            {
                let begun = Instant::now();
                let found = side_by_side(profile, first, seeds, threads.max(1), scale);
                println!("{profile}: {} seeds in {:.1} s", found.seeds, begun.elapsed().as_secs_f64());
                all.add(found);
            }
            let seconds = started.elapsed().as_secs_f64();
            println!("{:.0} seeds a second and thread", all.seeds as f64 / seconds / threads.max(1) as f64);
            tell(&all, power, scale)
        }
    }
}

/// Plays scripts beside different victims.
fn play(count: u64, first: u64) -> ExitCode {
    let started = Instant::now();
    let report = two_worlds(first..first + count);
    for difference in &report.differences {
        println!("FAILED: {difference}");
        println!("  cargo run --release -p tenantry-sim -- two-worlds --count 1 --first {}", difference.seed);
    }
    let (scripts, lines, differences) = (report.scripts, report.lines, report.differences.len());
    println!("{scripts} scripts beside three victims, {lines} lines, {differences} differences");
    println!("{:.1} s", started.elapsed().as_secs_f64());
    if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs as many seeds as the count takes.
fn ask(count: u64, first: u64, threads: u64) -> ExitCode {
    let started = Instant::now();
    let seeds = first..first + count.div_ceil(WORLD_QUERIES).max(1);
    let mut all = QueryTally::default();
    let found = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| seeds.clone().filter(move |seed| seed % threads == thread))
            .map(|seeds| scope.spawn(move || query_worlds(seeds)))
            .collect();
        running.into_iter().map(ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut is_whole = true;
    for tally in found {
        match tally {
            Ok(tally) => all.add(tally),
            Err(_) => is_whole = false,
        }
    }
    println!("{all}");
    println!("{:.1} s, {threads} threads", started.elapsed().as_secs_f64());
    let missing = if count < QUERIES_FOR_COVERAGE { Vec::new() } else { all.missing() };
    missing.iter().for_each(|what| println!("FAILED: {what}"));
    for (seed, finding) in &all.failures {
        println!("FAILED: seed {seed}: {}", shortened(finding));
        println!("  cargo run --release -p tenantry-sim -- queries --count {WORLD_QUERIES} --first {seed}");
    }
    match is_whole && missing.is_empty() && all.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn side_by_side(profile: Profile, first: u64, seeds: u64, threads: u64, scale: Scale) -> Campaign {
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    campaign(profile, (first..first + seeds).filter(|seed| seed % threads == thread), scale)
                })
            })
            .collect();
        let mut all = Campaign::default();
        for thread in running {
            match thread.join() {
                Ok(found) => all.add(found),
                Err(_) => {
                    let what = "the simulator itself panicked".to_owned();
                    all.failures.push((first, profile, Finding { oracle: Oracle::Panic, what }));
                }
            }
        }
        all
    })
}

/// From how many queries on every plan and every kind of index has to have come up.
const QUERIES_FOR_COVERAGE: u64 = 20_000;
/// From how many seeds on a campaign has to have come everywhere.
const SEEDS_FOR_COVERAGE: u64 = 1_000;
/// How many of a hundred crashes have to be second ones.
const SECOND_CRASHES_PERCENT: u64 = 30;

fn tell(all: &Campaign, power: u64, scale: Scale) -> ExitCode {
    let Report { commits, conflicts, too_old, crashes, second_crashes, .. } = all.total;
    let total = &all.total;
    let mut missing = Vec::new();
    println!(
        "{commits} commits, {conflicts} conflicts, {too_old} too old, {} watches fired",
        total.watches_fired
    );
    println!("{} seeds run twice, to the same trace", all.repeated);
    println!(
        "{crashes} crashes, {second_crashes} of them second ones ({:.0} %): during a recovery or in the first work behind it",
        second_crashes as f64 / crashes.max(1) as f64 * 100.0
    );
    for activity in Activity::ALL {
        let of = |counts: &BTreeMap<Activity, u64>| counts.get(&activity).copied().unwrap_or(0);
        let share = of(&all.seeds_with) as f64 / all.seeds.max(1) as f64 * 100.0;
        let (crashed, second) = (of(&total.crashed_in), of(&total.second_crashed_in));
        println!(
            "{activity:?}: in {share:.0} % of the seeds; {crashed} crashes in it, {second} of them second ones"
        );
        if crashed == 0 {
            missing.push(format!("there was no crash in {activity:?}"));
        }
    }
    if second_crashes * 100 < crashes * SECOND_CRASHES_PERCENT {
        missing.push(format!("fewer than {SECOND_CRASHES_PERCENT} % of the crashes were second ones"));
    }
    if power < SEEDS_FOR_COVERAGE {
        missing.clear();
    }
    println!(
        "damage: {} told when the database was opened, {} found by the scrub, {} harmless",
        total.damage_told, total.damage_scrubbed, total.damage_harmless
    );
    for (site, fired) in &total.rare_paths {
        println!("rare path {site}: {fired}");
        if *fired == 0 && all.seeds >= SEEDS_FOR_COVERAGE {
            missing.push(format!("the point {site} never took its rare path"));
        }
    }
    if scale == Scale::default() {
        missing.iter().for_each(|what| println!("FAILED: {what}"));
    } else {
        // What was left out cannot be missing.
        missing.clear();
    }
    for (seed, profile, finding) in &all.failures {
        println!("FAILED: seed {seed}, profile {profile}: {}", shortened(finding));
        println!("  {}", command(*seed, *profile, scale));
    }
    println!("{} seeds, {} failures", all.seeds, all.failures.len());
    if missing.is_empty() && all.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_one(seed: u64, profile: Profile, scale: Scale) -> ExitCode {
    match run_caught(seed, profile, scale) {
        Ok(report) => {
            println!("{report:#?}");
            println!("trace {:016x}", report.trace);
            println!("seed {seed}, profile {profile}: good");
            ExitCode::SUCCESS
        }
        Err(finding) => {
            println!("seed {seed}, profile {profile}: FAILED: {}", shortened(&finding));
            println!("  {}", command(seed, profile, scale));
            match minimise(seed, profile, scale) {
                Some((smallest, finding)) => {
                    println!("the smallest run that was found to fail says: {}", shortened(&finding));
                    println!("  {}", command(seed, profile, smallest));
                }
                None => println!("run again it does not fail: the simulator does not take the same course"),
            }
            ExitCode::FAILURE
        }
    }
}

/// The command that repeats a run.
fn command(seed: u64, profile: Profile, scale: Scale) -> String {
    format!("cargo run --release -p tenantry-sim -- run --seed {seed} --profile {profile}{scale}")
}

fn shortened(finding: &Finding) -> String {
    let what = finding.to_string();
    let mut text: String = what.chars().take(2_000).collect();
    if text.len() < what.len() {
        text.push_str(" ...");
    }
    text
}
