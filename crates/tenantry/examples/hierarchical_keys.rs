//! Keys that nest: a record type whose primary key begins with a parent, and a page of one parent's children by a key prefix.
//!
//! `cargo run --example hierarchical_keys`

#![allow(clippy::print_stdout, reason = "an example")]

use tenantry::{Query, Record, SchemaDefinition};

fn main() -> tenantry::Result<()> {
    tenantry::block_on(async {
        let database = tenantry::open("memory:").await?;
        let schema = SchemaDefinition::from_toml(
            r#"
            name = "tracker"
            [types.task]
            primary_key = ["project", "list", "number"]
            fields = { project = "string", list = "string", number = "int", title = "string" }
            "#,
        )?;
        database.apply_schema(&schema).await?;
        let acme = database.create_tenant("acme", "tracker").await?;
        acme.run(|transaction| async move {
            for (project, list, number, title) in [
                ("house", "garden", 1, "plant a tree"),
                ("house", "garden", 2, "mow"),
                ("house", "kitchen", 1, "buy a pan"),
                ("office", "garden", 1, "water the palm"),
            ] {
                let task = Record::new()
                    .with("project", project)
                    .with("list", list)
                    .with("number", number)
                    .with("title", title);
                transaction.insert("task", &task).await?;
            }
            Ok::<_, tenantry::Error>(())
        })
        .await?;

        // Equal on the first columns of the key: one contiguous range.
        let garden = Query::of("task").filter(r#"project == "house" && list == "garden""#);
        let page = acme.query(&garden).await?;
        for task in &page.records {
            println!("{}", task.to_json());
        }
        println!("found by {}", page.explanation);
        assert_eq!(page.records.len(), 2);
        assert_eq!(page.explanation.scanned, 2);
        Ok(())
    })
}

#[test]
fn runs() {
    assert_eq!(main(), Ok(()));
}
