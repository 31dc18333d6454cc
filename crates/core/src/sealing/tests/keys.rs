//! Root keys, key stores, and tenants whose keys are missing or destroyed.

use std::time::Duration;

use super::*;
use crate::error::Code;
use crate::limits::DATA_KEY_CACHE_TIME_MAX;
use crate::messages::StoredSealing;
use crate::sealing::{Certificate, KeyEntry, KeyState, KeyWrapper};

fn code<T: std::fmt::Debug>(result: crate::Result<T>) -> Code {
    result.unwrap_err().code()
}

#[test]
fn root_keys_are_read_from_texts_and_told_apart() {
    let (env, _) = manual_env_with_clock();
    let text = RootKey::generate(&*env.entropy);
    assert_eq!(text.len(), 64);
    let one = RootKey::parse(&format!(" {}\n", &*text), env.entropy.clone()).unwrap();
    let same = RootKey::parse(&text.to_uppercase(), env.entropy.clone()).unwrap();
    assert_eq!(one.id(), same.id());
    let base64 = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    assert_eq!(RootKey::parse(base64, env.entropy.clone()).unwrap().id(), root(&env, 1).id());
    assert_ne!(one.id(), root(&env, 1).id());
    assert!(!format!("{one:?}").contains(&text[..8]));
    for bad in
        ["", "abc", &"g".repeat(64), &"é".repeat(32), &text[..62], &base64[..40], &format!("{}0", &*text)]
    {
        let error = RootKey::parse(bad, env.entropy.clone()).unwrap_err();
        assert_eq!(error.code(), Code::RootKeyInvalid);
        assert!(bad.len() < 3 || !error.to_string().contains(bad));
    }
}

