//! The check beside writers, beside another check, in the hands of workers that die, and at its bounds.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::jobs::{Check, JobKinds, JobState, Worked, Worker};
use crate::query::{Aggregation, Measure, Query};
use crate::schema::IndexKind;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// A change of a few records. What a damaged unique index refuses is left.
    fn write(&mut self, tenant: &Tenant) {
        for _ in 0..=self.below(3) {
            let id = self.below(40) as i64;
            let result = match self.below(4) {
                0 => block_on(tenant.delete("task", &PrimaryKey::of(id))).map(|_| ()),
                1 => block_on(tenant.put("page", &page(id))),
                _ => block_on(tenant.put("task", &task(id, self.below(1_000)))),
            };
            if let Err(error) = result {
                assert_eq!(error.code(), crate::Code::UniqueViolation, "{error}");
            }
        }
    }
}

fn records(tenant: &Tenant, record_type: &str) -> Vec<Record> {
    block_on(tenant.query(&Query::of(record_type).rows_max(10_000))).unwrap().records
}

/// Everything that the indexes hold is what a tenant has into which the same records were put.
fn assert_as_new(world: &World, label: &str) {
    let fresh = block_on(world.database.create_tenant(&format!("fresh {label}"), "indexed")).unwrap();
    for record_type in ["task", "page"] {
        for mut record in records(&world.tenant, record_type) {
            record.version = None;
            block_on(fresh.put(record_type, &record)).unwrap();
        }
    }
    for (_, index) in world.indexes() {
        let relative = |tenant: &Tenant| {
            let length = world.prefix(tenant, &index).len();
            let rows = world.index_rows(tenant, &index).into_iter();
            let mut rows: Vec<_> = rows
                .map(|(key, value)| match index.kind {
                    // The stamps differ.
                    IndexKind::Version => (Bytes::new(), value),
                    _ => (key.slice(length..), value),
                })
                .collect();
            rows.sort();
            rows
        };
        assert_eq!(relative(&world.tenant), relative(&fresh), "{label}: {}", index.name);
    }
}

/// Queries and aggregates by index have what they have without any.
fn assert_queries_agree(world: &World, label: &str) {
    let plain = block_on(world.database.create_tenant(&format!("plain {label}"), "plain")).unwrap();
    for mut record in records(&world.tenant, "task") {
        record.version = None;
        block_on(plain.put("task", &record)).unwrap();
    }
    let filters = [
        "account == \"b\"",
        "account == \"a\" && points > 3",
        "email == \"7.1@x.org\"",
        "email > \"3\" && id < 30",
        "\"red\" in tags && account == \"c\"",
        "codes.exists(code, code > 1010)",
        "points > 7",
        "lower(body).startsWith(\"fox\")",
        "matches(body, \"quick foxes\", \"english\")",
        "tags.exists(tag, matches(tag, \"wine\")) && account == \"b\"",
    ];
    for filter in filters {
        let ids = |tenant: &Tenant| -> BTreeSet<String> {
            let page = block_on(tenant.query(&Query::of("task").filter(filter).rows_max(1_000))).unwrap();
            page.records.iter().map(|record| format!("{:?}", record.get("id"))).collect()
        };
        assert_eq!(ids(&world.tenant), ids(&plain), "{label}: {filter}");
    }
    let measures = [
        Measure::Count,
        Measure::sum("points"),
        Measure::sum("price"),
        Measure::min("points"),
        Measure::max("points"),
    ];
    for measure in measures {
        for group in [None, Some("account")] {
            let groups = |tenant: &Tenant| {
                let mut aggregation =
                    Aggregation::of("task").measure(measure.clone()).measure(Measure::Count);
                aggregation.group_by = group.iter().map(|text| (*text).to_owned()).collect();
                let mut groups: Vec<_> = block_on(tenant.aggregate(&aggregation))
                    .unwrap()
                    .groups
                    .iter()
                    .map(|group| format!("{:?} {:?}", group.key, group.measures))
                    .collect();
                groups.sort();
                groups
            };
            assert_eq!(groups(&world.tenant), groups(&plain), "{label}: {measure:?}");
        }
    }
}

/// Damages about so many keys of indexes.
fn damage(world: &World, random: &mut Random, count: usize) -> usize {
    let mut damaged = BTreeSet::new();
    for _ in 0..count {
        let indexes = world.indexes();
        let (_, index) = &indexes[random.below(indexes.len() as u64) as usize];
        let rows: Vec<_> = world.index_rows(&world.tenant, index).into_iter().collect();
        let Some((key, value)) = rows.get(random.below(rows.len().max(1) as u64) as usize) else { continue };
        let longer = [&key[..], &[0x15, 9]].concat();
        let wrong = [&value[..], b"!"].concat();
        let amounts = super::super::has_amounts(index);
        let (key, value) = match random.below(3) {
            0 => (&key[..], None),
            1 if amounts => (&key[..], Some(&value[..value.len() / 2])),
            1 => (&key[..], Some(&wrong[..])),
            _ if amounts => (&key[..], Some(&wrong[..])),
            // Names no record, or another's.
            _ => (&longer[..], Some(&value[..])),
        };
        if damaged.insert(Bytes::copy_from_slice(key)) {
            world.write(key, value);
        }
    }
    damaged.len()
}

