//! What is exported and imported again is the same, in both formats, to the last bit that a record can hold.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test")]

mod common;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

const SCHEMA: &str = r#"
name = "s"
[types.all]
primary_key = ["id", "name"]
[types.all.fields]
id = "int"
name = "string"
flag = { type = "bool", optional = true }
ratio = { type = "float", optional = true }
text = { type = "string", optional = true }
blob = { type = "bytes", optional = true }
key = { type = "uuid", optional = true }
at = { type = "timestamp", optional = true }
day = { type = "date", optional = true }
price = { type = "decimal", optional = true }
any = { type = "json", optional = true }
kind = { type = "enum", values = ["one", "two, or three"], optional = true }
tags = { type = "list", of = "string", optional = true }
size = { type = "struct", optional = true, fields = { width = "int", depth = { type = "int", optional = true, default = 3 } } }
rank = { type = "int", optional = true, default = 5 }
[types.other]
primary_key = ["id"]
fields = { id = "int", text = "string" }
"#;

struct Cli {
    directory: TempDir,
}

impl Cli {
    fn new() -> Cli {
        let cli = Cli { directory: tempfile::tempdir().unwrap() };
        std::fs::write(cli.path("s.toml"), SCHEMA).unwrap();
        cli.ok(&["schema", "apply", &cli.name("s.toml")]);
        for tenant in ["acme", "beta", "gamma", "other"] {
            cli.ok(&["tenant", "create", tenant, "--schema", "s"]);
        }
        cli.ok(&["put", "other", "all", r#"{"id":1,"name":"secret of another tenant"}"#]);
        cli
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("tenantry"));
        command.env("TENANTRY_DB", common::url(self.path("db").as_ref())).env("NO_COLOR", "1");
        command.args(words);
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        let output = self.command(words).output().unwrap();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{words:?}");
        output
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn records(&self, tenant: &str, record_type: &str) -> Vec<Json> {
        let text = self.ok(&["--json", "query", tenant, record_type, "--limit", "10000"]);
        let page: Json = serde_json::from_str(&text).unwrap();
        assert_eq!(page["next"], Json::Null);
        page["records"].as_array().unwrap().clone()
    }

    /// Nothing is left of what was put aside, or half written.
    fn assert_no_leftovers(&self, directory: &str) {
        for entry in std::fs::read_dir(self.path(directory)).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            assert!(!name.starts_with(".tenantry"), "{name}");
        }
    }
}

/// Records with every type's extremes, as lines that an import reads.
fn lines() -> Vec<Json> {
    let long = "\u{1f3ac}é\"\\,\n\r\t\u{0}".repeat(8_000);
    let mut lines = vec![
        json!({ "ratio": -0.0, "text": "", "blob": "", "tags": [], "any": null, "price": "0.00" }),
        json!({ "ratio": 5e-324, "text": " ", "blob": "AAH/", "any": {"z": [1.50, "x", null], "a": {}}, "price": "-79228162514264337593543950335" }),
        json!({ "ratio": 1.7976931348623157e308, "text": "null", "any": "a string", "price": "12.50", "kind": "two, or three" }),
        json!({ "ratio": "Infinity", "text": "\"quoted\"", "any": 12345678901234567890123u128 as f64, "kind": "one" }),
        json!({ "ratio": "-Infinity", "text": "a,b\r\nc", "any": [], "flag": false }),
        json!({ "key": "67e55044-10b1-426f-9247-bb680e5fe0c8", "at": "1969-12-31T23:59:59.999999Z", "day": "0001-01-01", "flag": true }),
        json!({ "at": "9999-12-30T22:00:00Z", "day": "9999-12-31", "tags": ["", "a,b", "\"", "é\u{1f3ac}"], "rank": null }),
        json!({ "size": { "width": 1 }, "rank": 7 }),
        json!({ "size": { "width": -1, "depth": null }, "tags": [""] }),
        json!({ "text": long, "any": { "long": long } }),
        json!({ "text": "=1+1", "any": false }),
        json!({}),
    ];
    let ids = [i64::MIN, -1, 0, 1, i64::MAX];
    for (place, line) in lines.iter_mut().enumerate() {
        line["id"] = json!(ids[place % ids.len()]);
        line["name"] = json!(["", "a", "\u{feff}b", "é,\"", "\u{1f3ac}"][place / ids.len()]);
    }
    lines
}

#[test]
fn what_is_exported_and_imported_is_the_same() {
    let cli = Cli::new();
    let text: String = lines().iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(cli.path("in.jsonl"), &text).unwrap();
    cli.ok(&["import", "acme", "all", &cli.name("in.jsonl")]);
    cli.ok(&["put", "acme", "other", r#"{"id":1,"text":"t"}"#]);
    let records = cli.records("acme", "all");
    assert_eq!(records.len(), lines().len());
    for (tenant, format) in [("beta", "jsonl"), ("gamma", "csv")] {
        let to = cli.name(format);
        let summary = cli.ok(&["--json", "export", "acme", "--format", format, "--output", &to]);
        let summary: Json = serde_json::from_str(&summary).unwrap();
        assert_eq!((&summary["records"], summary["files"].as_array().unwrap().len()), (&json!(13), 2));
        assert!(summary["version"].as_i64().unwrap() > 0);
        for record_type in ["all", "other"] {
            let file = format!("{to}/{record_type}.{format}");
            assert!(!std::fs::read_to_string(&file).unwrap().contains("secret"));
            cli.ok(&["import", tenant, record_type, &file, "--exact"]);
            assert_eq!(cli.records(tenant, record_type), cli.records("acme", record_type), "{format}");
        }
        cli.assert_no_leftovers(format);
        // Once more, out of the copy: to the byte.
        let again = cli.name("again");
        cli.ok(&["export", tenant, "all", "--format", format, "--output", &again]);
        let first = std::fs::read(format!("{to}/all.{format}")).unwrap();
        assert_eq!(std::fs::read(&again).unwrap(), first, "{format}");
    }
    // Without --exact, JSON lines say where there is nothing in the place of a default.
    cli.ok(&["tenant", "create", "delta", "--schema", "s"]);
    cli.ok(&["import", "delta", "all", &cli.name("jsonl/all.jsonl")]);
    assert_eq!(cli.records("delta", "all"), records);
    cli.assert_no_leftovers(".");
}

#[test]
fn conditions_and_fields_are_chosen() {
    let cli = Cli::new();
    let rows: String = (0..50).map(|id| format!("{{\"id\":{id},\"text\":\"t{id}\"}}\n")).collect();
    std::fs::write(cli.path("in.jsonl"), rows).unwrap();
    cli.ok(&["import", "acme", "other", &cli.name("in.jsonl")]);
    let words =
        ["export", "acme", "other", "--where", "id >= param.n", "--param", "n=48", "--select", "text"];
    assert_eq!(cli.ok(&words), "{\"text\":\"t48\"}\n{\"text\":\"t49\"}\n");
    assert_eq!(cli.ok(&[&words[..], &["--format", "csv"]].concat()), "text\nt48\nt49\n");
    let to = cli.name("out.csv");
    cli.ok(&["export", "acme", "other", "--where", "id < 2", "--output", &to]);
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "id,text\n0,t0\n1,t1\n");
}

#[test]
fn what_cannot_be_exported_leaves_what_was_there() {
    let cli = Cli::new();
    let to = cli.name("out.jsonl");
    std::fs::write(&to, "before").unwrap();
    let code = |words: &[&str]| cli.run(words).status.code().unwrap();
    assert_eq!(code(&["export", "acme", "nothing", "--output", &to]), 4);
    assert_eq!(code(&["export", "nobody", "all", "--output", &to]), 4);
    assert_eq!(code(&["export", "acme", "all", "--where", "id ===", "--output", &to]), 3);
    assert_eq!(code(&["export", "acme", "all", "--select", "nothing", "--output", &to]), 3);
    assert_eq!(code(&["export", "acme"]), 2);
    assert_eq!(code(&["export", "acme", "--where", "true", "--output", &cli.name("d")]), 2);
    assert_eq!(code(&["--json", "export", "acme", "all", "--format", "csv"]), 2);
    assert_eq!(code(&["export", "acme", "all", "--output", &cli.name("missing/out.jsonl")]), 1);
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "before");
    cli.assert_no_leftovers(".");
    cli.ok(&["export", "acme", "all", "--output", &to]);
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "");
}

/// A reader that wants no more is no failure, and no panic.
#[test]
fn a_broken_pipe_ends_an_export() {
    let cli = Cli::new();
    let text = "x".repeat(1_000);
    let rows: String = (0..3_000).map(|id| format!("{{\"id\":{id},\"text\":\"{text}\"}}\n")).collect();
    std::fs::write(cli.path("in.jsonl"), rows).unwrap();
    cli.ok(&["import", "acme", "other", &cli.name("in.jsonl")]);
    let words = ["export", "acme", "other"];
    let mut child = cli.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
