//! Pages: each comes with a token that the next begins with. A token is sealed, and good for its query on its tenant alone.
//!
//! `cargo run --example paginated_query`

#![allow(clippy::print_stdout, reason = "an example")]

use tenantry::{Code, Query, Record, SchemaDefinition};

fn main() -> tenantry::Result<()> {
    tenantry::block_on(async {
        let database = tenantry::open("memory:").await?;
        let schema = SchemaDefinition::from_toml(
            r#"
            name = "shop"
            [types.item]
            primary_key = ["number"]
            fields = { number = "int", price = "decimal" }
            indexes = { by_price = { fields = ["price"] } }
            "#,
        )?;
        database.apply_schema(&schema).await?;
        let shop = database.create_tenant("shop", "shop").await?;
        for number in 0..25 {
            let price = tenantry::Value::from_json(
                &format!("{}.50", number * 7 % 25).into(),
                &tenantry::FieldType::Decimal,
                "price",
            )?;
            shop.insert("item", &Record::new().with("number", number).with("price", price)).await?;
        }

        let mut query = Query::of("item").filter("price > 5").order_by("price").rows_max(8);
        let mut pages = 0;
        let mut items = 0;
        loop {
            let page = shop.query(&query).await?;
            pages += 1;
            items += page.records.len();
            println!("page {pages}: {} items, by {}", page.records.len(), page.explanation);
            match page.next {
                Some(token) => query = query.after(token),
                None => break,
            }
        }
        assert_eq!((pages, items), (3, 20));

        // The token of one query is refused by another.
        let token = query.after.clone().unwrap_or_default();
        let refused = shop.query(&Query::of("item").after(token)).await;
        assert_eq!(refused.map(|_| ()).map_err(|error| error.code()), Err(Code::TokenOfAnotherQuery));
        Ok(())
    })
}

#[test]
fn runs() {
    assert_eq!(main(), Ok(()));
}
