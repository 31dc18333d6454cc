//! Every kind of index says what the records say, after clients that got in each other's way on an engine whose operations fail and whose commits answer
//! "unknown" both ways.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use futures_util::future::join_all;
use pollster::block_on;
use tenantry_core::{
    Aggregation, Code, Database, Error, Group, Measure, PrimaryKey, Query, Record, SchemaDefinition, Tenant,
    Value,
};
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_sim::UnreliableEngine;

const TYPE: &str = r#"
    [types.item]
    primary_key = ["id"]
    fields = { id = "int", group = "string", points = { type = "int", optional = true }, tags = { type = "list", of = "string" } }
"#;
const INDEXES: &str = r#"
    [types.item.indexes]
    by_group_points = { fields = ["group", "points:desc"], covering = ["tags"] }
    by_tag = { fields = [{ each = "tags" }] }
    by_hash = { fields = [{ each = "tags" }, "group"], hashed = true, covering = ["points"] }
    high = { fields = ["points"], where = "points > 2" }
    by_doubled = { fields = ["points * 2"], unique = true }
    count = { kind = "count", group = ["group"] }
    tags = { kind = "count", group = [{ each = "tags" }] }
    sum = { kind = "sum", group = ["group"], of = "points" }
    least = { kind = "min", group = ["group"], of = "points" }
    changes = { kind = "version" }
    board = { kind = "rank", group = ["group"], fields = ["points:desc"] }
"#;
const IDS: u64 = 6;

