//! Changes under conditions, and tables with blank cells.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test")]

mod common;

use std::process::Output;

use assert_cmd::Command;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

const SCHEMA: &str = r#"
name = "films"
[types.film]
primary_key = ["title"]
fields = { title = "string", genre = { type = "string", optional = true }, rating = { type = "float", optional = true } }
"#;

struct Cli {
    directory: TempDir,
}

impl Cli {
    fn new() -> Cli {
        let cli = Cli { directory: tempfile::tempdir().unwrap() };
        let schema = cli.directory.path().join("films.toml");
        std::fs::write(&schema, SCHEMA).unwrap();
        cli.ok(&["schema", "apply", schema.to_str().unwrap()]);
        cli.ok(&["tenant", "create", "acme", "--schema", "films"]);
        cli
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let url = common::url(&self.directory.path().join("db"));
        let mut command = Command::cargo_bin("tenantry").unwrap();
        command.env("TENANTRY_DB", url).env("NO_COLOR", "1").args(arguments).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Json {
        serde_json::from_str(&self.ok(&[&["--json"], arguments].concat())).unwrap()
    }

    /// The exit code and the tag of the error.
    fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(&[&["--json"], arguments].concat());
        let document: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let tag = document["error"]["tag"].as_str().unwrap_or_default();
        (output.status.code().unwrap(), tag.to_owned())
    }
}

#[test]
fn a_merge_patch_may_have_a_condition() {
    let cli = Cli::new();
    let failed = (3, "ConditionFailed".to_owned());
    fn merge<'a>(condition: &[&'a str]) -> Vec<&'a str> {
        let patch = r#"{"title":"Heat","rating":8.2}"#;
        [&["put", "acme", "film", patch, "--merge"], condition].concat()
    }
    assert_eq!(cli.refused(&merge(&["--if", "true"])), (4, "RecordNotFound".to_owned()));
    cli.ok(&["put", "acme", "film", r#"{"title":"Heat","genre":"Drama"}"#]);
    let stored = cli.json(&["get", "acme", "film", "Heat"]);
    assert_eq!(cli.refused(&merge(&["--if", "rating != null"])), failed);
    assert_eq!(cli.refused(&merge(&["--if", "genre =="])), (3, "ExpressionInvalid".to_owned()));
    assert_eq!(cli.json(&["get", "acme", "film", "Heat"]), stored);
    let version = stored["version"].as_str().unwrap();
    cli.ok(&merge(&["--if-version", version]));
    assert_eq!(cli.refused(&merge(&["--if-version", version])), failed);
    cli.ok(&merge(&["--if", "genre == \"Drama\" && rating == 8.2"]));
    let found = cli.json(&["get", "acme", "film", "Heat"]);
    assert_eq!(found["record"], json!({ "title": "Heat", "genre": "Drama", "rating": 8.2 }));
    // These are about the whole record.
    for word in ["--insert", "--replace-only"] {
        assert_eq!(cli.refused(&merge(&[word])).0, 2);
    }
}

#[test]
fn a_blank_first_cell_keeps_its_column() {
    let cli = Cli::new();
    for (title, genre, rating) in
        [("A", "null", "5.0"), ("B", "\"Drama\"", "null"), ("C", "\"Drama\"", "7.5")]
    {
        cli.ok(&[
            "put",
            "acme",
            "film",
            &format!(r#"{{"title":"{title}","genre":{genre},"rating":{rating}}}"#),
        ]);
    }
    let text = cli.ok(&["aggregate", "acme", "film", "count", "max:rating", "--group-by", "genre"]);
    let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["GENRE  COUNT  MAX:RATING", "       1      5.0", "Drama  2      7.5"]);
    let above = |value| ["aggregate", "acme", "film", "--where", "rating > param.least", "--param", value];
    assert!(cli.ok(&above("least=6")).starts_with("COUNT\n1\n"));
    assert!(cli.ok(&above("least=5")).starts_with("COUNT\n1\n"));
    assert!(cli.ok(&above("least=4.5")).starts_with("COUNT\n2\n"));
    assert_eq!(cli.refused(&above("least")).0, 2);
    assert_eq!(cli.refused(&above("most=1")), (3, "ParameterInvalid".to_owned()));
}
