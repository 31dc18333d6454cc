//! Every operator by table: with what is missing, with extremes, with Unicode.

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
