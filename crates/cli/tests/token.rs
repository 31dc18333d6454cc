//! Commands by the right of a token.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test")]

mod common;

use std::path::PathBuf;
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value as Json;
use tempfile::TempDir;

const SCHEMA: &str = r#"
name = "films"
[types.film]
primary_key = ["id"]
fields = { id = "int", owner = "string", title = "string" }
indexes.by_owner = { fields = ["owner"] }
[types.note]
primary_key = ["id"]
fields = { id = "int" }
"#;

struct Cli {
    directory: TempDir,
}

impl Cli {
    /// Two tenants with the same films, and a key.
    fn new() -> Cli {
        let cli = Cli { directory: tempfile::tempdir().unwrap() };
        std::fs::write(cli.path("films.toml"), SCHEMA).unwrap();
        cli.ok(&["schema", "apply", cli.path("films.toml").to_str().unwrap()]);
        for tenant in ["acme", "globex"] {
            cli.ok(&["tenant", "create", tenant, "--schema", "films"]);
            cli.ok(&["put", tenant, "film", r#"{"id": 1, "owner": "ann", "title": "Heat"}"#]);
            cli.ok(&["put", tenant, "film", r#"{"id": 2, "owner": "bob", "title": "Ronin"}"#]);
        }
        cli.keygen("EdDSA", "key.pem");
        cli
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run_as(&self, token: Option<&str>, arguments: &[&str]) -> Output {
        let mut command = Command::cargo_bin("tenantry").unwrap();
        command.env("TENANTRY_DB", common::url(&self.path("db"))).env("NO_COLOR", "1");
        if let Some(token) = token {
            command.env("TENANTRY_TOKEN", token).env("TENANTRY_JWKS", self.path("keys.json"));
        }
        command.args(arguments).output().unwrap()
    }

    /// What a command ends with, and what it says of its failure.
    fn outcome(&self, token: &str, arguments: &[&str]) -> (i32, String) {
        let output = self.run_as(Some(token), arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn ok(&self, arguments: &[&str]) -> String {
        self.ok_as(None, arguments)
    }

    fn ok_as(&self, token: Option<&str>, arguments: &[&str]) -> String {
        let output = self.run_as(token, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn keygen(&self, algorithm: &str, name: &str) {
        let (key, set) = (self.path(name), self.path("keys.json"));
        let (key, set) = (key.to_str().unwrap(), set.to_str().unwrap());
        self.ok(&["token", "keygen", "--algorithm", algorithm, "--key", key, "--add-to", set]);
    }

    fn issue(&self, key: &str, arguments: &[&str]) -> String {
        let key = self.path(key);
        let words = ["token", "issue", "ann", "--key", key.to_str().unwrap()];
        self.ok(&[&words[..], arguments].concat()).trim().to_owned()
    }
}

#[test]
fn commands_keep_to_the_token() {
    let cli = Cli::new();
    let policy = "film=owner == claims.sub";
    let token = cli.issue("key.pem", &["--tenant", "acme", "--role", "writer", "--policy", policy]);
    let own = cli.ok_as(Some(&token), &["--json", "query", "acme", "film"]);
    let own: Json = serde_json::from_str(&own).unwrap();
    assert_eq!(own["records"].as_array().unwrap().len(), 1, "{own}");
    assert_eq!(own["records"][0]["owner"], "ann");
    cli.ok_as(Some(&token), &["put", "acme", "film", r#"{"id": 3, "owner": "ann", "title": "Collateral"}"#]);
    let film_of_bob = r#"{"id": 4, "owner": "bob", "title": "Ali"}"#;
    for (arguments, exit, word) in [
        (&["get", "acme", "film", "2"][..], 4, "2"),
        (&["put", "acme", "film", film_of_bob], 3, "20122"),
        (&["put", "acme", "film", r#"{"id": 2, "owner": "ann", "title": "Mine"}"#], 3, "20121"),
        (&["aggregate", "acme", "film", "count"], 3, "20121"),
        (&["kv", "acme", "range"], 3, "20121"),
        (&["export", "acme", "film"], 3, "20120"),
        (&["count", "acme", "film"], 3, "20120"),
        (&["query", "globex", "film"], 4, "20010"),
        (&["query", "nobody", "film"], 4, "20010"),
        (&["tenant", "list"], 3, "20120"),
        (&["tenant", "delete", "acme"], 3, "20120"),
        (&["status"], 3, "20120"),
        (&["database", "scrub"], 3, "20120"),
        (&["schema", "list"], 3, "20120"),
        (&["jobs", "list"], 3, "20120"),
        (&["token", "revoke", "acme"], 3, "20120"),
        (&["token", "revoke", "globex"], 4, "20010"),
    ] {
        let (found, stderr) = cli.outcome(&token, arguments);
        assert_eq!(found, exit, "{arguments:?}: {stderr}");
        assert!(stderr.contains(word), "{arguments:?}: {stderr}");
    }
    // Nothing of it was done.
    let all: Json = serde_json::from_str(&cli.ok(&["--json", "query", "acme", "film"])).unwrap();
    let titles: Vec<&str> =
        all["records"].as_array().unwrap().iter().map(|film| film["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["Heat", "Ronin", "Collateral"]);
}

#[test]
fn tokens_are_revoked_and_keys_rotated() {
    let cli = Cli::new();
    let old = cli.issue("key.pem", &["--tenant", "acme", "--tenant", "globex"]);
    let admin = cli.issue("key.pem", &["--all-tenants", "--role", "admin"]);
    let works = |token: &str, tenant: &str| cli.outcome(token, &["query", tenant, "film"]).0 == 0;
    assert!(works(&old, "acme") && works(&old, "globex") && works(&admin, "acme"));
    // By the right of a token, and of that tenant alone.
    cli.ok_as(Some(&admin), &["token", "revoke", "acme"]);
    let (exit, stderr) = cli.outcome(&old, &["query", "acme", "film"]);
    assert!(exit == 3 && stderr.contains("20126"), "{stderr}");
    assert!(works(&old, "globex") && works(&admin, "acme"));
    assert!(works(&cli.issue("key.pem", &["--tenant", "acme"]), "acme"));
    cli.ok(&["token", "revoke", "--all-tenants"]);
    assert!(!works(&admin, "acme") && works(&old, "globex"));
    // A second key beside the first, of each kind; then the first is taken out.
    for (algorithm, name) in [("ES256", "es.pem"), ("RS256", "rs.pem")] {
        cli.keygen(algorithm, name);
        assert!(works(&cli.issue(name, &["--tenant", "globex"]), "globex"), "{algorithm}");
    }
    assert!(works(&old, "globex"));
    let mut set: Json =
        serde_json::from_str(&std::fs::read_to_string(cli.path("keys.json")).unwrap()).unwrap();
    assert_eq!(set["keys"].as_array().unwrap().len(), 3);
    set["keys"].as_array_mut().unwrap().retain(|key| key["alg"] != "EdDSA");
    std::fs::write(cli.path("keys.json"), set.to_string()).unwrap();
    let (exit, stderr) = cli.outcome(&old, &["query", "globex", "film"]);
    assert!(exit == 3 && stderr.contains("20127"), "{stderr}");
}

#[test]
fn tokens_can_be_looked_at() {
    let cli = Cli::new();
    let token = cli.issue("key.pem", &["--tenant", "acme", "--claim", "team=[\"red\"]", "--lifetime", "2h"]);
    let file = cli.path("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let given = format!("@{}", file.display());
    let shown: Json = serde_json::from_str(&cli.ok(&["--json", "token", "inspect", &given])).unwrap();
    assert_eq!((shown["claims"]["sub"].as_str(), shown["valid"].as_bool()), (Some("ann"), None));
    assert_eq!(shown["claims"]["exp"].as_i64().unwrap() - shown["claims"]["iat"].as_i64().unwrap(), 7_200);
    let keys = cli.path("keys.json");
    let keys = keys.to_str().unwrap();
    let shown: Json =
        serde_json::from_str(&cli.ok(&["--json", "--jwks", keys, "token", "inspect", &token])).unwrap();
    assert_eq!(shown["valid"], true);
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    let output = cli.run_as(None, &["--json", "--jwks", keys, "token", "inspect", &forged]);
    assert_eq!(output.status.code(), Some(3));
    let shown: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["valid"], false, "{shown}");
    // The token also in a file; and for whom it is.
    assert!(cli.outcome(&given, &["query", "acme", "film"]).0 == 0);
    let (exit, stderr) = cli.outcome(&token, &["--audience", "other", "query", "acme", "film"]);
    assert!(exit == 3 && stderr.contains("another audience"), "{stderr}");
    let (exit, stderr) = cli.outcome(&token, &["--issuer", "other", "query", "acme", "film"]);
    assert!(exit == 3 && stderr.contains("another issuer"), "{stderr}");
}

#[test]
fn words_that_make_no_sense_are_refused() {
    let cli = Cli::new();
    let key = cli.path("key.pem");
    let key = key.to_str().unwrap();
    let issue = |arguments: &[&str]| {
        let output = cli.run_as(None, &[&["token", "issue", "ann", "--key", key], arguments].concat());
        assert!(output.stdout.is_empty());
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for (arguments, exit, word) in [
        (&["--tenant", "nobody"][..], 4, "20010"),
        (&["--tenant", "acme", "--role", "king"], 2, "--action"),
        (&["--tenant", "acme", "--role", "king", "--action", "rule"], 3, "rule"),
        (&["--tenant", "acme", "--policy", "film"], 2, "TYPE=CEL"),
        (&["--tenant", "acme", "--policy", "film=director == 1"], 3, "20123"),
        (&["--tenant", "acme", "--policy", "flim=true"], 3, "20123"),
        (&["--tenant", "acme", "--write-policy", "film=true"], 2, "--policy"),
        (&["--tenant", "acme", "--claim", "a=x"], 3, "20070"),
        (&["--tenant", "acme", "--lifetime", "forever"], 2, "8h"),
        (&["--tenant", "acme", "--lifetime", "0s"], 2, "8h"),
        (&["--tenant", "acme", "--lifetime", "367d"], 2, "8h"),
        (&[], 2, "--tenant"),
    ] {
        let (found, stderr) = issue(arguments);
        assert!(found == exit && stderr.contains(word), "{arguments:?}: {found} {stderr}");
    }
    // A key is never written over, and is nobody's else.
    let again = cli.run_as(None, &["token", "keygen", "--key", key, "--add-to", key]);
    assert_eq!(again.status.code(), Some(3), "a secret key is no set of public ones");
    let set = cli.path("other.json");
    let again = cli.run_as(None, &["token", "keygen", "--key", key, "--add-to", set.to_str().unwrap()]);
    assert!(again.status.code() == Some(1) && !set.exists());
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(key).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    let without_keys = cli.run_as(None, &["--token", "a.b.c", "query", "acme", "film"]);
    assert_eq!(without_keys.status.code(), Some(2));
    let output = cli.run_as(Some("nonsense"), &["query", "acme", "film"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(!String::from_utf8(output.stderr).unwrap().contains("nonsense"), "a token is not printed");
}
