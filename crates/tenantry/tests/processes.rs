//! Two processes on one cluster: a tenant's rate holds for both together, and what is done with a tenant in one is in force in the other at once.
//!
//! Runs when TENANTRY_TEST_FDB_CLUSTER_FILE names a cluster file, and says so when it does not. Each test has a database of its own there, which it erases.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that runs other processes and prints its figures"
)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tenantry::{
    Database, Grant, Limit, Options, Record, Role, SchemaDefinition, Suspension, TenantLimits, block_on,
};

const CLUSTER_FILE: &str = "TENANTRY_TEST_FDB_CLUSTER_FILE";
/// What a process that these tests start is to do.
const WORK: &str = "TENANTRY_TEST_WORK";
const SCHEMA: &str = "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }\n";
/// How finely what got through is counted.
const SLOT_US: u64 = 100_000;

/// Each of these tests wants to have the machine for itself.
static TURN: Mutex<()> = Mutex::new(());

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64
}

/// The URL of a database that is not there yet; none, said plainly, where there is no cluster.
fn place(test: &str) -> Option<String> {
    let url = common::cluster_url();
    if url.is_none() {
        // Past the test harness, which keeps what a passing test prints to itself.
        let _ = writeln!(std::io::stderr(), "{test} did not run: {CLUSTER_FILE} names no cluster file");
    }
    url
}

fn create(url: &str) -> Database {
    let database = block_on(tenantry::open(url)).unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    block_on(database.create_tenant("acme", "s")).unwrap();
    database
}

/// What another process does: so many clients, each at most one put in so many microseconds, for so long.
struct Work<'a> {
    url: &'a str,
    clients: u64,
    pace_us: u64,
    run_ms: u64,
    /// With a grant that names the tenant's epoch, instead of every right.
    is_granted: bool,
}

/// A process at work.
struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

/// What it says at the end.
#[derive(Default)]
struct Told {
    /// What got through, by slots of time.
    slots: BTreeMap<u64, u64>,
    /// The last moment at which something began that got through.
    last_begun_us: u64,
    /// What was refused first after that, when it had begun, and when its answer came.
    refused: Option<(String, u64, u64)>,
    throttled: u64,
}

