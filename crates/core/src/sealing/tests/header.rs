//! What the header says of the seal: altered, taken out, put in from elsewhere.

use std::time::Duration;

use prost::Message;
use serde_json::json;

use super::*;
use crate::Suspension;
use crate::error::Code;
use crate::jobs::Verify;
use crate::messages::{StoredSealing, TenantHeader, read};
use crate::sealing::{KeyEntry, KeyFuture};

/// After that a key without a sealed tenant is no seal that is under way.
const LATER: Duration = Duration::from_secs(601);

impl World {
    fn header(&self, tenant: &Tenant) -> TenantHeader {
        let key = tenant.keys.header().unwrap();
        read(&self.rows(KeyRange::of_key(&key)).remove(0).1, "a header").unwrap()
    }

    fn set_header(&self, tenant: &Tenant, header: &TenantHeader) {
        self.set(&tenant.keys.header().unwrap(), &header.encode_to_vec());
    }

    fn with_sealing(&self, tenant: &Tenant, change: impl FnOnce(&mut StoredSealing)) {
        let mut header = self.header(tenant);
        change(header.sealing.as_mut().unwrap());
        self.set_header(tenant, &header);
    }
}

fn put(tenant: &Tenant, id: i64) -> Result<(), Code> {
    block_on(tenant.put("note", &note(id, 10))).map_err(|error| error.code())
}

fn verified(tenant: &Tenant) -> serde_json::Value {
    let id = block_on(tenant.database().create_job(&Verify, Some(tenant), &json!({}))).unwrap();
    block_on(Worker::new(tenant.database(), JobKinds::standard()).run_until_idle()).unwrap();
    let job = block_on(tenant.database().job(id)).unwrap();
    job.result.unwrap_or_else(|| unreachable!("{:?}", job.error))
}

#[test]
fn a_header_whose_seal_was_altered_is_refused() {
    let world = World::new();
    let (tenant, other) = (world.tenant("one"), world.sealed("other"));
    put(&tenant, 1).unwrap();
    block_on(tenant.seal()).unwrap();
    reseal(&tenant);
    block_on(tenant.rotate_data_key()).unwrap();
    let own = world.header(&tenant);
    let others = world.header(&other).sealing.unwrap();
    type Change<'a> = Box<dyn FnOnce(&mut StoredSealing) + 'a>;
    let changes: Vec<Change<'_>> = vec![
        Box::new(|sealing| sealing.is_complete = false),
        Box::new(|sealing| sealing.generation = 1),
        Box::new(|sealing| sealing.generation_min = 2),
        Box::new(|sealing| sealing.marker[7] ^= 1),
        Box::new(|sealing| sealing.key_id[0] ^= 1),
        Box::new(|sealing| sealing.hash[31] ^= 1),
        Box::new(|sealing| sealing.hash.truncate(31)),
        Box::new(|sealing| sealing.hash.clear()),
        Box::new(|sealing| sealing.hash.clone_from(&others.hash)),
        Box::new(|sealing| StoredSealing { generation: 2, ..others.clone() }.clone_into(sealing)),
    ];
    let count = changes.len();
    for (number, change) in changes.into_iter().enumerate() {
        world.with_sealing(&tenant, change);
        // Whoever has the key unwrapped, and whoever has not yet.
        let another = block_on(world.another_process(Some(world.keyring(1))).tenant("one")).unwrap();
        for tenant in [&tenant, &another] {
            let error = get(tenant, "note", 1).unwrap_err();
            assert_eq!(error.code(), Code::SealBroken, "{number}: {error}");
            assert!(error.to_string().contains("header"), "{number}: {error}");
            assert_eq!(put(tenant, 2), Err(Code::SealBroken), "{number}");
            assert_eq!(block_on(tenant.rotate_data_key()).unwrap_err().code(), Code::SealBroken);
            // It can be described all the same.
            assert!(block_on(tenant.sealing()).is_ok());
        }
        world.set_header(&tenant, &own);
    }
    assert_eq!(count, 10);
    assert_eq!(put(&tenant, 2), Ok(()));
    world.with_sealing(&tenant, |sealing| sealing.generation_min = 2);
    assert_eq!(block_on(tenant.shred()).unwrap_err().code(), Code::SealBroken);
    let found = verified(&tenant);
    assert_eq!(found["sound"], false, "{found}");
    assert!(found["faults"].to_string().contains("header"), "{found}");
    world.set_header(&tenant, &own);
    assert_eq!(verified(&tenant)["sound"], true);
    block_on(tenant.shred()).unwrap();
}

/// What else is in the header changes without the key: states, limits, epochs, and the incarnation when a database moves.
#[test]
fn the_rest_of_the_header_changes_as_it_did() {
    let world = World::new();
    let tenant = world.sealed("one");
    put(&tenant, 1).unwrap();
    let keyless = world.another_process(None);
    block_on(keyless.suspend_tenant("one", Suspension::Blocked, "later")).unwrap();
    assert_eq!(put(&tenant, 2), Err(Code::TenantSuspended));
    block_on(keyless.resume_tenant("one")).unwrap();
    put(&tenant, 2).unwrap();
    let header = world.header(&tenant);
    world.set_header(&tenant, &TenantHeader { incarnation: header.incarnation + 1, ..header });
    put(&tenant, 3).unwrap();
    assert_eq!(get(&tenant, "note", 1).unwrap(), Some(note(1, 10)));
    block_on(tenant.rotate_data_key()).unwrap();
    reseal(&tenant);
    assert_eq!(verified(&tenant)["sound"], true);
}

