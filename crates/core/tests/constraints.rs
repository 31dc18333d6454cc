//! The rules of a schema: each by table, all of one record at once, and random records against random rules.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use pollster::block_on;
use serde_json::{Value as Json, json};
use tenantry_core::{
    Code, Database, Error, Kind, PrimaryKey, Record, RecordType, SchemaDefinition, Tenant, Value,
};
use tenantry_kv::conformance::reference::manual_env;

fn schema(fields: &str) -> SchemaDefinition {
    let text = format!(
        "name = \"s\"\n[types.t]\nprimary_key = [\"id\"]\n[types.t.fields]\nid = \"int\"\n{fields}\n"
    );
    let schema = SchemaDefinition::from_toml(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let again = SchemaDefinition::from_json(&schema.to_json().to_string());
    assert_eq!(again.unwrap(), schema, "{text}");
    schema
}

fn refused(fields: &str) -> String {
    let text = format!(
        "name = \"s\"\n[types.t]\nprimary_key = [\"id\"]\n[types.t.fields]\nid = \"int\"\n{fields}\n"
    );
    match SchemaDefinition::from_toml(&text) {
        Ok(_) => panic!("{fields} is taken"),
        Err(error) => {
            assert!(matches!(error.code(), Code::SchemaInvalid | Code::LimitPassed), "{error}");
            error.to_string()
        }
    }
}

fn tenant_of(schema: &SchemaDefinition) -> Tenant {
    let env = manual_env();
    let engine = common::engine::engine(&env);
    let database = block_on(Database::open(engine, env, &common::engine::name("test"))).unwrap();
    block_on(database.apply_schema(schema)).unwrap();
    block_on(database.create_tenant("acme", &schema.name)).unwrap()
}

/// What a record breaks, by field and rule.
fn broken(record: &Json, record_type: &RecordType) -> Vec<(String, &'static str)> {
    let checked = Record::from_json(record, record_type).and_then(|record| record.check(record_type));
    match checked {
        Ok(()) => Vec::new(),
        Err(error) => {
            assert!(!error.violations().is_empty(), "{error}");
            assert!(error.violations().iter().all(|violation| violation.record_type == record_type.name));
            error.violations().iter().map(|violation| (violation.field.clone(), violation.rule)).collect()
        }
    }
}

/// A field, and values with the rules that they break; one rule for each, or none.
#[test]
fn each_rule_holds_at_its_very_bound() {
    let long = "é".repeat(100_000);
    let cases: Vec<(&str, Vec<(Json, &str)>)> = vec![
        (
            r#"{ type = "int", optional = true, min = -5, max = 9223372036854775807 }"#,
            vec![
                (json!(-5), ""),
                (json!(-6), "min"),
                (json!(i64::MIN), "min"),
                (json!(i64::MAX), ""),
                (json!(null), ""),
            ],
        ),
        (
            r#"{ type = "float", optional = true, min = 0.0, max = 1.5 }"#,
            vec![
                (json!(-0.0), ""),
                (json!(-1e-300), "min"),
                (json!(1.5), ""),
                (json!(1.500_000_1), "max"),
                (json!(1e308), "max"),
                (json!(null), ""),
            ],
        ),
        (
            r#"{ type = "decimal", optional = true, min = "0.10", max = "79228162514264337593543950335" }"#,
            vec![
                (json!("0.1"), ""),
                (json!("0.0999999999999999999999999999"), "min"),
                (json!("-79228162514264337593543950335"), "min"),
                (json!("79228162514264337593543950335"), ""),
            ],
        ),
        (
            r#"{ type = "date", optional = true, min = 1970-01-01, max = "9999-12-31" }"#,
            vec![
                (json!("1970-01-01"), ""),
                (json!("1969-12-31"), "min"),
                (json!("-009999-01-01"), "min"),
                (json!("9999-12-31"), ""),
            ],
        ),
        (
            r#"{ type = "timestamp", optional = true, min = 1970-01-01T00:00:00Z, max = "2000-01-01T00:00:00.000001Z" }"#,
            vec![
                (json!("1970-01-01T00:00:00Z"), ""),
                (json!("1970-01-01T01:00:00+01:00"), ""),
                (json!("1969-12-31T23:59:59.999999Z"), "min"),
                (json!("2000-01-01T00:00:00.000001Z"), ""),
                (json!("2000-01-01T00:00:00.000002Z"), "max"),
            ],
        ),
        (
            r#"{ type = "string", optional = true, min_length = 1, max_length = 3 }"#,
            vec![
                (json!(""), "min_length"),
                (json!("🎬🎬🎬"), ""),
                // A letter and the mark above it are two characters.
                (json!("e\u{301}e\u{301}"), "max_length"),
                (json!("abcd"), "max_length"),
                (json!("\u{0}"), ""),
                (json!(null), ""),
            ],
        ),
        (
            r#"{ type = "string", max_length = 100000, optional = true }"#,
            vec![(json!(long), ""), (json!(format!("{long}x")), "max_length")],
        ),
        (
            r#"{ type = "bytes", optional = true, min_length = 2, max_length = 3 }"#,
            vec![
                (json!("AA=="), "min_length"),
                (json!("AAA="), ""),
                (json!("AAAA"), ""),
                (json!("AAAAAA=="), "max_length"),
                (json!(""), "min_length"),
            ],
        ),
        (
            r#"{ type = "list", of = "int", optional = true, min_length = 1, max_length = 2 }"#,
            vec![
                (json!([]), "min_length"),
                (json!([1, 2]), ""),
                (json!([1, 2, 3]), "max_length"),
                (json!(null), ""),
            ],
        ),
        (
            r#"{ type = "string", optional = true, pattern = "[A-Z]{2}-[0-9]+|none" }"#,
            vec![
                (json!("AB-1"), ""),
                (json!("none"), ""),
                (json!("AB-1 "), "pattern"),
                (json!("xAB-1"), "pattern"),
                (json!("AB-1\nnone"), "pattern"),
                (json!("AB-\u{661}"), "pattern"),
                (json!(""), "pattern"),
                (json!("A".repeat(100_000)), "pattern"),
            ],
        ),
        (
            r#"{ type = "string", optional = true, pattern = "\\p{L}+" }"#,
            vec![(json!("Łódź漢字"), ""), (json!("a1"), "pattern"), (json!(long), "")],
        ),
        (
            r#"{ type = "int", optional = true, check = "value != 7 && value in [1, 2, 7]" }"#,
            vec![(json!(1), ""), (json!(7), "check"), (json!(3), "check"), (json!(null), "")],
        ),
        (
            r#"{ type = "list", of = "string", optional = true, check = "size(value) != 1" }"#,
            vec![(json!([]), ""), (json!(["a"]), "check"), (json!(["a", "b"]), "")],
        ),
        (
            r#"{ type = "struct", optional = true, fields = { a = "int", b = "int" }, check = "value.a < value.b" }"#,
            vec![(json!({"a": 1, "b": 2}), ""), (json!({"a": 2, "b": 2}), "check")],
        ),
        (
            r#"{ type = "enum", values = ["x", "y"], optional = true, check = "value != \"y\"" }"#,
            vec![(json!("x"), ""), (json!("y"), "check"), (json!("z"), "type")],
        ),
    ];
    for (field, values) in cases {
        let schema = schema(&format!("f = {field}"));
        let record_type = schema.record_type("t").unwrap();
        for (value, rule) in values {
            let expected: Vec<(String, &str)> =
                Some(("f".to_owned(), rule)).into_iter().filter(|_| !rule.is_empty()).collect();
            let shown: String = value.to_string().chars().take(40).collect();
            assert_eq!(broken(&json!({"id": 1, "f": value}), record_type), expected, "{field}: {shown}");
        }
    }
}

#[test]
fn all_violations_are_told_together_and_nothing_is_written() {
    let schema = schema(
        r#"
age = { type = "int", min = 0, max = 150 }
name = { type = "string", min_length = 1, pattern = "[a-z]*" }
address = { type = "struct", fields = { city = { type = "string", max_length = 5 }, lines = { type = "list", max_length = 3, of = { type = "string", min_length = 2 } } } }
grid = { type = "list", optional = true, of = { type = "list", max_length = 2, of = { type = "int", max = 9 } } }
[types.t.checks]
adult = "age >= 18 || name == \"kid\""
"#,
    );
    let tenant = tenant_of(&schema);
    let record_type = schema.record_type("t").unwrap();
    let good = json!({"id": 1, "age": 30, "name": "ann", "address": {"city": "Łódź", "lines": ["ab"]}, "grid": [[1, 9], []]});
    let bad = json!({"id": 1, "age": -1, "name": "X".repeat(500), "address": {"city": "London", "lines": ["ab", "abc", "", "de"]}, "grid": [[1, 2, 3], [10]]});
    let good = Record::from_json(&good, record_type).unwrap();
    let bad = Record::from_json(&bad, record_type).unwrap();
    block_on(tenant.insert("t", &good)).unwrap();
    let error: Error = block_on(tenant.run(|transaction| {
        let (good, bad) = (good.clone(), bad.clone());
        async move {
            let error = transaction.put("t", &bad).await.unwrap_err();
            // The transaction goes on.
            transaction.put("t", &good.with("id", 2)).await?;
            Ok::<_, Error>(error)
        }
    }))
    .unwrap();
    assert_eq!((error.code(), error.kind()), (Code::ConstraintViolated, Kind::Refused));
    let found: Vec<(&str, &str, &str)> =
        error.violations().iter().map(|one| (one.field.as_str(), one.rule, one.limit.as_str())).collect();
    let expected = [
        ("age", "min", "0"),
        ("name", "pattern", "[a-z]*"),
        ("address.city", "max_length", "5"),
        ("address.lines", "max_length", "3"),
        ("address.lines[2]", "min_length", "2"),
        ("grid[0]", "max_length", "2"),
        ("grid[1][0]", "max", "9"),
        ("", "checks", "adult: age >= 18 || name == \"kid\""),
    ];
    assert_eq!(found, expected);
    let text = error.to_string();
    for part in [
        "\"t\": ",
        "\"age\" holds -1, the least is 0",
        "(500 bytes)",
        "\"address.lines[2]\" has 0 characters",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.len() < 2_000, "{text}");
    let get = |id: i64| block_on(tenant.get("t", &PrimaryKey::of(id))).unwrap();
    assert_eq!(get(1), Some(good.clone()));
    assert_eq!(get(2), Some(good.with("id", 2)));
}

#[test]
fn what_has_another_form_stands_in_the_same_list() {
    let schema = schema(
        "a = { type = \"int\", max = 1 }\nb = \"string\"\nc = { type = \"struct\", fields = { d = \"int\" } }\nl = { type = \"list\", of = \"int\", optional = true }",
    );
    let record_type = schema.record_type("t").unwrap();
    let form = [
        ("x".to_owned(), "unknown"),
        ("b".to_owned(), "type"),
        ("c.d".to_owned(), "required"),
        ("l[1]".to_owned(), "type"),
    ];
    let record = json!({"id": 1, "a": 1, "b": 5, "c": {}, "x": 1, "l": [1, "2"]});
    let error = Record::from_json(&record, record_type).unwrap_err();
    assert_eq!(error.code(), Code::RecordInvalid);
    assert_eq!(broken(&record, record_type), form);
    let mut record = record;
    record["a"] = json!(2);
    let error = Record::from_json(&record, record_type).unwrap_err();
    assert_eq!(error.code(), Code::ConstraintViolated);
    assert_eq!(broken(&record, record_type), [&form[..], &[("a".to_owned(), "max")]].concat());
    // The same of values that never were JSON.
    let record =
        Record::new().with("id", 1).with("a", 2).with("b", 5).with("l", vec![Value::Int(1), "2".into()]);
    let error = record.check(record_type).unwrap_err();
    let found: Vec<(&str, &str)> =
        error.violations().iter().map(|one| (one.field.as_str(), one.rule)).collect();
    assert_eq!(found, [("a", "max"), ("b", "type"), ("l[1]", "type"), ("c", "required")]);
}

#[test]
fn violations_of_a_record_are_bounded() {
    let schema = schema("l = { type = \"list\", of = { type = \"int\", max = 0 } }");
    let record_type = schema.record_type("t").unwrap();
    let list: Vec<Value> = (1..=100_000).map(Value::Int).collect();
    let error = Record::new().with("id", 1).with("l", list).check(record_type).unwrap_err();
    assert_eq!(error.violations().len(), tenantry_core::limits::VIOLATIONS_MAX);
    assert!(error.detail().contains("and 90 more at least") && error.detail().len() < 1_000, "{error}");
    let names: serde_json::Map<String, Json> =
        (0..1_000).map(|index| (format!("{index}{}", "x".repeat(3_000)), json!(1))).collect();
    let error = Record::from_json(&Json::Object(names), record_type).unwrap_err();
    assert!(error.violations().iter().all(|violation| violation.field.chars().count() < 2_500));
    assert!(error.detail().len() < 3_000);
}

#[test]
fn defaults_stand_in_for_what_is_missing() {
    let schema = schema(
        r#"
key = { type = "uuid", default = { uuid = true } }
made = { type = "timestamp", default = { now = true } }
state = { type = "enum", values = ["new", "old"], default = "new" }
tags = { type = "list", of = "string", default = [] }
nick = { type = "string", optional = true, default = "anon" }
any = { type = "json", optional = true, default = { now = true } }
day = { type = "date", default = 2020-02-29 }
size = { type = "struct", default = { width = 1 }, fields = { width = "int", depth = { type = "int", default = 2 }, note = { type = "string", optional = true, default = "n" } } }
rows = { type = "list", optional = true, of = { type = "struct", fields = { a = { type = "int", default = 3 } } } }
"#,
    );
    let tenant = tenant_of(&schema);
    let record_type = schema.record_type("t").unwrap();
    let put = |id: i64, record: Json| {
        let mut record = record;
        record["id"] = json!(id);
        let record = Record::from_json(&record, record_type).unwrap();
        record.check(record_type).unwrap();
        block_on(tenant.put("t", &record)).unwrap();
        block_on(tenant.get("t", &PrimaryKey::of(id))).unwrap().unwrap()
    };
    let first = put(1, json!({}));
    let Json::Object(mut written) = first.to_json() else { panic!() };
    let key = written.remove("key").unwrap();
    assert!(written.remove("made").is_some());
    let expected = json!({"id": 1, "state": "new", "tags": [], "nick": "anon", "any": {"now": true}, "day": "2020-02-29",
        "size": {"width": 1, "depth": 2, "note": "n"}});
    assert_eq!(Json::Object(written), expected);
    assert_ne!(put(2, json!({})).to_json()["key"], key);
    // Null is an answer, where the field is optional; a required field has none.
    let nulls = put(3, json!({"nick": null, "size": {"width": 5, "note": null}, "rows": [{}, {"a": 4}]}));
    assert_eq!(nulls.get("nick"), None);
    assert_eq!(nulls.to_json()["size"], json!({"width": 5, "depth": 2}));
    assert_eq!(nulls.to_json()["rows"], json!([{"a": 3}, {"a": 4}]));
    assert_eq!(broken(&json!({"id": 1, "state": null}), record_type), [("state".to_owned(), "required")]);
    // What was read is written as it is.
    block_on(tenant.put("t", &nulls)).unwrap();
    assert_eq!(block_on(tenant.get("t", &PrimaryKey::of(3))).unwrap(), Some(nulls));
    let mut removed = first.clone();
    removed.remove("nick");
    removed.remove("state");
    block_on(tenant.put("t", &removed)).unwrap();
    let again = block_on(tenant.get("t", &PrimaryKey::of(1))).unwrap().unwrap();
    assert_eq!((again.get("nick"), again.get("state")), (None, Some(&Value::Enum("new".into()))));
    let mut null = Record::new().with("id", 4);
    null.set_null("nick");
    block_on(tenant.insert("t", &null)).unwrap();
    let found = block_on(tenant.get("t", &PrimaryKey::of(4))).unwrap().unwrap();
    assert_eq!((found.get("nick"), found.get("day").is_some()), (None, true));
    // A required field that is taken out has its default again, an optional one stays out.
    let patched =
        block_on(tenant.merge_patch("t", &PrimaryKey::of(4), &json!({"day": null, "state": "old"}))).unwrap();
    assert_eq!(patched.get("day"), found.get("day"));
    assert_eq!((patched.get("nick"), patched.get("state")), (None, Some(&Value::Enum("old".into()))));
    assert_eq!(block_on(tenant.get("t", &PrimaryKey::of(4))).unwrap(), Some(patched));
    block_on(tenant.insert_new("t", &Record::new().with("id", 5))).unwrap();
    let found = block_on(tenant.get("t", &PrimaryKey::of(5))).unwrap().unwrap();
    assert_eq!(found.get("nick"), Some(&"anon".into()));
    null.set("nick", "x");
    block_on(tenant.put("t", &null)).unwrap();
    assert_eq!(
        block_on(tenant.get("t", &PrimaryKey::of(4))).unwrap().unwrap().get("nick"),
        Some(&"x".into())
    );
}

#[test]
fn a_key_may_be_a_default() {
    let text = r#"{"name":"s","types":{"t":{"primary_key":["key"],"fields":{"key":{"type":"uuid","default":{"uuid":true}},"n":"int"}}}}"#;
    let schema = SchemaDefinition::from_json(text).unwrap();
    let tenant = tenant_of(&schema);
    let written = block_on(tenant.run(|transaction| async move {
        let record = transaction.with_defaults("t", &Record::new().with("n", 1))?;
        transaction.insert("t", &record).await?;
        Ok::<_, Error>(record)
    }))
    .unwrap();
    let key = PrimaryKey { values: vec![written.get("key").unwrap().clone()] };
    assert_eq!(block_on(tenant.get("t", &key)).unwrap().unwrap().get("n"), Some(&1.into()));
}

#[test]
fn rules_that_make_no_sense_are_refused_with_the_schema() {
    let cases = [
        (r#"f = { type = "int", min = 2, max = 1 }"#, "takes no value"),
        (r#"f = { type = "string", min_length = 2, max_length = 1 }"#, "takes no value"),
        (r#"f = { type = "int", min = 1.5 }"#, "takes an integer"),
        (r#"f = { type = "int", min = "1" }"#, "takes an integer"),
        (r#"f = { type = "float", min = nan }"#, "min"),
        (r#"f = { type = "date", max = 2020-01-01T00:00:00Z }"#, "takes a date"),
        (r#"f = { type = "string", min = "a" }"#, "\"min\" belongs to int"),
        (r#"f = { type = "uuid", max = "a" }"#, "\"max\" belongs to int"),
        (r#"f = { type = "int", max_length = 3 }"#, "\"max_length\" belongs to string"),
        (r#"f = { type = "json", min_length = 3 }"#, "\"min_length\" belongs to string"),
        (r#"f = { type = "bytes", pattern = "a" }"#, "\"pattern\" belongs to string"),
        (r#"f = { type = "string", min_length = -1 }"#, "-1"),
        (r#"f = { type = "string", max_length = 1000001 }"#, "from 0 to 1000000"),
        (r#"f = { type = "string", pattern = "(" }"#, "unclosed"),
        (r#"f = { type = "string", pattern = "a)|(b" }"#, "unopened"),
        (r#"f = { type = "string", pattern = "(\\w{1,100}){1,100}" }"#, "500000"),
        (r#"f = { type = "string", patern = "a" }"#, "unknown field"),
        (r#"f = { type = "int", check = "value >" }"#, "check of \"t.f\""),
        (r#"f = { type = "int", check = "value + 1" }"#, "check of \"t.f\""),
        (r#"f = { type = "int", check = "other > 1" }"#, "check of \"t.f\""),
        (r#"f = { type = "int", check = "value == \"a\"" }"#, "check of \"t.f\""),
        (r#"f = { type = "int", default = "1" }"#, "default of \"t.f\""),
        (r#"f = { type = "int", max = 1, default = 2 }"#, "breaks its own rule"),
        (r#"f = { type = "int", check = "value != 2", default = 2 }"#, "breaks its own rule"),
        (r#"f = { type = "list", of = { type = "int", max = 1 }, default = [2] }"#, "breaks its own rule"),
        (r#"f = { type = "enum", values = ["a"], default = "b" }"#, "one of \"a\""),
        (r#"f = { type = "struct", fields = { a = "int" }, default = {} }"#, "is missing"),
        (r#"f = { type = "date", default = { now = true } }"#, "belongs to timestamp"),
        (r#"f = { type = "timestamp", default = { now = false } }"#, "takes a timestamp"),
        (r#"f = { type = "timestamp", default = { uuid = true } }"#, "belongs to timestamp"),
        (r#"f = { type = "uuid", default = { uuid = true, now = true } }"#, "takes a UUID"),
        (r#"f = { type = "list", of = { type = "int", default = 1 } }"#, "belongs to fields"),
        (r#"f = { type = "list", of = { type = "int", optional = true } }"#, "belongs to fields"),
        (r#"f = { type = "list", of = { type = "int", min_length = 1 } }"#, "t.f[]"),
        ("[types.t.checks]\nc = \"none > 1\"", "check of \"t.c\""),
        ("[types.t.checks]\nc = 1", "invalid type"),
        ("[types.t.checks]\n\"a b\" = \"id > 1\"", "cannot be named so"),
    ];
    for (fields, part) in cases {
        let text = refused(fields);
        assert!(text.contains(part), "{fields}\n{text}");
    }
    let many: String =
        (0..101).map(|index| format!("f{index} = {{ type = \"string\", pattern = \"a\" }}\n")).collect();
    assert!(refused(&many).contains("101, the limit is 100"));
    let many: String = (0..65).map(|index| format!("c{index} = \"id > 1\"\n")).collect();
    assert!(refused(&format!("[types.t.checks]\n{many}")).contains("65, the limit is 64"));
    let deep = format!("f = {{ type = \"json\", default = {}1{} }}", "[".repeat(5_000), "]".repeat(5_000));
    refused(&deep);
    let twice = r#"{"name":"s","types":{"t":{"primary_key":["a"],"fields":{"a":{"type":"json","default":{"x":1,"x":2}}}}}}"#;
    assert!(SchemaDefinition::from_json(twice).unwrap_err().detail().contains("twice"));
}

mod random;

#[test]
fn random_records_break_what_a_plain_look_says() {
    let mut broken_total = 0;
    let mut whole_total = 0;
    for seed in 0..400 {
        let mut random = random::Random::of(seed);
        let rules = random::rules(&mut random);
        let schema = SchemaDefinition::from_json(&random::schema(&rules).to_string()).unwrap();
        assert_eq!(SchemaDefinition::from_json(&schema.to_json().to_string()).unwrap(), schema);
        let record_type = schema.record_type("t").unwrap();
        for _ in 0..25 {
            let record = random::record(&rules, &mut random);
            let mut expected = random::broken(&rules, &record);
            let mut found: Vec<(String, String)> = broken(&record, record_type)
                .into_iter()
                .map(|(field, rule)| (field, rule.to_owned()))
                .collect();
            expected.sort();
            found.sort();
            assert_eq!(found, expected, "seed {seed}: {record}\n{}", schema.to_json());
            broken_total += found.len();
            whole_total += usize::from(found.is_empty());
        }
    }
    // Neither side of the rules is left out.
    assert!(broken_total > 5_000 && whole_total > 500, "{broken_total} {whole_total}");
}
