//! Hashed indexes: what is found in them, what nobody reads in them, and what becomes of them when keys change.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;
use tenantry_kv::Subspace;

use super::*;
use crate::archive::fill;
use crate::error::Code;
use crate::jobs::{Check, JobKind, Verify};
use crate::{ArchiveImporter, Archiver, Query, Value};

const HASHED: &str = r#"
name = "h"
[types.person]
primary_key = ["id"]
fields = { id = "int", email = { type = "string", optional = true }, name = "string", code = { type = "int", optional = true }, tags = { type = "list", of = "string", optional = true } }
[types.person.indexes]
by_email = { fields = ["email"], unique = true, hashed = true, covering = ["name"] }
by_name = { fields = ["name"], hashed = true }
by_code = { fields = ["code", "name"], unique = true, missing = "equal", hashed = true }
by_tag = { fields = [{ each = "tags" }, "name"], hashed = true, covering = ["code"] }
names = { fields = ["name"], hashed = true, where = "code != null" }
"#;

/// The same without indexes, to compare with.
fn bare() -> String {
    let (fields, _) = HASHED.split_once("[types.person.indexes]").unwrap();
    fields.replace("name = \"h\"", "name = \"bare\"")
}

fn world() -> World {
    let world = World::new();
    for text in [HASHED.to_owned(), bare()] {
        block_on(world.database.apply_schema(&SchemaDefinition::from_toml(&text).unwrap())).unwrap();
    }
    world
}

fn tenant(world: &World, name: &str, schema: &str, is_sealed: bool) -> Tenant {
    let options = TenantOptions::new().sealed(is_sealed);
    block_on(world.database.create_tenant_with(name, schema, &options)).unwrap()
}

fn person(id: i64, number: u8) -> Record {
    let tags: Vec<Value> = (0..number % 4).map(|tag| Value::from(format!("{SECRET} {tag}"))).collect();
    let mut person =
        Record::new().with("id", id).with("name", format!("{SECRET} {}", number % 5)).with("tags", tags);
    if !number.is_multiple_of(3) {
        person.set("email", format!("{SECRET} {}", number % 11));
    }
    if !number.is_multiple_of(7) {
        person.set("code", i64::from(number % 7));
    }
    person
}

fn put(tenant: &Tenant, id: i64, number: u8) -> Result<(), Code> {
    block_on(tenant.put("person", &person(id, number))).map_err(|error| error.code())
}

fn indexes(tenant: &Tenant) -> BTreeMap<String, u32> {
    let schema = block_on(tenant.schema()).unwrap();
    let indexes = &schema.definition.record_type("person").unwrap().indexes;
    indexes.iter().map(|index| (index.name.clone(), index.id)).collect()
}

/// The entries of an index, behind its prefix.
fn entries(world: &World, tenant: &Tenant, name: &str) -> Vec<(Bytes, Bytes)> {
    let prefix = tenant.keys.index(indexes(tenant)[name]).unwrap();
    let rows = world.rows(Subspace::new(prefix.clone()).keys());
    rows.into_iter().map(|(key, value)| (key.slice(prefix.len()..), value)).collect()
}

/// The form of an entry's hash: 1 for one that everybody can make.
fn form(entry: &(Bytes, Bytes)) -> u8 {
    entry.0[1]
}

fn queries() -> Vec<Query> {
    let literal = |number: i64| format!("\"{SECRET} {number}\"");
    let mut filters: Vec<String> = (0..11).map(|number| format!("email == {}", literal(number))).collect();
    filters.extend((0..5).map(|number| format!("name == {}", literal(number))));
    filters.extend((0..3).map(|number| format!("name == {} && code != null", literal(number))));
    filters.extend((0..4).map(|number| format!("{} in tags && name == {}", literal(number), literal(1))));
    filters.push(format!("code == 3 && name == {}", literal(3)));
    filters.push(format!("code == null && name == {}", literal(2)));
    filters.push(format!("name in [{}, {}]", literal(1), literal(4)));
    filters.push(format!("email == {} || name == {}", literal(1), literal(2)));
    filters.push("email == null".to_owned());
    filters.push(format!("name > {}", literal(2)));
    filters.push("code == 3".to_owned());
    let queries = filters.iter().map(|filter| Query::of("person").filter(filter.as_str()));
    queries.flat_map(|query| [query.clone(), query.select(["id", "name"])]).collect()
}

