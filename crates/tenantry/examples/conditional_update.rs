//! A change that holds only if nobody was faster: the record's version is the condition, as with an ETag.
//!
//! `cargo run --example conditional_update`

#![allow(clippy::print_stdout, reason = "an example")]

use tenantry::{Code, Condition, Error, PrimaryKey, Record, SchemaDefinition};

fn main() -> tenantry::Result<()> {
    tenantry::block_on(async {
        let database = tenantry::open("memory:").await?;
        let schema = r#"{"name":"s","types":{"page":{"primary_key":["path"],"fields":{"path":"string","text":"string"}}}}"#;
        database.apply_schema(&SchemaDefinition::from_json(schema)?).await?;
        let wiki = database.create_tenant("wiki", "s").await?;
        let page = |text: &str| Record::new().with("path", "/").with("text", text);
        wiki.insert("page", &page("first")).await?;

        // Two people open the page and see the same version.
        let seen = wiki.get("page", &PrimaryKey::of("/")).await?.and_then(|record| record.version());
        let version = seen.ok_or_else(|| Error::new(Code::RecordNotFound, "/"))?;
        let save = |text: &'static str| {
            let (wiki, page) = (&wiki, &page);
            async move {
                let record = &page(text);
                wiki.run(|transaction| async move {
                    transaction.put_if("page", record, Condition::HasVersion(version)).await
                })
                .await
            }
        };
        save("Ann's").await?;
        let refused = save("Bob's").await.map_err(|error| error.code());
        println!("Ann saved; Bob was refused: {refused:?}");
        assert_eq!(refused, Err(Code::ConditionFailed));
        Ok(())
    })
}

#[test]
fn runs() {
    assert_eq!(main(), Ok(()));
}
