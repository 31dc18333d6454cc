//! The record layer beside SQLite: the same records, the same four indexes, the same questions, in one run.
//!
//! Both sync every transaction and have a cache of the same size. The crate's README says how each is set up and what came out.

mod sqlite;
mod tenantry;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use ::tenantry::Record;

use self::sqlite::Sqlite;
use self::tenantry::Tenantry;
use crate::stores::Outcome;
use crate::{Arguments, Results, mix};

const STATES: [&str; 5] = ["cancelled", "done", "new", "open", "waiting"];
const WORDS: [&str; 64] = [
    "account", "after", "again", "answer", "apple", "bank", "before", "board", "budget", "call", "change",
    "city", "copy", "customer", "delay", "delivery", "desk", "doubt", "early", "engine", "error", "event",
    "field", "flow", "form", "garden", "goal", "green", "house", "idea", "invoice", "item", "joint",
    "kitchen", "letter", "level", "market", "meeting", "mirror", "month", "north", "number", "office",
    "order", "paper", "people", "price", "project", "queue", "report", "river", "sample", "school", "season",
    "signal", "stone", "table", "ticket", "train", "travel", "value", "window", "winter", "yellow",
];
const LOAD_ROWS: i64 = 500;
const PER_ACCOUNT: i64 = 100;
const PRIORITIES: u64 = 1_000;
/// What an aggregate without an index may look at.
const COUNTED_MAX: i64 = 100_000;
/// How many of the first answers to a question are compared between the two.
const COMPARED: u64 = 100;

/// A task, in neither form.
struct Task {
    id: i64,
    account: i64,
    status: &'static str,
    priority: i64,
    title: String,
    body: String,
}

fn task(id: i64) -> Task {
    let random = mix(id as u64);
    let word = |place: u64| WORDS[(mix(random ^ place) % 64) as usize];
    Task {
        id,
        account: id / PER_ACCOUNT,
        status: STATES[(random % 5) as usize],
        priority: (mix(random) % PRIORITIES) as i64,
        title: format!("{} {}", word(1), word(2)),
        body: (3..11).map(word).collect::<Vec<_>>().join(" "),
    }
}

impl Task {
    fn record(&self) -> Record {
        Record::new()
            .with("id", self.id)
            .with("account", self.account)
            .with("status", self.status)
            .with("kind", self.status)
            .with("priority", self.priority)
            .with("title", self.title.as_str())
            .with("body", self.body.as_str())
    }
}

/// One of the two.
trait Rival: Sync {
    fn name(&self) -> &'static str;
    /// Returns when nothing is left to do in the background.
    fn settle(&self) -> Outcome<()>;
    /// What is done once, before anything is asked.
    fn prepare(&self) -> Outcome<()> {
        Ok(())
    }
    /// A client's own way in.
    fn client(&self) -> Outcome<Box<dyn Client + '_>>;
}

/// What is asked, of both. Every answer says how many rows or groups it has.
trait Client {
    /// Many records in one durable transaction.
    fn load(&mut self, tenant: usize, first: i64, last: i64) -> Outcome<()>;
    /// One record in a durable transaction.
    fn insert(&mut self, tenant: usize, id: i64) -> Outcome<usize>;
    /// One indexed field of a record, in a durable transaction.
    fn update(&mut self, tenant: usize, id: i64, priority: i64) -> Outcome<usize>;
    fn get(&mut self, tenant: usize, id: i64) -> Outcome<usize>;
    /// A hundred records of an account.
    fn page(&mut self, tenant: usize, account: i64) -> Outcome<usize>;
    /// Up to a hundred titles of a priority, from the index alone.
    fn page_covered(&mut self, tenant: usize, priority: i64) -> Outcome<usize>;
    /// The same by a condition that needs no parsing, where there is such; a prepared statement needs none anyway.
    fn page_covered_built(&mut self, _tenant: usize, _priority: i64) -> Outcome<Option<usize>> {
        Ok(None)
    }
    fn count_by_status(&mut self, tenant: usize) -> Outcome<usize>;
    /// By a field that has no index, of the records before one.
    fn count_by_kind(&mut self, tenant: usize, end: i64) -> Outcome<usize>;
    fn top_ten(&mut self, tenant: usize) -> Outcome<usize>;
    /// Up to twenty records with two words.
    fn search(&mut self, tenant: usize, words: [&str; 2]) -> Outcome<usize>;
}

