//! The check on indexes that were damaged on purpose: what it tells, that it changes nothing unless it is to, and that a repair leaves every byte as it was.

mod damage;
mod ranks;
mod records;
mod writers;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use pollster::block_on;
use tenantry_kv::conformance::reference::{ManualClock, manual_env_with_clock};
use tenantry_kv::{Isolation, RangeRequest};

use super::{Bounds, Checked};
use crate::messages::CheckCursor;
use crate::schema::Index;
use crate::{Database, PrimaryKey, Record, SchemaDefinition, Tenant, Value};

const TYPES: &str = r#"
[types.task]
primary_key = ["id"]
[types.task.fields]
id = "int"
account = "string"
points = { type = "int", optional = true }
price = { type = "decimal", optional = true }
email = { type = "string", optional = true }
tags = { type = "list", of = "string", optional = true }
codes = { type = "list", of = "int", optional = true }
due = { type = "timestamp", optional = true }
body = "string"
blob = { type = "bytes", optional = true }
[types.page]
primary_key = ["at", "id"]
fields = { id = "int", at = "timestamp", title = "string" }
"#;

const INDEXES: &str = r#"
[types.task.indexes]
by_account = { fields = ["account", "points:desc"] }
board = { fields = ["account"], covering = ["price", "points"] }
by_email = { fields = ["email"], unique = true }
by_id_email = { fields = [{ field = "email", order = "desc" }, "id"], unique = true, covering = ["points"] }
only_one = { fields = ["body", "due"], unique = true, missing = "equal" }
by_tag = { fields = [{ each = "tags" }, "account"] }
by_code = { fields = [{ each = "codes" }], unique = true }
many_points = { fields = ["points"], where = "points > 5" }
lower = { fields = ["lower(body)"] }
words = { kind = "text", fields = ["body"], language = "english" }
words_of_tags = { kind = "text", group = ["account"], fields = [{ each = "tags" }] }
expiry = { kind = "time_to_live", fields = ["due"], after_s = 60 }
changes = { kind = "version" }
account_changes = { kind = "version", group = ["account"] }
total = { kind = "count" }
per_account = { kind = "count", group = ["account"] }
per_tag = { kind = "count", group = [{ each = "tags" }], where = "points > 2" }
points = { kind = "sum", group = ["account"], of = "points" }
prices = { kind = "sum", group = ["account"], of = "price" }
least = { kind = "min", group = ["account"], of = "points" }
most = { kind = "max", of = "points" }
[types.page.indexes]
expiry = { kind = "time_to_live", fields = ["at"], after_s = 10 }
by_title = { fields = ["title:desc", "id"] }
"#;

struct World {
    database: Database,
    clock: Arc<ManualClock>,
    /// With all indexes.
    tenant: Tenant,
}

impl World {
    fn new() -> World {
        let (env, clock) = manual_env_with_clock();
        let engine = crate::test_engine::engine(&env);
        let database = block_on(Database::open(engine, env, &crate::test_engine::name("t"))).unwrap();
        for (name, indexes) in [("indexed", INDEXES), ("plain", "")] {
            let text = format!("name = \"{name}\"\n{TYPES}{indexes}");
            block_on(database.apply_schema(&SchemaDefinition::from_toml(&text).unwrap())).unwrap();
        }
        let tenant = block_on(database.create_tenant("acme", "indexed")).unwrap();
        World { database, clock, tenant }
    }

    /// With some records.
    fn filled(tasks: i64) -> World {
        let world = World::new();
        for id in 0..tasks {
            block_on(world.tenant.insert("task", &task(id, id as u64))).unwrap();
        }
        for id in 0..tasks / 3 {
            block_on(world.tenant.insert("page", &page(id))).unwrap();
        }
        world
    }

    /// Everything that the database has, but for the runner's slots.
    fn dump(&self) -> BTreeMap<Bytes, Bytes> {
        let keys = &self.database.inner.keys;
        let range = tenantry_kv::Subspace::new(keys.root().clone()).keys();
        let slots = keys.runner_slots().unwrap();
        let mut rows = self.rows(&range.begin, &range.end);
        rows.retain(|key, _| !key.starts_with(&slots));
        rows
    }

    fn rows(&self, begin: &[u8], end: &[u8]) -> BTreeMap<Bytes, Bytes> {
        let mut rows = BTreeMap::new();
        let mut next = Some(RangeRequest::new(Bytes::copy_from_slice(begin), Bytes::copy_from_slice(end)));
        while let Some(request) = next {
            // Each part has a transaction of its own: on a cluster that is slow one would grow too old.
            let transaction = self.database.inner.engine.begin().unwrap();
            let batch = block_on(transaction.get_range(&request, Isolation::Snapshot)).unwrap();
            rows.extend(batch.rows.iter().map(|row| (row.key.clone(), row.value.clone())));
            next = request.after(&batch);
        }
        rows
    }

