//! Records that cannot be read, and references that lead to nothing: both are told, and a repair leaves them to people.

use super::*;
use tenantry_kv::tuple::{self, Element};

/// The keys of a record of one integer.
fn part(tenant: &Tenant, type_name: &str, id: i64, part: i64) -> Bytes {
    let schema = block_on(tenant.schema()).unwrap();
    let record_type = schema.definition.record_type(type_name).unwrap();
    let prefix = tenant.keys.records(record_type.id).unwrap();
    tuple::pack_after(&prefix, &[Element::Int(id), Element::Int(part)]).unwrap()
}

/// A record of three parts, none of which gets smaller.
fn long_task(id: i64) -> Record {
    let mut state = 7u32;
    let bytes: Vec<u8> = (0..250_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    task(id, 3).with("blob", Value::Bytes(bytes.into()))
}

/// What is not there for certain is what nobody can add up.
const AMOUNTS: [&str; 7] = ["total", "per_account", "per_tag", "points", "prices", "least", "most"];

#[test]
fn a_record_that_cannot_be_read_is_told_and_the_check_goes_on() {
    let world = World::filled(8);
    block_on(world.tenant.put("task", &long_task(5))).unwrap();
    // Something to find behind it.
    let by_title = world.indexes().into_iter().find(|(_, index)| index.name == "by_title").unwrap().1;
    let entry = world.index_rows(&world.tenant, &by_title).into_keys().next().unwrap();
    world.write(&entry, None);
    let whole = world.dump();
    let key = |id: i64, number: i64| part(&world.tenant, "task", id, number);
    let of = |id: i64| whole[&key(id, 0)].clone();
    let flipped = |mut value: Vec<u8>, place: usize| {
        value[place] ^= 0xff;
        Some(Bytes::from(value))
    };
    let half = of(3).len() / 2;
    let damages: Vec<(&str, Bytes, Option<Bytes>)> = vec![
        ("3", key(3, 0), Some(Bytes::new())),
        ("3", key(3, 0), Some(of(3).slice(..half))),
        ("3", key(3, 0), Some(vec![0xff; 60].into())),
        ("3", key(3, 0), flipped(of(3).to_vec(), 0)),
        // The first and the last record, and one that says that it is another one.
        ("0", key(0, 0), Some(Bytes::new())),
        ("7", key(7, 0), Some(Bytes::new())),
        ("3", key(3, 0), Some(of(4))),
        ("5", key(5, 1), None),
        ("5", key(5, 2), None),
        ("5", key(5, 1), Some(Bytes::new())),
        ("5", key(5, 3), Some(Bytes::from_static(b"more"))),
    ];
    for (number, (name, key, value)) in damages.into_iter().enumerate() {
        world.write(&key, value.as_deref());
        let damaged = world.dump();
        assert_ne!(damaged, whole, "{number}");
        for rows_max in [1, 3, 1_000] {
            let found = world.check(false, rows_max);
            let expected = [
                ["task".to_owned(), "unreadable".to_owned(), format!("{name:?}")],
                ["page.by_title".to_owned(), "missing".to_owned(), faults(&found)[1][2].clone()],
            ];
            assert_eq!(faults(&found), expected, "{number} {rows_max}");
            assert_eq!((found.unreadable, numbers(&found), found.records), (1, [1, 0, 0, 0, 0], 10));
            let unchecked: Vec<String> =
                AMOUNTS.iter().map(|name| format!("task.{name}: a record cannot be read")).collect();
            let mut skipped = found.unchecked.clone();
            skipped.sort();
            assert_eq!(skipped, {
                let mut sorted = unchecked;
                sorted.sort();
                sorted
            });
        }
        assert_eq!(world.dump(), damaged, "{number}");
        let mended = world.check(true, 2);
        assert_eq!((mended.unreadable, numbers(&mended)), (1, [1, 0, 0, 0, 1]), "{number}");
        // The repair wrote the one entry, and what is unreadable has its entries still.
        let mut expected = damaged;
        expected.insert(entry.clone(), world.dump()[&entry].clone());
        assert_eq!(world.dump(), expected, "{number}");
        world.write(&entry, None);
        world.write(&key, whole.get(&key).map(|value| &value[..]));
        assert_eq!(world.dump(), whole);
    }
}

#[test]
fn what_is_left_of_a_record_is_told() {
    let world = World::filled(4);
    block_on(world.tenant.put("task", &long_task(2))).unwrap();
    let (first, second) = (part(&world.tenant, "task", 2, 0), part(&world.tenant, "task", 2, 1));
    let before = world.check(false, 10);
    assert_eq!((before.unreadable, numbers(&before)), (0, [0; 5]));
    // Its first part is gone, so that nobody finds the record: its entries dangle.
    world.write(&first, None);
    let found = world.check(false, 10);
    assert_eq!(
        (found.unreadable, faults(&found)[0].clone()),
        (1, ["task", "unreadable", "\"2\""].map(str::to_owned))
    );
    assert!(found.dangling > 3 && found.missing + found.wrong + found.duplicate == 0, "{found:?}");
    world.check(true, 10);
    let mended = world.check(false, 10);
    assert_eq!((mended.unreadable, numbers(&mended)), (1, [0; 5]), "the parts are left to people");
    assert!(world.dump().contains_key(&second));
    // A key that is no record's at all.
    let schema = block_on(world.tenant.schema()).unwrap();
    let prefix = world.tenant.keys.records(schema.definition.record_type("page").unwrap().id).unwrap();
    let garbage = [&prefix[..], &[0x02, b'x']].concat();
    world.write(&garbage, Some(b"y"));
    let found = world.check(false, 1);
    assert_eq!(
        (found.unreadable, faults(&found)[1].clone()),
        (2, ["page", "unreadable", "\\x02x"].map(str::to_owned))
    );
}

const REFERRING: &str = r#"
name = "referring"
[types.account]
primary_key = ["id"]
fields = { id = "int" }
[types.order]
primary_key = ["id"]
fields = { id = "int", account = "int", before = { type = "int", optional = true } }
indexes = { by_account = { fields = ["account"] }, by_before = { fields = ["before"] } }
references.account = { fields = ["account"], to = "account", on_delete = "cascade" }
references.before = { fields = ["before"], to = "order", on_delete = "set_null" }
"#;

#[test]
fn references_to_nothing_are_counted_and_named() {
    let world = World::new();
    block_on(world.database.apply_schema(&SchemaDefinition::from_toml(REFERRING).unwrap())).unwrap();
    let tenant = block_on(world.database.create_tenant("referring", "referring")).unwrap();
    for id in 0..4 {
        block_on(tenant.insert("account", &Record::new().with("id", id))).unwrap();
    }
    for id in 0..12i64 {
        // Some refer to nothing, one to itself, the others to the one before.
        let record = Record::new().with("id", id).with("account", id % 4);
        let record = match id {
            6 => record.with("before", 6),
            0 | 3 => record,
            _ => record.with("before", id - 1),
        };
        block_on(tenant.insert("order", &record)).unwrap();
    }
    let run = |repairs, rows_max| check(&tenant, repairs, rows_max, Bounds::default(), |_, _| {});
    let clean = run(true, 5);
    assert_eq!((clean.dangling_references, clean.unreadable, numbers(&clean)), (0, 0, [0; 5]));
    world.write(&part(&tenant, "account", 2, 0), None);
    world.write(&part(&tenant, "order", 10, 0), None);
    let damaged = world.dump();
    for rows_max in [1, 4, 100] {
        let found = run(false, rows_max);
        let mut told = faults(&found);
        told.retain(|fault| fault[1] == "dangling reference");
        let expected = [("account", 2), ("account", 6), ("before", 11)];
        let expected = expected.map(|(name, id)| {
            [format!("order.{name}"), "dangling reference".to_owned(), format!("\"{id}\"")]
        });
        assert_eq!((found.dangling_references, told), (3, expected.to_vec()), "{found:?}");
        // The order 10 had two entries.
        assert_eq!(numbers(&found), [0, 2, 0, 0, 0]);
        assert_eq!(world.dump(), damaged);
    }
    run(true, 3);
    let mended = run(false, 3);
    assert_eq!((mended.dangling_references, numbers(&mended)), (3, [0; 5]), "references are left to people");
}
