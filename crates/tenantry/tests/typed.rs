//! Handles on typed records: every operation, on a tenant, in a transaction and for a reader; typed and untyped see the same.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use futures_util::TryStreamExt;
use proptest::prelude::*;
use serde_json::json;
use tenantry::{
    Aggregation, Bytes, Code, Condition, Error, Json, Measure, PrimaryKey, Query, Record, Records, Result,
    SchemaDefinition, Tenant, Timestamp, TypedRecord, Value, Versioned, block_on, field, limits,
};

#[derive(Record, Clone, Debug, PartialEq)]
#[record(primary_key = ["list", "number"], index(by_rank, fields = ["rank:desc"]))]
struct Entry {
    list: String,
    number: i32,
    rank: Option<u16>,
    spot: Option<Spot>,
}

#[derive(Value, Clone, Debug, PartialEq)]
struct Spot {
    x: i64,
}

/// What an older program knows of an entry.
#[derive(Record, Clone, Debug, PartialEq)]
#[record(name = "entry")]
struct OldEntry {
    #[record(primary_key)]
    list: String,
    #[record(primary_key)]
    number: i32,
    spot: Option<OldSpot>,
}

#[derive(Value, Clone, Debug, PartialEq)]
struct OldSpot {
    y: Option<i64>,
}

fn tenant() -> Tenant {
    block_on(async {
        let database = common::database();
        let schema = SchemaDefinition::from_toml(
            r#"
            name = "lists"
            [types.entry]
            primary_key = ["list", "number"]
            fields.list = "string"
            fields.number = { type = "int", min = -2147483648 }
            fields.rank = { type = "int", optional = true }
            fields.spot = { type = "struct", optional = true, fields = { x = "int", y = { type = "int", optional = true } } }
            indexes.by_rank = { fields = ["rank:desc"] }
            "#,
        )?;
        database.apply_schema(&schema).await?;
        database.create_tenant("acme", "lists").await
    })
    .unwrap()
}

fn entry(number: i32, rank: Option<u16>) -> Entry {
    Entry { list: "a".to_owned(), number, rank, spot: Some(Spot { x: i64::from(number) }) }
}

fn key(number: i32) -> (String, i32) {
    ("a".to_owned(), number)
}

fn untyped_key(number: i32) -> PrimaryKey {
    PrimaryKey { values: vec!["a".into(), number.into()] }
}

fn code<T>(result: Result<T>) -> Option<Code> {
    result.err().map(|error| error.code())
}