/// What a query finds, page by page, by id.
fn found(tenant: &Tenant, query: &Query, rows_max: usize) -> Vec<Record> {
    let mut query = query.clone().rows_max(rows_max);
    let mut records = Vec::new();
    loop {
        let page = block_on(tenant.query(&query)).unwrap();
        records.extend(page.records);
        match page.next {
            Some(token) => query.after = Some(token),
            None => break,
        }
    }
    records.sort_by_key(|record| match record.get("id") {
        Some(Value::Int(id)) => *id,
        other => unreachable!("{other:?}"),
    });
    records
}

fn check_same(hashed: &Tenant, bare: &Tenant) {
    for query in queries() {
        let expected = found(bare, &query, 100);
        for rows_max in [1, 3, 100] {
            assert_eq!(found(hashed, &query, rows_max), expected, "{query:?}");
        }
    }
}

fn finished(tenant: &Tenant, kind: &dyn JobKind, parameters: &serde_json::Value) -> serde_json::Value {
    let id = block_on(tenant.database().create_job(kind, Some(tenant), parameters)).unwrap();
    block_on(Worker::new(tenant.database(), JobKinds::standard()).run_until_idle()).unwrap();
    let job = block_on(tenant.database().job(id)).unwrap();
    job.result.unwrap_or_else(|| unreachable!("{:?}", job.error))
}

fn check_sound(tenant: &Tenant) {
    let checked = finished(tenant, &Check, &Check::parameters(None, false));
    assert_eq!(checked["faults"], json!([]), "{checked}");
    let verified = finished(tenant, &Verify, &json!({}));
    assert_eq!(verified["sound"], true, "{verified}");
}

#[test]
fn nobody_reads_the_values_of_a_hashed_index() {
    let world = world();
    let [one, other] = ["one", "other"].map(|name| tenant(&world, name, "h", true));
    let clear = tenant(&world, "clear", "h", false);
    for tenant in [&one, &other, &clear] {
        for id in 0..6 {
            put(tenant, id, u8::try_from(id).unwrap()).unwrap();
        }
    }
    let holds = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    for tenant in [&one, &other] {
        let rows = world.rows(tenant.keys.everything());
        assert!(rows.len() > 20 && !rows.iter().any(|(key, value)| holds(key) || holds(value)));
    }
    let rows = world.rows(clear.keys.everything());
    assert!(rows.iter().any(|(_, value)| holds(value)) && !rows.iter().any(|(key, _)| holds(key)));
    // No hash of one tenant, of one index, or in clear is that of another one.
    let mut seen = BTreeSet::new();
    for tenant in [&one, &other, &clear] {
        for name in ["by_name", "names"] {
            let entries = entries(&world, tenant, name);
            let hashes: BTreeSet<Bytes> = entries.iter().map(|(key, _)| key.slice(..30)).collect();
            assert!(
                entries
                    .iter()
                    .all(|entry| form(entry) == if tenant.info.id == clear.info.id { 1 } else { 2 })
            );
            // Two have a name in common.
            assert_eq!(hashes.len(), 5, "{entries:?}");
            for hash in hashes {
                assert!(seen.insert(hash.slice(2..)), "{hash:?}");
            }
        }
    }
}

#[test]
fn a_hashed_index_finds_what_a_look_at_all_records_finds() {
    let world = world();
    let bare = tenant(&world, "bare", "bare", false);
    let both = [("sealed", true), ("clear", false)].map(|(name, is)| tenant(&world, name, "h", is));
    for id in 0..60_u8 {
        for hashed in &both {
            let expected = put(&both[0], i64::from(id), id.wrapping_mul(37));
            assert_eq!(put(hashed, i64::from(id), id.wrapping_mul(37)), expected);
            if expected.is_ok() {
                put(&bare, i64::from(id), id.wrapping_mul(37)).unwrap();
            }
        }
    }
    for hashed in &both {
        check_same(hashed, &bare);
        check_sound(hashed);
    }
}

