//! The JSON Schema of the schema format takes every schema that the repository has, and refuses what the parser refuses.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test")]

mod common;
mod random;

use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::{Value as Json, json};
use tenantry_core::SchemaDefinition;

fn validator() -> Validator {
    let text = include_str!("../../../docs/schema-format.schema.json");
    let schema: Json = serde_json::from_str(text).unwrap();
    jsonschema::draft202012::meta::validate(&schema).unwrap_or_else(|error| panic!("{error}"));
    jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{error}"))
}

/// TOML as JSON, with its dates as strings.
fn json_of(toml: toml::Value) -> Json {
    match toml {
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(value) => json!(value),
        toml::Value::Datetime(date) => json!(date.to_string()),
        toml::Value::Array(elements) => elements.into_iter().map(json_of).collect(),
        toml::Value::Table(table) => {
            Json::Object(table.into_iter().map(|(name, value)| (name, json_of(value))).collect())
        }
    }
}

fn json_of_toml(text: &str) -> Json {
    json_of(toml::Value::Table(toml::from_str(text).unwrap_or_else(|error| panic!("{text}\n{error}"))))
}

fn assert_valid(validator: &Validator, schema: &Json, place: &str) {
    let errors: Vec<String> =
        validator.iter_errors(schema).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{place}: {errors:#?}\n{schema}");
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files(&path, found);
        } else if ["toml", "md", "rs"].iter().any(|ending| name.ends_with(&format!(".{ending}"))) {
            found.push(path);
        }
    }
}

/// What may be a schema in a file: all of it, the blocks of a page, the raw texts of a program, as code or in its documentation.
fn candidates(path: &Path, text: &str) -> Vec<String> {
    let between = |begin: &str, end: &str| -> Vec<String> {
        text.split(begin).skip(1).filter_map(|rest| rest.split(end).next()).map(str::to_owned).collect()
    };
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => vec![text.to_owned()],
        Some("md") => between("```toml\n", "```"),
        _ => {
            let bare = |line: &str| {
                let line = line.trim_start().trim_start_matches("//!").trim_start_matches("///").trim_start();
                line.strip_prefix("# ").unwrap_or(line).to_owned()
            };
            let texts = between("r#\"", "\"#");
            texts.iter().map(|text| text.lines().map(bare).collect::<Vec<_>>().join("\n")).collect()
        }
    }
}

#[test]
fn every_schema_of_the_repository_is_valid() {
    let validator = validator();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    paths.sort();
    let mut taken: Vec<String> = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        for candidate in candidates(&path, &text) {
            let is_schema = candidate.contains("primary_key") && candidate.contains("name = ");
            let Ok(schema) = SchemaDefinition::from_toml(&candidate) else {
                let is_page = is_schema && path.extension().is_some_and(|ending| ending == "md");
                assert!(!is_page, "{}: {candidate}", path.display());
                continue;
            };
            let place = path.strip_prefix(&root).unwrap().display().to_string();
            assert_valid(&validator, &json_of_toml(&candidate), &place);
            assert_valid(&validator, &schema.to_json(), &place);
            taken.push(place);
        }
    }
    for place in [
        "crates/cli/data/films.toml",
        "docs/schemas.md",
        "crates/core/tests/common/mod.rs",
        "crates/core/src/lib.rs",
    ] {
        assert!(taken.iter().any(|taken| taken == place), "no schema in {place}: {taken:?}");
    }
    assert!(taken.len() > 10, "{taken:?}");
}

#[test]
fn random_schemas_are_valid() {
    let validator = validator();
    for seed in 0..200 {
        let schema = random::schema(&random::rules(&mut random::Random::of(seed)));
        assert_valid(&validator, &schema, &format!("seed {seed}"));
        let defined = SchemaDefinition::from_json(&schema.to_string()).unwrap();
        assert_valid(&validator, &defined.to_json(), &format!("seed {seed}"));
    }
}

