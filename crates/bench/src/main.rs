//! The embedded engine and the record layer beside rival stores, on the same work in the same run.
//!
//! `cargo run --release -p tenantry-bench -- --help`. Figures of one machine are to be read as ratios: each line has the one to the best rival.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a benchmark: it reads the clock and prints"
)]

mod beside_sqlite;
mod fair_shares;
mod range_clear;
mod records;
mod sealed;
mod stores;
mod system;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use stores::{Key, Outcome, Store, open};

/// The command line's. The rivals in Rust have it as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the embedded engine beside redb, fjall, SQLite and LMDB.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long each window is, in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many records are loaded
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// The stores, in the order in which they run
    #[arg(long, value_delimiter = ',', default_value = "tenantry,redb,fjall,sqlite,lmdb")]
    stores: Vec<String>,
    /// The parts: load, write, rmw, get, scan, records, sealed, beside-sqlite, fair-shares, and range-clear, which runs by itself
    #[arg(long, value_delimiter = ',', default_value = "load,write,rmw,get,scan,records")]
    parts: Vec<String>,
    /// How many clients write, in the parts write and rmw
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    clients: Vec<u64>,
    /// The memory that every store may use for pages, in MiB. LMDB uses the operating system's
    #[arg(long, default_value_t = 128)]
    cache_mib: usize,
    /// How many keys the part range-clear clears
    #[arg(long, default_value_t = 10_000_000)]
    clear_keys: u64,
    /// Where the parts records and sealed keep their database: an fdb: URL puts it on a cluster. Default a temporary directory
    #[arg(long)]
    url: Option<String>,
    /// Print the results as one JSON document at the end
    #[arg(long)]
    json: bool,
}

const VALUE_SIZE_BYTES: usize = 150;
/// How many rows a transaction of the load has.
const LOAD_ROWS: u64 = 1_000;

/// Results by workload and store.
type Results = BTreeMap<String, Vec<(String, f64)>>;

fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A key in random order.
fn key(number: u64) -> Key {
    let mut key = [b'.'; 32];
    key[0] = b'k';
    key[1..17].copy_from_slice(format!("{:016x}", mix(number)).as_bytes());
    key
}

fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let window = Duration::from_secs(arguments.seconds);
    let mut results = Results::new();
    println!(
        "{} records of 32 and {VALUE_SIZE_BYTES} bytes, windows of {} s",
        arguments.records, arguments.seconds
    );
    if arguments.parts.iter().any(|part| part == "range-clear") {
        return range_clear::measure(&arguments);
    }
    let bare = ["load", "write", "rmw", "get", "scan"];
    let has_bare = arguments.parts.iter().any(|part| bare.contains(&part.as_str()));
    for name in arguments.stores.iter().filter(|_| has_bare) {
        let directory = tempfile::Builder::new().prefix("tenantry-bench-").tempdir_in(".")?;
        let store = open(name, directory.path(), arguments.cache_mib << 20)?;
        measure(&*store, directory.path(), &arguments, window, &mut results)?;
        println!("  {name}: {}", store.note());
    }
    if arguments.parts.iter().any(|part| part == "records") {
        records::measure(&arguments, &mut results)?;
    }
    if arguments.parts.iter().any(|part| part == "sealed") {
        sealed::measure(&arguments, &mut results)?;
    }
    if arguments.parts.iter().any(|part| part == "beside-sqlite") {
        beside_sqlite::measure(&arguments, &mut results)?;
    }
    if arguments.parts.iter().any(|part| part == "fair-shares") {
        fair_shares::measure(&arguments, &mut results)?;
    }
    if arguments.json {
        return print_json(&results);
    }
    println!(
        "\n{:<56} {:>12} {:>12} {:>12} {:>12} {:>12}  tenantry to the best other",
        "", "tenantry", "redb", "fjall", "sqlite", "lmdb"
    );
    for (workload, found) in &results {
        let of = |name: &str| found.iter().find(|(store, _)| store == name).map(|(_, value)| *value);
        let shown = |name: &str| of(name).map_or("-".to_owned(), |value| format!("{value:.1}"));
        let others = found.iter().filter(|(store, _)| store != "tenantry").map(|(_, value)| *value);
        let is_better_low = workload.contains(" us") || workload.contains("MB");
        let best = if is_better_low { others.reduce(f64::min) } else { others.reduce(f64::max) };
        let ratio =
            of("tenantry").zip(best).map_or(String::new(), |(ours, best)| format!("{:.2}", ours / best));
        println!(
            "{workload:<56} {:>12} {:>12} {:>12} {:>12} {:>12}  {ratio}",
            shown("tenantry"),
            shown("redb"),
            shown("fjall"),
            shown("sqlite"),
            shown("lmdb")
        );
    }
    Ok(())
}