#[test]
fn a_write_changes_the_entries_that_change_alone() {
    let world = world();
    let tenant = tenant(&world, "one", "h", true);
    put(&tenant, 1, 1).unwrap();
    let names = ["by_email", "by_name", "by_code", "by_tag", "names"];
    let all = || names.map(|name| entries(&world, &tenant, name));
    let before = all();
    // As it is: nothing is written again, the sealed values keep their nonces.
    put(&tenant, 1, 1).unwrap();
    assert_eq!(all(), before);
    block_on(tenant.put("person", &person(1, 1).with("email", "another"))).unwrap();
    let after = all();
    assert_ne!(after[0][0].0, before[0][0].0);
    assert_eq!((after[0].len(), &after[1..]), (1, &before[1..]));
    // Back again it is the same hash.
    put(&tenant, 1, 1).unwrap();
    assert_eq!(entries(&world, &tenant, "by_email")[0].0, before[0][0].0);
    block_on(tenant.delete("person", &PrimaryKey::of(1))).unwrap();
    assert!(all().iter().all(Vec::is_empty));
}

#[test]
fn unique_hashed_indexes_allow_what_others_allow() {
    for is_sealed in [true, false] {
        let world = world();
        let tenant = tenant(&world, "one", "h", is_sealed);
        let insert = |id: i64, email: Option<&str>, code: Option<i64>| {
            let mut person = Record::new().with("id", id).with("name", "n");
            email.into_iter().for_each(|email| person.set("email", email));
            code.into_iter().for_each(|code| person.set("code", code));
            block_on(tenant.insert("person", &person))
        };
        insert(1, Some("a"), Some(1)).unwrap();
        let error = insert(2, Some("a"), Some(2)).unwrap_err();
        assert_eq!(error.code(), Code::UniqueViolation);
        assert_eq!(error.detail(), "the index \"by_email\" of \"person\" has email = \"a\" already");
        // Nothing of a refused write stays.
        insert(2, Some("b"), Some(2)).unwrap();
        insert(3, None, Some(3)).unwrap();
        insert(4, None, None).unwrap();
        // Missing is a value like any other there.
        assert_eq!(insert(5, None, None).unwrap_err().code(), Code::UniqueViolation);
        block_on(tenant.delete("person", &PrimaryKey::of(4))).unwrap();
        insert(5, None, None).unwrap();
        // Both under the one key in one transaction.
        let twice = block_on(tenant.run(|transaction| async move {
            let person = |id: i64| Record::new().with("id", id).with("name", "m").with("email", "c");
            transaction.insert("person", &person(6)).await?;
            transaction.insert("person", &person(7)).await
        }));
        assert_eq!(twice.unwrap_err().code(), Code::UniqueViolation);
        check_sound(&tenant);
    }
}

/// Data keys and root keys change, and no entry is written for that.
#[test]
fn a_new_data_key_leaves_the_hashes_alone() {
    let world = world();
    let one = tenant(&world, "one", "h", true);
    for id in 0..6 {
        put(&one, id, u8::try_from(id).unwrap()).unwrap();
    }
    let keys = |name: &str| entries(&world, &one, name).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let names = ["by_email", "by_name", "by_code", "by_tag", "names"];
    let (before, whole) = (names.map(keys), entries(&world, &one, "by_name"));
    block_on(one.rotate_data_key()).unwrap();
    reseal(&one);
    assert_eq!((names.map(keys), entries(&world, &one, "by_name")), (before.clone(), whole));
    block_on(world.keyring(1).rotate_root(&root(&world.env, 2))).unwrap();
    let database = world.another_process(Some(world.keyring(2)));
    let there = block_on(database.tenant("one")).unwrap();
    assert_eq!(put(&there, 9, 1), Err(Code::UniqueViolation));
    put(&there, 9, 9).unwrap();
    assert_eq!(names.map(keys)[1].len(), before[1].len() + 1);
    // Without a key nobody asks, and nobody is told.
    let keyless = block_on(world.another_process(None).tenant("one")).unwrap();
    let query = Query::of("person").filter("email == \"x\"");
    assert_eq!(block_on(keyless.query(&query)).unwrap_err().code(), Code::TenantSealed);
    assert!(block_on(there.query(&query)).unwrap().records.is_empty());
    block_on(there.shred()).unwrap();
    let error = block_on(block_on(database.tenant("one")).unwrap().query(&query)).unwrap_err();
    assert_eq!(error.code(), Code::TenantShredded);
}

