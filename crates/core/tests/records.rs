//! Records: what is written is read, conditions hold, indexes follow, tenants see nothing of each other.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{SCHEMA, database, item, note, tenant};
use pollster::block_on;
use tenantry_core::{
    Applied, Code, Condition, Database, Kind, PrimaryKey, Query, RawRange, Record, Result, SchemaDefinition,
    Tenant, Value, parse_json,
};
use tenantry_kv::{Isolation, MutationType};

fn key(region: &str, number: i64) -> PrimaryKey {
    PrimaryKey { values: vec![region.into(), number.into()] }
}

fn get(tenant: &Tenant, region: &str, number: i64) -> Option<Record> {
    block_on(tenant.get("item", &key(region, number))).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.unwrap_err().code()
}

fn titles(tenant: &Tenant, query: &Query) -> Vec<String> {
    let page = block_on(tenant.query(query)).unwrap();
    page.records.iter().map(|record| record.get("title").unwrap().to_string()).collect()
}

#[test]
fn every_type_comes_back_as_it_went() {
    let tenant = tenant();
    let json = parse_json(
        r#"{"region":"eu\u0000x","number":-9223372036854775808,"title":"Zürich 🎬","price":"-12.50","rating":-0.0,"kind":"film","sold_on":"1998-06-12",
            "code":"","tags":["a",""],"size":{"width":3},"is_old":false,"blob":"AP8="}"#,
    )
    .unwrap();
    let schema = block_on(tenant.schema()).unwrap();
    let record = Record::from_json(&json, schema.definition.record_type("item").unwrap()).unwrap();
    block_on(tenant.insert("item", &record)).unwrap();
    let found = get(&tenant, "eu\0x", i64::MIN).unwrap();
    assert_eq!(found, record);
    assert_eq!(found.to_json(), record.to_json());
    assert!(found.version().is_some());
    let empty = item("x", 1, "").with("tags", Vec::<Value>::new());
    block_on(tenant.put("item", &empty)).unwrap();
    assert_eq!(get(&tenant, "x", 1).unwrap(), empty);
}

#[test]
fn conditions_hold_or_nothing_is_written() {
    let tenant = tenant();
    block_on(tenant.insert("item", &item("eu", 1, "one"))).unwrap();
    assert_eq!(code(block_on(tenant.insert("item", &item("eu", 1, "again")))), Code::RecordExists);
    let first = get(&tenant, "eu", 1).unwrap().version().unwrap();
    let put_if = |title: &'static str, condition| {
        let tenant = &tenant;
        block_on(tenant.run(|transaction| async move {
            transaction.put_if("item", &item("eu", 1, title), condition).await
        }))
    };
    put_if("two", Condition::HasVersion(first)).unwrap();
    assert_eq!(code(put_if("three", Condition::HasVersion(first))), Code::ConditionFailed);
    put_if("three", Condition::Exists).unwrap();
    let second = get(&tenant, "eu", 1).unwrap().version().unwrap();
    assert!(second > first);
    assert_eq!(second.to_string().parse::<tenantry_core::RecordVersion>().unwrap(), second);
    assert!(block_on(tenant.delete("item", &key("eu", 1))).unwrap());
    assert!(!block_on(tenant.delete("item", &key("eu", 1))).unwrap());
    assert_eq!(code(put_if("x", Condition::Exists)), Code::RecordNotFound);
    let own: Result<()> = block_on(tenant.run(|transaction| async move {
        transaction.insert("item", &item("eu", 1, "a")).await?;
        let record = transaction.get("item", &key("eu", 1)).await?.unwrap();
        assert_eq!(record.version(), None);
        transaction.put_if("item", &item("eu", 1, "b"), Condition::HasVersion(second)).await
    }));
    assert_eq!(code(own), Code::ConditionFailed);
    assert_eq!(get(&tenant, "eu", 1), None);
}

#[test]
fn a_transaction_sees_its_own_records_in_queries() {
    let tenant = tenant();
    block_on(tenant.insert("item", &item("eu", 1, "b"))).unwrap();
    block_on(tenant.run(|transaction| async move {
        transaction.insert("item", &item("eu", 2, "a")).await?;
        transaction.delete("item", &key("eu", 1)).await?;
        let query = Query::of("item").order_by("title");
        let page = transaction.query(&query).await?;
        assert_eq!(page.records.len(), 1);
        assert_eq!(page.records[0].get("title"), Some(&"a".into()));
        transaction.insert("item", &item("eu", 3, "c")).await?;
        assert_eq!(transaction.query(&query).await?.records.len(), 2);
        Ok::<_, tenantry_core::Error>(())
    }))
    .unwrap();
    assert_eq!(titles(&tenant, &Query::of("item")), ["a", "c"]);
}

