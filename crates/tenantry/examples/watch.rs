//! A watch: wait until something changes, instead of asking again and again.
//!
//! `cargo run --example watch`

#![allow(clippy::print_stdout, reason = "an example")]

use tenantry::{Error, SchemaDefinition};

fn main() -> tenantry::Result<()> {
    let tenant = tenantry::block_on(async {
        let database = tenantry::open("memory:").await?;
        let schema = r#"{"name":"s","types":{"job":{"primary_key":["id"],"fields":{"id":"int"}}}}"#;
        database.apply_schema(&SchemaDefinition::from_json(schema)?).await?;
        let tenant = database.create_tenant("jobs", "s").await?;
        Ok::<_, Error>((database, tenant))
    })?;
    let (_database, tenant) = tenant;

    // The watch sees what this transaction saw, and becomes active with its commit.
    let watch = tenantry::block_on(tenant.run(|transaction| async move { transaction.raw_watch(b"go") }))?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            tenantry::block_on(tenant.run(|transaction| async move { transaction.raw_set(b"go", b"now") }))
        });
        tenantry::block_on(watch)
    })?;
    let value =
        tenantry::block_on(tenant.read(|transaction| async move { transaction.raw_get(b"go").await }))?;
    println!("the watch fired: go = {value:?}");
    assert_eq!(value.as_deref(), Some(b"now".as_slice()));
    Ok(())
}

#[test]
fn runs() {
    assert_eq!(main(), Ok(()));
}