#[test]
fn every_operation_of_a_tenant_has_its_typed_form() {
    let tenant = tenant();
    let entries: Records<Entry> = tenant.records();
    block_on(async {
        entries.insert(&entry(1, Some(5))).await?;
        assert_eq!(code(entries.insert(&entry(1, None)).await), Some(Code::RecordExists));
        entries.insert_new(&entry(2, None)).await?;
        entries.put(&entry(3, Some(9))).await?;
        assert_eq!(code(entries.replace(&entry(4, None)).await), Some(Code::RecordNotFound));
        entries.replace(&entry(3, Some(8))).await?;
        let seen = entries.get_versioned(&key(3)).await?.unwrap();
        let version = seen.version.unwrap();
        assert_eq!(seen.record, entry(3, Some(8)));
        entries.put_if(&entry(3, Some(7)), Condition::HasVersion(version)).await?;
        let late = entries.put_if(&entry(3, Some(6)), Condition::HasVersion(version)).await;
        assert_eq!(code(late), Some(Code::ConditionFailed));
        let unmet = entries.delete_if(&key(3), Condition::Matches("rank > 100")).await;
        assert_eq!(code(unmet), Some(Code::ConditionFailed));
        let changed = entries
            .update(&key(3), |entry| {
                entry.rank = entry.rank.map(|rank| rank + 1);
                Ok(())
            })
            .await?;
        assert_eq!(changed, entry(3, Some(8)));
        let patched = entries.merge_patch(&key(1), &json!({ "rank": null })).await?;
        assert_eq!(patched, entry(1, None));
        let many = entries.get_many(&[key(3), key(9), key(1)]).await?;
        assert_eq!(many, [Some(entry(3, Some(8))), None, Some(entry(1, None))]);
        assert!(entries.exists(&key(2)).await? && !entries.exists(&key(9)).await?);
        let page =
            entries.query(&Query::all::<Entry>().filter("rank > 1").order_by_descending("rank")).await?;
        assert_eq!(
            (page.records, page.explanation.index.as_deref()),
            (vec![entry(3, Some(8))], Some("by_rank"))
        );
        assert!(page.versions[0].unwrap() > version);
        let streamed: Vec<Entry> = entries.stream(Query::all::<Entry>().rows_max(1))?.try_collect().await?;
        assert_eq!(streamed, [entry(1, None), entry(2, None), entry(3, Some(8))]);
        assert_eq!((entries.count().await?, entries.count_where("rank == null").await?), (3, 2));
        assert_eq!(entries.count_where(field("rank").gt(1)).await?, 1);
        let groups = entries.aggregate(&Aggregation::all::<Entry>().measure(Measure::max("rank"))).await?;
        assert_eq!(groups.groups[0].measures, [Some(Value::Int(8))]);
        assert!(entries.delete(&key(1)).await? && !entries.delete(&key(1)).await?);
        assert_eq!(entries.delete_where(&Query::all::<Entry>().filter("rank == 8")).await?.deleted, 1);
        assert_eq!(entries.delete_all_where(&Query::all::<Entry>()).await?, 1);
        for refused in [Query::of("other"), Query::all::<Entry>().select(["rank"])] {
            assert_eq!(code(entries.query(&refused).await), Some(Code::QueryInvalid));
            assert_eq!(code(entries.delete_all_where(&refused).await), Some(Code::QueryInvalid));
        }
        Ok::<_, Error>(())
    })
    .unwrap();
}

#[test]
fn a_transaction_sees_what_it_wrote_and_takes_it_back() {
    let tenant = tenant();
    block_on(async {
        let failed = tenant.run(|transaction| async move {
            let entries = transaction.records::<Entry>();
            entries.insert(&entry(1, Some(1))).await?;
            entries
                .update(&key(1), |entry| {
                    entry.rank = Some(2);
                    Ok(())
                })
                .await?;
            assert_eq!(entries.get(&key(1)).await?, Some(entry(1, Some(2))));
            assert_eq!(entries.count().await?, 1);
            assert_eq!(entries.get_versioned(&key(1)).await?.unwrap().version, None);
            Err::<(), _>(Error::new(Code::RecordNotFound, "a change of mind"))
        });
        assert_eq!(code(failed.await), Some(Code::RecordNotFound));
        assert!(!tenant.records::<Entry>().exists(&key(1)).await?);
        tenant
            .run(|transaction| async move { transaction.records().insert(&entry(1, Some(3))).await })
            .await?;
        let (found, counted) = tenant
            .read_only(|reader| async move {
                let entries = reader.records::<Entry>();
                let page = entries.query(&Query::all::<Entry>()).await?;
                Ok::<_, Error>((page.records, entries.get_many(&[key(1)]).await?))
            })
            .await?;
        assert_eq!((found, counted), (vec![entry(1, Some(3))], vec![Some(entry(1, Some(3)))]));
        Ok::<_, Error>(())
    })
    .unwrap();
}

