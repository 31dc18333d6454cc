//! A change of every record, in many small transactions: each page is read and written in one, and the token carries on. A crash in between loses nothing: the
//! work begins again where the last token was kept.
//!
//! `cargo run --example batch_rewrite`

#![allow(clippy::print_stdout, reason = "an example")]

use tenantry::{Error, Query, Record, SchemaDefinition, Value};

fn main() -> tenantry::Result<()> {
    tenantry::block_on(async {
        let database = tenantry::open("memory:").await?;
        let schema =
            r#"{"name":"s","types":{"user":{"primary_key":["id"],"fields":{"id":"int","mail":"string"}}}}"#;
        database.apply_schema(&SchemaDefinition::from_json(schema)?).await?;
        let users = database.create_tenant("users", "s").await?;
        for id in 0..1_000 {
            users
                .insert("user", &Record::new().with("id", id).with("mail", format!("User{id}@Example.com")))
                .await?;
        }

        let mut query = Query::of("user").rows_max(100);
        let mut transactions = 0;
        loop {
            let page_query = &query;
            let next = users
                .run(|transaction| async move {
                    let page = transaction.query(page_query).await?;
                    for record in &page.records {
                        let mut changed = record.clone();
                        if let Some(Value::String(mail)) = record.get("mail") {
                            changed.set("mail", mail.to_lowercase());
                        }
                        transaction.put("user", &changed).await?;
                    }
                    Ok::<_, Error>(page.next)
                })
                .await?;
            transactions += 1;
            match next {
                Some(token) => query = query.after(token),
                None => break,
            }
        }
        let left = users.query(&Query::of("user").filter("mail.startsWith(\"U\")")).await?;
        println!("rewritten in {transactions} transactions, {} left", left.records.len());
        assert!(left.records.is_empty() && transactions == 10);
        Ok(())
    })
}

#[test]
fn runs() {
    assert_eq!(main(), Ok(()));
}