    /// Where a tenant's keys of an index begin.
    fn prefix(&self, tenant: &Tenant, index: &Index) -> Bytes {
        tenant.keys.index(index.id).unwrap()
    }

    /// What an index of a tenant holds.
    fn index_rows(&self, tenant: &Tenant, index: &Index) -> BTreeMap<Bytes, Bytes> {
        let prefix = self.prefix(tenant, index);
        self.rows(&prefix, &[&prefix[..], &[0xff]].concat())
    }

    fn write(&self, key: &[u8], value: Option<&[u8]>) {
        let transaction = self.database.inner.engine.begin().unwrap();
        match value {
            Some(value) => transaction.set(key, value),
            None => transaction.clear(key),
        }
        block_on(transaction.commit()).unwrap();
    }

    /// The indexes with the names of their types.
    fn indexes(&self) -> Vec<(String, Index)> {
        let schema = block_on(self.tenant.schema()).unwrap();
        let types = schema.definition.types.iter();
        types.flat_map(|it| it.indexes.iter().map(|index| (it.name.clone(), index.clone()))).collect()
    }

    /// A whole check, in steps of so many.
    fn check(&self, repairs: bool, rows_max: usize) -> CheckCursor {
        self.check_within(repairs, rows_max, Bounds::default())
    }

    fn check_within(&self, repairs: bool, rows_max: usize, bounds: Bounds) -> CheckCursor {
        check(&self.tenant, repairs, rows_max, bounds, |_, _| {})
    }
}

/// A whole check. `inside` is called in each attempt of a step, before its commit, with the number of the attempt and with how the check stands then.
fn check(
    tenant: &Tenant,
    repairs: bool,
    rows_max: usize,
    bounds: Bounds,
    mut inside: impl FnMut(usize, &CheckCursor),
) -> CheckCursor {
    let mut cursor = CheckCursor::default();
    for _ in 0..100_000 {
        let from = &cursor;
        let attempts = std::cell::Cell::new(0);
        let inside = std::cell::RefCell::new(&mut inside);
        let (attempts, inside) = (&attempts, &inside);
        let step = tenant.run(|transaction| async move {
            let checked = Checked { record_type: None, repairs, bounds };
            let stands = transaction.check_indexes(&checked, from.clone(), rows_max).await?;
            attempts.set(attempts.get() + 1);
            inside.borrow_mut()(attempts.get(), &stands.0);
            Ok::<_, crate::Error>(stands)
        });
        let (stands, is_at_end) = block_on(step).unwrap();
        cursor = stands;
        if is_at_end {
            return cursor;
        }
    }
    unreachable!("a check comes to an end")
}

/// How many of each fault, and how many were repaired.
fn numbers(found: &CheckCursor) -> [u64; 5] {
    [found.missing, found.dangling, found.wrong, found.duplicate, found.repaired]
}

/// The faults as people read them.
fn faults(found: &CheckCursor) -> Vec<[String; 3]> {
    found.faults.iter().map(|it| [it.index.clone(), it.fault.clone(), it.key.clone()]).collect()
}

/// A task, some of whose fields follow from a number. What is unique follows from its key.
fn task(id: i64, number: u64) -> Record {
    let timestamp = |seconds: i64| Value::Timestamp(crate::wire::timestamp_of(seconds * 1_000_000).unwrap());
    let words = ["The quick fox", "foxes running", "a dog ran", "quick quick dogs"];
    let mut record = Record::new()
        .with("id", id)
        .with("account", ["a", "b", "c"][(number % 3) as usize])
        .with("body", format!("{} {id}", words[(number / 3 % 4) as usize]))
        .with("due", timestamp(32_000_000_000 + (number % 50) as i64));
    if number % 5 != 1 {
        record.set("points", (number % 11) as i64);
        record.set("price", Value::Decimal(rust_decimal::Decimal::new((number % 700) as i64, 2)));
    }
    if number % 7 != 2 {
        record.set("email", format!("{id}.{}@x.org", number % 2));
        let tags = ["red", "red wine", "blue"];
        let first = (number % 3) as usize;
        record.set("tags", tags[first..].iter().map(|tag| Value::from(*tag)).collect::<Vec<_>>());
        record.set("codes", vec![Value::from(id), Value::from(1_000 + id * 2 + (number % 2) as i64)]);
    }
    record
}

fn page(id: i64) -> Record {
    let at = Value::Timestamp(crate::wire::timestamp_of(31_000_000_000_000_000 + id / 2).unwrap());
    Record::new().with("id", id).with("at", at).with("title", format!("page {}", id % 4))
}

fn page_key(id: i64) -> PrimaryKey {
    PrimaryKey { values: vec![page(id).get("at").unwrap().clone(), id.into()] }
}