/// A program with an older struct changes a record and loses nothing of what newer ones wrote; a number that it has no room for is an error.
#[test]
fn an_older_struct_keeps_what_it_does_not_know() {
    let tenant = tenant();
    block_on(async {
        tenant.records::<Entry>().insert(&entry(7, Some(4))).await?;
        tenant
            .records::<OldEntry>()
            .update(&key(7), |old| {
                old.spot = Some(OldSpot { y: Some(1) });
                Ok(())
            })
            .await?;
        let record = tenant.get("entry", &untyped_key(7)).await?.unwrap();
        assert_eq!(record.get("rank"), Some(&Value::Int(4)));
        let Some(Value::Struct(spot)) = record.get("spot") else { unreachable!("{record:?}") };
        assert!(spot.contains(&("x".into(), Value::Int(7))) && spot.contains(&("y".into(), Value::Int(1))));
        tenant.put("entry", &record.with("rank", 70_000)).await?;
        let error = tenant.records::<Entry>().get(&key(7)).await.unwrap_err();
        assert_eq!(error.code(), Code::RustTypeDiffers);
        assert!(error.detail().contains(r#""entry": the field "rank" holds 70000"#), "{error}");
        Ok::<_, Error>(())
    })
    .unwrap();
}

#[derive(Record, Clone, Debug, PartialEq)]
#[record(
    index(board, kind = "rank", group = ["room"], fields = ["points:desc"]),
    index(changes, kind = "version", group = ["room"])
)]
struct Score {
    #[record(primary_key)]
    name: String,
    room: String,
    points: Option<i32>,
}

/// Positions, the order of changes and watches are those of the untyped operations, on a tenant, in a transaction and for a reader.
#[test]
fn positions_changes_and_watches_have_their_typed_form() {
    block_on(async {
        let database = common::database();
        database.apply_schema(&SchemaDefinition::builder("games").with::<Score>().finish()?).await?;
        let tenant = database.create_tenant("acme", "games").await?;
        let scores = tenant.records::<Score>();
        let score =
            |name: &str, points: Option<i32>| Score { name: name.to_owned(), room: "red".to_owned(), points };
        let (any, awaited) = (scores.watch().await?, scores.watch_record("d").await?);
        for (name, points) in [("c", Some(7)), ("a", Some(9)), ("b", None)] {
            scores.insert(&score(name, points)).await?;
        }
        any.await?;
        let red = [Some("red".into())];
        assert_eq!(scores.rank_of("board", "c").await?, Some(1));
        assert_eq!(scores.rank_of("board", "nobody").await?, None);
        assert_eq!(scores.rank_of_value("board", &red, &[Some(8.into())]).await?, 1);
        assert_eq!(scores.at_rank("board", &red, 0).await?, Some(score("a", Some(9))));
        assert_eq!(scores.at_rank("board", &red, 3).await?, None);
        assert_eq!(scores.ranked("board", &red, 1, 9).await?, [score("c", Some(7)), score("b", None)]);
        assert_eq!(scores.rank_count("board", &red).await?, 3);
        assert_eq!(code(scores.rank_of("changes", "c").await), Some(Code::QueryInvalid));

        let changed = scores.changed_after("changes", &red, None, 2).await?;
        let names = |changed: &[Versioned<Score>]| {
            changed.iter().map(|versioned| versioned.record.name.clone()).collect::<String>()
        };
        assert_eq!(names(&changed), "ca");
        let rest = scores.changed_after("changes", &red, changed[1].version, 9).await?;
        assert_eq!((names(&rest).as_str(), rest[0].version > changed[1].version), ("b", true));

        let waiting = tenant
            .run(|transaction| async move {
                let scores = transaction.records::<Score>();
                scores
                    .update("c", |score| {
                        score.points = Some(10);
                        Ok(())
                    })
                    .await?;
                assert_eq!(scores.rank_of("board", "c").await?, Some(0));
                Ok::<_, Error>((scores.watch()?, scores.watch_record("a")?))
            })
            .await?;
        scores.insert(&score("d", None)).await?;
        waiting.0.await?;
        awaited.await?;
        scores.delete("a").await?;
        waiting.1.await?;
        let (first, count) = tenant
            .read_only(|reader| async move {
                let (scores, red) = (reader.records::<Score>(), [Some("red".into())]);
                Ok::<_, Error>((
                    scores.at_rank("board", &red, 0).await?,
                    scores.rank_count("board", &red).await?,
                ))
            })
            .await?;
        assert_eq!((first, count), (Some(score("c", Some(10))), 3));
        Ok::<_, Error>(())
    })
    .unwrap();
}

