//! What lies where it does not belong.

use super::*;
use crate::error::Code;

fn code<T: std::fmt::Debug>(result: crate::Result<T>) -> Code {
    result.unwrap_err().code()
}

fn raw(tenant: &Tenant, key: &'static [u8]) -> crate::Result<Option<Bytes>> {
    block_on(tenant.read(|transaction| async move { transaction.raw_get(key).await }))
}

fn record_key(tenant: &Tenant, record_type: &str, id: i64) -> Bytes {
    let found = block_on(tenant.read(|transaction| async move {
        let record_type = transaction.record_type(record_type)?;
        transaction.record_keys(record_type, &[id.into()])?.part(0)
    }));
    found.unwrap()
}

#[test]
fn a_record_opens_under_its_own_key_alone() {
    let world = World::new();
    let (one, other) = (world.sealed("one"), world.sealed("other"));
    for tenant in [&one, &other] {
        for id in [1, 2] {
            let text = format!("{SECRET} of {id}");
            block_on(tenant.put("memo", &Record::new().with("id", id).with("text", text))).unwrap();
            block_on(tenant.put("note", &note(id, 10))).unwrap();
        }
    }
    let key = record_key(&one, "memo", 1);
    let (_, own) = world.row(&one, &key);
    let others = [record_key(&one, "memo", 2), record_key(&one, "note", 1), record_key(&other, "memo", 1)];
    for elsewhere in &others {
        let value = world.rows(KeyRange::of_key(elsewhere))[0].1.clone();
        world.set(&key, &value);
        let error = get(&one, "memo", 1).unwrap_err();
        assert_eq!(error.code(), Code::SealBroken);
        assert!(error.to_string().contains("\"memo\""), "{error}");
    }
    // Each byte of what is bound: format, incarnation, generation, size, nonce, contents, tag.
    let places: Vec<usize> = [0, 4, 19, 22, 26].into_iter().chain((27..own.len()).step_by(7)).collect();
    for place in places.into_iter().chain([own.len() - 1]) {
        let mut altered = own.to_vec();
        altered[place] ^= if place == 0 { 7 } else { 1 };
        world.set(&key, &altered);
        let found = get(&one, "memo", 1);
        let code = code(found);
        assert!(matches!(code, Code::SealBroken | Code::StoredDataInvalid), "{place}: {code:?}");
    }
    for cut in [19, 20, 27, 50, own.len() - 1] {
        world.set(&key, &own[..cut]);
        assert_eq!(code(get(&one, "memo", 1)), Code::SealBroken, "{cut}");
    }
    world.set(&key, &own);
    assert!(get(&one, "memo", 1).unwrap().is_some());
}

/// Whoever can write beside the layer can put back what was there before: nothing tells the two apart. `docs/encryption.md` says so.
#[test]
fn an_older_value_that_is_put_back_opens() {
    let world = World::new();
    let tenant = world.sealed("one");
    block_on(tenant.put("note", &note(1, 10))).unwrap();
    let key = record_key(&tenant, "note", 1);
    let (_, older) = world.row(&tenant, &key);
    block_on(tenant.put("note", &note(1, 700))).unwrap();
    world.set(&key, &older);
    assert_eq!(get(&tenant, "note", 1).unwrap(), Some(note(1, 10)));
}

#[test]
fn what_is_in_clear_is_refused_where_everything_is_sealed() {
    let world = World::new();
    let (sealed, plain) = (world.sealed("sealed"), world.tenant("plain"));
    for tenant in [&sealed, &plain] {
        fill(tenant);
    }
    let from = record_key(&plain, "note", 1);
    world.set(&record_key(&sealed, "note", 1), &world.row(&plain, &from).1);
    assert_eq!(code(get(&sealed, "note", 1)), Code::SealBroken);
    let raw_key = [&sealed.keys.raw().unwrap()[..], b"plain"].concat();
    world.set(&raw_key, b"in clear");
    assert_eq!(code(raw(&sealed, b"plain")), Code::SealBroken);
    // And the other way: a tenant that is not sealed takes nothing sealed for a record.
    let from = record_key(&sealed, "memo", 1);
    world.set(&record_key(&plain, "memo", 1), &world.row(&sealed, &from).1);
    assert_eq!(code(get(&plain, "memo", 1)), Code::SealBroken);
}