#[test]
fn large_records_are_split_and_shrink_again() {
    let tenant = tenant();
    for size in [89_990, 90_001, 400_000, 999_000, 10, 200_000] {
        let blob: Vec<u8> = (0..size).map(|index: usize| (index % 251) as u8).collect();
        let record = item("eu", 1, "blob").with("blob", bytes::Bytes::from(blob));
        block_on(tenant.put("item", &record)).unwrap();
        assert_eq!(get(&tenant, "eu", 1).unwrap(), record);
        let both = block_on(tenant.query(&Query::of("item"))).unwrap();
        assert_eq!(both.records, [record]);
    }
    let huge = item("eu", 2, "huge").with("blob", bytes::Bytes::from(vec![0; 1_000_001]));
    assert_eq!(code(block_on(tenant.put("item", &huge))), Code::LimitPassed);
    assert!(block_on(tenant.delete("item", &key("eu", 1))).unwrap());
    assert!(block_on(tenant.query(&Query::of("item"))).unwrap().records.is_empty());
}

#[test]
fn unique_indexes_allow_one() {
    let tenant = tenant();
    let with_code = |number: i64, value: &str| item("eu", number, "t").with("code", value);
    block_on(tenant.insert("item", &with_code(1, "A"))).unwrap();
    let error = block_on(tenant.insert("item", &with_code(2, "A"))).unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::UniqueViolation, Kind::Refused));
    assert!(error.detail().contains("by_code") && error.detail().contains("\"A\""), "{error}");
    assert_eq!(get(&tenant, "eu", 2), None);
    // Missing values are not compared; the record itself may be written again; a value is free once its record gave it up.
    block_on(tenant.insert("item", &item("eu", 3, "t"))).unwrap();
    block_on(tenant.insert("item", &item("eu", 4, "t"))).unwrap();
    block_on(tenant.put("item", &with_code(1, "A"))).unwrap();
    block_on(tenant.put("item", &with_code(1, "B"))).unwrap();
    block_on(tenant.insert("item", &with_code(2, "A"))).unwrap();
    let found = block_on(tenant.query(&Query::of("item").filter("code == \"A\""))).unwrap();
    assert_eq!(found.explanation.index.as_deref(), Some("by_code"));
    assert_eq!(found.records[0].get("number"), Some(&2.into()));
    let missing = block_on(tenant.query(&Query::of("item").filter("code == null"))).unwrap();
    assert_eq!((missing.records.len(), missing.explanation.index.as_deref()), (2, Some("by_code")));
}

#[test]
fn tenants_with_equal_keys_see_nothing_of_each_other() {
    let database = database();
    let tenants: Vec<Tenant> =
        ["a", "ab", "b"].iter().map(|name| block_on(database.create_tenant(name, "shop")).unwrap()).collect();
    for (tenant, title) in tenants.iter().zip(["x", "y", "z"]) {
        block_on(tenant.insert("item", &item("eu", 1, title))).unwrap();
        block_on(tenant.run(|transaction| async move {
            transaction.raw_set(b"k", title.as_bytes())?;
            transaction.add_to_counter("c", 1)
        }))
        .unwrap();
    }
    for (tenant, title) in tenants.iter().zip(["x", "y", "z"]) {
        assert_eq!(titles(tenant, &Query::of("item")), [title]);
        assert_eq!(titles(tenant, &Query::of("item").order_by_descending("title")), [title]);
        block_on(tenant.read(|transaction| async move {
            assert_eq!(transaction.raw_get(b"k").await?.as_deref(), Some(title.as_bytes()));
            for reverse in [false, true] {
                let page = transaction.raw_range(&RawRange::all().reverse(reverse)).await?;
                assert_eq!(page.rows.len(), 1);
            }
            assert_eq!(transaction.counter("c").await?, 1);
            Ok::<_, tenantry_core::Error>(())
        }))
        .unwrap();
    }
}