#[test]
fn a_process_without_the_right_keys_is_told_the_way_out() {
    let world = World::new();
    let tenant = world.sealed("one");
    block_on(tenant.put("note", &note(1, 10))).unwrap();
    let empty: Arc<dyn KeyStore> = Arc::new(MemoryKeyStore::new());
    let another = Keyring::new(Arc::new(root(&world.env, 1)), empty);
    let cases = [
        (None, Code::TenantSealed, "--key-store"),
        (Some(another), Code::TenantSealed, "name the key store"),
        (Some(world.keyring(2)), Code::RootKeyDiffers, "name the other one"),
    ];
    for (keyring, expected, words) in cases {
        let database = world.another_process(keyring);
        let tenant = block_on(database.tenant("one")).unwrap();
        let errors = [
            get(&tenant, "note", 1).unwrap_err(),
            block_on(tenant.put("note", &note(2, 10))).unwrap_err(),
            block_on(tenant.run(|transaction| async move { transaction.raw_set(b"k", b"v") })).unwrap_err(),
            // What is in clear is logged with the rest.
            block_on(tenant.run(|transaction| async move { transaction.add_to_counter("c", 1) }))
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.code(), expected, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
        // What needs no key works: the tenant can be described, counted, watched.
        let counter = block_on(tenant.read(|transaction| async move { transaction.counter("c").await }));
        assert_eq!(counter.unwrap(), 0);
        assert_eq!(block_on(tenant.sealing()).unwrap().unwrap().generation, 1);
    }
    let without = world.another_process(None);
    block_on(without.delete_tenant("one")).unwrap();
    let other = world.tenant("other");
    block_on(world.database.set_keyring(None)).unwrap();
    assert_eq!(code(block_on(other.seal())), Code::TenantSealed);
}

#[test]
fn a_root_key_is_changed_without_touching_the_database() {
    let world = World::new();
    let tenants: Vec<Tenant> = ["a", "b", "c"].map(|name| world.sealed(name)).into();
    for tenant in &tenants {
        block_on(tenant.put("note", &note(1, 10))).unwrap();
    }
    block_on(tenants[2].shred()).unwrap();
    let everything =
        || world.rows(tenantry_kv::Subspace::new(world.database.inner.keys.root().clone()).keys());
    let before = everything();
    let rotated = block_on(world.keyring(1).rotate_root(&root(&world.env, 2))).unwrap();
    assert_eq!((rotated.rewrapped, rotated.unchanged, rotated.destroyed), (2, 0, 1));
    assert_eq!(everything(), before);
    let again = block_on(world.keyring(1).rotate_root(&root(&world.env, 2))).unwrap();
    assert_eq!((again.rewrapped, again.unchanged, again.destroyed), (0, 2, 1));
    let status = block_on(world.keyring(2).status()).unwrap();
    assert_eq!(status.wrapped, [(root(&world.env, 2).id().to_owned(), 2)].into());
    assert_eq!(status.destroyed, 1);
    let open = |number| {
        let database = world.another_process(Some(world.keyring(number)));
        get(&block_on(database.tenant("a")).unwrap(), "note", 1)
    };
    assert_eq!(code(open(1)), Code::RootKeyDiffers);
    assert!(open(2).unwrap().is_some());
    // With neither of the two root keys nothing is rewrapped.
    let wrong = block_on(world.keyring(3).rotate_root(&root(&world.env, 4)));
    assert_eq!(code(wrong), Code::RootKeyDiffers);
    assert!(open(2).unwrap().is_some());
}

#[test]
fn a_shredded_tenant_is_unreadable_for_everybody_at_once() {
    let world = World::new();
    let tenant = world.sealed("one");
    block_on(tenant.put("note", &note(1, 10))).unwrap();
    block_on(tenant.rotate_data_key()).unwrap();
    // A backup: every key as it is now.
    let backup = world.rows(tenant.keys.everything());
    let other = world.another_process(Some(world.keyring(1)));
    let seen_by_other = block_on(other.tenant("one")).unwrap();
    assert!(get(&seen_by_other, "note", 1).unwrap().is_some());

    // With an older generation about, it is complete all the same: nothing is in clear.
    let certificate = block_on(tenant.shred()).unwrap();
    for tenant in [&tenant, &seen_by_other] {
        assert_eq!(code(get(tenant, "note", 1)), Code::TenantShredded);
        assert_eq!(code(block_on(tenant.put("note", &note(2, 10)))), Code::TenantShredded);
        assert_eq!(code(block_on(tenant.seal())), Code::TenantShredded);
    }
    // The backup put back, header and all: what the process still has in memory is gone after a while, what the store has at once.
    for (key, value) in &backup {
        world.set(key, value);
    }
    assert_eq!(code(get(&tenant, "note", 1)), Code::TenantShredded);
    let fresh = world.another_process(Some(world.keyring(1)));
    let restored = block_on(fresh.tenant("one")).unwrap();
    assert_eq!(code(get(&restored, "note", 1)), Code::TenantShredded);
    let again = block_on(restored.shred()).unwrap();
    assert_eq!(again.to_json()["destroyed_us"], certificate.to_json()["destroyed_us"]);
    block_on(world.database.delete_tenant("one")).unwrap();

    let verified = block_on(certificate.verify(&world.keyring(1))).unwrap();
    assert!(verified.is_proven && verified.tenant == tenant.info().uuid);
    assert!(!block_on(certificate.verify(&world.keyring(2))).unwrap().is_proven);
    let text = certificate.to_json().to_string();
    assert_eq!(Certificate::from_json(&text).unwrap(), certificate);
    assert_eq!(certificate.to_json()["data_keys"].as_array().unwrap().len(), 2);
    let altered = text.replace("\"one\"", "\"two\"");
    assert_eq!(code(Certificate::from_json(&altered)), Code::CertificateInvalid);
    assert_eq!(code(Certificate::from_json("{}")), Code::CertificateInvalid);
    assert_eq!(code(Certificate::from_json("{")), Code::JsonInvalid);
}

/// Made up as a whole, with a hash that is right: the proof and the key store tell.
#[test]
fn a_forged_certificate_does_not_hold() {
    let world = World::new();
    let (one, two) = (world.sealed("one"), world.sealed("two"));
    let certificate = block_on(one.shred()).unwrap();
    let forged = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut json = certificate.to_json().clone();
        change(&mut json);
        let object = json.as_object_mut().unwrap();
        let proof = object.shift_remove("proof").unwrap();
        object.shift_remove("hash").unwrap();
        let hash = blake3::hash(json.to_string().as_bytes()).to_hex().to_string();
        json["hash"] = hash.into();
        json["proof"] = proof;
        let certificate = Certificate::from_json(&json.to_string()).unwrap();
        code(block_on(certificate.verify(&world.keyring(1))))
    };
    let uuid = two.info().uuid.to_string();
    assert_eq!(forged(&|json| json["tenant"]["uuid"] = uuid.clone().into()), Code::CertificateInvalid);
    assert_eq!(forged(&|json| json["destroyed_us"] = 5.into()), Code::CertificateInvalid);
    assert_eq!(forged(&|json| json["readable"] = "nothing".into()), Code::CertificateInvalid);
    assert!(block_on(certificate.verify(&world.keyring(1))).is_ok());
}

