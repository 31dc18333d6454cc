//! Operations on records: replace, update, merge patch, get many, exists, insert without a look, conditions. By table, and against a model.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{item, note, tenant};
use pollster::block_on;
use serde_json::{Value as Json, json};
use tenantry_core::{
    Code, Condition, Error, Filter, PrimaryKey, Query, Record, Result, Tenant, Value, field, parse_json,
};

fn key(number: i64) -> PrimaryKey {
    PrimaryKey { values: vec!["eu".into(), number.into()] }
}

fn get(tenant: &Tenant, number: i64) -> Option<Record> {
    block_on(tenant.get("item", &key(number))).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.unwrap_err().code()
}

/// Every record that an index leads to, by the index and by a look at all records.
fn check_index(tenant: &Tenant) {
    let by_title = Query::of("item").order_by("title");
    let page = block_on(tenant.query(&by_title)).unwrap();
    assert_eq!(page.explanation.index.as_deref(), Some("by_title"));
    let mut numbers: Vec<i64> = page.records.iter().filter_map(number).collect();
    numbers.sort_unstable();
    let all = block_on(tenant.query(&Query::of("item"))).unwrap();
    assert_eq!(numbers, all.records.iter().filter_map(number).collect::<Vec<_>>());
}

fn number(record: &Record) -> Option<i64> {
    match record.get("number") {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    }
}

#[test]
fn replace_needs_a_record_and_insert_new_needs_none() {
    let tenant = tenant();
    assert_eq!(code(block_on(tenant.replace("item", &item("eu", 1, "a")))), Code::RecordNotFound);
    assert_eq!(get(&tenant, 1), None);
    block_on(tenant.insert_new("item", &item("eu", 1, "a").with("code", "A"))).unwrap();
    block_on(tenant.replace("item", &item("eu", 1, "b").with("code", "A"))).unwrap();
    assert_eq!(get(&tenant, 1).unwrap().get("title"), Some(&"b".into()));
    // Unique indexes are checked whatever the caller knows.
    let second = item("eu", 2, "c").with("code", "A");
    assert_eq!(code(block_on(tenant.insert_new("item", &second))), Code::UniqueViolation);
    assert_eq!(get(&tenant, 2), None);
    let twice: Result<()> = block_on(tenant.run(|transaction| async move {
        transaction.insert_new("note", &note(1, "a")).await?;
        transaction.insert_new("note", &note(1, "b")).await
    }));
    assert_eq!(code(twice), Code::RecordExists);
    check_index(&tenant);
}

/// `insert_new` reads nothing of the record, so nobody who wrote it before makes it conflict.
#[test]
fn insert_new_is_blind() {
    let tenant = tenant();
    let attempts = AtomicUsize::new(0);
    block_on(tenant.run(|transaction| {
        let (tenant, attempts) = (&tenant, &attempts);
        async move {
            transaction.insert_new("note", &note(1, "mine")).await?;
            if attempts.fetch_add(1, Ordering::Relaxed) == 0 {
                tenant.insert_new("note", &note(1, "theirs")).await?;
            }
            Ok::<_, Error>(())
        }
    }))
    .unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    let found = block_on(tenant.get("note", &PrimaryKey::of(1))).unwrap().unwrap();
    assert_eq!(found, note(1, "mine"));
}

#[test]
fn update_reads_changes_and_writes_or_leaves_everything() {
    let tenant = tenant();
    let missing = block_on(tenant.update("item", &key(1), |_| Ok(())));
    assert_eq!(code(missing), Code::RecordNotFound);
    block_on(tenant.insert("item", &item("eu", 1, "a"))).unwrap();
    let before = get(&tenant, 1).unwrap();
    let written = block_on(tenant.update("item", &key(1), |record| {
        assert!(record.version().is_some());
        record.set("title", "b");
        Ok(())
    }));
    let after = get(&tenant, 1).unwrap();
    assert_eq!(written.unwrap(), after);
    assert!(after.version() > before.version() && after.get("title") == Some(&"b".into()));

    let change = |change: fn(&mut Record) -> Result<()>| block_on(tenant.update("item", &key(1), change));
    let moved = change(|record| {
        record.set("number", 2);
        Ok(())
    });
    assert_eq!(code(moved.clone()), Code::PrimaryKeyChanged);
    let detail = moved.unwrap_err().detail().to_owned();
    assert!(detail.contains("\"item\"") && detail.contains('2'), "{detail}");
    let no_key = change(|record| {
        record.remove("number");
        Ok(())
    });
    assert_eq!(code(no_key), Code::RecordInvalid);
    let no_title = change(|record| {
        record.remove("title");
        Ok(())
    });
    assert_eq!(code(no_title), Code::RecordInvalid);
    let refused = change(|record| {
        record.set("title", "never");
        Err(Error::new(Code::ConditionFailed, "the caller's own reason"))
    });
    assert_eq!(code(refused), Code::ConditionFailed);
    assert_eq!(get(&tenant, 1).unwrap().version(), after.version());
    assert_eq!(code(block_on(tenant.update("item", &PrimaryKey::of(1), |_| Ok(())))), Code::KeyInvalid);
    assert_eq!(code(block_on(tenant.update("none", &key(1), |_| Ok(())))), Code::TypeNotFound);
    check_index(&tenant);
}

