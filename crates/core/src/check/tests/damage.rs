//! One damage at a time, of each kind, in each index.

use super::*;
use crate::schema::IndexKind;
use tenantry_kv::tuple::{self, Element};

/// The rows of an index that a record has, and that no other has.
type Owners = BTreeMap<Bytes, String>;

/// A change of one key, and what a check has to tell of it.
struct Damage {
    key: Bytes,
    value: Option<Bytes>,
    fault: &'static str,
    name: String,
}

/// A world with records, and of each index who has which row, and rows of a record that is gone and of one as it was before.
struct Prepared {
    world: World,
    owners: BTreeMap<u32, Owners>,
    /// Of the task 999, or the page 999.
    gone: BTreeMap<u32, BTreeMap<Bytes, Bytes>>,
    /// Of the task 3.
    stale: BTreeMap<u32, BTreeMap<Bytes, Bytes>>,
}

fn prepared() -> Prepared {
    let world = World::new();
    let indexes = world.indexes();
    let rows = |world: &World| -> BTreeMap<u32, BTreeMap<Bytes, Bytes>> {
        indexes.iter().map(|(_, index)| (index.id, world.index_rows(&world.tenant, index))).collect()
    };
    let other_task = |id: i64| {
        let words = vec![Value::from("green"), "greens".into()];
        task(id, 38).with("account", "zz").with("points", 77).with("tags", words).with("body", "gone away")
    };
    let mut owners: BTreeMap<u32, Owners> = BTreeMap::new();
    let mut put = |world: &World, record_type: &str, record: &Record, name: &str| {
        let before = rows(world);
        block_on(world.tenant.put(record_type, record)).unwrap();
        let after = rows(world);
        for (index, after) in &after {
            let owned = owners.entry(*index).or_default();
            owned.retain(|key, _| after.contains_key(key));
            let new = after.keys().filter(|key| !before[index].contains_key(*key));
            owned.extend(new.map(|key| (key.clone(), name.to_owned())));
        }
        // What it brought.
        let mut brought = after;
        for (index, rows) in &mut brought {
            rows.retain(|key, value| before[index].get(key) != Some(value));
        }
        brought
    };
    let mut gone = put(&world, "task", &other_task(999), "\"999\"");
    gone.extend(put(&world, "page", &page(999), "").into_iter().filter(|(_, rows)| !rows.is_empty()));
    assert!(block_on(world.tenant.delete("task", &PrimaryKey::of(999))).unwrap());
    assert!(block_on(world.tenant.delete("page", &page_key(999))).unwrap());
    let stale = put(&world, "task", &other_task(3), "\"3\"");
    for id in 0..13 {
        put(&world, "task", &task(id, id as u64), &PrimaryKey::of(id).to_string());
    }
    for id in 0..5 {
        put(&world, "page", &page(id), &page_key(id).to_string());
    }
    let now = rows(&world);
    let without = |mut rows: BTreeMap<u32, BTreeMap<Bytes, Bytes>>| {
        for (index, rows) in &mut rows {
            rows.retain(|key, _| !now[index].contains_key(key));
        }
        rows
    };
    let (gone, stale) = (without(gone), without(stale));
    Prepared { world, owners, gone, stale }
}

impl Prepared {
    /// Every damage of an index of entries.
    fn of_entries(&self, type_name: &str, index: &Index) -> Vec<Damage> {
        let world = &self.world;
        let rows: Vec<_> = world.index_rows(&world.tenant, index).into_iter().collect();
        let owner = |key: &Bytes| self.owners[&index.id][key].clone();
        let mut damages = Vec::new();
        for place in [rows.len() / 2, rows.len() - 1] {
            let (key, value) = &rows[place];
            let other = &rows[(place + 1) % rows.len()].1;
            let longer = Bytes::from([&value[..], b"x"].concat());
            for wrong in [other.clone(), longer, Bytes::new()].into_iter().filter(|wrong| wrong != value) {
                damages.push(Damage {
                    key: key.clone(),
                    value: Some(wrong),
                    fault: "wrong",
                    name: owner(key),
                });
            }
            damages.push(Damage { key: key.clone(), value: None, fault: "missing", name: owner(key) });
        }
        let gone_name = if type_name == "task" { "\"999\"".to_owned() } else { page_key(999).to_string() };
        let dangling = [(&self.gone, gone_name), (&self.stale, "\"3\"".to_owned())];
        for (rows, name) in dangling {
            for (key, value) in rows.get(&index.id).into_iter().flatten() {
                let (key, value) = (key.clone(), Some(value.clone()));
                damages.push(Damage { key, value, fault: "dangling", name: name.clone() });
            }
        }
        // What is no tuple names no record.
        let garbage = [&world.prefix(&world.tenant, index)[..], &[0x02, b'x']].concat().into();
        let value = Some(Bytes::from_static(b"\x02y"));
        damages.push(Damage { key: garbage, value, fault: "dangling", name: String::new() });
        damages
    }

