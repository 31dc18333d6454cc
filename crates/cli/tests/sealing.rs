//! Sealed tenants from the command line: keys, certificates, and what a command says that lacks them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test")]

mod common;

use std::process::Output;

use assert_cmd::Command;
use serde_json::Value as Json;
use tempfile::TempDir;

const SCHEMA: &str =
    "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\", text = \"string\" }\n";

struct Cli {
    directory: TempDir,
}

impl Cli {
    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn new(databases: &[&str]) -> Cli {
        let cli = Cli { directory: tempfile::tempdir().unwrap() };
        std::fs::write(cli.path("s.toml"), SCHEMA).unwrap();
        for database in databases {
            let applied = cli.command(database, &["schema", "apply", &cli.path("s.toml")]).output().unwrap();
            assert!(applied.status.success(), "{applied:?}");
        }
        cli
    }

    /// With no keys.
    fn command(&self, database: &str, arguments: &[&str]) -> Command {
        let mut command = Command::cargo_bin("tenantry").unwrap();
        command.env("TENANTRY_DB", common::url(self.path(database).as_ref())).env("NO_COLOR", "1");
        for variable in ["TENANTRY_KEY_STORE", "TENANTRY_ROOT_KEY_FILE", "TENANTRY_ROOT_KEY"] {
            command.env_remove(variable);
        }
        command.args(arguments);
        command
    }

