//! The simulator's command line.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a face: it prints, starts threads and looks at the clock; the simulation does not"
)]

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand, ValueEnum};
use tenantry_sim::{Activity, Campaign, Profile, Report, Scale, campaign, minimise, run_caught};

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
    };
    match arguments.command {
        Command::Run { seed, profile } => run_one(seed, profile.into(), scale),
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
            tell(&all)
        }
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
                Err(_) => all.failures.push((0, profile, "the simulator itself panicked".to_owned())),
            }
        }
        all
    })
}

fn tell(all: &Campaign) -> ExitCode {
    let Report { commits, conflicts, too_old, crashes, double_crashes, .. } = all.total;
    println!(
        "{commits} commits, {conflicts} conflicts, {too_old} too old, {} watches fired",
        all.total.watches_fired
    );
    println!(
        "{crashes} crashes, {double_crashes} of them during a recovery; {} seeds run twice",
        all.repeated
    );
    println!("damage: {} told, {} harmless", all.total.damage_named, all.total.damage_harmless);
    for activity in [Activity::Log, Activity::Growth, Activity::Cut, Activity::Checkpoint, Activity::Recovery]
    {
        let share =
            all.seeds_with.get(&activity).copied().unwrap_or(0) as f64 / all.seeds.max(1) as f64 * 100.0;
        let crashed = all.crashed_in.get(&activity).copied().unwrap_or(0);
        println!("{activity:?}: in {share:.0} % of the seeds, {crashed} crashes in it");
    }
    let mut is_good = true;
    for (site, fired) in &all.total.rare_paths {
        println!("rare path {site}: {fired}");
        if *fired == 0 && all.seeds >= 1_000 {
            println!("FAILED: the point {site} was never reached");
            is_good = false;
        }
    }
    for (seed, profile, what) in &all.failures {
        println!("FAILED: seed {seed}, profile {profile}: {}", shortened(what));
        println!("  repeat it: cargo run --release -p tenantry-sim -- run --seed {seed} --profile {profile}");
        is_good = false;
    }
    println!("{} seeds, {} failures", all.seeds, all.failures.len());
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_one(seed: u64, profile: Profile, scale: Scale) -> ExitCode {
    match run_caught(seed, profile, scale) {
        Ok(report) => {
            println!("{report:#?}");
            println!("seed {seed}, profile {profile}: good");
            ExitCode::SUCCESS
        }
        Err(what) => {
            println!("seed {seed}, profile {profile}: FAILED: {}", shortened(&what));
            let (smallest, what) = minimise(seed, profile, scale);
            println!("the smallest run that was found to fail says: {}", shortened(&what));
            let Scale { transactions, clients_max, lives_max } = smallest;
            println!(
                "  cargo run --release -p tenantry-sim -- run --seed {seed} --profile {profile} --transactions {transactions} --clients-max {clients_max} --lives-max {lives_max}"
            );
            ExitCode::FAILURE
        }
    }
}

fn shortened(what: &str) -> String {
    let mut text: String = what.chars().take(2_000).collect();
    if text.len() < what.len() {
        text.push_str(" ...");
    }
    text
}