    /// Every damage of an index of amounts, each of whose keys begins with so many columns that tell the group.
    fn of_amounts(&self, index: &Index, columns: usize) -> Vec<Damage> {
        let world = &self.world;
        let prefix = world.prefix(&world.tenant, index);
        let name = |key: &Bytes| {
            let elements = tuple::unpack(&key.slice(prefix.len()..)).unwrap();
            let shown = elements[..columns].iter().map(|element| match element {
                Element::String(text) => text.clone(),
                Element::Int(number) => number.to_string(),
                other => panic!("{other:?}"),
            });
            shown.collect::<Vec<_>>().join(", ")
        };
        let rows: Vec<_> = world.index_rows(&world.tenant, index).into_iter().collect();
        let mut damages = Vec::new();
        for (key, value) in rows.iter().take(3).chain(rows.last()) {
            let mut greater = value.to_vec();
            greater[0] = greater[0].wrapping_add(1);
            let negative = vec![0xff; value.len()];
            let cut = value[..value.len() / 2].to_vec();
            for wrong in [greater, negative, cut, [&value[..], &[0, 7]].concat(), Vec::new()] {
                let value = Some(Bytes::from(wrong));
                damages.push(Damage { key: key.clone(), value, fault: "wrong", name: name(key) });
            }
            damages.push(Damage { key: key.clone(), value: None, fault: "missing", name: name(key) });
        }
        for (key, value) in &self.gone[&index.id] {
            for value in [value.clone(), Bytes::from(vec![0; value.len()]), Bytes::from_static(&[5; 40])] {
                damages.push(Damage {
                    key: key.clone(),
                    value: Some(value),
                    fault: "dangling",
                    name: name(key),
                });
            }
        }
        damages
    }

    fn of(&self, type_name: &str, index: &Index) -> Vec<Damage> {
        let columns = match index.kind {
            IndexKind::Count | IndexKind::Sum | IndexKind::Min | IndexKind::Max => {
                Some(["total", "per_account", "per_tag", "points", "prices", "least", "most"])
            }
            _ => None,
        };
        match columns.and_then(|names| names.iter().position(|name| *name == index.name)) {
            Some(place) => self.of_amounts(index, [0, 1, 1, 1, 1, 2, 1][place]),
            None => self.of_entries(type_name, index),
        }
    }
}

