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

/// Each operator on what is there, and on what is missing.
#[test]
fn what_is_missing_equals_null_alone() {
    let there = serde_json::json!({
        "id": 1, "i": 5, "f": 2.5, "d": "2.50", "s": "Äb\u{301}", "b": true, "e": "red", "bytes": "AP8=", "day": "2000-02-29",
        "tags": ["a", "ß"],
        "items": [{ "price": 1.5, "names": ["x", "y"] }, {}]
    });
    let missing = serde_json::json!({ "id": 1 });
    let cases = [
        ("i == 5", "true", "false"),
        ("i != 5", "false", "true"),
        ("i < 6", "true", "false"),
        ("i <= 5", "true", "false"),
        ("i > 4", "true", "false"),
        ("i >= 6", "false", "false"),
        ("!(i >= 6)", "true", "true"),
        ("5 == i", "true", "false"),
        ("i == f * 2", "true", "true"),
        ("f == d", "true", "true"),
        ("d < 2.51 && d > 2", "true", "false"),
        ("i == null", "false", "true"),
        ("i != null", "true", "false"),
        ("has(i)", "true", "false"),
        ("i + 1 == null", "false", "true"),
        ("i in [1, 5]", "true", "false"),
        ("!(i in [1, 5])", "false", "true"),
        ("i in []", "false", "false"),
        ("f in [5, 2.5]", "true", "false"),
        ("e in [\"red\"]", "true", "false"),
        ("e == \"red\"", "true", "false"),
        ("\"green\" != e", "true", "true"),
        ("\"ß\" in tags", "true", "false"),
        ("s in tags", "false", "false"),
        ("b", "true", "null"),
        ("!b", "false", "true"),
        ("b && true", "true", "false"),
        ("b || i == null", "true", "true"),
        ("b == true", "true", "false"),
        ("s.startsWith(\"Ä\")", "true", "false"),
        ("s.endsWith(\"\u{301}\")", "true", "false"),
        ("s.contains(\"\")", "true", "false"),
        ("lower(s)", "\"äb\u{301}\"", "null"),
        ("upper(\"ß\" + s)", "\"SSÄB\u{301}\"", "null"),
        ("size(s)", "3", "null"),
        ("s.size() > 2", "true", "false"),
        ("size(bytes)", "2", "null"),
        ("bytes == b\"\\x00\\xff\"", "true", "false"),
        ("bytes < b\"\\x01\"", "true", "false"),
        ("size(tags) + size(items)", "4", "null"),
        ("day == date(\"2000-02-29\")", "true", "false"),
        ("tags.exists(t, t == \"a\")", "true", "false"),
        ("tags.exists(t, t == null)", "false", "false"),
        ("tags.all(t, size(t) == 1)", "true", "true"),
        ("items.exists(i, i.price > 1.0)", "true", "false"),
        ("items.exists(i, i.price == null)", "true", "false"),
        ("items.exists(i, !has(i.names))", "true", "false"),
        ("items.all(i, i.price > 1.0)", "false", "true"),
        ("items.exists(i, i.names.exists(n, n == \"y\" && i.price < 2))", "true", "false"),
        ("items.exists(i, i.names.all(i, i < \"z\"))", "true", "false"),
        ("items.exists(i, tags.exists(t, i.price * 2 == 3 && t == \"ß\"))", "true", "false"),
        ("[1, 5].exists(x, x == i)", "true", "false"),
        ("[].all(x, x)", "true", "true"),
        ("tags", "[\"a\",\"ß\"]", "null"),
        ("items.all(x, true) && items != null", "true", "false"),
    ];
    for (text, of_there, of_missing) in cases {
        assert_eq!(value(text, there.clone()).to_string(), of_there, "{text}");
        assert_eq!(value(text, missing.clone()).to_string(), of_missing, "{text} with nothing there");
    }
}

#[test]
fn a_field_named_param_is_a_field() {
    let text = "name = \"s\"\n[types.t]\nprimary_key = [\"id\"]\n[types.t.fields]\nid = \"int\"\n\
        param = { type = \"struct\", fields = { id = \"int\" } }\n";
    let schema = SchemaDefinition::from_toml(text).unwrap();
    let record_type = schema.record_type("t").unwrap();
    let expression = Expression::parse("param.id == id", record_type).unwrap();
    assert_eq!(expression.fields().into_iter().collect::<Vec<_>>(), ["id", "param"]);
    let parameters = BTreeMap::from([("id".to_owned(), Value::from(1))]);
    let error = Expression::parse_with_parameters("param.id == id", record_type, &parameters).unwrap_err();
    assert_eq!(error.code(), Code::ParameterInvalid);
}