#[test]
fn an_update_that_meets_another_runs_again_on_what_that_one_wrote() {
    let tenant = tenant();
    block_on(tenant.insert("note", &note(1, ""))).unwrap();
    let attempts = AtomicUsize::new(0);
    let one = PrimaryKey::of(1);
    block_on(tenant.update("note", &one, |record| {
        if attempts.fetch_add(1, Ordering::Relaxed) == 0 {
            block_on(tenant.update("note", &PrimaryKey::of(1), |record| {
                record.set("text", "theirs");
                Ok(())
            }))?;
        }
        let text = format!("{} mine", record.get("text").unwrap());
        record.set("text", text);
        Ok(())
    }))
    .unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
    assert_eq!(block_on(tenant.get("note", &one)).unwrap().unwrap(), note(1, "theirs mine"));
}

#[test]
fn merge_patches_change_what_they_name() {
    let tenant = tenant();
    let full = r#"{"region":"eu","number":1,"title":"t","price":"12.50","rating":-0.0,"kind":"film","tags":["a"],"size":{"width":3,"depth":4},"is_old":true}"#;
    let schema = block_on(tenant.schema()).unwrap();
    let item_type = schema.definition.record_type("item").unwrap();
    let full = Record::from_json(&parse_json(full).unwrap(), item_type).unwrap();
    let cases = [
        (r#"{}"#, Ok(json!({}))),
        (r#"{"title":"u"}"#, Ok(json!({"title":"u"}))),
        (r#"{"price":null,"kind":"book"}"#, Ok(json!({"price":null,"kind":"book"}))),
        (r#"{"size":{"depth":null}}"#, Ok(json!({"size":{"width":3}}))),
        (r#"{"size":{"width":7}}"#, Ok(json!({"size":{"width":7,"depth":4}}))),
        (r#"{"size":null}"#, Ok(json!({"size":null}))),
        (r#"{"tags":[]}"#, Ok(json!({"tags":[]}))),
        (r#"{"number":1,"region":"eu"}"#, Ok(json!({}))),
        (r#"{"title":null}"#, Err((Code::RecordInvalid, "\"title\" is missing"))),
        (r#"{"size":{"width":null}}"#, Err((Code::RecordInvalid, "\"size.width\" is missing"))),
        (r#"{"number":null}"#, Err((Code::RecordInvalid, "\"number\" is missing"))),
        (r#"{"number":2}"#, Err((Code::PrimaryKeyChanged, "delete this one"))),
        (r#"{"speed":1}"#, Err((Code::RecordInvalid, "no field \"speed\""))),
        (r#"{"size":{"height":1}}"#, Err((Code::RecordInvalid, "no field \"size.height\""))),
        (r#"{"rating":"high"}"#, Err((Code::RecordInvalid, "takes a number"))),
        (r#"{"kind":"opera"}"#, Err((Code::RecordInvalid, "\"book\""))),
        (r#"{"tags":{"0":"b"}}"#, Err((Code::RecordInvalid, "takes a list"))),
        (r#"["title"]"#, Err((Code::RecordInvalid, "a merge patch is an object"))),
        (r#"null"#, Err((Code::RecordInvalid, "a merge patch is an object"))),
    ];
    for (patch, expected) in cases {
        block_on(tenant.put("item", &full)).unwrap();
        let result = block_on(tenant.merge_patch("item", &key(1), &parse_json(patch).unwrap()));
        let found = get(&tenant, 1).unwrap();
        match expected {
            Ok(changes) => {
                let mut expected = full.to_json();
                for (name, value) in changes.as_object().unwrap() {
                    match value {
                        Json::Null => expected.as_object_mut().unwrap().shift_remove(name),
                        value => expected.as_object_mut().unwrap().insert(name.clone(), value.clone()),
                    };
                }
                assert_eq!(found.to_json(), expected, "{patch}");
                assert_eq!(result.unwrap(), found, "{patch}");
            }
            Err((code, part)) => {
                let error = result.unwrap_err();
                assert_eq!(error.code(), code, "{patch}");
                assert!(error.detail().contains(part), "{patch}: {error}");
                assert_eq!(found, full, "{patch}");
            }
        }
    }
    assert_eq!(code(block_on(tenant.merge_patch("item", &key(9), &json!({})))), Code::RecordNotFound);
    // What JSON has no form for stays as it is when the patch does not name it.
    block_on(tenant.put("item", &full.clone().with("rating", f64::INFINITY))).unwrap();
    block_on(tenant.merge_patch("item", &key(1), &json!({ "title": "u" }))).unwrap();
    assert_eq!(get(&tenant, 1).unwrap().get("rating"), Some(&f64::INFINITY.into()));
    check_index(&tenant);
}

#[test]
fn many_records_are_read_in_the_order_of_their_keys() {
    let tenant = tenant();
    for number in 0..20 {
        let blob = vec![number as u8; if number % 7 == 0 { 250_000 } else { 10 }];
        let record = item("eu", number, "t").with("blob", bytes::Bytes::from(blob));
        block_on(tenant.insert("item", &record)).unwrap();
    }
    let numbers = [19, 3, 40, 0, 3, 14, -1];
    let keys: Vec<PrimaryKey> = numbers.iter().map(|number| key(*number)).collect();
    let found = block_on(tenant.get_many("item", &keys)).unwrap();
    let expected: Vec<Option<Record>> = numbers.iter().map(|number| get(&tenant, *number)).collect();
    assert_eq!(found, expected);
    assert_eq!(found.iter().filter(|record| record.is_none()).count(), 2);
    assert_eq!(block_on(tenant.get_many("item", &[])).unwrap(), []);
    // A transaction reads what it wrote.
    let own = block_on(tenant.read(|transaction| async move {
        transaction.insert("item", &item("eu", 40, "own")).await?;
        transaction.delete("item", &key(3)).await?;
        transaction.get_many("item", &[key(40), key(3), key(2)]).await
    }));
    assert_eq!(own.unwrap().iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
    let too_many = vec![key(1); 1_001];
    assert_eq!(code(block_on(tenant.get_many("item", &too_many))), Code::LimitPassed);
    let too_large = vec![key(0); 200];
    assert_eq!(code(block_on(tenant.get_many("item", &too_large))), Code::LimitPassed);
    let misfit = [key(1), PrimaryKey::of(1)];
    assert_eq!(code(block_on(tenant.get_many("item", &misfit))), Code::KeyInvalid);
}

#[test]
fn exists_tells_what_get_would_find() {
    let tenant = tenant();
    let large = item("eu", 1, "t").with("blob", bytes::Bytes::from(vec![7; 900_000]));
    block_on(tenant.insert("item", &large)).unwrap();
    let seen = block_on(tenant.run(|transaction| async move {
        let before = (transaction.exists("item", &key(1)).await?, transaction.exists("item", &key(2)).await?);
        transaction.insert("item", &item("eu", 2, "t")).await?;
        transaction.delete("item", &key(1)).await?;
        let after = (transaction.exists("item", &key(1)).await?, transaction.exists("item", &key(2)).await?);
        Ok::<_, Error>((before, after))
    }));
    assert_eq!(seen.unwrap(), ((true, false), (false, true)));
    assert!(!block_on(tenant.exists("item", &key(1))).unwrap());
    assert_eq!(code(block_on(tenant.exists("item", &PrimaryKey::of("eu")))), Code::KeyInvalid);
}

#[test]
fn conditions_hold_for_puts_and_deletes() {
    let tenant = tenant();
    block_on(tenant.insert("item", &item("eu", 1, "a").with("rating", 5.0))).unwrap();
    let version = get(&tenant, 1).unwrap().version().unwrap();
    block_on(tenant.put("item", &item("eu", 1, "a").with("rating", 5.0))).unwrap();
    let built = Filter::from(field("rating").ge(5.0).and(field("title").eq("a")));
    let (unmet, unknown) = (Filter::from(field("rating").gt(5.0)), Filter::from(field("speed").gt(1)));
    let cases = [
        (1, Condition::Always, None),
        (1, Condition::Exists, None),
        (1, Condition::IsAbsent, Some(Code::RecordExists)),
        (1, Condition::HasVersion(version), Some(Code::ConditionFailed)),
        (1, Condition::Matches("rating >= 5.0 && title == \"a\""), None),
        (1, Condition::Matches("rating > 5.0"), Some(Code::ConditionFailed)),
        (1, Condition::Matches("code == null"), None),
        (1, Condition::Holds(&built), None),
        (1, Condition::Holds(&unmet), Some(Code::ConditionFailed)),
        (1, Condition::Holds(&unknown), Some(Code::FieldNotFound)),
        (2, Condition::Holds(&built), Some(Code::RecordNotFound)),
        (1, Condition::Matches("rating >"), Some(Code::ExpressionInvalid)),
        (1, Condition::Matches("speed > 1"), Some(Code::FieldNotFound)),
        (1, Condition::Matches("title"), Some(Code::ExpressionInvalid)),
        (2, Condition::Always, None),
        (2, Condition::Exists, Some(Code::RecordNotFound)),
        (2, Condition::IsAbsent, None),
        (2, Condition::HasVersion(version), Some(Code::RecordNotFound)),
        (2, Condition::Matches("code == null"), Some(Code::RecordNotFound)),
        (2, Condition::Matches("rating >"), Some(Code::ExpressionInvalid)),
    ];
    for (number, condition, expected) in cases {
        // What is asked for is not done in the end: each case begins from the same records.
        let abandoned = |result: Result<()>| match result {
            Ok(()) => Err(Error::new(Code::TenantExists, "allowed")),
            Err(error) => Err(error),
        };
        let put: Result<()> = block_on(tenant.run(|transaction| async move {
            abandoned(transaction.put_if("item", &item("eu", number, "b"), condition).await)
        }));
        let delete: Result<()> = block_on(tenant.run(|transaction| async move {
            abandoned(transaction.delete_if("item", &key(number), condition).await.map(|found| {
                assert_eq!(found, number == 1);
            }))
        }));
        let update: Result<()> = block_on(tenant.run(|transaction| async move {
            let change = |record: &mut Record| {
                record.set("title", "b");
                Ok(())
            };
            abandoned(transaction.update_if("item", &key(number), condition, change).await.map(|_| ()))
        }));
        let patch = &json!({ "title": "b" });
        let patched: Result<()> = block_on(tenant.run(|transaction| async move {
            abandoned(transaction.merge_patch_if("item", &key(number), patch, condition).await.map(|_| ()))
        }));
        // There is nothing to change where there must be nothing.
        let of_change = match expected {
            None if number == 2 => Code::RecordNotFound,
            other => other.unwrap_or(Code::TenantExists),
        };
        let expected = expected.unwrap_or(Code::TenantExists);
        assert_eq!((code(put), code(delete)), (expected, expected), "{number} {condition:?}");
        assert_eq!((code(update), code(patched)), (of_change, of_change), "{number} {condition:?}");
    }
    let job = tenantry_core::jobs::DeleteWhere::parameters("item", field("rating").lt(5.0));
    assert_eq!(job, json!({ "type": "item", "where": "rating < 5.0" }));
    let now = get(&tenant, 1).unwrap().version().unwrap();
    assert!(block_on(tenant.delete_if("item", &key(1), Condition::HasVersion(now))).unwrap());
    assert!(!block_on(tenant.delete_if("item", &key(1), Condition::Always)).unwrap());
    // A version is known for what others wrote alone.
    let own: Result<bool> = block_on(tenant.run(|transaction| async move {
        transaction.insert("item", &item("eu", 1, "a")).await?;
        transaction.delete_if("item", &key(1), Condition::HasVersion(now)).await
    }));
    assert_eq!(code(own), Code::ConditionFailed);
}

#[test]
fn json_that_could_not_be_read_again_is_refused() {
    let env = tenantry_kv::conformance::reference::manual_env();
    let engine = std::sync::Arc::new(tenantry_kv::conformance::reference::ReferenceEngine::new(env.clone()));
    let database = block_on(tenantry_core::Database::open(engine, env, "test")).unwrap();
    let schema =
        "name = \"s\"\n[types.doc]\nprimary_key = [\"id\"]\nfields = { id = \"int\", body = \"json\" }\n";
    let schema = tenantry_core::SchemaDefinition::from_toml(schema).unwrap();
    block_on(database.apply_schema(&schema)).unwrap();
    let tenant = block_on(database.create_tenant("acme", "s")).unwrap();
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let doc = |depth| Record::new().with("id", 1).with("body", Value::Json(nested(depth)));
    block_on(tenant.put("doc", &doc(127))).unwrap();
    assert_eq!(block_on(tenant.get("doc", &PrimaryKey::of(1))).unwrap(), Some(doc(127)));
    assert_eq!(code(block_on(tenant.put("doc", &doc(128)))), Code::RecordInvalid);
    let patch = json!({ "body": nested(128) });
    assert_eq!(code(block_on(tenant.merge_patch("doc", &PrimaryKey::of(1), &patch))), Code::RecordInvalid);
    let deeper = json!({ "body": { "a": nested(127) } });
    assert_eq!(code(block_on(tenant.merge_patch("doc", &PrimaryKey::of(1), &deeper))), Code::RecordInvalid);
    block_on(tenant.merge_patch(
        "doc",
        &PrimaryKey::of(1),
        &json!({ "body": { "a": { "b": 1, "c": null } } }),
    ))
    .unwrap();
    block_on(tenant.merge_patch("doc", &PrimaryKey::of(1), &json!({ "body": { "a": { "d": 2 } } }))).unwrap();
    let found = block_on(tenant.get("doc", &PrimaryKey::of(1))).unwrap().unwrap();
    assert_eq!(found.to_json()["body"], json!({ "a": { "b": 1, "d": 2 } }));
}

/// Random operations, several in a transaction, against a map.
#[test]
fn random_operations_do_what_a_map_does() {
    for seed in 1..=12 {
        let tenant = tenant();
        let mut model: BTreeMap<i64, Record> = BTreeMap::new();
        let mut random = Random(seed * 7_919);
        for _ in 0..40 {
            let steps: Vec<(u64, i64, String)> = (0..=random.below(4))
                .map(|_| (random.below(8), random.below(6) as i64, format!("t{}", random.below(5))))
                .collect();
            let outcome = block_on(tenant.run(|transaction| {
                let (steps, mut model) = (steps.clone(), model.clone());
                async move {
                    for (step, number, title) in &steps {
                        apply(&transaction, &mut model, *step, *number, title).await;
                    }
                    Ok::<_, Error>(model)
                }
            }));
            model = outcome.unwrap();
            let keys: Vec<PrimaryKey> = (0..6).map(key).collect();
            let found = block_on(tenant.get_many("item", &keys)).unwrap();
            let expected: Vec<Option<Record>> = (0..6).map(|number| model.get(&number).cloned()).collect();
            assert_eq!(found, expected, "seed {seed}");
            check_index(&tenant);
        }
    }
}

async fn apply(
    transaction: &tenantry_core::TenantTransaction,
    model: &mut BTreeMap<i64, Record>,
    step: u64,
    number: i64,
    title: &str,
) {
    let record = item("eu", number, title);
    let is_there = model.contains_key(&number);
    let absent = |result: Result<()>| match is_there {
        true => result.is_ok(),
        false => result.is_err_and(|error| error.code() == Code::RecordNotFound),
    };
    match step {
        0 => {
            let result = transaction.insert("item", &record).await;
            assert_eq!(result.is_ok(), !is_there);
            model.entry(number).or_insert(record);
        }
        1 => {
            transaction.put("item", &record).await.unwrap();
            model.insert(number, record);
        }
        2 => {
            assert!(absent(transaction.replace("item", &record).await));
            if is_there {
                model.insert(number, record);
            }
        }
        3 => {
            let change = |record: &mut Record| {
                record.set("kind", Value::Enum("film".into()));
                Ok(())
            };
            assert!(absent(transaction.update("item", &key(number), change).await.map(|_| ())));
            if let Some(record) = model.get_mut(&number) {
                record.set("kind", Value::Enum("film".into()));
            }
        }
        4 => {
            let patch = json!({ "title": title, "kind": null });
            assert!(absent(transaction.merge_patch("item", &key(number), &patch).await.map(|_| ())));
            if let Some(record) = model.get_mut(&number) {
                record.set("title", title);
                record.remove("kind");
            }
        }
        5 => {
            let condition = format!("title == \"{title}\"");
            let result = transaction.delete_if("item", &key(number), Condition::Matches(&condition)).await;
            let matches = model.get(&number).is_some_and(|record| record.get("title") == Some(&title.into()));
            assert_eq!(result.is_ok(), matches);
            if matches {
                model.remove(&number);
            }
        }
        6 => {
            assert_eq!(transaction.delete("item", &key(number)).await.unwrap(), is_there);
            model.remove(&number);
        }
        _ => assert_eq!(transaction.exists("item", &key(number)).await.unwrap(), is_there),
    }
}

/// Xorshift: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
