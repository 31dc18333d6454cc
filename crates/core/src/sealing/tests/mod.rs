//! Sealed tenants: that nothing of them is to be read beside the layer, that nothing opens where it does not belong, and that everything of the layer works on them as on others.

mod forms;
mod hashed;
mod header;
mod keys;
mod moved;
mod reseal;
mod whole;

use std::sync::Arc;

use bytes::Bytes;
use pollster::block_on;
use tenantry_kv::conformance::reference::{ManualClock, manual_env_with_clock};
use tenantry_kv::env::Env;
use tenantry_kv::{Engine, Isolation, KeyRange, RangeRequest};

use super::{KeyStore, Keyring, MemoryKeyStore, RootKey, SecretKey};
use crate::jobs::{JobKinds, Reseal, Worker};
use crate::{Database, PrimaryKey, Record, SchemaDefinition, Tenant, TenantOptions};

const SCHEMA: &str = r#"
name = "s"
[types.note]
primary_key = ["id"]
fields = { id = "int", title = "string", text = "string", mark = { type = "int", optional = true } }
[types.note.indexes]
by_title = { fields = ["title"], covering = ["text"] }
by_mark = { fields = ["mark"], unique = true, covering = ["text"] }
titles = { fields = ["title"] }
words = { kind = "text", fields = ["title"] }
changes = { kind = "version" }
marks = { kind = "sum", of = "mark" }
[types.memo]
primary_key = ["id"]
fields = { id = "int", text = "string" }
"#;

/// What no key has in it, and so nobody reads of a sealed tenant.
const SECRET: &str = "the-secret-contents";

struct World {
    env: Env,
    clock: Arc<ManualClock>,
    engine: Arc<dyn Engine>,
    store: Arc<MemoryKeyStore>,
    database: Database,
}

fn root(env: &Env, number: u8) -> RootKey {
    RootKey::new(SecretKey::from_bytes(&[number; 32]).unwrap(), env.entropy.clone())
}

impl World {
    fn new() -> World {
        let (env, clock) = manual_env_with_clock();
        let engine = crate::test_engine::engine(&env);
        let database =
            block_on(Database::open(engine.clone(), env.clone(), &crate::test_engine::name("t"))).unwrap();
        block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
        let store = Arc::new(MemoryKeyStore::new());
        let world = World { env, clock, engine, store, database };
        block_on(world.database.set_keyring(Some(world.keyring(1)))).unwrap();
        world
    }

    fn keyring(&self, root_number: u8) -> Keyring {
        let store: Arc<dyn KeyStore> = self.store.clone();
        Keyring::new(Arc::new(root(&self.env, root_number)), store)
    }

    /// As another process has it.
    fn another_process(&self, keyring: Option<Keyring>) -> Database {
        let database =
            block_on(Database::open(self.engine.clone(), self.env.clone(), self.database.name())).unwrap();
        block_on(database.set_keyring(keyring)).unwrap();
        database
    }

    fn tenant(&self, name: &str) -> Tenant {
        block_on(self.database.create_tenant(name, "s")).unwrap()
    }

    fn sealed(&self, name: &str) -> Tenant {
        let options = TenantOptions::new().sealed(true);
        block_on(self.database.create_tenant_with(name, "s", &options)).unwrap()
    }

    fn rows(&self, range: KeyRange) -> Vec<(Bytes, Bytes)> {
        let transaction = self.engine.begin().unwrap();
        let mut rows = Vec::new();
        let mut next = Some(RangeRequest::new(range.begin, range.end));
        while let Some(request) = next {
            let batch = block_on(transaction.get_range(&request, Isolation::Snapshot)).unwrap();
            rows.extend(batch.rows.iter().map(|row| (row.key.clone(), row.value.clone())));
            next = request.after(&batch);
        }
        rows
    }

    fn set(&self, key: &[u8], value: &[u8]) {
        let transaction = self.engine.begin().unwrap();
        transaction.set(key, value);
        block_on(transaction.commit()).unwrap();
    }

    /// The value of one row of the tenant, under a key that begins so.
    fn row(&self, tenant: &Tenant, prefix: &[u8]) -> (Bytes, Bytes) {
        let mut rows = self.rows(tenant.keys.everything());
        rows.retain(|(key, _)| key.starts_with(prefix));
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows.remove(0)
    }
}

/// Runs the job to its end, and returns its result.
fn reseal(tenant: &Tenant) -> serde_json::Value {
    let database = tenant.database();
    let id = block_on(database.create_job(&Reseal, Some(tenant), &serde_json::json!({}))).unwrap();
    block_on(Worker::new(database, JobKinds::standard()).run_until_idle()).unwrap();
    let job = block_on(database.job(id)).unwrap();
    job.result.unwrap_or_else(|| unreachable!("{:?}", job.error))
}

fn note(id: i64, size: usize) -> Record {
    let text = SECRET.repeat(size.div_ceil(SECRET.len()));
    Record::new().with("id", id).with("title", format!("title {id}")).with("text", text).with("mark", id)
}

/// A long text that cannot be compressed by much.
fn noise(id: i64, size: usize) -> Record {
    let mut state = id as u64;
    let mut character = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + ((state >> 33) % 94) as u8)
    };
    let text: String = (0..size).map(|_| character()).collect();
    Record::new().with("id", id).with("text", format!("{SECRET}{text}"))
}

fn get(tenant: &Tenant, record_type: &str, id: i64) -> crate::Result<Option<Record>> {
    block_on(tenant.get(record_type, &PrimaryKey::of(id)))
}

/// One of everything that a tenant can store.
fn fill(tenant: &Tenant) {
    for (id, size) in [(1, 10), (2, 3_000)] {
        block_on(tenant.put("note", &note(id, size))).unwrap();
    }
    block_on(tenant.put("memo", &noise(1, 200_000))).unwrap();
    block_on(tenant.run(|transaction| async move {
        transaction.raw_set(b"plain", SECRET.as_bytes())?;
        transaction.raw_set(b"", b"")?;
        transaction.raw_set_versionstamped(b"queue/", b"/x", SECRET.as_bytes())?;
        transaction.add_to_counter("c", 7)?;
        transaction.next_in_sequence("s").await
    }))
    .unwrap();
    let done = block_on(tenant.run_idempotent(b"key", b"request", |transaction| async move {
        transaction.delete("note", &PrimaryKey::of(2)).await?;
        Ok::<_, crate::Error>(SECRET.to_owned())
    }));
    assert!(!done.unwrap().is_repeated);
}
