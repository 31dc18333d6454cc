//! The binary is killed while another process feeds it rows, again and again: every row that it acknowledged is there afterwards, in the records and in the index, and no
//! transaction is there by half.
//!
//! More rounds, over a million records that are there before, on the release binary:
//!
//! ```sh
//! TENANTRY_KILL_ROUNDS=200 TENANTRY_KILL_RECORDS=1000000 cargo test --release -p tenantry-cli --test kill -- --nocapture
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that runs other processes"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

const SCHEMA: &str = r#"
name = "log"
[types.entry]
primary_key = ["id"]
fields = { id = "int", group = "int", text = "string" }
indexes = { by_group = { fields = ["group"] } }
"#;
/// How many rows the binary writes in a transaction.
const TRANSACTION_ROWS: u64 = 200;
/// After how many rows a round ends at the latest.
const ROWS_MAX: u64 = 6_000;

struct Database {
    directory: TempDir,
}

impl Database {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("tenantry"));
        command.env("TENANTRY_DB", format!("file:{}", self.directory.path().join("db").display()));
        command.arg("--json").args(words);
        command
    }

    fn json(&self, words: &[&str]) -> Json {
        let output = self.command(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{words:?}: {text}");
        serde_json::from_str(text.trim()).unwrap()
    }

    /// How many records have an id from this one on, by the records and by the index, and the last of them.
    fn behind(&self, id: u64) -> (u64, u64, u64) {
        // A page may end early: after so many entries, or so much time.
        let all = |filter: String| {
            let (mut records, mut next) = (Vec::new(), Json::Null);
            loop {
                let mut words = vec!["query", "acme", "entry", "--where", &filter, "--limit", "10000"];
                if let Some(token) = next.as_str() {
                    words.extend(["--after", token]);
                }
                let mut found = self.json(&words);
                records.append(found["records"].as_array_mut().unwrap());
                next = found["next"].take();
                if next.is_null() {
                    return records;
                }
            }
        };
        let records = all(format!("id >= {id}"));
        for (index, record) in records.iter().enumerate() {
            assert_eq!(*record, row(id + index as u64), "a row is missing, or not what was written");
        }
        let last = id + records.len() as u64;
        let by_index: usize = (0..4).map(|group| all(format!("group == {group} && id >= {id}")).len()).sum();
        (records.len() as u64, by_index as u64, last)
    }
}

fn row(id: u64) -> Json {
    json!({ "id": id, "group": id % 4, "text": format!("row {id} ").repeat(4) })
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// Records of another tenant that are there before, so that there is something to recover.
fn fill(database: &Database, records: u64) {
    let path = database.directory.path().join("before.jsonl");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    (0..records).for_each(|id| writeln!(file, "{}", row(id)).unwrap());
    file.flush().unwrap();
    let imported = database.json(&["import", "before", "entry", path.to_str().unwrap()]);
    assert_eq!(imported["rows_imported"], json!(records));
}

#[test]
fn what_the_binary_acknowledged_survives_its_kills() {
    let rounds = setting("TENANTRY_KILL_ROUNDS", 5);
    let records = setting("TENANTRY_KILL_RECORDS", 2_000);
    let database = Database { directory: tempfile::tempdir().unwrap() };
    let schema = database.directory.path().join("log.toml");
    std::fs::write(&schema, SCHEMA).unwrap();
    database.json(&["schema", "apply", schema.to_str().unwrap()]);
    for tenant in ["before", "acme"] {
        database.json(&["tenant", "create", tenant, "--schema", "log"]);
    }
    fill(&database, records);
    let randomness = std::collections::hash_map::RandomState::new();
    let mut next = 0;
    let (mut acknowledged_in_all, mut longest) = (0, Duration::ZERO);
    for round in 0..rounds {
        let kill_after = 1 + std::hash::BuildHasher::hash_one(&randomness, round) % ROWS_MAX;
        let acknowledged = feed_and_kill(&database, next, kill_after);
        acknowledged_in_all += acknowledged;
        // The first command behind the kill recovers.
        let opening = Instant::now();
        database.json(&["kv", "acme", "range"]);
        longest = longest.max(opening.elapsed());
        let (found, by_index, last) = database.behind(next);
        assert!(found >= acknowledged, "round {round}: {acknowledged} rows acknowledged, {found} found");
        assert_eq!(found % TRANSACTION_ROWS, 0, "round {round}: half a transaction");
        assert_eq!(by_index, found, "round {round}: the index and the records differ");
        next = last;
    }
    let kept = database.json(&["get", "before", "entry", &(records - 1).to_string()]);
    assert_eq!(kept["record"], row(records - 1));
    println!(
        "{rounds} kills over {records} records: {acknowledged_in_all} rows acknowledged, {next} found; the longest command with a recovery took {longest:?}"
    );
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert!(acknowledged_in_all > 0);
}

/// Feeds rows from `first` on, and kills the binary when so many are fed. How many it had acknowledged.
fn feed_and_kill(database: &Database, first: u64, kill_after: u64) -> u64 {
    let mut child = database
        .command(&["import", "acme", "entry", "-", "--acknowledge"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let mut acknowledged = 0;
        // The last line may be cut by the kill: what was not told whole was not acknowledged.
        for line in stdout.lines().map_while(Result::ok) {
            let told: Json = serde_json::from_str(&line).unwrap_or_default();
            acknowledged = told["acknowledged_line"].as_u64().unwrap_or(acknowledged);
        }
        acknowledged
    });
    for id in first..first + kill_after {
        writeln!(stdin, "{}", row(id)).unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    reader.join().unwrap()
}

/// The load is another process's: this one feeds, that one has the database.
#[test]
fn a_database_in_use_names_its_owner() {
    let database = Database { directory: tempfile::tempdir().unwrap() };
    let schema = database.directory.path().join("log.toml");
    std::fs::write(&schema, SCHEMA).unwrap();
    database.json(&["schema", "apply", schema.to_str().unwrap()]);
    database.json(&["tenant", "create", "acme", "--schema", "log"]);
    assert!(Path::new(&database.directory.path().join("db")).exists());
    let mut owner = database
        .command(&["import", "acme", "entry", "-", "--acknowledge"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = owner.stdin.take().unwrap();
    (0..TRANSACTION_ROWS).for_each(|id| writeln!(stdin, "{}", row(id)).unwrap());
    stdin.flush().unwrap();
    let mut line = String::new();
    BufReader::new(owner.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(
        serde_json::from_str::<Json>(&line).unwrap(),
        json!({ "acknowledged_line": TRANSACTION_ROWS })
    );
    let refused = database.command(&["status"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let error: Json = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(error["error"]["tag"], json!("DatabaseInUse"));
    assert!(error["error"]["message"].as_str().unwrap().contains(&owner.id().to_string()), "{error}");
    drop(stdin);
    assert!(owner.wait().unwrap().success());
}
