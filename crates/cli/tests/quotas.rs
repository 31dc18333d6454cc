//! Limits, plans, usage and the recount on the command line.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

struct Cli(TempDir);

impl Cli {
    fn run(&self, arguments: &[&str]) -> Output {
        let url = common::url(&self.0.path().join("db"));
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("tenantry"));
        let output = command.env("TENANTRY_DB", url).env("NO_COLOR", "1").args(arguments).output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{arguments:?}");
        output
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Json {
        let text = self.text(&[&["--json"], arguments].concat());
        serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap()
    }

    /// The exit code of a command and its error.
    fn refused(&self, arguments: &[&str]) -> (i32, Json) {
        let output = self.run(&[&["--json"], arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let document: Json = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap();
        (output.status.code().unwrap(), document["error"].clone())
    }
}

#[test]
fn tenants_are_limited_metered_and_recounted() {
    let cli = Cli(tempfile::tempdir().unwrap());
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/films.toml");
    cli.json(&["schema", "apply", schema.to_str().unwrap()]);
    cli.json(&["tenant", "create", "acme", "--schema", "films"]);
    cli.json(&["tenant", "create", "other", "--schema", "films"]);
    let film = |title: &str| json!({ "title": title, "released": "2000-01-01" }).to_string();

    let plan = cli.json(&["plan", "set", "small", "--set", "records=2", "--set", "weight=50"]);
    assert_eq!(plan, json!({ "plan": "small", "limits": { "weight": 50, "records": 2 } }));
    let (exit, error) = cli.refused(&["plan", "show", "large"]);
    assert_eq!((exit, &error["tag"]), (4, &json!("PlanNotFound")));
    cli.json(&["tenant", "plan", "acme", "small"]);
    let limits = cli.json(&["tenant", "limits", "acme", "--set", "watches=5"]);
    assert_eq!(limits["effective"], json!({ "weight": 50, "records": 2, "watches": 5 }));
    for title in ["One", "Two"] {
        cli.json(&["put", "acme", "film", &film(title)]);
    }
    let (exit, error) = cli.refused(&["put", "acme", "film", &film("Three")]);
    assert_eq!((exit, &error["tag"], &error["code"]), (3, &json!("QuotaExceeded"), &json!(20_140)));
    assert!(error["message"].as_str().unwrap().contains('2'), "{error}");
    // A limit of its own in place of the plan's, and again the plan's.
    cli.json(&["tenant", "limits", "acme", "--set", "records=none"]);
    cli.json(&["put", "acme", "film", &film("Three")]);
    assert_eq!(
        cli.json(&["tenant", "limits", "acme", "--set", "records=plan"])["effective"]["records"],
        json!(2)
    );
    cli.json(&["delete", "acme", "film", r#"["Three","2000-01-01"]"#]);

    let usage = cli.json(&["usage", "acme", "--by", "hour"]);
    assert_eq!(usage["stored"]["records"], json!(2));
    assert!(usage["stored"]["record_bytes"].as_u64().unwrap() > 20, "{usage}");
    assert_eq!(usage["consumed"]["write_units"], json!(4));
    let hours = usage["hours"].as_array().unwrap();
    let units: u64 = hours.iter().map(|hour| hour["write_units"].as_u64().unwrap()).sum();
    assert_eq!(units, 4);
    cli.json(&["kv", "acme", "set", "key", "value"]);
    cli.json(&["kv", "acme", "set", "key", "other"]);
    let job = cli.json(&["reconcile", "acme"]);
    assert_eq!(job["state"], json!("done"));
    assert_eq!(job["result"]["off"], json!({ "records": 0, "record_bytes": 0, "raw_bytes": -8 }));
    assert_eq!((&job["result"]["records"], &job["result"]["raw_bytes"]), (&json!(2), &json!(8)));
    assert!(cli.text(&["reconcile", "acme"]).contains("off by 0, 0 and 0"));
    let all = cli.text(&["usage"]);
    assert!(all.contains("acme") && all.contains("other"), "{all}");

    let (exit, error) = cli.refused(&["tenant", "limits", "acme", "--set", "weight=0"]);
    assert_eq!((exit, &error["tag"]), (3, &json!("LimitsInvalid")));
    assert_eq!(cli.refused(&["plan", "set", "small", "--set", "speed=1"]).1["tag"], json!("LimitsInvalid"));
    assert_eq!(cli.refused(&["plan", "set", "small", "--set", "records"]).0, 2);
    assert_eq!(cli.json(&["plan", "list"])["plans"].as_array().unwrap().len(), 1);
    assert!(cli.text(&["plan", "show", "small"]).contains("records"));
    cli.json(&["tenant", "plan", "acme"]);
    let without = cli.json(&["tenant", "limits", "acme"]);
    assert_eq!((&without["plan"], &without["effective"]), (&json!(null), &json!({ "watches": 5 })));

    let pool = cli.json(&["status"])["pool"].clone();
    assert_eq!(pool["db.client.connection.max"], json!(1_000));
    assert_eq!(pool["db.client.connection.count"], json!({ "used": 0, "idle": 1_000 }));
    assert!(pool["db.client.connection.wait_time"]["counts"].is_array(), "{pool}");
}