#[test]
fn a_seal_that_was_taken_out_of_the_header_is_missed() {
    let world = World::new();
    let (tenant, clear) = (world.sealed("one"), world.tenant("clear"));
    put(&tenant, 1).unwrap();
    put(&clear, 1).unwrap();
    world.clock.advance(LATER);
    let own = world.header(&tenant);
    world.set_header(&tenant, &TenantHeader { sealing: None, ..own.clone() });
    let another = world.another_process(Some(world.keyring(1)));
    for tenant in [&tenant, &block_on(another.tenant("one")).unwrap()] {
        // Also where nothing is read that is sealed.
        assert_eq!(put(tenant, 9), Err(Code::SealBroken));
        assert_eq!(get(tenant, "memo", 9).unwrap(), None);
        assert_eq!(get(tenant, "note", 1).unwrap_err().code(), Code::SealBroken);
        let raw = block_on(tenant.run(|transaction| async move { transaction.raw_set(b"k", b"v") }));
        assert_eq!(raw.unwrap_err().code(), Code::SealBroken);
        assert!(verified(tenant)["faults"].to_string().contains("header"));
        // Sealed anew it would lose its data key.
        let error = block_on(tenant.seal()).unwrap_err();
        assert!(error.code() == Code::SealBroken && error.to_string().contains("backup"), "{error}");
    }
    assert_eq!(put(&clear, 2), Ok(()));
    // A process without keys takes the header's word; docs/encryption.md says so.
    let keyless = block_on(world.another_process(None).tenant("one")).unwrap();
    assert_eq!(put(&keyless, 8), Ok(()));
    world.set_header(&tenant, &own);
    assert_eq!(get(&tenant, "note", 1).unwrap(), Some(note(1, 10)));
    // What it wrote is no part of the tenant.
    assert_eq!(get(&tenant, "note", 8).unwrap_err().code(), Code::SealBroken);
}

/// The key first, then the header: what stopped between the two is no tampering at once, and is gone on with.
#[test]
fn a_seal_that_is_under_way_stops_nobody() {
    let world = World::new();
    let tenant = world.tenant("one");
    put(&tenant, 1).unwrap();
    // Somebody knows already that it is in clear.
    block_on(world.keyring(1).created(&world.env, tenant.info.uuid)).unwrap();
    let there = || block_on(world.another_process(Some(world.keyring(1))).tenant("one")).unwrap();
    put(&there(), 2).unwrap();
    world.clock.advance(LATER);
    assert_eq!(put(&there(), 3), Err(Code::SealBroken));
    let refused = block_on(there().put("note", &note(3, 10))).unwrap_err();
    assert!(refused.to_string().contains("tenantry tenant seal"), "{refused}");
    block_on(tenant.seal()).unwrap();
    put(&there(), 3).unwrap();
    reseal(&tenant);
    assert_eq!(get(&there(), "note", 1).unwrap(), Some(note(1, 10)));
}

/// A store of keys that answers nobody.
struct Down;

impl KeyStore for Down {
    fn name(&self) -> String {
        "down".to_owned()
    }

    fn get<'a>(&'a self, _tenant: uuid::Uuid) -> KeyFuture<'a, Option<KeyEntry>> {
        Box::pin(async { Err(down()) })
    }

    fn add<'a>(&'a self, _entry: KeyEntry) -> KeyFuture<'a, KeyEntry> {
        Box::pin(async { Err(down()) })
    }

    fn rewrap<'a>(&'a self, _entries: Vec<KeyEntry>) -> KeyFuture<'a, usize> {
        Box::pin(async { Err(down()) })
    }

    fn destroy<'a>(&'a self, _tenant: uuid::Uuid, _at_us: i64) -> KeyFuture<'a, Option<KeyEntry>> {
        Box::pin(async { Err(down()) })
    }

    fn list<'a>(&'a self) -> KeyFuture<'a, Vec<KeyEntry>> {
        Box::pin(async { Err(down()) })
    }
}

fn down() -> crate::Error {
    crate::Error::new(Code::KeyStoreUnavailable, "it is down")
}

#[test]
fn tenants_in_clear_need_no_store_of_keys() {
    let world = World::new();
    let (clear, sealed) = (world.tenant("clear"), world.sealed("sealed"));
    put(&sealed, 1).unwrap();
    let keyring = Keyring::new(Arc::new(root(&world.env, 1)), Arc::new(Down));
    let database = world.another_process(Some(keyring));
    let there = |tenant: &Tenant| block_on(database.tenant(&tenant.info.name)).unwrap();
    assert_eq!(put(&there(&clear), 1), Ok(()));
    assert_eq!(put(&there(&sealed), 2), Err(Code::KeyStoreUnavailable));
}