fn print_json(results: &Results) -> Outcome<()> {
    let stores = |found: &Vec<(String, f64)>| {
        found.iter().map(|(store, value)| format!("\"{store}\":{value:.3}")).collect::<Vec<_>>().join(",")
    };
    let rows: Vec<String> =
        results.iter().map(|(workload, found)| format!("\"{workload}\":{{{}}}", stores(found))).collect();
    println!("{{{}}}", rows.join(","));
    Ok(())
}

fn measure(
    store: &dyn Store,
    path: &Path,
    arguments: &Arguments,
    window: Duration,
    results: &mut Results,
) -> Outcome<()> {
    let has = |part: &str| arguments.parts.iter().any(|wanted| wanted == part);
    let mut note = |workload: &str, value: f64| {
        println!("  {:<10} {workload:<44} {value:>12.1}", store.name());
        results.entry(workload.to_owned()).or_default().push((store.name().to_owned(), value));
    };
    let started = Instant::now();
    let mut client = store.client()?;
    let value = [7; VALUE_SIZE_BYTES];
    for begin in (0..arguments.records).step_by(LOAD_ROWS as usize) {
        let keys = begin..(begin + LOAD_ROWS).min(arguments.records);
        let rows: Vec<(Key, &[u8])> = keys.map(|number| (key(number), &value[..])).collect();
        client.write(&rows)?;
    }
    store.settle()?;
    if has("load") {
        note("e load in random order, rows/s", arguments.records as f64 / started.elapsed().as_secs_f64());
        note("e size on disk, MB", size_bytes(path)? as f64 / 1e6);
    }
    let records = arguments.records;
    if has("write") {
        for clients in arguments.clients.iter().copied() {
            let rate = run(store, clients, window, |client, random| {
                // A value of its own each time: some stores notice that nothing changes.
                let mut value = value;
                value[..8].copy_from_slice(&random().to_le_bytes());
                let rows: Vec<(Key, &[u8])> = (0..5).map(|_| (key(random() % records), &value[..])).collect();
                client.write(&rows).map(|()| 1)
            })?;
            println!("  {:<10} {}", store.name(), rate.shown(5 * (VALUE_SIZE_BYTES + 32)));
            note(&format!("a durable 5-write transactions/s, {clients} clients"), rate.per_second);
        }
    }
    if has("rmw") {
        for (what, keys) in [("1M", records), ("100 hot", 100)] {
            for clients in arguments.clients.iter().copied().filter(|clients| *clients != 16) {
                let rate = run(store, clients, window, |client, random| {
                    client.read_modify_write(&key(random() % keys))
                })?;
                println!("  {:<10} {}", store.name(), rate.shown(VALUE_SIZE_BYTES + 32));
                note(&format!("b read-modify-write/s, {what} keys, {clients} clients"), rate.per_second);
            }
        }
    }
    if has("get") {
        for threads in [1, 2] {
            let rate = run(store, threads, window / 4, |client, random| {
                client.get(&key(random() % records)).map(u32::from)
            })?;
            note(&format!("c point read p50 us, {threads} threads"), rate.quantile_us(0.5));
            note(&format!("c point read p99 us, {threads} threads"), rate.quantile_us(0.99));
        }
    }
    if has("scan") {
        let rate = run(store, 1, window / 4, |client, random| {
            client.scan(&key(random()), 100).map(|rows| rows as u32)
        })?;
        note("d scan of 100 rows p50 us", rate.quantile_us(0.5));
    }
    Ok(())
}

