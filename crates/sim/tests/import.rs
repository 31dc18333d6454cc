//! An import on an engine on a bad day: beside another writer, stopped in the middle and begun again, it ends as if nothing had happened, and each row took effect once.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pollster::block_on;
use serde_json::json;
use tenantry_core::{
    Aggregation, Database, Destination, Group, ImportMapping, ImportRow, Importer, Measure, PrimaryKey,
    Query, Record, RowContents, SchemaDefinition, Tenant,
};
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_sim::UnreliableEngine;

const SCHEMA: &str = r#"
    name = "s"
    [types.note]
    primary_key = ["id"]
    fields = { id = "int", line = "int", group = "int" }
    indexes = { by_group = { fields = ["group"] }, counted = { kind = "count", group = ["group"] } }
"#;
const ROWS: u64 = 900;
const KEYS: u64 = 250;
/// By how much the lines of one run are greater than those of the one before; it leaves their groups as they are.
const RUN_LINES: u64 = 7_000;

struct World {
    /// Through the engine as it is.
    quiet: Tenant,
    /// Through one that fails in many operations.
    unsure: Database,
}

fn world(seed: u64) -> World {
    let env = manual_env();
    let reference = Arc::new(ReferenceEngine::new(env.clone()));
    let database = block_on(Database::open(reference.clone(), env.clone(), "main")).unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    let quiet = block_on(database.create_tenant("acme", "s")).unwrap();
    let engine = Arc::new(UnreliableEngine::new(reference, env.timer.clone(), seed, 3));
    let unsure = loop {
        if let Ok(database) = block_on(Database::open(engine.clone(), env.clone(), "main")) {
            break database;
        }
    };
    World { quiet, unsure }
}

fn importer(world: &World, replaces: bool) -> Importer {
    loop {
        let to = Destination::Tenant("acme".to_owned());
        let made = Importer::new(&world.unsure, to, "note", ImportMapping::default(), replaces);
        if let Ok(importer) = block_on(made) {
            return importer;
        }
    }
}

fn key(line: u64) -> u64 {
    line.wrapping_mul(0x9e37_79b9_7f4a_7c15) % KEYS
}

fn rows(from: u64, to: u64) -> Vec<ImportRow> {
    rows_of_run(0, from, to)
}

/// The rows as a run of the import has them: what they write tells which one it was.
fn rows_of_run(run: u64, from: u64, to: u64) -> Vec<ImportRow> {
    let row = |line: u64| {
        let json = json!({ "id": key(line), "line": line + run * RUN_LINES, "group": line % 7 });
        ImportRow { line, contents: Ok(RowContents::Json(json.as_object().unwrap().clone())) }
    };
    (from..to).map(row).collect()
}

fn records(tenant: &Tenant) -> BTreeMap<u64, i64> {
    let page = block_on(tenant.query(&Query::of("note").rows_max(10_000))).unwrap();
    let number = |record: &Record, name: &str| record.to_json()[name].as_i64().unwrap();
    page.records.iter().map(|record| (number(record, "id") as u64, number(record, "line"))).collect()
}

/// Every index has each record once.
fn assert_indexes(tenant: &Tenant, seed: u64) {
    let found = records(tenant);
    for group in 0..7 {
        let query = Query::of("note").filter(format!("group == {group}")).rows_max(10_000);
        let by_index = block_on(tenant.query(&query)).unwrap().records.len();
        let expected = found.values().filter(|line| **line % 7 == group).count();
        assert_eq!(by_index, expected, "seed {seed}");
    }
    let aggregation = Aggregation::of("note").group_by("group").measure(Measure::Count);
    let groups = block_on(tenant.aggregate(&aggregation)).unwrap();
    assert_eq!(groups.indexes, ["counted"]);
    let count =
        |group: &Group| group.measures[0].as_ref().map_or(0, |value| value.to_json().as_u64().unwrap());
    let counted: u64 = groups.groups.iter().map(count).sum();
    assert_eq!(counted, found.len() as u64, "seed {seed}");
}

fn last_lines() -> BTreeMap<u64, i64> {
    (0..ROWS).map(|line| (key(line), line as i64)).collect()
}

fn first_lines() -> BTreeMap<u64, i64> {
    (0..ROWS).rev().map(|line| (key(line), line as i64)).collect()
}

#[test]
fn every_row_takes_effect_once_and_in_its_order() {
    for seed in 1..=12 {
        for (replaces, expected) in [(true, last_lines()), (false, first_lines())] {
            let world = world(seed);
            let mut importer = importer(&world, replaces);
            let mut refused = 0;
            for from in (0..ROWS).step_by(150) {
                let reader = importer.reader();
                let read = rows(from, from + 150).into_iter().map(|row| reader.read(row)).collect();
                block_on(importer.submit(read)).unwrap();
                block_on(importer.advance()).unwrap();
                refused += importer.take_rejections().len() as u64;
            }
            block_on(importer.finish()).unwrap();
            refused += importer.take_rejections().len() as u64;
            let report = importer.report().clone();
            assert_eq!(report.rows_imported + refused, ROWS, "seed {seed}");
            // A row that took effect without being told, or twice, would be told as there already.
            assert_eq!(refused, if replaces { 0 } else { ROWS - expected.len() as u64 }, "seed {seed}");
            assert_eq!(records(&world.quiet), expected, "seed {seed}, replaces {replaces}");
            assert_indexes(&world.quiet, seed);
        }
    }
}

