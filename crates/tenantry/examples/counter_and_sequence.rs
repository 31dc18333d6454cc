//! A counter, which any number of transactions add to without a conflict, and a sequence, which gives numbers without gaps.
//!
//! `cargo run --example counter_and_sequence`

#![allow(clippy::print_stdout, reason = "an example")]

use tenantry::{Error, Isolation, SchemaDefinition};

fn main() -> tenantry::Result<()> {
    tenantry::block_on(async {
        let database = tenantry::open("memory:").await?;
        let schema = r#"{"name":"s","types":{"order":{"primary_key":["number"],"fields":{"number":"int"}}}}"#;
        database.apply_schema(&SchemaDefinition::from_json(schema)?).await?;
        let shop = database.create_tenant("shop", "s").await?;

        let mut numbers = Vec::new();
        for _ in 0..3 {
            let number = shop
                .run(|transaction| async move {
                    transaction.add_to_counter("visits", 10)?;
                    transaction.next_in_sequence("orders").await
                })
                .await?;
            numbers.push(number);
        }
        assert_eq!(numbers, [1, 2, 3]);

        let visits = shop
            .read(|transaction| async move {
                // A snapshot read does not conflict with those who count meanwhile.
                transaction.set_isolation(Isolation::Snapshot);
                transaction.counter("visits").await
            })
            .await?;
        println!("orders {numbers:?}, {visits} visits");
        assert_eq!(visits, 30);
        Ok::<_, Error>(())
    })
}

#[test]
fn runs() {
    assert_eq!(main(), Ok(()));
}