#[test]
fn a_deleted_tenant_is_gone_and_its_id_never_comes_back() {
    let database = database();
    let first = block_on(database.create_tenant("acme", "shop")).unwrap();
    block_on(first.insert("item", &item("eu", 1, "x"))).unwrap();
    assert_eq!(code(block_on(database.create_tenant("acme", "shop"))), Code::TenantExists);
    block_on(database.delete_tenant("acme")).unwrap();
    assert_eq!(code(block_on(database.tenant("acme"))), Code::TenantNotFound);
    assert_eq!(code(block_on(first.get("item", &key("eu", 1)))), Code::TenantNotFound);
    assert_eq!(code(block_on(first.insert("item", &item("eu", 2, "y")))), Code::TenantNotFound);
    let second = block_on(database.create_tenant("acme", "shop")).unwrap();
    assert!(second.info().id > first.info().id);
    assert_ne!(second.info().uuid, first.info().uuid);
    assert_eq!(get(&second, "eu", 1), None);
    assert_eq!(code(block_on(first.insert("item", &item("eu", 2, "y")))), Code::TenantNotFound);
}

#[test]
fn deleting_a_tenant_conflicts_with_who_works_on_it() {
    let database = database();
    let tenant = block_on(database.create_tenant("acme", "shop")).unwrap();
    let mut attempts = 0;
    let result: Result<()> = block_on(tenant.run(|transaction| {
        attempts += 1;
        let database = database.clone();
        async move {
            transaction.insert("note", &note(1, "late")).await?;
            if database.tenant("acme").await.is_ok() {
                database.delete_tenant("acme").await?;
            }
            Ok(())
        }
    }));
    assert_eq!(code(result), Code::TenantNotFound);
    // On a cluster an attempt begins with the header that was known before it has the one that is there.
    assert!((1..=1 + u32::from(common::engine::is_cluster())).contains(&attempts), "{attempts} attempts");
    let statistics = block_on(database.statistics()).unwrap();
    assert_eq!(statistics.tenants, 0);
}

#[test]
fn schemas_are_applied_once() {
    let database = database();
    let schema = SchemaDefinition::from_toml(SCHEMA).unwrap();
    assert_eq!(block_on(database.apply_schema(&schema)).unwrap(), Applied::Unchanged);
    let mut other = schema.clone();
    other.types[0].fields[2].is_optional = true;
    let error = block_on(database.apply_schema(&other)).unwrap_err();
    assert_eq!(error.code(), Code::SchemaDiffers);
    assert!(error.detail().contains("\"title\""), "{error}");
    assert_eq!(block_on(database.schema_names()).unwrap(), ["shop"]);
    assert_eq!(code(block_on(database.schema("none"))), Code::SchemaNotFound);
    assert_eq!(code(block_on(database.create_tenant("x", "none"))), Code::SchemaNotFound);
}

#[test]
fn a_database_is_opened_again_as_it_was_left() {
    let database = database();
    let tenant = block_on(database.create_tenant("acme", "shop")).unwrap();
    block_on(tenant.insert("item", &item("eu", 1, "x"))).unwrap();
    let env = tenantry_kv::conformance::reference::manual_env();
    let again = block_on(Database::open(
        tenantry_core::engine_access::engine(&database).clone(),
        env.clone(),
        database.name(),
    ))
    .unwrap();
    assert_eq!(again.uuid(), database.uuid());
    assert_eq!(get(&block_on(again.tenant("acme")).unwrap(), "eu", 1), Some(item("eu", 1, "x")));
    let other = block_on(Database::open(
        tenantry_core::engine_access::engine(&database).clone(),
        env,
        &common::engine::name("other"),
    ))
    .unwrap();
    assert_ne!(other.uuid(), database.uuid());
    assert_eq!(code(block_on(other.tenant("acme"))), Code::TenantNotFound);
}

#[test]
fn tenants_are_listed_by_pages() {
    let database = database();
    for name in ["delta", "alpha", "charlie", "bravo"] {
        block_on(database.create_tenant(name, "shop")).unwrap();
    }
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let page = block_on(database.tenants(after.as_deref(), 3)).unwrap();
        names.extend(page.tenants.into_iter().map(|info| info.name));
        after = page.after;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names, ["alpha", "bravo", "charlie", "delta"]);
    assert_eq!(code(block_on(database.tenants(None, 0))), Code::LimitPassed);
}

#[test]
fn counters_and_sequences_count() {
    let tenant = tenant();
    for _ in 0..3 {
        block_on(tenant.run(|transaction| async move { transaction.add_to_counter("visits", 5) })).unwrap();
        block_on(tenant.run(|transaction| async move { transaction.next_in_sequence("orders").await }))
            .unwrap();
    }
    block_on(tenant.read(|transaction| async move {
        transaction.set_isolation(Isolation::Snapshot);
        assert_eq!(transaction.counter("visits").await?, 15);
        assert_eq!(transaction.counter("none").await?, 0);
        assert_eq!(transaction.next_in_sequence("orders").await?, 4);
        Ok::<_, tenantry_core::Error>(())
    }))
    .unwrap();
}