/// Between the seal and the end of the job entries stand under both hashes, and the old ones are looked for; at its end the old ones are gone.
#[test]
fn a_tenant_that_is_sealed_later_gets_other_hashes() {
    let world = world();
    let (hashed, bare) = (tenant(&world, "one", "h", false), tenant(&world, "bare", "bare", false));
    let both = |id: i64, number: u8| {
        put(&hashed, id, number).unwrap();
        put(&bare, id, number).unwrap();
    };
    for id in 0..6 {
        both(id, u8::try_from(id).unwrap());
    }
    let count = |form_wanted: u8| {
        let entries = entries(&world, &hashed, "by_name");
        entries.iter().filter(|entry| form(entry) == form_wanted).count()
    };
    assert_eq!((count(1), count(2)), (6, 0));
    block_on(hashed.seal()).unwrap();
    // One that is new, one that changes, one that is written as it is, one that goes.
    both(6, 7);
    both(1, 12);
    both(2, 2);
    for tenant in [&hashed, &bare] {
        assert!(block_on(tenant.delete("person", &PrimaryKey::of(3))).unwrap());
    }
    assert_eq!((count(1), count(2)), (6, 2));
    assert_eq!(put(&hashed, 50, 4), Err(Code::UniqueViolation));
    assert_eq!(put(&hashed, 50, 29), Err(Code::UniqueViolation));
    check_same(&hashed, &bare);
    // What is only being built lacks nowhere, and stands in nobody's way.
    check_sound(&hashed);
    let repaired = finished(&hashed, &Check, &Check::parameters(None, true));
    assert_eq!(repaired["repaired"], 0, "{repaired}");
    let refused = block_on(hashed.shred()).unwrap_err();
    assert_eq!(refused.code(), Code::SealRefused);
    reseal(&hashed);
    assert_eq!((count(1), count(2)), (0, 6));
    check_same(&hashed, &bare);
    check_sound(&hashed);
    assert_eq!(put(&hashed, 50, 4), Err(Code::UniqueViolation));
    let rows = world.rows(hashed.keys.everything());
    assert!(!rows.iter().any(|(key, value)| {
        [key, value].iter().any(|bytes| bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()))
    }));
    assert_eq!(reseal(&hashed)["resealed"], 0);
    block_on(hashed.shred()).unwrap();
}

/// As many elements as an index has room for: while it is being sealed there are twice as many entries.
#[test]
fn a_record_with_the_most_entries_is_sealed_as_well() {
    let world = world();
    let tenant = tenant(&world, "one", "h", false);
    let record = |count: usize| {
        let tags: Vec<Value> = (0..count).map(|tag| Value::from(format!("{tag}"))).collect();
        Record::new().with("id", 1).with("name", "n").with("code", 1).with("tags", tags)
    };
    block_on(tenant.put("person", &record(10_000))).unwrap();
    block_on(tenant.seal()).unwrap();
    block_on(tenant.put("person", &record(10_000).with("code", 2))).unwrap();
    let error = block_on(tenant.put("person", &record(10_001))).unwrap_err();
    assert_eq!(error.code(), Code::LimitPassed);
    reseal(&tenant);
    let query = Query::of("person").filter("\"9999\" in tags && name == \"n\"").select(["id", "code"]);
    assert_eq!(found(&tenant, &query, 10).len(), 1);
    assert_eq!(entries(&world, &tenant, "by_tag").len(), 10_000);
}

