//! Grants against the whole list of operations.

mod attempts;
mod operations;
mod policies;
mod tenants;

use std::sync::Arc;
use std::time::Duration;

use pollster::block_on;
use serde_json::json;
use tenantry_kv::conformance::reference::{ManualClock, manual_env_with_clock};

use super::{Action, Grant, Operation, Role, RowPolicy};
use crate::error::{Code, Error};
use crate::jobs::{Count, JobId};
use crate::{Database, PrimaryKey, Record, SchemaDefinition, Tenant};

const SCHEMA: &str = r#"
    name = "s"
    [types.film]
    primary_key = ["id"]
    fields = { id = "int", owner = "string", title = "string", rating = "int", code = { type = "string", optional = true }, studio = { type = "int", optional = true } }
    indexes.by_title = { fields = ["title"] }
    indexes.by_code = { fields = ["code"], unique = true }
    indexes.by_rating = { kind = "rank", fields = ["rating"] }
    indexes.changes = { kind = "version" }
    indexes.by_studio = { fields = ["studio"] }
    references.studio = { fields = ["studio"], to = "studio", on_delete = "cascade" }
    [types.studio]
    primary_key = ["id"]
    fields = { id = "int", owner = "string" }
    [types.note]
    primary_key = ["id"]
    fields = { id = "int", text = "string", film = { type = "int", optional = true } }
    indexes.by_film = { fields = ["film"] }
    references.film = { fields = ["film"], to = "film", on_delete = "restrict" }
"#;

/// Keys of films: one of ann's, one of bob's, and none.
const OWN: i64 = 1;
const HIDDEN: i64 = 2;
const ABSENT: i64 = 9;

/// A database with two tenants that have the same names in them.
struct World {
    database: Database,
    clock: Arc<ManualClock>,
    job: JobId,
}

fn film(id: i64, owner: &str) -> Record {
    Record::new().with("id", id).with("owner", owner).with("title", "Heat").with("rating", id)
}

impl World {
    fn new() -> World {
        let (env, clock) = manual_env_with_clock();
        let engine = crate::test_engine::engine(&env);
        let database = block_on(Database::open(engine, env, &crate::test_engine::name("t"))).unwrap();
        block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
        for name in ["acme", "globex"] {
            let tenant = block_on(database.create_tenant(name, "s")).unwrap();
            for (id, owner) in [(OWN, "ann"), (HIDDEN, "bob"), (3, "ann"), (4, "bob")] {
                let film = film(id, owner).with("code", format!("{owner}{id}"));
                block_on(tenant.insert("film", &film)).unwrap();
            }
        }
        let acme = block_on(database.tenant("acme")).unwrap();
        let job = block_on(database.create_job(&Count, Some(&acme), &json!({ "type": "film" }))).unwrap();
        World { database, clock, job }
    }

    fn acme(&self) -> Tenant {
        block_on(self.database.tenant("acme")).unwrap()
    }

    fn with(&self, grant: Grant) -> Database {
        self.database.with_grant(grant).unwrap()
    }

    fn acme_with(&self, grant: Grant) -> Tenant {
        block_on(self.with(grant).tenant("acme")).unwrap()
    }

    fn now_us(&self) -> i64 {
        self.database.inner.env.clock.wall_us()
    }
}

/// A grant of all actions but one.
fn without(action: Option<Action>) -> Grant {
    let actions = Action::ALL.iter().copied().filter(|other| Some(*other) != action);
    Grant::of_actions("ann", "test", actions).on_all_tenants()
}

fn of_ann(grant: Grant) -> Grant {
    let policy = RowPolicy::new("owner == claims.sub");
    grant.claim("sub", "ann").policy("film", policy)
}

fn key(id: i64) -> PrimaryKey {
    PrimaryKey::of(id)
}

fn code<T>(result: Result<T, Error>) -> Code {
    result.map(|_| ()).unwrap_err().code()
}