    fn keyed(&self, database: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(database, arguments);
        command.env("TENANTRY_KEY_STORE", self.path("keys")).env("TENANTRY_ROOT_KEY_FILE", self.path("root"));
        command
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.keyed("db", arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Json {
        serde_json::from_str(&self.ok(&[&["--json"], arguments].concat())).unwrap()
    }

    fn put(&self, tenant: &str, id: i64) {
        let record = format!("{{\"id\": {id}, \"text\": \"very private\"}}");
        self.ok(&["put", tenant, "note", &record]);
    }
}

fn refused(output: &Output, tag: &str, words: &str) {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stdout} {stderr}");
    assert!(stderr.contains(words), "{stderr}");
    if !tag.is_empty() {
        assert!(stdout.contains(tag), "{stdout}");
    }
}

#[test]
fn a_tenant_is_sealed_rotated_and_shredded() {
    let cli = Cli::new(&["db"]);
    let made = cli.json(&["keys", "init"]);
    assert_eq!(made["wrapped"], serde_json::json!({}));
    let again = cli.keyed("db", &["keys", "init"]).output().unwrap();
    refused(&again, "", "is there already");

    cli.ok(&["tenant", "create", "acme", "--schema", "s", "--sealed"]);
    cli.ok(&["tenant", "create", "globex", "--schema", "s"]);
    for tenant in ["acme", "globex"] {
        cli.put(tenant, 1);
    }
    let sealed = cli.json(&["tenant", "seal", "globex"]);
    assert_eq!((&sealed["state"], &sealed["result"]["generation"]), (&"done".into(), &1.into()));
    assert!(sealed["result"]["resealed"].as_u64().unwrap() >= 2, "{sealed}");
    assert_eq!(cli.json(&["tenant", "seal", "globex"])["complete"], true);
    assert_eq!(cli.json(&["tenant", "rotate-key", "globex"])["result"]["generation"], 2);
    assert!(cli.ok(&["tenant", "show", "globex"]).contains("sealed with its data key 2"));
    assert!(cli.ok(&["get", "globex", "note", "1"]).contains("very private"));

    // Without the keys, or with others.
    let without = cli.command("db", &["--json", "get", "acme", "note", "1"]).output().unwrap();
    refused(&without, "TenantSealed", "--key-store");
    let no_root = cli.command("db", &["--key-store", &cli.path("keys"), "get", "acme", "note", "1"]);
    refused(&{ no_root }.output().unwrap(), "", "--root-key");
    let mut other =
        cli.command("db", &["--json", "--key-store", &cli.path("keys"), "get", "acme", "note", "1"]);
    let other = other.env("TENANTRY_ROOT_KEY", "ab".repeat(32)).output().unwrap();
    refused(&other, "RootKeyDiffers", "name the other one");
    assert!(cli.command("db", &["tenant", "show", "acme"]).output().unwrap().status.success());

    let rotated = cli.json(&["keys", "rotate-root", "--new-root-key", &cli.path("root-2")]);
    assert_eq!(rotated["rewrapped"], 2);
    refused(
        &cli.keyed("db", &["--json", "get", "acme", "note", "1"]).output().unwrap(),
        "RootKeyDiffers",
        "root-",
    );
    std::fs::rename(cli.path("root-2"), cli.path("root")).unwrap();
    assert!(cli.ok(&["get", "acme", "note", "1"]).contains("very private"));

    let mistaken = cli.keyed("db", &["tenant", "shred", "acme", "--confirm", "globex"]).output().unwrap();
    assert_eq!(mistaken.status.code(), Some(2));
    let certificate = cli.ok(&["tenant", "shred", "acme", "--confirm", "acme"]);
    std::fs::write(cli.path("acme.json"), &certificate).unwrap();
    refused(
        &cli.keyed("db", &["--json", "get", "acme", "note", "1"]).output().unwrap(),
        "TenantShredded",
        "it can be deleted",
    );
    assert!(cli.ok(&["get", "globex", "note", "1"]).contains("very private"));
    assert_eq!(cli.json(&["keys", "verify", &cli.path("acme.json")])["proven"], true);
    std::fs::write(cli.path("forged.json"), certificate.replace("acme", "globex")).unwrap();
    let forged = cli.keyed("db", &["--json", "keys", "verify", &cli.path("forged.json")]).output().unwrap();
    refused(&forged, "CertificateInvalid", "altered");
    let status = cli.json(&["keys", "status"]);
    assert_eq!(status["destroyed"], 1);
    cli.ok(&["tenant", "delete", "acme"]);
}

/// Two databases share a key store, and two processes write it at a time.
#[test]
fn processes_share_a_key_store() {
    let cli = &Cli::new(&["db", "other"]);
    cli.ok(&["keys", "init"]);
    std::thread::scope(|scope| {
        for database in ["db", "other"] {
            scope.spawn(move || {
                for number in 0..6 {
                    let name = format!("tenant-{number}");
                    let create = ["tenant", "create", &name, "--schema", "s", "--sealed"];
                    let created = cli.keyed(database, &create).output().unwrap();
                    assert!(created.status.success(), "{created:?}");
                }
            });
        }
    });
    let status = cli.json(&["keys", "status"]);
    let wrapped: u64 =
        status["wrapped"].as_object().unwrap().values().map(|keys| keys.as_u64().unwrap()).sum();
    assert_eq!((wrapped, status["destroyed"].as_u64()), (12, Some(0)));
}

/// A tenant is sealed by a process that is killed in the middle of it: the next one ends it, and nothing is lost.
#[test]
fn sealing_that_is_interrupted_is_ended_by_the_next_one() {
    let cli = Cli::new(&["db"]);
    cli.ok(&["keys", "init"]);
    cli.ok(&["tenant", "create", "acme", "--schema", "s"]);
    let rows: String = (0..3_000).map(|id| format!("{{\"id\": {id}, \"text\": \"text {id}\"}}\n")).collect();
    std::fs::write(cli.path("rows.jsonl"), rows).unwrap();
    cli.ok(&["import", "acme", "note", &cli.path("rows.jsonl")]);
    // One that leaves the work to others, and is gone.
    cli.ok(&["tenant", "seal", "acme", "--background"]);
    assert_eq!(cli.json(&["tenant", "show", "acme"])["sealing"]["complete"], false);
    let refusal =
        cli.keyed("db", &["--json", "tenant", "shred", "acme", "--confirm", "acme"]).output().unwrap();
    refused(&refusal, "SealRefused", "reseal");
    assert!(cli.ok(&["get", "acme", "note", "2999"]).contains("text 2999"));
    cli.ok(&["jobs", "run", "--until-idle"]);
    assert_eq!(cli.json(&["tenant", "show", "acme"])["sealing"]["complete"], true);
    assert_eq!(cli.json(&["count", "acme", "note"])["result"]["count"], 3_000);
}