#[test]
fn each_damage_is_told_by_name_and_mended_to_the_byte() {
    let prepared = prepared();
    let world = &prepared.world;
    let whole = world.dump();
    for rows_max in [1, 4, 1_000] {
        let clean = world.check(true, rows_max);
        assert_eq!((numbers(&clean), clean.records), ([0; 5], 18), "{clean:?}");
        assert!(clean.unchecked.is_empty() && clean.entries > 200, "{clean:?}");
    }
    assert_eq!(world.dump(), whole, "a repair of nothing writes nothing");
    let small = Bounds { amounts_size_bytes_max: 300, repairs_max: 1, ..Bounds::default() };
    let mut done = BTreeMap::new();
    for (type_name, index) in world.indexes() {
        for (number, damage) in prepared.of(&type_name, &index).into_iter().enumerate() {
            let Damage { key, value, fault, name } = damage;
            let label = format!("{type_name}.{} {fault} {name} {number}", index.name);
            world.write(&key, value.as_deref());
            let damaged = world.dump();
            assert_ne!(damaged, whole, "{label}");
            let expected = [[format!("{type_name}.{}", index.name), fault.to_owned(), name]];
            let (rows_max, bounds) = [(1_000, Bounds::default()), (7, small)][usize::from(number % 4 == 1)];
            let told = world.check_within(false, rows_max, bounds);
            let count = |kind: &str| u64::from(fault == kind);
            let mut counts = [count("missing"), count("dangling"), count("wrong"), 0, 0];
            assert_eq!((faults(&told), numbers(&told)), (expected.to_vec(), counts), "{label}");
            assert_eq!(world.dump(), damaged, "{label}: only told");
            counts[4] = 1;
            let mended = world.check_within(true, rows_max, bounds);
            assert_eq!((faults(&mended), numbers(&mended)), (expected.to_vec(), counts), "{label}");
            assert_eq!(world.dump(), whole, "{label}: mended");
            assert_eq!(numbers(&world.check(false, 1_000)), [0; 5], "{label}");
            *done.entry((index.name.clone(), fault)).or_insert(0) += 1;
        }
    }
    // Each kind of damage in each index; the only amount of a group that is not divided cannot dangle.
    done.insert(("total".to_owned(), "dangling"), 0);
    let kinds = ["dangling", "missing", "wrong"];
    let missing: Vec<_> = world
        .indexes()
        .iter()
        .flat_map(|(_, index)| kinds.map(|kind| (index.name.clone(), kind)))
        .filter(|it| !done.contains_key(it))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn many_damages_at_once_are_counted_and_the_first_of_them_told() {
    let prepared = prepared();
    let world = &prepared.world;
    let whole = world.dump();
    let mut expected = BTreeMap::from([("missing", 0), ("dangling", 0), ("wrong", 0)]);
    let mut taken = std::collections::BTreeSet::new();
    for (type_name, index) in world.indexes() {
        let mut damages = prepared.of(&type_name, &index);
        // Of those of one key the first counts: another one in each index.
        let count = damages.len();
        damages.rotate_left(index.id as usize % count);
        for damage in damages {
            if taken.insert(damage.key.clone()) {
                world.write(&damage.key, damage.value.as_deref());
                *expected.get_mut(damage.fault).unwrap() += 1;
            }
        }
    }
    let expected = [expected["missing"], expected["dangling"], expected["wrong"], 0, 0];
    let total: u64 = expected.iter().sum();
    assert!(total > 100, "{expected:?}");
    let small = Bounds { amounts_size_bytes_max: 500, repairs_max: 2, ..Bounds::default() };
    for (rows_max, bounds) in [(1, small), (9, Bounds::default()), (1_000, small)] {
        let told = world.check_within(false, rows_max, bounds);
        assert_eq!(numbers(&told), expected);
        let size_bytes: usize =
            told.faults.iter().map(|it| it.index.len() + it.fault.len() + it.key.len()).sum();
        assert!(told.faults.len() > 50 && told.faults.len() <= 100 && size_bytes < 6_000);
    }
    let mended = world.check_within(true, 3, small);
    assert_eq!(numbers(&mended), [expected[0], expected[1], expected[2], 0, total]);
    assert_eq!(world.dump(), whole);
}

#[test]
fn two_records_with_one_unique_value_are_told_and_left_to_people() {
    let world = World::filled(8);
    let by_email = world.indexes().into_iter().find(|(_, index)| index.name == "by_email").unwrap().1;
    let email = |id: i64, text: &str| block_on(world.tenant.put("task", &task(id, 0).with("email", text)));
    email(4, "same").unwrap();
    // The other unique index on it as well.
    let entries = world.rows(&[], &[0xff]).into_keys().filter(|key| {
        let text = key.windows(4).any(|part| part == b"same");
        text || key.windows(4).any(|part| part == [!b's', !b'a', !b'm', !b'e'])
    });
    let entries: Vec<Bytes> = entries.collect();
    assert_eq!(entries.len(), 2);
    for key in &entries {
        world.write(key, None);
    }
    email(6, "same").unwrap();
    for repairs in [false, true] {
        let found = world.check(repairs, 100);
        // Of the other index the key names the record besides, so that each can have its own.
        let expected = [["task.by_email", "duplicate", "\"4\""].map(str::to_owned)];
        let told: Vec<_> = faults(&found).into_iter().filter(|it| it[0] == "task.by_email").collect();
        assert_eq!(told, expected);
        assert_eq!(found.duplicate, 1);
    }
    email(6, "other").unwrap();
    assert_eq!(numbers(&world.check(true, 100)), [1, 0, 0, 0, 1]);
    assert_eq!(numbers(&world.check(true, 100)), [0; 5]);
    assert_eq!(world.index_rows(&world.tenant, &by_email).len(), 8);
}