/// A linear congruential generator: the same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Lets the others go on first.
async fn give_way() {
    let mut has_waited = false;
    poll_fn(|context| {
        context.waker().wake_by_ref();
        match std::mem::replace(&mut has_waited, true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

fn item(numbers: &mut Numbers) -> Record {
    let tags =
        (0..numbers.below(3)).map(|_| Value::from(["red", "blue"][numbers.below(2) as usize])).collect();
    let item = Record::new()
        .with("id", numbers.below(IDS) as i64)
        .with("group", ["a", "b"][numbers.below(2) as usize])
        .with("tags", Value::List(tags));
    match numbers.below(8) {
        0 => item,
        points => item.with("points", points as i64),
    }
}

/// A client: it changes a record, or two in one transaction, and gives way in the middle. Returns how often a unique index refused it.
async fn client(tenant: Tenant, seed: u64) -> u64 {
    let mut numbers = Numbers(seed);
    let mut refused = 0;
    for _ in 0..25 {
        let (one, other, kind) = (item(&mut numbers), item(&mut numbers), numbers.below(4));
        let key = PrimaryKey { values: vec![one.get("id").unwrap().clone()] };
        let (one, other, key) = (&one, &other, &key);
        let done = tenant
            .run(|transaction| async move {
                match kind {
                    0 => transaction.delete("item", key).await.map(drop)?,
                    1 => {
                        transaction.put("item", one).await?;
                        give_way().await;
                        transaction.put("item", other).await?;
                    }
                    _ => transaction.put("item", one).await?,
                }
                give_way().await;
                Ok::<_, Error>(())
            })
            .await;
        match done.map_err(|error| error.code()) {
            // The engine had a bad day for longer than the runner tries.
            Ok(()) | Err(Code::Engine) => {}
            Err(Code::UniqueViolation) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
        give_way().await;
    }
    refused
}

fn records(tenant: &Tenant, query: &Query) -> Vec<String> {
    let page = block_on(tenant.query(&query.clone().rows_max(1_000))).unwrap();
    let mut records: Vec<String> = page.records.iter().map(|record| record.to_json().to_string()).collect();
    records.sort();
    records
}

fn groups(tenant: &Tenant, aggregation: &Aggregation) -> Vec<Group> {
    let mut groups = block_on(tenant.aggregate(aggregation)).unwrap().groups;
    groups.sort_by_key(|group| format!("{:?}", group.key));
    groups
}

/// The positions of a group: those of a query that no index helps.
fn check_ranks(indexed: &Tenant, plain: &Tenant, group: &str, seed: u64) {
    let query = Query::of("item").filter(format!("group == \"{group}\""));
    let sorted = query.order_by_descending("points").order_by("id").rows_max(1_000);
    let sorted = block_on(plain.query(&sorted)).unwrap().records;
    let ids = |records: &[Record]| -> Vec<Value> {
        records.iter().map(|record| record.get("id").unwrap().clone()).collect()
    };
    let values = [Some(Value::from(group))];
    let ranked = block_on(indexed.ranked("item", "board", &values, 0, 1_000)).unwrap();
    assert_eq!(ids(&ranked), ids(&sorted), "seed {seed}, group {group}");
    let count = block_on(indexed.rank_count("item", "board", &values)).unwrap();
    assert_eq!(count, sorted.len() as u64, "seed {seed}, group {group}");
    for (place, id) in ids(&sorted).into_iter().enumerate() {
        let key = PrimaryKey { values: vec![id] };
        let rank = block_on(indexed.rank_of("item", "board", &key)).unwrap();
        assert_eq!(rank, Some(place as u64), "seed {seed}, group {group}: {key}");
    }
}

#[test]
fn indexes_say_what_the_records_say_after_a_bad_day() {
    let (mut refused, mut kept) = (0, 0);
    for seed in 0..40 {
        let env = manual_env();
        let reference = Arc::new(ReferenceEngine::new(env.clone()));
        let database = block_on(Database::open(reference.clone(), env.clone(), "main")).unwrap();
        for (name, indexes) in [("indexed", INDEXES), ("plain", "")] {
            let text = format!("name = \"{name}\"\n{TYPE}{indexes}");
            block_on(database.apply_schema(&SchemaDefinition::from_toml(&text).unwrap())).unwrap();
        }
        let indexed = block_on(database.create_tenant("indexed", "indexed")).unwrap();
        let plain = block_on(database.create_tenant("plain", "plain")).unwrap();
        let unreliable = Arc::new(UnreliableEngine::new(reference, env.timer.clone(), seed, 8));
        block_on(async {
            let unsure = loop {
                if let Ok(database) = Database::open(unreliable.clone(), env.clone(), "main").await
                    && let Ok(tenant) = database.tenant("indexed").await
                {
                    break tenant;
                }
            };
            let clients = (0..3).map(|number| client(unsure.clone(), seed * 31 + number));
            refused += join_all(clients).await.iter().sum::<u64>();
        });

        // What is there, without an index: the same answers are expected of both.
        let all = block_on(indexed.query(&Query::of("item").filter("id >= 0").rows_max(1_000))).unwrap();
        assert_eq!(all.explanation.index, None);
        kept += all.records.len();
        for record in &all.records {
            block_on(plain.put("item", record)).unwrap();
        }
        for filter in [
            "group == \"a\"",
            "group == \"b\" && points >= 3",
            "points == null && group == \"a\"",
            "\"red\" in tags",
            "points > 2 && points < 6",
            "points * 2 == 8",
            "group in [\"a\", \"b\"] && \"blue\" in tags",
        ] {
            let query = Query::of("item").filter(filter);
            assert_eq!(records(&indexed, &query), records(&plain, &query), "seed {seed}: {filter}");
        }
        let covered = Query::of("item").filter("group == \"a\"").select(["id", "points", "tags"]);
        assert_eq!(records(&indexed, &covered), records(&plain, &covered), "seed {seed}");
        for group in ["group", "tags"] {
            let aggregation = Aggregation::of("item").group_by(group).measure(Measure::Count);
            assert_eq!(groups(&indexed, &aggregation), groups(&plain, &aggregation), "seed {seed}: {group}");
        }
        let measures =
            [Measure::Count, Measure::sum("points"), Measure::min("points"), Measure::max("points")];
        let aggregation =
            measures.into_iter().fold(Aggregation::of("item").group_by("group"), Aggregation::measure);
        let answered = block_on(indexed.aggregate(&aggregation)).unwrap();
        assert_eq!(answered.indexes, ["count", "sum", "least"]);
        assert_eq!(groups(&indexed, &aggregation), groups(&plain, &aggregation), "seed {seed}");
        for group in ["a", "b"] {
            check_ranks(&indexed, &plain, group, seed);
        }
        let changed = block_on(indexed.changed_after("item", "changes", &[], None, 1_000)).unwrap();
        assert_eq!(changed.len(), all.records.len(), "seed {seed}");
        assert!(changed.windows(2).all(|pair| pair[0].version() < pair[1].version()), "seed {seed}");
    }
    println!("{kept} records at the end, {refused} changes refused by the unique index");
    assert!(kept > 80 && refused > 40);
}