#[test]
fn clones_and_archives_get_hashes_of_their_own() {
    let world = world();
    let (sealed, bare) = (tenant(&world, "sealed", "h", true), tenant(&world, "bare", "bare", false));
    for id in 0..6 {
        put(&sealed, id, u8::try_from(id).unwrap()).unwrap();
        put(&bare, id, u8::try_from(id).unwrap()).unwrap();
    }
    block_on(world.database.clone_tenant("sealed", "copy")).unwrap();
    block_on(Worker::new(&world.database, JobKinds::standard()).run_until_idle()).unwrap();
    let copy = block_on(world.database.tenant("copy")).unwrap();
    let mut stream = Vec::new();
    let mut archiver = block_on(Archiver::new(&sealed)).unwrap();
    while let Some(bytes) = block_on(archiver.step()).unwrap() {
        stream.extend_from_slice(&bytes);
    }
    let mut importer = ArchiveImporter::new(&world.database, "imported");
    block_on(importer.feed(&stream)).unwrap();
    let imported = block_on(importer.finish()).unwrap().tenant;
    let hashes = |tenant: &Tenant| {
        let entries = entries(&world, tenant, "by_name");
        entries.into_iter().map(|(key, _)| key.slice(1..30)).collect::<BTreeSet<_>>()
    };
    assert!(hashes(&sealed).is_disjoint(&hashes(&copy)));
    assert!(hashes(&imported).iter().all(|hash| hash[0] == 1));
    for tenant in [&sealed, &copy, &imported] {
        assert_eq!(hashes(tenant).len(), 5);
        check_same(tenant, &bare);
        check_sound(tenant);
    }
    block_on(imported.seal()).unwrap();
    reseal(&imported);
    assert!(
        hashes(&imported).iter().all(|hash| hash[0] == 2) && hashes(&imported).is_disjoint(&hashes(&sealed))
    );
    check_same(&imported, &bare);
    block_on(sealed.shred()).unwrap();
    check_same(&copy, &bare);
}

/// What is filled begins anew, and keeps the key that it was given.
#[test]
fn a_tenant_that_is_emptied_keeps_its_data_key() {
    let world = world();
    let tenant = tenant(&world, "one", "h", true);
    put(&tenant, 1, 1).unwrap();
    block_on(tenant.run(|transaction| async move {
        fill::clear(&transaction)?;
        // Something is to be committed.
        transaction.raw_set(b"k", b"v")
    }))
    .unwrap();
    let there = block_on(world.another_process(Some(world.keyring(1))).tenant("one")).unwrap();
    assert_eq!(block_on(there.get("person", &PrimaryKey::of(1))).unwrap(), None);
    put(&there, 1, 1).unwrap();
}

#[test]
fn a_check_finds_and_mends_hashed_entries() {
    let world = world();
    let tenant = tenant(&world, "one", "h", true);
    for id in 0..6 {
        put(&tenant, id, u8::try_from(id).unwrap()).unwrap();
    }
    let ids = indexes(&tenant);
    let whole =
        |name: &str| -> BTreeMap<Bytes, Bytes> { entries(&world, &tenant, name).into_iter().collect() };
    let (names, codes) = (whole("by_name"), whole("by_code"));
    let key = |name: &str, behind: &[u8]| [&tenant.keys.index(ids[name]).unwrap()[..], behind].concat();
    // One is gone, one says that it is in clear, one stands under the hash of another tenant's value, one leads elsewhere.
    let transaction = world.engine.begin().unwrap();
    let places: Vec<&Bytes> = names.keys().collect();
    transaction.clear(&key("by_name", places[0]));
    let mut open = places[1].to_vec();
    open[1] = 1;
    transaction.set(&key("by_name", &open), b"");
    let mut foreign = places[2].to_vec();
    foreign[10] ^= 0x55;
    transaction.set(&key("by_name", &foreign), b"");
    let places: Vec<&Bytes> = codes.keys().collect();
    transaction.set(&key("by_code", places[0]), &codes[places[1]]);
    block_on(transaction.commit()).unwrap();
    let checked = finished(&tenant, &Check, &Check::parameters(None, false));
    assert_eq!(
        (&checked["missing"], &checked["dangling"], &checked["wrong"]),
        (&json!(1), &json!(2), &json!(1)),
        "{checked}"
    );
    let repaired = finished(&tenant, &Check, &Check::parameters(None, true));
    assert_eq!(repaired["repaired"], 4, "{repaired}");
    check_sound(&tenant);
    assert_eq!((whole("by_name"), whole("by_code")), (names, codes));
}

