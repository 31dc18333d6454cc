//! How many keys the reads by indexes take, at 1,000 and at 100,000 records: a rank and what is at one a logarithmic number, a least and a greatest value, the
//! first of an order and the records with a word as many as they give.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::sync::Arc;

use pollster::block_on;
use tenantry_core::{
    Aggregation, Database, Error, Measure, PrimaryKey, Query, Record, SchemaDefinition, Tenant, Value,
};
use tenantry_embedded::{EmbeddedEngine, Settings};
use tenantry_sim::CountingEngine;

const SCHEMA: &str = r#"
name = "games"
[types.score]
primary_key = ["id"]
fields = { id = "int", room = "string", points = "int", body = "string" }
[types.score.indexes]
board = { kind = "rank", group = ["room"], fields = ["points:desc"] }
by_points = { fields = ["points"] }
count = { kind = "count", group = ["room"] }
least = { kind = "min", group = ["room"], of = "points" }
most = { kind = "max", group = ["room"], of = "points" }
words = { kind = "text", fields = ["body"] }
"#;
/// How many records a transaction of the set-up writes.
const STEP: i64 = 1_000;
/// How many records have one rare word.
const RARE: i64 = 20;
/// What every read takes beside what it asks for: the tenant's header and what belongs to it.
const CONSTANT: u64 = 4;
/// How many entries of a path are looked at where several are bound.
const LOOKED_AT: u64 = 100;

struct Filled {
    count: i64,
    counting: CountingEngine,
    tenant: Tenant,
}

/// Points that are each other's in no order: a permutation, since the factor has nothing in common with the counts.
fn points(id: i64, count: i64) -> i64 {
    id * 7_919 % count
}

fn filled(count: i64) -> Filled {
    let env = tenantry_env::system();
    let engine = EmbeddedEngine::in_memory(Settings::default(), env.clone()).unwrap();
    let counting = CountingEngine::new(Arc::new(engine));
    let database = block_on(Database::open(Arc::new(counting.clone()), env, "main")).unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    let tenant = block_on(database.create_tenant("games", "games")).unwrap();
    for first in (0..count).step_by(STEP as usize) {
        let written = tenant.run(|transaction| async move {
            for id in first..first + STEP {
                let body = format!("common{} rare{}", id % 5, id / RARE);
                let record = Record::new().with("id", id).with("room", "red").with("body", body);
                transaction.put("score", &record.with("points", points(id, count))).await?;
            }
            Ok::<_, Error>(())
        });
        block_on(written).unwrap();
    }
    counting.take_keys_read();
    Filled { count, counting, tenant }
}

fn points_of(record: &Record) -> i64 {
    match record.get("points") {
        Some(Value::Int(points)) => *points,
        other => unreachable!("{other:?}"),
    }
}

impl Filled {
    fn keys(&self, read: impl FnOnce(&Tenant)) -> u64 {
        self.counting.take_keys_read();
        read(&self.tenant);
        self.counting.take_keys_read()
    }

    /// The mean and the most keys of some reads, at places all over the records.
    fn keys_over(&self, read: impl Fn(&Tenant, i64)) -> (u64, u64) {
        const PLACES: i64 = 100;
        let keys: Vec<u64> = (0..PLACES)
            .map(|step| step * (self.count / PLACES) + step % 7)
            .map(|place| self.keys(|tenant| read(tenant, place)))
            .collect();
        (keys.iter().sum::<u64>() / keys.len() as u64, keys.into_iter().max().unwrap_or(0))
    }

