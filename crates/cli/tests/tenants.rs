//! Tenants on the command line.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a test that prints its figures"
)]

mod common;

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
        let url = common::url(&self.directory.path().join("db"));
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

#[test]
fn a_deleted_tenant_is_brought_back_or_purged() {
    let cli = Cli::new();
    cli.json(&["tenant", "create", "acme", "--schema", "films"]);
    cli.json(&["put", "acme", "film", FILM]);
    let deleted = cli.json(&["tenant", "delete", "acme", "--grace", "2h"])["deleted"].clone();
    assert_eq!((&deleted["state"], deleted["purge_due"].is_string()), (&json!("deleted"), true));
    assert_eq!(cli.refused(&["get", "acme", "film", KEY]).0, 4);
    assert_eq!((cli.names(&[]), cli.names(&["--state", "deleted"])), (vec![], vec!["acme".to_owned()]));
    cli.json(&["tenant", "create", "acme", "--schema", "films"]);
    assert_eq!(cli.refused(&["tenant", "undelete", "acme"]).1, "TenantExists");
    cli.json(&["tenant", "undelete", "acme", "--as", "old"]);
    cli.json(&["get", "old", "film", KEY]);
    cli.json(&["tenant", "delete", "old"]);
    assert_eq!(cli.refused(&["tenant", "purge", "old"]).1, "TenantGraceRuns");
    let purged = cli.json(&["tenant", "purge", "old", "--now"])["result"].clone();
    assert_eq!((&purged["purged"], &purged["keys_left"]), (&json!(true), &json!(0)));
    assert!(purged["keys"].as_u64().unwrap() > 3, "{purged}");
    assert_eq!(cli.refused(&["tenant", "purge", "old", "--now"]).1, "TenantNotFound");
    assert!(cli.text(&["tenant", "delete", "acme", "--grace", "0"]).starts_with("purged: "));
    assert_eq!((cli.names(&[]), cli.names(&["--state", "deleted"])), (vec![], vec![]));
    for grace in ["7", "d", "-1d", "9999999999999999999d", "7w", "\u{e9}"] {
        assert_eq!(
            cli.run(&["tenant", "delete", "acme", &format!("--grace={grace}")]).status.code(),
            Some(2),
            "{grace}"
        );
    }
}

