//! What the record layer lets in, the engine takes.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use tenantry::{
    Code, Database, Destination, Error, ImportMapping, ImportRow, Importer, Query, Record, RowContents,
    SchemaDefinition, Tenant, block_on,
};

const SCHEMA: &str = r#"
name = "s"
[types.item]
primary_key = ["id"]
fields = { id = "int", text = "string", code = "string", blob = { type = "bytes", optional = true }, numbers = { type = "list", of = "int", optional = true } }
indexes = { by_text = { fields = ["text"] }, by_code = { fields = ["code"], unique = true } }
"#;

fn tenant() -> (Database, Tenant) {
    block_on(async {
        let database = common::database();
        // On a cluster a look at each record and each unique value would take longer than a transaction may: there none is unique, and records are inserted without a look.
        let unique = if common::is_cluster() { ", unique = true" } else { "" };
        let schema = SCHEMA.replace(unique, "");
        database.apply_schema(&SchemaDefinition::from_toml(&schema).unwrap()).await.unwrap();
        let tenant = database.create_tenant("acme", "s").await.unwrap();
        (database, tenant)
    })
}

/// Many small records passed the record layer's limit on bytes and failed at the commit with the engine's 2101, which no caller could do anything about.
#[test]
fn what_the_limits_let_in_can_be_committed() {
    let (_database, tenant) = tenant();
    for (begin, size, least) in
        [(0, 0, 3_000), (100_000, 100, 3_000), (200_000, 60_000, 40), (300_000, 900_000, 2)]
    {
        let accepted: i64 = block_on(tenant.run(|transaction| async move {
            for number in 0.. {
                let record = Record::new()
                    .with("id", begin + number)
                    .with("text", "t".repeat(20))
                    .with("code", format!("{begin} {number}"))
                    .with("blob", bytes::Bytes::from(vec![7; size]));
                let inserted = match common::is_cluster() {
                    true => transaction.insert_new("item", &record).await,
                    false => transaction.insert("item", &record).await,
                };
                if let Err(error) = inserted {
                    assert_eq!(error.code(), Code::LimitPassed, "{error}");
                    // A query gives the engine what is pending, which then counts twice.
                    let page = transaction.query(&Query::of("item").filter("id >= 0").rows_max(1)).await?;
                    assert_eq!(page.records.len(), 1);
                    return Ok::<_, Error>(number);
                }
            }
            Ok(0)
        }))
        .unwrap();
        assert!(accepted >= least, "{size} bytes: {accepted}");
        let query =
            Query::of("item").filter(format!("id >= {begin} && id < {}", begin + accepted)).rows_max(1);
        assert_eq!(block_on(tenant.query(&query)).unwrap().records.len(), 1);
    }
}

/// Rows were taken for small when their size was in lists; the transaction filled up, and good rows were refused.
#[test]
fn an_import_splits_its_transactions_by_what_the_rows_take() {
    let (database, _tenant) = tenant();
    let numbers: Vec<i64> = (0..60_000).collect();
    let mut importer = block_on(Importer::new(
        &database,
        Destination::Tenant("acme".into()),
        "item",
        ImportMapping::default(),
        false,
    ))
    .unwrap();
    let rows = (0..60).map(|line| {
        let row = serde_json::json!({"id": line, "text": "t", "code": line.to_string(), "numbers": numbers});
        ImportRow { line, contents: Ok(RowContents::Json(row.as_object().unwrap().clone())) }
    });
    let rejections = block_on(importer.write(rows.collect())).unwrap();
    assert!(rejections.is_empty(), "{}", rejections[0].reason);
    assert_eq!(importer.report().rows_imported, 60);
}
