//! Handles on typed records: every operation, on a tenant, in a transaction and for a reader; typed and untyped see the same.
#![allow(clippy::unwrap_used, reason = "a test")]

use futures_util::TryStreamExt;
use proptest::prelude::*;
use serde_json::json;
use tenantry::{
    Aggregation, Code, Condition, Error, Measure, PrimaryKey, Query, Record, Records, Result,
    SchemaDefinition, Tenant, TypedRecord, Value, block_on,
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
        let database = tenantry::open("memory:").await?;
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
        assert_eq!((entries.count(None).await?, entries.count(Some("rank == null")).await?), (3, 2));
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
            assert_eq!(entries.count(None).await?, 1);
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