#[test]
fn ten_thousand_tenants_are_created_in_seconds_and_kept() {
    let cli = Cli::new();
    let create = ["tenant", "create", "--schema", "films", "--label", "a=b"];
    let made = cli.json(&[&create[..], &["--count", "10000", "--prefix", "t"]].concat());
    println!("10,000 tenants created, durable, in {} s", made["seconds"]);
    assert_eq!((&made["created"], &made["refused"]), (&json!(10_000), &json!(0)));
    assert!(made["seconds"].as_f64().unwrap() < 60.0, "{made}");
    // Another process finds them all.
    assert_eq!(cli.names(&["--limit", "10000"]).len(), 10_000);
    let shown = cli.json(&["tenant", "show", "t04711"]);
    assert_eq!((&shown["labels"], &shown["schema"]), (&json!({ "a": "b" }), &json!("films")));
    cli.json(&["put", "t10000", "film", FILM]);
    let file = cli.directory.path().join("tenants");
    let bell = r#"{"name":"bell","labels":{"c":"d"},"plan":"small"}"#;
    std::fs::write(&file, format!("acme\n\nt00001\r\n{bell}\n x\nlast")).unwrap();
    let from = [&["--json"], &create[..], &["--from", file.to_str().unwrap()]].concat();
    let output = cli.run(&from);
    let made: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &made["created"], &made["refused"]), (Some(5), &json!(3), &json!(2)));
    let tags: Vec<&str> =
        made["refusals"].as_array().unwrap().iter().map(|refused| refused["tag"].as_str().unwrap()).collect();
    assert_eq!(tags, ["TenantExists", "TenantNameInvalid"]);
    let bell = cli.json(&["tenant", "show", "bell"]);
    assert_eq!((&bell["labels"], &bell["plan"]), (&json!({ "a": "b", "c": "d" }), &json!("small")));
    let long = [b'x'; 70_000];
    for (damaged, exit) in [
        (&br#"{"name":1}"#[..], 2),
        (br#"{"name":"x","odd":1}"#, 2),
        (br#"{"labels":{}}"#, 2),
        (b"\xff\xff", 2),
        (&long, 2),
        (b"{", 3),
    ] {
        std::fs::write(&file, damaged).unwrap();
        assert_eq!(cli.run(&from).status.code(), Some(exit), "{:?}", &damaged[..damaged.len().min(30)]);
    }
    for words in [&["x", "--count", "3", "--prefix", "y"][..], &["--count", "3"], &["--prefix", "y"], &[]] {
        assert_eq!(cli.run(&[&create, words].concat()).status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn a_tenant_is_cloned_exported_and_imported_and_equal_by_hash() {
    let cli = Cli::new();
    cli.json(&["tenant", "create", "acme", "--schema", "films", "--plan", "small"]);
    let rows: String = (0..3_000)
        .map(|number| format!("{{\"title\":\"Film {number}\",\"released\":\"2000-01-01\"}}\n"))
        .collect();
    let file = |name: &str| cli.directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(file("films.jsonl"), rows).unwrap();
    cli.json(&["import", "acme", "film", &file("films.jsonl")]);
    cli.json(&["kv", "acme", "set", "k", "v"]);
    let hash = cli.json(&["tenant", "hash", "acme"]);
    assert!(hash["rows"].as_u64().unwrap() > 3_000, "{hash}");
    let cloned = cli.json(&["tenant", "clone", "acme", "copy"]);
    assert_eq!(cloned["state"], json!("done"));
    let same = |name: &str| assert_eq!(cli.json(&["tenant", "hash", name])["hash"], hash["hash"], "{name}");
    same("copy");
    let archive = file("acme.archive");
    cli.json(&["tenant", "export", "acme", "--output", &archive]);
    assert_eq!(cli.json(&["tenant", "hash", "--file", &archive])["hash"], hash["hash"]);
    // An archive is not written over; one that was cut is gone on with.
    assert_eq!(cli.run(&["tenant", "export", "acme", "--output", &archive]).status.code(), Some(1));
    let whole = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(cli.refused(&["tenant", "hash", "--file", &archive]).1, "ArchiveIncomplete");
    assert_eq!(cli.refused(&["tenant", "import", "new", &archive]).1, "ArchiveIncomplete");
    assert_eq!(cli.names(&["--state", "filling"]), ["new"]);
    cli.json(&["tenant", "export", "acme", "--output", &archive, "--resume"]);
    assert_eq!(cli.json(&["tenant", "hash", "--file", &archive])["hash"], hash["hash"]);
    let imported = cli.json(&["tenant", "import", "new", &archive]);
    assert_eq!((&imported["state"], &imported["plan"]), (&json!("active"), &json!("small")));
    same("new");
    let verified = cli.json(&["tenant", "verify", "new"])["result"].clone();
    assert_eq!((&verified["sound"], &verified["records"]), (&json!(true), &json!(3_000)));
    // From one process to another, and into another database.
    let output = cli.run(&["tenant", "export", "copy"]);
    assert_eq!(output.status.code(), Some(0));
    let other = Cli::new();
    let piped = other.directory.path().join("piped");
    std::fs::write(&piped, &output.stdout).unwrap();
    other.json(&["tenant", "import", "acme", piped.to_str().unwrap()]);
    assert_eq!(other.json(&["tenant", "hash", "acme"])["hash"], hash["hash"]);
    let mut damaged = output.stdout.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&piped, &damaged).unwrap();
    assert_eq!(other.refused(&["tenant", "import", "bad", piped.to_str().unwrap()]).1, "ArchiveDamaged");
}
