//! The binary as its users call it: what it prints, where, and its exit codes.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

struct Cli {
    directory: TempDir,
}

impl Cli {
    fn new() -> Cli {
        Cli { directory: tempfile::tempdir().unwrap() }
    }

    /// With the film schema and a tenant.
    fn with_films() -> Cli {
        let cli = Cli::new();
        cli.ok(&["schema", "apply", data("films.toml").to_str().unwrap()]);
        cli.ok(&["tenant", "create", "acme", "--schema", "films"]);
        cli
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), contents).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::cargo_bin("tenantry").unwrap();
        let url = common::url(&self.path("db"));
        command.env("TENANTRY_DB", url).env("NO_COLOR", "1").args(arguments).output().unwrap()
    }

    fn exit(&self, arguments: &[&str]) -> i32 {
        let output = self.run(arguments);
        let code = output.status.code().unwrap();
        assert!(code == 0 || code == 5 || !output.stderr.is_empty(), "{arguments:?} failed without a word");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{arguments:?}");
        code
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The one document that a command prints with --json.
    fn json(&self, arguments: &[&str]) -> Json {
        let text = self.ok(&[&["--json"], arguments].concat());
        serde_json::from_str(&text).unwrap_or_else(|_| unreachable!("{arguments:?} printed {text}"))
    }

    /// The tag of the error that a command ends with.
    fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(&[&["--json"], arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let document: Json =
            serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_default();
        let tag = document["error"]["tag"].as_str().unwrap_or_default().to_owned();
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{arguments:?}");
        (output.status.code().unwrap(), tag)
    }
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

fn refused(code: i32, tag: &str) -> (i32, String) {
    (code, tag.to_owned())
}

const HEAT: &str = r#"{"title":"Heat","released":"1995-12-15","genre":"Drama","imdb_rating":8.2}"#;

#[test]
fn the_demo_shows_what_it_says() {
    let cli = Cli::new();
    let document = cli.json(&["demo"]);
    assert_eq!((&document["rows_read"], &document["tenants"]), (&json!(3201), &json!(175)));
    let count = |name: &str| document[name].as_u64().unwrap();
    assert_eq!(count("rows_imported") + count("rows_rejected"), 3201);
    assert_eq!(document["rejections"].as_array().unwrap().len() as u64, count("rows_rejected"));
    assert!(document["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(document["queries"][0]["index"], "by_imdb_rating");
    assert_eq!(
        (&document["isolated"], &document["conflict"]["votes"], &document["conflict"]["attempts"]),
        (&json!(true), &json!(11), &json!(2))
    );
    assert_eq!(document["restart"], json!({ "tenants": 175, "votes": 11, "views": 1 }));
    let text = cli.ok(&["demo"]);
    assert!(text.contains("3,201 rows read") && text.contains("its watch fired"), "{text}");
    assert!(!cli.path("db").exists());
}

#[test]
fn records_are_written_read_and_deleted() {
    let cli = Cli::with_films();
    cli.ok(&["put", "acme", "film", HEAT, "--insert"]);
    assert_eq!(cli.refused(&["put", "acme", "film", HEAT, "--insert"]), refused(3, "RecordExists"));
    let key = r#"["Heat","1995-12-15"]"#;
    let found = cli.json(&["get", "acme", "film", key]);
    assert_eq!(found["record"]["imdb_rating"], json!(8.2));
    let version = found["version"].as_str().unwrap();
    cli.ok(&["put", "acme", "film", HEAT, "--if-version", version]);
    assert_eq!(
        cli.refused(&["put", "acme", "film", HEAT, "--if-version", version]),
        refused(3, "ConditionFailed")
    );
    assert!(cli.ok(&["get", "acme", "film", key]).contains("imdb_rating"));
    cli.ok(&["delete", "acme", "film", key]);
    assert_eq!(cli.refused(&["delete", "acme", "film", key]), refused(4, "NotFound"));
    assert_eq!(cli.refused(&["get", "acme", "film", key]), refused(4, "NotFound"));
}

#[test]
fn records_are_changed_under_conditions() {
    let cli = Cli::with_films();
    let key = r#"["Heat","1995-12-15"]"#;
    let put = |arguments: &[&str]| cli.refused(&[&["put", "acme", "film"], arguments].concat());
    assert_eq!(put(&[HEAT, "--replace-only"]), refused(4, "RecordNotFound"));
    let patch = r#"{"title":"Heat","released":"1995-12-15","imdb_rating":null,"genre":"Comedy"}"#;
    assert_eq!(put(&[patch, "--merge"]), refused(4, "RecordNotFound"));
    cli.ok(&["put", "acme", "film", HEAT]);
    cli.ok(&["put", "acme", "film", HEAT, "--replace-only"]);
    cli.ok(&["put", "acme", "film", patch, "--merge"]);
    let found = cli.json(&["get", "acme", "film", key]);
    assert_eq!(found["record"], json!({ "title": "Heat", "released": "1995-12-15", "genre": "Comedy" }));
    assert_eq!(put(&[r#"{"title":"Heat","genre":"Drama"}"#, "--merge"]), refused(2, "Usage"));
    assert_eq!(put(&["[]", "--merge"]), refused(2, "Usage"));
    assert_eq!(put(&[HEAT, "--if", "genre == \"Drama\""]), refused(3, "ConditionFailed"));
    assert_eq!(put(&[HEAT, "--if", "genre =="]), refused(3, "ExpressionInvalid"));
    assert_eq!(put(&[HEAT, "--if", "true", "--insert"]), refused(2, "Usage"));
    cli.ok(&["put", "acme", "film", HEAT, "--if", "genre == \"Comedy\""]);
    let other = r#"["Ran","1985-06-01"]"#;
    cli.ok(&["put", "acme", "film", r#"{"title":"Ran","released":"1985-06-01"}"#]);
    let both = cli.json(&["get", "acme", "film", other, key]);
    assert_eq!(both["records"][0]["record"]["title"], "Ran");
    assert!(both["records"][1]["version"].is_string());
    let absent = r#"["None","1985-06-01"]"#;
    let output = cli.run(&["--json", "get", "acme", "film", absent, key]);
    let document: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &document["records"][0]), (Some(4), &Json::Null));
    assert_eq!(document["records"][1]["record"]["title"], "Heat");
    assert!(cli.ok(&["get", "acme", "film", other, key]).contains("Ran"));
    let version = found["version"].as_str().unwrap();
    let delete = |arguments: &[&str]| cli.refused(&[&["delete", "acme", "film", key], arguments].concat());
    assert_eq!(delete(&["--if-version", version]), refused(3, "ConditionFailed"));
    assert_eq!(delete(&["--if", "genre == \"Comedy\""]), refused(3, "ConditionFailed"));
    let version = cli.json(&["get", "acme", "film", key])["version"].as_str().unwrap().to_owned();
    cli.ok(&["delete", "acme", "film", key, "--if-version", &version]);
    assert_eq!(delete(&["--if-version", &version]), refused(4, "RecordNotFound"));
}

#[test]
fn positions_are_printed() {
    let cli = Cli::new();
    let schema = r#"
        name = "games"
        [types.score]
        primary_key = ["id"]
        fields = { id = "int", room = "string", points = { type = "int", optional = true } }
        indexes.board = { kind = "rank", group = ["room"], fields = ["points:desc"] }
        indexes.by_room = { fields = ["room"] }
    "#;
    cli.ok(&["schema", "apply", &cli.file("games.toml", schema)]);
    cli.ok(&["tenant", "create", "acme", "--schema", "games"]);
    for (id, room, points) in [(1, "blue", "7"), (2, "blue", "900"), (3, "red", "5"), (4, "blue", "null")] {
        let record = format!(r#"{{"id":{id},"room":"{room}","points":{points}}}"#);
        cli.ok(&["put", "acme", "score", &record]);
    }
    let rank = |arguments: &[&str]| cli.json(&[&["rank", "acme", "score", "board"], arguments].concat());
    assert_eq!(rank(&["--of", "1"]), json!({ "rank": 1 }));
    assert_eq!(rank(&["--of", "4"]), json!({ "rank": 2 }));
    assert_eq!(rank(&["--group", r#"["blue"]"#, "--value", "[8]"]), json!({ "rank": 1 }));
    assert_eq!(rank(&["--group", r#"["blue"]"#, "--value", "[null]"]), json!({ "rank": 2 }));
    let found = rank(&["--group", r#"["blue"]"#, "--at", "1", "--limit", "5"]);
    let ids: Vec<&Json> = found["records"].as_array().unwrap().iter().map(|record| &record["id"]).collect();
    assert_eq!((ids, &found["from"]), (vec![&json!(1), &json!(4)], &json!(1)));
    assert_eq!(rank(&["--group", r#"["blue"]"#, "--at", "3"])["records"], json!([]));
    assert!(
        cli.ok(&["rank", "acme", "score", "board", "--group", r#"["red"]"#, "--at", "0"]).contains("red")
    );
    let refused_by = |index: &str, arguments: &[&str]| {
        cli.refused(&[&["rank", "acme", "score", index], arguments].concat())
    };
    assert_eq!(refused_by("board", &["--of", "9"]), refused(4, "NotFound"));
    assert_eq!(refused_by("by_room", &["--of", "1"]), refused(3, "QueryInvalid"));
    assert_eq!(refused_by("board", &["--at", "0"]), refused(3, "KeyInvalid"));
    assert_eq!(refused_by("board", &["--at", "0", "--group", "blue"]).0, 3);
    assert_eq!(refused_by("board", &["--at", "0", "--group", "{}"]), refused(2, "Usage"));
    assert_eq!(refused_by("board", &["--of", "1", "--at", "0"]).0, 2);
    assert_eq!(refused_by("board", &[]).0, 2);
}

#[test]
fn records_are_deleted_by_query() {
    let cli = Cli::with_films();
    for title in ["A", "B", "C", "D"] {
        cli.ok(&["put", "acme", "film", &format!(r#"{{"title":"{title}","released":"2000-01-01"}}"#)]);
    }
    fn delete<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
        [&["delete", "acme", "film"], arguments].concat()
    }
    let filter = ["--where", "title >= \"B\""];
    let counted = cli.json(&delete(&[&filter[..], &["--dry-run"]].concat()));
    assert_eq!(counted, json!({ "would_delete": { "type": "film", "count": 3 } }));
    let first = cli.json(&delete(&[&filter[..], &["--limit", "1"]].concat()));
    assert_eq!(first["deleted"]["count"], 1);
    let token = first["next"].as_str().unwrap();
    let rest = cli.json(&delete(&[&filter[..], &["--after", token]].concat()));
    assert_eq!((&rest["deleted"]["count"], &rest["next"]), (&json!(2), &Json::Null));
    assert_eq!(cli.refused(&delete(&["--where", "title =="])), refused(3, "ExpressionInvalid"));
    for words in [
        &[][..],
        &["k", "--where", "true"],
        &["k", "--dry-run"],
        &["k", "--limit", "1"],
        &["--where", "true", "--limit", "0"],
    ] {
        assert_eq!(cli.refused(&delete(words)), refused(2, "Usage"), "{words:?}");
    }
    assert!(cli.ok(&delete(&["--where", "true"])).contains("1 records of film deleted"));
}

#[test]
fn queries_page_and_explain() {
    let cli = Cli::with_films();
    for (title, rating) in [("A", "1.5"), ("B", "7.5"), ("C", "8.5"), ("D", "9.5")] {
        cli.ok(&[
            "put",
            "acme",
            "film",
            &format!(r#"{{"title":"{title}","released":"2000-01-01","imdb_rating":{rating}}}"#),
        ]);
    }
    let query = [
        "query",
        "acme",
        "film",
        "--where",
        "imdb_rating > 2.0",
        "--order",
        "imdb_rating:desc",
        "--limit",
        "2",
        "--explain",
    ];
    let page = cli.json(&query);
    let titles = |page: &Json| {
        page["records"].as_array().unwrap().iter().map(|record| record["title"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(titles(&page), [json!("D"), json!("C")]);
    assert_eq!(page["explanation"]["index"], "by_imdb_rating");
    let token = page["next"].as_str().unwrap();
    let next = cli.json(&[&query[..], &["--after", token]].concat());
    assert_eq!((titles(&next), &next["next"]), (vec![json!("B")], &Json::Null));
    assert_eq!(cli.refused(&["query", "acme", "film", "--after", token]), refused(3, "TokenOfAnotherQuery"));
    let mut bytes = token.to_owned().into_bytes();
    bytes[30] = if bytes[30] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(bytes).unwrap();
    assert_eq!(cli.refused(&[&query[..], &["--after", &flipped]].concat()), refused(3, "TokenDamaged"));
    cli.ok(&["tenant", "create", "other", "--schema", "films"]);
    let elsewhere = [&["query", "other"], &query[2..], &["--after", token]].concat();
    assert_eq!(cli.refused(&elsewhere), refused(3, "TokenOfAnotherTenant"));
    let text = cli.ok(&query);
    assert!(text.starts_with("TITLE") && text.contains("index by_imdb_rating"), "{text}");
    assert_eq!(cli.exit(&["query", "acme", "film", "--order", "title:up"]), 2);
    assert_eq!(
        cli.refused(&["query", "acme", "film", "--where", "title =="]),
        refused(3, "ExpressionInvalid")
    );
    let with = |filter: &str, parameters: &[&str]| {
        let parameters = parameters.iter().flat_map(|parameter| ["--param", *parameter]);
        ["query", "acme", "film", "--where", filter]
            .into_iter()
            .chain(parameters)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let given = |filter: &str, parameters: &[&str]| {
        let arguments = with(filter, parameters);
        titles(&cli.json(&arguments.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let refusal = |filter: &str, parameters: &[&str]| {
        let arguments = with(filter, parameters);
        cli.refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(given("imdb_rating > param.least", &["least=8.5"]), [json!("D")]);
    assert_eq!(given("title in param.titles", &[r#"titles=["A","D"]"#]), [json!("A"), json!("D")]);
    let day = "released == date(param.day) && title == param.title";
    assert_eq!(given(day, &[r#"day="2000-01-01""#, r#"title="A""#]), [json!("A")]);
    // A value is never read as CEL.
    assert_eq!(given("title == param.title", &[r#"title="A\" || true || \"""#]), [] as [Json; 0]);
    for (filter, parameters) in [
        ("title == param.title", &[][..]),
        ("title == param.title", &[r#"title="A""#, "other=1"]),
        ("title == param.title", &["title=null"]),
        ("title == param.title", &["title={}"]),
        ("title in param.title", &["title=[[1]]"]),
        ("imdb_rating == param.title", &["title=1e999"]),
    ] {
        assert_eq!(refusal(filter, parameters), refused(3, "ParameterInvalid"), "{filter} {parameters:?}");
    }
    for parameter in ["title", "title=A", "title=1,title=1"] {
        let arguments = with("title == param.title", &parameter.split(',').collect::<Vec<_>>());
        assert_eq!(cli.exit(&arguments.iter().map(String::as_str).collect::<Vec<_>>()), 2, "{parameter}");
    }
    assert_eq!(cli.exit(&["query", "acme", "film", "--param", "a=1"]), 2);
    let deep = "(".repeat(5_000);
    assert_eq!(cli.refused(&["query", "acme", "film", "--where", &deep]), refused(3, "LimitPassed"));
}

#[test]
fn an_import_accounts_for_every_row() {
    let cli = Cli::with_films();
    let mapping = data("films_import.toml");
    let films = data("movies.json");
    let arguments = [
        "--json",
        "import",
        "--tenant-field",
        "Distributor",
        "--mapping",
        mapping.to_str().unwrap(),
        "film",
        films.to_str().unwrap(),
    ];
    let output = cli.run(&arguments);
    assert_eq!(output.status.code(), Some(5));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, rejections) = lines.split_last().unwrap();
    assert_eq!((&summary["rows_read"], &summary["tenants"]), (&json!(3201), &json!(175)));
    assert_eq!(summary["rows_rejected"], json!(rejections.len()));
    assert_eq!(summary["rows_imported"], json!(3201 - rejections.len()));
    assert!(
        rejections.iter().all(|rejection| rejection["line"].as_u64() > Some(1)
            && !rejection["reason"].as_str().unwrap().is_empty())
    );
    assert!(rejections.windows(2).all(|pair| pair[0]["line"].as_u64() <= pair[1]["line"].as_u64()));
    // The same again: every row is there already.
    let again = cli.run(&arguments);
    let text = String::from_utf8(again.stdout).unwrap();
    let summary: Json = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["rows_imported"], &summary["tenants_created"]), (&json!(0), &json!(0)));
    let replaced = cli.run(&[&arguments[..], &["--replace"]].concat());
    let text = String::from_utf8(replaced.stdout).unwrap();
    let summary: Json = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(summary["rows_imported"], json!(3201 - rejections.len()));
    // And what the import says is there is there.
    let mut total = 0;
    for tenant in cli.json(&["tenant", "list"])["tenants"].as_array().unwrap() {
        let name = tenant["name"].as_str().unwrap();
        if ["Universal", "(no distributor)", "acme"].contains(&name) {
            total +=
                cli.json(&["query", name, "film", "--limit", "10000"])["records"].as_array().unwrap().len();
        }
    }
    assert!(total > 400, "{total}");
}

#[test]
fn rows_of_every_kind_are_read_or_told() {
    let cli = Cli::with_films();
    let import = |name: &str, contents: &[u8]| {
        let path = cli.file(name, contents);
        let output = cli.run(&["--json", "import", "acme", "film", &path]);
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (output.status.code().unwrap(), lines)
    };
    let (code, lines) = import(
        "a.csv",
        b"title,released,imdb_rating\nA,2000-01-01,7.5\nB,2000-01-01,\nC,yesterday,1\nD,2000-01-01,high\n",
    );
    assert_eq!(code, 5);
    assert_eq!(
        (&lines[0]["line"], &lines[1]["line"], &lines[2]["rows_imported"]),
        (&json!(4), &json!(5), &json!(2))
    );
    let (code, lines) = import("b.jsonl", b"{\"title\":\"E\",\"released\":\"2000-01-01\"}\nnope\n{\"title\":1,\"released\":\"2000-01-01\"}\n{\"name\":1}\n");
    assert_eq!((code, lines.len()), (5, 4));
    assert_eq!(
        lines.iter().map(|line| line["tag"].as_str().unwrap_or_default()).collect::<Vec<_>>(),
        ["JsonInvalid", "RecordInvalid", "ImportRowInvalid", ""]
    );
    let (code, _) = import("c.json", b"[{\"title\":\"F\",\"released\":\"2000-01-01\"}]");
    assert_eq!(code, 0);
    // A line of a hundred megabytes between two good ones.
    let mut long = b"{\"title\":\"G\",\"released\":\"2000-01-01\"}\n".to_vec();
    long.extend(std::iter::repeat_n(b'x', 100_000_000));
    long.extend(b"\n{\"title\":\"H\",\"released\":\"2000-01-01\"}\n");
    let (code, lines) = import("d.jsonl", &long);
    assert_eq!((code, &lines[0]["tag"], &lines[1]["rows_imported"]), (5, &json!("LimitPassed"), &json!(2)));
    let deep = format!("{}\n", "[".repeat(100_000));
    let (code, lines) = import("e.jsonl", deep.as_bytes());
    assert_eq!((code, &lines[0]["tag"]), (5, &json!("JsonInvalid")));
    assert_eq!(cli.exit(&["import", "acme", "film", "rows.xml"]), 2);
    assert_eq!(cli.exit(&["import", "acme", "film", "missing.json"]), 1);
    assert_eq!(cli.exit(&["import", "acme"]), 2);
    assert_eq!(cli.exit(&["import", "film", &cli.file("f.csv", "title\nx\n")]), 2);
    let mapping = cli.file("m.toml", "[fields]\ntitle = { from = 'T', speed = 1 }\n");
    assert_eq!(
        cli.refused(&["import", "--mapping", &mapping, "acme", "film", &cli.file("g.csv", "T\n")]),
        refused(3, "ImportMappingInvalid")
    );
}

#[test]
fn tenants_have_names_that_can_be_told_apart() {
    let cli = Cli::with_films();
    for name in ["Sony/TriStar", "東京", "a..b", "-dash"] {
        cli.ok(&["tenant", "create", "--schema", "films", "--", name]);
        cli.ok(&["tenant", "show", "--", name]);
    }
    let long = "x".repeat(10_000);
    for name in ["", "..", " a", "a\nb", "a\u{200b}", "e\u{301}", &long] {
        assert_eq!(
            cli.refused(&["tenant", "create", name, "--schema", "films"]),
            refused(3, "TenantNameInvalid"),
            "{name:?}"
        );
        assert_eq!(cli.exit(&["tenant", "show", name]), 4);
    }
    assert_eq!(cli.refused(&["tenant", "create", "acme", "--schema", "films"]), refused(3, "TenantExists"));
    assert_eq!(cli.refused(&["tenant", "create", "new", "--schema", "none"]), refused(4, "SchemaNotFound"));
    let before = cli.json(&["tenant", "show", "acme"])["id"].as_u64().unwrap();
    cli.ok(&["tenant", "delete", "acme"]);
    assert_eq!(cli.refused(&["tenant", "delete", "acme"]), refused(4, "TenantNotFound"));
    cli.ok(&["tenant", "create", "acme", "--schema", "films"]);
    assert!(cli.json(&["tenant", "show", "acme"])["id"].as_u64().unwrap() > before);
    let first = cli.json(&["tenant", "list", "--limit", "2"]);
    let second = cli.json(&["tenant", "list", "--after", first["after"].as_str().unwrap()]);
    assert_eq!(first["tenants"].as_array().unwrap().len() + second["tenants"].as_array().unwrap().len(), 5);
}

#[test]
fn schemas_are_refused_by_what_is_wrong_with_them() {
    let cli = Cli::new();
    let apply = |name: &str, contents: &str| cli.refused(&["schema", "apply", &cli.file(name, contents)]);
    assert_eq!(apply("a.toml", "name = "), refused(3, "SchemaInvalid"));
    assert_eq!(apply("a.toml", &"[".repeat(100_000)), refused(3, "SchemaInvalid"));
    assert_eq!(apply("a.json", &"[".repeat(100_000)), refused(3, "SchemaInvalid"));
    assert_eq!(apply("a.json", "{}"), refused(3, "SchemaInvalid"));
    assert_eq!(apply("a.yaml", ""), refused(2, "Usage"));
    assert_eq!(apply("big.toml", &" ".repeat(2_000_000)), refused(1, "FileUnusable"));
    assert_eq!(cli.exit(&["schema", "apply", "none.toml"]), 1);
    assert_eq!(cli.refused(&["schema", "list"]), refused(4, "NotFound"));
    cli.ok(&["schema", "apply", data("films.toml").to_str().unwrap()]);
    assert_eq!(cli.json(&["schema", "apply", data("films.toml").to_str().unwrap()])["created"], json!(false));
    assert_eq!(cli.json(&["schema", "list"]), json!({ "schemas": ["films"] }));
    let shown = cli.json(&["schema", "show", "films"]);
    // What is shown can be applied elsewhere.
    let elsewhere = Cli::new();
    elsewhere.ok(&["schema", "apply", &elsewhere.file("films.json", shown["definition"].to_string())]);
    let other =
        "name = \"films\"\n[types.film]\nprimary_key = [\"title\"]\nfields = { title = \"string\" }\n";
    assert_eq!(apply("b.toml", other), refused(3, "SchemaDiffers"));
    assert_eq!(cli.refused(&["schema", "show", "none"]), refused(4, "SchemaNotFound"));
}

#[test]
fn raw_keys_hold_any_bytes() {
    let cli = Cli::with_films();
    cli.ok(&["kv", "acme", "set", "a\\x00\\xff", "-1 é\\\\"]);
    cli.ok(&["kv", "acme", "set", "", "empty key"]);
    assert_eq!(cli.ok(&["kv", "acme", "get", "a\\x00\\xff"]), "-1 é\\\\\n");
    assert_eq!(cli.json(&["kv", "acme", "range"])["rows"].as_array().unwrap().len(), 2);
    assert_eq!(
        cli.json(&["kv", "acme", "range", "--prefix", "a"])["rows"],
        json!([{ "key": "a\\x00\\xff", "value": "-1 é\\\\" }])
    );
    assert_eq!(cli.exit(&["kv", "acme", "range", "--begin", "b", "--end", "a"]), 3);
    cli.ok(&["kv", "acme", "clear", "a\\x00\\xff"]);
    assert_eq!(cli.exit(&["kv", "acme", "get", "a\\x00\\xff"]), 4);
    assert_eq!(cli.exit(&["kv", "acme", "get", "\\q"]), 2);
    let long = "k".repeat(10_001);
    assert_eq!(cli.refused(&["kv", "acme", "set", &long, "v"]), refused(3, "LimitPassed"));
    cli.ok(&["tenant", "create", "other", "--schema", "films"]);
    assert_eq!(cli.json(&["kv", "other", "range"])["rows"], json!([]));
}

#[test]
fn hostile_records_are_refused_by_name() {
    let cli = Cli::with_films();
    let put = |json: &str| cli.refused(&["put", "acme", "film", json]);
    assert_eq!(put(&"[".repeat(100_000)), refused(3, "JsonInvalid"));
    assert_eq!(put("{\"title\":\"a\",\"title\":\"b\"}"), refused(3, "JsonInvalid"));
    assert_eq!(put("7"), refused(3, "RecordInvalid"));
    assert_eq!(put("{\"title\":\"a\"}"), refused(3, "RecordInvalid"));
    assert_eq!(
        put(&format!("{{\"title\":\"{}\",\"released\":\"2000-01-01\"}}", "x".repeat(5_000))),
        refused(3, "LimitPassed")
    );
    assert_eq!(cli.refused(&["put", "acme", "none", "{}"]), refused(4, "TypeNotFound"));
    assert_eq!(cli.refused(&["put", "none", "film", "{}"]), refused(4, "TenantNotFound"));
    assert_eq!(cli.refused(&["get", "acme", "film", "Heat"]), refused(3, "KeyInvalid"));
}

/// Programs get each rule that a record breaks, from a put and from an import; and the key that a default made.
#[test]
fn broken_rules_are_listed() {
    let cli = Cli::new();
    let schema = r#"
name = "staff"
[types.person]
primary_key = ["id"]
fields.id = { type = "uuid", default = { uuid = true } }
fields.age = { type = "int", min = 18 }
fields.login = { type = "string", pattern = "[a-z]+" }
fields.nick = { type = "string", optional = true, default = "anon" }
"#;
    cli.ok(&["schema", "apply", &cli.file("staff.toml", schema)]);
    cli.ok(&["tenant", "create", "acme", "--schema", "staff"]);
    let put = cli.json(&["put", "acme", "person", r#"{"age":18,"login":"ann"}"#]);
    let key = put["put"]["key"][0].as_str().unwrap();
    let found = cli.json(&["get", "acme", "person", key]);
    assert_eq!((&found["record"]["login"], &found["record"]["nick"]), (&json!("ann"), &json!("anon")));
    let output = cli.run(&["--json", "put", "acme", "person", r#"{"age":17,"login":"Ann"}"#]);
    assert_eq!(output.status.code(), Some(3));
    let document: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["error"]["tag"], json!("ConstraintViolated"));
    let violations = document["error"]["violations"].as_array().unwrap();
    let brief = |one: &Json| {
        [&one["type"], &one["field"], &one["rule"], &one["limit"]]
            .map(|word| word.as_str().unwrap().to_owned())
    };
    let found: Vec<[String; 4]> = violations.iter().map(brief).collect();
    assert_eq!(found, [["person", "age", "min", "18"], ["person", "login", "pattern", "[a-z]+"]]);
    assert!(violations.iter().all(|one| !one["detail"].as_str().unwrap().is_empty()));
    let rows = cli.file(
        "rows.jsonl",
        "{\"age\":17,\"login\":\"bob\"}\n{\"age\":20,\"login\":\"cleo\",\"nick\":null}\n{\"age\":\"x\",\"login\":\"D\"}\n",
    );
    let output = cli.run(&["--json", "import", "acme", "person", &rows]);
    assert_eq!(output.status.code(), Some(5));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rules = |line: &Json| {
        let violations = line["violations"].as_array().unwrap();
        violations.iter().map(|one| one["rule"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lines.len(), 3);
    assert_eq!(
        (rules(&lines[0]), rules(&lines[1])),
        (vec!["min".to_owned()], vec!["type".to_owned(), "pattern".to_owned()])
    );
    let page = cli.json(&["query", "acme", "person", "--where", "login == \"cleo\""]);
    assert_eq!(page["records"][0].get("nick"), None);
    assert_eq!(cli.json(&["query", "acme", "person"])["records"].as_array().unwrap().len(), 2);
}

#[test]
fn a_database_is_named_by_its_url() {
    let cli = Cli::new();
    assert_eq!(cli.refused(&["--db", "postgres://x", "status"]), refused(3, "DatabaseUrl"));
    assert_eq!(cli.refused(&["status"]), refused(4, "NotFound"));
    assert_eq!(cli.exit(&["--db", "memory:", "status"]), 0);
    assert_eq!(cli.exit(&["nonsense"]), 2);
    assert_eq!(cli.exit(&["--version"]), 0);
    cli.ok(&["schema", "apply", data("films.toml").to_str().unwrap()]);
    let status = cli.json(&["status"]);
    assert_eq!((&status["tenants"], &status["engine"]["durable"]), (&json!(0), &json!(true)));
    if common::is_cluster() {
        return;
    }
    assert!(cli.ok(&["status"]).contains("embedded, durable"));
    // Something else in the place of a database.
    let other = Cli::new();
    std::fs::create_dir(other.path("db")).unwrap();
    other.file("db/notes.txt", "mine");
    let (code, tag) = other.refused(&["schema", "list"]);
    assert_eq!((code, tag.as_str()), (1, "FormatUnsupported"));
    assert!(other.path("db/notes.txt").exists());
}

/// The README's commands once named a tenant that its import does not make, and files that are not there.
#[test]
fn the_commands_of_the_readme_work_as_they_stand() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let lines: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("tenantry ")).collect();
    assert!(lines.len() >= 7, "{lines:?}");
    let cli = Cli::new();
    let url = common::url(&cli.path("db"));
    for line in lines {
        // Words in single quotes are one, as in a shell.
        let words = line.split('\'').enumerate().flat_map(|(index, part)| match index % 2 {
            0 => part.split_whitespace().collect(),
            _ => vec![part],
        });
        let mut command = Command::cargo_bin("tenantry").unwrap();
        let output = command.current_dir(&root).env("TENANTRY_DB", &url).args(words).output().unwrap();
        let expected = if line.starts_with("import") { 5 } else { 0 };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{line}: {stderr}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        let found = match line.split_whitespace().next() {
            Some("query") => "Do the Right Thing",
            Some("get") => "The Sting",
            _ => "",
        };
        assert!(stdout.contains(found), "{line}: {stdout}");
    }
}

#[test]
fn durability_is_an_option_and_wrong_words_are_json_too() {
    let cli = Cli::with_films();
    cli.ok(&["--durability", "relaxed:50", "kv", "acme", "set", "a", "b"]);
    assert_eq!(cli.ok(&["--durability", "synced", "kv", "acme", "get", "a"]).trim(), "b");
    for wrong in ["relaxed", "relaxed:0", "relaxed:60001", "relaxed:-1", "never", ""] {
        assert_eq!(cli.refused(&["--durability", wrong, "status"]), refused(2, "Usage"), "{wrong}");
    }
    assert_eq!(cli.refused(&["nonsense"]), refused(2, "Usage"));
}

/// A database moves into another directory: refused while it can change, equal afterwards, and the new one is open.
#[test]
fn a_database_is_copied() {
    let cli = Cli::with_films();
    cli.ok(&["put", "acme", "film", r#"{"title": "Heat", "released": "1995-12-15"}"#]);
    let from = common::url(&cli.path("db"));
    let to = format!("file:{}", cli.path("moved").display());
    let copy = ["copy", "--from", &from, "--to", &to];
    assert_eq!(cli.exit(&copy), 3, "the source can change");
    let state = cli.json(&["database", "read-only", "--reason", "moving"]);
    assert_eq!(state["read_only"], json!(true));
    assert_eq!(cli.exit(&["put", "acme", "film", r#"{"title": "Ronin", "released": "1998-09-25"}"#]), 3);
    let copied = cli.json(&copy);
    assert!(copied["keys"].as_u64().unwrap() > 5);
    assert_eq!(copied["source_hash"], copied["target_hash"]);
    assert_eq!(cli.exit(&copy), 3, "the target is not empty");
    let found = cli.json(&["--db", &to, "query", "acme", "film"]);
    assert_eq!(found["records"].as_array().unwrap().len(), 1);
    cli.ok(&["--db", &to, "put", "acme", "film", r#"{"title": "Ronin", "released": "1998-09-25"}"#]);
    assert_eq!(cli.exit(&["copy", "--from", &format!("{from}-nowhere"), "--to", &to]), 4);
    cli.ok(&["database", "writable"]);
    cli.ok(&["put", "acme", "film", r#"{"title": "Ronin", "released": "1998-09-25"}"#]);
}

/// Every byte that changes in a table is told, with the file, whoever would have read it.
#[test]
fn a_scrub_names_what_is_damaged() {
    if common::is_cluster() {
        // A cluster has no files of ours.
        return;
    }
    let cli = Cli::with_films();
    assert_eq!(cli.refused(&["--db", "file:/nowhere", "database", "scrub"]), refused(4, "NotFound"));
    cli.ok(&["put", "acme", "film", r#"{"title": "Heat", "released": "1995-12-15"}"#]);
    assert!(cli.json(&["database", "scrub"])["keys"].as_u64().unwrap() > 5);
    assert!(cli.ok(&["database", "scrub"]).contains("every checksum holds"));
    let tables: Vec<PathBuf> = std::fs::read_dir(cli.path("db"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("table-"))
        .collect();
    assert!(!tables.is_empty());
    for table in tables {
        let whole = std::fs::read(&table).unwrap();
        let mut damaged = whole.clone();
        let middle = damaged.len() / 3;
        damaged[middle] ^= 1;
        std::fs::write(&table, damaged).unwrap();
        let output = cli.run(&["--json", "database", "scrub"]);
        assert_eq!(output.status.code(), Some(1));
        let error: Json = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(error["error"]["tag"], json!("StorageCorrupt"));
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(table.file_name().unwrap().to_str().unwrap()), "{message}");
        std::fs::write(&table, whole).unwrap();
    }
    cli.ok(&["database", "scrub"]);
}

/// Without FoundationDB's client library everything else works, and its URL says what to install and where it was looked for.
#[test]
fn a_cluster_without_a_client_library_is_refused_with_the_way_out() {
    let mut command = Command::cargo_bin("tenantry").unwrap();
    let output = command
        .env("TENANTRY_FDB_LIBRARY", "/nowhere/libfdb_c.so")
        .args(["--json", "--db", "fdb:/nowhere/fdb.cluster", "status"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(error["error"]["tag"], json!("ClientLibraryUnusable"));
    let text = error.to_string();
    assert!(text.contains("/nowhere/libfdb_c.so") && text.contains("foundationdb-clients"), "{text}");
}
