//! A database for tests.
#![allow(dead_code, clippy::unwrap_used, reason = "a test")]

use pollster::block_on;
use tenantry_core::{Database, Record, SchemaDefinition, Tenant};
use tenantry_kv::conformance::reference::manual_env;

pub(crate) mod engine;

pub(crate) const SCHEMA: &str = r#"
name = "shop"

[types.item]
primary_key = ["region", "number"]
fields.region = "string"
fields.number = "int"
fields.title = "string"
fields.price = { type = "decimal", optional = true }
fields.rating = { type = "float", optional = true }
fields.kind = { type = "enum", values = ["book", "film", "game"], optional = true }
fields.sold_on = { type = "date", optional = true }
fields.code = { type = "string", optional = true }
fields.tags = { type = "list", of = "string", optional = true }
fields.size = { type = "struct", optional = true, fields = { width = "int", depth = { type = "int", optional = true } } }
fields.is_old = { type = "bool", optional = true }
fields.blob = { type = "bytes", optional = true }
indexes.by_title = { fields = ["title"] }
indexes.by_kind_rating = { fields = ["kind", "rating"] }
indexes.by_price = { fields = ["price"] }
indexes.by_code = { fields = ["code"], unique = true }

[types.note]
primary_key = ["id"]
fields = { id = "int", text = "string" }
"#;

pub(crate) fn database() -> Database {
    let env = manual_env();
    let engine = engine::engine(&env);
    let database = block_on(Database::open(engine, env, &engine::name("test"))).unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    database
}

pub(crate) fn tenant() -> Tenant {
    block_on(database().create_tenant("acme", "shop")).unwrap()
}

pub(crate) fn item(region: &str, number: i64, title: &str) -> Record {
    Record::new().with("region", region).with("number", number).with("title", title)
}

pub(crate) fn note(id: i64, text: &str) -> Record {
    Record::new().with("id", id).with("text", text)
}
