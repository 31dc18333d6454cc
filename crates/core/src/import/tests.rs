use std::collections::BTreeMap;

use pollster::block_on;
use serde_json::json;
use tenantry_kv::conformance::reference::manual_env;

use super::batch::Batch;
use super::lane::{Lane, Queued};
use super::reading::Addressed;
use super::*;
use crate::{PrimaryKey, Query, Record, SchemaDefinition};

const SCHEMA: &str = r#"
    name = "s"
    [types.note]
    primary_key = ["id"]
    fields = { id = "int", text = "string" }
    indexes = { by_text = { fields = ["text"] } }
    [types.user]
    primary_key = ["id"]
    fields = { id = "int", mail = { type = "string", optional = true }, rank = { type = "int", optional = true, default = 5 } }
    indexes = { by_mail = { fields = ["mail"], unique = true } }
    [types.node]
    primary_key = ["id"]
    fields = { id = "int", parent = { type = "int", optional = true } }
    indexes = { by_parent = { fields = ["parent"] } }
    references = { parent = { fields = ["parent"], to = "node" } }
"#;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn tenant() -> (Database, Tenant) {
    let env = manual_env();
    let database =
        block_on(Database::open(crate::test_engine::engine(&env), env, &crate::test_engine::name("t")))
            .unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    let tenant = block_on(database.create_tenant("acme", "s")).unwrap();
    (database, tenant)
}

fn importer(database: &Database, record_type: &str, replaces: bool) -> Importer {
    let to = Destination::Tenant("acme".to_owned());
    block_on(Importer::new(database, to, record_type, ImportMapping::default(), replaces)).unwrap()
}

fn row(line: u64, json: &Json) -> ImportRow {
    ImportRow { line, contents: Ok(RowContents::Json(json.as_object().unwrap().clone())) }
}

fn records(tenant: &Tenant, record_type: &str) -> BTreeMap<i64, Json> {
    let mut query = Query::of(record_type).rows_max(10_000);
    let mut found = BTreeMap::new();
    loop {
        let page = block_on(tenant.query(&query)).unwrap();
        for record in page.records {
            let json = record.to_json();
            found.insert(json["id"].as_i64().unwrap(), json);
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return found,
        }
    }
}

/// What rows end as that are written one after another, each in a transaction of its own.
fn one_by_one(tenant: &Tenant, record_type: &str, replaces: bool, rows: &[Json]) -> Vec<(u64, Code)> {
    let schema = block_on(tenant.schema()).unwrap();
    let definition = schema.definition.record_type(record_type).unwrap();
    let mut refused = Vec::new();
    for (line, json) in (1..).zip(rows) {
        let record = Record::from_json(json, definition);
        let written = record.and_then(|record| match replaces {
            true => block_on(tenant.put(record_type, &record)),
            false => block_on(tenant.insert(record_type, &record)),
        });
        refused.extend(written.err().map(|error| (line, error.code())));
    }
    refused
}

fn generated(record_type: &str, random: &mut Random, rows: u64) -> Vec<Json> {
    let mut row = |number: u64| match record_type {
        "note" => json!({ "id": random.below(rows / 3), "text": format!("row {number}") }),
        "user" => match random.below(4) {
            0 => json!({ "id": random.below(rows / 2) }),
            _ => {
                json!({ "id": random.below(rows / 2), "mail": format!("{}@example.com", random.below(rows / 2)) })
            }
        },
        _ => match random.below(5) {
            0 => json!({ "id": number }),
            _ => json!({ "id": number, "parent": random.below(number + 2) }),
        },
    };
    (0..rows).map(&mut row).collect()
}

/// Keys and unique values stand in many rows, records refer to others of the file: whatever runs at a time, the end is that of rows that are written one after another.
#[test]
fn what_runs_at_a_time_ends_as_if_it_did_not() {
    for seed in 1..=3 {
        let mut random = Random(seed);
        for (record_type, replaces) in
            [("note", false), ("note", true), ("user", false), ("user", true), ("node", false)]
        {
            let rows = generated(record_type, &mut random, 600);
            let (_, plain) = tenant();
            let expected = one_by_one(&plain, record_type, replaces, &rows);
            let (database, tenant) = tenant();
            let mut importer = importer(&database, record_type, replaces);
            let (mut refused, mut line) = (Vec::new(), 0);
            while line < rows.len() {
                let end = (line + 1 + random.below(300) as usize).min(rows.len());
                let piece =
                    (line..end).map(|place| importer.reader().read(row(place as u64 + 1, &rows[place])));
                let piece = piece.collect();
                block_on(importer.submit(piece)).unwrap();
                line = end;
                if random.below(2) == 0 {
                    block_on(importer.advance()).unwrap();
                }
                refused.extend(importer.take_rejections());
            }
            block_on(importer.finish()).unwrap();
            refused.extend(importer.take_rejections());
            let refused: Vec<_> = refused.iter().map(|it| (it.line, it.reason.code())).collect();
            assert_eq!(refused, expected, "seed {seed}: {record_type}, replaces {replaces}");
            assert_eq!(
                records(&tenant, record_type),
                records(&plain, record_type),
                "seed {seed}: {record_type}"
            );
            let report = importer.report();
            assert_eq!(report.rows_read, 600);
            assert_eq!(report.rows_imported + report.rows_rejected, report.rows_read);
            assert!(importer.is_idle() && !expected.is_empty() | (record_type == "note" && replaces));
        }
    }
}