/// How many rows the first answers had, by question.
type Answers = std::collections::BTreeMap<String, usize>;

/// What is measured of one of the two with some number of tenants.
struct Run<'a> {
    rival: &'a dyn Rival,
    tenants: usize,
    /// Of each tenant.
    records: i64,
    seconds: f64,
    results: &'a mut Results,
    answers: &'a mut Answers,
}

pub(crate) fn measure(arguments: &Arguments, results: &mut Results) -> Outcome<()> {
    for tenants in [1, 1_000] {
        let mut answers = Answers::new();
        for name in ["tenantry", "sqlite"] {
            let directory = tempfile::Builder::new().prefix("tenantry-bench-").tempdir_in(".")?;
            let rival: Box<dyn Rival> = match name {
                "sqlite" => Box::new(Sqlite::open(directory.path(), arguments.cache_mib << 20)?),
                _ => {
                    let path = directory.path().to_str().ok_or("the path is not UTF-8")?;
                    Box::new(Tenantry::open(path, tenants, arguments)?)
                }
            };
            let records = (arguments.records as i64 / tenants as i64).max(PER_ACCOUNT);
            let (rival, seconds) = (&*rival, arguments.seconds as f64);
            let mut run = Run { rival, tenants, records, seconds, results, answers: &mut answers };
            run.load()?;
            // First the questions, of the same records on both sides.
            run.read()?;
            run.write()?;
        }
    }
    Ok(())
}