#[test]
fn writers_between_and_inside_the_steps_are_no_damage() {
    for seed in 1..=4 {
        let world = World::filled(30);
        let mut random = Random(seed);
        for round in 0..3 {
            let rows_max = 1 + random.below(9) as usize;
            let bounds = Bounds { amounts_size_bytes_max: 600, ..Bounds::default() };
            let mut writes = 0;
            // In the first two attempts of a step: the third one goes through.
            let found = check(&world.tenant, round % 2 == 1, rows_max, bounds, |attempt, _| {
                if attempt <= 2 {
                    random.write(&world.tenant);
                    writes += 1;
                }
            });
            assert_eq!(numbers(&found), [0; 5], "seed {seed}: {found:?}");
            assert!(writes > 30 && found.records > 20);
        }
        assert_as_new(&world, &seed.to_string());
    }
}

#[test]
fn a_repair_beside_writers_leaves_nothing_and_breaks_nothing() {
    let mut repaired = 0;
    for seed in 1..=10 {
        let world = World::filled(30);
        let mut random = Random(seed);
        let damaged = damage(&world, &mut random, 25);
        let rows_max = 1 + random.below(12) as usize;
        let bounds = Bounds { amounts_size_bytes_max: 700, repairs_max: 2, ..Bounds::default() };
        let mended = check(&world.tenant, true, rows_max, bounds, |attempt, _| {
            if attempt <= 2 {
                random.write(&world.tenant);
            }
        });
        let told: u64 = numbers(&mended)[..4].iter().sum();
        assert!(told <= damaged as u64, "seed {seed}: {damaged} damages, {mended:?}");
        assert_eq!(told, mended.repaired, "seed {seed}");
        repaired += mended.repaired;
        assert_eq!(numbers(&world.check(false, 100)), [0; 5], "seed {seed}");
        assert_as_new(&world, &seed.to_string());
        assert_queries_agree(&world, &seed.to_string());
    }
    assert!(repaired > 120, "{repaired}");
}

/// Whoever changes a record while an entry of it is mended is heard: the entry is what the record has in the end.
#[test]
fn an_entry_is_mended_as_its_record_is_at_the_commit() {
    let names: Vec<String> = World::new().indexes().into_iter().map(|(_, index)| index.name).collect();
    let mut refused = 0;
    for name in &names {
        let world = World::filled(9);
        let (_, index) = world.indexes().into_iter().find(|(_, index)| index.name == *name).unwrap();
        let whole = world.index_rows(&world.tenant, &index);
        if super::super::has_amounts(&index) || index.name == "by_title" {
            continue;
        }
        // Missing, and then the record is gone.
        let (key, value) = whole.first_key_value().unwrap();
        let mut is_done = false;
        world.write(key, None);
        let mended = check(&world.tenant, true, 100, Bounds::default(), |_, stands| {
            if stands.repaired > 0 && !std::mem::replace(&mut is_done, true) {
                for id in 0..9 {
                    block_on(world.tenant.delete("task", &PrimaryKey::of(id))).unwrap();
                }
                for id in 0..3 {
                    block_on(world.tenant.delete("page", &page_key(id))).unwrap();
                }
            }
        });
        assert_eq!((is_done, numbers(&mended)), (true, [0; 5]), "{name}");
        assert!(world.index_rows(&world.tenant, &index).is_empty(), "{name}");
        // Dangling, and then its record is there again.
        world.write(key, Some(value));
        is_done = false;
        let mended = check(&world.tenant, true, 100, Bounds::default(), |_, stands| {
            if stands.repaired > 0 && !std::mem::replace(&mut is_done, true) {
                for id in 0..9 {
                    let result = block_on(world.tenant.insert("task", &task(id, id as u64)));
                    // But where the entry itself forbids it.
                    refused += usize::from(result.is_err());
                }
                (0..3).for_each(|id| block_on(world.tenant.insert("page", &page(id))).unwrap());
            }
        });
        assert!(is_done && mended.dangling <= 1, "{name}");
        assert_as_new(&world, name);
    }
    // Of by_email the first one is the record that has none.
    assert_eq!(refused, 3, "one in each other unique index");
}