impl Process {
    /// Starts one, and waits until its first put is done.
    fn start(work: &Work<'_>) -> Process {
        let Work { url, clients, pace_us, run_ms, is_granted } = work;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "works_for_another_process", "--nocapture"])
            .env(WORK, format!("{clients} {pace_us} {run_ms} {is_granted} {url}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut process = Process { child, lines };
        process.line("ready");
        process
    }

    /// What comes behind a word at the beginning of a line.
    fn line(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the process ended early");
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    fn end(mut self) -> Told {
        let numbers = self.line("last ");
        let mut numbers = numbers.split(' ').map(|number| number.parse().unwrap());
        let mut told = Told {
            last_begun_us: numbers.next().unwrap(),
            throttled: numbers.next().unwrap(),
            ..Told::default()
        };
        let refused = self.line("refused ");
        if let [tag, begun, ended] = refused.split(' ').collect::<Vec<_>>()[..] {
            told.refused = Some((tag.to_owned(), begun.parse().unwrap(), ended.parse().unwrap()));
        }
        for slot in self.line("slots ").split(' ').filter(|slot| !slot.is_empty()) {
            let (slot, count) = slot.split_once(':').unwrap();
            told.slots.insert(slot.parse().unwrap(), count.parse().unwrap());
        }
        assert!(self.child.wait().unwrap().success());
        told
    }
}

/// The other process: puts, and tells what became of them.
#[test]
#[ignore = "started by the tests below"]
fn works_for_another_process() {
    let Ok(work) = std::env::var(WORK) else { return };
    let [clients, pace_us, run_ms, is_granted, url] = work.splitn(5, ' ').collect::<Vec<_>>()[..] else {
        panic!("{work}")
    };
    let (clients, pace_us): (u64, u64) = (clients.parse().unwrap(), pace_us.parse().unwrap());
    let run = Duration::from_millis(run_ms.parse().unwrap());
    let mut database = block_on(Options::new().creates(false).open(url)).unwrap();
    if is_granted == "true" {
        let tenant = block_on(database.granted_tenant("acme")).unwrap();
        database = database.with_grant(Grant::of_role("ann", Role::Writer).on(tenant)).unwrap();
    }
    let tenant = block_on(database.tenant("acme")).unwrap();
    block_on(tenant.put("note", &Record::new().with("id", 0))).unwrap();
    println!("\nready");
    let told = Mutex::new(Told::default());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (tenant, told) = (&tenant, &told);
            scope.spawn(move || {
                for id in 0.. {
                    let (put_begun_us, put_begun) = (now_us(), Instant::now());
                    let record = Record::new().with("id", (client * 100_000 + id % 1_000) as i64);
                    let put = block_on(tenant.put("note", &record));
                    let ended_us = now_us();
                    if begun.elapsed() > run {
                        return;
                    }
                    match put {
                        Ok(_) => {
                            let mut told = told.lock().unwrap();
                            *told.slots.entry(ended_us / SLOT_US).or_default() += 1;
                            told.last_begun_us = told.last_begun_us.max(put_begun_us);
                        }
                        Err(error) if error.tag() == "Throttled" => {
                            told.lock().unwrap().throttled += 1;
                            std::thread::sleep(error.retry_after().unwrap());
                        }
                        Err(error) => {
                            let mut told = told.lock().unwrap();
                            let refused = (error.tag().to_owned(), put_begun_us, ended_us);
                            told.refused.get_or_insert(refused);
                            return;
                        }
                    }
                    std::thread::sleep(Duration::from_micros(pace_us).saturating_sub(put_begun.elapsed()));
                }
            });
        }
    });
    let told = told.into_inner().unwrap();
    println!("last {} {}", told.last_begun_us, told.throttled);
    let refused = told.refused.map(|(tag, begun, ended)| format!("{tag} {begun} {ended}"));
    println!("refused {}", refused.unwrap_or_default());
    let slots: Vec<String> = told.slots.iter().map(|(slot, count)| format!("{slot}:{count}")).collect();
    println!("slots {}", slots.join(" "));
}

/// What both processes got through in the window of ten seconds with the least, and in that with the most, behind the first seconds.
fn windows(told: &[Told], settled_us: u64, ended_us: u64) -> (u64, u64) {
    const WINDOW: u64 = 10_000_000 / SLOT_US;
    let count = |slot: u64| told.iter().filter_map(|told| told.slots.get(&slot)).sum::<u64>();
    let begins = settled_us / SLOT_US + 1..ended_us / SLOT_US - WINDOW;
    let sums = begins.map(|begin| (begin..begin + WINDOW).map(count).sum::<u64>());
    sums.fold((u64::MAX, 0), |(least, most), sum| (least.min(sum), most.max(sum)))
}

/// Whatever the two want, and however unevenly: together they get what the tenant may, within ten per cent over every ten seconds.
#[test]
fn a_rate_holds_for_two_processes_together() {
    let Some(url) = place("rate") else { return };
    let _turn = TURN.lock();
    const RATE: u64 = 200;
    const RUN_MS: u64 = 18_000;
    let database = create(&url);
    let tenant = block_on(database.tenant("acme")).unwrap();
    let limits = TenantLimits::none().with(Limit::OperationsPerSecond, RATE);
    block_on(tenant.set_limits(&limits)).unwrap();
    // Clients of each, and how many microseconds each takes for a put at least.
    let table = [
        ("as many clients each", [(8, 0), (8, 0)]),
        ("ten clients and one", [(10, 0), (1, 0)]),
        ("eight clients, and one that wants a tenth of the rate", [(8, 0), (1, 10_000_000 / RATE)]),
    ];
    for (what, loads) in table {
        // More than the rate is wrong whenever it happens. Less may be the machine, if it stands still meanwhile: that is tried again.
        let is_reached = (0..3).any(|_| {
            let processes = loads.map(|(clients, pace_us)| {
                let work = Work { url: &url, clients, pace_us, run_ms: RUN_MS, is_granted: false };
                (Process::start(&work), now_us())
            });
            let [first_us, both_us] = processes.each_ref().map(|(_, ready_us)| *ready_us);
            let told = processes.map(|(process, _)| process.end());
            // The leases of those that were there before end after three seconds. Whoever comes has its part after one, and learns what it wants in another one.
            let (least, most) = windows(&told, both_us + 5_000_000, first_us + RUN_MS * 1_000 - 100_000);
            let due = 10 * RATE;
            let each = told.each_ref().map(|told| told.slots.values().sum::<u64>());
            let [throttled, other_throttled] = told.each_ref().map(|told| told.throttled);
            println!(
                "{what}: {least} to {most} in every ten seconds, {due} are due; one process got {}, the other {}; {} turned away",
                each[0],
                each[1],
                throttled + other_throttled
            );
            assert!(most <= due + due / 10, "{what}: {most} of {due}");
            let refused: Vec<_> = told.iter().filter_map(|told| told.refused.as_ref()).collect();
            if !refused.is_empty() {
                println!("{what}: {refused:?}");
            }
            least >= due - due / 10 && each.iter().all(|got| *got > RATE) && refused.is_empty()
        });
        assert!(is_reached, "{what}");
    }
    block_on(database.erase()).unwrap();
}

