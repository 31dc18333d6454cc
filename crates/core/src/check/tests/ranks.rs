//! Rank indexes: every key of a set that is changed, gone or too much is told, and a repair leaves every byte as it was.

use std::time::Duration;

use super::*;
use crate::PrimaryKey;

const SCHEMA: &str = r#"
name = "ranked"
[types.score]
primary_key = ["id"]
fields = { id = "int", room = "string", points = { type = "int", optional = true } }
[types.score.indexes]
board = { kind = "rank", group = ["room"], fields = ["points:desc"] }
all = { kind = "rank", fields = ["points"], where = "points != null" }
"#;
const COUNT: i64 = 60;

struct Ranked {
    world: World,
    tenant: Tenant,
    /// Where the entries, and where the levels begin, of both indexes.
    spaces: Vec<Bytes>,
}

fn score(id: i64) -> Record {
    let record = Record::new().with("id", id).with("room", ["blue", "red\0"][id as usize % 2]);
    if id % 9 == 4 { record } else { record.with("points", id * 7 % 31) }
}

fn ranked() -> Ranked {
    let world = World::new();
    block_on(world.database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    let tenant = block_on(world.database.create_tenant("ranked", "ranked")).unwrap();
    for first in (0..COUNT).step_by(30) {
        let written = tenant.run(|transaction| async move {
            for id in first..first + 30 {
                transaction.put("score", &score(id)).await?;
            }
            Ok::<_, crate::Error>(())
        });
        block_on(written).unwrap();
    }
    let schema = block_on(tenant.schema()).unwrap();
    let ids = schema.definition.types[0].indexes.iter().map(|index| index.id);
    let spaces = ids.flat_map(|id| [tenant.keys.index(id).unwrap(), tenant.keys.rank_sets(id).unwrap()]);
    let spaces = spaces.collect();
    Ranked { world, tenant, spaces }
}

impl Ranked {
    fn rows(&self) -> BTreeMap<Bytes, Bytes> {
        let of = |prefix: &Bytes| self.world.rows(prefix, &[&prefix[..], &[0xff]].concat());
        self.spaces.iter().flat_map(of).collect()
    }

    fn check(&self, repairs: bool, rows_max: usize) -> CheckCursor {
        check(&self.tenant, repairs, rows_max, Bounds::default(), |_, _| {})
    }
}

#[test]
fn every_damaged_key_is_told_and_mended() {
    let ranked = ranked();
    let rows = ranked.rows();
    for rows_max in [3, 1_000] {
        let found = ranked.check(false, rows_max);
        assert_eq!(numbers(&found), [0; 5], "{:?}", faults(&found));
        assert_eq!(found.unchecked, Vec::<String>::new());
    }
    let levels = rows.values().filter(|value| !value.is_empty()).count();
    assert!(levels > 8, "{levels} counts");
    for (place, (key, value)) in rows.iter().enumerate() {
        let is_level = !value.is_empty();
        // Every count, and some of the entries.
        if !is_level && place % 24 != 0 {
            continue;
        }
        let wrong: &[u8] = if place % 2 == 0 { &[1, 2, 3] } else { &[9, 0, 0, 0, 0, 0, 0, 0] };
        let mut damages: Vec<(Bytes, Option<&[u8]>)> = vec![(key.clone(), None), (key.clone(), Some(wrong))];
        // A member that there is not, and an entry of no record.
        damages.push((Bytes::from([&key[..], b"\x01x\0"].concat()), Some(value)));
        for (damaged, written) in damages {
            ranked.world.write(&damaged, written);
            ranked.world.clock.advance(Duration::from_secs(11));
            let told = ranked.check(false, 1_000);
            let total: u64 = numbers(&told).iter().sum();
            assert!(total > 0 && told.repaired == 0, "{damaged:?} {written:?}");
            let mended = ranked.check(true, if is_level { 1_000 } else { 20 });
            assert!(mended.repaired > 0, "{damaged:?} {written:?}: {:?}", faults(&mended));
            assert_eq!(ranked.rows(), rows, "{damaged:?} {written:?}: {:?}", faults(&mended));
        }
    }
}

/// A record changes while a step that repairs waits for its commit: what both leave fits together.
#[test]
fn writers_beside_a_repair_keep_their_positions() {
    let ranked = ranked();
    let levels: Vec<Bytes> =
        ranked.rows().into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, _)| key).collect();
    for (round, key) in levels.iter().step_by(3).enumerate() {
        ranked.world.clock.advance(Duration::from_secs(11));
        ranked.world.write(key, if round % 2 == 0 { None } else { Some(&[200, 0, 0, 0, 0, 0, 0, 0]) });
        let mut next = 1_000 * (round as i64 + 1);
        check(&ranked.tenant, true, 100, Bounds::default(), |attempt, _| {
            // Once for each step; one that the damage hinders is given up.
            if attempt == 1 {
                next += 1;
                let record = score(next).with("points", next % 31);
                drop(block_on(ranked.tenant.put("score", &record)));
                drop(block_on(ranked.tenant.delete("score", &PrimaryKey::of(next % COUNT))));
            }
        });
        // What came while it was not mended yet.
        ranked.check(true, 1_000);
        let found = ranked.check(false, 1_000);
        assert_eq!(numbers(&found), [0; 5], "{key:?}: {:?}", faults(&found));
    }
}