/// Others write the same keys; the import is polled a while and thrown away, as by a kill; then it is run again.
#[test]
fn an_import_that_was_stopped_is_run_again_beside_another_writer() {
    let (mut stopped, mut halfway) = (0, 0);
    for seed in 1..=12 {
        let world = world(seed);
        let mut state = seed;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut touched = BTreeMap::new();
        let mut first = importer(&world, true);
        let polls = 22 + below(38);
        let mut is_over = false;
        {
            let mut writing = pin!(first.write(rows(0, ROWS)));
            for _ in 0..polls {
                is_over = writing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
                if is_over {
                    break;
                }
                let id = below(KEYS);
                let other = Record::new().with("id", id as i64).with("line", -7).with("group", 0);
                block_on(world.quiet.put("note", &other)).unwrap();
                touched.insert(id, -7);
            }
        }
        drop(first);
        let has_rows = records(&world.quiet).values().any(|line| *line >= 0);
        stopped += u32::from(!is_over);
        halfway += u32::from(!is_over && has_rows);
        let mut again = importer(&world, true);
        let mut writing = pin!(again.write(rows(0, ROWS)));
        let refused = loop {
            match writing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(refused) => break refused.unwrap(),
                Poll::Pending if below(4) == 0 => {
                    // Keys that the import does not have, in the place where it reads and writes.
                    let id = KEYS as i64 + below(50) as i64;
                    block_on(world.quiet.delete("note", &PrimaryKey::of(id))).unwrap();
                }
                Poll::Pending => {}
            }
        };
        assert_eq!(refused.len(), 0, "seed {seed}");
        let left: Vec<_> = touched.keys().filter(|id| !last_lines().contains_key(id)).collect();
        let mut expected = last_lines();
        expected.extend(left.into_iter().map(|id| (*id, -7)));
        assert_eq!(records(&world.quiet), expected, "seed {seed}");
        assert_indexes(&world.quiet, seed);
    }
    assert!(
        stopped > 3 && halfway > 0,
        "{stopped} stopped before their end, {halfway} of them in the middle"
    );
}

/// Another writer changes the very records that the resumed run writes. A change before the last row of its key is written over by that row; one behind it stays, also
/// where the import was not told that its commit had taken effect: then the row must not be written a second time.
#[test]
fn a_resumed_import_and_a_writer_of_the_same_records_come_one_after_the_other() {
    let (mut before, mut behind, mut halfway) = (0, 0, 0);
    for seed in 1..=16 {
        let world = world(seed);
        let mut state = seed;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let mut first = importer(&world, true);
        {
            let mut writing = pin!(first.write(rows_of_run(1, 0, ROWS)));
            for _ in 0..25 + below(40) {
                if writing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
            }
        }
        drop(first);
        halfway += u32::from((1..ROWS as usize).contains(&records(&world.quiet).len()));
        let last: BTreeMap<u64, i64> =
            last_lines().into_iter().map(|(id, line)| (id, line + 2 * RUN_LINES as i64)).collect();
        let mut expected = last.clone();
        let mut is_over: BTreeSet<u64> = BTreeSet::new();
        let mut again = importer(&world, true);
        let mut writing = pin!(again.write(rows_of_run(2, 0, ROWS)));
        let mut number = 0;
        let refused = loop {
            if let Poll::Ready(refused) = writing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                break refused.unwrap();
            }
            for _ in 0..below(4) {
                let id = key(below(ROWS));
                let found = block_on(world.quiet.get("note", &PrimaryKey::of(id as i64))).unwrap();
                if found.and_then(|record| record.to_json()["line"].as_i64()) == Some(last[&id]) {
                    is_over.insert(id);
                }
                number += 7;
                let change = match below(4) {
                    0 => {
                        block_on(world.quiet.delete("note", &PrimaryKey::of(id as i64))).unwrap();
                        None
                    }
                    _ => {
                        let other =
                            Record::new().with("id", id as i64).with("line", -number).with("group", 0);
                        block_on(world.quiet.put("note", &other)).unwrap();
                        Some(-number)
                    }
                };
                match (is_over.contains(&id), change) {
                    (false, _) => before += 1,
                    (true, Some(line)) => drop(expected.insert(id, line)),
                    (true, None) => drop(expected.remove(&id)),
                }
                behind += u32::from(is_over.contains(&id));
            }
        };
        assert_eq!(refused.len(), 0, "seed {seed}");
        assert_eq!(records(&world.quiet), expected, "seed {seed}");
        assert_indexes(&world.quiet, seed);
    }
    assert!(
        before > 100 && behind > 100 && halfway > 3,
        "{before} before, {behind} behind, {halfway} halfway"
    );
}