/// Writers of a group do not make the repair of its amounts begin anew, and it is right all the same.
#[test]
fn amounts_are_mended_without_a_conflict() {
    let world = World::filled(30);
    for (_, index) in world.indexes().iter().filter(|(_, index)| super::super::has_amounts(index)) {
        let (key, value) = world.index_rows(&world.tenant, index).pop_first().unwrap();
        world.write(&key, Some(&[9].repeat(value.len())));
    }
    let mut random = Random(5);
    let mut again = 0;
    let mended = check(&world.tenant, true, 100, Bounds::default(), |attempt, _| {
        again += usize::from(attempt > 1);
        random.write(&world.tenant);
    });
    assert_eq!((numbers(&mended), again), ([0, 0, 7, 0, 7], 0));
    assert_as_new(&world, "amounts");
}

#[test]
fn two_repairs_at_a_time_do_not_mend_twice() {
    for seed in 1..=3 {
        let world = World::filled(25);
        let damaged = damage(&world, &mut Random(seed), 30);
        let mut other = 0;
        let mended = check(&world.tenant, true, 40, Bounds::default(), |attempt, _| {
            if attempt == 1 {
                other += numbers(&world.check(true, 100))[4];
            }
        });
        assert!(mended.repaired + other <= damaged as u64 && other > 0, "seed {seed}");
        assert_eq!(numbers(&world.check(false, 100)), [0; 5], "seed {seed}");
        assert_as_new(&world, &seed.to_string());
    }
}

#[test]
fn another_worker_goes_on_where_one_died() {
    for repairs in [true, false] {
        let world = World::filled(40);
        let damaged = damage(&world, &mut Random(3), 40) as u64;
        let parameters = Check::parameters(None, repairs);
        let create =
            || block_on(world.database.create_job(&Check, Some(&world.tenant), &parameters)).unwrap();
        let expected = numbers(&world.check(false, 100));
        assert!(expected[..4].iter().sum::<u64>() <= damaged);
        let id = create();
        let mut workers = 0;
        // Each does a step or two, keeps the job, and is gone.
        loop {
            let mut worker =
                Worker::new(&world.database, JobKinds::standard()).with_lease(Duration::from_secs(10));
            workers += 1;
            let mut has_ended = false;
            for _ in 0..=workers % 2 {
                has_ended = has_ended || matches!(block_on(worker.run_one_step()).unwrap(), Worked::Ended(_));
            }
            if has_ended {
                break;
            }
            let mut waiting = Worker::new(&world.database, JobKinds::standard());
            assert!(
                matches!(block_on(waiting.run_one_step()).unwrap(), Worked::Idle { .. }),
                "it is not free"
            );
            world.clock.advance(Duration::from_secs(11));
        }
        let job = block_on(world.database.job(id)).unwrap();
        assert_eq!(job.state, JobState::Done);
        let result = job.result.unwrap();
        let found: u64 = expected[..4].iter().sum();
        let names = ["missing", "dangling", "wrong", "duplicate", "repaired"];
        let numbers_of = names.map(|name| result[name].as_u64().unwrap());
        assert_eq!(numbers_of[..4], expected[..4], "{result}");
        assert_eq!(numbers_of[4], if repairs { found } else { 0 });
        assert_eq!(result["faults"].as_array().unwrap().len() as u64, found);
        assert!(workers > 10, "{workers}");
        let left = if repairs { [0; 5] } else { expected };
        assert_eq!(numbers(&world.check(false, 100)), left);
    }
}

#[test]
fn what_takes_too_long_to_add_up_is_told() {
    let (env, clock) = manual_env_with_clock();
    drop(clock);
    let engine = crate::test_engine::engine(&env);
    let database = block_on(Database::open(engine, env, &crate::test_engine::name("t"))).unwrap();
    let text = "name = \"s\"\n[types.dot]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }\nindexes.all = { kind = \"count\" }\nindexes.place = { kind = \"rank\", fields = [\"id\"] }\n";
    block_on(database.apply_schema(&SchemaDefinition::from_toml(text).unwrap())).unwrap();
    let tenant = block_on(database.create_tenant("acme", "s")).unwrap();
    let fill = tenant.run(|transaction| async move {
        for id in 0..1_001 {
            transaction.insert("dot", &Record::new().with("id", id)).await?;
        }
        Ok::<_, crate::Error>(())
    });
    block_on(fill).unwrap();
    let late = Bounds { time_max: Duration::ZERO, ..Bounds::default() };
    let found = check(&tenant, true, 400, late, |_, _| {});
    assert_eq!(found.unchecked, ["dot.all: more records than can be added up in one transaction"]);
    assert_eq!((found.records, numbers(&found)), (1_001, [0; 5]));
    let found = check(&tenant, true, 400, Bounds::default(), |_, _| {});
    // The count, and a place for each record.
    assert_eq!((found.unchecked.len(), found.entries, numbers(&found)), (0, 1_002, [0; 5]));
}