/// Every word in the place where it belongs.
#[test]
fn every_word_is_known() {
    let text = r#"
name = "all-words.v1"
[types.a]
id = 7
primary_key = ["k"]
[types.a.fields]
k = { type = "uuid", id = 3, default = { uuid = true } }
at = { type = "timestamp", default = { now = true }, min = 1970-01-01T00:00:00Z, max = "2100-01-01T00:00:00Z" }
n = { type = "int", optional = true, min = -1, max = 9, check = "value != 3", default = 0 }
f = { type = "float", min = 0.5, max = 1 }
d = { type = "decimal", min = "0.10", max = 3 }
day = { type = "date", min = 2000-01-01 }
s = { type = "string", min_length = 1, max_length = 3, pattern = "[a-z]+" }
b = { type = "bytes", max_length = 3 }
e = { type = "enum", values = { x = 1, "y z" = 2 }, default = "x" }
l = { type = "list", max_length = 2, of = { type = "list", of = { type = "string", pattern = "a*" } }, default = [] }
t = { type = "struct", optional = true, fields = { w = "int" }, check = "value.w > 0" }
o = { type = "list", of = "string" }
j = "json"
parent = { type = "uuid", optional = true }
[types.a.indexes]
one = { fields = ["s", "n:desc", { each = "o", missing = "last" }, { field = "lower(s)", order = "desc" }], where = "f > 0.6" }
two = { id = 9, fields = ["s"], unique = true, missing = "equal", covering = ["n"] }
three = { kind = "count", group = ["s"] }
four = { kind = "sum", group = ["s"], of = "n" }
five = { kind = "max", of = "n" }
six = { kind = "version" }
seven = { kind = "time_to_live", fields = ["at"], after_s = 60 }
eight = { kind = "text", group = ["n"], fields = [{ each = "o" }], language = "english", tokenizer_version = 1 }
by_parent = { fields = ["parent"] }
nine = { fields = ["s", { each = "o" }], hashed = true, unique = true, covering = ["n"], where = "n > 0" }
[types.a.checks]
c = "n == null || n < 9"
[types.a.references]
up = { fields = ["parent"], to = "a", on_delete = "set_null" }
"#;
    let schema = SchemaDefinition::from_toml(text).unwrap_or_else(|error| panic!("{error}"));
    assert_valid(&validator(), &json_of_toml(text), "as it is written");
    assert_valid(&validator(), &schema.to_json(), "as it is stored");
}