fn queued(number: u64, claims: &[u64]) -> Queued {
    let row = Addressed { line: number, record: Record::new(), size_bytes: 10, claims: claims.to_vec() };
    Queued { number, row }
}

fn numbers(batch: &Batch) -> Vec<u64> {
    batch.rows.iter().map(|queued| queued.number).collect()
}

#[test]
fn a_row_waits_for_those_before_it_that_it_has_a_claim_in_common_with() {
    let mut lane = Lane::new(tenant().1);
    let claims: [&[u64]; 7] = [&[1], &[2, 7], &[3], &[1, 4], &[4], &[2], &[5]];
    (0..).zip(claims).for_each(|(number, claims)| lane.push(queued(number, claims)));
    let first = lane.take(2, false).unwrap();
    assert_eq!(numbers(&first), [0, 1]);
    // 3 waits for 0, 4 for 3, 5 for 1.
    let second = lane.take(9, false).unwrap();
    assert_eq!(numbers(&second), [2, 6]);
    assert!(lane.take(9, false).is_none());
    lane.release(&first.rows);
    lane.put_back(first.rows.into_iter().skip(1));
    assert_eq!((lane.first(), lane.len()), (Some(1), 4));
    // In one batch, one after another.
    assert_eq!(numbers(&lane.take(9, false).unwrap()), [1, 3, 4, 5]);
    let mut serial = Lane::new(tenant().1);
    (0..4).for_each(|number| serial.push(queued(number, &[number])));
    let first = serial.take(2, true).unwrap();
    assert!(serial.take(2, true).is_none());
    serial.release(&first.rows);
    assert_eq!(numbers(&serial.take(2, true).unwrap()), [2, 3]);
}

#[test]
fn rows_that_others_wait_for_are_told_in_their_order() {
    let (database, tenant) = tenant();
    block_on(tenant.insert("note", &Record::new().with("id", 3).with("text", "there"))).unwrap();
    let mut importer = importer(&database, "note", false);
    let reader = importer.reader();
    let rows = (1..=5u64).map(|line| match line {
        2 => reader.read(row(line, &json!({ "id": "two" }))),
        line => reader.read(row(line, &json!({ "id": line, "text": "t" }))),
    });
    block_on(importer.submit(rows.collect())).unwrap();
    // Row 1 is under way: nothing behind it is told.
    assert_eq!(importer.take_rejections(), []);
    block_on(importer.finish()).unwrap();
    let lines: Vec<u64> = importer.take_rejections().iter().map(|rejection| rejection.line).collect();
    assert_eq!(lines, [2, 3]);
}

#[test]
fn an_import_that_cannot_go_on_says_so_once_and_for_all() {
    let (database, tenant) = tenant();
    let mut importer = importer(&database, "note", false);
    block_on(importer.write(vec![row(1, &json!({ "id": 1, "text": "t" }))])).unwrap();
    block_on(database.set_read_only("a copy")).unwrap();
    let rows =
        |from: u64| (from..from + 2_000).map(|id| row(id, &json!({ "id": id, "text": "t" }))).collect();
    assert_eq!(block_on(importer.write(rows(2))).unwrap_err().code(), Code::DatabaseReadOnly);
    block_on(database.set_writable()).unwrap();
    assert_eq!(block_on(importer.write(rows(9_000))).unwrap_err().code(), Code::DatabaseReadOnly);
    assert_eq!(importer.report().rows_imported, 1);
    assert_eq!(records(&tenant, "note").len(), 1);
}

#[test]
fn what_a_row_lacks_on_purpose_gets_no_default() {
    let (database, tenant) = tenant();
    for (exact, id) in [(false, 1), (true, 2)] {
        let mapping = ImportMapping { exact, ..ImportMapping::default() };
        let to = Destination::Tenant("acme".to_owned());
        let mut importer = block_on(Importer::new(&database, to, "user", mapping, false)).unwrap();
        block_on(importer.write(vec![row(1, &json!({ "id": id }))])).unwrap();
        let found = block_on(tenant.get("user", &PrimaryKey::of(id))).unwrap().unwrap();
        assert_eq!(found.get("rank").is_some(), !exact);
    }
}