pub(crate) struct Rate {
    per_second: f64,
    done: u64,
    /// How long the background work went on behind the window.
    behind: Duration,
    written_bytes: u64,
    memory_bytes: u64,
    /// Counts by nanoseconds, sixteen to a doubling.
    histogram: Vec<u64>,
}

impl Rate {
    /// What the window cost, given the bytes that one operation writes.
    fn shown(&self, operation_bytes: usize) -> String {
        let asked = (self.done * operation_bytes as u64).max(1);
        format!(
            "p50 {:.0} us, p99 {:.0} us; {} MB written, {:.1} times what was asked; caught up in {:.1} s; {} MB of memory",
            self.quantile_us(0.5),
            self.quantile_us(0.99),
            self.written_bytes >> 20,
            self.written_bytes as f64 / asked as f64,
            self.behind.as_secs_f64(),
            self.memory_bytes >> 20
        )
    }

    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        let rank = self.histogram.iter().sum::<u64>() as f64 * quantile;
        let mut seen = 0.0;
        for (bucket, count) in self.histogram.iter().enumerate() {
            seen += *count as f64;
            if seen >= rank {
                return 2f64.powf((bucket as f64 + 0.5) / 16.0) / 1e3;
            }
        }
        0.0
    }
}

/// Runs work on some threads for a window, which ends only when the background work is done.
fn run(
    store: &dyn Store,
    threads: u64,
    window: Duration,
    work: impl Fn(&mut dyn stores::Client, &mut dyn FnMut() -> u64) -> Outcome<u32> + Sync,
) -> Outcome<Rate> {
    store.settle()?;
    let written_before = system::written_bytes();
    let (stop, total) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    let histogram = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let (stop, total, work) = (&stop, &total, &work);
                scope.spawn(move || -> Outcome<Vec<u64>> {
                    let mut client = store.client()?;
                    let mut state = thread.wrapping_mul(0x5851_f42d_4c95_7f2d) ^ 1;
                    let mut random = || {
                        state = state.wrapping_add(1);
                        mix(state)
                    };
                    let mut histogram = vec![0u64; 16 * 40];
                    while !stop.load(Ordering::Relaxed) {
                        let begun = Instant::now();
                        work(&mut *client, &mut random)?;
                        let bucket = ((begun.elapsed().as_nanos() as f64).max(1.0).log2() * 16.0) as usize;
                        histogram[bucket.min(16 * 40 - 1)] += 1;
                        total.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(histogram)
                })
            })
            .collect();
        std::thread::sleep(window);
        stop.store(true, Ordering::Relaxed);
        let mut joined = vec![0u64; 16 * 40];
        for thread in running {
            let histogram = thread.join().map_err(|_| "a client panicked")??;
            joined.iter_mut().zip(histogram).for_each(|(sum, count)| *sum += count);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(joined)
    })?;
    let memory_bytes = system::memory_bytes();
    let ended = started.elapsed();
    store.settle()?;
    let took = started.elapsed();
    let done = total.load(Ordering::Relaxed);
    Ok(Rate {
        per_second: done as f64 / took.as_secs_f64(),
        done,
        behind: took.saturating_sub(ended),
        written_bytes: system::written_bytes().saturating_sub(written_before),
        memory_bytes,
        histogram,
    })
}

fn size_bytes(path: &Path) -> Outcome<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        total +=
            if entry.file_type()?.is_dir() { size_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(total)
}
