//! A cluster of three processes that loses one after the other under load: nothing that was acknowledged is lost, and nothing takes effect twice.
//!
//! Runs when TENANTRY_TEST_FDB_SERVER and TENANTRY_TEST_FDB_CLI name FoundationDB's `fdbserver` and `fdbcli`, and says so when it does not. It starts a cluster of its own
//! in a temporary folder and stops it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that runs other processes"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tenantry::{Database, Options, PrimaryKey, Record, SchemaDefinition, block_on};

const SERVER: &str = "TENANTRY_TEST_FDB_SERVER";
const CLI: &str = "TENANTRY_TEST_FDB_CLI";
/// How long the load runs, in seconds; a process is killed every six.
const SECONDS: &str = "TENANTRY_TEST_FDB_LOAD_SECONDS";
const PROCESSES: usize = 3;
const WRITERS: u64 = 8;
const SCHEMA: &str = r#"
    name = "log"
    [types.entry]
    primary_key = ["writer", "number"]
    fields = { writer = "int", number = "int", text = "string" }
    indexes = { by_number = { fields = ["number"] } }
"#;

/// Stops what it started, whatever happens.
struct Cluster {
    directory: TempDir,
    server: PathBuf,
    cli: PathBuf,
    ports: Vec<u16>,
    running: Vec<Option<Child>>,
}

