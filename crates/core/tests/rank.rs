//! Rank indexes beside a sorted list of the records: after every change, and after races of two transactions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use pollster::block_on;
use tenantry_core::{Code, PrimaryKey, Record, SchemaDefinition, Tenant, TenantTransaction, Value};

const SCHEMA: &str = r#"
name = "games"
[types.score]
primary_key = ["id"]
fields = { id = "int", room = "string", name = "string", points = { type = "int", optional = true } }
[types.score.indexes]
board = { kind = "rank", group = ["room"], fields = ["points:desc"] }
named = { kind = "rank", fields = ["name", "points"], where = "points != null" }
by_name = { fields = ["name"] }
"#;
const ROOMS: [&str; 2] = ["blue", "red"];

fn tenant() -> Tenant {
    let database = common::database();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    block_on(database.create_tenant("games", "games")).unwrap()
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[derive(Clone, Debug)]
struct Score {
    room: &'static str,
    name: String,
    points: Option<i64>,
}

type Model = BTreeMap<i64, Score>;

/// Writes a record, or deletes it.
#[derive(Clone, Debug)]
struct Change(i64, Option<Score>);

impl Change {
    fn random(random: &mut Random, ids: u64) -> Change {
        let id = random.below(ids) as i64;
        let score = (random.below(3) > 0).then(|| Score {
            room: ROOMS[random.below(2) as usize],
            name: ["a", "a\0", "ab", ""][random.below(4) as usize].to_owned(),
            points: (random.below(5) > 0).then(|| [i64::MIN, -1, 0, 7, i64::MAX][random.below(5) as usize]),
        });
        Change(id, score)
    }

    async fn write(&self, transaction: &TenantTransaction) -> tenantry_core::Result<()> {
        let Change(id, score) = self;
        let Some(score) = score else {
            return transaction.delete("score", &PrimaryKey::of(*id)).await.map(|_| ());
        };
        let mut record =
            Record::new().with("id", *id).with("room", score.room).with("name", score.name.as_str());
        if let Some(points) = score.points {
            record.set("points", points);
        }
        transaction.put("score", &record).await
    }

    fn apply(self, model: &mut Model) {
        match self {
            Change(id, Some(score)) => model.insert(id, score),
            Change(id, None) => model.remove(&id),
        };
    }
}

fn boards(model: &Model) -> [Vec<i64>; 2] {
    ROOMS.map(|room| {
        let mut ids: Vec<_> = model.iter().filter(|(_, score)| score.room == room).collect();
        ids.sort_by_key(|(id, score)| (Reverse(score.points), **id));
        ids.into_iter().map(|(id, _)| *id).collect()
    })
}

fn named(model: &Model) -> Vec<i64> {
    let mut ids: Vec<_> = model.iter().filter(|(_, score)| score.points.is_some()).collect();
    ids.sort_by_key(|(id, score)| (&score.name, score.points, **id));
    ids.into_iter().map(|(id, _)| *id).collect()
}

fn ids(records: &[Record]) -> Vec<i64> {
    let id = |record: &Record| match record.get("id") {
        Some(Value::Int(id)) => *id,
        other => panic!("{other:?}"),
    };
    records.iter().map(id).collect()
}

/// Every position and every value.
async fn check(transaction: &TenantTransaction, model: &Model) {
    let [blue, red] = boards(model);
    let lists = [
        ("board", vec![Some(Value::from("blue"))], blue),
        ("board", vec![Some("red".into())], red),
        ("named", vec![], named(model)),
    ];
    let mut places = BTreeMap::new();
    for (index, group, list) in &lists {
        assert_eq!(transaction.rank_count("score", index, group).await.unwrap(), list.len() as u64);
        assert_eq!(
            ids(&transaction.ranked("score", index, group, 0, 1_000).await.unwrap()),
            *list,
            "{index}"
        );
        for (position, id) in list.iter().enumerate() {
            places.insert((*index, *id), position as u64);
            let found = transaction.at_rank("score", index, group, position as u64).await.unwrap();
            assert_eq!(ids(found.as_slice()), [*id]);
        }
        assert_eq!(transaction.at_rank("score", index, group, list.len() as u64).await.unwrap(), None);
    }
    for index in ["board", "named"] {
        for id in model.keys() {
            let found = transaction.rank_of("score", index, &PrimaryKey::of(*id)).await.unwrap();
            assert_eq!(found, places.get(&(index, *id)).copied(), "{index} {id}");
        }
    }
    for (group, list) in [("blue", &lists[0].2), ("red", &lists[1].2)] {
        for points in [None, Some(i64::MIN), Some(-1), Some(3), Some(7), Some(i64::MAX)] {
            let group = [Some(Value::from(group))];
            let found =
                transaction.rank_of_value("score", "board", &group, &[points.map(Value::Int)]).await.unwrap();
            assert_eq!(found, list.iter().filter(|id| model[*id].points > points).count() as u64);
        }
    }
    // A prefix of the columns.
    let found = transaction.rank_of_value("score", "named", &[], &[Some("ab".into())]).await.unwrap();
    assert_eq!(found, lists[2].2.iter().filter(|id| model[*id].name.as_str() < "ab").count() as u64);
}

#[test]
fn positions_and_values_are_those_of_the_sorted_records_after_every_change() {
    let tenant = tenant();
    let mut random = Random(1);
    let mut model = Model::new();
    for step in 0..100 {
        // Several changes in a transaction see one another.
        let changes: Vec<Change> =
            (0..1 + random.below(3)).map(|_| Change::random(&mut random, 60)).collect();
        changes.iter().cloned().for_each(|change| change.apply(&mut model));
        let (changes, model, is_checked) = (&changes, &model, step % 3 == 0);
        let written = tenant.run(|transaction| async move {
            for change in changes {
                change.write(&transaction).await?;
            }
            if is_checked {
                check(&transaction, model).await;
            }
            Ok::<_, tenantry_core::Error>(())
        });
        block_on(written).unwrap();
        let checked = tenant.run(|transaction| async move {
            check(&transaction, model).await;
            Ok::<_, tenantry_core::Error>(())
        });
        block_on(checked).unwrap();
    }
}

/// Two transactions at a time: the other one commits between the changes of the first and its commit. Returns how often the first had to begin again.
fn race(seed: u64, rounds: usize, change: impl Fn(&mut Random, i64) -> Change) -> usize {
    let tenant = &tenant();
    let mut random = Random(seed);
    let mut model = Model::new();
    let mut repeated = 0;
    for round in 0..rounds as i64 {
        let (first, second) = (change(&mut random, 2 * round), change(&mut random, 2 * round + 1));
        let attempts = &AtomicUsize::new(0);
        let (one, other) = (&first, &second);
        let run = tenant.run(|transaction| async move {
            one.write(&transaction).await?;
            if attempts.fetch_add(1, Ordering::Relaxed) == 0 {
                tenant.run(|transaction| async move { other.write(&transaction).await }).await?;
            }
            Ok::<_, tenantry_core::Error>(())
        });
        block_on(run).unwrap();
        repeated += usize::from(attempts.load(Ordering::Relaxed) > 1);
        second.apply(&mut model);
        first.apply(&mut model);
        if round % 4 == 3 {
            let model = &model;
            let checked = tenant.run(|transaction| async move {
                check(&transaction, model).await;
                Ok::<_, tenantry_core::Error>(())
            });
            block_on(checked).unwrap();
        }
    }
    repeated
}

#[test]
fn races_leave_every_count_right() {
    race(2, 250, |random, _| Change::random(random, 50));
}

#[test]
fn most_of_those_who_only_add_do_not_conflict() {
    let rounds = 60;
    let repeated = race(3, rounds, |random, id| {
        let Change(_, score) = Change::random(random, 1);
        let score = Score { room: "red", name: "a".to_owned(), points: score.and_then(|score| score.points) };
        Change(id, Some(score))
    });
    assert!(repeated * 3 < rounds, "{repeated} of {rounds}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let tenant = tenant();
    let code = |result: tenantry_core::Result<u64>| result.unwrap_err().code();
    let red = [Some(Value::from("red"))];
    assert_eq!(code(block_on(tenant.rank_count("none", "board", &red))), Code::TypeNotFound);
    assert_eq!(code(block_on(tenant.rank_count("score", "none", &red))), Code::QueryInvalid);
    assert_eq!(code(block_on(tenant.rank_count("score", "by_name", &red))), Code::QueryInvalid);
    assert_eq!(code(block_on(tenant.rank_count("score", "board", &[]))), Code::KeyInvalid);
    assert_eq!(code(block_on(tenant.rank_count("score", "board", &[Some(1.into())]))), Code::KeyInvalid);
    let two = [Some(Value::Int(1)), Some(Value::Int(1))];
    assert_eq!(code(block_on(tenant.rank_of_value("score", "board", &red, &two))), Code::KeyInvalid);
    assert_eq!(code(block_on(tenant.rank_of_value("score", "board", &red, &red))), Code::KeyInvalid);
    let many = block_on(tenant.ranked("score", "board", &red, 0, 1_001)).unwrap_err();
    assert_eq!(many.code(), Code::LimitPassed);
    assert_eq!(block_on(tenant.rank_of("score", "board", &PrimaryKey::of(1))).unwrap(), None);
    assert_eq!(block_on(tenant.rank_count("score", "board", &red)).unwrap(), 0);
    for refused in
        ["fields = []", "fields = [\"points\"], unique = true", "fields = [\"points\"], of = \"id\""]
    {
        let schema = SCHEMA.replace("fields = [\"points:desc\"]", refused);
        assert_eq!(
            SchemaDefinition::from_toml(&schema).unwrap_err().code(),
            Code::SchemaInvalid,
            "{refused}"
        );
    }
}
