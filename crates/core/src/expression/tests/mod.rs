//! Every operator by table: with what is missing, with extremes, with Unicode.

mod hostile;
mod property;

use super::*;
use crate::record::Record;
use crate::schema::SchemaDefinition;

const SCHEMA: &str = r#"
name = "s"
[types.t]
primary_key = ["id"]
[types.t.fields]
id = "int"
i = { type = "int", optional = true }
j = { type = "int", optional = true }
f = { type = "float", optional = true }
d = { type = "decimal", optional = true }
s = { type = "string", optional = true }
b = { type = "bool", optional = true }
e = { type = "enum", values = ["red", "green"], optional = true }
bytes = { type = "bytes", optional = true }
day = { type = "date", optional = true }
tags = { type = "list", of = "string", optional = true }
[types.t.fields.items]
type = "list"
optional = true
of = { type = "struct", fields = { price = { type = "float", optional = true }, names = { type = "list", of = "string", optional = true } } }
"#;

fn schema() -> SchemaDefinition {
    SchemaDefinition::from_toml(SCHEMA).unwrap()
}

/// What an expression comes to for a record in JSON, in JSON; null for missing.
fn value(text: &str, record: serde_json::Value) -> serde_json::Value {
    let schema = schema();
    let record_type = schema.record_type("t").unwrap();
    let record = Record::from_json(&record, record_type).unwrap();
    let (expression, field_type) =
        Expression::parse_value(text, record_type).unwrap_or_else(|error| panic!("{text}: {error}"));
    match expression.value(&record.values) {
        None => serde_json::Value::Null,
        Some(value) => {
            value.check(&field_type, text).unwrap();
            value.to_json()
        }
    }
}

#[test]
fn arithmetic_has_its_result_or_none() {
    let record = serde_json::json!({
        "id": 1, "i": i64::MAX, "j": -7, "f": 1e308, "d": "79228162514264337593543950335", "s": "ä"
    });
    let cases = [
        ("id + 1", "2"),
        ("i + id", "null"),
        ("i - j", "null"),
        ("-i - 1", "-9223372036854775808"),
        ("-i - 2", "null"),
        ("-(-i - 1)", "null"),
        ("i * 2", "null"),
        ("(-i - 1) / -1", "null"),
        ("(-i - 1) % -1", "0"),
        ("i % (id - 1)", "null"),
        ("i / (id - 1)", "null"),
        ("j / 2", "-3"),
        ("j % 2", "-1"),
        ("j * 2 + 1", "-13"),
        ("id / 2.0", "0.5"),
        ("f * 10", "null"),
        ("f - f", "0.0"),
        ("f / (f - f)", "null"),
        ("(f - f) / (f - f)", "null"),
        ("7.5 % f", "7.5"),
        ("d + 1", "null"),
        ("d - 1", "\"79228162514264337593543950334\""),
        ("-d + d", "\"0\""),
        ("d / 0", "null"),
        ("d % (id - 1)", "null"),
        ("d * 0.5", "\"39614081257132168796771975168\""),
        ("d + f", "null"),
        ("id + decimal(\"0.1\")", "\"1.1\""),
        ("s + \"ö\" + s", "\"äöä\""),
        ("lower(\"ÄÖ\") + upper(s)", "\"äöÄ\""),
        ("1 + 2 * 3", "7"),
        ("id < 2", "true"),
        ("size(s)", "1"),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text, record.clone()).to_string(), expected, "{text}");
    }
}

#[test]
fn words_are_matched_by_every_kind() {
    let record =
        serde_json::json!({ "id": 1, "s": "Running dogs, LAZY foxes", "tags": ["big fish", "small cat"] });
    let cases = [
        ("matches(s, \"lazy dogs\")", "true"),
        ("matches(s, \"lazy dog\")", "false"),
        ("matches(s, \"run dog\", \"english\")", "true"),
        ("matchesAny(s, \"wolf dogs\")", "true"),
        ("matchesPhrase(s, \"dogs lazy\")", "true"),
        ("matchesPhrase(s, \"lazy dogs\")", "false"),
        ("matchesPrefix(s, \"dogs fo\")", "true"),
        ("tags.exists(tag, matches(tag, \"fish\"))", "true"),
        ("tags.all(tag, matches(tag, \"fish\"))", "false"),
        ("matches(lower(s) + \" wolf\", \"wolf\")", "true"),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text, record.clone()).to_string(), expected, "{text}");
        assert_eq!(value(text, serde_json::json!({ "id": 1 })), text.contains(".all("), "{text}");
    }
    let schema = schema();
    let refused = |text: &str| {
        let error = Expression::parse(text, schema.record_type("t").unwrap()).unwrap_err();
        (error.code(), error.detail().to_owned())
    };
    for (text, part) in [
        ("matches(s, \"...\")", "has no word"),
        ("matches(id, \"a\")", "takes strings, not a int"),
        ("matches(s)", "takes a text, words"),
        ("matches(s, \"a\", \"english\", 1)", "takes a text, words"),
        ("matches(s, \"a\", \"klingon\")", "no language \"klingon\"; there are arabic, "),
    ] {
        let (code, detail) = refused(text);
        assert!(code == Code::ExpressionInvalid && detail.contains(part), "{text}: {detail}");
    }
    for (text, part) in [
        ("matches(s, s)", "a second argument"),
        ("matches(s, \"a\", s)", "a language"),
        ("s.matches(\"a+\")", "a regular expression"),
    ] {
        let (code, detail) = refused(text);
        assert!(code == Code::ExpressionUnsupported && detail.contains(part), "{text}: {detail}");
    }
}