/// What an older program knows of an order.
#[derive(Record, Clone, Debug, PartialEq)]
#[record(name = "order")]
struct OldOrder {
    #[record(primary_key)]
    id: i64,
    lines: Vec<OldLine>,
}

#[derive(Value, Clone, Debug, PartialEq)]
struct OldLine {
    item: String,
    parts: Vec<OldPart>,
}

#[derive(Value, Clone, Debug, PartialEq)]
struct OldPart(OldSpot);

/// The elements of a list keep what an older struct does not know of them: the unchanged ones wherever they stand, the changed ones where they stood.
#[test]
fn elements_keep_what_an_older_struct_does_not_know() {
    let lines = |lines: serde_json::Value| json!({ "id": 1, "lines": lines });
    let line = |item: &str, note: &str, parts: serde_json::Value| json!({ "item": item, "parts": parts, "note": note });
    block_on(async {
        let database = common::database();
        let schema = SchemaDefinition::from_toml(
            r#"
            name = "orders"
            [types.order]
            primary_key = ["id"]
            fields.id = "int"
            [types.order.fields.lines]
            type = "list"
            [types.order.fields.lines.of]
            type = "struct"
            fields.note = { type = "string", optional = true }
            fields.item = "string"
            fields.parts = { type = "list", of = { type = "struct", fields = { x = { type = "int", optional = true }, y = { type = "int", optional = true } } } }
            "#,
        )?;
        let order = schema.record_type("order")?.clone();
        database.apply_schema(&schema).await?;
        let tenant = database.create_tenant("acme", "orders").await?;
        let before = lines(json!([
            line("a", "first", json!([{ "x": 1, "y": 1 }, { "x": 2, "y": 2 }])),
            line("b", "second", json!([])),
            line("c", "third", json!([{ "x": 3 }])),
        ]));
        tenant.put("order", &Record::from_json(&before, &order)?).await?;
        tenant
            .records::<OldOrder>()
            .update(&1, |order| {
                order.lines.swap(1, 2);
                order.lines[0].parts[1].0.y = Some(20);
                order.lines.push(OldLine { item: "d".to_owned(), parts: Vec::new() });
                Ok(())
            })
            .await?;
        let after = tenant.get("order", &PrimaryKey::of(1)).await?.unwrap();
        let expected = lines(json!([
            line("a", "first", json!([{ "x": 1, "y": 1 }, { "x": 2, "y": 20 }])),
            line("c", "third", json!([{ "x": 3 }])),
            line("b", "second", json!([])),
            { "item": "d", "parts": [] },
        ]));
        assert_eq!(after.get("lines"), Record::from_json(&expected, &order)?.get("lines"));
        Ok::<_, Error>(())
    })
    .unwrap();
}

#[derive(Record, Debug, PartialEq)]
#[record(primary_key = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"])]
#[rustfmt::skip]
struct Long {
    a: i64, b: String, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64,
    i: i64, j: i64, k: i64, l: i64, m: i64, n: i64, o: i64, p: bool,
}

#[test]
fn a_key_has_as_many_fields_as_the_limit_says() {
    assert_eq!(limits::COLUMNS_MAX, 16);
    #[rustfmt::skip]
    let long = Long {
        a: 1, b: "b".to_owned(), c: 3, d: 4, e: 5, f: 6, g: 7, h: 8,
        i: 9, j: 10, k: 11, l: 12, m: 13, n: 14, o: 15, p: true,
    };
    block_on(async {
        let database = common::database();
        database.apply_schema(&SchemaDefinition::builder("long").with::<Long>().finish()?).await?;
        let records = database.create_tenant("acme", "long").await?.records::<Long>();
        records.insert(&long).await?;
        assert_eq!(records.get(&long.key()).await?, Some(long));
        Ok::<_, Error>(())
    })
    .unwrap();
}

