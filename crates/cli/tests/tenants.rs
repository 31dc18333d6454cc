//! Tenants on the command line.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value as Json, json};
use tempfile::TempDir;

struct Cli {
    directory: TempDir,
}

impl Cli {
    fn new() -> Cli {
        let cli = Cli { directory: tempfile::tempdir().unwrap() };
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/films.toml");
        cli.json(&["schema", "apply", schema.to_str().unwrap()]);
        cli
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin("tenantry"));
        let url = format!("file:{}", self.directory.path().join("db").display());
        command.env("TENANTRY_DB", url).env("NO_COLOR", "1").args(arguments);
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

    /// The exit code of a command, the tag of its error and what it says.
    fn refused(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.run(&[&["--json"], arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let document: Json =
            serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_default();
        let of_error = |name: &str| document["error"][name].as_str().unwrap_or_default().to_owned();
        (output.status.code().unwrap(), of_error("tag"), of_error("message"))
    }

    fn names(&self, arguments: &[&str]) -> Vec<String> {
        let page = self.json(&[&["tenant", "list"], arguments].concat());
        let tenants = page["tenants"].as_array().unwrap().clone();
        tenants.iter().map(|tenant| tenant["name"].as_str().unwrap().to_owned()).collect()
    }
}

const FILM: &str = r#"{"title":"Heat","released":"1995-12-15"}"#;
const KEY: &str = r#"["Heat","1995-12-15"]"#;

#[test]
fn a_tenant_is_labelled_renamed_suspended_and_resumed() {
    let cli = Cli::new();
    let created = cli.json(&[
        "tenant",
        "create",
        "acme",
        "--schema",
        "films",
        "--label",
        "region=eu",
        "--label",
        "note=a=b",
        "--plan",
        "small",
    ]);
    assert_eq!(created["labels"], json!({ "region": "eu", "note": "a=b" }));
    assert_eq!((&created["plan"], &created["state"]), (&json!("small"), &json!("active")));
    cli.json(&["tenant", "create", "bell", "--schema", "films"]);
    assert_eq!(cli.names(&["--label", "region=eu"]), ["acme"]);
    assert_eq!(cli.names(&["--label", "region"]), ["acme"]);
    assert_eq!(cli.names(&["--plan", "large"]), [""; 0]);
    let labelled = cli.json(&["tenant", "label", "acme", "region=us", "--remove", "note"]);
    assert_eq!(labelled["labels"], json!({ "region": "us" }));
    assert_eq!(cli.json(&["tenant", "plan", "acme"])["plan"], Json::Null);
    assert_eq!(cli.json(&["tenant", "rename", "acme", "acme inc"])["name"], json!("acme inc"));
    assert_eq!(cli.names(&[]), ["acme inc", "bell"]);
    assert_eq!(cli.refused(&["tenant", "show", "acme"]).0, 4);

    cli.json(&["put", "acme inc", "film", FILM]);
    let suspended =
        cli.json(&["tenant", "suspend", "acme inc", "--read-only", "--reason", "the bill of May"]);
    assert_eq!(suspended["state"], json!("read-only"));
    cli.json(&["get", "acme inc", "film", KEY]);
    let (exit, tag, message) = cli.refused(&["put", "acme inc", "film", FILM]);
    assert_eq!((exit, tag.as_str()), (3, "TenantReadOnly"));
    assert!(message.contains("the bill of May"), "{message}");
    cli.json(&["tenant", "suspend", "acme inc", "--reason", "the bill of June"]);
    let (exit, tag, message) = cli.refused(&["get", "acme inc", "film", KEY]);
    assert_eq!((exit, tag.as_str()), (3, "TenantSuspended"));
    assert!(message.contains("the bill of June"), "{message}");
    assert_eq!(cli.names(&["--state", "blocked"]), ["acme inc"]);
    assert!(cli.text(&["tenant", "show", "acme inc"]).contains("the bill of June"));
    // Who waits for the work is told at once; the job waits.
    assert_eq!(cli.refused(&["count", "acme inc", "film"]).1, "TenantSuspended");
    cli.json(&["tenant", "resume", "acme inc"]);
    cli.json(&["get", "acme inc", "film", KEY]);

    for (arguments, exit) in [
        (&["tenant", "label", "bell", "novalue"][..], 2),
        (&["tenant", "label", "bell", "=x"], 3),
        (&["tenant", "label", "bell", "x=1", "x=2"], 2),
        (&["tenant", "list", "--state", "odd"], 2),
        (&["tenant", "rename", "bell", "acme inc"], 3),
        (&["tenant", "suspend", "nobody"], 4),
    ] {
        assert_eq!(cli.refused(arguments).0, exit, "{arguments:?}");
    }
}
