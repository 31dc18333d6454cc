//! Text indexes of long texts.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use tenantry::{Code, PrimaryKey, Query, Record, SchemaDefinition, block_on};

#[test]
fn long_texts_are_kept_up_to_their_limit_and_leave_nothing_behind() {
    let database = common::database();
    let text = "name = \"s\"\n[types.page]\nprimary_key = [\"body\", \"id\"]\n\
        fields = { id = \"int\", body = \"string\", text = \"string\" }\n\
        indexes.words = { kind = \"text\", fields = [\"text\"] }\n\
        indexes.of_key = { kind = \"text\", group = [\"id\"], fields = [\"body\"] }";
    block_on(database.apply_schema(&SchemaDefinition::from_toml(text).unwrap())).unwrap();
    let tenant = block_on(database.create_tenant("s", "s")).unwrap();
    let text_of = |words: usize| (0..words).map(|word| format!("w{word} ")).collect::<String>();
    let page = |text: &str| Record::new().with("id", 1).with("body", "key word").with("text", text);
    let found = |filter: &str| {
        let page = block_on(tenant.query(&Query::of("page").filter(filter))).unwrap();
        assert!(page.explanation.index.is_some(), "{}", page.explanation);
        (page.records.len(), page.explanation.keys_read)
    };
    // 100 kB and more, the most words that there can be.
    let most = format!("{}{}", text_of(10_000), "w1 ".repeat(20_000));
    assert!(most.len() > 100_000);
    block_on(tenant.put("page", &page(&most))).unwrap();
    assert_eq!(found("matches(text, \"w9999\")").0, 1);
    assert_eq!(found("id == 1 && matchesPrefix(body, \"wo\")").0, 1);
    assert_eq!(found("matchesPrefix(text, \"w123\")").0, 1);
    let error = block_on(tenant.put("page", &page(&text_of(10_001)))).unwrap_err();
    assert_eq!(error.code(), Code::LimitPassed, "{error}");
    // Nothing of the refused one; nothing of the old one behind the next.
    assert_eq!(found("matches(text, \"w10000\")"), (0, 0));
    block_on(tenant.put("page", &page("w1 w1 other"))).unwrap();
    assert_eq!(found("matches(text, \"other\")").0, 1);
    assert_eq!(found("matchesPrefix(text, \"w\")"), (1, 2));
    let key = PrimaryKey { values: vec!["key word".into(), 1.into()] };
    block_on(tenant.delete("page", &key)).unwrap();
    for filter in ["matchesPrefix(text, \"w\")", "matchesAny(text, \"w1 other\")"] {
        assert_eq!(found(filter), (0, 0));
    }
}