#[test]
fn raw_keys_stay_in_their_space() {
    let tenant = tenant();
    block_on(tenant.run(|transaction| async move {
        for key in [b"".as_slice(), b"a", b"a\0", b"\xff", b"\xff\xff"] {
            transaction.raw_set(key, key)?;
        }
        transaction.raw_atomic(MutationType::Add, b"n", &[1, 0])?;
        Ok::<_, tenantry_core::Error>(())
    }))
    .unwrap();
    let range = |range: RawRange| {
        let page = block_on(tenant.read(|transaction| {
            let range = range.clone();
            async move { transaction.raw_range(&range).await }
        }));
        page.map(|page| (page.rows.into_iter().map(|row| row.0.to_vec()).collect::<Vec<_>>(), page.next))
    };
    let all = range(RawRange::all()).unwrap().0;
    assert_eq!(
        all,
        [b"".to_vec(), b"a".to_vec(), b"a\0".to_vec(), b"n".to_vec(), b"\xff".to_vec(), b"\xff\xff".to_vec()]
    );
    assert_eq!(range(RawRange::prefix(b"a")).unwrap().0.len(), 2);
    assert_eq!(range(RawRange::prefix(b"\xff")).unwrap().0.len(), 2);
    assert_eq!(range(RawRange::new("a", "a")).unwrap().0.len(), 0);
    assert_eq!(range(RawRange::new("b", "a")).unwrap_err().code(), Code::QueryInvalid);
    assert_eq!(range(RawRange::all().rows_max(0)).unwrap_err().code(), Code::LimitPassed);
    for reverse in [false, true] {
        let (mut rows, mut next) = range(RawRange::all().rows_max(2).reverse(reverse)).unwrap();
        while let Some(rest) = next {
            let (more, after) = range(rest).unwrap();
            rows.extend(more);
            next = after;
        }
        rows.sort();
        assert_eq!(rows, all);
    }
    let run = |key: Vec<u8>, value: Vec<u8>| {
        block_on(tenant.run(|transaction| {
            let (key, value) = (key.clone(), value.clone());
            async move { transaction.raw_set(&key, &value) }
        }))
    };
    run(vec![b'k'; 9_900], vec![0; 100_000]).unwrap();
    assert_eq!(code(run(vec![b'k'; 9_901], vec![])), Code::LimitPassed);
    assert_eq!(code(run(vec![b'k'], vec![0; 100_001])), Code::LimitPassed);
    let stamped: Result<()> = block_on(tenant.run(|transaction| async move {
        transaction.raw_atomic(MutationType::SetVersionstampedValue, b"k", &[0; 14])
    }));
    assert_eq!(code(stamped), Code::QueryInvalid);
}

#[test]
fn too_much_in_one_transaction_is_refused_whole() {
    let tenant = tenant();
    let result: Result<()> = block_on(tenant.run(|transaction| async move {
        for number in 0..50 {
            transaction.raw_set(&[number], &[7; 100_000])?;
        }
        Ok(())
    }));
    assert_eq!(code(result), Code::LimitPassed);
    block_on(tenant.run(|transaction| async move {
        for number in 0..44 {
            transaction.raw_set(&[number], &[7; 100_000])?;
        }
        Ok::<_, tenantry_core::Error>(())
    }))
    .unwrap();
}

