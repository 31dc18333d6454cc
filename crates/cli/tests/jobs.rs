//! Jobs on the command line: a process that is killed in the middle of one, and another that goes on.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// Six steps of a hundred records and more.
const RECORDS: usize = 1_500;

struct Cli {
    directory: TempDir,
}

impl Cli {
    /// With a tenant that has some records.
    fn with_films() -> Cli {
        let cli = Cli { directory: tempfile::tempdir().unwrap() };
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/films.toml");
        cli.json(&["schema", "apply", schema.to_str().unwrap()]);
        cli.json(&["tenant", "create", "acme", "--schema", "films"]);
        let rows: String = (0..RECORDS)
            .map(|number| format!("{{\"title\":\"Film {number}\",\"released\":\"2000-01-01\"}}\n"))
            .collect();
        let file = cli.directory.path().join("films.jsonl");
        std::fs::write(&file, rows).unwrap();
        assert_eq!(
            cli.json(&["import", "acme", "film", file.to_str().unwrap()])["rows_imported"],
            json!(RECORDS)
        );
        cli
    }

    fn url(&self) -> String {
        common::url(&self.directory.path().join("db"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("tenantry"));
        command.env("TENANTRY_DB", self.url()).env("NO_COLOR", "1").args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{arguments:?}");
        output
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The last document that a command prints with --json.
    fn json(&self, arguments: &[&str]) -> Json {
        let text = self.text(&[&["--json"], arguments].concat());
        serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap()
    }

    /// The exit code of a command, and the tag of its error.
    fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(&[&["--json"], arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let document: Json =
            serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_default();
        (output.status.code().unwrap(), document["error"]["tag"].as_str().unwrap_or_default().to_owned())
    }
}

#[test]
fn a_job_of_a_process_that_was_killed_is_finished_by_another() {
    let cli = Cli::with_films();
    let id = cli.json(&["count", "acme", "film", "--background"])["id"].as_str().unwrap().to_owned();
    let mut killed = cli
        .command(&["--json", "jobs", "run", "--pause", "60000", "--lease", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first step is done, and it waits a minute before the second.
    let mut line = String::new();
    BufReader::new(killed.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let step: Json = serde_json::from_str(&line).unwrap();
    assert_eq!((&step["id"], &step["steps"]), (&json!(id), &json!(1)));
    killed.kill().unwrap();
    killed.wait().unwrap();

    let left = cli.json(&["jobs", "show", &id]);
    assert_eq!((&left["state"], &left["steps"], &left["token"]), (&json!("running"), &json!(1), &json!(1)));
    let done = left["done"].as_u64().unwrap();
    assert!(0 < done && done < RECORDS as u64, "{left}");
    let finished = cli.json(&["jobs", "run", "--until-idle"]);
    assert_eq!((&finished["done"], &finished["failed"]), (&json!(1), &json!(0)));
    let job = cli.json(&["jobs", "show", &id]);
    assert_eq!((&job["state"], &job["result"]["count"]), (&json!("done"), &json!(RECORDS)));
    assert_eq!(
        (&job["token"], &job["failures_total"], &job["error"]["tag"]),
        (&json!(2), &json!(1), &json!("JobAbandoned"))
    );
    assert_eq!(job["steps"], json!(1 + finished["steps"].as_u64().unwrap()));
}

#[test]
fn long_commands_are_jobs_in_the_foreground_or_left_to_a_worker() {
    let cli = Cli::with_films();
    assert_eq!(cli.text(&["jobs", "list"]), "no jobs\n");
    let counted = cli.json(&["count", "acme", "film"]);
    assert_eq!((&counted["state"], &counted["result"]["count"]), (&json!("done"), &json!(RECORDS)));
    assert!(cli.text(&["count", "acme", "film"]).starts_with("1,500 records at version "));
    let rewritten = cli.text(&["rewrite", "acme", "film"]);
    assert_eq!(rewritten, "1,500 records looked at, 0 of them written again\n");
    assert_eq!(cli.refused(&["count", "acme", "none"]), (4, "TypeNotFound".to_owned()));
    assert_eq!(cli.refused(&["count", "none", "film"]), (4, "TenantNotFound".to_owned()));

    let waiting = cli.json(&["rewrite", "acme", "film", "--background"])["id"].as_str().unwrap().to_owned();
    let cancelled = cli.json(&["count", "acme", "film", "--background"])["id"].as_str().unwrap().to_owned();
    assert_eq!(cli.json(&["jobs", "cancel", &cancelled])["state"], "cancelled");
    let ids = |arguments: &[&str]| -> Vec<String> {
        let list = cli.json(&[&["jobs", "list"], arguments].concat());
        list["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&["--state", "waiting"]), std::slice::from_ref(&waiting));
    assert_eq!(ids(&["--state", "cancelled", "--tenant", "acme"]), std::slice::from_ref(&cancelled));
    assert_eq!((ids(&[]).len(), ids(&["--tenant", "other"]).len(), ids(&["--limit", "2"]).len()), (5, 0, 2));
    let table = cli.text(&["jobs", "list"]);
    assert!(table.starts_with("ID") && table.contains("rewrite") && table.contains("waiting"), "{table}");

    let summary = cli.text(&["jobs", "run", "--until-idle"]);
    assert!(summary.contains(&format!("job {waiting} (rewrite of acme) done, 1,500")), "{summary}");
    assert!(summary.ends_with("1 jobs done, 0 failed, 0 cancelled\n"), "{summary}");
    assert!(cli.text(&["jobs", "watch", &waiting]).contains("done"));
    assert_eq!(cli.run(&["jobs", "watch", &cancelled]).status.code(), Some(5));
    let shown = cli.text(&["jobs", "show", &waiting]);
    assert!(shown.contains("{\"type\":\"film\"}") && shown.contains("\"rewritten\":0"), "{shown}");
}

#[test]
fn indexes_are_checked_and_repaired() {
    if common::is_cluster() {
        // It looks for an entry among all keys that there are.
        return;
    }
    let cli = Cli { directory: tempfile::tempdir().unwrap() };
    let file = cli.directory.path().join("schema.toml");
    let schema = "name = \"notes\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\", text = \"string\" }\n\
                  indexes.by_text = { fields = [\"text\"] }\nindexes.count = { kind = \"count\" }\n";
    std::fs::write(&file, schema).unwrap();
    cli.json(&["schema", "apply", file.to_str().unwrap()]);
    cli.json(&["tenant", "create", "acme", "--schema", "notes"]);
    for id in 0..3 {
        cli.json(&["put", "acme", "note", &format!(r#"{{"id":{id},"text":"needle {id}"}}"#)]);
    }
    let clean = "3 records and 4 entries checked: 0 missing, 0 dangling, 0 wrong, 0 duplicate, 0 unreadable, 0 dangling references; 0 repaired\n";
    assert_eq!(cli.text(&["check", "acme"]), clean);
    // Only an entry of the index has a text in its key.
    let database = tenantry::block_on(tenantry::open(&cli.url())).unwrap();
    let transaction = tenantry_core::engine_access::engine(&database).begin().unwrap();
    let everything = tenantry_kv::RangeRequest::new(vec![0], vec![0xfe]).limit(10_000);
    let rows = tenantry::block_on(transaction.get_range(&everything, tenantry::Isolation::Snapshot)).unwrap();
    assert!(!rows.more);
    for row in rows.rows.iter().filter(|row| row.key.windows(8).any(|part| part == b"needle 1")) {
        transaction.clear(&row.key);
    }
    tenantry::block_on(transaction.commit()).unwrap();
    drop((transaction, database));

    let told = cli.run(&["check", "acme", "note"]);
    assert_eq!(told.status.code(), Some(5), "there is something to do");
    let told = String::from_utf8(told.stdout).unwrap();
    let first = "3 records and 3 entries checked: 1 missing, 0 dangling, 0 wrong, 0 duplicate, 0 unreadable, 0 dangling references; 0 repaired";
    assert_eq!(told, format!("{first}\nnote.by_text missing: \"1\"\n"));
    let mended = cli.json(&["check", "acme", "--repair"])["result"].clone();
    assert_eq!(mended["faults"], json!([{ "index": "note.by_text", "fault": "missing", "key": "\"1\"" }]));
    assert_eq!((&mended["repaired"], &mended["unchecked"]), (&json!(1), &json!([])));
    let id = cli.json(&["check", "acme", "--background"])["id"].as_str().unwrap().to_owned();
    cli.json(&["jobs", "run", "--until-idle"]);
    assert_eq!(cli.json(&["jobs", "show", &id])["result"]["missing"], 0);
    assert_eq!(cli.text(&["check", "acme"]), clean);
    assert_eq!(cli.refused(&["check", "acme", "none"]), (4, "TypeNotFound".to_owned()));
    assert_eq!(cli.refused(&["check", "none"]), (4, "TenantNotFound".to_owned()));
}

#[test]
fn a_record_goes_with_all_that_refers_to_it() {
    let cli = Cli { directory: tempfile::tempdir().unwrap() };
    let file = cli.directory.path().join("schema.toml");
    let schema = "name = \"nodes\"\n[types.node]\nprimary_key = [\"id\"]\n\
                  fields = { id = \"int\", parent = { type = \"int\", optional = true }, guard = { type = \"int\", optional = true } }\n\
                  indexes = { by_parent = { fields = [\"parent\"] }, by_guard = { fields = [\"guard\"] } }\n\
                  references.parent = { fields = [\"parent\"], to = \"node\", on_delete = \"cascade\" }\n\
                  references.guard = { fields = [\"guard\"], to = \"node\" }\n";
    std::fs::write(&file, schema).unwrap();
    cli.json(&["schema", "apply", file.to_str().unwrap()]);
    cli.json(&["tenant", "create", "acme", "--schema", "nodes"]);
    cli.json(&["put", "acme", "node", r#"{"id":0}"#]);
    let rows: String = (1..=1_500).map(|id| format!("{{\"id\":{id},\"parent\":0}}\n")).collect();
    let rows_file = cli.directory.path().join("nodes.jsonl");
    std::fs::write(&rows_file, rows).unwrap();
    cli.json(&["import", "acme", "node", rows_file.to_str().unwrap()]);
    cli.json(&["put", "acme", "node", r#"{"id":9000,"guard":1500}"#]);

    assert_eq!(cli.refused(&["delete", "acme", "node", "0"]), (3, "CascadeTooLarge".to_owned()));
    let refused = cli.run(&["delete", "acme", "node", "0", "--cascade"]);
    assert_eq!(refused.status.code(), Some(5));
    let refused = String::from_utf8(refused.stdout).unwrap();
    assert!(refused.contains("node \"0\" stays") && refused.contains("\"9000\" refers to it"), "{refused}");
    // What fits into one step goes or stays as a whole.
    let left = cli.json(&["count", "acme", "node"])["result"]["count"].as_u64().unwrap();
    assert!((3..1_502).contains(&left), "{left}");
    cli.json(&["delete", "acme", "node", "9000"]);
    let id = cli.json(&["delete", "acme", "node", "0", "--cascade", "--background"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    cli.json(&["jobs", "run", "--until-idle"]);
    let expected = json!({ "deleted": left - 1, "changed": 0, "refusal": null });
    assert_eq!(cli.json(&["jobs", "show", &id])["result"], expected);
    assert_eq!(cli.refused(&["delete", "acme", "node", "0", "--cascade"]).0, 4);
    cli.json(&["put", "acme", "node", r#"{"id":0}"#]);
    assert_eq!(cli.text(&["delete", "acme", "node", "0", "--cascade"]), "1 records deleted, 0 changed\n");
    assert_eq!(cli.run(&["delete", "acme", "node", "0", "--background"]).status.code(), Some(2));
    assert_eq!(cli.run(&["delete", "acme", "node", "--where", "true", "--cascade"]).status.code(), Some(2));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cli = Cli::with_films();
    let unknown = "00000000-0000-7000-8000-000000000001";
    for command in ["show", "watch", "cancel"] {
        assert_eq!(cli.refused(&["jobs", command, unknown]), (4, "JobNotFound".to_owned()));
        assert_eq!(cli.refused(&["jobs", command, "x\u{1b}[2J"]), (4, "JobNotFound".to_owned()));
    }
    let done = cli.json(&["count", "acme", "film"])["id"].as_str().unwrap().to_owned();
    assert_eq!(cli.refused(&["jobs", "cancel", &done]), (3, "JobEnded".to_owned()));
    assert_eq!(cli.refused(&["jobs", "list", "--state", "sleeping"]), (2, "Usage".to_owned()));
    assert_eq!(cli.refused(&["jobs", "run", "--lease", "0"]).0, 2);
    cli.json(&["database", "read-only"]);
    assert_eq!(cli.refused(&["count", "acme", "film"]), (3, "DatabaseReadOnly".to_owned()));
}

#[test]
fn records_expire_in_one_tenant_or_in_all() {
    let cli = Cli { directory: tempfile::tempdir().unwrap() };
    for (name, index) in
        [("visits", "indexes.expiry = { kind = \"time_to_live\", fields = [\"at\"] }"), ("other", "")]
    {
        let schema = format!(
            "name = \"{name}\"\n[types.visit]\nprimary_key = [\"id\"]\nfields = {{ id = \"int\", at = \"timestamp\" }}\n{index}\n"
        );
        let file = cli.directory.path().join("schema.toml");
        std::fs::write(&file, schema).unwrap();
        cli.json(&["schema", "apply", file.to_str().unwrap()]);
    }
    for (tenant, schema) in [("acme", "visits"), ("bell", "visits"), ("cove", "other")] {
        cli.json(&["tenant", "create", tenant, "--schema", schema]);
        cli.json(&["put", tenant, "visit", r#"{"id":1,"at":"2001-01-01T00:00:00Z"}"#]);
        cli.json(&["put", tenant, "visit", r#"{"id":2,"at":"2999-01-01T00:00:00Z"}"#]);
    }
    let job = cli.json(&["expire", "acme"]);
    assert_eq!(job["result"], json!({ "expired": 1, "refused": 0, "first_refusal": null }));
    assert_eq!(cli.json(&["expire", "--all"]), json!({ "tenants": 2, "expired": 1, "refused": 0 }));
    assert_eq!(cli.json(&["expire", "--all", "--background"]), json!({ "tenants": 2 }));
    assert_eq!(cli.json(&["jobs", "run", "--until-idle"])["done"], 2);
    for (tenant, left) in [("acme", 1), ("bell", 1), ("cove", 2)] {
        assert_eq!(cli.json(&["count", tenant, "visit"])["result"]["count"], left, "{tenant}");
    }
    assert_eq!(cli.text(&["expire", "acme"]).trim(), "0 records expired");
    assert_eq!(cli.run(&["expire"]).status.code(), Some(2));
    assert_eq!(cli.run(&["expire", "acme", "--all"]).status.code(), Some(2));
}