#[test]
fn what_the_parser_refuses_is_not_valid() {
    let validator = validator();
    let field = |field: &str| {
        format!("name = \"s\"\n[types.t]\nprimary_key = [\"id\"]\nfields = {{ id = \"int\", f = {field} }}")
    };
    let rest = |rest: &str| format!("{}\n[types.t.{rest}", field("\"int\""));
    let cases = [
        "types = {}".to_owned(),
        "name = \"s\"\ntypes = {}".to_owned(),
        "name = \"s s\"\n[types.t]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }".to_owned(),
        "name = \"s\"\nversion = 1\n[types.t]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }".to_owned(),
        "name = \"s\"\n[types.t]\nprimary_key = []\nfields = { id = \"int\" }".to_owned(),
        "name = \"s\"\n[types.t]\nprimary_key = [\"id\", \"id\"]\nfields = { id = \"int\" }".to_owned(),
        "name = \"s\"\n[types.t]\nprimary_key = [\"id\"]\nfields = {}".to_owned(),
        "name = \"s\"\n[types.\"a b\"]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }".to_owned(),
        field("\"integer\""),
        field("\"enum\""),
        field("{ optional = true }"),
        field("{ type = \"int\", id = 0 }"),
        field("{ type = \"int\", id = 2048 }"),
        field("{ type = \"int\", optional = 1 }"),
        field("{ type = \"int\", minimum = 1 }"),
        field("{ type = \"enum\" }"),
        field("{ type = \"enum\", values = [] }"),
        field("{ type = \"enum\", values = [\"a\", \"a\"] }"),
        field("{ type = \"enum\", values = { a = 0 } }"),
        field("{ type = \"list\" }"),
        field("{ type = \"list\", of = { type = \"int\", optional = true } }"),
        field("{ type = \"list\", of = { type = \"int\", default = 1 } }"),
        field("{ type = \"struct\" }"),
        field("{ type = \"struct\", fields = {} }"),
        field("{ type = \"struct\", fields = { a = { type = \"int\", max_length = 1 } } }"),
        field("{ type = \"int\", values = [\"a\"] }"),
        field("{ type = \"int\", min = \"1\" }"),
        field("{ type = \"int\", max = 1.5 }"),
        field("{ type = \"string\", min = \"a\" }"),
        field("{ type = \"date\", min = 5 }"),
        field("{ type = \"int\", min_length = 1 }"),
        field("{ type = \"string\", min_length = -1 }"),
        field("{ type = \"string\", max_length = 1000001 }"),
        field("{ type = \"string\", max_length = \"3\" }"),
        field("{ type = \"bytes\", pattern = \"a\" }"),
        field("{ type = \"string\", pattern = 1 }"),
        field("{ type = \"int\", check = true }"),
        rest("checks]\nc = 1"),
        rest("checks]\n\"a b\" = \"id > 1\""),
        rest("references]\nr = { fields = [\"f\"] }"),
        rest("references]\nr = { fields = [], to = \"t\" }"),
        rest("references]\nr = { fields = [\"f\"], to = \"t\", on_delete = \"nothing\" }"),
        rest("references]\nr = { fields = [\"f\"], to = \"t\", on_update = \"cascade\" }"),
        rest("indexes]\ni = { fields = [] }"),
        rest("indexes]\ni = { unique = true }"),
        rest("indexes]\ni = { kind = \"hash\", fields = [\"f\"] }"),
        rest("indexes]\ni = { kind = \"count\", fields = [\"f\"] }"),
        rest("indexes]\ni = { kind = \"sum\", group = [\"f\"] }"),
        rest("indexes]\ni = { kind = \"count\", unique = true }"),
        rest("indexes]\ni = { kind = \"count\", hashed = true }"),
        rest("indexes]\ni = { kind = \"rank\", fields = [\"f\"], hashed = true }"),
        rest("indexes]\ni = { fields = [\"f\"], hashed = 1 }"),
        rest("indexes]\ni = { fields = [\"f:desc\"], hashed = true }"),
        rest("indexes]\ni = { fields = [{ field = \"f\", order = \"desc\" }], hashed = true }"),
        rest("indexes]\ni = { fields = [{ field = \"f\", missing = \"last\" }], hashed = true }"),
        rest("indexes]\ni = { fields = [\"f\"], group = [\"id\"] }"),
        rest("indexes]\ni = { fields = [\"f\"], of = \"id\" }"),
        rest("indexes]\ni = { fields = [\"f\"], missing = \"equal\" }"),
        rest("indexes]\ni = { fields = [\"f\"], unique = true, missing = \"never\" }"),
        rest("indexes]\ni = { fields = [\"f\"], after_s = 5 }"),
        rest("indexes]\ni = { kind = \"text\" }"),
        rest("indexes]\ni = { kind = \"text\", fields = [\"f\"], language = \"klingon\" }"),
        rest("indexes]\ni = { fields = [\"f\"], language = \"english\" }"),
        rest("indexes]\ni = { fields = [\"f\"], tokenizer_version = 1 }"),
        rest("indexes]\ni = { fields = [{ field = \"f\", each = \"f\" }] }"),
        rest("indexes]\ni = { fields = [{ order = \"asc\" }] }"),
        rest("indexes]\ni = { fields = [{ field = \"f\", order = \"up\" }] }"),
        rest("indexes]\ni = { fields = [\"f\"], speed = 1 }"),
    ];
    for text in cases {
        assert!(SchemaDefinition::from_toml(&text).is_err(), "the parser takes {text}");
        assert!(!validator.is_valid(&json_of_toml(&text)), "the JSON Schema takes {text}");
    }
}