#[test]
fn records_that_do_not_fit_are_refused_by_name() {
    let tenant = tenant();
    let schema = block_on(tenant.schema()).unwrap();
    let item_type = schema.definition.record_type("item").unwrap();
    let cases = [
        (r#"{"region":"eu","number":1}"#, "\"title\" is missing"),
        (r#"{"region":"eu","number":"1","title":"t"}"#, "takes an integer"),
        (r#"{"region":"eu","number":1.0,"title":"t"}"#, "takes an integer"),
        (r#"{"region":"eu","number":9223372036854775808,"title":"t"}"#, "takes an integer"),
        (r#"{"region":"eu","number":1,"title":1776}"#, "takes a string, not 1776"),
        (r#"{"region":"eu","number":1,"title":"t","speed":1}"#, "no field \"speed\""),
        (r#"{"region":"eu","number":1,"title":"t","kind":"opera"}"#, "\"book\", \"film\", \"game\""),
        (r#"{"region":"eu","number":1,"title":"t","sold_on":"Jun 12 1998"}"#, "1998-06-12"),
        (r#"{"region":"eu","number":1,"title":"t","sold_on":"1998-02-30"}"#, "takes a date"),
        (r#"{"region":"eu","number":1,"title":"t","rating":1e400}"#, "takes a number"),
        (
            r#"{"region":"eu","number":1,"title":"t","price":"1.00000000000000000000000000000000001"}"#,
            "28 digits",
        ),
        (r#"{"region":"eu","number":1,"title":"t","size":{"depth":1}}"#, "\"size.width\""),
        (r#"{"region":"eu","number":1,"title":"t","tags":["a",1]}"#, "\"tags[1]\""),
        (r#"{"region":"eu","number":1,"title":"t","blob":"*"}"#, "base64"),
        (r#"[1]"#, "a record is an object"),
    ];
    for (text, part) in cases {
        let error = Record::from_json(&parse_json(text).unwrap(), item_type).unwrap_err();
        assert_eq!(error.code(), Code::RecordInvalid, "{text}");
        assert!(error.detail().contains(part), "{text}: {error}");
    }
    let nan = item("eu", 1, "t").with("rating", f64::NAN);
    assert_eq!(code(block_on(tenant.put("item", &nan))), Code::RecordInvalid);
    let long = item(&"x".repeat(5_000), 1, "t");
    assert_eq!(code(block_on(tenant.put("item", &long))), Code::LimitPassed);
    assert_eq!(code(block_on(tenant.put("none", &nan))), Code::TypeNotFound);
    let short = PrimaryKey::of("eu");
    assert_eq!(code(block_on(tenant.get("item", &short))), Code::KeyInvalid);
    assert_eq!(PrimaryKey::parse(r#"["eu",7]"#, item_type).unwrap(), key("eu", 7));
    for text in ["eu", "[\"eu\"]", "[\"eu\",\"7\"]", "[[[["] {
        assert_eq!(code(PrimaryKey::parse(text, item_type)), Code::KeyInvalid, "{text}");
    }
}

#[test]
fn a_watch_fires_when_the_tenant_changes_and_not_before() {
    let tenant = tenant();
    let other = block_on(tenant.watch()).unwrap();
    let record = block_on(
        tenant.run(|transaction| async move { transaction.watch_record("note", &PrimaryKey::of(1)) }),
    )
    .unwrap();
    block_on(tenant.insert("note", &note(2, "other"))).unwrap();
    block_on(other).unwrap();
    block_on(tenant.insert("note", &note(1, "mine"))).unwrap();
    block_on(record).unwrap();
}

/// Snapshot reads were taken for what a write has to know as well: two transactions inserted the same record, and an index kept an entry of a value that was
/// gone.
#[test]
fn writes_read_what_they_need_with_a_conflict_whatever_the_isolation() {
    let tenant = tenant();
    block_on(tenant.insert("item", &item("eu", 1, "first"))).unwrap();
    let disturbed = std::cell::Cell::new(false);
    let result: Result<()> = block_on(tenant.run(|transaction| {
        let (tenant, disturbed) = (&tenant, &disturbed);
        async move {
            transaction.set_isolation(Isolation::Snapshot);
            transaction.put("item", &item("eu", 1, "mine")).await?;
            transaction.insert("item", &item("eu", 2, "mine")).await?;
            if !disturbed.replace(true) {
                tenant.put("item", &item("eu", 1, "theirs")).await?;
                tenant.insert("item", &item("eu", 2, "theirs")).await?;
            }
            Ok(())
        }
    }));
    assert_eq!(code(result), Code::RecordExists);
    for (title, count) in [("first", 0), ("mine", 0), ("theirs", 2)] {
        let query = Query::of("item").filter(format!("title == \"{title}\""));
        assert_eq!(titles(&tenant, &query).len(), count, "{title}");
    }
}

/// A page of two read hundreds of entries, and conflicted with all of them.
#[test]
fn a_page_conflicts_with_what_it_had_to_look_at() {
    let tenant = tenant();
    for number in 0..50 {
        block_on(tenant.insert("item", &item("eu", number, "t"))).unwrap();
    }
    let (tenant, disturbed) = (&tenant, &std::cell::Cell::new(false));
    let completed = block_on(tenant.run_completed(|transaction| async move {
        let page = transaction.query(&Query::of("item").filter("number >= 0").rows_max(2)).await?;
        assert_eq!(page.records.len(), 2);
        if !disturbed.replace(true) {
            tenant.put("item", &item("eu", 40, "changed")).await?;
        }
        transaction.raw_set(b"k", b"v")
    }))
    .unwrap();
    assert_eq!(completed.attempts, 1);
}