/// A suspension, a revocation, a deletion: no put that begins in the other process once it is done gets through. A new name changes nothing for whoever has the tenant open.
#[test]
fn what_is_done_in_one_process_holds_in_the_other_at_once() {
    let Some(url) = place("changes") else { return };
    let _turn = TURN.lock();
    let database = create(&url);
    let changes: [(&str, fn(&Database), Option<&str>); 5] = [
        (
            "renamed",
            |database| {
                block_on(database.rename_tenant("acme", "globex")).unwrap();
            },
            None,
        ),
        (
            "read-only",
            |database| {
                block_on(database.suspend_tenant("acme", Suspension::ReadOnly, "a bill")).unwrap();
            },
            Some("TenantReadOnly"),
        ),
        (
            "blocked",
            |database| {
                block_on(database.suspend_tenant("acme", Suspension::Blocked, "a bill")).unwrap();
            },
            Some("TenantSuspended"),
        ),
        (
            "revoked",
            |database| {
                block_on(database.revoke_tokens("acme")).unwrap();
            },
            Some("AccessRevoked"),
        ),
        (
            "deleted",
            |database| {
                block_on(database.delete_tenant("acme")).unwrap();
            },
            Some("TenantNotFound"),
        ),
    ];
    for (what, change, expected) in changes {
        let is_granted = what == "revoked";
        let work = Work { url: &url, clients: 4, pace_us: 0, run_ms: 3_000, is_granted };
        let process = Process::start(&work);
        std::thread::sleep(Duration::from_millis(500));
        let begun_us = now_us();
        change(&database);
        let done_us = now_us();
        let told = process.end();
        let puts: u64 = told.slots.values().sum();
        match (expected, &told.refused) {
            (None, None) => {
                println!("{what}: {puts} puts, none refused");
                block_on(database.rename_tenant("globex", "acme")).unwrap();
                assert!(told.last_begun_us > done_us);
            }
            (Some(expected), Some((tag, first_begun_us, answered_us))) => {
                println!(
                    "{what} in {} us: the last put that got through began {} us before that was done, the first one refused {} us after it was begun, and was told {} us after it was done",
                    done_us - begun_us,
                    done_us as i64 - told.last_begun_us as i64,
                    *first_begun_us as i64 - begun_us as i64,
                    *answered_us as i64 - done_us as i64
                );
                assert_eq!(tag, expected, "{what}");
                assert!(told.last_begun_us <= done_us, "{what}: a put got through that began afterwards");
                assert!(*answered_us < done_us + 1_000_000, "{what}: it took a second and more");
                if what != "deleted" {
                    block_on(database.resume_tenant("acme")).unwrap();
                }
            }
            (expected, refused) => panic!("{what}: {refused:?} and not {expected:?}"),
        }
        assert!(puts > 0);
    }
    block_on(database.erase()).unwrap();
}
