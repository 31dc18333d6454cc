//! A range clear over millions of keys beside a running load: what the load feels of it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pollster::block_on;
use tenantry_embedded::{EmbeddedEngine, Settings};
use tenantry_kv::{Engine, Isolation, RangeRequest};

use crate::stores::Outcome;
use crate::{Arguments, mix};

const CLIENTS: u64 = 8;
const LOAD_ROWS: u64 = 5_000;
const VALUE: &[u8] = &[7; 50];

pub(crate) fn measure(arguments: &Arguments) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("tenantry-bench-").tempdir_in(".")?;
    let mut settings = Settings::default();
    settings.cache_size_bytes = arguments.cache_mib << 20;
    let path = directory.path().to_str().ok_or("the path is not UTF-8")?;
    let engine = EmbeddedEngine::open(path, settings, tenantry_env::system())?;
    let started = Instant::now();
    for begin in (0..arguments.clear_keys).step_by(LOAD_ROWS as usize) {
        let transaction = engine.begin()?;
        for number in begin..(begin + LOAD_ROWS).min(arguments.clear_keys) {
            transaction.set(format!("cleared {number:012}").as_bytes(), VALUE);
        }
        block_on(transaction.commit())?;
    }
    println!("{} keys loaded in {:.1} s", arguments.clear_keys, started.elapsed().as_secs_f64());
    while engine.stats().window_entries > 0 {
        std::thread::sleep(Duration::from_millis(100));
    }
    let size_before = engine.stats().map_size_bytes;
    let stop = AtomicBool::new(false);
    // When each commit ended, and how long it took.
    let done = Mutex::new(Vec::<(Duration, Duration)>::new());
    let before = Duration::from_secs(arguments.seconds.clamp(2, 10));
    let begun = Instant::now();
    let (cleared_at, applied_at) = std::thread::scope(|scope| -> Outcome<(Duration, Duration)> {
        let writers: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (engine, stop, done) = (&engine, &stop, &done);
                scope.spawn(move || -> Outcome<()> {
                    let mut number = client;
                    while !stop.load(Ordering::Relaxed) {
                        let from = Instant::now();
                        let transaction = engine.begin()?;
                        for _ in 0..5 {
                            number += CLIENTS;
                            transaction.set(format!("kept {:016x}", mix(number)).as_bytes(), VALUE);
                        }
                        block_on(transaction.commit())?;
                        let entry = (begun.elapsed(), from.elapsed());
                        done.lock().map_err(|_| "a writer panicked")?.push(entry);
                    }
                    Ok(())
                })
            })
            .collect();
        std::thread::sleep(before);
        let transaction = engine.begin()?;
        transaction.clear_range(b"cleared ", b"cleared!");
        block_on(transaction.commit())?;
        let cleared_at = begun.elapsed();
        let version = transaction.committed_version()?;
        let transaction = engine.begin()?;
        let from = Instant::now();
        let rows =
            block_on(transaction.get_range(&RangeRequest::new("cleared ", "cleared!"), Isolation::Snapshot))?;
        println!("a read of the whole cleared range found {} rows in {:?}", rows.rows.len(), from.elapsed());
        while engine.stats().version_applied < version {
            std::thread::sleep(Duration::from_millis(20));
        }
        let applied_at = begun.elapsed();
        std::thread::sleep(before);
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        Ok((cleared_at, applied_at))
    })?;
    let done = done.into_inner().map_err(|_| "a writer panicked")?;
    let report = |what: &str, from: Duration, to: Duration| {
        let mut times: Vec<Duration> =
            done.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, took)| *took).collect();
        times.sort_unstable();
        let at = |quantile: f64| {
            times.get((times.len() as f64 * quantile) as usize).or(times.last()).copied().unwrap_or_default()
        };
        println!(
            "{what:<24} {:>6.1} s {:>9.0} transactions/s, p50 {:?}, p99 {:?}, longest {:?}",
            (to - from).as_secs_f64(),
            times.len() as f64 / (to - from).as_secs_f64(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    };
    report("before", Duration::ZERO, cleared_at);
    report("until the map has it", cleared_at, applied_at);
    report("behind that", applied_at, applied_at + before);
    println!("map before {} MB, now {} MB", size_before >> 20, engine.stats().map_size_bytes >> 20);
    Ok(())
}