#[derive(Clone, Debug)]
enum Step {
    Put(i64, u8),
    Delete(i64),
    Seal,
    Reseal,
    /// A few steps of the job alone.
    ResealPart(usize),
    Rotate,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0i64..8, any::<u8>()).prop_map(|(id, number)| Step::Put(id, number)),
        2 => (0i64..8).prop_map(Step::Delete),
        1 => Just(Step::Seal),
        1 => Just(Step::Reseal),
        2 => (1usize..9).prop_map(Step::ResealPart),
        1 => Just(Step::Rotate),
    ]
}

/// Some steps of the job that seals, one record each.
fn reseal_part(tenant: &Tenant, cursor: &mut crate::messages::ResealCursor, steps: usize) {
    for _ in 0..steps {
        let begun = &*cursor;
        let (next, is_finished) = block_on(tenant.run(|transaction| async move {
            let mut cursor = begun.clone();
            let done = transaction.reseal(&mut cursor, 1).await?;
            Ok::<_, crate::Error>((cursor, done.is_finished))
        }))
        .unwrap();
        *cursor = next;
        if is_finished {
            *cursor = crate::messages::ResealCursor::default();
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The same writes on a tenant that is sealed on the way, step by step, and on one that never is: the same are refused, and all queries find the same.
    #[test]
    fn sealing_changes_nothing_that_is_found(steps in proptest::collection::vec(step(), 1..40)) {
        let world = world();
        let (sealed, clear) = (tenant(&world, "sealed", "h", false), tenant(&world, "clear", "h", false));
        let bare = tenant(&world, "bare", "bare", false);
        let mut cursor = crate::messages::ResealCursor::default();
        let is_sealed = || block_on(sealed.sealing()).unwrap().is_some();
        for step in &steps {
            match step {
                Step::Put(id, number) => {
                    let done = put(&clear, *id, *number);
                    prop_assert_eq!(put(&sealed, *id, *number), done);
                    if done.is_ok() {
                        put(&bare, *id, *number).unwrap();
                    }
                }
                Step::Delete(id) => {
                    for tenant in [&sealed, &clear, &bare] {
                        block_on(tenant.delete("person", &PrimaryKey::of(*id))).unwrap();
                    }
                }
                Step::Seal => drop(block_on(sealed.seal()).unwrap()),
                Step::Reseal if is_sealed() => drop(reseal(&sealed)),
                Step::ResealPart(steps) if is_sealed() => reseal_part(&sealed, &mut cursor, *steps),
                Step::Rotate if is_sealed() => drop(block_on(sealed.rotate_data_key()).unwrap()),
                _ => {}
            }
        }
        check_same(&sealed, &bare);
        check_sound(&sealed);
        if is_sealed() {
            reseal(&sealed);
            check_same(&sealed, &bare);
            check_sound(&sealed);
            for name in ["by_email", "by_name", "by_code", "by_tag", "names"] {
                let found = entries(&world, &sealed, name);
                prop_assert!(found.iter().all(|entry| form(entry) == 2));
                prop_assert_eq!(found.len(), entries(&world, &clear, name).len());
            }
        }
    }
}