impl Run<'_> {
    fn note(&mut self, what: &str, value: f64) {
        let of =
            if self.tenants == 1 { "one tenant".to_owned() } else { format!("{} tenants", self.tenants) };
        let (name, what) = (self.rival.name(), format!("h {of}: {what}"));
        println!("  {name:<10} {what:<60} {value:>12.1}");
        self.results.entry(what).or_default().push((name.to_owned(), value));
    }

    fn load(&mut self) -> Outcome<()> {
        let mut client = self.rival.client()?;
        let started = Instant::now();
        for tenant in 0..self.tenants {
            for first in (0..self.records).step_by(LOAD_ROWS as usize) {
                client.load(tenant, first, (first + LOAD_ROWS).min(self.records))?;
            }
        }
        self.rival.settle()?;
        let rows = self.records as f64 * self.tenants as f64;
        self.note("insert, 500 a transaction, records/s", rows / started.elapsed().as_secs_f64());
        self.rival.prepare()
    }

    fn read(&mut self) -> Outcome<()> {
        let records = self.records;
        let counted = records.min(COUNTED_MAX);
        let in_range = |random: u64, end: i64| (random % end as u64) as i64;
        let rival = self.rival;
        let mut client = rival.client()?;
        let client = &mut *client;
        self.ask("get", |tenant, random| client.get(tenant, in_range(random, records)))?;
        self.ask("page of 100 by index", |tenant, random| {
            client.page(tenant, in_range(random, records / PER_ACCOUNT))
        })?;
        let priority = |random| in_range(random, PRIORITIES as i64);
        self.ask("page of up to 100, covered", |tenant, random| {
            client.page_covered(tenant, priority(random))
        })?;
        if client.page_covered_built(0, 0)?.is_some() {
            self.ask("page of up to 100, covered, built condition", |tenant, random| {
                Ok(client.page_covered_built(tenant, priority(random))?.unwrap_or_default())
            })?;
        }
        let by_index = self.ask("count by group", |tenant, _| client.count_by_status(tenant))?;
        let by_scan = self.ask(&format!("count by group of {counted}, no index"), |tenant, _| {
            client.count_by_kind(tenant, counted)
        })?;
        let scan_us = by_scan * records as f64 / counted as f64;
        println!(
            "  {:<10} a count by group is {:.0} times as fast by its index as by a look at all {records} records, reckoned from {counted}",
            rival.name(),
            scan_us / by_index
        );
        self.ask("top ten by index", |tenant, _| client.top_ten(tenant))?;
        self.ask("twenty with two words", |tenant, random| {
            client.search(tenant, [WORDS[(random % 64) as usize], WORDS[(mix(random) % 64) as usize]])
        })?;
        Ok(())
    }

    /// The median of one question, in microseconds. The first answers have to be as long as the other one's.
    fn ask(&mut self, what: &str, mut ask: impl FnMut(usize, u64) -> Outcome<usize>) -> Outcome<f64> {
        let (mut times, mut rows) = (Vec::new(), 0);
        let begun = Instant::now();
        for number in 0u64.. {
            let random = mix(number);
            let started = Instant::now();
            let found = ask((random % self.tenants as u64) as usize, mix(random))?;
            times.push(started.elapsed().as_nanos() as u64);
            if number < COMPARED {
                rows += found;
            } else if begun.elapsed().as_secs_f64() > self.seconds / 10.0 {
                break;
            }
        }
        let expected = *self.answers.entry(what.to_owned()).or_insert(rows);
        if rows != expected {
            let name = self.rival.name();
            return Err(format!(
                "{what}: {rows} rows in {COMPARED} answers of {name}, the other one has {expected}"
            )
            .into());
        }
        times.sort_unstable();
        let median = times[times.len() / 2] as f64 / 1e3;
        self.note(&format!("{what} p50 us"), median);
        Ok(median)
    }

    fn write(&mut self) -> Outcome<()> {
        let (rival, tenants, records, window) =
            (self.rival, self.tenants as u64, self.records, self.seconds / 2.0);
        let next = AtomicI64::new(records);
        for clients in [1, 64] {
            let what = format!("durable inserts of one record/s, {clients} clients");
            let rate = concurrently(rival, clients, window, |client, random| {
                client.insert((random % tenants) as usize, next.fetch_add(1, Ordering::Relaxed))
            })?;
            self.note(&what, rate);
            let what = format!("durable updates of an indexed field/s, {clients} clients");
            let rate = concurrently(rival, clients, window, |client, random| {
                let (tenant, id) = ((random % tenants) as usize, (mix(random) % records as u64) as i64);
                client.update(tenant, id, (mix(random ^ 1) % PRIORITIES) as i64)
            })?;
            self.note(&what, rate);
        }
        Ok(())
    }
}

/// How many operations a second some clients get done, each with a way in of its own. The window ends when nothing is left to do behind them.
fn concurrently(
    rival: &dyn Rival,
    clients: u64,
    seconds: f64,
    work: impl Fn(&mut dyn Client, u64) -> Outcome<usize> + Sync,
) -> Outcome<f64> {
    let started = Instant::now();
    let done = std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients)
            .map(|number| {
                let work = &work;
                scope.spawn(move || -> Outcome<u64> {
                    let mut client = rival.client()?;
                    let (mut done, mut random) = (0, mix(number));
                    while started.elapsed().as_secs_f64() < seconds {
                        random = mix(random);
                        if work(&mut *client, random)? != 1 {
                            return Err("a write found no record".into());
                        }
                        done += 1;
                    }
                    Ok(done)
                })
            })
            .collect();
        let mut done = 0;
        for thread in running {
            done += thread.join().map_err(|_| "a client panicked")??;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(done)
    })?;
    let worked = started.elapsed().as_secs_f64();
    rival.settle()?;
    let took = started.elapsed().as_secs_f64();
    println!(
        "  {:<10} {clients} clients: {:.0}/s in {worked:.1} s, caught up in {:.1} s",
        rival.name(),
        done as f64 / worked,
        took - worked
    );
    Ok(done as f64 / took)
}