#[test]
fn what_may_be_in_clear_is_not_shredded() {
    let world = World::new();
    let tenant = world.tenant("one");
    assert_eq!(code(block_on(tenant.shred())), Code::SealRefused);
    assert_eq!(code(block_on(tenant.rotate_data_key())), Code::SealRefused);
    block_on(tenant.put("note", &note(1, 10))).unwrap();
    block_on(tenant.seal()).unwrap();
    assert_eq!(code(block_on(tenant.shred())), Code::SealRefused);
    assert!(get(&tenant, "note", 1).unwrap().is_some());
    reseal(&tenant);
    // A store that does not have the key: nothing is marked.
    let empty: Arc<dyn KeyStore> = Arc::new(MemoryKeyStore::new());
    block_on(world.database.set_keyring(Some(Keyring::new(Arc::new(root(&world.env, 1)), empty)))).unwrap();
    assert_eq!(code(block_on(tenant.shred())), Code::TenantSealed);
    block_on(world.database.set_keyring(Some(world.keyring(1)))).unwrap();
    assert!(get(&tenant, "note", 1).unwrap().is_some());
    block_on(tenant.shred()).unwrap();
}

/// A key that is destroyed in the store alone, with the database out of reach: whoever has it in memory loses it after a while.
#[test]
fn keys_in_memory_are_asked_for_again() {
    let world = World::new();
    let tenant = world.sealed("one");
    block_on(tenant.put("note", &note(1, 10))).unwrap();
    block_on(world.store.destroy(tenant.info().uuid, 5)).unwrap();
    assert!(get(&tenant, "note", 1).unwrap().is_some());
    world.clock.advance(DATA_KEY_CACHE_TIME_MAX + Duration::from_secs(1));
    assert_eq!(code(get(&tenant, "note", 1)), Code::TenantShredded);
}

/// The process stops between the key store and the database, whatever is to be done: doing it again ends it.
#[test]
fn a_crash_between_the_two_loses_nothing() {
    let world = World::new();
    let tenant = world.tenant("one");
    // Sealing: the key is in the store, the header is not written.
    block_on(world.keyring(1).created(&world.env, tenant.info().uuid)).unwrap();
    let before = block_on(world.store.get(tenant.info().uuid)).unwrap();
    block_on(tenant.put("note", &note(1, 10))).unwrap();
    let status = block_on(tenant.seal()).unwrap();
    assert_eq!(before.unwrap().key_id, status.key_id, "the key that is there is used");
    reseal(&tenant);
    // Shredding: the header is marked, the key is there.
    let header = tenant.keys.header().unwrap();
    let sealed = world.rows(KeyRange::of_key(&header)).remove(0).1;
    let mut marked: crate::messages::TenantHeader = crate::messages::read(&sealed, "header").unwrap();
    let key = block_on(world.keyring(1).tenant_key(tenant.info().uuid)).unwrap();
    let sealing = StoredSealing { shredded_us: 77, ..marked.sealing.unwrap() };
    marked.sealing = Some(key.header_key().signed(tenant.info().uuid, sealing));
    world.set(&header, &prost::Message::encode_to_vec(&marked));
    assert_eq!(code(get(&tenant, "note", 1)), Code::TenantShredded);
    let status = block_on(tenant.sealing()).unwrap().unwrap();
    assert_eq!(status.shredded_us, Some(77));
    let certificate = block_on(tenant.shred()).unwrap();
    let entry = block_on(world.store.get(tenant.info().uuid)).unwrap().unwrap();
    assert!(matches!(entry.state, KeyState::Destroyed { .. }));
    block_on(certificate.verify(&world.keyring(1))).unwrap();
}

/// Two make the key of one tenant at a time, and one is late with a rewrapped key that is destroyed meanwhile.
#[test]
fn a_store_keeps_the_first_key_and_brings_none_back() {
    let store = MemoryKeyStore::new();
    let uuid = uuid::Uuid::from_u128(7);
    let entry = |key: u128| {
        let state = KeyState::Wrapped { root: "r".to_owned(), bytes: vec![1] };
        KeyEntry::new(uuid, uuid::Uuid::from_u128(key), [3; 32], 5, state)
    };
    assert_eq!(block_on(store.add(entry(1))).unwrap(), entry(1));
    assert_eq!(block_on(store.add(entry(2))).unwrap(), entry(1));
    let rewrapped = |key: u128| {
        let state = KeyState::Wrapped { root: "s".to_owned(), bytes: vec![2] };
        vec![KeyEntry { state, ..entry(key) }]
    };
    assert_eq!(block_on(store.rewrap(rewrapped(2))).unwrap(), 0);
    assert_eq!(block_on(store.rewrap(rewrapped(1))).unwrap(), 1);
    let gone = block_on(store.destroy(uuid, 9)).unwrap().unwrap();
    assert_eq!(gone.state, KeyState::Destroyed { at_us: 9 });
    assert_eq!(block_on(store.destroy(uuid, 10)).unwrap().unwrap(), gone);
    assert_eq!(block_on(store.rewrap(rewrapped(1))).unwrap(), 0);
    assert_eq!(block_on(store.add(entry(3))).unwrap(), gone);
    assert_eq!(block_on(store.destroy(uuid::Uuid::nil(), 1)).unwrap(), None);
}