#[test]
fn a_raw_value_opens_under_its_own_key_alone() {
    let world = World::new();
    let (one, other) = (world.sealed("one"), world.sealed("other"));
    for tenant in [&one, &other] {
        block_on(tenant.run(|transaction| async move {
            transaction.raw_set(b"a", b"1")?;
            transaction.raw_set(b"b", b"2")?;
            transaction.raw_set_versionstamped(b"q/", b"/z", b"3")?;
            transaction.raw_set_versionstamped(b"r/", b"/z", b"4")
        }))
        .unwrap();
    }
    let at = |tenant: &Tenant, key: &[u8]| Bytes::from([&tenant.keys.raw().unwrap()[..], key].concat());
    let value = |key: &[u8]| world.rows(KeyRange::of_key(key))[0].1.clone();
    let own = value(&at(&one, b"a"));
    for elsewhere in [at(&one, b"b"), at(&other, b"a")] {
        world.set(&at(&one, b"a"), &value(&elsewhere));
        assert_eq!(code(raw(&one, b"a")), Code::SealBroken);
    }
    // The kind, the generation, the incarnation.
    for place in [8, 12, 16] {
        let mut altered = own.to_vec();
        altered[place] ^= 3;
        world.set(&at(&one, b"a"), &altered);
        let code = code(raw(&one, b"a"));
        assert!(matches!(code, Code::SealBroken | Code::StoredDataInvalid), "{place}: {code:?}");
    }
    // A stamped one is bound to all of its key but the stamp.
    let (queued, _) = world.row(&one, &at(&one, b"q/"));
    let (other_prefix, stranger) = world.row(&one, &at(&one, b"r/"));
    assert_eq!(other_prefix.len(), queued.len());
    world.set(&queued, &stranger);
    let page = block_on(
        one.read(|transaction| async move { transaction.raw_range(&crate::RawRange::prefix(b"q/")).await }),
    );
    assert_eq!(code(page), Code::SealBroken);
}

#[test]
fn an_entry_of_the_log_opens_in_its_own_tenant_and_incarnation_alone() {
    let world = World::new();
    let (one, other) = (world.sealed("one"), world.sealed("other"));
    for tenant in [&one, &other] {
        block_on(tenant.put("note", &note(1, 10))).unwrap();
    }
    let entries = |tenant: &Tenant| world.rows(tenant.keys.log(0).unwrap().keys());
    let read = || {
        block_on(one.read(|transaction| async move {
            let after = crate::change_log::LogPosition::at_version(0, 0);
            let engine = &**transaction.engine_transaction();
            let keys = &transaction.tenant().keys;
            let page =
                crate::change_log::read_after(engine, keys, 1, after, 1_000, transaction.sealer()).await?;
            Ok::<_, crate::Error>(page.entries.len())
        }))
    };
    assert_eq!(read().unwrap(), 1);
    let (key, own) = entries(&one).remove(0);
    world.set(&key, &entries(&other)[0].1);
    assert_eq!(code(read()), Code::SealBroken);
    world.set(&key, &own);
    assert_eq!(read().unwrap(), 1);
    // The incarnation stands in front of the stamp.
    let mut moved = key.to_vec();
    let place = moved.len() - 14;
    assert_eq!(moved[place], 1);
    moved[place] = 2;
    world.set(&moved, &own);
    assert_eq!(code(read()), Code::SealBroken);
}

#[test]
fn a_data_key_of_another_tenant_or_generation_does_not_open() {
    let world = World::new();
    let (one, other) = (world.sealed("one"), world.sealed("other"));
    block_on(one.put("note", &note(1, 10))).unwrap();
    let own = one.keys.data_key(1).unwrap();
    let (_, good) = world.row(&one, &own);
    let fresh = || {
        let database = world.another_process(Some(world.keyring(1)));
        let tenant = block_on(database.tenant("one")).unwrap();
        get(&tenant, "note", 1)
    };
    world.set(&own, &world.row(&other, &other.keys.data_key(1).unwrap()).1);
    assert_eq!(code(fresh()), Code::SealBroken);
    let transaction = world.engine.begin().unwrap();
    transaction.clear(&own);
    block_on(transaction.commit()).unwrap();
    assert_eq!(code(fresh()), Code::StoredDataInvalid);
    world.set(&own, &good);
    assert!(fresh().unwrap().is_some());
}
