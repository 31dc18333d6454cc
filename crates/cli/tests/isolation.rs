//! `tenantry isolation`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test: it writes a schema file")]

use std::process::Output;

use assert_cmd::Command;
use serde_json::Value as Json;

fn run(arguments: &[&str]) -> Output {
    Command::cargo_bin("tenantry").unwrap().args(arguments).output().unwrap()
}

fn json(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_proof_and_a_scan_print_their_figures() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file:{}", folder.path().join("db").display());
    let prove = ["--db", &url, "--json", "isolation", "prove", "--operations", "400", "--tenants", "4"];
    let proven = run(&prove);
    let document = json(&proven);
    assert_eq!(proven.status.code(), Some(0), "{document}");
    assert_eq!(document["proven"], true);
    assert!(document["operations"].as_u64().unwrap() >= 400);
    assert_eq!(document["tenants"].as_array().unwrap().len(), 4);
    assert_eq!(document["attributed"]["wrong"], 0);
    assert_eq!(document["moved"]["tenants"], 4);

    // It was erased, and left what else there is alone.
    let schema = folder.path().join("schema.toml");
    std::fs::write(
        &schema,
        "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }\n",
    )
    .unwrap();
    assert!(run(&["--db", &url, "schema", "apply", schema.to_str().unwrap()]).status.success());
    assert!(run(&["--db", &url, "tenant", "create", "acme", "--schema", "s"]).status.success());
    assert!(run(&["--db", &url, "put", "acme", "note", "{\"id\": 1}"]).status.success());
    let scanned = json(&run(&["--db", &url, "--json", "isolation", "scan"]));
    assert_eq!((&scanned["wrong"], &scanned["tenants"]), (&0.into(), &1.into()), "{scanned}");
    let kinds = scanned["kinds"].as_array().unwrap();
    let records = kinds.iter().find(|kind| kind["kind"] == "records").unwrap();
    assert_eq!(records["keys"], 1);

    // A database with tenants is no place for a proof, and stays.
    let refused = run(&["--db", &url, "--json", "isolation", "prove", "--name", "main", "--operations", "1"]);
    assert_eq!(refused.status.code(), Some(3));
    assert_eq!(json(&refused)["error"]["tag"], "ProofNeedsEmptyDatabase");
    assert!(run(&["--db", &url, "get", "acme", "note", "1"]).status.success());
    let text = String::from_utf8(run(&["--db", &url, "isolation", "scan"]).stdout).unwrap();
    assert!(text.contains("0 are nobody's"), "{text}");
}