impl Cluster {
    /// Three processes in zones of their own, everything kept twice.
    fn start(server: PathBuf, cli: PathBuf) -> Cluster {
        let listeners: Vec<_> =
            (0..PROCESSES).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> =
            listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(listeners);
        let directory = tempfile::tempdir().unwrap();
        let places: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        std::fs::write(directory.path().join("fdb.cluster"), format!("test:test@{}", places.join(",")))
            .unwrap();
        let mut cluster = Cluster { directory, server, cli, ports, running: Vec::new() };
        for index in 0..PROCESSES {
            cluster.running.push(None);
            cluster.start_process(index);
        }
        let told = cluster.tell("configure new double ssd");
        assert!(told.contains("Database created"), "{told}");
        cluster.await_health();
        cluster
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn cluster_file(&self) -> String {
        self.path().join("fdb.cluster").display().to_string()
    }

    fn start_process(&mut self, index: usize) {
        let data = self.path().join(format!("data-{index}"));
        std::fs::create_dir_all(&data).unwrap();
        // A client may rewrite the cluster file; each process has its own copy.
        let cluster_file = data.join("fdb.cluster");
        if !cluster_file.exists() {
            std::fs::copy(self.cluster_file(), &cluster_file).unwrap();
        }
        let child = Command::new(&self.server)
            .args(["--public-address", &format!("127.0.0.1:{}", self.ports[index])])
            .args([
                "--locality-zoneid",
                &format!("zone-{index}"),
                "--locality-machineid",
                &format!("machine-{index}"),
            ])
            .args(["--memory", "2GiB", "--cache-memory", "256MiB", "--datadir"])
            .arg(&data)
            .arg("--logdir")
            .arg(&data)
            .arg("--cluster-file")
            .arg(&cluster_file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.running[index] = Some(child);
    }

    fn kill(&mut self, index: usize) {
        let mut child = self.running[index].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn tell(&self, command: &str) -> String {
        let output = Command::new(&self.cli)
            .args(["-C", &self.cluster_file(), "--timeout", "60", "--exec", command])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the cluster says that it keeps everything twice again.
    fn await_health(&self) {
        let begun = Instant::now();
        while !self.tell("status").contains("Replication health     - Healthy") {
            assert!(begun.elapsed() < Duration::from_secs(180), "{}", self.tell("status details"));
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn open(cluster: &Cluster) -> Database {
    block_on(Options::new().open(&format!("fdb:{}", cluster.cluster_file()))).unwrap()
}

/// Writes records one after the other until it is told to stop: the numbers that were acknowledged, the errors, and how long the longest took.
fn write(database: &Database, writer: u64, stop: &AtomicBool) -> (Vec<i64>, Vec<String>, Duration) {
    let tenant = block_on(database.tenant("acme")).unwrap();
    let (mut acknowledged, mut errors, mut longest) = (Vec::new(), Vec::new(), Duration::ZERO);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let record = Record::new()
            .with("writer", writer as i64)
            .with("number", number)
            .with("text", format!("{writer} wrote {number}"));
        let begun = Instant::now();
        // The counter has no memory: an increment that took effect twice would show.
        let outcome = block_on(tenant.run(|transaction| {
            let record = record.clone();
            async move {
                transaction.insert("entry", &record).await?;
                transaction.add_to_counter("entries", 1)
            }
        }));
        longest = longest.max(begun.elapsed());
        match outcome {
            Ok(_) => acknowledged.push(number),
            Err(error) => errors.push(format!("{writer}, {number}: {error}")),
        }
    }
    (acknowledged, errors, longest)
}

#[test]
fn a_process_killed_under_load_loses_nothing() {
    let (Ok(server), Ok(cli)) = (std::env::var(SERVER), std::env::var(CLI)) else {
        // Past the test harness, which keeps what a passing test prints to itself.
        let _ = writeln!(
            std::io::stderr(),
            "a_process_killed_under_load_loses_nothing did not run: {SERVER} and {CLI} name no programs"
        );
        return;
    };
    let seconds = std::env::var(SECONDS).map_or(24, |text| text.parse().unwrap());
    let mut cluster = Cluster::start(server.into(), cli.into());
    let database = open(&cluster);
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    block_on(database.create_tenant("acme", "log")).unwrap();

    let stop = AtomicBool::new(false);
    let written = Mutex::new(Vec::new());
    let mut kills = 0;
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (database, stop, written) = (&database, &stop, &written);
            scope.spawn(move || {
                let outcome = write(database, writer, stop);
                written.lock().unwrap().push((writer, outcome));
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(seconds) {
            std::thread::sleep(Duration::from_secs(3));
            let index = kills % PROCESSES;
            cluster.kill(index);
            std::thread::sleep(Duration::from_secs(3));
            cluster.start_process(index);
            kills += 1;
            // Two processes may not be away at once: what is kept twice would be gone.
            cluster.await_health();
        }
        stop.store(true, Ordering::Relaxed);
    });

    let tenant = block_on(database.tenant("acme")).unwrap();
    let (mut records, mut all_acknowledged, mut all_errors, mut longest) = (0, 0, Vec::new(), Duration::ZERO);
    for (writer, (acknowledged, errors, slowest)) in written.into_inner().unwrap() {
        all_acknowledged += acknowledged.len();
        longest = longest.max(slowest);
        for numbers in acknowledged.chunks(500) {
            let keys: Vec<PrimaryKey> = numbers
                .iter()
                .map(|number| PrimaryKey { values: vec![(writer as i64).into(), (*number).into()] })
                .collect();
            let found = block_on(tenant.get_many("entry", &keys)).unwrap();
            for (number, record) in numbers.iter().zip(found) {
                assert!(record.is_some(), "writer {writer}, record {number} was acknowledged and is gone");
            }
        }
        records += acknowledged.len() + errors.len();
        all_errors.extend(errors);
    }
    let counted =
        block_on(tenant.read(|transaction| async move { transaction.counter("entries").await })).unwrap();
    println!(
        "{kills} processes killed under the load of {WRITERS} writers: {all_acknowledged} acknowledged, {counted} counted, {} errors, the slowest write took {longest:?}",
        all_errors.len()
    );
    all_errors.iter().for_each(|error| println!("  {error}"));
    // What ended with an error may have happened, and not more often than once.
    assert!(counted >= all_acknowledged as i64 && counted <= records as i64);
    assert!(kills > 0 && all_acknowledged > 0);
    assert!(all_errors.is_empty(), "the runner gave up while the cluster recovered");
    database.close();
}