#[derive(Record, Clone, Debug, PartialEq)]
struct Stamp {
    #[record(primary_key)]
    id: i64,
    #[record(default = { now = true })]
    at: Option<Timestamp>,
    body: Json,
    seal: Bytes,
}

/// The present moment of a tenant fits a field, and is that of defaults; one with nanoseconds is refused with the way out.
#[test]
fn the_present_moment_fits_a_field() {
    block_on(async {
        let database = common::database();
        database.apply_schema(&SchemaDefinition::builder("stamps").with::<Stamp>().finish()?).await?;
        let tenant = database.create_tenant("acme", "stamps").await?;
        let stamps = tenant.records::<Stamp>();
        let body = json!({ "a": null });
        let stamp = Stamp { id: 1, at: Some(tenant.now()), body, seal: Bytes::from_static(b"s") };
        stamps.insert(&stamp).await?;
        assert_eq!(stamps.get(&1).await?, Some(stamp.clone()));
        let defaulted =
            Record::new().with("id", 2).with("body", Value::Json(Json::Null)).with("seal", Bytes::new());
        tenant.insert("stamp", &defaulted).await?;
        let at = stamps.get(&2).await?.unwrap().at;
        assert!(stamp.at <= at && at <= Some(database.now()), "{at:?}");

        let finer = "2026-01-02T03:04:05.000000001Z".parse::<Timestamp>().unwrap();
        let error = stamps.put(&Stamp { at: Some(finer), ..stamp }).await.unwrap_err();
        let detail = error.detail();
        assert!(
            detail.contains("\"at\" holds whole microseconds") && detail.contains("Tenant::now"),
            "{detail}"
        );
        let query = Query::all::<Stamp>().filter(field("at").lt(finer));
        let error = stamps.query(&query).await.unwrap_err();
        assert!(error.detail().contains("Tenant::now"), "{error}");
        Ok::<_, Error>(())
    })
    .unwrap();
}

/// Futures of handles go from thread to thread.
#[test]
fn futures_of_handles_are_send() {
    fn is_send<T: Send>(_: T) {}
    let tenant = tenant();
    let entries = tenant.records::<Entry>();
    let (entry, key) = (entry(1, None), key(1));
    is_send(entries.insert(&entry));
    is_send(entries.update(&key, |_| Ok(())));
    is_send(entries.get(&key));
    is_send(entries.ranked("by_rank", &[], 0, 1));
    is_send(entries.watch_record(&key));
    is_send(entries.stream(Query::all::<Entry>()).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn typed_and_untyped_see_the_same(number in any::<i32>(), rank in any::<Option<u16>>(), x in any::<Option<i64>>()) {
        let written = Entry { list: "a".to_owned(), number, rank, spot: x.map(|x| Spot { x }) };
        let mut expected = Record::new().with("list", "a").with("number", number);
        if let Some(rank) = rank {
            expected.set("rank", i64::from(rank));
        }
        if let Some(x) = x {
            expected.set("spot", Value::Struct(vec![("x".into(), Value::Int(x))]));
        }
        prop_assert_eq!(&written.to_record().unwrap(), &expected);
        let tenant = tenant();
        block_on(async {
            tenant.records().put(&written).await?;
            assert_eq!(tenant.get("entry", &untyped_key(number)).await?, Some(expected.clone()));
            tenant.put("entry", &expected).await?;
            assert_eq!(tenant.records::<Entry>().get(&key(number)).await?, Some(written.clone()));
            Ok::<_, Error>(())
        }).unwrap();
    }
}