    /// What the reads take: asserted, and printed.
    fn check(&self, mean_max: u64, most: u64) {
        let count = self.count;
        let red = [Some(Value::from("red"))];
        let rank_of = self.keys_over(|tenant, id| {
            let rank = block_on(tenant.rank_of("score", "board", &PrimaryKey::of(id))).unwrap();
            assert_eq!(rank, Some((count - 1 - points(id, count)) as u64));
        });
        let rank_of_value = self.keys_over(|tenant, points| {
            let rank =
                block_on(tenant.rank_of_value("score", "board", &red, &[Some(points.into())])).unwrap();
            assert_eq!(rank, (count - 1 - points) as u64);
        });
        let at_rank = self.keys_over(|tenant, place| {
            let found = block_on(tenant.at_rank("score", "board", &red, place as u64)).unwrap().unwrap();
            assert_eq!(points_of(&found), count - 1 - place);
        });
        for (name, (mean, max)) in
            [("rank_of", rank_of), ("rank_of_value", rank_of_value), ("at_rank", at_rank)]
        {
            println!("{count} records: {name} reads {mean} keys, {max} at most");
            assert!(mean <= mean_max && max <= most, "{name} of {count}: {mean} keys, {max} at most");
        }
        let total = self.keys(|tenant| {
            assert_eq!(block_on(tenant.rank_count("score", "board", &red)).unwrap(), count as u64);
        });
        println!("{count} records: rank_count reads {total} keys");
        assert!(total <= CONSTANT + 16, "{total}");

        let first = |filter: Option<&str>, wanted: &dyn Fn(&Tenant, &Query) -> usize| {
            let mut query = Query::of("score").rows_max(10);
            if let Some(filter) = filter {
                query = query.filter(filter);
            }
            let mut given = 0;
            (self.keys(|tenant| given = wanted(tenant, &query)), given)
        };
        for (name, measure) in [("min", Measure::min("points")), ("max", Measure::max("points"))] {
            let aggregation = Aggregation::of("score").filter("room == \"red\"").measure(measure);
            let keys = self.keys(|tenant| {
                let groups = block_on(tenant.aggregate(&aggregation)).unwrap();
                let wanted = if name == "min" { 0 } else { count - 1 };
                assert_eq!(groups.groups[0].measures, [Some(Value::Int(wanted))]);
            });
            println!("{count} records: {name} reads {keys} keys");
            assert!(keys <= CONSTANT + 2, "{name} of {count}: {keys}");
        }
        let (keys, _) = first(None, &|tenant, query| {
            let page = block_on(tenant.query(&query.clone().order_by_descending("points"))).unwrap();
            let found: Vec<i64> = page.records.iter().map(points_of).collect();
            assert_eq!(found, (count - 10..count).rev().collect::<Vec<_>>());
            found.len()
        });
        println!("{count} records: the first 10 of an order read {keys} keys");
        // The entries, one that tells that there are more, and the records.
        assert!(keys <= CONSTANT + 10 + 1 + 10, "{keys}");

        let rare = format!("matches(body, \"rare{}\")", count / RARE / 2);
        let (keys, found) = first(Some(&rare), &|tenant, query| {
            block_on(tenant.query(&query.clone().rows_max(100))).unwrap().records.len()
        });
        println!("{count} records: the {found} with a rare word read {keys} keys");
        assert_eq!(found, RARE as usize);
        assert!(keys <= CONSTANT + 2 * RARE as u64, "{keys}");
        let both = format!("matches(body, \"common1 rare{}\")", count / RARE / 2);
        let (keys, found) = first(Some(&both), &|tenant, query| {
            block_on(tenant.query(&query.clone().rows_max(100))).unwrap().records.len()
        });
        println!("{count} records: the {found} with a frequent and a rare word read {keys} keys");
        assert_eq!(found, RARE as usize / 5);
        // A look at both, and then the rare one's.
        assert!(keys <= CONSTANT + LOOKED_AT + 3 * RARE as u64, "{keys}");
        let (keys, found) = first(Some("matches(body, \"common1\")"), &|tenant, query| {
            block_on(tenant.query(query)).unwrap().records.len()
        });
        println!("{count} records: the first {found} with a frequent word read {keys} keys");
        assert!(found == 10 && keys <= CONSTANT + 2 * 10 + 1, "{keys}");
    }
}

#[test]
fn reads_of_a_thousand_records() {
    filled(1_000).check(50, 150);
}

/// A hundred times as many records, twice as many keys: as many more as there are levels more.
#[test]
#[ignore = "takes half a minute; the figures stand in docs/indexes.md"]
fn reads_of_a_hundred_thousand_records() {
    filled(100_000).check(100, 250);
}
